//! `headwater export --to FILE.tar` and `headwater import`

use std::io::Read;

use serde_json::Value;

use super::kit::{House, Ran, Sample, fingerprint, qcow2, squashfs};

const NEWER: Sample =
    Sample { os: "Debian", release: "bookworm", variant: "default", serial: "20250202_07:42", architecture: "x86_64" };

/// A container and a virtual machine with the same metadata, names of all kinds, edits, an image in no product, a private one.
fn origin() -> House {
    let house = House::new();
    let metadata = house.file("metadata.tar", &Sample::default().metadata());
    for root in [squashfs(1), qcow2()] {
        let root = house.file("root", &root);
        house.run(&["publish", &metadata, &root, "--public"]).ok();
    }
    house.publish(&Sample { os: "", ..Sample::default() }, &["--public", "--alias", "loose"]);
    let cloud = house.publish(&Sample { variant: "cloud", ..Sample::default() }, &["--public", "--alias", "golden"]);
    house.run(&["image", "edit", &cloud, "--property", "colour=red", "--expires", "2031-01-01"]).ok();
    house.run(&["alias", "create", "stable", "--follow", "debian/bookworm", "--description", "What works"]).ok();
    house.publish(&Sample { os: "Secret", ..Sample::default() }, &["--alias", "hidden"]);
    house
}

fn carry(from: &House, name: &str, to: &House) {
    to.file(name, &from.read(name));
}

/// The documents for each family, and what the API lists, without the times at which things were done.
fn shown(house: &House, private: bool) -> Vec<Value> {
    let mut shown = Vec::new();
    for client in ["lxd", "incus", "any"] {
        let mut arguments = vec!["export", "--to", client, "--client", client];
        arguments.extend(private.then_some("--private"));
        house.run(&arguments).ok();
        for document in ["index", "images"] {
            let bytes = house.read(&format!("{client}/streams/v1/{document}.json"));
            shown.push(serde_json::from_slice(&bytes).unwrap());
        }
    }
    for list in [&["image", "list", "--format", "json"][..], &["alias", "list", "--format", "json"]] {
        let mut rows = house.run(list).json();
        if !private {
            rows.as_array_mut()
                .unwrap()
                .retain(|row| row.get("public").is_none_or(|public| *public == Value::Bool(true)));
        }
        shown.push(rows);
    }
    shown.iter_mut().for_each(timeless);
    shown
}

fn timeless(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for key in ["updated", "uploaded_at", "published", "last_used_at"] {
                fields.remove(key);
            }
            fields.values_mut().for_each(timeless);
        }
        Value::Array(values) => values.iter_mut().for_each(timeless),
        _ => {}
    }
}

fn fingerprints(house: &House) -> Vec<String> {
    let rows = house.run(&["image", "list", "--format", "json"]).json();
    rows.as_array().unwrap().iter().map(|row| row["fingerprint"].as_str().unwrap().to_owned()).collect()
}

/// The names and lengths of what is in a tar.
fn entries(bytes: &[u8]) -> Vec<(String, u64)> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.path().unwrap().display().to_string(), entry.size())
    });
    entries.collect()
}

