//! What is refused at once, in which words, and what is left of it.

use std::time::{Duration, Instant};

use headwater::mirror::TransferError;

use super::kit::*;

type Bad = fn(&Asked, &[u8]) -> Reply;

fn part(range: &str, bytes: &[u8]) -> Reply {
    Reply::new("206 Partial Content", &[("Content-Range", range)], bytes)
}

/// There are 1,000 bytes of 3,000 when these are asked.
const BAD_PARTS: &[(&str, Bad)] = &[
    ("sends the bytes from 0 to 2999 of a file of 3000, where those from 1000 on were asked for", |_, b| {
        part("bytes 0-2999/3000", b)
    }),
    ("sends the bytes from 1001 to 2999", |_, b| part("bytes 1001-2999/3000", &b[1001..])),
    ("sends the bytes from 1000 to 3000", |_, b| part("bytes 1000-3000/*", b)),
    ("has a file of 3001 bytes, where its list says 3000", |_, b| part("bytes 1000-2999/3001", &b[1000..])),
    ("sends a part of a file and does not say which", |_, b| part("bytes */3000", &b[1000..])),
    ("sends a part of a file and does not say which", |_, b| Reply::new("206 Partial Content", &[], &b[1000..])),
    ("has 1999 bytes for \"images/file\", where 2000 belong", |_, b| part("bytes 1000-2999/3000", &b[1001..])),
    ("has 2999 bytes for \"images/file\", where 3000 belong", |_, b| Reply::file(&b[1..])),
    ("sends more than the 3000 bytes", |_, _| {
        let head = b"HTTP/1.1 206 X\r\nContent-Range: bytes 1000-2999/3000\r\n\r\n".to_vec();
        Reply(vec![Step::Send(head), Step::Repeat(vec![7; 999])])
    }),
    ("answers 404 Not Found", |_, _| Reply::new("404 Not Found", &[], b"")),
    ("answers 403 Forbidden", |_, _| Reply::new("403 Forbidden", &[], b"")),
    ("answers 204 No Content", |_, _| Reply::new("204 No Content", &[], b"")),
    ("sends to an address that is not https", |_, _| Reply::redirect("http://127.0.0.1/")),
    ("as if in a circle", |_, _| Reply::redirect("/images/file")),
];

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_are_none_are_refused_at_once() {
    for (words, bad) in BAD_PARTS {
        let (store, bytes) = (Store::new(), noise(3000, 1));
        let bad_bytes = bytes.clone();
        let stub = Stub::new(move |asked| match from(asked) {
            None if asked.header("if-range").is_none() => cut(asked, &bad_bytes, 1000),
            _ => bad(asked, &bad_bytes),
        })
        .await;
        let error = store.fails(&stub, &bytes, words).await;
        assert!(matches!(error, TransferError::Client { .. }), "{error:?}");
        assert!(error.to_string().starts_with("\"images/file\" cannot be fetched: https://127.0.0.1:"), "{error}");
        assert!(
            stub.asked()[2..].iter().all(|asked| words.contains("circle") && from(asked).is_some()),
            "tried again: {words}"
        );
        assert_eq!(store.staged(), Vec::<u64>::new(), "{words}");
        let kept = store.partial();
        assert!(kept == [1000] || words.contains("more than") && kept[0] <= 3000, "{words}: {kept:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_others_leave_nothing() {
    let bytes = noise(3000, 2);
    let cases: &[(&str, Bad)] = &[
        ("whose SHA-256 is", |_, b| Reply::file(&[&b[1..], b"x"].concat())),
        ("has 2000 bytes for", |_, b| Reply::file(&b[1000..])),
        ("has 3001 bytes for", |_, b| Reply::file(&[b, b"x"].concat())),
        ("sends a part of a file that was asked for as a whole", |_, b| part("bytes 0-2999/3000", b)),
        ("answers 416", |_, _| Reply::new("416 X", &[("Content-Range", "bytes */0")], b"")),
    ];
    for (words, bad) in cases {
        let store = Store::new();
        let sent = bytes.clone();
        let stub = Stub::new(move |asked| bad(asked, &sent)).await;
        store.fails(&stub, &bytes, words).await;
        assert_eq!(stub.asked().len(), 1, "{words}");
        assert_eq!((store.partial(), store.staged()), (vec![], vec![]), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_that_do_not_fit_together_come_anew_once() {
    let (store, bytes) = (Store::new(), noise(3000, 3));
    let lie = |asked: &Asked, b: &[u8]| cut(asked, &vec![7; b.len()], 1000);
    let stub = one_after_the_other(answers![bytes; lie, serve, serve]).await;
    store.gets(&stub, &bytes).await;
    assert_eq!(ranges(&stub), [None, Some(1000), None]);

    let store = Store::new();
    let stub = one_after_the_other(answers![bytes; lie, serve, lie, serve]).await;
    let error = store.fails(&stub, &bytes, "where its list says").await;
    assert!(error.to_string().contains(", also when it was fetched anew; nothing was kept"), "{error}");
    assert_eq!(ranges(&stub), [None, Some(1000), None, Some(1000)]);
    assert_eq!(store.partial(), Vec::<u64>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_that_does_not_pass_is_told_after_some_tries() {
    let bytes = noise(3000, 4);
    let cases: &[(&str, Bad)] = &[
        ("answers 500 Internal Server Error: it does not say why", |_, _| Reply::new("500 X", &[], b"oh")),
        ("answers 429 Too Many Requests", |_, _| Reply::new("429 X", &[("Retry-After", "soon")], b"")),
        ("cannot be asked", |_, _| Reply(vec![])),
        ("took the request and sent no answer for 0.7 seconds", |_, _| Reply(vec![Step::Hang])),
        ("did not come in 3 tries: https://127.0.0.1:", |a, b| cut(a, b, 0).then(Step::Hang)),
    ];
    for (words, bad) in cases {
        let store = Store::new();
        let sent = bytes.clone();
        let stub = Stub::new(move |asked| bad(asked, &sent)).await;
        store.fails(&stub, &bytes, words).await;
        assert_eq!(stub.asked().len(), 3, "{words}");
        assert_eq!(store.partial(), Vec::<u64>::new(), "{words}: a file without bytes is left");
    }
    // Nobody listens there.
    let store = Store::new();
    let stub = Stub::new(|_| Reply(vec![])).await;
    let transfers = store.transfers(&stub);
    drop(stub);
    tokio::task::yield_now().await;
    let error = store.with(&transfers, &bytes, None).await.unwrap_err();
    assert!(error.to_string().contains("cannot be asked"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_says_how_long_it_wants_to_be_left_alone() {
    let (store, bytes) = (Store::new(), noise(3000, 5));
    let stub =
        one_after_the_other(answers![bytes; |_, _| Reply::new("429 X", &[("Retry-After", "1")], b""), serve]).await;
    let began = Instant::now();
    store.gets(&stub, &bytes).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    let store = Store::new();
    let stub =
        one_after_the_other(answers![bytes; |_, _| Reply::new("429 X", &[("Retry-After", "3600")], b""), serve]).await;
    let began = Instant::now();
    store.fails(&stub, &bytes, "answers 429 Too Many Requests").await;
    assert!(began.elapsed() < Duration::from_secs(1), "nobody waits for an hour");
    assert_eq!(stub.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_believed_is_not_asked_again() {
    let (store, bytes) = (Store::new(), noise(3000, 6));
    let (mut mistaken, other) = (Stub::new(|_| Reply(vec![])).await, Stub::new(|_| Reply(vec![])).await);
    mistaken.pem.clone_from(&other.pem);
    let began = Instant::now();
    store.fails(&mistaken, &bytes, "the server's certificate is not the one that was given").await;
    assert_eq!((mistaken.handshakes(), mistaken.asked().len()), (0, 0));
    assert!(began.elapsed() < Duration::from_secs(5));
}
