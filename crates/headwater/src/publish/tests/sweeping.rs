use std::io::Write;
use std::sync::Arc;

use headwater_formats::image::ImageFiles;
use headwater_formats::names::ProjectName;

use super::kit::*;
use crate::publish::{Publisher, SweepTotals, Swept};

const DAY: u32 = 24 * 3600;

async fn sweep(publisher: &Publisher, seconds: i64) -> (SweepTotals, Vec<Swept>) {
    let (mut planned, mut swept) = (Vec::new(), Vec::new());
    let plan = publisher.plan_sweep(at(seconds), DAY, &mut |what| planned.push(what)).await.unwrap();
    let done = publisher.sweep(at(seconds), DAY, &mut |what| swept.push(what)).await.unwrap();
    assert_eq!(plan, done, "a plan tells what is done");
    assert_eq!(planned, swept);
    (done, swept)
}

#[tokio::test]
async fn files_go_when_their_grace_is_over_and_no_image_needs_them() {
    let room = Room::new().await;
    let (meta, root_a) = (metadata("20250601_07:42"), root("a"));
    let gone = room.publish(request(meta.clone(), Some(root_a.clone()))).await.unwrap().image.image;
    let stays = room.publish(request(meta.clone(), Some(root("b")))).await.unwrap().image.image;
    let project = ProjectName::default_project();
    room.app.catalog.delete_image(&project, &gone.fingerprint, at(NOW)).await.unwrap();

    let (totals, _) = sweep(&room.app.publisher, NOW + i64::from(DAY) - 1).await;
    assert_eq!(totals, SweepTotals::default(), "the grace is not over");
    assert_eq!(room.stored().len(), 3);

    let (totals, swept) = sweep(&room.app.publisher, NOW + i64::from(DAY) + 1).await;
    assert_eq!((totals.retired, totals.retired_bytes), (1, root_a.len() as u64));
    assert_eq!(totals.bytes(), root_a.len() as u64);
    assert!(matches!(swept[..], [Swept::Retired(retired)] if retired.digest == digest(&root_a)));
    let ImageFiles::Split { metadata, root } = stays.files else { panic!("split") };
    let mut kept = [metadata.digest, root.digest];
    kept.sort();
    assert_eq!(room.stored(), kept, "what another image needs stays");

    let again = room.publish(request(meta, Some(root_a))).await.unwrap();
    assert!(!again.already);
    assert_eq!(room.stored().len(), 3);
}

#[tokio::test]
async fn what_a_crash_left_goes_at_once() {
    let room = Room::new().await;
    room.publish(request(metadata("20250601_07:42"), Some(root("a")))).await.unwrap();
    for number in 0..1010u32 {
        let mut staged = room.app.blobs.stage().unwrap();
        staged.write_all(&number.to_le_bytes()).unwrap();
        staged.commit().unwrap();
    }
    std::fs::write(room.path("data/blobs/staging/left"), [0; 4096]).unwrap();
    let (totals, _) = sweep(&room.app.publisher, NOW).await;
    assert_eq!((totals.stray, totals.stray_bytes, totals.staged), (1010, 4040, 1));
    assert_eq!(room.stored().len(), 2);
    assert_eq!(room.staged_files(), 0);
}

/// A sweep that comes between placing and committing takes the bytes away; the commit has to bring them back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sweeps_racing_publishers_take_nothing_that_is_listed() {
    let room = Arc::new(Room::new().await);
    let meta = metadata("20250601_07:42");
    let publishers: Vec<_> = (0..4)
        .map(|publisher| {
            let (room, meta) = (room.clone(), meta.clone());
            tokio::spawn(async move {
                for round in 0..10 {
                    let content = format!("{publisher} {round}");
                    room.publish(request(meta.clone(), Some(root(&content)))).await.unwrap();
                }
            })
        })
        .collect();
    let mut sweeps = 0;
    while publishers.iter().any(|publisher| !publisher.is_finished()) {
        room.app.publisher.sweep(at(NOW), DAY, &mut |_| {}).await.unwrap();
        sweeps += 1;
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    assert!(sweeps > 0);
    let images = room.images().await;
    assert_eq!(images.len(), 40);
    for image in images {
        for (_, file) in image.image.files.iter() {
            assert_eq!(room.app.blobs.stat(&file.digest).unwrap(), Some(file.size), "a listed file was swept");
        }
    }
    assert_eq!(room.stored().len(), 41);
    assert_eq!(room.staged_files(), 0);
}
