//! Files come whole, whatever breaks on the way, and no byte comes twice that need not.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::kit::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_and_becomes_a_blob_without_a_copy() {
    let (store, bytes) = (Store::new(), noise(300_000, 1));
    let stub = one_after_the_other(answers![bytes; serve]).await;
    let complete = store.gets(&stub, &bytes).await;
    let asked = stub.asked();
    assert_eq!((asked.len(), asked[0].target.as_str()), (1, "/images/file"));
    assert_eq!((asked[0].header("range"), asked[0].header("accept-encoding")), (None, Some("identity")));
    assert_eq!(store.told.all(), (0, 300_000, 0));
    assert_eq!((store.partial(), store.staged()), (vec![300_000], vec![]));
    let placed = complete.staged().unwrap().commit().unwrap();
    assert_eq!(placed.digest().to_string(), sha256(&bytes));
    complete.forget();
    drop((complete, placed));
    assert_eq!((store.partial(), store.staged()), (vec![], vec![]), "nothing is left beside the blob");

    // The store has it: nobody is asked.
    let complete = store.gets(&stub, &bytes).await;
    assert_eq!(stub.asked().len(), 1);
    drop(complete);
    let store = Store::new();
    store.gets(&stub, b"").await;
    assert_eq!(stub.asked().len(), 1, "nothing has to come for a file without bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_cut_only_the_rest_comes() {
    let (store, bytes) = (Store::new(), noise(300_000, 2));
    let stub = one_after_the_other(answers![bytes; |a, b| cut(a, b, 100_000), |a, b| cut(a, b, 50_000), serve]).await;
    let seed = Sha256::new_with_prefix(b"metadata");
    let (complete, also) = store.with(&store.transfers(&stub), &bytes, Some(seed)).await.unwrap();
    assert_eq!(read(&complete), bytes);
    assert_eq!(hash(also.unwrap()), sha256(&[b"metadata", bytes.as_slice()].concat()));
    assert_eq!(ranges(&stub), [None, Some(100_000), Some(150_000)]);
    assert_eq!(store.told.all(), (0, 300_000, 0), "no byte came twice");
    let conditions: Vec<_> = stub.asked().iter().map(|asked| asked.header("if-range").map(str::to_owned)).collect();
    assert_eq!(conditions, [None, Some(ETAG.to_owned()), Some(ETAG.to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_process_goes_on() {
    let (mut store, bytes) = (Store::new(), noise(300_000, 3));
    let stub = one_after_the_other(
        answers![bytes; |a, b| cut(a, b, 100_000), |a, b| cut(a, b, 100_000).then(Step::Hang), serve],
    )
    .await;
    store.patience.pauses.clear();
    let error = store.fails(&stub, &bytes, "broke the connection off after 100000 bytes").await;
    assert!(
        error.to_string().ends_with("; 100000 bytes of 300000 are kept, and the next run goes on there"),
        "{error}"
    );
    let store = store.again();
    // As when the process is killed: the future is dropped while it waits.
    let _ = tokio::time::timeout(Duration::from_millis(400), store.get(&stub, &bytes)).await.unwrap_err();
    while store.told.all().1 < 100_000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let store = store.again();
    assert_eq!(store.partial(), [200_000]);
    let seed = Sha256::new_with_prefix(b"metadata");
    let (complete, also) = store.with(&store.transfers(&stub), &bytes, Some(seed)).await.unwrap();
    assert_eq!(read(&complete), bytes);
    assert_eq!(hash(also.unwrap()), sha256(&[b"metadata", bytes.as_slice()].concat()), "what was there before counts");
    assert_eq!(store.told.all(), (200_000, 100_000, 0));
    assert_eq!(ranges(&stub), [None, Some(100_000), Some(200_000)]);
    drop(complete);
    let store = store.again();
    store.gets(&stub, &bytes).await;
    assert_eq!(stub.asked().len(), 3, "what was complete does not come again");
    assert_eq!(store.told.all(), (300_000, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_knows_no_ranges_sends_all_of_it() {
    let (store, bytes) = (Store::new(), noise(300_000, 4));
    let stub = one_after_the_other(answers![bytes; |a, b| cut(a, b, 100_000), |_, b| Reply::file(b)]).await;
    store.gets(&stub, &bytes).await;
    assert_eq!(ranges(&stub), [None, Some(100_000)]);
    assert_eq!(store.told.all(), (0, 400_000, 100_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changed_meanwhile_comes_anew() {
    let (store, bytes) = (Store::new(), noise(300_000, 5));
    let stub = one_after_the_other(answers![bytes;
        |_, b| Reply::claiming("200 OK", &[("ETag", "\"old\"")], &vec![0; 100_000], b.len()),
        serve,
    ])
    .await;
    store.gets(&stub, &bytes).await;
    assert_eq!(stub.asked()[1].header("if-range"), Some("\"old\""));
    // A weak tag is of no use for that: the digest shows it.
    let store = Store::new();
    let stub = one_after_the_other(answers![bytes;
        |_, b| Reply::claiming("200 OK", &[("ETag", "W/\"old\"")], &vec![0; 100_000], b.len()),
        serve,
    ])
    .await;
    store.gets(&stub, &bytes).await;
    assert_eq!(stub.asked()[1].header("if-range"), None);
    assert_eq!(ranges(&stub), [None, Some(100_000), None]);
    assert_eq!(store.told.all(), (0, 600_000, 300_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_wrong_on_the_disk_come_anew() {
    for there in [100_000, 300_000, 400_000] {
        let (store, bytes) = (Store::new(), noise(300_000, 6));
        std::fs::create_dir(store.folder.path().join("partial")).unwrap();
        std::fs::write(store.folder.path().join("partial").join(sha256(&bytes)), vec![0; there]).unwrap();
        let stub = one_after_the_other(answers![bytes; serve]).await;
        store.gets(&stub, &bytes).await;
        let expected: &[Option<usize>] = if there == 100_000 { &[Some(100_000), None] } else { &[None] };
        assert_eq!(ranges(&stub), expected, "{there}");
        assert_eq!(store.partial(), [300_000]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_the_server_does_not_have_is_asked_for_anew() {
    let (store, bytes) = (Store::new(), noise(300_000, 7));
    let outside = |_: &Asked, _: &[u8]| Reply::new("416 X", &[("Content-Range", "bytes */50000")], b"");
    let stub = one_after_the_other(answers![bytes; |a, b| cut(a, b, 100_000), outside, serve]).await;
    store.gets(&stub, &bytes).await;
    assert_eq!(ranges(&stub), [None, Some(100_000), None]);
    // Once, not for ever.
    let store = Store::new();
    let stub = one_after_the_other(answers![bytes; |a, b| cut(a, b, 1000), outside, |a, b| cut(a, b, 1000), outside]);
    let stub = stub.await;
    store.fails(&stub, &bytes, "has fewer bytes than the 300000 that its list says").await;
    assert_eq!(ranges(&stub), [None, Some(1000), None, Some(1000)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_tried_again() {
    let bad: &[fn(&Asked, &[u8]) -> Reply] = &[
        |_, _| Reply::new("500 X", &[], b"oh"),
        |_, _| Reply::new("503 X", &[("Retry-After", "0")], b""),
        |_, _| Reply(vec![]),
        |_, _| Reply(vec![Step::Hang]),
        |a, b| cut(a, b, 100_000).then(Step::Hang),
        // Ends without a length, and too early.
        |_, b| Reply(vec![Step::Send([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", &b[..100_000]].concat())]),
    ];
    for (at, bad) in bad.iter().enumerate() {
        let (store, bytes) = (Store::new(), noise(300_000, 8));
        let stub = {
            let bytes = bytes.clone();
            let bad = *bad;
            let first = std::sync::atomic::AtomicBool::new(true);
            Stub::new(move |asked| {
                let first = first.swap(false, std::sync::atomic::Ordering::Relaxed);
                if first { bad(asked, &bytes) } else { serve(asked, &bytes) }
            })
            .await
        };
        store.gets(&stub, &bytes).await;
        assert_eq!(store.told.all(), (0, 300_000, 0), "{at}: no byte came twice");
        assert_eq!(stub.asked().len(), 2, "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_count_anew_when_one_of_them_brought_much() {
    let (mut store, bytes) = (Store::new(), noise(300_000, 9));
    let stub = one_after_the_other(answers![bytes; |a, b| cut(a, b, 40_000)]).await;
    store.fails(&stub, &bytes, "did not come in 3 tries").await;
    assert_eq!(store.partial(), [120_000]);
    store.patience.much = 40_000;
    store.gets(&stub, &bytes).await;
    assert_eq!(stub.asked().len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_lead_on_with_the_range() {
    let (store, bytes) = (Store::new(), noise(300_000, 10));
    let there = bytes.clone();
    let stub = Stub::new(move |asked| match asked.path() {
        "/images/file" => Reply::redirect("/elsewhere"),
        _ if from(asked).is_none() => cut(asked, &there, 100_000),
        _ => serve(asked, &there),
    })
    .await;
    store.gets(&stub, &bytes).await;
    assert_eq!(ranges(&stub), [None, None, Some(100_000), Some(100_000)]);
}

/// Servers label compressed files so that browsers unpack them; their lists mean the bytes as they are.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_never_decoded() {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&noise(10_000, 11)).unwrap();
    let bytes = encoder.finish().unwrap();
    for name in ["gzip", "x-gzip", "br", "zstd"] {
        let (store, sent) = (Store::new(), bytes.clone());
        let stub = Stub::new(move |_| Reply::new("200 OK", &[("Content-Encoding", name)], &sent)).await;
        store.gets(&stub, &bytes).await;
    }
}
