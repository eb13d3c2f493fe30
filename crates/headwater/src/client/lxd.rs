//! Finding an image on a server with the API of LXD and Incus, as their daemons do: as a guest, with a secret or without
//! (LXD `lxd/daemon_images.go` `ImageDownload`, `client/lxd_images.go`).

use std::collections::BTreeMap;

use headwater_formats::digest::{Fingerprint, FingerprintPrefix};
use headwater_formats::image::ImageType;
use headwater_formats::lxd::WireTime;
use reqwest::Url;
use serde::Deserialize;

use super::ask::Session;
use super::origin::{About, Files};
use super::{ClientError, Offer, Origin};

/// An alias, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AliasEntry {
    target: String,
    #[serde(rename = "type")]
    image_type: Option<String>,
}

/// An image, as far as it matters here. Go writes `null` for what was never set.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ImageObject {
    fingerprint: String,
    size: Option<i64>,
    filename: Option<String>,
    architecture: Option<String>,
    properties: Option<BTreeMap<String, String>>,
    aliases: Option<Vec<NameObject>>,
    #[serde(rename = "type")]
    image_type: Option<String>,
    cached: bool,
    created_at: WireTime,
    expires_at: WireTime,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NameObject {
    name: String,
    description: String,
}

pub(super) async fn find(session: &Session, origin: &Origin) -> Result<Offer, ClientError> {
    greet(session).await?;
    let project = (!origin.project.is_empty()).then_some(("project", origin.project.as_str()));
    let missing = || ClientError::NotFound { server: session.name.clone(), name: super::error::words(&origin.name) };
    let full = origin.name.parse::<Fingerprint>().is_ok();
    let target = match &origin.secret {
        // A secret opens an image and no alias.
        Some(_) => None,
        None if full => None,
        None => alias(session, origin, project).await?,
    };
    let wanted: FingerprintPrefix = match &target {
        Some(target) => target.parse().map_err(|_| {
            ClientError::nonsense(
                &session.name,
                format!("has an alias that leads to {:?}", super::error::words(target)),
            )
        })?,
        None => origin.name.parse().map_err(|_| missing())?,
    };
    let secret = origin.secret.as_deref().map(|secret| ("secret", secret));
    let query: Vec<(&str, &str)> = project.into_iter().chain(secret).collect();
    let address = session.address(["1.0", "images", wanted.as_str()], &query)?;
    let image: ImageObject = session.api(address).await.map_err(|error| match error {
        ClientError::Status { status, .. } if status == http::StatusCode::NOT_FOUND => missing(),
        other => other,
    })?;
    let fingerprint: Fingerprint = image
        .fingerprint
        .parse()
        .map_err(|_| ClientError::nonsense(&session.name, "has an image whose fingerprint is no SHA-256"))?;
    if !fingerprint.to_string().starts_with(wanted.as_str()) {
        let what = format!("was asked for the image {wanted} and answers with {}", fingerprint.short());
        return Err(ClientError::nonsense(&session.name, what));
    }
    let export = session.address(["1.0", "images", &fingerprint.to_string(), "export"], &query)?;
    offer(session, origin, image, fingerprint, target.is_some(), export)
}

/// All images that the server shows of a project, with the names of their architectures. Copies that a daemon made for its own use, and forgets by itself,
/// are passed over.
pub(super) async fn all(session: &Session, project: &str) -> Result<Vec<(Offer, String)>, ClientError> {
    greet(session).await?;
    let project = (!project.is_empty()).then_some(("project", project));
    let query: Vec<(&str, &str)> = project.into_iter().chain([("recursion", "1")]).collect();
    let address = session.address(["1.0", "images"], &query)?;
    let images: Vec<ImageObject> = session.api_list(address).await?;
    let mut found = Vec::with_capacity(images.len());
    for image in images.into_iter().filter(|image| !image.cached) {
        let fingerprint: Fingerprint = image
            .fingerprint
            .parse()
            .map_err(|_| ClientError::nonsense(&session.name, "has an image whose fingerprint is no SHA-256"))?;
        let export = session.address(["1.0", "images", &fingerprint.to_string(), "export"], project.as_slice())?;
        let architecture = image.architecture.clone().unwrap_or_default();
        found.push((described(image, fingerprint, export), architecture));
    }
    Ok(found)
}

fn offer(
    session: &Session,
    origin: &Origin,
    image: ImageObject,
    fingerprint: Fingerprint,
    by_alias: bool,
    export: Url,
) -> Result<Offer, ClientError> {
    let image_type = image_type(image.image_type.as_deref());
    if let (Some(wanted), Some(found)) = (origin.image_type, image_type)
        && wanted != found
    {
        let what = format!("has a {found} under the name {:?}, where a {wanted} was asked for", origin.name);
        return Err(ClientError::nonsense(&session.name, what));
    }
    let alias = by_alias.then(|| origin.name.clone());
    Ok(Offer { alias, ..described(image, fingerprint, export) })
}

fn described(image: ImageObject, fingerprint: Fingerprint, export: Url) -> Offer {
    Offer {
        fingerprint,
        size: image.size.and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0),
        alias: None,
        about: Some(About {
            image_type: image_type(image.image_type.as_deref()),
            properties: image.properties.unwrap_or_default(),
            created_at: image.created_at.0,
            expires_at: image.expires_at.0,
            filename: image.filename.unwrap_or_default(),
            aliases: image
                .aliases
                .unwrap_or_default()
                .into_iter()
                .map(|alias| (alias.name, alias.description))
                .collect(),
        }),
        files: Files::Export(export),
    }
}

/// Empty stands for a container, in aliases and in images (LXD `shared/api/image.go`).
fn image_type(text: Option<&str>) -> Option<ImageType> {
    match text.unwrap_or_default() {
        "" => Some(ImageType::Container),
        text => text.parse().ok(),
    }
}

/// Asks for `/1.0` as LXD does before a pull. What the server says is not needed, and newer Incus tells guests little; but an
/// answer that is none of the API is told in better words here than later.
async fn greet(session: &Session) -> Result<(), ClientError> {
    let answered: Result<serde_json::Value, ClientError> = session.api(session.address(["1.0"], &[])?).await;
    match answered {
        Err(error) if !error.is_refusal() => Err(error),
        _ => Ok(()),
    }
}

/// Where the name leads. When the server refuses, the name is taken for a fingerprint, as in the daemons.
async fn alias(
    session: &Session,
    origin: &Origin,
    project: Option<(&str, &str)>,
) -> Result<Option<String>, ClientError> {
    let query: Vec<(&str, &str)> = project.into_iter().collect();
    let address = session.address(["1.0", "images", "aliases", &origin.name], &query)?;
    let entry: AliasEntry = match session.api(address).await {
        Ok(entry) => entry,
        Err(error) if error.is_refusal() => return Ok(None),
        Err(error) => return Err(error),
    };
    if let (Some(wanted), Some(found)) = (origin.image_type, image_type(entry.image_type.as_deref()))
        && wanted != found
    {
        let what = format!("has an alias {:?} for a {found}, where a {wanted} was asked for", origin.name);
        return Err(ClientError::nonsense(&session.name, what));
    }
    Ok(Some(entry.target))
}
