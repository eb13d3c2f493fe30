//! Answers: from what is to be sent and what the request's headers say to status, headers and body.
//!
//! The rules of HTTP (conditions, ranges, HEAD, lengths, caching) are applied here, once, for every front-end. This file
//! knows nothing of catalogs or protocols.

use std::borrow::Cow;
use std::fs::File;
use std::sync::Arc;

use headwater_formats::image::{Compression, FileFormat};
use headwater_formats::timestamp::Timestamp;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::body::Body;
use super::buffers::Pool;
use super::conditional::{self, Range, Validators, Verdict};
use super::content::Content;

/// Caches may keep a file for ever: its address is the hash of its bytes.
pub const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// Caches may keep a document for a minute, so that a new image is seen soon.
pub const SHORT: &str = "public, max-age=60";
/// The same for a document that is one caller's: nobody between may keep it.
pub const PRIVATE_SHORT: &str = "private, max-age=60";
/// A file that not everybody may have: its bytes stay the same, but nobody between may keep them.
pub const PRIVATE_FILE: &str = "private, max-age=86400, immutable";
/// Answers that are about now.
pub const NEVER: &str = "no-store";

/// Sets a header whose value we made ourselves; one that HTTP cannot carry is left out.
pub fn set(response: &mut Response<Body>, name: HeaderName, value: impl Into<Cow<'static, str>>) {
    let value = match value.into() {
        Cow::Borrowed(text) => HeaderValue::from_str(text),
        Cow::Owned(text) => HeaderValue::try_from(text),
    };
    if let Ok(value) = value {
        response.headers_mut().insert(name, value);
    }
}

/// An answer with a body whose length, if known, is in its headers.
pub fn with(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let length = body.length();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, content_type);
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if let Some(length) = length {
        set(&mut response, header::CONTENT_LENGTH, length.to_string());
    }
    response
}

/// A sentence in plain text.
pub fn text(status: StatusCode, sentence: impl std::fmt::Display) -> Response<Body> {
    let mut response = with(status, "text/plain; charset=utf-8", Body::full(format!("{sentence}\n")));
    set(&mut response, header::CACHE_CONTROL, NEVER);
    response
}

/// What a HEAD gets: all but the body.
pub fn without_body(response: Response<Body>) -> Response<Body> {
    response.map(|_| Body::empty())
}

/// A document.
#[derive(Debug)]
pub struct Document {
    /// The bytes as they are sent.
    pub body: Body,
    /// Whether they are compressed with gzip.
    pub gzip: bool,
    /// Its media type.
    pub content_type: &'static str,
    /// What a client's copy is compared with.
    pub validators: Validators,
    /// The request headers that it depends on; empty for none.
    pub vary: &'static str,
    /// How long caches may keep it, and which.
    pub cache: &'static str,
}

/// Answers with a document, or with 304 or 412 if the request's conditions say so.
pub fn document(request: &Parts, document: Document) -> Response<Body> {
    let verdict = conditional::evaluate(&request.headers, &document.validators);
    let mut response = match verdict {
        Verdict::Send => with(StatusCode::OK, document.content_type, document.body),
        other => refused(other),
    };
    set(&mut response, header::CACHE_CONTROL, document.cache);
    if !document.vary.is_empty() {
        set(&mut response, header::VARY, document.vary);
    }
    validate(&mut response, &document.validators);
    if verdict == Verdict::Send && document.gzip {
        set(&mut response, header::CONTENT_ENCODING, "gzip");
    }
    // For who keeps the answer: the next request has conditions of its own.
    response.extensions_mut().insert(document.validators.clone());
    response
}

fn refused(verdict: Verdict) -> Response<Body> {
    match verdict {
        Verdict::NotModified => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        }
        _ => text(StatusCode::PRECONDITION_FAILED, "this is not the version that the request's conditions name"),
    }
}

fn validate(response: &mut Response<Body>, validators: &Validators) {
    if let Some(etag) = &validators.etag {
        set(response, header::ETAG, etag.clone());
        if response.status() == StatusCode::NOT_MODIFIED {
            // Who has the tag needs no date to know it by (RFC 9110, section 15.4.5).
            return;
        }
    }
    if let Some(date) = validators.modified.and_then(conditional::http_date) {
        set(response, header::LAST_MODIFIED, date);
    }
}

