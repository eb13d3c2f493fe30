//! A server that is asked again and again, over connections that are kept: its lists of images, documents only when they changed, files from any byte on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_formats::simplestreams::parse::RelativePath;
use http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{Method, RequestBuilder, Response};
use serde::{Deserialize, Serialize};

use super::ask::Session;
use super::deliver::not_over;
use super::origin::Files;
use super::streams::{StreamProducts, below};
use super::{ClientError, Delivery, Offer, direct, export, lxd, streams};

/// Longest validator that is kept, in bytes.
const MAX_VALIDATOR: usize = 512;
/// How long a document has to be as it is before a time says so; times are told in seconds.
const SETTLED: Duration = Duration::from_secs(2);

/// Tells whether documents are signed by somebody who is believed. An error is the rest of a sentence that names the document.
pub trait Seal: Send + Sync {
    /// The text within a clear-signed document.
    ///
    /// # Errors
    /// Why it is not believed.
    fn open(&self, signed: &[u8]) -> Result<Vec<u8>, String>;
    /// Whether a signature is over these bytes.
    ///
    /// # Errors
    /// Why it is not believed.
    fn check(&self, text: &[u8], signature: &[u8]) -> Result<(), String>;
}

/// A server, and connections to it that are kept for the next request.
#[derive(Debug, Clone)]
pub struct Server {
    pub(super) session: Session,
}

/// What a server said of a document when it sent it, to ask later whether it changed (RFC 9110, section 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// Its entity tag, weak ones included, as it came.
    pub etag: Option<String>,
    /// When it changed last, in the server's own words.
    pub modified: Option<String>,
}

/// Keeps what the documents of a server were, for the next time that they are asked for. May block.
pub trait Keep: Send + Sync + std::fmt::Debug {
    /// What is kept of the document at an address, and what came with it.
    fn get(&self, address: &str) -> Option<(Validators, Vec<u8>)>;
    /// Keeps a document. When that fails, it comes again the next time.
    fn put(&self, address: &str, validators: &Validators, bytes: &[u8]);
}

/// A document that was asked for.
#[derive(Debug)]
pub(super) enum Document {
    /// Its bytes, and what to ask with the next time.
    New {
        /// All of it.
        bytes: Vec<u8>,
        /// Empty when the server said nothing.
        validators: Validators,
    },
    /// It is what it was.
    Unchanged,
}

/// How the answer to the question for a file begins.
#[derive(Debug)]
pub enum Began {
    /// Its bytes come.
    Body(Box<Body>),
    /// There are none from there on (416).
    Outside {
        /// How long the server says that the file is.
        length: Option<u64>,
    },
}

/// The bytes of a file, from one of them to the last.
#[derive(Debug)]
pub struct Body {
    session: Session,
    response: Response,
    /// Which byte comes first: the one that was asked for, or 0 when the server sends all of the file.
    pub start: u64,
    /// The file's strong entity tag: what the rest can be asked for with later.
    pub etag: Option<String>,
    size: u64,
    had: u64,
}

impl Server {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// With documents that come only when they are others than those that are kept.
    #[must_use]
    pub fn keeping(self, copies: Arc<dyn Keep>) -> Self {
        Self { session: self.session.keeping(copies) }
    }

    /// What it is called in messages: its address, without what may be secret.
    pub fn name(&self) -> &str {
        &self.session.name
    }

    /// Where its documents are that list images, by its index. With a seal, that has to be signed: clear-signed (`.sjson`), or beside it (`.json.gpg`).
    ///
    /// # Errors
    /// When it cannot be reached, is not believed, or answers nonsense.
    pub async fn streams(&self, seal: Option<&Arc<dyn Seal>>) -> Result<Vec<RelativePath>, ClientError> {
        streams::paths(&self.session, seal).await
    }

