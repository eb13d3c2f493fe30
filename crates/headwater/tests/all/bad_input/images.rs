//! Bad images, given to `headwater publish`: one row each, with the exact words.
//!
//! Every row is a file alone (`image`), or a metadata tarball (`meta`) with a root file (`root`); what is said of one of them
//! reads `Error: "NAME" cannot be published: WORDS`.

use std::fs;

use super::kit::{Table, run_bounded, stored};
use crate::cli::kit::{House, Sample, qcow2, squashfs};
use crate::kit::archives::{
    END, EntryType, Packing, entry, header, noise, pack, pack_and_fill, patched, squashed, tarball, typed,
};

/// Files to publish, and what is said of which of them.
struct Row {
    what: String,
    files: Vec<(&'static str, Vec<u8>)>,
    of: &'static str,
    words: String,
}

fn alone(what: &str, image: Vec<u8>, words: impl Into<String>) -> Row {
    Row { what: what.into(), files: vec![("image", image)], of: "image", words: words.into() }
}

fn bad_meta(what: &str, meta: Vec<u8>, words: impl Into<String>) -> Row {
    Row { what: what.into(), files: vec![("meta", meta), ("root", squashfs(7))], of: "meta", words: words.into() }
}

fn bad_root(what: &str, root: Vec<u8>, words: impl Into<String>) -> Row {
    let meta = Sample::default().metadata();
    Row { what: what.into(), files: vec![("meta", meta), ("root", root)], of: "root", words: words.into() }
}

/// A metadata tarball with this metadata.yaml.
fn bad_yaml(what: &str, yaml: impl AsRef<[u8]>, words: &str) -> Row {
    bad_meta(what, tarball(&[("metadata.yaml", yaml.as_ref())]), words)
}

const YAML: &[u8] = b"architecture: amd64\ncreation_date: 1704240000\nproperties:\n  os: Debian\n  release: bookworm\n";
const GIB: u64 = 1 << 30;
const ALL: [Packing; 3] = [Packing::Gzip, Packing::Xz, Packing::Zstd];
const DAMAGED: &str = "copy it again, or build it anew";

fn unified() -> Vec<u8> {
    tarball(&[("metadata.yaml", YAML), ("rootfs/", b""), ("rootfs/a", &noise(20_000))])
}

fn half(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len() / 2].to_vec()
}

/// Files that are no image at all, by what they are called.
fn of_other_kinds() -> Vec<Row> {
    let at = |offset: usize, magic: &[u8]| patched(vec![0; 40_000], offset, magic);
    [
        (b"hello, world\n".to_vec(), "a text file"),
        (b"x".to_vec(), "a text file"),
        (b"{\"architecture\": \"x86_64\"}".to_vec(), "a JSON document"),
        (b"<!DOCTYPE html><title>404</title>".to_vec(), "a web page"),
        (b"<?xml version='1.0'?>".to_vec(), "an XML document"),
        (b"#!/bin/sh\n".to_vec(), "a script"),
        (b"-----BEGIN CERTIFICATE-----\n".to_vec(), "a PEM file"),
        (b"-----BEGIN PGP MESSAGE-----\n".to_vec(), "an OpenPGP signature or message"),
        (b"PK\x03\x04 and so on".to_vec(), "a zip archive"),
        (b"7z\xbc\xaf\x27\x1c\0\x04".to_vec(), "a 7z archive"),
        (b"Rar!\x1a\x07\x01\0".to_vec(), "a rar archive"),
        (b"LZIP\x01\x0c".to_vec(), "an lzip file"),
        (b"\x89LZO\0\r\n\x1a\n".to_vec(), "an lzop file"),
        (b"\x02\x21\x4c\x18....".to_vec(), "an lz4 file in the old format"),
        (b"\x1f\x9d\x90".to_vec(), "a file compressed by compress(1)"),
        (b"070701000000".to_vec(), "a cpio archive"),
        (b"!<arch>\ndebian-binary".to_vec(), "a Debian package or an ar archive"),
        (b"\x7fELF\x02\x01\x01".to_vec(), "a program (ELF)"),
        (b"KDMV\x01\0\0\0".to_vec(), "a VMDK disk"),
        (b"conectix\0\0\0\x02".to_vec(), "a VHD disk"),
        (b"vhdxfile".to_vec(), "a VHDX disk"),
        (at(64, b"\x7f\x10\xda\xbe"), "a VirtualBox disk"),
        (at(0x8001, b"CD001"), "an ISO 9660 image"),
        (at(0x438, b"\x53\xef"), "a raw ext4 file system"),
        (at(512, b"EFI PART"), "a raw disk with a GPT partition table"),
        (vec![0; 10_000], "a file of zeros"),
        (patched(noise(10_000), 0, b"\xc0\xc1"), "a file of unknown kind"),
        (b"sqsh\0\0\0\x01".to_vec(), "a big-endian squashfs of an old version"),
    ]
    .into_iter()
    .map(|(bytes, kind)| {
        alone(
            kind,
            bytes,
            format!(
                "this is {kind}, not an image; give a tarball or squashfs with metadata.yaml and a root in it, or a metadata \
                 tarball and a root file"
            ),
        )
    })
    .collect()
}

