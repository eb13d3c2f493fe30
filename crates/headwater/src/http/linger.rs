//! A connection that is closed so that its last answer can still be heard.
//!
//! When an answer is given before the request's body was read (403 to an upload of many GiB), closing at once would make the system
//! reset the connection, because bytes are left unread; the client's system then throws the answer away, and people see
//! "connection reset by peer" or "broken pipe" instead of the reason. So the sending half is closed first, and what still comes
//! is thrown away for a moment: until the client closes its half, for at most [`LONGEST`], and at most [`MOST`] bytes of it; beyond
//! that the client is left waiting to send, while it reads.
//!
//! This file does not know what was answered.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a client that is still sending may take to hear the answer.
pub(super) const LONGEST: Duration = Duration::from_secs(2);
/// How many of its bytes are thrown away meanwhile.
pub(super) const MOST: usize = 1024 * 1024;

/// Whether a body was left unread on a connection.
#[derive(Debug, Clone, Default)]
pub struct Unread(Arc<AtomicBool>);

impl Unread {
    /// Whether one was.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The same body, which says so when it is dropped before its end.
    pub fn watch<B: Body>(&self, body: B) -> Noted<B> {
        Noted { body, ended: false, unread: self.clone() }
    }
}

/// A body that is noted when it is not read to its end.
#[derive(Debug)]
pub struct Noted<B: Body> {
    body: B,
    ended: bool,
    unread: Unread,
}

impl<B: Body> Drop for Noted<B> {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_end_stream() {
            self.unread.0.store(true, Ordering::Relaxed);
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Noted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let outcome = ready!(Pin::new(&mut self.body).poll_frame(context));
        // After an error nothing more can be heard or said.
        self.ended = !matches!(outcome, Some(Ok(_)));
        Poll::Ready(outcome)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that is closed slowly when a body was left unread.
#[derive(Debug)]
pub struct Lingering<S> {
    stream: S,
    unread: Unread,
    timer: Option<Pin<Box<Sleep>>>,
    thrown_away: usize,
}

impl<S> Lingering<S> {
    /// Closes this stream slowly if `unread` says so.
    pub fn new(stream: S, unread: Unread) -> Self {
        Self { stream, unread, timer: None, thrown_away: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.timer.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            if !this.unread.get() {
                return Poll::Ready(Ok(()));
            }
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(LONGEST)));
        let mut scratch = [0; 8 * 1024];
        while this.thrown_away < MOST {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => this.thrown_away += buffer.filled().len(),
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        timer.as_mut().poll(context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    fn unread() -> Unread {
        let unread = Unread::default();
        drop(unread.watch(Full::new(Bytes::from_static(b"x"))));
        unread
    }

    #[tokio::test]
    async fn only_bodies_that_were_left_are_noted() {
        let unread = Unread::default();
        unread.watch(Full::new(Bytes::from_static(b"x"))).collect().await.unwrap();
        drop(unread.watch(Full::new(Bytes::new())));
        assert!(!unread.get());
        assert!(self::unread().get());
    }

    #[tokio::test(start_paused = true)]
    async fn what_still_comes_is_taken_until_the_client_closes() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let mut lingering = Lingering::new(ours, unread());
        let client = tokio::spawn(async move {
            theirs.write_all(&[0; 100_000]).await.unwrap();
            let mut heard = String::new();
            theirs.read_to_string(&mut heard).await.unwrap();
            heard
        });
        lingering.write_all(b"no").await.unwrap();
        lingering.shutdown().await.unwrap();
        assert_eq!(client.await.unwrap(), "no");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_ends_is_let_go() {
        for bytes in [10, 4 * MOST] {
            let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
            let mut lingering = Lingering::new(ours, unread());
            let client = tokio::spawn(async move {
                let _ = theirs.write_all(&vec![0; bytes]).await;
                std::future::pending::<()>().await;
            });
            let since = Instant::now();
            lingering.shutdown().await.unwrap();
            assert_eq!(since.elapsed(), LONGEST);
            assert!(lingering.thrown_away < MOST + 8 * 1024);
            client.abort();
        }
        let (ours, _theirs) = tokio::io::duplex(64);
        let since = Instant::now();
        Lingering::new(ours, Unread::default()).shutdown().await.unwrap();
        assert!(since.elapsed().is_zero(), "nothing was left unread");
    }
}
