//! Uploads over sockets: a hundred at once beside readers, and ones whose client vanishes at any moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use headwater::auth::{Secret, Viewer};
use headwater::http::accept::Limits;
use headwater::publish::Verified;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use super::asking::{FORM, form};
use super::kit::{fingerprint, now};
use super::people::May;
use super::sockets::{Running, quick, running};
use crate::kit::archives::{noise, tarball};

const UNIFIED: &str = "Content-Type: application/octet-stream";

/// An image of one file, of some hundred thousand bytes; each number is another one.
fn unified(number: u32) -> Vec<u8> {
    let yaml = format!(
        "architecture: x86_64\ncreation_date: 1735717320\nproperties: {{os: Storm, release: \"1\", serial: \"{number}\"}}\n"
    );
    tarball(&[("metadata.yaml", yaml.as_bytes()), ("rootfs/noise", &noise(300_000))])
}

/// The head of an upload, and its body as it goes over the wire: in chunks, with the end after the last.
fn wire(who: &Secret, kind: &str, body: &[u8]) -> (String, Vec<u8>) {
    let head = format!(
        "POST /1.0/images HTTP/1.1\r\nHost: images.example\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\
         X-LXD-public: true\r\n{kind}\r\nConnection: close\r\n\r\n",
        who.expose()
    );
    let mut chunks = Vec::new();
    for chunk in body.chunks(16_000) {
        chunks.extend(format!("{:x}\r\n", chunk.len()).bytes());
        chunks.extend(chunk);
        chunks.extend(b"\r\n");
    }
    chunks.extend(b"0\r\n\r\n");
    (head, chunks)
}

/// Sends a request and reads the answer: its status and its body.
async fn exchange(running: &Running, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = running.secured().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    read(&mut stream).await
}

async fn read(stream: &mut TlsStream<TcpStream>) -> (u16, Vec<u8>) {
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(120), stream.read_to_end(&mut answer)).await.expect("an answer");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head") + 4;
    let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
    (status, answer.split_off(end))
}

