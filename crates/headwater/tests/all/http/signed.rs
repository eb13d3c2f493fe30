//! Signed documents: they are there when there is a key, say what the others say, and the real gpgv believes them.

use std::collections::BTreeSet;
use std::sync::Arc;

use headwater::app::App;
use headwater::auth::Role;
use headwater::http::{Connection, Settings, State};
use headwater::openpgp::StreamKey;
use http::Method;
use serde_json::Value;

use super::kit::{Answer, Sample, Server, now, squashfs};
use super::people::{May, basic, bearer};
use super::private_streams::{INCUS, LXD, make_view};
use crate::kit::gpg::{Gpgv, signed_text};

const PYTHON: &str = "User-Agent: python-simplestreams/0.1";
const UNSIGNED: &str =
    "the streams of this server are not signed; who runs it makes a key for them with `headwater key create`";
const SIGNED: [&str; 4] =
    ["streams/v1/index.sjson", "streams/v1/images.sjson", "streams/v1/index.json.gpg", "streams/v1/images.json.gpg"];

async fn server() -> Server {
    let server = super::private_streams::server().await;
    let key = StreamKey::create("Images of Example", now()).unwrap();
    server.app.catalog.add_stream_key(&key, false, now()).await.unwrap();
    server
}

async fn ok(server: &Server, path: &str, headers: &[&str]) -> Answer {
    let answer = server.get(path, headers).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer
}

async fn gpgv(server: &Server) -> Gpgv {
    Gpgv::new(&ok(server, "/signing-key.gpg", &[]).await.body)
}

