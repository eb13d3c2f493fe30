//! How a squashfs was packed, as far as it decides what a delta to the next one can save.

use super::superblock::{SUPERBLOCK_LEN, Superblock};
use super::unpack::Compressor;
use crate::inspect::InspectError;

/// Blocks that are larger than this change as a whole where little in them does.
const SMALL_BLOCK: u32 = 128 << 10;

const FLAG_PLAIN_DATA: u16 = 1 << 1;
const FLAG_NO_FRAGMENTS: u16 = 1 << 4;
const FLAG_EXPORTABLE: u16 = 1 << 7;

/// What the superblock says of the packing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// The name of the compression, as `mksquashfs -comp` takes it.
    pub compression: &'static str,
    /// Bytes of a file that are compressed together.
    pub block_size: u32,
    /// Blocks that hold the tails of many files.
    pub fragments: u32,
    /// Whether ends of files share blocks, or would if it had such.
    pub shares_blocks: bool,
    /// Whether the data of files is compressed.
    pub compressed: bool,
    /// Whether it has a table by which NFS finds files.
    pub exportable: bool,
}

impl Packing {
    /// Bytes at the beginning of a squashfs that tell it.
    pub const HEAD: u64 = SUPERBLOCK_LEN as u64;

    /// Reads the first [`HEAD`](Self::HEAD) bytes of a squashfs that has so many.
    ///
    /// ```
    /// assert!(headwater_formats::inspect::Packing::read(b"hsqs", 4096).is_err(), "it ends too early");
    /// ```
    ///
    /// # Errors
    ///
    /// [`InspectError`] when it is none, or damaged.
    pub fn read(head: &[u8], size: u64) -> Result<Self, InspectError> {
        let superblock = Superblock::read(head, size)?;
        let compression = match superblock.compressor {
            Compressor::Gzip => "gzip",
            Compressor::Lzma => "lzma",
            Compressor::Lzo => "lzo",
            Compressor::Xz => "xz",
            Compressor::Lz4 => "lz4",
            Compressor::Zstd => "zstd",
        };
        let flag = |bit| superblock.flags & bit != 0;
        Ok(Self {
            compression,
            block_size: superblock.block_size,
            fragments: superblock.fragments,
            shares_blocks: !flag(FLAG_NO_FRAGMENTS) || superblock.fragments > 0,
            compressed: !flag(FLAG_PLAIN_DATA),
            exportable: flag(FLAG_EXPORTABLE),
        })
    }

    /// Whether the bytes of what did not change are those of the version before: not compressed; or in small blocks, and without
    /// tails of files that are compressed together with those of others.
    pub fn is_good_for_deltas(&self) -> bool {
        !self.compressed || (self.block_size <= SMALL_BLOCK && self.fragments == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_blocks_and_fragments_are_told() {
        let packed = |block_log: u16, fragments: u32, compression: u16, flags: u16| {
            let mut bytes = b"hsqs".to_vec();
            [1, 0, 1 << block_log, fragments].iter().for_each(|number: &u32| bytes.extend(number.to_le_bytes()));
            [compression, block_log, flags, 1, 4, 0].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
            for number in [0u64, 4096, 1000, u64::MAX, 200, 300, u64::MAX, u64::MAX] {
                bytes.extend(number.to_le_bytes());
            }
            Packing::read(&bytes, 4096).unwrap()
        };
        let superblock = |block_log, fragments, compression| packed(block_log, fragments, compression, FLAG_EXPORTABLE);
        let large = superblock(20, 0, 6);
        assert_eq!((large.compression, large.block_size, large.fragments), ("zstd", 1 << 20, 0));
        assert!(large.shares_blocks && large.compressed && large.exportable);
        assert!(!large.is_good_for_deltas());
        assert!(!superblock(17, 3, 4).is_good_for_deltas());
        assert!(superblock(17, 0, 1).is_good_for_deltas());
        let plain = packed(20, 9, 1, FLAG_PLAIN_DATA);
        assert!(!plain.compressed && plain.shares_blocks && plain.is_good_for_deltas());
        assert!(!packed(17, 0, 1, FLAG_NO_FRAGMENTS).shares_blocks);
    }
}
