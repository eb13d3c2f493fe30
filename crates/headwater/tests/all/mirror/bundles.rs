//! What was mirrored, carried on in a bundle.

use headwater::auth::Viewer;
use headwater::bundle::{Bundles, MakeRequest, TakeRequest, To, Unseen};
use headwater::documents::{self, Stream};
use headwater_formats::names::ProjectName;
use headwater_formats::simplestreams::Family;
use headwater_formats::view::View;
use tokio_util::sync::CancellationToken;

use super::kit::{Mirror, World};
use crate::client::kit::{Server, now};

#[tokio::test(flavor = "multi_thread")]
async fn products_versions_and_names_of_the_upstream_arrive() {
    let world = World::default();
    world.put("bookworm", "20250101_07:42", true);
    world.put("bookworm", "20250102_07:42", false);
    world.put("trixie", "20250102_07:42", false);
    let stub = world.serve().await;
    let mirror = Mirror::of(&stub).await;
    assert_eq!(mirror.runs().await, (4, 4, 0));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle.tar");
    let request = || MakeRequest {
        to: To::File(path.clone()),
        project: ProjectName::default_project(),
        view: View::default(),
        viewer: Viewer::guest(),
        state: None,
        made_at: now(),
        stop: CancellationToken::new(),
    };
    let made = Bundles::new(mirror.server.app.publisher.clone(), now).make(request()).await.unwrap();
    let bytes = std::fs::read(&path).unwrap();
    // The same of the same is the same bundle, byte for byte.
    assert_eq!(Bundles::new(mirror.server.app.publisher.clone(), now).make(request()).await.unwrap(), made);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);

    let closed = Server::new().await;
    let bundles = Bundles::new(closed.app.publisher.clone(), now);
    let take = |update| {
        let from = Box::new(std::fs::File::open(&path).unwrap());
        bundles.take(from, TakeRequest { update, ..TakeRequest::default() }, &Unseen)
    };
    let taken = take(false).await.unwrap();
    assert_eq!((taken.listed, taken.already, &taken.id), (4, 0, &made.id));
    let project = ProjectName::default_project();
    let products = closed.app.catalog.products(&Viewer::guest(), &project, None, 100).await.unwrap();
    assert_eq!(products[0].key, "com.example:bookworm:amd64");
    assert_eq!(products[0].aliases, ["bookworm", "bookworm/amd64x"], "and no generated ones");
    assert_eq!(products[0].versions[1].extra["pubname"], "example-20250102_07:42");
    assert_eq!(products, mirror.products().await);
    for family in [Family::Lxd, Family::Incus, Family::Any] {
        let stream = Stream::of_project(&Viewer::guest(), project.clone(), View::default(), family);
        let of = async |server: &Server| {
            let drafts = documents::draft(&server.app.catalog, &stream).await.unwrap();
            drafts.placed(&headwater_formats::simplestreams::render::FilesAt::IMAGES)
        };
        let (here, there) = (of(&closed).await, of(&mirror.server).await);
        assert_eq!(String::from_utf8(here.products), String::from_utf8(there.products));
        assert_eq!(String::from_utf8(here.index), String::from_utf8(there.index));
    }
    let revision = closed.app.catalog.revision().await.unwrap();
    for update in [false, true] {
        let again = take(update).await.unwrap();
        assert_eq!((again.listed, again.already, again.updated), (0, 4, 0));
    }
    assert_eq!(closed.app.catalog.revision().await.unwrap(), revision, "again changes nothing");

    let stopped = MakeRequest {
        stop: {
            let stop = CancellationToken::new();
            stop.cancel();
            stop
        },
        ..request()
    };
    let error = Bundles::new(mirror.server.app.publisher.clone(), now).make(stopped).await.unwrap_err();
    assert_eq!(error.to_string(), "stopped; nothing was written");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "the one before is as it was");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
