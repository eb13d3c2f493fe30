//! Private images that are lent with a secret to daemons that do not know where they are.

use headwater::auth::Role;
use headwater::http::incoming::Incoming;
use http::Method;
use serde_json::json;

use super::kit::{Sample, Server};
use super::people::May;

#[tokio::test]
async fn a_secret_knows_the_project_that_a_launching_daemon_is_not_told() {
    let server = Server::new().await;
    server.make_project("team").await;
    let image = server.publish_in("team", &[Sample::default().unified()], &[], false).await;
    let viewer = server.somebody("viewer", May::be("team", Role::Viewer)).await;
    let lend = format!("/1.0/images/{image}/secret?project=team");
    let token = viewer.send(Method::POST, &lend, &[], Incoming::empty()).await.operation();
    let secret = token["metadata"]["secret"].as_str().unwrap();

    let guest = server.guest();
    let found = guest.get(&format!("/1.0/images/{image}?secret={secret}")).await;
    assert_eq!(found.json()["metadata"]["project"], "team");
    let export = guest.get(&format!("/1.0/images/{image}/export?secret={secret}")).await;
    assert_eq!((export.status.as_u16(), export.body), (200, Sample::default().unified()));

    let named = guest.get(&format!("/1.0/images/{image}?project=default&secret={secret}")).await;
    named.is_api_error(404, "Image not found");
    let wrong = guest.get(&format!("/1.0/images/{image}?secret={}", secret.replace('a', "b"))).await;
    wrong.is_api_error(404, "Image not found");
}

#[tokio::test]
async fn a_property_without_a_value_is_taken_away() {
    let server = Server::new().await;
    let path = format!("/1.0/images/{}", server.publish(&[Sample::default().unified()]).await);
    let publisher = server.publisher().await;
    let put = json!({"public": true, "properties": {"os": "Ours", "colour": ""}});
    publisher.json(Method::PUT, &path, put).await.is_done();
    assert_eq!(publisher.get(&path).await.json()["metadata"]["properties"], json!({"os": "Ours"}));
    let patch = json!({"properties": {"os": "", "size": "small"}});
    publisher.json(Method::PATCH, &path, patch).await.is_done();
    assert_eq!(publisher.get(&path).await.json()["metadata"]["properties"], json!({"size": "small"}));
}
