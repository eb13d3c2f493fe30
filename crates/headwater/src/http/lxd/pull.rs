//! Fetching images from elsewhere: the JSON forms of `POST /1.0/images` (`source`), and
//! `POST /1.0/images/<fingerprint>/refresh` (LXD `lxd/images.go` `imgPostRemoteInfo`, `imgPostURLInfo`, `imageRefresh`).
//!
//! Both answer at once with an operation that runs in the background, tells how far it is, and can be cancelled at any moment.

use std::sync::Arc;

use headwater_formats::digest::FingerprintPrefix;
use headwater_formats::lxd;
use headwater_formats::names::{AliasName, ProjectName};
use http::{Response, StatusCode};
use serde_json::{Map, Value};

use super::{Ask, Body, Failure, NOT_AUTHORIZED, background, image_changes};
use crate::auth::Role;
use crate::blobs::BlobError;
use crate::catalog::{CatalogError, ImageAlias};
use crate::client::trust::Trust;
use crate::client::{ClientError, Origin, Protocol};
use crate::fetch::{Course, Fetch, FetchError};
use crate::operations::{NewTask, Running};
use crate::publish::PublishError;

/// What LXD calls it (`lxd/db/operationtype`).
const DOWNLOADING: &str = "Downloading image";
const REFRESHING: &str = "Refreshing image";

/// Fetches an image as the body of `POST /1.0/images` says: its `source` is there, and is neither `push` nor an instance.
pub(super) async fn post(ask: &Ask<'_>, request: lxd::ImagesPost) -> Result<Response<Body>, Failure> {
    let project = ask.project().await?;
    may_connect(ask, &project)?;
    let fetch = fetch(project.clone(), request)?;
    let fetcher = ask.state.fetcher.clone();
    let course = course(ask);
    let task = NewTask::new(DOWNLOADING, project);
    let begun = ask.state.operations.run(&ask.caller.actor, task, move |running| async move {
        let course = course(&running);
        let fetched = fetcher.fetch(fetch, &course).await.map_err(sentence)?;
        let image = fetched.image.image;
        running.works_on("images", format!("/1.0/images/{}", image.fingerprint));
        // Both are texts: lxc 5.0 ends with a crash over anything else.
        Ok(Map::from_iter([
            ("fingerprint".to_owned(), Value::from(image.fingerprint.to_string())),
            ("size".to_owned(), Value::from(image.files.size().to_string())),
        ]))
    });
    background(&begun.await?)
}

/// Fetches the newest image of where this one came from.
pub(super) async fn refresh(ask: &Ask<'_>, prefix: Option<FingerprintPrefix>) -> Result<Response<Body>, Failure> {
    let stored = image_changes::managed(ask, prefix).await?;
    let project = stored.project.clone();
    may_connect(ask, &project)?;
    let fetcher = ask.state.fetcher.clone();
    let course = course(ask);
    let task = NewTask::new(REFRESHING, project).on_image(&stored.image.fingerprint);
    let begun = ask.state.operations.run(&ask.caller.actor, task, move |running| async move {
        let refreshed = fetcher.refresh(&stored, &course(&running)).await.map_err(sentence)?;
        Ok(Map::from_iter([("refreshed".to_owned(), Value::from(refreshed.is_some()))]))
    });
    background(&begun.await?)
}

/// Whether the caller may have this server connect to an address of their choosing.
pub(super) fn may_connect(ask: &Ask<'_>, project: &ProjectName) -> Result<(), Failure> {
    // The door has asked whether they are a publisher somewhere.
    if !ask.caller.access.has(Role::Publisher, project) {
        return Err(Failure::Told(StatusCode::FORBIDDEN, NOT_AUTHORIZED.to_owned()));
    }
    if !ask.state.settings.connect {
        return Err(Failure::Told(
            StatusCode::FORBIDDEN,
            "this server is set up to connect to no other server; copy with --mode relay, or push from the other side"
                .to_owned(),
        ));
    }
    Ok(())
}

/// How an operation is followed and stopped on behalf of the caller.
fn course(ask: &Ask<'_>) -> impl FnOnce(&Running) -> Course + Send + use<> {
    let (actor, access, now) = (Arc::clone(&ask.caller.actor), ask.caller.access.clone(), ask.state.now);
    move |running| {
        let (told, cancel) = (running.clone(), running.cancelled().clone());
        let tell = Arc::new(move |text: String| told.progress("download_progress", text));
        Course { tell, cancel, ..Course::new(actor, access, now) }
    }
}

fn bad_request(sentence: &dyn std::fmt::Display) -> Failure {
    Failure::Told(StatusCode::BAD_REQUEST, sentence.to_string())
}

/// What the request asks for.
fn fetch(project: ProjectName, request: lxd::ImagesPost) -> Result<Fetch, Failure> {
    let lxd::ImagesPost { put, filename, source, aliases, .. } = request;
    let source = source.unwrap_or_default();
    let aliases = aliases.into_iter().map(|alias| {
        let name = AliasName::new(alias.name).map_err(|error| bad_request(&error))?;
        Ok(ImageAlias { name, description: alias.description })
    });
    Ok(Fetch {
        origin: origin(&source).map_err(|error| bad_request(&error))?,
        certificate: source.certificate,
        public: put.public,
        auto_update: put.auto_update,
        properties: put.properties,
        expires_at: put.expires_at.0,
        profiles: put.profiles,
        filename,
        aliases: aliases.collect::<Result<_, Failure>>()?,
        copy_aliases: source.copy_aliases,
        project: project.clone(),
    })
}

fn origin(source: &lxd::ImagesPostSource) -> Result<Origin, ClientError> {
    // A public image is named by its alias in either field, so that it can be followed.
    let name = if source.fingerprint.is_empty() { &source.alias } else { &source.fingerprint };
    let (protocol, server) = match source.kind.as_str() {
        "url" => (Protocol::Headers, &source.url),
        _ => match source.protocol.parse()? {
            Protocol::Direct if !source.url.is_empty() => (Protocol::Direct, &source.url),
            protocol => (protocol, &source.server),
        },
    };
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(Origin {
        trust: Trust::from_pem(&source.certificate)?,
        secret: given(&source.secret),
        project: source.project.clone(),
        // Empty, or a word of a newer client: then any type will do.
        image_type: source.image_type.parse().ok(),
        ..Origin::new(protocol, server, name)?
    })
}

/// Why an image was not fetched, for who asked for it.
fn sentence(error: FetchError) -> String {
    match &error {
        FetchError::Catalog(CatalogError::AliasExists(name))
        | FetchError::Publish(PublishError::Catalog(CatalogError::AliasExists(name))) => {
            format!("Alias already exists: {name}")
        }
        FetchError::Catalog(CatalogError::NoProject(_))
        | FetchError::Publish(PublishError::Catalog(CatalogError::NoProject(_))) => "Project not found".to_owned(),
        FetchError::Catalog(CatalogError::NoImage(_)) => "Image not found".to_owned(),
        FetchError::Publish(PublishError::Blobs(BlobError::Full(_))) => {
            tracing::error!(%error, "there was no room for an image that was fetched");
            "the server has no room left for this image; tell who runs it, and try again when there is".to_owned()
        }
        FetchError::Catalog(_) | FetchError::Publish(PublishError::Blobs(_) | PublishError::Catalog(_)) => {
            tracing::error!(%error, "an image that was fetched could not be stored");
            "the server failed to store the image; its log says why".to_owned()
        }
        FetchError::Client(_) | FetchError::Publish(_) | FetchError::NoSource | FetchError::Cancelled => {
            error.to_string()
        }
    }
}
