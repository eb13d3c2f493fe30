//! The list of trusted certificates over the API: who sees what of it, and who changes what.

use std::sync::Arc;

use headwater::auth::{Grant, Manages, Role};
use headwater::http::Connection;
use headwater::http::incoming::Incoming;
use headwater::http::tls::ClientCertificate;
use headwater_formats::lxd::certificate::pem;
use http::Method;
use serde_json::{Value, json};

use super::kit::{Answer, Server, now};
use super::people::{May, certificate, shown};

/// A server with the projects `team` and `other`, an administrator, an admin and a publisher of `team`, and a viewer of both.
struct Crowd {
    server: Server,
    root: Arc<ClientCertificate>,
    admin: Arc<ClientCertificate>,
    publisher: Arc<ClientCertificate>,
    both: Arc<ClientCertificate>,
}

impl Crowd {
    async fn new() -> Self {
        let server = Server::new().await;
        server.make_project("team").await;
        server.make_project("other").await;
        let [root, admin, publisher, both] =
            ["root", "admin", "publisher", "both"].map(|name| certificate(name, (-1, 1)));
        server.trust(&root, May::everything()).await;
        server.trust(&admin, May::be("team", Role::Admin)).await;
        server.trust(&publisher, May::be("team", Role::Publisher)).await;
        let grants = [May::be("team", Role::Viewer).grants, May::be("other", Role::Viewer).grants].concat();
        server.trust(&both, May { grants, ..May::nothing() }).await;
        server.token("token", May::be("team", Role::Viewer)).await;
        Self { server, root, admin, publisher, both }
    }

    async fn get(&self, who: &Arc<ClientCertificate>, path: &str) -> Answer {
        self.server.ask(&shown(who), Method::GET, path, &[]).await
    }

    async fn send(&self, who: &Arc<ClientCertificate>, method: Method, path: &str, body: Value, tag: &str) -> Answer {
        let mut request = http::Request::builder().method(method).uri(path);
        if !tag.is_empty() {
            request = request.header("If-Match", tag);
        }
        self.server.send(&shown(who), request.body(Incoming::full(body.to_string())).unwrap()).await
    }

    async fn put(&self, who: &Arc<ClientCertificate>, whom: &ClientCertificate, body: Value) -> Answer {
        self.send(who, Method::PUT, &address(whom), body, "").await
    }

    async fn grants(&self, whom: &ClientCertificate) -> (bool, Vec<Grant>) {
        let found = self.server.app.catalog.identity_by_certificate(&whom.fingerprint, now()).await.unwrap().unwrap();
        (found.administrator, found.grants)
    }
}

fn address(whom: &ClientCertificate) -> String {
    format!("/1.0/certificates/{}", whom.fingerprint)
}

