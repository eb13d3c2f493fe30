//! Rules for images of a project, and taking away what they let go.

use headwater::auth::{Actor, Viewer};
use headwater::catalog::{
    AuditQuery, Catalog, CatalogError, Given, GivenProduct, NewImage, ProductImages, Retention, UpstreamProtocol,
    UpstreamSettings, VersionImage,
};
use headwater_formats::digest::Fingerprint;
use headwater_formats::image::ImageType;
use headwater_formats::names::{UpstreamName, VersionName};
use headwater_formats::simplestreams::Family;

use super::{Home, commit, on_both_engines};
use crate::kit::images::{Change as _, image, minute, new, project};

on_both_engines! {
    rules_are_kept_and_audited,
    what_rules_ask_about_is_told_of_each_image,
    what_is_let_go_is_deleted_as_by_hand,
    it_is_decided_by_what_is_true_when_images_go,
    of_two_who_prune_at_once_each_image_goes_once,
    an_alias_that_is_made_meanwhile_keeps_a_mirrored_image,
}

const KEEP_ONE: Retention = Retention { keep: 1, keep_days: 0, keep_aliased: false };

async fn products(catalog: &Catalog) -> Vec<ProductImages> {
    catalog.product_images(&project("default"), None, 100).await.unwrap()
}

async fn left(catalog: &Catalog) -> Vec<Fingerprint> {
    catalog.fingerprints(&Viewer::operator(), &project("default"), 1000).await.unwrap()
}

/// All but the newest version.
fn older(_: &Retention, images: &[VersionImage]) -> Vec<Fingerprint> {
    let newest = images.iter().map(|image| &image.version).max();
    images.iter().filter(|image| Some(&image.version) < newest).map(|image| image.fingerprint).collect()
}

async fn rules_are_kept_and_audited(home: &Home) {
    let (catalog, other) = (home.open().await, home.open().await);
    let default = project("default");
    let found = async || other.project(&Viewer::operator(), &default).await.unwrap().unwrap().retention;
    assert_eq!(found().await, Retention::default());
    assert!(!found().await.is_limited());
    let retention = Retention { keep: 5, keep_days: 30, keep_aliased: true };
    let before = catalog.revision().await.unwrap();
    for at in [1, 2] {
        catalog.set_retention(&default, &retention, minute(at)).await.unwrap();
        assert_eq!(found().await, retention);
    }
    catalog.set_retention(&default, &KEEP_ONE, minute(3)).await.unwrap();
    assert_eq!(found().await, KEEP_ONE);
    assert_eq!(catalog.revision().await.unwrap(), before, "documents show nothing of it");
    let lines = catalog.audit(&AuditQuery::default(), 9).await.unwrap();
    let told: Vec<_> = lines.iter().map(|line| (line.action.as_str(), line.detail["retention"].as_str())).collect();
    assert_eq!(told, [("project-updated", "keep=5 keep-days=30 keep-aliased"), ("project-updated", "keep=1")]);
    let nowhere = catalog.set_retention(&project("nowhere"), &retention, minute(4)).await;
    assert!(matches!(nowhere, Err(CatalogError::NoProject(_))));
}

async fn what_rules_ask_about_is_told_of_each_image(home: &Home) {
    let catalog = home.open().await;
    commit(&catalog, "default", image(1).at(2), &["b", "a"]).await;
    commit(&catalog, "default", image(2).at(1).machine().private(), &[]).await;
    commit(&catalog, "default", image(3).at(3).property("headwater.families", "incus"), &[]).await;
    commit(&catalog, "default", image(4).property("os", "Alpine"), &[]).await;
    commit(&catalog, "default", image(5).property("os", ""), &["loose"]).await;
    commit(&catalog, "default", image(6).property("description", "\"headwater.families\": \"lxd\"").at(4), &[]).await;
    let found = products(&catalog).await;
    let keys: Vec<_> = found.iter().map(|product| (product.product.as_str(), product.images.len())).collect();
    assert_eq!(keys, [("alpine:bookworm:amd64:default", 1), ("debian:bookworm:amd64:default", 4)]);
    let told: Vec<_> = found[1]
        .images
        .iter()
        .map(|image| {
            (image.fingerprint, image.version.as_str(), image.image_type, image.family, image.alias.as_deref())
        })
        .collect();
    let of = |number: u32| image(number).fingerprint;
    assert_eq!(
        told,
        [
            (of(2), "20250101_00:01", ImageType::VirtualMachine, Family::Any, None),
            (of(1), "20250101_00:02", ImageType::Container, Family::Any, Some("a")),
            (of(3), "20250101_00:03", ImageType::Container, Family::Incus, None),
            (of(6), "20250101_00:04", ImageType::Container, Family::Any, None),
        ]
    );
    assert_eq!((found[1].images[1].size, found[1].images[1].came_at), (image(1).files.size(), minute(1_000_000)));
    // In pages, and of one project alone.
    let page = catalog.product_images(&project("default"), None, 1).await.unwrap();
    assert_eq!(page, found[..1]);
    let page = catalog.product_images(&project("default"), Some(&page[0].product), 1).await.unwrap();
    assert_eq!(page, found[1..]);
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    assert_eq!(catalog.product_images(&project("team"), None, 9).await.unwrap(), []);
    let nowhere = catalog.product_images(&project("nowhere"), None, 9).await;
    assert!(matches!(nowhere, Err(CatalogError::NoProject(_))));
}

