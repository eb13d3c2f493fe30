//! What only shows on a socket: plain and TLS on one port, limits of time, the end of the server, changed certificates.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater::http::accept::{self, Limits};
use headwater::http::listen;
use headwater::http::tls::{Files, Tls};
use headwater_formats::digest::Digest;
use headwater_formats::image::ImageFiles;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::kit::{Sample, Server, fingerprint, listed, now};

pub(super) struct Running {
    pub(super) server: Server,
    pub(super) address: SocketAddr,
    tls: Arc<Tls>,
    files: Files,
    pub(super) ending: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

pub(super) fn quick() -> Limits {
    let soon = Duration::from_millis(400);
    Limits { handshake: soon, head: soon, stall: soon, drain: soon, ..Limits::default() }
}

pub(super) async fn running(limits: Limits) -> Running {
    let server = Server::new().await;
    let listeners = listen::listen(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = listeners[0].local_addr().unwrap();
    let files = Files::in_data(server.folder.path());
    files.make_if_missing("images.example", now()).unwrap();
    let tls = Arc::new(Tls::load(files.clone(), false).unwrap());
    let ending = CancellationToken::new();
    let task =
        tokio::spawn(accept::run(listeners, Arc::clone(&server.state), Arc::clone(&tls), limits, ending.clone()));
    Running { server, address, tls, files, ending, task }
}

impl Running {
    pub(super) async fn plain(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(super) fn connector(
        &self,
        client: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
        h2: bool,
    ) -> tokio_rustls::TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.files.certificate).unwrap()).unwrap();
        let builder = rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into());
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let mut config = match client {
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        if h2 {
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        Arc::new(config).into()
    }

    /// As Go clients do it: the certificate itself is trusted, under its own first name.
    pub(super) async fn secured(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        self.connector(None, false).connect("images.example".try_into().unwrap(), self.plain().await).await.unwrap()
    }

    /// A public file of that many zero bytes; gives back its address.
    async fn large(&self, size: usize) -> String {
        let blobs = self.server.app.blobs.clone();
        let digest: Digest = tokio::task::spawn_blocking(move || {
            let mut staged = blobs.stage().unwrap();
            std::io::copy(&mut std::io::Read::take(std::io::repeat(0), size as u64), &mut staged).unwrap();
            staged.commit().unwrap().digest()
        })
        .await
        .unwrap();
        let mut new = listed(1);
        if let ImageFiles::Unified(file) = &mut new.image.files {
            (file.digest, file.size) = (digest, size as u64);
        }
        self.server.app.catalog.commit_image(&new, now(), || Ok(())).await.unwrap();
        format!("/images/{digest}.tar.xz")
    }

    pub(super) async fn end(self) {
        self.ending.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.expect("the server ends").unwrap().unwrap();
    }
}

pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

pub(super) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_port_speaks_plain_and_tls() {
    let running = running(Limits::default()).await;
    let bytes = Sample::default().unified();
    running.server.publish(std::slice::from_ref(&bytes)).await;
    let path = format!("/images/{}.tar", fingerprint(&[&bytes]));
    let plain = ask(running.plain().await, &get(&path)).await;
    assert!(plain.starts_with("HTTP/1.1 200 OK\r\n") && plain.ends_with(&*String::from_utf8_lossy(&bytes)), "{plain}");
    let refused = ask(running.plain().await, &get("/streams/v1/index.json")).await;
    assert!(refused.starts_with("HTTP/1.1 400 Bad Request\r\n") && refused.contains("https only"), "{refused}");
    let secured = ask(running.secured().await, &get("/streams/v1/index.json")).await;
    assert!(secured.starts_with("HTTP/1.1 200 OK\r\n") && secured.contains("index:1.0"), "{secured}");
    let secured = ask(running.secured().await, &get(&path)).await;
    assert!(secured.ends_with(&*String::from_utf8_lossy(&bytes)));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_for_further_requests() {
    let running = running(Limits::default()).await;
    let mut stream = running.secured().await;
    for _ in 0..3 {
        stream.write_all(b"GET /1.0 HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 200 OK");
        let mut rest = vec![0; 4096];
        let length = stream.read(&mut rest).await.unwrap();
        assert!(String::from_utf8_lossy(&rest[..length]).ends_with("}\n"));
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_client_certificate_is_taken_if_the_client_holds_its_key() {
    let running = running(Limits::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| {
        let files = Files::in_data(&folder.path().join(name));
        files.make_if_missing(name, now()).unwrap();
        (CertificateDer::from_pem_file(&files.certificate).unwrap(), PrivateKeyDer::from_pem_file(&files.key).unwrap())
    });
    let connector = running.connector(Some((one.0.clone(), one.1.clone_key())), false);
    let stream = connector.connect("localhost".try_into().unwrap(), running.plain().await).await.unwrap();
    let answer = ask(stream, &get("/1.0")).await;
    assert!(answer.contains("\"auth\":\"untrusted\""), "{answer}");
    // A stolen certificate without its key: rustls will not even make such a client, so the pair is put together by hand.
    let mismatch = rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_client_auth_cert(vec![one.0], other.1);
    assert!(mismatch.is_err());
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_spoken_to_those_who_ask_for_it() {
    let running = running(Limits::default()).await;
    let connector = running.connector(None, true);
    let mut stream = connector.connect("localhost".try_into().unwrap(), running.plain().await).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    // The preface and an empty SETTINGS frame; the server's own SETTINGS (type 4) come back.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4);
    drop(stream);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_or_says_it_too_slowly_is_let_go() {
    let running = running(quick()).await;
    for begun in [
        &b""[..],
        b"GET /1.0 HTTP/1.1\r\nHost: x\r\n",
        b"G",
        // A TLS record of a ClientHello that never comes.
        b"\x16\x03\x01\x02\x00\x01",
    ] {
        let mut stream = running.plain().await;
        stream.write_all(begun).await.unwrap();
        let since = Instant::now();
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "{begun:?} is still open");
        assert!(since.elapsed() >= Duration::from_millis(300), "{begun:?} was closed at once");
    }
    // Idle after a request, and after a handshake.
    let mut stream = running.secured().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok() && rest.starts_with(b"HTTP/1.1 200 OK"));
    let mut stream = running.secured().await;
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "open after the handshake");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_or_contradicts_itself_is_refused() {
    let running = running(Limits::default()).await;
    for (request, status) in [
        // As much as a head may have, and no end: more would be unread when it is refused, and the reset that follows can
        // overtake the answer.
        (format!("{:a<1$}", "GET /1.0 HTTP/1.1\r\nHost: x\r\nX: ", 65_535) + "a", "431"),
        (format!("GET /1.0 HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(200)), "431"),
        ("GET /1.0 HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".into(), "400"),
        ("GET /1.0 HTTP/1.1\r\nContent-Length: -1\r\n\r\n".into(), "400"),
        ("POST /1.0 HTTP/1.1\r\nTransfer-Encoding: what\r\n\r\n".into(), "400"),
        ("GET /1.0\0 HTTP/1.1\r\n\r\n".into(), "400"),
        ("GET /1.0 HTTP/1.1\r\nA\0B: c\r\n\r\n".into(), "400"),
        ("nonsense\r\n\r\n".into(), "400"),
    ] {
        let mut stream = running.secured().await;
        // It may be refused before all of it was sent.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{:.60}: {answer}", request);
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
    let running = running(quick()).await;
    let size = 24 << 20;
    let path = running.large(size).await;
    let mut slow = running.plain().await;
    slow.write_all(get(&path).as_bytes()).await.unwrap();
    let mut still = running.plain().await;
    still.write_all(get(&path).as_bytes()).await.unwrap();
    let mut taken = 0;
    let mut buffer = vec![0; 2 << 20];
    let since = Instant::now();
    loop {
        match slow.read(&mut buffer).await.unwrap() {
            0 => break,
            length => taken += length,
        }
        if since.elapsed() < Duration::from_millis(1500) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    assert!(taken > size, "{taken}");
    let mut all = Vec::new();
    let _ = still.read_to_end(&mut all).await;
    assert!(all.len() < size, "{}", all.len());
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn running_downloads_are_finished_when_the_server_ends_and_new_ones_refused() {
    let running = running(Limits::default()).await;
    let size = 24 << 20;
    let path = running.large(size).await;
    let mut idle = running.secured().await;
    let mut download = running.secured().await;
    download.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut all = vec![0; 1000];
    download.read_exact(&mut all).await.unwrap();
    running.ending.cancel();
    let mut nothing = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), idle.read_to_end(&mut nothing))
        .await
        .expect("idle ones end at once");
    assert!(TcpStream::connect(running.address).await.is_err(), "still listening");
    tokio::time::timeout(Duration::from_secs(20), download.read_to_end(&mut all)).await.unwrap().unwrap();
    assert!(all.len() > size, "{}", all.len());
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_in_time_is_cut() {
    let running = running(Limits { stall: Duration::from_secs(60), ..quick() }).await;
    let path = running.large(24 << 20).await;
    let mut download = running.plain().await;
    download.write_all(get(&path).as_bytes()).await.unwrap();
    let mut begun = vec![0; 1000];
    download.read_exact(&mut begun).await.unwrap();
    let since = Instant::now();
    running.end().await;
    assert!(since.elapsed() >= Duration::from_millis(400));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_certificate_is_used_for_new_connections_only() {
    let running = running(Limits::default()).await;
    let mut old = running.secured().await;
    let before = old.get_ref().1.peer_certificates().unwrap()[0].clone();
    std::fs::remove_file(&running.files.certificate).unwrap();
    running.files.make_if_missing("images.example", now()).unwrap();
    running.tls.reload_if_changed();
    let new = running.secured().await;
    assert_ne!(new.get_ref().1.peer_certificates().unwrap()[0], before);
    old.write_all(get("/healthz").as_bytes()).await.unwrap();
    let mut answer = String::new();
    old.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_new_connections_wait_for_a_place() {
    let running = running(Limits { connections: 1, ..Limits::default() }).await;
    let first = running.secured().await;
    let waiting =
        tokio::spawn(ask_owned(running.plain().await, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    drop(first);
    assert!(waiting.await.unwrap().ends_with("ok\n"));
    running.end().await;
}

async fn ask_owned(stream: TcpStream, request: &'static str) -> String {
    ask(stream, request).await
}
