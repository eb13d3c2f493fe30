//! `/1.0/operations`: who sees which, waiting, cancelling.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater::auth::{Actor, Role, Secret};
use headwater::catalog::{Join, Purpose};
use headwater::http::Connection;
use headwater::operations::{Begun, NewTask, NewToken, Running};
use headwater_formats::names::ProjectName;
use http::Method;
use serde_json::{Map, Value, json};

use super::kit::{Answer, Server};
use super::people::{May, bearer};

fn actor(secret: &Secret) -> Arc<Actor> {
    Arc::new(Actor { subject: secret.prefix().to_owned(), ..Actor::guest(None) })
}

fn task(project: &str) -> NewTask {
    NewTask::new("Downloading image", ProjectName::new(project).unwrap())
}

fn join_token() -> NewToken {
    let join = Join { name: "laptop".into(), description: String::new(), administrator: true, grants: Vec::new() };
    NewToken {
        description: "Joining".into(),
        project: ProjectName::default_project(),
        resources: Default::default(),
        metadata: json!({"request": {"name": "laptop"}}).as_object().unwrap().clone(),
        purpose: Purpose::Join(join),
        expires_at: None,
    }
}

impl Server {
    async fn endless(&self, who: &Secret, task: NewTask) -> Begun {
        let work = |running: Running| async move {
            running.cancelled().cancelled().await;
            Err("stopped".to_owned())
        };
        self.state.operations().run(&actor(who), task, work).await.unwrap()
    }

    async fn done(&self, who: &Secret, task: NewTask) -> Begun {
        self.state.operations().done(&actor(who), task, Ok(Map::new())).await.unwrap()
    }

    async fn call(&self, who: &Secret, method: Method, path: &str) -> Answer {
        self.ask(&Connection::test_tls(), method, path, &[&bearer(who)]).await
    }