async fn what_is_let_go_is_deleted_as_by_hand(home: &Home) {
    let catalog = home.open().await.acting(Actor::operator("eve"));
    let default = project("default");
    catalog.set_retention(&default, &KEEP_ONE, minute(0)).await.unwrap();
    commit(&catalog, "default", image(1).at(1), &["old"]).await;
    commit(&catalog, "default", image(2).at(2), &["new"]).await;
    let revision = catalog.revision().await.unwrap();
    let product = &products(&catalog).await[0].product;
    let gone = catalog.prune_product(&default, product, older, minute(9)).await.unwrap();
    assert_eq!(gone, [image(1).fingerprint]);
    assert_eq!(catalog.revision().await.unwrap().number, revision.number + 1);
    assert_eq!(left(&catalog).await, [image(2).fingerprint]);
    let names = catalog.aliases(&Viewer::operator(), &default, None, 9).await.unwrap();
    assert_eq!(
        names.iter().filter(|alias| !alias.generated).map(|alias| alias.name.as_str()).collect::<Vec<_>>(),
        ["new"]
    );
    // Its files are served until their grace is over.
    let root = image(1).files.root().unwrap().digest;
    assert!(catalog.file(&Viewer::guest(), &root).await.unwrap().is_some());
    assert_eq!(catalog.retired(minute(10), 9).await.unwrap().len(), 2);
    let line = catalog.audit_end(&AuditQuery::default(), 1).await.unwrap().remove(0);
    assert_eq!((line.action.as_str(), line.actor_name.as_str()), ("image-deleted", "eve"));
    assert_eq!((line.detail["rule"].as_str(), line.detail["aliases"].as_str()), ("keep=1", "old"));
    // Nothing more, and nothing of a product that is gone.
    assert_eq!(catalog.prune_product(&default, product, older, minute(9)).await.unwrap(), []);
    assert_eq!(catalog.prune_product(&default, "none", older, minute(9)).await.unwrap(), []);
    assert_eq!(catalog.revision().await.unwrap().number, revision.number + 1);
    // By hand, no rule is named.
    catalog.delete_image(&default, &image(2).fingerprint, minute(10)).await.unwrap();
    assert_eq!(catalog.audit_end(&AuditQuery::default(), 1).await.unwrap()[0].detail.get("rule"), None);
}

async fn it_is_decided_by_what_is_true_when_images_go(home: &Home) {
    let catalog = home.open().await;
    let default = project("default");
    commit(&catalog, "default", image(1).at(1), &[]).await;
    commit(&catalog, "default", image(2).at(2), &[]).await;
    let product = &products(&catalog).await[0].product;
    // Rules that came, an alias that was made, and a version that was added since somebody looked.
    catalog.set_retention(&default, &Retention { keep_aliased: true, ..KEEP_ONE }, minute(0)).await.unwrap();
    commit(&catalog, "default", image(3).at(3), &["three"]).await;
    let gone = catalog
        .prune_product(
            &default,
            product,
            |rules, images| {
                assert_eq!(*rules, Retention { keep_aliased: true, ..KEEP_ONE });
                assert_eq!(images.len(), 3);
                images.iter().filter(|image| image.alias.is_none()).map(|image| image.fingerprint).collect()
            },
            minute(9),
        )
        .await
        .unwrap();
    assert_eq!(gone, [image(1).fingerprint, image(2).fingerprint]);
}

async fn of_two_who_prune_at_once_each_image_goes_once(home: &Home) {
    let catalog = home.open().await;
    let default = project("default");
    for number in 0..250 {
        commit(&catalog, "default", image(number).at(number.into()), &[]).await;
    }
    let product = products(&catalog).await.remove(0).product;
    let prune = async || {
        let (catalog, mut all) = (home.open().await, Vec::new());
        loop {
            let gone = catalog.prune_product(&default, &product, older, minute(999)).await.unwrap();
            if gone.is_empty() {
                return all;
            }
            assert!(gone.len() <= 100, "others have to write, too");
            all.extend(gone);
        }
    };
    let (one, other) = tokio::join!(prune(), prune());
    assert_eq!(one.len() + other.len(), 249);
    assert_eq!(left(&catalog).await, [image(249).fingerprint]);
    let lines = catalog.audit_end(&AuditQuery::default(), 1000).await.unwrap();
    assert_eq!(lines.iter().filter(|line| line.action == "image-deleted").count(), 249);
}

async fn an_alias_that_is_made_meanwhile_keeps_a_mirrored_image(home: &Home) {
    let catalog = home.open().await;
    let (default, name) = (project("default"), UpstreamName::new("images").unwrap());
    let mut settings = UpstreamSettings { keep_aliased: true, ..UpstreamSettings::default() };
    let server = "https://images.example";
    let protocol = UpstreamProtocol::SimpleStreams;
    catalog.create_upstream(&name, &default, protocol, server, &settings, minute(0)).await.unwrap();
    let upstream = catalog.upstream(&name).await.unwrap().id;
    let given = Given {
        upstream: Some(upstream),
        product: GivenProduct { key: "a".into(), ..GivenProduct::default() },
        version: VersionName::new("20250101").unwrap(),
        version_extra: Default::default(),
        placed: true,
    };
    let taken = NewImage { given: Some(given), ..new("default", image(1), &["named"]) };
    catalog.commit_image(&taken, minute(5), || Ok(())).await.unwrap();
    let told = &products(&catalog).await[0].images[0];
    assert_eq!(told.upstream.as_ref(), Some(&name));
    let held = catalog.mirrored(upstream, None, 9).await.unwrap();
    assert_eq!((held[0].came_at, held[0].aliased), (Some(minute(5)), true));
    let gone = [image(1).fingerprint];
    assert_eq!(catalog.remove_mirrored(upstream, &gone, minute(6)).await.unwrap(), 0);
    assert_eq!(left(&catalog).await, gone);
    settings.keep_aliased = false;
    catalog.edit_upstream(&name, &settings, minute(7)).await.unwrap();
    assert_eq!(catalog.remove_mirrored(upstream, &gone, minute(8)).await.unwrap(), 1);
}
