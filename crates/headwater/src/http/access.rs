//! The access log: one event per request, when its answer has been sent or broken off.
//!
//! Target `access`; fields `method`, `path`, `status`, `bytes`, `ms`, `peer`, `transport`, `family`, `whole`. Secrets in an
//! address are cut out. This file does not know where logs go; that is [`crate::telemetry`].

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use headwater_formats::simplestreams::Family;
use http::request::Parts;
use http::{Method, Response};
use http_body::{Frame, SizeHint};

use super::body::Body;
use super::direct::Direct;
use super::{Connection, Peer, simplestreams};

/// A request that is being answered.
#[derive(Debug)]
pub struct Entry {
    begun: Instant,
    method: Method,
    path: String,
    status: u16,
    peer: Peer,
    transport: &'static str,
    family: Family,
    bytes: u64,
    whole: bool,
    _active: Active,
}

/// Counts the requests that a connection is busy with.
#[derive(Debug)]
pub struct Active(Arc<AtomicUsize>);

impl Active {
    /// One more, until it is dropped.
    pub fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Entry {
    /// Begins with the request.
    pub fn begin(request: &Parts, connection: &Connection, active: Active) -> Self {
        let query = request.uri.query();
        Self {
            begun: Instant::now(),
            method: request.method.clone(),
            path: redacted(request.uri.path(), query),
            status: 0,
            peer: connection.peer.clone(),
            transport: if connection.is_tls() { "tls" } else { "plain" },
            family: simplestreams::family(request),
            bytes: 0,
            whole: false,
            _active: active,
        }
    }

    /// The address as it is written down.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Goes on with the answer's body.
    pub fn follow(mut self, response: Response<Body>) -> Response<Logged> {
        self.status = response.status().as_u16();
        self.whole = http_body::Body::is_end_stream(response.body());
        response.map(|body| Logged { body, entry: self })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            target: "access",
            method = self.method.as_str().get(..LONGEST_METHOD).unwrap_or(self.method.as_str()),
            path = self.path.as_str(),
            status = self.status,
            bytes = self.bytes,
            ms,
            peer = self.peer.as_str(),
            transport = self.transport,
            family = self.family.as_str(),
            whole = self.whole,
            "request"
        );
    }
}

/// A body whose bytes are counted.
#[derive(Debug)]
pub struct Logged {
    body: Body,
    entry: Entry,
}

impl Logged {
    /// See [`Body::send_directly`].
    pub fn send_directly(&mut self, direct: &Direct) {
        self.body.send_directly(direct);
    }
}

impl http_body::Body for Logged {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let outcome = Pin::new(&mut self.body).poll_frame(context);
        match &outcome {
            Poll::Ready(Some(Ok(frame))) => {
                self.entry.bytes += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
                // The engine stops asking when it has got the promised length.
                self.entry.whole = self.body.is_end_stream();
            }
            Poll::Ready(None) => self.entry.whole = true,
            _ => {}
        }
        outcome
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How much of a method is written down: longer than any there is.
const LONGEST_METHOD: usize = 32;

/// Keys of a query whose values stay out of logs.
const SECRET_KEYS: &[&str] = &["secret", "token", "password", "trust_token"];

/// The address as it may be written down: without the values of secret keys, without what follows `/t/` and `/f/`, and
/// without anything that looks like a token, however it is escaped and wherever it stands. At most 1024 bytes of it.
pub fn redacted(path: &str, query: Option<&str>) -> String {
    if query.is_none() && is_harmless(path) {
        return path.to_owned();
    }
    let mut text = String::with_capacity(path.len().min(1024));
    // What comes first says what the next one is; a scheme and a host, or slashes too many, may stand before it.
    let mut after_secret_key = false;
    for (at, segment) in path.split('/').enumerate() {
        if at > 0 {
            text.push('/');
        }
        let plain = unescaped(segment);
        if after_secret_key || holds_a_token(&plain) {
            text.push('…');
        } else {
            text.push_str(segment);
        }
        after_secret_key = !after_secret_key && (plain == "t" || plain == "f");
        if text.len() > 1024 {
            break;
        }
    }
    for (at, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        text.push(if at == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((key, _)) if SECRET_KEYS.iter().any(|secret| key.eq_ignore_ascii_case(secret)) => {
                text.push_str(key);
                text.push_str("=…");
            }
            _ if holds_a_token(&unescaped(pair)) => text.push('…'),
            _ => text.push_str(pair),
        }
        if text.len() > 1024 {
            break;
        }
    }
    if text.len() > 1024 {
        let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= 1024).last().unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Whether nothing of a path could be a secret, by a quick look.
fn is_harmless(path: &str) -> bool {
    path.len() <= 1024
        && !path.contains('%')
        && !holds_a_token(path)
        && !path.split('/').any(|segment| matches!(segment, "t" | "f"))
}

/// Without percent escapes, as far as they can be read, several times over if need be.
fn unescaped(text: &str) -> Cow<'_, str> {
    let mut plain = Cow::Borrowed(text);
    if !text.contains('%') {
        return plain;
    }
    for _ in 0..3 {
        match super::path::decode(&plain) {
            Ok(next) if next != plain => plain = Cow::Owned(next),
            _ => break,
        }
    }
    plain
}

fn holds_a_token(plain: &str) -> bool {
    plain.contains("hw_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out() {
        assert_eq!(
            redacted("/1.0/images/a/export", Some("project=p&secret=abc&x")),
            "/1.0/images/a/export?project=p&secret=…&x"
        );
        assert_eq!(redacted("/t/abc/streams/v1/index.json", None), "/t/…/streams/v1/index.json");
        assert_eq!(redacted("/f/abc/00.squashfs", None), "/f/…/00.squashfs");
        assert_eq!(redacted("/t/abc", Some("Token=1")), "/t/…?Token=…");
        for (path, written) in [
            ("/%74/abc/streams", "/%74/…/streams"),
            ("/%2574/abc/streams", "/%2574/…/streams"),
            ("//t/abc", "//t/…"),
            ("/t/t/t/x", "/t/…/t/…"),
            ("/p/a/f/abc/00.squashfs", "/p/a/f/…/00.squashfs"),
            ("/p/hw_abc/x", "/p/…/x"),
            ("/p/a%68w_abc/x", "/p/…/x"),
            ("/images/f", "/images/f"),
        ] {
            assert_eq!(redacted(path, None), written);
        }
        assert_eq!(redacted("/1.0", Some("a=hw_x&b=%68w%5Fx&c=1")), "/1.0?…&…&c=1");
        assert_eq!(redacted(&format!("/{}", "é".repeat(5000)), None).len(), 1023 + '…'.len_utf8());
    }
}
