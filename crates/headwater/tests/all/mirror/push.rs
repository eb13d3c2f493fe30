//! Images that are sent to a server that does not have them.

use std::sync::{Arc, Mutex};

use headwater::auth::{Manages, Role, Viewer};
use headwater::catalog::{ImageEdit, StoredImage, UpstreamCredential, UpstreamProtocol, UpstreamSettings};
use headwater::mirror::{AliasAction, MirrorError, PushCourse, PushEvent, PushTerms, Pushed};
use headwater_formats::names::ProjectName;
use tokio_util::sync::CancellationToken;

use super::kit::{Mirror, name};
use crate::client::kit::{Sample, now, qcow2, squashfs};
use crate::client::people::{Client as Other, Listening};
use crate::http::people::May;

/// A server with the project `team`, in which somebody may publish with the token that comes with it.
async fn other() -> (Other, Listening, UpstreamSettings) {
    let other = Other::new(May::be("default", Role::Viewer)).await;
    other.server.make_project("team").await;
    let may = May::manage("team", Role::Publisher, Manages::Own);
    let (secret, _) = other.server.token("here", may).await;
    let listening = other.listen().await;
    let credential = UpstreamCredential { token: secret.expose().to_owned(), ..UpstreamCredential::default() };
    (other, listening, UpstreamSettings { credential, upstream_project: "team".into(), ..UpstreamSettings::default() })
}

/// An installation with three versions and a machine, some of them private, and an image of no product.
async fn here(listening: &Listening, settings: UpstreamSettings) -> Mirror {
    let here = Mirror::at(&listening.url(), &listening.pem, UpstreamProtocol::Incus, settings).await;
    let of = |serial| Sample { serial, ..Sample::default() };
    here.server.publish_in("default", &[of("20250101_07:42").unified()], &["old", "stable"], true).await;
    here.server.publish_in("default", &[of("20250102_07:42").metadata(), squashfs(1)], &[], false).await;
    let machine = Sample { release: "trixie", ..of("20250103_07:42") };
    here.server.publish_in("default", &[machine.metadata(), qcow2()], &["machine"], true).await;
    here.server.publish_in("default", &[Sample { os: "", ..Sample::default() }.unified()], &[], true).await;
    here
}

fn terms(filter: &str) -> PushTerms {
    PushTerms { selection: filter.parse().unwrap(), ..PushTerms::default() }
}

/// All that happened but bytes, and how it ended.
async fn push(here: &Mirror, filter: &str) -> (Pushed, Vec<PushEvent>) {
    let mirrors = here.mirrors(now);
    let plan = mirrors.plan_push(&name(), terms(filter)).await.unwrap();
    let events = Arc::<Mutex<Vec<PushEvent>>>::default();
    let told = Arc::clone(&events);
    let tell = Arc::new(move |event| told.lock().unwrap().push(event));
    let pushed = mirrors.push(plan, &PushCourse { tell, stop: CancellationToken::new() }).await.unwrap();
    let mut events = std::mem::take(&mut *events.lock().unwrap());
    events.retain(|event| !matches!(event, PushEvent::Bytes(_)));
    (pushed, events)
}

