//! Clients that take nothing for granted: HTTP/1.1 written and read by hand, over plain connections and TLS, and HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// How long a server may say nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request, as a client means it.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
}

/// How an answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// As fast as it comes.
    Quickly,
    /// Some thousand bytes at a time, with pauses.
    Slowly,
    /// The client goes away after so many bytes.
    Abort(usize),
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Where the server is, and how its certificate is known.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) roots: rustls::RootCertStore,
}

impl Door {
    async fn tls(&self, http2: bool) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let mut config = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        if http2 {
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect("localhost".try_into().unwrap(), TcpStream::connect(self.address).await?).await
    }

    pub(super) async fn http1(&self, tls: bool) -> io::Result<Http1> {
        let stream: Box<dyn Stream> = match tls {
            true => Box::new(self.tls(false).await?),
            false => Box::new(TcpStream::connect(self.address).await?),
        };
        Ok(Http1 { stream: BufReader::with_capacity(16 * 1024, stream) })
    }

    pub(super) async fn http2(&self) -> io::Result<SendRequest<Empty<Bytes>>> {
        let stream = self.tls(true).await?;
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(65_535)
            .initial_connection_window_size(1 << 20)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// A kept connection.
pub(super) struct Http1 {
    stream: BufReader<Box<dyn Stream>>,
}

async fn patiently<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(PATIENCE, what).await {
        Ok(outcome) => outcome,
        Err(_) => Err(io::Error::other("it hangs: the server said nothing for a minute")),
    }
}

fn odd(what: impl Into<String>) -> io::Error {
    io::Error::other(what.into())
}

impl Http1 {
    /// Sends all of them at once.
    pub(super) async fn send(&mut self, requests: &[Request]) -> io::Result<()> {
        let mut text = String::new();
        for Request { method, path, headers } in requests {
            text += &format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
            for (name, value) in headers {
                text += &format!("{name}: {value}\r\n");
            }
            text += "\r\n";
        }
        patiently(async {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await
        })
        .await
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        patiently(self.stream.read_line(&mut line)).await?;
        line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| odd(format!("a head ends early: {line:?}")))
    }

    /// Returns when something of an answer has come.
    pub(super) async fn wait(&mut self) -> io::Result<()> {
        patiently(async { self.stream.fill_buf().await.map(drop) }).await
    }

    /// The status and headers of the next answer.
    pub(super) async fn head(&mut self) -> io::Result<(u16, HeaderMap)> {
        let line = self.line().await?;
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| odd(format!("no status line: {line:?}")))?;
        let mut headers = HeaderMap::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok((status, headers));
            }
            let (name, value) = line.split_once(": ").ok_or_else(|| odd(format!("no header: {line:?}")))?;
            let value = HeaderValue::from_str(value).map_err(io::Error::other)?;
            headers.append(HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?, value);
        }
    }

    /// The next answer. After an abort the connection is of no use any more.
    pub(super) async fn answer(&mut self, to: &Request, manner: Manner) -> io::Result<Answer> {
        let (status, headers) = self.head().await?;
        let mut body = Vec::new();
        let encoding = headers.get("transfer-encoding").map(|value| value.as_bytes().to_vec());
        if to.method == "HEAD" || status == 304 {
            return Ok(Answer { status, headers, body });
        } else if encoding.as_deref() == Some(b"chunked") {
            loop {
                let line = self.line().await?;
                let length = usize::from_str_radix(&line, 16).map_err(|_| odd(format!("no chunk: {line:?}")))?;
                self.read(length, &mut body, manner).await?;
                match self.line().await?.as_str() {
                    "" if length == 0 => break,
                    "" => {}
                    other => return Err(odd(format!("a chunk is longer than it says: {other:?}"))),
                }
            }
        } else {
            let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
            let length = length.ok_or_else(|| odd("an answer of no known length"))?;
            self.read(length, &mut body, manner).await?;
        }
        Ok(Answer { status, headers, body })
    }

    async fn read(&mut self, length: usize, body: &mut Vec<u8>, manner: Manner) -> io::Result<()> {
        let (mut left, step) = match manner {
            Manner::Quickly => (length, 64 * 1024),
            Manner::Slowly => (length, (length / 8).max(5_000)),
            Manner::Abort(after) => (length.min(after), 64 * 1024),
        };
        while left > 0 {
            let at = body.len();
            body.resize(at + left.min(step), 0);
            if let Err(error) = patiently(self.stream.read_exact(&mut body[at..])).await {
                return Err(odd(format!("after {at} bytes or more, {left} before the end: {error}")));
            }
            left -= body.len() - at;
            if manner == Manner::Slowly {
                tokio::time::sleep(Duration::from_millis(4)).await;
            }
        }
        Ok(())
    }
}

/// One answer over HTTP/2.
pub(super) async fn http2(
    sender: &mut SendRequest<Empty<Bytes>>,
    request: &Request,
    manner: Manner,
) -> io::Result<Answer> {
    let uri = format!("https://localhost{}", request.path);
    let mut builder = http::Request::builder().method(request.method).uri(uri);
    for (name, value) in &request.headers {
        builder = builder.header(*name, value);
    }
    let request = builder.body(Empty::new()).map_err(io::Error::other)?;
    let sent = async { sender.send_request(request).await.map_err(io::Error::other) };
    let (parts, mut incoming) = patiently(sent).await?.into_parts();
    let mut body = Vec::new();
    loop {
        if matches!(manner, Manner::Abort(after) if body.len() >= after) {
            break;
        }
        let frame = async { incoming.frame().await.transpose().map_err(io::Error::other) };
        let Some(frame) = patiently(frame).await? else { break };
        if let Some(data) = frame.data_ref() {
            body.extend_from_slice(data);
        }
        if manner == Manner::Slowly {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
}

/// One answer over HTTP/2, of which nothing but the head and what fits into the window comes until the word is given.
pub(super) async fn http2_held(
    sender: &mut SendRequest<Empty<Bytes>>,
    request: &Request,
    begun: tokio::sync::oneshot::Sender<()>,
    go: tokio::sync::oneshot::Receiver<()>,
) -> io::Result<Answer> {
    let uri = format!("https://localhost{}", request.path);
    let request = http::Request::builder().method(request.method).uri(uri).body(Empty::new());
    let sent = sender.send_request(request.map_err(io::Error::other)?);
    let (parts, body) = sent.await.map_err(io::Error::other)?.into_parts();
    let _ = begun.send(());
    let _ = go.await;
    let body = async { body.collect().await.map_err(io::Error::other) };
    let body = patiently(body).await?.to_bytes().to_vec();
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
}
