//! Pushes to other servers, good and bad.

use http::Method;
use serde_json::{Value, json};

use super::kit::{Asked, Reply, Sample, Split, Step, Stub, sha256};
use super::people::Client;

const OPERATION: &str = "0e35ab0c-1bcd-4e3f-a3a5-7c6f4a0b9d10";

fn operation(status_code: u16, err: &str, fingerprint: &str) -> Value {
    json!({"id": OPERATION, "class": "task", "status_code": status_code, "err": err,
        "metadata": {"secret": "0p", "fingerprint": fingerprint}})
}

fn accepted(operation: &Value) -> Reply {
    let body = json!({"type": "async", "status": "Operation created", "status_code": 100,
        "operation": format!("/1.0/operations/{OPERATION}"), "metadata": operation});
    Reply::new("202 Accepted", &[("Content-Type", "application/json")], body.to_string().as_bytes())
}

/// A daemon that takes an image and says so when it is asked.
fn good(asked: &Asked, fingerprint: &str) -> Reply {
    match (asked.method.as_str(), asked.path()) {
        ("GET", "/1.0") => Reply::sync(&json!({})),
        ("POST", "/1.0/images") => accepted(&operation(103, "", fingerprint)),
        ("GET", _) => Reply::sync(&operation(200, "", fingerprint)),
        _ => Reply::error(404, "not found"),
    }
}

async fn target(answer: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static, fingerprint: &str) -> Stub {
    let fingerprint = fingerprint.to_owned();
    Stub::new(move |asked| answer(asked).unwrap_or_else(|| good(asked, &fingerprint))).await
}

