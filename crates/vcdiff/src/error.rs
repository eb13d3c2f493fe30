//! What can go wrong, as sentences that end with what to do.

use std::io;

/// Why a delta could not be read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading the base failed.
    #[error("the base cannot be read: {0}; see that the file is whole and can be read")]
    Base(#[source] io::Error),
    /// Reading or writing the delta failed.
    #[error("the delta cannot be read or written: {0}; see that the disk works and has room")]
    Delta(#[source] io::Error),
    /// Reading or writing the target failed.
    #[error("the target cannot be read or written: {0}; see that the disk works and has room")]
    Target(#[source] io::Error),
    /// The first bytes are not those of VCDIFF.
    #[error("this is not a delta: it does not begin with the VCDIFF bytes D6 C3 C4; give a file that xdelta3 wrote")]
    NotVcdiff,
    /// A version of the format after RFC 3284's.
    #[error("the delta is of VCDIFF version {0}, and only version 0 (RFC 3284) is known; make it again with xdelta3")]
    Version(u8),
    /// A bit that has no meaning is set in an indicator byte.
    #[error("the delta's {place} indicator is {value:#04x}, which has no meaning; make the delta again with xdelta3")]
    Indicator {
        /// Which of the indicators: header, window or delta.
        place: &'static str,
        /// The whole byte.
        value: u8,
    },
    /// The delta brings a code table of its own.
    #[error("the delta brings a code table of its own, which is not supported; make it with the default code table")]
    CodeTable,
    /// The sections are compressed in a way that is recognised but not decoded.
    #[error(
        "the sections of the delta are compressed with {0}, which is not supported; make it with -S none or -S lzma"
    )]
    Secondary(Secondary),
    /// The delta stops where more must follow.
    #[error("the delta ends inside {0}: it is not complete; fetch or make it again")]
    Truncated(&'static str),
    /// The delta says something that cannot be.
    #[error("window {window} of the delta is damaged: {what}; fetch or make the delta again")]
    Damaged {
        /// Number of the window, from 0.
        window: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A window's bytes do not have the checksum that the delta says.
    #[error(
        "window {window} gives other bytes than the delta was made from: the base is another file, or one of them is damaged; compare the base's hash"
    )]
    Checksum {
        /// Number of the window, from 0.
        window: u64,
    },
    /// The delta reads past the end of the base.
    #[error(
        "the delta reads the base up to byte {needed}, and it has {size}: it was made from another file; find the base that it was made from"
    )]
    BaseTooShort {
        /// The byte up to which the delta reads.
        needed: u64,
        /// How many there are.
        size: u64,
    },
    /// Something is larger than the caller's [`Limits`](crate::Limits) allow.
    #[error("{what} has {size} bytes, and the limit is {limit}; raise the limit if you trust the delta")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it says that it is.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A window copies from the target, which can only be written here.
    #[error("the delta copies from its own output, which cannot be read back here; decode into a file")]
    TargetOnlyWritten,
    /// The threads of the encoder have ended before their work: a mistake in this crate.
    #[error("the threads that make the delta have ended; report this with both files")]
    Ended,
}

/// The secondary compressors that `xdelta3` can be built with, by the number that stands in the delta's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Secondary {
    /// Static Huffman codes (1).
    Djw,
    /// One xz stream for each kind of section (2); the only one that is decoded.
    Lzma,
    /// Adaptive Huffman codes (16).
    Fgk,
    /// A number that `xdelta3` does not use.
    Unknown(u8),
}

impl From<u8> for Secondary {
    fn from(id: u8) -> Self {
        match id {
            1 => Self::Djw,
            2 => Self::Lzma,
            16 => Self::Fgk,
            id => Self::Unknown(id),
        }
    }
}

impl std::fmt::Display for Secondary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Djw => f.write_str("DJW"),
            Self::Lzma => f.write_str("LZMA"),
            Self::Fgk => f.write_str("FGK"),
            Self::Unknown(id) => write!(f, "an unknown compressor (number {id})"),
        }
    }
}
