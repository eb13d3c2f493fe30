//! What upstreams do wrong. Each fault has its message; nothing wrong becomes visible, and nothing that is here is lost.

use std::sync::Arc;

use headwater::mirror::{Event, Terms};
use headwater_formats::timestamp::Timestamp;
use serde_json::{Value, json};

use super::kit::{Mirror, World, images};
use crate::client::kit::{Asked, Reply, Split, Step, Stub, now, sha256};
use crate::kit::archives::{Packing, pack};

/// What the upstream answers instead of what it should.
type Bad = Box<dyn Fn(&World, &Asked) -> Option<Reply> + Send + Sync>;

/// A fault: what it is called, what it does, and what is said of it. Without words, a run goes on as if nothing were wrong.
struct Fault(&'static str, Bad, &'static str);

const INDEX: &str = "/streams/v1/index.json";
const DOCUMENT: &str = "/streams/v1/images.json";
const NEW: &str = "20250102_07:42";
const KEY: &str = "com.example:bookworm:amd64";

fn at(path: &'static str, reply: impl Fn() -> Reply + Send + Sync + 'static) -> Bad {
    Box::new(move |_, asked| (asked.path() == path).then(&reply))
}

fn status(path: &'static str, status: &'static str) -> Bad {
    at(path, move || Reply::new(status, &[], b"no"))
}

fn body(path: &'static str, bytes: impl Into<Vec<u8>>) -> Bad {
    let bytes = bytes.into();
    at(path, move || Reply::file(&bytes))
}

/// The index with this path in it.
fn index(path: &str) -> Bad {
    let index = json!({"format": "index:1.0", "index": {"images": {
        "datatype": "image-downloads", "path": path, "products": [KEY]}}});
    body(INDEX, index.to_string())
}

