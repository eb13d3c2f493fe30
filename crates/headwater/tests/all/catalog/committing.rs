use headwater::auth::Viewer;
use headwater::catalog::{CatalogError, Committed, Found, ImageEdit};
use headwater_formats::arch::Architecture;
use headwater_formats::image::{Image, ImageFiles, UpdateSource};
use headwater_formats::simplestreams::item;

use super::{Home, commit, names, on_both_engines};
use crate::kit::images::{Change as _, image, minute, new, project};

on_both_engines! {
    an_image_reads_back_as_it_was_written,
    the_same_image_twice_changes_nothing,
    the_same_bytes_can_be_images_of_two_projects,
    nothing_is_written_when_the_bytes_cannot_be_ensured,
    a_missing_project_is_named,
    a_taken_version_is_bumped_by_a_minute,
    images_of_other_kinds_share_a_version,
    images_for_different_clients_share_a_version_and_a_root_file,
    images_without_a_line_have_no_place,
    spelling_and_case_make_no_second_product,
    an_edit_changes_what_it_names_and_nothing_else,
    an_edit_moves_an_image_between_products,
    a_bumped_version_stays_when_other_things_are_edited,
    the_revision_counts_changes_and_its_time_never_goes_back,
    texts_with_nul_are_refused_alike,
    settings_are_kept,
}

async fn an_image_reads_back_as_it_was_written(home: &Home) {
    let catalog = home.open().await;
    let mut full = image(1).property("weird", "ä\u{1F600}\0\"\\ '%_").machine().on(Architecture::Aarch64);
    full.expires_at = Some(minute(9));
    full.last_used_at = Some(minute(8));
    full.auto_update = true;
    full.profiles = vec![];
    full.update_source = Some(UpdateSource {
        alias: "debian/12".into(),
        certificate: "PEM".into(),
        protocol: "simplestreams".into(),
        server: "https://example.org".into(),
        image_type: String::new(),
    });
    for original in [full, image(2).unified(), image(3).root_tar().private()] {
        let stored = commit(&catalog, "default", original.clone(), &[]).await;
        let expected = Image { uploaded_at: minute(1_000_000), ..original };
        assert_eq!(stored.image, expected, "the commit's answer");
        let prefix = expected.fingerprint.into();
        let found = catalog.image(&Viewer::operator(), &project("default"), &prefix).await.unwrap();
        assert_eq!(found, Found::One(stored), "what is read later");
    }
}

async fn the_same_image_twice_changes_nothing(home: &Home) {
    let catalog = home.open().await;
    let first = commit(&catalog, "default", image(1), &["one"]).await;
    let revision = catalog.revision().await.unwrap();
    let again = new("default", image(1).property("os", "Other").private(), &["two"]);
    let ended = catalog.commit_image(&again, minute(2_000_000), || Ok(())).await.unwrap();
    assert_eq!(ended, Committed::Already(first));
    assert_eq!(catalog.revision().await.unwrap(), revision, "nothing changed, so the revision stays");
}

async fn the_same_bytes_can_be_images_of_two_projects(home: &Home) {
    let catalog = home.open().await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    let public = commit(&catalog, "default", image(1), &[]).await;
    let private = commit(&catalog, "team", image(1).private(), &["mine"]).await;
    assert_eq!(public.image.fingerprint, private.image.fingerprint);
    assert_eq!(names(&private)[0], "debian/12");
    assert!(names(&private).contains(&"mine"));
    assert!(!names(&public).contains(&"mine"), "aliases belong to a project");
}

async fn nothing_is_written_when_the_bytes_cannot_be_ensured(home: &Home) {
    let catalog = home.open().await;
    let revision = catalog.revision().await.unwrap();
    let failed = catalog
        .commit_image(&new("default", image(1), &["one"]), minute(5), || Err(std::io::Error::other("disk on fire")))
        .await;
    let said = failed.unwrap_err().to_string();
    assert_eq!(said, "the image's bytes could not be stored: disk on fire");
    assert_eq!(catalog.revision().await.unwrap(), revision);
    assert_eq!(catalog.known_blobs(None, 10).await.unwrap(), [], "no blob is named");
    assert_eq!(catalog.images(&Viewer::operator(), &project("default"), None, 10).await.unwrap(), []);
    assert_eq!(catalog.aliases(&Viewer::operator(), &project("default"), None, 10).await.unwrap(), []);
}

