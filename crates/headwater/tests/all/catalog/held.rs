//! What clients were seen to hold, and which deltas follow from it.

use headwater::auth::IdentityId;
use headwater::catalog::{Catalog, HeldNote};
use headwater_formats::digest::Digest;
use headwater_formats::image::FileFormat;

use super::{Home, commit, on_both_engines};
use crate::kit::behind::{self, BUILDER};
use crate::kit::images::{Change as _, file, image, minute};

on_both_engines! {
    a_client_holds_what_it_downloaded_last,
    what_most_hold_comes_first_and_only_bases_count,
    what_would_be_listed_anyway_is_not_said,
    what_is_no_root_file_is_not_noted,
    old_notes_are_forgotten,
    all_servers_share_one_secret,
}

fn root(number: u32) -> Digest {
    file(number + 0x2000_0000, FileFormat::Squashfs).digest
}

fn note(identity: i64, client: &str, number: u32) -> HeldNote {
    let identity = (identity > 0).then_some(IdentityId(identity));
    HeldNote { root: root(number), identity, client: client.to_owned() }
}

/// Images 1 to 4 of one product, and image 5 of another; deltas to 4 and to 5 with so many clients by their bases.
async fn catalog(home: &Home, deltas: &[(u32, u32, u64)]) -> Catalog {
    let catalog = home.open().await;
    for number in 1..=4 {
        commit(&catalog, "default", image(number).at(i64::from(number)), &[]).await;
    }
    commit(&catalog, "default", image(5).property("release", "trixie"), &[]).await;
    for (target, base, clients) in deltas {
        behind::building(&home.location, &root(*target), &root(*base), *clients).await;
        let bytes = file(0x4000_0000 + target * 100 + base, FileFormat::Vcdiff);
        let listed = catalog.list_delta(&root(*target), &root(*base), &bytes, BUILDER, minute(5), || Ok(())).await;
        assert!(listed.unwrap());
    }
    catalog
}

async fn held(catalog: &Catalog, identity: i64) -> Vec<Digest> {
    catalog.bases_held(IdentityId(identity)).await.unwrap()
}

async fn a_client_holds_what_it_downloaded_last(home: &Home) {
    let catalog = catalog(home, &[(4, 1, 0), (4, 2, 0), (4, 3, 0), (5, 1, 0)]).await;
    catalog.note_held(&[note(1, "a", 1)], minute(10)).await.unwrap();
    assert_eq!(held(&catalog, 1).await, [root(1)]);
    catalog.note_held(&[note(1, "a", 2), note(1, "a", 5)], minute(11)).await.unwrap();
    assert_eq!(held(&catalog, 1).await, [root(2)], "instead of the one before; the other product starts no delta");
    catalog.note_held(&[note(1, "a", 3), note(1, "a", 1)], minute(12)).await.unwrap();
    assert_eq!(held(&catalog, 1).await, [root(1)], "within one batch, the last counts");
    assert_eq!(held(&catalog, 2).await, [], "of another identity nothing is known");
    catalog.note_held(&[note(0, "a", 3), note(2, "a", 2)], minute(13)).await.unwrap();
    assert_eq!((held(&catalog, 1).await, held(&catalog, 2).await), (vec![root(1)], vec![root(2)]), "nor changed");
    let revision = catalog.revision().await.unwrap();
    catalog.note_held(&[note(1, "a", 4)], minute(14)).await.unwrap();
    assert_eq!(held(&catalog, 1).await, [], "it is up to date");
    assert_eq!(catalog.revision().await.unwrap(), revision);
}

async fn what_most_hold_comes_first_and_only_bases_count(home: &Home) {
    let catalog = catalog(home, &[(4, 1, 0), (4, 2, 0)]).await;
    let notes = [note(1, "a", 1), note(1, "b", 2), note(1, "c", 2), note(1, "d", 3), note(1, "e", 3), note(1, "f", 3)];
    catalog.note_held(&notes, minute(10)).await.unwrap();
    assert_eq!(held(&catalog, 1).await, [root(2), root(1)], "no delta starts from the third");
    catalog.delete_image(&crate::kit::images::project("default"), &image(2).fingerprint, minute(20)).await.unwrap();
    assert_eq!(held(&catalog, 1).await, [root(1)], "what is on its way out starts none");
}

async fn what_would_be_listed_anyway_is_not_said(home: &Home) {
    let catalog = catalog(home, &[(4, 1, 7), (4, 2, 5), (4, 3, 5)]).await;
    let preferred = async |identity| catalog.bases_preferred(IdentityId(identity)).await.unwrap();
    let notes = [note(1, "a", 1), note(2, "a", 2), note(3, "a", 1), note(3, "b", 3), note(3, "c", 3)];
    catalog.note_held(&notes, minute(10)).await.unwrap();
    assert_eq!(preferred(1).await, [], "most clients hold it");
    assert_eq!(preferred(2).await, [root(2)]);
    assert_eq!(preferred(3).await, [root(3)], "the first one is enough");
    assert_eq!(preferred(4).await, []);
}

async fn what_is_no_root_file_is_not_noted(home: &Home) {
    let catalog = catalog(home, &[(4, 1, 0)]).await;
    let metadata = file(0x1000_0001, FileFormat::Squashfs).digest;
    let of = |root| HeldNote { root, ..note(1, "a", 1) };
    catalog.note_held(&[of(metadata), of(root(77)), note(1, "b", 1)], minute(10)).await.unwrap();
    let of_nothing = catalog.forget_held(minute(99)).await.unwrap();
    assert_eq!(of_nothing, 1, "the one that is a root file");
}

async fn old_notes_are_forgotten(home: &Home) {
    let catalog = catalog(home, &[(4, 1, 0), (4, 2, 0)]).await;
    catalog.note_held(&[note(1, "a", 1), note(1, "b", 2)], minute(10)).await.unwrap();
    catalog.note_held(&[note(1, "a", 1)], minute(30)).await.unwrap();
    assert_eq!(catalog.forget_held(minute(10)).await.unwrap(), 0);
    assert_eq!(catalog.forget_held(minute(11)).await.unwrap(), 1);
    assert_eq!(held(&catalog, 1).await, [root(1)], "noted again later");
}

async fn all_servers_share_one_secret(home: &Home) {
    let catalog = home.open().await;
    assert_eq!(catalog.held_secret(|| Ok("first".to_owned())).await.unwrap(), "first");
    let other = home.open().await;
    assert_eq!(other.held_secret(|| panic!("there is one")).await.unwrap(), "first");
    let no = home.open().await.setting("held_secret").await.unwrap();
    assert_eq!(no.as_deref(), Some("first"));
}
