use std::fs;
use std::io::Write;
use std::ops::Deref;
use std::path::Path;

use headwater_formats::timestamp::Timestamp;

use super::conformance::{self, digest_of, noise};
use super::{BlobError, Blobs, Deleted, Incomplete, Intake, IntakeError};

struct Local {
    store: Blobs,
    folder: tempfile::TempDir,
}

impl Deref for Local {
    type Target = Blobs;

    fn deref(&self) -> &Blobs {
        &self.store
    }
}

fn local() -> Local {
    let folder = tempfile::tempdir().unwrap();
    Local { store: Blobs::open(folder.path().join("blobs")).unwrap(), folder }
}

#[test]
fn the_local_store_conforms() {
    conformance::all(local);
}

#[test]
fn another_layout_is_refused_with_what_to_do() {
    let store = local();
    fs::write(store.folder.path().join("blobs/VERSION"), "2\n").unwrap();
    assert_eq!(
        Blobs::open(store.folder.path().join("blobs")).unwrap_err().to_string(),
        "the blob store has layout \"2\", this program knows \"1\"; start the headwater that made it, or restore a backup"
    );
    fs::remove_file(store.folder.path().join("blobs/VERSION")).unwrap();
    assert!(Blobs::open(store.folder.path().join("blobs")).is_ok(), "a first run that was cut short");
    let mut staged = store.stage().unwrap();
    staged.write_all(b"x").unwrap();
    staged.commit().unwrap();
    fs::remove_file(store.folder.path().join("blobs/VERSION")).unwrap();
    let error = Blobs::open(store.folder.path().join("blobs")).unwrap_err();
    assert!(matches!(&error, BlobError::Layout { found, .. } if found.is_empty()), "{error}");
}

#[test]
fn a_sweep_takes_what_a_dead_process_left() {
    let store = local();
    let held = store.stage().unwrap();
    let staging = store.folder.path().join("blobs/staging");
    fs::write(staging.join("left-behind"), [7u8; 5000]).unwrap();
    let found = store.dead().unwrap();
    assert_eq!(found.files(), 1);
    assert!(found.bytes >= 5000, "{found:?}");
    store.remove_dead(found).unwrap();
    assert_eq!(store.dead().unwrap().files(), 0);
    held.commit().unwrap();
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);
}

#[test]
fn files_in_the_folder_of_partial_ones_that_are_none_stay() {
    let store = local();
    let folder = store.folder.path().join("blobs/partial");
    assert!(!folder.exists(), "made when it is needed");
    assert_eq!(store.idle(Timestamp::from_unix(1 << 36).unwrap(), &|_| false).unwrap().files, 0);
    drop(store.partial(&digest_of(b"x"), 1).unwrap());
    fs::write(folder.join("README"), "hello").unwrap();
    assert_eq!(store.remove_idle(Timestamp::from_unix(1 << 36).unwrap(), &|_| false).unwrap().files, 0);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

/// What a power failure can leave: the length is right, the bytes are not.
#[test]
fn bytes_that_changed_since_they_were_written_are_found() {
    let store = local();
    let bytes = noise(10_000, 6);
    let mut partial = store.partial(&digest_of(&bytes), 10_000).unwrap().unwrap();
    partial.write_all(&bytes[..9_000]).unwrap();
    drop(partial);
    let path = store.folder.path().join("blobs/partial").join(digest_of(&bytes).to_string());
    fs::write(&path, vec![0; 9_000]).unwrap();
    let mut partial = store.partial(&digest_of(&bytes), 10_000).unwrap().unwrap();
    partial.write_all(&bytes[9_000..]).unwrap();
    assert!(matches!(partial.complete(), Err(Incomplete::Wrong { .. })));
    assert!(!path.exists());
}

#[test]
fn a_blob_swept_by_hand_is_put_back() {
    let store = local();
    let mut staged = store.stage().unwrap();
    staged.write_all(b"x").unwrap();
    let mut placed = staged.commit().unwrap();
    let name = placed.digest().to_string();
    let path = store.folder.path().join("blobs/sha256").join(&name[..2]).join(&name);
    fs::remove_file(&path).unwrap();
    placed.ensure().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"x");
}

#[test]
fn a_dead_publisher_keeps_its_blob_until_it_is_cleared_away() {
    let store = local();
    let mut staged = store.stage().unwrap();
    staged.write_all(b"x").unwrap();
    let digest = staged.commit().unwrap().digest();
    let left = store.folder.path().join("blobs/staging").join(format!("{digest}-0123"));
    fs::write(&left, b"x").unwrap();
    assert_eq!(store.delete(&digest).unwrap(), Deleted::Needed);
    let dead = store.dead().unwrap();
    assert_eq!(dead.files(), 1);
    store.remove_dead(dead).unwrap();
    assert_eq!(store.delete(&digest).unwrap(), Deleted::Gone);
}

