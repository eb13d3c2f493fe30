//! Upstreams, and images that are placed where their upstream has them.

use std::collections::BTreeMap;

use headwater::auth::Viewer;
use headwater::catalog::{
    Catalog, CatalogError, Committed, Described, Given, GivenProduct, ImageEdit, NewImage, StoredImage, Upstream,
    UpstreamClaim, UpstreamId, UpstreamProtocol, UpstreamRun, UpstreamSettings,
};
use headwater_formats::digest::Fingerprint;
use headwater_formats::image::Image;
use headwater_formats::names::{UpstreamName, VersionName};
use headwater_formats::product::Product;
use serde_json::json;

use super::{Home, on_both_engines};
use crate::kit::images::{Change, image, minute, new, project};

on_both_engines![
    upstreams_are_kept_as_they_were_made,
    one_at_a_time_runs_an_upstream,
    an_image_is_placed_where_its_upstream_has_it,
    what_an_upstream_says_of_a_product_is_given_out_again,
    what_is_described_otherwise_is_found_without_a_change,
    many_at_once_are_placed_as_one_after_the_other,
    products_without_names_of_their_own_have_generated_ones,
    an_image_that_was_replaced_without_a_new_version_makes_room,
    files_of_an_image_that_goes_stay_for_others_that_come_with_the_next,
    somebody_elses_image_stays_in_its_version,
    an_image_that_is_offered_to_others_stays_in_its_product,
    images_go_when_no_upstream_lists_them,
    an_upstream_that_is_removed_leaves_its_images,
];

fn name(text: &str) -> UpstreamName {
    UpstreamName::new(text).unwrap()
}

async fn upstream(catalog: &Catalog, text: &str) -> Upstream {
    let settings = UpstreamSettings::default();
    let (project, server) = (project("default"), "https://images.example");
    catalog
        .create_upstream(&name(text), &project, UpstreamProtocol::SimpleStreams, server, &settings, minute(0))
        .await
        .unwrap();
    catalog.upstream(&name(text)).await.unwrap()
}

fn given(upstream: UpstreamId, version: &str) -> Given {
    Given {
        upstream: Some(upstream),
        product: GivenProduct {
            key: "com.example:server:12:amd64".into(),
            names: Some(vec!["twelve".into(), "12".into()]),
            extra: [("flavour".to_owned(), json!({"sweet": 1}))].into(),
        },
        version: VersionName::new(version).unwrap(),
        version_extra: [("pubname".to_owned(), json!("example-12"))].into(),
        placed: true,
    }
}

fn taken(image: Image, given: Given) -> NewImage {
    NewImage { given: Some(given), ..new("default", image, &[]) }
}

async fn take(catalog: &Catalog, image: Image, given: Given) -> StoredImage {
    let committed = catalog.commit_image(&taken(image, given), minute(1), || Ok(())).await.unwrap();
    let Committed::New(stored) = committed else { panic!("{committed:?}") };
    stored
}

async fn products(catalog: &Catalog) -> Vec<Product> {
    catalog.products(&Viewer::guest(), &project("default"), None, 100).await.unwrap()
}

async fn fingerprints(catalog: &Catalog) -> Vec<Fingerprint> {
    catalog.fingerprints(&Viewer::operator(), &project("default"), 100).await.unwrap()
}

