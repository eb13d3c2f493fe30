//! Deltas in documents and as files: which client is shown which, and who may have them.

use std::io::Write as _;

use headwater::auth::{Identity, Role, Secret, Viewer};
use headwater::catalog::Location;
use headwater::http::{Connection, Settings};
use headwater::publish::{ExportRequest, VerifyEvent};
use headwater_formats::digest::Digest;
use headwater_formats::image::{FileFormat, ImageFile};
use headwater_formats::names::{ProjectName, ViewName};
use headwater_formats::simplestreams::Family;
use headwater_formats::timestamp::Timestamp;
use http::Method;
use serde_json::{Map, Value};
use sha2::Digest as _;

use super::kit::{Answer, Sample, Server, now, qcow2, squashfs};
use super::people::{May, bearer, from_address};
use super::private_streams::{INCUS, LXD, make_view, paths, resolved};
use crate::kit::behind::{self, BUILDER};

const MODERN: &str = "User-Agent: LXD 5.21.2 LTS (Linux; x86_64; 6.8.0; Ubuntu; 24.04)";
const NO_FILE: &str = "there is no such file here; fetch the list of images again";
const SERIALS: [&str; 4] = ["20250101_07:42", "20250102_07:42", "20250103_07:42", "20250104_07:42"];

fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(sha2::Sha256::digest(bytes).into())
}

fn container(number: usize) -> Vec<u8> {
    squashfs(u8::try_from(number).unwrap())
}

fn machine(number: usize) -> Vec<u8> {
    [qcow2(), vec![u8::try_from(number).unwrap(); 512]].concat()
}

/// Bytes that stand for a delta; the server does not look into them.
fn delta(target: &[u8], base: &[u8]) -> Vec<u8> {
    format!("{} from {}", digest(target), digest(base)).into_bytes()
}

/// A container and a machine of each of the first so many versions.
async fn server(project: &str, public: bool, versions: usize) -> Server {
    let server = Server::new().await;
    if project != "default" {
        server.make_project(project).await;
    }
    for version in 0..versions {
        publish(&server, project, public, version).await;
    }
    server
}

async fn publish(server: &Server, project: &str, public: bool, version: usize) {
    let metadata = Sample { serial: SERIALS[version], ..Sample::default() }.metadata();
    for root in [container(version), machine(version)] {
        server.publish_in(project, &[metadata.clone(), root], &[], public).await;
    }
}

/// Puts a delta beside the images, as if it had been built.
async fn list(server: &Server, target: &[u8], base: &[u8], clients: u64) {
    let bytes = delta(target, base);
    let mut staged = server.app.blobs.stage().unwrap();
    staged.write_all(&bytes).unwrap();
    let mut placed = staged.commit().unwrap();
    let (target, base) = (digest(target), digest(base));
    let location = Location::Sqlite(server.folder.path().join("catalog.db"));
    behind::building(&location, &target, &base, clients).await;
    let file = ImageFile { digest: placed.digest(), size: placed.size(), format: FileFormat::Vcdiff };
    let listed = server.app.catalog.list_delta(&target, &base, &file, BUILDER, now(), || placed.ensure()).await;
    assert!(listed.unwrap());
}