/// Sound files in the wrong place.
fn misplaced() -> Vec<Row> {
    let meta = || Sample::default().metadata();
    let root = || tarball(&[("etc/hostname", b"debian")]);
    let whole = "publish a unified image with no other file, and a split one with the metadata tarball first";
    vec![
        alone("nothing", vec![], "it is empty; copy it again"),
        bad_meta("nothing as metadata", vec![], "it is empty; copy it again"),
        bad_root("nothing as root", vec![], "it is empty; copy it again"),
        alone(
            "metadata alone",
            meta(),
            "there is a metadata.yaml in it, but neither rootfs/ nor rootfs.img; if this is only the metadata tarball of a \
             split image, give its root file too",
        ),
        alone(
            "a root alone",
            root(),
            "there is no metadata.yaml in it; if this is only the root file of a split image, give its metadata tarball too",
        ),
        alone("a disk alone", qcow2(), "this is a qcow2 disk, not a whole image; give its metadata tarball too"),
        bad_meta(
            "a disk as metadata",
            qcow2(),
            "this is a qcow2 disk, not a metadata tarball; give the metadata tarball first, then the root file",
        ),
        bad_meta(
            "a squashfs as metadata",
            squashfs(1),
            "this is a squashfs file system, not a metadata tarball; give the metadata tarball first, then the root file",
        ),
        bad_meta(
            "a root as metadata",
            root(),
            "there is no metadata.yaml at the top of the metadata tarball; add one with architecture and creation_date; if it \
             is the root file, give the metadata tarball first and this one second",
        ),
        bad_meta(
            "a unified image with a root",
            unified(),
            "this metadata tarball also has rootfs/ in it; publish it as a unified image, with no root file",
        ),
        bad_meta(
            "a unified virtual machine with a root",
            tarball(&[("metadata.yaml", YAML), ("rootfs.img", &qcow2())]),
            "this metadata tarball also has rootfs.img in it; publish it as a unified image, with no root file",
        ),
        bad_root("metadata as root", meta(), format!("this root tarball has metadata.yaml in it; {whole}")),
        bad_root(
            "text as root",
            b"hello\n".to_vec(),
            "this is a text file, not a root file; give a squashfs, a tarball or a qcow2 disk",
        ),
        bad_root("an empty root tarball", pack(&END, Packing::Xz), "the root tarball is empty; build it anew"),
        alone(
            "metadata.yaml twice",
            tarball(&[("metadata.yaml", YAML), ("metadata.yaml", YAML), ("rootfs/", b"")]),
            "there are two metadata.yaml in it; leave one",
        ),
        alone(
            "metadata.yaml above and beside",
            tarball(&[
                ("../metadata.yaml", YAML),
                ("/metadata.yaml", YAML),
                ("a/../metadata.yaml", YAML),
                ("rootfs/", b""),
            ]),
            "there is no metadata.yaml in it; if this is only the root file of a split image, give its metadata tarball too",
        ),
        alone(
            "metadata.yaml is a link",
            [typed("metadata.yaml", EntryType::Symlink, b""), entry("rootfs/", b""), END.to_vec()].concat(),
            "metadata.yaml must be a plain file; build the archive anew, without links and without --sparse",
        ),
        alone(
            "rootfs.img is a raw disk",
            tarball(&[("metadata.yaml", YAML), ("rootfs.img", &patched(vec![0; 4096], 510, b"\x55\xaa"))]),
            "rootfs.img is a raw disk with a boot sector, and clients take only a qcow2 disk; convert it with \"qemu-img convert \
             -O qcow2\"",
        ),
    ]
}

