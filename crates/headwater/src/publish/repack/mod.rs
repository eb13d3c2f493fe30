//! Packs root files anew so that deltas between versions are small.
//!
//! How a root file was packed decides how much of it is the same bytes in the next version. Blocks of 1 MiB and ends of files that share
//! blocks, which builders use because they make files a little smaller, change altogether when one file in them does. So a container's root
//! file becomes a squashfs with blocks of 128 KiB, each file in blocks of its own, in the order of paths; a virtual machine's becomes a qcow2
//! whose clusters are not compressed. What is in it stays as it is, which is not believed but compared afterwards, entry by entry.
//!
//! ```text
//! staged root file ── tree ──> tar stream ──> sqfstar ──> new staged file
//!                       └────────── compared ──────────────┘
//! ```
//!
//! `sqfstar` (squashfs-tools 4.5 or newer) reads a tar stream, so that nothing is unpacked to a disk, no privilege is needed for owners
//! and devices, and no name in an image is ever a word of a command. The programs write into a staged file that they get as their
//! standard output: after a crash it goes the way of all staged files, and so does what was fed to them.
//!
//! The same file gives the same bytes with the same tools. Knows nothing of projects and listings: who asks has decided.

mod child;
mod container;
mod disk;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::Duration;

use headwater_formats::image::FileFormat;
use headwater_formats::inspect::InspectError;
use headwater_formats::tree::TreeError;
use sha2::Sha256;

use super::PublishError;
use crate::blobs::{BlobError, Blobs, Staged};

/// Set when nobody waits any more for what is being packed.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Stops what is going on when this is dropped.
    pub(super) fn guard(&self) -> StopGuard {
        StopGuard(self.clone())
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn check(&self) -> io::Result<()> {
        if self.is_set() { Err(io::Error::other("nobody waits for it any more")) } else { Ok(()) }
    }
}

/// See [`Stop::guard`].
pub(super) struct StopGuard(Stop);

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// What came of packing a root file anew.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A new file, and its format.
    New(Staged, FileFormat),
    /// The old one stays, for this reason.
    Left(String),
}

/// Why a root file was not packed anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum RepackError {
    /// It cannot be, because of what it holds.
    #[error("{0}")]
    Cannot(String),
    /// The tools are missing or failed; the sentence is for who runs the server.
    #[error("{0}")]
    Tools(String),
    /// The store.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

impl RepackError {
    pub(super) fn of(self, file: &str) -> PublishError {
        match self {
            Self::Cannot(why) => PublishError::refused(file, format!("it cannot be packed anew: {why}")),
            Self::Tools(why) => PublishError::Repack(why),
            Self::Blobs(error) => error.into(),
        }
    }
}

impl From<InspectError> for RepackError {
    fn from(error: InspectError) -> Self {
        match error {
            InspectError::Read(error) => Self::Blobs(error.into()),
            error => Self::Cannot(error.to_string()),
        }
    }
}

impl From<TreeError> for RepackError {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::Inspect(error) => error.into(),
            TreeError::Taken(error) => Self::Blobs(error.into()),
        }
    }
}

/// One at a time in one process: the tools use all cores.
static AT_ONCE: Mutex<()> = Mutex::new(());

fn turn(stop: &Stop) -> io::Result<MutexGuard<'static, ()>> {
    loop {
        match AT_ONCE.try_lock() {
            Ok(turn) => return Ok(turn),
            // It guards nothing that could be left in disorder.
            Err(TryLockError::Poisoned(turn)) => return Ok(turn.into_inner()),
            Err(TryLockError::WouldBlock) => {
                stop.check()?;
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Packs a root file anew, which may then have up to `limit` bytes. `also` goes through the same bytes.
pub(super) fn repack(
    blobs: &Blobs,
    root: &Staged,
    format: FileFormat,
    also: &mut Sha256,
    limit: u64,
    stop: &Stop,
) -> Result<Outcome, RepackError> {
    let _turn = turn(stop).map_err(BlobError::from)?;
    match format {
        FileFormat::Squashfs | FileFormat::Tar(_) => container::repack(blobs, root, format, also, limit, stop),
        FileFormat::Qcow2 => disk::repack(blobs, root, also, limit, stop),
        FileFormat::Vcdiff => Ok(Outcome::Left("it is a delta".to_owned())),
    }
}
