//! Changing, deleting and lending an image: `PUT`, `PATCH` and `DELETE /1.0/images/<fingerprint>`, and
//! `POST /1.0/images/<fingerprint>/secret` (LXD `lxd/images.go`).

use headwater_formats::digest::FingerprintPrefix;
use http::Response;

use super::{Ask, Body, Failure, not_implemented};
use crate::http::incoming::Incoming;

/// Replaces what can be changed.
pub(super) async fn put(
    ask: &Ask<'_>,
    body: Incoming,
    prefix: Option<FingerprintPrefix>,
) -> Result<Response<Body>, Failure> {
    let _ = (ask, body, prefix);
    Err(not_implemented())
}

/// Changes what the body names.
pub(super) async fn patch(
    ask: &Ask<'_>,
    body: Incoming,
    prefix: Option<FingerprintPrefix>,
) -> Result<Response<Body>, Failure> {
    let _ = (ask, body, prefix);
    Err(not_implemented())
}

/// Takes the image out of the listing.
pub(super) async fn delete(ask: &Ask<'_>, prefix: Option<FingerprintPrefix>) -> Result<Response<Body>, Failure> {
    let _ = (ask, prefix);
    Err(not_implemented())
}

/// Makes a secret with which a daemon can fetch a private image.
pub(super) async fn secret(ask: &Ask<'_>, prefix: Option<FingerprintPrefix>) -> Result<Response<Body>, Failure> {
    let _ = (ask, prefix);
    Err(not_implemented())
}
