//! Files at signed addresses, and files that a token may not have.

use headwater::auth::address::AddressKey;
use headwater::auth::{Role, Secret};
use headwater::catalog::AuditQuery;
use headwater::http::{Connection, Settings};
use headwater_formats::names::ViewName;
use headwater_formats::timestamp::Timestamp;
use http::Method;

use super::kit::{Answer, Sample, Server, fingerprint, now, squashfs};
use super::people::{May, bearer, from_address};
use super::private_streams::{LXD, both, make_view, paths, resolved, server};

const NO_FILE: &str = "there is no such file here; fetch the list of images again";

/// The address of the first file that the document at `/t/<token><place>` names, asked for from there.
async fn signed(server: &Server, connection: &Connection, secret: &Secret, place: &str) -> String {
    let prefix = format!("/t/{}{place}", secret.expose());
    let answer = server.ask(connection, Method::GET, &format!("{prefix}/streams/v1/images.json"), &[LXD]).await;
    let path = paths(&answer.json()).swap_remove(0);
    resolved(&prefix, &path)
}

/// The address of another file with the same grant.
fn instead(address: &str, file: &str) -> String {
    let (grant, _) = address.rsplit_once('/').unwrap();
    format!("{grant}/{file}")
}

fn unified(os: &'static str) -> (Vec<u8>, String) {
    let bytes = Sample { os, ..Sample::default() }.unified();
    let name = format!("{}.tar", fingerprint(&[&bytes]));
    (bytes, name)
}

#[track_caller]
fn missing(answer: &Answer) {
    answer.is_text(404, NO_FILE);
    assert_eq!(answer.header("cache-control"), "no-store");
}

async fn with_token() -> (Server, Secret, String) {
    let server = server().await;
    let (secret, _) = server.token("team", May::be("team", Role::Viewer)).await;
    let address = signed(&server, &Connection::test_tls(), &secret, "/only/os=debian").await;
    (server, secret, address)
}

