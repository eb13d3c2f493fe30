//! `POST /1.0/images`: an upload, or a request in JSON to fetch, to be pushed to, or to publish (LXD `lxd/images.go` `imagesPost`).

use http::Response;

use super::{Ask, Body, Failure, not_implemented};
use crate::http::incoming::Incoming;

/// Takes an image in.
pub(super) async fn post(ask: &Ask<'_>, body: Incoming) -> Result<Response<Body>, Failure> {
    let _ = (ask, body);
    Err(not_implemented())
}
