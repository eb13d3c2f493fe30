//! Pulls from simplestreams servers.

use headwater::client::{Origin, Protocol};
use headwater_formats::image::ImageType;
use serde_json::{Value, json};

use super::kit::{Asked, Here, Reply, Split, Step, Stub, fingerprint, sha256};
use crate::http::kit::Sample;

/// A server with a container and a virtual machine that share their metadata file, and an older version.
#[derive(Clone)]
struct Shelf {
    container: Split,
    machine: Split,
}

impl Shelf {
    fn new() -> Self {
        Self { container: Split::container(), machine: Split::machine() }
    }

    fn items(&self) -> Value {
        let metadata = &self.container.metadata;
        let item = |ftype: &str| {
            json!({"ftype": ftype, "path": "images/meta.tar.xz", "size": metadata.len(), "sha256": sha256(metadata),
                "combined_squashfs_sha256": self.container.fingerprint(),
                "combined_disk-kvm-img_sha256": self.machine.fingerprint()})
        };
        let root = |ftype: &str, path: &str, bytes: &[u8]| json!({"ftype": ftype, "path": path, "size": bytes.len(), "sha256": sha256(bytes)});
        json!({
            "lxd": item("lxd.tar.xz"), "incus": item("incus.tar.xz"),
            "root": root("squashfs", "images/root.squashfs", &self.container.root),
            "disk": root("disk-kvm.img", "images/disk.qcow2", &self.machine.root),
        })
    }

    fn products(&self, items: &Value) -> Value {
        let mut old = items.clone();
        old["lxd"]["combined_squashfs_sha256"] = "0".repeat(64).into();
        old["incus"]["combined_squashfs_sha256"] = "0".repeat(64).into();
        old["lxd"]["combined_disk-kvm-img_sha256"] = Value::Null;
        old["incus"]["combined_disk-kvm-img_sha256"] = Value::Null;
        json!({"format": "products:1.0", "products": {"debian:12:amd64:default": {
            "aliases": "debian/12,debian/bookworm", "arch": "amd64", "os": "Debian", "release": "bookworm",
            "release_title": "12", "variant": "default", "support_eol": "2030-01-01",
            "versions": {"20250101_07:42": {"items": items}, "20240101_07:42": {"items": old}}}}})
    }

    fn answer(&self, asked: &Asked) -> Reply {
        let json = |value: &Value| Reply::file(value.to_string().as_bytes());
        match asked.path().trim_start_matches("/t/hw_x") {
            "/streams/v1/index.json" => json(&json!({"format": "index:1.0", "index": {"images": {
                "datatype": "image-downloads", "path": "streams/v1/images.json", "products": ["debian:12:amd64:default"]}}})),
            "/streams/v1/images.json" => json(&self.products(&self.items())),
            "/images/meta.tar.xz" => Reply::file(&self.container.metadata),
            "/images/root.squashfs" => Reply::file(&self.container.root),
            "/images/disk.qcow2" => Reply::file(&self.machine.root),
            _ => Reply::new("404 Not Found", &[], b"not here"),
        }
    }

