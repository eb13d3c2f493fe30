//! The upload of an image: what its headers say, its bytes into the publisher, and the operation that tells how it ended.
//!
//! Clients put into headers what they want of the image, LXD's in `X-LXD-…`, those of Incus in `X-Incus-…` (LXD and Incus
//! `client/lxd_images.go` `CreateImage`); both are taken from both. The answer comes when all is done, with an operation that has ended.
//! A bad image is a failed operation, as with the daemons; a body that did not come to its end is an error of the request.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use headwater_formats::digest::Fingerprint;
use headwater_formats::names::AliasName;
use headwater_formats::timestamp::Timestamp;
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::create::Right;
use super::multipart::{self, Invalid};
use super::{Ask, Body, Failure, background};
use crate::blobs::BlobError;
use crate::catalog::{CatalogError, ImageAlias};
use crate::http::incoming::{BodyError, Incoming};
use crate::http::query;
use crate::operations::NewTask;
use crate::publish::{Filename, Listing, Packed, Packing, PublishError, Published, Request, Silent, Source};

/// What LXD calls it (`lxd/db/operationtype`).
const DESCRIPTION: &str = "Downloading image";

/// What the daemons say when the project has the image already; scripts look for it.
const DUPLICATE: &str = "Image with same fingerprint already exists";

/// One of the headers by which clients say more: `X-LXD-<name>` or `X-Incus-<name>`.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    all(headers, name).next()
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    ["x-lxd-", "x-incus-"]
        .map(|family| headers.get_all(format!("{family}{name}")))
        .into_iter()
        .flatten()
        .filter_map(|value| value.to_str().ok())
}

/// Takes in an image of one file, or of two with this boundary between them.
pub(super) async fn take(
    ask: &Ask<'_>,
    right: Right,
    body: Incoming,
    boundary: Option<String>,
) -> Result<Response<Body>, Failure> {
    let headers = &ask.request.headers;
    let (project, actor, listing, token) = match right {
        Right::Publisher(project) => (project, Arc::clone(&ask.caller.actor), wished(headers)?, None),
        Right::Pushed { project, push, secret, actor } => {
            let listing = Listing {
                public: push.public,
                only_these_properties: !push.properties.is_empty(),
                properties: push.properties,
                aliases: push.aliases.into_iter().map(ImageAlias::from).collect(),
                expires_at: push.expires_at.and_then(Timestamp::from_unix),
                profiles: push.profiles,
                auto_update: push.auto_update,
                fingerprint: Some(push.fingerprint),
                published_by: push.published_by,
                ..Listing::default()
            };
            (project, actor, listing, Some(secret))
        }
    };
    let (body, place) = ask.state.uploads.admit(body).await?;
    let runtime = Handle::current();
    let (first, root, filename) = match boundary {
        None => {
            let name = header(headers, "filename").filter(|name| !name.is_empty()).unwrap_or("image").to_owned();
            let reader = Box::new(SyncIoBridge::new_with_handle(StreamReader::new(body), runtime));
            (Source::Stream { name: name.clone(), reader }, None, Filename::Given(name))
        }
        Some(boundary) => {
            let (metadata, root) = multipart::sources(body, boundary, runtime);
            (metadata, Some(root), Filename::Root)
        }
    };
    let listing = Listing { filename, new_aliases: true, ..listing };
    let request = Request { project: project.clone(), first, root, listing, packing: Packing::AsProjectSays };
    let publisher = ask.state.app.publisher.acting(Arc::clone(&actor));
    let published = publisher.publish_when(request, Arc::new(Silent), ask.state.now).await;
    drop(place);

    let (outcome, metadata) = match published {
        Ok(published) => {
            let outcome = if published.already { Err(DUPLICATE.to_owned()) } else { Ok(()) };
            (outcome, told(&published))
        }
        Err(error) => (Err(sentence(error)?), Map::new()),
    };
    if let (Ok(()), Some(token)) = (&outcome, &token) {
        ask.state.app.catalog.acting(Arc::clone(&actor)).end_push_token(token, ask.now()).await?;
    }
    let mut task = NewTask { may_cancel: false, with_secret: token.is_some(), ..NewTask::new(DESCRIPTION, project) };
    if let Some(Value::String(fingerprint)) = metadata.get("fingerprint") {
        task.resources.insert("images".to_owned(), vec![format!("/1.0/images/{fingerprint}")]);
    }
    let task = NewTask { metadata, ..task };
    background(&ask.state.operations.done(&actor, task, outcome.map(|()| Map::new())).await?)
}

