//! Random operations on the catalog and on a few lines of Rust that say what it means: both must tell the same story.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use headwater::auth::Viewer;
use headwater::catalog::{AliasTarget, Catalog, CatalogError, Committed, ImageEdit, Wanted};
use headwater_formats::arch::Architecture;
use headwater_formats::digest::Digest;
use headwater_formats::image::{Image, ImageFiles};
use headwater_formats::simplestreams::{conflict, item};
use headwater_formats::timestamp::Timestamp;
use proptest::prelude::*;

use super::Home;
use super::changes::Kept;
use crate::kit::images::{Change as _, alias, image, minute, new, project};

const PROJECTS: [&str; 2] = ["default", "team"];

#[derive(Debug, Clone)]
enum Step {
    Commit { project: usize, number: u32, public: bool, minute: i64, alias: Option<u8> },
    Delete { project: usize, number: u32 },
    Publish { project: usize, number: u32, public: bool },
    Move { project: usize, number: u32, release: u8, families: u8 },
    Alias { project: usize, name: u8, number: u32 },
    Unalias { project: usize, name: u8 },
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let (project, number, name) = (0..PROJECTS.len(), 1..11u32, 0..3u8);
    prop_oneof![
        6 => (project.clone(), number.clone(), any::<bool>(), 0..3i64, proptest::option::of(name.clone())).prop_map(
            |(project, number, public, minute, alias)| Step::Commit { project, number, public, minute, alias }
        ),
        3 => (project.clone(), number.clone()).prop_map(|(project, number)| Step::Delete { project, number }),
        2 => (project.clone(), number.clone(), any::<bool>())
            .prop_map(|(project, number, public)| Step::Publish { project, number, public }),
        2 => (project.clone(), number.clone(), 0..3u8, 0..3u8)
            .prop_map(|(project, number, release, families)| Step::Move { project, number, release, families }),
        1 => (project.clone(), name.clone(), number).prop_map(|(project, name, number)| Step::Alias { project, name, number }),
        1 => (project, name).prop_map(|(project, name)| Step::Unalias { project, name }),
        1 => Just(Step::Sweep),
    ]
}

/// What the catalog means.
#[derive(Default)]
struct Model {
    images: BTreeMap<(usize, u32), Image>,
    aliases: BTreeMap<(usize, String), u32>,
    /// Who else may read a blob, as what `Model::audience` says.
    access: BTreeSet<(Digest, Option<usize>)>,
    blobs: BTreeSet<Digest>,
    changes: i64,
}

const NAMES: [&str; 3] = ["a", "debian/12", "z/arm64"];
const RELEASES: [Option<&str>; 3] = [Some("bookworm"), Some("trixie"), None];
const FAMILIES: [&str; 3] = ["lxd", "incus", ""];

/// Equal bytes are equal files, so that the number says what kind of image it is.
fn made(number: u32, public: bool, at: i64) -> Image {
    let plain = image(number).at(at);
    let mut made = match number % 5 {
        // Two with one root file, for different clients.
        _ if number > 8 => {
            let root = image(9).files.root().copied();
            let mut twin = plain.property(item::FAMILIES, FAMILIES[number as usize % 2]);
            if let (ImageFiles::Split { root: own, .. }, Some(root)) = (&mut twin.files, root) {
                *own = root;
            }
            twin
        }
        0 => plain,
        1 => plain.root_tar(),
        2 => plain.machine(),
        3 => plain.on(Architecture::Aarch64),
        _ => plain.unified(),
    };
    made.public = public;
    made.uploaded_at = minute(100);
    made
}

impl Model {
    fn needed(&self) -> BTreeSet<Digest> {
        self.images
            .values()
            .flat_map(|image| image.files.iter().map(|(_, file)| file.digest).collect::<Vec<_>>())
            .collect()
    }

    fn visible(&self, viewer: &Viewer, at: usize) -> Vec<&Image> {
        let private = viewer.sees_private_in(&project(PROJECTS[at]));
        let here = self.images.iter().filter(|((project, _), _)| *project == at);
        here.map(|(_, image)| image).filter(|image| private || image.public).collect()
    }

    fn file(&self, viewer: &Viewer, digest: &Digest) -> bool {
        let granted = |at: usize| viewer.sees_private_in(&project(PROJECTS[at]));
        if viewer.private_projects().is_none() {
            return self.blobs.contains(digest);
        }
        let of = |image: &Image| image.files.iter().any(|(_, file)| file.digest == *digest);
        self.images.iter().any(|((at, _), image)| of(image) && (image.public || granted(*at)))
            || self.access.iter().any(|(blob, audience)| blob == digest && audience.is_none_or(granted))
    }
}

