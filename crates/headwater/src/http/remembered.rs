//! Answers that guests were given, for the next one who asks the same while the catalog is as it was.
//!
//! Most requests to an image server are the same few, from guests: an index, an alias, an image. Their answers are kept whole
//! and sent again as long as nothing at all was written to the catalog ([`Moment`]), which costs no work but finding them. Nothing is
//! kept that depends on who asks, or that asking changes: requests with credentials, or with a token or a secret in
//! their address, never come here. Which routes do, the table says ([`Row::remembered`](super::route::Row)).
//!
//! An answer depends on no other header than those in [`Key`]. A long list is kept when it was sent to its end and is not too large;
//! only so many are copied at a time ([`COPIED_AT_ONCE`]), so that guests who read slowly do not fill the memory with what may be kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use moka::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::{Body, Pieces};
use super::caller;
use super::conditional::{self, Validators, Verdict};
use super::query::Query;
use super::route::Row;
use super::{Connection, State, Transport};
use crate::catalog::{Catalog, Moment};

/// How long an answer is kept that nobody asks for.
const IDLE: Duration = Duration::from_secs(600);
/// How much of the memory one answer may take: so many can be kept at least.
const AT_LEAST: u64 = 4;
/// How many lists may be copied at a time while they are sent. Each copy grows to what one answer may take, outside of the bound on
/// what is kept, and lives as long as the client takes to read.
const COPIED_AT_ONCE: usize = 4;
/// Longest address of a request that is remembered, in bytes.
const LONGEST: usize = 1024;
/// How many certificates that nobody here knows are remembered as such.
const STRANGERS: u64 = 10_000;

/// What an answer depends on, beside the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

/// An answer.
#[derive(Debug)]
struct Kept {
    moment: Moment,
    headers: HeaderMap,
    /// Those of an answer that nothing changed.
    unchanged: HeaderMap,
    /// `None` as long as everybody who asked had them already.
    bytes: Option<Bytes>,
    /// Set when the conditions of a request count for it.
    validators: Option<Validators>,
}

/// The answers, and the certificates of strangers.
#[derive(Debug)]
pub struct Remembered {
    answers: Cache<Key, Arc<Kept>>,
    largest: u64,
    copying: Arc<Semaphore>,
    strangers: Cache<String, Moment>,
}

impl Remembered {
    /// Nothing yet, with room for that many bytes.
    pub fn new(bytes: u64) -> Self {
        let weigh = |key: &Key, kept: &Arc<Kept>| {
            u32::try_from(key.0.len() + kept.bytes.as_ref().map_or(0, Bytes::len) + 1024).unwrap_or(u32::MAX)
        };
        Self {
            answers: Cache::builder().max_capacity(bytes).weigher(weigh).time_to_idle(IDLE).build(),
            largest: bytes / AT_LEAST,
            copying: Arc::new(Semaphore::new(COPIED_AT_ONCE)),
            strangers: Cache::builder().max_capacity(STRANGERS).time_to_idle(IDLE).build(),
        }
    }

    /// Notes that at this moment nobody was known by that certificate. Who is known is looked up every time.
    pub fn note_stranger(&self, fingerprint: &str, moment: Moment) {
        self.strangers.insert(fingerprint.to_owned(), moment);
    }

    /// Whether it was noted at this very moment.
    pub fn is_stranger(&self, fingerprint: &str, moment: Moment) -> bool {
        self.strangers.get(fingerprint) == Some(moment)
    }