/// Files that end early or hold nonsense.
fn broken() -> Vec<Row> {
    let early = |what: &str| format!("the file ends early: {what}; copy it again");
    let damaged = |what: &str| format!("the file is damaged: {what}; {DAMAGED}");
    let meta = tarball(&[("metadata.yaml", YAML), ("templates/a", &noise(20_000))]);
    let plain = unified();
    let base256 = {
        let mut header = header("metadata.yaml", EntryType::Regular, 0);
        header.as_old_mut().size = [0xff; 12];
        header.set_cksum();
        [header.as_bytes().to_vec(), YAML.to_vec(), vec![0; 2048]].concat()
    };
    let octal = {
        let mut header = header("metadata.yaml", EntryType::Regular, 0);
        header.as_old_mut().size = *b"-0000000001\0";
        header.set_cksum();
        [header.as_bytes().to_vec(), vec![0; 2048]].concat()
    };
    let pax = |record: &[u8]| [typed("pax", EntryType::XHeader, record), unified()].concat();
    let malformed = damaged("in the archive, an extended header (PAX) is malformed");
    let text = b"I am no tarball, whatever you may think of me. ".repeat(30);
    vec![
        alone("half a plain tarball", half(&plain), early("10,272 bytes of it are missing")),
        alone(
            "half an xz image",
            half(&pack(&plain, Packing::Xz)),
            early("the footer of its last xz stream is missing"),
        ),
        alone(
            "half a zstd image",
            half(&pack(&plain, Packing::Zstd)),
            early("its last block promises 10,136 more bytes than there are"),
        ),
        bad_meta("half a gzip tarball", half(&pack(&meta, Packing::Gzip)), early("the gzip data stops in the middle")),
        bad_meta("the head of a tarball", meta[..300].to_vec(), early("it stops in the middle of a file's header")),
        alone("six bytes of xz", b"\xfd7zXZ\0".to_vec(), early("the end of its last xz stream is missing")),
        alone("four bytes of zstd", b"\x28\xb5\x2f\xfd".to_vec(), early("it stops within the header of a block")),
        alone("two bytes of gzip", b"\x1f\x8b".to_vec(), early("the gzip data stops in the middle")),
        alone(
            "bzip2 of nothing",
            b"BZh9nonsense".to_vec(),
            damaged("the bzip2 data cannot be unpacked (bzip2: invalid data)"),
        ),
        alone(
            "lz4 of nothing",
            b"\x04\x22\x4d\x18nonsense".to_vec(),
            early("its last block promises 3 more bytes than there are"),
        ),
        alone(
            "a bit of a gzip file changed",
            {
                let mut packed = pack(&plain, Packing::Gzip);
                packed[40] ^= 0x10;
                packed
            },
            damaged("the gzip data holds no tarball"),
        ),
        alone("text, packed", pack(&text, Packing::Xz), damaged("the xz data holds no tarball")),
        alone(
            "a header with a wrong sum",
            patched(plain.clone(), 1024, b"X"),
            damaged("in the archive, the header after entry 1 has a wrong checksum"),
        ),
        alone("a size of -1, in binary", base256, damaged("in it, entry 1 has an impossible size")),
        alone("a size of -1, in digits", octal, damaged("in it, entry 1 has an impossible size")),
        alone("a size of -1, in an extended header", pax(b"11 size=-1\n"), malformed.clone()),
        alone("a size of 2^64", pax(b"29 size=18446744073709551616\n"), malformed.clone()),
        alone("an extended header longer than itself", pax(b"99 path=x\n"), malformed.clone()),
        alone("an extended header of no length", pax(b"0 path=x\n"), malformed),
        bad_meta(
            "data after the end",
            patched(tarball(&[("metadata.yaml", YAML)]), 1024 + 512, b"x"),
            damaged("in the archive, there is data after its end mark"),
        ),
    ]
}

