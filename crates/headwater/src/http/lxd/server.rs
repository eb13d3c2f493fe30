//! `GET /1.0`: what the server is. Daemons ask for it before every pull, so guests get 200 (LXD `lxd/api_1.0.go`).

use headwater_formats::lxd::ServerGuest;
use http::Response;

use super::{Ask, Body, Failure, not_implemented, sync};

/// The server as the caller sees it.
pub(super) async fn get(ask: &Ask<'_>) -> Result<Response<Body>, Failure> {
    let _ = ask;
    sync(ServerGuest::default())
}

/// `PUT` and `PATCH`: settings are not changed over the API.
pub(super) fn change() -> Result<Response<Body>, Failure> {
    Err(not_implemented())
}
