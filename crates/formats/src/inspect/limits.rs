//! How much of a file is looked at before it is refused. The numbers are far above what real images need, and far
//! below what would make a server notice.

/// Bounds on the work that one file may cause. [`Limits::default`] is right for servers and for the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that a unified image may unpack to before metadata.yaml and the root are both found. Image builders put
    /// metadata.yaml first, so that this is only ever reached by an archive in an unusual order. 8 GiB.
    pub unified_bytes: u64,
    /// Entries of an archive that are looked at before metadata.yaml and the root are both found. 1,000,000.
    pub unified_entries: u64,
    /// Size of a metadata tarball, packed and unpacked: it is read to its end. 64 MiB.
    pub metadata_bytes: u64,
    /// Entries of a metadata tarball. 10,000.
    pub metadata_entries: u64,
    /// How many bytes one compressed byte may unpack to, on the average, once more than [`Limits::ratio_from`] bytes
    /// came out. Real root file systems unpack to 2 to 10 times their size. 1000.
    pub ratio: u64,
    /// Up to this many unpacked bytes the ratio does not matter. 256 MiB.
    pub ratio_from: u64,
    /// Bytes that one name or one set of extended attributes may take in an archive. 1 MiB.
    pub header_bytes: u64,
    /// Bytes of memory that the xz and LZMA decoders may take; `xz -9` needs 65 MiB. 256 MiB.
    pub decoder_memory: u64,
    /// The base-2 logarithm of the largest window that the zstd decoder may be asked for; the `zstd` program's own
    /// default. 27, which is 128 MiB.
    pub zstd_window_log: u32,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            unified_bytes: 8 * 1024 * MIB,
            unified_entries: 1_000_000,
            metadata_bytes: 64 * MIB,
            metadata_entries: 10_000,
            ratio: 1000,
            ratio_from: 256 * MIB,
            header_bytes: MIB,
            decoder_memory: 256 * MIB,
            zstd_window_log: 27,
        }
    }
}

/// What an archive is read for, which decides how much of it is read at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Unified,
    Metadata,
    Root,
}

impl Scope {
    pub(super) fn bytes(self, limits: &Limits) -> u64 {
        match self {
            Self::Unified | Self::Root => limits.unified_bytes,
            Self::Metadata => limits.metadata_bytes,
        }
    }

    pub(super) fn entries(self, limits: &Limits) -> u64 {
        match self {
            Self::Unified | Self::Root => limits.unified_entries,
            Self::Metadata => limits.metadata_entries,
        }
    }

    /// What to do about an archive in which too much stands before what is looked for.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Unified | Self::Root => "put metadata.yaml first in the archive, and the root right after it",
            Self::Metadata => "a metadata tarball holds metadata.yaml and templates/, nothing else",
        }
    }
}
