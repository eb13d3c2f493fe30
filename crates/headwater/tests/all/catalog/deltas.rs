//! Deltas: when they are listed, who may have them, and how they come and go with the two files that they belong to.

use std::collections::BTreeSet;

use headwater::auth::Viewer;
use headwater::catalog::{BlobUse, Catalog, CatalogError, DeltaFile, ImageEdit};
use headwater_formats::digest::Digest;
use headwater_formats::image::{FileFormat, Image, ImageFile, ImageFiles};
use headwater_formats::product::Delta;
use proptest::prelude::*;

use super::changes::Kept;
use super::{Home, commit, on_both_engines};
use crate::kit::behind::{self, BUILDER};
use crate::kit::images::{Change as _, file, image, minute, new, project};

on_both_engines! {
    a_delta_that_is_ready_is_listed_with_its_target,
    a_claim_that_was_lost_lists_nothing,
    a_delta_leaves_the_lists_with_its_base_and_stays_for_the_grace,
    a_delta_goes_with_its_target,
    a_file_that_is_published_again_brings_its_deltas_back,
    a_delta_stays_as_long_as_some_project_has_both_files,
    who_may_have_the_target_may_have_the_delta,
    what_was_not_built_yet_is_not_wanted_any_more,
    bytes_that_are_a_delta_and_a_file_are_both,
    damaged_bytes_are_taken_out_of_the_lists,
}

fn root(number: u32) -> Digest {
    file(number + 0x2000_0000, FileFormat::Squashfs).digest
}

/// The bytes of the delta between two roots.
fn bytes(target: u32, base: u32) -> ImageFile {
    file(0x4000_0000 + target * 100 + base, FileFormat::Vcdiff)
}

/// Images of these numbers and minutes, in `default`.
async fn publish(catalog: &Catalog, numbers: &[u32]) {
    for number in numbers {
        commit(catalog, "default", image(*number).at(i64::from(*number)), &[]).await;
    }
}

/// Builds and lists a delta.
async fn list(home: &Home, catalog: &Catalog, target: u32, base: u32) -> bool {
    behind::building(&home.location, &root(target), &root(base), 3).await;
    listed(catalog, target, base).await
}

async fn listed(catalog: &Catalog, target: u32, base: u32) -> bool {
    let file = bytes(target, base);
    catalog.list_delta(&root(target), &root(base), &file, BUILDER, minute(50), || Ok(())).await.unwrap()
}

/// Target and base of all deltas that a viewer is told of in a project.
async fn told(catalog: &Catalog, viewer: &Viewer, at: &str) -> Vec<(Digest, Digest)> {
    let products = catalog.products(viewer, &project(at), None, 99).await.unwrap();
    let versions = products.into_iter().flat_map(|product| product.versions);
    versions.flat_map(|version| version.deltas).map(|delta| (delta.target, delta.base)).collect()
}

async fn may_have(catalog: &Catalog, viewer: &Viewer, target: u32, base: u32) -> bool {
    let found = catalog.delta_file(viewer, &bytes(target, base).digest).await.unwrap();
    if let Some(found) = &found {
        assert_eq!(*found, DeltaFile { file: bytes(target, base), targets: vec![root(target)] });
    }
    found.is_some()
}

async fn retired(catalog: &Catalog) -> Vec<Digest> {
    catalog.retired(minute(100_000), 99).await.unwrap().iter().map(|one| one.digest).collect()
}

/// What a sweep does.
async fn sweep(catalog: &Catalog, before: i64) {
    let before = minute(before);
    catalog.end_deltas(before).await.unwrap();
    for gone in catalog.retired(before, 99).await.unwrap() {
        assert!(catalog.forget_blob(&gone.digest, before, || Ok(())).await.unwrap(), "{}", gone.digest);
    }
    catalog.end_grace(before).await.unwrap();
}

async fn delete(catalog: &Catalog, at: &str, number: u32, when: i64) {
    catalog.delete_image(&project(at), &image(number).fingerprint, minute(when)).await.unwrap();
}