    async fn but(&self, bad: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Stub {
        let shelf = self.clone();
        Stub::new(move |asked| bad(asked).unwrap_or_else(|| shelf.answer(asked))).await
    }
}

fn by_name(stub: &Stub) -> Origin {
    stub.origin(Protocol::SimpleStreams, "debian/12")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_leads_to_the_newest_and_its_properties_come_along() {
    let (here, shelf) = (Here::new().await, Shelf::new());
    let stub = shelf.but(|_| None).await;
    let mut origin = by_name(&stub);
    origin.server.set_path("/t/hw_x/");
    let fetched = here.fetch(origin).await.unwrap();
    let image = &fetched.image.image;
    assert_eq!(image.fingerprint.to_string(), shelf.container.fingerprint());
    assert_eq!(image.property("description"), Some("Debian 12 amd64 (20250101_07:42)"));
    assert_eq!(image.property("architecture"), Some("amd64"));
    assert_eq!(image.expires_at.unwrap().rfc3339(), "2030-01-01T00:00:00Z");
    assert_eq!(image.filename, "meta.tar.xz");
    assert_eq!(fetched.image.placement.as_ref().unwrap().version.as_str(), "20250101_07:42");
    let source = image.update_source.as_ref().unwrap();
    assert_eq!((source.protocol.as_str(), source.server.clone()), ("simplestreams", format!("{}/t/hw_x", stub.url())));
    let lines = stub.lines();
    let paths: Vec<&str> = lines.iter().map(|line| line.strip_prefix("GET /t/hw_x/").unwrap()).collect();
    let expected = ["streams/v1/index.json", "streams/v1/images.json", "images/meta.tar.xz", "images/root.squashfs"];
    assert_eq!(paths, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_and_a_fingerprint_choose() {
    let (here, shelf) = (Here::new().await, Shelf::new());
    let stub = shelf.but(|_| None).await;
    let machine = Some(ImageType::VirtualMachine);
    let fetched = here.fetch(Origin { image_type: machine, ..by_name(&stub) }).await.unwrap();
    assert_eq!(fetched.image.image.fingerprint.to_string(), shelf.machine.fingerprint());
    // Listed for LXD and for Incus: one image all the same.
    let prefix = &shelf.container.fingerprint()[..10];
    let fetched = here.fetch(stub.origin(Protocol::SimpleStreams, prefix)).await.unwrap();
    assert_eq!(fetched.image.image.fingerprint.to_string(), shelf.container.fingerprint());
    assert_eq!(fetched.image.image.update_source, None);
    assert_eq!(here.files().len(), 3, "the metadata file is there once");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_is_an_image_too() {
    let here = Here::new().await;
    let bytes = Sample::default().unified();
    let hash = sha256(&bytes);
    let products = json!({"products": {"p": {"aliases": "one", "arch": "amd64", "os": "o", "release": "r", "versions": {
        "20250101": {"items": {"u": {"ftype": "lxd_combined.tar.gz", "path": "u.tar.gz", "size": bytes.len(), "sha256": hash}}}}}}});
    let stub = Stub::new(move |asked| match asked.path() {
        "/streams/v1/index.json" => Reply::file(
            br#"{"index":{"a":{"datatype":"image-downloads","path":"p.json","products":["p"]},
                "b":{"datatype":"image-ids","path":"missing.json","products":["p"]}}}"#,
        ),
        "/p.json" => Reply::file(products.to_string().as_bytes()),
        "/u.tar.gz" => Reply::file(&bytes),
        _ => Reply::error(404, "x"),
    })
    .await;
    let fetched = here.fetch(stub.origin(Protocol::SimpleStreams, "one")).await.unwrap();
    assert_eq!(fetched.image.image.fingerprint.to_string(), fingerprint(&[&Sample::default().unified()]));
    assert_eq!(fetched.image.image.fingerprint.to_string(), hash);
}

type Bad = fn(&Shelf, &Asked) -> Option<Reply>;

fn on(asked: &Asked, path: &str, reply: impl FnOnce() -> Reply) -> Option<Reply> {
    (asked.path() == path).then(reply)
}

/// The list with one item changed.
fn listed(shelf: &Shelf, change: impl Fn(&mut Value)) -> Reply {
    let mut items = shelf.items();
    change(&mut items);
    Reply::file(shelf.products(&items).to_string().as_bytes())
}

const INDEX: &str = "/streams/v1/index.json";
const LIST: &str = "/streams/v1/images.json";
const ROOT: &str = "/images/root.squashfs";

#[tokio::test(flavor = "multi_thread")]
async fn bad_servers_list_nothing_and_are_told_apart() {
    let cases: &[(&str, Bad)] = &[
        ("answers 404 Not Found", |_, a| on(a, INDEX, || Reply::new("404 Not Found", &[], b"<html>"))),
        ("answers 204 No Content", |_, a| on(a, LIST, || Reply::new("204 No Content", &[], b""))),
        ("the document is no valid JSON", |_, a| on(a, INDEX, || Reply::file(b"<html>"))),
        ("the document is no valid JSON", |_, a| on(a, LIST, || Reply::file(b"{\"products\":"))),
        ("Image not found", |_, a| on(a, LIST, || Reply::file(b"{\"products\":{}}"))),
        ("answers with more than 262144 bytes", |_, a| {
            on(a, LIST, || {
                Reply(vec![Step::Send(b"HTTP/1.1 200 OK\r\n\r\n[".to_vec()), Step::Repeat(vec![b'['; 9999])])
            })
        }),
        ("which leaves its folder", |s, a| {
            on(a, LIST, || listed(s, |items| items["root"]["path"] = "../../etc/x".into()))
        }),
        ("sends a file whose SHA-256 is", |s, a| {
            let lie = vec![0; s.container.root.len()];
            on(a, ROOT, || Reply::file(&[b"hsqs", &s.container.root[4..4000], &lie[4000..]].concat()))
        }),
        ("sends a file whose SHA-256 is", |s, a| {
            on(a, LIST, || listed(s, |items| items["root"]["sha256"] = "1".repeat(64).into()))
        }),
        ("sends more than the 100 bytes that it announced", |s, a| {
            on(a, LIST, || listed(s, |items| items["root"]["size"] = 100.into()))
        }),
        ("sends 4096 bytes where it announced 5000", |s, a| {
            on(a, LIST, || listed(s, |items| items["root"]["size"] = 5000.into()))
        }),
        ("fingerprint", |s, a| {
            on(a, LIST, || {
                listed(s, |items| {
                    items["lxd"]["combined_squashfs_sha256"] = "2".repeat(64).into();
                    items["incus"]["combined_squashfs_sha256"] = "2".repeat(64).into();
                })
            })
        }),
        ("sent nothing for 0.7 seconds after 1000 bytes", |s, a| {
            on(a, ROOT, || Reply::claiming("200 OK", &[], &s.container.root[..1000], 4096).then(Step::Hang))
        }),
        ("broke the connection off after 1000 bytes", |s, a| {
            on(a, ROOT, || Reply::claiming("200 OK", &[], &s.container.root[..1000], 4096))
        }),
        ("answers 410 Gone", |_, a| on(a, ROOT, || Reply::new("410 Gone", &[], b""))),
        ("as if in a circle", |_, a| on(a, ROOT, || Reply::redirect(ROOT))),
    ];
    let here = Here::new().await;
    for (words, bad) in cases {
        let shelf = Shelf::new();
        let stub = shelf.but({
            let shelf = shelf.clone();
            move |asked| bad(&shelf, asked)
        });
        let stub = stub.await;
        here.fails(by_name(&stub), words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_the_address_is_sent_and_never_told() {
    let (here, shelf) = (Here::new().await, Shelf::new());
    let stub = shelf
        .but(|asked| {
            // ann:pass-word
            let known = asked.header("authorization") == Some("Basic YW5uOnBhc3Mtd29yZA==");
            (!known).then(|| Reply::new("401 Unauthorized", &[], b"who are you"))
        })
        .await;
    let error = here.fails(by_name(&stub), "answers 401 Unauthorized").await;
    assert!(error.contains(&stub.url()), "{error}");
    let mut origin = by_name(&stub);
    origin.server.set_username("ann").unwrap();
    origin.server.set_password(Some("wrong-one")).unwrap();
    let error = here.fails(origin.clone(), "answers 401 Unauthorized").await;
    assert!(!error.contains("ann") && !error.contains("wrong"), "{error}");
    origin.server.set_password(Some("pass-word")).unwrap();
    here.fetch(origin).await.unwrap();
}
