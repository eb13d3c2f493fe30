use std::io::Read;

use super::kit::*;
use crate::publish::{PublishError, Request, Source};

struct Case {
    what: &'static str,
    first: Vec<u8>,
    root: Option<Vec<u8>>,
    said: &'static str,
}

fn case(what: &'static str, first: Vec<u8>, root: Option<Vec<u8>>, said: &'static str) -> Case {
    Case { what, first, root, said }
}

fn half(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len() / 2].to_vec()
}

fn with_yaml(yaml: &str) -> Vec<u8> {
    tar(&[("metadata.yaml", yaml.as_bytes())])
}

fn cases() -> Vec<Case> {
    let meta = || metadata("20250601_07:42");
    vec![
        case("nothing", vec![], None, "SAID"),
        case("text", b"hello, world\n".to_vec(), None, "SAID"),
        case("metadata alone", meta(), None, "SAID"),
        case("root alone", root("a"), None, "SAID"),
        case("disk alone", qcow2(1), None, "SAID"),
        case("half a unified image", half(&unified("20250601_07:42")), None, "SAID"),
        case("half a metadata tarball", half(&meta()), Some(root("a")), "SAID"),
        case("half a root", meta(), Some(half(&root("a"))), "SAID"),
        case("empty root", meta(), Some(vec![]), "SAID"),
        case("disk first", qcow2(1), Some(meta()), "SAID"),
        case("root tarball first", root("a"), Some(meta()), "SAID"),
        case("metadata twice", meta(), Some(meta()), "SAID"),
        case("unified with a root", unified("20250601_07:42"), Some(root("a")), "SAID"),
        case("text as root", meta(), Some(b"hello, world\n".to_vec()), "SAID"),
        case("zip as root", meta(), Some(b"PK\x03\x04 and so on".to_vec()), "SAID"),
        case("no architecture", with_yaml("creation_date: 1\n"), Some(root("a")), "SAID"),
        case("unknown architecture", with_yaml("architecture: vax\ncreation_date: 1\n"), Some(root("a")), "SAID"),
        case("not YAML", with_yaml("a: [1,\n"), Some(root("a")), "SAID"),
        case("cut disk", meta(), Some(qcow2(1)[..100_000].to_vec()), "SAID"),
    ]
}

#[tokio::test]
async fn bad_input_is_told_in_a_sentence_and_leaves_nothing() {
    let room = Room::new().await;
    for Case { what, first, root, said } in cases() {
        let error = room.publish(request(first, root)).await.unwrap_err();
        assert!(matches!(error, PublishError::Refused { .. }), "{what}: {error:?}");
        assert_eq!(error.to_string(), said, "{what}");
        room.assert_untouched(what).await;
    }
}

#[tokio::test]
async fn a_source_that_breaks_leaves_nothing() {
    struct Breaks(u64);
    impl Read for Breaks {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += buffer.len() as u64;
            if self.0 > 3 << 20 { Err(std::io::Error::other("the cable was cut")) } else { Ok(buffer.len()) }
        }
    }
    let room = Room::new().await;
    let broken = || Source::Stream { name: "upload".to_owned(), reader: Box::new(Breaks(0)) };
    let error = room.publish(Request { first: broken(), ..request(vec![], None) }).await.unwrap_err();
    assert_eq!(error.to_string(), "\"upload\" cannot be read: the cable was cut");
    let ask = Request { root: Some(broken()), ..request(metadata("20250601_07:42"), None) };
    let error = room.publish(ask).await.unwrap_err();
    assert_eq!(error.to_string(), "\"upload\" cannot be read: the cable was cut");
    room.assert_untouched("a broken source").await;
}

#[tokio::test]
async fn files_that_cannot_be_read_are_named() {
    let room = Room::new().await;
    let publish = async |path: std::path::PathBuf| {
        let error = room.publish(Request { first: file(&path), ..request(vec![], None) }).await.unwrap_err();
        error.to_string().replace(room.folder.path().to_str().unwrap(), "ROOM")
    };
    assert_eq!(
        publish(room.path("missing.tar.xz")).await,
        "\"ROOM/missing.tar.xz\" cannot be read: No such file or directory (os error 2)"
    );
    assert_eq!(
        publish(room.path("data")).await,
        "\"ROOM/data\" cannot be published: it is a folder where a file was wanted; give the files in it, or the folder alone"
    );
    room.assert_untouched("an unreadable file").await;
}

#[tokio::test]
async fn the_limit_holds_for_streams_and_for_all_files_together() {
    let mut room = Room::new().await;
    let (meta, big) = (metadata("20250601_07:42"), qcow2(1));
    let limit = big.len() as u64 + 10;
    room.app.publisher = room.app.publisher.clone().with_max_image_bytes(limit);
    let said = |name: &str| {
        format!(
            "{name:?} cannot be published: the image has more than {limit} bytes, which is the limit; raise the limit, or publish a smaller one"
        )
    };
    let error = room.publish(request(meta.clone(), Some(big.clone()))).await.unwrap_err();
    assert_eq!(error.to_string(), said("root"), "metadata and root count together");
    let path = room.file("disk.qcow2", &big);
    let error = room.publish(Request { root: Some(file(&path)), ..request(meta, None) }).await.unwrap_err();
    assert_eq!(error.to_string(), said(path.to_str().unwrap()), "told before it is read");
    let endless = Source::Stream { name: "endless".to_owned(), reader: Box::new(std::io::repeat(0)) };
    let error = room.publish(Request { first: endless, ..request(vec![], None) }).await.unwrap_err();
    assert_eq!(error.to_string(), said("endless"));
    room.assert_untouched("too large").await;
}
