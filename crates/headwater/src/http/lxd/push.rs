//! `POST /1.0/images/<fingerprint>/export`: pushing an image to another server (LXD `lxd/images.go` `imageExportPost`).

use headwater_formats::digest::FingerprintPrefix;
use http::Response;

use super::{Ask, Body, Failure, not_implemented};
use crate::http::incoming::Incoming;

/// Pushes the image.
pub(super) async fn post(
    ask: &Ask<'_>,
    body: Incoming,
    prefix: Option<FingerprintPrefix>,
) -> Result<Response<Body>, Failure> {
    let _ = (ask, body, prefix);
    Err(not_implemented())
}
