use headwater::auth::Viewer;
use headwater::catalog::{CatalogError, Found, ImageEdit, Wanted};
use headwater_formats::image::UpdateSource;

use super::{Home, commit, names, on_both_engines};
use crate::kit::images::{Change as _, alias, image, minute, project};

on_both_engines! {
    a_successor_takes_over_the_fixed_aliases,
    without_one_of_the_two_nothing_changes,
    a_source_can_be_set_and_taken_away,
}

async fn a_successor_takes_over_the_fixed_aliases(home: &Home) {
    let catalog = home.open().await;
    let (default, operator) = (project("default"), Viewer::operator());
    commit(&catalog, "default", image(1).at(1), &["mine", "other"]).await;
    commit(&catalog, "default", image(2).at(2), &["new"]).await;
    let revision = catalog.revision().await.unwrap();
    let (old, new) = (image(1).fingerprint, image(2).fingerprint);
    catalog.replace_image(&default, &old, &new, minute(7)).await.unwrap();
    assert_eq!(catalog.revision().await.unwrap().number, revision.number + 1);
    assert_eq!(catalog.image(&operator, &default, &old.into()).await.unwrap(), Found::Nothing);
    let Found::One(stored) = catalog.image(&operator, &default, &new.into()).await.unwrap() else { panic!("it stays") };
    for name in ["mine", "new", "other"] {
        assert!(names(&stored).contains(&name), "{:?}", names(&stored));
        let resolved = catalog.resolve_alias(&operator, &default, &alias(name), &Wanted::default()).await.unwrap();
        assert_eq!(resolved.unwrap().fingerprint, new);
    }
    let retired = catalog.retired(minute(100), 9).await.unwrap();
    assert_eq!(retired.len(), 2, "the files of the old one have their grace");
    let products = catalog.products(&operator, &default, None, 9).await.unwrap();
    assert_eq!(products[0].versions.len(), 1);
    // In its own place nothing is to be done.
    catalog.replace_image(&default, &new, &new, minute(8)).await.unwrap();
    assert_eq!(catalog.revision().await.unwrap().number, revision.number + 1);
}

async fn without_one_of_the_two_nothing_changes(home: &Home) {
    let catalog = home.open().await;
    let default = project("default");
    commit(&catalog, "default", image(1), &["mine"]).await;
    let revision = catalog.revision().await.unwrap();
    let (here, missing) = (image(1).fingerprint, image(2).fingerprint);
    for (old, new) in [(here, missing), (missing, here)] {
        let error = catalog.replace_image(&default, &old, &new, minute(7)).await.unwrap_err();
        assert!(matches!(error, CatalogError::NoImage(_)), "{error}");
    }
    assert_eq!(catalog.revision().await.unwrap(), revision);
}

async fn a_source_can_be_set_and_taken_away(home: &Home) {
    let catalog = home.open().await;
    let default = project("default");
    let fingerprint = commit(&catalog, "default", image(1), &[]).await.image.fingerprint;
    let source = UpdateSource {
        alias: "debian/12".into(),
        certificate: String::new(),
        protocol: "lxd".into(),
        server: "https://images.example".into(),
        image_type: "container".into(),
    };
    for expected in [Some(source), None] {
        let edit = ImageEdit { update_source: Some(expected.clone()), ..ImageEdit::default() };
        catalog.edit_image(&default, &fingerprint, &edit, minute(5)).await.unwrap();
        let found = catalog.image(&Viewer::operator(), &default, &fingerprint.into()).await.unwrap();
        let Found::One(stored) = found else { panic!("it is there") };
        assert_eq!(stored.image.update_source, expected);
    }
}
