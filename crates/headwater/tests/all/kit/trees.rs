//! A tree with everything in it that a root file system can have and a tool can lose; and whether two squashfs hold the same.

use std::io::{Cursor, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use headwater_formats::tree::{self, Kind, Tree};

/// What is in the nasty tree, as a tarball without its root: written by the `tar` crate, entry by entry, not by the program.
pub(crate) fn nasty_tarball() -> Vec<u8> {
    let mut tar = Tarball(Vec::new());
    let text = |length: usize, seed: u8| {
        (0..length).map(|at| (at as u8).wrapping_mul(seed) ^ (at >> 7) as u8).collect::<Vec<u8>>()
    };
    tar.add(b"empty folder", b'5', 0o2770, (0, 50), 0, b"", &[], &[]);
    tar.add(b"tmp", b'5', 0o1777, (0, 0), 1, b"", &[], &[("user.note", b"sticky")]);
    tar.add(b"bin", b'5', 0o755, (0, 0), 1_600_000_000, b"", &[], &[]);
    tar.add(b"bin/su", b'0', 0o4755, (0, 0), 1_600_000_001, b"", &text(300_000, 7), &[]);
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let many = [
        ("security.capability", &capability[..]),
        ("trusted.overlay.opaque", b"y"),
        ("user.empty", b""),
        ("user.lines", b"one\ntwo=2\0three"),
    ];
    tar.add(b"bin/ping", b'0', 0o755, (0, 0), u32::MAX, b"", &text(70_001, 3), &many);
    let long = vec![b'v'; 9000];
    tar.add(b"bin/long value", b'0', 0o600, (1, 1), 5, b"", b"x", &[("user.long", &long)]);
    tar.add(b"bin/same long value", b'0', 0o600, (1, 1), 5, b"", b"y", &[("user.long", &long)]);
    tar.add(b"bin/ping again", b'1', 0o755, (0, 0), 9, b"bin/ping", &[], &many);
    tar.add(b"a link before its folder's files", b'1', 0o755, (0, 0), 9, b"bin/ping", &[], &many);
    tar.add(b"dev", b'5', 0o755, (0, 0), 2, b"", &[], &[]);
    tar.device(b"dev/null", b'3', 1, 3);
    tar.device(b"dev/big numbers", b'4', 259, 1_048_575);
    tar.add(b"dev/initctl", b'6', 0o600, (0, 0), 3, b"", &[], &[]);
    tar.add(b"sbin", b'2', 0o777, (0, 0), 4, b"usr/sbin\nodd", &[], &[]);
    tar.add(b"sbin again", b'1', 0o777, (0, 0), 4, b"sbin", &[], &[]);
    tar.add(b"long link", b'2', 0o777, (0, 0), 4, &[b't'; 400], &[], &[]);
    for name in [
        &b"two\nlines"[..],
        b"-rf",
        b"--help",
        b" ",
        b"\xff\xfe",
        b"tab\there",
        b"back\\slash",
        b"'\"$(id)`id`",
        b"*",
        b"\xc3\xa9",
    ] {
        tar.add(name, b'0', 0o644, (1000, 4_294_967_294), 1_650_000_000, b"", name, &[]);
    }
    tar.add(&[b'n'; 255], b'0', 0o000, (2_097_152, 70_000), 8, b"", b"a long name", &[]);
    let mut deep = Vec::new();
    for level in 0..40 {
        deep.extend_from_slice(format!("level {level}").as_bytes());
        tar.add(&deep, b'5', 0o700, (level, level), level, b"", &[], &[]);
        deep.push(b'/');
    }
    deep.extend_from_slice(b"bottom");
    tar.add(&deep, b'0', 0o644, (0, 0), 3, b"", b"deep", &[]);
    let mut sparse = vec![0; 3 << 20];
    sparse[1 << 20..(1 << 20) + 4].copy_from_slice(b"data");
    tar.add(b"sparse", b'0', 0o644, (0, 0), 6, b"", &sparse, &[]);
    tar.add(b"only a hole", b'0', 0o644, (0, 0), 6, b"", &vec![0; 2_000_001], &[]);
    tar.add(b"nothing", b'0', 0o644, (0, 0), 6, b"", b"", &[]);
    for number in 0..600u32 {
        let name = format!("tails/{}{number}", if number.is_multiple_of(2) { "b" } else { "a" });
        if number == 0 {
            tar.add(b"tails", b'5', 0o755, (0, 0), 6, b"", &[], &[]);
        }
        tar.add(
            name.as_bytes(),
            b'0',
            0o644,
            (number, number),
            number,
            b"",
            &text(200 + number as usize * 17, number as u8),
            &[],
        );
    }
    tar.0.extend([0; 1024]);
    tar.0
}

struct Tarball(Vec<u8>);

impl Tarball {
    #[allow(clippy::too_many_arguments, reason = "a line of a table")]
    fn add(
        &mut self,
        name: &[u8],
        kind: u8,
        mode: u32,
        (uid, gid): (u32, u32),
        mtime: u32,
        target: &[u8],
        content: &[u8],
        attributes: &[(&str, &[u8])],
    ) {
        let mut builder = tar::Builder::new(&mut self.0);
        let numbers = [("uid", uid.to_string()), ("gid", gid.to_string())];
        let mut records: Vec<(String, Vec<u8>)> =
            numbers.into_iter().map(|(key, number)| (key.to_owned(), number.into_bytes())).collect();
        records.push(("path".to_owned(), name.to_vec()));
        if !target.is_empty() {
            records.push(("linkpath".to_owned(), target.to_vec()));
        }
        records.extend(attributes.iter().map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.to_vec())));
        builder.append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), value.as_slice()))).unwrap();
        std::mem::forget(builder); // It would write the end of the archive.
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(mtime.into());
        header.set_size(content.len() as u64);
        self.append(header, content);
    }

    fn device(&mut self, name: &[u8], kind: u8, major: u32, minor: u32) {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(0o660);
        header.set_uid(0);
        header.set_gid(6);
        header.set_mtime(77);
        header.set_size(0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.append(header, b"");
    }

    fn append(&mut self, mut header: tar::Header, content: &[u8]) {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }
}