async fn get(running: &Running, path: &str) -> (u16, Vec<u8>) {
    let head = format!("GET {path} HTTP/1.1\r\nHost: images.example\r\nConnection: close\r\n\r\n");
    exchange(running, &head, b"").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_different_and_fifty_equal_uploads_beside_readers() {
    let running = Arc::new(running(Limits::default()).await);
    let (who, _) = running.server.token("ci", May::everything()).await;
    let mut uploads = JoinSet::new();
    for number in 0..100 {
        let (running, who) = (Arc::clone(&running), who.clone());
        uploads.spawn(async move {
            // The odd ones are all the same image.
            let image = unified(if number % 2 == 0 { number } else { 1 });
            let (head, body) = wire(&who, UNIFIED, &image);
            let (status, body) = exchange(&running, &head, &body).await;
            let json: Value =
                serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{status} {error}: {body:?}"));
            assert_eq!(status, 202, "{json}");
            let operation = &json["metadata"];
            assert_eq!(operation["metadata"]["fingerprint"], fingerprint(&[&image]), "{json}");
            (number % 2 == 0, operation["err"].as_str().unwrap().to_owned())
        });
    }
    let (done, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut readers = JoinSet::new();
    for number in 0..8 {
        let (running, done, read) = (Arc::clone(&running), Arc::clone(&done), Arc::clone(&read));
        readers.spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let (status, body) = get(&running, "/1.0/images?recursion=1").await;
                assert_eq!(status, 200);
                let text = String::from_utf8(body).unwrap();
                // A list that does not fit one page comes in chunks; what is looked for stands in one of them.
                let Some(at) = text.match_indices("\"fingerprint\":\"").nth(number).map(|(at, name)| at + name.len())
                else {
                    continue;
                };
                let listed = &text[at..at + 64];
                let (status, file) = get(&running, &format!("/1.0/images/{listed}/export")).await;
                assert_eq!((status, fingerprint(&[&file])), (200, listed.to_owned()), "what is listed is whole");
                read.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut outcomes: BTreeMap<(bool, String), usize> = BTreeMap::new();
    while let Some(outcome) = uploads.join_next().await {
        *outcomes.entry(outcome.unwrap()).or_default() += 1;
    }
    done.store(true, Ordering::Relaxed);
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    let duplicate = "Image with same fingerprint already exists".to_owned();
    let expected = [((true, String::new()), 50), ((false, String::new()), 1), ((false, duplicate), 49)];
    assert_eq!(outcomes, BTreeMap::from(expected));
    assert!(read.load(Ordering::Relaxed) > 0, "somebody read meanwhile");

    let server = &running.server;
    let images = server.app.catalog.images(&Viewer::operator(), &"default".parse().unwrap(), None, 1000).await.unwrap();
    assert_eq!((images.len(), server.stored_files(), server.staged_files()), (51, 51, 0));
    let Verified { files, damaged, .. } = server.app.publisher.verify(false, now(), &mut |_| {}).await.unwrap();
    assert_eq!((files, damaged), (51, 0));
    let swept = server.app.publisher.sweep(now(), 0, &mut |_| {}).await.unwrap();
    assert_eq!((swept.stray, swept.staged, swept.retired), (0, 0, 0));
}

/// How a client goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    /// It closes the connection in all forms.
    Closes,
    /// Its cable is cut, or it is killed.
    Resets,
    /// It stays, and says nothing any more.
    Stalls,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_vanishes_at_any_moment_leaves_nothing() {
    let running = Arc::new(running(quick()).await);
    let (who, _) = running.server.token("ci", May::everything()).await;
    let metadata = tarball(&[("metadata.yaml", b"architecture: x86_64\ncreation_date: 1735717320\n")]);
    let root = [super::kit::squashfs(1), noise(300_000)].concat();
    let wires = Arc::new([
        wire(&who, UNIFIED, &unified(1)),
        wire(&who, FORM, &form(&[("metadata", "m", &metadata), ("rootfs", "r", &root)])),
    ]);
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut clients = JoinSet::new();
    for number in 0..200 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (running, wires) = (Arc::clone(&running), Arc::clone(&wires));
        let goes = [Goes::Closes, Goes::Resets, Goes::Stalls][number % 3];
        clients.spawn(async move {
            let (head, body) = &wires[number / 3 % 2];
            // Every tenth near the end, where only the marks of the end are missing.
            let at = (seed >> 33) as usize % body.len();
            let at = if number % 10 == 0 { body.len() - 1 - at % 70 } else { at };
            let mut stream = running.secured().await;
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&body[..at]).await.unwrap();
            stream.flush().await.unwrap();
            match goes {
                Goes::Closes => {
                    let _ = stream.shutdown().await;
                    let _ = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut [0; 100])).await;
                }
                Goes::Resets => socket2::SockRef::from(stream.get_ref().0).set_linger(Some(Duration::ZERO)).unwrap(),
                Goes::Stalls => {
                    let (status, said) = read(&mut stream).await;
                    let said = String::from_utf8_lossy(&said).into_owned();
                    assert_eq!(status, 408, "{said}");
                    assert!(said.contains("nothing of the body came for "), "{said}");
                }
            }
        });
        // Some at a time, so that they stall in bytes that are taken in and not for a place.
        while clients.len() >= 12 {
            clients.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let server = &running.server;
    let since = Instant::now();
    while server.staged_files() > 0 {
        assert!(since.elapsed() < Duration::from_secs(10), "{} files are left half written", server.staged_files());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let images = server.app.catalog.images(&Viewer::operator(), &"default".parse().unwrap(), None, 1000).await.unwrap();
    assert_eq!((images.len(), server.stored_files()), (0, 0));
    let swept = server.app.publisher.sweep(now(), 0, &mut |_| {}).await.unwrap();
    assert_eq!((swept.stray, swept.staged), (0, 0));
}
