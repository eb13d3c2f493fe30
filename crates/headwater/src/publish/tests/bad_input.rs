use std::io::{Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::kit::*;
use crate::publish::{Filename, Listing, Opened, PublishError, Request, Source};

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
        case("nothing", vec![], None, r#""meta.tar" cannot be published: it is empty; copy it again"#),
        case(
            "text",
            b"hello, world\n".to_vec(),
            None,
            r#""meta.tar" cannot be published: this is a text file, not an image; give a tarball or squashfs with metadata.yaml and a root in it, or a metadata tarball and a root file"#,
        ),
        case(
            "metadata alone",
            meta(),
            None,
            r#""meta.tar" cannot be published: there is a metadata.yaml in it, but neither rootfs/ nor rootfs.img; if this is only the metadata tarball of a split image, give its root file too"#,
        ),
        case(
            "root alone",
            root("a"),
            None,
            r#""meta.tar" cannot be published: there is no metadata.yaml in it; if this is only the root file of a split image, give its metadata tarball too"#,
        ),
        case(
            "disk alone",
            qcow2(1),
            None,
            r#""meta.tar" cannot be published: this is a qcow2 disk, not a whole image; give its metadata tarball too"#,
        ),
        case(
            "half a unified image",
            half(&unified("20250601_07:42")),
            None,
            r#""meta.tar" cannot be published: the file ends early: the footer of its last xz stream is missing; copy it again"#,
        ),
        case(
            "half a metadata tarball",
            half(&meta()),
            Some(root("a")),
            r#""meta.tar" cannot be published: the file ends early: the footer of its last xz stream is missing; copy it again"#,
        ),
        case(
            "half a root",
            meta(),
            Some(half(&root("a"))),
            r#""root" cannot be published: the file ends early: the footer of its last xz stream is missing; copy it again"#,
        ),
        case("empty root", meta(), Some(vec![]), r#""root" cannot be published: it is empty; copy it again"#),
        case(
            "disk first",
            qcow2(1),
            Some(meta()),
            r#""meta.tar" cannot be published: this is a qcow2 disk, not a metadata tarball; give the metadata tarball first, then the root file"#,
        ),
        case(
            "root tarball first",
            root("a"),
            Some(meta()),
            r#""meta.tar" cannot be published: there is no metadata.yaml at the top of the metadata tarball; add one with architecture and creation_date; if it is the root file, give the metadata tarball first and this one second"#,
        ),
        case(
            "metadata twice",
            meta(),
            Some(meta()),
            r#""root" cannot be published: this root tarball has metadata.yaml in it; publish a unified image with no other file, and a split one with the metadata tarball first"#,
        ),
        case(
            "unified with a root",
            unified("20250601_07:42"),
            Some(root("a")),
            r#""meta.tar" cannot be published: this metadata tarball also has rootfs/ in it; publish it as a unified image, with no root file"#,
        ),
        case(
            "text as root",
            meta(),
            Some(b"hello, world\n".to_vec()),
            r#""root" cannot be published: this is a text file, not a root file; give a squashfs, a tarball or a qcow2 disk"#,
        ),
        case(
            "zip as root",
            meta(),
            Some(b"PK\x03\x04 and so on".to_vec()),
            r#""root" cannot be published: this is a zip archive, not a root file; give a squashfs, a tarball or a qcow2 disk"#,
        ),
        case(
            "no architecture",
            with_yaml("creation_date: 1\n"),
            Some(root("a")),
            r#""meta.tar" cannot be published: metadata.yaml has no architecture; add it, for example "architecture: x86_64""#,
        ),
        case(
            "unknown architecture",
            with_yaml("architecture: vax\ncreation_date: 1\n"),
            Some(root("a")),
            r#""meta.tar" cannot be published: architecture in metadata.yaml: "vax" is no architecture that LXD or Incus knows; known ones are i686, x86_64, armv6l, armv7l, armv8l, aarch64, ppc, ppc64, ppc64le, s390x, mips, mips64, riscv32, riscv64, loongarch64"#,
        ),
        case(
            "not YAML",
            with_yaml("a: [1,\n"),
            Some(root("a")),
            r#""meta.tar" cannot be published: metadata.yaml cannot be read: line 1: unclosed bracket '['"#,
        ),
        case(
            "cut disk",
            meta(),
            Some(qcow2(1)[..100_000].to_vec()),
            r#""root" cannot be published: the file ends early: the qcow2 disk has a table that goes up to byte 131,080, and there are 100,000; copy it again"#,
        ),
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

/// What an xz file begins with.
const XZ: &[u8] = b"\xfd7zXZ\0";

/// Zeros without end, counted.
struct Zeros(Arc<AtomicU64>);

impl Read for Zeros {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        buffer.fill(0);
        self.0.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        Ok(buffer.len())
    }
}

#[tokio::test]
async fn what_can_be_no_image_is_told_by_its_beginning_and_not_read_on() {
    let room = Room::new().await;
    let read = Arc::new(AtomicU64::new(0));
    let zeros = || Source::Stream { name: "pipe".to_owned(), reader: Box::new(Zeros(Arc::clone(&read))) };
    let error = room.publish(Request { first: zeros(), ..request(vec![], None) }).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"pipe\" cannot be published: this is a file of zeros, not an image; give a tarball or squashfs with metadata.yaml \
         and a root in it, or a metadata tarball and a root file"
    );
    let ask = Request { root: Some(zeros()), ..request(metadata("20250601_07:42"), None) };
    let error = room.publish(ask).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"pipe\" cannot be published: this is a file of zeros, not a root file; give a squashfs, a tarball or a qcow2 disk"
    );
    assert!(read.load(Ordering::Relaxed) <= 2 * 33 * 1024, "{read:?}");
    room.assert_untouched("zeros without end").await;
}

