//! Making, changing, renaming and deleting aliases over the API.

use headwater::auth::Role;
use headwater::http::incoming::Incoming;
use http::Method;
use serde_json::{Value, json};

use super::asking::Person;
use super::kit::{Sample, Server};
use super::people::May;

const ALIASES: &str = "/1.0/images/aliases";

fn path(name: &str) -> String {
    format!("{ALIASES}/{name}")
}

/// Two images: an older one and a newer one of the same product.
async fn two(server: &Server) -> [String; 2] {
    let old = server.publish(&[Sample::default().unified()]).await;
    let new = server.publish(&[Sample { serial: "20250202_00:00", ..Sample::default() }.unified()]).await;
    [old, new]
}

async fn entry(person: &Person<'_>, name: &str) -> Value {
    let answer = person.get(&path(name)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["metadata"].take()
}

async fn delete(person: &Person<'_>, name: &str) -> super::kit::Answer {
    person.send(Method::DELETE, &path(name), &[], Incoming::empty()).await
}

#[tokio::test]
async fn made_changed_renamed_and_deleted() {
    let server = Server::new().await;
    let [old, new] = two(&server).await;
    let publisher = server.publisher().await;
    let wish = json!({"name": "our/web", "target": &old[..10], "description": "The web", "type": "virtual-machine"});
    let answer = publisher.json(Method::POST, ALIASES, wish.clone()).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (201, "/1.0/images/aliases/our%2Fweb"));
    assert_eq!(answer.json()["metadata"], Value::Null);
    let expected = json!({"name": "our/web", "target": old, "description": "The web", "type": "container"});
    assert_eq!(entry(&publisher, "our%2Fweb").await, expected);
    assert_eq!(entry(&publisher, "our/web").await, expected, "slashes may stand for themselves");
    publisher.json(Method::POST, ALIASES, wish).await.is_api_error(409, "Alias \"our/web\" already exists");

    publisher.json(Method::PUT, &path("our%2Fweb"), json!({"target": new, "description": "New"})).await.is_done();
    let found = entry(&publisher, "our%2Fweb").await;
    assert_eq!((&found["target"], &found["description"]), (&new.as_str().into(), &"New".into()));
    publisher.json(Method::PATCH, &path("our%2Fweb"), json!({"target": &old[..8]})).await.is_done();
    let found = entry(&publisher, "our%2Fweb").await;
    assert_eq!((&found["target"], &found["description"]), (&old.as_str().into(), &"New".into()));
    publisher.json(Method::PATCH, &path("our%2Fweb"), json!({"description": ""})).await.is_done();
    assert_eq!(entry(&publisher, "our%2Fweb").await["description"], "");
    publisher.json(Method::PUT, &path("our%2Fweb"), json!({"target": old})).await.is_done();

    let answer = publisher.json(Method::POST, &path("our%2Fweb"), json!({"name": "a+b c%d/ä"})).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (201, "/1.0/images/aliases/a+b%20c%25d%2F%C3%A4"));
    publisher.get(&path("our%2Fweb")).await.is_api_error(404, "Image alias not found");
    assert_eq!(entry(&publisher, "a+b%20c%25d%2F%C3%A4").await["target"], old);
    delete(&publisher, "a+b%20c%25d%2F%C3%A4").await.is_done();
    delete(&publisher, "a+b%20c%25d%2F%C3%A4").await.is_api_error(404, "Image alias not found");

    let query = headwater::catalog::AuditQuery { actor: Some("publisher".into()), ..Default::default() };
    let lines = server.app.catalog.audit(&query, 50).await.unwrap();
    let told: Vec<_> = lines.iter().map(|line| (line.action.as_str(), line.subject.as_str())).collect();
    assert_eq!(
        told,
        [
            ("image-alias-created", "our/web"),
            ("image-alias-updated", "our/web"),
            ("image-alias-updated", "our/web"),
            ("image-alias-updated", "our/web"),
            ("image-alias-renamed", "our/web"),
            ("image-alias-deleted", "a+b c%d/ä"),
        ],
        "a change that changes nothing is none"
    );
}

#[tokio::test]
async fn what_cannot_be_done() {
    let server = Server::new().await;
    let [old, _] = two(&server).await;
    let publisher = server.publisher().await;
    let make = |name: &str| json!({"name": name, "target": old});
    publisher.json(Method::POST, ALIASES, make("web")).await;
    publisher.json(Method::POST, ALIASES, make("mail")).await;
    for (method, path, body, status, said) in [
        (Method::POST, ALIASES.to_owned(), json!({"target": old}), 400, "name and target are required"),
        (Method::POST, ALIASES.to_owned(), json!({"name": "x"}), 400, "name and target are required"),
        (Method::POST, ALIASES.to_owned(), json!({"name": "x", "target": "ff00"}), 404, "Image not found"),
        (Method::POST, ALIASES.to_owned(), json!({"name": "x", "target": "web"}), 404, "Image not found"),
        (Method::PUT, path("web"), json!({"description": "x"}), 400, "The target field is required"),
        (Method::PUT, path("web"), json!({"target": "ff00"}), 404, "Image not found"),
        (Method::PUT, path("none"), json!({"target": old}), 404, "Image alias not found"),
        (Method::PATCH, path("none"), json!({}), 404, "Image alias not found"),
        (Method::POST, path("none"), json!({"name": "x"}), 404, "Image alias not found"),
        (Method::POST, path("web"), json!({"name": "mail"}), 409, "Alias \"mail\" already exists"),
        (Method::POST, path("web"), json!({}), 400, "name is required"),
    ] {
        publisher.json(method, &path, body).await.is_api_error(status, said);
    }
    let answer = publisher.json(Method::POST, ALIASES, make("a,b")).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("an alias may not hold ','"), "{}", answer.text());
    let answer = publisher.send(Method::PUT, &path("web"), &[], Incoming::full("x")).await;
    assert!(answer.text().contains("the body is not the JSON that belongs here"), "{}", answer.text());
    assert_eq!(entry(&publisher, "web").await["target"], old);
}