fn manifest(bytes: &[u8]) -> Vec<Value> {
    let mut archive = tar::Archive::new(bytes);
    let mut text = String::new();
    archive.entries().unwrap().next().unwrap().unwrap().read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn says(ran: &Ran, text: &str) {
    assert!(ran.err.contains(text), "{ran:?}\nwanted: {text}");
}

#[test]
fn both_sides_list_the_same() {
    let (open, closed) = (origin(), House::new());
    let made = open.run(&["export", "--to", "all.tar", "--private", "--format", "json"]).ok();
    says(&made, ", whole: 5 images (5 new), 6 files to carry (");
    let made = made.json();
    assert_eq!((&made["images"], &made["files"], &made["builds_on"]), (&5.into(), &6.into(), &Value::Null));
    let bytes = open.read("all.tar");
    let entries = entries(&bytes);
    assert_eq!((entries.len(), entries[0].0.as_str()), (7, "manifest.jsonl"));
    assert_eq!(made["bytes"], entries[1..].iter().map(|(_, size)| size).sum::<u64>());
    let unique: std::collections::BTreeSet<_> = entries.iter().map(|(name, _)| name).collect();
    assert_eq!(unique.len(), entries.len(), "each file is in it once");

    carry(&open, "all.tar", &closed);
    let taken = closed.run(&["import", "all.tar", "--format", "json"]).ok();
    says(&taken, "into default: 5 images new, 0 here already");
    let taken = taken.json();
    assert_eq!((&taken["listed"], &taken["id"]), (&5.into(), &made["id"]));
    let (here, there) = (shown(&closed, true), shown(&open, true));
    assert!(there[1]["products"].as_object().unwrap().len() == 3, "{}", there[1]);
    for (here, there) in here.iter().zip(&there) {
        assert_eq!(here, there);
    }
    assert_eq!(shown(&closed, false), shown(&open, false), "also for guests");
    let golden = closed.run(&["image", "show", "golden", "--format", "json"]).json();
    assert_eq!(golden["properties"]["colour"], "red");
    assert_eq!(golden["expires_at"], open.run(&["image", "show", "golden", "--format", "json"]).json()["expires_at"]);
    closed.run(&["verify"]).ok();
}

#[test]
fn taking_it_in_again_changes_nothing() {
    let (open, closed) = (origin(), House::new());
    open.run(&["export", "--to", "all.tar"]).ok();
    carry(&open, "all.tar", &closed);
    closed.run(&["import", "all.tar"]).ok();
    let before = shown(&closed, true);
    let audit = closed.run(&["audit", "--format", "json"]).ok().out;
    for arguments in [&["import", "all.tar"][..], &["import", "all.tar", "--update"]] {
        says(&closed.run(arguments).ok(), "into default: 0 images new, 4 here already\n");
        assert_eq!(closed.run(&["audit", "--format", "json"]).ok().out, audit);
        assert_eq!(shown(&closed, true), before);
    }
    // What was edited here stays, until it is wanted otherwise.
    closed.run(&["image", "edit", "golden", "--property", "colour=blue", "--private"]).ok();
    closed.run(&["alias", "delete", "loose"]).ok();
    let golden = fingerprint(&[&Sample { variant: "cloud", ..Sample::default() }.unified()]);
    closed.run(&["alias", "create", "loose", &golden]).ok();
    let colour = || closed.run(&["image", "show", "golden", "--format", "json"]).json()["properties"]["colour"].clone();
    closed.run(&["import", "all.tar"]).ok();
    assert_eq!(colour(), "blue");
    let ran = closed.run(&["import", "all.tar", "--update"]).ok();
    says(&ran, "0 images new, 4 here already, 2 changed\n");
    assert_eq!(colour(), "red");
    assert_eq!(shown(&closed, true), before);
}

#[test]
fn it_comes_through_a_pipe_and_into_another_project() {
    let (open, closed) = (origin(), House::new());
    let mut export = open.command(&["export", "--to", "-", "--only", "variant=cloud"]);
    let output = export.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("whole: 1 image (1 new), 1 file to carry"));
    assert_eq!(manifest(&output.stdout)[0]["bundle"]["only"], "variant=cloud");
    closed
        .run_with(&["import", "-", "--project", "mirror"], &output.stdout)
        .fails(1, "there is no project \"mirror\"; `headwater project list` shows the ones there are");
    closed.run(&["project", "create", "mirror"]).ok();
    says(&closed.run_with(&["import", "-", "--project", "mirror"], &output.stdout).ok(), "into mirror: 1 image new");
    assert_eq!(
        closed.run(&["image", "list", "--project", "mirror", "--format", "json"]).json().as_array().unwrap().len(),
        1
    );
    assert_eq!(fingerprints(&closed), Vec::<String>::new());
    // An alias that follows what is not in it is not in it either.
    assert_eq!(
        closed.run(&["alias", "list", "--project", "mirror", "--format", "csv"]).ok().out.matches("stable").count(),
        0
    );
    // The file is here: it is taken out of the store.
    says(&closed.run_with(&["import", "-"], &output.stdout).ok(), "into default: 1 image new");
}

#[test]
fn private_images_are_in_it_only_when_that_is_said() {
    let (open, closed) = (House::new(), House::new());
    open.run(&["project", "create", "team"]).ok();
    let image = open.publish(&Sample::default(), &["--project", "team", "--alias", "ours"]);
    open.run(&["export", "--to", "team.tar", "--project", "team"])
        .fails(1, "the project \"team\" has no public image; --private exports the private ones");
    assert!(!open.folder.path().join("team.tar").exists());
    open.run(&["export", "--to", "team.tar", "--project", "team", "--private"]).ok();
    carry(&open, "team.tar", &closed);
    closed.run(&["project", "create", "team"]).ok();
    says(&closed.run(&["import", "team.tar"]).ok(), "into team: 1 image new");
    let shown = closed.run(&["image", "list", "ours", "--project", "team", "--format", "json"]).json()[0].clone();
    assert_eq!((&shown["fingerprint"], &shown["public"]), (&Value::from(image), &Value::Bool(false)));
}

