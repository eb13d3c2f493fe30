//! `POST /1.0/images`: uploads, tokens for a push, and what is no upload.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use headwater::auth::{Manages, Role, Viewer};
use headwater::catalog::{AuditQuery, Found};
use headwater::http::incoming::Incoming;
use http::Method;
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::{Value, json};

use super::asking::{FORM, form};
use super::kit::{Sample, Server, fingerprint, qcow2, squashfs};
use super::people::May;

const IMAGES: &str = "/1.0/images";

fn sample(serial: &'static str) -> Sample {
    Sample { serial, ..Sample::default() }
}

async fn image(server: &Server, fingerprint: &str) -> Value {
    let all = server.somebody("all", May::everything()).await;
    let mut json = all.get(&format!("/1.0/images/{fingerprint}?recursion=1")).await.json();
    json["metadata"].take()
}

#[tokio::test]
async fn one_file_with_the_headers_of_either_family() {
    let server = Server::new().await;
    let (secret, identity) = server.token("ci", May::be("default", Role::Publisher)).await;
    let person = super::asking::Person { server: &server, headers: vec![super::people::bearer(&secret)] };
    for (family, serial) in [("X-LXD", "20250101_01:00"), ("x-incus", "20250101_02:00")] {
        let bytes = sample(serial).unified();
        let name = family.to_lowercase();
        let headers = [
            format!("{family}-public: true"),
            format!("{family}-filename: ours.tar"),
            format!("{family}-properties: description=Our+own%3A+it&team=a"),
            format!("{family}-properties: place=here"),
            format!("{family}-profiles: profile=default&profile=web"),
            format!("{family}-aliases: alias={name}%2Fone&alias={name}+two"),
        ];
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let answer = person.upload(&headers, &bytes).await;
        let fingerprint = fingerprint(&[&bytes]);
        assert_eq!(answer.operation()["resources"], json!({"images": [format!("/1.0/images/{fingerprint}")]}));
        assert_eq!(answer.done(), json!({"fingerprint": fingerprint, "size": bytes.len().to_string()}));

        let image = image(&server, &fingerprint).await;
        assert_eq!((&image["public"], &image["filename"]), (&true.into(), &"ours.tar".into()));
        let properties = &image["properties"];
        assert_eq!(properties["description"], "Our own: it", "what the header says wins");
        assert_eq!((&properties["team"], &properties["place"]), (&"a".into(), &"here".into()));
        assert_eq!(properties["os"], "Debian", "what the header does not say stays");
        assert_eq!(image["profiles"], json!(["default", "web"]));
        let names: Vec<_> = image["aliases"].as_array().unwrap().iter().map(|alias| &alias["name"]).collect();
        assert!(names.contains(&&format!("{name}/one").into()) && names.contains(&&format!("{name} two").into()));

        let prefix = fingerprint.parse().unwrap();
        let project = "default".parse().unwrap();
        let Found::One(stored) = server.app.catalog.image(&Viewer::operator(), &project, &prefix).await.unwrap() else {
            panic!("it is there")
        };
        assert_eq!(stored.published_by, Some(identity.id));
        let query = AuditQuery { subject: Some(fingerprint.clone()), ..AuditQuery::default() };
        let lines = server.app.catalog.audit(&query, 10).await.unwrap();
        assert_eq!((lines[0].action.as_str(), lines[0].actor_name.as_str()), ("image-created", "ci"));
    }
    assert_eq!(server.staged_files(), 0);
}

#[tokio::test]
async fn without_wishes_an_image_is_what_its_metadata_says_and_private() {
    let server = Server::new().await;
    let bytes = sample("20250101_01:00").unified();
    let done = server.publisher().await.upload(&[], &bytes).await.done();
    let image = image(&server, done["fingerprint"].as_str().unwrap()).await;
    assert_eq!((&image["public"], &image["filename"]), (&false.into(), &"image".into()));
    assert_eq!((&image["properties"]["serial"], &image["profiles"]), (&"20250101_01:00".into(), &json!(["default"])));
    server
        .guest()
        .get(&format!("{IMAGES}/{}", done["fingerprint"].as_str().unwrap()))
        .await
        .is_api_error(404, "Image not found");
}

