//! A listing that is kept up to date by what changed is the listing that is read anew.

use std::collections::BTreeMap;

use headwater::auth::Viewer;
use headwater::catalog::{AliasEdit, AliasTarget, Catalog, CatalogError, ImageEdit, Listed};
use headwater_formats::image::ImageFiles;
use headwater_formats::names::ProjectName;
use headwater_formats::simplestreams::item;
use headwater_formats::view::View;
use proptest::prelude::*;

use super::{Home, on_both_engines};
use crate::kit::images::{Change as _, alias, image, minute, new, project};

/// The listings of some viewers and projects, kept from before.
pub(super) struct Kept(Vec<One>);

struct One {
    viewer: Viewer,
    project: ProjectName,
    since: Option<i64>,
    products: BTreeMap<String, Listed>,
}

impl Kept {
    pub(super) fn of(viewers: &[Viewer], projects: &[&str]) -> Self {
        let all = viewers.iter().flat_map(|viewer| projects.iter().map(move |name| (viewer, name)));
        let one = |(viewer, name): (&Viewer, &&str)| One {
            viewer: viewer.clone(),
            project: project(name),
            since: None,
            products: BTreeMap::new(),
        };
        Self(all.map(one).collect())
    }

    /// Takes in what changed and compares with a reading of all; says how many products were told of.
    pub(super) async fn compare(&mut self, catalog: &Catalog, label: &str) -> usize {
        let mut told = 0;
        for one in &mut self.0 {
            let label = format!("{:?} in {}: {label}", one.viewer, one.project);
            let all = catalog.listed_products(&one.viewer, &one.project, None, 1000).await;
            let mut changes = match (catalog.products_changed(&one.viewer, &one.project, one.since, None).await, &all) {
                (Ok(changes), Ok(_)) => changes,
                (Err(CatalogError::NoProject(_)), Err(CatalogError::NoProject(_))) => continue,
                (changes, all) => panic!("{label}: {changes:?} and {all:?}"),
            };
            assert_eq!(changes.revision(), catalog.revision().await.unwrap(), "{label}");
            if changes.is_whole() {
                one.products.clear();
            }
            one.since = Some(changes.revision().number);
            loop {
                // Pages of two, so that there are several.
                let page = changes.next(2).await.unwrap();
                if page.is_empty() {
                    break;
                }
                for changed in page {
                    told += 1;
                    match changed.listed {
                        Some(listed) => one.products.insert(changed.key, listed),
                        None => one.products.remove(&changed.key),
                    };
                }
            }
            let kept: Vec<&Listed> = one.products.values().collect();
            assert_eq!(kept, all.unwrap().iter().collect::<Vec<_>>(), "{label}");
        }
        told
    }
}

const PROJECTS: [&str; 2] = ["default", "team"];
const NAMES: [&str; 8] = [
    "a",
    "debian/12",
    "debian/bookworm",
    "debian/trixie/default",
    "debian/bookworm/arm64",
    "Étoile/ΑΣ",
    "Stable/aarch64",
    "stable/ARM64",
];
const RELEASES: [&str; 3] = ["bookworm", "trixie", ""];

fn viewers() -> [Viewer; 2] {
    [Viewer::guest(), Viewer::operator()]
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Commit { project: usize, number: u32, release: usize, public: bool, minute: i64, name: Option<usize> },
    Edit { project: usize, number: u32, release: usize, public: bool },
    Delete { project: usize, number: u32 },
    Replace { project: usize, old: u32, new: u32 },
    Fix { project: usize, name: usize, number: u32 },
    Follow { project: usize, name: usize, release: usize },
    Retarget { project: usize, name: usize, number: u32 },
    Unalias { project: usize, name: usize },
    Rename { project: usize, old: usize, new: usize },
    RenameProject,
    RemakeProject,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let (at, number, name, release) = (0..PROJECTS.len(), 1..9u32, 0..NAMES.len(), 0..RELEASES.len());
    let who = (at.clone(), number.clone());
    prop_oneof![
        6 => (who.clone(), release.clone(), any::<bool>(), 0..3i64, proptest::option::of(name.clone())).prop_map(
            |((project, number), release, public, minute, name)| Step::Commit { project, number, release, public, minute, name }
        ),
        3 => (who.clone(), release.clone(), any::<bool>())
            .prop_map(|((project, number), release, public)| Step::Edit { project, number, release, public }),
        2 => who.clone().prop_map(|(project, number)| Step::Delete { project, number }),
        1 => (who.clone(), number.clone()).prop_map(|((project, old), new)| Step::Replace { project, old, new }),
        2 => (who.clone(), name.clone()).prop_map(|((project, number), name)| Step::Fix { project, name, number }),
        3 => (at.clone(), name.clone(), release).prop_map(|(project, name, release)| Step::Follow { project, name, release }),
        1 => (who, name.clone()).prop_map(|((project, number), name)| Step::Retarget { project, name, number }),
        2 => (at.clone(), name.clone()).prop_map(|(project, name)| Step::Unalias { project, name }),
        2 => (at, name.clone(), name).prop_map(|(project, old, new)| Step::Rename { project, old, new }),
        1 => Just(Step::RenameProject),
        1 => Just(Step::RemakeProject),
    ]
}