    /// What the next one who asks the same will be told, if the route says that it may be.
    pub(super) fn keep(
        self: &Arc<Self>,
        (key, moment): (Key, Moment),
        row: &Row,
        catalog: &Catalog,
        response: Response<Body>,
    ) -> Response<Body> {
        let unchanged = response.status() == StatusCode::NOT_MODIFIED;
        if !row.remembered || !(unchanged || response.status() == StatusCode::OK) {
            return response;
        }
        let (parts, body) = response.into_parts();
        let validators = parts.extensions.get().cloned();
        let headers = parts.headers.clone();
        let kept = Kept { moment, unchanged: without_content(headers.clone()), headers, bytes: None, validators };
        if unchanged {
            // Hosts that look for changes send nothing but such requests.
            if kept.validators.is_some() {
                self.answers.insert(key, Arc::new(kept));
            }
            return Response::from_parts(parts, body);
        }
        let body = match body.into_bytes() {
            Ok(bytes) => {
                if bytes.len() as u64 <= self.largest {
                    self.answers.insert(key, Arc::new(Kept { bytes: Some(bytes.clone()), ..kept }));
                }
                Body::full(bytes)
            }
            Err(body) => match (body.into_stream(), Arc::clone(&self.copying).try_acquire_owned()) {
                (Ok(pieces), Ok(turn)) => Body::stream(
                    Tee {
                        pieces: Some(pieces),
                        copy: Some(Copy { bytes: Vec::new(), _turn: turn }),
                        kept: Some((key, kept)),
                        remembered: Arc::clone(self),
                        catalog: catalog.clone(),
                    }
                    .into_stream(),
                ),
                (Ok(pieces), Err(_)) => Body::stream(pieces),
                (Err(body), _) => body,
            },
        };
        Response::from_parts(parts, body)
    }
}

/// The key of a request whose answer may be remembered, and the moment that it is asked at.
pub(super) async fn asked(state: &State, request: &Parts, connection: &Connection) -> Option<(Key, Moment)> {
    if !matches!(request.method, Method::GET | Method::HEAD) || caller::presents(request) || caller::insists(request) {
        return None;
    }
    let Transport::Tls(certificate) = &connection.transport else { return None };
    let target = request.uri.path_and_query()?.as_str();
    if target.len() > LONGEST || target.starts_with("/t/") {
        return None;
    }
    if request
        .uri
        .query()
        .is_some_and(|query| Query::parse(Some(query)).map_or(true, |query| query.get("secret").is_some()))
    {
        return None;
    }
    let moment = state.app.catalog.moment().await.ok()?;
    if let Some(certificate) = certificate
        && !state.remembered.is_stranger(&certificate.fingerprint, moment)
    {
        return None;
    }
    let header = |name| request.headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
    let (agent, coding) = (header(header::USER_AGENT), header(header::ACCEPT_ENCODING));
    if agent.len() + coding.len() > LONGEST {
        return None;
    }
    let method = request.method.as_str();
    let mut key = String::with_capacity(method.len() + target.len() + agent.len() + coding.len() + 2);
    key.push_str(method);
    key.push_str(target);
    for value in [agent, coding] {
        // Neither can hold a line break.
        key.push('\n');
        key.push_str(std::str::from_utf8(value).ok()?);
    }
    Some((Key(key), moment))
}

/// The answer that is kept, as this request wants it.
pub(super) fn recall(state: &State, request: &Parts, (key, moment): &(Key, Moment)) -> Option<Response<Body>> {
    let kept = state.remembered.answers.get(key).filter(|kept| kept.moment == *moment)?;
    let verdict = match &kept.validators {
        Some(validators) => conditional::evaluate(&request.headers, validators),
        None => Verdict::Send,
    };
    let (status, headers, body) = match verdict {
        Verdict::Send => (StatusCode::OK, &kept.headers, Body::full(kept.bytes.clone()?)),
        Verdict::NotModified => (StatusCode::NOT_MODIFIED, &kept.unchanged, Body::empty()),
        Verdict::Failed => return None,
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers.clone();
    Some(response)
}

/// Without what is said of a body that is not sent, and without a second thing to know it by.
fn without_content(mut headers: HeaderMap) -> HeaderMap {
    for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::CONTENT_ENCODING, header::X_CONTENT_TYPE_OPTIONS]
    {
        headers.remove(name);
    }
    if headers.contains_key(header::ETAG) {
        headers.remove(header::LAST_MODIFIED);
    }
    headers
}