#[tokio::test]
async fn two_files_in_a_form_whatever_the_second_is_called() {
    let server = Server::new().await;
    let publisher = server.publisher().await;
    let metadata = sample("20250101_01:00").metadata();
    for (part, root, kind) in [
        ("rootfs", squashfs(1), "container"),
        ("rootfs.img", qcow2(), "virtual-machine"),
        // All daemons push virtual machines like this.
        ("rootfs", [qcow2(), vec![7]].concat(), "virtual-machine"),
    ] {
        let form = form(&[("metadata", "meta.tar.xz", &metadata), (part, "the root", &root)]);
        let done = publisher.upload_form(&["X-LXD-filename: meta.tar.xz", "X-LXD-public: 1"], form).await.done();
        let fingerprint = fingerprint(&[&metadata, &root]);
        assert_eq!(done, json!({"fingerprint": fingerprint, "size": (metadata.len() + root.len()).to_string()}));
        let image = image(&server, &fingerprint).await;
        assert_eq!((&image["type"], &image["filename"]), (&kind.into(), &"the root".into()), "{part}");
    }
    assert_eq!((server.staged_files(), server.stored_files()), (0, 4), "the metadata file is there once");
}

#[tokio::test]
async fn what_is_no_form_of_two_files() {
    let server = Server::new().await;
    let publisher = server.publisher().await;
    let (metadata, root) = (sample("20250101_01:00").metadata(), squashfs(1));
    let good = form(&[("metadata", "m", &metadata), ("rootfs", "r", &root)]);
    let cut = |at: usize| good[..good.len() - at].to_vec();
    let head = b"--abcdefghijklmnopqrstuvwxyz0123456789\r\nX: ";
    for (what, form) in [
        ("another first part", form(&[("meta", "m", &metadata), ("rootfs", "r", &root)])),
        ("another second part", form(&[("metadata", "m", &metadata), ("root", "r", &root)])),
        ("only one part", form(&[("metadata", "m", &metadata)])),
        ("no part", form(&[])),
        ("three parts", form(&[("metadata", "m", &metadata), ("rootfs", "r", &root), ("more", "x", b"x")])),
        ("another boundary", b"--another\r\n\r\n--another--\r\n".to_vec()),
        ("nothing", Vec::new()),
        ("no end", cut(4)),
        ("an end in the last boundary", cut(10)),
        ("an end in the root", cut(1000)),
        ("a head without end", [&head[..], &[b'x'; 1 << 20]].concat()),
        ("a foreword without end", vec![b'x'; 1 << 20]),
        ("an afterword without end", [&good[..], &[b'x'; 1 << 20]].concat()),
    ] {
        let answer = publisher.upload_form(&[], form).await;
        assert_eq!(answer.failed("Invalid multipart image"), json!({}), "{what}");
        assert_eq!((server.staged_files(), server.stored_files()), (0, 0), "{what}");
    }
    let answer =
        publisher.send(Method::POST, IMAGES, &["Content-Type: multipart/form-data"], Incoming::full(good)).await;
    answer.is_api_error(400, "a multipart body needs a boundary in its Content-Type; add it");
}

#[tokio::test]
async fn the_same_image_again_is_a_failed_operation_that_names_it() {
    let server = Server::new().await;
    let publisher = server.publisher().await;
    let bytes = sample("20250101_01:00").unified();
    publisher.upload(&[], &bytes).await.done();
    let metadata =
        publisher.upload(&["X-LXD-public: true"], &bytes).await.failed("Image with same fingerprint already exists");
    assert_eq!(metadata["fingerprint"], fingerprint(&[&bytes]));
    assert_eq!(image(&server, &fingerprint(&[&bytes])).await["public"], false, "nothing was changed");

    server.make_project("team").await;
    let team = server.somebody("team", May::be("team", Role::Publisher)).await;
    team.upload_to("/1.0/images?project=team", &[], &bytes).await.done();
    assert_eq!((server.staged_files(), server.stored_files()), (0, 1), "its bytes are there once");
}