fn base64(of: &ClientCertificate) -> String {
    data_encoding::BASE64.encode(&of.der)
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_what_is_theirs_to_see() {
    let crowd = Crowd::new().await;
    for (who, sees) in [
        (&crowd.root, vec![&crowd.root, &crowd.admin, &crowd.publisher, &crowd.both]),
        (&crowd.admin, vec![&crowd.admin, &crowd.publisher]),
        (&crowd.publisher, vec![&crowd.publisher]),
        (&crowd.both, vec![&crowd.both]),
    ] {
        let listed: Vec<String> =
            serde_json::from_value(crowd.get(who, "/1.0/certificates").await.json()["metadata"].take()).unwrap();
        let expected = sees.iter().map(|seen| address(seen)).collect();
        assert_eq!(sorted(listed), sorted(expected));
        for whom in [&crowd.root, &crowd.admin, &crowd.publisher, &crowd.both] {
            let answer = crowd.get(who, &address(whom)).await;
            match sees.contains(&whom) {
                true => assert_eq!(answer.status, 200),
                false => answer.is_api_error(404, "Certificate not found"),
            }
        }
    }
    let guest = certificate("guest", (-1, 1));
    crowd.get(&guest, "/1.0/certificates").await.is_api_error(403, "not authorized");
    crowd.get(&guest, &address(&crowd.root)).await.is_api_error(403, "not authorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_shown_as_clients_read_it() {
    let crowd = Crowd::new().await;
    let answer = crowd.get(&crowd.root, &format!("/1.0/certificates/{}", &crowd.both.fingerprint[..12])).await;
    let expected = json!({
        "name": "somebody", "type": "client", "restricted": true, "projects": ["other", "team"],
        "certificate": pem(&base64(&crowd.both)), "fingerprint": crowd.both.fingerprint, "description": "",
    });
    assert_eq!(answer.json()["metadata"], expected);
    assert!(answer.header("etag").starts_with('"') && answer.header("etag").len() == 66);
    let listed = crowd.get(&crowd.root, "/1.0/certificates?recursion=1").await.json()["metadata"].take();
    assert_eq!(listed.as_array().unwrap().len(), 4, "tokens are none");
    assert!(listed.as_array().unwrap().contains(&expected));
    let root = listed.as_array().unwrap().iter().find(|one| one["fingerprint"] == *crowd.root.fingerprint).unwrap();
    assert_eq!((&root["restricted"], &root["projects"]), (&false.into(), &json!([])));
    crowd.get(&crowd.root, "/1.0/certificates/zz").await.is_api_error(404, "Certificate not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_added_in_every_form() {
    let crowd = Crowd::new().await;
    let [one, two, three] = ["anna@laptop", "b", "c"].map(|name| certificate(name, (-1, 1)));
    let add = async |who, body| crowd.send(who, Method::POST, "/1.0/certificates", body, "").await;
    let answer = add(&crowd.root, json!({"type": "client", "certificate": base64(&one)})).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (201, &*address(&one)), "{}", answer.text());
    assert_eq!(crowd.grants(&one).await, (true, vec![]), "unrestricted is everything");
    let named = crowd.get(&crowd.root, &address(&one)).await.json();
    assert_eq!(named["metadata"]["name"], "anna@laptop", "by its common name");
    add(&crowd.root, json!({"certificate": base64(&one)}))
        .await
        .is_api_error(409, "Certificate already in trust store");

    let body = json!({
        "name": "bob", "certificate": pem(&base64(&two)), "restricted": true, "projects": ["team", "team"],
        "description": "Bob's",
    });
    assert_eq!(add(&crowd.admin, body.clone()).await.status, 201);
    let all = vec![Grant { manages: Manages::All, ..May::be("team", Role::Publisher).grants[0].clone() }];
    assert_eq!(crowd.grants(&two).await, (false, all));
    for (who, change) in [
        (&crowd.publisher, json!({})),
        (&crowd.admin, json!({"projects": ["team", "other"]})),
        (&crowd.admin, json!({"projects": []})),
        (&crowd.admin, json!({"restricted": false, "projects": []})),
    ] {
        let mut body = body.clone();
        body["certificate"] = base64(&three).into();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        add(who, body).await.is_api_error(403, "not authorized");
    }
    let none = "this is no certificate; give the client's client.crt, in PEM or as base64 of its DER";
    add(&crowd.root, json!({"certificate": "AAAA"})).await.is_api_error(400, none);
    let over = certificate("over", (-2, -1));
    let refused = add(&crowd.root, json!({"certificate": base64(&over)})).await;
    refused.is_api_error(400, "The provided certificate is expired");
    let refused = add(&crowd.root, json!({"certificate": base64(&three), "type": "server"})).await;
    refused.is_api_error(400, "Invalid certificate type");
    let refused =
        add(&crowd.root, json!({"certificate": base64(&three), "restricted": true, "projects": ["no"]})).await;
    refused.is_api_error(404, "Project not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_change_all_of_it() {
    let crowd = Crowd::new().await;
    let shown = crowd.get(&crowd.root, &address(&crowd.publisher)).await;
    let (tag, mut object) = (shown.header("etag").to_owned(), shown.json()["metadata"].take());
    object["name"] = "Builder".into();
    object["projects"] = json!(["other", "team"]);
    let put = async |tag: &str, body: &Value| {
        crowd.send(&crowd.root, Method::PUT, &address(&crowd.publisher), body.clone(), tag).await
    };
    let stale = put("\"x\"", &object).await;
    stale.is_api_error(412, &format!("ETag doesn't match: \"x\" vs {tag}"));
    let done = put(&tag, &object).await;
    assert_eq!((done.status.as_u16(), &done.json()["metadata"]), (200, &json!({})), "{}", done.text());
    let expected =
        [May::manage("other", Role::Publisher, Manages::All).grants, May::be("team", Role::Publisher).grants];
    assert_eq!(crowd.grants(&crowd.publisher).await, (false, expected.concat()), "the role that it had stays");
    put(&tag, &object).await.is_api_error(412, &{
        let now = crowd.get(&crowd.root, &address(&crowd.publisher)).await;
        format!("ETag doesn't match: {tag} vs {}", now.header("etag"))
    });

    let patch = async |body| crowd.send(&crowd.root, Method::PATCH, &address(&crowd.publisher), body, "").await;
    assert_eq!(patch(json!({"description": "What builds"})).await.status, 200);
    let now = crowd.get(&crowd.root, &address(&crowd.publisher)).await.json()["metadata"].take();
    assert_eq!((&now["name"], &now["description"]), (&"Builder".into(), &"What builds".into()));
    assert_eq!(now["projects"], json!(["other", "team"]));
    patch(json!({"type": "metrics"})).await.is_api_error(400, "The certificate type cannot be changed");
    assert_eq!(patch(json!({"restricted": false, "projects": []})).await.status, 200);
    assert_eq!(crowd.grants(&crowd.publisher).await, (true, vec![]));
    let nameless = crowd.put(&crowd.root, &crowd.publisher, json!({"restricted": true, "projects": ["team"]})).await;
    assert_eq!(nameless.status, 200);
    let now = crowd.get(&crowd.root, &address(&crowd.publisher)).await.json();
    assert_eq!(now["metadata"]["name"], "", "what a PUT leaves out is empty");
    assert_eq!(now["metadata"]["description"], "What builds", "but LXD does not know of descriptions");

    let removed = crowd.send(&crowd.root, Method::DELETE, &address(&crowd.publisher), Value::Null, "").await;
    assert_eq!((removed.status.as_u16(), &removed.json()["metadata"]), (200, &json!({})));
    crowd.get(&crowd.publisher, "/1.0/certificates").await.is_api_error(403, "not authorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_of_a_project_change_what_is_within_it() {
    let crowd = Crowd::new().await;
    let body = |projects: &[&str]| json!({"name": "x", "restricted": true, "projects": projects});
    assert_eq!(crowd.put(&crowd.admin, &crowd.publisher, body(&["team"])).await.status, 200);
    for wanted in [body(&["team", "other"]), body(&[]), json!({"name": "x", "restricted": false})] {
        crowd.put(&crowd.admin, &crowd.publisher, wanted).await.is_api_error(403, "not authorized");
    }
    crowd.put(&crowd.admin, &crowd.both, body(&["team"])).await.is_api_error(404, "Certificate not found");
    crowd.put(&crowd.admin, &crowd.root, body(&["team"])).await.is_api_error(404, "Certificate not found");
    let delete = async |whom| crowd.send(&crowd.admin, Method::DELETE, &address(whom), Value::Null, "").await;
    delete(&crowd.both).await.is_api_error(404, "Certificate not found");
    assert_eq!(delete(&crowd.publisher).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_change_nothing_but_their_certificate() {
    let crowd = Crowd::new().await;
    let object = crowd.get(&crowd.both, &address(&crowd.both)).await.json()["metadata"].take();
    for (key, value) in [
        ("name", json!("root")),
        ("restricted", json!(false)),
        ("projects", json!(["other", "team", "default"])),
        ("projects", json!([])),
        ("description", json!("me")),
    ] {
        let mut body = object.clone();
        body[key] = value;
        if key == "restricted" {
            body["projects"] = json!([]);
        }
        crowd.put(&crowd.both, &crowd.both, body).await.is_api_error(403, "Only the certificate can be changed");
    }
    let fresh = certificate("both", (-1, 1));
    let before = crowd.grants(&crowd.both).await;
    let mut body = object.clone();
    body["certificate"] = pem(&base64(&crowd.root)).into();
    crowd.put(&crowd.both, &crowd.both, body.clone()).await.is_api_error(409, "Certificate already in trust store");
    body["certificate"] = pem(&base64(&fresh)).into();
    assert_eq!(crowd.put(&crowd.both, &crowd.both, body).await.status, 200);
    assert_eq!(crowd.grants(&fresh).await, before);
    crowd.get(&crowd.both, &address(&fresh)).await.is_api_error(403, "not authorized");

    let remove = async |who| crowd.send(who, Method::DELETE, &address(&fresh), Value::Null, "").await;
    remove(&crowd.publisher).await.is_api_error(404, "Certificate not found");
    assert_eq!(remove(&fresh).await.status, 200, "whoever wants to be forgotten is");
    let gone = crowd.server.app.catalog.identity_by_certificate(&fresh.fingerprint, now()).await.unwrap();
    assert_eq!(gone, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_of_several_is_told() {
    let server = Server::new().await;
    let root = certificate("root", (-1, 1));
    server.trust(&root, May::everything()).await;
    // Of seventeen, two begin alike.
    let mut first = std::collections::BTreeMap::from([(root.fingerprint.as_bytes()[0], 1)]);
    for _ in 0..16 {
        let other = certificate("x", (-1, 1));
        server.trust(&other, May::nothing()).await;
        *first.entry(other.fingerprint.as_bytes()[0]).or_insert(0) += 1;
    }
    let (digit, _) = first.into_iter().find(|(_, count)| *count > 1).unwrap();
    let path = format!("/1.0/certificates/{}", char::from(digit));
    let answer = server.ask(&shown(&root), Method::GET, &path, &[]).await;
    answer.is_api_error(400, "More than one certificate matches");
    let answer = server.ask(&Connection::test_tls(), Method::GET, &path, &[]).await;
    answer.is_api_error(403, "not authorized");
}
