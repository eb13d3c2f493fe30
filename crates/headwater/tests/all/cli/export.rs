//! `headwater export`

use serde_json::{Value, json};

use super::kit::{House, Sample, squashfs};

fn house() -> House {
    let house = House::new();
    for (serial, seed) in [("20250101_07:42", 1), ("20250202_07:42", 2)] {
        house.file("metadata.tar", &Sample { serial, ..Sample::default() }.metadata());
        house.file("rootfs", &squashfs(seed));
        house.run(&["publish", "metadata.tar", "rootfs", "--public"]).ok();
    }
    house.publish(&Sample { os: "Secret", ..Sample::default() }, &[]);
    house
}

fn products(house: &House, tree: &str) -> Value {
    serde_json::from_slice(&house.read(&format!("{tree}/streams/v1/images.json"))).unwrap()
}

#[test]
fn the_tree_holds_what_the_documents_name() {
    let house = house();
    let ran = house.run(&["export", "--to", "tree", "--client", "lxd", "--format", "json"]).ok();
    assert!(ran.err.contains("4 files ("), "{}", ran.err);
    assert!(ran.err.contains(": 4 new, 0 removed, 0 to be removed when their grace of 24h is over\n"), "{}", ran.err);
    let report = ran.json();
    assert_eq!((&report["files"], &report["added"], &report["to"]), (&json!(4), &json!(4), &json!("tree")));
    let document = products(&house, "tree");
    let (product, versions) = document["products"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(product, "debian:bookworm:amd64:default");
    for version in versions["versions"].as_object().unwrap().values() {
        for item in version["items"].as_object().unwrap().values() {
            house.read(&format!("tree/{}", item["path"].as_str().unwrap()));
        }
    }
    let again = house.run(&["export", "--to", "tree", "--client", "lxd"]).ok();
    assert_eq!(again.out, "tree\n");
    assert!(again.err.contains(": 0 new"), "{}", again.err);
}

#[test]
fn filters_and_eyes_choose_what_is_in_it() {
    let house = house();
    house.run(&["export", "--to", "latest", "--only", "latest=1", "--only", "os=debian"]).ok();
    let document = products(&house, "latest");
    let versions = document["products"]["debian:bookworm:amd64:default"]["versions"].as_object().unwrap();
    assert_eq!(versions.keys().collect::<Vec<_>>(), ["20250202_07:42"]);

    house.run(&["export", "--to", "all", "--private"]).ok();
    assert!(products(&house, "all")["products"].as_object().unwrap().contains_key("secret:bookworm:amd64:default"));
    house.run(&["project", "create", "hidden"]).ok();
    house
        .run(&["export", "--to", "x", "--project", "hidden"])
        .fails(1, "the project \"hidden\" has no public image; --private exports the private ones");
    house
        .run(&["export", "--to", "x", "--project", "nowhere"])
        .fails(1, "there is no project \"nowhere\"; `headwater project list` shows the ones there are");
    let ran = house.run(&["export", "--to", "x", "--only", "colour=red"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.starts_with("Error: --only colour=red: "), "{}", ran.err);
    assert!(!house.folder.path().join("x").exists());
}