async fn a_delta_that_is_ready_is_listed_with_its_target(home: &Home) {
    let catalog = home.open().await;
    publish(&catalog, &[1, 2, 3]).await;
    let mut kept = Kept::of(&[Viewer::guest(), Viewer::operator()], &["default"]);
    kept.compare(&catalog, "at first").await;
    let revision = catalog.revision().await.unwrap().number;
    for base in [2, 1] {
        behind::building(&home.location, &root(3), &root(base), 3).await;
        assert_eq!(told(&catalog, &Viewer::guest(), "default").await.len(), if base == 1 { 1 } else { 0 });
        assert!(!may_have(&catalog, &Viewer::operator(), 3, base).await, "it is still being built");
        assert!(listed(&catalog, 3, base).await);
        assert_eq!(kept.compare(&catalog, "a delta is there").await, 2, "both viewers are told of the product");
    }
    assert_eq!(catalog.revision().await.unwrap().number, revision + 2);
    let products = catalog.products(&Viewer::guest(), &project("default"), None, 9).await.unwrap();
    let deltas: Vec<&[Delta]> = products[0].versions.iter().map(|version| version.deltas.as_slice()).collect();
    let delta = |base| Delta { target: root(3), base: root(base), file: bytes(3, base), clients: 3 };
    assert_eq!(deltas, [&[][..], &[], &[delta(1), delta(2)]], "in the order of their bases");
    let uses: Vec<BlobUse> = catalog.blobs_in_use(None, 99).await.unwrap();
    let of = uses.iter().find(|one| one.file == bytes(3, 2)).unwrap();
    assert_eq!((of.images.len(), of.deltas.as_slice()), (0, &[(root(3), root(2))][..]));
    assert!(catalog.is_file_needed(&bytes(3, 2).digest).await.unwrap());
    assert_eq!(catalog.deltas_of_bytes(&bytes(3, 2).digest).await.unwrap(), [(root(3), root(2))]);
}

async fn a_claim_that_was_lost_lists_nothing(home: &Home) {
    let catalog = home.open().await;
    publish(&catalog, &[1, 2]).await;
    behind::building(&home.location, &root(2), &root(1), 0).await;
    let revision = catalog.revision().await.unwrap();
    let ask = async |by: &str, base: u32| {
        let ensure = || panic!("there is nothing to list");
        catalog.list_delta(&root(2), &root(base), &bytes(2, 1), by, minute(50), ensure).await.unwrap()
    };
    assert!(!ask("another", 1).await, "somebody else's");
    assert!(!ask(BUILDER, 9).await, "never planned");
    let no = || Err(std::io::Error::other("no disk"));
    let failed = catalog.list_delta(&root(2), &root(1), &bytes(2, 1), BUILDER, minute(50), no).await;
    assert!(matches!(failed, Err(CatalogError::Bytes(_))), "{failed:?}");
    assert_eq!(catalog.revision().await.unwrap(), revision);
    assert!(!catalog.known_blobs(None, 99).await.unwrap().contains(&bytes(2, 1).digest));
    assert!(listed(&catalog, 2, 1).await, "the claim is still good");
    assert!(!ask(BUILDER, 1).await, "it was listed");
}

async fn a_delta_leaves_the_lists_with_its_base_and_stays_for_the_grace(home: &Home) {
    let catalog = home.open().await;
    publish(&catalog, &[1, 2]).await;
    assert!(list(home, &catalog, 2, 1).await);
    let mut kept = Kept::of(&[Viewer::guest()], &["default"]);
    kept.compare(&catalog, "at first").await;
    delete(&catalog, "default", 1, 60).await;
    kept.compare(&catalog, "the base is gone").await;
    assert_eq!(told(&catalog, &Viewer::guest(), "default").await, []);
    assert!(retired(&catalog).await.contains(&bytes(2, 1).digest));
    assert!(!catalog.is_file_needed(&bytes(2, 1).digest).await.unwrap());
    assert!(may_have(&catalog, &Viewer::guest(), 2, 1).await, "lists are an hour old");
    let refused = catalog.forget_blob(&bytes(2, 1).digest, minute(61), || panic!("its row is there")).await;
    assert!(!refused.unwrap(), "bytes go after the row that names them");
    assert_eq!(catalog.end_deltas(minute(60)).await.unwrap(), 0, "the grace is not over");
    sweep(&catalog, 61).await;
    assert!(!may_have(&catalog, &Viewer::operator(), 2, 1).await);
    assert!(!catalog.known_blobs(None, 99).await.unwrap().contains(&bytes(2, 1).digest));
    assert!(catalog.file(&Viewer::guest(), &root(2)).await.unwrap().is_some(), "the image is whole");
}

