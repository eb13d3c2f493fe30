//! `GET /1.0`: what the server is. Daemons ask for it before every pull, so guests get 200 (LXD `lxd/api_1.0.go`).

use headwater_formats::lxd::ServerGuest;
use http::Response;

use super::{Body, Failure, sync};

/// The server as a guest sees it.
pub(super) fn get() -> Result<Response<Body>, Failure> {
    sync(ServerGuest::default())
}
