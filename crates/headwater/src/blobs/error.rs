use std::io;

/// Why bytes could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The store is from another release.
    #[error(
        "the blob store has layout {found:?}, this program knows {known:?}; start the headwater that made it, or restore a backup"
    )]
    Layout {
        /// What `VERSION` says.
        found: String,
        /// What this program writes.
        known: String,
    },
    /// No room.
    #[error(
        "the data folder has no space left ({0}); free some, for example with `headwater gc`, or move it to a larger disk"
    )]
    Full(#[source] io::Error),
    /// No right to write or read.
    #[error(
        "the data folder does not let us in ({0}); mend its permissions, or run headwater as the user that owns it"
    )]
    Denied(#[source] io::Error),
    /// A disk that cannot be written.
    #[error("the data folder is on a read-only file system ({0}); mount it writable, or give another one with --data")]
    ReadOnly(#[source] io::Error),
    /// Anything else that the operating system says.
    #[error("the blob store failed: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for BlobError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full(error)
            }
            io::ErrorKind::PermissionDenied => Self::Denied(error),
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(error),
            _ => Self::Io(error),
        }
    }
}

impl From<rustix::io::Errno> for BlobError {
    fn from(errno: rustix::io::Errno) -> Self {
        io::Error::from(errno).into()
    }
}

impl From<BlobError> for io::Error {
    /// For callers whose interface has only [`io::Error`]; the sentence stays.
    fn from(error: BlobError) -> Self {
        let kind = match &error {
            BlobError::Full(source)
            | BlobError::Denied(source)
            | BlobError::ReadOnly(source)
            | BlobError::Io(source) => source.kind(),
            BlobError::Layout { .. } => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
