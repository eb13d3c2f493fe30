//! One server, one pair after the other.

use std::io::Cursor;

use headwater::catalog::DeltaState::{Failed, Ready, Refused, Waiting};
use headwater::deltas::{Ended, Planner, Settings};
use headwater_formats::image::FileFormat;
use headwater_vcdiff::{Forward, Limits, decode};

use super::kit::{Room, SETTINGS, noise, now, plan, squashfs, versions};

/// What the delta makes of the base, both as they are stored.
fn decoded(room: &Room, row: &headwater::catalog::DeltaRow) -> Vec<u8> {
    let read = |digest| std::fs::read(room.blob(digest)).unwrap();
    let (base, delta) = (read(&row.base.digest), read(&row.file.unwrap().digest));
    let mut made = Vec::new();
    decode(Cursor::new(base), &delta[..], &mut Forward(&mut made), &Limits::default()).unwrap();
    made
}

#[tokio::test]
async fn the_newest_version_gets_a_delta_from_the_one_before() {
    let room = Room::new().await;
    let deltas = room.deltas(SETTINGS);
    let roots = versions(3);
    room.publish(1, roots[0].clone()).await;
    assert_eq!(room.build(&deltas).await, [], "there is nothing to start from");
    let image = room.publish(2, roots[1].clone()).await;
    let ended = room.build(&deltas).await;
    let [Ended::Listed(file)] = ended[..] else { panic!("{ended:?}") };

    let rows = room.rows().await;
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((row.state, row.file, row.why.as_str()), (Ready, Some(file), ""));
    assert_eq!((row.place.image, row.place.version.as_str()), (image, "20250102_07:42"));
    assert_eq!(
        (row.place.base_version.as_str(), row.place.product.as_str()),
        ("20250101_07:42", "debian:bookworm:amd64:default")
    );
    assert_eq!(file.format, FileFormat::Vcdiff);
    assert!(file.size > 16 << 10 && file.size < 24 << 10, "{file:?}");
    assert_eq!(decoded(&room, row), roots[1]);
    room.is_tidy().await;

    // The third starts from the second; what is there stays, and is not built again.
    room.publish(3, roots[2].clone()).await;
    assert_eq!(room.build(&deltas).await.len(), 1);
    assert_eq!(room.states().await, [("02", "01", Ready), ("03", "02", Ready)].map(owned));
    assert_eq!(room.build(&room.deltas(SETTINGS)).await, [], "a server that starts anew knows what is there");
}

fn owned(
    (version, base, state): (&str, &str, headwater::catalog::DeltaState),
) -> (String, String, headwater::catalog::DeltaState) {
    (version.to_owned(), base.to_owned(), state)
}

#[tokio::test]
async fn what_was_there_before_waits_for_what_is_new() {
    let room = Room::new().await;
    room.app.catalog.create_project(&"team".parse().unwrap(), "", now()).await.unwrap();
    for (number, root) in versions(2).into_iter().enumerate() {
        room.publish(number + 1, root).await;
    }
    let deltas = room.deltas(SETTINGS);
    let mut planner = Planner::default();
    assert!(!deltas.plan(&mut planner).await.unwrap(), "the past is no news");
    assert_eq!(room.states().await, []);
    for number in 1..=2 {
        room.publish_in("team", number, squashfs(&noise(4096, number as u64)), false).await;
    }
    while deltas.plan(&mut planner).await.unwrap() {}
    let team = "team".parse().unwrap();
    let waiting = async || room.app.catalog.deltas(&team, None, 100).await.unwrap().0.len();
    assert_eq!((waiting().await, room.states().await.len()), (1, 0));

    // Another server knows how much of the past is left.
    let mut planner = Planner::default();
    assert!(!deltas.plan(&mut planner).await.unwrap());
    assert_eq!(room.states().await, []);
    while deltas.plan_past(&mut planner).await.unwrap() {}
    assert_eq!(room.states().await, [("02", "01", Waiting)].map(owned));
    assert_eq!(waiting().await, 1);
    // And when nothing is left, for good.
    let kept = room.app.catalog.setting("deltas_past_3").await.unwrap();
    assert_eq!(kept.as_deref(), Some(""));
}

#[tokio::test]
async fn a_delta_that_is_too_large_is_refused_and_not_tried_again() {
    let room = Room::new().await;
    let shared = noise(64 << 10, 1);
    room.publish(1, squashfs(&shared)).await;
    room.publish(2, squashfs(&[noise(64 << 10, 2), shared].concat())).await;
    let why = "it has 40% of the full file or more, which does not pay";
    let ended = room.build(&room.deltas(Settings { largest_percent: 40, ..SETTINGS })).await;
    assert_eq!(ended, [Ended::Refused(why.into())]);
    let rows = room.rows().await;
    assert_eq!((rows[0].state, rows[0].why.as_str(), rows[0].file), (Refused, why, None));
    room.is_tidy().await;
    assert_eq!(room.build(&room.deltas(SETTINGS)).await, [], "it was refused before");
}

