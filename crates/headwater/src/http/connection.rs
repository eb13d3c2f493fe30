//! One connection, from its first byte to its last: plain or TLS, HTTP/1.1 or HTTP/2, with a time limit on every wait.
//!
//! TLS begins with the byte 0x16, which no request does; so one port takes both. What is answered on a plain connection is decided
//! by the route table, not here.

use std::convert::Infallible;
use std::net::{Ipv6Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::accept::{Limits, Place, Shared};
use super::access::{Active, Entry, Logged};
use super::body::Body;
use super::direct::{Direct, Sender};
use super::incoming::Incoming;
use super::leftover::Leftover;
use super::linger::{Lingering, Unread};
use super::upgrade::Upgrade;
use super::{Connection, Transport, handle, lxd, respond, route};

/// Most bytes of a request's head.
const HEAD: usize = 64 * 1024;
/// Most headers of a request.
const HEADERS: usize = 100;
/// Requests that one HTTP/2 connection may have running.
const STREAMS: u32 = 64;
/// Bytes of an answer that one HTTP/2 stream may hold ready.
const STREAM_BUFFER: usize = 256 * 1024;

/// Serves a connection to its end. What a client does wrong ends it, with a line in the debug log.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, place: Arc<Place>, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let alive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(20));
    let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&alive);
    // A client that takes nothing is given up by the system, which sees every byte that arrives; this program would see only
    // how much more may be sent, in steps of a third of the system's buffer, and take a slow client for one that stands still.
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(shared.limits.stall));
    let Some(first) = first_byte(&stream, shared).await else { return };
    let unread = Unread::default();
    if first != 0x16 {
        let direct = Direct::default();
        let stream = Lingering::new(Sender::new(stream, direct.clone()), unread.clone());
        let connection = Connection { peer: peer.into(), transport: Transport::Plain };
        return http1(stream, connection, place, unread, Some(direct), shared).await;
    }
    let stream = Lingering::new(stream, unread.clone());
    match tokio::time::timeout(shared.limits.handshake, shared.tls.accept(stream)).await {
        Ok(Ok(secured)) => {
            shared.state.count_handshake();
            let connection = Connection { peer: peer.into(), transport: Transport::Tls(secured.client) };
            match secured.http2 {
                true => http2(secured.stream, connection, shared).await,
                false => http1(secured.stream, connection, place, unread, None, shared).await,
            }
        }
        // Clients that do not know the certificate end the handshake, and try again: nothing to worry about.
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
    }
}

async fn first_byte(stream: &TcpStream, shared: &Shared) -> Option<u8> {
    let mut byte = [0];
    let peek = tokio::time::timeout(shared.limits.handshake, stream.peek(&mut byte));
    // A connection on which nothing has been said yet has nothing to finish.
    match shared.drain.run_until_cancelled(peek).await {
        Some(Ok(Ok(1))) => Some(byte[0]),
        _ => None,
    }
}

async fn http1<S>(
    stream: S,
    connection: Connection,
    place: Arc<Place>,
    unread: Unread,
    direct: Option<Direct>,
    shared: &Shared,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let active = Arc::new(AtomicUsize::new(0));
    let keeper = shared.keeper(place);
    let service = service_fn(|mut request: Request<hyper::body::Incoming>| {
        if let Some(on) = request.extensions_mut().remove::<OnUpgrade>() {
            request.extensions_mut().insert(Upgrade { on, keeper: keeper.clone() });
        }
        answer(request, &connection, shared, &active, &unread, direct.as_ref())
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.head)
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut served = pin!(served);
    let outcome = tokio::select! {
        outcome = served.as_mut() => outcome,
        () = shared.drain.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(peer = connection.peer.as_str(), error = %chain(&error), "a connection ended early");
    }
}

async fn http2<S>(stream: S, connection: Connection, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (peer, active) = (connection.peer.clone(), Arc::new(AtomicUsize::new(0)));
    let service = service_fn({
        let (state, limits, active) = (Arc::clone(&shared.state), shared.limits.clone(), Arc::clone(&active));
        move |request: Request<hyper::body::Incoming>| {
            let (state, connection, active) = (Arc::clone(&state), connection.clone(), Active::new(&active));
            let limits = limits.clone();
            async move {
                let leftover = Leftover::default();
                let request = request.map(|body| leftover.keep(body));
                let answer = answer_with(request, &connection, &state, &limits, active).await;
                leftover.throw_away();
                answer
            }
        }
    });
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD as u32)
        .max_concurrent_streams(STREAMS)
        .max_send_buf_size(STREAM_BUFFER)
        .keep_alive_interval(shared.limits.head)
        .keep_alive_timeout(shared.limits.handshake)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let outcome = tokio::select! {
        outcome = served.as_mut() => Some(outcome),
        () = shared.drain.cancelled() => None,
        () = idle(&active, shared.limits.head) => None,
    };
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(peer = peer.as_str(), error = %chain(&error), "a connection ended early");
    }
}

