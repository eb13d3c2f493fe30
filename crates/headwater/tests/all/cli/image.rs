//! `headwater image …`

use super::kit::{House, Sample, fingerprint, squashfs};

fn two_images() -> (House, String, String) {
    let house = House::new();
    let debian = house.publish(&Sample::default(), &["--public"]);
    let alpine = Sample { os: "Alpine", release: "3.20", architecture: "aarch64", ..Sample::default() };
    let alpine = house.publish(&alpine, &["--property", "description=small, \"quoted\""]);
    (house, debian, alpine)
}

#[test]
fn the_table_has_the_columns_of_lxc() {
    let (house, debian, alpine) = two_images();
    let ran = house.run(&["image", "list"]).ok();
    let cells = ran.cells();
    assert_eq!(
        cells[0],
        ["ALIAS", "FINGERPRINT", "PUBLIC", "DESCRIPTION", "ARCHITECTURE", "TYPE", "SIZE", "UPLOAD DATE"]
    );
    assert_eq!(cells.len(), 3);
    assert!(cells[1][0].starts_with("alpine/3.20 ("), "{cells:?}");
    assert_eq!(cells[1][1..7], [&alpine[..12], "no", "small, \"quoted\"", "aarch64", "CONTAINER", "3.00KiB"]);
    assert_eq!(
        cells[2][1..7],
        [&debian[..12], "yes", "Debian bookworm (20250101_07:42)", "x86_64", "CONTAINER", "3.00KiB"]
    );
    assert!(cells[1][7].ends_with(" (UTC)") && cells[1][7].contains(" at "), "{cells:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines.iter().step_by(2).all(|line| line.starts_with("+-") && *line == lines[0]), "{}", ran.out);
}

#[test]
fn csv_has_the_same_cells() {
    let (house, debian, alpine) = two_images();
    let out = house.run(&["image", "list", "--format", "csv"]).ok().out;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2);
    let cut = format!(",{},no,\"small, \"\"quoted\"\"\",aarch64,CONTAINER,3.00KiB,\"", &alpine[..12]);
    assert!(lines[0].contains(&cut), "{out}");
    let cut = format!(",{},yes,Debian bookworm (20250101_07:42),x86_64,CONTAINER,3.00KiB,\"", &debian[..12]);
    assert!(lines[1].contains(&cut), "{out}");
}

#[test]
fn json_and_yaml_are_the_objects_of_the_api() {
    let (house, debian, alpine) = two_images();
    let list = house.run(&["image", "list", "--format", "json"]).json();
    let mut fingerprints = [debian.clone(), alpine];
    fingerprints.sort();
    let listed: Vec<&str> = list.as_array().unwrap().iter().map(|i| i["fingerprint"].as_str().unwrap()).collect();
    assert_eq!(listed, fingerprints);
    let one = list.as_array().unwrap().iter().find(|image| image["fingerprint"] == debian.as_str()).unwrap();
    assert_eq!(one["properties"]["os"], "Debian");
    assert_eq!(one["expires_at"], "0001-01-01T00:00:00Z");
    assert_eq!(one["project"], "default");

    let yaml = house.run(&["image", "list", "--format", "yaml"]).ok().out;
    assert_eq!(yaml.matches("\n- auto_update: false\n").count() + 1, 2, "{yaml}");
    assert!(yaml.contains(&format!("fingerprint: {debian}\n")), "{yaml}");
    assert_eq!(house.run(&["image", "list", "nothing-like-it", "--format", "yaml"]).ok().out, "[]\n");
}

#[test]
fn filters_are_those_of_lxc() {
    let (house, debian, alpine) = two_images();
    let found = |filters: &[&str]| {
        let mut arguments = vec!["image", "list", "--format", "json"];
        arguments.extend(filters);
        let list = house.run(&arguments).json();
        let list = list.as_array().unwrap().iter().map(|image| image["fingerprint"].as_str().unwrap().to_owned());
        list.collect::<Vec<_>>()
    };
    let both = || {
        let mut both = vec![debian.clone(), alpine.clone()];
        both.sort();
        both
    };
    assert_eq!(found(&["os=debian"]), [debian.as_str()]);
    assert_eq!(found(&["os=debian,alpine"]), both());
    assert_eq!(found(&["os=Deb.*", "release=bookworm"]), [debian.as_str()]);
    assert_eq!(found(&["os=Deb"]), [""; 0]);
    assert_eq!(found(&["rel=3.20"]), [alpine.as_str()]);
    assert_eq!(found(&["arch=arm64"]), [alpine.as_str()]);
    assert_eq!(found(&["architecture=x86_64"]), [debian.as_str()]);
    assert_eq!(found(&["public=true"]), [debian.as_str()]);
    assert_eq!(found(&["type=container"]), both());
    assert_eq!(found(&["type=vm"]), [""; 0]);
    assert_eq!(found(&["bookworm"]), [debian.as_str()]);
    assert_eq!(found(&[&alpine[10..20]]), [alpine.as_str()]);
    house.run(&["image", "list", "=x"]).fails(2, "\"=x\" is no filter; write key=value, for example os=debian");
}