    async fn read(&self, who: &Secret, path: &str) -> Value {
        let answer = self.call(who, Method::GET, path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()["metadata"].take()
    }
}

fn address(begun: &Begun) -> String {
    format!("/1.0/operations/{}", begun.id)
}

#[tokio::test]
async fn an_operation_is_shown_as_the_daemons_do() {
    let server = Server::new().await;
    let (ann, _) = server.token("ann", May::everything()).await;
    let image = "ab".repeat(32).parse().unwrap();
    let begun = server.endless(&ann, task("default").on_image(&image)).await;
    assert_eq!(
        server.read(&ann, &address(&begun)).await,
        json!({
            "id": begun.id, "class": "task", "description": "Downloading image",
            "created_at": "2025-10-09T08:53:20Z", "updated_at": "2025-10-09T08:53:20Z",
            "status": "Running", "status_code": 103, "resources": {"images": [format!("/1.0/images/{image}")]},
            "metadata": {}, "may_cancel": true, "err": "", "location": "none",
        })
    );
    server.call(&ann, Method::GET, "/1.0/operations/unknown").await.is_api_error(404, "Operation not found");
}

#[tokio::test]
async fn the_list_is_by_status_and_by_project() {
    let server = Server::new().await;
    server.make_project("team").await;
    let (ann, _) = server.token("ann", May::everything()).await;
    assert_eq!(server.read(&ann, "/1.0/operations").await, json!({}));
    let running = server.endless(&ann, task("default")).await;
    let ended = server.done(&ann, task("team")).await;
    let addresses = json!({"running": [address(&running)]});
    assert_eq!(server.read(&ann, "/1.0/operations").await, addresses);
    assert_eq!(server.read(&ann, "/1.0/operations?project=default").await, addresses);
    assert_eq!(
        server.read(&ann, "/1.0/operations?all-projects=true").await,
        json!({"running": [address(&running)], "success": [address(&ended)]})
    );
    let objects = server.read(&ann, "/1.0/operations?recursion=1&project=team").await;
    assert_eq!(objects, json!({"success": [server.read(&ann, &address(&ended)).await]}));
    server.call(&ann, Method::GET, "/1.0/operations?project=none").await.is_api_error(404, "Project not found");
}

#[tokio::test]
async fn a_waiting_join_token_is_listed_without_its_secret() {
    let server = Server::new().await;
    let (ann, _) = server.token("ann", May::everything()).await;
    let begun = server.state.operations().token(&actor(&ann), join_token()).await.unwrap();
    let listed = server.read(&ann, "/1.0/operations?recursion=1").await;
    let one = &listed["running"][0];
    assert_eq!((&one["class"], &one["status_code"]), (&json!("token"), &json!(103)));
    assert_eq!(
        one["metadata"],
        json!({"request": {"name": "laptop"}, "secret": "shown-only-when-it-was-made"}),
        "clients leave out tokens without a secret"
    );
    let everything = server.call(&ann, Method::GET, &address(&begun)).await;
    assert!(!everything.text().contains(&begun.secret.unwrap()));
}

#[tokio::test]
async fn who_sees_and_who_cancels() {
    let server = Server::new().await;
    server.make_project("team").await;
    let (ann, _) = server.token("ann", May::everything()).await;
    let (viewer, _) = server.token("viewer", May::be("team", Role::Viewer)).await;
    let (admin, _) = server.token("admin", May::be("team", Role::Admin)).await;
    let theirs = server.endless(&ann, task("team")).await;
    let own = server.endless(&viewer, task("team")).await;
    let hidden = server.endless(&ann, task("default")).await;
    let token = server.state.operations().token(&actor(&ann), join_token()).await.unwrap();
    for unseen in [&hidden, &token] {
        let answer = server.call(&viewer, Method::GET, &address(unseen)).await;
        let missing = server.call(&viewer, Method::GET, "/1.0/operations/unknown").await;
        assert_eq!((answer.status, answer.body), (missing.status, missing.body));
        server.call(&viewer, Method::DELETE, &address(unseen)).await.is_api_error(404, "Operation not found");
        let path = format!("{}/wait", address(unseen));
        server.call(&viewer, Method::GET, &path).await.is_api_error(404, "Operation not found");
    }
    let seen = server.read(&viewer, "/1.0/operations?all-projects=true").await;
    assert_eq!(seen["running"].as_array().unwrap().len(), 2, "{seen}");
    server.call(&viewer, Method::DELETE, &address(&theirs)).await.is_api_error(403, "not authorized");
    for (who, begun) in [(&viewer, &own), (&admin, &theirs), (&ann, &hidden), (&ann, &token)] {
        let answer = server.call(who, Method::DELETE, &address(begun)).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["metadata"]), (200, &json!({})));
        let ended = server.read(who, &format!("{}/wait", address(begun))).await;
        assert_eq!((&ended["status"], &ended["status_code"]), (&json!("Cancelled"), &json!(401)));
        server.call(who, Method::DELETE, &address(begun)).await.is_api_error(404, "Operation not found");
    }
    let firm = server.endless(&ann, NewTask { may_cancel: false, ..task("default") }).await;
    let refused = server.call(&ann, Method::DELETE, &address(&firm)).await;
    refused.is_api_error(400, "This operation can't be cancelled");
}

#[tokio::test]
async fn waiting() {
    let server = Server::new().await;
    let (ann, _) = server.token("ann", May::everything()).await;
    let begun = server.endless(&ann, NewTask { with_secret: true, ..task("default") }).await;
    let wait = format!("{}/wait", address(&begun));
    let secret = begun.secret.as_ref().unwrap();
    let before = Instant::now();
    let stands = server.read(&ann, &format!("{wait}?timeout=1")).await;
    assert_eq!(stands["status_code"], 103, "how it stands, when the time is over");
    assert!(before.elapsed() >= Duration::from_secs(1));
    let by_guest = server.metadata(&format!("{wait}?timeout=0&secret={secret}")).await;
    assert_eq!((&by_guest["status_code"], by_guest["metadata"].get("secret")), (&json!(103), None));
    for refused in [wait.clone(), format!("{wait}?secret=wrong"), "/1.0/operations/unknown/wait?secret=wrong".into()] {
        server.get(&refused, &[]).await.is_api_error(403, "not authorized");
    }
    server
        .call(&ann, Method::GET, &format!("{wait}?timeout=soon"))
        .await
        .is_api_error(400, "timeout is a number of seconds, or -1 for as long as it takes; write it like timeout=30");
    let operations = server.state.operations().clone();
    let id = begun.id.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        operations.cancel(&Arc::new(Actor::server()), &id).await
    });
    let ended = server.metadata(&format!("{wait}?timeout=-1&secret={secret}")).await;
    assert_eq!((&ended["status"], &ended["err"]), (&json!("Cancelled"), &json!("stopped")));
}