fn hours_later<const HOURS: i64>() -> Timestamp {
    now().plus_seconds(HOURS * 3600)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_had_from_where_the_list_was_sent_to_and_from_nowhere_else() {
    let (server, secret, _) = with_token().await;
    let missing_file = server.get(&format!("/images/{}.tar", "0".repeat(64)), &[]).await;
    for (from, same, others) in [
        ("192.0.2.7", &["192.0.2.7", "::ffff:192.0.2.7"][..], &["192.0.2.8", "127.0.0.1", "2001:db8::1"][..]),
        ("::ffff:192.0.2.7", &["192.0.2.7"], &["::1", "::ffff:192.0.2.8"]),
        ("2001:db8:1:2:3::4", &["2001:db8:1:2::", "2001:db8:1:2:ffff::1"], &["2001:db8:1:3:3::4", "192.0.2.7"]),
    ] {
        let address = signed(&server, &from_address(from), &secret, "/only/os=debian").await;
        for client in same {
            let answer = server.ask(&from_address(client), Method::GET, &address, &[LXD]).await;
            assert_eq!(answer.status, 200, "{client}");
        }
        for client in others {
            let answer = server.ask(&from_address(client), Method::GET, &address, &[LXD]).await;
            missing(&answer);
            assert_eq!((&answer.headers, &answer.body), (&missing_file.headers, &missing_file.body), "{client}");
            // The token itself would help, but not the address alone.
            let answer = server.ask(&from_address(client), Method::HEAD, &address, &[LXD]).await;
            assert_eq!(answer.status, 404);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_do_not_count_when_the_operator_says_so() {
    let (server, secret, bound) = with_token().await;
    let server = server.again(Settings { bind_addresses: false, ..Settings::default() }, now);
    let elsewhere = from_address("198.51.100.9");
    missing(&server.ask(&elsewhere, Method::GET, &bound, &[]).await);
    assert_eq!(server.get(&bound, &[]).await.status, 200, "what was signed before goes on where it was good");
    let free = signed(&server, &Connection::test_tls(), &secret, "/only/os=debian").await;
    assert_eq!(server.ask(&elsewhere, Method::GET, &free, &[]).await.status, 200);
    let server = server.again(Settings::default(), now);
    missing(&server.ask(&elsewhere, Method::GET, &free, &[]).await);
    missing(&server.get(&free, &[]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_good_for_a_day_and_says_so() {
    let (server, secret, address) = with_token().await;
    let answer = server.get(&address, &[]).await;
    // 08:53:20: until the end of the hour, and 24 more.
    assert_eq!(answer.header("cache-control"), format!("private, max-age={}, immutable", 24 * 3600 + 400));
    let part = server.get(&address, &["Range: bytes=0-1"]).await;
    assert_eq!((part.status.as_u16(), part.header("cache-control")), (206, answer.header("cache-control")));
    let tag = format!("If-None-Match: {}", answer.header("etag"));
    assert_eq!(server.get(&address, &[&tag]).await.status, 304);
    let server = server.again(Settings::default(), hours_later::<24>);
    assert_eq!(server.get(&address, &[]).await.header("cache-control"), "private, max-age=400, immutable");
    let next = signed(&server, &Connection::test_tls(), &secret, "/only/os=debian").await;
    assert_ne!(next, address);
    let server = server.again(Settings::default(), hours_later::<25>);
    missing(&server.get(&address, &[]).await);
    missing(&server.get(&address, &[&tag]).await);
    assert_eq!(server.get(&next, &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_address_is_no_address() {
    let (server, _, address) = with_token().await;
    assert_eq!(server.get(&address, &[]).await.status, 200);
    let grant = address.split('/').nth(2).unwrap();
    assert_eq!(grant.len(), 64);
    for position in 0..grant.len() {
        let other = if grant.as_bytes()[position] == b'a' { "b" } else { "a" };
        let mut changed = grant.to_owned();
        changed.replace_range(position..=position, other);
        missing(&server.get(&address.replace(grant, &changed), &[]).await);
    }
    for changed in [&grant[1..], &grant.to_uppercase(), "0", &format!("{grant}a"), &"a".repeat(64)] {
        missing(&server.get(&address.replace(grant, changed), &[]).await);
    }
    // The grant is no name for anything else.
    assert_eq!(server.get(&format!("/f/{grant}"), &[]).await.status, 404);
    assert_eq!(server.get(&format!("/f/{grant}/streams/v1/index.json"), &[]).await.status, 404);
    assert_eq!(server.get(&format!("/t/{grant}/streams/v1/index.json"), &[]).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_opens_what_its_holder_may_see_and_nothing_else() {
    let (server, _, address) = with_token().await;
    let (_, of_other) = unified("Fedora");
    let (public, of_default) = unified("Ubuntu");
    missing(&server.get(&instead(&address, &of_other), &[]).await);
    missing(&server.get(&instead(&address, &format!("{}.tar", "0".repeat(64))), &[]).await);
    let metadata = fingerprint(&[&Sample::default().metadata()]);
    assert_eq!(server.get(&instead(&address, &format!("{metadata}.tar")), &[]).await.status, 200);
    missing(&server.get(&instead(&address, &format!("{metadata}.tar.xz")), &[]).await);
    assert_eq!(server.get(&instead(&address, &of_default), &[]).await.body, public, "what everybody may have");
    let (wider, _) = server.token("wider", both("team", "other")).await;
    let wider = signed(&server, &Connection::test_tls(), &wider, "").await;
    assert_eq!(server.get(&instead(&wider, &of_other), &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_ends_its_addresses_with_it() {
    let server = server().await;
    for expires in [None, Some(now().plus_seconds(60))] {
        let may = May { expires_at: expires, ..May::be("team", Role::Viewer) };
        let (secret, identity) = server.token("ci", may).await;
        let address = signed(&server, &Connection::test_tls(), &secret, "/only/os=debian").await;
        let below = format!("/t/{}/images/{}", secret.expose(), address.rsplit('/').next().unwrap());
        assert_eq!([server.get(&address, &[]).await.status, server.get(&below, &[]).await.status], [200, 200]);
        match expires {
            None => {
                server.app.catalog.remove_identity(identity.id, now()).await.unwrap();
                missing(&server.get(&address, &[]).await);
                assert_eq!(server.get(&below, &[]).await.status, 403);
            }
            Some(_) => {
                let state = headwater::http::State::new(server.app.clone(), Settings::default(), hours_later::<1>);
                let request = http::Request::get(&address).body(headwater::http::incoming::Incoming::empty()).unwrap();
                let connection = Connection::test_tls();
                let answer = headwater::http::handle(&std::sync::Arc::new(state), request, &connection).await;
                assert_eq!(answer.status(), 404);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_signs_and_the_old_one_stays_good_until_it_is_revoked() {
    let (server, secret, old) = with_token().await;
    let catalog = server.app.catalog.clone();
    assert_eq!(catalog.address_keys().await.unwrap().len(), 1, "made when it was needed");
    let rotate = async |forget: Timestamp| {
        catalog.add_address_key(&AddressKey::random(now()).unwrap(), None, forget).await.unwrap().len()
    };
    assert_eq!(rotate(AddressKey::useless_before(now())).await, 2);
    let new = signed(&server, &Connection::test_tls(), &secret, "/only/os=debian").await;
    assert_ne!(old, new);
    for address in [&old, &new] {
        assert_eq!(server.get(address, &[]).await.status, 200);
    }
    assert_eq!(rotate(Timestamp::EPOCH.plus_seconds(i64::MAX)).await, 1);
    let newest = signed(&server, &Connection::test_tls(), &secret, "/only/os=debian").await;
    for address in [&old, &new] {
        missing(&server.get(address, &[]).await);
    }
    assert_eq!(server.get(&newest, &[]).await.status, 200);
    // A month later, a key of the server's own accord; the one before has nothing left to be good for.
    let server = server.again(Settings::default(), hours_later::<{ 31 * 24 }>);
    signed(&server, &Connection::test_tls(), &secret, "/only/os=debian").await;
    let keys = catalog.address_keys().await.unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0].created_at, hours_later::<{ 31 * 24 }>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_bound_to_a_view_gets_the_files_that_pass_it_whatever_their_age() {
    let server = server().await;
    make_view(&server, "newest", "team", "os=debian latest=1").await;
    let bound = May { view: Some(ViewName::new("newest").unwrap()), ..both("team", "other") };
    let (secret, _) = server.token("bound", bound).await;
    let before = signed(&server, &Connection::test_tls(), &secret, "").await;
    let newer = Sample { serial: "20250202_00:00", ..Sample::default() }.metadata();
    server.publish_in("team", &[newer, squashfs(2)], &[], false).await;
    let listed = signed(&server, &Connection::test_tls(), &secret, "").await;
    assert_ne!(before, listed, "the older one has left the list");
    assert_eq!(server.get(&before, &[]).await.status, 200, "a list that is an hour old still works");
    let name = before.rsplit('/').next().unwrap();
    let line = bearer(&secret);
    let below = |name: &str| format!("/t/{}/images/{name}", secret.expose());
    assert_eq!(server.get(&below(name), &[]).await.status, 200);
    assert_eq!(server.get(&format!("/images/{name}"), &[&line]).await.status, 200);
    // Of its own project but not of its view; of another project; public, but not of its view.
    for os in ["Alpine", "Fedora", "Ubuntu"] {
        let (_, name) = unified(os);
        missing(&server.get(&instead(&before, &name), &[]).await);
        missing(&server.get(&below(&name), &[]).await);
        missing(&server.get(&format!("/images/{name}"), &[&line]).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_names_who_had_a_private_file_and_from_where() {
    let (server, secret, address) = with_token().await;
    let (_, public) = unified("Alpine");
    assert_eq!(server.get(&instead(&address, &public), &[]).await.status, 200);
    assert_eq!(server.ask(&Connection::test_tls(), Method::HEAD, &address, &[]).await.status, 200);
    missing(&server.ask(&from_address("192.0.2.8"), Method::GET, &address, &[]).await);
    server.state.flush_downloads().await;
    let query = AuditQuery::default();
    let retrieved = async || {
        let lines = server.app.catalog.audit(&query, 1000).await.unwrap();
        lines.into_iter().filter(|line| line.action == "image-retrieved").collect::<Vec<_>>()
    };
    assert_eq!(retrieved().await, [], "nothing that is worth a line");
    assert_eq!(server.get(&address, &["Range: bytes=0-1"]).await.status, 206);
    assert_eq!(server.get(&address, &["Range: bytes=2-"]).await.status, 206);
    let below = format!("/t/{}/images/{}", secret.expose(), address.rsplit('/').next().unwrap());
    let elsewhere = from_address("::ffff:192.0.2.8");
    assert_eq!(server.ask(&elsewhere, Method::GET, &below, &[]).await.status, 200);
    server.state.flush_downloads().await;
    let digest = address.rsplit('/').next().unwrap().split('.').next().unwrap();
    let mut addresses = Vec::new();
    for line in retrieved().await {
        assert_eq!((line.subject.as_str(), line.credential.as_str()), (digest, secret.prefix()));
        addresses.push(line.address);
    }
    addresses.sort();
    assert_eq!(addresses, ["127.0.0.1", "192.0.2.8"]);
}
