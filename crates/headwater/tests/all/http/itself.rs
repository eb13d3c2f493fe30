//! What the server says of itself, and of what it does not have.

use std::sync::Arc;

use headwater::http::about::Description;
use headwater::http::incoming::Incoming;
use headwater::http::tls::{Files, Tls};
use headwater::http::{Connection, Settings, State, handle};
use headwater_formats::names::ProjectName;
use http::Method;
use serde_json::{Value, json};

use super::kit::{Sample, Server, now};
use super::people::{May, bearer, certificate, shown};

#[tokio::test]
async fn trusted_clients_are_told_what_the_server_is() {
    let mut server = Server::new().await;
    let files = Files::in_data(server.folder.path());
    files.make_if_missing("images.example", now()).unwrap();
    let tls = Arc::new(Tls::load(files.clone(), false).unwrap());
    let description = Description {
        name: "images.example".into(),
        addresses: vec!["images.example:8443".into(), "192.0.2.7:8443".into()],
        tls: Some(Arc::clone(&tls)),
    };
    server.state = Arc::new(State::new(server.app.clone(), Settings::default(), now).describing(description));
    let guest = server.metadata("/1.0").await;
    assert_eq!((&guest["auth"], guest.get("environment")), (&"untrusted".into(), None));

    let client = certificate("laptop", (-1, 1));
    server.trust(&client, May::nothing()).await;
    let answer = server.ask(&shown(&client), Method::GET, "/1.0?project=p", &[]).await;
    let told = answer.json()["metadata"].take();
    assert_eq!((&told["auth"], &told["auth_user_method"]), (&"trusted".into(), &"tls".into()));
    assert_eq!(told["auth_user_name"], client.fingerprint.as_str());
    assert_eq!(told["config"], json!({}), "Incus takes nothing but texts here");
    assert_eq!(told["api_extensions"], guest["api_extensions"]);
    let environment = &told["environment"];
    assert_eq!(environment["addresses"], json!(["images.example:8443", "192.0.2.7:8443"]));
    assert_eq!(environment["certificate_fingerprint"], tls.fingerprint().as_str());
    assert_eq!(environment["certificate"], std::fs::read_to_string(&files.certificate).unwrap().replace("\r\n", "\n"));
    assert_eq!((&environment["server"], &environment["server_name"]), (&"headwater".into(), &"images.example".into()));
    assert_eq!((&environment["project"], &environment["server_clustered"]), (&"p".into(), &false.into()));
    assert!(answer.header("etag").starts_with('"'));

    let (secret, identity) = server.token("robot", May::nothing()).await;
    let told = server.get("/1.0", &[&bearer(&secret)]).await.json()["metadata"].take();
    assert_eq!((&told["auth_user_method"], &told["auth_user_name"]), (&"bearer".into(), &identity.subject.into()));

    // A new certificate is told at once.
    let before = tls.fingerprint();
    std::fs::remove_file(&files.certificate).unwrap();
    std::fs::remove_file(&files.key).unwrap();
    files.make_if_missing("images.example", now()).unwrap();
    tls.reload().unwrap();
    assert_ne!(server.state.about().fingerprint, before);
}

#[tokio::test]
async fn settings_are_not_changed_over_the_api() {
    let server = Server::new().await;
    let (secret, _) = server.token("admin", May::everything()).await;
    for method in [Method::PUT, Method::PATCH] {
        let answer = server.ask(&Connection::test_tls(), method, "/1.0", &[&bearer(&secret)]).await;
        answer.is_api_error(
            501,
            "the settings of this server are in its configuration file and cannot be changed over the API; \
             `headwater serve --print-config` shows what there is",
        );
    }
    let (secret, _) = server.token("robot", May::nothing()).await;
    let answer = server.ask(&Connection::test_tls(), Method::PUT, "/1.0", &[&bearer(&secret)]).await;
    answer.is_api_error(403, "not authorized: this is for those who administer the server");
}

#[tokio::test]
async fn what_is_not_here_is_an_empty_list_for_who_is_known() {
    let server = Server::new().await;
    let (secret, _) = server.token("robot", May::nothing()).await;
    let header = bearer(&secret);
    for list in [
        "/1.0/instances?recursion=2&filter=",
        "/1.0/instances",
        "/1.0/containers?recursion=1",
        "/1.0/profiles?recursion=1&project=default",
        "/1.0/networks?recursion=1",
        "/1.0/storage-pools",
        "/1.0/cluster/members",
        "/1.0/warnings?recursion=1",
    ] {
        let answer = server.get(list, &[&header]).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["metadata"]), (200, &json!([])), "{list}");
        server.get(list, &[]).await.is_api_error(403, "not authorized");
    }
    server.get("/1.0/profiles/default", &[&header]).await.is_api_error(404, "Profile not found");
    server.get("/1.0/instances/c1", &[&header]).await.is_api_error(404, "Instance not found");
    let (name, value) = header.split_once(": ").unwrap();
    let request = http::Request::post("/1.0/instances").header(name, value);
    let body = json!({"name": "c1", "source": {"type": "image"}}).to_string();
    let answer = server.send(&Connection::test_tls(), request.body(Incoming::full(body)).unwrap()).await;
    answer.is_api_error(501, "this server keeps images and runs nothing; ask an LXD or Incus server for this");
}

#[tokio::test]
async fn who_downloads_a_private_image_is_written_down() {
    let server = Server::new().await;
    let (open, closed) = (Sample::default().unified(), Sample { serial: "20250102", ..Sample::default() }.unified());
    let public = server.publish(&[open]).await;
    let private = server.publish_in("default", &[closed], &[], false).await;
    let viewer = May::be("default", headwater::auth::Role::Viewer);
    let (secret, identity) = server.token("robot", viewer).await;
    let before = server.app.catalog.last_audit().await.unwrap();
    for fingerprint in [&public, &private] {
        let path = format!("/1.0/images/{fingerprint}/export");
        assert_eq!(server.get(&path, &[&bearer(&secret)]).await.status, 200);
    }
    let hidden = format!("/1.0/images/{private}/export");
    let request = http::Request::get(&hidden).body(Incoming::empty()).unwrap();
    assert_eq!(handle(&server.state, request, &Connection::test_tls()).await.status(), 404);
    server.state.flush_downloads().await;
    let query = headwater::catalog::AuditQuery { after: Some(before), ..Default::default() };
    let [line] = server.app.catalog.audit(&query, 10).await.unwrap().try_into().unwrap();
    assert_eq!((line.action.as_str(), line.subject), ("image-retrieved", private));
    assert_eq!((line.actor_name.as_str(), line.credential), ("robot", identity.subject));
    assert_eq!((line.project, line.address.as_str()), (Some(ProjectName::default_project()), "127.0.0.1"));
    assert_eq!(Value::from(line.at.unix()), now().unix());
}