/// Does it, if it can be done: what cannot changes nothing, which is compared too.
pub(crate) async fn apply(catalog: &Catalog, step: &Step) -> Result<(), CatalogError> {
    let now = minute(100);
    let at = |index: usize| project(PROJECTS[index]);
    let fingerprint = |number: u32| image(number).fingerprint;
    let made = |number: u32, release: usize| {
        let arm = number.is_multiple_of(3);
        let plain = image(number).property("version", "12");
        let placed = if arm { plain.on(headwater_formats::arch::Architecture::Aarch64) } else { plain };
        let placed = match number % 4 {
            0 => placed.property(item::FAMILIES, "lxd"),
            1 => placed.property(item::FAMILIES, "incus"),
            _ => placed,
        };
        match RELEASES[release] {
            "" => {
                let mut without = placed;
                without.properties.remove("release");
                without
            }
            release => placed.property("release", release),
        }
    };
    match step.clone() {
        Step::Commit { project, number, release, public, minute, name } => {
            let mut image = made(number, release).at(minute);
            image.public = public;
            let names: Vec<&str> = name.iter().map(|name| NAMES[*name]).collect();
            catalog.commit_image(&new(PROJECTS[project], image, &names), now, || Ok(())).await.map(|_| ())
        }
        Step::Edit { project, number, release, public } => {
            let properties = Some(made(number, release).properties);
            let edit = ImageEdit { public: Some(public), properties, ..ImageEdit::default() };
            catalog.edit_image(&at(project), &fingerprint(number), &edit, now).await
        }
        Step::Delete { project, number } => catalog.delete_image(&at(project), &fingerprint(number), now).await,
        Step::Replace { project, old, new } => {
            catalog.replace_image(&at(project), &fingerprint(old), &fingerprint(new), now).await
        }
        Step::Fix { project, name, number } => {
            let target = AliasTarget::Image(fingerprint(number));
            catalog.create_alias(&at(project), &alias(NAMES[name]), "", &target, now).await
        }
        Step::Follow { project, name, release } => {
            let words = ["debian", RELEASES[release], "default"].map(str::to_owned);
            let [os, release, variant] = words;
            let target = AliasTarget::Follows { os, release, variant };
            catalog.create_alias(&at(project), &alias(NAMES[name]), "", &target, now).await
        }
        Step::Retarget { project, name, number } => {
            let edit = AliasEdit { target: Some(fingerprint(number)), ..AliasEdit::default() };
            let decide = |_: &_| Ok::<_, CatalogError>(edit);
            catalog.edit_alias_as(&at(project), &alias(NAMES[name]), decide, now).await.and_then(|decided| decided)
        }
        Step::Unalias { project, name } => catalog.delete_alias(&at(project), &alias(NAMES[name]), now).await,
        Step::Rename { project, old, new } => {
            catalog.rename_alias(&at(project), &alias(NAMES[old]), &alias(NAMES[new]), now).await
        }
        Step::RenameProject => {
            // Another one of the same name takes its place.
            catalog.rename_project(&at(1), &project("away"), now).await?;
            catalog.create_project(&at(1), "", now).await
        }
        Step::RemakeProject => {
            for fingerprint in catalog.fingerprints(&Viewer::operator(), &at(1), 100).await? {
                catalog.delete_image(&at(1), &fingerprint, now).await?;
            }
            for name in NAMES {
                let _ = catalog.delete_alias(&at(1), &alias(name), now).await;
            }
            catalog.delete_project(&at(1), now).await?;
            catalog.create_project(&at(1), "", now).await
        }
    }
}

async fn run(steps: Vec<Step>) {
    let home = Home::sqlite().await;
    let catalog = home.open().await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    let mut each = Kept::of(&viewers(), &["default", "team", "away"]);
    // Takes in several changes at a time.
    let mut some = Kept::of(&viewers(), &["default", "team", "away"]);
    for (number, step) in steps.iter().enumerate() {
        let _ = apply(&catalog, step).await;
        each.compare(&catalog, &format!("after {step:?}")).await;
        if number % 4 == 3 {
            some.compare(&catalog, &format!("after four steps and {step:?}")).await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_changed_makes_an_old_listing_a_fresh_one(steps in proptest::collection::vec(step(), 1..30)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps));
    }
}