async fn images(server: &crate::http::kit::Server, project: &str) -> Vec<StoredImage> {
    let project = ProjectName::new(project).unwrap();
    server.app.catalog.images(&Viewer::operator(), &project, None, 100).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn images_arrive_as_they_are_here_and_once() {
    let (other, listening, settings) = other().await;
    let here = here(&listening, settings).await;
    // What its own metadata does not say.
    let edited = images(&here.server, "default").await.remove(0);
    let mut properties = edited.image.properties.clone();
    properties.insert("note".into(), "é=&".into());
    properties.remove("description");
    let edit = ImageEdit {
        properties: Some(properties),
        expires_at: Some(Some(now().plus_seconds(999))),
        ..ImageEdit::default()
    };
    let default = ProjectName::default_project();
    here.server.app.catalog.edit_image(&default, &edited.image.fingerprint, &edit, now()).await.unwrap();

    let plan = here.mirrors(now).plan_push(&name(), terms("")).await.unwrap();
    assert_eq!((plan.listed, plan.send.len(), plan.aliases.len()), (4, 4, 3));
    assert!(plan.aliases.iter().all(|alias| alias.action == AliasAction::Create));
    assert_eq!(images(&other.server, "team").await, [], "a plan changes nothing");
    let (pushed, events) = push(&here, "").await;
    assert_eq!((pushed.sent, pushed.failed), (4, 0), "{events:?}");
    let (ours, theirs) = (images(&here.server, "default").await, images(&other.server, "team").await);
    let facts = |images: &[StoredImage]| -> Vec<_> {
        let fact = |stored: &StoredImage| {
            let image = &stored.image;
            let names: Vec<_> = stored.aliases.iter().map(|alias| alias.name.to_string()).collect();
            (
                image.fingerprint,
                image.files,
                image.properties.clone(),
                image.public,
                image.expires_at,
                stored.placement.clone(),
                names,
            )
        };
        images.iter().map(fact).collect()
    };
    assert_eq!(facts(&ours), facts(&theirs));
    let (pushed, events) = push(&here, "").await;
    assert_eq!((pushed, events), (Pushed::default(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_filter_lets_pass_is_sent_the_newest_first() {
    let (other, listening, settings) = other().await;
    let here = here(&listening, settings).await;
    let (pushed, _) = push(&here, "latest=1 release=bookworm").await;
    assert_eq!(pushed.sent, 1);
    assert_eq!(images(&other.server, "team").await[0].placement.as_ref().unwrap().version.as_str(), "20250102_07:42");
    let (_, events) = push(&here, "release=bookworm,trixie").await;
    let sent: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            PushEvent::Sent(step) => Some(format!("{} {}", step.product, step.version)),
            _ => None,
        })
        .collect();
    assert_eq!(sent, ["debian:bookworm:amd64:default 20250101_07:42", "debian:trixie:amd64:default 20250103_07:42"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_are_moved_when_they_are_ours_and_else_left() {
    let (other, listening, settings) = other().await;
    let here = here(&listening, settings).await;
    let foreign = Sample { os: "Alpine", ..Sample::default() };
    other.server.publish_in("team", &[foreign.unified()], &["old"], true).await;
    push(&here, "").await;
    let catalog = &here.server.app.catalog;
    let default = ProjectName::default_project();
    let newer = images(&here.server, "default").await;
    let newer = newer.iter().find(|stored| !stored.image.public).unwrap().image.fingerprint;
    let target = headwater::catalog::AliasTarget::Image(newer);
    catalog.delete_alias(&default, &"stable".parse().unwrap(), now()).await.unwrap();
    catalog.create_alias(&default, &"stable".parse().unwrap(), "now this", &target, now()).await.unwrap();
    let plan = here.mirrors(now).plan_push(&name(), terms("")).await.unwrap();
    let actions: Vec<_> = plan.aliases.iter().map(|alias| (alias.name.as_str(), alias.action)).collect();
    assert_eq!(actions, [("old", AliasAction::Leave), ("stable", AliasAction::Move)]);
    let (pushed, events) = push(&here, "").await;
    assert_eq!(pushed, Pushed::default());
    assert!(matches!(&events[..], [PushEvent::Named(alias)] if alias.name == "stable"), "{events:?}");
    let team = ProjectName::new("team").unwrap();
    let found = other.server.app.catalog.hand_made_alias(&team, &"stable".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((found.target, found.description.as_str()), (target, "now this"));
    let found = other.server.app.catalog.hand_made_alias(&team, &"old".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(found.target, headwater::catalog::AliasTarget::Image(foreign_print(&other).await));
}

async fn foreign_print(other: &Other) -> headwater_formats::digest::Fingerprint {
    let found = images(&other.server, "team").await;
    found.iter().find(|stored| stored.image.property("os") == Some("Alpine")).unwrap().image.fingerprint
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_is_told_and_the_others_go() {
    let (other, listening, settings) = other().await;
    let here = here(&listening, settings.clone()).await;
    // A viewer sees, and may send nothing.
    let (secret, _) = other.server.token("viewer", May::be("team", Role::Viewer)).await;
    let credential = UpstreamCredential { token: secret.expose().to_owned(), ..UpstreamCredential::default() };
    let catalog = &here.server.app.catalog;
    let certificate = listening.pem.clone();
    let viewer = UpstreamSettings { credential, certificate: certificate.clone(), ..settings.clone() };
    catalog.edit_upstream(&name(), &viewer, now()).await.unwrap();
    let (pushed, events) = push(&here, "").await;
    assert_eq!((pushed.sent, pushed.failed), (0, 4));
    assert!(events.iter().all(|event| matches!(event, PushEvent::Failed(_, why) if why.contains("403"))), "{events:?}");
    assert_eq!(images(&other.server, "team").await, []);

    let guest = UpstreamSettings { credential: UpstreamCredential::default(), certificate, ..settings };
    catalog.edit_upstream(&name(), &guest, now()).await.unwrap();
    let refused = here.mirrors(now).plan_push(&name(), terms("")).await.unwrap_err();
    assert!(matches!(&refused, MirrorError::Stranger(_)), "{refused}");
    let streams = Mirror::at(&listening.url(), &listening.pem, UpstreamProtocol::SimpleStreams, guest).await;
    let refused = streams.mirrors(now).plan_push(&name(), terms("")).await.unwrap_err();
    assert!(matches!(&refused, MirrorError::TakesNothing(_)), "{refused}");
}