async fn a_delta_goes_with_its_target(home: &Home) {
    let catalog = home.open().await;
    publish(&catalog, &[1, 2]).await;
    assert!(list(home, &catalog, 2, 1).await);
    delete(&catalog, "default", 2, 60).await;
    assert!(may_have(&catalog, &Viewer::guest(), 2, 1).await);
    assert!(retired(&catalog).await.contains(&bytes(2, 1).digest));
    sweep(&catalog, 61).await;
    assert!(!may_have(&catalog, &Viewer::operator(), 2, 1).await);
    assert_eq!(retired(&catalog).await, []);
    assert_eq!(catalog.known_blobs(None, 99).await.unwrap().len(), 2, "the files of the image that is left");
}

async fn a_file_that_is_published_again_brings_its_deltas_back(home: &Home) {
    let catalog = home.open().await;
    publish(&catalog, &[1, 2]).await;
    assert!(list(home, &catalog, 2, 1).await);
    let pair = [(root(2), root(1))];
    let mut kept = Kept::of(&[Viewer::guest()], &["default", "other"]);
    catalog.create_project(&project("other"), "", minute(0)).await.unwrap();
    for gone in [1, 2] {
        delete(&catalog, "default", gone, 60).await;
        kept.compare(&catalog, "one is gone").await;
        publish(&catalog, &[gone]).await;
        kept.compare(&catalog, "it is there again").await;
        assert_eq!(told(&catalog, &Viewer::guest(), "default").await, pair, "{gone} came back");
        assert_eq!(retired(&catalog).await, []);
    }
    // With both gone, it takes both.
    delete(&catalog, "default", 1, 70).await;
    delete(&catalog, "default", 2, 71).await;
    commit(&catalog, "other", image(1).at(1), &[]).await;
    assert!(retired(&catalog).await.contains(&bytes(2, 1).digest));
    commit(&catalog, "other", image(2).at(2), &[]).await;
    assert_eq!((told(&catalog, &Viewer::guest(), "other").await, retired(&catalog).await), (pair.to_vec(), vec![]));
    kept.compare(&catalog, "in another project").await;
    // What was swept is built anew.
    delete(&catalog, "other", 1, 80).await;
    sweep(&catalog, 81).await;
    commit(&catalog, "other", image(1).at(1), &[]).await;
    assert_eq!(told(&catalog, &Viewer::guest(), "other").await, []);
    assert!(list(home, &catalog, 2, 1).await);
    assert_eq!(told(&catalog, &Viewer::guest(), "other").await, pair);
}

async fn a_delta_stays_as_long_as_some_project_has_both_files(home: &Home) {
    let catalog = home.open().await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    publish(&catalog, &[1, 2]).await;
    for number in [1, 2] {
        commit(&catalog, "team", image(number).at(i64::from(number)), &[]).await;
    }
    assert!(list(home, &catalog, 2, 1).await);
    delete(&catalog, "default", 1, 60).await;
    assert_eq!(retired(&catalog).await, []);
    assert_eq!(told(&catalog, &Viewer::guest(), "team").await, [(root(2), root(1))]);
    delete(&catalog, "team", 2, 61).await;
    assert_eq!(retired(&catalog).await, [], "one has the base, the other the target");
    delete(&catalog, "team", 1, 62).await;
    assert!(retired(&catalog).await.contains(&bytes(2, 1).digest));
}

