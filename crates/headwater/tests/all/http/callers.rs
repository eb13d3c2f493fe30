//! By what somebody is known: tokens in each place where clients put them, certificates, and both at once.

use headwater::auth::{Role, Secret};
use headwater::http::Connection;
use headwater_formats::names::{ProjectName, ViewName};
use headwater_formats::timestamp::Timestamp;
use headwater_formats::view::View;
use http::Method;

use super::kit::{Sample, Server, now};
use super::people::{May, basic, bearer, certificate, from_address, shown};

const UNKNOWN: &str = "the credentials that were sent are not known here; leave them out to see what is public";
const NO_TOKEN: &str =
    "the token in the address is not known here; it may have been revoked, or have ended: ask for a new one";

/// A server with a private image in the project `team`.
async fn with_team() -> (Server, String) {
    let server = Server::new().await;
    server.make_project("team").await;
    let fingerprint = server.publish_in("team", &[Sample::default().unified()], &[], false).await;
    (server, format!("/1.0/images/{fingerprint}?project=team"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_taken_from_every_place_where_clients_put_it() {
    let (server, image) = with_team().await;
    let (secret, identity) = server.token("ci", May::be("team", Role::Viewer)).await;
    server.get(&image, &[]).await.is_api_error(404, "Project not found");
    for line in [bearer(&secret), basic("", secret.expose()), basic("anybody", secret.expose())] {
        assert_eq!(server.get(&image, &[&line]).await.status, 200, "{line}");
        assert_eq!(server.get("/p/team/streams/v1/images.json", &[&line]).await.status, 200, "{line}");
    }
    let insisting = server.get(&image, &[&bearer(&secret), "X-LXD-authenticated: true"]).await;
    assert_eq!(insisting.status, 200);
    let address = format!("/t/{}/p/team/streams/v1/images.json", secret.expose());
    assert_eq!(server.get(&address, &[]).await.status, 200);
    assert_eq!(server.get(&address, &[&bearer(&secret)]).await.status, 200, "the same one twice");
    server.state.flush_used().await;
    let known = server.app.catalog.identity(identity.id, now()).await.unwrap().unwrap();
    assert_eq!(known.last_used_at, Some(now()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_unknown_revoked_or_at_their_end_are_an_error() {
    let (server, image) = with_team().await;
    let ended = May { expires_at: Some(now()), ..May::be("team", Role::Viewer) };
    let lasting = May { expires_at: Some(Timestamp::from_unix(now().unix() + 1).unwrap()), ..ended.clone() };
    let (ended, _) = server.token("ended", ended).await;
    let (lasting, _) = server.token("lasting", lasting).await;
    let (revoked, identity) = server.token("revoked", May::everything()).await;
    assert_eq!(server.get(&image, &[&bearer(&lasting)]).await.status, 200);
    assert_eq!(server.get(&image, &[&bearer(&revoked)]).await.status, 200);
    server.app.catalog.remove_identity(identity.id, now()).await.unwrap();
    for secret in [&ended, &revoked, &Secret::random().unwrap()] {
        server.get(&image, &[&bearer(secret)]).await.is_api_error(403, "not authorized");
        server.get("/1.0", &[&basic("me", secret.expose())]).await.is_api_error(403, "not authorized");
        server.get("/streams/v1/index.json", &[&bearer(secret)]).await.is_text(401, UNKNOWN);
        server.get(&format!("/t/{}/streams/v1/index.json", secret.expose()), &[]).await.is_text(403, NO_TOKEN);
    }
    server.get("/t/short/streams/v1/index.json", &[]).await.is_text(403, NO_TOKEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_credentials_that_differ() {
    let (server, image) = with_team().await;
    let (one, _) = server.token("one", May::be("team", Role::Viewer)).await;
    let (other, _) = server.token("other", May::be("team", Role::Viewer)).await;
    let address = format!("/t/{}/streams/v1/index.json", one.expose());
    let sentence = "the address and the Authorization header carry different credentials; send one of them";
    server.get(&address, &[&bearer(&other)]).await.is_text(400, sentence);
    server.get(&address, &[&basic("me", "guess")]).await.is_text(400, sentence);
    let two = server.get(&image, &[&bearer(&one), &bearer(&one)]).await;
    two.is_api_error(403, "not authorized");
    // A certificate that may and a header that may not: the header was typed by somebody.
    let admin = certificate("admin", (-1, 1));
    server.trust(&admin, May::everything()).await;
    let (weak, _) = server.token("weak", May::nothing()).await;
    assert_eq!(server.ask(&shown(&admin), Method::GET, &image, &[]).await.status, 200);
    server.ask(&shown(&admin), Method::GET, &image, &[&bearer(&weak)]).await.is_api_error(404, "Project not found");
    server
        .ask(&shown(&admin), Method::GET, &image, &["Authorization: Bearer x"])
        .await
        .is_api_error(403, "not authorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_count_when_they_are_known_and_within_their_dates() {
    let (server, image) = with_team().await;
    let ask =
        async |connection: &Connection, headers: &[&str]| server.ask(connection, Method::GET, &image, headers).await;
    let stranger = shown(&certificate("stranger", (-1, 1)));
    ask(&stranger, &[]).await.is_api_error(404, "Project not found");
    ask(&stranger, &["X-Incus-authenticated: true"]).await.is_api_error(403, "not authorized");
    assert_eq!(server.ask(&stranger, Method::GET, "/1.0", &[]).await.status, 200, "a guest, no error");
    for (days, status) in [((-1, 1), 200), ((-2, -1), 404), ((1, 2), 404)] {
        let certificate = certificate("somebody", days);
        server.trust(&certificate, May::be("team", Role::Viewer)).await;
        assert_eq!(ask(&shown(&certificate), &[]).await.status, status, "{days:?}");
    }
    let ended = certificate("ended", (-1, 1));
    server.trust(&ended, May { expires_at: Some(now()), ..May::be("team", Role::Viewer) }).await;
    ask(&shown(&ended), &[]).await.is_api_error(404, "Project not found");
    let revoked = certificate("revoked", (-1, 1));
    let identity = server.trust(&revoked, May::be("team", Role::Viewer)).await;
    assert_eq!(ask(&shown(&revoked), &[]).await.status, 200);
    server.app.catalog.remove_identity(identity.id, now()).await.unwrap();
    ask(&shown(&revoked), &[]).await.is_api_error(404, "Project not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_view_is_told_what_it_is_for() {
    let (server, image) = with_team().await;
    let (view, team) = (ViewName::new("stable").unwrap(), ProjectName::new("team").unwrap());
    server.app.catalog.create_view(&view, &team, &View::default(), "", now()).await.unwrap();
    let (secret, _) = server.token("cd", May { view: Some(view), ..May::be("team", Role::Viewer) }).await;
    let sentence =
        "not authorized: this token is bound to a view and works for streams only; ask for a token without a view";
    for path in [&image, "/1.0/images", "/1.0/operations", "/1.0/certificates", "/1.0/images/aliases?project=team"] {
        server.get(path, &[&bearer(&secret)]).await.is_api_error(403, sentence);
    }
    for path in ["/", "/1.0"] {
        assert_eq!(server.get(path, &[&bearer(&secret)]).await.status, 200, "{path}");
    }
    server.ask(&Connection::test_tls(), Method::PUT, "/1.0", &[&bearer(&secret)]).await.is_api_error(403, sentence);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_in_clear_are_refused_before_anything_is_looked_up() {
    let (server, _) = with_team().await;
    let (secret, identity) = server.token("ci", May::be("team", Role::Viewer)).await;
    let clear =
        "the request carries credentials in clear; use https:// and the same port, and consider them known to others";
    let zeros = "0".repeat(64);
    for path in [
        format!("/t/{}/streams/v1/index.json", secret.expose()),
        format!("/t/{}/images/{zeros}.squashfs", secret.expose()),
        "/t/short/streams/v1/index.json".to_owned(),
        "/t/%ff".to_owned(),
    ] {
        server.plain(&path, &[]).await.is_text(400, clear);
    }
    server.plain(&format!("/images/{zeros}.squashfs"), &[&bearer(&secret)]).await.is_text(400, clear);
    let only =
        "this is answered over https only; use https:// and the same port (a proxy in front has to speak https to it)";
    server.plain(&format!("/f/abc/{zeros}.squashfs"), &[]).await.is_text(400, only);
    server.plain("/f/nonsense", &[]).await.is_text(400, only);
    server.state.flush_used().await;
    let known = server.app.catalog.identity(identity.id, now()).await.unwrap().unwrap();
    assert_eq!(known.last_used_at, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_wrong_tokens_are_told_to_come_back_and_right_ones_are_not() {
    let (server, image) = with_team().await;
    let (secret, _) = server.token("ci", May::be("team", Role::Viewer)).await;
    let here = from_address("192.0.2.7");
    let guesses = futures_util::future::join_all((0..40).map(|number| {
        let (server, here, image) = (&server, &here, &image);
        async move { server.ask(here, Method::GET, image, &[&format!("Authorization: Bearer {number}")]).await }
    }));
    let right = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        server.ask(&here, Method::GET, &image, &[&bearer(&secret)]).await
    };
    let (guesses, right) = tokio::join!(guesses, right);
    assert_eq!(right.status, 200, "whatever else comes from its network");
    let (late, told): (Vec<_>, Vec<_>) = guesses.iter().partition(|answer| answer.status == 429);
    for answer in &told {
        answer.is_api_error(403, "not authorized");
    }
    assert!(!told.is_empty() && late.len() > 5, "{} {}", told.len(), late.len());
    for answer in late {
        answer.is_api_error(
            429,
            "too many wrong credentials have come from your network; wait 5 seconds, and check what sends them",
        );
        assert_eq!(answer.header("retry-after"), "5");
    }
    let elsewhere = server.ask(&from_address("192.0.2.8"), Method::GET, &image, &["Authorization: Bearer x"]).await;
    elsewhere.is_api_error(403, "not authorized");
}