    /// The products of one of these documents, which has to be signed as the index has.
    ///
    /// # Errors
    /// As [`Server::streams`].
    pub async fn products(
        &self,
        path: &RelativePath,
        seal: Option<&Arc<dyn Seal>>,
    ) -> Result<StreamProducts, ClientError> {
        streams::products(&self.session, path, seal).await
    }

    /// All images that its API shows of a project (the server's choice when none is named), each with the name of its architecture. Those that
    /// it only keeps a copy of for itself are passed over.
    ///
    /// # Errors
    /// When it cannot be reached, is not believed, or answers nonsense.
    pub async fn images(&self, project: &str) -> Result<Vec<(Offer, String)>, ClientError> {
        lxd::all(&self.session, project).await
    }

    /// Begins to fetch an image: see [`Client::deliver`](super::Client::deliver).
    ///
    /// # Errors
    /// As there.
    pub async fn deliver(&self, offer: &Offer) -> Result<Delivery, ClientError> {
        match &offer.files {
            Files::Export(address) => export::deliver(&self.session, address.clone(), offer).await,
            Files::File(address) => direct::deliver(&self.session, address.clone(), offer).await,
            Files::Listed { metadata, root } => {
                streams::deliver(self.session.clone(), metadata.clone(), root.clone()).await
            }
        }
    }

    /// A file of `size` bytes, from byte `from` on. With the strong entity tag that came with what is there already, the server sends
    /// all of the file when it changed meanwhile; without one, it is for who asks to compare the whole with its digest.
    ///
    /// The bytes are those that the server has, never decoded. An answer of another length is refused as soon as it shows.
    ///
    /// # Errors
    /// When the server cannot be asked, says no, or answers what cannot be a part of this file.
    pub async fn file(&self, path: &str, size: u64, from: u64, etag: Option<&str>) -> Result<Began, ClientError> {
        let mut request = self.session.request(Method::GET, below(self.session.base(), path));
        // Some servers would compress for who says nothing, and then count in compressed bytes.
        request = request.header(ACCEPT_ENCODING, "identity");
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
            request = with(request, IF_RANGE, etag.filter(|etag| is_strong(etag)));
        }
        let response = self.session.send(request).await?;
        let (start, end) = match response.status() {
            StatusCode::OK => (0, size),
            StatusCode::PARTIAL_CONTENT if from > 0 => self.part(response.headers(), from, size)?,
            StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => {
                let range = content_range(response.headers());
                return Ok(Began::Outside { length: range.and_then(|range| range.total) });
            }
            StatusCode::PARTIAL_CONTENT => {
                return Err(self.nonsense("sends a part of a file that was asked for as a whole"));
            }
            _ => return Err(self.session.refusal(response).await),
        };
        if let Some(length) = length(response.headers())
            && length != end - start
        {
            let what = format!("has {length} bytes for {path:?}, where {} belong", end - start);
            return Err(self.nonsense(what));
        }
        let etag = text(response.headers(), ETAG).filter(|etag| is_strong(etag));
        let body = Body { session: self.session.clone(), response, start, etag, size, had: start };
        Ok(Began::Body(Box::new(body)))
    }

    /// Which bytes of the file a 206 brings, the second one not included.
    fn part(&self, headers: &HeaderMap, from: u64, size: u64) -> Result<(u64, u64), ClientError> {
        let range = content_range(headers)
            .and_then(|range| Some((range.part?, range.total)))
            .ok_or_else(|| self.nonsense("sends a part of a file and does not say which"))?;
        match range {
            (_, Some(total)) if total != size => {
                Err(self.nonsense(format!("has a file of {total} bytes, where its list says {size}")))
            }
            // A part that ends earlier is one, too: the rest is asked for later.
            ((first, last), _) if first == from && (first..size).contains(&last) => Ok((first, last + 1)),
            ((first, last), _) => Err(self.nonsense(format!(
                "sends the bytes from {first} to {last} of a file of {size}, where those from {from} on were asked for"
            ))),
        }
    }

    fn nonsense(&self, what: impl Into<String>) -> ClientError {
        ClientError::nonsense(&self.session.name, what)
    }
}