#[tokio::test]
async fn a_bad_image_is_a_failed_operation_that_says_why_and_leaves_nothing() {
    let server = Server::new().await;
    let publisher = server.publisher().await;
    let metadata = sample("20250101_01:00").metadata();
    let name = "X-LXD-filename: it.tar";
    publisher.upload(&[name], b"hello, world\n").await.failed(
        "\"it.tar\" cannot be published: this is a text file, not an image; give a tarball or squashfs with metadata.yaml and a \
         root in it, or a metadata tarball and a root file",
    );
    publisher.upload(&[name], b"").await.failed("\"it.tar\" cannot be published: it is empty; copy it again");
    publisher.upload(&[name], &metadata).await.failed(
        "\"it.tar\" cannot be published: there is a metadata.yaml in it, but neither rootfs/ nor rootfs.img; if this is only the \
         metadata tarball of a split image, give its root file too",
    );
    let swapped = form(&[("metadata", "a.squashfs", &squashfs(1)), ("rootfs", "b.tar", &metadata)]);
    publisher.upload_form(&[], swapped).await.failed(
        "\"a.squashfs\" cannot be published: this is a squashfs file system, not a metadata tarball; give the metadata tarball \
         first, then the root file",
    );
    let expected = "ab".repeat(32);
    let bytes = sample("20250101_01:00").unified();
    publisher
        .upload(&[&format!("X-Incus-fingerprint: {expected}")], &bytes)
        .await
        .failed(&format!("fingerprints don't match, got {} expected {expected}", fingerprint(&[&bytes])));
    assert_eq!((server.staged_files(), server.stored_files()), (0, 0));
    assert_eq!(publisher.get(IMAGES).await.json()["metadata"], json!([]));
}

#[tokio::test]
async fn aliases_that_come_with_an_image_have_to_be_new() {
    let server = Server::new().await;
    let publisher = server.publisher().await;
    publisher.upload(&["X-Incus-aliases: alias=web"], &sample("20250101_01:00").unified()).await.done();
    let second = sample("20250101_02:00").unified();
    publisher.upload(&["X-Incus-aliases: alias=other&alias=web"], &second).await.failed("Alias already exists: web");
    publisher.get("/1.0/images/aliases/other").await.is_api_error(404, "Image alias not found");
    assert_eq!(server.staged_files(), 0);
    // A value that is no form is a name; and a name that comes out of properties is not in the way.
    publisher.upload(&["X-Incus-aliases: debian/bookworm"], &second).await.done();
    let found = publisher.get("/1.0/images/aliases/debian%2Fbookworm").await.json();
    assert_eq!(found["metadata"]["target"], fingerprint(&[&second]));
    for (header, said) in [
        ("X-Incus-aliases: alias=a%2Cb", "the header X-LXD-aliases cannot be read: an alias may not hold ','; "),
        ("X-LXD-properties: a=%zz", "the header X-LXD-properties cannot be read: the query has a percent sign that "),
        ("X-LXD-fingerprint: ab", "the header X-LXD-fingerprint cannot be read: "),
    ] {
        let answer = publisher.upload(&[header], &sample("20250101_03:00").unified()).await;
        assert_eq!(answer.status, 400, "{header}");
        assert!(answer.json()["error"].as_str().unwrap().starts_with(said), "{}", answer.text());
    }
}

#[tokio::test]
async fn who_may_not_publish() {
    let server = Server::new().await;
    server.make_project("team").await;
    let bytes = sample("20250101_01:00").unified();
    let print = format!("X-LXD-fingerprint: {}", fingerprint(&[&bytes]));
    let guest = server.guest();
    for headers in [
        vec![],
        vec!["X-LXD-secret: abc"],
        vec![print.as_str()],
        vec![print.as_str(), "X-LXD-secret: abc"],
        vec![print.as_str(), "X-LXD-secret: "],
        vec!["X-LXD-fingerprint: nonsense", "X-LXD-secret: abc"],
    ] {
        guest.upload(&headers, &bytes).await.is_api_error(403, "not authorized");
        guest.upload_to("/1.0/images?project=team", &headers, &bytes).await.is_api_error(403, "not authorized");
        guest.upload_to("/1.0/images?project=nowhere", &headers, &bytes).await.is_api_error(403, "not authorized");
    }
    guest.json(Method::POST, IMAGES, json!({"source": {"mode": "push"}})).await.is_api_error(403, "not authorized");
    let viewer = server.somebody("viewer", May::be("default", Role::Viewer)).await;
    viewer.upload(&[], &bytes).await.is_api_error(
        403,
        "not authorized: publishing takes the role publisher in the project \"default\"; ask who administers the server",
    );
    let elsewhere = server.somebody("elsewhere", May::be("default", Role::Admin)).await;
    elsewhere.upload_to("/1.0/images?project=team", &[], &bytes).await.is_api_error(404, "Project not found");
    assert_eq!((server.staged_files(), server.stored_files()), (0, 0));
}

