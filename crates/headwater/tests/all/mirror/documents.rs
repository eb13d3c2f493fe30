//! Documents come only when they changed.

use std::fs;
use std::path::PathBuf;

use super::kit::{Mirror, World};
use crate::client::kit::{Asked, Reply, Step, Stub, sha256};
use crate::kit::archives::{Packing, pack};

const MODIFIED: &str = "Tue, 30 Sep 2025 10:00:00 GMT";

/// What a good server answers, to who has a document already, too.
fn politely(asked: &Asked, text: &str) -> Reply {
    let tag = format!("W/\"{}\"", &sha256(text.as_bytes())[..9]);
    match asked.header("if-none-match") == Some(&tag) && asked.header("if-modified-since") == Some(MODIFIED) {
        true => Reply::new("304 Not Modified", &[("ETag", &tag)], b""),
        false => {
            assert_eq!(asked.header("accept-encoding"), Some("gzip"));
            let (one, two) = text.as_bytes().split_at(text.len() / 2);
            let headers = [("ETag", tag.as_str()), ("Last-Modified", MODIFIED), ("Content-Encoding", "gzip")];
            Reply::new("200 OK", &headers, &[one, two].map(|part| pack(part, Packing::Gzip)).concat())
        }
    }
}

async fn polite(world: &World) -> Stub {
    let (told, files) = (world.clone(), world.clone());
    let stub = files.but(move |asked| match asked.path() {
        "/streams/v1/index.json" => Some(politely(asked, &told.index().to_string())),
        "/streams/v1/images.json" => Some(politely(asked, &told.document().to_string())),
        _ => None,
    });
    stub.await
}

/// The questions for documents since that many: which, and whether with a condition.
fn documents(stub: &Stub, since: usize) -> Vec<(String, bool)> {
    let asked = stub.asked();
    let documents = asked.iter().skip(since).filter(|asked| asked.path().starts_with("/streams/"));
    documents.map(|asked| (asked.path().to_owned(), asked.header("if-none-match").is_some())).collect()
}

fn both(conditional: bool) -> Vec<(String, bool)> {
    ["/streams/v1/index.json", "/streams/v1/images.json"].map(|path| (path.to_owned(), conditional)).to_vec()
}

/// The files of the copies.
fn copies(mirror: &Mirror) -> Vec<PathBuf> {
    let folder = mirror.server.folder.path().join("blobs").join("copies");
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_did_not_change_does_not_come() {
    let world = World::default();
    world.put("bookworm", "20250101_07:42", false);
    let stub = polite(&world).await;
    let mirror = Mirror::of(&stub).await;
    assert_eq!(mirror.runs().await, (1, 1, 0));
    assert_eq!(documents(&stub, 0), both(false));

    let before = stub.asked().len();
    assert_eq!(mirror.runs().await, (1, 0, 0));
    assert_eq!(documents(&stub, before), both(true));
    assert_eq!(stub.asked().len(), before + 2);

    // One of them changed.
    world.put("bookworm", "20250102_07:42", false);
    assert_eq!(mirror.runs().await, (2, 1, 0));
    assert_eq!(mirror.listed().await, ["bookworm 20250101_07:42", "bookworm 20250102_07:42"]);
    assert_eq!(mirror.runs().await, (2, 0, 0));

    // A copy that is damaged is as good as none, and so is one that was removed.
    let (before, files) = (stub.asked().len(), copies(&mirror));
    assert_eq!(files.len(), 2);
    fs::write(&files[0], b"{}\n{}").unwrap();
    fs::remove_file(&files[1]).unwrap();
    assert_eq!(mirror.runs().await, (2, 0, 0));
    assert_eq!(documents(&stub, before), both(false));
    let before = stub.asked().len();
    assert_eq!(mirror.runs().await, (2, 0, 0));
    assert_eq!(documents(&stub, before), both(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_document_was_is_nobody_elses_business() {
    use std::os::unix::fs::PermissionsExt as _;

    let world = World::default();
    world.put("bookworm", "20250101_07:42", false);
    let stub = polite(&world).await;
    let mirror = Mirror::of(&stub).await;
    mirror.runs().await;
    for copy in copies(&mirror) {
        assert_eq!(fs::metadata(copy).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_says_nothing_of_its_age_or_changed_a_moment_ago_comes_again() {
    let long = format!("\"{}\"", "x".repeat(10_000));
    let cases: [&[(&str, &str)]; 4] = [
        &[],
        &[("ETag", &long)],
        &[("ETag", "\"a\""), ("Last-Modified", MODIFIED), ("Date", "Tue, 30 Sep 2025 10:00:01 GMT")],
        &[("Last-Modified", MODIFIED), ("Date", MODIFIED)],
    ];
    for headers in cases {
        let world = World::default();
        world.put("bookworm", "20250101_07:42", false);
        let (told, owned) = (world.clone(), headers.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())));
        let owned: Vec<(String, String)> = owned.collect();
        let stub = world.but(move |asked| {
            let headers: Vec<(&str, &str)> = owned.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            let document = |value: serde_json::Value| Reply::new("200 OK", &headers, value.to_string().as_bytes());
            match asked.path() {
                "/streams/v1/index.json" => Some(document(told.index())),
                "/streams/v1/images.json" => Some(document(told.document())),
                _ => None,
            }
        });
        let stub = stub.await;
        let mirror = Mirror::of(&stub).await;
        mirror.runs().await;
        mirror.runs().await;
        assert!(documents(&stub, 0).iter().all(|(_, conditional)| !conditional), "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_document_is_refused() {
    type Answer = fn(&Asked) -> Reply;
    let cases: &[(&str, Answer)] = &[
        ("answers 304 Not Modified", |_| Reply::new("304 Not Modified", &[], b"")),
        ("answers 206 Partial Content", |_| Reply::new("206 Partial Content", &[], b"x")),
        ("answers 404 Not Found", |_| Reply::new("404 Not Found", &[], b"")),
        ("answers with more than 262144 bytes", |_| {
            Reply(vec![Step::Send(b"HTTP/1.1 200 OK\r\n\r\n[".to_vec()), Step::Repeat(vec![b'['; 9999])])
        }),
    ];
    for (words, answer) in cases {
        let stub = Stub::new(answer).await;
        let error = Mirror::of(&stub).await.run().await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}
