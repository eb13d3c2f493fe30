//! The bytes of a file that the catalog names: here, on their way from the upstream that promises them, or not wanted at all.

use std::sync::Arc;

use headwater_formats::image::ImageFile;

use super::State;
use super::body::Part;
use super::buffers::Pool;
use super::coming_body::ComingBody;
use super::file_body::FileBody;
use super::files::{self, OpenError};
use crate::blobs::OpenBlob;
use crate::mirror::{Coming, PullError};

/// Where the bytes of an answer come from.
#[derive(Debug)]
pub enum Content {
    /// The store.
    Here(OpenBlob),
    /// An upstream, through the store.
    Coming(Coming),
    /// Nowhere: the answer is about them, and they are so many.
    Unread(u64),
}

impl Content {
    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        match self {
            Self::Here(blob) => blob.size,
            Self::Coming(coming) => coming.size(),
            Self::Unread(size) => *size,
        }
    }

    /// The `length` bytes from `first` on.
    pub fn part(self, first: u64, length: u64, pool: &Arc<Pool>) -> Part {
        match self {
            Self::Here(blob) => Part::File(FileBody::new(blob.file, first, length, Arc::clone(pool))),
            Self::Coming(coming) => Part::Coming(ComingBody::new(coming, first, length, Arc::clone(pool))),
            Self::Unread(_) => Part::Unread(length),
        }
    }
}

/// The content of a file that the catalog names. One that is not here is asked for from who promises it, unless the answer is sent without its bytes.
pub(super) async fn content(state: &State, file: ImageFile, unread: bool) -> Result<Content, OpenError> {
    state.pull.used(file.digest);
    match files::open(&state.app.blobs, file).await {
        Ok(open) => Ok(Content::Here(open)),
        Err(OpenError::Missing(digest)) => {
            let pulled = if unread {
                state.pull.is_promised(&digest).await.and_then(|promised| {
                    if promised { Ok(Content::Unread(file.size)) } else { Err(PullError::NotPromised) }
                })
            } else if !state.settings.connect && matches!(state.pull.is_promised(&digest).await, Ok(true)) {
                Err(PullError::Closed)
            } else {
                state.pull.join(&file).await.map(Content::Coming)
            };
            pulled.map_err(|error| match error {
                PullError::NotPromised => OpenError::Missing(digest),
                error => OpenError::Pull(error),
            })
        }
        Err(error) => Err(error),
    }
}
