//! What documents show to whom: tokens in the address, views, credentials in headers; and that nothing tells a hidden
//! project or view from a missing one.

use std::collections::BTreeMap;

use headwater::auth::Role;
use headwater::http::Connection;
use headwater_formats::names::{ProjectName, ViewName};
use http::Method;
use serde_json::Value;

use super::kit::{Answer, Sample, Server, now, squashfs};
use super::people::{May, basic, bearer, certificate, shown};

pub(crate) const LXD: &str = "User-Agent: LXD 5.0.2 (Linux; x86_64; 6.1; Debian GNU/Linux; 12)";
pub(crate) const INCUS: &str = "User-Agent: Incus 6.0.4 (Linux; x86_64; 6.1; Debian GNU/Linux; 12)";
const PYTHON: &str = "User-Agent: python-simplestreams/0.1";

pub(crate) async fn make_view(server: &Server, name: &str, project: &str, filter: &str) {
    let (name, project) = (ViewName::new(name).unwrap(), ProjectName::new(project).unwrap());
    server.app.catalog.create_view(&name, &project, &filter.parse().unwrap(), "", now()).await.unwrap();
}

pub(crate) fn both(one: &str, other: &str) -> May {
    let grants = [one, other].map(|project| May::be(project, Role::Viewer).grants).concat();
    May { grants, ..May::nothing() }
}

/// Alpine public and Debian private in `team`, Fedora private in `other`, Ubuntu public in `default`.
pub(crate) async fn server() -> Server {
    let server = Server::new().await;
    for project in ["team", "other"] {
        server.make_project(project).await;
    }
    server.publish(&[Sample { os: "Ubuntu", ..Sample::default() }.unified()]).await;
    server.publish_in("team", &[Sample { os: "Alpine", ..Sample::default() }.unified()], &[], true).await;
    server.publish_in("team", &[Sample::default().metadata(), squashfs(1)], &["ours"], false).await;
    server.publish_in("other", &[Sample { os: "Fedora", ..Sample::default() }.unified()], &[], false).await;
    server
}

