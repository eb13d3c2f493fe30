//! `headwater view …`

use serde_json::json;

use super::kit::House;

#[test]
fn views_are_made_listed_shown_and_deleted() {
    let house = House::new();
    house.run(&["project", "create", "team"]).ok();
    let made = house
        .run(&[
            "view",
            "create",
            "arm",
            "--filter",
            "latest=1  arch=aarch64,armhf",
            "--project",
            "team",
            "--description",
            "What we run",
        ])
        .ok();
    assert_eq!((made.out.as_str(), made.err.as_str()), ("", "made the view arm, served at /v/arm/\n"));
    let ran = house.run(&["view", "list"]).ok();
    let cells = ran.cells();
    assert_eq!(cells[0], ["NAME", "PROJECT", "FILTER", "DESCRIPTION", "CREATED"]);
    assert_eq!(cells[1][..4], ["arm", "team", "arch=armhf,arm64 latest=1", "What we run"]);
    let shown = house.run(&["view", "show", "arm", "--format", "json"]).json();
    assert_eq!((&shown["filter"], &shown["path"]), (&"arch=armhf,arm64 latest=1".into(), &"/v/arm/".into()));
    assert_eq!(house.run(&["view", "list", "--format", "json"]).json(), json!([shown]));

    house
        .run(&["view", "create", "arm", "--filter", "latest=1"])
        .fails(1, "there is a view \"arm\" already; choose another name");
    house
        .run(&["view", "create", "x", "--filter", "latest=1", "--project", "nowhere"])
        .fails(1, "there is no project \"nowhere\"; `headwater project list` shows the ones there are");
    house
        .run(&["project", "delete", "team"])
        .fails(1, "the project \"team\" still has saved views; delete them first (`headwater view list` shows them)");
    assert_eq!(house.run(&["view", "delete", "arm"]).ok().err, "deleted the view arm\n");
    let missing = "there is no view \"arm\"; `headwater view list` shows the ones there are";
    house.run(&["view", "show", "arm"]).fails(1, missing);
    house.run(&["view", "delete", "arm"]).fails(1, missing);
    for (filter, words) in [
        ("colour=red", "\"colour\" cannot be filtered by; use os, release, variant, arch, type, alias or latest"),
        ("os=debian os=alpine", "these filters let nothing pass, because they exclude one another; mend them"),
        ("os", "the filter \"os\" has no value; write it as key=value, for example arch=arm64"),
    ] {
        let ran = house.run(&["view", "create", "x", "--filter", filter]);
        assert_eq!(ran.code, Some(2), "{filter}");
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
}
