//! Upstreams that know who asks: their private images come, of the project that they let us see, and no others.

use std::sync::Arc;

use data_encoding::BASE64;
use headwater::auth::{Actor, Certificate, Role};
use headwater::catalog::{Join, UpstreamCredential, UpstreamProtocol, UpstreamSettings};
use headwater::client::credential::ClientCertificate;
use headwater::client::{Client, ClientError};
use headwater::http::tls;
use headwater::operations::Invitation;
use headwater_formats::lxd::{JoinToken, WireTime};
use serde_json::json;

use super::kit::Mirror;
use crate::client::kit::{Reply, Sample, Split, Stub, certificate_now, now, quick, squashfs};
use crate::client::people::{Client as Upstream, Listening};
use crate::http::people::May;

/// Private images in `team` and `other`, a public one in the default project.
async fn upstream() -> (Upstream, Listening) {
    let upstream = Upstream::new(May::be("default", Role::Viewer)).await;
    for project in ["team", "other"] {
        upstream.server.make_project(project).await;
    }
    upstream.server.publish(&[Sample { release: "public", ..Sample::default() }.unified()]).await;
    let team = Sample { release: "team", ..Sample::default() };
    upstream.server.publish_in("team", &[team.metadata(), squashfs(1)], &["ours"], false).await;
    upstream
        .server
        .publish_in("other", &[Sample { release: "other", ..Sample::default() }.unified()], &[], false)
        .await;
    let listening = upstream.listen().await;
    (upstream, listening)
}

fn certified(ours: &ClientCertificate) -> UpstreamCredential {
    UpstreamCredential {
        certificate: ours.certificate().to_owned(),
        key: ours.key().to_owned(),
        ..UpstreamCredential::default()
    }
}

fn read(pem: &str) -> Certificate {
    Certificate::read(pem.as_bytes(), certificate_now()).unwrap()
}

/// What a server sees of the certificate.
fn seen(ours: &ClientCertificate) -> tls::ClientCertificate {
    let der = BASE64.decode(read(ours.certificate()).der_base64.as_bytes()).unwrap();
    tls::ClientCertificate { fingerprint: ours.fingerprint().to_owned(), der }
}

/// A mirror of a server that listens, at this path of it.
async fn mirror(at: &Listening, path: &str, protocol: UpstreamProtocol, settings: UpstreamSettings) -> Mirror {
    Mirror::at(&format!("{}{path}", at.url()), &at.pem, protocol, settings).await
}

