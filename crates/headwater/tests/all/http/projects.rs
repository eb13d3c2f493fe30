//! `/1.0/projects`: administrators make, change, rename and delete them; others see their own.

use headwater::auth::{Grant, Manages, Role};
use headwater::http::Connection;
use headwater::http::incoming::Incoming;
use headwater_formats::names::ProjectName;
use http::Method;
use serde_json::{Value, json};

use super::kit::{Answer, Sample, Server};
use super::people::{May, bearer};

/// Somebody with a token.
struct Person {
    header: String,
}

impl Person {
    async fn new(server: &Server, may: May) -> Self {
        Self { header: bearer(&server.token("somebody", may).await.0) }
    }

    async fn send(&self, server: &Server, method: Method, path: &str, body: Value) -> Answer {
        self.send_if(server, method, path, body, None).await
    }

    async fn send_if(&self, server: &Server, method: Method, path: &str, body: Value, tag: Option<&str>) -> Answer {
        let (name, value) = self.header.split_once(": ").unwrap();
        let mut request = http::Request::builder().method(method).uri(path).header(name, value);
        if let Some(tag) = tag {
            request = request.header("If-Match", tag);
        }
        server.send(&Connection::test_tls(), request.body(Incoming::full(body.to_string())).unwrap()).await
    }

    async fn get(&self, server: &Server, path: &str) -> Value {
        let answer = server.get(path, &[&self.header]).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()["metadata"].take()
    }
}

fn config() -> Value {
    json!({
        "features.images": "true", "features.networks": "true", "features.networks.zones": "true",
        "features.profiles": "true", "features.storage.buckets": "true", "features.storage.volumes": "true",
    })
}

#[tokio::test]
async fn administrators_make_change_rename_and_delete_projects() {
    let server = Server::new().await;
    let admin = Person::new(&server, May::everything()).await;
    let answer = admin
        .send(&server, Method::POST, "/1.0/projects", json!({"name": "p", "description": "ours", "config": null}))
        .await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (201, "/1.0/projects/p"));
    assert_eq!(admin.get(&server, "/1.0/projects").await, json!(["/1.0/projects/default", "/1.0/projects/p"]));
    admin
        .send(&server, Method::POST, "/1.0/projects", json!({"name": "p"}))
        .await
        .is_api_error(409, "A project named \"p\" already exists");

    let image = server.publish_in("p", &[Sample::default().unified()], &[], false).await;
    let project = json!({
        "name": "p", "description": "ours", "config": config(),
        "used_by": [format!("/1.0/images/{image}?project=p")],
    });
    assert_eq!(admin.get(&server, "/1.0/projects/p").await, project);
    assert_eq!(admin.get(&server, "/1.0/projects?recursion=1&project=p").await[1], project);

    let tag = server.get("/1.0/projects/p", &[&admin.header]).await.header("etag").to_owned();
    let put = json!({"description": "theirs", "config": config()});
    let answer = admin.send_if(&server, Method::PUT, "/1.0/projects/p", put.clone(), Some(&tag)).await;
    assert_eq!((answer.status, &answer.json()["metadata"]), (http::StatusCode::OK, &json!({})));
    let answer = admin.send_if(&server, Method::PUT, "/1.0/projects/p", put, Some(&tag)).await;
    assert_eq!(answer.status, 412);
    assert!(answer.json()["error"].as_str().unwrap().starts_with("ETag doesn't match: "));
    admin.send(&server, Method::PATCH, "/1.0/projects/p", json!({"config": {}})).await.json();
    assert_eq!(
        admin.get(&server, "/1.0/projects/p").await["description"],
        "theirs",
        "PATCH leaves what it does not name"
    );
    let other = json!({"description": "x", "config": {"features.images": "false"}});
    let answer = admin.send(&server, Method::PUT, "/1.0/projects/p", other).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("features.images is \\\"true\\\" here and cannot be changed"), "{}", answer.text());

    admin
        .send(&server, Method::DELETE, "/1.0/projects/p", json!({}))
        .await
        .is_api_error(400, "Only empty projects can be removed");
    let answer = admin.send(&server, Method::POST, "/1.0/projects/p", json!({"name": "q"})).await;
    let operation = answer.json();
    assert_eq!((answer.status.as_u16(), &operation["metadata"]["status_code"]), (202, &200.into()), "it has ended");
    server.get("/1.0/projects/p", &[&admin.header]).await.is_api_error(404, "Project not found");
    let moved = admin.get(&server, "/1.0/images?project=q").await;
    assert_eq!(moved, json!([format!("/1.0/images/{image}?project=q")]), "its images are still its own");
    admin
        .send(&server, Method::POST, "/1.0/projects/q", json!({"name": "default"}))
        .await
        .is_api_error(409, "A project named \"default\" already exists");

    for (method, body, words) in [
        (Method::POST, json!({"name": "x"}), "The 'default' project cannot be renamed"),
        (Method::DELETE, json!({}), "The 'default' project cannot be deleted"),
    ] {
        admin.send(&server, method, "/1.0/projects/default", body).await.is_api_error(403, words);
    }
    admin.send(&server, Method::POST, "/1.0/projects", json!({"name": "r"})).await.json();
    let answer = admin.send(&server, Method::DELETE, "/1.0/projects/r", json!({})).await;
    assert_eq!(answer.status, 200);
    server.get("/1.0/projects/r", &[&admin.header]).await.is_api_error(404, "Project not found");
    let answer = admin.send(&server, Method::POST, "/1.0/projects", json!({"name": "a/b"})).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
}

