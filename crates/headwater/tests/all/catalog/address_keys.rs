use headwater::auth::Viewer;
use headwater::auth::address::AddressKey;
use headwater::catalog::Catalog;
use headwater_formats::digest::Digest;
use headwater_formats::product::Product;
use headwater_formats::timestamp::Timestamp;

use super::{Home, commit, on_both_engines};
use crate::kit::images::{Change as _, image, minute, project};

on_both_engines! {
    servers_that_start_at_once_agree_on_one_key,
    a_key_is_forgotten_when_its_successor_is_old_enough,
    two_keys_are_never_of_one_second,
    a_file_is_looked_for_in_the_products_that_are_seen,
}

fn key(now: Timestamp) -> AddressKey {
    AddressKey::random(now).unwrap()
}

async fn ids(catalog: &Catalog) -> Vec<String> {
    catalog.address_keys().await.unwrap().into_iter().map(|key| key.id).collect()
}

async fn servers_that_start_at_once_agree_on_one_key(home: &Home) {
    let (one, two) = (home.open().await, home.open().await);
    let (now, long_ago) = (minute(0), Timestamp::EPOCH);
    let (a, b) = (key(now), key(now));
    let add = |catalog: Catalog, key: AddressKey| async move {
        catalog.add_address_key(&key, Some(now.plus_seconds(-60)), long_ago).await.unwrap()
    };
    let (of_one, of_two) = tokio::join!(add(one.clone(), a.clone()), add(two.clone(), b.clone()));
    assert_eq!(of_one, of_two);
    assert_eq!(of_one.len(), 1);
    assert!(of_one[0] == a || of_one[0] == b, "with its secret");
    assert_eq!(one.address_keys().await.unwrap(), of_one);
    // Too old, for who asks later.
    let later = key(minute(10));
    let added = two.add_address_key(&later, Some(now), long_ago).await.unwrap();
    assert_eq!((added.len(), &added[0]), (2, &later));
}

async fn a_key_is_forgotten_when_its_successor_is_old_enough(home: &Home) {
    let catalog = home.open().await;
    let keys = [0, 10, 20].map(|minutes| key(minute(minutes)));
    for key in &keys {
        catalog.add_address_key(key, None, Timestamp::EPOCH).await.unwrap();
    }
    let [first, second, third] = keys.map(|key| key.id);
    assert_eq!(ids(&catalog).await, [&*third, &*second, &*first]);
    let next = key(minute(30));
    // The first was replaced at minute 10, the second at 20.
    let left = catalog.add_address_key(&next, None, minute(15)).await.unwrap();
    assert_eq!(left.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), [&*next.id, &*third, &*second]);
    assert_eq!(ids(&catalog).await, [&*next.id, &*third, &*second]);
    let last = key(minute(40));
    assert_eq!(catalog.add_address_key(&last, None, minute(1_000_000)).await.unwrap(), [last.clone()]);
    assert_eq!(ids(&catalog).await, [last.id]);
}

async fn two_keys_are_never_of_one_second(home: &Home) {
    let catalog = home.open().await;
    let keys = [0; 3].map(|_| key(minute(0)));
    for key in &keys {
        catalog.add_address_key(key, None, Timestamp::EPOCH).await.unwrap();
        assert_eq!(ids(&catalog).await[0], key.id, "the last one signs");
    }
    let seconds: Vec<i64> = catalog.address_keys().await.unwrap().iter().map(|key| key.created_at.unix()).collect();
    assert_eq!(seconds, [2, 1, 0].map(|second| minute(0).unix() + second));
}

async fn a_file_is_looked_for_in_the_products_that_are_seen(home: &Home) {
    let catalog = home.open().await;
    let team = project("team");
    catalog.create_project(&team, "", minute(0)).await.unwrap();
    commit(&catalog, "default", image(1), &[]).await;
    let private = image(2).property("os", "Alpine").private();
    let file = private.files.iter().next().unwrap().1.digest;
    commit(&catalog, "team", private, &[]).await;
    let see = async |viewer: &Viewer, project, digest: &Digest, os: &str| {
        let accept = |product: Product| product.line.os == os;
        catalog.has_product_with_file(viewer, project, digest, accept).await
    };
    let guest = Viewer::guest();
    let (granted, default, none) = (Viewer::granted([team.clone()]), project("default"), Digest::from_bytes([9; 32]));
    assert!(see(&granted, &team, &file, "Alpine").await.unwrap());
    assert!(!see(&granted, &team, &file, "Debian").await.unwrap(), "the product is shown, and not accepted");
    assert!(!see(&granted, &default, &file, "Alpine").await.unwrap(), "another project's");
    assert!(!see(&granted, &team, &none, "Alpine").await.unwrap());
    assert!(see(&guest, &team, &file, "Alpine").await.is_err(), "the project is hidden");
    commit(&catalog, "team", image(3), &[]).await;
    assert!(!see(&guest, &team, &file, "Alpine").await.unwrap(), "the image is hidden");
}