async fn a_missing_project_is_named(home: &Home) {
    let catalog = home.open().await;
    let ended = catalog.commit_image(&new("nowhere", image(1), &[]), minute(5), || Ok(())).await;
    assert!(matches!(ended, Err(CatalogError::NoProject(name)) if name == "nowhere"));
}

fn version(stored: &headwater::catalog::StoredImage) -> &str {
    stored.placement.as_ref().unwrap().version.as_str()
}

async fn a_taken_version_is_bumped_by_a_minute(home: &Home) {
    let catalog = home.open().await;
    for (number, expected) in [(1, "20250101_00:07"), (2, "20250101_00:08"), (3, "20250101_00:09")] {
        let stored = commit(&catalog, "default", image(number).at(7), &[]).await;
        assert_eq!(version(&stored), expected);
    }
    for (number, serial, expected) in [
        (11, "20250102", "20250102"),
        (12, "20250102", "20250102_00:01"),
        (13, "20250102", "20250102_00:02"),
        (14, "20250103_23:59", "20250103_23:59"),
        (15, "20250103_23:59", "20250104_00:00"),
        (16, "202501050000", "202501050000"),
        (17, "202501050000", "202501050001"),
        (18, "20250106.1", "20250106.1"),
        (19, "20250106.1", "20250106.1_00:01"),
        (20, "no date", "20250101_00:20"),
    ] {
        let stored = commit(&catalog, "default", image(number).property("serial", serial), &[]).await;
        assert_eq!(version(&stored), expected, "after {serial} once more");
    }
    // A gap that was left in between is used.
    let stored = commit(&catalog, "default", image(30).at(8), &[]).await;
    assert_eq!(version(&stored), "20250101_00:10", "07, 08 and 09 are taken");
}

async fn images_of_other_kinds_share_a_version(home: &Home) {
    let catalog = home.open().await;
    let squashfs = commit(&catalog, "default", image(1).at(7), &[]).await;
    let tar = commit(&catalog, "default", image(2).at(7).root_tar(), &[]).await;
    let machine = commit(&catalog, "default", image(3).at(7).machine(), &[]).await;
    for stored in [&squashfs, &tar, &machine] {
        assert_eq!(version(stored), "20250101_00:07");
    }
    let unified = commit(&catalog, "default", image(4).at(7).unified(), &[]).await;
    assert_eq!(version(&unified), "20250101_00:08", "a unified container stands alone");
    let arm = commit(&catalog, "default", image(5).at(7).on(Architecture::Aarch64), &[]).await;
    assert_eq!(version(&arm), "20250101_00:07", "another architecture is another product");
    let products = catalog.products(&Viewer::guest(), &project("default"), None, 10).await.unwrap();
    let keys: Vec<&str> = products.iter().map(|product| product.key.as_str()).collect();
    assert_eq!(keys, ["debian:bookworm:amd64:default", "debian:bookworm:arm64:default"]);
    assert_eq!(products[0].versions[0].images.len(), 3);
}

/// The image, for the clients of one family, with the root file of the one with that number.
fn twin(number: u32, root: u32, family: &str) -> Image {
    let mut twin = image(number).at(7).property(item::FAMILIES, family);
    let (ImageFiles::Split { root: own, .. }, Some(root)) = (&mut twin.files, image(root).files.root().copied()) else {
        panic!("images of the kit are split")
    };
    *own = root;
    twin
}

async fn images_for_different_clients_share_a_version_and_a_root_file(home: &Home) {
    let catalog = home.open().await;
    let lxd = commit(&catalog, "default", twin(1, 1, "lxd"), &[]).await;
    let incus = commit(&catalog, "default", twin(2, 1, "incus"), &[]).await;
    assert_eq!([&lxd, &incus].map(version), ["20250101_00:07"; 2]);
    let other_root = commit(&catalog, "default", twin(3, 3, "incus"), &[]).await;
    assert_eq!(version(&other_root), "20250101_00:08", "a document for all has one item for the root file");

    // Who is made to be for others, too, goes where it is not in the way, and comes back.
    let prefix = incus.image.fingerprint.into();
    for (families, expected) in [("", "20250101_00:09"), ("incus", "20250101_00:07"), ("lxd", "20250101_00:09")] {
        let properties = incus.image.clone().property(item::FAMILIES, families).properties;
        let edit = ImageEdit { properties: Some(properties), ..ImageEdit::default() };
        catalog.edit_image(&incus.project, &incus.image.fingerprint, &edit, minute(5)).await.unwrap();
        let Found::One(stored) = catalog.image(&Viewer::operator(), &incus.project, &prefix).await.unwrap() else {
            panic!("it is gone")
        };
        assert_eq!(version(&stored), expected, "{families:?}");
    }
}

