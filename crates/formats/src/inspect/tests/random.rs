//! Whatever the bytes are, inspection answers; it never panics, and never takes long.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

fn look(bytes: &[u8]) {
    let limits = Limits { unified_bytes: 64 << 20, unified_entries: 20_000, ..Limits::default() };
    let size = bytes.len() as u64;
    let _ = inspect_unified(&mut Cursor::new(bytes), size, &limits);
    let _ = inspect_metadata(&mut Cursor::new(bytes), size, &limits);
    let _ = inspect_root(&mut Cursor::new(bytes), size, &limits);
    let _ = sniff::describe(bytes);
    // A file that shrinks while it is looked at.
    let _ = inspect_unified(&mut Cursor::new(&bytes[..bytes.len() / 2]), size, &limits);
    let _ = inspect_root(&mut Cursor::new(&bytes[..bytes.len() / 2]), size, &limits);
}

static SOUND: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let long = [b"rootfs/".as_slice(), &[b'x'; 300]].concat();
    let unified = [
        entry("metadata.yaml", YAML),
        typed("pax", tar::EntryType::XHeader, b"21 path=templates/ab\n"),
        entry("x", &noise(700)),
        typed("././@LongLink", tar::EntryType::GNULongName, &long),
        tarball(&[("x", &noise(2000))]),
    ]
    .concat();
    let mut files: Vec<Vec<u8>> = ALL.into_iter().map(|compression| pack(&unified, compression)).collect();
    files.push(disk());
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("image/rootfs")).unwrap();
    std::fs::write(folder.path().join("image/metadata.yaml"), [YAML, &[b'#'; 9000]].concat()).unwrap();
    for compressor in ["gzip", "xz", "zstd", "lz4"] {
        for layout in [&["-b", "4096", "-nopad"][..], &["-noI", "-noD", "-noF", "-b", "4096", "-nopad"]] {
            let options = [&["image", "out", "-quiet", "-no-progress", "-noappend", "-comp", compressor], layout];
            run("mksquashfs", &options.concat(), folder.path());
            files.push(std::fs::read(folder.path().join("out")).unwrap());
        }
    }
    files
});

#[test]
fn the_sound_files_are_sound() {
    for (index, file) in SOUND.iter().enumerate() {
        assert!(unified(file).is_ok() || root(file).is_ok(), "file {index}");
        look(file);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn random_bytes_behind_every_magic(kind in 0usize..10, bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let magic: &[u8] = [
            &b""[..], b"BZh9", &[0x1f, 0x8b, 8, 0], b"\xfd7zXZ\0", &[0x5d, 0, 0], &[0x28, 0xb5, 0x2f, 0xfd],
            &[0x04, 0x22, 0x4d, 0x18], b"hsqs", b"QFI\xfb\0\0\0\x03", b"\0\0",
        ][kind];
        look(&[magic, &bytes].concat());
    }

    #[test]
    fn sound_files_with_some_bytes_changed(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        near in any::<bool>(),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut file = which.get(&SOUND[..]).clone();
        for (at, byte) in changes {
            // Half of the time only where headers are, which is where a change means most.
            let length = if near { file.len().min(128) } else { file.len() };
            let at = at.index(length);
            file[at] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        look(&file);
    }

    /// Changed before it is packed, so that the change gets past the decoder's checksums.
    #[test]
    fn changed_tarballs(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), sums in any::<bool>()) {
        let mut file = SOUND[0].clone();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
            if sums {
                let start = at / 512 * 512;
                let mut header = tar::Header::from_byte_slice(&file[start..start + 512]).clone();
                header.set_cksum();
                file[start..start + 512].copy_from_slice(header.as_bytes());
            }
        }
        look(&file);
        look(&pack(&file, Compression::Zstd));
    }
}
