//! Who is asking, what they may see, and what they may do.
//!
//! A request becomes an [`Access`]: of nobody known ([`Access::guest`]), of the person at the command line, who can read the
//! database anyway ([`Access::operator`]), or of an [`Identity`] with its [`Grant`]s ([`Access::of`]). Every read of the catalog
//! takes the [`Viewer`] in it, so that a read that forgot to ask is hard to type; every write is done on behalf of an [`Actor`],
//! whom the audit names.
//!
//! ```
//! use headwater::auth::{Access, Role};
//! use headwater_formats::names::ProjectName;
//!
//! let project = ProjectName::default_project();
//! assert!(!Access::guest().has(Role::Viewer, &project));
//! assert!(Access::operator().has(Role::Admin, &project));
//! ```
//!
//! This room knows nothing of HTTP headers or SQL.

mod access;
mod actor;
pub mod address;
mod certificate;
mod identity;
mod network;
mod token;
mod viewer;

pub use access::Access;
pub use actor::{Actor, ActorKind};
pub use certificate::{Certificate, CertificateError, MAX_CERTIFICATE_BYTES};
pub use identity::{Grant, Identity, IdentityId, IdentityKind, Manages, Role, UnknownManages, UnknownRole};
pub use network::Network;
pub use token::{Secret, SecretHash, TokenError, random_hex};
pub use viewer::Viewer;
