//! Changing, deleting and lending images over the API, and lists over all projects.

use headwater::auth::{Role, Viewer};
use headwater::http::incoming::Incoming;
use http::Method;
use serde_json::json;

use super::asking::Person;
use super::kit::{Sample, Server, squashfs};
use super::people::{May, bearer};

fn path(fingerprint: &str) -> String {
    format!("/1.0/images/{fingerprint}")
}

async fn one(server: &Server) -> String {
    server.publish(&[Sample::default().unified()]).await
}

#[tokio::test]
async fn put_replaces_and_keeps_an_expiry_that_is_not_named() {
    let server = Server::new().await;
    let fingerprint = one(&server).await;
    let publisher = server.publisher().await;
    let put = json!({
        "public": false, "auto_update": true, "properties": {"os": "Ours", "release": "1", "note": "a"},
        "expires_at": "2030-02-01T00:00:00Z", "profiles": ["web"],
    });
    publisher.json(Method::PUT, &path(&fingerprint[..12]), put).await.is_done();
    let image = publisher.get(&path(&fingerprint)).await.json()["metadata"].take();
    assert_eq!(image["properties"], json!({"os": "Ours", "release": "1", "note": "a"}));
    assert_eq!(
        (&image["public"], &image["auto_update"], &image["expires_at"], &image["profiles"]),
        (&false.into(), &true.into(), &"2030-02-01T00:00:00Z".into(), &json!(["web"]))
    );
    let put = json!({"public": true, "properties": null, "expires_at": "0001-01-01T00:00:00Z", "profiles": null});
    publisher.json(Method::PUT, &path(&fingerprint), put).await.is_done();
    let image = publisher.get(&path(&fingerprint)).await.json()["metadata"].take();
    assert_eq!(
        (&image["properties"], &image["auto_update"], &image["expires_at"], &image["profiles"]),
        (&json!({}), &false.into(), &"2030-02-01T00:00:00Z".into(), &json!(["default"]))
    );
}

#[tokio::test]
async fn patch_changes_what_it_names_and_adds_properties() {
    let server = Server::new().await;
    let fingerprint = one(&server).await;
    let publisher = server.publisher().await;
    let before = publisher.get(&path(&fingerprint)).await.json()["metadata"].take();
    let patch = json!({"properties": {"note": "a", "variant": "cloud"}});
    publisher.json(Method::PATCH, &path(&fingerprint), patch).await.is_done();
    let mut expected = before.clone();
    expected["properties"]["note"] = "a".into();
    expected["properties"]["variant"] = "cloud".into();
    let mut after = publisher.get(&path(&fingerprint)).await.json()["metadata"].take();
    // Names follow the properties.
    expected["aliases"] = after["aliases"].take();
    after["aliases"] = expected["aliases"].clone();
    assert_eq!(after, expected);
    publisher.json(Method::PATCH, &path(&fingerprint), json!({"public": false})).await.is_done();
    let now = publisher.get(&path(&fingerprint)).await.json()["metadata"].take();
    assert_eq!((&now["public"], &now["properties"]), (&false.into(), &after["properties"]));
}

#[tokio::test]
async fn a_change_of_a_state_that_is_gone_is_refused() {
    let server = Server::new().await;
    let fingerprint = one(&server).await;
    let publisher = server.publisher().await;
    let tag = publisher.get(&path(&fingerprint)).await.header("etag").to_owned();
    let bare = tag.trim_matches('"').to_owned();
    let change = |note: &str| json!({"properties": {"note": note}});
    // With quotes as clients send it, without, and as a proxy weakens it; an edit of the same state changes the tag.
    for (number, form) in [tag.clone(), bare.clone(), format!("W/{tag}"), "*".to_owned()].iter().enumerate() {
        let tag = publisher.get(&path(&fingerprint)).await.header("etag").to_owned();
        let header = form.replace(&bare, tag.trim_matches('"'));
        let header = format!("If-Match: {header}");
        let answer =
            publisher.json_with(Method::PUT, &path(&fingerprint), &[&header], &change(&number.to_string())).await;
        answer.is_done();
    }
    let ours = publisher.get(&path(&fingerprint)).await.header("etag").trim_matches('"').to_owned();
    for method in [Method::PUT, Method::PATCH] {
        let header = format!("If-Match: {tag}");
        let answer = publisher.json_with(method, &path(&fingerprint), &[&header], &change("late")).await;
        answer.is_api_error(412, &format!("ETag doesn't match: {ours} vs {bare}"));
    }
    let image = publisher.get(&path(&fingerprint)).await.json();
    assert_eq!(image["metadata"]["properties"]["note"], "3");
}

