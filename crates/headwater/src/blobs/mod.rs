//! Bytes by their digest: stage, commit, open, stat, delete, list.
//!
//! ```
//! # fn example(folder: &std::path::Path) -> Result<(), headwater::blobs::BlobError> {
//! use std::io::Write;
//! use headwater::blobs::Blobs;
//!
//! let blobs = Blobs::open(folder)?;
//! let mut staged = blobs.stage()?;
//! staged.write_all(b"hello")?;
//! let placed = staged.commit()?; // durable under its digest from here on
//! assert_eq!(blobs.stat(&placed.digest())?, Some(5));
//! # Ok(()) }
//! # example(tempfile::tempdir().unwrap().path()).unwrap();
//! ```
//!
//! # Why a blob under its name is whole
//!
//! A blob is written to a staging file, hashed on the way, and synced; only then it gets, by a hard link, the name that
//! its digest gives it, and the folders are synced. A link is there or not there, and the bytes were on the disk before
//! it: so a file under a digest's name is whole, also after the power failed at any moment, and its length proves nothing that
//! the name does not prove already. (What changes on the disk later is found by re-hashing, not here.) A hard link rather than
//! a rename, because it never replaces what is there, and because the staged name stays behind as a way to put the
//! blob back when a sweep removed it before the catalog came to name it: see [`Placed::ensure`]. The file system must know
//! hard links, as all that servers use do.
//!
//! # Who may remove a staged file
//!
//! Whoever stages holds a shared `flock` on the file. A sweep takes an exclusive one without waiting, so that it only
//! removes what a dead process left behind. Dropping a staged blob without committing it means that nothing happened.
//!
//! From [`Staged::commit`] on, the staged file is named after its digest, and stays until the catalog names the blob. As long as
//! it is there, alive or dead, [`Blobs::delete`] leaves the blob alone. Why the dead count, too, says [`Blobs::remove_dead`].
//!
//! # Files whose digest is known before they come
//!
//! [`Blobs::partial`] keeps what there is of them from one process to the next, under the digest that they will have; a complete
//! one becomes a staged blob without being copied, and named after its digest at once. How they are locked, says `partial.rs`.
//!
//! All calls block: callers that are async go through `spawn_blocking`. This room knows nothing of images, of the
//! catalog, or of who may read what. Only `layout.rs` knows a path.

#[cfg(test)]
mod conformance;
mod copies;
mod error;
mod intake;
mod layout;
mod list;
mod open;
mod partial;
mod stage;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use headwater_formats::digest::Digest;
use headwater_formats::timestamp::Timestamp;

pub use copies::CopyName;
pub use error::BlobError;
pub use intake::{Intake, IntakeError};
pub use list::List;
pub use open::{BlobReader, OpenBlob};
pub use partial::{Complete, Idle, Incomplete, Partial};
pub use stage::{Dead, Deleted, Placed, Staged};

use layout::Layout;

/// The store: a handle that can be cloned and shared, also between processes that open the same folder.
#[derive(Debug, Clone)]
pub struct Blobs {
    layout: Arc<Layout>,
}

