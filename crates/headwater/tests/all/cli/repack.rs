//! `headwater publish --repack`, with the real squashfs-tools.

use std::os::unix::fs::PermissionsExt;

use headwater_formats::inspect::Packing;

use super::kit::{House, Ran, Sample, fingerprint, qcow2, run};
use crate::kit::archives::{self, pack};
use crate::kit::trees::{assert_same, entries, kinds, nasty_tarball, squashed, with_root};

/// The root file of the only image in a house.
fn root_of(house: &House) -> Vec<u8> {
    let image = house.run(&["image", "list", "--format", "json"]).json();
    let fingerprint = image[0]["fingerprint"].as_str().unwrap().to_owned();
    house.run(&["image", "export", &fingerprint, "exported", "--format", "json"]).ok();
    std::fs::read(house.folder.path().join("exported.root")).unwrap()
}

fn house(root: &str, bytes: &[u8]) -> House {
    let house = House::new();
    house.file("metadata.tar", &Sample::default().metadata());
    house.file(root, bytes);
    house
}

/// The program with a tool in front of the real ones.
fn with_tool(house: &House, name: &str, script: &str, arguments: &[&str]) -> Ran {
    let tool = house.file(&format!("tools/{name}"), format!("#!/bin/sh\n{script}\n").as_bytes());
    let path = house.folder.path().join(tool);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = house.command(arguments);
    let real = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{real}", path.parent().unwrap().display()));
    run(command, b"")
}

const PUBLISH: &[&str] = &["publish", "metadata.tar", "rootfs.squashfs", "--repack"];

#[test]
fn nothing_of_a_nasty_tree_is_lost_and_the_same_files_give_the_same_bytes() {
    for compressor in ["zstd", "xz"] {
        let given = squashed(&nasty_tarball(), &["-comp", compressor, "-exports"]);
        let found = kinds(&given);
        let expected =
            [("device", 2), ("file", 619), ("folder", 46), ("hard link", 3), ("pipe", 1), ("symbolic link", 2)];
        assert_eq!(found, expected.into(), "the tree is as nasty as it was meant");
        let house = house("rootfs.squashfs", &given);
        house.run(PUBLISH).ok();
        let made = root_of(&house);
        assert_same(&given, &made);
        let packing = Packing::read(&made, made.len() as u64).unwrap();
        assert_eq!((packing.compression, packing.block_size), (compressor, 128 << 10));
        assert!(!packing.shares_blocks && packing.exportable);

        let again = self::house("rootfs.squashfs", &given);
        // On a machine with one core, in another zone.
        let script = "case $1 in -version) exec /usr/bin/sqfstar -version ;; esac\nTZ=Asia/Tokyo exec /usr/bin/sqfstar -processors 1 \"$@\"";
        with_tool(&again, "sqfstar", script, PUBLISH).ok();
        assert!(root_of(&again) == made, "the same files gave other bytes");
    }
}

#[test]
fn it_is_said_and_kept_that_the_fingerprint_is_another() {
    let given = squashed(&nasty_tarball(), &["-comp", "zstd"]);
    let house = house("rootfs.squashfs", &given);
    let old = fingerprint(&[&Sample::default().metadata(), &given]);
    let ran = house.run(PUBLISH).ok();
    let made = root_of(&house);
    let new = fingerprint(&[&Sample::default().metadata(), &made]);
    assert_eq!(ran.out, format!("Image published with fingerprint: {new}\n"));
    let said = format!("so the image's fingerprint is {new}, not that of the files given, {old}\n");
    assert!(ran.err.contains(&said), "{}", ran.err);
    assert!(ran.err.contains("packed anew for small deltas: the root file has "), "{}", ran.err);
    let info = house.run(&["image", "list", "--format", "json"]).json();
    assert_eq!(info[0]["properties"]["headwater.repacked_from"], old.as_str());
    let audit = house.run(&["audit", "--format", "json"]).json();
    assert_eq!(audit[0]["detail"]["repacked_from"], old.as_str());

    let again = house.run(&[PUBLISH, &["--format", "json"]].concat()).json();
    assert_eq!((&again["already_published"], &again["repacked_from"]), (&true.into(), &old.as_str().into()));
    // Without --repack it is another image.
    let plain = house.run(&["publish", "metadata.tar", "rootfs.squashfs", "--format", "json"]).json();
    assert_eq!((&plain["fingerprint"], &plain["already_published"]), (&old.as_str().into(), &false.into()));
    assert_eq!(plain.get("repacked_from"), None);
}

