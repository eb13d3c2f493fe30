//! Documents that are kept in parts are, byte for byte, the documents that are rendered as a whole.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use headwater::auth::Viewer;
use headwater::catalog::{Catalog, CatalogError};
use headwater::documents::{self, Form, IDLE, Kind, ListingError, Listings, Projects, Snapshot, Stream};
use headwater_formats::names::ProjectName;
use headwater_formats::simplestreams::render::{self, FilesAt};
use headwater_formats::simplestreams::{Deltas, Family, go, item};
use headwater_formats::view::View;
use proptest::prelude::*;

use crate::catalog::Home;
use crate::catalog::changes::{apply, step};
use crate::kit::images::{image, minute, new, project};

fn listings() -> Listings {
    Listings::new(64 << 20, Arc::new(tempfile::tempfile))
}

fn read(mut reader: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

fn unzip(bytes: &[u8]) -> Vec<u8> {
    read(flate2::read::GzDecoder::new(bytes))
}

const KINDS: [Kind; 2] = [Kind::Index, Kind::Products];
const FORMS: [Form; 2] = [Form::Plain, Form::Gzip];

const VIEWS: [&str; 10] = [
    "",
    "latest=1",
    "arch=arm64",
    "release=trixie",
    "alias=debian/12 latest=2",
    "type=vm",
    "alias=a,debian/bookworm/aarch64",
    "alias=%C3%A9toile/ας,STABLE arch=arm64",
    "alias=stable/arm64",
    "alias=debian/trixie os=debian alias=a,debian/trixie/default",
];

fn streams() -> Vec<Stream> {
    let mut streams = Vec::new();
    for (number, view) in VIEWS.into_iter().enumerate() {
        for (at, name) in ["default", "team"].into_iter().enumerate() {
            for private in [true, false] {
                let families = [Family::Lxd, Family::Incus, Family::Any];
                streams.push(Stream {
                    projects: Projects::One(project(name)),
                    private,
                    filters: vec![view.parse::<View>().unwrap()],
                    family: families[(number + at) % 3],
                    deltas: Deltas::default(),
                    bases: Vec::new(),
                });
            }
        }
    }
    streams
}

/// Everything that can be read of a snapshot, against a rendering of the same moment.
fn compare(snapshot: &Arc<Snapshot>, drafts: &documents::Drafts, label: &str) {
    assert_eq!(snapshot.revision(), drafts.revision, "{label}");
    let made = drafts.placed(&FilesAt::IMAGES);
    for kind in KINDS {
        let whole = if kind == Kind::Index { &made.index } else { &made.products };
        for form in FORMS {
            let bytes = read(snapshot.reader(kind, form).unwrap());
            assert_eq!(bytes.len() as u64, snapshot.length(kind, form).unwrap(), "{kind:?} {form:?} {label}");
            let plain = if form == Form::Gzip { unzip(&bytes) } else { bytes.clone() };
            assert_eq!(String::from_utf8(plain), String::from_utf8(whole.clone()), "{kind:?} {form:?} {label}");
            assert_eq!(snapshot.make_whole(kind, form).unwrap().unwrap(), bytes, "{kind:?} {form:?} {label}");
            assert_eq!(snapshot.whole(kind, form).unwrap(), bytes, "{kind:?} {form:?} {label}");
        }
    }
    for form in FORMS {
        let (reader, length) = snapshot.between(Kind::Index, form, b"<", b">").unwrap();
        let bytes = read(reader);
        assert_eq!(bytes.len() as u64, length, "{form:?} {label}");
        let plain = if form == Form::Gzip { unzip(&bytes) } else { bytes };
        assert_eq!(plain, [b"<", &made.index[..], b">"].concat(), "{form:?} {label}");
    }
    let above = FilesAt::above(2, "a-grant_").unwrap();
    let placed = drafts.products.placed(&above);
    assert_eq!(read(snapshot.placed(&above)), placed, "{label}");
    assert_eq!(snapshot.placed_length(&above), placed.len() as u64, "{label}");
    assert_eq!(unzip(&read(snapshot.placed_gzip(&above))), placed, "{label}");
}

async fn compare_all(catalog: &Catalog, kept: &Listings, label: &str) {
    let other_server = listings();
    for stream in streams() {
        let label = format!("{stream:?} {label}");
        let found = kept.get(catalog, &stream).await;
        let (found, drafts) = match (found, documents::draft(catalog, &stream).await) {
            (Ok(found), Ok(drafts)) => (found, drafts),
            (Err(ListingError::Catalog(error)), Err(CatalogError::NoProject(_)))
                if matches!(*error, CatalogError::NoProject(_)) =>
            {
                continue;
            }
            (found, drafts) => panic!("{label}: {found:?} and {drafts:?}"),
        };
        compare(&found, &drafts, &label);
        // A server that comes now, and knows nothing of what was before, sends the same bytes under the same tags.
        let other = other_server.get(catalog, &stream).await.unwrap();
        for (kind, form) in KINDS.into_iter().flat_map(|kind| FORMS.map(|form| (kind, form))) {
            assert_eq!(read(found.reader(kind, form).unwrap()), read(other.reader(kind, form).unwrap()), "{label}");
            assert_eq!(found.digest(kind, form).unwrap(), other.digest(kind, form).unwrap(), "{label}");
        }
    }
}

/// What several projects list under a filter is what the filter leaves of all that they list.
async fn compare_several(catalog: &Catalog, label: &str) {
    let products = async |projects: &Projects, (family, private): (Family, bool), view: &str| {
        let filters = vec![view.parse::<View>().unwrap()];
        let (deltas, bases) = (Deltas::default(), Vec::new());
        let stream = Stream { projects: projects.clone(), private, filters, family, deltas, bases };
        let see = |seen: &mut Vec<_>, product: &_| seen.push(Clone::clone(product));
        documents::with_each_product(catalog, &stream, Vec::new, see).await.unwrap().1
    };
    let these = |names: &[&str]| Projects::These(names.iter().map(|name| project(name)).collect());
    let several = [Projects::All, these(&["team", "default"]), these(&["gone", "default", "team"]), these(&["team"])];
    for projects in &several {
        for who in [(Family::Any, true), (Family::Any, false), (Family::Lxd, true), (Family::Incus, false)] {
            // Each by itself: of two products with the same image, a document lists the first.
            let mut all = products(projects, who, "release=bookworm").await;
            all.extend(products(projects, who, "release=trixie").await);
            all.sort_by(|a, b| a.key.cmp(&b.key));
            for view in VIEWS {
                let mut wanted = view.parse::<View>().unwrap().apply(all.clone());
                let mut seen = std::collections::HashSet::new();
                wanted.retain(|product| render::product_fragment(product, who.0, &mut seen).is_some());
                assert_eq!(products(projects, who, view).await, wanted, "{projects:?} {who:?} {view} {label}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parts_make_the_whole(steps in proptest::collection::vec(step(), 1..24)) {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
            let home = Home::sqlite().await;
            let catalog = home.open().await;
            catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
            let kept = listings();
            compare_all(&catalog, &kept, "at first").await;
            for steps in steps.chunks(3) {
                for step in steps {
                    let _ = apply(&catalog, step).await;
                }
                compare_all(&catalog, &kept, &format!("after {steps:?}")).await;
                compare_several(&catalog, &format!("after {steps:?}")).await;
            }
        });
    }
}

/// What a stream lists: its products by release, with the names of their versions and their own; the index says the same.
async fn listed(catalog: &Catalog, stream: &Stream) -> Vec<(String, Vec<String>, String)> {
    let made = documents::draft(catalog, stream).await.unwrap().placed(&FilesAt::IMAGES);
    let products = go::products(&made.products).unwrap().products;
    let index = go::index(&made.index).unwrap().index.remove("images").map(|entry| entry.products);
    assert_eq!(index.unwrap_or_default(), products.keys().cloned().collect::<Vec<_>>());
    if let Projects::One(_) = stream.projects {
        let kept = listings().get(catalog, stream).await.unwrap();
        assert_eq!(read(kept.reader(Kind::Products, Form::Plain).unwrap()), made.products);
        assert_eq!(read(kept.reader(Kind::Index, Form::Plain).unwrap()), made.index);
    }
    let product = |product: go::Product| (product.release, product.versions.into_keys().collect(), product.aliases);
    products.into_values().map(product).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_are_listed_is_not_there_for_a_family() {
    use crate::kit::images::Change as _;
    let home = Home::sqlite().await;
    let catalog = home.open().await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    let commit = async |project: &str, image, aliases: &[&str]| {
        catalog.commit_image(&new(project, image, aliases), minute(100), || Ok(())).await.unwrap();
    };
    commit("default", image(1).at(1).property("release", "one"), &["first"]).await;
    commit("default", image(2).at(2).property("release", "one").property(item::FAMILIES, "incus"), &["second"]).await;
    commit("default", image(3).at(3).property("release", "two").property(item::FAMILIES, "incus"), &["third"]).await;
    // The same version in another project, for the others.
    commit("team", image(4).at(3).property("release", "two").property(item::FAMILIES, "lxd"), &["fourth"]).await;

    let of =
        |family, view: &str| Stream { family, filters: vec![view.parse().unwrap()], ..of_default(&Viewer::guest()) };
    let one = |version: &str, fixed: &str| {
        ("one".to_owned(), vec![format!("20250101_00:{version}")], format!("debian/one/default,debian/one{fixed}"))
    };
    let two = |fixed: &str| {
        let names = format!("debian/two/default,debian/two{fixed}");
        ("two".to_owned(), vec!["20250101_00:03".to_owned()], names)
    };
    // The newest one that they are listed; its name is not that of the one that they are not.
    for view in ["", "latest=1"] {
        assert_eq!(listed(&catalog, &of(Family::Lxd, view)).await, [one("01", "")], "{view}");
    }
    for family in [Family::Incus, Family::Any] {
        assert_eq!(listed(&catalog, &of(family, "latest=1")).await, [one("02", ",second"), two(",third")], "{family}");
    }
    assert_eq!(listed(&catalog, &of(Family::Lxd, "alias=second")).await, []);
    assert_eq!(listed(&catalog, &of(Family::Lxd, "release=two")).await, []);

    let several = |family| Stream {
        projects: Projects::These(vec![project("default"), project("team")]),
        private: true,
        ..of(family, "release=two")
    };
    assert_eq!(listed(&catalog, &several(Family::Lxd)).await, [two(",fourth")], "the other project's");
    assert_eq!(listed(&catalog, &several(Family::Incus)).await, [two(",third")]);
}

fn of_default(viewer: &Viewer) -> Stream {
    Stream::of_project(viewer, ProjectName::default_project(), View::default(), Family::Lxd)
}

async fn publish(catalog: &Catalog, number: u32) {
    use crate::kit::images::Change as _;
    let image = image(number).property("release", &format!("r{}", number % 50));
    catalog.commit_image(&new("default", image, &[]), minute(i64::from(number)), || Ok(())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_after_a_publish_sees_it_whatever_others_do() {
    let home = Home::sqlite().await;
    let catalog = home.open().await;
    let kept = listings();
    let stream = of_default(&Viewer::guest());
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let (kept, catalog, stream) = (kept.clone(), catalog.clone(), stream.clone());
            tokio::spawn(async move {
                let mut last = -1;
                for _ in 0..60 {
                    let before = catalog.revision().await.unwrap();
                    let found = kept.get(&catalog, &stream).await.unwrap();
                    let after = catalog.revision().await.unwrap();
                    let shown = found.revision().number;
                    assert!((before.number..=after.number).contains(&shown) && shown >= last);
                    last = shown;
                    // Whole, of one revision: each publication adds one version.
                    let text = String::from_utf8(read(found.reader(Kind::Products, Form::Plain).unwrap())).unwrap();
                    assert_eq!(text.matches("\"items\":").count() as i64, shown);
                }
            })
        })
        .collect();
    for number in 1..=150 {
        publish(&catalog, number).await;
        let found = kept.get(&catalog, &stream).await.unwrap();
        assert!(found.revision().number >= i64::from(number));
    }
    for asking in asking {
        asking.await.unwrap();
    }
    assert_eq!(kept.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_read_stays_while_newer_ones_come() {
    let home = Home::sqlite().await;
    let catalog = home.open().await;
    for number in 1..=60 {
        publish(&catalog, number).await;
    }
    let kept = listings();
    let stream = of_default(&Viewer::guest());
    let found = kept.get(&catalog, &stream).await.unwrap();
    let wanted = documents::draft(&catalog, &stream).await.unwrap().placed(&FilesAt::IMAGES).products;
    let mut reader = found.reader(Kind::Products, Form::Plain).unwrap();
    drop(found);
    let mut bytes = vec![0; 5000];
    reader.read_exact(&mut bytes).unwrap();
    for number in 61..=80 {
        publish(&catalog, number).await;
        kept.get(&catalog, &stream).await.unwrap();
    }
    drop(kept);
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_goes_but_not_what_was_asked_for_last() {
    let home = Home::sqlite().await;
    let catalog = home.open().await;
    for number in 1..=40 {
        publish(&catalog, number).await;
    }
    let kept = Listings::new(40_000, Arc::new(tempfile::tempfile));
    let limited = |latest: u32| Stream {
        filters: vec![format!("latest={latest}").parse().unwrap()],
        ..of_default(&Viewer::guest())
    };
    for latest in 1..=5 {
        kept.get(&catalog, &limited(latest)).await.unwrap();
        assert!((1..5).contains(&kept.len()), "{} after {latest}", kept.len());
    }
    let tiny = Listings::new(1, Arc::new(tempfile::tempfile));
    for latest in 1..=3 {
        let found = tiny.get(&catalog, &limited(latest)).await.unwrap();
        assert_eq!((tiny.len(), found.len()), (1, 40));
        assert!(Arc::ptr_eq(&found, &tiny.get(&catalog, &limited(latest)).await.unwrap()));
    }
}

#[tokio::test]
async fn what_nobody_asks_for_goes() {
    let home = Home::sqlite().await;
    let catalog = home.open().await;
    publish(&catalog, 1).await;
    let kept = listings();
    let (one, other) = (of_default(&Viewer::guest()), of_default(&Viewer::operator()));
    kept.get(&catalog, &one).await.unwrap();
    kept.get(&catalog, &other).await.unwrap();
    let missing = Stream { projects: Projects::One(project("nobody")), ..one.clone() };
    assert!(matches!(kept.get(&catalog, &missing).await, Err(ListingError::Catalog(_))));
    assert_eq!(kept.len(), 2);
    // The database must not be waited for on a clock that jumps.
    let step = |of: Duration| async move {
        tokio::time::pause();
        tokio::time::advance(of).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        tokio::time::resume();
    };
    for _ in 0..12 {
        step(IDLE / 10).await;
        kept.get(&catalog, &one).await.unwrap();
    }
    assert_eq!(kept.len(), 1, "the other one is idle");
    for _ in 0..12 {
        step(IDLE / 10).await;
    }
    assert!(kept.is_empty());
    assert_eq!(kept.get(&catalog, &one).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_parts_it_is_said() {
    let home = Home::sqlite().await;
    let catalog = home.open().await;
    publish(&catalog, 1).await;
    let kept = Listings::new(1 << 20, Arc::new(|| Err(std::io::ErrorKind::StorageFull.into())));
    let error = kept.get(&catalog, &of_default(&Viewer::guest())).await.unwrap_err();
    assert!(matches!(error, ListingError::Spool(_)), "{error:?}");
}