async fn upstreams_are_kept_as_they_were_made(home: &Home) {
    let catalog = home.open().await;
    let made = upstream(&catalog, "images").await;
    assert_eq!(
        (made.server.as_str(), made.due_at, made.last_run.clone()),
        ("https://images.example", Some(minute(0)), None)
    );
    let again = catalog
        .create_upstream(
            &name("images"),
            &project("default"),
            UpstreamProtocol::Lxd,
            "https://b",
            &made.settings,
            minute(0),
        )
        .await;
    assert!(matches!(again, Err(CatalogError::UpstreamExists(_))), "{again:?}");
    let elsewhere = catalog
        .create_upstream(&name("b"), &project("none"), UpstreamProtocol::Lxd, "https://b", &made.settings, minute(0))
        .await;
    assert!(matches!(elsewhere, Err(CatalogError::NoProject(_))), "{elsewhere:?}");

    let settings = UpstreamSettings { filter: "arch=amd64".into(), every: 0, keep: 5, public: true, ..made.settings };
    catalog.edit_upstream(&name("images"), &settings, minute(1)).await.unwrap();
    let edited = catalog.upstream(&name("images")).await.unwrap();
    assert_eq!((edited.settings, edited.due_at), (settings, None));
    assert_eq!(catalog.upstreams().await.unwrap().len(), 1);
    let project = project("default");
    let in_use = catalog.create_project(&"team".parse().unwrap(), "", minute(0)).await;
    in_use.unwrap();
    let (team, settings) = ("team".parse().unwrap(), UpstreamSettings::default());
    catalog
        .create_upstream(&name("theirs"), &team, UpstreamProtocol::Incus, "https://c", &settings, minute(0))
        .await
        .unwrap();
    let deleted = catalog.delete_project(&team, minute(0)).await.unwrap_err().to_string();
    assert_eq!(
        deleted,
        "the project \"team\" still has upstreams; delete them first (`headwater mirror list` shows them)"
    );
    catalog.delete_upstream(&name("theirs"), minute(2)).await.unwrap();
    let gone = catalog.upstream(&name("theirs")).await.unwrap_err().to_string();
    assert_eq!(gone, "there is no upstream \"theirs\"; `headwater mirror list` shows the ones there are");
    catalog.delete_project(&team, minute(0)).await.unwrap();
    assert_eq!(project.as_str(), "default");
}

async fn one_at_a_time_runs_an_upstream(home: &Home) {
    let catalog = home.open().await;
    let dead = |by: &str| by == "killed";
    let made = upstream(&catalog, "images").await;
    assert_eq!(catalog.claim_due_upstream("a", minute(-1), minute(5), dead).await.unwrap(), None, "it is not due");
    let claimed = catalog.claim_due_upstream("a", minute(0), minute(5), dead).await.unwrap().unwrap();
    assert_eq!(claimed.id, made.id);
    assert_eq!(catalog.claim_due_upstream("b", minute(1), minute(6), dead).await.unwrap(), None);
    let busy = catalog.claim_upstream(&name("images"), "b", minute(1), minute(6), dead).await.unwrap();
    assert_eq!(busy, UpstreamClaim::Busy);
    assert!(catalog.keep_upstream_claim(made.id, "a", minute(7)).await.unwrap());
    assert!(!catalog.keep_upstream_claim(made.id, "b", minute(9)).await.unwrap());
    // Who died is followed.
    let claimed = catalog.claim_upstream(&name("images"), "b", minute(8), minute(12), dead).await.unwrap();
    assert!(matches!(claimed, UpstreamClaim::Taken(_)), "{claimed:?}");
    let run = UpstreamRun { began_at: 1, ended_at: 2, taken: 3, ..UpstreamRun::default() };
    catalog.end_upstream_claim(made.id, "a", Some(&run), Some(minute(60))).await.unwrap();
    assert_eq!(catalog.upstream(&name("images")).await.unwrap().last_run, None, "the claim was lost");
    catalog.end_upstream_claim(made.id, "b", Some(&run), Some(minute(60))).await.unwrap();
    let ended = catalog.upstream(&name("images")).await.unwrap();
    assert_eq!((ended.last_run, ended.due_at, ended.claimed_until), (Some(run), Some(minute(60)), None));
    assert_eq!(catalog.claim_due_upstream("a", minute(59), minute(70), dead).await.unwrap(), None);
    assert!(catalog.claim_due_upstream("a", minute(60), minute(70), dead).await.unwrap().is_some());
    // Who is known to be dead holds nothing.
    catalog.end_upstream_claim(made.id, "a", None, None).await.unwrap();
    catalog.claim_due_upstream("killed", minute(60), minute(70), dead).await.unwrap().unwrap();
    assert!(catalog.claim_due_upstream("a", minute(61), minute(71), dead).await.unwrap().is_some());
    // Broken off: due as before.
    catalog.end_upstream_claim(made.id, "a", None, None).await.unwrap();
    assert!(catalog.claim_due_upstream("a", minute(60), minute(70), dead).await.unwrap().is_some());
}

