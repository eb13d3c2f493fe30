//! Answers that are remembered are never older than what was acknowledged, and never somebody else's.

use headwater::app::App;
use headwater::auth::Role;
use headwater::catalog::ImageEdit;
use headwater::http::incoming::Incoming;
use headwater::http::{Connection, handle};
use headwater_formats::digest::Fingerprint;
use headwater_formats::names::{AliasName, ProjectName};
use http::Method;

use super::kit::{Answer, Sample, Server, listed, now};
use super::people::{May, bearer, certificate, shown};

fn default() -> ProjectName {
    ProjectName::default_project()
}

/// Everything that guests ask of a server with one image, each twice: the second answer is the remembered one.
async fn all(server: &Server, fingerprint: &str) -> Vec<(String, Answer)> {
    let mut answers = Vec::new();
    for path in [
        format!("/1.0/images/{fingerprint}"),
        "/1.0/images".to_owned(),
        "/1.0/images?recursion=1".to_owned(),
        "/1.0/images?recursion=1&filter=public%20eq%20true".to_owned(),
        "/1.0/images/aliases/ours".to_owned(),
        "/1.0/images/aliases?recursion=1".to_owned(),
        "/streams/v1/index.json".to_owned(),
        "/streams/v1/images.json".to_owned(),
        "/only/latest=1/streams/v1/images.json".to_owned(),
    ] {
        let (first, second) = (server.get(&path, &[]).await, server.get(&path, &[]).await);
        assert_eq!(
            (first.status, &first.headers, &first.body),
            (second.status, &second.headers, &second.body),
            "{path}"
        );
        answers.push((path, second));
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_changed_is_in_the_next_answer() {
    let server = Server::new().await;
    let other = App::open(server.folder.path(), None).await.unwrap();
    let fingerprint = server.publish_in("default", &[Sample::default().unified()], &["ours"], true).await;
    let before = all(&server, &fingerprint).await;
    assert!(before.iter().all(|(_, answer)| answer.status == 200), "{before:?}");
    let id: Fingerprint = fingerprint.parse().unwrap();

    let hidden = ImageEdit { public: Some(false), ..ImageEdit::default() };
    other.catalog.edit_image(&default(), &id, &hidden, now()).await.unwrap();
    for (path, answer) in all(&server, &fingerprint).await {
        let shown = path.contains("recursion") || path == "/1.0/images" || path.ends_with("json");
        assert_eq!(answer.status, if shown { 200 } else { 404 }, "{path}");
        assert!(!answer.text().contains(&fingerprint) && !answer.text().contains("ours"), "{path}: {}", answer.text());
    }
    let open = ImageEdit { public: Some(true), ..ImageEdit::default() };
    other.catalog.edit_image(&default(), &id, &open, now()).await.unwrap();
    for ((path, now), (_, then)) in all(&server, &fingerprint).await.into_iter().zip(before) {
        assert_eq!((now.status, now.body.len()), (then.status, then.body.len()), "{path}");
    }
    other.catalog.delete_alias(&default(), &AliasName::new("ours").unwrap(), now()).await.unwrap();
    server.get("/1.0/images/aliases/ours", &[]).await.is_api_error(404, "Image alias not found");
    other.catalog.delete_image(&default(), &id, now()).await.unwrap();
    server.get(&format!("/1.0/images/{fingerprint}"), &[]).await.is_api_error(404, "Image not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_becomes_known_is_known_at_once_and_a_revoked_one_is_a_stranger() {
    let server = Server::new().await;
    let fingerprint = server.publish_in("default", &[Sample::default().unified()], &[], false).await;
    let path = format!("/1.0/images/{fingerprint}");
    let somebody = certificate("somebody", (-1, 1));
    let connection = shown(&somebody);
    for _ in 0..2 {
        server.ask(&connection, Method::GET, &path, &[]).await.is_api_error(404, "Image not found");
        assert_eq!(
            server.ask(&connection, Method::GET, "/1.0/images", &[]).await.json()["metadata"],
            serde_json::json!([])
        );
    }
    server.trust(&somebody, May::be("default", Role::Viewer)).await;
    for _ in 0..2 {
        assert_eq!(server.ask(&connection, Method::GET, &path, &[]).await.status, 200);
        server.get(&path, &[]).await.is_api_error(404, "Image not found");
    }
    let known = server.app.catalog.identity_by_certificate(&somebody.fingerprint, now()).await.unwrap().unwrap();
    server.app.catalog.remove_identity(known.id, now()).await.unwrap();
    server.ask(&connection, Method::GET, &path, &[]).await.is_api_error(404, "Image not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_secrets_and_plain_connections_never_meet_what_guests_were_told() {
    let server = Server::new().await;
    let fingerprint = server.publish(&[Sample::default().unified()]).await;
    let path = format!("/1.0/images/{fingerprint}");
    assert_eq!(server.get(&path, &[]).await.status, 200);
    assert_eq!(server.get(&path, &[]).await.status, 200);
    let wrong = headwater::auth::Secret::random().unwrap();
    server.get(&path, &[&bearer(&wrong)]).await.is_api_error(403, "not authorized");
    server.get(&path, &["X-Incus-authenticated: true"]).await.is_api_error(403, "not authorized");
    assert_ne!(server.plain(&path, &[]).await.status, 200);
    let (secret, _) = server.token("ci", May::be("default", Role::Viewer)).await;
    let private =
        server.publish_in("default", &[Sample { serial: "2", ..Sample::default() }.unified()], &[], false).await;
    for list in ["/1.0/images", "/streams/v1/images.json"] {
        assert!(server.get(list, &[&bearer(&secret)]).await.text().contains(&private), "{list}");
        assert!(!server.get(list, &[]).await.text().contains(&private), "{list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_for_clients_is_kept_apart_and_conditions_count_each_time() {
    let server = Server::new().await;
    server.publish_in("default", &[Sample::default().unified()], &["ours"], true).await;
    let document = "/streams/v1/images.json";
    let plain = server.get(document, &["User-Agent: LXD 5.0.2"]).await;
    let gzip = server.get(document, &["User-Agent: LXD 5.0.2", "Accept-Encoding: gzip"]).await;
    for _ in 0..2 {
        let again = server.get(document, &["User-Agent: LXD 5.0.2"]).await;
        assert_eq!((again.header("content-encoding"), &again.body), ("", &plain.body));
        let again = server.get(document, &["User-Agent: LXD 5.0.2", "Accept-Encoding: gzip"]).await;
        assert_eq!((again.header("content-encoding"), &again.body), ("gzip", &gzip.body));
        let condition = format!("If-None-Match: {}", plain.header("etag"));
        let same = server.get(document, &["User-Agent: LXD 5.0.2", &condition]).await;
        assert_eq!((same.status.as_u16(), same.body.len(), same.header("etag")), (304, 0, plain.header("etag")));
        assert_eq!((same.header("content-length"), same.header("content-type")), ("", ""));
        assert_eq!(server.get(document, &["User-Agent: LXD 5.0.2", "If-Match: \"x\""]).await.status, 412);
        let head = server.ask(&Connection::test_tls(), Method::HEAD, document, &["User-Agent: LXD 5.0.2"]).await;
        assert_eq!((head.header("content-length"), head.body.len()), (plain.body.len().to_string().as_str(), 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_is_kept_once_it_was_sent_and_only_if_nothing_changed_meanwhile() {
    let server = Server::new().await;
    let images: Vec<_> = (0..450).map(listed).collect();
    server.app.catalog.commit_images(&images, now(), |_| Ok(())).await.unwrap();
    let path = "/1.0/images?recursion=1";
    let first = server.get(path, &[]).await;
    assert_eq!(first.header("content-length"), "", "made while it was sent");
    let second = server.get(path, &[]).await;
    assert_eq!((second.header("content-length"), &second.body), (first.body.len().to_string().as_str(), &first.body));
    server.app.catalog.commit_images(&[listed(9999)], now(), |_| Ok(())).await.unwrap();
    let third = server.get(path, &[]).await;
    assert_eq!(third.json()["metadata"].as_array().unwrap().len(), 451);
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_who_do_not_read_their_lists_do_not_have_them_copied_without_end() {
    let server = Server::new().await;
    let images: Vec<_> = (0..450).map(listed).collect();
    server.app.catalog.commit_images(&images, now(), |_| Ok(())).await.unwrap();
    let path = "/1.0/images?recursion=1";
    let ask = || {
        let request = http::Request::get(path).body(Incoming::empty()).unwrap();
        async { handle(&server.state, request, &Connection::test_tls()).await }
    };
    // As many as may be copied at a time.
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(ask().await);
    }
    for _ in 0..2 {
        let whole = server.get(path, &[]).await;
        assert_eq!(whole.json()["metadata"].as_array().unwrap().len(), 450);
        assert_eq!(whole.header("content-length"), "", "made while it was sent, and not kept");
    }
    // One who goes away leaves the turn to the next.
    waiting.pop();
    let sent = server.get(path, &[]).await;
    let kept = server.get(path, &[]).await;
    assert_eq!((sent.header("content-length"), kept.header("content-length")), ("", &*sent.body.len().to_string()));
    assert_eq!(sent.body, kept.body);
}
