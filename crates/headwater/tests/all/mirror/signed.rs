//! Upstreams whose documents have to be signed.

use headwater::catalog::{UpstreamProtocol, UpstreamSettings};
use headwater::openpgp::{Signer, StreamKey, armored_keyring};

use super::kit::{Mirror, World};
use crate::client::kit::{Asked, Reply, Stub, now};

fn key() -> StreamKey {
    StreamKey::create("Images of Example", now()).unwrap()
}

/// As pretty as Python writes it: every line short.
fn text(world: &World, path: &str) -> Option<String> {
    let value = match path.rsplit_once('/')?.1 {
        "index" => world.index(),
        "images" => world.document(),
        _ => return None,
    };
    Some(serde_json::to_string_pretty(&value).unwrap())
}

fn clear(key: &StreamKey, text: &str) -> Reply {
    let signed = Signer::new(key).unwrap().clear([text], now()).unwrap();
    Reply::file(format!("{}{text}{}", signed.before, signed.after).as_bytes())
}

/// A server with clear-signed documents and no others.
fn with_clear(key: &StreamKey, world: &World, asked: &Asked) -> Reply {
    match asked.path().strip_suffix(".sjson").and_then(|path| text(world, path)) {
        Some(text) => clear(key, &text),
        None if asked.path().starts_with("/streams/") => Reply::new("404 Not Found", &[], b""),
        None => world.answer(asked),
    }
}

/// A server with signatures beside its documents.
fn with_detached(key: &StreamKey, world: &World, asked: &Asked) -> Reply {
    let path = asked.path();
    if path.ends_with(".sjson") {
        return Reply::new("404 Not Found", &[], b"");
    }
    match path.trim_end_matches(".gpg").strip_suffix(".json").and_then(|path| text(world, path)) {
        Some(text) if path.ends_with(".gpg") => {
            let signature = Signer::new(key).unwrap().detached([text.as_str()], now()).unwrap();
            Reply::file(signature.as_bytes())
        }
        Some(text) => Reply::file(text.as_bytes()),
        None => world.answer(asked),
    }
}

async fn mirror(stub: &Stub, key: &StreamKey) -> Mirror {
    let settings = UpstreamSettings { keyring: armored_keyring([key]), ..UpstreamSettings::default() };
    Mirror::with(stub, UpstreamProtocol::SimpleStreams, settings).await
}

fn world() -> World {
    let world = World::default();
    world.put("bookworm", "20250101_07:42", false);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_with_good_signatures_are_believed() {
    for answer in [with_clear, with_detached] {
        let (world, key) = (world(), key());
        let (seen, signing) = (world.clone(), key.clone());
        let stub = world.but(move |asked| Some(answer(&signing, &seen, asked))).await;
        assert_eq!(mirror(&stub, &key).await.runs().await, (1, 1, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_without_are_not() {
    type Answer = fn(&StreamKey, &World, &Asked) -> Reply;
    let unsigned: Answer = |_, world, asked| world.answer(asked);
    let changed: Answer = |key, world, asked| {
        if asked.path().ends_with("images.sjson") {
            let text = text(world, "/streams/v1/images").unwrap();
            let signed = Signer::new(key).unwrap().clear([text.as_str()], now()).unwrap();
            let text = text.replacen("bookworm", "bullseye", 1);
            return Reply::file(format!("{}{text}{}", signed.before, signed.after).as_bytes());
        }
        with_clear(key, world, asked)
    };
    let half: Answer = |key, world, asked| {
        // The index is signed, the list of images is not.
        if asked.path().contains("images.") && asked.path().starts_with("/streams/") {
            return if asked.path().ends_with("json") && !asked.path().ends_with("sjson") {
                world.answer(asked)
            } else {
                Reply::new("404 Not Found", &[], b"")
            };
        }
        with_clear(key, world, asked)
    };
    let not = "that is not believed: its signature is by none of the keys that were given, or it was changed after it was signed";
    for (answer, other_key, words) in [
        (unsigned, false, "has a list of images at \"streams/v1/index.json\" that is not believed: it is not signed"),
        (changed, false, not),
        (half, false, "at \"streams/v1/images.json\" that is not believed: it is not signed"),
        (with_clear as Answer, true, not),
        (with_detached as Answer, true, not),
    ] {
        let (world, key) = (world(), key());
        let (seen, signing) = (world.clone(), key.clone());
        let stub = world.but(move |asked| Some(answer(&signing, &seen, asked))).await;
        let mirror = mirror(&stub, &if other_key { self::key() } else { key }).await;
        let said = mirror.run().await.unwrap_err().to_string();
        assert!(said.contains(words), "{said:?} does not say {words:?}");
        assert_eq!(mirror.listed().await, Vec::<String>::new());
        assert!(stub.lines().iter().all(|line| line.contains("/streams/")), "{:?}", stub.lines());
    }
}
