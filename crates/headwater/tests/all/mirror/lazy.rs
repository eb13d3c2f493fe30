//! Upstreams whose images are listed at once, and whose files come when somebody asks for them.

use std::sync::Arc;
use std::time::Duration;

use headwater::auth::Viewer;
use headwater::bundle::{Bundles, MakeRequest, To};
use headwater::catalog::{AuditQuery, UpstreamProtocol, UpstreamSettings};
use headwater::client::Limits;
use headwater::http::incoming::Incoming;
use headwater::http::{Connection, Settings, State, handle};
use headwater::mirror::Patience;
use headwater::publish::ExportRequest;
use headwater_formats::names::ProjectName;
use headwater_formats::simplestreams::Family;
use headwater_formats::timestamp::Timestamp;
use headwater_formats::view::View;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tokio_util::sync::CancellationToken;

use super::kit::{Mirror, World, images, name, tomorrow};
use crate::client::kit::{Asked, Reply, Split, Step, Stub, now, quick, sha256};
use crate::deltas::kit::noise;

const KEY: &str = "com.example:bookworm:amd64";
const AWAY: &str =
    "this file is kept by another server, which cannot be reached now or does not send it; try again later\n";

/// An image whose root file is this long: its bytes are of no kind, which nobody looks at.
fn large(size: usize, seed: u64) -> Split {
    let metadata = images("bookworm", "20250101_07:42", false).remove(0).metadata;
    Split { metadata: [&metadata[..], &seed.to_le_bytes()].concat(), root: noise(size, seed), machine: false }
}

/// A world with these images as versions of one product.
fn world(images: &[Split]) -> World {
    let world = World::default();
    let names = (1..).map(|day| format!("2025010{day}_07:42"));
    let versions = names.zip(images.iter().map(|image| vec![image.clone()])).collect();
    world.0.lock().unwrap().insert(KEY.to_owned(), versions);
    world
}

/// Little patience, but all that is needed for one that says nothing until the test has seen what it wanted.
fn hasty(mirror: &mut Mirror) {
    let patience = Patience { pauses: vec![Duration::from_millis(10)], ..Patience::default() };
    let client = Limits { stall: Duration::from_secs(30), ..quick() };
    let settings = Settings { client, ..Settings::default() };
    mirror.server.state = Arc::new(State::new(mirror.server.app.clone(), settings, now).pulling(patience));
}

async fn lazy(stub: &Stub, settings: UpstreamSettings) -> Mirror {
    let settings = UpstreamSettings { lazy: true, ..settings };
    let mut mirror = Mirror::with(stub, UpstreamProtocol::SimpleStreams, settings).await;
    hasty(&mut mirror);
    mirror
}

/// A lazy mirror that has run.
async fn run(stub: &Stub, settings: UpstreamSettings) -> Mirror {
    let mirror = lazy(stub, settings).await;
    mirror.runs().await;
    mirror
}

fn root_of(image: &Split) -> String {
    format!("/images/{}.squashfs", sha256(&image.root))
}

fn metadata_of(image: &Split) -> String {
    format!("/images/{}.tar.xz", sha256(&image.metadata))
}

/// How often each file was asked for.
fn asked_for(stub: &Stub, bytes: &[u8]) -> usize {
    stub.lines().iter().filter(|line| line.contains(&sha256(bytes))).count()
}

fn files(stub: &Stub) -> usize {
    stub.lines().iter().filter(|line| line.contains("/images/")).count()
}

/// Sends the head and half of the body, and the rest when somebody says so.
fn halves(bytes: &[u8], rest: &CancellationToken) -> Reply {
    let half = bytes.len() / 2;
    Reply::claiming("200 OK", &[], &bytes[..half], bytes.len())
        .then(Step::Until(rest.clone()))
        .then(Step::Send(bytes[half..].to_vec()))
}

/// An upstream that sends half of this root file, and the rest when somebody says so.
async fn gated(world: &World, image: &Split) -> (Stub, CancellationToken) {
    let (rest, root) = (CancellationToken::new(), image.root.clone());
    let (gate, path) = (rest.clone(), format!("/images/{}", sha256(&root)));
    let stub = world.but(move |asked| (asked.path() == path).then(|| halves(&root, &gate))).await;
    (stub, rest)
}

