//! Bad folders, as careless builders leave them, and things that are no files, given to `headwater publish`.

use std::fs;

use super::kit::{Table, run_bounded, stored};
use crate::cli::kit::{House, Sample, fingerprint, qcow2, squashfs};

#[test]
fn bad_folders_are_refused_in_words_and_leave_nothing() {
    let house = House::new();
    house.publish(&Sample::default(), &["--alias", "good", "--public"]);
    let before = stored(&house);
    let (meta, root) = (Sample { serial: "20250202_07:42", ..Sample::default() }.metadata(), squashfs(3));
    let other = Sample { serial: "20250203_07:42", ..Sample::default() }.metadata();
    let zeros = "0".repeat(64);
    let sum = fingerprint(&[&root]);
    let mut table = Table::new([house.folder.path().display().to_string()]);
    let sums = |line: &str| format!("{zeros}  other\n{line}\n").into_bytes();
    for (what, files, options, expected) in [
        (
            "no image",
            vec![("README", b"x".to_vec())],
            &[][..],
            "\"out\" cannot be published: there is no image in this folder; an image is a metadata tarball (incus.tar.xz, \
             lxd.tar.xz, metadata.tar.xz) with a root file (rootfs.squashfs, rootfs.tar.xz, disk.qcow2), or one unified tarball"
                .to_owned(),
        ),
        (
            "several tarballs",
            vec![("a.tar.xz", meta.clone()), ("b.tar.gz", meta.clone())],
            &[],
            "\"out\" cannot be published: there are several tarballs in this folder (a.tar.xz, b.tar.gz), and no telling which is \
             the image; give one of them"
                .to_owned(),
        ),
        (
            "a root without metadata",
            vec![("disk.qcow2", qcow2())],
            &[],
            "\"out\" cannot be published: there is a root file (disk.qcow2), but no metadata tarball (incus.tar.xz, lxd.tar.xz or \
             metadata.tar.xz) beside it; add one"
                .to_owned(),
        ),
        (
            "metadata without a root",
            vec![("lxd.tar.xz", meta.clone())],
            &[],
            "\"out\" cannot be published: there is a metadata tarball (lxd.tar.xz), but no root file (rootfs.squashfs, \
             rootfs.tar.xz or disk.qcow2) beside it; add one"
                .to_owned(),
        ),
        (
            "two kinds of metadata",
            vec![("lxd.tar.xz", meta.clone()), ("incus.tar.xz", other), ("rootfs.squashfs", root.clone())],
            &[],
            "\"out\" cannot be published: there are several metadata tarballs (incus.tar.xz, lxd.tar.xz) that differ, and no telling \
             which is meant; give the files one by one"
                .to_owned(),
        ),
        (
            "sums that are none",
            vec![("lxd.tar.xz", meta.clone()), ("rootfs.squashfs", root.clone()), ("SHA256SUMS", sums("-1  rootfs.squashfs"))],
            &[],
            "\"out/SHA256SUMS\" cannot be published: line 2 is not a SHA-256 value and a file name; write it with sha256sum".to_owned(),
        ),
        (
            "sums in another encoding",
            vec![("lxd.tar.xz", meta.clone()), ("rootfs.squashfs", root.clone()), ("SHA256SUMS", b"\xff\xfe0\0".to_vec())],
            &[],
            "\"out/SHA256SUMS\" cannot be published: it is not written in UTF-8; write it with sha256sum".to_owned(),
        ),
        (
            "endless sums",
            vec![("lxd.tar.xz", meta.clone()), ("rootfs.squashfs", root.clone()), ("SHA256SUMS", sums("").repeat(20_000))],
            &[],
            "\"out/SHA256SUMS\" cannot be published: it has more than 1 MiB; write it with sha256sum, for the files beside it"
                .to_owned(),
        ),
        (
            "a sum that does not fit",
            vec![
                ("lxd.tar.xz", meta.clone()),
                ("rootfs.squashfs", root.clone()),
                ("SHA256SUMS", sums(&format!("{zeros}  rootfs.squashfs"))),
            ],
            &[],
            format!(
                "\"out/rootfs.squashfs\" cannot be published: its SHA-256 is {sum}, and SHA256SUMS beside it says {zeros}; copy or \
                 build the folder again"
            ),
        ),
        (
            "an alias for two images",
            vec![("lxd.tar.xz", meta.clone()), ("rootfs.squashfs", root.clone()), ("disk.qcow2", qcow2())],
            &["--alias", "bad"],
            "\"out\" cannot be published: it holds 2 images, and an alias leads to one; publish them file by file, or without an \
             alias"
                .to_owned(),
        ),
        (
            "a good image and a bad one",
            vec![("lxd.tar.xz", meta.clone()), ("disk.qcow2", qcow2()), ("rootfs.squashfs", b"hsqs".to_vec())],
            &[],
            "\"out/rootfs.squashfs\" cannot be published: the file ends early: it stops within the squashfs superblock; copy it \
             again"
                .to_owned(),
        ),
        (
            "a folder as root file",
            vec![("lxd.tar", meta.clone())],
            &["out/lxd.tar", "out"],
            "\"out\" cannot be published: it is a folder where a file was wanted; give the files in it, or the folder alone".to_owned(),
        ),
        (
            "a file that is not there",
            vec![],
            &["out/../../etc/nothing"],
            "\"out/../../etc/nothing\" cannot be read: No such file or directory (os error 2)".to_owned(),
        ),
        (
            "a project that is not there",
            vec![("lxd.tar.xz", meta.clone()), ("rootfs.squashfs", root.clone())],
            &["--project", "nowhere"],
            "there is no project \"nowhere\"; `headwater project list` shows the ones there are".to_owned(),
        ),
    ] {
        let folder = house.folder.path().join("out");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        for (name, bytes) in files {
            house.file(&format!("out/{name}"), &bytes);
        }
        let mut arguments = vec!["publish"];
        arguments.extend(options);
        if options.first().is_none_or(|first| first.starts_with("--")) {
            arguments.push("out");
        }
        let ran = table.row(what, || run_bounded(&house, &arguments, b""));
        let expected = format!("Error: {expected}\n");
        table.same(what, (ran.code, ran.out.as_str(), ran.err.as_str()), (Some(1), "", expected.as_str()));
        table.discreet(what, &ran.err);
    }
    table.same("what is stored", stored(&house), before);
    table.end(14);
}