impl Blobs {
    /// Opens the store in this folder, making it when it is missing. A store that is there already is opened without
    /// writing, so that it can be read from a read-only disk.
    ///
    /// # Errors
    /// [`BlobError::Layout`] when another release made the store; the others when the folder cannot be made or read.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, BlobError> {
        Ok(Self { layout: Arc::new(Layout::open(folder.as_ref())?) })
    }

    /// Begins a blob whose digest is not known yet.
    pub fn stage(&self) -> Result<Staged, BlobError> {
        Staged::new(&self.layout)
    }

    /// Begins a file of known digest and length, or goes on where somebody stopped. `None`: somebody else is at it, or has not let go of
    /// what was made of it. One that the store has under its digest is complete at once.
    ///
    /// Only what cannot be a part of such a file is thrown away here; whether the bytes are right shows when all of them are there.
    pub fn partial(&self, digest: &Digest, size: u64) -> Result<Option<Partial>, BlobError> {
        partial::begin(&self.layout, digest, size)
    }

    /// Begins a file of known digest and length of which nothing is here ([`Blobs::is_known`]), in half the steps. `None`: something is by now.
    pub fn partial_if_new(&self, digest: &Digest, size: u64) -> Result<Option<Partial>, BlobError> {
        partial::begin_new(&self.layout, digest, size)
    }

    /// Whether there may be something of a file: it is in place, or on its way.
    pub fn is_known(&self, digest: &Digest) -> bool {
        partial::is_known(&self.layout, digest)
    }

    /// Files on their way that nobody holds, and that are in place under their digest (which `spared` may contradict), or were not written to
    /// since that moment; the times of files are those of the system's clock.
    pub fn idle(&self, before: Timestamp, spared: &dyn Fn(&Digest) -> bool) -> Result<Idle, BlobError> {
        partial::idle(&self.layout, before, spared, false)
    }

    /// Removes them.
    pub fn remove_idle(&self, before: Timestamp, spared: &dyn Fn(&Digest) -> bool) -> Result<Idle, BlobError> {
        partial::idle(&self.layout, before, spared, true)
    }

    /// Makes many staged blobs durable under their digests, which takes a few syncs for all of them: see [`Staged::commit`].
    ///
    /// # Errors
    /// As there. Those that have their names by then keep them, and nobody knows of them.
    pub fn commit_all(&self, staged: Vec<Staged>) -> Result<Vec<Placed>, BlobError> {
        stage::commit_all(&self.layout, staged)
    }

    /// A file without a name where blobs are staged, for what has no place in memory; gone when it is closed.
    pub fn scratch(&self) -> std::io::Result<std::fs::File> {
        tempfile::tempfile_in(self.layout.staging())
    }

    /// A copy of what somebody said, as it was [kept](Blobs::keep_copy); `None` when there is none, or it was damaged.
    pub fn copy(&self, name: &CopyName) -> Option<Vec<u8>> {
        copies::get(&self.layout, name)
    }

    /// Keeps a copy, in the place of an older one. It is gone when the disk says so.
    pub fn keep_copy(&self, name: &CopyName, parts: &[&[u8]]) -> std::io::Result<()> {
        copies::put(&self.layout, name, parts)
    }

    /// Removes copies, but for those that are to be kept, by their names (`None`: one that was not finished) and when they were of use last.
    pub fn retain_copies(&self, keep: &dyn Fn(Option<CopyName>, SystemTime) -> bool) -> std::io::Result<()> {
        copies::retain(&self.layout, keep)
    }

    /// Opens a blob; `None` when there is none with this digest.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<OpenBlob>, BlobError> {
        open::open(&self.layout, digest)
    }

    /// Opens a file on its way for reading, whoever writes it, as far as it came; the store's own when it is in place. `None` when there is neither.
    ///
    /// Its bytes may be thrown away, or be others, until somebody found them right: who reads them asks who writes them.
    pub fn open_coming(&self, digest: &Digest) -> Result<Option<std::fs::File>, BlobError> {
        partial::open(&self.layout, digest)
    }

    /// The length of a blob in bytes; `None` when there is none with this digest.
    pub fn stat(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        open::stat(&self.layout, digest)
    }

    /// Gives a blob a second name on the same file system, without copying it. `false` when the two are on different
    /// file systems, or the file system has no links: then copy it.
    ///
    /// # Errors
    /// When there is no such blob, or when `to` exists already.
    pub fn link_to(&self, digest: &Digest, to: &Path) -> Result<bool, BlobError> {
        open::link_to(&self.layout, digest, to)
    }

    /// Removes a blob, unless somebody is about to need it. Who has it open can read on.
    ///
    /// The caller makes sure that nothing that is listed needs it: see
    /// [`Catalog::forget_blob`](crate::catalog::Catalog::forget_blob).
    pub fn delete(&self, digest: &Digest) -> Result<Deleted, BlobError> {
        stage::delete(&self.layout, digest)
    }

    /// All blobs in the order of their digests. Holds the names of one folder of 256 at a time.
    pub fn list(&self) -> List {
        List::new(Arc::clone(&self.layout))
    }

    /// What dead processes left in staging.
    pub fn dead(&self) -> Result<Dead, BlobError> {
        stage::dead(&self.layout)
    }

    /// Removes what dead processes left.
    ///
    /// After a crash nobody knows whether the last transaction of the dead process counts: SQLite may show it to nobody
    /// now, and to everybody after its next recovery. So the caller has to write to the catalog after it found
    /// the dead and before it removes them; that settles the question for good.
    pub fn remove_dead(&self, dead: Dead) -> Result<(), BlobError> {
        stage::remove_dead(dead)
    }
}
