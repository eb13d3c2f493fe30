//! Why a file was refused: sentences that a person can act on. They never name the file, which the caller knows and
//! puts in front, and never a path.

use std::io;

use crate::metadata::MetadataError;

/// Why a file is no image, or no part of one.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Reading failed: the disk's fault, not the file's.
    #[error("the file cannot be read: {0}")]
    Read(#[source] io::Error),
    /// Another kind of file than is wanted here.
    #[error("this is {found}, not {wanted}")]
    WrongKind {
        /// What it is.
        found: &'static str,
        /// What was wanted, and what to do.
        wanted: &'static str,
    },
    /// Less of the file is there than it says of itself.
    #[error("the file ends early: {0}; copy it again")]
    Truncated(String),
    /// The bytes contradict each other.
    #[error("the file is damaged: {0}; copy it again, or build it anew")]
    Damaged(String),
    /// The file is sound, but it could not be used, or not safely. The sentence says what to do.
    #[error("{0}")]
    Unsupported(String),
    /// The file unpacks to more than an image of its kind has any reason to. The sentence says what to do.
    #[error("{0}")]
    TooBig(String),
    /// No metadata.yaml in a unified image.
    #[error(
        "there is no metadata.yaml in it; if this is only the root file of a split image, give its metadata tarball too"
    )]
    NoMetadataInUnified,
    /// No metadata.yaml in a metadata tarball.
    #[error(
        "there is no metadata.yaml at the top of the metadata tarball; add one with architecture and creation_date"
    )]
    NoMetadata,
    /// A unified image has a metadata.yaml and no root.
    #[error(
        "there is a metadata.yaml in it, but neither rootfs/ nor rootfs.img; if this is only the metadata tarball of a split image, give its root file too"
    )]
    NoRoot,
    /// The metadata tarball of a split image holds a root file system.
    #[error("this metadata tarball also has {0} in it; publish it as a unified image, with no root file")]
    RootInMetadata(&'static str),
    /// The root tarball of a split image is a whole image, or only metadata.
    #[error(
        "this root tarball has metadata.yaml in it; publish a unified image with no other file, and a split one with the metadata tarball first"
    )]
    MetadataInRoot,
    /// metadata.yaml itself is wrong.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl InspectError {
    /// Carries this error through code that only knows [`io::Error`], such as a decoder; [`from_io`] takes it out.
    pub(super) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}

/// What an [`io::Error`] out of a decoder means: the error that was carried through it, or a fault of the data, since
/// [`super::stream::Source`] has wrapped what was the disk's.
pub(super) fn from_io(error: io::Error, what: &'static str) -> InspectError {
    if error.get_ref().is_some_and(|inner| inner.is::<InspectError>()) {
        let inner = error.into_inner().and_then(|inner| inner.downcast::<InspectError>().ok());
        return inner.map_or_else(|| InspectError::Damaged(what.to_owned()), |inner| *inner);
    }
    let lzma = error.get_ref().and_then(|inner| inner.downcast_ref::<liblzma::stream::Error>());
    if matches!(lzma, Some(liblzma::stream::Error::MemLimit)) || error.to_string().contains("too much memory") {
        return InspectError::Unsupported(
            "unpacking this file needs more memory than an image has a reason to need; compress it again with at most \"xz -9\" or \"zstd -19\", without --long".to_owned(),
        );
    }
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return InspectError::Truncated(format!("{what} stops in the middle"));
    }
    InspectError::Damaged(format!("{what} cannot be unpacked ({error})"))
}

/// A number with a comma between thousands: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1000), "1,000");
        assert_eq!(count(18_446_744_073_709_551_615), "18,446,744,073,709,551,615");
    }

    #[test]
    fn an_error_comes_out_of_a_decoder_as_it_went_in() {
        let carried = from_io(InspectError::NoRoot.into_io(), "the gzip data");
        assert!(matches!(carried, InspectError::NoRoot));
        let cut = from_io(io::ErrorKind::UnexpectedEof.into(), "the gzip data");
        assert_eq!(cut.to_string(), "the file ends early: the gzip data stops in the middle; copy it again");
    }
}
