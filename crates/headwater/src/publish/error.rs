use headwater_formats::digest::Fingerprint;

use crate::blobs::BlobError;
use crate::catalog::CatalogError;

/// Why an image was not published. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The bytes are not an image, or not one that clients could use. `{file}` is the name that the user gave.
    #[error("{file:?} cannot be published: {reason}")]
    Refused {
        /// The file's name.
        file: String,
        /// A sentence.
        reason: String,
    },
    /// The source could not be read.
    #[error("{file:?} cannot be read: {source}")]
    Read {
        /// The file's name.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes are another image than was announced. The words are those of LXD (`lxd/images.go` `getImgPostInfo`).
    #[error("fingerprints don't match, got {found} expected {expected}")]
    Fingerprint {
        /// What it should have been.
        expected: Fingerprint,
        /// What it is.
        found: Fingerprint,
    },
    /// The root file was to be packed anew, and the tools for that are missing or failed. For who runs this machine.
    #[error("the root file cannot be packed anew: {0}")]
    Repack(String),
    /// The bytes could not be stored.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The rows could not be written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl PublishError {
    pub(super) fn refused(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Refused { file: file.into(), reason: reason.into() }
    }

    pub(super) fn read(file: impl Into<String>, source: std::io::Error) -> Self {
        Self::Read { file: file.into(), source }
    }
}
