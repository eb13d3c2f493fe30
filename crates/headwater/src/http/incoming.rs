//! The body of a request, as it comes in: piece by piece, with a limit on what is kept.
//!
//! This file does not know what a body means.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;

/// Most bytes of a JSON body.
pub const MAX_JSON_BYTES: usize = 1024 * 1024;

type Boxed = Pin<Box<dyn http_body::Body<Data = Bytes, Error = io::Error> + Send>>;

/// A body that is still to be read.
pub struct Incoming(Boxed);

/// Why a body was not what it should be. The sentence is what the client is told.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Larger than it may be.
    #[error("the body has more than {0} bytes, which is the limit here; send less")]
    TooLarge(usize),
    /// No JSON, or of another shape.
    #[error("the body is not the JSON that belongs here: {0}")]
    Json(#[from] serde_json::Error),
    /// It ended early, or did not come.
    #[error("the body ended before it was complete: {0}")]
    Cut(#[from] io::Error),
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
                    return Err(BodyError::TooLarge(limit));
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

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Incoming")
    }
}
