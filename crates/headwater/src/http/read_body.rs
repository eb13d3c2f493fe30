//! The bytes of a reader that blocks, piece by piece, as fast as the client takes them.
//!
//! Each piece is read in a blocking thread, into a buffer of the pool, when the connection has room for it: a slow client costs one
//! buffer and no thread, and however long the whole is, memory holds a piece.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use tokio::task::JoinHandle;

use super::buffers::Pool;

type Source = Box<dyn Read + Send>;

/// A reader that is on its way.
pub struct ReadBody {
    source: Option<Source>,
    /// Bytes that are still to come, when that is known.
    remaining: Option<u64>,
    pool: Arc<Pool>,
    reading: Option<JoinHandle<io::Result<(Source, Bytes)>>>,
}

impl std::fmt::Debug for ReadBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadBody").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}

impl ReadBody {
    /// Exactly `length` bytes. A reader that ends early breaks the connection off, so that the client notices.
    pub fn sized(source: impl Read + Send + 'static, length: u64, pool: Arc<Pool>) -> Self {
        Self { source: Some(Box::new(source)), remaining: Some(length), pool, reading: None }
    }

    /// All there is.
    pub fn to_the_end(source: impl Read + Send + 'static, pool: Arc<Pool>) -> Self {
        Self { source: Some(Box::new(source)), remaining: None, pool, reading: None }
    }

    /// Bytes that are still to come; none when that is not known.
    pub fn remaining(&self) -> u64 {
        self.remaining.unwrap_or_default()
    }

    /// The next piece; `None` at the end.
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.reading.is_none() {
            if self.remaining == Some(0) {
                return Poll::Ready(None);
            }
            let Some(mut source) = self.source.take() else { return Poll::Ready(None) };
            let limit = self.remaining.unwrap_or(u64::MAX);
            let mut piece = self.pool.take(limit);
            self.reading = Some(tokio::task::spawn_blocking(move || {
                let room = piece.room();
                let wanted = usize::try_from(limit).unwrap_or(usize::MAX).min(room.len());
                let length = fill(&mut source, &mut room[..wanted])?;
                Ok((source, piece.into_bytes(length)))
            }));
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let joined = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        let (source, bytes) = match joined.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(read) => read,
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        match (&mut self.remaining, bytes.len() as u64) {
            (None, 0) => return Poll::Ready(None),
            (Some(_), 0) => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            (Some(remaining), length) => *remaining -= length,
            (None, _) => {}
        }
        self.source = Some(source);
        Poll::Ready(Some(Ok(bytes)))
    }
}

/// Reads until the room is full or there is no more.
fn fill(source: &mut Source, room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < room.len() {
        match source.read(&mut room[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Stream for ReadBody {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_piece(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut body: ReadBody) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = std::future::poll_fn(|context| body.poll_piece(context)).await {
            all.extend_from_slice(&piece?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn gives_all_bytes_or_an_error() {
        let bytes: Vec<u8> = (0..700_001u32).map(|n| (n % 251) as u8).collect();
        let pool = Arc::new(Pool::default());
        let source = || io::Cursor::new((0..700_001u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
        assert_eq!(read(ReadBody::to_the_end(source(), Arc::clone(&pool))).await.unwrap(), bytes);
        for length in [0, 1, 300_000, bytes.len()] {
            let body = ReadBody::sized(source(), length as u64, Arc::clone(&pool));
            assert_eq!(read(body).await.unwrap(), bytes[..length], "{length}");
        }
        let early = ReadBody::sized(source(), 700_002, Arc::clone(&pool));
        assert_eq!(read(early).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(pool.out(), 0);
    }
}