/// The document, changed.
fn edited(edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Bad {
    Box::new(move |world, asked| {
        (asked.path() == DOCUMENT).then(|| {
            let mut document = world.document();
            edit(&mut document);
            Reply::file(document.to_string().as_bytes())
        })
    })
}

/// The items of the new version, changed.
fn items(edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Bad {
    edited(move |document| edit(&mut document["products"][KEY]["versions"][NEW]["items"]))
}

/// The root file of the new version.
fn root(reply: impl Fn(&[u8]) -> Reply + Send + Sync + 'static) -> Bad {
    Box::new(move |world, asked| {
        let bytes = world.0.lock().unwrap()[KEY][NEW][0].root.clone();
        (asked.path() == format!("/images/{}", sha256(&bytes))).then(|| reply(&bytes))
    })
}

/// Another image in the place of the new one: its hashes are right.
fn instead(make: impl Fn() -> Split + Send + Sync + 'static) -> Bad {
    Box::new(move |world, _| {
        world.0.lock().unwrap().get_mut(KEY).unwrap().insert(NEW.to_owned(), vec![make()]);
        None
    })
}

fn squashfs_with(release: &'static str) -> Vec<u8> {
    images(release, NEW, false)[0].root.clone()
}

fn documents() -> Vec<Fault> {
    let deep = format!(r#"{{"products":{{"p":{{"versions":{}1{}}}}}}}"#, r#"{"a":"#.repeat(200), "}".repeat(200));
    let bomb = pack(&vec![b' '; 16 << 20], Packing::Gzip);
    let many: serde_json::Map<String, Value> = (0..101)
        .map(|number| {
            let stream =
                json!({"datatype": "image-downloads", "path": format!("streams/v1/{number}.json"), "products": ["p"]});
            (number.to_string(), stream)
        })
        .collect();
    vec![
        Fault("no index", status(INDEX, "404 Not Found"), "answers 404 Not Found"),
        Fault("a broken server", status(INDEX, "500 Internal Server Error"), "answers 500 Internal Server Error"),
        Fault(
            "a page in place of the index",
            body(INDEX, "<html>log in</html>"),
            "cannot be read: the document is no valid JSON",
        ),
        Fault("a list in place of the index", body(INDEX, "[]"), "cannot be read: the index is no JSON object"),
        Fault("an empty index", body(INDEX, ""), "cannot be read: the document is no valid JSON: EOF"),
        Fault("half an index", at(INDEX, || Reply::claiming("200 OK", &[], b"{\"index\":", 4000)), "after 9 bytes"),
        Fault("no answer", at(INDEX, || Reply(vec![Step::Hang])), "sent no answer for 0.7 seconds"),
        Fault(
            "an index that stalls",
            at(INDEX, || Reply::claiming("200 OK", &[], b"{", 4000).then(Step::Hang)),
            "sent nothing for 0.7 seconds after 1 bytes",
        ),
        Fault(
            "an index without end",
            at(INDEX, || Reply(vec![Step::Send(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), Step::Repeat(vec![b' '; 4096])])),
            "answers with more than 262144 bytes",
        ),
        Fault("a circle", at(INDEX, || Reply::redirect(INDEX)), "as if in a circle"),
        Fault("a redirect to where all can listen", at(INDEX, || Reply::redirect("http://127.0.0.1/x")), "https"),
        Fault("a path that climbs", index("../x.json"), "\"../x.json\", which leaves its folder; it is not followed"),
        Fault("a path from the root", index("/etc/passwd"), "which is absolute; it is not followed"),
        Fault("a path of elsewhere", index("https://other.example/x"), "which is an address of its own"),
        Fault("a document that is missing", index("streams/v1/none.json"), "answers 404 Not Found"),
        Fault(
            "more documents than anybody has",
            body(INDEX, json!({"index": many}).to_string()),
            "lists images in more than 100 documents",
        ),
        Fault("an index of nothing", body(INDEX, r#"{"index":{}}"#), "it lists 0 of the 1 products that came from it"),
        Fault("a document of nothing", body(DOCUMENT, r#"{"products":{}}"#), "it lists 0 of the 1 products"),
        Fault("a signed document", body(DOCUMENT, "-----BEGIN PGP SIGNED MESSAGE-----\n\n{}"), "is signed text"),
        Fault("a deep document", body(DOCUMENT, deep), "recursion limit exceeded"),
        Fault("a huge document", body(DOCUMENT, vec![b' '; 300 << 10]), "answers with more than 262144 bytes"),
        Fault("zeros", body(DOCUMENT, vec![0; 1000]), "the document is no valid JSON"),
        Fault(
            "products of another kind",
            body(DOCUMENT, r#"{"products":[]}"#),
            "\"products\" in the document is no JSON object",
        ),
        Fault(
            "half a document",
            Box::new(|world, asked| {
                let text = world.document().to_string();
                (asked.path() == DOCUMENT).then(|| Reply::file(&text.as_bytes()[..text.len() / 2]))
            }),
            "EOF while parsing",
        ),
        Fault(
            "a bomb",
            at(DOCUMENT, move || Reply::new("200 OK", &[("Content-Encoding", "gzip")], &bomb)),
            "answers with more than 262144 bytes",
        ),
        Fault(
            "half of a compressed document",
            Box::new(|world, asked| {
                let sent = pack(world.document().to_string().as_bytes(), Packing::Gzip);
                let half = &sent[..sent.len() / 2];
                (asked.path() == DOCUMENT).then(|| Reply::new("200 OK", &[("Content-Encoding", "gzip")], half))
            }),
            "sends something as gzip that is none, or not all of it",
        ),
        Fault(
            "a document that only claims to be compressed",
            at(DOCUMENT, || Reply::new("200 OK", &[("Content-Encoding", "gzip")], b"{\"products\":{}}")),
            "sends something as gzip that is none, or not all of it",
        ),
        Fault(
            "an item that climbs",
            items(|items| items["squashfs"]["path"] = "../../etc/shadow".into()),
            "leaves its folder",
        ),
        Fault(
            "an item with a backslash",
            items(|items| items["squashfs"]["path"] = "a\\b".into()),
            "holds a backslash",
        ),
    ]
}

fn files() -> Vec<Fault> {
    vec![
        Fault("a wrong byte", root(|bytes| Reply::file(&[b"x", &bytes[1..]].concat())), "where its list says"),
        Fault("a byte too many", root(|bytes| Reply::file(&[bytes, b"x"].concat())), "where 4096 belong"),
        Fault("a byte too few", root(|bytes| Reply::file(&bytes[1..])), "where 4096 belong"),
        Fault(
            "a connection that is cut",
            root(|bytes| Reply::claiming("200 OK", &[], &bytes[..1000], bytes.len())),
            "did not come in 2 tries",
        ),
        Fault(
            "a file that stalls",
            root(|bytes| Reply::claiming("200 OK", &[], &bytes[..1000], bytes.len()).then(Step::Hang)),
            "did not come in 2 tries",
        ),
        Fault("a file that is gone", root(|_| Reply::new("404 Not Found", &[], b"")), "answers 404 Not Found"),
        Fault("a file that breaks the server", root(|_| Reply::new("500 X", &[], b"")), "answers 500"),
        Fault("a file for others", root(|_| Reply::new("403 Forbidden", &[], b"")), "answers 403 Forbidden"),
        Fault(
            "a file in a circle",
            root(|bytes| Reply::redirect(&format!("/images/{}", sha256(bytes)))),
            "as if in a circle",
        ),
        Fault("a page in place of a file", root(|_| Reply::file(b"<html>pay first</html>")), "where 4096 belong"),
        Fault("no answer to a file", root(|_| Reply(vec![Step::Hang])), "sent no answer for 0.7 seconds"),
        Fault("a size that lies", items(|items| items["squashfs"]["size"] = json!(5)), "where 5 belong"),
        Fault(
            "a hash of another file",
            items(|items| items["squashfs"]["sha256"] = "0".repeat(64).into()),
            "where its list says 00000000",
        ),
        Fault(
            "a fingerprint of another image",
            items(|items| {
                for metadata in ["lxd.tar.xz", "incus.tar.xz"] {
                    items[metadata]["combined_squashfs_sha256"] = "1".repeat(64).into();
                }
            }),
            "fingerprints don't match",
        ),
        Fault(
            "metadata that is none",
            instead(|| Split { metadata: b"no tarball".repeat(100), ..images("bookworm", NEW, false).remove(0) }),
            "cannot be published",
        ),
        Fault(
            "an image of another architecture",
            instead(|| {
                let sample = crate::http::kit::Sample { architecture: "aarch64", serial: NEW, ..Default::default() };
                Split { metadata: sample.metadata(), root: squashfs_with("bookworm"), machine: false }
            }),
            "it lists a container for x86_64 and sends a container for aarch64",
        ),
        Fault(
            "a disk in place of a root file",
            instead(|| {
                let root = crate::client::kit::qcow2();
                Split { root, ..images("bookworm", NEW, false).remove(0) }
            }),
            "it lists a container for x86_64 and sends a virtual-machine for x86_64",
        ),
    ]
}

fn oddities() -> Vec<Fault> {
    vec![
        Fault(
            "numbers as text",
            items(|items| {
                for item in items.as_object_mut().unwrap().values_mut() {
                    item["size"] = item["size"].to_string().into();
                }
            }),
            "",
        ),
        Fault("one image in two products", edited(|document| document["products"]["again"] = document["products"][KEY].clone()), ""),
        Fault(
            "a stream of another kind beside it",
            body(
                INDEX,
                json!({"index": {"updated": "never", "other": {"datatype": "image-ids", "path": "none.json", "products": ["x"]},
                    "images": {"datatype": "image-downloads", "path": "streams/v1/images.json", "products": [KEY]}}})
                .to_string(),
            ),
            "",
        ),
        Fault(
            "fields of any shape",
            edited(|document| {
                document["products"][KEY]["supported"] = json!({"a": [1, null]});
                document["products"][KEY]["nonsense"] = json!([[[]]]);
                document["products"]["odd"] = json!(7);
            }),
            "",
        ),
    ]
}

/// Runs once with all well, then with the fault; what was said, and that what is listed is there.
async fn meets(
    Fault(called, bad, _): &Fault,
    world: &World,
    stub: &Stub,
    armed: &Arc<std::sync::Mutex<bool>>,
) -> (String, Vec<String>) {
    let _ = bad;
    let mirror = Mirror::of(stub).await;
    assert_eq!(mirror.runs().await, (1, 1, 0), "{called}");
    world.put("bookworm", NEW, false);
    *armed.lock().unwrap() = true;
    let said = match mirror.run().await {
        Ok(run) if run.why.is_empty() => String::new(),
        Ok(run) => {
            assert_eq!((run.failed, run.taken, run.removed), (1, 0, 0), "{called}");
            let events = mirror.events.lock().unwrap();
            let why = events.iter().find_map(|event| match event {
                Event::Failed(_, why) => Some(why.clone()),
                _ => None,
            });
            why.unwrap_or_else(|| panic!("{called}: {events:?}"))
        }
        Err(error) => error.to_string(),
    };
    let stored = |file: headwater_formats::image::ImageFile| {
        mirror.server.app.blobs.stat(&file.digest).unwrap() == Some(file.size)
    };
    for product in mirror.products().await {
        let images = product.versions.iter().flat_map(|version| &version.images);
        assert!(images.flat_map(|image| image.files.iter()).all(|(_, file)| stored(file)), "{called}");
    }
    let staged = std::fs::read_dir(mirror.server.folder.path().join("blobs/staging")).unwrap().count();
    assert_eq!(staged, 0, "{called}: nothing is left half done");
    let listed = mirror.listed().await;
    *armed.lock().unwrap() = false;
    if !said.is_empty() {
        // And when all is well again, so is the mirror.
        mirror.events.lock().unwrap().clear();
        world.put("bookworm", NEW, false);
        assert_eq!(mirror.runs().await.1, 1, "{called}");
    }
    (said, listed)
}

async fn all(faults: Vec<Fault>) {
    for fault in faults {
        let Fault(called, _, words) = &fault;
        let world = World::default();
        world.put("bookworm", "20250101_07:42", false);
        let armed = Arc::new(std::sync::Mutex::new(false));
        let fault = Arc::new(fault_of(called, words, fault.1));
        let stub = {
            let (armed, world, fault) = (Arc::clone(&armed), world.clone(), Arc::clone(&fault));
            let seen = world.clone();
            world.but(move |asked| if *armed.lock().unwrap() { fault.1(&seen, asked) } else { None }).await
        };
        let (said, listed) = meets(&fault, &world, &stub, &armed).await;
        let called = fault.0;
        if fault.2.is_empty() {
            assert_eq!((said.as_str(), listed.len()), ("", 2), "{called}");
        } else {
            assert!(said.contains(fault.2), "{called}: {said:?} does not say {:?}", fault.2);
            assert_eq!(listed, ["bookworm 20250101_07:42"], "{called}: {said}");
        }
    }
}

fn fault_of(called: &'static str, words: &'static str, bad: Bad) -> Fault {
    Fault(called, bad, words)
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_are_wrong_change_nothing() {
    all(documents()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_wrong_are_not_taken() {
    all(files()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_odd_is_taken() {
    all(oddities()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_certificate_is_not_asked() {
    let world = World::default();
    world.put("bookworm", "20250101_07:42", false);
    let (stub, other) = (world.serve().await, world.serve().await);
    let mirror = Mirror::of(&stub).await;
    mirror.runs().await;
    let catalog = &mirror.server.app.catalog;
    let mut settings = catalog.upstream(&super::kit::name()).await.unwrap().settings;
    settings.certificate.clone_from(&other.pem);
    catalog.edit_upstream(&super::kit::name(), &settings, now()).await.unwrap();
    let before = stub.lines().len();
    let said = mirror.run().await.unwrap_err().to_string();
    assert!(said.contains("certificate"), "{said}");
    assert_eq!((stub.lines().len(), mirror.listed().await.len()), (before, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_takes_nothing_with_it() {
    let world = World::default();
    world.put("bookworm", "20250101_07:42", false);
    let stub = world.serve().await;
    let mirror = Mirror::of(&stub).await;
    mirror.runs().await;
    drop(stub);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let said = mirror.run().await.unwrap_err().to_string();
    assert!(said.contains("cannot be asked"), "{said}");
    assert_eq!(mirror.listed().await.len(), 1);
}

/// Files that were listed a moment ago are gone, because others took their place: the next run has those.
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_published_anew_in_the_middle_of_a_run() {
    let world = World::default();
    world.put("bookworm", "20250101_07:42", false);
    let seen = world.clone();
    let stub = world
        .but(move |asked| {
            if asked.path() == DOCUMENT && asked.header("x-again").is_none() {
                let before = seen.document().to_string();
                seen.take_away("bookworm", "20250101_07:42");
                seen.put("bookworm", NEW, false);
                return Some(Reply::file(before.as_bytes()));
            }
            None
        })
        .await;
    let mirror = Mirror::of(&stub).await;
    let run = mirror.run().await.unwrap();
    assert_eq!((run.taken, run.failed), (0, 1));
    assert_eq!(mirror.listed().await, Vec::<String>::new());
    assert_eq!(mirror.runs().await, (1, 1, 0));
    assert_eq!(mirror.listed().await, [format!("bookworm {NEW}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_jump_remove_nothing_too_early() {
    fn yesterday() -> Timestamp {
        now().plus_seconds(-24 * 3600)
    }
    let world = World::default();
    for day in ["20250101_07:42", NEW] {
        world.put("bookworm", day, false);
    }
    let stub = world.serve().await;
    let mirror = Mirror::of(&stub).await;
    mirror.runs().await;
    world.take_away("bookworm", "20250101_07:42");
    mirror.runs().await;
    // The clock was ahead when the image went, and is right again; then it is ahead once more.
    for at in [yesterday, now] {
        let run = mirror.run_at(at, Terms::default()).await.unwrap();
        assert_eq!((run.removed, mirror.listed().await.len()), (0, 2));
    }
}
