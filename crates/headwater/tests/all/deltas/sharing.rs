//! Claims: several servers, servers that die, files that go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater::catalog::DeltaState::{Building, Ready, Waiting};
use headwater::catalog::{DeltaClaim, DeltaRow, DeltaWish, MOST_ATTEMPTS};
use headwater::deltas::{Deltas, Ended, Verdict};
use headwater::publish::Silent;
use tokio_util::sync::CancellationToken;

use super::kit::{Room, SETTINGS, later, plan, versions};

pub(super) fn wish(row: &DeltaRow) -> DeltaWish {
    DeltaWish { target: row.target.digest, base: row.base.digest, clients: 0 }
}

async fn two_versions() -> Room {
    let room = Room::new().await;
    for (number, root) in versions(2).into_iter().enumerate() {
        room.publish(number + 1, root).await;
    }
    room
}

#[tokio::test]
async fn two_servers_do_not_build_the_same_pair() {
    let room = two_versions().await;
    let (one, other) = (room.deltas(SETTINGS), room.deltas(SETTINGS));
    plan(&one).await;
    plan(&other).await;
    let stop = CancellationToken::new();
    let claim = one.next(&stop).await.unwrap().unwrap();
    assert!(other.next(&stop).await.unwrap().is_none());
    let row = &room.rows().await[0];
    assert_eq!(row.state, Building);
    assert_eq!(other.claim(&wish(row), &stop).await.unwrap().err(), Some(DeltaClaim::Busy));
    let built = one.build(&claim, Arc::new(Silent)).await;
    assert!(matches!(one.end(&claim, built).await.unwrap(), Ended::Listed(_)));
    assert!(other.next(&stop).await.unwrap().is_none());
    assert_eq!(other.claim(&wish(row), &stop).await.unwrap().err(), Some(DeltaClaim::Ready));
}

#[tokio::test]
async fn a_claim_that_ran_out_is_taken_over_and_who_had_it_lists_nothing() {
    let room = two_versions().await;
    let one = room.deltas(SETTINGS);
    let other = Deltas::new(room.app.publisher.clone(), SETTINGS, later);
    plan(&one).await;
    let stop = CancellationToken::new();
    let claim = one.next(&stop).await.unwrap().unwrap();
    let built = one.build(&claim, Arc::new(Silent)).await;
    assert!(built.is_ok());
    // The first one sleeps for an hour now.
    let taken = other.next(&stop).await.unwrap().expect("it ran out");
    assert_eq!(one.end(&claim, built).await.unwrap(), Ended::Lost);
    room.is_tidy().await;
    assert_eq!(room.rows().await[0].state, Building);
    let built = other.build(&taken, Arc::new(Silent)).await;
    assert!(matches!(other.end(&taken, built).await.unwrap(), Ended::Listed(_)));
    room.is_tidy().await;
}

#[tokio::test]
async fn work_ends_within_seconds_when_its_base_goes() {
    let room = Room::new().await;
    let roots = versions(2);
    let base = room.publish(1, roots[0].clone()).await;
    room.publish(2, roots[1].clone()).await;
    let deltas = room.deltas(SETTINGS);
    plan(&deltas).await;
    let stop = CancellationToken::new();
    let claim = deltas.next(&stop).await.unwrap().unwrap();
    let probed = deltas.probe(&claim).await.unwrap();
    room.delete(&base).await;
    let began = Instant::now();
    while deltas.probe(&claim).await.err() != Some(Verdict::Stopped) {
        assert!(began.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let built = deltas.make(&claim, probed, Arc::new(Silent)).await;
    assert_eq!(built.as_ref().err(), Some(&Verdict::Stopped));
    assert_eq!(deltas.end(&claim, built).await.unwrap(), Ended::Lost);
    assert!(!stop.is_cancelled(), "that is for this pair only");
    room.is_tidy().await;
    assert_eq!(room.states().await, []);
}

#[tokio::test]
async fn a_base_that_goes_at_the_last_moment_is_noticed_by_listing() {
    let room = Room::new().await;
    let roots = versions(2);
    let base = room.publish(1, roots[0].clone()).await;
    room.publish(2, roots[1].clone()).await;
    let deltas = room.deltas(SETTINGS);
    plan(&deltas).await;
    let claim = deltas.next(&CancellationToken::new()).await.unwrap().unwrap();
    let built = deltas.build(&claim, Arc::new(Silent)).await;
    room.delete(&base).await;
    assert_eq!(deltas.end(&claim, built).await.unwrap(), Ended::Lost);
    room.is_tidy().await;
}

#[tokio::test]
async fn a_server_that_ends_gives_back_what_it_has_not_built() {
    let room = two_versions().await;
    let deltas = room.deltas(SETTINGS);
    plan(&deltas).await;
    for _ in 0..2 * MOST_ATTEMPTS {
        let stop = CancellationToken::new();
        let claim = deltas.next(&stop).await.unwrap().expect("that is no attempt that failed");
        stop.cancel();
        let built = deltas.build(&claim, Arc::new(Silent)).await;
        assert_eq!(built.as_ref().err(), Some(&Verdict::Stopped));
        assert_eq!(deltas.end(&claim, built).await.unwrap(), Ended::Stopped);
        assert_eq!(room.rows().await[0].state, Waiting);
    }
    assert!(matches!(room.build(&deltas).await[..], [Ended::Listed(_)]));
}

#[tokio::test]
async fn a_certain_pair_is_built_whatever_came_of_it_before() {
    let room = Room::new().await;
    let roots = versions(3);
    for (number, root) in roots.into_iter().enumerate() {
        room.publish(number + 1, root).await;
    }
    let strict = room.deltas(headwater::deltas::Settings { largest_percent: 1, ..SETTINGS });
    assert!(matches!(room.build(&strict).await[..], [Ended::Refused(_)]));
    let deltas = room.deltas(SETTINGS);
    let refused = room.rows().await[0].clone();
    // And one that nobody wanted: from the first version to the third.
    let first =
        headwater_formats::digest::Digest::from_bytes(<sha2::Sha256 as sha2::Digest>::digest(&versions(1)[0]).into());
    let unwanted = DeltaWish { base: first, ..wish(&refused) };
    for wish in [wish(&refused), unwanted] {
        let claim = deltas.claim(&wish, &CancellationToken::new()).await.unwrap().unwrap();
        let built = deltas.build(&claim, Arc::new(Silent)).await;
        assert!(matches!(deltas.end(&claim, built).await.unwrap(), Ended::Listed(_)));
    }
    assert!(room.rows().await.iter().all(|row| row.state == Ready));
    let nothing = headwater_formats::digest::Digest::from_bytes([7; 32]);
    let missing = deltas.claim(&DeltaWish { base: nothing, ..unwanted }, &CancellationToken::new()).await.unwrap();
    assert_eq!(missing.err(), Some(DeltaClaim::Unneeded));
}