#[test]
fn what_is_packed_so_already_stays() {
    let given = squashed(&nasty_tarball(), &["-comp", "zstd"]);
    let first = house("rootfs.squashfs", &given);
    first.run(PUBLISH).ok();
    for (root, why) in [
        (root_of(&first), "it is packed for small deltas already"),
        (squashed(&nasty_tarball(), &["-noD"]), "its data are not compressed, which makes deltas as small as they get"),
    ] {
        let second = house("rootfs.squashfs", &root);
        let ran = second.run(PUBLISH).ok();
        assert!(ran.err.contains(&format!("not packed anew: {why}\n")), "{}", ran.err);
        assert_eq!(root_of(&second), root);
    }
    let unified = House::new();
    unified.file("image.tar", &Sample::default().unified());
    let ran = unified.run(&["publish", "image.tar", "--repack"]).ok();
    assert!(ran.err.contains("not packed anew: it is a unified image"), "{}", ran.err);
}

#[test]
fn a_tarball_becomes_a_squashfs_with_the_same_in_it() {
    let mut tarball = nasty_tarball();
    let expected = with_root(&squashed(&tarball, &["-comp", "gzip", "-no-fragments"]), 0o1751, 7, 8, 1_700_000_000);
    let mut root = tar::Header::new_ustar();
    root.set_path("./").unwrap();
    root.set_entry_type(tar::EntryType::Directory);
    root.set_mode(0o1751);
    root.set_uid(7);
    root.set_gid(8);
    root.set_mtime(1_700_000_000);
    root.set_size(0);
    root.set_cksum();
    tarball.splice(0..0, root.as_bytes().iter().copied());
    for (name, bytes) in [
        ("rootfs.tar", tarball.clone()),
        ("rootfs.tar.xz", pack(&tarball, archives::Packing::Xz)),
        ("rootfs.tar.gz", pack(&tarball, archives::Packing::Gzip)),
    ] {
        let house = house(name, &bytes);
        house.run(&["publish", "metadata.tar", name, "--repack", "--public"]).ok();
        let made = root_of(&house);
        assert_same(&expected, &made);
        let packing = Packing::read(&made, made.len() as u64).unwrap();
        assert_eq!((packing.compression, packing.shares_blocks), ("zstd", false), "{name}");
    }
}

