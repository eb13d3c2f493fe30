//! Documents come only when they changed.

use headwater::client::{Document, Validators};

use super::kit::*;

const PATH: &str = "streams/v1/index.json";

fn document(etag: &str, text: &str) -> Reply {
    let modified = "Tue, 30 Sep 2025 10:00:00 GMT";
    Reply::new("200 OK", &[("ETag", etag), ("Last-Modified", modified)], text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_did_not_change_does_not_come() {
    let stub = one_after_the_other(vec![
        Box::new(|_: &Asked| document("W/\"a\"", "one")),
        Box::new(|asked: &Asked| {
            assert_eq!(asked.header("if-none-match"), Some("W/\"a\""));
            assert_eq!(asked.header("if-modified-since"), Some("Tue, 30 Sep 2025 10:00:00 GMT"));
            Reply::new("304 Not Modified", &[], b"")
        }),
        Box::new(|_: &Asked| document("\"b\"", "two")),
    ])
    .await;
    let upstream = upstream(&stub);
    let Document::New { bytes, validators } = upstream.document(PATH, &Validators::default()).await.unwrap() else {
        panic!("it is new")
    };
    assert_eq!(bytes, b"one");
    assert_eq!(validators.etag.as_deref(), Some("W/\"a\""));
    let kept = serde_json::to_string(&validators).unwrap();
    let kept: Validators = serde_json::from_str(&kept).unwrap();
    assert_eq!(upstream.document(PATH, &kept).await.unwrap(), Document::Unchanged);
    let Document::New { bytes, validators } = upstream.document(PATH, &kept).await.unwrap() else {
        panic!("it changed")
    };
    assert_eq!((bytes.as_slice(), validators.etag.as_deref()), (b"two".as_slice(), Some("\"b\"")));
    let asked = stub.asked();
    assert_eq!((asked[0].target.as_str(), asked[0].header("if-none-match")), ("/streams/v1/index.json", None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_document_is_refused() {
    type Answer = fn(&Asked) -> Reply;
    let cases: &[(&str, Answer)] = &[
        ("answers 304 Not Modified", |_| Reply::new("304 Not Modified", &[], b"")),
        ("answers 206 Partial Content", |_| Reply::new("206 Partial Content", &[], b"x")),
        ("answers 404 Not Found", |_| Reply::new("404 Not Found", &[], b"")),
        ("answers with more than 262144 bytes", |_| {
            Reply(vec![Step::Send(b"HTTP/1.1 200 OK\r\n\r\n[".to_vec()), Step::Repeat(vec![b'['; 9999])])
        }),
    ];
    for (words, answer) in cases {
        let stub = Stub::new(answer).await;
        let error = upstream(&stub).document(PATH, &Validators::default()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    // What can stand in no header, or is endless, is not kept.
    let long = "x".repeat(10_000);
    let stub = Stub::new(move |_| document(&format!("\"{long}\""), "one")).await;
    let odd = Validators { etag: Some("\"a\nb\"".to_owned()), modified: None };
    let Document::New { validators, .. } = upstream(&stub).document(PATH, &odd).await.unwrap() else { panic!("new") };
    assert_eq!(validators.etag, None);
    assert_eq!(stub.asked()[0].header("if-none-match"), None);
}