/// What metadata.yaml says, or does not.
fn yaml() -> Vec<Row> {
    let head = "architecture: x86_64\ncreation_date: 1704240000\n";
    let with = |more: &str| format!("{head}{more}");
    let cannot = "metadata.yaml cannot be read: ";
    let seconds = "write seconds since 1970-01-01 UTC, for example 1704240000";
    let bomb = "metadata.yaml is nested too deeply or refers to itself too often; write it out plainly";
    let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        laughs += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(","));
    }
    let many: String = (0..1025).map(|n| format!("  p{n}: x\n")).collect();
    let unknown = "is no architecture that LXD or Incus knows; known ones are i686, x86_64, armv6l, armv7l, armv8l, aarch64, ppc, \
                   ppc64, ppc64le, s390x, mips, mips64, riscv32, riscv64, loongarch64";
    let row = |what: &str, yaml: String, words: String| bad_yaml(what, yaml, &words);
    vec![
        bad_yaml(
            "an empty metadata.yaml",
            "",
            "metadata.yaml has no architecture; add it, for example \"architecture: x86_64\"",
        ),
        bad_yaml(
            "no architecture",
            "creation_date: 1\n",
            "metadata.yaml has no architecture; add it, for example \"architecture: x86_64\"",
        ),
        row(
            "an unknown architecture",
            "architecture: vax\n".to_owned() + "creation_date: 1\n",
            format!("architecture in metadata.yaml: \"vax\" {unknown}"),
        ),
        row(
            "an architecture with a path in it",
            "architecture: ../../etc\ncreation_date: 1\n".to_owned(),
            format!("architecture in metadata.yaml: \"../../etc\" {unknown}"),
        ),
        bad_yaml(
            "no date",
            "architecture: x86_64\n",
            "metadata.yaml has no creation_date; add it, for example \"creation_date: 1704240000\"",
        ),
        row(
            "a negative date",
            "architecture: x86_64\ncreation_date: -1\n".into(),
            format!("creation_date in metadata.yaml is \"-1\"; {seconds}"),
        ),
        row(
            "a date in words",
            "architecture: x86_64\ncreation_date: yesterday\n".into(),
            format!("creation_date in metadata.yaml is \"yesterday\"; {seconds}"),
        ),
        row(
            "a date of no calendar",
            "architecture: x86_64\ncreation_date: 99999999999999999999\n".into(),
            format!("creation_date in metadata.yaml is \"99999999999999999999\"; {seconds}"),
        ),
        row(
            "an endless expiry",
            with("expiry_date: .inf\n"),
            format!("expiry_date in metadata.yaml is \".inf\"; {seconds}"),
        ),
        bad_yaml(
            "Latin-1",
            b"architecture: x86_64\nproperties: {os: \xe9}\n",
            "metadata.yaml is not written in UTF-8; save it as UTF-8",
        ),
        row("no YAML", with("a: [1,\n"), format!("{cannot}line 3: unclosed bracket '['")),
        row(
            "a list",
            "- a\n- b\n".into(),
            format!("{cannot}line 1: this must be a mapping; write one \"name: value\" on each line below it"),
        ),
        row(
            "a list as a property",
            with("properties:\n  os: [a, b]\n"),
            format!("{cannot}line 4: \"os\": this must be one text, not a list or a mapping; put it in quotes"),
        ),
        row(
            "a name twice",
            with("properties:\n  os: a\n  os: b\n"),
            format!("{cannot}line 5: this name stands there twice; leave one"),
        ),
        row(
            "two documents",
            with("---\na: b\n"),
            format!("{cannot}line 4: there is more than one document in it; take the second \"---\" out"),
        ),
        row(
            "a NUL in a property",
            with("properties: {os: \"a\\0b\"}\n"),
            format!("{cannot}line 3: \"os\": a text holds a NUL character; take it out"),
        ),
        row(
            "a NUL in a name",
            with("properties: {\"o\\0s\": a}\n"),
            format!("{cannot}line 3: a text holds a NUL character; take it out"),
        ),
        row(
            "an over-long value",
            with(&format!("properties:\n  os: {}\n", "x".repeat(65_537))),
            format!("{cannot}line 4: \"os\": a text has 65537 bytes, and 65536 are allowed; shorten it"),
        ),
        row(
            "an over-long name",
            with(&format!("properties:\n  ? {}\n  : x\n", "n".repeat(1025))),
            format!("{cannot}line 4: a name has 1025 bytes, and 1024 are allowed; shorten it"),
        ),
        row(
            "too many properties",
            with(&format!("properties:\n{many}")),
            format!("{cannot}line 4: there are more than 1024 entries in a mapping; leave some out"),
        ),
        bad_yaml("a billion laughs", with(&laughs), bomb),
        bad_yaml("a deep nest", with(&format!("a: {}", "[".repeat(100_000))), bomb),
        row(
            "an unknown reference",
            with("a: *nowhere\n"),
            format!(
                "{cannot}line 3: \"*\" and a name stand for a text that is marked with \"&\" and that name, and none is; put it in quotes"
            ),
        ),
        bad_yaml(
            "a metadata.yaml of 1 MiB and a byte",
            [head.as_bytes(), &vec![b'#'; (1 << 20) + 1 - head.len()]].concat(),
            "metadata.yaml has 1048577 bytes, and 1048576 are allowed; take long texts out of it",
        ),
    ]
}

