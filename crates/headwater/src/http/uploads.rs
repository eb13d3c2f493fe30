//! Images that are being uploaded: so many at a time, and none larger than the server takes.
//!
//! An upload costs disk, hashing and a place for its bytes, so there is a limit to how many run; further ones wait with their
//! body unread, which TCP makes the client feel as a slow network. Only what was promised is judged here; how fast the
//! bytes have to come is [`Pace`](super::incoming::Pace).
//!
//! ```no_run
//! # async fn example(uploads: headwater::http::uploads::Uploads, body: headwater::http::incoming::Incoming) -> Result<(), headwater::http::uploads::Refused> {
//! let (body, place) = uploads.admit(body).await?;
//! // Read the body to its end, and do what else costs; then
//! drop(place);
//! # drop(body); Ok(()) }
//! ```

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::incoming::{BodyError, Incoming};

/// How long an upload waits for a place: long enough for images of many GiB to get out of the way.
pub const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// The places for uploads.
#[derive(Debug)]
pub struct Uploads {
    places: Arc<Semaphore>,
    bytes: u64,
}

/// A place that an upload takes until it is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// Why an upload is not taken. The sentence is what the client is told.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No place became free in [`PATIENCE`].
    #[error("the server is busy with other uploads; try again in a minute")]
    Busy,
    /// It says itself that it is too large.
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl Refused {
    /// The status that goes with the sentence.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Body(error) => error.status(),
        }
    }
}

impl Uploads {
    /// So many at a time, each of at most so many bytes.
    pub fn new(at_once: usize, bytes: u64) -> Self {
        Self { places: Arc::new(Semaphore::new(at_once.min(Semaphore::MAX_PERMITS))), bytes }
    }

    /// Waits for a place, and gives it with the body, which ends with an error after the bytes that an upload may have.
    ///
    /// # Errors
    /// When no place becomes free, or the body says that it is too large.
    pub async fn admit(&self, body: Incoming) -> Result<(Incoming, Place), Refused> {
        let body = body.at_most(self.bytes)?;
        match tokio::time::timeout(PATIENCE, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok((body, Place { _permit: permit })),
            // Nobody closes the semaphore.
            Ok(Err(_)) | Err(_) => Err(Refused::Busy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_at_a_time_and_the_next_waits_a_while() {
        let uploads = Arc::new(Uploads::new(1, 10));
        let (_, first) = uploads.admit(Incoming::empty()).await.unwrap();
        let waiting = Arc::clone(&uploads);
        let second = tokio::spawn(async move { waiting.admit(Incoming::full("12345")).await });
        tokio::time::sleep(PATIENCE / 2).await;
        assert!(!second.is_finished());
        drop(first);
        let (body, _second) = second.await.unwrap().unwrap();
        assert_eq!(body.bytes(100).await.unwrap(), "12345", "nothing of it was read while it waited");
        let since = tokio::time::Instant::now();
        let refused = uploads.admit(Incoming::empty()).await.unwrap_err();
        assert_eq!(refused.to_string(), "the server is busy with other uploads; try again in a minute");
        assert_eq!((refused.status().as_u16(), since.elapsed()), (503, PATIENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn too_large_is_told_before_it_comes() {
        let uploads = Uploads::new(1, 10);
        let refused = uploads.admit(Incoming::full("12345678901")).await.unwrap_err();
        assert_eq!(refused.to_string(), "the body has more than 10 bytes, which is the limit here; send less");
        assert_eq!(refused.status(), 413);
    }
}
