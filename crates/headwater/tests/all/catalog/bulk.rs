//! Many images in one transaction: the same as one by one, but for the revision.

use std::collections::BTreeMap;
use std::io;

use headwater::auth::Viewer;
use headwater::catalog::{
    AuditQuery, Catalog, CatalogError, Committed, Described, GivenProduct, NewImage, StoredImage,
};
use headwater_formats::arch::Architecture;
use headwater_formats::image::Image;

use super::{Home, names, on_both_engines};
use crate::kit::images::{Change as _, image, minute, new, project};

on_both_engines! {
    many_at_once_are_as_one_by_one,
    all_are_one_change,
    those_that_are_there_change_nothing,
    bytes_are_ensured_for_new_images_alone,
    one_failure_leaves_nothing_of_all,
    none_is_no_change,
}

/// Images that meet in every way: in a product, in a version, in an alias, in a fingerprint; and more than a batch of them.
fn crowd(project: &str) -> Vec<NewImage> {
    let unplaced = |mut image: Image| {
        image.properties.remove("release");
        image
    };
    let mut crowd = vec![
        new(project, image(1).at(7), &["stable"]),
        new(project, image(2).at(7), &["next"]),
        new(project, image(3).at(7).machine(), &[]),
        new(project, image(4).at(9).private().property("variant", "cloud"), &["secret"]),
        new(project, image(5).at(9).property("variant", "cloud").property("version", "12"), &[]),
        new(project, image(6).at(8).on(Architecture::Aarch64).unified(), &[]),
        new(project, unplaced(image(7)), &["stray"]),
        new(project, image(8).at(10).property("os", "DEBIAN"), &["stable"]),
        new(project, image(1).property("os", "Other"), &["never"]),
    ];
    crowd.extend(
        (100..700).map(|number| new(project, image(number).property("release", &format!("r{}", number % 7)), &[])),
    );
    crowd
}

fn stored(committed: &Committed) -> &StoredImage {
    match committed {
        Committed::New(stored) | Committed::Already(stored) => stored,
    }
}

/// All that can be read of a project, without what must differ: its name, and numbers of audit lines.
async fn all_of(catalog: &Catalog, name: &str) -> String {
    let (operator, project) = (Viewer::operator(), project(name));
    let images = catalog.images(&operator, &project, None, 10_000).await.unwrap();
    let products = catalog.products(&operator, &project, None, 10_000).await.unwrap();
    let seen_by_guests = catalog.products(&Viewer::guest(), &project, None, 10_000).await.unwrap();
    let aliases = catalog.aliases(&operator, &project, None, 10_000).await.unwrap();
    let public_aliases = catalog.aliases(&Viewer::guest(), &project, None, 10_000).await.unwrap();
    let query = AuditQuery { project: Some(project), ..AuditQuery::default() };
    let mut audit = catalog.audit(&query, 10_000).await.unwrap();
    audit.iter_mut().for_each(|line| line.id = 0);
    assert!(
        images.len() > 600 && products.len() > 9 && aliases.len() > 20 && audit.len() > 600,
        "there is something to compare"
    );
    format!("{images:#?}{products:#?}{seen_by_guests:#?}{aliases:#?}{public_aliases:#?}{audit:#?}")
        .replace(name, "PROJECT")
}

async fn many_at_once_are_as_one_by_one(home: &Home) {
    let catalog = home.open().await;
    for name in ["singles", "at-once"] {
        catalog.create_project(&project(name), "", minute(0)).await.unwrap();
    }
    let mut singles = Vec::new();
    for new in crowd("singles") {
        singles.push(catalog.commit_image(&new, minute(20), || Ok(())).await.unwrap());
    }
    let together = catalog.commit_images(&crowd("at-once"), minute(20), |_| Ok(())).await.unwrap();
    assert_eq!(all_of(&catalog, "at-once").await, all_of(&catalog, "singles").await);

    let outcome = |committed: &Committed| (matches!(committed, Committed::New(_)), stored(committed).placement.clone());
    assert_eq!(together.iter().map(outcome).collect::<Vec<_>>(), singles.iter().map(outcome).collect::<Vec<_>>());
    let read = catalog.images(&Viewer::operator(), &project("at-once"), None, 10_000).await.unwrap();
    for one in &together {
        assert!(read.contains(stored(one)), "the answer is what is read later: {:?}", stored(one).image.fingerprint);
    }
    assert!(
        names(stored(&together[7])).contains(&"stable"),
        "the last one has the alias that the first one asked for, too"
    );
    assert!(!names(stored(&together[0])).contains(&"stable"));
    // What the second of two images with one fingerprint says of itself counts for nothing.
    let product = GivenProduct {
        key: "other:bookworm:amd64:default".into(),
        names: Some(vec!["a".into()]),
        ..GivenProduct::default()
    };
    for name in ["singles", "at-once"] {
        let made = vec![Described { product: product.clone(), versions: BTreeMap::new() }];
        assert_eq!(catalog.described_otherwise(&project(name), made).await.unwrap(), [], "no such product is made");
    }
}

