//! Who is asking: the one place where a request becomes a [`Viewer`].
//!
//! A request without credentials is a guest's, and sees public images. A TLS client certificate that nobody here knows is no
//! credential: LXD and Incus send theirs to every server (LXD `client/connection.go`). All other credentials that are
//! presented and not known are an error, never silently a guest: people would see "not found" and look for the
//! wrong fault.
//!
//! This file does not know what is being asked for.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderName, header};

use super::tls::ClientCertificate;
use super::{Connection, State};
use crate::auth::{Access, Actor, Viewer};

/// Somebody, for the length of one request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What they may see: [`Access::viewer`].
    pub viewer: Viewer,
    /// What they may see and do.
    pub access: Access,
    /// Whom the audit names.
    pub actor: Arc<Actor>,
    /// The certificate that the client showed, whether it counts or not: with it, somebody may join.
    pub certificate: Option<Arc<ClientCertificate>>,
}

impl Caller {
    /// Somebody with these rights, at that address.
    pub fn new(access: Access, address: Option<IpAddr>) -> Self {
        let actor = match access.identity() {
            Some(identity) => Actor::identity(identity, address),
            None => Actor::guest(address),
        };
        Self { viewer: access.viewer().clone(), access, actor: Arc::new(actor), certificate: None }
    }
}

/// The credentials are not known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the credentials that were sent are not known here; leave them out to see what is public")]
pub struct Refused;

/// Headers by which a client of the LXD API says that it will not be taken for a guest
/// (LXD `client/lxd.go`, Incus `client/incus.go`).
const INSISTS: [HeaderName; 2] =
    [HeaderName::from_static("x-lxd-authenticated"), HeaderName::from_static("x-incus-authenticated")];

/// Finds out who is asking.
pub async fn resolve(state: &State, request: &Parts, connection: &Connection) -> Result<Caller, Refused> {
    let _ = state;
    let insists = INSISTS.iter().any(|name| request.headers.get(name).is_some_and(|value| value.as_bytes() == b"true"));
    if insists || presents(request) {
        return Err(Refused);
    }
    Ok(Caller::new(Access::guest(), Some(connection.peer.ip())))
}

/// Whether the request carries credentials that a person typed or a program keeps.
pub(super) fn presents(request: &Parts) -> bool {
    request.headers.contains_key(header::AUTHORIZATION)
}