/// All four signed forms at an address are good, and say what is said there without a signature.
async fn all_is_good(server: &Server, prefix: &str, headers: &[&str]) {
    let gpgv = gpgv(server).await;
    for document in ["index", "images"] {
        let path = format!("{prefix}/streams/v1/{document}");
        let plain = ok(server, &format!("{path}.json"), headers).await;
        let clear = ok(server, &format!("{path}.sjson"), headers).await;
        let signature = ok(server, &format!("{path}.json.gpg"), headers).await;
        assert_eq!(clear.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(signature.header("content-type"), "application/pgp-signature");
        for answer in [&clear, &signature] {
            assert_eq!(answer.header("cache-control"), plain.header("cache-control"), "{path}");
            assert_eq!(answer.header("content-length"), answer.body.len().to_string());
            assert_eq!(answer.header("last-modified"), "", "another key signs without a new revision");
        }
        let said = gpgv.clear(&clear.body).unwrap_or_else(|said| panic!("{path}: {said}"));
        assert!(said.contains("Good signature from \"Images of Example\""), "{said}");
        gpgv.detached(&signature.body, &plain.body).unwrap_or_else(|said| panic!("{path}: {said}"));
        let mut wanted = plain.json();
        if let Some(path) = wanted.pointer_mut("/index/images/path") {
            assert_eq!(path, "streams/v1/images.json");
            *path = "streams/v1/images.sjson".into();
        }
        assert_eq!(serde_json::from_str::<Value>(&signed_text(&clear.body)).unwrap(), wanted, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scope_and_family_has_signed_documents_that_gpgv_believes() {
    let server = server().await;
    make_view(&server, "stable", "team", "os=alpine").await;
    let (token, _) = server.token("ci", May::be("team", Role::Viewer)).await;
    let token = token.expose().to_owned();
    for agent in [LXD, INCUS, PYTHON] {
        for prefix in ["", "/p/team", "/v/stable", "/only/os=ubuntu", "/p/team/only/os=nothing", &format!("/t/{token}")]
        {
            all_is_good(&server, prefix, &[agent]).await;
        }
        all_is_good(&server, "/p/team", &[agent, &format!("Authorization: Bearer {token}")]).await;
    }
    // What LXD gets at the token's address has its files elsewhere, and that is what is signed.
    let path = format!("/t/{token}/streams/v1/images.sjson");
    let (lxd, python) = (ok(&server, &path, &[LXD]).await, ok(&server, &path, &[PYTHON]).await);
    assert!(lxd.text().contains("../../f/") && !python.text().contains("../../f/"));
    assert_eq!(lxd.header("cache-control"), "private, max-age=60");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_is_refused() {
    let server = server().await;
    let gpgv = gpgv(&server).await;
    for document in ["index", "images"] {
        let clear = ok(&server, &format!("/streams/v1/{document}.sjson"), &[]).await.text().to_owned();
        let changed = clear.replacen("ubuntu:", "ubuntv:", 1);
        assert_ne!(changed, clear);
        let said = gpgv.clear(changed.as_bytes()).unwrap_err();
        assert!(said.contains("BAD signature"), "{said}");
        let plain = ok(&server, &format!("/streams/v1/{document}.json"), &[]).await.text().to_owned();
        let signature = ok(&server, &format!("/streams/v1/{document}.json.gpg"), &[]).await;
        let said = gpgv.detached(&signature.body, plain.replacen("ubuntu:", "ubuntv:", 1).as_bytes()).unwrap_err();
        assert!(said.contains("BAD signature"), "{said}");
        let said = gpgv.detached(&signature.body, format!("{plain}\n").as_bytes()).unwrap_err();
        assert!(said.contains("BAD signature"), "{said}");
    }
    // gpgv looks at the beginning of a line only: none is so long that a change at its end would not be seen.
    for n in 0..60 {
        let serial: &'static str = format!("202501{:02}_{:02}:00", n % 28 + 1, n / 28).leak();
        server.publish(&[Sample { os: "Ubuntu", serial, ..Sample::default() }.unified()]).await;
    }
    let clear = ok(&server, "/streams/v1/images.sjson", &[]).await.text().to_owned();
    assert!(clear.len() > 25_000, "{}", clear.len());
    gpgv.clear(clear.as_bytes()).unwrap();
    let at = clear.rfind("\"size\":").unwrap() + 7;
    let digit = if &clear[at..=at] == "1" { "2" } else { "1" };
    let changed = format!("{}{digit}{}", &clear[..at], &clear[at + 1..]);
    let said = gpgv.clear(changed.as_bytes()).unwrap_err();
    assert!(said.contains("BAD signature"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nothing_is_signed_and_that_is_said() {
    let server = super::private_streams::server().await;
    for path in SIGNED.into_iter().chain(["signing-key.asc", "signing-key.gpg"]) {
        server.get(&format!("/{path}"), &[]).await.is_text(404, UNSIGNED);
    }
    // With one, and without it again.
    let key = StreamKey::create("x", now()).unwrap();
    server.app.catalog.add_stream_key(&key, false, now()).await.unwrap();
    for path in SIGNED {
        ok(&server, &format!("/{path}"), &[]).await;
    }
    server.app.catalog.delete_stream_key(&key.id, true, now()).await.unwrap();
    for path in SIGNED {
        server.get(&format!("/{path}"), &[]).await.is_text(404, UNSIGNED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_documents_are_there_exactly_when_the_others_are() {
    let server = server().await;
    for (prefix, headers) in [
        ("/p/other", vec![]),
        ("/p/nobody", vec![]),
        ("/v/none", vec![]),
        ("/only/colour=red", vec![]),
        ("/t/abc", vec![]),
        ("", vec![basic("somebody", "wrong")]),
    ] {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let plain = server.get(&format!("{prefix}/streams/v1/index.json"), &headers).await;
        assert!(plain.status.is_client_error());
        for path in SIGNED {
            let signed = server.get(&format!("{prefix}/{path}"), &headers).await;
            assert_eq!((signed.status, signed.text()), (plain.status, plain.text()), "{prefix}/{path}");
        }
    }
    for path in SIGNED {
        let refused = server.plain(&format!("/{path}"), &[]).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text().starts_with("this is answered over https only"), "{}", refused.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_signs_at_once_and_both_are_published_before() {
    let server = server().await;
    let first = ok(&server, "/streams/v1/index.sjson", &[]).await;
    let next = StreamKey::create("The next one", now()).unwrap();
    server.app.catalog.add_stream_key(&next, false, now()).await.unwrap();
    // Who fetches the keys now can check what is signed by the next one later.
    let both = gpgv(&server).await;
    let same = ok(&server, "/streams/v1/index.sjson", &[]).await;
    assert_eq!((&same.body, same.header("etag")), (&first.body, first.header("etag")), "nothing has changed yet");
    server.app.catalog.use_stream_key(&next.id, now()).await.unwrap();
    let second = ok(&server, "/streams/v1/index.sjson", &[]).await;
    assert_eq!(signed_text(&second.body), signed_text(&first.body));
    assert_ne!(second.header("etag"), first.header("etag"));
    assert!(both.clear(&first.body).unwrap().contains("Good signature from \"Images of Example\""));
    assert!(both.clear(&second.body).unwrap().contains("Good signature from \"The next one\""));
    let armored = ok(&server, "/signing-key.asc", &[]).await;
    assert!(armored.text().starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----\n"));
    assert_eq!(armored.header("content-type"), "application/pgp-keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_the_same_bytes_on_every_server_and_for_all_who_ask_at_once() {
    let server = Arc::new(server().await);
    let app = App::open(&server.folder.path().join("."), None).await.unwrap();
    // Another server on the same catalog, an hour later.
    let state = Arc::new(State::new(app.clone(), Settings::default(), || now().plus_seconds(3600)));
    let other = Server { folder: tempfile::tempdir().unwrap(), app, state };
    for path in SIGNED {
        let path = format!("/{path}");
        let asking: Vec<_> = (0..20)
            .map(|_| {
                let (server, path) = (Arc::clone(&server), path.clone());
                tokio::spawn(async move { ok(&server, &path, &[LXD]).await.body })
            })
            .collect();
        let mut bodies = BTreeSet::from([ok(&other, &path, &[LXD]).await.body]);
        for task in asking {
            bodies.insert(task.await.unwrap());
        }
        assert_eq!(bodies.len(), 1, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_signed_document_is_not_sent_it_again() {
    let server = server().await;
    for path in SIGNED.into_iter().chain(["signing-key.asc", "signing-key.gpg"]) {
        let path = format!("/{path}");
        let first = ok(&server, &path, &["Accept-Encoding: gzip"]).await;
        assert_eq!(first.header("content-encoding"), "");
        let again = server.get(&path, &[&format!("If-None-Match: {}", first.header("etag"))]).await;
        assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{path}");
        let head = server.ask(&Connection::test_tls(), Method::HEAD, &path, &["Accept-Encoding: gzip"]).await;
        assert_eq!((&head.headers, head.body.len()), (&first.headers, 0));
    }
    let path = "/streams/v1/images.sjson";
    let first = ok(&server, path, &[]).await;
    server.publish(&[Sample { os: "Void", ..Sample::default() }.metadata(), squashfs(7)]).await;
    let next = server.get(path, &[&format!("If-None-Match: {}", first.header("etag"))]).await;
    assert_eq!(next.status, 200);
    assert!(next.text().contains("void:"));
    gpgv(&server).await.clear(&next.body).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_header_shows_signed_what_it_shows_unsigned() {
    let server = server().await;
    let (token, _) = server.token("ci", May::be("other", Role::Viewer)).await;
    let header = bearer(&token);
    assert!(ok(&server, "/p/other/streams/v1/images.sjson", &[&header]).await.text().contains("fedora:"));
    let guest = server.get("/p/other/streams/v1/images.sjson", &[]).await;
    assert_eq!(guest.status, 404);
    assert!(!guest.text().contains("fedora"));
}