#[test]
fn a_later_bundle_carries_only_what_is_new() {
    let (open, closed) = (origin(), House::new());
    let export = |name: &str| {
        let ran = open.run(&["export", "--to", name, "--state", "state.json", "--private", "--format", "json"]);
        let made = ran.json();
        carry(&open, name, &closed);
        made
    };
    let first = export("1.tar");
    let again = export("same.tar");
    assert_eq!((&again["files"], &again["bytes"], &again["new_images"]), (&0.into(), &0.into(), &0.into()));
    assert_eq!((&again["builds_on"], &again["images"]), (&first["id"], &first["images"]));
    assert_eq!(entries(&open.read("same.tar")).len(), 1);

    // The root file is one that is known: only the metadata are new.
    let (metadata, root) = (open.file("metadata.tar", &NEWER.metadata()), open.file("root", &squashfs(1)));
    open.run(&["publish", &metadata, &root, "--public"]).ok();
    let golden = fingerprint(&[&Sample { variant: "cloud", ..Sample::default() }.unified()]);
    open.run(&["image", "delete", &golden]).ok();
    let later = export("2.tar");
    assert_eq!((&later["files"], &later["bytes"]), (&1.into(), &NEWER.metadata().len().into()));
    assert_eq!((&later["images"], &later["new_images"], &later["gone"]), (&5.into(), &1.into(), &1.into()));
    assert_eq!(later["builds_on"], again["id"]);

    // In the wrong order, what cannot be taken in is told, and nothing wrong is listed.
    let ran = closed.run(&["import", "2.tar"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    says(&ran, "is neither here nor in the bundle\n");
    let short: String = again["id"].as_str().unwrap().chars().take(12).collect();
    says(
        &ran,
        &format!(
            "Error: 5 images were not taken in, because files are neither here nor in the bundle, which builds on {short} of "
        ),
    );
    says(&ran, "; take that one in first, then this one again\n");
    assert_eq!(fingerprints(&closed), Vec::<String>::new());

    let reports = closed.run(&["import", "1.tar", "same.tar", "2.tar", "--format", "json"]).json();
    let listed: Vec<_> = reports.as_array().unwrap().iter().map(|report| report["listed"].as_u64().unwrap()).collect();
    assert_eq!(listed, [5, 0, 1]);
    assert_eq!(fingerprints(&closed).len(), 6, "what is gone stays");
    says(&closed.run(&["import", "2.tar", "--prune"]).ok(), ", 1 deleted\n");
    assert_eq!(shown(&closed, true), shown(&open, true));

    // What went and comes back is carried again: who pruned it does not have it any more.
    open.publish(&Sample { variant: "cloud", ..Sample::default() }, &["--public"]);
    let back = export("3.tar");
    assert_eq!((&back["files"], &back["new_images"], &back["gone"]), (&1.into(), &0.into(), &0.into()));
    closed.run(&["gc", "--grace", "0s"]).ok();
    says(&closed.run(&["import", "3.tar", "--prune"]).ok(), "1 image new, 5 here already\n");
    assert_eq!(shown(&closed, true), shown(&open, true));
}

#[test]
fn a_state_of_something_else_is_refused_and_a_failed_run_leaves_nothing() {
    let open = origin();
    let before = || {
        let names = std::fs::read_dir(open.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    open.file("state.json", b"{}");
    let ran = open.run(&["export", "--to", "a.tar", "--state", "state.json"]);
    assert_eq!(ran.code, Some(1));
    says(&ran, "Error: \"state.json\" does not say what earlier bundles had: missing field");
    open.run(&["export", "--to", "a.tar", "--state", "other.json"]).ok();
    open.run(&["project", "create", "team"]).ok();
    open.publish(&Sample::default(), &["--project", "team", "--public"]);
    let ran = open.run(&["export", "--to", "b.tar", "--state", "other.json", "--project", "team"]);
    says(&ran, "it is about bundles of the project \"default\"; give another file with --state");
    for (arguments, error) in [
        (["--client", "lxd"], "--client is about trees, and --to b.tar makes a bundle; leave it out, or name a folder"),
        (["--grace", "1h"], "--grace is about trees, and --to b.tar makes a bundle; leave it out, or name a folder"),
    ] {
        open.run(&[&["export", "--to", "b.tar"][..], &arguments].concat()).fails(2, error);
    }
    open.run(&["export", "--to", "tree", "--state", "x.json"]).fails(
        2,
        "--state is about bundles, and --to names no file that ends in .tar; a tree remembers by itself what is in it",
    );

    // A file is damaged in the store.
    let (names, state) = (before(), open.read("other.json"));
    let root = fingerprint(&[&squashfs(1)]);
    let path = format!("data/blobs/sha256/{}/{root}", &root[..2]);
    let path = if open.folder.path().join(&path).exists() { path } else { blob(&open, &root) };
    std::fs::remove_file(open.folder.path().join(&path)).unwrap();
    open.file(&path, &squashfs(9));
    open.run(&["export", "--to", "b.tar"])
        .fails(1, &format!("the file {root} is missing or damaged in the store; `headwater verify` tells more"));
    open.file("fresh.json", b"");
    std::fs::remove_file(open.folder.path().join("fresh.json")).unwrap();
    let ran = open.run(&["export", "--to", "b.tar", "--state", "fresh.json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!((before(), open.read("other.json")), (names, state));
}

/// Where the store keeps a file.
fn blob(house: &House, digest: &str) -> String {
    let mut folders = vec![house.data().join("blobs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name.to_str().is_some_and(|name| name.contains(digest))) {
                return path.strip_prefix(house.folder.path()).unwrap().display().to_string();
            }
        }
    }
    panic!("{digest} is in no store");
}

/// A tar of these entries.
fn tar_of(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A bundle of two images, taken apart: its manifest, and its files by name.
fn parts() -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let open = House::new();
    open.publish(&Sample::default(), &["--public"]);
    open.publish(&NEWER, &["--public"]);
    open.run(&["export", "--to", "two.tar"]).ok();
    let bytes = open.read("two.tar");
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut files = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.push((name, bytes));
    }
    assert_eq!(files.len(), 3);
    (bytes, files)
}

#[test]
fn damage_of_each_kind_is_told_and_what_came_before_stays() {
    use tar::EntryType::{Block, Char, Directory, Link, Regular, Symlink, XHeader};
    let (whole, files) = parts();
    let file = |index: usize| (files[index].0.as_str(), Regular, files[index].1.as_slice());
    let position = |needle: &[u8]| whole.windows(needle.len()).position(|window| window == needle).unwrap();
    let second_file = position(&files[2].1);
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let manifest = String::from_utf8(files[0].1.clone()).unwrap();
    let later = manifest.replacen("\"format\":1", "\"format\":2", 1);
    let size = |index: usize| files[index].1.len();
    let cases: Vec<(&str, Vec<u8>, usize, String)> = vec![
        ("nothing", Vec::new(), 0, "the bundle ends early, so it was not copied whole; copy it again".into()),
        ("in the manifest", whole[..700].to_vec(), 0, "the bundle ends early, so it was not copied whole".into()),
        (
            "in a file",
            whole[..second_file + 700].to_vec(),
            1,
            "the bundle ends early, so it was not copied whole".into(),
        ),
        ("between files", whole[..second_file - 512].to_vec(), 1, "the bundle ends early, so it was not copied".into()),
        ("in the end", whole[..whole.len() - 512].to_vec(), 2, "the bundle ends early, so it was not copied".into()),
        (
            "a byte of a file",
            flipped(second_file + 600),
            1,
            format!("{:?} cannot be published: it has {} bytes with the SHA-256 ", files[2].0, size(2)),
        ),
        ("the first byte of a file", flipped(second_file), 1, "where ".into()),
        (
            "a byte of a header",
            flipped(second_file - 512 + 3),
            1,
            "the bundle is no tar, or a damaged one: a header has a wrong checksum".into(),
        ),
        ("a byte of the manifest", flipped(512 + 10), 0, "line 1 of the manifest is wrong: ".into()),
        ("no tar", vec![7; 4096], 0, "the bundle is no tar, or a damaged one: a header has a wrong checksum".into()),
        (
            "another tar",
            tar_of(&[file(1)]),
            0,
            format!("this is no bundle: it begins with {:?} where a bundle has its manifest", files[1].0),
        ),
        (
            "a file too many",
            tar_of(&[file(0), file(1), file(2), ("files/more", Regular, b"x")]),
            2,
            "\"files/more\" (1 bytes) is in the bundle where the manifest names no file any more".into(),
        ),
        ("a file too few", tar_of(&[file(0), file(1)]), 1, "the bundle ends early".into()),
        (
            "another order",
            tar_of(&[file(0), file(2), file(1)]),
            0,
            format!("{:?} ({} bytes) is in the bundle where the manifest names {}", files[2].0, size(2), files[1].0),
        ),
        (
            "two manifests",
            tar_of(&[file(0), file(0), file(1), file(2)]),
            0,
            "the bundle has a second manifest; give bundles one by one".into(),
        ),
        (
            "a manifest at the end",
            tar_of(&[file(0), file(1), file(2), file(0)]),
            2,
            "the bundle has a second manifest".into(),
        ),
        (
            "two bundles",
            [whole.clone(), whole.clone()].concat(),
            2,
            "something stands behind its end; give bundles one by one".into(),
        ),
        (
            "a later format",
            tar_of(&[(&files[0].0, Regular, later.as_bytes()), file(1), file(2)]),
            0,
            "the bundle has format 2, which a later release of Headwater writes; this one reads format 1".into(),
        ),
        (
            "a name that leads out",
            tar_of(&[file(0), file(1), ("../../etc/passwd", Regular, b"x")]),
            1,
            "\"../../etc/passwd\" in the bundle is a name that leads out of it".into(),
        ),
        (
            "a name from the top",
            tar_of(&[file(0), ("/etc/passwd", Regular, b"x")]),
            0,
            "\"/etc/passwd\" in the bundle is a name that leads out of it".into(),
        ),
        (
            "a hard link",
            tar_of(&[file(0), file(1), (&files[2].0, Link, b"")]),
            1,
            "in the bundle is a link, and a bundle has nothing but files".into(),
        ),
        ("a symbolic link", tar_of(&[file(0), (&files[1].0, Symlink, b"")]), 0, "in the bundle is a link, and".into()),
        (
            "a device",
            tar_of(&[file(0), ("files/null", Char, b"")]),
            0,
            "\"files/null\" in the bundle is a device, and".into(),
        ),
        (
            "a disk",
            tar_of(&[("manifest.jsonl", Block, b"")]),
            0,
            "\"manifest.jsonl\" in the bundle is a device, and".into(),
        ),
        (
            "a folder",
            tar_of(&[file(0), ("files/", Directory, b"")]),
            0,
            "\"files/\" in the bundle is a folder, and".into(),
        ),
        (
            "an extended header",
            tar_of(&[file(0), ("x", XHeader, b"10 path=a\n")]),
            0,
            "\"x\" in the bundle is an entry of a kind that no bundle has".into(),
        ),
    ];
    for (what, bytes, listed, error) in cases {
        let closed = House::new();
        let ran = closed.run_with(&["import", "-"], &bytes);
        assert_eq!(ran.code, Some(1), "{what}: {ran:?}");
        assert!(ran.err.contains(&error), "{what}: {ran:?}\nwanted: {error}");
        assert_eq!(fingerprints(&closed).len(), listed, "{what}");
        let said = ["Error: ", "1 image that was complete is listed; ", "2 images that were complete are listed; "];
        assert!(ran.err.starts_with(said[listed]), "{what}: {ran:?}");
        closed.run(&["verify"]).ok();
        // All of it mends what is missing.
        closed.run_with(&["import", "-"], &whole).ok();
        assert_eq!(fingerprints(&closed).len(), 2, "{what}");
    }
}

#[test]
fn an_image_is_what_its_bytes_say() {
    let (_, files) = parts();
    let manifest = String::from_utf8(files[0].1.clone()).unwrap();
    for (from, to, error) in [
        (
            "\"type\":\"container\"",
            "\"type\":\"virtual-machine\"",
            "is not what the manifest says of it; make the bundle again",
        ),
        ("\"architecture\":\"x86_64\"", "\"architecture\":\"aarch64\"", "is not what the manifest says of it"),
        ("\"fingerprint\":\"", "\"fingerprint\":\"FALSE", "fingerprints don't match, got "),
    ] {
        let mut changed = manifest.replace(from, to);
        if let Some(at) = changed.find("FALSE") {
            changed.replace_range(at..at + 10, "00000");
            changed = changed.replace("FALSE", "");
        }
        let lines = [("manifest.jsonl", tar::EntryType::Regular, changed.as_bytes())];
        let rest = files[1..].iter().map(|(name, bytes)| (name.as_str(), tar::EntryType::Regular, bytes.as_slice()));
        let bundle = tar_of(&lines.into_iter().chain(rest).collect::<Vec<_>>());
        let closed = House::new();
        let ran = closed.run_with(&["import", "-"], &bundle);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        says(&ran, error);
        assert_eq!(fingerprints(&closed), Vec::<String>::new());
    }
}
