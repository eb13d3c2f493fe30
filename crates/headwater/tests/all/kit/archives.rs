//! Archives made byte by byte, so that they can be wrong in any way.

use std::io::Write;

pub(crate) use tar::EntryType;

/// The compressions that a test can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Xz,
    Zstd,
}

/// Packs bytes. Two packed files one after the other are the concatenation of what is in them.
pub(crate) fn pack(data: &[u8], packing: Packing) -> Vec<u8> {
    match packing {
        Packing::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        Packing::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        Packing::Zstd => {
            // Written piece by piece, so that the frame names its window and not its length.
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// `head`, and that many MiB of `filling` after it, packed.
pub(crate) fn pack_and_fill(head: &[u8], filling: &[u8], mebibytes: usize, packing: Packing) -> Vec<u8> {
    let piece = pack(&filling.repeat((16 << 20) / filling.len()), packing);
    [pack(head, packing), piece.repeat(mebibytes / 16)].concat()
}

/// The header of an entry of a tarball.
pub(crate) fn header(name: &str, kind: EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

/// An entry of that kind, padded.
pub(crate) fn typed(name: &str, kind: EntryType, data: &[u8]) -> Vec<u8> {
    let mut out = header(name, kind, data.len() as u64).as_bytes().to_vec();
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// A file; with a slash at the end of its name, a folder.
pub(crate) fn entry(name: &str, data: &[u8]) -> Vec<u8> {
    typed(name, if name.ends_with('/') { EntryType::Directory } else { EntryType::Regular }, data)
}

/// The two blocks of zeros that end a tarball.
pub(crate) const END: [u8; 1024] = [0; 1024];

/// A tarball of these files and folders.
pub(crate) fn tarball(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out: Vec<u8> = entries.iter().flat_map(|(name, data)| entry(name, data)).collect();
    out.extend_from_slice(&END);
    out
}

/// Bytes that do not compress, always the same.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// The bytes with others put over them at a place.
pub(crate) fn patched(mut bytes: Vec<u8>, at: usize, over: &[u8]) -> Vec<u8> {
    bytes[at..at + over.len()].copy_from_slice(over);
    bytes
}

/// A squashfs of a folder that `make` fills, made by `mksquashfs`.
pub(crate) fn squashed(make: impl FnOnce(&std::path::Path)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::create_dir(&image).unwrap();
    make(&image);
    let output = std::process::Command::new("mksquashfs")
        .args(["image", "out", "-quiet", "-no-progress"])
        .current_dir(folder.path())
        .output()
        .expect("this test needs mksquashfs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(folder.path().join("out")).unwrap()
}
