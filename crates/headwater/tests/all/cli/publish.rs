//! `headwater publish`

use serde_json::json;

use super::kit::{House, Sample, fingerprint, qcow2, squashfs};

#[test]
fn a_unified_image_is_published_and_told_as_lxc_tells_it() {
    let house = House::new();
    let bytes = Sample::default().unified();
    house.file("image.tar", &bytes);
    let ran = house.run(&["publish", "image.tar", "--alias", "mine"]).ok();
    let fingerprint = fingerprint(&[&bytes]);
    assert_eq!(ran.out, format!("Image published with fingerprint: {fingerprint}\n"));
    assert!(ran.err.contains("product: debian:bookworm:amd64:default, version: 20250101_07:42\n"), "{}", ran.err);
    assert!(ran.err.contains("mine"), "{}", ran.err);
    let short = &fingerprint[..12];
    assert!(
        ran.err.contains(&format!(
            "it is private, guests cannot see it; `headwater image edit {short} --public` changes that\n"
        )),
        "{}",
        ran.err
    );
}

#[test]
fn the_json_says_all_about_it() {
    let house = House::new();
    let (metadata, root) = (Sample::default().metadata(), squashfs(1));
    house.file("metadata.tar", &metadata);
    house.file("rootfs.squashfs", &root);
    let ran = house
        .run(&["publish", "metadata.tar", "rootfs.squashfs", "--public", "--alias", "mine", "--format", "json"])
        .ok();
    assert!(!ran.err.contains("private"), "{}", ran.err);
    let report = ran.json();
    assert!(report["aliases"].as_array().unwrap().contains(&json!("mine")));
    let mut rest = report.clone();
    rest.as_object_mut().unwrap().remove("aliases");
    assert_eq!(
        rest,
        json!({
            "fingerprint": fingerprint(&[&metadata, &root]),
            "project": "default",
            "product": "debian:bookworm:amd64:default",
            "version": "20250101_07:42",
            "size": metadata.len() + root.len(),
            "type": "container",
            "architecture": "x86_64",
            "public": true,
            "already_published": false,
        })
    );
}

#[test]
fn the_same_bytes_again_change_nothing() {
    let house = House::new();
    house.file("image.tar", &Sample::default().unified());
    house.run(&["publish", "image.tar"]).ok();
    let before = house.run(&["image", "list", "--format", "json"]).ok().out;
    let again = house.run(&["publish", "image.tar", "--public", "--alias", "late"]).ok();
    assert!(again.err.starts_with("already published, nothing changed\n"), "{}", again.err);
    assert!(again.err.contains("alias \"late\" was not made; `headwater alias create late "), "{}", again.err);
    assert!(again.err.contains("--public` changes that"), "{}", again.err);
    assert_eq!(house.run(&["image", "list", "--format", "json"]).ok().out, before);
    assert_eq!(house.run(&["publish", "image.tar", "--format", "json"]).json()["already_published"], true);
}

#[test]
fn a_virtual_machine_is_told_by_its_disk() {
    let house = House::new();
    house.file("metadata.tar", &Sample::default().metadata());
    house.file("disk.img", &qcow2());
    let report = house.run(&["publish", "metadata.tar", "disk.img", "--format", "json"]).json();
    assert_eq!(report["type"], "virtual-machine");
}

#[test]
fn standard_input_is_a_file_too() {
    let house = House::new();
    let bytes = Sample::default().unified();
    let ran = house.run_with(&["publish", "-", "--property", "variant=cloud", "--format", "json"], &bytes);
    let report = ran.json();
    assert_eq!(report["fingerprint"], fingerprint(&[&bytes]));
    assert_eq!(report["product"], "debian:bookworm:amd64:cloud");
    house.run(&["publish", "-", "-"]).fails(2, "standard input can be one of the two files, not both");
}

#[test]
fn a_directory_is_taken_as_builders_leave_it() {
    let house = House::new();
    let (metadata, root) = (Sample::default().metadata(), squashfs(2));
    house.file("out/meta.tar", &metadata);
    house.file("out/lxd.tar.xz", &metadata);
    std::fs::remove_file(house.folder.path().join("out/meta.tar")).unwrap();
    house.file("out/rootfs.squashfs", &root);
    let report = house.run(&["publish", "out", "--format", "json"]).json();
    assert_eq!(report["fingerprint"], fingerprint(&[&metadata, &root]));
}

#[test]
fn an_image_without_os_is_told_to_be_in_no_product() {
    let house = House::new();
    house.file("image.tar", &Sample { os: "", ..Sample::default() }.unified());
    let ran = house.run(&["publish", "image.tar", "--format", "json"]).ok();
    assert!(
        ran.err.contains(
            "it belongs to no product, because it has no usable os and release: only the LXD/Incus API lists it, \
             simplestreams does not\n"
        ),
        "{}",
        ran.err
    );
    let report = ran.json();
    assert_eq!((&report["product"], &report["version"]), (&json!(null), &json!(null)));
}

#[test]
fn quiet_is_silent() {
    let house = House::new();
    house.file("image.tar", &Sample::default().unified());
    let ran = house.run(&["publish", "image.tar", "--quiet"]).ok();
    assert_eq!(ran.err, "");
    assert!(ran.out.starts_with("Image published with fingerprint: "));
}

#[test]
fn what_cannot_be_published_is_told_and_changes_nothing() {
    let house = House::new();
    house
        .run(&["publish", "nothing-here.tar"])
        .fails(1, "\"nothing-here.tar\" cannot be read: No such file or directory (os error 2)");
    house.file("notes.txt", b"hello");
    let ran = house.run(&["publish", "notes.txt"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.starts_with("Error: \"notes.txt\" cannot be published: "), "{}", ran.err);
    house.file("image.tar", &Sample::default().unified());
    house
        .run(&["publish", "image.tar", "--project", "nowhere"])
        .fails(1, "there is no project \"nowhere\"; `headwater project list` shows the ones there are");
    assert_eq!(house.run(&["image", "list", "--format", "json"]).ok().out, "[]\n");
}

#[test]
fn a_project_has_images_of_its_own() {
    let house = House::new();
    house.run(&["project", "create", "team-a"]).ok();
    house.publish(&Sample::default(), &["--project", "team-a"]);
    assert_eq!(house.run(&["image", "list", "--format", "csv"]).ok().out, "");
    assert_eq!(house.run(&["image", "list", "--project", "team-a", "--format", "csv"]).ok().out.lines().count(), 1);
    house.file("image.tar", &Sample::default().unified());
    let again = house.run(&["publish", "image.tar", "--project", "team-a"]).ok();
    assert!(again.err.contains("--public --project team-a` changes that"), "{}", again.err);
}
