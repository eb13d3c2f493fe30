//! The bytes of a file, piece by piece, as fast as the client takes them.
//!
//! A piece that the system has in memory is copied at once, on the thread that sends it (`preadv2` with
//! `RWF_NOWAIT`); only when the disk has to be waited for does the read move to a blocking thread. So a file that is in
//! memory costs no thread switch, a slow disk delays nobody else, and a slow client costs one buffer and no thread. The
//! system reads ahead on its own, because it is told that the file is read from front to back.
//!
//! On a plain connection, what is in memory is not even copied: the connection sends it ([`direct`]).
//!
//! This file knows nothing of HTTP beyond the [`Body`](super::body::Body) that it is a part of.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags};
use tokio::task::JoinHandle;

use super::buffers::{Piece, Pool, SMALL};
use super::direct::{self, Direct};

/// Bytes that the disk is asked for at once when it has to be waited for.
const AHEAD: Option<NonZero<u64>> = NonZero::new(2 << 20);

/// Bytes of which one is asked for whether they are in memory.
const STEP: u64 = 2 << 20;
/// So many are asked for when a step is not there.
const LESS: u64 = 512 << 10;

/// Part of a file that is on its way.
#[derive(Debug)]
pub struct FileBody {
    file: Arc<File>,
    offset: u64,
    remaining: u64,
    pool: Arc<Pool>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    nowait: bool,
    direct: Option<Direct>,
    /// Whether what was promised last ends where the next part begins.
    goes_on: bool,
}

impl FileBody {
    /// The `length` bytes from `offset` on. The file must have them: one that ends early breaks the connection off,
    /// so that the client notices.
    pub fn new(file: File, offset: u64, length: u64, pool: Arc<Pool>) -> Self {
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential);
        Self::shared(Arc::new(file), offset, length, pool)
    }

    /// The same of a file that others read, too.
    pub fn shared(file: Arc<File>, offset: u64, length: u64, pool: Arc<Pool>) -> Self {
        Self { file, offset, remaining: length, pool, reading: None, nowait: true, direct: None, goes_on: false }
    }

    /// Has parts that are in memory sent by the connection itself, to which they are promised.
    pub fn send_directly(&mut self, direct: &Direct) {
        self.direct = Some(direct.clone());
    }

    /// Bytes that are still to come.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The next piece; `None` at the end.
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let outcome = match &mut self.reading {
            Some(reading) => {
                let joined = ready!(Pin::new(reading).poll(context));
                self.reading = None;
                joined.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
            None if self.remaining == 0 => return Poll::Ready(None),
            None => match self.promise() {
                Some(stand_in) => Ok(stand_in),
                None => {
                    let mut piece = self.pool.take(self.remaining);
                    match self.read_cached(&mut piece) {
                        Some(outcome) => outcome.map(|length| piece.into_bytes(length)),
                        None => {
                            self.read_blocking(piece);
                            return self.poll_piece(context);
                        }
                    }
                }
            },
        };
        Poll::Ready(Some(outcome.inspect(|bytes| {
            self.offset += bytes.len() as u64;
            self.remaining -= bytes.len() as u64;
            self.pool.count(bytes.len());
        })))
    }

    /// What stands for the next part, when the connection can send it without waiting for the disk. Whether it can is asked of its first byte,
    /// unless it goes on from another part, and of one byte in each [`STEP`]: the system reads ahead, so that what lies between them is in memory with
    /// them. Where so much is not there yet, less may be.
    fn promise(&mut self) -> Option<Bytes> {
        let goes_on = std::mem::take(&mut self.goes_on);
        let direct = self.direct.as_ref().filter(|_| self.nowait && self.remaining > SMALL as u64)?;
        if !goes_on && !self.is_in_memory(self.offset) {
            return None;
        }
        let most = self.remaining.min(direct::LARGEST as u64);
        let mut length = 0;
        while length < most {
            let next = most.min(length + STEP);
            if !self.is_in_memory(self.offset + next - 1) {
                break;
            }
            length = next;
        }
        if length == 0 {
            length = most.min(LESS);
            if !self.is_in_memory(self.offset + length - 1) {
                return None;
            }
        }
        self.goes_on = true;
        Some(direct.promise(Arc::clone(&self.file), self.offset, length, length < self.remaining))
    }

    fn is_in_memory(&self, offset: u64) -> bool {
        let room = &mut [0];
        rustix::io::preadv2(&self.file, &mut [io::IoSliceMut::new(room)], offset, ReadWriteFlags::NOWAIT) == Ok(1)
    }

    fn wanted(&self, piece: &mut Piece) -> usize {
        usize::try_from(self.remaining).unwrap_or(usize::MAX).min(piece.room().len())
    }

    /// Copies what is in memory; `None` when that needs the disk, or the file system cannot tell.
    fn read_cached(&mut self, piece: &mut Piece) -> Option<io::Result<usize>> {
        if !self.nowait {
            return None;
        }
        let wanted = self.wanted(piece);
        let room = io::IoSliceMut::new(&mut piece.room()[..wanted]);
        match rustix::io::preadv2(&self.file, &mut [room], self.offset, ReadWriteFlags::NOWAIT) {
            Ok(0) => Some(Err(ended_early())),
            Ok(length) => Some(Ok(length)),
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(_) => {
                self.nowait = false;
                None
            }
        }
    }

    fn read_blocking(&mut self, mut piece: Piece) {
        let (file, offset, wanted) = (Arc::clone(&self.file), self.offset, self.wanted(&mut piece));
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let _ = rustix::fs::fadvise(&file, offset, AHEAD, rustix::fs::Advice::WillNeed);
            match file.read_exact_at(&mut piece.room()[..wanted], offset) {
                Ok(()) => Ok(piece.into_bytes(wanted)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ended_early()),
                Err(error) => Err(error),
            }
        }));
    }
}

/// A file that does not have what it should.
pub(super) fn ended_early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a stored file is shorter than the catalog says")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::atomic::Ordering;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    async fn read(mut body: FileBody) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = std::future::poll_fn(|context| body.poll_piece(context)).await {
            all.extend_from_slice(&piece?);
        }
        assert_eq!(body.remaining(), 0);
        Ok(all)
    }

    #[tokio::test]
    async fn gives_exactly_the_bytes_asked_for_either_way() {
        let bytes: Vec<u8> = (0..700_001u32).map(|n| (n % 251) as u8).collect();
        let pool = Arc::new(Pool::default());
        for nowait in [true, false] {
            for (offset, length) in [(0, bytes.len()), (0, 0), (1, 1), (300_000, 300_000), (bytes.len() - 1, 1)] {
                let mut body = FileBody::new(file(&bytes), offset as u64, length as u64, Arc::clone(&pool));
                body.nowait = nowait;
                let before = pool.sent().load(Ordering::Relaxed);
                assert_eq!(read(body).await.unwrap(), &bytes[offset..offset + length], "{offset}+{length}");
                assert_eq!(pool.sent().load(Ordering::Relaxed) - before, length as u64);
            }
        }
        assert_eq!(pool.out(), 0);
    }

    #[tokio::test]
    async fn a_file_that_ends_early_is_an_error() {
        let pool = Arc::new(Pool::default());
        for nowait in [true, false] {
            let mut body = FileBody::new(file(b"short"), 0, 6, Arc::clone(&pool));
            body.nowait = nowait;
            let error = read(body).await.unwrap_err();
            assert_eq!(error.to_string(), "a stored file is shorter than the catalog says");
        }
        assert_eq!(pool.out(), 0);
    }
}