#[tokio::test]
async fn a_change_of_a_state_that_is_gone_is_refused() {
    let server = Server::new().await;
    let [old, new] = two(&server).await;
    let publisher = server.publisher().await;
    publisher.json(Method::POST, ALIASES, json!({"name": "web", "target": old})).await;
    let tag = publisher.get(&path("web")).await.header("etag").to_owned();
    let header = format!("If-Match: {tag}");
    let put = json!({"target": new});
    publisher.json_with(Method::PUT, &path("web"), &[&header], &put).await.is_done();
    let ours = publisher.get(&path("web")).await.header("etag").trim_matches('"').to_owned();
    let answer = publisher.json_with(Method::PUT, &path("web"), &[&header], &put).await;
    answer.is_api_error(412, &format!("ETag doesn't match: {ours} vs {}", tag.trim_matches('"')));
    publisher
        .json_with(Method::PATCH, &path("web"), &[&format!("If-Match: {ours}")], &json!({"description": "x"}))
        .await
        .is_done();
}

/// What `incus image import --alias debian/bookworm` does after its upload: it deletes each of its names that is in the list, and makes
/// them. Ours are in the list although nobody made them.
#[tokio::test]
async fn a_name_out_of_properties_can_be_taken_by_hand_as_clients_do_it() {
    let server = Server::new().await;
    let [old, new] = two(&server).await;
    let publisher = server.publisher().await;
    let listed = async || {
        let json = publisher.get(&format!("{ALIASES}?recursion=1")).await.json();
        let entries = json["metadata"].as_array().unwrap().clone();
        entries.into_iter().filter(|entry| entry["name"] == "debian/bookworm").collect::<Vec<_>>()
    };
    let generated = listed().await;
    assert_eq!((generated.len(), &generated[0]["target"]), (1, &new.as_str().into()));
    delete(&publisher, "debian%2Fbookworm").await.is_done();
    assert_eq!(listed().await, generated, "it stays as long as its images have these properties");
    let wish = json!({"name": "debian/bookworm", "target": old, "description": ""});
    assert_eq!(publisher.json(Method::POST, ALIASES, wish.clone()).await.status, 201);
    let by_hand = listed().await;
    assert_eq!((by_hand.len(), &by_hand[0]["target"]), (1, &old.as_str().into()), "the one that was made wins");
    delete(&publisher, "debian%2Fbookworm").await.is_done();
    assert_eq!(listed().await, generated, "and gives way to the other when it is gone");

    // Changing it makes it somebody's own; renaming it cannot be.
    let said = "the alias \"debian/bookworm\" comes out of the properties of its images; change those, or make an alias of your own";
    let name = path("debian%2Fbookworm");
    publisher.json(Method::POST, &name, json!({"name": "x"})).await.is_api_error(400, said);
    publisher.json(Method::PATCH, &name, json!({"description": "x"})).await.is_api_error(400, said);
    publisher.json(Method::PUT, &name, json!({"target": old, "description": "mine"})).await.is_done();
    let found = entry(&publisher, "debian%2Fbookworm").await;
    assert_eq!((&found["target"], &found["description"]), (&old.as_str().into(), &"mine".into()));
}

#[tokio::test]
async fn aliases_belong_to_who_manages_the_image_they_lead_to() {
    let server = Server::new().await;
    let theirs = server.publish_in("default", &[Sample::default().unified()], &["web"], true).await;
    let own = server.somebody("own", May::be("default", Role::Publisher)).await;
    let mine = own.upload(&[], &Sample { serial: "20250202_00:00", ..Sample::default() }.unified()).await.done();
    let mine = mine["fingerprint"].as_str().unwrap().to_owned();
    let said = "not authorized: somebody else has published the image that this alias leads to; \
                ask who administers the project \"default\"";
    let wish = |target: &str| json!({"name": "mail", "target": target});
    own.json(Method::POST, ALIASES, wish(&theirs)).await.is_api_error(403, said);
    own.json(Method::PUT, &path("web"), json!({"target": mine})).await.is_api_error(403, said);
    own.json(Method::POST, &path("web"), json!({"name": "x"})).await.is_api_error(403, said);
    delete(&own, "web").await.is_api_error(403, said);
    assert_eq!(own.json(Method::POST, ALIASES, wish(&mine)).await.status, 201);
    own.json(Method::PUT, &path("mail"), json!({"target": theirs})).await.is_api_error(403, said);
    assert_eq!(own.json(Method::POST, &path("mail"), json!({"name": "post"})).await.status, 201);
    delete(&own, "post").await.is_done();
    for person in [server.guest(), server.somebody("viewer", May::be("default", Role::Viewer)).await] {
        for (method, path) in
            [(Method::POST, ALIASES.to_owned()), (Method::PUT, path("web")), (Method::DELETE, path("web"))]
        {
            assert_eq!(person.json(method, &path, wish(&mine)).await.status, 403);
        }
    }
    assert_eq!(entry(&own, "web").await["target"], theirs);
}