/// A squashfs of a tarball, as builders of images pack it unless other options are given. Its root is owned by who runs
/// the test and as old as it, as old releases of sqfstar have it.
pub(crate) fn squashed(tarball: &[u8], options: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.squashfs");
    let mut command = Command::new("sqfstar");
    command.args(["-quiet", "-no-progress", "-b", "1M"]).args(options).arg(&path).stderr(Stdio::null());
    let mut child = command.stdin(Stdio::piped()).spawn().expect("squashfs-tools are installed: see ./dev setup");
    child.stdin.take().unwrap().write_all(tarball).unwrap();
    assert!(child.wait().unwrap().success());
    std::fs::read(path).unwrap()
}

/// A squashfs without fragments, with another root.
pub(crate) fn with_root(squashfs: &[u8], mode: u16, uid: u32, gid: u32, mtime: u32) -> Vec<u8> {
    let mut file = Cursor::new(squashfs.to_vec());
    let mut owners = std::collections::BTreeSet::from([uid, gid]);
    let mut root = None;
    {
        let mut tree = tree::squashfs(&mut file, squashfs.len() as u64).unwrap();
        while let Some(entry) = tree.next().unwrap() {
            if root.is_some() {
                owners.extend([entry.uid, entry.gid]);
            }
            root.get_or_insert(entry);
        }
    }
    let root = tree::Entry { mode, uid, gid, mtime, ..root.unwrap() };
    let size = tree::set_root(&mut file, squashfs.len() as u64, &root, &owners).unwrap();
    file.get_mut().truncate(size as usize);
    file.into_inner()
}

/// The entries of a squashfs in words, with the sums of their content and attributes.
pub(crate) fn entries(squashfs: &[u8]) -> Vec<String> {
    use sha2::{Digest as _, Sha256};
    let mut file = Cursor::new(squashfs);
    let mut tree = tree::squashfs(&mut file, squashfs.len() as u64).unwrap();
    let mut entries = Vec::new();
    while let Some(entry) = tree.next().unwrap() {
        let mut content = Sha256::new();
        tree.content(&mut |bytes| {
            content.update(bytes);
            Ok(())
        })
        .unwrap();
        entries.push(format!("{} {:?} {:x?}", tree::describe(&entry), entry, content.finalize()));
    }
    entries
}

/// That two squashfs hold the same: every entry, attribute and byte as our own reader sees them, and as `unsquashfs` does.
#[track_caller]
pub(crate) fn assert_same(one: &[u8], other: &[u8]) {
    let (ours, theirs) = (entries(one), entries(other));
    for (one, other) in ours.iter().zip(&theirs) {
        assert_eq!(one, other);
    }
    assert_eq!(ours.len(), theirs.len());
    let (one, other) = (Dumped::of(one), Dumped::of(other));
    assert_eq!(one.listing, other.listing);
    assert!(one.pseudo_file == other.pseudo_file, "what unsquashfs reads out of them differs");
}

/// What squashfs-tools' own reader says of a squashfs: independent of ours.
struct Dumped {
    /// Modes, numbers of owners, sizes, devices, times, names.
    listing: String,
    /// Definitions of all entries, and the content of all files; attributes are not in it.
    pseudo_file: Vec<u8>,
}

impl Dumped {
    fn of(squashfs: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, dump) = (folder.path().join("image"), folder.path().join("dump"));
        std::fs::write(&file, squashfs).unwrap();
        let listing = unsquashfs(&["-lln", "-UTC"], &file);
        unsquashfs(&["-quiet", "-no-progress", "-pf", dump.to_str().unwrap()], &file);
        Self { listing, pseudo_file: std::fs::read(dump).unwrap() }
    }
}

fn unsquashfs(options: &[&str], file: &Path) -> String {
    let output = Command::new("unsquashfs").args(options).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The kinds that are in a squashfs, for a test that nothing nasty was lost before it was looked at.
pub(crate) fn kinds(squashfs: &[u8]) -> std::collections::BTreeMap<&'static str, usize> {
    let mut file = Cursor::new(squashfs);
    let mut tree = tree::squashfs(&mut file, squashfs.len() as u64).unwrap();
    let mut kinds = std::collections::BTreeMap::new();
    while let Some(entry) = tree.next().unwrap() {
        let kind = match entry.kind {
            Kind::Directory => "folder",
            Kind::File(_) => "file",
            Kind::Symlink(_) => "symbolic link",
            Kind::Link(_) => "hard link",
            Kind::Block(..) | Kind::Character(..) => "device",
            Kind::Fifo => "pipe",
            Kind::Socket => "socket",
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}
