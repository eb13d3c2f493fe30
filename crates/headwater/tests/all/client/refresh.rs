//! Images that follow their source.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use headwater::auth::{Manages, Role};
use headwater::catalog::AuditQuery;
use headwater::fetch::Round;
use headwater_formats::timestamp::Timestamp;
use http::Method;
use serde_json::{Value, json};

use super::kit::{Split, Stub, now, squashfs};
use super::people::{Client, pull};
use crate::http::people::May;

/// A daemon whose image is another one from time to time.
async fn changing(image: &Split) -> (Stub, Arc<Mutex<Split>>) {
    let current = Arc::new(Mutex::new(image.clone()));
    let shared = Arc::clone(&current);
    let stub = Stub::new(move |asked| shared.lock().unwrap().answer(asked)).await;
    (stub, current)
}

fn next(image: &Split) -> Split {
    Split { root: squashfs(8), ..image.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_takes_the_place_of_the_one_before() {
    let (client, old) = (Client::publisher().await, Split::container());
    let (stub, current) = changing(&old).await;
    let mut request = pull(&stub.url(), &stub.pem, "lxd", "debian/12");
    request["aliases"] = json!([{"name": "mine", "description": "d"}]);
    request["public"] = true.into();
    request["profiles"] = json!(["p"]);
    client.succeeds("/1.0/images", &request).await;
    let path = |image: &Split| format!("/1.0/images/{}/refresh", image.fingerprint());
    let metadata = client.succeeds(&path(&old), &Value::Null).await;
    assert_eq!(metadata["refreshed"], false, "lxc takes nothing but a truth value");

    let new = next(&old);
    *current.lock().unwrap() = new.clone();
    let metadata = client.succeeds(&path(&old), &Value::Null).await;
    assert_eq!(metadata["refreshed"], true);
    let listed = client.image(&new.fingerprint()).await;
    assert_eq!((&listed["public"], &listed["profiles"]), (&true.into(), &json!(["p"])));
    assert_eq!(listed["update_source"]["alias"], "debian/12");
    assert!(listed["aliases"].as_array().unwrap().contains(&json!({"name": "mine", "description": "d"})), "{listed}");
    let (status, answer) = client.ask(Method::GET, &format!("/1.0/images/{}", old.fingerprint()), &Value::Null).await;
    assert_eq!((status, &answer["error"]), (404, &"Image not found".into()));
    // Who published the one may go on with the other.
    let metadata = client.succeeds(&path(&new), &Value::Null).await;
    assert_eq!(metadata["refreshed"], false);
    let audit = client.server.app.catalog.audit(&AuditQuery::default(), 100).await.unwrap();
    let line = audit.iter().find(|line| line.action == "image-refreshed").unwrap();
    assert_eq!((line.subject.clone(), line.actor_name.clone()), (new.fingerprint(), "ann".to_owned()));
    assert_eq!(line.detail["replaces"], old.fingerprint());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_source_and_a_source_without_image_are_told() {
    let (client, image) =
        (Client::new(May::manage("default", Role::Publisher, Manages::All)).await, Split::container());
    client.server.publish(&[image.metadata.clone(), image.root.clone()]).await;
    let path = format!("/1.0/images/{}/refresh", image.fingerprint());
    let operation = client.run(&path, &Value::Null).await;
    assert_eq!((&operation["status"], &operation["err"]), (&"Failure".into(), &"Image source not found".into()));
    let (status, answer) =
        client.ask(Method::POST, &format!("/1.0/images/{}/refresh", "0".repeat(64)), &Value::Null).await;
    assert_eq!((status, &answer["error"]), (404, &"Image not found".into()));

    // The image is not there any more: what is here stays.
    let (stub, current) = changing(&next(&image)).await;
    client.succeeds("/1.0/images", &pull(&stub.url(), &stub.pem, "lxd", "debian/12")).await;
    let fingerprint = current.lock().unwrap().fingerprint();
    drop(stub);
    let operation = client.run(&format!("/1.0/images/{fingerprint}/refresh"), &Value::Null).await;
    assert!(operation["err"].as_str().unwrap().contains("cannot be asked"), "{operation}");
    client.image(&fingerprint).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_looks_by_itself_and_not_too_often() {
    static HOUR: AtomicUsize = AtomicUsize::new(0);
    fn clock() -> Timestamp {
        now().plus_seconds(3600 * i64::try_from(HOUR.load(Ordering::Relaxed)).unwrap())
    }
    let (client, old) = (Client::publisher().await, Split::container());
    let (stub, current) = changing(&old).await;
    let (dead, other) = changing(&Split { root: squashfs(9), ..old.clone() }).await;
    for (server, follows) in [(&stub, true), (&dead, true)] {
        let mut request = pull(&server.url(), &server.pem, "lxd", "debian/12");
        request["auto_update"] = follows.into();
        client.succeeds("/1.0/images", &request).await;
    }
    drop(dead);
    drop(other);
    let fetcher = client.server.state.fetcher();
    let round = fetcher.refresh_all(6, clock).await.unwrap();
    assert_eq!(round, Some(Round { refreshed: 0, current: 1, failed: 1 }));
    *current.lock().unwrap() = next(&old);
    HOUR.store(5, Ordering::Relaxed);
    assert_eq!(fetcher.refresh_all(6, clock).await.unwrap(), None, "too soon");
    HOUR.store(6, Ordering::Relaxed);
    let round = fetcher.refresh_all(6, clock).await.unwrap();
    assert_eq!(round, Some(Round { refreshed: 1, current: 0, failed: 1 }));
    client.image(&next(&old).fingerprint()).await;
    // One that was told to stay stays.
    let stays = json!({"auto_update": false});
    let (status, _) = client.ask(Method::PATCH, &format!("/1.0/images/{}", next(&old).fingerprint()), &stays).await;
    assert_eq!(status, 200);
    HOUR.store(12, Ordering::Relaxed);
    *current.lock().unwrap() = old;
    let round = fetcher.refresh_all(6, clock).await.unwrap();
    assert_eq!(round, Some(Round { refreshed: 0, current: 0, failed: 1 }));
    let audit = client.server.app.catalog.audit(&AuditQuery::default(), 100).await.unwrap();
    let line = audit.iter().find(|line| line.action == "image-refreshed").unwrap();
    assert_eq!(line.actor_kind, "server");
}
