//! Runs against upstreams that do what they should.

use headwater::catalog::{AliasTarget, UpstreamProtocol, UpstreamSettings};
use headwater::mirror::{Course, Event, MirrorError, Terms, Worker};
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::kit::{Mirror, World, name, tomorrow};
use crate::client::kit::{Asked, Reply, Split, Step, Stub, now, sha256};

fn world() -> World {
    let world = World::default();
    world.put("bookworm", "20250101_07:42", true);
    world.put("bookworm", "20250102_07:42", true);
    world.put("trixie", "20250102_07:42", false);
    world
}

/// The documents apart.
fn files(stub: &Stub) -> usize {
    stub.lines().iter().filter(|line| !line.contains("/streams/")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_taken_as_the_upstream_has_it_and_once() {
    let world = world();
    let stub = world.serve().await;
    let mirror = Mirror::of(&stub).await;
    assert_eq!(mirror.runs().await, (5, 5, 0));
    let products = mirror.products().await;
    let keys: Vec<&str> = products.iter().map(|product| product.key.as_str()).collect();
    assert_eq!(keys, ["com.example:bookworm:amd64", "com.example:trixie:amd64"]);
    assert_eq!(products[0].aliases, ["bookworm", "bookworm/amd64x"], "and no generated ones");
    assert_eq!(products[0].extra["flavour"], json!({"sweet": true}));
    let version = &products[0].versions[1];
    assert_eq!((version.name.as_str(), version.images.len()), ("20250102_07:42", 2));
    assert_eq!((&version.extra["pubname"], &version.extra["cost"]), (&json!("example-20250102_07:42"), &json!(7)));
    assert_eq!(version.images[0].property("release"), Some("bookworm"));
    let Event::Planned { listed, images, bytes, removed } = mirror.events.lock().unwrap()[0].clone() else {
        panic!("{:?}", mirror.events)
    };
    assert_eq!((listed, images, removed), (5, 5, 0));
    let told = |event: &Event| if let Event::Bytes(bytes) = event { *bytes } else { 0 };
    assert_eq!(mirror.events.lock().unwrap().iter().map(told).sum::<u64>(), bytes);

    let before = files(&stub);
    let revision = mirror.server.app.catalog.revision().await.unwrap().number;
    assert_eq!(mirror.runs().await, (5, 0, 0));
    assert_eq!(files(&stub), before, "a second run transfers nothing");
    assert_eq!(mirror.server.app.catalog.revision().await.unwrap().number, revision, "and changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_costs_only_itself() {
    let world = world();
    let stub = world.serve().await;
    let mirror = Mirror::of(&stub).await;
    mirror.runs().await;
    let before = files(&stub);
    world.put("trixie", "20250103_07:42", false);
    assert_eq!(mirror.runs().await, (6, 1, 0));
    assert_eq!(files(&stub), before + 2);
    assert!(mirror.listed().await.contains(&"trixie 20250103_07:42".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_filter_lets_pass_is_taken() {
    let stub = world().serve().await;
    let settings =
        UpstreamSettings { filter: "release~^book latest=1 ftype=squashfs".into(), ..UpstreamSettings::default() };
    let mirror = Mirror::with(&stub, UpstreamProtocol::SimpleStreams, settings).await;
    assert_eq!(mirror.runs().await, (1, 1, 0));
    assert_eq!(mirror.listed().await, ["bookworm 20250102_07:42"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_listed_any_more_goes_after_the_grace() {
    let world = world();
    let stub = world.serve().await;
    let mirror = Mirror::of(&stub).await;
    mirror.runs().await;
    world.take_away("bookworm", "20250101_07:42");
    world.take_away("trixie", "20250102_07:42");
    assert_eq!(mirror.runs().await, (2, 0, 0), "the grace has begun");
    assert_eq!(mirror.listed().await.len(), 5);
    let run = mirror.run_at(tomorrow, Terms::default()).await.unwrap();
    assert_eq!(run.removed, 2);
    let left = ["bookworm 20250102_07:42", "bookworm 20250102_07:42", "trixie 20250102_07:42"];
    assert_eq!(mirror.listed().await, left, "the last version of a product stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_young_or_has_an_alias_stays_if_it_is_asked_for() {
    let world = world();
    let stub = world.serve().await;
    let settings = UpstreamSettings { keep_days: 2, keep_aliased: true, ..UpstreamSettings::default() };
    let mirror = Mirror::with(&stub, UpstreamProtocol::SimpleStreams, settings).await;
    mirror.runs().await;
    world.take_away("bookworm", "20250101_07:42");
    mirror.runs().await;
    let run = mirror.run_at(tomorrow, Terms::default()).await.unwrap();
    assert_eq!(run.removed, 0, "it came a day ago");
    let catalog = &mirror.server.app.catalog;
    let project = ProjectName::default_project();
    let products = mirror.products().await;
    let named = products[0].versions[0].images[0].fingerprint;
    let target = AliasTarget::Image(named);
    catalog.create_alias(&project, &"mine".parse().unwrap(), "", &target, now()).await.unwrap();
    fn next_week() -> Timestamp {
        now().plus_seconds(7 * 24 * 3600)
    }
    let others = products[0].versions[0].images.len() as u64 - 1;
    assert_eq!(mirror.run_at(next_week, Terms::default()).await.unwrap().removed, others);
    assert_eq!(mirror.products().await[0].versions[0].images[0].fingerprint, named);
    catalog.delete_alias(&project, &"mine".parse().unwrap(), now()).await.unwrap();
    assert_eq!(mirror.run_at(next_week, Terms::default()).await.unwrap().removed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_lost_its_products_is_not_believed() {
    let world = World::default();
    let releases = ["a", "b", "c", "d", "e"];
    releases.into_iter().for_each(|release| world.put(release, "20250101_07:42", false));
    let stub = world.serve().await;
    let mirror = Mirror::of(&stub).await;
    mirror.runs().await;
    releases[1..].iter().for_each(|release| world.take_away(release, "20250101_07:42"));
    let refused = mirror.run().await.unwrap_err().to_string();
    assert!(refused.starts_with("it lists 1 of the 5 products that came from it"), "{refused}");
    let last = mirror.server.app.catalog.upstream(&name()).await.unwrap().last_run.unwrap();
    assert_eq!(last.why, refused);
    assert!(mirror.server.app.catalog.upstream(&name()).await.unwrap().due_at.is_some());
    mirror.run_at(now, Terms { accept_loss: true }).await.unwrap();
    assert_eq!(mirror.listed().await.len(), 5, "and even then the grace holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_fails_does_not_keep_the_others_and_what_is_here_stays() {
    let world = world();
    let root = world.0.lock().unwrap()["com.example:trixie:amd64"]["20250102_07:42"][0].root.clone();
    let path = format!("/images/{}", sha256(&root));
    let wrong = [&b"x"[..], &root[1..]].concat();
    let mended = CancellationToken::new();
    let bad = mended.clone();
    let stub = world.but(move |asked| (asked.path() == path && !bad.is_cancelled()).then(|| Reply::file(&wrong))).await;
    let mirror = Mirror::of(&stub).await;
    let run = mirror.run().await.unwrap();
    assert_eq!((run.taken, run.failed), (4, 1));
    assert_eq!(run.why, "1 of 5 images could not be taken; the log says why");
    let events = mirror.events.lock().unwrap().clone();
    let why = events.iter().find_map(|event| match event {
        Event::Failed(step, why) => Some((step.product.clone(), why.clone())),
        _ => None,
    });
    let (product, why) = why.unwrap();
    assert_eq!(product, "com.example:trixie:amd64");
    assert!(why.contains("SHA-256") && why.contains("nothing was kept"), "{why}");
    assert_eq!(mirror.listed().await.len(), 4);
    mended.cancel();
    assert_eq!(mirror.runs().await, (5, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_the_upstream_replaced_in_its_version_is_replaced_here() {
    let world = World::default();
    world.put("bookworm", "20250101_07:42", false);
    let stub = world.serve().await;
    let mirror = Mirror::of(&stub).await;
    mirror.runs().await;
    let before = mirror.products().await[0].versions[0].images[0].fingerprint;
    let other = super::kit::images("bookworm", "20250102_07:42", false);
    world
        .0
        .lock()
        .unwrap()
        .get_mut("com.example:bookworm:amd64")
        .unwrap()
        .insert("20250101_07:42".into(), other.clone());
    assert_eq!(mirror.runs().await, (1, 1, 0));
    let products = mirror.products().await;
    let [version] = &products[0].versions[..] else { panic!("{products:?}") };
    assert_eq!((version.name.as_str(), version.images.len()), ("20250101_07:42", 1));
    assert_ne!(version.images[0].fingerprint, before);
    assert_eq!(version.images[0].fingerprint.to_string(), other[0].fingerprint());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_lets_go_and_the_next_one_goes_on() {
    let world = world();
    let root = world.0.lock().unwrap()["com.example:trixie:amd64"]["20250102_07:42"][0].root.clone();
    let path = format!("/images/{}", sha256(&root));
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let hanging =
        move |asked: &Asked| (asked.path() == path && !stopped.is_cancelled()).then(|| Reply(vec![Step::Hang]));
    let stub = world.but(hanging).await;
    let settings = UpstreamSettings { connections: 1, ..UpstreamSettings::default() };
    let mirror = Mirror::with(&stub, UpstreamProtocol::SimpleStreams, settings).await;
    let stopping = stop.clone();
    let tell = std::sync::Arc::new(move |event| {
        if matches!(event, Event::Taken(_)) {
            stopping.cancel();
        }
    });
    let course = Course { tell, stop };
    let stopped = mirror.mirrors(now).run(&name(), Terms::default(), &course).await;
    assert!(matches!(stopped, Err(MirrorError::Stopped)), "{stopped:?}");
    let taken = mirror.listed().await.len() as u64;
    assert!((1..5).contains(&taken), "{taken}");
    let upstream = mirror.server.app.catalog.upstream(&name()).await.unwrap();
    assert_eq!((upstream.claimed_until, upstream.last_run), (None, None));
    assert_eq!(mirror.runs().await, (5, 5 - taken, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_at_a_time() {
    let world = world();
    let stub = world.serve().await;
    let mirror = Mirror::of(&stub).await;
    let catalog = &mirror.server.app.catalog;
    catalog.claim_upstream(&name(), "another", now(), now().plus_seconds(60), |_| false).await.unwrap();
    let busy = mirror.run().await.unwrap_err().to_string();
    assert_eq!(busy, "a run of \"images\" is under way; `headwater mirror status` shows it");
    assert_eq!(stub.lines(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_runs_what_is_due() {
    let world = world();
    let stub = world.serve().await;
    let mirror = Mirror::of(&stub).await;
    let ending = CancellationToken::new();
    let working = tokio::spawn(Worker::new(mirror.mirrors(now)).run(ending.clone()));
    let catalog = &mirror.server.app.catalog;
    let began = std::time::Instant::now();
    let run = loop {
        if let Some(run) = catalog.upstream(&name()).await.unwrap().last_run {
            break run;
        }
        assert!(began.elapsed().as_secs() < 30);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(run.taken, 5);
    let due = catalog.upstream(&name()).await.unwrap().due_at.unwrap();
    assert_eq!(due, now().plus_seconds(6 * 3600));
    ending.cancel();
    working.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_is_mirrored_with_its_names() {
    let images = [Split::container(), Split::machine()];
    let served = images.clone();
    let stub = Stub::new(move |asked| match asked.path() {
        "/1.0/images" => {
            assert_eq!(asked.target, "/1.0/images?recursion=1");
            Reply::sync(&json!([served[0].object(), served[1].object()]))
        }
        path => match served.iter().find(|image| path.contains(&image.fingerprint())) {
            Some(image) => image.answer(asked),
            None => served[0].answer(asked),
        },
    })
    .await;
    let mirror = Mirror::with(&stub, UpstreamProtocol::Incus, UpstreamSettings::default()).await;
    assert_eq!(mirror.runs().await, (2, 2, 0));
    let products = mirror.products().await;
    assert_eq!(products[0].key, "debian:bookworm:amd64:default");
    assert_eq!(products[0].versions[0].name.as_str(), "20250101_07:42");
    let alias = "debian/12".parse().unwrap();
    let made = mirror.server.app.catalog.hand_made_alias(&ProjectName::default_project(), &alias).await.unwrap();
    assert!(made.is_some());
    assert_eq!(mirror.runs().await, (2, 0, 0));
    assert_eq!(stub.lines().iter().filter(|line| line.ends_with("/export")).count(), 2);
}

/// A bookworm of two versions with much in common, and the delta between their root files.
fn two_versions() -> (World, Vec<u8>, Vec<u8>) {
    let world = World::default();
    let shared = crate::deltas::kit::noise(256 << 10, 1);
    let mut roots = Vec::new();
    for (day, serial) in [(1, "20250101_07:42"), (2, "20250102_07:42")] {
        world.put("bookworm", serial, false);
        let new = crate::deltas::kit::noise(8 << 10, 10 + day);
        let root = crate::deltas::kit::squashfs(&[&new[..], &shared[..]].concat());
        world.0.lock().unwrap().get_mut("com.example:bookworm:amd64").unwrap().get_mut(serial).unwrap()[0].root =
            root.clone();
        roots.push(root);
    }
    let options = headwater_vcdiff::Options { memory: 64 << 20, threads: std::num::NonZero::<usize>::MIN };
    let mut delta = Vec::new();
    headwater_vcdiff::encode(&&roots[0][..], &roots[1][..], &mut delta, &options).unwrap();
    (world, roots.pop().unwrap(), delta)
}

/// The document with a delta in it, and the delta.
async fn with_delta(world: &World, delta: Vec<u8>) -> Stub {
    let seen = world.clone();
    world
        .but(move |asked| match asked.path() {
            "/streams/v1/images.json" => {
                let mut document = seen.document();
                let version = &mut document["products"]["com.example:bookworm:amd64"]["versions"]["20250102_07:42"];
                if !version.is_null() {
                    version["items"]["delta"] = json!({"ftype": "squashfs.vcdiff", "delta_base": "20250101_07:42",
                        "path": "images/delta", "size": delta.len(), "sha256": sha256(&delta)});
                }
                Some(Reply::file(document.to_string().as_bytes()))
            }
            "/images/delta" => Some(Reply::file(&delta)),
            _ => None,
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_from_what_is_here_is_taken_instead_of_the_file() {
    let (world, root, delta) = two_versions();
    let new = world.0.lock().unwrap().get_mut("com.example:bookworm:amd64").unwrap().remove("20250102_07:42").unwrap();
    let stub = with_delta(&world, delta.clone()).await;
    let mirror = Mirror::of(&stub).await;
    mirror.runs().await;
    world.0.lock().unwrap().get_mut("com.example:bookworm:amd64").unwrap().insert("20250102_07:42".into(), new.clone());
    let run = mirror.run().await.unwrap();
    assert_eq!((run.taken, run.failed), (1, 0), "{:?}", mirror.events);
    assert_eq!(run.bytes, (delta.len() + new[0].metadata.len()) as u64);
    let asked = stub.lines().concat();
    assert!(asked.contains("/images/delta") && !asked.contains(&sha256(&root)), "{asked}");
    assert_eq!(mirror.products().await[0].versions[1].images[0].fingerprint.to_string(), new[0].fingerprint());
    let parts = std::fs::read_dir(mirror.server.folder.path().join("blobs/partial")).unwrap().count();
    assert_eq!(parts, 0, "the delta is not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_that_is_of_no_use_costs_only_itself() {
    let (world, root, delta) = two_versions();
    // One that makes other bytes (of a file with checksums off by one), and one that is none.
    let other = {
        let options = headwater_vcdiff::Options { memory: 64 << 20, threads: std::num::NonZero::<usize>::MIN };
        let base = world.0.lock().unwrap()["com.example:bookworm:amd64"]["20250101_07:42"][0].root.clone();
        let mut wrong = root.clone();
        *wrong.last_mut().unwrap() ^= 1;
        let mut made = Vec::new();
        headwater_vcdiff::encode(&&base[..], &wrong[..], &mut made, &options).unwrap();
        made
    };
    for bad in [other, delta[..delta.len() / 2].to_vec(), b"no delta at all".to_vec()] {
        let stub = with_delta(&world, bad).await;
        let settings = UpstreamSettings { connections: 1, ..UpstreamSettings::default() };
        let mirror = Mirror::with(&stub, UpstreamProtocol::SimpleStreams, settings).await;
        let new =
            world.0.lock().unwrap().get_mut("com.example:bookworm:amd64").unwrap().remove("20250102_07:42").unwrap();
        mirror.runs().await;
        world.0.lock().unwrap().get_mut("com.example:bookworm:amd64").unwrap().insert("20250102_07:42".into(), new);
        assert_eq!(mirror.runs().await, (2, 1, 0));
        let asked = stub.lines().concat();
        assert!(asked.contains("/images/delta") && asked.contains(&sha256(&root)), "{asked}");
    }
}