async fn all_are_one_change(home: &Home) {
    let catalog = home.open().await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    let before = catalog.revision().await.unwrap();
    let mut news = crowd("team");
    news.push(new("default", image(1), &["mine"]));
    let ended = catalog.commit_images(&news, minute(30), |_| Ok(())).await.unwrap();
    assert_eq!(ended.len(), news.len());
    for (one, new) in ended.iter().zip(&news) {
        assert_eq!((&stored(one).project, stored(one).image.fingerprint), (&new.project, new.image.fingerprint));
    }
    let after = catalog.revision().await.unwrap();
    assert_eq!((after.number, after.changed_at), (before.number + 1, minute(30)));
}

async fn those_that_are_there_change_nothing(home: &Home) {
    let catalog = home.open().await;
    let first = catalog.commit_images(&[new("default", image(1), &["one"])], minute(1), |_| Ok(())).await.unwrap();
    let (revision, audit) = (catalog.revision().await.unwrap(), catalog.last_audit().await.unwrap());
    let again = [new("default", image(1).private(), &["two"]), new("default", image(1), &[])];
    let ended = catalog.commit_images(&again, minute(2), |_| Ok(())).await.unwrap();
    let there = Committed::Already(stored(&first[0]).clone());
    assert_eq!(ended, [there.clone(), there]);
    assert_eq!((catalog.revision().await.unwrap(), catalog.last_audit().await.unwrap()), (revision, audit));
}

async fn bytes_are_ensured_for_new_images_alone(home: &Home) {
    let catalog = home.open().await;
    catalog.commit_image(&new("default", image(2), &[]), minute(1), || Ok(())).await.unwrap();
    let news: Vec<NewImage> = [1, 2, 3, 3].map(|number| new("default", image(number), &[])).into();
    let mut ensured = Vec::new();
    let ensure = |number| {
        ensured.push(number);
        Ok(())
    };
    catalog.commit_images(&news, minute(2), ensure).await.unwrap();
    assert_eq!(ensured, [0, 2], "the second was there, the fourth is the third again");
}

async fn one_failure_leaves_nothing_of_all(home: &Home) {
    let catalog = home.open().await;
    let before = (catalog.revision().await.unwrap(), catalog.last_audit().await.unwrap());
    let good = new("default", image(1), &["one"]);
    let unsure = |number| if number == 1 { Err(io::Error::other("disk on fire")) } else { Ok(()) };
    let failed = catalog.commit_images(&[good.clone(), new("default", image(2), &[])], minute(1), unsure).await;
    assert_eq!(failed.unwrap_err().to_string(), "the image's bytes could not be stored: disk on fire");
    let failed = catalog.commit_images(&[good.clone(), new("nowhere", image(2), &[])], minute(1), |_| Ok(())).await;
    assert!(matches!(failed, Err(CatalogError::NoProject(name)) if name == "nowhere"));
    let taken = NewImage { new_aliases: true, ..new("default", image(2), &["one"]) };
    let failed = catalog.commit_images(&[good, taken], minute(1), |_| Ok(())).await;
    assert!(matches!(failed, Err(CatalogError::AliasExists(name)) if name.as_str() == "one"));
    assert_eq!((catalog.revision().await.unwrap(), catalog.last_audit().await.unwrap()), before);
    assert_eq!(catalog.known_blobs(None, 10).await.unwrap(), [], "no blob is named");
    assert_eq!(catalog.images(&Viewer::operator(), &project("default"), None, 10).await.unwrap(), []);
}

async fn none_is_no_change(home: &Home) {
    let catalog = home.open().await;
    let before = catalog.revision().await.unwrap();
    assert_eq!(catalog.commit_images(&[], minute(1), |_| Ok(())).await.unwrap(), []);
    assert_eq!(catalog.revision().await.unwrap(), before);
}