#[test]
fn show_prints_what_edit_takes() {
    let (house, debian, _) = two_images();
    let shown = house.run(&["image", "show", &debian[..8]]).ok().out;
    assert_eq!(
        shown,
        "auto_update: false\n\
         properties:\n\
         \x20 description: Debian bookworm (20250101_07:42)\n\
         \x20 os: Debian\n\
         \x20 release: bookworm\n\
         \x20 serial: \"20250101_07:42\"\n\
         \x20 variant: default\n\
         public: true\n\
         expires_at: \"0001-01-01T00:00:00Z\"\n\
         profiles:\n- default\n"
    );
    let same = house.run_with(&["image", "edit", &debian], shown.as_bytes()).ok();
    assert_eq!(same.err, "nothing changed\n");
    let changed = shown.replace("public: true", "public: false").replace("variant: default", "variant: cloud");
    house.run_with(&["image", "edit", &debian], changed.as_bytes()).ok();
    assert_eq!(house.run(&["image", "show", &debian]).ok().out, changed);
    let ran = house.run_with(&["image", "edit", &debian], b"publik: true\n");
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.starts_with("Error: this is not what `headwater image show` prints: "), "{}", ran.err);
}

#[test]
fn info_tells_all() {
    let (house, debian, _) = two_images();
    let out = house.run(&["image", "info", "debian/bookworm"]).ok().out;
    let expected = format!(
        "Fingerprint: {debian}\nSize: 3.00KiB\nArchitecture: x86_64\nType: container\nPublic: yes\nProject: default\n\
         Product: debian:bookworm:amd64:default\nVersion: 20250101_07:42\nFiles:\n    unified: {debian}.tar (3.00KiB)\n\
         Timestamps:\n    Created: 2025/01/01 07:42 UTC\n    Uploaded: "
    );
    assert!(out.starts_with(&expected), "{out}");
    assert!(out.contains("\n    Expires: never\n    Last used: never\nProperties:\n    description: "), "{out}");
    assert!(out.contains("\nAliases:\n") && out.contains("\n    - debian/bookworm\n"), "{out}");
    assert!(out.ends_with("Auto update: disabled\nProfiles:\n    - default\n"), "{out}");
    let json = house.run(&["image", "info", &debian, "--format", "json"]).json();
    assert_eq!(json["fingerprint"], debian.as_str());
    house
        .run(&["image", "info", &debian, "--format", "csv"])
        .fails(2, "only lists have the formats csv and compact; use table, json or yaml here");
}

