//! Bringing an image to another server: to one that was told to expect it (LXD `lxd/images.go` `imageExportPost`), or to one that knows us
//! (`client/lxd_images.go` `CreateImage`).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use headwater_formats::digest::Fingerprint;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Deserialize;

use super::ask::Session;
use super::credential::Credential;
use super::trust::Trust;
use super::{Client, ClientError, Server};

/// Where to, and what shows that it is agreed.
#[derive(Debug, Clone)]
pub struct Target {
    server: Url,
    trust: Trust,
    secret: String,
    project: String,
    profiles: Vec<String>,
}

impl Target {
    /// The server at this address, which gave this secret; `certificate` in PEM, or empty for one that the system trusts. An empty
    /// project leaves it to the server; profiles are sent when there are any.
    pub fn new(
        server: &str,
        certificate: &str,
        secret: &str,
        project: &str,
        profiles: Vec<String>,
    ) -> Result<Self, ClientError> {
        let address = || ClientError::Address(super::error::words(server));
        let url = Url::parse(server.trim()).map_err(|_| address())?;
        if url.scheme() != "https" || url.host_str().is_none_or(str::is_empty) {
            return Err(address());
        }
        Ok(Self {
            server: url,
            trust: Trust::from_pem(certificate)?,
            secret: secret.to_owned(),
            project: project.to_owned(),
            profiles,
        })
    }
}

/// What is sent.
pub struct Upload<S> {
    /// The image.
    pub fingerprint: Fingerprint,
    /// `application/octet-stream`, or `multipart/form-data` with its boundary.
    pub content_type: String,
    /// The length of the body in bytes.
    pub length: u64,
    /// The body.
    pub pieces: S,
}

/// The operation that takes the image in, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Operation {
    id: String,
    status_code: u16,
    metadata: Option<serde_json::Map<String, serde_json::Value>>,
    err: String,
}

/// What an upload is doing, as seen from its body.
struct Watch {
    began: Instant,
    /// When the last piece was asked for, in milliseconds since the beginning.
    asked: AtomicU64,
    sent: AtomicU64,
}

impl Client {
    /// Sends the image and waits until the other server has it. `progress` is told how many bytes were sent so far. When this
    /// is dropped, the upload is broken off, and the other server keeps nothing.
    ///
    /// # Errors
    /// When the server cannot be reached, is not believed, stops taking bytes, or does not take the image.
    pub async fn push<S>(
        &self,
        target: &Target,
        upload: Upload<S>,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(), ClientError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let session =
            Session::new(&target.server, &target.trust, &Credential::Nothing, &self.limits, &self.user_agent())?;
        // What it says is of no use to us; that it can be reached is better known before the bytes move.
        let _: serde_json::Value = session.api(session.address(["1.0"], &[])?).await?;
        let project = (!target.project.is_empty()).then_some(("project", target.project.as_str()));
        let address = session.address(["1.0", "images"], project.as_slice())?;
        let Upload { fingerprint, content_type, length, pieces } = upload;
        let watch = Arc::new(Watch { began: Instant::now(), asked: AtomicU64::new(0), sent: AtomicU64::new(0) });
        let watched = watched(pieces, Arc::clone(&watch), progress);
        let request = headers(session.request(Method::POST, address), target, &fingerprint)
            .header(CONTENT_TYPE, content_type)
            .header(CONTENT_LENGTH, length)
            .body(reqwest::Body::wrap_stream(watched));
        let response = send(&session, request, &watch, length).await?;
        let operation: Operation = session.understand(response).await?;
        let operation = wait(&session, &target.project, operation).await?;
        taken(&session, &fingerprint, &operation)
    }
}

/// How an image is to be listed by a server that knows us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// What its file is called.
    pub filename: String,
    /// Whether guests see it.
    pub public: bool,
    /// All its properties.
    pub properties: BTreeMap<String, String>,
}

