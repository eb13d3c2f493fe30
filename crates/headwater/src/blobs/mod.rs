//! Bytes by their digest: stage, commit, open, stat, delete, list.
//!
//! ```no_run
//! # fn example() -> Result<(), headwater::blobs::BlobError> {
//! use std::io::Write;
//! use headwater::blobs::Blobs;
//!
//! let blobs = Blobs::open("data/blobs")?;
//! let mut staged = blobs.stage()?;
//! staged.write_all(b"hello")?;
//! let placed = staged.commit()?; // durable under its digest from here on
//! # Ok(()) }
//! ```
//!
//! A blob is written to a staging file, hashed on the way, synced, renamed to the name that its digest gives it, and the
//! folder is synced. Dropping a staged blob without committing it means that nothing happened. All calls block: callers
//! that are async go through `spawn_blocking`.
//!
//! This room knows nothing of images, of the catalog, or of who may read what. Only `layout.rs` knows a path.

use std::path::Path;

use headwater_formats::digest::Digest;

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
    /// The operating system said no.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The store: a handle that can be cloned and shared.
#[derive(Debug, Clone)]
pub struct Blobs {}

/// A blob that is open for reading at any offset ([`std::os::unix::fs::FileExt`]). It stays readable when the blob is deleted meanwhile.
#[derive(Debug)]
pub struct OpenBlob {
    /// The file.
    pub file: std::fs::File,
    /// Its length in bytes.
    pub size: u64,
}

impl Blobs {
    /// Opens the store in this folder, making it when it is missing.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, BlobError> {
        let _ = folder;
        unimplemented!()
    }

    /// Opens a blob; `None` when there is none with this digest.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<OpenBlob>, BlobError> {
        let _ = digest;
        unimplemented!()
    }
}
