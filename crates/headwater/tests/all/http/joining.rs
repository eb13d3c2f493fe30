//! Joining with a token, as `lxc` and `incus` do it, and making such tokens over the API.

use std::sync::Arc;

use headwater::auth::{Manages, Role, SecretHash};
use headwater::catalog::AuditQuery;
use headwater::http::about::Description;
use headwater::http::tls::{ClientCertificate, Files, Tls};
use headwater::http::{Connection, Settings, State};
use headwater_formats::lxd::{JoinToken, WireTime};
use http::Method;
use serde_json::{Value, json};

use super::kit::{Answer, Server, now};
use super::people::{May, bearer, certificate, shown};

/// A server that knows where it is, with the project `team`.
async fn reachable() -> Server {
    let server = Server::new().await;
    server.make_project("team").await;
    let files = Files::in_data(server.folder.path());
    files.make_if_missing("images", now()).unwrap();
    let description = Description {
        name: "images".into(),
        addresses: vec!["images:8443".into(), "192.0.2.7:8443".into()],
        tls: Some(Arc::new(Tls::load(files, false).unwrap())),
    };
    let state = State::new(server.app.clone(), Settings::default(), now).describing(description);
    Server { state: Arc::new(state), ..server }
}

async fn send(server: &Server, connection: &Connection, headers: &[&str], body: &Value) -> Answer {
    let mut request = http::Request::builder().method(Method::POST).uri("/1.0/certificates");
    for line in headers {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let body = headwater::http::incoming::Incoming::full(body.to_string());
    server.send(connection, request.body(body).unwrap()).await
}

/// An administrator makes a token, over the API.
async fn invite(server: &Server, wishes: Value) -> Value {
    let (secret, _) = server.token("admin", May::everything()).await;
    let mut body = json!({"type": "client", "token": true});
    body.as_object_mut().unwrap().extend(wishes.as_object().unwrap().clone());
    let answer = send(server, &Connection::test_tls(), &[&bearer(&secret)], &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let mut json = answer.json();
    assert_eq!(answer.header("location"), json["operation"].as_str().unwrap());
    json["metadata"].take()
}

/// The word that clients make of the operation.
fn word(operation: &Value) -> JoinToken {
    let metadata = &operation["metadata"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    JoinToken {
        client_name: text(&metadata["request"]["name"]),
        fingerprint: text(&metadata["fingerprint"]),
        addresses: serde_json::from_value(metadata["addresses"].clone()).unwrap(),
        secret: text(&metadata["secret"]),
        expires_at: serde_json::from_value(metadata["expiresAt"].clone()).unwrap(),
    }
}

async fn join(server: &Server, client: &Arc<ClientCertificate>, body: Value) -> Answer {
    send(server, &shown(client), &[], &body).await
}

/// Whether the client is let in where guests are not.
async fn is_trusted(server: &Server, client: &Arc<ClientCertificate>) -> bool {
    let answer = server.ask(&shown(client), Method::GET, "/1.0/certificates", &[]).await;
    match answer.status.as_u16() {
        200 => true,
        _ => {
            answer.is_api_error(403, "not authorized");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_joins_in_its_own_words() {
    let server = reachable().await;
    // The whole word or the bare secret, as lxc sends it and as incus does; incus sends no type.
    let forms: [fn(&JoinToken) -> Value; 4] = [
        |word| json!({"type": "client", "password": word.to_string(), "name": "", "restricted": false, "projects": null}),
        |word| json!({"trust_token": word.to_string(), "type": "client"}),
        |word| json!({"password": word.secret}),
        |word| json!({"trust_token": format!("  {}\n", word.secret), "type": ""}),
    ];
    for (number, form) in forms.into_iter().enumerate() {
        let client = certificate("anna@laptop", (-1, 1));
        let name = format!("client {number}");
        let token = invite(&server, json!({"name": name, "restricted": true, "projects": ["team"]})).await;
        assert!(!is_trusted(&server, &client).await);
        let answer = join(&server, &client, form(&word(&token))).await;
        assert_eq!(answer.status, 201, "{number}: {}", answer.text());
        assert_eq!(answer.header("location"), format!("/1.0/certificates/{}", client.fingerprint));
        assert_eq!(answer.json()["metadata"], Value::Null);
        assert!(is_trusted(&server, &client).await);
        let known = server.app.catalog.identity_by_certificate(&client.fingerprint, now()).await.unwrap().unwrap();
        assert_eq!((known.name, known.administrator), (name, false));
        assert_eq!(known.grants, May::manage("team", Role::Publisher, Manages::All).grants);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_says_all_that_clients_make_of_it() {
    let server = reachable().await;
    let operation = invite(&server, json!({"name": "ci", "description": "Builds", "restricted": false})).await;
    assert_eq!((&operation["class"], &operation["status"]), (&"token".into(), &"Running".into()));
    let metadata = &operation["metadata"];
    assert_eq!(metadata["addresses"], json!(["images:8443", "192.0.2.7:8443"]));
    assert_eq!(metadata["fingerprint"], server.state.about().fingerprint);
    let request = &metadata["request"];
    assert_eq!((&request["name"], &request["restricted"]), (&"ci".into(), &false.into()));
    assert_eq!((&request["projects"], &request["token"]), (&json!([]), &true.into()));
    let word = word(&operation);
    assert_eq!(word.expires_at, WireTime(Some(now().plus_seconds(24 * 3600))));
    assert_eq!(word.to_string().parse(), Ok(word.clone()), "clients take it");

    // `config trust list-tokens`: told again, without the secret.
    let (admin, _) = server.token("admin", May::everything()).await;
    let listed = server.get("/1.0/operations?project=default&recursion=1", &[&bearer(&admin)]).await.json();
    let listed = &listed["metadata"]["running"][0];
    assert_eq!((&listed["id"], &listed["metadata"]["request"]["name"]), (&operation["id"], &"ci".into()));
    assert_ne!(listed["metadata"]["secret"], word.secret.as_str());
    // `revoke-token`
    let address = format!("/1.0/operations/{}", operation["id"].as_str().unwrap());
    let revoked = server.ask(&Connection::test_tls(), Method::DELETE, &address, &[&bearer(&admin)]).await;
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    let client = certificate("late", (-1, 1));
    let answer = join(&server, &client, json!({"trust_token": word.to_string()})).await;
    answer.is_api_error(403, "No matching certificate add operation found");
    assert!(!is_trusted(&server, &client).await);

    let administrator = invite(&server, json!({"name": "ci", "description": "Builds"})).await;
    join(&server, &client, json!({"trust_token": self::word(&administrator).to_string()})).await;
    let known = server.app.catalog.identity_by_certificate(&client.fingerprint, now()).await.unwrap().unwrap();
    assert_eq!((known.administrator, known.description.as_str()), (true, "Builds"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_from_who_joins() {
    let server = reachable().await;
    let client = certificate("anna", (-1, 1));
    let other = certificate("other", (-1, 1));
    let token = invite(&server, json!({"name": "ci", "restricted": true, "projects": ["team"]})).await;
    let body = json!({
        "trust_token": word(&token).to_string(), "name": "root", "type": "client", "restricted": false,
        "certificate": data_encoding::BASE64.encode(&other.der), "projects": ["default"],
    });
    assert_eq!(join(&server, &client, body).await.status, 201);
    let identities = server.app.catalog.identities().await.unwrap();
    let known = identities.iter().find(|identity| identity.certificate.is_some()).unwrap();
    assert_eq!((known.subject.as_str(), known.name.as_str()), (client.fingerprint.as_str(), "ci"));
    assert!(!known.administrator && known.grants.len() == 1);
    assert!(!is_trusted(&server, &other).await, "a certificate in the body proves nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_once_and_in_its_time() {
    let server = reachable().await;
    let [first, second, third] = ["a", "b", "c"].map(|name| certificate(name, (-1, 1)));
    let word = word(&invite(&server, json!({"name": "ci", "restricted": true})).await);
    let proof = json!({"trust_token": word.to_string()});
    // What the client can mend does not use it up.
    let nobody = send(&server, &Connection::test_tls(), &[], &proof).await;
    nobody.is_api_error(400, "No client certificate provided");
    let [early, late] = [(1, 2), (-2, -1)].map(|days| certificate("x", days));
    join(&server, &early, proof.clone()).await.is_api_error(400, "The provided certificate isn't valid yet");
    join(&server, &late, proof.clone()).await.is_api_error(400, "The provided certificate is expired");
    let metrics = json!({"trust_token": word.to_string(), "type": "metrics"});
    join(&server, &first, metrics).await.is_api_error(400, "Invalid certificate type");

    assert_eq!(join(&server, &first, proof.clone()).await.status, 201);
    let again = join(&server, &second, proof).await;
    again.is_api_error(403, "No matching certificate add operation found");
    join(&server, &second, json!({"password": word.secret})).await.is_api_error(403, "not authorized");
    join(&server, &second, json!({"password": "guess"})).await.is_api_error(403, "not authorized");
    join(&server, &second, json!({"type": "client", "password": ""})).await.is_api_error(403, "not authorized");
    let over = JoinToken { expires_at: WireTime(Some(now())), ..word };
    join(&server, &second, json!({"trust_token": over.to_string()})).await.is_api_error(403, "Token has expired");
    let (access, _) = server.token("ci", May::everything()).await;
    let said = join(&server, &third, json!({"trust_token": access.expose()})).await;
    assert_eq!(said.status, 403);
    assert!(said.text().contains("this is an access token"), "{}", said.text());
    for client in [&second, &third, &early, &late] {
        let found = server.app.catalog.identity_by_certificate(&client.fingerprint, now()).await.unwrap();
        assert_eq!(found, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_known_already_gets_what_the_token_adds() {
    let server = reachable().await;
    let client = certificate("anna", (-1, 1));
    let before = server.trust(&client, May::be("default", Role::Viewer)).await;
    let word = word(&invite(&server, json!({"name": "other", "restricted": true, "projects": ["team"]})).await);
    let answer = join(&server, &client, json!({"password": word.to_string(), "type": "client"})).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let known = server.app.catalog.identity_by_certificate(&client.fingerprint, now()).await.unwrap().unwrap();
    assert_eq!((known.id, known.name), (before.id, before.name), "it stays who it is");
    let team = May::manage("team", Role::Publisher, Manages::All).grants;
    assert_eq!(known.grants, [before.grants, team].concat());
    let used = server.app.catalog.take_join_token(&SecretHash::of(&word.secret), now()).await.unwrap();
    assert_eq!(used, None, "the token is used up");
    join(&server, &client, json!({"type": "client"})).await.is_api_error(400, "Client is already trusted");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_expired_may_join_anew() {
    let server = reachable().await;
    let client = certificate("anna", (-1, 1));
    server.trust(&client, May { expires_at: Some(now()), ..May::everything() }).await;
    let word = word(&invite(&server, json!({"name": "anna", "restricted": true})).await);
    assert_eq!(join(&server, &client, json!({"trust_token": word.to_string()})).await.status, 201);
    let known = server.app.catalog.identity_by_certificate(&client.fingerprint, now()).await.unwrap().unwrap();
    assert!(!known.administrator && known.grants.is_empty(), "{known:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_decide_it_invites() {
    let server = reachable().await;
    let body = |restricted: bool, projects: &[&str]| json!({"type": "client", "token": true, "name": "x", "restricted": restricted, "projects": projects});
    let connection = Connection::test_tls();
    let ask = async |may: May, body: Value| {
        let (secret, _) = server.token("who", may).await;
        send(&server, &connection, &[&bearer(&secret)], &body).await
    };
    let admin = || May::be("team", Role::Admin);
    assert_eq!(ask(admin(), body(true, &["team"])).await.status, 202);
    for (may, wanted) in [
        (May::be("team", Role::Publisher), body(true, &["team"])),
        (May::nothing(), body(true, &[])),
        (admin(), body(true, &["team", "default"])),
        (admin(), body(true, &[])),
        (admin(), body(false, &[])),
    ] {
        ask(may, wanted).await.is_api_error(403, "not authorized");
    }
    send(&server, &connection, &[], &body(false, &[])).await.is_api_error(403, "not authorized");
    ask(May::everything(), body(true, &["nowhere"])).await.is_api_error(404, "Project not found");
    ask(May::everything(), body(true, &["a/b"])).await.is_api_error(404, "Project not found");
    let sentence = "projects limit restricted certificates alone; set restricted, or leave the projects out for a \
                    certificate that may do everything";
    ask(May::everything(), body(false, &["team"])).await.is_api_error(400, sentence);
    let nameless = json!({"type": "client", "token": true});
    let sentence = "a token to join with needs a name, which its client will have; send one as name";
    ask(May::everything(), nameless).await.is_api_error(400, sentence);
    let both = json!({"type": "client", "token": true, "name": "x", "certificate": "AAAA"});
    let sentence = "Can't use certificate if token is requested";
    ask(May::everything(), both).await.is_api_error(400, sentence);
    let waiting = server.app.catalog.operations(None).await.unwrap();
    assert_eq!(waiting.len(), 1, "refused wishes leave nothing behind");

    let nowhere = Server::new().await;
    let (secret, _) = nowhere.token("admin", May::everything()).await;
    let answer = send(&nowhere, &connection, &[&bearer(&secret)], &body(false, &[])).await;
    assert!(answer.text().contains("Can't issue token when server isn't listening on network"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_names_who_joined_and_who_invited() {
    let server = reachable().await;
    let client = certificate("anna", (-1, 1));
    let word = word(&invite(&server, json!({"name": "laptop", "restricted": true, "projects": ["team"]})).await);
    join(&server, &client, json!({"trust_token": word.to_string()})).await;
    let lines = server.app.catalog.audit(&AuditQuery::default(), 99).await.unwrap();
    let told: Vec<_> = lines.iter().map(|line| (line.action.as_str(), line.actor_kind.as_str())).collect();
    let expected = [("join-token-created", "token"), ("certificate-created", "guest")];
    assert_eq!(told[told.len() - 2..], expected);
    let last = lines.last().unwrap();
    assert_eq!((last.subject.as_str(), last.address.as_str()), (client.fingerprint.as_str(), "127.0.0.1"));
    assert_eq!((last.detail["name"].as_str(), last.detail["may"].as_str()), ("laptop", "team publisher all"));
    let text = format!("{lines:?}");
    assert!(!text.contains(&word.secret), "secrets are not written down");
}
