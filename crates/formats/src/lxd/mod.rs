//! The objects of the LXD and Incus API as they travel in JSON: one type for what is sent, another for what is received.
//!
//! ```
//! use headwater_formats::lxd::Envelope;
//!
//! let answer = serde_json::to_string(&Envelope::error(404, "Image not found")).unwrap();
//! assert!(answer.starts_with(r#"{"type":"error","status":"","status_code":0,"operation":"","error_code":404,"#));
//! ```
//!
//! Facts: LXD `shared/api/`, `lxd/response/`, Incus `shared/api/`, `internal/server/response/`.
//!
//! What this module does not know: routes, headers and who is asking.

pub mod alias;
pub mod certificate;
pub mod envelope;
pub mod etag;
pub mod event;
pub mod export;
pub mod image;
pub mod join_token;
pub mod operation;
pub mod project;
pub mod record;
pub mod server;
pub mod time;

pub use alias::{AliasChange, AliasEntry};
pub use certificate::{Certificate, CertificatePut, CertificatesPost};
pub use envelope::{Empty, Envelope};
pub use event::Event;
pub use image::{AliasName, Image, ImagePatch, ImagePut, ImagesPost, ImagesPostSource, NewAlias};
pub use join_token::{JoinToken, MAX_TOKEN_BYTES, NoJoinToken};
pub use operation::{Operation, Status};
pub use project::{Project, ProjectPost, ProjectPut, ProjectsPost};
pub use server::{EXTENSIONS, Server, ServerGuest};
pub use time::WireTime;