#[tokio::test]
async fn others_see_exactly_their_own_and_change_none() {
    let server = Server::new().await;
    for project in ["mine", "also", "public", "hidden"] {
        server.make_project(project).await;
    }
    server.publish_in("public", &[Sample::default().unified()], &[], true).await;
    let grant = |name: &str, role| Grant { project: ProjectName::new(name).unwrap(), role, manages: Manages::All };
    let grants = vec![grant("mine", Role::Viewer), grant("also", Role::Admin)];
    let member = Person::new(&server, May { grants, ..May::nothing() }).await;
    let own = json!(["/1.0/projects/also", "/1.0/projects/mine"]);
    for path in ["/1.0/projects", "/1.0/projects?project=mine", "/1.0/projects?project=nowhere"] {
        assert_eq!(member.get(&server, path).await, own, "{path}");
    }
    for path in ["/1.0/projects/public", "/1.0/projects/hidden", "/1.0/projects/default", "/1.0/projects/none"] {
        server.get(path, &[&member.header]).await.is_api_error(404, "Project not found");
    }
    for (method, path, body) in [
        (Method::POST, "/1.0/projects", json!({"name": "new"})),
        (Method::PUT, "/1.0/projects/also", json!({"description": "x"})),
        (Method::PATCH, "/1.0/projects/also", json!({"description": "x"})),
        (Method::POST, "/1.0/projects/also", json!({"name": "new"})),
        (Method::DELETE, "/1.0/projects/also", json!({})),
    ] {
        let answer = member.send(&server, method.clone(), path, body).await;
        answer.is_api_error(403, "not authorized: this is for those who administer the server");
        server.ask(&Connection::test_tls(), method, path, &[]).await.is_api_error(403, "not authorized");
    }
    server.get("/1.0/projects", &[]).await.is_api_error(403, "not authorized");
    assert_eq!(server.app.catalog.projects(&headwater::auth::Viewer::operator()).await.unwrap().len(), 5);
    let nobody = Person::new(&server, May::nothing()).await;
    assert_eq!(nobody.get(&server, "/1.0/projects").await, json!([]));
}

#[tokio::test]
async fn who_changed_a_project_is_written_down() {
    let server = Server::new().await;
    let (secret, identity) = server.token("keeper", May::everything()).await;
    let admin = Person { header: bearer(&secret) };
    let before = server.app.catalog.last_audit().await.unwrap();
    admin.send(&server, Method::POST, "/1.0/projects", json!({"name": "p"})).await.json();
    admin.send(&server, Method::PUT, "/1.0/projects/p", json!({"description": "x"})).await.json();
    let query = headwater::catalog::AuditQuery { after: Some(before), ..Default::default() };
    let lines = server.app.catalog.audit(&query, 10).await.unwrap();
    let told: Vec<&str> = lines.iter().map(|line| line.action.as_str()).collect();
    assert_eq!(told, ["project-created", "project-updated"]);
    for line in lines {
        assert_eq!((line.actor_kind.as_str(), line.actor_name.as_str()), ("token", "keeper"));
        assert_eq!((line.credential, line.address.as_str()), (identity.subject.clone(), "127.0.0.1"));
    }
}