async fn an_image_is_placed_where_its_upstream_has_it(home: &Home) {
    let catalog = home.open().await;
    let id = upstream(&catalog, "images").await.id;
    take(&catalog, image(1), given(id, "20240101")).await;
    take(&catalog, image(2).machine(), given(id, "20240101")).await;
    let stored = take(&catalog, image(3), given(id, "20240102")).await;
    let names: Vec<String> = stored.aliases.iter().map(|alias| alias.name.to_string()).collect();
    assert_eq!(names, ["12", "twelve"], "and no generated ones");
    let products = products(&catalog).await;
    let [product] = &products[..] else { panic!("{products:?}") };
    assert_eq!(product.key, "com.example:server:12:amd64");
    assert_eq!(product.aliases, ["twelve", "12"]);
    assert_eq!(product.extra["flavour"], json!({"sweet": 1}));
    let versions: Vec<_> = product.versions.iter().map(|one| (one.name.as_str(), one.images.len())).collect();
    assert_eq!(versions, [("20240101", 2), ("20240102", 1)]);
    assert_eq!(product.versions[0].extra["pubname"], json!("example-12"));
    let rows = catalog.mirrored(id, None, 100).await.unwrap();
    let rows: Vec<_> = rows.iter().map(|row| (row.version.as_str(), row.gone_at, row.came_at.is_some())).collect();
    assert_eq!(rows, [("20240101", None, true), ("20240101", None, true), ("20240102", None, true)]);
    assert_eq!(catalog.mirrored(id, Some(&image(2).fingerprint), 100).await.unwrap().len(), 1);
    // A name that leads to the newest.
    let found = catalog.image(&Viewer::guest(), &project("default"), &image(3).fingerprint.into()).await.unwrap();
    assert!(matches!(found, headwater::catalog::Found::One(_)));
}

async fn what_an_upstream_says_of_a_product_is_given_out_again(home: &Home) {
    let catalog = home.open().await;
    let id = upstream(&catalog, "images").await.id;
    let place = given(id, "20240101");
    take(&catalog, image(1), place.clone()).await;
    let before = catalog.revision().await.unwrap().number;
    let versions: BTreeMap<_, _> = [(place.version.clone(), place.version_extra.clone())].into();
    let same = catalog.describe_product(&project("default"), &place.product, &versions, minute(2)).await.unwrap();
    assert_eq!((same, catalog.revision().await.unwrap().number), (false, before));
    let product = GivenProduct { names: Some(vec!["thirteen".into()]), ..place.product };
    let versions = [(place.version, [("label".to_owned(), json!("beta"))].into())].into();
    assert!(catalog.describe_product(&project("default"), &product, &versions, minute(2)).await.unwrap());
    let shown = &products(&catalog).await[0];
    assert_eq!(
        (shown.aliases.as_slice(), &shown.versions[0].extra["label"]),
        (["thirteen".to_owned()].as_slice(), &json!("beta"))
    );
    let elsewhere = GivenProduct { key: "none".into(), ..product };
    assert!(!catalog.describe_product(&project("default"), &elsewhere, &versions, minute(2)).await.unwrap());
}

