//! Images of every kind, whole and broken, as inspection sees them.

mod bombs;
mod disks;
mod file_systems;
mod random;
mod tarballs;

use std::io::{Cursor, Write};

use super::*;

pub(super) const YAML: &[u8] =
    b"architecture: amd64\ncreation_date: 1704240000\nproperties:\n  os: Debian\n  release: 12\n";

pub(super) const ALL: [Compression; 7] = [
    Compression::None,
    Compression::Gzip,
    Compression::Xz,
    Compression::Lzma,
    Compression::Bzip2,
    Compression::Zstd,
    Compression::Lz4,
];

/// Bytes that do not compress.
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

pub(super) fn header(name: &str, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

/// One entry as it stands in a tarball. A name with a slash at its end is a folder.
pub(super) fn entry(name: &str, data: &[u8]) -> Vec<u8> {
    let kind = if name.ends_with('/') { tar::EntryType::Directory } else { tar::EntryType::Regular };
    typed(name, kind, data)
}

pub(super) fn typed(name: &str, kind: tar::EntryType, data: &[u8]) -> Vec<u8> {
    let mut out = header(name, kind, data.len() as u64).as_bytes().to_vec();
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

pub(super) fn tarball(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out: Vec<u8> = entries.iter().flat_map(|(name, data)| entry(name, data)).collect();
    out.extend_from_slice(&[0; 1024]);
    out
}

pub(super) fn pack(data: &[u8], compression: Compression) -> Vec<u8> {
    use liblzma::stream::{LzmaOptions, Stream as Lzma};
    fn all<W: Write>(mut encoder: W, data: &[u8]) -> W {
        encoder.write_all(data).unwrap();
        encoder
    }
    match compression {
        Compression::None => data.to_vec(),
        Compression::Gzip => {
            let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            all(encoder, data).finish().unwrap()
        }
        Compression::Xz => all(liblzma::write::XzEncoder::new(Vec::new(), 1), data).finish().unwrap(),
        Compression::Lzma => {
            let stream = Lzma::new_lzma_encoder(&LzmaOptions::new_preset(6).unwrap()).unwrap();
            all(liblzma::write::XzEncoder::new_stream(Vec::new(), stream), data).finish().unwrap()
        }
        Compression::Bzip2 => {
            all(bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast()), data).finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(data, 1).unwrap(),
        Compression::Lz4 => all(lz4_flex::frame::FrameEncoder::new(Vec::new()), data).finish().unwrap(),
    }
}

pub(super) fn unified(bytes: &[u8]) -> Result<Inspected, InspectError> {
    inspect_unified(&mut Cursor::new(bytes), bytes.len() as u64, &Limits::default())
}

pub(super) fn metadata(bytes: &[u8]) -> Result<(Metadata, FileFormat), InspectError> {
    inspect_metadata(&mut Cursor::new(bytes), bytes.len() as u64, &Limits::default())
}

pub(super) fn root(bytes: &[u8]) -> Result<(FileFormat, ImageType), InspectError> {
    inspect_root(&mut Cursor::new(bytes), bytes.len() as u64, &Limits::default())
}

/// The sentence of a refusal.
pub(super) fn why<T: std::fmt::Debug>(result: Result<T, InspectError>) -> String {
    result.unwrap_err().to_string()
}

/// A qcow2 disk of one GiB with nothing in it: header, refcount table and block, L1 table.
pub(super) fn disk() -> Vec<u8> {
    const CLUSTER: usize = 65536;
    let mut disk = vec![0; 4 * CLUSTER];
    let mut put = |at: usize, bytes: &[u8]| disk[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
    put(4, &3u32.to_be_bytes());
    put(20, &16u32.to_be_bytes());
    put(24, &(1u64 << 30).to_be_bytes());
    put(36, &2u32.to_be_bytes());
    put(40, &(3 * CLUSTER as u64).to_be_bytes());
    put(48, &(CLUSTER as u64).to_be_bytes());
    put(56, &1u32.to_be_bytes());
    put(96, &4u32.to_be_bytes());
    put(100, &104u32.to_be_bytes());
    put(CLUSTER, &(2 * CLUSTER as u64).to_be_bytes());
    disk
}

/// Runs a program of the system, which the tests need.
pub(super) fn run(program: &str, arguments: &[&str], folder: &std::path::Path) {
    let output = std::process::Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