/// What an answer brings before it breaks off, and whether it came to its end.
async fn read(state: &Arc<State>, path: &str, headers: &[(&str, &str)]) -> (StatusCode, Vec<u8>, Result<(), String>) {
    let mut request = http::Request::builder().method(Method::GET).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = handle(state, request.body(Incoming::empty()).unwrap(), &Connection::test_tls()).await;
    let (status, mut body, mut bytes) = (answer.status(), answer.into_body(), Vec::new());
    loop {
        match body.frame().await {
            None => return (status, bytes, Ok(())),
            Some(Ok(frame)) => bytes.extend_from_slice(&frame.into_data().unwrap()),
            Some(Err(error)) => return (status, bytes, Err(error.to_string())),
        }
    }
}

/// Waits until something is so.
#[track_caller]
fn until<F: AsyncFnMut() -> bool>(mut so: F) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        for _ in 0..1000 {
            if so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{place}: it never came to be so");
    }
}

/// Digests of what lies in the store.
async fn stored(mirror: &Mirror) -> Vec<String> {
    let blobs = mirror.server.app.blobs.clone();
    tokio::task::spawn_blocking(move || blobs.list().map(|digest| digest.unwrap().to_string()).collect()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_of_the_upstream_is_here_at_once_and_files_come_once() {
    let image = large(300_000, 1);
    let stub = world(&[image.clone(), large(1000, 2)]).serve().await;
    let mirror = lazy(&stub, UpstreamSettings::default()).await;
    assert_eq!(mirror.runs().await, (2, 2, 0));
    assert_eq!(mirror.runs().await, (2, 0, 0));
    assert_eq!((files(&stub), stored(&mirror).await.len()), (0, 0), "nothing was transferred");
    let products = mirror.products().await;
    assert_eq!((products[0].key.as_str(), products[0].versions.len()), (KEY, 2));
    assert_eq!(products[0].aliases, ["bookworm", "bookworm/amd64x"]);
    let listed = &products[0].versions[0].images[0];
    assert_eq!(listed.fingerprint.to_string(), image.fingerprint());
    assert_eq!(listed.property("release"), Some("bookworm"));

    let (path, etag) = (root_of(&image), format!("\"{}\"", sha256(&image.root)));
    let head = mirror.server.ask(&Connection::test_tls(), Method::HEAD, &path, &[]).await;
    assert_eq!((head.status.as_u16(), head.header("content-length"), head.header("etag")), (200, "300000", &*etag));
    let same = mirror.server.get(&path, &[&format!("If-None-Match: {etag}")]).await;
    assert_eq!(same.status, 304);
    let outside = mirror.server.get(&path, &["Range: bytes=300000-"]).await;
    outside.is_text(416, "the range lies outside the file, which has 300000 bytes");
    assert_eq!(files(&stub), 0, "none of it needs the bytes");

    for _ in 0..2 {
        let answer = mirror.server.get(&path, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.header("etag")), (200, &*etag));
        assert!(answer.body == image.root);
    }
    assert_eq!(asked_for(&stub, &image.root), 1);
    assert_eq!(stored(&mirror).await, [sha256(&image.root)]);
    // A short one is waited for.
    assert!(mirror.server.get(&metadata_of(&image), &[]).await.body == image.metadata);
    assert_eq!(std::fs::read_dir(mirror.server.folder.path().join("blobs/partial")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_clients_cost_one_transfer_and_begin_before_it_ends() {
    let image = large(2_000_000, 1);
    let (stub, rest) = gated(&world(std::slice::from_ref(&image)), &image).await;
    let mirror = run(&stub, UpstreamSettings::default()).await;
    let path = root_of(&image);
    let clients: Vec<_> = (0..32)
        .map(|_| {
            let (state, path) = (Arc::clone(&mirror.server.state), path.clone());
            tokio::spawn(async move { read(&state, &path, &[]).await })
        })
        .collect();
    // All of them have what is here, which is less than all of it.
    let request = http::Request::get(&path).body(Incoming::empty()).unwrap();
    let mut first = handle(&mirror.server.state, request, &Connection::test_tls()).await.into_body();
    let mut begun = 0;
    // Less than 256 KiB is not handed on before more has come.
    while begun + (256 << 10) < 1_000_000 {
        begun += first.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    assert!(begun <= 1_000_000);
    let more = tokio::time::timeout(Duration::from_millis(100), first.frame()).await;
    assert!(more.is_err() || begun < 1_000_000, "nothing beyond what came");
    drop(first);
    rest.cancel();
    for client in clients {
        let (status, bytes, ended) = client.await.unwrap();
        assert_eq!((status.as_u16(), ended), (200, Ok(())));
        assert!(bytes == image.root);
    }
    assert_eq!(asked_for(&stub, &image.root), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_follow_the_file_and_none_ends_before_it_was_found_right() {
    let image = large(1_000_000, 1);
    let (stub, rest) = gated(&world(std::slice::from_ref(&image)), &image).await;
    let mirror = run(&stub, UpstreamSettings::default()).await;
    let path = root_of(&image);
    let ranges = [(0, 99), (0, 400_000), (300_000, 999_999), (999_990, 999_999), (700_000, 800_000)];
    let clients: Vec<_> = ranges
        .into_iter()
        .map(|(first, last)| {
            let (state, path) = (Arc::clone(&mirror.server.state), path.clone());
            let range = format!("bytes={first}-{last}");
            (first, last, tokio::spawn(async move { read(&state, &path, &[("range", &range)]).await }))
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    for (first, last, client) in &clients {
        assert!(!client.is_finished(), "{first}-{last}: it may turn out to be wrong");
    }
    rest.cancel();
    for (first, last, client) in clients {
        let (status, bytes, ended) = client.await.unwrap();
        assert_eq!((status.as_u16(), ended), (206, Ok(())), "{first}-{last}");
        assert!(bytes == image.root[first..=last], "{first}-{last}");
    }
    assert_eq!(asked_for(&stub, &image.root), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_goes_on_when_who_began_it_goes_away() {
    let image = large(1_000_000, 1);
    let (stub, rest) = gated(&world(std::slice::from_ref(&image)), &image).await;
    let mirror = run(&stub, UpstreamSettings::default()).await;
    let request = http::Request::get(root_of(&image)).body(Incoming::empty()).unwrap();
    let mut answer = handle(&mirror.server.state, request, &Connection::test_tls()).await;
    answer.body_mut().frame().await.unwrap().unwrap();
    drop(answer);
    rest.cancel();
    until(async || stored(&mirror).await == [sha256(&image.root)]).await;
    assert!(mirror.server.get(&root_of(&image), &[]).await.body == image.root);
    assert_eq!(asked_for(&stub, &image.root), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_is_never_complete_and_never_kept() {
    for size in [1_000_000, 5000] {
        let image = large(size, 1);
        let path = format!("/images/{}", sha256(&image.root));
        let mut wrong = image.root.clone();
        *wrong.last_mut().unwrap() ^= 1;
        let mended = CancellationToken::new();
        let bad = mended.clone();
        let stub = world(std::slice::from_ref(&image))
            .but(move |asked| (asked.path() == path && !bad.is_cancelled()).then(|| Reply::file(&wrong)))
            .await;
        let mirror = run(&stub, UpstreamSettings::default()).await;
        let (status, bytes, ended) = read(&mirror.server.state, &root_of(&image), &[]).await;
        if size > 100_000 {
            assert_eq!(status, 200);
            assert!(bytes.len() <= size - 64 * 1024, "{} bytes came", bytes.len());
            ended.unwrap_err();
        } else {
            let said = "the server that this file comes from does not send what it lists, so nothing was kept; fetch the list of images \
                 again later\n";
            assert_eq!((status.as_u16(), std::str::from_utf8(&bytes).unwrap()), (502, said));
        }
        assert_eq!(stored(&mirror).await, [""; 0]);
        // Who reads is broken off before the transfer has come to its end.
        let partial = mirror.server.folder.path().join("blobs/partial");
        until(async || std::fs::read_dir(&partial).unwrap().count() == 0).await;
        mended.cancel();
        until(async || mirror.server.get(&root_of(&image), &[]).await.body == image.root).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_were_thrown_away_are_not_mixed_with_others() {
    let image = large(1_000_000, 1);
    let (path, root) = (format!("/images/{}", sha256(&image.root)), image.root.clone());
    let count = std::sync::atomic::AtomicUsize::new(0);
    // Half of another file, and then all of the right one: the server knows no parts.
    let stub = world(std::slice::from_ref(&image))
        .but(move |asked| {
            (asked.path() == path).then(|| match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => Reply::claiming("200 OK", &[], &noise(500_000, 9), root.len()),
                _ => Reply::file(&root),
            })
        })
        .await;
    let mirror = run(&stub, UpstreamSettings::default()).await;
    let (status, bytes, ended) = read(&mirror.server.state, &root_of(&image), &[]).await;
    // Who was quick has read of the first one, and is broken off; who was not has all of the second one.
    assert_eq!(status, 200);
    match ended {
        Ok(()) => assert!(bytes == image.root),
        Err(_) => assert!(bytes.len() <= image.root.len() - 64 * 1024),
    }
    until(async || stored(&mirror).await == [sha256(&image.root)]).await;
    assert!(mirror.server.get(&root_of(&image), &[]).await.body == image.root);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_upstream_that_died_had_sent_is_gone_on_with() {
    let image = large(1_000_000, 1);
    let (path, root) = (format!("/images/{}", sha256(&image.root)), image.root.clone());
    let alive = CancellationToken::new();
    let back = alive.clone();
    let stub = world(std::slice::from_ref(&image))
        .but(move |asked: &Asked| {
            let from = asked.header("range").map_or(0, |range| {
                range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse::<usize>().unwrap()
            });
            let rest = &root[from..];
            let range = format!("bytes {from}-{}/{}", root.len() - 1, root.len());
            let (status, headers) = match from {
                0 => ("200 OK", vec![]),
                _ => ("206 Partial Content", vec![("Content-Range", range.as_str())]),
            };
            let sent = if back.is_cancelled() { rest.len() } else { 400_000.min(rest.len() / 2) };
            (asked.path() == path).then(|| Reply::claiming(status, &headers, &rest[..sent], rest.len()))
        })
        .await;
    let mirror = run(&stub, UpstreamSettings::default()).await;
    let (status, bytes, ended) = read(&mirror.server.state, &root_of(&image), &[]).await;
    assert_eq!(status, 200);
    ended.unwrap_err();
    assert!(bytes.len() < image.root.len() && image.root.starts_with(&bytes), "a part of it");
    alive.cancel();
    let asked = asked_for(&stub, &image.root);
    assert!(mirror.server.get(&root_of(&image), &[]).await.body == image.root);
    let last = stub.asked().into_iter().rfind(|asked| asked.path().contains(&sha256(&image.root))).unwrap();
    assert_eq!(asked_for(&stub, &image.root), asked + 1);
    assert_ne!(last.header("range"), None, "only the rest was asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_costs_only_what_is_not_here() {
    let (held, cold) = (large(300_000, 1), large(300_000, 2));
    let stub = world(&[held.clone(), cold.clone()]).serve().await;
    let mirror = run(&stub, UpstreamSettings::default()).await;
    mirror.server.get(&root_of(&held), &[]).await;
    drop(stub);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(mirror.server.get(&root_of(&held), &[]).await.body == held.root);
    for path in [root_of(&cold), metadata_of(&cold)] {
        let answer = mirror.server.get(&path, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.text(), answer.header("retry-after")), (503, AWAY, "30"));
    }
    let export = format!("/1.0/images/{}/export", cold.fingerprint());
    mirror.server.get(&export, &[]).await.is_api_error(503, AWAY.trim_end());
    let closed = Settings { connect: false, ..Settings::default() };
    let server = mirror.server.again(closed, now);
    server.get(&root_of(&cold), &[]).await.is_text(
        503,
        "this file is kept by another server, which is not asked for it here; fetch it from where it comes from",
    );
    assert!(server.get(&root_of(&held), &[]).await.body == held.root);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_upstream_has_no_more_is_told() {
    let image = large(300_000, 1);
    let path = format!("/images/{}", sha256(&image.root));
    let stub = world(std::slice::from_ref(&image))
        .but(move |asked| (asked.path() == path).then(|| Reply::new("404 Not Found", &[], b"gone")))
        .await;
    let mirror = run(&stub, UpstreamSettings::default()).await;
    mirror.server.get(&root_of(&image), &[]).await.is_text(
        502,
        "the server that this file comes from does not send what it lists, so nothing was kept; fetch the list of images again later",
    );
    mirror
        .server
        .get(&format!("/images/{}.squashfs", sha256(b"unknown")), &[])
        .await
        .is_text(404, "there is no such file here; fetch the list of images again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_lists_filters_and_exports() {
    let image = large(300_000, 1);
    let stub = world(&[image.clone(), large(1000, 2)]).serve().await;
    let mirror = run(&stub, UpstreamSettings::default()).await;
    let listed = mirror.server.metadata("/1.0/images?recursion=1&filter=properties.release%20eq%20bookworm").await;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let shown = mirror.server.metadata(&format!("/1.0/images/{}", image.fingerprint())).await;
    assert_eq!(shown["size"], image.size());
    assert_eq!(shown["properties"]["description"], "Debian bookworm amd64 (20250101_07:42)");
    let path = format!("/1.0/images/{}/export", image.fingerprint());
    assert_eq!(files(&stub), 0);
    let export = mirror.server.get(&path, &[]).await;
    assert_eq!((export.status.as_u16(), export.header("content-length")), (200, &*export.body.len().to_string()));
    for part in [&image.metadata, &image.root] {
        assert!(export.body.windows(part.len()).any(|window| window == &part[..]), "both files are in it");
    }
    assert_eq!((asked_for(&stub, &image.metadata), asked_for(&stub, &image.root)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_learn_nothing_of_private_ones() {
    let image = large(300_000, 1);
    let stub = world(std::slice::from_ref(&image)).serve().await;
    let mut mirror = lazy(&stub, UpstreamSettings::default()).await;
    let project = ProjectName::new("team").unwrap();
    let catalog = &mirror.server.app.catalog;
    catalog.delete_upstream(&name(), now()).await.unwrap();
    catalog.create_project(&project, "", now()).await.unwrap();
    let settings = UpstreamSettings { lazy: true, certificate: stub.pem.clone(), ..UpstreamSettings::default() };
    let protocol = UpstreamProtocol::SimpleStreams;
    catalog.create_upstream(&name(), &project, protocol, &stub.url(), &settings, now()).await.unwrap();
    hasty(&mut mirror);
    mirror.runs().await;
    let missing = "there is no such file here; fetch the list of images again";
    mirror.server.get(&root_of(&image), &[]).await.is_text(404, missing);
    let head = mirror.server.ask(&Connection::test_tls(), Method::HEAD, &root_of(&image), &[]).await;
    assert_eq!(head.status, 404);
    assert_eq!(files(&stub), 0, "and the upstream nothing of guests");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_another_fingerprint_goes_when_both_files_are_here() {
    // Metadata first: the root file goes through the computation while it comes. Root first: both are read again.
    for first in [metadata_of as fn(&Split) -> String, root_of] {
        let (good, image) = (large(200_000, 1), large(300_000, 2));
        let world = world(&[good.clone(), image.clone()]);
        let seen = world.clone();
        let right = image.fingerprint();
        let wrong = sha256(b"another");
        let stub = world
            .but(move |asked| {
                (asked.path() == "/streams/v1/images.json")
                    .then(|| Reply::file(seen.document().to_string().replace(&right, &wrong).as_bytes()))
            })
            .await;
        let mirror = run(&stub, UpstreamSettings::default()).await;
        for one in [&good, &image] {
            let second = if first(one) == root_of(one) { metadata_of(one) } else { root_of(one) };
            for path in [first(one), second] {
                assert_eq!(mirror.server.get(&path, &[]).await.status, 200);
            }
        }
        until(async || mirror.listed().await == ["bookworm 20250101_07:42"]).await;
        let lines = mirror.server.app.catalog.audit(&AuditQuery::default(), 50).await.unwrap();
        let told = lines.iter().find(|line| line.action == "image-deleted").expect("the audit has it");
        assert_eq!(told.subject, sha256(b"another"));
        assert_eq!(mirror.runs().await, (2, 0, 0), "and it does not come again");
        assert!(
            mirror.server.get(&root_of(&image), &[]).await.body == image.root,
            "its files are served for the grace"
        );
    }
}

async fn used(mirror: &Mirror, image: &Split, at: Timestamp) {
    assert_eq!(mirror.server.get(&root_of(image), &[]).await.status, 200);
    let digest = sha256(&image.root).parse().unwrap();
    mirror.server.app.catalog.use_promised(&[digest], at).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_the_limits_goes_and_comes_again() {
    let all = [large(300_000, 1), large(300_000, 2), large(300_000, 3)];
    let stub = world(&all).serve().await;
    let mirror = run(&stub, UpstreamSettings { cache_size: 700_000, ..UpstreamSettings::default() }).await;
    used(&mirror, &all[0], now().plus_seconds(20_000)).await;
    used(&mirror, &all[1], now().plus_seconds(10_000)).await;
    assert_eq!(stored(&mirror).await.len(), 2);
    used(&mirror, &all[2], now().plus_seconds(30_000)).await;
    // The third one counts as used before the others until that is written down, so any two may be left.
    until(async || stored(&mirror).await.len() == 2).await;
    let left = stored(&mirror).await;
    let gone = all.iter().find(|image| !left.contains(&sha256(&image.root))).unwrap();
    assert_eq!(mirror.listed().await.len(), 3, "it is listed");
    let before = asked_for(&stub, &gone.root);
    assert!(mirror.server.get(&root_of(gone), &[]).await.body == gone.root);
    assert_eq!(asked_for(&stub, &gone.root), before + 1);
    until(async || stored(&mirror).await.len() == 2).await;

    let catalog = &mirror.server.app.catalog;
    let aged = UpstreamSettings { cache_age: 3600, cache_size: 0, ..catalog.upstream(&name()).await.unwrap().settings };
    catalog.edit_upstream(&name(), &aged, now()).await.unwrap();
    let publisher = &mirror.server.app.publisher;
    let mut told = Vec::new();
    let planned =
        publisher.keep_limits(true, now().plus_seconds(40_000), &mut |_, file| told.push(file.digest)).await.unwrap();
    assert_eq!(planned.files, told.len() as u64);
    let gone = publisher.keep_limits(false, now().plus_seconds(40_000), &mut |_, _| ()).await.unwrap();
    assert_eq!(gone, planned);
    assert!(gone.files >= 2 && gone.bytes == gone.files * 300_000, "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_lazy_no_more_brings_what_was_promised() {
    let world = World::default();
    world.put("bookworm", "20250101_07:42", true);
    world.put("trixie", "20250101_07:42", false);
    let stub = world.serve().await;
    let mirror = run(&stub, UpstreamSettings::default()).await;
    let catalog = &mirror.server.app.catalog;
    let eager = UpstreamSettings { lazy: false, ..catalog.upstream(&name()).await.unwrap().settings };
    catalog.edit_upstream(&name(), &eager, now()).await.unwrap();
    let before = mirror.products().await;
    assert_eq!(mirror.runs().await, (3, 3, 0));
    assert_eq!(mirror.runs().await, (3, 0, 0));
    let verified = mirror.server.app.publisher.verify(false, now(), &mut |_| ()).await.unwrap();
    assert_eq!((verified.promised, verified.damaged), (0, 0));
    assert_eq!(mirror.products().await.len(), before.len());
    // And back: nothing is fetched again, and all of it may go.
    let lazy = UpstreamSettings { lazy: true, cache_age: 60, ..eager };
    catalog.edit_upstream(&name(), &lazy, now()).await.unwrap();
    let asked = files(&stub);
    assert_eq!(mirror.runs().await, (3, 0, 0));
    assert_eq!(files(&stub), asked);
    let gone = mirror.server.app.publisher.keep_limits(false, tomorrow(), &mut |_, _| ()).await.unwrap();
    assert_eq!((gone.files, stored(&mirror).await.len()), (verified.files, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_promised_is_no_damage_and_is_not_carried() {
    let (held, cold) = (large(300_000, 1), large(300_000, 2));
    let stub = world(&[held.clone(), cold.clone()]).serve().await;
    let mirror = run(&stub, UpstreamSettings::default()).await;
    for path in [metadata_of(&held), root_of(&held)] {
        mirror.server.get(&path, &[]).await;
    }
    let publisher = &mirror.server.app.publisher;
    let verified = publisher.verify(true, now(), &mut |_| ()).await.unwrap();
    assert_eq!((verified.files, verified.promised, verified.damaged, verified.removed), (2, 2, 0, 0));
    // A sweep leaves what is here.
    publisher.sweep(tomorrow(), 0, &mut |_| ()).await.unwrap();
    assert_eq!(stored(&mirror).await.len(), 2);
    let folder = tempfile::tempdir().unwrap();
    let request = ExportRequest {
        to: folder.path().join("tree"),
        project: ProjectName::default_project(),
        view: View::default(),
        family: Family::Any,
        viewer: Viewer::guest(),
        grace_seconds: 0,
        rehash: false,
    };
    let refused = publisher.export(request, now()).await.unwrap_err().to_string();
    assert!(
        refused.starts_with(
            "2 of the files that this tree needs are not here, because a lazy upstream only promises them; "
        ),
        "{refused}"
    );
    assert!(!folder.path().join("tree").exists(), "nothing was written");
    let request = MakeRequest {
        to: To::File(folder.path().join("bundle")),
        project: ProjectName::default_project(),
        view: View::default(),
        viewer: Viewer::guest(),
        state: None,
        made_at: now(),
        stop: CancellationToken::new(),
    };
    let refused = Bundles::new(publisher.clone(), now).make(request).await.unwrap_err().to_string();
    assert!(
        refused.starts_with("2 of the files to carry are not here, because a lazy upstream only promises them; "),
        "{refused}"
    );
    assert!(!folder.path().join("bundle").exists());
    let gone = mirror.server.app.catalog.delete_upstream(&name(), now()).await.unwrap();
    assert_eq!((gone, mirror.listed().await), (1, vec!["bookworm 20250101_07:42".to_owned()]));
    assert!(mirror.server.get(&root_of(&held), &[]).await.body == held.root);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_listed_no_more_is_fetched_until_its_grace_is_over() {
    let (old, new) = (large(300_000, 1), large(300_000, 2));
    let all = world(&[old.clone(), new]);
    let (path, root) = (format!("/images/{}", sha256(&old.root)), old.root.clone());
    // The upstream has the file a while longer than it lists it, as it should.
    let stub = all.but(move |asked| (asked.path() == path).then(|| Reply::file(&root))).await;
    let mirror = run(&stub, UpstreamSettings { grace: 0, ..UpstreamSettings::default() }).await;
    all.0.lock().unwrap().get_mut(KEY).unwrap().remove("20250101_07:42");
    assert_eq!(mirror.runs().await, (1, 0, 0));
    assert_eq!(mirror.runs().await, (1, 0, 1), "it is deleted");
    assert!(mirror.server.get(&root_of(&old), &[]).await.body == old.root);
    mirror.server.app.publisher.sweep(tomorrow(), 60, &mut |_| ()).await.unwrap();
    let missing = "there is no such file here; fetch the list of images again";
    mirror.server.get(&root_of(&old), &[]).await.is_text(404, missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_files_come_at_a_time_than_the_upstream_is_asked_for() {
    let all = [large(300_000, 1), large(300_000, 2), large(300_000, 3)];
    let rest = CancellationToken::new();
    let (gate, served) = (rest.clone(), all.clone());
    let stub = world(&all)
        .but(move |asked| {
            let image = served.iter().find(|image| asked.path() == format!("/images/{}", sha256(&image.root)))?;
            Some(halves(&image.root, &gate))
        })
        .await;
    let mirror = run(&stub, UpstreamSettings { connections: 2, ..UpstreamSettings::default() }).await;
    let clients: Vec<_> = all
        .iter()
        .map(|image| {
            let (state, path) = (Arc::clone(&mirror.server.state), root_of(image));
            tokio::spawn(async move { read(&state, &path, &[]).await.1 })
        })
        .collect();
    until(async || files(&stub) == 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(files(&stub), 2);
    rest.cancel();
    for (client, image) in clients.into_iter().zip(&all) {
        assert!(client.await.unwrap() == image.root);
    }
}