async fn what_is_described_otherwise_is_found_without_a_change(home: &Home) {
    let catalog = home.open().await;
    let id = upstream(&catalog, "images").await.id;
    let place = given(id, "20240101");
    take(&catalog, image(1), place.clone()).await;
    let said = |product: GivenProduct, extra: &BTreeMap<_, _>| Described {
        product,
        versions: [(place.version.clone(), extra.clone())].into(),
    };
    let same = said(place.product.clone(), &place.version_extra);
    let product = GivenProduct { extra: BTreeMap::new(), ..place.product.clone() };
    let fields = said(product, &place.version_extra);
    let names = said(GivenProduct { names: None, ..place.product.clone() }, &place.version_extra);
    let label = said(place.product.clone(), &[("label".to_owned(), json!("beta"))].into());
    let missing = said(GivenProduct { key: "none".into(), ..place.product.clone() }, &BTreeMap::new());
    let mut none = same.clone();
    none.versions = [(VersionName::new("20230101").unwrap(), BTreeMap::new())].into();
    let all = vec![same, fields.clone(), names.clone(), label.clone(), missing, none];
    let found = catalog.described_otherwise(&project("default"), all).await.unwrap();
    assert_eq!(found, [fields, names, label]);
    for Described { product, versions } in &found {
        assert!(catalog.describe_product(&project("default"), product, versions, minute(2)).await.unwrap());
        let now = vec![Described { product: product.clone(), versions: versions.clone() }];
        assert_eq!(catalog.described_otherwise(&project("default"), now).await.unwrap(), []);
    }
    assert_eq!(catalog.described_otherwise(&project("default"), Vec::new()).await.unwrap(), []);
}

/// Images of several products, with files in common, one that takes the place of another, and one that is there twice.
async fn many_at_once_are_placed_as_one_after_the_other(home: &Home) {
    let catalog = home.open().await;
    // Seven versions of a product each; the last image comes twice.
    let place = |number: u32| (number, format!("com.example:{}", number / 7), format!("202401{:02}", 1 + number % 7));
    let images: Vec<(u32, String, String)> = (1..=60).chain([60]).map(place).collect();
    let mut seen = Vec::new();
    for (name, together) in [("together", 61), ("some", 9), ("alone", 1)] {
        let (project, label) = (project(name), UpstreamName::new(name).unwrap());
        catalog.create_project(&project, "", minute(0)).await.unwrap();
        let settings = UpstreamSettings::default();
        let server = "https://images.example";
        let protocol = UpstreamProtocol::SimpleStreams;
        catalog.create_upstream(&label, &project, protocol, server, &settings, minute(0)).await.unwrap();
        let id = catalog.upstream(&label).await.unwrap().id;
        let new = images.iter().map(|(number, key, version)| {
            let mut given = given(id, version);
            given.product.key.clone_from(key);
            NewImage { given: Some(given), ..new(name, image(*number), &[]) }
        });
        let new: Vec<NewImage> = new.collect();
        let mut ensured = 0;
        for some in new.chunks(together) {
            let ensure = |_| {
                ensured += 1;
                Ok(())
            };
            catalog.commit_images(some, minute(1), ensure).await.unwrap();
        }
        let viewer = Viewer::operator();
        let products = catalog.products(&viewer, &project, None, 100).await.unwrap();
        let images: Vec<_> = catalog.images(&viewer, &project, None, 100).await.unwrap();
        let images = images.into_iter().map(|stored| (stored.image, stored.aliases, stored.placement));
        let held = catalog.mirrored(id, None, 100).await.unwrap();
        seen.push((products, images.collect::<Vec<_>>(), held, ensured));
    }
    assert_eq!(seen[0].1.len(), 60);
    assert_eq!(seen[0], seen[2]);
    assert_eq!(seen[1], seen[2]);
}

