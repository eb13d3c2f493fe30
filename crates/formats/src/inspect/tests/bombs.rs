//! Small files that would be large, and what they cost: next to nothing.

use std::io::SeekFrom;
use std::time::{Duration, Instant};

use super::*;

/// Each of these is done in milliseconds; the bound only has to tell that from reading gigabytes.
fn quickly<T>(what: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = what();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "it took {took:?}");
    result
}

/// A packed archive that begins with `head` and goes on with that many MiB of zeros. Every compression here takes the
/// concatenation of two packed files for the concatenation of their contents.
fn with_zeros(head: &[u8], mebibytes: usize, compression: Compression) -> Vec<u8> {
    let zeros = pack(&vec![0; 16 << 20], compression);
    [pack(head, compression), zeros.repeat(mebibytes / 16)].concat()
}

const PACKED: [Compression; 4] = [Compression::Gzip, Compression::Xz, Compression::Bzip2, Compression::Zstd];
const GIB: u64 = 1 << 30;

#[test]
fn a_metadata_yaml_of_a_gibibyte() {
    let head = header("metadata.yaml", tar::EntryType::Regular, GIB);
    for compression in PACKED {
        let file = with_zeros(head.as_bytes(), 1024, compression);
        let expected = "metadata.yaml has 1073741824 bytes, and 1048576 are allowed; take long texts out of it";
        quickly(|| {
            assert_eq!(why(unified(&file)), expected);
            if (file.len() as u64) < Limits::default().metadata_bytes {
                assert_eq!(why(metadata(&file)), expected);
            }
        });
    }
}

#[test]
fn a_huge_file_in_a_metadata_tarball() {
    let head = [entry("metadata.yaml", YAML), header("templates/a", tar::EntryType::Regular, GIB).as_bytes().to_vec()];
    for compression in PACKED {
        let file = with_zeros(&head.concat(), 1024, compression);
        quickly(|| {
            assert_eq!(
                why(metadata(&file)),
                "the metadata tarball unpacks to more than 67,108,864 bytes; a metadata tarball holds metadata.yaml and templates/, nothing else"
            );
        });
    }
}

#[test]
fn zeros_after_the_end_of_a_metadata_tarball() {
    for compression in PACKED {
        let file = with_zeros(&tarball(&[("metadata.yaml", YAML)]), 1024, compression);
        quickly(|| assert!(why(metadata(&file)).starts_with("the metadata tarball unpacks to more than")));
    }
}

#[test]
fn zeros_in_front_of_a_unified_image() {
    let head = header("rootfs/swapfile", tar::EntryType::Regular, 4 * GIB);
    for compression in [Compression::Xz, Compression::Bzip2, Compression::Zstd] {
        let file = with_zeros(head.as_bytes(), 4096, compression);
        quickly(|| {
            assert_eq!(
                why(unified(&file)),
                "the file unpacks to more than 1,000 times its size, as no image does; build it anew, without huge empty files"
            );
        });
    }
    let head = header("rootfs/swapfile", tar::EntryType::Regular, 9 * GIB);
    let file = pack(head.as_bytes(), Compression::Gzip);
    assert_eq!(
        why(unified(&file)),
        "the first 8,589,934,592 bytes of the unpacked archive do not tell what image it is; put metadata.yaml first in the archive, and the root right after it"
    );
}

/// A file whose every 512 bytes are the same.
struct Repeated {
    block: [u8; 512],
    position: u64,
    size: u64,
}

impl Read for Repeated {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let offset = (self.position % 512) as usize;
        let left = usize::try_from(self.size - self.position.min(self.size)).unwrap();
        let length = buf.len().min(512 - offset).min(left);
        buf[..length].copy_from_slice(&self.block[offset..offset + length]);
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for Repeated {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.position = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self.position.checked_add_signed(by).unwrap(),
            SeekFrom::End(by) => self.size.checked_add_signed(by).unwrap(),
        };
        Ok(self.position)
    }
}

#[test]
fn an_archive_of_ten_million_entries() {
    let block = *header("a", tar::EntryType::Regular, 0).as_bytes();
    let mut file = Repeated { block, position: 0, size: 10_000_000 * 512 };
    let size = file.size;
    quickly(|| {
        assert_eq!(
            why(inspect_unified(&mut file, size, &Limits::default())),
            "the archive has more than 1,000,000 entries; put metadata.yaml first in the archive, and the root right after it"
        );
    });
    let many = [block.repeat(20_000), vec![0; 1024]].concat();
    assert_eq!(
        why(metadata(&pack(&many, Compression::Gzip))),
        "the archive has more than 10,000 entries; a metadata tarball holds metadata.yaml and templates/, nothing else"
    );
}

#[test]
fn huge_names_and_attributes() {
    for kind in [tar::EntryType::GNULongName, tar::EntryType::XHeader] {
        let head = header("x", kind, GIB);
        let file = with_zeros(head.as_bytes(), 1024, Compression::Zstd);
        quickly(|| {
            assert_eq!(
                why(unified(&file)),
                "a name or a set of attributes in the archive takes 1,073,741,824 bytes, and 1,048,576 are allowed; build the archive anew"
            );
        });
    }
    // Nobody reads these, so that they are passed over like any content.
    let link = typed("x", tar::EntryType::GNULongLink, &vec![b'x'; 3 << 20]);
    let file = [link, tarball(&[("metadata.yaml", YAML), ("rootfs/", b"")])].concat();
    assert_eq!(unified(&file).unwrap().image_type, ImageType::Container);
}

#[test]
fn impossible_sizes() {
    for size in [u64::MAX, i64::MAX as u64, 1 << 62] {
        let file = [header("a", tar::EntryType::Regular, size).as_bytes().to_vec(), vec![0; 4096]].concat();
        assert!(unified(&file).is_err());
        assert!(unified(&pack(&file, Compression::Zstd)).is_err());
    }
}

#[test]
fn a_file_of_tiny_blocks_is_not_followed_for_ever() {
    // A zstd frame of empty blocks: three bytes each, ten million of them and more.
    let head = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
    let mut file = head.to_vec();
    file.resize(60 << 20, 0);
    quickly(|| assert!(unified(&file).is_err()));
    // An lz4 frame of blocks of one stored byte.
    let mut file = pack(b"", Compression::Lz4);
    file.truncate(7);
    while file.len() < 60 << 20 {
        file.extend_from_slice(&[1, 0, 0, 0x80, 0]);
    }
    quickly(|| assert!(unified(&file).is_err()));
}