async fn images_without_a_line_have_no_place(home: &Home) {
    let catalog = home.open().await;
    let mut nameless = image(1);
    nameless.properties.remove("release");
    let stored = commit(&catalog, "default", nameless, &["mine"]).await;
    assert_eq!(stored.placement, None);
    assert_eq!(names(&stored), ["mine"]);
    assert_eq!(catalog.products(&Viewer::operator(), &project("default"), None, 10).await.unwrap(), []);
}

async fn spelling_and_case_make_no_second_product(home: &Home) {
    let catalog = home.open().await;
    commit(&catalog, "default", image(1).property("os", "debian"), &[]).await;
    let newer = image(2).property("os", "DEBIAN").property("variant", "Default").property("release_title", "12 (new)");
    commit(&catalog, "default", newer, &[]).await;
    let products = catalog.products(&Viewer::guest(), &project("default"), None, 10).await.unwrap();
    assert_eq!(products.len(), 1);
    assert_eq!(products[0].line.os, "DEBIAN", "as the newest image spells it");
    assert_eq!(products[0].release_title.as_deref(), Some("12 (new)"));
    assert_eq!(products[0].versions.len(), 2);
}

async fn an_edit_changes_what_it_names_and_nothing_else(home: &Home) {
    let catalog = home.open().await;
    let before = commit(&catalog, "default", image(1), &[]).await;
    let edit = ImageEdit {
        public: Some(false),
        expires_at: Some(Some(minute(77))),
        auto_update: Some(true),
        profiles: Some(vec!["a".into(), "b".into()]),
        ..ImageEdit::default()
    };
    catalog.edit_image(&before.project, &before.image.fingerprint, &edit, minute(5)).await.unwrap();
    let expected = Image {
        public: false,
        expires_at: Some(minute(77)),
        auto_update: true,
        profiles: vec!["a".into(), "b".into()],
        ..before.image.clone()
    };
    let read =
        async || match catalog.image(&Viewer::operator(), &before.project, &before.image.fingerprint.into()).await {
            Ok(Found::One(stored)) => stored,
            other => panic!("{other:?}"),
        };
    assert_eq!(read().await.image, expected);
    let revision = catalog.revision().await.unwrap();
    catalog.edit_image(&before.project, &before.image.fingerprint, &edit, minute(6)).await.unwrap();
    assert_eq!(catalog.revision().await.unwrap(), revision, "an edit that changes nothing is no change");
    let never = ImageEdit { expires_at: Some(None), ..ImageEdit::default() };
    catalog.edit_image(&before.project, &before.image.fingerprint, &never, minute(7)).await.unwrap();
    assert_eq!(read().await.image, Image { expires_at: None, ..expected });
    let missing = catalog.edit_image(&before.project, &image(2).fingerprint, &never, minute(8)).await;
    assert!(matches!(missing, Err(CatalogError::NoImage(name)) if name == image(2).fingerprint.to_string()));
}

