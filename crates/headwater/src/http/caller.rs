//! Who is asking: the one place where a request becomes a [`Viewer`].
//!
//! A request without credentials is a guest's, and sees public images. A TLS client certificate that nobody here knows is no
//! credential: LXD and Incus send theirs to every server (LXD `client/connection.go`). All other credentials that are
//! presented and not known are an error, never silently a guest: people would see "not found" and look for the
//! wrong fault.
//!
//! This file does not know what is being asked for.

use http::request::Parts;
use http::{HeaderName, header};

use crate::auth::Viewer;

/// Somebody, for the length of one request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What they may see.
    pub viewer: Viewer,
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
pub fn resolve(request: &Parts) -> Result<Caller, Refused> {
    let insists = INSISTS.iter().any(|name| request.headers.get(name).is_some_and(|value| value.as_bytes() == b"true"));
    if insists || presents(request) {
        return Err(Refused);
    }
    Ok(Caller { viewer: Viewer::guest() })
}

/// Whether the request carries credentials that a person typed or a program keeps.
pub(super) fn presents(request: &Parts) -> bool {
    request.headers.contains_key(header::AUTHORIZATION)
}