/// Of many who saw the same state, one changes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_changes_of_one_state_only_the_first_counts() {
    let server = std::sync::Arc::new(Server::new().await);
    let fingerprint = one(&server).await;
    let (secret, _) = server.token("ci", May::everything()).await;
    let tag = server.get(&path(&fingerprint), &[]).await.header("etag").to_owned();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (server, header) = (server.clone(), format!("If-Match: {tag}"));
        let (path, who) = (path(&fingerprint), bearer(&secret));
        tasks.spawn(async move {
            let person = Person { server: &server, headers: vec![who] };
            let change = json!({"properties": {"note": number.to_string()}});
            person.json_with(Method::PATCH, &path, &[&header], &change).await.status.as_u16()
        });
    }
    let mut answers = tasks.join_all().await;
    answers.sort_unstable();
    assert_eq!(answers, [vec![200], vec![412; 19]].concat());
}

#[tokio::test]
async fn bodies_that_are_no_change() {
    let server = Server::new().await;
    let fingerprint = one(&server).await;
    let publisher = server.publisher().await;
    for method in [Method::PUT, Method::PATCH] {
        for body in ["", "[1]", "{\"properties\": {\"a\": 1}}", "{\"expires_at\": \"\"}", "{"] {
            let answer = publisher.send(method.clone(), &path(&fingerprint), &[], Incoming::full(body)).await;
            assert_eq!(answer.status, 400, "{method} {body}: {}", answer.text());
            let said = answer.json()["error"].as_str().unwrap().to_owned();
            assert!(said.starts_with("the body is not the JSON that belongs here: "), "{said}");
        }
        let answer = publisher.json(method, &path("ff00"), json!({})).await;
        answer.is_api_error(404, "Image not found");
    }
}

#[tokio::test]
async fn who_may_change_what() {
    let server = Server::new().await;
    let fingerprint = one(&server).await;
    let other = server.publish_in("default", &[Sample::default().metadata(), squashfs(3)], &[], false).await;
    let own = server.somebody("own", May::be("default", Role::Publisher)).await;
    let mine = own.upload(&[], &Sample { serial: "20250102_00:00", ..Sample::default() }.unified()).await.done();
    let mine = mine["fingerprint"].as_str().unwrap().to_owned();
    let viewer = server.somebody("viewer", May::be("default", Role::Viewer)).await;
    let theirs = "not authorized: somebody else has published this image; ask who administers the project \"default\"";
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        own.json(method.clone(), &path(&fingerprint), json!({})).await.is_api_error(403, theirs);
        let answer = viewer.json(method.clone(), &path(&fingerprint), json!({})).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["error"].as_str().unwrap().starts_with("not authorized")),
            (403, true)
        );
        server.guest().json(method, &path(&other), json!({})).await.is_api_error(403, "not authorized");
    }
    own.json(Method::PATCH, &path(&mine), json!({"public": true})).await.is_done();
    own.send(Method::DELETE, &path(&mine), &[], Incoming::empty()).await.done();
    let publisher = server.publisher().await;
    publisher.json(Method::PATCH, &path(&fingerprint), json!({"public": false})).await.is_done();
}

#[tokio::test]
async fn a_deleted_image_is_gone_with_its_aliases() {
    let server = Server::new().await;
    let fingerprint = server.publish_in("default", &[Sample::default().unified()], &["web"], true).await;
    let publisher = server.publisher().await;
    let answer = publisher.send(Method::DELETE, &path(&fingerprint[..8]), &[], Incoming::empty()).await;
    assert_eq!(answer.operation()["resources"], json!({"images": [path(&fingerprint)]}));
    assert_eq!(answer.done(), json!({}));
    publisher.get(&path(&fingerprint)).await.is_api_error(404, "Image not found");
    publisher.get("/1.0/images/aliases/web").await.is_api_error(404, "Image alias not found");
    publisher
        .send(Method::DELETE, &path(&fingerprint), &[], Incoming::empty())
        .await
        .is_api_error(404, "Image not found");
}

