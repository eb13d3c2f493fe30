//! Planning, claiming and ending deltas, on both engines.

use headwater::catalog::DeltaState::{Building, Failed, Ready, Refused, Waiting};
use headwater::catalog::{
    Catalog, ClaimedDelta, DeltaClaim, DeltaState, DeltaWish, HeldNote, MOST_ATTEMPTS, PlanMark, ProductId,
};
use headwater_formats::digest::Digest;
use headwater_formats::image::{FileFormat, Image, ImageFile, ImageFiles};
use headwater_formats::timestamp::Timestamp;

use super::{Home, commit, on_both_engines};
use crate::kit::images::{Change as _, image, minute, project};

on_both_engines! {
    products_that_changed_come_once_whatever_their_project,
    what_clients_hold_is_what_they_downloaded_last,
    wishes_are_kept_once_and_built_in_their_order,
    a_pair_that_never_ends_has_failed,
    claims_are_renewed_given_back_and_lost,
    ended_pairs_say_why_and_are_not_claimed_again,
    a_listed_delta_is_told_of_in_its_products,
    another_preference_is_a_change_and_the_same_is_none,
    what_is_deleted_is_not_wanted,
}

fn root(image: &Image) -> ImageFile {
    match image.files {
        ImageFiles::Split { root, .. } => root,
        ImageFiles::Unified(file) => file,
    }
}

fn wish(target: u32, base: u32) -> DeltaWish {
    DeltaWish { target: root(&image(target)).digest, base: root(&image(base)).digest, clients: 0 }
}

/// Versions 1 to so many of one product.
async fn versions(catalog: &Catalog, count: u32) {
    for number in 1..=count {
        commit(catalog, "default", image(number), &[]).await;
    }
}

/// All products after the mark, and the mark between two rounds.
async fn planned(catalog: &Catalog, mut mark: PlanMark, limit: usize) -> (Vec<ProductId>, PlanMark) {
    let mut all = Vec::new();
    loop {
        let (some, next) = catalog.products_to_plan(&mark, limit).await.unwrap();
        assert!(some.len() <= 2 * limit, "{}", some.len());
        all.extend(some);
        mark = next;
        if mark.is_between_rounds() {
            return (all, mark);
        }
    }
}

async fn products_that_changed_come_once_whatever_their_project(home: &Home) {
    let catalog = home.open().await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    for number in 1..=7 {
        let line = image(number).property("release", &format!("r{number}"));
        commit(&catalog, if number % 2 == 0 { "team" } else { "default" }, line, &[]).await;
    }
    for limit in [1, 2, 3, 100] {
        let (mut all, mark) = planned(&catalog, PlanMark::new(0), limit).await;
        assert_eq!(all.len(), 7, "{limit}");
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 7, "{limit}");
        assert_eq!(mark.since, catalog.revision().await.unwrap().number);
        assert_eq!(planned(&catalog, mark, limit).await.0, [], "{limit}: nothing changed since");
    }
    let (_, mark) = planned(&catalog, PlanMark::new(0), 100).await;
    commit(&catalog, "team", image(8).property("release", "r4"), &[]).await;
    commit(&catalog, "default", image(9).property("release", "r1"), &[]).await;
    // What changes in the middle of a round is for the next one.
    let (some, middle) = catalog.products_to_plan(&mark, 1).await.unwrap();
    commit(&catalog, "default", image(10).property("release", "r3"), &[]).await;
    let (rest, mark) = planned(&catalog, middle, 1).await;
    assert_eq!(some.len() + rest.len(), 2);
    let (last, _) = planned(&catalog, mark.clone(), 1).await;
    assert_eq!(last.len(), 1);
    let roots = catalog.product_roots(&last, Timestamp::EPOCH).await.unwrap();
    let files: Vec<ImageFile> = roots[0].roots.iter().map(|root| root.file).collect();
    assert_eq!(files, [3, 10].map(|number| root(&image(number))));
    // A round that is over at a certain revision, and goes on after its mark was written down.
    let until = mark.since;
    let mut past = vec![PlanMark::all_until(until)];
    let mut found = Vec::new();
    while let Some(mark) = past.last().filter(|mark| !mark.is_between_rounds()) {
        let read: PlanMark = mark.to_string().parse().unwrap();
        assert_eq!(&read, mark);
        let (some, next) = catalog.products_to_plan(&read, 2).await.unwrap();
        found.extend(some);
        past.push(next);
    }
    assert_eq!((found.len(), past.last().unwrap().since), (6, until), "all but the one that changed last");
    assert!(past.len() > 2 && !found.contains(&last[0]), "{past:?}");
    // A product that is gone is of no interest.
    let (_, mark) = planned(&catalog, PlanMark::new(0), 100).await;
    catalog.delete_image(&project("default"), &image(5).fingerprint, minute(1)).await.unwrap();
    assert_eq!(planned(&catalog, mark, 100).await.0, []);
}