impl Body {
    /// The next bytes. `None` only when the last byte of the file came.
    ///
    /// # Errors
    /// When the connection breaks, stalls or ends before that; as soon as there are more bytes than the file has.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, ClientError> {
        match self.session.piece(&mut self.response, self.had).await? {
            Some(piece) => {
                self.had += piece.len() as u64;
                not_over(&self.session, Some(self.size), self.had)?;
                Ok(Some(piece))
            }
            None if self.had == self.size => Ok(None),
            None => {
                Err(ClientError::broken(&self.session.name, format!("ended after {} bytes of {}", self.had, self.size)))
            }
        }
    }
}

impl Validators {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let validators = Self { etag: text(headers, ETAG), modified: text(headers, LAST_MODIFIED) };
        let date = |text: &str| httpdate::parse_http_date(text).ok();
        let (changed, now) =
            (validators.modified.as_deref().and_then(date), text(headers, DATE).as_deref().and_then(date));
        match (changed, now) {
            // What changed a moment ago may change once more within the same second, and many servers make the tag from the time.
            (Some(changed), Some(now)) if changed + SETTLED > now => Self::default(),
            _ => validators,
        }
    }

    /// Whether there is nothing to ask with.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.modified.is_none()
    }

    pub(super) fn condition(&self, request: RequestBuilder) -> RequestBuilder {
        let request = with(request, IF_NONE_MATCH, self.etag.as_deref());
        with(request, IF_MODIFIED_SINCE, self.modified.as_deref())
    }
}

/// The request with a header, if there is something to write into it that a header can hold.
fn with(request: RequestBuilder, name: HeaderName, value: Option<&str>) -> RequestBuilder {
    match value.and_then(|value| HeaderValue::from_str(value).ok()) {
        Some(value) => request.header(name, value),
        None => request,
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    Some(text).filter(|text| !text.is_empty() && text.len() <= MAX_VALIDATOR).map(str::to_owned)
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Only strong tags stand for equal bytes (RFC 9110, section 13.1.5).
fn is_strong(etag: &str) -> bool {
    etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"')
}

/// What a `Content-Range` says (RFC 9110, section 14.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ContentRange {
    /// The first and the last byte; `None` of a part that there is not.
    part: Option<(u64, u64)>,
    total: Option<u64>,
}

fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?.trim();
    let (unit, range) = text.split_once(' ')?;
    let (part, total) = range.trim().split_once('/')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let total = if total == "*" { None } else { Some(number(total)?) };
    let part = match part {
        "*" => None,
        part => {
            let (first, last) = part.split_once('-')?;
            let (first, last) = (number(first)?, number(last)?);
            (first <= last && total.is_none_or(|total| last < total)).then_some(())?;
            Some((first, last))
        }
    };
    Some(ContentRange { part, total })
}

/// Digits only: `parse` would take a plus.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        let read = |text: &str| content_range(&HeaderMap::from_iter([(CONTENT_RANGE, text.parse().unwrap())]));
        let range = |part, total| Some(ContentRange { part, total });
        for (text, expected) in [
            ("bytes 5-9/10", range(Some((5, 9)), Some(10))),
            ("Bytes 0-0/*", range(Some((0, 0)), None)),
            ("bytes */10", range(None, Some(10))),
            ("bytes 5-10/10", None),
            ("bytes 9-5/10", None),
            ("bytes +5-9/10", None),
            ("bytes 5-9", None),
            ("items 5-9/10", None),
            ("bytes -/10", None),
            ("bytes 5-99999999999999999999/*", None),
            ("", None),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn only_strong_tags_stand_for_bytes() {
        for (tag, expected) in [("\"a\"", true), ("W/\"a\"", false), ("a", false), ("\"", false), ("\"\"", false)] {
            assert_eq!(is_strong(tag), expected, "{tag}");
        }
    }
}