/// Small files that would be large.
fn bombs() -> Vec<Row> {
    let mut rows = Vec::new();
    let ratio =
        "the file unpacks to more than 1,000 times its size, as no image does; build it anew, without huge empty files";
    let memory = "unpacking this file needs more memory than an image has a reason to need; compress it again with at most \
                  \"xz -9\" or \"zstd -19\", without --long";
    for packing in ALL {
        let head = header("metadata.yaml", EntryType::Regular, GIB);
        rows.push(alone(
            &format!("a metadata.yaml of 1 GiB in {packing:?}"),
            pack_and_fill(head.as_bytes(), &[0], 1024, packing),
            "metadata.yaml has 1073741824 bytes, and 1048576 are allowed; take long texts out of it",
        ));
        let head =
            [entry("metadata.yaml", YAML), header("templates/a", EntryType::Regular, GIB).as_bytes().to_vec()].concat();
        rows.push(bad_meta(
            &format!("a template of 1 GiB in {packing:?}"),
            pack_and_fill(&head, &[0], 1024, packing),
            "the metadata tarball unpacks to more than 67,108,864 bytes; a metadata tarball holds metadata.yaml and templates/, \
             nothing else",
        ));
    }
    for packing in [Packing::Xz, Packing::Zstd] {
        let head = header("rootfs/swapfile", EntryType::Regular, 4 * GIB);
        rows.push(alone(
            &format!("4 GiB of zeros before metadata.yaml in {packing:?}"),
            pack_and_fill(head.as_bytes(), &[0], 4096, packing),
            ratio,
        ));
    }
    let head = header("rootfs/swapfile", EntryType::Regular, 9 * GIB);
    rows.push(alone(
        "9 GiB before metadata.yaml",
        pack(head.as_bytes(), Packing::Gzip),
        "the first 8,589,934,592 bytes of the unpacked archive do not tell what image it is; put metadata.yaml first in the \
         archive, and the root right after it",
    ));
    let block = *header("a", EntryType::Regular, 0).as_bytes();
    rows.push(alone("an archive of a million entries", pack_and_fill(&block, &block, 512, Packing::Zstd), ratio));
    rows.push(bad_meta(
        "a metadata tarball of ten thousand entries",
        pack(&[block.repeat(10_001), END.to_vec()].concat(), Packing::Gzip),
        "the archive has more than 10,000 entries; a metadata tarball holds metadata.yaml and templates/, nothing else",
    ));
    for (what, kind) in [("a name", EntryType::GNULongName), ("attributes", EntryType::XHeader)] {
        rows.push(alone(
            &format!("{what} of 1 GiB"),
            pack_and_fill(header("x", kind, GIB).as_bytes(), b"x", 1024, Packing::Zstd),
            "a name or a set of attributes in the archive takes 1,073,741,824 bytes, and 1,048,576 are allowed; build the archive \
             anew",
        ));
    }
    // The first header of a block says how much memory its dictionary takes: the byte 40 is 4 GiB.
    let xz = {
        let mut packed = pack(&unified(), Packing::Xz);
        let length = (usize::from(packed[12]) + 1) * 4;
        let at = packed[12..12 + length].windows(2).position(|pair| pair == [0x21, 1]).unwrap() + 12 + 2;
        packed[at] = 40;
        let mut sum = flate2::Crc::new();
        sum.update(&packed[12..12 + length - 4]);
        patched(packed, 12 + length - 4, &sum.sum().to_le_bytes())
    };
    rows.push(alone("xz with a dictionary of 4 GiB", xz, memory));
    let lzma = [&b"\x5d\0\0\xff\xff"[..], &[0xff; 8], &[0; 100]].concat();
    rows.push(alone("lzma with a dictionary of 4 GiB", lzma, memory));
    // The window of a zstd frame: exponent 21 is 2 GiB.
    rows.push(alone("zstd with a window of 2 GiB", patched(pack(&unified(), Packing::Zstd), 5, &[21 << 3]), memory));
    rows
}