async fn what_clients_hold_is_what_they_downloaded_last(home: &Home) {
    let catalog = home.open().await;
    versions(&catalog, 3).await;
    commit(&catalog, "default", image(4).machine(), &[]).await;
    let other = image(5).property("release", "trixie");
    commit(&catalog, "default", other, &[]).await;
    let note = |number: u32, client: &str| HeldNote {
        root: root(&image(number)).digest,
        identity: None,
        client: client.to_owned(),
    };
    catalog
        .note_held(&[note(1, "a"), note(1, "b"), note(2, "c"), note(4, "a"), note(5, "a")], minute(10))
        .await
        .unwrap();
    catalog.note_held(&[note(2, "a")], minute(20)).await.unwrap();
    let held = async |since| {
        let (products, _) = planned(&catalog, PlanMark::new(0), 100).await;
        let roots = catalog.product_roots(&products, since).await.unwrap();
        assert_eq!(roots.len(), 1, "the other product has one version");
        let count = |number: u32| roots[0].held.get(&root(&image(number)).digest).copied().unwrap_or_default();
        [count(1), count(2), count(3)]
    };
    assert_eq!(held(Timestamp::EPOCH).await, [1, 2, 0]);
    assert_eq!(held(minute(15)).await, [0, 1, 0], "what is long ago does not count");
    let files = |numbers: &[u32]| {
        let mut files: Vec<Digest> = numbers.iter().map(|number| root(&image(*number)).digest).collect();
        files.sort();
        files
    };
    assert_eq!(catalog.held_since(minute(10)).await.unwrap(), files(&[1, 2, 4, 5]));
    assert_eq!(catalog.held_since(minute(15)).await.unwrap(), files(&[2]));
    assert_eq!(catalog.products_with_roots(&files(&[1, 2, 5])).await.unwrap().len(), 2);
    assert_eq!(catalog.products_with_roots(&files(&[1, 9])).await.unwrap().len(), 1);
}

async fn claim(catalog: &Catalog, now: i64) -> Option<ClaimedDelta> {
    catalog.claim_delta("me", minute(now), minute(now + 1)).await.unwrap()
}

async fn states(catalog: &Catalog) -> Vec<(Digest, DeltaState, String)> {
    let (rows, next) = catalog.deltas(&project("default"), None, 100).await.unwrap();
    assert!(next.is_none());
    rows.into_iter().map(|row| (row.base.digest, row.state, row.why)).collect()
}

async fn wishes_are_kept_once_and_built_in_their_order(home: &Home) {
    let catalog = home.open().await;
    versions(&catalog, 4).await;
    let revision = catalog.revision().await.unwrap();
    let wishes = [wish(4, 2), wish(4, 3), wish(4, 1)];
    assert_eq!(catalog.want_deltas(&wishes, minute(0)).await.unwrap(), 3);
    let again = [DeltaWish { clients: 7, ..wish(4, 1) }, DeltaWish { base: Digest::from_bytes([9; 32]), ..wish(4, 1) }];
    assert_eq!(catalog.want_deltas(&again, minute(0)).await.unwrap(), 0, "known, and of no image");
    let (rows, _) = catalog.deltas(&project("default"), None, 100).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.clients).collect::<Vec<_>>(), [7, 0, 0]);
    for base in [2, 3, 1] {
        let claimed = claim(&catalog, 1).await.unwrap();
        assert_eq!((claimed.target, claimed.base), (root(&image(4)), root(&image(base))));
    }
    assert_eq!(claim(&catalog, 1).await, None);
    assert_eq!(catalog.revision().await.unwrap(), revision, "no list shows any of it");
}

