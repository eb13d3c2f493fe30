//! The simplestreams documents: per family, per filter, prepared once, compared with what the client has.

use std::io::Read;

use headwater::http::Connection;
use http::Method;

use super::kit::{Sample, Server, squashfs};

const LXD: &str = "User-Agent: LXD 5.0.2 (Linux; x86_64; 6.1; Debian GNU/Linux; 12)";
const INCUS: &str = "User-Agent: Incus 6.0.4 (Linux; aarch64; 6.1; Debian GNU/Linux; 12)";

fn unzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

async fn server() -> Server {
    let server = Server::new().await;
    server.publish(&[Sample::default().metadata(), squashfs(1)]).await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn each_family_reads_its_own_items_and_every_path_is_served() {
    let server = server().await;
    for (agent, reads, not) in [(LXD, "lxd.tar.xz", "incus"), (INCUS, "incus.tar.xz", "\"lxd.")] {
        let index = server.get("/streams/v1/index.json", &[agent]).await;
        assert_eq!(index.header("vary"), "User-Agent, Accept-Encoding, Authorization");
        assert_eq!(index.header("cache-control"), "public, max-age=60");
        assert_eq!(index.json()["index"]["images"]["path"], "streams/v1/images.json");
        let products = server.get("/streams/v1/images.json", &[agent]).await;
        assert!(products.text().contains(reads) && !products.text().contains(not), "{}", products.text());
        let json = products.json();
        let versions = &json["products"]["debian:bookworm:amd64:default"]["versions"];
        let items = versions["20250101_07:42"]["items"].as_object().unwrap();
        assert!(items.len() >= 2, "{items:?}");
        for item in items.values() {
            for scope in ["/", "/only/arch=amd64/", "/p/default/"] {
                let file = server.get(&format!("{scope}{}", item["path"].as_str().unwrap()), &[]).await;
                assert_eq!((file.status.as_u16(), file.body.len() as u64), (200, item["size"].as_u64().unwrap()));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_in_the_path_leave_out_what_does_not_pass() {
    let server = server().await;
    server.publish(&[Sample { os: "Alpine", release: "3.20", ..Sample::default() }.unified()]).await;
    server.publish(&[Sample { architecture: "aarch64", ..Sample::default() }.unified()]).await;
    server.publish(&[Sample { serial: "20250202_00:00", ..Sample::default() }.unified()]).await;
    for (scope, products, versions) in [
        ("", 3, 4),
        ("/only/os=debian", 2, 3),
        ("/only/os=DEBIAN,alpine", 3, 4),
        ("/only/os=debian/only/arch=amd64", 1, 2),
        ("/only/arch=x86_64/only/latest=1", 2, 2),
        ("/only/release=12", 2, 3),
        ("/only/alias=alpine%2F3.20", 1, 1),
        ("/only/type=vm", 0, 0),
    ] {
        let json = server.get(&format!("{scope}/streams/v1/images.json"), &[]).await.json();
        let found = json["products"].as_object().unwrap();
        let counted: usize = found.values().map(|product| product["versions"].as_object().unwrap().len()).sum();
        assert_eq!((found.len(), counted), (products, versions), "{scope}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_project_has_documents_of_its_own_once_something_in_it_is_public() {
    let server = server().await;
    server.make_project("team").await;
    server.publish_in("team", &[Sample { os: "Private", ..Sample::default() }.unified()], &[], false).await;
    let hidden = server.get("/p/team/streams/v1/index.json", &[]).await;
    let missing = server.get("/p/nobody/streams/v1/index.json", &[]).await;
    assert_eq!((hidden.status, &hidden.headers, &hidden.body), (missing.status, &missing.headers, &missing.body));
    server.publish_in("team", &[Sample { os: "Alpine", ..Sample::default() }.unified()], &[], true).await;
    let text = server.get("/p/team/streams/v1/images.json", &[]).await.text().to_owned();
    assert!(text.contains("alpine:bookworm:amd64:default"), "{text}");
    assert!(!text.to_lowercase().contains("private") && !text.contains("debian"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_for_those_who_ask_with_a_tag_of_its_own() {
    let server = server().await;
    for path in ["/streams/v1/index.json", "/streams/v1/images.json"] {
        let plain = server.get(path, &[LXD]).await;
        let gzip = server.get(path, &[LXD, "Accept-Encoding: gzip"]).await;
        assert_eq!((plain.header("content-encoding"), gzip.header("content-encoding")), ("", "gzip"));
        assert_eq!(unzip(&gzip.body), plain.body);
        assert_eq!(gzip.header("content-length"), gzip.body.len().to_string());
        assert_ne!(plain.header("etag"), gzip.header("etag"));
        assert!(gzip.header("etag").starts_with('"'), "weak");
        let again = server.get(path, &[LXD, "Accept-Encoding: gzip"]).await;
        assert_eq!((again.body, again.headers), (gzip.body, gzip.headers));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_the_document_is_not_sent_it_again() {
    let server = server().await;
    let path = "/streams/v1/images.json";
    let first = server.get(path, &[]).await;
    let (etag, modified) = (first.header("etag").to_owned(), first.header("last-modified").to_owned());
    assert_eq!(modified, "Thu, 09 Oct 2025 08:53:20 GMT");
    for line in [
        format!("If-None-Match: {etag}"),
        format!("If-None-Match: W/{etag}"),
        format!("If-None-Match: \"other\", {etag}"),
        "If-None-Match: *".to_owned(),
        format!("If-Modified-Since: {modified}"),
    ] {
        let answer = server.get(path, &[&line]).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0), "{line}");
        assert_eq!((answer.header("etag"), answer.header("content-length")), (etag.as_str(), ""));
        assert_eq!(answer.header("vary"), "User-Agent, Accept-Encoding, Authorization");
        assert_eq!(answer.header("last-modified"), "", "who has the tag needs no date");
    }
    let answer = server.get(path, &["If-Match: \"other\""]).await;
    answer.is_text(412, "this is not the version that the request's conditions name");
    // Another image, another document.
    server.publish(&[Sample { os: "Alpine", ..Sample::default() }.unified()]).await;
    let answer = server.get(path, &[&format!("If-None-Match: {etag}")]).await;
    assert_eq!(answer.status, 200);
    assert_ne!(answer.header("etag"), etag);
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_get_without_the_body() {
    let server = server().await;
    for path in ["/streams/v1/index.json", "/streams/v1/images.json", "/healthz", "/readyz"] {
        let get = server.get(path, &[]).await;
        let head = server.ask(&Connection::test_tls(), Method::HEAD, path, &[]).await;
        assert_eq!((head.status, &head.headers, head.body.len()), (get.status, &get.headers, 0), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_at_once_get_the_same_bytes() {
    let server = std::sync::Arc::new(server().await);
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let server = std::sync::Arc::clone(&server);
            tokio::spawn(async move { server.get("/streams/v1/images.json", &["Accept-Encoding: gzip"]).await.body })
        })
        .collect();
    let mut bodies = std::collections::BTreeSet::new();
    for task in asking {
        bodies.insert(task.await.unwrap());
    }
    assert_eq!(bodies.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_says_that_it_is_not_ready() {
    let server = server().await;
    server.get("/readyz", &[]).await.is_text(200, "ready");
    server.state.begin_draining();
    server.get("/readyz", &[]).await.is_text(503, "this server is shutting down");
    server.get("/healthz", &[]).await.is_text(200, "ok");
}