#[tokio::test]
async fn a_secret_opens_one_private_image_in_any_project() {
    let server = Server::new().await;
    server.make_project("team").await;
    let files = [Sample::default().metadata(), squashfs(1)];
    let image = server.publish_in("team", &files, &[], false).await;
    let other = server.publish_in("team", &[Sample::default().unified()], &[], false).await;
    let guest = server.guest();
    let missing = guest.get(&format!("{}?project=nowhere", path(&image))).await;
    missing.is_api_error(404, "Project not found");

    let viewer = server.somebody("viewer", May::be("team", Role::Viewer)).await;
    let answer =
        viewer.send(Method::POST, &format!("{}/secret?project=team", path(&image[..12])), &[], Incoming::empty()).await;
    let token = answer.operation();
    assert_eq!(
        (&token["class"], &token["status_code"], &token["may_cancel"], &token["description"]),
        (&"token".into(), &103.into(), &true.into(), &"Image download token".into())
    );
    assert_eq!(token["resources"], json!({"images": [path(&image)]}));
    let secret = token["metadata"]["secret"].as_str().unwrap().to_owned();

    // As a daemon does it: the image, then its files, with one secret.
    let found = guest.get(&format!("{}?project=team&secret={secret}", path(&image))).await.json();
    assert_eq!(
        (&found["metadata"]["fingerprint"], &found["metadata"]["public"]),
        (&image.as_str().into(), &false.into())
    );
    let export = guest.get(&format!("{}/export?project=team&secret={secret}", path(&image))).await;
    assert_eq!(export.status, 200);
    assert!(export.body.windows(files[1].len()).any(|window| window == files[1]), "the root is in it");

    for query in [
        format!("?project=team&secret={}", "0".repeat(64)),
        "?project=team&secret=".to_owned(),
        "?project=team".to_owned(),
    ] {
        for below in ["", "/export"] {
            let answer = guest.get(&format!("{}{below}{query}", path(&image))).await;
            assert_eq!(
                (answer.status, &answer.body),
                (missing.status, &missing.body),
                "{below}{query}: as if it were not there"
            );
        }
    }
    for (project, fingerprint) in [("team", &other), ("default", &image)] {
        let answer = guest.get(&format!("{}?project={project}&secret={secret}", path(fingerprint))).await;
        assert_eq!(answer.status, 404, "it opens nothing else");
    }
    guest.get(&format!("/1.0/images?project=team&secret={secret}")).await.is_api_error(404, "Project not found");
    server
        .guest()
        .send(Method::POST, &format!("{}/secret", path(&image)), &[], Incoming::empty())
        .await
        .is_api_error(403, "not authorized");

    server.state.flush_downloads().await;
    let query = headwater::catalog::AuditQuery { subject: Some(image.clone()), ..Default::default() };
    let lines = server.app.catalog.audit(&query, 20).await.unwrap();
    let told: Vec<_> = lines.iter().map(|line| (line.action.as_str(), line.actor_kind.as_str())).collect();
    assert_eq!(told[1..], [("image-secret-created", "token"), ("image-retrieved", "secret")]);
}

#[tokio::test]
async fn a_secret_that_was_cancelled_opens_nothing() {
    let server = Server::new().await;
    let image = server.publish_in("default", &[Sample::default().unified()], &[], false).await;
    let viewer = server.somebody("viewer", May::be("default", Role::Viewer)).await;
    let token =
        viewer.send(Method::POST, &format!("{}/secret", path(&image)), &[], Incoming::empty()).await.operation();
    let secret = token["metadata"]["secret"].as_str().unwrap();
    let operation = format!("/1.0/operations/{}", token["id"].as_str().unwrap());
    viewer.send(Method::DELETE, &operation, &[], Incoming::empty()).await.is_done();
    server.guest().get(&format!("{}?secret={secret}", path(&image))).await.is_api_error(404, "Image not found");
}

#[tokio::test]
async fn trusted_clients_list_all_projects_in_which_they_see_something() {
    let server = Server::new().await;
    for project in ["a", "b"] {
        server.make_project(project).await;
    }
    let public = one(&server).await;
    let hidden = server.publish_in("a", &[Sample::default().unified()], &[], false).await;
    let other = server.publish_in("b", &[Sample::default().metadata(), squashfs(1)], &[], false).await;
    let list = async |person: &Person<'_>| {
        let json = person.get("/1.0/images?recursion=1&all-projects=true").await.json();
        let images = json["metadata"].as_array().unwrap().iter();
        let mut found: Vec<_> = images
            .map(|image| {
                (image["project"].as_str().unwrap().to_owned(), image["fingerprint"].as_str().unwrap().to_owned())
            })
            .collect();
        found.sort();
        found
    };
    let own = |project: &str, fingerprint: &str| (project.to_owned(), fingerprint.to_owned());
    let everything = [own("a", &hidden), own("b", &other), own("default", &public)];
    assert_eq!(list(&server.somebody("all", May::everything()).await).await, everything);
    let one_project = server.somebody("one", May::be("a", Role::Viewer)).await;
    assert_eq!(list(&one_project).await, [own("a", &hidden), own("default", &public)]);
    one_project
        .get("/1.0/images?all-projects=true&project=a")
        .await
        .is_api_error(400, "Cannot specify a project when requesting all projects");
    server.guest().get("/1.0/images?all-projects=true").await.is_api_error(403, "not authorized");
    let found = server.app.catalog.images(&Viewer::guest(), &"default".parse().unwrap(), None, 10).await.unwrap();
    assert_eq!(found.len(), 1);
    let urls = one_project.get("/1.0/images?all-projects=1").await.json();
    assert_eq!(urls["metadata"], json!([format!("/1.0/images/{hidden}?project=a"), path(&public)]));
}