async fn run(steps: Vec<Step>) {
    let home = Home::sqlite().await;
    let catalog = home.open().await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    let mut model = Model { changes: 1, ..Model::default() };
    let mut kept = Kept::of(&[Viewer::guest(), Viewer::operator()], &PROJECTS);
    for step in steps {
        apply(&catalog, &mut model, &step).await;
        compare(&catalog, &model, &step).await;
        kept.compare(&catalog, &format!("after {step:?}")).await;
        super::lists::all_agree(&home, &catalog, &PROJECTS, &format!("after {step:?}")).await;
    }
}

async fn apply(catalog: &Catalog, model: &mut Model, step: &Step) {
    let now: Timestamp = minute(100);
    let fingerprint = |number: u32| image(number).fingerprint;
    match step.clone() {
        Step::Commit { project: at, number, public, minute, alias } => {
            let made = made(number, public, minute);
            let aliases: Vec<&str> = alias.iter().map(|name| NAMES[usize::from(*name)]).collect();
            let ended = catalog.commit_image(&new(PROJECTS[at], made.clone(), &aliases), now, || Ok(())).await.unwrap();
            if model.images.contains_key(&(at, number)) {
                assert!(matches!(ended, Committed::Already(_)));
                return;
            }
            assert!(matches!(ended, Committed::New(_)));
            model.blobs.extend(made.files.iter().map(|(_, file)| file.digest));
            model.images.insert((at, number), made);
            model.aliases.extend(aliases.iter().map(|name| ((at, (*name).to_owned()), number)));
            model.changes += 1;
        }
        Step::Delete { project: at, number } => {
            let ended = catalog.delete_image(&project(PROJECTS[at]), &fingerprint(number), now).await;
            match model.images.remove(&(at, number)) {
                None => assert!(matches!(ended, Err(CatalogError::NoImage(_)))),
                Some(gone) => {
                    ended.unwrap();
                    let audience = if gone.public { None } else { Some(at) };
                    model.access.extend(gone.files.iter().map(|(_, file)| (file.digest, audience)));
                    model.aliases.retain(|(project, _), to| *project != at || *to != number);
                    model.changes += 1;
                }
            }
        }
        Step::Publish { project: at, number, public } => {
            let edit = ImageEdit { public: Some(public), ..ImageEdit::default() };
            edited(catalog, model, at, number, &edit, |image| image.public = public).await;
        }
        Step::Move { project: at, number, release, families } => {
            let mut properties = image(number).properties;
            properties.remove("release");
            if let Some(release) = RELEASES[usize::from(release)] {
                properties.insert("release".into(), release.into());
            }
            properties.insert(item::FAMILIES.into(), FAMILIES[usize::from(families)].into());
            let edit = ImageEdit { properties: Some(properties.clone()), ..ImageEdit::default() };
            edited(catalog, model, at, number, &edit, |image| image.properties = properties).await;
        }
        Step::Alias { project: at, name, number } => {
            let name = NAMES[usize::from(name)];
            let target = AliasTarget::Image(fingerprint(number));
            let ended = catalog.create_alias(&project(PROJECTS[at]), &alias(name), "", &target, now).await;
            let there = model.images.contains_key(&(at, number));
            match model.aliases.entry((at, name.to_owned())) {
                _ if !there => assert!(matches!(ended, Err(CatalogError::NoImage(_)))),
                Entry::Occupied(_) => assert!(matches!(ended, Err(CatalogError::AliasExists(_)))),
                Entry::Vacant(free) => {
                    ended.unwrap();
                    free.insert(number);
                    model.changes += 1;
                }
            }
        }
        Step::Unalias { project: at, name } => {
            let name = NAMES[usize::from(name)];
            let ended = catalog.delete_alias(&project(PROJECTS[at]), &alias(name), now).await;
            match model.aliases.remove(&(at, name.to_owned())) {
                None => assert!(matches!(ended, Err(CatalogError::NoAlias(_)))),
                Some(_) => {
                    ended.unwrap();
                    model.changes += 1;
                }
            }
        }
        Step::Sweep => {
            let before = now.plus_seconds(1);
            for retired in catalog.retired(before, 100).await.unwrap() {
                assert!(catalog.forget_blob(&retired.digest, before, || Ok(())).await.unwrap());
            }
            catalog.end_grace(before).await.unwrap();
            model.blobs = model.needed();
            model.access.clear();
        }
    }
}

