//! What a handler left unread of a body on HTTP/2, kept until the client can have heard the answer.
//!
//! Letting go of such a body resets its stream, and that overtakes the answer: clients then tell of a broken stream instead of the
//! reason that they were given. So it is kept for a moment longer, as a whole connection is on HTTP/1.1 ([`super::linger`]), within the same
//! bounds. This file does not know what was answered.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;

use super::linger::{LONGEST, MOST};

/// Where a body goes that is not read to its end.
#[derive(Debug)]
pub struct Leftover<B>(Arc<Mutex<Option<B>>>);

impl<B> Default for Leftover<B> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<B: Body<Data = Bytes> + Unpin + Send + 'static> Leftover<B> {
    /// The same body, which is left here when it is dropped before its end.
    pub fn keep(&self, body: B) -> Kept<B> {
        Kept { body: Some(body), left: Arc::clone(&self.0) }
    }

    /// Throws away what still comes of a body that was left, in the background: at most [`MOST`] bytes, for at most [`LONGEST`]. To be called
    /// when the answer is on its way.
    pub fn throw_away(self) {
        let Some(mut body) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        tokio::spawn(tokio::time::timeout(LONGEST, async move {
            let mut bytes = 0;
            while bytes < MOST {
                match body.frame().await {
                    Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
                    Some(Err(_)) | None => return,
                }
            }
            // No more is taken, but the stream is not broken off while the client may still be reading.
            std::future::pending::<()>().await;
        }));
    }
}

/// A body that is kept when it is not read to its end.
#[derive(Debug)]
pub struct Kept<B: Body> {
    /// There until it has ended.
    body: Option<B>,
    left: Arc<Mutex<Option<B>>>,
}

impl<B: Body> Drop for Kept<B> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Kept<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let outcome = std::task::ready!(Pin::new(body).poll_frame(context));
        if !matches!(outcome, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(outcome)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    #[tokio::test]
    async fn only_what_was_not_read_is_left() {
        let left = Leftover::default();
        left.keep(Full::new(Bytes::from_static(b"x"))).collect().await.unwrap();
        drop(left.keep(Full::new(Bytes::new())));
        assert!(left.0.lock().unwrap().is_none());
        drop(left.keep(Full::new(Bytes::from_static(b"x"))));
        assert!(left.0.lock().unwrap().is_some());
    }
}