/// As an image that was carried here: placed by no upstream that is known.
async fn products_without_names_of_their_own_have_generated_ones(home: &Home) {
    let catalog = home.open().await;
    let id = upstream(&catalog, "images").await.id;
    let own = given(id, "20240101");
    let carried = Given {
        upstream: None,
        product: GivenProduct { key: "carried".into(), names: None, ..own.product.clone() },
        ..own.clone()
    };
    take(&catalog, image(1), own.clone()).await;
    let stored = take(&catalog, image(2), carried.clone()).await;
    assert_eq!(
        stored.placement.map(|place| (place.product, place.version)),
        Some(("carried".into(), own.version.clone()))
    );
    let shown = products(&catalog).await;
    assert_eq!(shown[0].key, "carried");
    assert_eq!(shown[0].aliases.first().map(String::as_str), Some("debian/bookworm/default"), "{:?}", shown[0].aliases);
    let keys = ["carried".to_owned(), own.product.key.clone()];
    let names = catalog.given_names(&project("default"), &keys).await.unwrap();
    assert_eq!(names, [(own.product.key.clone(), vec!["twelve".to_owned(), "12".to_owned()])].into());
    let both = [image(1).fingerprint, image(2).fingerprint];
    let mirrored = catalog.of_upstreams(&project("default"), &both).await.unwrap();
    assert_eq!(mirrored, [image(1).fingerprint].into());

    // Given names come and go.
    let versions: BTreeMap<_, _> = [(carried.version.clone(), carried.version_extra.clone())].into();
    let named = GivenProduct { names: Some(vec!["mine".into()]), ..carried.product.clone() };
    for (product, first) in [(named, "mine"), (carried.product, "debian/bookworm/default")] {
        assert!(catalog.describe_product(&project("default"), &product, &versions, minute(2)).await.unwrap());
        assert_eq!(products(&catalog).await[0].aliases.first().map(String::as_str), Some(first));
        assert!(!catalog.describe_product(&project("default"), &product, &versions, minute(2)).await.unwrap());
    }
}

async fn an_image_that_was_replaced_without_a_new_version_makes_room(home: &Home) {
    let catalog = home.open().await;
    let id = upstream(&catalog, "images").await.id;
    let old = NewImage { given: Some(given(id, "20240101")), ..new("default", image(1), &["mine"]) };
    catalog.commit_image(&old, minute(1), || Ok(())).await.unwrap();
    let stored = take(&catalog, image(2), given(id, "20240101")).await;
    assert_eq!(fingerprints(&catalog).await, [image(2).fingerprint]);
    let products = products(&catalog).await;
    assert_eq!(products[0].versions.len(), 1);
    assert_eq!(products[0].versions[0].name.as_str(), "20240101");
    assert_eq!(catalog.mirrored(id, None, 100).await.unwrap().len(), 1);
    assert!(stored.aliases.iter().any(|alias| alias.name.as_str() == "mine"), "{:?}", stored.aliases);
}

async fn files_of_an_image_that_goes_stay_for_others_that_come_with_the_next(home: &Home) {
    let catalog = home.open().await;
    let id = upstream(&catalog, "images").await.id;
    take(&catalog, image(1), given(id, "20240101")).await;
    let mut elsewhere = given(id, "20240101");
    elsewhere.product.key = "com.example:other".into();
    // It has the files of the one that goes; and then that one comes again.
    let shares = Image { files: image(1).files, ..image(3) };
    let mut again = elsewhere.clone();
    again.product.key = "com.example:again".into();
    let new = [taken(image(2), given(id, "20240101")), taken(shares.clone(), elsewhere), taken(image(1), again)];
    let committed = catalog.commit_images(&new, minute(2), |_| Ok(())).await.unwrap();
    assert!(committed.iter().all(|image| matches!(image, Committed::New(_))), "{committed:?}");
    assert_eq!(fingerprints(&catalog).await.len(), 3);
    assert_eq!(catalog.retired(minute(100_000), 9).await.unwrap(), [], "all of them are needed");
}

async fn somebody_elses_image_stays_in_its_version(home: &Home) {
    let catalog = home.open().await;
    let (one, two) = (upstream(&catalog, "one").await.id, upstream(&catalog, "two").await.id);
    take(&catalog, image(1), given(one, "20240101")).await;
    take(&catalog, image(2), given(two, "20240101")).await;
    let products = products(&catalog).await;
    let versions: Vec<_> = products[0].versions.iter().map(|version| version.name.as_str()).collect();
    assert_eq!(versions, ["20240101", "20240101_00:01"]);
    assert_eq!(fingerprints(&catalog).await.len(), 2);
}

