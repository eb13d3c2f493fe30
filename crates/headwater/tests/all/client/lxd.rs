//! Pulls from servers with the API of LXD and Incus.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use headwater::auth::{Access, Actor};
use headwater::client::{Origin, Protocol};
use headwater::fetch::{Course, Fetch, FetchError};
use headwater_formats::image::{ImageFiles, ImageType};
use headwater_formats::names::{AliasName, ProjectName};
use serde_json::json;

use super::kit::{Asked, Here, MULTIPART, Reply, Split, Step, Stub, multipart, now, sha256};
use crate::http::kit::Sample;

fn by_name(stub: &Stub) -> Origin {
    stub.origin(Protocol::Lxd, "debian/12")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_found_by_name_and_described_as_it_is_there() {
    let (here, image) = (Here::new().await, Split::container());
    let stub = image.daemon().await;
    let fetch = Fetch {
        certificate: stub.pem.clone(),
        auto_update: true,
        properties: [("note".to_owned(), "mine".to_owned())].into(),
        aliases: vec![AliasName::new("here").unwrap().into()],
        copy_aliases: true,
        ..Fetch::new(ProjectName::default_project(), Origin { project: "p 1".into(), ..by_name(&stub) })
    };
    let fetched = here.fetch_as(fetch).await.unwrap();
    let found = &fetched.image.image;
    assert!(!fetched.already);
    assert_eq!(found.fingerprint.to_string(), image.fingerprint());
    assert_eq!(found.filename, "there.tar.xz");
    assert_eq!(found.expires_at.unwrap().rfc3339(), "2030-01-01T00:00:00Z");
    let properties: Vec<(&str, &str)> = found.properties.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let expected = [("description", "there"), ("note", "mine"), ("os", "Debian"), ("release", "bookworm")];
    assert_eq!(properties, expected, "those of the server, not those of metadata.yaml");
    assert!(found.auto_update && !found.public);
    let source = found.update_source.as_ref().unwrap();
    assert_eq!((source.alias.as_str(), source.protocol.as_str()), ("debian/12", "lxd"));
    assert_eq!((source.server.clone(), source.certificate.clone()), (stub.url(), stub.pem.clone()));
    assert_eq!(source.image_type, "container");
    assert!(matches!(found.files, ImageFiles::Split { .. }));

    let fingerprint = image.fingerprint();
    let expected = [
        "GET /1.0".to_owned(),
        "GET /1.0/images/aliases/debian%2F12?project=p+1".to_owned(),
        format!("GET /1.0/images/{fingerprint}?project=p+1"),
        format!("GET /1.0/images/{fingerprint}/export?project=p+1"),
    ];
    assert_eq!(stub.lines(), expected);
    for asked in stub.asked() {
        let agent = asked.header("user-agent").unwrap();
        assert_eq!(agent, concat!("Headwater/", env!("CARGO_PKG_VERSION"), " (Linux; x86_64)"));
        assert!(asked.header("accept-encoding").is_none(), "an export that is compressed on the way has another hash");
    }

    // Names of the source come along, and those that were asked for.
    let catalog = &here.server.app.catalog;
    for name in ["here", "debian/12"] {
        let name = AliasName::new(name).unwrap();
        let everything = headwater::auth::Viewer::operator();
        let wanted = headwater::catalog::Wanted::default();
        let resolved = catalog.resolve_alias(&everything, &ProjectName::default_project(), &name, &wanted).await;
        assert_eq!(resolved.unwrap().unwrap().fingerprint, found.fingerprint, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_already_is_not_fetched_again_but_listed_as_asked() {
    let (here, image) = (Here::new().await, Split::container());
    let stub = image.daemon().await;
    let first = here.fetch(stub.origin(Protocol::Incus, &image.fingerprint())).await.unwrap();
    assert_eq!(first.image.image.update_source, None, "a fingerprint leads nowhere else");
    let again = Fetch {
        public: true,
        auto_update: true,
        aliases: vec![AliasName::new("here").unwrap().into()],
        ..Fetch::new(ProjectName::default_project(), stub.origin(Protocol::Incus, "debian/12"))
    };
    for _ in 0..2 {
        let second = here.fetch_as(again.clone()).await.unwrap();
        assert!(second.already);
        let image = &second.image.image;
        assert!(image.public && image.auto_update);
        assert_eq!(image.update_source.as_ref().unwrap().protocol, "incus");
        assert_eq!(image.properties["description"], "there");
        assert!(second.image.aliases.iter().any(|alias| alias.name.as_str() == "here"));
    }
    assert_eq!(stub.lines().iter().filter(|line| line.ends_with("/export")).count(), 1);

    // A name that leads elsewhere is not taken away.
    let other = Split { root: super::kit::squashfs(9), ..Split::container() };
    let stub = other.daemon().await;
    let taken = Fetch { aliases: again.aliases, ..Fetch::new(ProjectName::default_project(), by_name(&stub)) };
    let error = here.fetch_as(taken).await.unwrap_err().to_string();
    assert!(error.contains("there is an alias \"here\" already"), "{error}");
    assert_eq!(here.files().len(), 2, "what was fetched for nothing is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_opens_a_private_image_and_no_alias_is_asked_for() {
    let (here, image) = (Here::new().await, Split::machine());
    let stub = image
        .but(|asked| {
            (!asked.target.contains("secret=s3cr3t") && asked.path() != "/1.0").then(|| Reply::error(404, "not found"))
        })
        .await;
    let origin = stub.origin(Protocol::Lxd, &image.fingerprint()[..20]);
    let fetched = here.fetch(Origin { secret: Some("s3cr3t".into()), ..origin }).await.unwrap();
    assert_eq!(fetched.image.image.image_type, ImageType::VirtualMachine);
    assert!(stub.lines().iter().all(|line| !line.contains("aliases")), "{:?}", stub.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_is_taken_under_the_name_in_its_header() {
    let here = Here::new().await;
    let bytes = Sample::default().unified();
    let hash = sha256(&bytes);
    let object =
        json!({"fingerprint": hash, "properties": null, "aliases": null, "expires_at": "0001-01-01T00:00:00Z"});
    let stub = Stub::new(move |asked| match asked.path() {
        path if path.ends_with("/export") => Reply::new(
            "200 OK",
            &[("Content-Type", "application/octet-stream"), ("Content-Disposition", "inline;filename=one.tar")],
            &bytes,
        ),
        // Newer Incus tells guests nothing here; older LXD and a closed door answer so.
        "/1.0" => Reply::error(403, "not authorized"),
        path if path.contains("aliases") => Reply::error(403, "not authorized"),
        _ => Reply::sync(&object),
    })
    .await;
    let fetched = here.fetch(stub.origin(Protocol::Incus, &hash[..12])).await.unwrap();
    let found = &fetched.image.image;
    assert_eq!((found.fingerprint.to_string(), found.filename.as_str()), (hash, "one.tar"));
    assert_eq!(found.update_source, None);
    assert_eq!(found.properties.len(), 0, "the server says that it has none");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_believed_is_not_asked() {
    let (here, image) = (Here::new().await, Split::container());
    let (stub, other) = (image.daemon().await, image.daemon().await);
    let origin = Origin { trust: other.origin(Protocol::Lxd, "x").trust, ..by_name(&stub) };
    here.fails(origin, "the server's certificate is not the one that was given").await;
    let origin = Origin::new(Protocol::Lxd, &stub.url(), "debian/12").unwrap();
    here.fails(origin, "the server's certificate is not trusted by this system").await;
    assert_eq!((stub.asked().len(), stub.handshakes()), (0, 0));
    for server in ["http://127.0.0.1:1", "ftp://x", "file:///etc/passwd", "x", "https://", ""] {
        let error = Origin::new(Protocol::Lxd, server, "x").unwrap_err().to_string();
        assert!(error.contains("give one that begins with https://"), "{error}");
    }
    assert!(Origin::new(Protocol::Lxd, "https://x", "").unwrap_err().to_string().contains("neither an alias"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there() {
    let here = Here::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let origin = Origin::new(Protocol::Lxd, &format!("https://{address}"), "x").unwrap();
    here.fails(origin.clone(), "Connection refused").await;
    // Somebody who speaks no TLS, and somebody who says nothing.
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-x\r\n").await.unwrap();
        let held = listener.accept().await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(held);
    });
    here.fails(origin.clone(), "the TLS handshake failed").await;
    here.fails(origin, "cannot be asked").await;
    task.abort();
}

/// What a bad server answers, and what people are told.
type Bad = fn(&Split, &Asked) -> Option<Reply>;

fn on(asked: &Asked, end: &str, reply: impl FnOnce() -> Reply) -> Option<Reply> {
    let image = asked.path().starts_with("/1.0/images/") && !asked.path().contains("aliases");
    let hit = match end {
        "image" => image && !asked.path().ends_with("/export"),
        "alias" => asked.path().contains("aliases"),
        "export" => asked.path().ends_with("/export"),
        path => asked.path() == path,
    };
    hit.then(reply)
}

fn half(image: &Split) -> Vec<u8> {
    let body = multipart(&[("metadata", "m", &image.metadata), ("rootfs", "r", &image.root)]);
    body[..body.len() / 2].to_vec()
}

fn html() -> Reply {
    Reply::new("200 OK", &[("Content-Type", "text/html")], b"<html>Welcome to the router</html>")
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_servers_list_nothing_and_are_told_apart() {
    let cases: &[(&str, Bad)] = &[
        ("answers with something that is no answer of an image server", |_, a| on(a, "/1.0", html)),
        ("answers with something that is no answer of an image server", |_, a| on(a, "image", html)),
        ("answers 502 Bad Gateway: it does not say why", |_, a| {
            on(a, "image", || Reply::new("502 Bad Gateway", &[("Content-Type", "text/html")], b"<html>"))
        }),
        ("answers 500 Internal Server Error: on fire", |_, a| on(a, "export", || Reply::error(500, "on\nfire\u{1b}"))),
        ("Image not found", |_, a| on(a, "image", || Reply::error(404, "Image not found"))),
        ("Image not found", |_, a| on(a, "alias", || Reply::error(404, "not found"))),
        ("has an alias that leads to \"nowhere\"", |_, a| {
            on(a, "alias", || Reply::sync(&json!({"target": "nowhere"})))
        }),
        ("answers with JSON of another shape", |_, a| on(a, "image", || Reply::sync(&json!([1])))),
        ("whose fingerprint is no SHA-256", |_, a| on(a, "image", || Reply::sync(&json!({"fingerprint": "abc"})))),
        ("and answers with 000000000000", |_, a| {
            on(a, "image", || Reply::sync(&json!({"fingerprint": "0".repeat(64)})))
        }),
        ("an error that claims success: nope", |_, a| {
            on(a, "image", || Reply::new("200 OK", &[], br#"{"type":"error","error":"nope"}"#))
        }),
        ("answers with more than 65536 bytes where a short answer belongs", |_, a| {
            on(a, "image", || Reply::new("200 OK", &[], &vec![b' '; 100_000]))
        }),
        ("answers with more than 65536 bytes where a short answer belongs", |_, a| {
            on(a, "image", || {
                Reply(vec![Step::Send(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), Step::Repeat(vec![b' '; 9999])])
            })
        }),
        ("it took the request and sent no answer for 0.7 seconds", |_, a| on(a, "/1.0", || Reply(vec![Step::Hang]))),
        ("it took the request and sent no answer for 0.7 seconds", |_, a| on(a, "export", || Reply(vec![Step::Hang]))),
        ("sent nothing for 0.7 seconds after", |i, a| {
            on(a, "export", || Reply::claiming("200 OK", &[MULTIPART], &half(i), 9000).then(Step::Hang))
        }),
        ("broke the connection off after", |i, a| {
            on(a, "export", || Reply::claiming("200 OK", &[MULTIPART], &half(i), 9000))
        }),
        ("ended its multipart body before it was complete", |i, a| {
            on(a, "export", || Reply::new("200 OK", &[MULTIPART], &half(i)))
        }),
        ("sends a part named \"rootfs\" where \"metadata\" belongs", |i, a| {
            on(a, "export", || {
                let parts: [(&str, &str, &[u8]); 2] = [("rootfs", "r", &i.root), ("metadata", "m", &i.metadata)];
                Reply::new("200 OK", &[MULTIPART], &multipart(&parts))
            })
        }),
        ("sends a part named \"disk\" where \"rootfs\" or \"rootfs.img\" belongs", |i, a| {
            on(a, "export", || {
                let parts: [(&str, &str, &[u8]); 2] = [("metadata", "m", &i.metadata), ("disk", "r", &i.root)];
                Reply::new("200 OK", &[MULTIPART], &multipart(&parts))
            })
        }),
        ("without the part \"rootfs\" or \"rootfs.img\"", |i, a| {
            on(a, "export", || Reply::new("200 OK", &[MULTIPART], &multipart(&[("metadata", "m", &i.metadata)])))
        }),
        ("sends more than the two files that an image has", |i, a| {
            on(a, "export", || {
                let parts: [(&str, &str, &[u8]); 3] =
                    [("metadata", "m", &i.metadata), ("rootfs", "r", &i.root), ("extra", "x", b"x")];
                Reply::new("200 OK", &[MULTIPART], &multipart(&parts))
            })
        }),
        ("a multipart body without its boundary", |_, a| {
            on(a, "export", || Reply::new("200 OK", &[("Content-Type", "multipart/form-data")], b"x"))
        }),
        ("the header of a part does not end", |_, a| {
            on(a, "export", || {
                let head = format!("HTTP/1.1 200 OK\r\n{}: {}\r\n\r\n--frontier\r\nX-A: ", MULTIPART.0, MULTIPART.1);
                Reply(vec![Step::Send(head.into_bytes()), Step::Repeat(vec![b'a'; 65536])])
            })
        }),
        ("bytes that it announced", |i, a| {
            let mut object = i.object();
            object["size"] = json!(5000);
            on(a, "image", || Reply::sync(&object))
        }),
        ("where it announced 99999", |i, a| {
            let mut object = i.object();
            object["size"] = json!(99_999);
            on(a, "image", || Reply::sync(&object))
        }),
        ("fingerprint", |i, a| {
            let lie = Split { root: super::kit::squashfs(8), ..i.clone() };
            on(a, "export", || lie.export())
        }),
        ("OCI image", |i, a| on(a, "export", || Reply::new("200 OK", &[MULTIPART, ("X-Incus-Type", "oci")], &half(i)))),
        ("as if in a circle", |_, a| on(a, "/1.0", || Reply::redirect("/1.0"))),
        ("sends to an address that is not https", |_, a| on(a, "/1.0", || Reply::redirect("http://127.0.0.1:1/1.0"))),
    ];
    let here = Here::new().await;
    for (words, bad) in cases {
        let image = Split::container();
        let stub = image.but({
            let image = image.clone();
            move |asked| bad(&image, asked)
        });
        let stub = stub.await;
        here.fails(by_name(&stub), words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wanted_type_has_to_be_there() {
    let (here, image) = (Here::new().await, Split::container());
    let stub = image.daemon().await;
    let wanted = Some(ImageType::VirtualMachine);
    here.fails(
        Origin { image_type: wanted, ..by_name(&stub) },
        "for a container, where a virtual-machine was asked for",
    )
    .await;
    let origin = stub.origin(Protocol::Lxd, &image.fingerprint());
    here.fails(Origin { image_type: wanted, ..origin }, "where a virtual-machine was asked for").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_download_leaves_nothing() {
    let image = Split::container();
    for export in [true, false] {
        let here = Here::new().await;
        let stub = image
            .but({
                let image = image.clone();
                move |asked| match (asked.path().ends_with("/export"), export) {
                    (true, true) => Some(Reply::claiming("200 OK", &[MULTIPART], &half(&image), 9000).then(Step::Hang)),
                    (false, false) => Some(Reply(vec![Step::Hang])),
                    _ => None,
                }
            })
            .await;
        let told = Arc::<Mutex<Vec<String>>>::default();
        let course = Course {
            tell: Arc::new({
                let told = Arc::clone(&told);
                move |text| told.lock().unwrap().push(text)
            }),
            ..Course::new(Actor::operator("x"), Access::operator(), now)
        };
        let fetch = Fetch::new(ProjectName::default_project(), by_name(&stub));
        let cancelling = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            course.cancel.cancel();
        };
        let began = std::time::Instant::now();
        let (fetched, ()) = tokio::join!(here.fetcher.fetch(fetch, &course), cancelling);
        assert!(matches!(fetched, Err(FetchError::Cancelled)), "{fetched:?}");
        assert!(began.elapsed() < Duration::from_millis(650), "before the patience with the server is at its end");
        here.is_empty().await;
        assert_eq!(told.lock().unwrap().first().is_some_and(|text| text.starts_with("metadata: ")), export);
    }
}
