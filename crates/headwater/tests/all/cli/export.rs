//! `headwater export`

use serde_json::{Value, json};

use super::kit::{House, Sample, squashfs};
use crate::kit::gpg::{Gpgv, signed_text};

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

#[test]
fn with_a_key_the_tree_is_signed_and_without_it_not_any_more() {
    let house = house();
    let tree = |name: &str| house.folder.path().join("tree").join(name);
    let signed = [
        "streams/v1/index.sjson",
        "streams/v1/images.sjson",
        "streams/v1/index.json.gpg",
        "streams/v1/images.json.gpg",
        "signing-key.asc",
        "signing-key.gpg",
    ];
    let export = || house.run(&["export", "--to", "tree", "--format", "json"]).json()["signed"].clone();
    assert_eq!(export(), false);
    assert!(signed.iter().all(|name| !tree(name).exists()));
    // Somebody who signs trees by themselves keeps what they made.
    house.file("tree/streams/v1/index.sjson", b"theirs");
    assert_eq!(export(), false);
    assert_eq!(house.read("tree/streams/v1/index.sjson"), b"theirs");

    let key = house.run(&["key", "create", "--name", "Images"]).ok().out;
    assert_eq!(export(), true);
    let gpgv = Gpgv::new(&house.read("tree/signing-key.gpg"));
    assert_eq!(house.run(&["key", "export"]).ok().out.as_bytes(), house.read("tree/signing-key.asc"));
    for document in ["index", "images"] {
        let path = format!("tree/streams/v1/{document}");
        let (plain, clear) = (house.read(&format!("{path}.json")), house.read(&format!("{path}.sjson")));
        let said = gpgv.clear(&clear).unwrap();
        assert!(said.contains("Good signature from \"Images\""), "{said}");
        gpgv.detached(&house.read(&format!("{path}.json.gpg")), &plain).unwrap();
        let text = signed_text(&clear).replace("streams/v1/images.sjson", "streams/v1/images.json");
        assert_eq!(text.as_bytes(), plain);
    }
    let before = house.read("tree/streams/v1/images.sjson");
    assert_eq!(export(), true);
    assert_eq!(house.read("tree/streams/v1/images.sjson"), before);

    house.run(&["key", "delete", key.trim(), "--force"]).ok();
    assert_eq!(export(), false);
    let left: Vec<_> = signed.iter().filter(|name| tree(name).exists()).collect();
    assert!(left.is_empty(), "bad signatures are left: {left:?}");
}
