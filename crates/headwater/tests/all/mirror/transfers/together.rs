//! Several transfers at once, other processes, limits, and the end of patience.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use headwater::blobs::Blobs;
use headwater::mirror::{Rate, TransferError};
use sha2::{Digest as _, Sha256};

use super::kit::*;

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_the_same_file_waits_and_has_it_then() {
    let (store, bytes) = (Store::new(), noise(300_000, 1));
    let stub = one_after_the_other(answers![bytes; |a, b| cut(a, b, 100_000), serve]).await;
    let transfers = store.transfers(&stub);
    let seeds = [None, Some(Sha256::new_with_prefix(b"one")), Some(Sha256::new_with_prefix(b"other"))];
    let all = seeds.map(|seed| store.with(&transfers, &bytes, seed));
    let got: Vec<_> = futures_util::future::join_all(all).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(ranges(&stub), [None, Some(100_000)], "it came once");
    let hashes: Vec<_> = got.iter().map(|(_, also)| also.clone().map(hash)).collect();
    let expected = |prefix: &[u8]| Some(sha256(&[prefix, &bytes].concat()));
    assert_eq!(hashes, [None, expected(b"one"), expected(b"other")]);
    // One of them is done before the other.
    let (first, second) = (got[0].0.clone(), got[1].0.clone());
    drop(got);
    let placed = first.staged().unwrap().commit().unwrap();
    first.forget();
    drop((first, placed));
    drop(second.staged().unwrap().commit().unwrap());
    second.forget();
    drop(second);
    assert_eq!((store.partial(), store.staged()), (vec![], vec![]));
    // And somebody who comes later finds it in the store.
    store.with(&transfers, &bytes, None).await.unwrap();
    assert_eq!(stub.asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waited_for_one_that_failed_tries_by_itself() {
    let (mut store, bytes) = (Store::new(), noise(300_000, 2));
    store.patience.pauses.clear();
    let stub = one_after_the_other(answers![bytes; |a, b| cut(a, b, 100_000), serve]).await;
    let transfers = store.transfers(&stub);
    let (first, second) = tokio::join!(store.with(&transfers, &bytes, None), store.with(&transfers, &bytes, None));
    assert!(matches!(first, Err(TransferError::Broken { had: 100_000, .. })), "{first:?}");
    assert_eq!(read(&second.unwrap().0), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_is_waited_for_and_not_for_ever() {
    let (store, bytes) = (Store::new(), noise(300_000, 3));
    let stub = one_after_the_other(answers![bytes; serve]).await;
    let other = Blobs::open(store.folder.path()).unwrap();
    let held = other.partial(&wanted(&bytes).digest, 300_000).unwrap().unwrap();
    let error = store.fails(&stub, &bytes, "\"images/file\" is being fetched by another process; wait for that").await;
    assert!(matches!(error, TransferError::Busy { .. }));
    assert_eq!(stub.asked().len(), 0);
    let release = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        drop(held);
    };
    tokio::join!(store.gets(&stub, &bytes), release);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_transfers_together_stay_below_the_rate() {
    let mut store = Store::new();
    store.rate = Rate::limited(NonZeroU64::new(400_000).unwrap());
    let files: Vec<Vec<u8>> = (0..4).map(|seed| noise(200_000, 10 + seed)).collect();
    let served = files.clone();
    // The requests do not say which file; what they ask for one after the other does.
    let stub = Stub::new(move |asked| {
        let at: usize = asked.path().strip_prefix("/images/").unwrap().parse().unwrap();
        serve(asked, &served[at])
    })
    .await;
    let transfers = store.transfers(&stub);
    let progress: std::sync::Arc<dyn headwater::mirror::Progress> = std::sync::Arc::new(headwater::mirror::Silent);
    let began = Instant::now();
    let wanted: Vec<_> = files
        .iter()
        .enumerate()
        .map(|(at, bytes)| headwater::mirror::Wanted { path: format!("images/{at}"), ..wanted(bytes) })
        .collect();
    let all = wanted.iter().map(|wanted| transfers.get(wanted, None, &progress, &store.cancel));
    for got in futures_util::future::join_all(all).await {
        got.unwrap();
    }
    // 800,000 bytes, of which a quarter of a second may be saved up.
    let took = began.elapsed().as_secs_f64();
    assert!((1.7..6.0).contains(&took), "took {took} seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_it_at_once_and_keeps_what_came() {
    let bytes = noise(300_000, 4);
    type Slow = fn(&Asked, &[u8]) -> Reply;
    let slow: &[(&str, Slow)] = &[
        ("within the body", |a, b| cut(a, b, 100_000).then(Step::Hang)),
        ("before the head", |_, _| Reply(vec![Step::Hang])),
        ("between tries", |_, _| Reply::new("500 X", &[], b"")),
    ];
    for (when, slow) in slow {
        let mut store = Store::new();
        store.patience.pauses = vec![Duration::from_secs(20)];
        let sent = bytes.clone();
        let stub = Stub::new(move |asked| slow(asked, &sent)).await;
        let transfers = store.transfers(&stub);
        let cancel = async {
            while stub.asked().is_empty() || *when == "within the body" && store.told.all().1 < 100_000 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            store.cancel.cancel();
            Instant::now()
        };
        let (first, second, cancelled) =
            tokio::join!(store.with(&transfers, &bytes, None), store.with(&transfers, &bytes, None), cancel);
        assert!(cancelled.elapsed() < Duration::from_millis(300), "{when}: {:?}", cancelled.elapsed());
        for ended in [first, second] {
            assert!(matches!(ended, Err(TransferError::Cancelled)), "{when}: {ended:?}");
        }
        let expected = if *when == "within the body" { vec![100_000] } else { vec![] };
        assert_eq!(store.partial(), expected, "{when}");
        // What was cancelled before it began does not begin.
        assert!(matches!(store.get(&stub, &bytes).await, Err(TransferError::Cancelled)));
        assert_eq!(stub.asked().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_files_leave_a_tidy_store() {
    let store = Store::new();
    let files: Vec<Vec<u8>> = (0..60).map(|seed| noise(1 + 977 * seed, 100 + seed as u64)).collect();
    let served = files.clone();
    let stub = Stub::new(move |asked| {
        let at: usize = asked.path().strip_prefix("/images/").unwrap().parse().unwrap();
        // Each of them breaks once.
        if from(asked).is_none() && served[at].len() > 1 {
            cut(asked, &served[at], served[at].len() / 2)
        } else {
            serve(asked, &served[at])
        }
    })
    .await;
    let transfers = store.transfers(&stub);
    let progress: std::sync::Arc<dyn headwater::mirror::Progress> = std::sync::Arc::<Told>::clone(&store.told);
    let wanted: Vec<_> = files
        .iter()
        .enumerate()
        .map(|(at, bytes)| headwater::mirror::Wanted { path: format!("images/{at}"), ..wanted(bytes) })
        .collect();
    let all = wanted.iter().map(|wanted| transfers.get(wanted, None, &progress, &store.cancel));
    for (got, bytes) in futures_util::future::join_all(all).await.into_iter().zip(&files) {
        let (complete, _) = got.unwrap();
        assert_eq!(&read(&complete), bytes);
        drop(complete.staged().unwrap().commit().unwrap());
        complete.forget();
    }
    let total: usize = files.iter().map(Vec::len).sum();
    assert_eq!(store.told.all(), (0, total as u64, 0), "no byte came twice");
    assert_eq!((store.partial(), store.staged()), (vec![], vec![]));
    assert_eq!(store.blobs.list().count(), 60);
}
