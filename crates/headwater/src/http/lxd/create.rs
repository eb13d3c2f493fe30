//! `POST /1.0/images`: an upload, or a request in JSON to fetch, to be pushed to, or to publish (LXD `lxd/images.go` `imagesPost`).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use headwater_formats::digest::Fingerprint;
use headwater_formats::lxd;
use headwater_formats::names::{AliasName, ProjectName};
use headwater_formats::timestamp::Timestamp;
use http::{Response, StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::Map;

use super::{Ask, Body, Failure, NOT_AUTHORIZED, background, pull, upload};
use crate::auth::{Actor, Role, SecretHash};
use crate::catalog::{Purpose, Push};
use crate::http::guard::Claim;
use crate::http::incoming::Incoming;
use crate::operations::NewToken;

/// How long a token for a push waits to be used, in seconds: a day.
const PUSH_TOKEN_LIFE: i64 = 24 * 60 * 60;

/// Takes an image in.
pub(super) async fn post(ask: &Ask<'_>, body: Incoming) -> Result<Response<Body>, Failure> {
    let right = right(ask).await?;
    match Content::of(ask, body).await? {
        Content::Json(body) => json(ask, right, body).await,
        Content::Image(body, boundary) => upload::take(ask, right, body, boundary).await,
    }
}

/// By what right somebody publishes.
pub(super) enum Right {
    /// They are a publisher of the project.
    Publisher(ProjectName),
    /// Somebody who is one has given them a token for this image.
    Pushed {
        /// The project.
        project: ProjectName,
        /// What was agreed on.
        push: Push,
        /// Their token.
        secret: SecretHash,
        /// Whom the audit names.
        actor: Arc<Actor>,
    },
}

/// By what right the caller publishes. A token counts also from somebody known, as with the daemons; only one of its two
/// headers is no token.
async fn right(ask: &Ask<'_>) -> Result<Right, Failure> {
    let headers = &ask.request.headers;
    let secret = upload::header(headers, "secret").filter(|secret| !secret.is_empty());
    let fingerprint = upload::header(headers, "fingerprint");
    if let (Some(secret), Some(fingerprint)) = (secret, fingerprint) {
        let named = ProjectName::new(ask.query.get("project").unwrap_or("default"));
        if let (Ok(project), Ok(fingerprint)) = (named, fingerprint.parse::<Fingerprint>()) {
            let (catalog, secret) = (&ask.state.app.catalog, SecretHash::of(secret));
            if let Some(push) = catalog.push_secret(&project, &fingerprint, &secret, ask.now()).await? {
                let actor = Arc::new(Actor::secret(ask.caller.actor.address));
                return Ok(Right::Pushed { project, push, secret, actor });
            }
        }
    }
    if ask.caller.access.is_trusted() {
        let project = ask.project().await?;
        if ask.caller.access.has(Role::Publisher, &project) {
            return Ok(Right::Publisher(project));
        }
        if secret.is_none() {
            return Err(forbidden(format!(
                "{NOT_AUTHORIZED}: publishing takes the role publisher in the project \"{project}\"; ask who administers the server"
            )));
        }
    }
    if secret.is_some() {
        ask.wrong_secret(Claim::Image(fingerprint.unwrap_or_default())).await?;
    }
    Err(forbidden(NOT_AUTHORIZED.to_owned()))
}

fn forbidden(sentence: String) -> Failure {
    Failure::Told(StatusCode::FORBIDDEN, sentence)
}

/// What the body is.
enum Content {
    /// A request.
    Json(Incoming),
    /// An image: one file, or two, between which this boundary stands.
    Image(Incoming, Option<String>),
}

impl Content {
    /// Told by the header. Where that leaves it open (some programs send JSON and say nothing, or something else), by the first
    /// byte: the daemons take everything for JSON that is JSON, and no image begins with a brace.
    async fn of(ask: &Ask<'_>, body: Incoming) -> Result<Self, Failure> {
        let told = ask.request.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let media = told.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        match media.as_str() {
            "application/json" => Ok(Self::Json(body)),
            "application/octet-stream" => Ok(Self::Image(body, None)),
            "multipart/form-data" => match multer::parse_boundary(told) {
                Ok(boundary) => Ok(Self::Image(body, Some(boundary))),
                Err(_) => Err(bad_request("a multipart body needs a boundary in its Content-Type; add it")),
            },
            _ => Self::guess(body).await,
        }
    }

    async fn guess(mut body: Incoming) -> Result<Self, Failure> {
        let mut first = Bytes::new();
        while first.is_empty() {
            match body.try_next().await.map_err(crate::http::incoming::BodyError::from)? {
                Some(piece) => first = piece,
                None => return Err(bad_request("there is no body; send an image, or a request in JSON")),
            }
        }
        let json = first.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        let again = stream::iter([Ok(first)]).chain(body).map_ok(Frame::data);
        let body = Incoming::new(StreamBody::new(again));
        Ok(if json { Self::Json(body) } else { Self::Image(body, None) })
    }
}

fn bad_request(sentence: &str) -> Failure {
    Failure::Told(StatusCode::BAD_REQUEST, sentence.to_owned())
}

async fn json(ask: &Ask<'_>, right: Right, body: Incoming) -> Result<Response<Body>, Failure> {
    let Right::Publisher(project) = right else {
        // A token is for one upload, not for asking the server to do something.
        return Err(forbidden(NOT_AUTHORIZED.to_owned()));
    };
    let request: lxd::ImagesPost = body.json().await?;
    let Some(source) = &request.source else {
        return Err(bad_request(
            "the request does not say where the image comes from; add source, or send the image itself",
        ));
    };
    match (source.mode.as_str(), source.kind.as_str()) {
        ("push", _) => token(ask, project, request).await,
        ("" | "pull", "image" | "url") => pull::post(ask, request).await,
        (_, "instance" | "container" | "virtual-machine" | "snapshot") => Err(bad_request(
            "this server keeps images and runs no instances; publish on the server that runs it, and copy the image here",
        )),
        // The words of the daemons.
        _ => Err(bad_request("Invalid images JSON")),
    }
}

/// Agrees on an image that another server will upload, and gives the secret with which it does.
async fn token(ask: &Ask<'_>, project: ProjectName, request: lxd::ImagesPost) -> Result<Response<Body>, Failure> {
    let lxd::ImagesPost { put, source, aliases, .. } = request;
    let fingerprint = source.unwrap_or_default().fingerprint;
    let fingerprint: Fingerprint = fingerprint.parse().map_err(|_| {
        bad_request("a push needs the whole fingerprint of the image: 64 hexadecimal digits; give all of them")
    })?;
    let aliases = aliases.into_iter().map(|alias| AliasName::new(alias.name));
    let aliases = aliases.collect::<Result<_, _>>().map_err(|error| bad_request(&error.to_string()))?;
    let push = Push {
        fingerprint,
        properties: put.properties,
        public: put.public,
        auto_update: put.auto_update,
        expires_at: put.expires_at.0.map(Timestamp::unix),
        profiles: put.profiles,
        aliases,
        published_by: ask.caller.access.identity().map(|identity| identity.id),
    };
    let token = NewToken {
        // As in LXD `lxd/db/operationtype`.
        description: "Image download token".to_owned(),
        project,
        resources: BTreeMap::from([("images".to_owned(), vec![format!("/1.0/images/{fingerprint}")])]),
        metadata: Map::from_iter([("fingerprint".to_owned(), fingerprint.to_string().into())]),
        purpose: Purpose::Push(push),
        expires_at: Some(ask.now().plus_seconds(PUSH_TOKEN_LIFE)),
    };
    background(&ask.state.operations.token(&ask.caller.actor, token).await?)
}