async fn an_image_that_is_offered_to_others_stays_in_its_product(home: &Home) {
    let catalog = home.open().await;
    let id = upstream(&catalog, "images").await.id;
    let alone = image(1).property("headwater.families", "lxd");
    take(&catalog, alone.clone(), given(id, "20240101")).await;
    let edit = ImageEdit { properties: Some(image(1).properties), ..ImageEdit::default() };
    catalog.edit_image(&project("default"), &alone.fingerprint, &edit, minute(2)).await.unwrap();
    let products = products(&catalog).await;
    let [product] = &products[..] else { panic!("{products:?}") };
    assert_eq!((product.key.as_str(), product.versions[0].name.as_str()), ("com.example:server:12:amd64", "20240101"));
    assert_eq!(product.versions[0].extra["pubname"], json!("example-12"));
}

async fn images_go_when_no_upstream_lists_them(home: &Home) {
    let catalog = home.open().await;
    let (one, two) = (upstream(&catalog, "one").await.id, upstream(&catalog, "two").await.id);
    for number in 1..=3 {
        take(&catalog, image(number), given(one, &format!("2024010{number}"))).await;
    }
    // Published by hand: not the mirror's.
    catalog.commit_image(&new("default", image(9), &[]), minute(1), || Ok(())).await.unwrap();
    let of = |number: u32| image(number).fingerprint;
    let present = catalog.present(&project("default"), &[of(1), of(8), of(9)]).await.unwrap();
    assert_eq!(present.into_iter().collect::<Vec<_>>(), [of(1), of(9)]);
    let listed = [(of(2), "p".to_owned(), "v".to_owned()), (of(9), "p".to_owned(), "v".to_owned())];
    catalog.note_shared(two, &listed).await.unwrap();
    assert_eq!(catalog.mirrored(two, None, 100).await.unwrap().len(), 1);

    catalog.note_gone(one, &[of(1), of(2)], &[], minute(5)).await.unwrap();
    catalog.note_gone(one, &[], &[of(2)], minute(6)).await.unwrap();
    let gone: Vec<_> = catalog.mirrored(one, None, 100).await.unwrap().iter().map(|row| row.gone_at).collect();
    assert_eq!(gone, [Some(minute(5)), None, None]);

    let removed = catalog.remove_mirrored(one, &[of(1), of(2), of(9)], minute(7)).await.unwrap();
    assert_eq!(removed, 1, "the second is listed by another upstream, the third is nobody's");
    assert_eq!(fingerprints(&catalog).await, [of(2), of(3), of(9)]);
    assert_eq!(catalog.remove_mirrored(two, &[of(2)], minute(7)).await.unwrap(), 1);
    catalog.delete_image(&project("default"), &of(3), minute(8)).await.unwrap();
    let rows = catalog.mirrored(one, None, 100).await.unwrap();
    assert_eq!(rows.iter().map(|row| (row.fingerprint, row.came_at.is_some())).collect::<Vec<_>>(), [(of(3), false)]);
}

async fn an_upstream_that_is_removed_leaves_its_images(home: &Home) {
    let catalog = home.open().await;
    let id = upstream(&catalog, "images").await.id;
    take(&catalog, image(1), given(id, "20240101")).await;
    catalog.delete_upstream(&name("images"), minute(2)).await.unwrap();
    assert_eq!(fingerprints(&catalog).await, [image(1).fingerprint]);
    assert_eq!(catalog.mirrored(id, None, 100).await.unwrap(), []);
    // A run that was under way.
    take(&catalog, image(2), given(id, "20240102")).await;
    assert_eq!(catalog.mirrored(id, None, 100).await.unwrap(), []);
    assert_eq!(catalog.remove_mirrored(id, &[image(1).fingerprint], minute(3)).await.unwrap(), 0);
}