/// Whether the bytes of a file of that length are sent to who asks like this, or no more than what is said of it.
pub fn wants_bytes(request: &Parts, size: u64, validators: &Validators) -> bool {
    request.method == Method::GET
        && conditional::evaluate(&request.headers, validators) == Verdict::Send
        && !matches!(
            conditional::range(&request.headers, size, validators.etag.as_deref(), validators.modified),
            Range::Outside
        )
}

/// A file that is open.
#[derive(Debug)]
pub struct OpenFile {
    /// Its bytes.
    pub content: Content,
    /// Its media type.
    pub content_type: &'static str,
    /// What a client's copy is compared with.
    pub validators: Validators,
    /// How long caches may keep it, and which.
    pub cache: Cow<'static, str>,
    /// The name it is to be saved under, for a `Content-Disposition`; only characters that need no quotes.
    pub save_as: Option<String>,
}

/// Answers with a file, or the part of it that the request asks for. Never with a `Content-Encoding`: clients would decode
/// it, and the hash would be wrong.
pub fn file(request: &Parts, open: OpenFile, pool: &Arc<Pool>) -> Response<Body> {
    let verdict = conditional::evaluate(&request.headers, &open.validators);
    let (etag, size) = (open.validators.etag.as_deref(), open.content.size());
    let range = match (verdict, &request.method) {
        (Verdict::Send, &Method::GET) => conditional::range(&request.headers, size, etag, open.validators.modified),
        _ => Range::Whole,
    };
    let content = open.content;
    let piece = |first, length| Body::parts([content.part(first, length, pool)]);
    let mut response = match (verdict, range) {
        (Verdict::Send, Range::Whole) => with(StatusCode::OK, open.content_type, piece(0, size)),
        (Verdict::Send, Range::Part { first, last }) => {
            let mut response = with(StatusCode::PARTIAL_CONTENT, open.content_type, piece(first, last - first + 1));
            set(&mut response, header::CONTENT_RANGE, format!("bytes {first}-{last}/{size}"));
            response
        }
        (Verdict::Send, Range::Outside) => {
            let sentence = format!("the range lies outside the file, which has {size} bytes");
            let mut response = text(StatusCode::RANGE_NOT_SATISFIABLE, sentence);
            set(&mut response, header::CONTENT_RANGE, format!("bytes */{size}"));
            return response;
        }
        (other, _) => refused(other),
    };
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(&mut response, header::CACHE_CONTROL, open.cache);
    validate(&mut response, &open.validators);
    if let Some(name) = open.save_as {
        set(&mut response, header::CONTENT_DISPOSITION, format!("inline;filename={name}"));
    }
    response
}

/// When a file was written, for `Last-Modified`.
pub fn modified(file: &File) -> Option<Timestamp> {
    use std::os::unix::fs::MetadataExt;
    Timestamp::from_unix(file.metadata().ok()?.mtime())
}

/// The media type of an image's file.
pub fn media_type(format: FileFormat) -> &'static str {
    match format {
        FileFormat::Tar(Compression::None) => "application/x-tar",
        FileFormat::Tar(Compression::Gzip) => "application/gzip",
        FileFormat::Tar(Compression::Xz) => "application/x-xz",
        FileFormat::Tar(Compression::Lzma) => "application/x-lzma",
        FileFormat::Tar(Compression::Bzip2) => "application/x-bzip2",
        FileFormat::Tar(Compression::Zstd) => "application/zstd",
        FileFormat::Tar(Compression::Lz4) => "application/x-lz4",
        FileFormat::Squashfs => "application/vnd.squashfs",
        FileFormat::Qcow2 => "application/x-qemu-disk",
        FileFormat::Vcdiff => "application/octet-stream",
    }
}

/// Whether the client takes gzip: `Accept-Encoding` names it (or `*`) and does not give it the weight 0.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut any = None;
    for line in headers.get_all(header::ACCEPT_ENCODING) {
        for offer in line.to_str().unwrap_or_default().split(',') {
            let mut words = offer.split(';').map(str::trim);
            let name = words.next().unwrap_or_default();
            let refused = words.any(|word| {
                word.strip_prefix("q=")
                    .is_some_and(|weight| weight.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0))
            });
            if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
                return !refused;
            }
            if name == "*" {
                any = Some(!refused);
            }
        }
    }
    any.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_those_who_ask_for_it() {
        for (offer, yes) in [
            ("gzip", true),
            ("gzip, deflate", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0, *", false),
            ("*;q=0", false),
            ("identity", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(offer))]);
            assert_eq!(accepts_gzip(&headers), yes, "{offer:?}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
