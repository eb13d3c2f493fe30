//! Files that were on their way for a while, and are staged when an image is made of them.

use std::io::Write;
use std::os::unix::fs::MetadataExt;

use headwater_formats::digest::Fingerprint;
use sha2::{Digest as _, Sha256};

use super::kit::*;
use crate::blobs::Complete;
use crate::publish::{PublishError, Ready, Request, Source, SweepTotals};

fn fetched(room: &Room, bytes: &[u8], also: Sha256) -> Complete {
    let mut partial = room.app.blobs.partial(&digest(bytes), bytes.len() as u64).unwrap().unwrap().through(also);
    partial.write_all(&bytes[usize::try_from(partial.length()).unwrap()..]).unwrap();
    partial.complete().unwrap()
}

fn ready(name: &str, file: &Complete) -> Ready {
    Ready::new(name, file.staged().unwrap())
}

fn of(first: Ready, root: Option<Ready>) -> Request {
    let staged = |ready| Source::Staged(Box::new(ready));
    Request { first: staged(first), root: root.map(staged), ..request(vec![], None) }
}

fn partial_files(room: &Room) -> usize {
    std::fs::read_dir(room.path("data/blobs/partial")).unwrap().count()
}

#[tokio::test]
async fn an_image_of_fetched_files_is_neither_read_nor_copied_again() {
    let room = Room::new().await;
    let (meta, root) = (metadata("20250601_07:42"), root("a"));
    let first = fetched(&room, &meta, Sha256::new());
    let rest = fetched(&room, &root, first.hasher());
    let both = rest.also().unwrap();
    let inode = std::fs::metadata(room.path("data/blobs/partial").join(digest(&root).to_string())).unwrap().ino();
    let request = of(ready("incus.tar.xz", &first), Some(ready("rootfs.tar.xz", &rest).after(digest(&meta), both)));
    let published = room.publish(request).await.unwrap();
    assert_eq!(published.image.image.fingerprint, fingerprint(&meta, &root));
    assert_eq!(published.image.image.filename, "incus.tar.xz");
    assert_eq!(
        std::fs::metadata(room.blob_path(&digest(&root))).unwrap().ino(),
        inode,
        "the blob is the file that came"
    );
    assert_eq!((room.staged_files(), partial_files(&room)), (0, 2));
    for file in [first, rest] {
        file.forget();
    }
    assert_eq!(partial_files(&room), 0);

    let one = unified("20250602_07:42");
    let published = room.publish(of(ready("one.tar.xz", &fetched(&room, &one, Sha256::new())), None)).await.unwrap();
    assert_eq!(published.image.image.fingerprint, digest(&one).as_unified_fingerprint());
    assert!(room.publish(request_of(&meta, &root)).await.unwrap().already);
}

fn request_of(meta: &[u8], root: &[u8]) -> Request {
    request(meta.to_vec(), Some(root.to_vec()))
}

/// The fingerprint comes from the computation that was given, as far as that went on from the same metadata file.
#[tokio::test]
async fn the_given_computation_counts_for_its_own_metadata_file_only() {
    let room = Room::new().await;
    let (meta, root) = (metadata("20250601_07:42"), root("a"));
    let (first, rest) = (fetched(&room, &meta, Sha256::new()), fetched(&room, &root, Sha256::new()));
    let other = Sha256::new_with_prefix(b"something else");
    let with = |metadata: &[u8]| {
        let root = ready("root", &rest).after(digest(metadata), other.clone());
        of(ready("meta", &first), Some(root))
    };
    let published = room.publish(with(&meta)).await.unwrap();
    let told = Fingerprint::from_bytes(Sha256::digest(b"something else").into());
    assert_eq!(published.image.image.fingerprint, told, "nothing was read to find another");
    let published = room.publish(with(b"another metadata file")).await.unwrap();
    assert_eq!(published.image.image.fingerprint, fingerprint(&meta, &root));
    let alone = of(ready("meta", &first), Some(ready("root", &rest)));
    assert!(room.publish(alone).await.unwrap().already);
}

#[tokio::test]
async fn fetched_files_are_looked_into_as_all_others() {
    let mut room = Room::new().await;
    let meta = metadata("20250601_07:42");
    let refused = async |room: &Room, first: &[u8], root: Option<&[u8]>| {
        let files: Vec<Complete> =
            std::iter::once(first).chain(root).map(|bytes| fetched(room, bytes, Sha256::new())).collect();
        let request = of(ready("meta", &files[0]), files.get(1).map(|file| ready("root", file)));
        match room.publish(request).await.unwrap_err() {
            PublishError::Refused { file, reason } => format!("{file}: {reason}"),
            other => panic!("{other}"),
        }
    };
    let words = refused(&room, &meta, Some(b"no root file at all, whatever its list says")).await;
    assert!(words.starts_with("root: "), "{words}");
    let words = refused(&room, b"no metadata", Some(&root("a"))).await;
    assert!(words.starts_with("meta: "), "{words}");
    assert_eq!(refused(&room, &meta, Some(b"")).await, "root: it is empty; copy it again");
    let cut = unified("20250601_07:42");
    let words = refused(&room, &cut[..cut.len() - 20], None).await;
    assert!(words.starts_with("meta: "), "{words}");
    room.app.publisher = room.app.publisher.clone().with_max_image_bytes(meta.len() as u64 + 10);
    let words = refused(&room, &meta, Some(&root("a"))).await;
    assert!(words.starts_with("root: the image has more than"), "{words}");
    room.assert_untouched("what is no image").await;
}

/// A mirror that was killed between making its bytes durable and listing its image has the file for its next run.
#[tokio::test]
async fn a_sweep_leaves_what_the_next_run_goes_on_with() {
    let room = Room::new().await;
    let week = 7 * 24 * 3600;
    let meta = metadata("20250601_07:42");
    let file = fetched(&room, &meta, Sha256::new());
    drop(file.staged().unwrap().commit().unwrap());
    drop(file);
    // The system's clock says when a file was written.
    let written = std::fs::metadata(room.path("data/blobs/partial").join(digest(&meta).to_string())).unwrap().mtime();
    let sweep = async |seconds| {
        let plan = room.app.publisher.plan_sweep(at(seconds), 0, &mut |_| {}).await.unwrap();
        let done = room.app.publisher.sweep(at(seconds), 0, &mut |_| {}).await.unwrap();
        assert_eq!(plan, done, "a plan tells what is done");
        done
    };
    let totals = sweep(written + week).await;
    assert_eq!((totals.stray, totals.partial), (1, 0), "the blob goes, what it was made of stays");
    assert_eq!(sweep(written + week).await, SweepTotals::default());
    assert_eq!(fetched(&room, &meta, Sha256::new()).size(), meta.len() as u64);
    let totals = sweep(written + week + 1).await;
    assert_eq!((totals.partial, totals.stray, totals.staged), (1, 0, 0));
    assert!(totals.partial_bytes >= meta.len() as u64 && totals.bytes() == totals.partial_bytes, "{totals:?}");
    assert_eq!(partial_files(&room), 0);

    // What is listed needs no second name.
    let (first, rest) = (fetched(&room, &meta, Sha256::new()), fetched(&room, &root("a"), Sha256::new()));
    let published = room.publish(of(ready("meta", &first), Some(ready("root", &rest)))).await;
    published.unwrap();
    assert_eq!(sweep(written).await, SweepTotals::default(), "somebody holds them");
    drop((first, rest));
    let totals = sweep(written).await;
    assert_eq!((totals.partial, totals.bytes()), (2, 0), "a second name sets nothing free");
    assert_eq!((partial_files(&room), room.stored().len()), (0, 2));
}
