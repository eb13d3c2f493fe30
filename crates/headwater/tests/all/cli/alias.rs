//! `headwater alias …`

use serde_json::{Value, json};

use super::kit::{House, Sample};

fn listed(house: &House, name: &str) -> Option<Value> {
    let list = house.run(&["alias", "list", "--format", "json"]).json();
    list.as_array().unwrap().iter().find(|alias| alias["name"] == name).cloned()
}

#[test]
fn the_three_kinds_are_told_apart() {
    let house = House::new();
    let image = house.publish(&Sample::default(), &["--alias", "fixed"]);
    let ran = house.run(&["alias", "create", "stable", "--follow", "Debian/bookworm", "--description", "d"]).ok();
    assert!(ran.err.starts_with("made the alias stable: it follows "), "{}", ran.err);
    assert_eq!(
        listed(&house, "fixed"),
        Some(json!({"name": "fixed", "description": "", "kind": "fixed", "target": image}))
    );
    let stable = listed(&house, "stable").unwrap();
    assert_eq!((&stable["kind"], &stable["description"]), (&json!("follows"), &json!("d")));
    assert_eq!(stable["follows"].as_str().unwrap().to_lowercase(), "debian/bookworm/default");
    assert_eq!(listed(&house, "debian/bookworm").unwrap()["kind"], "generated");

    let ran = house.run(&["alias", "list", "fixed"]).ok();
    assert_eq!(ran.cells(), [vec!["ALIAS", "KIND", "TARGET", "DESCRIPTION"], vec!["fixed", "fixed", &image[..12], ""]]);
    assert_eq!(
        house.run(&["alias", "list", "fixed", "--format", "csv"]).ok().out,
        format!("fixed,fixed,{},\n", &image[..12])
    );
}

#[test]
fn a_following_alias_leads_to_the_newest_and_a_fixed_one_stays() {
    let house = House::new();
    let old = house.publish(&Sample::default(), &[]);
    house.run(&["alias", "create", "golden", &old[..10]]).ok();
    house.run(&["alias", "create", "stable", "--follow", "debian/bookworm"]).ok();
    let new = house.publish(&Sample { serial: "20250202_07:42", ..Sample::default() }, &[]);
    let leads = |name: &str| {
        house.run(&["image", "info", name, "--format", "json"]).json()["fingerprint"].as_str().unwrap().to_owned()
    };
    assert_eq!((leads("golden"), leads("stable"), leads("debian/bookworm")), (old, new.clone(), new));
}

#[test]
fn aliases_are_renamed_and_deleted() {
    let house = House::new();
    let image = house.publish(&Sample::default(), &["--alias", "one"]);
    let ran = house.run(&["alias", "rename", "one", "two"]).ok();
    assert_eq!(ran.err, "renamed the alias one to two\n");
    assert_eq!(listed(&house, "one"), None);
    assert_eq!(listed(&house, "two").unwrap()["target"], image.as_str());
    house
        .run(&["alias", "rename", "one", "three"])
        .fails(1, "there is no alias \"one\"; `headwater alias list` shows the ones there are");
    house.run(&["alias", "create", "three", &image]).ok();
    house
        .run(&["alias", "rename", "two", "three"])
        .fails(1, "there is an alias \"three\" already; delete it first, or choose another name");
    house
        .run(&["alias", "create", "two", &image])
        .fails(1, "there is an alias \"two\" already; delete it first, or choose another name");
    assert_eq!(house.run(&["alias", "delete", "two"]).ok().err, "deleted the alias two\n");
    house
        .run(&["alias", "delete", "two"])
        .fails(1, "there is no alias \"two\"; `headwater alias list` shows the ones there are");
    house.run(&["image", "info", &image]).ok();
}

#[test]
fn the_target_is_said_one_way() {
    let house = House::new();
    house.publish(&Sample::default(), &[]);
    for arguments in [
        &["alias", "create", "x"][..],
        &["alias", "create", "x", "y", "--follow", "a/b"],
        &["alias", "create", "x", "--follow", "debian"],
        &["alias", "create", "a,b", "--follow", "a/b"],
    ] {
        let ran = house.run(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ran.err.starts_with("Error: "), "{}", ran.err);
    }
    let ran = house.run(&["alias", "create", "x", "--follow", "debian"]);
    assert!(
        ran.err.contains("write os/release or os/release/variant, for example debian/bookworm/cloud"),
        "{}",
        ran.err
    );
}