async fn edited(
    catalog: &Catalog,
    model: &mut Model,
    at: usize,
    number: u32,
    edit: &ImageEdit,
    change: impl FnOnce(&mut Image),
) {
    let ended = catalog.edit_image(&project(PROJECTS[at]), &image(number).fingerprint, edit, minute(100)).await;
    match model.images.get_mut(&(at, number)) {
        None => assert!(matches!(ended, Err(CatalogError::NoImage(_)))),
        Some(found) => {
            ended.unwrap();
            let before = found.clone();
            change(found);
            model.changes += i64::from(*found != before);
        }
    }
}

async fn compare(catalog: &Catalog, model: &Model, step: &Step) {
    assert_eq!(catalog.revision().await.unwrap().number, model.changes, "after {step:?}");
    let known: BTreeSet<Digest> = catalog.known_blobs(None, 100).await.unwrap().into_iter().collect();
    assert_eq!(known, model.blobs, "after {step:?}");
    let in_use: BTreeSet<Digest> =
        catalog.blobs_in_use(None, 100).await.unwrap().into_iter().map(|one| one.file.digest).collect();
    assert_eq!(in_use, model.needed(), "after {step:?}");
    for viewer in [Viewer::guest(), Viewer::granted([project("team")]), Viewer::operator()] {
        for digest in &model.blobs {
            let found = catalog.file(&viewer, digest).await.unwrap().is_some();
            assert_eq!(found, model.file(&viewer, digest), "{viewer:?} and {digest} after {step:?}");
        }
        for at in 0..PROJECTS.len() {
            compare_project(catalog, model, &viewer, at, step).await;
        }
    }
}

async fn compare_project(catalog: &Catalog, model: &Model, viewer: &Viewer, at: usize, step: &Step) {
    let label = format!("{viewer:?} in {} after {step:?}", PROJECTS[at]);
    let here = project(PROJECTS[at]);
    let visible = model.visible(viewer, at);
    let listed = catalog.images(viewer, &here, None, 100).await;
    if visible.is_empty() && !here.is_default() && !viewer.sees_private_in(&here) {
        assert!(matches!(listed, Err(CatalogError::NoProject(_))), "{label}");
        return;
    }
    let listed = listed.unwrap();
    assert_eq!(listed.iter().map(|one| &one.image).collect::<Vec<_>>(), visible, "{label}");

    let products = catalog.products(viewer, &here, None, 100).await.unwrap();
    let mut places = 0;
    for product in &products {
        assert!(!product.versions.is_empty(), "{label}: an empty product");
        for version in &product.versions {
            places += version.images.len();
            for (index, one) in version.images.iter().enumerate() {
                let mut others = version.images[index + 1..].iter();
                assert!(!others.any(|other| conflict(one, other)), "{label}: {:?}", version.images);
            }
        }
    }
    assert_eq!(places, listed.iter().filter(|one| one.placement.is_some()).count(), "{label}: each place is listed");

    // Every name that an image is listed with leads to it, for who asks for its architecture and type.
    for one in &listed {
        let wanted = Wanted { architectures: vec![one.image.architecture], image_type: Some(one.image.image_type) };
        for name in &one.aliases {
            let led = catalog.resolve_alias(viewer, &here, &name.name, &wanted).await.unwrap();
            assert_eq!(led.map(|led| led.fingerprint), Some(one.image.fingerprint), "{label}: {}", name.name);
        }
    }
    for ((_, name), number) in model.aliases.iter().filter(|((project, _), _)| *project == at) {
        let led = catalog.resolve_alias(viewer, &here, &alias(name), &Wanted::default()).await.unwrap();
        let target = visible.iter().find(|one| one.fingerprint == image(*number).fingerprint);
        if let Some(target) = target {
            assert_eq!(led.map(|led| led.fingerprint), Some(target.fingerprint), "{label}: {name}");
        }
    }
    for one in catalog.aliases(viewer, &here, None, 100).await.unwrap() {
        let led = catalog.resolve_alias(viewer, &here, &one.name, &Wanted::default()).await.unwrap();
        assert!(led.is_some(), "{label}: {} is listed and leads nowhere", one.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_catalog_does_what_the_model_says(steps in proptest::collection::vec(step(), 1..25)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps));
    }
}