/// Disks that no client could start.
fn disks() -> Vec<Row> {
    let with = |at: usize, over: &[u8]| patched(qcow2(), at, over);
    let damaged = |what: &str| format!("the file is damaged: {what}; {DAMAGED}");
    let contradict = damaged("the tables of the qcow2 disk contradict its header");
    let convert = "convert it with \"qemu-img convert -O qcow2\"";
    let early = |what: &str| format!("the file ends early: {what}; copy it again");
    vec![
        bad_root(
            "four bytes of a disk",
            b"QFI\xfb".to_vec(),
            format!("the qcow2 disk is of version 0, and clients read 2 and 3; {convert}"),
        ),
        bad_root(
            "a disk cut in its header",
            qcow2()[..80].to_vec(),
            early("it stops within the header of the qcow2 disk"),
        ),
        bad_root(
            "a disk of version 4",
            with(4, &4u32.to_be_bytes()),
            format!("the qcow2 disk is of version 4, and clients read 2 and 3; {convert}"),
        ),
        bad_root(
            "a disk with a backing file",
            with(8, &200u64.to_be_bytes()),
            "the qcow2 disk has a backing file, which no client would have; make it one file with \"qemu-img convert -O qcow2\"",
        ),
        bad_root(
            "a disk with its data elsewhere",
            with(79, &[4]),
            "the data of the qcow2 disk is in another file; make it one file with \"qemu-img convert -O qcow2\"",
        ),
        bad_root(
            "an encrypted disk",
            with(32, &1u32.to_be_bytes()),
            "the qcow2 disk is encrypted, and no client would have its key; decrypt it with \"qemu-img convert\"",
        ),
        bad_root(
            "a corrupt disk",
            with(79, &[2]),
            "the qcow2 disk is marked as corrupt; repair it with \"qemu-img check -r all\"",
        ),
        bad_root(
            "a disk of the future",
            with(72, &[128]),
            "the qcow2 disk uses features that are not known here; convert it with \"qemu-img convert -O qcow2 -o compat=1.1\"",
        ),
        bad_root(
            "clusters of 2^255 bytes",
            with(20, &255u32.to_be_bytes()),
            damaged("the cluster size of the qcow2 disk is impossible"),
        ),
        bad_root("a size of -1", with(24, &u64::MAX.to_be_bytes()), contradict.clone()),
        bad_root("a table of 2^32 entries", with(36, &u32::MAX.to_be_bytes()), contradict.clone()),
        bad_root("a table at no cluster", with(40, &77u64.to_be_bytes()), contradict),
        bad_root(
            "a table far outside",
            with(40, &(1u64 << 40).to_be_bytes()),
            early("the qcow2 disk has a table that goes up to byte 1,099,511,627,784, and there are 262,144"),
        ),
        bad_root(
            "a disk cut in its tables",
            qcow2()[..150_000].to_vec(),
            early("the qcow2 disk has a table that goes up to byte 196,616, and there are 150,000"),
        ),
    ]
}