async fn who_may_have_the_target_may_have_the_delta(home: &Home) {
    let catalog = home.open().await;
    for name in ["team", "other"] {
        catalog.create_project(&project(name), "", minute(0)).await.unwrap();
    }
    for number in [1, 2] {
        commit(&catalog, "team", image(number).at(i64::from(number)).private(), &[]).await;
    }
    assert!(list(home, &catalog, 2, 1).await);
    let team = Viewer::granted([project("team")]);
    let seen = async || {
        let mut seen = Vec::new();
        let guest = Viewer::guest();
        for viewer in [&guest, &Viewer::granted([project("other"), project("default")]), &team, &Viewer::operator()] {
            seen.push(may_have(&catalog, viewer, 2, 1).await);
            let target = catalog.file(viewer, &root(2)).await.unwrap().is_some();
            assert_eq!(seen.last(), Some(&target), "as the target: {viewer:?}");
        }
        seen
    };
    assert_eq!(seen().await, [false, false, true, true]);
    let public = async |yes| {
        let edit = ImageEdit { public: Some(yes), ..ImageEdit::default() };
        catalog.edit_image(&project("team"), &image(2).fingerprint, &edit, minute(55)).await.unwrap();
    };
    public(true).await;
    assert_eq!(seen().await, [true, true, true, true]);
    public(false).await;
    assert_eq!(seen().await, [false, false, true, true], "at once");
    public(true).await;
    delete(&catalog, "team", 1, 60).await;
    assert_eq!(seen().await, [true, true, true, true], "the base is gone, and lists are an hour old");
    public(false).await;
    assert_eq!(seen().await, [false, false, true, true], "at once, also within the grace");
    delete(&catalog, "team", 2, 60).await;
    assert_eq!(seen().await, [false, false, true, true]);
    catalog.delete_project(&project("team"), minute(61)).await.unwrap();
    assert!(!may_have(&catalog, &team, 2, 1).await);
}

async fn what_was_not_built_yet_is_not_wanted_any_more(home: &Home) {
    let catalog = home.open().await;
    publish(&catalog, &[1, 2, 3]).await;
    behind::building(&home.location, &root(3), &root(1), 0).await;
    behind::building(&home.location, &root(3), &root(2), 0).await;
    delete(&catalog, "default", 1, 60).await;
    assert!(!listed(&catalog, 3, 1).await, "the base went while it was built");
    assert!(!catalog.known_blobs(None, 99).await.unwrap().contains(&bytes(3, 1).digest));
    assert!(listed(&catalog, 3, 2).await);
    publish(&catalog, &[1]).await;
    assert!(!listed(&catalog, 3, 1).await, "it has to be planned again");
    // As many rows as files: the first one can be planned again.
    behind::building(&home.location, &root(3), &root(1), 0).await;
}

async fn bytes_that_are_a_delta_and_a_file_are_both(home: &Home) {
    let catalog = home.open().await;
    publish(&catalog, &[1, 2]).await;
    assert!(list(home, &catalog, 2, 1).await);
    let digest = bytes(2, 1).digest;
    let odd: Image = {
        let mut odd = image(9).at(9).private();
        let ImageFiles::Split { root, .. } = &mut odd.files else { panic!("split") };
        *root = ImageFile { format: FileFormat::Squashfs, ..bytes(2, 1) };
        odd
    };
    commit(&catalog, "default", odd.clone(), &[]).await;
    let guest = Viewer::guest();
    assert!(may_have(&catalog, &guest, 2, 1).await, "as a delta");
    assert_eq!(catalog.file(&guest, &digest).await.unwrap(), None, "not as the file of a private image");
    let file = catalog.file(&Viewer::operator(), &digest).await.unwrap().unwrap();
    assert_eq!(file.format, FileFormat::Squashfs);
    assert_eq!(told(&catalog, &guest, "default").await, [(root(2), root(1))]);
    delete(&catalog, "default", 1, 60).await;
    assert!(!retired(&catalog).await.contains(&digest), "the image needs it");
    sweep(&catalog, 61).await;
    assert!(!may_have(&catalog, &guest, 2, 1).await);
    delete(&catalog, "default", 9, 62).await;
    assert!(retired(&catalog).await.contains(&digest));

    // The other way round.
    commit(&catalog, "default", odd, &[]).await;
    publish(&catalog, &[1]).await;
    assert!(list(home, &catalog, 2, 1).await);
    assert_eq!(catalog.file(&Viewer::operator(), &digest).await.unwrap().unwrap().format, FileFormat::Squashfs);
    delete(&catalog, "default", 9, 70).await;
    assert!(!retired(&catalog).await.contains(&digest), "the delta needs it");
    assert!(may_have(&catalog, &guest, 2, 1).await);
    delete(&catalog, "default", 1, 71).await;
    assert!(retired(&catalog).await.contains(&digest));
}