fn to(stub: &Stub, secret: &str) -> Value {
    json!({"target": stub.url(), "certificate": stub.pem, "secret": secret, "project": "p1", "profiles": ["a b"],
        "aliases": [{"name": "x"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn both_families_of_headers_and_the_right_name_for_a_disk() {
    for (image, part) in [(Split::container(), "rootfs"), (Split::machine(), "rootfs.img")] {
        let client = Client::publisher().await;
        client.server.publish_in("default", &[image.metadata.clone(), image.root.clone()], &[], false).await;
        let fingerprint = image.fingerprint();
        let stub = target(|_| None, &fingerprint).await;
        client.succeeds(&format!("/1.0/images/{fingerprint}/export"), &to(&stub, "ab12")).await;
        let lines = stub.lines();
        let wait = format!("GET /1.0/operations/{OPERATION}/wait?project=p1&secret=0p&timeout=-1");
        assert_eq!(lines, ["GET /1.0".to_owned(), "POST /1.0/images?project=p1".to_owned(), wait]);
        let upload = &stub.asked()[1];
        for family in ["x-lxd", "x-incus"] {
            let header = |name: &str| upload.header(&format!("{family}-{name}")).unwrap();
            assert_eq!((header("filename"), header("fingerprint")), (fingerprint.as_str(), fingerprint.as_str()));
            assert_eq!((header("secret"), header("profiles")), ("ab12", "profile=a%20b"));
        }
        assert_eq!(upload.header("content-length").unwrap(), upload.body.len().to_string());
        let boundary = multer::parse_boundary(upload.header("content-type").unwrap()).unwrap();
        let body = upload.body.clone();
        let stream = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from(body))]);
        let mut parts = multer::Multipart::new(stream, boundary);
        for (name, bytes) in [("metadata", &image.metadata), (part, &image.root)] {
            let field = parts.next_field().await.unwrap().unwrap();
            assert_eq!(field.name(), Some(name));
            assert_eq!(&field.bytes().await.unwrap()[..], &bytes[..]);
        }
        assert!(parts.next_field().await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_goes_as_it_is() {
    let client = Client::publisher().await;
    let bytes = Sample::default().unified();
    client.server.publish(std::slice::from_ref(&bytes)).await;
    let hash = sha256(&bytes);
    // One that is done when it answers is not asked again.
    let done = {
        let hash = hash.clone();
        move |asked: &Asked| (asked.method == "POST").then(|| accepted(&operation(200, "", &hash)))
    };
    let stub = target(done, &hash).await;
    client.succeeds(&format!("/1.0/images/{hash}/export"), &to(&stub, "ab12")).await;
    let asked = stub.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].header("content-type"), Some("application/octet-stream"));
    assert_eq!(asked[1].body, bytes);
}

type Bad = fn(&Asked) -> Option<Reply>;

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_does_not_take_it_is_told() {
    let client = Client::publisher().await;
    let large = Split { root: [super::kit::squashfs(1), vec![0; 30 << 20]].concat(), ..Split::container() };
    client.server.publish(&[large.metadata.clone(), large.root.clone()]).await;
    let fingerprint = large.fingerprint();
    let path = format!("/1.0/images/{fingerprint}/export");
    let cases: &[(&str, &str, Bad)] = &[
        ("ab", "answers 403 Forbidden: not authorized", |a| {
            (a.method == "POST").then(|| Reply::error(403, "not authorized"))
        }),
        ("ab", "answers 413 Payload Too Large: it does not say why", |a| {
            (a.method == "POST").then(|| Reply::new("413 Payload Too Large", &[], b"<html>nginx</html>"))
        }),
        ("ab", "did not take the image: Image with same fingerprint already exists", |a| {
            (a.path().ends_with("/wait"))
                .then(|| Reply::sync(&operation(400, "Image with same fingerprint already exists", "")))
        }),
        ("ab", "says that they are another image", |a| {
            a.path().ends_with("/wait").then(|| Reply::sync(&operation(200, "", &"0".repeat(64))))
        }),
        ("ab", "something that is no answer of an image server", |a| {
            (a.path() == "/1.0").then(|| Reply::new("200 OK", &[], b"<html>"))
        }),
        ("deaf", "took nothing more for 0.7 seconds after", |a| (a.method == "POST").then(|| Reply(vec![Step::Hang]))),
        ("deaf", "cannot be asked", |a| (a.method == "POST").then(|| Reply(vec![]))),
        ("ab", "did not answer for 5 seconds after", |a| (a.method == "POST").then(|| Reply(vec![Step::Hang]))),
    ];
    for (secret, words, bad) in cases {
        let stub = target(*bad, &fingerprint).await;
        let operation = client.run(&path, &to(&stub, secret)).await;
        let said = operation["err"].as_str().unwrap();
        assert!(operation["status"] == "Failure" && said.contains(words), "{said:?} does not say {words:?}");
    }
    let (stub, other) = (target(|_| None, "").await, target(|_| None, "").await);
    let mut request = to(&stub, "ab");
    request["certificate"] = other.pem.clone().into();
    let operation = client.run(&path, &request).await;
    assert!(operation["err"].as_str().unwrap().contains("not the one that was given"), "{operation}");
    for (key, value, words) in [
        ("target", "http://127.0.0.1:1", "give one that begins with https://"),
        ("certificate", "x", "no certificate in PEM"),
    ] {
        let mut request = to(&stub, "ab");
        request[key] = value.into();
        let (status, answer) = client.ask(Method::POST, &path, &request).await;
        assert!(status == 400 && answer["error"].as_str().unwrap().contains(words), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_cancelled() {
    let client = Client::publisher().await;
    let large = Split { root: [super::kit::squashfs(1), vec![0; 30 << 20]].concat(), ..Split::container() };
    client.server.publish(&[large.metadata.clone(), large.root.clone()]).await;
    let stub = target(|a| (a.method == "POST").then(|| Reply(vec![Step::Hang])), "").await;
    let id = client.begin(&format!("/1.0/images/{}/export", large.fingerprint()), &to(&stub, "deaf")).await;
    let uploading = async {
        while stub.lines().len() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), uploading).await.expect("the upload begins");
    let (status, _) = client.ask(Method::DELETE, &format!("/1.0/operations/{id}"), &Value::Null).await;
    assert_eq!(status, 200);
    assert_eq!(client.wait(&id).await["status"], "Cancelled");
}