async fn a_change_tells_of_what_it_changes_alone(home: &Home) {
    let catalog = home.open().await;
    let now = minute(100);
    for number in 1..=6 {
        let image = image(number).property("release", &format!("r{number}")).property("version", "1");
        catalog.commit_image(&new("default", image, &[]), now, || Ok(())).await.unwrap();
    }
    let mut kept = Kept::of(&[Viewer::operator()], &["default"]);
    assert_eq!(kept.compare(&catalog, "at first").await, 6);
    assert_eq!(kept.compare(&catalog, "again").await, 0);
    let newer = image(7).property("release", "r3").at(50);
    catalog.commit_image(&new("default", newer, &[]), now, || Ok(())).await.unwrap();
    assert_eq!(kept.compare(&catalog, "a new version").await, 1);
    let here = ProjectName::default_project();
    catalog.delete_image(&here, &image(1).fingerprint, now).await.unwrap();
    assert_eq!(kept.compare(&catalog, "a product that is gone").await, 1);
    let fixed = AliasTarget::Image(image(2).fingerprint);
    catalog.create_alias(&here, &alias("debian/r5"), "", &fixed, now).await.unwrap();
    assert_eq!(kept.compare(&catalog, "a name for one that takes it from another").await, 2);
    catalog.create_project(&project("other"), "", now).await.unwrap();
    let elsewhere = image(8).property("release", "r3");
    catalog.commit_image(&new("other", elsewhere, &[]), now, || Ok(())).await.unwrap();
    assert_eq!(kept.compare(&catalog, "another project").await, 0);
}

async fn a_format_that_is_read_anew_is_told_of_everywhere(home: &Home) {
    let catalog = home.open().await;
    let now = minute(100);
    catalog.create_project(&project("other"), "", now).await.unwrap();
    catalog.commit_image(&new("default", image(1), &[]), now, || Ok(())).await.unwrap();
    let mut kept = Kept::of(&[Viewer::operator()], &["default", "other"]);
    kept.compare(&catalog, "at first").await;
    // Another image, of the same root file, which is known better now.
    let mut again = image(2).property("release", "trixie").root_tar();
    if let (ImageFiles::Split { root, .. }, ImageFiles::Split { root: old, .. }) = (&mut again.files, &image(1).files) {
        root.digest = old.digest;
    }
    catalog.commit_image(&new("other", again, &[]), now, || Ok(())).await.unwrap();
    assert_eq!(kept.compare(&catalog, "another format").await, 2);
}

async fn a_name_leads_to_its_products_alone(home: &Home) {
    let catalog = home.open().await;
    let now = minute(100);
    for number in 1..=40 {
        let image = image(number).property("release", &format!("r{number}")).property("version", "");
        let names: &[&str] = if number == 7 { &["Stable", "odd/amd64"] } else { &[] };
        catalog.commit_image(&new("default", image, names), now, || Ok(())).await.unwrap();
    }
    let here = ProjectName::default_project();
    let [os, variant] = ["debian", "default"].map(str::to_owned);
    let follows = AliasTarget::Follows { os, release: "r9".to_owned(), variant };
    catalog.create_alias(&here, &alias("Testing"), "", &follows, now).await.unwrap();
    catalog.rename_alias(&here, &alias("Testing"), &alias("ÉTÉ"), now).await.unwrap();
    for (names, leads_to) in [
        ("alias=debian/r3", "debian:r3:amd64:default"),
        ("alias=DEBIAN/R3/default/x86_64", "debian:r3:amd64:default"),
        ("alias=stable", "debian:r7:amd64:default"),
        ("alias=odd", "debian:r7:amd64:default"),
        ("alias=odd/x86_64 os=debian", "debian:r7:amd64:default"),
        ("alias=%C3%A9t%C3%A9 alias=debian/r1,debian/r9", "debian:r9:amd64:default"),
        ("alias=testing", ""),
        ("alias=debian", ""),
    ] {
        let named = names.parse::<View>().unwrap().names().unwrap();
        for viewer in viewers() {
            let mut changes = catalog.products_changed(&viewer, &here, None, Some(&named)).await.unwrap();
            assert!(changes.is_whole());
            let found = changes.next(100).await.unwrap();
            let keys: Vec<&str> = found.iter().map(|changed| changed.key.as_str()).collect();
            assert_eq!(keys.join(" "), leads_to, "{names}");
            assert!(found.iter().all(|changed| changed.listed.is_some()), "{names}");
            assert_eq!(changes.next(100).await.unwrap(), [], "{names}");
        }
    }
}

async fn moments_that_never_were_are_told_all(home: &Home) {
    let catalog = home.open().await;
    catalog.commit_image(&new("default", image(1), &[]), minute(100), || Ok(())).await.unwrap();
    let here = ProjectName::default_project();
    for (since, whole) in [(None, true), (Some(0), false), (Some(1_000), true)] {
        let mut changes = catalog.products_changed(&Viewer::guest(), &here, since, None).await.unwrap();
        assert_eq!(changes.is_whole(), whole, "{since:?}");
        assert_eq!(changes.next(10).await.unwrap().len(), 1, "{since:?}");
        assert_eq!(changes.next(10).await.unwrap(), [], "{since:?}");
    }
}

on_both_engines!(
    a_change_tells_of_what_it_changes_alone,
    a_format_that_is_read_anew_is_told_of_everywhere,
    a_name_leads_to_its_products_alone,
    moments_that_never_were_are_told_all
);