/// What the operation tells of the image: the fingerprint is that of the image as it is listed. All are texts: lxc 5.0 ends with a crash over anything else.
fn told(published: &Published) -> Map<String, Value> {
    let image = &published.image.image;
    let mut told = Map::from_iter([
        ("fingerprint".to_owned(), image.fingerprint.to_string().into()),
        ("size".to_owned(), image.files.size().to_string().into()),
    ]);
    match &published.packed {
        Packed::AsGiven => {}
        Packed::Anew { from, .. } => {
            told.insert("repacked_from".to_owned(), from.to_string().into());
        }
        Packed::Left(why) => {
            tracing::info!(fingerprint = %image.fingerprint, why, "an uploaded image was not packed anew");
            told.insert("not_repacked".to_owned(), why.clone().into());
        }
    }
    told
}

/// What a publisher wishes in headers.
fn wished(headers: &HeaderMap) -> Result<Listing, Failure> {
    let refused = |name: &str, why: &dyn std::fmt::Display| {
        Failure::Told(StatusCode::BAD_REQUEST, format!("the header X-LXD-{name} cannot be read: {why}"))
    };
    let form = |name: &str| {
        let pairs = all(headers, name).map(query::pairs).collect::<Result<Vec<_>, _>>();
        pairs.map(|pairs| pairs.into_iter().flatten()).map_err(|error| refused(name, &error))
    };
    let mut properties = BTreeMap::new();
    for (key, value) in form("properties")? {
        properties.entry(key).or_insert(value);
    }
    let profiles: Vec<String> = form("profiles")?.filter(|(key, _)| key == "profile").map(|(_, name)| name).collect();
    let mut aliases = Vec::new();
    for (key, name) in form("aliases")? {
        // A value that is no form is a name by itself.
        let name = if key == "alias" {
            name
        } else if name.is_empty() {
            key
        } else {
            format!("{key}={name}")
        };
        let name = AliasName::new(name).map_err(|error| refused("aliases", &error))?;
        aliases.push(ImageAlias::from(name));
    }
    let fingerprint = header(headers, "fingerprint").filter(|text| !text.is_empty()).map(str::parse::<Fingerprint>);
    Ok(Listing {
        public: header(headers, "public").is_some_and(query::is_true),
        properties,
        aliases,
        profiles: if profiles.is_empty() { None } else { Some(profiles) },
        fingerprint: fingerprint.transpose().map_err(|error| refused("fingerprint", &error))?,
        ..Listing::default()
    })
}

/// Why an image was not published, for who uploaded it.
fn sentence(error: PublishError) -> Result<String, Failure> {
    Ok(match &error {
        PublishError::Read { source, .. } => match BodyError::within(source) {
            Some(why) => return Err(Failure::Told(why.status(), why.to_string())),
            None if within::<Invalid>(source) => Invalid.to_string(),
            // The body's own errors have no other name: the connection broke.
            None => return Err(Failure::Told(StatusCode::BAD_REQUEST, cut(source))),
        },
        PublishError::Refused { .. } | PublishError::Fingerprint { .. } => error.to_string(),
        PublishError::Catalog(CatalogError::AliasExists(name)) => format!("Alias already exists: {name}"),
        PublishError::Catalog(CatalogError::NoProject(_)) => "Project not found".to_owned(),
        PublishError::Catalog(CatalogError::Text) => error.to_string(),
        PublishError::Repack(_) => {
            tracing::error!(%error, "an upload could not be packed anew");
            "this project packs images anew, and the server failed to do so; tell who runs it, its log says why"
                .to_owned()
        }
        PublishError::Blobs(BlobError::Full(_)) => {
            tracing::error!(%error, "there was no room for an upload");
            "the server has no room left for this image; tell who runs it, and try again when there is".to_owned()
        }
        PublishError::Blobs(_) | PublishError::Catalog(_) => {
            tracing::error!(%error, "an upload could not be stored");
            "the server failed to store the image; its log says why".to_owned()
        }
    })
}

fn cut(error: &std::io::Error) -> String {
    format!("the body ended before it was complete: {error}")
}

/// Whether an error of this kind is behind that one.
fn within<T: Error + 'static>(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<T>())
}