async fn damaged_bytes_are_taken_out_of_the_lists(home: &Home) {
    let catalog = home.open().await;
    publish(&catalog, &[1, 2]).await;
    assert!(list(home, &catalog, 2, 1).await);
    let mut kept = Kept::of(&[Viewer::guest()], &["default"]);
    kept.compare(&catalog, "at first").await;
    assert_eq!(catalog.drop_delta(&root(1), minute(60)).await.unwrap(), 0, "that is no delta");
    assert_eq!(catalog.drop_delta(&bytes(2, 1).digest, minute(60)).await.unwrap(), 1);
    assert_eq!(kept.compare(&catalog, "dropped").await, 1);
    assert_eq!(told(&catalog, &Viewer::guest(), "default").await, []);
    assert!(!may_have(&catalog, &Viewer::operator(), 2, 1).await, "not even those who hold an old list");
    assert_eq!(retired(&catalog).await, [bytes(2, 1).digest]);
    assert!(list(home, &catalog, 2, 1).await, "made again");
    assert_eq!(retired(&catalog).await, []);
    assert_eq!(told(&catalog, &Viewer::guest(), "default").await, [(root(2), root(1))]);
}

#[derive(Debug, Clone)]
enum Step {
    Commit { project: usize, number: u32, root: u32, public: bool },
    Delete { project: usize, number: u32 },
    Publish { project: usize, number: u32, public: bool },
    List { target: u32, base: u32 },
    Drop { target: u32, base: u32 },
    Sweep,
}

const PROJECTS: [&str; 2] = ["default", "team"];
const ROOTS: std::ops::Range<u32> = 1..5;

fn step() -> impl Strategy<Value = Step> {
    let (at, number, root) = (0..PROJECTS.len(), 1..7u32, ROOTS);
    prop_oneof![
        6 => (at.clone(), number.clone(), root.clone(), any::<bool>())
            .prop_map(|(project, number, root, public)| Step::Commit { project, number, root, public }),
        4 => (at.clone(), number.clone()).prop_map(|(project, number)| Step::Delete { project, number }),
        2 => (at, number, any::<bool>()).prop_map(|(project, number, public)| Step::Publish { project, number, public }),
        6 => (root.clone(), root.clone()).prop_map(|(target, base)| Step::List { target, base }),
        1 => (root.clone(), root).prop_map(|(target, base)| Step::Drop { target, base }),
        1 => Just(Step::Sweep),
    ]
}

/// An image of this number; others can have the same root file.
fn sharing(number: u32, shared: u32, public: bool) -> Image {
    let mut sharing = image(number * 10 + shared).at(i64::from(number));
    let ImageFiles::Split { root, .. } = &mut sharing.files else { panic!("split") };
    *root = file(shared + 0x2000_0000, FileFormat::Squashfs);
    sharing.public = public;
    sharing
}

/// The deltas that were listed and whose two files some image has, and those that wait for a sweep.
#[derive(Default)]
struct Model {
    images: std::collections::BTreeMap<(usize, u32), (u32, bool)>,
    deltas: BTreeSet<(u32, u32)>,
    /// Root files that are known, needed or not.
    roots: BTreeSet<u32>,
}

impl Model {
    fn needed(&self, root: u32) -> bool {
        self.images.values().any(|(own, _)| *own == root)
    }
}

