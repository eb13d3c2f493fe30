//! Going on as a websocket (RFC 6455): the handshake, and the limits of what a client may send.
//!
//! Without sub-protocols and extensions: no client of LXD or Incus asks for any. This file does not know what is told.

use std::future::Future;

use http::request::Parts;
use http::{HeaderName, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;

use super::body::Body;
use super::respond;
use super::upgrade::Upgrade;

/// Most bytes of what a client sends at a time. Ours have nothing to say.
const MOST_RECEIVED: usize = 4096;
/// Most bytes that wait to be sent on one connection.
const MOST_UNSENT: usize = 4 * 1024 * 1024;

/// A request that is no beginning of a websocket. The sentence is what the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoWebSocket {
    /// An ordinary request.
    #[error("this address speaks WebSocket (RFC 6455) only; send Upgrade: websocket and Connection: Upgrade")]
    NotAsked,
    /// Another version.
    #[error("this server speaks version 13 of WebSocket; send Sec-WebSocket-Version: 13")]
    Version,
    /// No key, or a bad one.
    #[error("the handshake has no key; send Sec-WebSocket-Key with 16 random bytes in base64")]
    Key,
    /// The connection cannot go on in another protocol.
    #[error("a websocket needs a connection that speaks HTTP/1.1; this one cannot go on as one")]
    Connection,
}

/// A handshake that was right.
pub struct Handshake {
    upgrade: Upgrade,
    accept: String,
}

impl Handshake {
    /// Reads the request.
    pub fn read(request: &Parts) -> Result<Self, NoWebSocket> {
        let lists = |name: HeaderName, word: &str| {
            let values = request.headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
        };
        if !lists(header::UPGRADE, "websocket") || !lists(header::CONNECTION, "upgrade") {
            return Err(NoWebSocket::NotAsked);
        }
        if request.headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(NoWebSocket::Version);
        }
        let key = request.headers.get(header::SEC_WEBSOCKET_KEY).ok_or(NoWebSocket::Key)?;
        if data_encoding::BASE64.decode(key.as_bytes()).map_or(true, |bytes| bytes.len() != 16) {
            return Err(NoWebSocket::Key);
        }
        let upgrade = request.extensions.get::<Upgrade>().ok_or(NoWebSocket::Connection)?.clone();
        Ok(Self { upgrade, accept: derive_accept_key(key.as_bytes()) })
    }

    /// The answer; when it is sent, `talk` goes on in the background with the socket, until it ends by itself. The token
    /// that it is given says that the server is ending.
    pub fn answer<W, F>(self, talk: W) -> Response<Body>
    where
        W: FnOnce(WebSocketStream<TokioIo<Upgraded>>, CancellationToken) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        self.upgrade.run(|stream, ending| async move {
            let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config())).await;
            talk(socket, ending).await;
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        respond::set(&mut response, header::UPGRADE, "websocket");
        respond::set(&mut response, header::CONNECTION, "Upgrade");
        respond::set(&mut response, header::SEC_WEBSOCKET_ACCEPT, self.accept);
        response
    }
}

/// The limits of a connection.
pub fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(MOST_RECEIVED)
        .write_buffer_size(0)
        .max_write_buffer_size(MOST_UNSENT)
        .max_message_size(Some(MOST_RECEIVED))
        .max_frame_size(Some(MOST_RECEIVED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(headers: &[(&str, &str)]) -> NoWebSocket {
        let mut request = http::Request::get("/1.0/events");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Handshake::read(&parts).err().expect("there is no connection to upgrade")
    }

    #[test]
    fn each_part_of_the_handshake_is_looked_at() {
        let asks = [("Upgrade", "WebSocket"), ("Connection", "keep-alive, Upgrade")];
        let version = ("Sec-WebSocket-Version", "13");
        let key = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(refusal(&[]), NoWebSocket::NotAsked);
        assert_eq!(refusal(&[asks[0], version, key]), NoWebSocket::NotAsked);
        assert_eq!(refusal(&[asks[0], asks[1], key]), NoWebSocket::Version);
        assert_eq!(refusal(&[asks[0], asks[1], ("Sec-WebSocket-Version", "8"), key]), NoWebSocket::Version);
        assert_eq!(refusal(&[asks[0], asks[1], version]), NoWebSocket::Key);
        for bad in ["", "short", "dGhlIHNhbXBsZSBub25jZSBpcyBsb25n"] {
            assert_eq!(refusal(&[asks[0], asks[1], version, ("Sec-WebSocket-Key", bad)]), NoWebSocket::Key, "{bad}");
        }
        assert_eq!(refusal(&[asks[0], asks[1], version, key]), NoWebSocket::Connection);
    }
}