async fn a_pair_that_never_ends_has_failed(home: &Home) {
    let catalog = home.open().await;
    versions(&catalog, 2).await;
    catalog.want_deltas(&[wish(2, 1)], minute(0)).await.unwrap();
    for attempt in 0..MOST_ATTEMPTS {
        assert!(claim(&catalog, i64::from(attempt) * 10).await.is_some(), "the claim before has run out");
        assert_eq!(claim(&catalog, i64::from(attempt) * 10 + 1).await, None, "it has not run out yet");
    }
    assert_eq!(claim(&catalog, 1000).await, None);
    let why = "the server ended 5 times while this was built; see its log, then try `headwater delta build`";
    assert_eq!(states(&catalog).await, [(root(&image(1)).digest, Failed, why.to_owned())]);
    // Who asks for it in so many words gets another try.
    let taken = catalog.claim_this_delta(&wish(2, 1), "me", minute(2000), minute(2001)).await.unwrap();
    assert!(matches!(taken, DeltaClaim::Taken(_)));
    assert!(claim(&catalog, 3000).await.is_some());
}

async fn claims_are_renewed_given_back_and_lost(home: &Home) {
    let catalog = home.open().await;
    versions(&catalog, 2).await;
    catalog.want_deltas(&[wish(2, 1)], minute(0)).await.unwrap();
    let pair = claim(&catalog, 0).await.unwrap();
    assert!(catalog.is_delta_claimed(&pair, "me").await.unwrap());
    assert!(!catalog.is_delta_claimed(&pair, "you").await.unwrap());
    assert!(catalog.keep_delta_claim(&pair, "me", minute(100)).await.unwrap());
    assert!(!catalog.keep_delta_claim(&pair, "you", minute(900)).await.unwrap());
    assert_eq!(claim(&catalog, 50).await, None, "it was renewed");
    let busy = catalog.claim_this_delta(&wish(2, 1), "you", minute(50), minute(51)).await.unwrap();
    assert_eq!(busy, DeltaClaim::Busy);
    catalog.release_delta(&pair, "you", None).await.unwrap();
    assert!(catalog.is_delta_claimed(&pair, "me").await.unwrap(), "you cannot give back what is mine");
    catalog.release_delta(&pair, "me", Some("no space left")).await.unwrap();
    assert_eq!(states(&catalog).await[0].1, Waiting);
    assert_eq!(catalog.claim_delta("you", minute(51), minute(52)).await.unwrap(), Some(pair));
    assert!(!catalog.end_delta(&pair, "me", Refused, "x", minute(51)).await.unwrap());
    let file = ImageFile { digest: Digest::from_bytes([8; 32]), size: 3, format: FileFormat::Vcdiff };
    let (target, base) = (pair.target.digest, pair.base.digest);
    assert!(!catalog.list_delta(&target, &base, &file, "me", minute(51), || panic!("not called")).await.unwrap());
    catalog.forget_delta(&pair, "me").await.unwrap();
    assert_eq!(states(&catalog).await[0].1, Building);
    catalog.forget_delta(&pair, "you").await.unwrap();
    assert_eq!(states(&catalog).await, []);
}

async fn ended_pairs_say_why_and_are_not_claimed_again(home: &Home) {
    let catalog = home.open().await;
    versions(&catalog, 3).await;
    catalog.want_deltas(&[wish(3, 2), wish(3, 1)], minute(0)).await.unwrap();
    for (state, why) in [(Refused, "too large"), (Failed, "damaged")] {
        let pair = claim(&catalog, 1).await.unwrap();
        assert!(catalog.end_delta(&pair, "me", Ready, "", minute(1)).await.is_err(), "that takes bytes");
        assert!(catalog.end_delta(&pair, "me", state, why, minute(1)).await.unwrap());
        assert!(!catalog.is_delta_claimed(&pair, "me").await.unwrap());
    }
    let states = states(&catalog).await;
    assert_eq!(states[0], (root(&image(1)).digest, Failed, "damaged".to_owned()));
    assert_eq!(states[1], (root(&image(2)).digest, Refused, "too large".to_owned()));
    assert_eq!(claim(&catalog, 1000).await, None);
    assert_eq!(catalog.want_deltas(&[wish(3, 2)], minute(1)).await.unwrap(), 0);
    assert_eq!(claim(&catalog, 1000).await, None, "wanting it again does not make it better");
}

/// Builds the delta from that version, as if; its bytes are of that number.
async fn list(catalog: &Catalog, wish: DeltaWish, bytes: u8) {
    let taken = catalog.claim_this_delta(&wish, "me", minute(1), minute(2)).await.unwrap();
    assert!(matches!(taken, DeltaClaim::Taken(_)), "{taken:?}");
    let file = ImageFile { digest: Digest::from_bytes([bytes; 32]), size: bytes.into(), format: FileFormat::Vcdiff };
    assert!(catalog.list_delta(&wish.target, &wish.base, &file, "me", minute(1), || Ok(())).await.unwrap());
}

