//! The body of a request, as it comes in: piece by piece, with a limit on what is kept, and on how slowly it may come.
//!
//! A body fails with an [`io::Error`], because it goes through readers and parsers that know no other; [`BodyError::within`] finds
//! the reason in what they make of it. This file does not know what a body means.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::StatusCode;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, Sleep};

/// Most bytes of a JSON body.
pub const MAX_JSON_BYTES: usize = 1024 * 1024;

type Boxed = Pin<Box<dyn http_body::Body<Data = Bytes, Error = io::Error> + Send>>;

/// A body that is still to be read.
pub struct Incoming(Boxed);

/// Over how much waiting the rate of a body is looked at.
const WINDOW: Duration = Duration::from_secs(60);

/// How slowly a body may come. Only the time counts that the server waits for the client, not what it takes to handle
/// what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long nothing may come.
    pub stall: Duration,
    /// Bytes that have to come for each second of waiting, looked at once a minute.
    pub rate: u64,
}

/// Why a body was not what it should be. The sentence is what the client is told.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Larger than it may be.
    #[error("the body has more than {0} bytes, which is the limit here; send less")]
    TooLarge(u64),
    /// No JSON, or of another shape.
    #[error("the body is not the JSON that belongs here: {0}")]
    Json(#[from] serde_json::Error),
    /// Nothing came for so long.
    #[error("nothing of the body came for {} s; send it again over a network that works", .0.as_secs())]
    Stalled(Duration),
    /// It came more slowly than so many bytes a second.
    #[error("the body came more slowly than {0} bytes a second; send it again over a faster network")]
    Slow(u64),
    /// It ended early, or did not come.
    #[error("the body ended before it was complete: {0}")]
    Cut(io::Error),
}

impl BodyError {
    /// The status that goes with the sentence.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Stalled(_) | Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Json(_) | Self::Cut(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The one that is behind an error of whoever read a body, if that is why they failed.
    pub fn within<'a>(mut error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        loop {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            // The source of an `io::Error` is that of the error it wraps, not that error.
            let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            error = match wrapped {
                Some(wrapped) => wrapped,
                None => error.source()?,
            };
        }
    }
}

impl From<io::Error> for BodyError {
    fn from(error: io::Error) -> Self {
        error.downcast::<Self>().unwrap_or_else(Self::Cut)
    }
}

impl From<BodyError> for io::Error {
    fn from(error: BodyError) -> Self {
        let kind = match error {
            BodyError::TooLarge(_) => io::ErrorKind::FileTooLarge,
            BodyError::Stalled(_) | BodyError::Slow(_) => io::ErrorKind::TimedOut,
            BodyError::Json(_) => io::ErrorKind::InvalidData,
            BodyError::Cut(ref error) => error.kind(),
        };
        Self::new(kind, error)
    }
}

impl Incoming {
    /// Nothing.
    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Box::pin(http_body_util::Full::new(bytes.into()).map_err(|never| match never {})))
    }

    /// Any body.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self(Box::pin(body.map_err(io::Error::other)))
    }

    /// The same body, which fails when the client sends too slowly.
    pub fn watched(self, pace: Pace) -> Self {
        if self.is_empty() {
            return self;
        }
        Self(Box::pin(Watched { body: self.0, pace, since: None, timer: None, waited: Duration::ZERO, bytes: 0 }))
    }

    /// The same body, which fails after so many bytes.
    ///
    /// # Errors
    /// When it is known already that it has more.
    pub fn at_most(self, limit: u64) -> Result<Self, BodyError> {
        if self.0.size_hint().lower() > limit {
            return Err(BodyError::TooLarge(limit));
        }
        Ok(Self(Box::pin(AtMost { body: self.0, limit, left: limit })))
    }

    /// Whether nothing comes.
    pub fn is_empty(&self) -> bool {
        self.0.is_end_stream()
    }

    /// All of it, when that is no more than `limit` bytes.
    pub async fn bytes(mut self, limit: usize) -> Result<Bytes, BodyError> {
        let mut whole = BytesMut::new();
        while let Some(frame) = self.0.frame().await {
            if let Ok(piece) = frame?.into_data() {
                if whole.len() + piece.len() > limit {
                    return Err(BodyError::TooLarge(limit as u64));
                }
                whole.extend_from_slice(&piece);
            }
        }
        Ok(whole.freeze())
    }

    /// All of it, as JSON of at most [`MAX_JSON_BYTES`].
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, BodyError> {
        Ok(serde_json::from_slice(&self.bytes(MAX_JSON_BYTES).await?)?)
    }
}