/// The systems in the products document at that address, and all that it says.
async fn listed(server: &Server, prefix: &str, headers: &[&str]) -> (Vec<String>, Value) {
    let answer = server.get(&format!("{prefix}/streams/v1/images.json"), headers).await;
    assert_eq!(answer.status, 200, "{prefix}: {}", answer.text());
    let json = answer.json();
    let index = server.get(&format!("{prefix}/streams/v1/index.json"), headers).await.json();
    let products = json["products"].as_object().unwrap();
    let keys: Vec<&str> = products.keys().map(String::as_str).collect();
    let indexed: Vec<&str> = match &index["index"]["images"]["products"] {
        Value::Array(keys) => keys.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    assert_eq!(keys, indexed, "{prefix}");
    (products.values().map(|product| product["os"].as_str().unwrap().to_owned()).collect(), json)
}

async fn systems(server: &Server, prefix: &str, headers: &[&str]) -> String {
    listed(server, prefix, headers).await.0.join(" ")
}

/// The paths of all items.
pub(crate) fn paths(document: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    for product in document["products"].as_object().unwrap().values() {
        for version in product["versions"].as_object().unwrap().values() {
            let items = version["items"].as_object().unwrap().values();
            paths.extend(items.map(|item| item["path"].as_str().unwrap().to_owned()));
        }
    }
    assert!(!paths.is_empty());
    paths
}

/// Where a Go client looks for the path of an item: dots are resolved before it asks.
pub(crate) fn resolved(prefix: &str, path: &str) -> String {
    let mut segments: Vec<&str> = prefix.split('/').filter(|segment| !segment.is_empty()).collect();
    for segment in path.split('/') {
        if segment == ".." {
            assert!(segments.pop().is_some(), "{path} leaves the server");
        } else {
            segments.push(segment);
        }
    }
    format!("/{}", segments.join("/"))
}

fn same(one: &Answer, other: &Answer) {
    assert_eq!((one.status, &one.headers, one.text()), (other.status, &other.headers, other.text()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_shows_what_it_is_granted_and_nothing_else() {
    let server = server().await;
    let (team, _) = server.token("team", May::be("team", Role::Viewer)).await;
    let (two, _) = server.token("two", both("team", "other")).await;
    let (admin, _) = server.token("admin", May::everything()).await;
    let (nothing, _) = server.token("nothing", May::nothing()).await;
    for (secret, expected) in [
        (&team, "Alpine Debian"),
        (&two, "Alpine Debian Fedora"),
        (&admin, "Alpine Debian Fedora Ubuntu"),
        (&nothing, ""),
    ] {
        let prefix = format!("/t/{}", secret.expose());
        for agent in [LXD, INCUS, PYTHON] {
            assert_eq!(systems(&server, &prefix, &[agent]).await, expected);
        }
    }
    let prefix = format!("/t/{}", team.expose());
    assert_eq!(systems(&server, &format!("{prefix}/p/team"), &[]).await, "Alpine Debian");
    assert_eq!(systems(&server, &format!("{prefix}/p/default"), &[]).await, "Ubuntu", "what everybody sees");
    assert_eq!(systems(&server, &format!("{prefix}/only/os=debian"), &[]).await, "Debian");
    assert_eq!(systems(&server, &format!("{prefix}/p/team/only/os=alpine"), &[]).await, "Alpine");
    let hidden = server.get(&format!("{prefix}/p/other/streams/v1/index.json"), &[]).await;
    hidden.is_text(404, "there is no such project here; check its name in the address");
    same(&hidden, &server.get(&format!("{prefix}/p/nobody/streams/v1/index.json"), &[]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_in_headers_show_the_private_images_of_a_project() {
    let server = server().await;
    let (secret, _) = server.token("team", May::be("team", Role::Viewer)).await;
    let certificate = certificate("host", (-1, 1));
    server.trust(&certificate, May::be("team", Role::Viewer)).await;
    assert_eq!(systems(&server, "/p/team", &[]).await, "Alpine", "a guest");
    for line in [basic("any", secret.expose()), bearer(&secret)] {
        let (systems, document) = listed(&server, "/p/team", &[&line, LXD]).await;
        assert_eq!(systems, ["Alpine", "Debian"]);
        // The header comes with every request, so the files stay where they are.
        for path in paths(&document) {
            assert!(path.starts_with("images/"), "{path}");
            let address = format!("/p/team/{path}");
            assert_eq!(server.get(&address, &[&line]).await.status, 200, "{path}");
            let plain = server.plain(&address, &[&line]).await;
            assert_eq!(plain.status, 400, "{}", plain.text());
        }
    }
    let answer = server.ask(&shown(&certificate), Method::GET, "/p/team/streams/v1/images.json", &[]).await;
    assert!(answer.text().contains("debian:bookworm"), "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "private, max-age=60");
    let hidden = server.get("/p/other/streams/v1/images.json", &[&bearer(&secret)]).await;
    same(&hidden, &server.get("/p/nobody/streams/v1/images.json", &[&bearer(&secret)]).await);
    same(&hidden, &server.get("/p/nobody/streams/v1/images.json", &[]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_view_shows_to_each_what_they_may_see_of_it() {
    let server = server().await;
    make_view(&server, "small", "team", "os=alpine,debian").await;
    make_view(&server, "debian", "team", "os=debian").await;
    make_view(&server, "theirs", "other", "os=fedora").await;
    let (secret, _) = server.token("team", May::be("team", Role::Viewer)).await;
    assert_eq!(systems(&server, "/v/small", &[]).await, "Alpine");
    assert_eq!(systems(&server, "/v/debian", &[]).await, "", "the project is known, the images are not");
    assert_eq!(systems(&server, "/v/small", &[&bearer(&secret)]).await, "Alpine Debian");
    assert_eq!(systems(&server, &format!("/t/{}/v/debian", secret.expose()), &[]).await, "Debian");
    assert_eq!(systems(&server, &format!("/t/{}/v/small/only/os=alpine", secret.expose()), &[]).await, "Alpine");
    let hidden = server.get("/v/theirs/streams/v1/index.json", &[]).await;
    hidden.is_text(404, "there is no such view here; check its name in the address");
    same(&hidden, &server.get("/v/nothing/streams/v1/index.json", &[]).await);
    same(&hidden, &server.get("/v/theirs/streams/v1/index.json", &[&bearer(&secret)]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_bound_to_a_view_sees_that_view_wherever_it_looks() {
    let server = server().await;
    make_view(&server, "debian", "team", "os=debian").await;
    make_view(&server, "alpine", "team", "os=alpine").await;
    let bound = May { view: Some(ViewName::new("debian").unwrap()), ..both("team", "other") };
    let (secret, _) = server.token("bound", bound).await;
    let prefix = format!("/t/{}", secret.expose());
    for place in ["", "/p/team", "/v/debian", "/only/arch=amd64"] {
        assert_eq!(systems(&server, &format!("{prefix}{place}"), &[]).await, "Debian", "{place}");
        assert_eq!(systems(&server, place, &[&bearer(&secret)]).await, "Debian", "{place}");
    }
    assert_eq!(systems(&server, &format!("{prefix}/only/os=alpine"), &[]).await, "");
    for (place, missing) in [("/p/other", "/p/nobody"), ("/p/default", "/p/nobody"), ("/v/alpine", "/v/nothing")] {
        let hidden = server.get(&format!("{prefix}{place}/streams/v1/index.json"), &[]).await;
        assert_eq!(hidden.status, 404, "{place}");
        same(&hidden, &server.get(&format!("{prefix}{missing}/streams/v1/index.json"), &[]).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_are_made_one_without_anything_twice() {
    let server = Server::new().await;
    for project in ["a", "b"] {
        server.make_project(project).await;
    }
    let sample = |serial| Sample { serial, ..Sample::default() };
    let publish = async |project, serial: &'static str, seed, aliases: &'static [&'static str]| {
        server.publish_in(project, &[sample(serial).metadata(), squashfs(seed)], aliases, false).await
    };
    let first = publish("a", "20250101_00:00", 1, &["pinned", "shared"]).await;
    // The same image in both projects, and the same version name with other bytes.
    publish("b", "20250101_00:00", 1, &[]).await;
    publish("a", "20250102_00:00", 2, &[]).await;
    publish("b", "20250102_00:00", 3, &[]).await;
    let newest = publish("b", "20250103_00:00", 4, &["theirs"]).await;
    // The same bytes as another product, and a name that project a has already.
    server.publish_in("b", &[Sample { os: "Zorin", ..Sample::default() }.unified()], &["shared"], false).await;
    let (secret, _) = server.token("both", both("a", "b")).await;
    let (_, document) = listed(&server, &format!("/t/{}", secret.expose()), &[LXD]).await;
    let debian = &document["products"]["debian:bookworm:amd64:default"];
    let mut fingerprints = BTreeMap::new();
    for (name, version) in debian["versions"].as_object().unwrap() {
        let combined = version["items"]["lxd.tar.xz"]["combined_squashfs_sha256"].as_str().unwrap();
        fingerprints.insert(name.as_str(), combined.to_owned());
    }
    assert_eq!(
        fingerprints.keys().copied().collect::<Vec<_>>(),
        ["20250101_00:00", "20250102_00:00", "20250103_00:00"]
    );
    let of_a = super::kit::fingerprint(&[&sample("20250102_00:00").metadata(), &squashfs(2)]);
    assert_eq!([&fingerprints["20250101_00:00"], &fingerprints["20250102_00:00"]], [&first, &of_a]);
    assert_eq!(fingerprints["20250103_00:00"], newest);
    let names =
        |product: &Value| product["aliases"].as_str().unwrap().split(',').map(str::to_owned).collect::<Vec<_>>();
    let of_debian = names(debian);
    for (name, there) in [("debian/bookworm", true), ("theirs", true), ("pinned", false)] {
        assert_eq!(of_debian.iter().any(|known| known == name), there, "{name} in {of_debian:?}");
    }
    let of_zorin = names(&document["products"]["zorin:bookworm:amd64:default"]);
    assert!(of_zorin.contains(&"zorin/bookworm".to_owned()), "{of_zorin:?}");
    let text = document.to_string();
    assert_eq!(text.matches(&first).count(), 1, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_somebody_are_kept_by_nobody_between() {
    let server = server().await;
    let (secret, _) = server.token("team", May::be("team", Role::Viewer)).await;
    let token = format!("/t/{}/streams/v1/images.json", secret.expose());
    let of_token = server.get(&token, &[LXD]).await;
    let line = bearer(&secret);
    let of_header = server.get("/p/team/streams/v1/images.json", &[LXD, &line]).await;
    let of_guest = server.get("/p/team/streams/v1/images.json", &[LXD]).await;
    for (answer, cache, vary, dated) in [
        (&of_token, "private, max-age=60", "User-Agent, Accept-Encoding", false),
        (&of_header, "private, max-age=60", "User-Agent, Accept-Encoding, Authorization", false),
        (&of_guest, "public, max-age=60", "User-Agent, Accept-Encoding, Authorization", true),
    ] {
        assert_eq!((answer.header("cache-control"), answer.header("vary")), (cache, vary));
        assert_eq!(answer.headers.contains_key("last-modified"), dated, "what is granted changes without a date");
        assert!(!format!("{:?}{}", answer.headers, answer.text()).contains(secret.expose()), "{answer:?}");
    }
    let again = server.get(&token, &[LXD, &format!("If-None-Match: {}", of_token.header("etag"))]).await;
    assert_eq!((again.status.as_u16(), again.header("cache-control")), (304, "private, max-age=60"));
    // Who is granted more is told of more, though nothing was published.
    let (wider, identity) = server.token("wider", May::be("team", Role::Viewer)).await;
    let path = format!("/t/{}/streams/v1/images.json", wider.expose());
    let before = server.get(&path, &[LXD]).await;
    let edit = headwater::catalog::IdentityEdit {
        grants: Some(both("team", "other").grants),
        ..headwater::catalog::IdentityEdit::default()
    };
    server.app.catalog.edit_identity(identity.id, &edit, now()).await.unwrap();
    let after = server.get(&path, &[LXD, &format!("If-None-Match: {}", before.header("etag"))]).await;
    assert_eq!(after.status, 200);
    assert!(after.text().contains("fedora:") && !before.text().contains("fedora:"));
    server.app.catalog.remove_identity(identity.id, now()).await.unwrap();
    assert_eq!(server.get(&path, &[LXD]).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_see_the_same_get_the_same_but_for_the_place_of_their_files() {
    let server = server().await;
    let (one, _) = server.token("one", both("team", "other")).await;
    let (two, _) = server.token("two", both("other", "team")).await;
    let mut bodies = Vec::new();
    for secret in [&one, &two] {
        let answer = server.get(&format!("/t/{}/streams/v1/images.json", secret.expose()), &[INCUS]).await;
        let paths = paths(&answer.json());
        let grant = paths[0].split('/').nth(3).unwrap().to_owned();
        assert!(answer.text().contains(&grant));
        bodies.push((answer.text().replace(&grant, "…"), grant, answer.header("etag").to_owned()));
    }
    assert_eq!(bodies[0].0, bodies[1].0);
    assert_ne!(bodies[0].1, bodies[1].1);
    assert_ne!(bodies[0].2, bodies[1].2);
    let gzip = server
        .ask(
            &Connection::test_tls(),
            Method::GET,
            &format!("/t/{}/streams/v1/images.json", one.expose()),
            &[INCUS, "Accept-Encoding: gzip"],
        )
        .await;
    assert_eq!(gzip.header("content-encoding"), "gzip");
    let mut plain = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&gzip.body[..]), &mut plain).unwrap();
    assert_eq!(plain.replace(&bodies[0].1, "…"), bodies[0].0);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_ask_in_plain_first_are_led_out_of_the_address_and_others_are_not() {
    let server = server().await;
    make_view(&server, "debian", "team", "os=debian").await;
    let (secret, _) = server.token("team", May::be("team", Role::Viewer)).await;
    for place in ["", "/p/team", "/v/debian", "/only/os=debian", "/p/team/only/os=debian/only/latest=1"] {
        let prefix = format!("/t/{}{place}", secret.expose());
        for (agent, leaves) in [(LXD, true), (INCUS, true), (PYTHON, false), ("User-Agent: curl/8", false)] {
            let (_, document) = listed(&server, &prefix, &[agent]).await;
            for path in paths(&document) {
                let address = resolved(&prefix, &path);
                assert_eq!(address.starts_with("/f/") && !address.contains("hw_"), leaves, "{agent}: {path}");
                assert_eq!(path.starts_with("images/"), !leaves, "{agent}: {path}");
                let file = server.get(&address, &[agent]).await;
                assert_eq!(file.status, 200, "{agent}: {address}");
                assert!(file.header("cache-control").starts_with("private, max-age="), "{file:?}");
                let plain = server.plain(&address, &[agent]).await;
                assert_eq!(plain.status, 400, "{agent}: {address} in plain");
            }
        }
    }
}
