//! Fetching images from elsewhere: the JSON forms of `POST /1.0/images` (`source`), and
//! `POST /1.0/images/<fingerprint>/refresh` (LXD `lxd/images.go` `imgPostRemoteInfo`, `imgPostURLInfo`, `imageRefresh`).

use headwater_formats::digest::FingerprintPrefix;
use headwater_formats::lxd;
use http::Response;

use super::{Ask, Body, Failure, not_implemented};

/// Fetches an image as the body of `POST /1.0/images` says: its `source` is there, and is neither `push` nor an instance.
pub(super) async fn post(ask: &Ask<'_>, request: lxd::ImagesPost) -> Result<Response<Body>, Failure> {
    let _ = (ask, request);
    Err(not_implemented())
}

/// Fetches the newest image of where this one came from.
pub(super) async fn refresh(ask: &Ask<'_>, prefix: Option<FingerprintPrefix>) -> Result<Response<Body>, Failure> {
    let _ = (ask, prefix);
    Err(not_implemented())
}
