//! What was acknowledged is seen by whoever asks afterwards, through whichever handle.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use headwater::catalog::Location;
use headwater_formats::names::AliasName;

use super::{Home, commit, on_both_engines};
use crate::kit::images::{Change as _, image, minute, project};
use crate::kit::other_user;

on_both_engines! {
    a_change_that_was_acknowledged_is_seen_by_every_other_handle,
    every_write_makes_another_moment,
}

async fn a_change_that_was_acknowledged_is_seen_by_every_other_handle(home: &Home) {
    // Handles stand for processes. What each writer was told of is in `acknowledged` before the readers ask.
    let acknowledged = Arc::new(AtomicI64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for _ in 0..4 {
        let (catalog, acknowledged, over) = (home.open().await, Arc::clone(&acknowledged), Arc::clone(&over));
        readers.push(tokio::spawn(async move {
            let mut asked = 0;
            while !over.load(Ordering::SeqCst) {
                let known = acknowledged.load(Ordering::SeqCst);
                let seen = catalog.revision().await.unwrap().number;
                assert!(seen >= known, "revision {known} was acknowledged, {seen} is shown");
                asked += 1;
                tokio::task::yield_now().await;
            }
            asked
        }));
    }
    let mut writers = Vec::new();
    for writer in 0..3u32 {
        let (catalog, acknowledged) = (home.open().await, Arc::clone(&acknowledged));
        writers.push(tokio::spawn(async move {
            for number in 0..10 {
                commit(&catalog, "default", image(writer * 100 + number).at(i64::from(number)), &[]).await;
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(home.open().await.revision().await.unwrap().number, 30);
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}

async fn every_write_makes_another_moment(home: &Home) {
    let (ours, theirs) = (home.open().await, home.open().await);
    let stored = commit(&ours, "default", image(1), &["one"]).await;
    let first = theirs.moment().await.unwrap();
    assert_eq!(first, theirs.moment().await.unwrap());
    assert_eq!(first, ours.moment().await.unwrap());
    // Not a new revision, but images tell when they were last used.
    ours.mark_used(&[(project("default"), stored.image.fingerprint)], minute(9)).await.unwrap();
    let used = theirs.moment().await.unwrap();
    assert_ne!(first, used);
    assert_eq!(first.revision, used.revision);
    ours.delete_alias(&project("default"), &AliasName::new("one").unwrap(), minute(9)).await.unwrap();
    assert!(theirs.moment().await.unwrap().revision.number > used.revision.number);
}

/// The first command after an upgrade may be root's, and a group may share a catalog: whoever may write to it may write the mark.
#[tokio::test]
async fn a_new_mark_is_for_those_who_may_write_to_the_catalog() {
    let home = Home::sqlite().await;
    home.open().await.close().await;
    let Location::Sqlite(catalog) = &home.location else { panic!() };
    let mark = catalog.with_file_name("catalog.db-mark");
    std::fs::remove_file(&mark).unwrap();
    std::fs::set_permissions(catalog, std::fs::Permissions::from_mode(0o660)).unwrap();
    if let Some(user) = other_user::when_root(&["nobody"]) {
        chown(catalog, Some(user.uid), Some(user.gid)).unwrap();
    }
    home.open().await;
    let [mark, catalog] = [&mark, catalog].map(|path| std::fs::metadata(path).unwrap());
    assert_eq!((mark.uid(), mark.gid(), mark.mode()), (catalog.uid(), catalog.gid(), catalog.mode()));
}