async fn an_edit_moves_an_image_between_products(home: &Home) {
    let catalog = home.open().await;
    commit(&catalog, "default", image(1).at(7), &[]).await;
    let moved = commit(&catalog, "default", image(2).at(7).property("release", "trixie"), &[]).await;
    assert_eq!(moved.placement.as_ref().unwrap().product, "debian:trixie:amd64:default");
    let edit = ImageEdit { properties: Some(image(2).properties), ..ImageEdit::default() };
    catalog.edit_image(&moved.project, &moved.image.fingerprint, &edit, minute(5)).await.unwrap();
    let products = catalog.products(&Viewer::guest(), &moved.project, None, 10).await.unwrap();
    assert_eq!(products.len(), 1, "the product that was left empty is gone");
    let versions: Vec<&str> = products[0].versions.iter().map(|version| version.name.as_str()).collect();
    assert_eq!(versions, ["20250101_00:07", "20250101_00:08"], "its minute was taken in the other product");

    // Another serial moves it again, and leaves no empty version behind.
    let serial = image(2).property("serial", "20240101").properties;
    let edit = ImageEdit { properties: Some(serial), ..ImageEdit::default() };
    catalog.edit_image(&moved.project, &moved.image.fingerprint, &edit, minute(5)).await.unwrap();
    let products = catalog.products(&Viewer::guest(), &moved.project, None, 10).await.unwrap();
    let versions: Vec<&str> = products[0].versions.iter().map(|version| version.name.as_str()).collect();
    assert_eq!(versions, ["20240101", "20250101_00:07"]);

    // Without `os` it stands in no product.
    let edit = ImageEdit { properties: Some([("a".into(), "b".into())].into()), ..ImageEdit::default() };
    catalog.edit_image(&moved.project, &moved.image.fingerprint, &edit, minute(5)).await.unwrap();
    let products = catalog.products(&Viewer::guest(), &moved.project, None, 10).await.unwrap();
    assert_eq!(products[0].versions.len(), 1);
}

async fn a_bumped_version_stays_when_other_things_are_edited(home: &Home) {
    let catalog = home.open().await;
    let first = commit(&catalog, "default", image(1).at(7), &[]).await;
    let bumped = commit(&catalog, "default", image(2).at(7), &[]).await;
    catalog.delete_image(&first.project, &first.image.fingerprint, minute(5)).await.unwrap();
    let edit = ImageEdit { properties: Some(image(2).property("note", "x").properties), ..ImageEdit::default() };
    catalog.edit_image(&bumped.project, &bumped.image.fingerprint, &edit, minute(5)).await.unwrap();
    let found = catalog.image(&Viewer::guest(), &bumped.project, &bumped.image.fingerprint.into()).await.unwrap();
    let Found::One(found) = found else { panic!("{found:?}") };
    assert_eq!(version(&found), "20250101_00:08", "clients know it by that name");
}

async fn the_revision_counts_changes_and_its_time_never_goes_back(home: &Home) {
    let catalog = home.open().await;
    assert_eq!(catalog.revision().await.unwrap().number, 0);
    catalog.create_project(&project("a"), "", minute(50)).await.unwrap();
    let revision = catalog.revision().await.unwrap();
    assert_eq!((revision.number, revision.changed_at), (1, minute(50)));
    catalog.commit_image(&new("a", image(1), &[]), minute(40), || Ok(())).await.unwrap();
    let revision = catalog.revision().await.unwrap();
    assert_eq!((revision.number, revision.changed_at), (2, minute(50)), "the clock went back, the time does not");
    catalog.mark_used(&[(project("a"), image(1).fingerprint)], minute(60)).await.unwrap();
    assert_eq!(catalog.revision().await.unwrap(), revision, "a download is no change");
    let found = catalog.images(&Viewer::operator(), &project("a"), None, 1).await.unwrap();
    assert_eq!(found[0].image.last_used_at, Some(minute(60)));
    catalog.mark_used(&[(project("a"), image(1).fingerprint)], minute(55)).await.unwrap();
    let found = catalog.images(&Viewer::operator(), &project("a"), None, 1).await.unwrap();
    assert_eq!(found[0].image.last_used_at, Some(minute(60)), "a late note does not set it back");
}

async fn texts_with_nul_are_refused_alike(home: &Home) {
    let catalog = home.open().await;
    let ended = catalog.create_project(&project("a"), "nul\0", minute(1)).await;
    let said = ended.unwrap_err().to_string();
    assert_eq!(said, "a text with a NUL character cannot be kept in the catalog; leave the character out");
    assert_eq!(catalog.projects(&Viewer::operator()).await.unwrap().len(), 1);
}

async fn settings_are_kept(home: &Home) {
    let catalog = home.open().await;
    assert_eq!(catalog.setting("server_name").await.unwrap(), None);
    catalog.set_setting("server_name", "a").await.unwrap();
    catalog.set_setting("server_name", "b").await.unwrap();
    catalog.close().await;
    assert_eq!(home.open().await.setting("server_name").await.unwrap().as_deref(), Some("b"));
}