/// Returns when no request was running at two looks, `limit` apart.
async fn idle(active: &AtomicUsize, limit: Duration) {
    let mut before = false;
    loop {
        tokio::time::sleep(limit).await;
        let now = active.load(Ordering::Relaxed) == 0;
        if before && now {
            return;
        }
        before = now;
    }
}

async fn answer(
    request: Request<hyper::body::Incoming>,
    connection: &Connection,
    shared: &Shared,
    active: &Arc<AtomicUsize>,
    unread: &Unread,
    direct: Option<&Direct>,
) -> Result<Response<Logged>, Infallible> {
    let request = request.map(|body| unread.watch(body));
    let mut response = answer_with(request, connection, &shared.state, &shared.limits, Active::new(active)).await?;
    if let Some(direct) = direct {
        response.body_mut().send_directly(direct);
    }
    if unread.get() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

async fn answer_with<B>(
    request: Request<B>,
    connection: &Connection,
    state: &Arc<super::State>,
    limits: &Limits,
    active: Active,
) -> Result<Response<Logged>, Infallible>
where
    B: http_body::Body<Data = Bytes, Error = hyper::Error> + Send + 'static,
{
    let (parts, body) = request.into_parts();
    let entry = Entry::begin(&parts, connection, active);
    if !names_one_host(&parts) {
        return Ok(entry.follow(told(route::dialect_of(parts.uri.path()), StatusCode::BAD_REQUEST, ONE_HOST)));
    }
    let dialect = route::dialect_of(parts.uri.path());
    let limit = if takes_its_time(&parts) { Duration::MAX } else { limits.answer };
    let body = Incoming::new(body).watched(limits.pace());
    let request = Request::from_parts(parts, body);
    let handled =
        AssertUnwindSafe(tokio::time::timeout(limit, handle(state, request, connection))).catch_unwind().await;
    let response = match handled {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::warn!(path = entry.path(), "an answer took too long");
            told(dialect, StatusCode::SERVICE_UNAVAILABLE, "the server is too busy to answer; try again in a minute")
        }
        Err(_) => {
            tracing::error!(path = entry.path(), "a request made the server panic");
            told(dialect, StatusCode::INTERNAL_SERVER_ERROR, "the server failed to answer; its log says why")
        }
    };
    Ok(entry.follow(response))
}

/// Whether an answer may take as long as it takes: changes of the API, whose body has to come first, waiting for an
/// operation, and events.
fn takes_its_time(request: &http::request::Parts) -> bool {
    let path = request.uri.path();
    path.starts_with("/1.0")
        && (!request.method.is_safe() || path.ends_with("/wait") || path.trim_end_matches('/') == "/1.0/events")
}

/// What a request is told that [`names_one_host`] refuses.
const ONE_HOST: &str = "the request has to name one host; send one Host header with the name and port of this server";

/// Whether the host is named once, and is one (RFC 9112, section 3.2). Nothing here depends on it; but what stands in front of
/// this server may, and two readings of one request are how things are smuggled past it. HTTP/1.0 and HTTP/2 need no such header.
fn names_one_host(request: &http::request::Parts) -> bool {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().is_ok_and(is_host),
        (None, _) => request.version != Version::HTTP_11,
        _ => false,
    }
}

/// `name`, `name:port` or `[address]:port` (RFC 3986, sections 3.2.2 and 3.2.3), and nothing about users.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        // The colons of an address stand in brackets.
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (text, ""),
    };
    let is_named = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || NAME_MARKS.contains(&b)),
    };
    is_named && port.bytes().all(|b| b.is_ascii_digit()) && (port.is_empty() || port.parse::<u16>().is_ok())
}

/// What a name is made of beside letters and digits.
const NAME_MARKS: &[u8] = b"-._~%!$&'()*+,;=";

fn told(dialect: route::Dialect, status: StatusCode, sentence: &str) -> Response<Body> {
    match dialect {
        route::Dialect::Text => respond::text(status, sentence),
        route::Dialect::Api => lxd::error(status, sentence),
    }
}

/// The error and what caused it, which hyper does not show by itself.
fn chain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::is_host;

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for host in
            ["x", "images.example", "images.example:8443", "192.0.2.7:80", "[::1]", "[2001:db8::7]:8443", "a_b", "x:"]
        {
            assert!(is_host(host), "{host}");
        }
        for other in [
            "",
            ":80",
            "x:y",
            "x:+80",
            "x:65536",
            "a@x",
            "a:b@x:80",
            "x y",
            "a,b c",
            "[::1",
            "::1",
            "[x]",
            "[::1]x:80",
            "x/y",
            "é",
        ] {
            assert!(!is_host(other), "{other}");
        }
    }
}