fn of_project(project: &str, credential: UpstreamCredential) -> UpstreamSettings {
    UpstreamSettings { credential, upstream_project: project.into(), ..UpstreamSettings::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_certificate_brings_the_private_images_of_its_project_alone() {
    let (server, listening) = upstream().await;
    let ours = ClientCertificate::generate("headwater-up", now()).unwrap();
    server.server.trust(&seen(&ours), May::be("team", Role::Viewer)).await;
    for protocol in [UpstreamProtocol::Lxd, UpstreamProtocol::Incus] {
        let up = mirror(&listening, "", protocol, of_project("team", certified(&ours))).await;
        assert_eq!(up.runs().await, (1, 1, 0));
        assert_eq!(up.listed().await, ["team 20250101_07:42"]);
        let found = up.server.app.catalog.hand_made_alias(&"default".parse().unwrap(), &"ours".parse().unwrap()).await;
        assert!(found.unwrap().is_some(), "its names come along");
        assert_eq!(up.runs().await, (1, 0, 0));
        let up = mirror(&listening, "", protocol, of_project("other", certified(&ours))).await;
        let hidden = up.run().await.unwrap_err().to_string();
        assert!(hidden.contains("404"), "{hidden}");
        assert_eq!(up.listed().await, [""; 0]);
        let up = mirror(&listening, "", protocol, of_project("", certified(&ours))).await;
        assert_eq!(up.runs().await, (1, 1, 0), "without a project, what guests see of the default one");
        assert_eq!(up.listed().await, ["public 20250101_07:42"]);
    }
    // A guest gets nothing, and neither does who is known no more.
    let up = mirror(&listening, "", UpstreamProtocol::Lxd, of_project("team", UpstreamCredential::default())).await;
    assert!(up.run().await.unwrap_err().to_string().contains("404"));
    // Streams know certificates, too.
    let up = mirror(&listening, "/p/team", UpstreamProtocol::SimpleStreams, of_project("", certified(&ours))).await;
    assert_eq!(up.runs().await, (1, 1, 0));
    assert_eq!(up.listed().await, ["team 20250101_07:42"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_brings_what_it_may_see_over_each_protocol() {
    let (server, listening) = upstream().await;
    let (secret, _) = server.server.token("mirror", May::be("team", Role::Viewer)).await;
    let token = || UpstreamCredential { token: secret.expose().to_owned(), ..UpstreamCredential::default() };
    let up = mirror(&listening, "", UpstreamProtocol::Lxd, of_project("team", token())).await;
    assert_eq!(up.runs().await, (1, 1, 0));
    let up = mirror(&listening, "/p/team", UpstreamProtocol::SimpleStreams, of_project("", token())).await;
    assert_eq!(up.runs().await, (1, 1, 0));
    assert_eq!(up.listed().await, ["team 20250101_07:42"]);
    // In the address, as other clients have it.
    let path = format!("/t/{}", secret.expose());
    let up = mirror(&listening, &path, UpstreamProtocol::SimpleStreams, UpstreamSettings::default()).await;
    assert_eq!(up.runs().await, (1, 1, 0));
    assert_eq!(up.listed().await, ["team 20250101_07:42"]);
    let wrong = UpstreamCredential { token: format!("hw_{}", "a".repeat(40)), ..UpstreamCredential::default() };
    let up = mirror(&listening, "", UpstreamProtocol::Lxd, of_project("team", wrong)).await;
    let refused = up.run().await.unwrap_err().to_string();
    assert!(refused.contains("40"), "{refused}");
    assert!(!refused.contains("hw_"), "{refused}");
}

/// A token that lets somebody into `team`.
async fn invite(server: &Upstream, fingerprint: &str) -> JoinToken {
    let grants = May::be("team", Role::Viewer).grants;
    let join = Join { name: "mirror".into(), description: String::new(), administrator: false, grants };
    let invitation =
        Invitation { join, fingerprint: fingerprint.into(), addresses: vec!["a:1".into()], expires_at: None };
    let actor = Arc::new(Actor::operator("test"));
    let begun = server.server.state.operations().token(&actor, invitation.token()).await.unwrap();
    invitation.word(begun.secret.as_deref().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_to_join_with_is_given_to_the_server_that_it_names_alone() {
    let (server, listening) = upstream().await;
    let client = Client::new(Vec::new(), quick());
    let ours = ClientCertificate::generate("headwater-up", now()).unwrap();
    let print = read(&listening.pem).fingerprint;
    let other = invite(&server, &"ab".repeat(32)).await;
    let refused = client.join(&listening.url(), &other, &ours, now()).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Mistrusted { .. }), "{refused}");
    let ended = JoinToken { expires_at: WireTime(Some(now())), ..invite(&server, &print).await };
    let refused = client.join(&listening.url(), &ended, &ours, now()).await.unwrap_err().to_string();
    assert!(refused.contains("has ended"), "{refused}");
    let strange = JoinToken { fingerprint: "x".into(), ..invite(&server, &print).await };
    assert!(client.join(&listening.url(), &strange, &ours, now()).await.is_err());

    // At any path of it, because streams are at any.
    let word = invite(&server, &print).await;
    let pem = client.join(&format!("{}/p/team", listening.url()), &word, &ours, now()).await.unwrap();
    assert_eq!(read(&pem), read(&listening.pem), "what to believe from now on");
    let up = mirror(&listening, "", UpstreamProtocol::Incus, of_project("team", certified(&ours))).await;
    assert_eq!(up.runs().await, (1, 1, 0));
    // It is good once.
    let another = ClientCertificate::generate("headwater-up", now()).unwrap();
    let refused = client.join(&listening.url(), &word, &another, now()).await.unwrap_err().to_string();
    assert!(refused.contains("403") && !refused.contains(&word.secret), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_goes_to_no_other_server() {
    let elsewhere = Stub::new(|_| Reply::sync(&json!([]))).await;
    let there = elsewhere.url();
    let stub = Stub::new(move |asked| match asked.path() {
        "/1.0/images" => Reply::redirect(&format!("{there}/1.0/images")),
        _ => Split::container().answer(asked),
    })
    .await;
    let credential = UpstreamCredential { token: "hw_x".into(), ..UpstreamCredential::default() };
    let up = Mirror::with(&stub, UpstreamProtocol::Lxd, of_project("", credential)).await;
    let refused = up.run().await.unwrap_err().to_string();
    assert!(refused.contains("sends to another server, which may not be shown what this one is shown"), "{refused}");
    assert_eq!(stub.asked()[0].header("authorization"), Some("Bearer hw_x"));
    assert_eq!(elsewhere.lines(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_asked_for_and_copies_that_a_daemon_keeps_for_itself_are_left_out() {
    let images = [Split::container(), Split::machine()];
    let served = images.clone();
    let stub = Stub::new(move |asked| match asked.path() {
        "/1.0/images" => {
            assert_eq!(asked.target, "/1.0/images?project=a+b&recursion=1");
            let mut cached = served[1].object();
            cached["cached"] = true.into();
            Reply::sync(&json!([served[0].object(), cached]))
        }
        _ => {
            assert!(asked.path() == "/1.0" || asked.target.ends_with("/export?project=a+b"), "{}", asked.target);
            served[0].answer(asked)
        }
    })
    .await;
    let up = Mirror::with(&stub, UpstreamProtocol::Incus, of_project("a b", UpstreamCredential::default())).await;
    assert_eq!(up.runs().await, (1, 1, 0));
}