#[tokio::test]
async fn deltas_to_one_file_have_a_budget_of_bytes() {
    let room = Room::new().await;
    let root = |parts: [u64; 3]| squashfs(&parts.map(|part| noise(64 << 10, part + 1)).concat());
    // Two thirds of the newest version are in the one before, one third is in the first.
    let roots = [root([0, 3, 4]), root([0, 1, 3]), root([0, 1, 2])];
    for (number, root) in roots.iter().enumerate() {
        room.publish(number + 1, root.clone()).await;
    }
    let of = |together_percent| room.deltas(Settings { largest_percent: 100, together_percent, ..SETTINGS });
    assert!(matches!(room.build(&of(60)).await[..], [Ended::Listed(_)]));
    let first = headwater_formats::digest::Digest::from_bytes(<sha2::Sha256 as sha2::Digest>::digest(&roots[0]).into());
    let wish = headwater::catalog::DeltaWish { base: first, ..super::sharing::wish(&room.rows().await[0]) };
    // Too little is left; nothing is left; enough is.
    for (percent, listed) in [(60, false), (30, false), (101, true)] {
        let deltas = of(percent);
        let claim = deltas.claim(&wish, &Default::default()).await.unwrap().unwrap();
        let built = deltas.build(&claim, std::sync::Arc::new(headwater::publish::Silent)).await;
        let ended = deltas.end(&claim, built).await.unwrap();
        if listed {
            assert!(matches!(ended, Ended::Listed(_)), "{ended:?}");
        } else {
            let why = format!(
                "beside the deltas to this file that help more clients it would pass {percent}% of the full file \
                 (deltas.together_percent), which is what all of them may have"
            );
            assert_eq!(ended, Ended::Refused(why));
        }
        room.is_tidy().await;
    }
}

#[tokio::test]
async fn a_hopeless_pair_is_refused_by_a_sample() {
    let room = Room::new().await;
    room.publish(1, squashfs(&noise(9 << 20, 1))).await;
    room.publish(2, squashfs(&noise(9 << 20, 2))).await;
    let ended = room.build(&room.deltas(SETTINGS)).await;
    let why = "almost nothing of it is in the base: the delta would have about 99% of the full file";
    assert_eq!(ended, [Ended::Refused(why.into())]);
    room.is_tidy().await;
}

#[tokio::test]
async fn a_damaged_base_is_found_before_anything_is_made_of_it() {
    let room = Room::new().await;
    let roots = versions(2);
    room.publish(1, roots[0].clone()).await;
    room.publish(2, roots[1].clone()).await;
    let deltas = room.deltas(SETTINGS);
    plan(&deltas).await;
    room.damage(&room.rows().await[0].base.digest);
    let why = "the base's bytes do not have the SHA-256 of its name; `headwater verify` says more";
    assert_eq!(room.build(&deltas).await, [Ended::Failed(why.into())]);
    assert_eq!((room.rows().await[0].state, room.rows().await[0].why.as_str()), (Failed, why));
    room.is_tidy().await;
}

#[tokio::test]
async fn a_damaged_target_is_found_while_it_is_read() {
    let room = Room::new().await;
    for (number, root) in versions(2).into_iter().enumerate() {
        room.publish(number + 1, root).await;
    }
    let deltas = room.deltas(SETTINGS);
    plan(&deltas).await;
    let target = room.rows().await[0].target.digest;
    room.damage(&target);
    let why = "the target's bytes do not have the SHA-256 of its name; `headwater verify` says more";
    assert_eq!(room.build(&deltas).await, [Ended::Failed(why.into())]);
    room.is_tidy().await;
    std::fs::remove_file(room.blob(&target)).unwrap();
    let claim = deltas.claim(&super::sharing::wish(&room.rows().await[0]), &Default::default()).await.unwrap().unwrap();
    let built = deltas.build(&claim, std::sync::Arc::new(headwater::publish::Silent)).await;
    let why = "the bytes of the target are missing; `headwater verify` says more";
    assert_eq!(deltas.end(&claim, built).await.unwrap(), Ended::Failed(why.into()));
}

#[tokio::test]
async fn a_pair_is_not_built_when_a_newer_version_came_meanwhile() {
    let room = Room::new().await;
    let roots = versions(3);
    room.publish(1, roots[0].clone()).await;
    room.publish(2, roots[1].clone()).await;
    let deltas = room.deltas(SETTINGS);
    plan(&deltas).await;
    assert_eq!(room.states().await, [("02", "01", Waiting)].map(owned));
    room.publish(3, roots[2].clone()).await;
    assert_eq!(room.build(&deltas).await.len(), 1);
    assert_eq!(room.states().await, [("03", "02", Ready)].map(owned));
}

#[tokio::test]
async fn disks_of_machines_get_theirs_beside_those_of_containers() {
    let room = Room::new().await;
    let shared = noise(128 << 10, 1);
    for day in 1..=2 {
        let new = noise(8 << 10, 10 + day as u64);
        room.publish(day, squashfs(&[&new[..], &shared[..]].concat())).await;
        room.publish(day, [&crate::cli::kit::qcow2()[..], &new[..], &shared[..]].concat()).await;
    }
    assert_eq!(room.build(&room.deltas(SETTINGS)).await.len(), 2);
    let rows = room.rows().await;
    let mut formats: Vec<_> = rows.iter().map(|row| (row.base.format, row.target.format, row.state)).collect();
    formats.sort();
    assert_eq!(formats, [FileFormat::Squashfs, FileFormat::Qcow2].map(|format| (format, format, Ready)));
    for row in &rows {
        assert_eq!(decoded(&room, row), std::fs::read(room.blob(&row.target.digest)).unwrap());
    }
}

#[tokio::test]
async fn files_shared_by_projects_share_their_delta() {
    let room = Room::new().await;
    room.app.catalog.create_project(&"team".parse().unwrap(), "", super::kit::now()).await.unwrap();
    for (number, root) in versions(2).into_iter().enumerate() {
        room.publish(number + 1, root.clone()).await;
        room.publish_in("team", number + 1, root, false).await;
    }
    assert_eq!(room.build(&room.deltas(SETTINGS)).await.len(), 1);
    for project in ["default", "team"] {
        let (rows, _) = room.app.catalog.deltas(&project.parse().unwrap(), None, 10).await.unwrap();
        assert_eq!((rows.len(), rows[0].state), (1, Ready), "{project}");
    }
}