#[test]
fn a_blob_of_another_length_is_mended_by_who_has_its_bytes() {
    let store = local();
    let bytes = noise(10_000, 5);
    let put = || {
        let mut staged = store.stage().unwrap();
        staged.write_all(&bytes).unwrap();
        staged.commit().unwrap().digest()
    };
    let digest = put();
    let name = digest.to_string();
    let path = store.folder.path().join("blobs/sha256").join(&name[..2]).join(&name);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(9_999).unwrap();
    put();
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_link_shares_the_bytes() {
    let store = local();
    let mut staged = store.stage().unwrap();
    staged.write_all(b"shared").unwrap();
    let digest = staged.commit().unwrap().digest();
    let to = store.folder.path().join("link");
    assert!(store.link_to(&digest, &to).unwrap());
    assert_eq!(fs::read(&to).unwrap(), b"shared");
    assert!(store.link_to(&digest, &to).is_err(), "never replaces what is there");
    assert!(store.link_to(&digest_of(b"missing"), &store.folder.path().join("other")).is_err());
}

#[test]
fn files_that_are_no_blobs_are_passed_over() {
    let store = local();
    let mut staged = store.stage().unwrap();
    staged.write_all(b"x").unwrap();
    let digest = staged.commit().unwrap().digest();
    let folder = store.folder.path().join("blobs/sha256").join(&digest.to_string()[..2]);
    fs::write(folder.join("README"), "hello").unwrap();
    fs::write(folder.join(digest_of(b"of another folder").to_string()), "").unwrap();
    let other = digest_of(b"of another folder").to_string();
    assert_ne!(other[..2], digest.to_string()[..2], "the test needs two folders");
    assert_eq!(store.list().map(Result::unwrap).collect::<Vec<_>>(), [digest]);
}

/// Runs `check` in a small file system of its own; skipped where mounting is not allowed.
fn in_small_disk(check: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "headwater-test"])
        .arg(folder.path())
        .stderr(std::process::Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return;
    }
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(folder.path())));
    let _ = std::process::Command::new("umount").arg("-l").arg(folder.path()).status();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_full_disk_says_so_and_leaves_nothing() {
    in_small_disk(|disk| {
        let store = Blobs::open(disk.join("blobs")).unwrap();
        let mut staged = store.stage().unwrap();
        let intake = Intake { also: None, limit: u64::MAX, observe: &mut |_| {} };
        let error = staged.take_in(&mut std::io::Cursor::new(noise(3 << 20, 6)), intake).unwrap_err();
        assert!(matches!(error, IntakeError::Blobs(BlobError::Full(_))), "{error:?}");
        assert_eq!(
            error.to_string(),
            "the data folder has no space left (No space left on device (os error 28)); free some, for example with `headwater gc`, or move it to a larger disk"
        );
        drop(staged);
        let error = store.stage().unwrap().reserve(3 << 20).unwrap_err();
        assert!(matches!(error, BlobError::Full(_)), "told before a byte is moved: {error:?}");
        let error = store.partial(&digest_of(b"large"), 3 << 20).unwrap().unwrap().reserve().unwrap_err();
        assert!(matches!(error, BlobError::Full(_)), "told before a byte is moved: {error:?}");
        assert_eq!(fs::read_dir(disk.join("blobs/partial")).unwrap().count(), 0);
        assert_eq!(store.list().count(), 0);
        assert_eq!(fs::read_dir(disk.join("blobs/staging")).unwrap().count(), 0);
        let mut staged = store.stage().unwrap();
        staged.write_all(b"small things still fit").unwrap();
        staged.commit().unwrap();
    });
}

#[test]
fn blobs_leave_room_for_deleting_images() {
    in_small_disk(|disk| {
        let store = Blobs::open(disk.join("blobs")).unwrap();
        let mut refused = None;
        for seed in 0..100 {
            let mut staged = store.stage().unwrap();
            staged.write_all(&noise(20_000, seed)).unwrap();
            if let Err(error) = staged.commit() {
                refused = Some(error);
                break;
            }
        }
        assert!(matches!(refused, Some(BlobError::Full(_))), "{refused:?}");
        fs::write(disk.join("rows"), [0; 40_000]).unwrap();
    });
}

#[test]
fn a_read_only_disk_can_be_read_and_says_why_it_cannot_be_written() {
    in_small_disk(|disk| {
        let store = Blobs::open(disk.join("blobs")).unwrap();
        let mut staged = store.stage().unwrap();
        staged.write_all(b"before").unwrap();
        let digest = staged.commit().unwrap().digest();
        let remounted = std::process::Command::new("mount").args(["-o", "remount,ro"]).arg(disk).status().unwrap();
        assert!(remounted.success());
        let store = Blobs::open(disk.join("blobs")).unwrap();
        assert_eq!(store.stat(&digest).unwrap(), Some(6));
        let error = store.stage().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the data folder is on a read-only file system (Read-only file system (os error 30)); mount it writable, or give another one with --data"
        );
        assert!(matches!(Blobs::open(disk.join("other")), Err(BlobError::ReadOnly(_))));
    });
}