/// The items of a version, by their keys.
async fn items(server: &Server, prefix: &str, agent: &str, version: usize) -> Map<String, Value> {
    let answer = server.get(&format!("{prefix}/streams/v1/images.json"), &[agent]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    let versions = &json["products"]["debian:bookworm:amd64:default"]["versions"];
    versions[SERIALS[version]]["items"].as_object().cloned().unwrap_or_default()
}

/// The keys of the deltas in a version.
async fn deltas(server: &Server, prefix: &str, agent: &str, version: usize) -> Vec<String> {
    let items = items(server, prefix, agent, version).await;
    items.keys().filter(|key| key.ends_with(".vcdiff")).cloned().collect()
}

fn address(target: &[u8], base: &[u8]) -> String {
    format!("/images/{}.vcdiff", digest(&delta(target, base)))
}

/// What the clients of an identity hold, after the notes were written down.
async fn held(server: &Server, identity: &Identity) -> Vec<Digest> {
    server.state.flush_used().await;
    server.app.catalog.bases_held(identity.id).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_is_shown_the_deltas_that_it_handles() {
    let server = server("default", true, 2).await;
    assert_eq!(deltas(&server, "", MODERN, 1).await, [""; 0]);
    list(&server, &container(1), &container(0), 0).await;
    list(&server, &machine(1), &machine(0), 0).await;
    let (root, disk) = ("root.20250101_07:42.vcdiff", "disk.20250101_07:42.vcdiff");
    for (agent, expected) in [
        (LXD, &[root][..]),
        ("User-Agent: LXD 5.0.3 (Linux; x86_64; 6.1)", &[root]),
        ("User-Agent: LXD 5.0.4 (Linux; x86_64; 6.1)", &[disk, root]),
        ("User-Agent: LXD 5.13 (Linux; x86_64; 6.1)", &[root]),
        ("User-Agent: LXD 5.21.1 LTS (Linux; x86_64; 6.8)", &[root]),
        (MODERN, &[disk, root]),
        ("User-Agent: LXD 6.1 (Linux; x86_64; 6.8)", &[disk, root]),
        (INCUS, &[root]),
        ("User-Agent: Incus 6.23 (Linux; x86_64; 6.8)", &[root]),
        ("User-Agent: python-simplestreams/0.1", &[root]),
        ("User-Agent: ", &[root]),
    ] {
        assert_eq!(deltas(&server, "", agent, 1).await, expected, "{agent}");
        assert_eq!(deltas(&server, "", agent, 0).await, [""; 0], "nothing is before the first version: {agent}");
    }
    let items = items(&server, "", MODERN, 1).await;
    for (key, ftype, target, base) in
        [(root, "squashfs.vcdiff", container(1), container(0)), (disk, "disk-kvm.img.vcdiff", machine(1), machine(0))]
    {
        let bytes = delta(&target, &base);
        let path = format!("images/{}.vcdiff", digest(&bytes));
        let expected = serde_json::json!({
            "ftype": ftype, "path": path, "size": bytes.len(), "sha256": digest(&bytes).to_string(), "delta_base": SERIALS[0],
        });
        assert_eq!(items[key], expected);
        for scope in ["", "/p/default", "/only/arch=amd64"] {
            let file = server.get(&format!("{scope}/{path}"), &[]).await;
            assert_eq!((file.status.as_u16(), &file.body), (200, &bytes));
            assert_eq!(file.header("content-type"), "application/octet-stream");
            assert_eq!(file.header("cache-control"), "public, max-age=31536000, immutable");
        }
        let plain = server.plain(&format!("/{path}"), &["Range: bytes=2-5"]).await;
        assert_eq!(
            (plain.status.as_u16(), plain.body.as_slice()),
            (206, &bytes[2..6]),
            "LXD and Incus try it in plain first"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_takes_the_base_away_takes_the_delta_with_it() {
    let server = server("default", true, 3).await;
    for base in 0..2 {
        list(&server, &container(2), &container(base), 10 - base as u64).await;
    }
    list(&server, &machine(2), &machine(0), 0).await;
    for (prefix, agent, expected) in [
        ("", LXD, &["root.20250101_07:42.vcdiff"][..]),
        ("/only/latest=3", LXD, &["root.20250101_07:42.vcdiff"]),
        ("/only/latest=2", LXD, &["root.20250102_07:42.vcdiff"]),
        ("/only/latest=1", LXD, &[]),
        ("/only/latest=1", MODERN, &[]),
        ("/only/type=virtual-machine", LXD, &[]),
        ("/only/type=virtual-machine", MODERN, &["disk.20250101_07:42.vcdiff"]),
        ("/only/type=container", MODERN, &["root.20250101_07:42.vcdiff"]),
    ] {
        assert_eq!(deltas(&server, prefix, agent, 2).await, expected, "{prefix} {agent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_leaves_with_its_base_and_is_served_for_the_grace() {
    let server = server("default", true, 2).await;
    list(&server, &container(1), &container(0), 0).await;
    let address = address(&container(1), &container(0));
    let catalog = &server.app.catalog;
    let images = catalog.images(&Viewer::operator(), &ProjectName::default_project(), None, 9).await;
    let base = images
        .unwrap()
        .into_iter()
        .map(|stored| stored.image)
        .find(|image| image.files.iter().any(|(_, file)| file.digest == digest(&container(0))));
    catalog.delete_image(&ProjectName::default_project(), &base.unwrap().fingerprint, now()).await.unwrap();
    assert_eq!(deltas(&server, "", LXD, 1).await, [""; 0]);
    assert_eq!(server.get(&address, &[]).await.status, 200, "lists are an hour old");
    let day = 24 * 3600;
    let sweep = async |seconds| {
        server.app.publisher.sweep(now().plus_seconds(seconds), day, &mut |_| ()).await.unwrap().retired
    };
    assert_eq!(sweep(10).await, 0);
    assert_eq!(server.get(&address, &[]).await.status, 200);
    assert_eq!(sweep(i64::from(day) + 10).await, 2, "the base and the delta; the metadata is the machine's, too");
    server.get(&address, &[]).await.is_text(404, NO_FILE);
    assert!(!server.app.blobs.list().any(|stored| stored.unwrap() == digest(&delta(&container(1), &container(0)))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_the_delta_from_what_its_clients_hold() {
    let server = server("team", false, 3).await;
    let (hosts, identity) = server.token("hosts", May::be("team", Role::Viewer)).await;
    let (others, other) = server.token("others", May::be("team", Role::Viewer)).await;
    let prefix = |secret: &Secret| format!("/t/{}", secret.expose());
    let [host, next] = ["192.0.2.7", "192.0.2.8"].map(from_address);
    // Two hosts download the first version and one of them then the second.
    let get = async |connection: &Connection, agent: &str, version: usize, key: &str| -> Answer {
        let list = format!("{}/streams/v1/images.json", prefix(&hosts));
        let list = server.ask(connection, Method::GET, &list, &[agent]).await.json();
        let item = &list["products"]["debian:bookworm:amd64:default"]["versions"][SERIALS[version]]["items"][key];
        let path = item["path"].as_str().unwrap_or_else(|| panic!("no {key} in {list}"));
        server.ask(connection, Method::GET, &resolved(&prefix(&hosts), path), &[agent]).await
    };
    for connection in [&host, &next] {
        let file = get(connection, LXD, 0, "root.squashfs").await;
        assert_eq!((file.status.as_u16(), file.body), (200, container(0)));
    }
    assert_eq!(get(&next, LXD, 1, "root.squashfs").await.status, 200);
    server.state.flush_used().await;
    // Of all clients, most hold the second version.
    list(&server, &container(2), &container(0), 2).await;
    list(&server, &container(2), &container(1), 9).await;
    assert_eq!(held(&server, &identity).await.len(), 2);
    let (first, second) = ("root.20250101_07:42.vcdiff", "root.20250102_07:42.vcdiff");
    // As many of its clients hold the one as the other; the digest decides.
    let expected = if digest(&container(0)) < digest(&container(1)) { first } else { second };
    assert_eq!(deltas(&server, &prefix(&hosts), LXD, 2).await, [expected]);
    assert_eq!(deltas(&server, &prefix(&others), LXD, 2).await, [second], "nothing is known of them");
    assert_eq!(deltas(&server, &format!("{}/p/team", prefix(&others)), INCUS, 2).await, [second]);
    // The second host brings itself up to date by the delta; the first one is left.
    if expected == first {
        // What is remembered of a token is renewed with the next revision.
        assert_eq!(get(&next, LXD, 2, "root.squashfs").await.status, 200);
    } else {
        let file = get(&next, LXD, 2, second).await;
        assert_eq!((file.status.as_u16(), file.body), (200, delta(&container(2), &container(1))));
    }
    assert_eq!(held(&server, &identity).await, [digest(&container(0))], "it holds what comes out");
    publish(&server, "team", false, 3).await;
    assert_eq!(deltas(&server, &prefix(&hosts), LXD, 2).await, [first]);
    assert_eq!(deltas(&server, &format!("{}/p/team", prefix(&hosts)), INCUS, 2).await, [first]);
    assert_eq!(
        deltas(&server, &format!("{}/only/latest=3", prefix(&hosts)), LXD, 2).await,
        [second],
        "it is not listed there"
    );
    assert_eq!(deltas(&server, &prefix(&others), LXD, 2).await, [second]);
    assert_eq!(held(&server, &other).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_have_the_target_may_not_have_the_delta() {
    let server = server("team", false, 2).await;
    server.make_project("other").await;
    list(&server, &container(1), &container(0), 0).await;
    make_view(&server, "debian", "team", "os=debian type=container latest=1").await;
    make_view(&server, "machines", "team", "type=vm").await;
    let bound = |name: &str| May { view: Some(ViewName::new(name).unwrap()), ..May::be("team", Role::Viewer) };
    let (team, _) = server.token("team", May::be("team", Role::Viewer)).await;
    let (other, _) = server.token("other", May::be("other", Role::Viewer)).await;
    let (debian, _) = server.token("debian", bound("debian")).await;
    let (machines, _) = server.token("machines", bound("machines")).await;
    let address = address(&container(1), &container(0));
    let missing = server.get(&format!("/images/{}.vcdiff", "0".repeat(64)), &[]).await;
    let hidden = server.get(&address, &[]).await;
    assert_eq!((hidden.status, &hidden.headers, &hidden.body), (missing.status, &missing.headers, &missing.body));
    for (secret, status) in [(&team, 200), (&debian, 200), (&other, 404), (&machines, 404)] {
        let answer = server.get(&address, &[&bearer(secret)]).await;
        assert_eq!(answer.status, status);
        let in_address = server.get(&format!("/t/{}{address}", secret.expose()), &[]).await;
        assert_eq!((in_address.status, in_address.body), (answer.status, answer.body));
    }
    let private = server.get(&address, &[&bearer(&team)]).await;
    assert_eq!(private.header("cache-control"), "private, max-age=86400, immutable");
    // The bytes of a delta are no file of an image, and the other way round.
    for (name, file) in [("squashfs", delta(&container(1), &container(0))), ("vcdiff", container(1))] {
        let address = format!("/images/{}.{name}", digest(&file));
        server.get(&address, &[&bearer(&team)]).await.is_text(404, NO_FILE);
    }
    // Signed addresses that LXD is given.
    let prefix = format!("/t/{}", team.expose());
    let path = items(&server, &prefix, LXD, 1).await["root.20250101_07:42.vcdiff"]["path"].as_str().unwrap().to_owned();
    let signed = resolved(&prefix, &path);
    assert!(signed.starts_with("/f/"), "{signed}");
    assert_eq!(server.get(&signed, &[LXD]).await.body, delta(&container(1), &container(0)));
    let elsewhere = server.ask(&from_address("198.51.100.9"), Method::GET, &signed, &[LXD]).await;
    elsewhere.is_text(404, NO_FILE);
    let lines = server.app.catalog.audit(&Default::default(), 99).await.unwrap().len();
    server.state.flush_downloads().await;
    let noted = server.app.catalog.audit(&Default::default(), 99).await.unwrap();
    assert!(noted.len() > lines, "downloads of private deltas are in the audit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_counts_when_it_is_one_of_a_root_file_from_its_beginning() {
    let server = server("team", false, 2).await;
    list(&server, &container(1), &container(0), 0).await;
    let (secret, identity) = server.token("hosts", May::be("team", Role::Viewer)).await;
    let bearer = bearer(&secret);
    let root = format!("/images/{}.squashfs", digest(&container(0)));
    let ask = async |method: Method, path: &str, headers: &[&str]| {
        let headers = [headers, &[bearer.as_str()]].concat();
        server.ask(&Connection::test_tls(), method, path, &headers).await.status.as_u16()
    };
    let metadata = Sample { serial: SERIALS[0], ..Sample::default() }.metadata();
    assert_eq!(ask(Method::GET, &format!("/images/{}.tar", digest(&metadata)), &[]).await, 200);
    assert_eq!(ask(Method::HEAD, &root, &[]).await, 200);
    assert_eq!(ask(Method::GET, &root, &["Range: bytes=100-"]).await, 206);
    assert_eq!(ask(Method::GET, &root, &["Range: bytes=9999-"]).await, 416);
    assert_eq!(ask(Method::GET, &root, &[&format!("If-None-Match: \"{}\"", digest(&container(0)))]).await, 304);
    assert_eq!(held(&server, &identity).await, []);
    for (path, headers) in [(&root, &["Range: bytes=0-"][..]), (&root, &[])] {
        let expected = if headers.is_empty() { 200 } else { 206 };
        assert_eq!(ask(Method::GET, path, headers).await, expected);
        assert_eq!(held(&server, &identity).await, [digest(&container(0))]);
        assert_eq!(ask(Method::GET, &address(&container(1), &container(0)), &[]).await, 200);
        assert_eq!(held(&server, &identity).await, [], "it holds what comes out now");
    }
    let fingerprint = super::kit::fingerprint(&[&metadata, &container(0)]);
    let export = format!("/1.0/images/{fingerprint}/export?project=team");
    assert_eq!(ask(Method::GET, &export, &[]).await, 200);
    assert_eq!(held(&server, &identity).await, [digest(&container(0))], "over the API");
    let secret = server.app.catalog.setting("held_secret").await.unwrap().unwrap();
    let again = server.again(Settings::default(), || Timestamp::EPOCH);
    again.state.flush_used().await;
    assert_eq!(again.app.catalog.setting("held_secret").await.unwrap(), Some(secret), "made once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_document_is_the_one_with_deltas() {
    let server = server("default", true, 2).await;
    list(&server, &container(1), &container(0), 0).await;
    let key = headwater::openpgp::StreamKey::create("Images of Example", now()).unwrap();
    server.app.catalog.add_stream_key(&key, false, now()).await.unwrap();
    let plain = server.get("/streams/v1/images.json", &[MODERN]).await;
    let signed = server.get("/streams/v1/images.sjson", &[MODERN]).await;
    assert_eq!(crate::kit::gpg::signed_text(&signed.body), plain.text());
    assert!(plain.text().contains("root.20250101_07:42.vcdiff"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_tree_has_the_deltas_that_it_names() {
    let server = server("default", true, 3).await;
    list(&server, &container(2), &container(0), 0).await;
    list(&server, &container(2), &container(1), 4).await;
    list(&server, &machine(2), &machine(1), 0).await;
    let to = server.folder.path().join("tree");
    let export = async |family, view: &str| {
        let request = ExportRequest {
            to: to.clone(),
            project: ProjectName::default_project(),
            view: view.parse().unwrap(),
            family,
            viewer: Viewer::guest(),
            grace_seconds: 0,
            rehash: true,
        };
        server.app.publisher.export(request, now()).await.unwrap();
        let document: Value =
            serde_json::from_slice(&std::fs::read(to.join("streams/v1/images.json")).unwrap()).unwrap();
        let mut named: Vec<String> = paths(&document);
        named.sort();
        named.dedup();
        let there = std::fs::read_dir(to.join("images")).unwrap();
        let mut there: Vec<String> =
            there.map(|entry| format!("images/{}", entry.unwrap().file_name().into_string().unwrap())).collect();
        there.sort();
        assert_eq!(there, named, "every file that is named, and no other");
        named.into_iter().filter(|path| path.ends_with(".vcdiff")).collect::<Vec<_>>()
    };
    let expected = address(&container(2), &container(1))[1..].to_owned();
    for family in Family::ALL {
        assert_eq!(export(family, "").await, [expected.as_str()], "one for each version, and of disks none: {family}");
    }
    assert_eq!(std::fs::read(to.join(&expected)).unwrap(), delta(&container(2), &container(1)));
    assert_eq!(export(Family::Lxd, "latest=1").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_delta_is_told_as_such_and_taken_out_of_the_lists() {
    let server = server("default", true, 3).await;
    list(&server, &container(2), &container(0), 0).await;
    list(&server, &container(2), &container(1), 4).await;
    let verify = async |remove| {
        let mut told = Vec::new();
        let mut tell = |event: VerifyEvent<'_>| match event {
            VerifyEvent::Read(_) => {}
            VerifyEvent::Damaged { image, .. } => panic!("{} is whole", image.image.fingerprint),
            VerifyEvent::DamagedDelta { file, damage, target, base } => {
                told.push(format!("{} to {target} from {base} {damage}", file.name()));
            }
        };
        let totals = server.app.publisher.verify(remove, now(), &mut tell).await.unwrap();
        told.sort();
        ((totals.damaged, totals.deltas, totals.removed), told)
    };
    assert_eq!(verify(false).await, ((0, 0, 0), vec![]));
    let stored = |bytes: &[u8]| {
        let name = digest(bytes).to_string();
        server.folder.path().join("blobs/sha256").join(&name[..2]).join(name)
    };
    let (first, second) = (delta(&container(2), &container(0)), delta(&container(2), &container(1)));
    std::fs::remove_file(stored(&second)).unwrap();
    std::fs::write(stored(&second), vec![0; second.len()]).unwrap();
    std::fs::remove_file(stored(&first)).unwrap();
    let zeros = digest(&vec![0; second.len()]);
    let line = |bytes: &[u8], base: usize, what: String| {
        let (target, base) = (digest(&container(2)), digest(&container(base)));
        format!("{}.vcdiff to {target} from {base} {what}", digest(bytes))
    };
    let mut expected =
        vec![line(&first, 0, "is missing".into()), line(&second, 1, format!("is damaged: its SHA-256 is {zeros}"))];
    expected.sort();
    assert_eq!(verify(false).await, ((2, 2, 0), expected.clone()));
    assert_eq!(deltas(&server, "", LXD, 2).await, ["root.20250102_07:42.vcdiff"], "nothing was asked to be changed");
    assert_eq!(verify(true).await, ((2, 2, 1), expected));
    assert_eq!(deltas(&server, "", LXD, 2).await, [""; 0]);
    assert_eq!(verify(false).await, ((0, 0, 0), vec![]));
    // And made again.
    list(&server, &container(2), &container(1), 4).await;
    assert_eq!(deltas(&server, "", LXD, 2).await, ["root.20250102_07:42.vcdiff"]);
    assert_eq!(server.get(&address(&container(2), &container(1)), &[]).await.body, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_that_are_shown_as_one_share_their_deltas() {
    let server = Server::new().await;
    for project in ["factory", "release"] {
        server.make_project(project).await;
    }
    // The first version is in one project, the third in the other: none has both.
    publish(&server, "release", true, 0).await;
    publish(&server, "factory", true, 1).await;
    publish(&server, "factory", true, 2).await;
    list(&server, &container(2), &container(0), 5).await;
    list(&server, &container(2), &container(1), 2).await;
    let grants = ["factory", "release"].map(|project| May::be(project, Role::Viewer).grants).concat();
    let (secret, _) = server.token("both", May { grants, ..May::nothing() }).await;
    let prefix = format!("/t/{}", secret.expose());
    assert_eq!(deltas(&server, &prefix, LXD, 2).await, ["root.20250101_07:42.vcdiff"]);
    assert_eq!(deltas(&server, "/p/factory", LXD, 2).await, ["root.20250102_07:42.vcdiff"]);
    let fingerprint =
        super::kit::fingerprint(&[&Sample { serial: SERIALS[0], ..Sample::default() }.metadata(), &container(0)]);
    let release = ProjectName::new("release").unwrap();
    server.app.catalog.delete_image(&release, &fingerprint.parse().unwrap(), now()).await.unwrap();
    assert_eq!(deltas(&server, &prefix, LXD, 2).await, ["root.20250102_07:42.vcdiff"]);
}
