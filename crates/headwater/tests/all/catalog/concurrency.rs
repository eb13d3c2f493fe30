use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use headwater::auth::Viewer;
use headwater::catalog::Committed;
use headwater_formats::image::FileFormat;

use super::{Home, commit, on_both_engines};
use crate::kit::images::{Change as _, file, image, minute, new, project};

on_both_engines! {
    twenty_publishers_lose_nothing,
    one_of_many_equal_publishers_lists_the_image,
    readers_see_whole_changes_only,
    a_sweep_and_a_publisher_never_pass_each_other,
    an_abandoned_write_leaves_nothing,
}

async fn twenty_publishers_lose_nothing(home: &Home) {
    // Four handles stand for four processes: they share nothing but the database.
    let mut publishers = Vec::new();
    for publisher in 0..20u32 {
        let catalog = if publisher % 5 == 0 { home.open().await } else { home.open().await.clone() };
        publishers.push(tokio::spawn(async move {
            for number in 0..5 {
                commit(&catalog, "default", image(publisher * 100 + number).at(7), &["contended"]).await;
            }
        }));
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let catalog = home.open().await;
    assert_eq!(catalog.revision().await.unwrap().number, 100, "one change each");
    let products = catalog.products(&Viewer::guest(), &project("default"), None, 9).await.unwrap();
    assert_eq!(products.len(), 1);
    let versions: BTreeSet<&str> = products[0].versions.iter().map(|version| version.name.as_str()).collect();
    assert_eq!(versions.len(), 100, "each got a minute of its own");
    assert_eq!(versions.last(), Some(&"20250101_01:46"));
    let images = catalog.images(&Viewer::guest(), &project("default"), None, 1000).await.unwrap();
    let holders = images.iter().filter(|one| one.aliases.iter().any(|alias| alias.name.as_str() == "contended"));
    assert_eq!(holders.count(), 1, "an alias leads to one image");
}

async fn one_of_many_equal_publishers_lists_the_image(home: &Home) {
    let catalogs = [home.open().await, home.open().await];
    let mut publishers = Vec::new();
    for publisher in 0..10 {
        let catalog = catalogs[publisher % 2].clone();
        publishers.push(tokio::spawn(async move {
            catalog.commit_image(&new("default", image(1), &[]), minute(1), || Ok(())).await.unwrap()
        }));
    }
    let mut new = 0;
    for publisher in publishers {
        new += usize::from(matches!(publisher.await.unwrap(), Committed::New(_)));
    }
    assert_eq!(new, 1);
    assert_eq!(catalogs[0].revision().await.unwrap().number, 1);
}

async fn readers_see_whole_changes_only(home: &Home) {
    let writer = home.open().await;
    let reader = home.open().await;
    let done = Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn({
        let done = done.clone();
        async move {
            let mut pages = 0;
            while !done.load(Ordering::Relaxed) {
                let images = reader.images(&Viewer::guest(), &project("default"), None, 100).await.unwrap();
                let led: usize = images
                    .iter()
                    .map(|one| one.aliases.iter().filter(|a| a.name.as_str() == "debian/12").count())
                    .sum();
                assert_eq!(led, usize::from(!images.is_empty()), "exactly one image is the newest, at every moment");
                for one in &images {
                    assert!(one.placement.is_some());
                }
                pages += 1;
            }
            pages
        }
    });
    for number in 1..=15 {
        commit(&writer, "default", image(number), &[]).await;
    }
    for number in 1..=15 {
        writer.delete_image(&project("default"), &image(number).fingerprint, minute(1)).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    assert!(reading.await.unwrap() > 0);
}

async fn a_sweep_and_a_publisher_never_pass_each_other(home: &Home) {
    let publisher = home.open().await;
    let sweeper = home.open().await;
    let digest = file(0x2000_0001, FileFormat::Squashfs).digest;
    // Stands for the bytes: there or not there.
    let bytes = Arc::new(AtomicBool::new(true));
    let restored = Arc::new(AtomicUsize::new(0));
    commit(&publisher, "default", image(1), &[]).await;
    for round in 0..20 {
        let at = minute(round);
        publisher.delete_image(&project("default"), &image(1).fingerprint, at).await.unwrap();
        let sweep = tokio::spawn({
            let (sweeper, bytes) = (sweeper.clone(), bytes.clone());
            async move {
                let remove = move || {
                    bytes.store(false, Ordering::SeqCst);
                    Ok(())
                };
                sweeper.forget_blob(&digest, at.plus_seconds(1), remove).await.unwrap()
            }
        });
        let publish = tokio::spawn({
            let (publisher, bytes, restored) = (publisher.clone(), bytes.clone(), restored.clone());
            async move {
                let ensure = move || {
                    if !bytes.swap(true, Ordering::SeqCst) {
                        restored.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(())
                };
                publisher.commit_image(&new("default", image(1), &[]), at, ensure).await.unwrap()
            }
        });
        sweep.await.unwrap();
        publish.await.unwrap();
        assert!(bytes.load(Ordering::SeqCst), "the image is listed, so its bytes are there");
        assert!(publisher.file(&Viewer::guest(), &digest).await.unwrap().is_some());
    }
}

async fn an_abandoned_write_leaves_nothing(home: &Home) {
    let catalog = home.open().await;
    for number in 1..=30 {
        let new = new("default", image(number), &[]);
        let commit = catalog.commit_image(&new, minute(1), || Ok(()));
        let wait = std::time::Duration::from_micros(u64::from(number) * 150);
        let _ = tokio::time::timeout(wait, commit).await;
    }
    // Whatever was finished is whole, and the writer's connection is free.
    commit(&catalog, "default", image(99), &[]).await;
    let images = catalog.images(&Viewer::guest(), &project("default"), None, 100).await.unwrap();
    assert_eq!(catalog.revision().await.unwrap().number, images.len() as i64);
    assert_eq!(catalog.blobs_in_use(None, 1000).await.unwrap().len(), images.len() * 2);
}
