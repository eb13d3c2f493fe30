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
fn downloads_that_nobody_goes_on_with_go_after_a_week() {
    let house = House::new();
    house.publish(&Sample::default(), &[]);
    let folder = house.data().join("blobs/partial");
    std::fs::create_dir(&folder).unwrap();
    for (name, written) in [("a", Some(std::time::SystemTime::UNIX_EPOCH)), ("b", None)] {
        let file = std::fs::File::create(folder.join(name.repeat(64))).unwrap();
        file.set_len(5000).unwrap();
        if let Some(written) = written {
            file.set_modified(written).unwrap();
        }
    }
    let said = |ran: &str| assert_eq!(ran, "4.88KiB: 1 download that nobody goes on with\n");
    said(house.run(&["gc", "--dry-run"]).ok().err.strip_prefix("would free ").unwrap());
    said(house.run(&["gc"]).ok().err.strip_prefix("freed ").unwrap());
    assert_eq!(house.run(&["gc"]).ok().err, "nothing to remove\n");
    assert!(folder.join("b".repeat(64)).exists(), "it was written a moment ago");
}

#[test]
fn a_time_has_a_unit() {
    let house = House::new();
    let ran = house.run(&["gc", "--grace", "24"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("write a number and a unit, s, m, h or d: 24h, 30m, 0s"), "{}", ran.err);
}