#[test]
fn options_of_edit_do_what_they_say() {
    let (house, debian, _) = two_images();
    let image = || house.run(&["image", "info", &debian, "--format", "json"]).json();
    let ran =
        house.run(&["image", "edit", &debian, "--private", "--property", "variant=cloud", "--unset", "serial"]).ok();
    assert_eq!(ran.err, format!("changed {debian}\n"));
    assert_eq!((&image()["public"], &image()["properties"]["variant"]), (&false.into(), &"cloud".into()));
    assert!(image()["properties"]["serial"].is_null());
    house.run(&["image", "edit", &debian, "--expires", "2027-01-31"]).ok();
    assert_eq!(image()["expires_at"], "2027-01-31T00:00:00Z");
    assert_eq!(image()["public"], false);
    house.run(&["image", "edit", &debian, "--expires", "never", "--public"]).ok();
    assert_eq!((&image()["expires_at"], &image()["public"]), (&"0001-01-01T00:00:00Z".into(), &true.into()));
    house.run(&["image", "edit", &debian, "--unset", "serial"]).fails(
        1,
        &format!(
            "the image has no property \"serial\"; `headwater image info {}` shows the ones it has",
            &debian[..12]
        ),
    );
    let ran = house.run(&["image", "edit", &debian, "--expires", "tomorrow"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("write a date as 2027-01-31 or 2027-01-31T12:00:00Z, or never"), "{}", ran.err);
}

#[test]
fn files_are_exported_under_the_names_of_lxc_and_never_over_others() {
    let house = House::new();
    let unified = Sample::default().unified();
    let one = house.publish(&Sample::default(), &[]);
    let (metadata, root) = (Sample { variant: "split", ..Sample::default() }.metadata(), squashfs(3));
    house.file("metadata.tar", &metadata);
    house.file("rootfs", &root);
    house.run(&["publish", "metadata.tar", "rootfs"]).ok();
    let two = fingerprint(&[&metadata, &root]);

    assert_eq!(house.run(&["image", "export", &one]).ok().out, format!("./{one}.tar\n"));
    assert_eq!(house.read(&format!("{one}.tar")), unified);
    house
        .run(&["image", "export", &one])
        .fails(1, &format!("./{one}.tar exists already; move it away, or choose another target"));
    std::fs::create_dir(house.folder.path().join("into")).unwrap();
    house.run(&["image", "export", &two, "into"]).ok();
    assert_eq!(house.read(&format!("into/meta-{two}.tar")), metadata);
    assert_eq!(house.read(&format!("into/{two}.squashfs")), root);
    assert_eq!(house.run(&["image", "export", &one, "named"]).ok().out, "named.tar\n");
    assert_eq!(house.read("named.tar"), unified);
    assert_eq!(house.run(&["image", "export", &two, "both"]).ok().out, "both\nboth.root\n");
    assert_eq!((house.read("both"), house.read("both.root")), (metadata, root));
    let ran = house.run(&["image", "export", &one, "no/such/folder"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.starts_with("Error: no/such/folder.tar cannot be written: "), "{}", ran.err);
}

#[test]
fn deleted_images_are_gone_and_all_names_are_checked_first() {
    let (house, debian, alpine) = two_images();
    house
        .run(&["image", "delete", &debian, "typo"])
        .fails(1, "there is no image \"typo\"; `headwater image list` shows the ones there are");
    assert_eq!(house.run(&["image", "list", "--format", "csv"]).ok().out.lines().count(), 2);
    let ran = house.run(&["image", "delete", &debian[..12], "alpine/3.20", &alpine]).ok();
    assert_eq!((ran.out.as_str(), ran.err), ("", format!("deleted {debian}\ndeleted {alpine}\n")));
    assert_eq!(house.run(&["image", "list", "--format", "csv"]).ok().out, "");
}

#[test]
fn what_was_meant_is_suggested() {
    let (house, ..) = two_images();
    let ran = house.run(&["image", "info", "debian/bookwrom"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err.starts_with("Error: there is no image \"debian/bookwrom\"; did you mean \"debian/bookworm\""),
        "{}",
        ran.err
    );
    house
        .run(&["image", "info", "x", "--project", "nowhere"])
        .fails(1, "there is no project \"nowhere\"; `headwater project list` shows the ones there are");
}

#[test]
fn a_prefix_of_several_names_them() {
    let house = House::new();
    // 17 fingerprints have 16 first characters.
    let serials: Vec<String> = (10..27).map(|day| format!("202501{day}")).collect();
    let mut fingerprints = Vec::new();
    for serial in &serials {
        let image = Sample { serial: serial.clone().leak(), ..Sample::default() };
        fingerprints.push(house.publish(&image, &[]));
    }
    fingerprints.sort();
    let pair = fingerprints.windows(2).find(|pair| pair[0][..1] == pair[1][..1]).unwrap();
    let prefix = &pair[0][..1];
    let same: Vec<&str> = fingerprints.iter().filter(|f| f.starts_with(prefix)).map(|f| &f[..12]).collect();
    let (shown, more) = if same.len() > 5 { (&same[..5], ", …") } else { (&same[..], "") };
    house.run(&["image", "show", prefix]).fails(
        1,
        &format!(
            "more than one image has a fingerprint that begins with {prefix:?}: {}{more}; type more of it",
            shown.join(", ")
        ),
    );
}