#[test]
fn tarballs_in_any_order_and_with_holes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(path("tree/usr/lib")).unwrap();
    std::fs::write(path("tree/usr/lib/b"), "b").unwrap();
    std::fs::hard_link(path("tree/usr/lib/b"), path("tree/a")).unwrap();
    let hole = std::fs::File::create(path("tree/hole")).unwrap();
    std::os::unix::fs::FileExt::write_at(&hole, b"end", 5 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&hole, b"middle", 1 << 20).unwrap();
    drop(hole);
    let tar = |options: &[&str], names: &[&str]| {
        let mut command = std::process::Command::new("tar");
        command.args([
            "-C",
            path("tree").to_str().unwrap(),
            "--mtime=@1000",
            "--owner=5",
            "--group=6",
            "--numeric-owner",
        ]);
        let output = command.args(["--mode=a+rX", "-cf", "-"]).args(options).args(names).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    // `usr` itself is not in it, and the link's other name comes before it.
    let plain = tar(&[], &["usr/lib/b", "a", "hole"]);
    let mut all = Vec::new();
    for tarball in [
        plain,
        tar(&[], &["hole", "a", "usr/lib/b"]),
        tar(&["--sparse"], &["./hole", "./a", "./usr/lib/b"]),
        tar(&["--sparse", "--format=posix"], &["a", "hole", "usr/lib/b"]),
    ] {
        let house = house("rootfs.tar", &tarball);
        house.run(&["publish", "metadata.tar", "rootfs.tar", "--repack"]).ok();
        all.push(root_of(&house));
    }
    assert!(all.iter().all(|root| *root == all[0]), "the order, and how holes are written, make no difference");
    let words: Vec<String> =
        entries(&all[0]).iter().map(|entry| entry.split(", attributes").next().unwrap().to_owned()).collect();
    assert_eq!(
        words,
        [
            "\"\": folder, mode 755, owner 0:0, time 1000",
            "\"a\": file of 1 bytes, mode 644, owner 5:6, time 1000",
            "\"hole\": file of 5242883 bytes, mode 644, owner 5:6, time 1000",
            "\"usr\": folder, mode 755, owner 0:0, time 1000",
            "\"usr/lib\": folder, mode 755, owner 0:0, time 1000",
            "\"usr/lib/b\": hard link to \"a\", mode 644, owner 5:6, time 1000",
        ]
    );
}

#[test]
fn a_tool_that_is_missing_too_old_broken_or_lying() {
    let given = squashed(&nasty_tarball(), &["-comp", "zstd"]);
    let house = house("rootfs.squashfs", &given);
    let refused = |ran: Ran, why: &str| {
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
        assert!(
            ran.err.starts_with("Error: the root file cannot be packed anew: ") && ran.err.contains(why),
            "{}",
            ran.err
        );
        assert_eq!(house.run(&["image", "list", "--format", "json"]).json().as_array().unwrap().len(), 0);
        let staged = std::fs::read_dir(house.data().join("blobs/staging")).unwrap().count();
        assert_eq!(staged, 0, "{why}: staged files are left");
    };
    let mut nowhere = house.command(PUBLISH);
    nowhere.env("PATH", house.folder.path());
    refused(run(nowhere, b""), "sqfstar is not installed; it comes with squashfs-tools 4.5 or newer");
    let old = "cat >/dev/null; echo 'sqfstar version 4.4 (2019/08/29)'";
    refused(
        with_tool(&house, "sqfstar", old, PUBLISH),
        "sqfstar is of version 4.4, and packing anew needs squashfs-tools 4.5",
    );
    let real = "case $1 in -version) exec /usr/bin/sqfstar -version ;; esac\n";
    let broken = format!("{real}cat >/dev/null; echo 'FATAL ERROR: no memory' >&2; exit 1");
    refused(with_tool(&house, "sqfstar", &broken, PUBLISH), "sqfstar failed (exit status: 1: FATAL ERROR: no memory)");
    let deaf = format!("{real}exit 0");
    refused(with_tool(&house, "sqfstar", &deaf, PUBLISH), "sqfstar");
    for (lie, word) in [
        ("\"$@\" bin/su", "entry"),
        ("-no-xattrs \"$@\"", "a link before its folder's files"),
        ("-all-root \"$@\"", "entry"),
        ("-no-hardlinks \"$@\"", "bin/ping"),
    ] {
        let lying = format!("{real}exec /usr/bin/sqfstar {lie}");
        let ran = with_tool(&house, "sqfstar", &lying, PUBLISH);
        assert!(ran.err.contains(word), "{lie}: {}", ran.err);
        refused(ran, "sqfstar has written something else than it was given (");
    }
}

