//! `headwater gc`

use super::kit::{House, Sample};

#[test]
fn files_of_deleted_images_go_when_their_grace_is_over() {
    let house = House::new();
    let image = house.publish(&Sample::default(), &[]);
    let kept = house.publish(&Sample { serial: "20250202_07:42", ..Sample::default() }, &[]);
    let ran = house.run(&["gc"]).ok();
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", "nothing to remove\n"));
    house.run(&["image", "delete", &image]).ok();
    assert_eq!(house.run(&["gc"]).ok().err, "nothing to remove\n", "within the grace");

    let dry = house.run(&["gc", "--dry-run", "--grace", "0s", "--format", "csv"]).ok();
    assert_eq!(dry.out, format!("{image},3.00KiB,deleted\n"));
    assert_eq!(dry.err, "would free 3.00KiB: 1 file of deleted images\n");
    let ran = house.run(&["gc", "--grace", "0s", "--format", "json"]).ok();
    assert_eq!(ran.err, "freed 3.00KiB: 1 file of deleted images\n");
    let json = ran.json();
    assert_eq!((&json[0]["digest"], &json[0]["size"]), (&image.as_str().into(), &3072.into()));
    assert!(json[0]["deleted_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(house.run(&["gc", "--grace", "0s"]).ok().err, "nothing to remove\n");
    house.run(&["image", "export", &kept]).ok();
}

#[test]
fn a_time_has_a_unit() {
    let house = House::new();
    let ran = house.run(&["gc", "--grace", "24"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("write a number and a unit, s, m, h or d: 24h, 30m, 0s"), "{}", ran.err);
}
