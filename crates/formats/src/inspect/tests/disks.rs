//! qcow2 disks, as `qemu-img` makes them.

use std::fs;
use std::path::Path;

use super::*;

fn make(folder: &Path, name: &str, arguments: &[&str]) -> Vec<u8> {
    run("qemu-img", arguments, folder);
    fs::read(folder.join(name)).unwrap()
}

fn sound(bytes: &[u8]) {
    assert_eq!(root(bytes).unwrap(), (FileFormat::Qcow2, ImageType::VirtualMachine));
}

#[test]
fn disks_of_every_shape_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    for (index, options) in [
        "compat=1.1",
        "compat=0.10",
        "cluster_size=512",
        "cluster_size=2M",
        "extended_l2=on,cluster_size=128k",
        "compression_type=zstd",
        "preallocation=metadata",
        "lazy_refcounts=on",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("{index}.qcow2");
        sound(&make(folder.path(), &name, &["create", "-q", "-f", "qcow2", "-o", options, &name, "100M"]));
    }
    make(folder.path(), "0.qcow2", &["snapshot", "-c", "before", "0.qcow2"]);
    sound(&fs::read(folder.path().join("0.qcow2")).unwrap());
    sound(&disk());
}

#[test]
fn disks_with_data_are_accepted_whole_and_refused_cut() {
    let folder = tempfile::tempdir().unwrap();
    let mut raw = noise(300_000);
    raw.resize(2_000_000, 0);
    raw.extend(noise(700_000));
    raw.resize(4_000_256, 1);
    fs::write(folder.path().join("raw"), &raw).unwrap();
    for (index, options) in [
        &["-O", "qcow2"][..],
        &["-O", "qcow2", "-c"],
        &["-O", "qcow2", "-o", "compat=0.10"],
        &["-O", "qcow2", "-o", "cluster_size=512"],
        &["-O", "qcow2", "-o", "extended_l2=on"],
        &["-O", "qcow2", "-c", "-o", "compression_type=zstd"],
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("{index}.qcow2");
        let arguments = [&["convert", "-f", "raw"], options, &["raw", &name]].concat();
        let bytes = make(folder.path(), &name, &arguments);
        sound(&bytes);
        for percent in 0..95 {
            let error = why(root(&bytes[..bytes.len() * percent / 100]));
            let early = error.starts_with("the file ends early: ");
            assert!(early || percent == 0, "{options:?} cut to {percent} %: {error}");
        }
    }
}

#[test]
fn disks_that_need_another_file_or_a_key_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), "base", &["create", "-q", "-f", "qcow2", "base", "10M"]);
    let create = ["create", "-q", "-f", "qcow2"];
    let backed = [&create[..], &["-b", "base", "-F", "qcow2", "backed"]].concat();
    assert_eq!(
        why(root(&make(folder.path(), "backed", &backed))),
        "the qcow2 disk has a backing file, which no client would have; make it one file with \"qemu-img convert -O qcow2\""
    );
    let external = [&create[..], &["-o", "data_file=data.raw", "external", "10M"]].concat();
    assert_eq!(
        why(root(&make(folder.path(), "external", &external))),
        "the data of the qcow2 disk is in another file; make it one file with \"qemu-img convert -O qcow2\""
    );
    let secret = ["--object", "secret,id=s,data=abc", "-o", "encrypt.format=luks,encrypt.key-secret=s"];
    let secret = [&create[..], &secret, &["-o", "encrypt.iter-time=10", "secret", "10M"]].concat();
    assert!(why(root(&make(folder.path(), "secret", &secret))).starts_with("the qcow2 disk is encrypted"));
}

#[test]
fn impossible_headers_are_refused() {
    let with = |at: usize, bytes: &[u8]| {
        let mut disk = disk();
        disk[at..at + bytes.len()].copy_from_slice(bytes);
        why(root(&disk))
    };
    for (message, part) in [
        (with(4, &1u32.to_be_bytes()), "the qcow2 disk is of version 1, and clients read 2 and 3"),
        (with(4, &4u32.to_be_bytes()), "the qcow2 disk is of version 4"),
        (with(20, &8u32.to_be_bytes()), "the cluster size"),
        (with(20, &22u32.to_be_bytes()), "the cluster size"),
        (with(24, &u64::MAX.to_be_bytes()), "the tables of the qcow2 disk contradict its header"),
        (with(36, &u32::MAX.to_be_bytes()), "the tables of the qcow2 disk contradict its header"),
        (with(36, &1u32.to_be_bytes()), "the tables of the qcow2 disk contradict its header"),
        (with(40, &77u64.to_be_bytes()), "the tables of the qcow2 disk contradict its header"),
        (with(48, &0u64.to_be_bytes()), "the tables of the qcow2 disk contradict its header"),
        (with(40, &(1u64 << 40).to_be_bytes()), "the file ends early: the qcow2 disk has a table that goes up to byte"),
        (with(56, &u32::MAX.to_be_bytes()), "the file ends early: the qcow2 disk has a table that goes up to byte"),
        (with(79, &[2]), "the qcow2 disk is marked as corrupt; repair it with \"qemu-img check -r all\""),
        (with(79, &[32]), "the qcow2 disk uses features that are not known here"),
        (with(72, &[128]), "the qcow2 disk uses features that are not known here"),
        (with(100, &50u32.to_be_bytes()), "the length of its qcow2 header"),
        (with(3 * 65536 + 3, &[1]), "the file ends early: the qcow2 disk has a table"),
    ] {
        assert!(message.contains(part), "{message}");
    }
}

/// An L1 table of four million entries that all name the same L2 table.
#[test]
fn tables_that_name_each_other_many_times_cost_little() {
    let mut disk = disk();
    let entries = 1u32 << 22;
    disk[36..40].copy_from_slice(&entries.to_be_bytes());
    disk.truncate(3 * 65536);
    let l1: Vec<u8> = (2u64 * 65536).to_be_bytes().repeat(entries as usize);
    disk.extend_from_slice(&l1);
    let start = std::time::Instant::now();
    sound(&disk);
    assert!(start.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn a_large_disk_takes_milliseconds() {
    let folder = tempfile::tempdir().unwrap();
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", "big", "4G"], folder.path());
    let mut file = fs::File::open(folder.path().join("big")).unwrap();
    let size = file.metadata().unwrap().len();
    assert!(size > 4 << 30);
    let start = std::time::Instant::now();
    inspect_root(&mut file, size, &Limits::default()).unwrap();
    assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
}