#[test]
fn what_a_stream_cannot_hold_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made");
    std::fs::create_dir(folder.path().join("tree")).unwrap();
    let made = std::process::Command::new("mksquashfs")
        .arg(folder.path().join("tree"))
        .arg(&file)
        .args(["-quiet", "-no-progress", "-b", "1M", "-p", "run d 755 0 0", "-p", "run/odd\\ name i 644 0 0 s"])
        .status();
    assert!(made.unwrap().success());
    let given = std::fs::read(file).unwrap();
    let house = house("rootfs.squashfs", &given);
    house.run(PUBLISH).fails(
        1,
        "\"rootfs.squashfs\" cannot be published: it cannot be packed anew: \"run/odd name\" is a socket, which tar streams cannot hold; \
         sockets are of no use in an image, so remove it, or leave the image packed as it is",
    );
    // A project that packs anew takes it as it is, and says so.
    house.run(&["project", "edit", "default", "--repack", "on"]).ok();
    let ran = house.run(&["publish", "metadata.tar", "rootfs.squashfs"]).ok();
    assert!(ran.err.contains("not packed anew: \"run/odd name\" is a socket"), "{}", ran.err);
    assert_eq!(root_of(&house), given);
}

#[test]
fn a_project_packs_containers_anew_unless_told_otherwise() {
    let given = squashed(&nasty_tarball(), &["-comp", "zstd"]);
    let house = house("rootfs.squashfs", &given);
    house.run(&["project", "create", "team", "--repack", "on"]).ok();
    let old = fingerprint(&[&Sample::default().metadata(), &given]);
    let publish = ["publish", "metadata.tar", "rootfs.squashfs", "--project", "team", "--format", "json"];
    let made = house.run(&publish).json();
    assert_eq!(made["repacked_from"], old.as_str());
    let plain = house.run(&[&publish[..], &["--repack=off"]].concat()).json();
    assert_eq!((&plain["fingerprint"], plain.get("repacked_from")), (&old.as_str().into(), None));
    // A folder is no different; its disk stays as it is, since it would become several times as large.
    house.file("built/incus.tar.xz", &Sample { variant: "cloud", ..Sample::default() }.metadata());
    house.file("built/rootfs.squashfs", &given);
    house.file("built/disk.qcow2", &qcow2());
    let both = house.run(&["publish", "built", "--project", "team", "--format", "json"]).json();
    let told: Vec<_> =
        both.as_array().unwrap().iter().map(|one| (one["type"].clone(), one.get("repacked_from").is_some())).collect();
    assert!(told.contains(&("container".into(), true)) && told.contains(&("virtual-machine".into(), false)), "{both}");
}

#[test]
fn a_disk_is_unpacked_and_stays_the_same_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, disk) = (folder.path().join("raw"), folder.path().join("disk"));
    let content: Vec<u8> = (0..3_000_000u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
    std::fs::write(&raw, &content).unwrap();
    std::fs::File::options().write(true).open(&raw).unwrap().set_len(64 << 20).unwrap();
    let qemu = |words: &[&str]| {
        let done = std::process::Command::new("qemu-img").args(words).output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let name = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    qemu(&["convert", "-f", "raw", "-O", "qcow2", "-c", &name(&raw), &name(&disk)]);
    let given = std::fs::read(&disk).unwrap();
    let publish = ["publish", "metadata.tar", "disk.qcow2", "--repack"];
    let first = house("disk.qcow2", &given);
    let ran = first.run(&publish).ok();
    assert!(ran.err.contains("packed anew for small deltas") && ran.err.contains(" % more)"), "{}", ran.err);
    let made = root_of(&first);
    std::fs::write(&disk, &made).unwrap();
    qemu(&["compare", "-f", "raw", "-F", "qcow2", &name(&raw), &name(&disk)]);
    qemu(&["check", &name(&disk)]);
    let second = house("disk.qcow2", &given);
    second.run(&publish).ok();
    assert!(root_of(&second) == made, "the same disk gave other bytes");
    let third = house("disk.qcow2", &made);
    let ran = third.run(&publish).ok();
    assert!(ran.err.contains("not packed anew: its clusters are not compressed"), "{}", ran.err);
    assert!(root_of(&third) == made);
    let missing = house("disk.qcow2", &given);
    let mut nowhere = missing.command(&publish);
    nowhere.env("PATH", missing.folder.path());
    assert!(run(nowhere, b"").err.contains("qemu-img is not installed; "));
}
