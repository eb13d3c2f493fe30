//! A file that is read while it comes.

use std::fs::File;
use std::io;
use std::sync::Arc;

use headwater_formats::image::ImageFile;
use tokio::sync::watch;

use super::PullError;
use super::flight::{Phase, State};
use crate::blobs::{BlobError, Blobs};
use crate::publish::blocking;

/// So many of the last bytes of an answer are held back until the whole file was found right. A file that is no longer than this is waited for before the
/// answer begins.
pub const HELD_BACK: u64 = 64 * 1024;

/// After the first bytes, so many are waited for at a time: what the network gives at once is little, and many may read.
const PIECE: u64 = 256 * 1024;

/// A file on its way, for one who reads it. Its bytes are those of one generation to the end, or reading them fails.
#[derive(Debug)]
pub struct Coming {
    watched: watch::Receiver<State>,
    generation: u32,
    file: Arc<File>,
    size: u64,
    /// Whether something was sent.
    began: bool,
}

impl Coming {
    /// Waits until it begins to come, and opens it.
    pub(super) async fn joined(
        mut watched: watch::Receiver<State>,
        blobs: &Blobs,
        file: &ImageFile,
    ) -> Result<Self, PullError> {
        let (size, mut early) = (file.size, None);
        loop {
            let state = *watched.borrow_and_update();
            let ready = match state.phase {
                Phase::Failed(error) => return Err(error),
                Phase::Done => true,
                Phase::Coming => state.began && state.length > 0 && size > HELD_BACK,
            };
            // Nothing was thrown away and nothing begun again: what has the name now keeps it until that changes.
            let first = state.opened == 1 && state.generation == 0;
            match early.take_if(|_| ready && first) {
                Some(file) => return Ok(Self { watched, generation: 0, file: Arc::new(file), size, began: false }),
                None if ready => {
                    // What was thrown away meanwhile may have had this name.
                    let opened = opened(blobs, file).await?;
                    let same = watched.borrow().generation == state.generation;
                    if let (Some(opened), true) = (opened, same) {
                        let (generation, file) = (state.generation, Arc::new(opened));
                        return Ok(Self { watched, generation, file, size, began: false });
                    }
                    if state.phase == Phase::Done {
                        return Err(PullError::Stopped);
                    }
                }
                // While its first bytes are waited for.
                None if first && early.is_none() && size > HELD_BACK => early = opened(blobs, file).await?,
                None => {}
            }
            if watched.changed().await.is_err() {
                let phase = watched.borrow().phase;
                match phase {
                    Phase::Coming => return Err(PullError::Stopped),
                    Phase::Done | Phase::Failed(_) => {}
                }
            }
        }
    }

    /// The file, of which only what [`Coming::until`] tells may be sent.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// How long it will be.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Up to which byte may be sent now of an answer that ends before byte `end`; `None` when the byte `from` may not yet.
    ///
    /// # Errors
    /// When it does not come to its end, or what was sent of it turned out to be wrong: then the connection has to be broken off.
    pub fn now(&mut self, from: u64, end: u64) -> io::Result<Option<u64>> {
        let state = *self.watched.borrow_and_update();
        if state.generation != self.generation {
            return Err(io::Error::other("the bytes that came so far were not those of the file"));
        }
        match state.phase {
            Phase::Done => Ok(Some(end)),
            Phase::Failed(error) => Err(io::Error::other(error)),
            Phase::Coming => {
                let most = end.saturating_sub(HELD_BACK);
                let until = state.length.min(most);
                let enough = until > from && (!self.began || until == most || until - from >= PIECE);
                self.began |= enough;
                Ok(enough.then_some(until))
            }
        }
    }

    /// The same, when it is so far.
    ///
    /// # Errors
    /// As there.
    pub async fn until(&mut self, from: u64, end: u64) -> io::Result<u64> {
        loop {
            if let Some(until) = self.now(from, end)? {
                return Ok(until);
            }
            if self.watched.changed().await.is_err() && self.watched.borrow().phase == Phase::Coming {
                return Err(io::Error::other("the transfer of the file broke off"));
            }
        }
    }
}

async fn opened(blobs: &Blobs, file: &ImageFile) -> Result<Option<File>, PullError> {
    let (blobs, digest) = (blobs.clone(), file.digest);
    blocking(move || blobs.open_coming(&digest)).await.map_err(|error: BlobError| {
        tracing::error!(%error, "a file that comes cannot be read");
        PullError::Store
    })
}