/// What was sent of a list, and the turn that it takes until it is kept or given up.
struct Copy {
    bytes: Vec<u8>,
    _turn: OwnedSemaphorePermit,
}

/// A list that is being sent, and copied meanwhile.
struct Tee {
    pieces: Option<Pieces>,
    /// `None` once that is too much.
    copy: Option<Copy>,
    kept: Option<(Key, Kept)>,
    remembered: Arc<Remembered>,
    catalog: Catalog,
}

impl Tee {
    fn into_stream(self) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send {
        stream::unfold(self, |mut tee| async {
            match tee.pieces.as_mut()?.next().await {
                Some(Ok(piece)) => {
                    let largest = tee.remembered.largest;
                    tee.copy = tee.copy.filter(|copy| (copy.bytes.len() + piece.len()) as u64 <= largest);
                    if let Some(copy) = &mut tee.copy {
                        copy.bytes.extend_from_slice(&piece);
                    }
                    Some((Ok(piece), tee))
                }
                Some(Err(error)) => Some((Err(error), Self { pieces: None, ..tee })),
                None => {
                    tee.end().await;
                    None
                }
            }
        })
    }

    /// Keeps the copy if the catalog is still as it was at the first piece.
    async fn end(self) {
        let (Some(copy), Some((key, mut kept))) = (self.copy, self.kept) else { return };
        if self.catalog.moment().await.is_ok_and(|now| now == kept.moment) {
            kept.headers.insert(header::CONTENT_LENGTH, copy.bytes.len().into());
            kept.bytes = Some(copy.bytes.into());
            self.remembered.answers.insert(key, Arc::new(kept));
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater_formats::timestamp::Timestamp;
    use http::Request;

    use super::*;
    use crate::app::App;
    use crate::http::incoming::Incoming;
    use crate::http::{Settings, handle};

    fn request(agent: &str, tag: &str) -> Request<Incoming> {
        let request = Request::get("/streams/v1/index.json").header("user-agent", agent).header("if-none-match", tag);
        request.body(Incoming::empty()).unwrap()
    }

    /// What such a request is told without work.
    async fn recalled(state: &State, agent: &str, tag: &str) -> Option<StatusCode> {
        let (parts, _) = request(agent, tag).into_parts();
        let asked = asked(state, &parts, &Connection::test_tls()).await.unwrap();
        recall(state, &parts, &asked).map(|response| response.status())
    }

    #[tokio::test]
    async fn who_only_asks_whether_something_changed_is_told_without_work() {
        let folder = tempfile::tempdir().unwrap();
        let app = App::open(folder.path(), None).await.unwrap();
        let state = Arc::new(State::new(app, Settings::default(), || Timestamp::EPOCH));
        let connection = Connection::test_tls();
        let tell = async |agent, tag| handle(&state, request(agent, tag), &connection).await;
        let tag = tell("somebody", "\"x\"").await.headers()["etag"].to_str().unwrap().to_owned();

        let agent = "a host that looks for changes";
        assert_eq!(recalled(&state, agent, &tag).await, None);
        let first = tell(agent, &tag).await;
        assert_eq!(first.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(recalled(&state, agent, &tag).await, Some(StatusCode::NOT_MODIFIED));
        assert_eq!(tell(agent, &tag).await.headers(), first.headers());
        // It has no bytes for who needs them, who brings them for both.
        assert_eq!(recalled(&state, agent, "\"old\"").await, None);
        let whole = tell(agent, "\"old\"").await;
        assert_eq!((whole.status(), whole.body().length().unwrap_or_default() > 0), (StatusCode::OK, true));
        assert_eq!(recalled(&state, agent, "\"old\"").await, Some(StatusCode::OK));
        assert_eq!(recalled(&state, agent, &tag).await, Some(StatusCode::NOT_MODIFIED));
        assert_eq!(tell(agent, &tag).await.headers(), first.headers());
    }
}