impl Server {
    /// Sends an image into a project of a server that knows us, and waits until it has it: see [`Client::push`].
    ///
    /// # Errors
    /// As there.
    pub async fn upload<S>(
        &self,
        project: &str,
        listed: &Listed,
        upload: Upload<S>,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(), ClientError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let session = &self.session;
        let project_there = (!project.is_empty()).then_some(("project", project));
        let address = session.address(["1.0", "images"], project_there.as_slice())?;
        let Upload { fingerprint, content_type, length, pieces } = upload;
        let watch = Arc::new(Watch { began: Instant::now(), asked: AtomicU64::new(0), sent: AtomicU64::new(0) });
        let watched = watched(pieces, Arc::clone(&watch), progress);
        let mut request = session.request(Method::POST, address);
        let properties = form(listed.properties.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        for family in FAMILIES {
            request = request
                .header(format!("{family}-filename"), &listed.filename)
                .header(format!("{family}-public"), if listed.public { "true" } else { "false" })
                .header(format!("{family}-properties"), &properties);
        }
        let request = request
            .header(CONTENT_TYPE, content_type)
            .header(CONTENT_LENGTH, length)
            .body(reqwest::Body::wrap_stream(watched));
        let response = send(session, request, &watch, length).await?;
        let operation: Operation = session.understand(response).await?;
        let operation = wait(session, project, operation).await?;
        taken(session, &fingerprint, &operation)
    }
}

/// How headers begin: both, because each kind of server reads its own only.
const FAMILIES: [&str; 2] = ["X-LXD", "X-Incus"];

fn headers(mut request: RequestBuilder, target: &Target, fingerprint: &Fingerprint) -> RequestBuilder {
    let profiles = form(target.profiles.iter().map(|profile| ("profile", profile.as_str())));
    let fingerprint = fingerprint.to_string();
    for family in FAMILIES {
        request = request
            .header(format!("{family}-filename"), &fingerprint)
            .header(format!("{family}-fingerprint"), &fingerprint)
            .header(format!("{family}-secret"), &target.secret);
        if !profiles.is_empty() {
            request = request.header(format!("{family}-profiles"), &profiles);
        }
    }
    request
}

/// Pairs as in a query.
fn form<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let escape =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    pairs.map(|(key, value)| format!("{key}={}", escape(value))).collect::<Vec<_>>().join("&")
}

fn watched<S>(
    pieces: S,
    watch: Arc<Watch>,
    progress: impl Fn(u64) + Send + Sync + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    pieces.map(move |piece| {
        let now = u64::try_from(watch.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        watch.asked.store(now, Ordering::Relaxed);
        if let Ok(piece) = &piece {
            let length = piece.len() as u64;
            progress(watch.sent.fetch_add(length, Ordering::Relaxed) + length);
        }
        piece
    })
}

/// Sends, and gives up when nothing moves: no piece is asked for, or, after the last one, no answer comes.
async fn send(session: &Session, request: RequestBuilder, watch: &Watch, length: u64) -> Result<Response, ClientError> {
    let limits = &session.limits;
    let stalled = async {
        loop {
            let sent = watch.sent.load(Ordering::Relaxed);
            let limit = if sent < length { limits.stall } else { limits.upload };
            let idle = watch.began.elapsed().saturating_sub(Duration::from_millis(watch.asked.load(Ordering::Relaxed)));
            match limit.checked_sub(idle) {
                Some(left) if !left.is_zero() => tokio::time::sleep(left.max(Duration::from_millis(1))).await,
                _ => return (sent, limit),
            }
        }
    };
    tokio::select! {
        sent = request.send() => sent.map_err(|error| ClientError::request(&session.name, &error.without_url())),
        (sent, limit) = stalled => {
            let did = if sent < length { "took nothing more" } else { "did not answer" };
            Err(ClientError::broken(&session.name, format!("{did} for {} seconds after {sent} of {length} bytes", limit.as_secs_f32())))
        }
    }
}

/// Waits for the operation, with the secret that came with it if one did.
async fn wait(session: &Session, project: &str, operation: Operation) -> Result<Operation, ClientError> {
    if operation.status_code >= 200 {
        return Ok(operation);
    }
    let secret = operation.metadata.as_ref().and_then(|told| told.get("secret")).and_then(|secret| secret.as_str());
    let project = (!project.is_empty()).then_some(("project", project));
    let query: Vec<(&str, &str)> =
        project.into_iter().chain(secret.map(|secret| ("secret", secret))).chain([("timeout", "-1")]).collect();
    let address = session.address(["1.0", "operations", &operation.id, "wait"], &query)?;
    let response = session.send_within(session.limits.upload, session.request(Method::GET, address)).await?;
    session.understand(response).await
}

fn taken(session: &Session, fingerprint: &Fingerprint, operation: &Operation) -> Result<(), ClientError> {
    if operation.status_code != 200 {
        let said = super::error::words(&operation.err);
        return Err(ClientError::Refused(format!("{} did not take the image: {said}", session.name)));
    }
    let told = operation.metadata.as_ref().and_then(|told| told.get("fingerprint")).and_then(|value| value.as_str());
    match told {
        Some(told) if told != fingerprint.to_string() => {
            let what = format!("took {} bytes and says that they are another image", fingerprint.short());
            Err(ClientError::nonsense(&session.name, what))
        }
        _ => Ok(()),
    }
}