#[tokio::test]
async fn another_image_than_was_announced_is_not_listed() {
    let room = Room::new().await;
    let (bytes, expected) = (unified("20250601_07:42"), fingerprint(b"another", b""));
    let listing = Listing { fingerprint: Some(expected), ..listed(true) };
    let error = room.publish(Request { listing, ..request(bytes.clone(), None) }).await.unwrap_err();
    let found = digest(&bytes).as_unified_fingerprint();
    assert_eq!(error.to_string(), format!("fingerprints don't match, got {found} expected {expected}"));
    room.assert_untouched("another image").await;
    let listing = Listing { fingerprint: Some(found), ..listed(true) };
    assert!(!room.publish(Request { listing, ..request(bytes, None) }).await.unwrap().already);
}

#[tokio::test]
async fn a_second_file_that_comes_later_is_asked_for_when_the_first_is_good() {
    let room = Room::new().await;
    let later = |asked: &Arc<AtomicU64>| {
        let asked = Arc::clone(asked);
        Some(Source::Later(Box::new(move || {
            asked.fetch_add(1, Ordering::Relaxed);
            Ok(Opened { name: "folder/rootfs".to_owned(), reader: Box::new(Cursor::new(root("a"))) })
        })))
    };
    let asked = Arc::new(AtomicU64::new(0));
    let bad = Request { root: later(&asked), ..request(root("a"), None) };
    assert!(matches!(room.publish(bad).await.unwrap_err(), PublishError::Refused { file, .. } if file == "meta.tar"));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    room.assert_untouched("a bad first file").await;
    let listing = Listing { filename: Filename::Root, ..listed(true) };
    let good = Request { root: later(&asked), listing, ..request(metadata("20250601_07:42"), None) };
    assert_eq!(room.publish(good).await.unwrap().image.image.filename, "rootfs");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
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
    let broken = || Source::Stream { name: "upload".to_owned(), reader: Box::new(Cursor::new(XZ).chain(Breaks(0))) };
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
    let endless = Cursor::new(XZ).chain(std::io::repeat(0));
    let endless = Source::Stream { name: "endless".to_owned(), reader: Box::new(endless) };
    let error = room.publish(Request { first: endless, ..request(vec![], None) }).await.unwrap_err();
    assert_eq!(error.to_string(), said("endless"));
    room.assert_untouched("too large").await;
}