#[tokio::test]
async fn another_server_pushes_with_a_token_that_says_how_the_image_is_listed() {
    let server = Server::new().await;
    server.make_project("team").await;
    let publisher = server.somebody("ci", May::manage("team", Role::Publisher, Manages::Own)).await;
    let (metadata, root) = (sample("20250101_01:00").metadata(), qcow2());
    let fingerprint = fingerprint(&[&metadata, &root]);
    let request = json!({
        "properties": {"os": "Ours", "release": "1"}, "public": true, "auto_update": false,
        "expires_at": "2031-01-01T00:00:00Z", "profiles": ["web"], "aliases": [{"name": "pushed", "description": ""}],
        "source": {"mode": "push", "type": "", "fingerprint": fingerprint},
    });
    let token = publisher.json(Method::POST, "/1.0/images?project=team", request).await.operation();
    assert_eq!((&token["class"], &token["status"]), (&"token".into(), &"Running".into()));
    assert_eq!(token["resources"], json!({"images": [format!("/1.0/images/{fingerprint}")]}));
    let secret = token["metadata"]["secret"].as_str().unwrap();
    assert!(secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()), "{secret}");

    let guest = server.guest();
    let form = || form(&[("metadata", &fingerprint, &metadata), ("rootfs", &format!("{fingerprint}.rootfs"), &root)]);
    let print = format!("X-Incus-fingerprint: {fingerprint}");
    let secret = format!("X-Incus-secret: {secret}");
    let push = async |path: &str| {
        let headers = [print.as_str(), &secret, "X-Incus-public: false", "X-Incus-properties: os=Theirs", FORM];
        guest.send(Method::POST, path, &headers, super::asking::pieces(form())).await
    };
    push(IMAGES).await.is_api_error(403, "not authorized");
    let answer = push("/1.0/images?project=team").await;
    let (operation, done) = (answer.operation(), answer.done());
    assert_eq!((&done["fingerprint"], done["size"].is_string()), (&fingerprint.as_str().into(), true));

    // Who pushed is a guest, and waits with a secret of its own.
    let wait = format!("/1.0/operations/{}/wait?project=team&timeout=-1", operation["id"].as_str().unwrap());
    guest.get(&wait).await.is_api_error(403, "not authorized");
    let waited = guest.get(&format!("{wait}&secret={}", done["secret"].as_str().unwrap())).await.json();
    assert_eq!(waited["metadata"]["status_code"], 200);
    assert_eq!(waited["metadata"]["metadata"]["fingerprint"], fingerprint.as_str());

    let image = publisher.get(&format!("/1.0/images/{fingerprint}?project=team")).await.json()["metadata"].take();
    assert_eq!(image["properties"], json!({"os": "Ours", "release": "1"}), "only what the token says");
    assert_eq!(
        (&image["public"], &image["type"], &image["expires_at"], &image["profiles"]),
        (&true.into(), &"virtual-machine".into(), &"2031-01-01T00:00:00Z".into(), &json!(["web"]))
    );
    assert!(image["aliases"].as_array().unwrap().contains(&json!({"name": "pushed", "description": ""})));
    push("/1.0/images?project=team").await.is_api_error(403, "not authorized");
    // It counts as published by who made the token, who may manage it.
    let path = format!("/1.0/images/{fingerprint}?project=team");
    publisher.send(Method::DELETE, &path, &[], Incoming::empty()).await.done();
}

