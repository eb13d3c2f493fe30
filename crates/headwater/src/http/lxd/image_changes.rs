//! Changing, deleting and lending an image: `PUT`, `PATCH` and `DELETE /1.0/images/<fingerprint>`, and
//! `POST /1.0/images/<fingerprint>/secret` (LXD `lxd/images.go`).

use std::collections::BTreeMap;

use headwater_formats::digest::FingerprintPrefix;
use headwater_formats::image::Image;
use headwater_formats::lxd::{self, Empty, etag};
use http::{Response, StatusCode, header};
use serde_json::Map;

use super::{Ask, Body, Failure, NOT_AUTHORIZED, background, images, sync};
use crate::catalog::{CatalogError, ImageEdit, Purpose, StoredImage};
use crate::http::incoming::Incoming;
use crate::operations::{NewTask, NewToken};

/// How long a secret waits to be used, in seconds: a day. What happens after its first use is the catalog's.
const SECRET_LIFE: i64 = 24 * 60 * 60;

/// Replaces what can be changed. An expiry can be changed, but not taken away: clients send the zero time when they do not know it.
pub(super) async fn put(
    ask: &Ask<'_>,
    body: Incoming,
    prefix: Option<FingerprintPrefix>,
) -> Result<Response<Body>, Failure> {
    let stored = managed(ask, prefix).await?;
    let put: lxd::ImagePut = body.json().await?;
    edit(ask, &stored, |_| ImageEdit {
        public: Some(put.public),
        auto_update: Some(put.auto_update),
        properties: Some(put.properties),
        expires_at: put.expires_at.0.map(Some),
        profiles: Some(put.profiles.unwrap_or_else(|| vec!["default".to_owned()])),
        update_source: None,
    })
    .await
}

/// Changes what the body names. Properties are added to those that are there.
pub(super) async fn patch(
    ask: &Ask<'_>,
    body: Incoming,
    prefix: Option<FingerprintPrefix>,
) -> Result<Response<Body>, Failure> {
    let stored = managed(ask, prefix).await?;
    let patch: lxd::ImagePatch = body.json().await?;
    edit(ask, &stored, |image| ImageEdit {
        public: patch.public,
        auto_update: patch.auto_update,
        properties: patch.properties.map(|more| image.properties.clone().into_iter().chain(more).collect()),
        expires_at: patch.expires_at.0.map(Some),
        profiles: patch.profiles,
        update_source: None,
    })
    .await
}

/// Takes the image out of the listing.
pub(super) async fn delete(ask: &Ask<'_>, prefix: Option<FingerprintPrefix>) -> Result<Response<Body>, Failure> {
    let StoredImage { project, image, .. } = managed(ask, prefix).await?;
    ask.catalog().delete_image(&project, &image.fingerprint, ask.now()).await.map_err(gone)?;
    let task = NewTask::new("Deleting image", project).on_image(&image.fingerprint);
    background(&ask.state.operations.done(&ask.caller.actor, task, Ok(Map::new())).await?)
}

/// Makes a secret with which a daemon, which is a guest here, can fetch a private image.
pub(super) async fn secret(ask: &Ask<'_>, prefix: Option<FingerprintPrefix>) -> Result<Response<Body>, Failure> {
    let StoredImage { project, image, .. } = seen(ask, prefix).await?;
    let fingerprint = image.fingerprint;
    let token = NewToken {
        description: "Image download token".to_owned(),
        project,
        resources: BTreeMap::from([("images".to_owned(), vec![format!("/1.0/images/{fingerprint}")])]),
        metadata: Map::from_iter([("fingerprint".to_owned(), fingerprint.to_string().into())]),
        purpose: Purpose::Download { fingerprint },
        expires_at: Some(ask.now().plus_seconds(SECRET_LIFE)),
    };
    background(&ask.state.operations.token(&ask.caller.actor, token).await?)
}

async fn seen(ask: &Ask<'_>, prefix: Option<FingerprintPrefix>) -> Result<StoredImage, Failure> {
    images::find(ask.state, ask.caller, &ask.project().await?, prefix).await
}

/// The image, when the caller may change it.
pub(super) async fn managed(ask: &Ask<'_>, prefix: Option<FingerprintPrefix>) -> Result<StoredImage, Failure> {
    let stored = seen(ask, prefix).await?;
    if ask.caller.access.may_manage(&stored.project, stored.published_by) {
        return Ok(stored);
    }
    let sentence = format!(
        "{NOT_AUTHORIZED}: somebody else has published this image; ask who administers the project \"{}\"",
        stored.project
    );
    Err(Failure::Told(StatusCode::FORBIDDEN, sentence))
}

/// Changes the image, unless the request says that it knows another state of it.
async fn edit(
    ask: &Ask<'_>,
    stored: &StoredImage,
    change: impl FnOnce(&Image) -> ImageEdit + Send,
) -> Result<Response<Body>, Failure> {
    let decide = |image: &Image| {
        if_match(ask, &etag::image(image.public, image.auto_update, &image.properties)).map(|()| change(image))
    };
    let catalog = ask.catalog();
    catalog.edit_image_as(&stored.project, &stored.image.fingerprint, decide, ask.now()).await.map_err(gone)??;
    sync(Empty {})
}

/// Somebody else was quicker.
fn gone(error: CatalogError) -> Failure {
    match error {
        CatalogError::NoImage(_) => Failure::not_found("Image not found"),
        CatalogError::Text => Failure::Told(StatusCode::BAD_REQUEST, error.to_string()),
        other => other.into(),
    }
}

/// Whether an `If-Match` allows to change what has this tag (LXD `lxd/util/http.go` `EtagCheck`, whose words these are).
pub(super) fn if_match(ask: &Ask<'_>, ours: &str) -> Result<(), Failure> {
    let mut known = ask.request.headers.get_all(header::IF_MATCH).iter().peekable();
    let Some(first) = known.peek().copied() else { return Ok(()) };
    if known.any(|value| value.to_str().is_ok_and(|value| etag::matches(value, ours))) {
        return Ok(());
    }
    let theirs = first.to_str().unwrap_or_default();
    let bare = |tag: &str| tag.trim_start_matches("W/").trim_matches('"').to_owned();
    let sentence = format!("ETag doesn't match: {} vs {}", bare(ours), bare(theirs));
    Err(Failure::Told(StatusCode::PRECONDITION_FAILED, sentence))
}