async fn run(steps: Vec<Step>) {
    let home = Home::sqlite().await;
    let catalog = home.open().await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    let viewers = [Viewer::guest(), Viewer::granted([project("team")]), Viewer::operator()];
    let mut kept = Kept::of(&viewers, &PROJECTS);
    let mut model = Model::default();
    for step in steps {
        apply(&home, &catalog, &mut model, &step).await;
        kept.compare(&catalog, &format!("after {step:?}")).await;
        let in_use: BTreeSet<Digest> =
            catalog.blobs_in_use(None, 999).await.unwrap().into_iter().map(|one| one.file.digest).collect();
        for (target, base) in ROOTS.flat_map(|target| ROOTS.map(move |base| (target, base))) {
            let digest = bytes(target, base).digest;
            let there = model.deltas.contains(&(target, base));
            let needed = there && model.needed(target) && model.needed(base);
            assert_eq!(in_use.contains(&digest), needed, "{target} from {base} after {step:?}");
            for viewer in &viewers {
                let may = catalog.file(viewer, &root(target)).await.unwrap().is_some();
                let found = catalog.delta_file(viewer, &digest).await.unwrap().is_some();
                assert_eq!(found, there && may, "{viewer:?}: {target} from {base} after {step:?}");
            }
        }
        for (at, viewer) in (0..PROJECTS.len()).flat_map(|at| viewers.iter().map(move |viewer| (at, viewer))) {
            let Ok(products) = catalog.products(viewer, &project(PROJECTS[at]), None, 99).await else { continue };
            for version in products.iter().flat_map(|product| &product.versions) {
                let targets: BTreeSet<Digest> = version
                    .images
                    .iter()
                    .filter_map(|image| match image.files {
                        ImageFiles::Split { root, .. } => Some(root.digest),
                        ImageFiles::Unified(_) => None,
                    })
                    .collect();
                let pairs = model.deltas.iter().filter(|(target, base)| model.needed(*target) && model.needed(*base));
                let expected: Vec<(Digest, Digest)> = pairs
                    .map(|(target, base)| (root(*target), root(*base)))
                    .filter(|pair| targets.contains(&pair.0))
                    .collect();
                let found: Vec<_> = version.deltas.iter().map(|delta| (delta.target, delta.base)).collect();
                assert_eq!(found, expected, "{viewer:?} in {at} after {step:?}");
            }
        }
    }
}

async fn apply(home: &Home, catalog: &Catalog, model: &mut Model, step: &Step) {
    let now = minute(100);
    match *step {
        Step::Commit { project: at, number, root, public } => {
            if model.images.contains_key(&(at, number)) {
                return;
            }
            catalog.commit_image(&new(PROJECTS[at], sharing(number, root, public), &[]), now, || Ok(())).await.unwrap();
            model.images.insert((at, number), (root, public));
            model.roots.insert(root);
        }
        Step::Delete { project: at, number } => {
            let Some((root, public)) = model.images.remove(&(at, number)) else { return };
            let fingerprint = sharing(number, root, public).fingerprint;
            catalog.delete_image(&project(PROJECTS[at]), &fingerprint, now).await.unwrap();
        }
        Step::Publish { project: at, number, public } => {
            let Some((root, seen)) = model.images.get_mut(&(at, number)) else { return };
            *seen = public;
            let edit = ImageEdit { public: Some(public), ..ImageEdit::default() };
            let fingerprint = sharing(number, *root, public).fingerprint;
            catalog.edit_image(&project(PROJECTS[at]), &fingerprint, &edit, now).await.unwrap();
        }
        Step::List { target, base } => {
            let known = model.roots.contains(&target) && model.roots.contains(&base);
            if !known || model.deltas.contains(&(target, base)) {
                return;
            }
            let needed = model.needed(target) && model.needed(base);
            behind::building(&home.location, &root(target), &root(base), 0).await;
            assert_eq!(listed(catalog, target, base).await, needed);
            if needed {
                model.deltas.insert((target, base));
            } else {
                let sql = format!("DELETE FROM deltas WHERE target = '{}' AND base = '{}'", root(target), root(base));
                behind::run(&home.location, &sql).await;
            }
        }
        Step::Drop { target, base } => {
            let dropped = catalog.drop_delta(&bytes(target, base).digest, now).await.unwrap();
            assert_eq!(dropped > 0, model.deltas.remove(&(target, base)));
        }
        Step::Sweep => {
            sweep(catalog, 101).await;
            let gone: Vec<u32> = model.roots.iter().copied().filter(|root| !model.needed(*root)).collect();
            model.deltas.retain(|(target, base)| !gone.contains(target) && !gone.contains(base));
            model.roots.retain(|root| !gone.contains(root));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn deltas_come_and_go_as_the_model_says(steps in proptest::collection::vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps));
    }
}