#[tokio::test]
async fn a_token_is_good_for_one_image_only() {
    let server = Server::new().await;
    let publisher = server.publisher().await;
    let (agreed, other) = (sample("20250101_01:00").unified(), sample("20250101_02:00").unified());
    let print = fingerprint(&[&agreed]);
    let request = json!({"source": {"mode": "push", "fingerprint": print}});
    let token = publisher.json(Method::POST, IMAGES, request).await.operation();
    let secret = format!("X-LXD-secret: {}", token["metadata"]["secret"].as_str().unwrap());
    let guest = server.guest();
    let claimed = format!("X-LXD-fingerprint: {}", fingerprint(&[&other]));
    guest.upload(&[&claimed, &secret], &other).await.is_api_error(403, "not authorized");
    let claimed = format!("X-LXD-fingerprint: {print}");
    let failed = guest.upload(&[&claimed, &secret], &other).await;
    failed.failed(&format!("fingerprints don't match, got {} expected {print}", fingerprint(&[&other])));
    assert_eq!((server.staged_files(), server.stored_files()), (0, 0));
    guest.upload(&[&claimed, &secret], &agreed).await.done();
    for (fingerprint, said) in [
        ("", "a push needs the whole fingerprint of the image: 64 hexadecimal digits; give all of them"),
        ("abc", "a push needs the whole fingerprint of the image: 64 hexadecimal digits; give all of them"),
    ] {
        let request = json!({"source": {"mode": "push", "fingerprint": fingerprint}});
        publisher.json(Method::POST, IMAGES, request).await.is_api_error(400, said);
    }
}

#[tokio::test]
async fn requests_that_are_no_uploads() {
    let server = Server::new().await;
    let publisher = server.publisher().await;
    for (source, said) in [
        (Value::Null, "the request does not say where the image comes from; add source, or send the image itself"),
        (
            json!({"type": "container", "name": "c1"}),
            "this server keeps images and runs no instances; publish on the server that runs it, and copy the image here",
        ),
        (json!({"type": "sculpture"}), "Invalid images JSON"),
        (json!({}), "Invalid images JSON"),
    ] {
        publisher.json(Method::POST, IMAGES, json!({"source": source})).await.is_api_error(400, said);
        // Programs that do not say that it is JSON.
        let body = Incoming::full(format!(" \n{}", json!({"source": source})));
        publisher.send(Method::POST, IMAGES, &[], body).await.is_api_error(400, said);
    }
    let answer = publisher.send(Method::POST, IMAGES, &["Content-Type: application/json"], Incoming::full("{")).await;
    assert_eq!(answer.status, 400);
    let answer = publisher.send(Method::POST, IMAGES, &[], Incoming::empty()).await;
    answer.is_api_error(400, "there is no body; send an image, or a request in JSON");
    // An image that does not say what it is.
    let bytes = sample("20250101_01:00").unified();
    publisher.send(Method::POST, IMAGES, &[], super::asking::pieces(bytes)).await.done();
}

/// A body that breaks after so many bytes.
fn broken(bytes: &[u8], at: usize) -> Incoming {
    let whole: Vec<_> = bytes[..at].chunks(333).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    let error = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "the connection was reset");
    Incoming::new(StreamBody::new(stream::iter(whole.into_iter().chain([Err(error)]))))
}

#[tokio::test]
async fn an_upload_that_breaks_anywhere_leaves_nothing() {
    let server = Server::new().await;
    let publisher = server.publisher().await;
    let (metadata, root) = (sample("20250101_01:00").metadata(), squashfs(1));
    let split = form(&[("metadata", "m", &metadata), ("rootfs", "r", &root)]);
    let unified = sample("20250101_02:00").unified();
    for (kind, whole) in [(FORM, &split), ("Content-Type: application/octet-stream", &unified)] {
        // At the very end, too: all bytes of the image have come, but not the end of the request.
        let places = (0..100).map(|number| number * whole.len() / 100).chain([whole.len() - 1, whole.len()]);
        for at in places {
            let answer = publisher.send(Method::POST, IMAGES, &[kind], broken(whole, at)).await;
            answer.is_api_error(400, "the body ended before it was complete: the connection was reset");
            assert_eq!(server.staged_files(), 0, "{kind} {at}");
        }
    }
    assert_eq!(server.stored_files(), 0);
    assert_eq!(publisher.get(IMAGES).await.json()["metadata"], json!([]));
}