/// File systems that no kernel could read, and whole ones with the wrong things in them.
fn file_systems() -> Vec<Row> {
    let with = |at: usize, over: &[u8]| patched(squashfs(7), at, over);
    let damaged = |what: &str| format!("the file is damaged: the squashfs superblock {what}; {DAMAGED}");
    let outside = damaged("points to a table outside of the file system");
    let early = |what: &str| format!("the file ends early: {what}; copy it again");
    let make = |yaml: &[u8], more: fn(&std::path::Path)| {
        squashed(|folder| {
            fs::write(folder.join("metadata.yaml"), yaml).unwrap();
            more(folder);
        })
    };
    vec![
        bad_root("four bytes of a squashfs", b"hsqs".to_vec(), early("it stops within the squashfs superblock")),
        bad_root("half a squashfs", half(&squashfs(7)), early("its superblock promises 4,096 bytes, there are 2,048")),
        bad_root(
            "a squashfs of -1 bytes",
            with(40, &u64::MAX.to_le_bytes()),
            early("its superblock promises 18,446,744,073,709,551,615 bytes, there are 4,096"),
        ),
        bad_root(
            "a squashfs in a compression that is none",
            with(20, &9u16.to_le_bytes()),
            damaged("names compression 9, which does not exist"),
        ),
        bad_root("blocks of no bytes", with(12, &0u32.to_le_bytes()), damaged("has an impossible block size")),
        bad_root(
            "a squashfs of version 3",
            with(28, &3u16.to_le_bytes()),
            "the squashfs is of version 3.0, and Linux reads 4.0; make it anew with mksquashfs",
        ),
        bad_root("an inode table outside", with(64, &5000u64.to_le_bytes()), outside.clone()),
        bad_root("tables that overlap", with(72, &100u64.to_le_bytes()), outside.clone()),
        bad_root("an id table at -2", with(48, &(u64::MAX - 1).to_le_bytes()), outside),
        alone(
            "a squashfs without metadata.yaml",
            squashed(|folder| fs::create_dir(folder.join("rootfs")).unwrap()),
            "there is no metadata.yaml in it; if this is only the root file of a split image, give its metadata tarball too",
        ),
        alone(
            "a squashfs without a root",
            make(YAML, |_| {}),
            "there is a metadata.yaml in it, but neither rootfs/ nor rootfs.img; if this is only the metadata tarball of a split \
             image, give its root file too",
        ),
        alone(
            "a squashfs whose metadata.yaml is a link",
            squashed(|folder| {
                std::os::unix::fs::symlink("/etc/shadow", folder.join("metadata.yaml")).unwrap();
                fs::create_dir(folder.join("rootfs")).unwrap();
            }),
            "metadata.yaml must be a plain file; build the archive anew, without links and without --sparse",
        ),
        alone(
            "a squashfs with two roots",
            make(YAML, |folder| {
                fs::create_dir(folder.join("rootfs")).unwrap();
                fs::write(folder.join("rootfs.img"), qcow2()).unwrap();
            }),
            "there are both rootfs and rootfs.img in it; leave the one that is the root",
        ),
        alone(
            "a squashfs whose rootfs is a file",
            make(YAML, |folder| fs::write(folder.join("rootfs"), "x").unwrap()),
            "rootfs must be a folder; build the squashfs anew",
        ),
        alone(
            "a squashfs with a metadata.yaml of 1 GiB",
            squashed(|folder| {
                fs::File::create(folder.join("metadata.yaml")).unwrap().set_len(GIB).unwrap();
                fs::create_dir(folder.join("rootfs")).unwrap();
            }),
            "metadata.yaml has 1073741824 bytes, and 1048576 are allowed; take long texts out of it",
        ),
        alone(
            "a squashfs with an unknown architecture",
            make(b"architecture: vax\ncreation_date: 1\n", |folder| fs::create_dir(folder.join("rootfs")).unwrap()),
            "architecture in metadata.yaml: \"vax\" is no architecture that LXD or Incus knows; known ones are i686, x86_64, armv6l, \
             armv7l, armv8l, aarch64, ppc, ppc64, ppc64le, s390x, mips, mips64, riscv32, riscv64, loongarch64",
        ),
    ]
}

#[test]
fn bad_images_are_refused_in_words_and_leave_nothing() {
    let house = House::new();
    house.publish(&Sample::default(), &["--alias", "good", "--public"]);
    let before = stored(&house);
    let mut table = Table::new([house.folder.path().display().to_string()]);
    for rows in [of_other_kinds, misplaced, broken, yaml, bombs, disks, file_systems] {
        for Row { what, files, of, words } in rows() {
            let mut arguments = vec!["publish", "--public", "--alias", "bad"];
            for (name, bytes) in &files {
                house.file(name, bytes);
                arguments.push(name);
            }
            let ran = table.row(&what, || run_bounded(&house, &arguments, b""));
            let expected = format!("Error: \"{of}\" cannot be published: {words}\n");
            table.same(&what, (ran.code, ran.out.as_str(), ran.err.as_str()), (Some(1), "", expected.as_str()));
            table.discreet(&what, &ran.err);
        }
    }
    assert_eq!(stored(&house), before, "something was changed");
    house.run(&["gc", "--grace", "0s"]).ok();
    assert_eq!(stored(&house), before, "something was left to sweep");
    house.run(&["verify"]).ok();
    table.end(130);
}
