//! The same as clients ask for it: requests, operations, cancelling; and two Headwaters with each other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use headwater::auth::{Manages, Role, Secret};
use headwater::http::accept::{self, Limits};
use headwater::http::incoming::Incoming;
use headwater::http::listen;
use headwater::http::tls::{Files, Tls};
use headwater::http::{Connection, Settings, State};
use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::kit::{Reply, Sample, Server, Split, Step, certificate_now, files_below, now, quick, sha256};
use crate::http::people::{May, bearer};

/// A server, and somebody who is known there.
pub(crate) struct Client {
    pub(crate) server: Server,
    pub(crate) secret: Secret,
}

impl Client {
    pub(crate) async fn new(may: May) -> Self {
        Self::with(may, Settings { client: quick(), ..Settings::default() }).await
    }

    pub(crate) async fn with(may: May, settings: Settings) -> Self {
        let Server { folder, app, .. } = Server::new().await;
        let state = Arc::new(State::new(app.clone(), settings, now));
        let server = Server { folder, app, state };
        let (secret, _) = server.token("ann", may).await;
        Self { server, secret }
    }

    pub(crate) async fn publisher() -> Self {
        Self::new(May::manage("default", Role::Publisher, Manages::Own)).await
    }

    /// Status, and the whole answer.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let (name, value) = bearer(&self.secret).split_once(": ").map(|(n, v)| (n.to_owned(), v.to_owned())).unwrap();
        let request = http::Request::builder().method(method).uri(path).header(name, value);
        let request =
            request.header("Content-Type", "application/json").body(Incoming::full(body.to_string())).unwrap();
        let answer = self.server.send(&Connection::test_tls(), request).await;
        (answer.status.as_u16(), answer.json())
    }

    /// Begins an operation; its id.
    #[track_caller]
    pub(crate) fn begin(&self, path: &str, body: &Value) -> impl Future<Output = String> {
        let place = std::panic::Location::caller();
        async move {
            let (status, answer) = self.ask(Method::POST, path, body).await;
            assert_eq!(status, 202, "{place}: {answer}");
            answer["metadata"]["id"].as_str().unwrap().to_owned()
        }
    }

    /// The operation when it has ended.
    pub(crate) async fn wait(&self, id: &str) -> Value {
        let path = format!("/1.0/operations/{id}/wait?timeout=20");
        let (status, answer) = self.ask(Method::GET, &path, &Value::Null).await;
        assert_eq!(status, 200, "{answer}");
        assert!(answer["metadata"]["status_code"].as_u64().unwrap() >= 200, "{answer}");
        answer["metadata"].clone()
    }

    pub(crate) async fn run(&self, path: &str, body: &Value) -> Value {
        let id = self.begin(path, body).await;
        self.wait(&id).await
    }

    /// Its operation succeeds; its metadata.
    #[track_caller]
    pub(crate) fn succeeds(&self, path: &str, body: &Value) -> impl Future<Output = Value> {
        let place = std::panic::Location::caller();
        async move {
            let operation = self.run(path, body).await;
            assert_eq!(operation["status"], "Success", "{place}: {operation}");
            operation["metadata"].clone()
        }
    }

    pub(crate) async fn image(&self, fingerprint: &str) -> Value {
        let (status, answer) = self.ask(Method::GET, &format!("/1.0/images/{fingerprint}"), &Value::Null).await;
        assert_eq!(status, 200, "{answer}");
        answer["metadata"].clone()
    }

    pub(crate) fn files(&self) -> Vec<String> {
        files_below(&self.server.folder.path().join("blobs"))
    }

    /// Also on a socket, until what comes back is dropped.
    pub(crate) async fn listen(&self) -> Listening {
        let files = Files::in_data(self.server.folder.path());
        files.make_if_missing("images.example", certificate_now()).unwrap();
        let tls = Arc::new(Tls::load(files.clone(), false).unwrap());
        let listeners = listen::listen(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let ending = CancellationToken::new();
        let running = accept::run(listeners, Arc::clone(&self.server.state), tls, Limits::default(), ending.clone());
        tokio::spawn(running);
        let pem = std::fs::read_to_string(&files.certificate).unwrap();
        Listening { address, pem, ending }
    }
}

pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    pub(crate) pem: String,
    ending: CancellationToken,
}

