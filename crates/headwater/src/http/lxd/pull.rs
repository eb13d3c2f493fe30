//! Fetching images from elsewhere: the JSON forms of `POST /1.0/images` (`source`), and
//! `POST /1.0/images/<fingerprint>/refresh` (LXD `lxd/images.go` `imgPostRemoteInfo`, `imgPostURLInfo`, `imageRefresh`).

use headwater_formats::digest::FingerprintPrefix;
use http::Response;

use super::{Ask, Body, Failure, not_implemented};

/// Fetches the newest image of where this one came from.
pub(super) async fn refresh(ask: &Ask<'_>, prefix: Option<FingerprintPrefix>) -> Result<Response<Body>, Failure> {
    let _ = (ask, prefix);
    Err(not_implemented())
}
