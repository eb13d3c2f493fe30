//! How a squashfs was packed, as far as it decides what a delta to the next one can save.

use super::superblock::Superblock;
use super::unpack::Compressor;
use crate::inspect::InspectError;

/// Blocks that are larger than this change as a whole where little in them does.
const SMALL_BLOCK: u32 = 128 << 10;

/// What the superblock says of the packing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// The name of the compression, as `mksquashfs -comp` takes it.
    pub compression: &'static str,
    /// Bytes of a file that are compressed together.
    pub block_size: u32,
    /// Blocks that hold the tails of many files.
    pub fragments: u32,
}

impl Packing {
    /// Reads the beginning of a squashfs of that many bytes: 96 bytes are enough.
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
        Ok(Self { compression, block_size: superblock.block_size, fragments: superblock.fragments })
    }

    /// Whether the bytes of what did not change are those of the version before: in small blocks, and without tails of files that
    /// are compressed together with those of others.
    pub fn is_good_for_deltas(&self) -> bool {
        self.block_size <= SMALL_BLOCK && self.fragments == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_blocks_and_fragments_are_told() {
        let superblock = |block_log: u16, fragments: u32, compression: u16| {
            let mut bytes = b"hsqs".to_vec();
            [1, 0, 1 << block_log, fragments].iter().for_each(|number: &u32| bytes.extend(number.to_le_bytes()));
            [compression, block_log, 0, 1, 4, 0].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
            for number in [0u64, 4096, 1000, u64::MAX, 200, 300, u64::MAX, u64::MAX] {
                bytes.extend(number.to_le_bytes());
            }
            Packing::read(&bytes, 4096).unwrap()
        };
        let large = superblock(20, 0, 6);
        assert_eq!(large, Packing { compression: "zstd", block_size: 1 << 20, fragments: 0 });
        assert!(!large.is_good_for_deltas());
        assert!(!superblock(17, 3, 4).is_good_for_deltas());
        assert!(superblock(17, 0, 1).is_good_for_deltas());
    }
}