async fn a_listed_delta_is_told_of_in_its_products(home: &Home) {
    let catalog = home.open().await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    versions(&catalog, 3).await;
    for number in [2, 3] {
        commit(&catalog, "team", image(number).private(), &[]).await;
    }
    list(&catalog, wish(3, 2), 80).await;
    list(&catalog, wish(3, 1), 81).await;
    let other =
        commit(&catalog, "default", image(9).property("release", "trixie"), &[]).await.placement.unwrap().product;
    let (all, next) = catalog.deltas(&project("default"), None, 1).await.unwrap();
    assert_eq!(catalog.deltas(&project("default"), next.as_deref(), 1).await.unwrap(), (vec![], Some(other)));
    assert_eq!(catalog.deltas(&project("default"), None, 100).await.unwrap(), (all.clone(), None));
    let [rows, rest] = [&all[..1], &all[1..]];
    let bytes = |row: &headwater::catalog::DeltaRow| row.file.map(|file| file.size);
    assert_eq!((bytes(&rows[0]), bytes(&rest[0])), (Some(81), Some(80)));
    assert_eq!((rows[0].state, rows[0].target), (Ready, root(&image(3))));
    assert_eq!(rows[0].place.image, image(3).fingerprint);
    let (team, _) = catalog.deltas(&project("team"), None, 100).await.unwrap();
    assert_eq!(team.iter().map(bytes).collect::<Vec<_>>(), [Some(80)], "it has no image with the other base");
    let pair = ClaimedDelta { target: rows[0].target, base: rest[0].base };
    let place = catalog.delta_place(&pair).await.unwrap().unwrap();
    assert_eq!(place.project, project("default"), "where guests see it");
    assert_eq!(catalog.claim_this_delta(&wish(3, 2), "me", minute(1), minute(2)).await.unwrap(), DeltaClaim::Ready);
    let backwards = ClaimedDelta { target: pair.base, base: pair.target };
    assert_eq!(catalog.delta_place(&backwards).await.unwrap(), None);
}

async fn another_preference_is_a_change_and_the_same_is_none(home: &Home) {
    let catalog = home.open().await;
    versions(&catalog, 3).await;
    commit(&catalog, "default", image(4).property("release", "trixie"), &[]).await;
    list(&catalog, wish(3, 2), 80).await;
    list(&catalog, wish(3, 1), 81).await;
    let before = catalog.revision().await.unwrap();
    let (_, mark) = planned(&catalog, PlanMark::new(0), 100).await;
    let counted = [DeltaWish { clients: 5, ..wish(3, 1) }, DeltaWish { clients: 0, ..wish(3, 2) }];
    catalog.prefer_deltas(&counted, minute(9)).await.unwrap();
    let after = catalog.revision().await.unwrap();
    assert_eq!((after.number, after.changed_at), (before.number + 1, before.changed_at.max(minute(9))));
    assert_eq!(planned(&catalog, mark, 100).await.0.len(), 1, "its product, and no other");
    catalog.prefer_deltas(&counted, minute(10)).await.unwrap();
    assert_eq!(catalog.revision().await.unwrap(), after);
}

async fn what_is_deleted_is_not_wanted(home: &Home) {
    let catalog = home.open().await;
    versions(&catalog, 3).await;
    catalog.want_deltas(&[wish(3, 2), wish(3, 1)], minute(0)).await.unwrap();
    let pair = claim(&catalog, 1).await.unwrap();
    assert_eq!(pair.base, root(&image(2)));
    catalog.delete_image(&project("default"), &image(2).fingerprint, minute(1)).await.unwrap();
    assert!(!catalog.is_delta_claimed(&pair, "me").await.unwrap());
    assert_eq!(catalog.want_deltas(&[wish(3, 2)], minute(0)).await.unwrap(), 0);
    let gone = catalog.claim_this_delta(&wish(3, 2), "me", minute(1), minute(2)).await.unwrap();
    assert_eq!(gone, DeltaClaim::Unneeded);
    assert_eq!(claim(&catalog, 1).await.map(|pair| pair.base), Some(root(&image(1))), "the other one is");
}