#[tokio::test]
async fn little_of_an_upload_is_taken_before_it_is_needed() {
    let server = Server::new().await;
    let publisher = server.publisher().await;
    let given = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&given);
    // A form whose second part never ends, and is no image, from a client that is always ready.
    let head = form(&[("metadata", "m", &sample("20250101_01:00").metadata()), ("rootfs", "r", b"")]);
    let head = head[..head.len() - 44].to_vec();
    let endless = stream::iter([head]).chain(stream::repeat(vec![b'x'; 16 * 1024])).map(move |piece| {
        counted.fetch_add(piece.len(), Ordering::Relaxed);
        Ok::<_, std::io::Error>(Frame::data(Bytes::from(piece)))
    });
    let answer = publisher.send(Method::POST, IMAGES, &[FORM], Incoming::new(StreamBody::new(endless))).await;
    answer.failed(
        "\"r\" cannot be published: this is a text file, not a root file; give a squashfs, a tarball or a qcow2 disk",
    );
    assert!(given.load(Ordering::Relaxed) < 200 * 1024, "{given:?}");
    assert_eq!(server.staged_files(), 0);
}

#[tokio::test]
async fn a_project_packs_what_is_uploaded_unless_its_fingerprint_was_announced() {
    let server = Server::new().await;
    let publisher = server.publisher().await;
    server.app.catalog.set_repack(&"default".parse().unwrap(), true, super::kit::now()).await.unwrap();
    let metadata = sample("20250101_01:00").metadata();
    let root = crate::kit::trees::squashed(&crate::kit::trees::nasty_tarball(), &["-comp", "zstd"]);
    let given = fingerprint(&[&metadata, &root]);
    let form = form(&[("metadata", "meta.tar", &metadata), ("rootfs", "rootfs.squashfs", &root)]);

    let announced = format!("X-LXD-fingerprint: {given}");
    let done = publisher.upload_form(&[&announced], form.clone()).await.done();
    assert_eq!(done, json!({"fingerprint": given, "size": (metadata.len() + root.len()).to_string()}));

    let done = publisher.upload_form(&[], form.clone()).await.done();
    let packed = done["fingerprint"].as_str().unwrap().to_owned();
    assert_ne!(packed, given);
    assert_eq!(done["repacked_from"], given.as_str());
    let image = image(&server, &packed).await;
    assert_eq!(image["properties"]["headwater.repacked_from"], given.as_str());
    assert_eq!(
        (&image["size"].to_string(), &image["filename"]),
        (&done["size"].as_str().unwrap().to_owned(), &"rootfs.squashfs".into())
    );
    let query = AuditQuery { subject: Some(packed), ..AuditQuery::default() };
    let lines = server.app.catalog.audit(&query, 10).await.unwrap();
    assert_eq!(lines[0].detail["repacked_from"], given);

    // As clients name the files of a copy that goes through them, and as those of an export are named.
    for (serial, root_name) in [("20250101_02:00", "the image"), ("20250101_03:00", "")] {
        let metadata = sample(serial).metadata();
        let given = fingerprint(&[&metadata, &root]);
        let root_name = if root_name.is_empty() { format!("{given}.squashfs") } else { root_name.to_owned() };
        let copy = super::asking::form(&[("metadata", "the image", &metadata), ("rootfs", &root_name, &root)]);
        let done = publisher.upload_form(&[], copy).await.done();
        assert_eq!(done["fingerprint"], given.as_str());
        assert!(done["not_repacked"].as_str().unwrap().contains("those of a copy"), "{done}");
    }

    // A squashfs that is none inside is taken as it is: only the project wanted it otherwise, not who uploads it.
    let mut hollow = root.clone();
    hollow[96..].fill(0xff);
    let form = super::asking::form(&[("metadata", "m", &metadata), ("rootfs", "r", &hollow)]);
    let done = publisher.upload_form(&[], form).await.done();
    assert_eq!(done["fingerprint"], fingerprint(&[&metadata, &hollow]));
    assert!(done["not_repacked"].as_str().unwrap().contains("squashfs"), "{done}");
    assert_eq!(server.staged_files(), 0);
}