impl Listening {
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

pub(crate) fn pull(server: &str, pem: &str, protocol: &str, name: &str) -> Value {
    json!({"source": {"type": "image", "mode": "pull", "server": server, "protocol": protocol, "certificate": pem,
        "fingerprint": name}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_has_an_image_fetched() {
    let (client, image) = (Client::publisher().await, Split::container());
    let stub = image.daemon().await;
    let mut request = pull(&stub.url(), &stub.pem, "lxd", "debian/12");
    request["aliases"] = json!([{"name": "mine", "description": "d"}]);
    request["auto_update"] = true.into();
    request["properties"] = json!({"note": "mine"});
    let id = client.begin("/1.0/images", &request).await;
    let operation = client.wait(&id).await;
    assert_eq!((&operation["status"], &operation["description"]), (&"Success".into(), &"Downloading image".into()));
    let metadata = &operation["metadata"];
    assert_eq!(metadata["fingerprint"], image.fingerprint());
    assert_eq!(metadata["size"], image.size().to_string(), "a text");
    assert_eq!(operation["resources"]["images"], json!([format!("/1.0/images/{}", image.fingerprint())]));
    let listed = client.image(&image.fingerprint()).await;
    assert_eq!((&listed["public"], &listed["auto_update"]), (&false.into(), &true.into()));
    assert_eq!(listed["properties"]["note"], "mine");
    assert!(listed["aliases"].as_array().unwrap().contains(&json!({"name": "mine", "description": "d"})), "{listed}");
    assert_eq!(listed["update_source"]["server"], stub.url());
    // A publisher of their own images may go on with it.
    let (status, answer) =
        client.ask(Method::DELETE, &format!("/1.0/images/{}", image.fingerprint()), &Value::Null).await;
    assert_eq!(status, 202, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_and_what_cannot_be_fetched_is_told_at_once() {
    let image = Split::container();
    let stub = image.daemon().await;
    let request = pull(&stub.url(), &stub.pem, "lxd", "debian/12");
    for may in [May::nothing(), May::be("default", Role::Viewer)] {
        let client = Client::new(may).await;
        let (status, answer) = client.ask(Method::POST, "/1.0/images", &request).await;
        assert_eq!(status, 403);
        assert!(answer["error"].as_str().unwrap().starts_with("not authorized"), "{answer}");
    }
    let closed = Settings { connect: false, client: quick(), ..Settings::default() };
    let client = Client::with(May::be("default", Role::Publisher), closed).await;
    let (status, answer) = client.ask(Method::POST, "/1.0/images", &request).await;
    let words =
        "this server is set up to connect to no other server; copy with --mode relay, or push from the other side";
    assert_eq!((status, &answer["error"]), (403, &words.into()));
    assert_eq!(stub.handshakes(), 0, "nobody was asked");

    let client = Client::publisher().await;
    let cases = [
        (pull(&stub.url(), "", "ftp", "x"), "Unsupported protocol: ftp"),
        (pull(&stub.url(), "", "oci", "x"), "images of OCI registries"),
        (pull("http://127.0.0.1:1", "", "lxd", "x"), "give one that begins with https://"),
        (pull(&stub.url(), "nonsense", "lxd", "x"), "no certificate in PEM"),
        (pull(&stub.url(), "", "lxd", ""), "neither an alias nor a fingerprint"),
        (json!({"source": {"type": "url", "url": "x"}}), "give one that begins with https://"),
    ];
    for (request, words) in cases {
        let (status, answer) = client.ask(Method::POST, "/1.0/images", &request).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(words), "{answer}");
    }
    // What only shows on the way is told by the operation.
    let operation = client.run("/1.0/images", &pull(&stub.url(), &stub.pem, "lxd", "missing")).await;
    assert_eq!(operation["status"], "Failure");
    assert!(operation["err"].as_str().unwrap().starts_with("Image not found: https://127.0.0.1"), "{operation}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_followed_and_cancelled() {
    let (client, image) = (Client::publisher().await, Split::container());
    let stub = image
        .but({
            let image = image.clone();
            move |asked| {
                asked.path().ends_with("/export").then(|| {
                    let Step::Send(whole) = image.export().0.remove(0) else { panic!("an export is sent") };
                    Reply(vec![Step::Send(whole[..whole.len() - 2000].to_vec()), Step::Hang])
                })
            }
        })
        .await;
    let id = client.begin("/1.0/images", &pull(&stub.url(), &stub.pem, "incus", "debian/12")).await;
    let path = format!("/1.0/operations/{id}");
    let progress = async {
        loop {
            let (_, answer) = client.ask(Method::GET, &path, &Value::Null).await;
            if let Some(text) = answer["metadata"]["metadata"]["download_progress"].as_str() {
                break text.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(5), progress).await.expect("it is told how far it is");
    assert!(text.starts_with("metadata: ") || text.starts_with("rootfs: "), "{text}");
    assert!(text.ends_with("/s)"), "{text}");
    let (status, answer) = client.ask(Method::DELETE, &path, &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    let operation = client.wait(&id).await;
    assert_eq!(operation["status"], "Cancelled", "{operation}");
    assert_eq!(client.files(), Vec::<String>::new());
    let (_, answer) = client.ask(Method::GET, "/1.0/images", &Value::Null).await;
    assert_eq!(answer["metadata"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_headwaters_copy_to_each_other() {
    let there = Client::publisher().await;
    let listening = there.listen().await;
    let image = Split::container();
    let files = [image.metadata.clone(), image.root.clone()];
    there.server.publish_in("default", &files, &["stable"], true).await;
    let machine = Split::machine();
    there.server.publish_in("default", &[machine.metadata.clone(), machine.root.clone()], &["secret-one"], false).await;

    // A public image by its alias, in either protocol.
    for (protocol, name) in [("lxd", "stable"), ("incus", "debian/bookworm"), ("simplestreams", "debian/bookworm")] {
        let here = Client::publisher().await;
        let metadata = here.succeeds("/1.0/images", &pull(&listening.url(), &listening.pem, protocol, name)).await;
        assert_eq!(metadata["fingerprint"], image.fingerprint(), "{protocol}");
        assert_eq!(here.image(&image.fingerprint()).await["update_source"]["alias"], name);
        assert_eq!(here.files().len(), 2);
    }

    // A private one needs its secret.
    let here = Client::publisher().await;
    let fingerprint = machine.fingerprint();
    let mut request = pull(&listening.url(), &listening.pem, "lxd", &fingerprint);
    let operation = here.run("/1.0/images", &request).await;
    assert!(operation["err"].as_str().unwrap().starts_with("Image not found"), "{operation}");
    let (_, answer) = there.ask(Method::POST, &format!("/1.0/images/{fingerprint}/secret"), &Value::Null).await;
    request["source"]["secret"] = answer["metadata"]["metadata"]["secret"].clone();
    here.succeeds("/1.0/images", &request).await;
    assert_eq!(here.image(&fingerprint).await["type"], "virtual-machine");

    // And the other way: whoever wants it pushed agrees with the target first.
    let here = Client::publisher().await;
    let agreed = json!({"public": true, "properties": {"os": "tiny"}, "aliases": [{"name": "pushed"}],
        "source": {"mode": "push", "fingerprint": fingerprint}});
    let (status, answer) = here.ask(Method::POST, "/1.0/images", &agreed).await;
    assert_eq!(status, 202, "{answer}");
    let secret = answer["metadata"]["metadata"]["secret"].clone();
    let target = here.listen().await;
    let request = json!({"target": target.url(), "certificate": target.pem, "secret": secret, "project": "default"});
    there.succeeds(&format!("/1.0/images/{fingerprint}/export"), &request).await;
    let pushed = here.image(&fingerprint).await;
    assert_eq!((&pushed["type"], &pushed["public"]), (&"virtual-machine".into(), &true.into()));
    assert_eq!(pushed["properties"]["os"], "tiny");
    // Its secret is used up.
    let operation = there.run(&format!("/1.0/images/{fingerprint}/export"), &request).await;
    assert!(operation["err"].as_str().unwrap().contains("not authorized"), "{operation}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_names_an_image_is_imported() {
    let client = Client::publisher().await;
    let bytes = Sample::default().unified();
    let hash = sha256(&bytes);
    let stub = super::kit::Stub::new(move |asked| match asked.method.as_str() {
        "HEAD" => Reply::new("200 OK", &[("Incus-Image-Hash", &sha256(&bytes)), ("Incus-Image-URL", "/one.tar")], b""),
        _ => Reply::file(&bytes),
    })
    .await;
    let url = format!("{}/latest", stub.url());
    let request = json!({"public": true, "filename": "named.tar",
        "source": {"type": "url", "mode": "pull", "protocol": "direct", "url": url, "certificate": stub.pem}});
    let metadata = client.succeeds("/1.0/images", &request).await;
    assert_eq!(metadata["fingerprint"], hash);
    let listed = client.image(&hash).await;
    assert_eq!((&listed["filename"], &listed["public"]), (&"named.tar".into(), &true.into()));
    let request = json!({"source": {"type": "image", "protocol": "direct", "server": format!("{}/x", stub.url()),
        "fingerprint": "0".repeat(64), "certificate": stub.pem}});
    let operation = client.run("/1.0/images", &request).await;
    assert!(operation["err"].as_str().unwrap().contains("fingerprint"), "{operation}");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_image_is_not_changed_by_fetching_it_again() {
    let (client, image) = (Client::publisher().await, Split::container());
    client.server.publish(&[image.metadata.clone(), image.root.clone()]).await;
    let stub = image.daemon().await;
    let mut request = pull(&stub.url(), &stub.pem, "lxd", "debian/12");
    request["properties"] = json!({"note": "mine"});
    client.succeeds("/1.0/images", &request).await;
    let listed = client.image(&image.fingerprint()).await;
    assert_eq!((&listed["public"], &listed["properties"]["note"]), (&true.into(), &Value::Null));
    assert!(listed.get("update_source").is_none(), "{listed}");
}
