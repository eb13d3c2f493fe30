use headwater::auth::Viewer;
use headwater::catalog::{CatalogError, Found, Wanted};

use super::{Home, commit, on_both_engines};
use crate::kit::images::{Change as _, alias, image, minute, project};

on_both_engines! {
    a_deleted_image_leaves_every_listing,
    an_empty_version_and_product_go,
    only_the_project_that_is_named_loses_the_image,
}

async fn a_deleted_image_leaves_every_listing(home: &Home) {
    let catalog = home.open().await;
    let default = project("default");
    let operator = Viewer::operator();
    commit(&catalog, "default", image(1), &["mine"]).await;
    let revision = catalog.revision().await.unwrap();
    catalog.delete_image(&default, &image(1).fingerprint, minute(7)).await.unwrap();
    assert_eq!(catalog.revision().await.unwrap().number, revision.number + 1);
    assert_eq!(catalog.images(&operator, &default, None, 9).await.unwrap(), []);
    assert_eq!(catalog.products(&operator, &default, None, 9).await.unwrap(), []);
    assert_eq!(catalog.aliases(&operator, &default, None, 9).await.unwrap(), []);
    let found = catalog.image(&operator, &default, &image(1).fingerprint.into()).await.unwrap();
    assert_eq!(found, Found::Nothing);
    for name in ["mine", "debian/12"] {
        let found = catalog.resolve_alias(&operator, &default, &alias(name), &Wanted::default()).await.unwrap();
        assert_eq!(found, None, "{name}");
    }
    let again = catalog.delete_image(&default, &image(1).fingerprint, minute(8)).await;
    assert!(matches!(again, Err(CatalogError::NoImage(_))));
    let nowhere = catalog.delete_image(&project("nowhere"), &image(1).fingerprint, minute(8)).await;
    assert!(matches!(nowhere, Err(CatalogError::NoProject(_))));
}

async fn an_empty_version_and_product_go(home: &Home) {
    let catalog = home.open().await;
    let default = project("default");
    commit(&catalog, "default", image(1).at(1), &[]).await;
    commit(&catalog, "default", image(2).at(1).machine(), &[]).await;
    commit(&catalog, "default", image(3).at(2), &[]).await;
    let versions = async || {
        let products = catalog.products(&Viewer::operator(), &default, None, 9).await.unwrap();
        products
            .iter()
            .map(|product| product.versions.iter().map(|v| v.images.len()).collect())
            .collect::<Vec<Vec<_>>>()
    };
    assert_eq!(versions().await, [vec![2, 1]]);
    for (number, left) in [(1, vec![vec![1, 1]]), (3, vec![vec![1]]), (2, vec![])] {
        catalog.delete_image(&default, &image(number).fingerprint, minute(5)).await.unwrap();
        assert_eq!(versions().await, left, "after image {number} went");
    }
    // Its version's name is free again.
    let stored = commit(&catalog, "default", image(4).at(1), &[]).await;
    assert_eq!(stored.placement.unwrap().version.as_str(), "20250101_00:01");
}

async fn only_the_project_that_is_named_loses_the_image(home: &Home) {
    let catalog = home.open().await;
    let team = project("team");
    catalog.create_project(&team, "", minute(0)).await.unwrap();
    commit(&catalog, "default", image(1), &["one"]).await;
    commit(&catalog, "team", image(1), &["one"]).await;
    catalog.delete_image(&project("default"), &image(1).fingerprint, minute(5)).await.unwrap();
    assert_eq!(catalog.images(&Viewer::guest(), &project("default"), None, 9).await.unwrap(), []);
    let found = catalog.resolve_alias(&Viewer::guest(), &team, &alias("one"), &Wanted::default()).await.unwrap();
    assert_eq!(found.unwrap().fingerprint, image(1).fingerprint);
    assert_eq!(catalog.retired(minute(100), 9).await.unwrap(), [], "its files are needed by the other one");
}