impl Stream for Incoming {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            match std::task::ready!(self.0.as_mut().poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Poll::Ready(Some(Ok(piece)));
                    }
                }
            }
        }
    }
}

/// A body that has to keep coming.
struct Watched {
    body: Boxed,
    pace: Pace,
    /// Since when the client is waited for.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// How long it was waited for, and what came, since the rate was last looked at.
    waited: Duration,
    bytes: u64,
}

impl Watched {
    fn waiting(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let deadline = Instant::now() + self.pace.stall;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if self.since.is_none() {
            self.since = Some(Instant::now());
            timer.as_mut().reset(deadline);
        }
        std::task::ready!(timer.as_mut().poll(context));
        self.since = None;
        Poll::Ready(Some(Err(BodyError::Stalled(self.pace.stall).into())))
    }

    fn came(&mut self, bytes: usize) -> io::Result<()> {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
        self.bytes += bytes as u64;
        if self.waited >= WINDOW {
            let wanted = self.pace.rate.saturating_mul(self.waited.as_secs());
            if self.bytes < wanted {
                return Err(BodyError::Slow(self.pace.rate).into());
            }
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
        Ok(())
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let outcome = self.body.as_mut().poll_frame(context);
        match &outcome {
            Poll::Pending => self.waiting(context),
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                match self.came(bytes) {
                    Ok(()) => outcome,
                    Err(error) => Poll::Ready(Some(Err(error))),
                }
            }
            Poll::Ready(_) => outcome,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// A body of so many bytes at most.
struct AtMost {
    body: Boxed,
    limit: u64,
    left: u64,
}

impl http_body::Body for AtMost {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let outcome = self.body.as_mut().poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &outcome {
            match self.left.checked_sub(frame.data_ref().map_or(0, Bytes::len) as u64) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(BodyError::TooLarge(self.limit).into()))),
            }
        }
        outcome
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Incoming")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt, stream};

    const PACE: Pace = Pace { stall: Duration::from_secs(60), rate: 1024 };

    /// So many pieces of that size, each after so many seconds.
    fn pieces(count: usize, bytes: usize, seconds: u64) -> Incoming {
        let pieces = stream::iter(0..count).then(move |_| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok::<_, io::Error>(Frame::data(Bytes::from(vec![0; bytes])))
        });
        Incoming::new(http_body_util::StreamBody::new(pieces)).watched(PACE)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_slowly_but_steadily_is_taken() {
        assert_eq!(pieces(100, 64 * 1024, 59).bytes(usize::MAX).await.unwrap().len(), 100 * 64 * 1024);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_is_given_up() {
        let since = Instant::now();
        let error = pieces(1, 1, 3600).bytes(10).await.unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.status().as_u16(), since.elapsed()),
            ("nothing of the body came for 60 s; send it again over a network that works", 408, PACE.stall)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_given_up_after_a_minute_of_waiting() {
        let since = Instant::now();
        let error = pieces(1000, 1000, 1).bytes(usize::MAX).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the body came more slowly than 1024 bytes a second; send it again over a faster network"
        );
        assert_eq!(since.elapsed(), WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_that_the_server_takes_is_not_the_clients() {
        let mut body = pieces(10, 1, 1);
        while let Some(piece) = body.next().await {
            piece.unwrap();
            tokio::time::sleep(Duration::from_secs(600)).await;
        }
    }

    #[tokio::test]
    async fn too_large_whether_it_says_so_or_not() {
        assert!(matches!(Incoming::full("12345").at_most(4), Err(BodyError::TooLarge(4))));
        assert_eq!(Incoming::full("1234").at_most(4).unwrap().bytes(10).await.unwrap(), "1234");
        let silent = || {
            Incoming::new(http_body_util::StreamBody::new(stream::iter(
                ["123", "45"].map(|piece| Ok::<_, io::Error>(Frame::data(Bytes::from(piece)))),
            )))
        };
        assert_eq!(silent().at_most(5).unwrap().bytes(10).await.unwrap(), "12345");
        let mut cut = silent().at_most(4).unwrap();
        assert_eq!(cut.next().await.unwrap().unwrap(), "123");
        let error = cut.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let error = io::Error::other(error);
        assert!(matches!(BodyError::within(&error), Some(BodyError::TooLarge(4))), "however often it was wrapped");
        assert!(BodyError::within(&io::Error::other("else")).is_none());
    }
}
