//! The bytes of a file that is on its way, as far as they may be sent, as fast as it comes and the client takes them.
//!
//! What is here is sent as any part of a file is, also by the connection itself; at the end of that, it is waited for more. When the file turns out to be
//! wrong, or does not come to its end, the connection is broken off: the last bytes of an answer are sent only when all of the file was found right.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::buffers::Pool;
use super::direct::Direct;
use super::file_body::FileBody;
use crate::mirror::Coming;

type Waiting = Pin<Box<dyn Future<Output = (Coming, io::Result<u64>)> + Send>>;

/// Part of a file that is on its way.
pub struct ComingBody {
    /// Somebody else has it while it is waited for.
    coming: Option<Coming>,
    waiting: Option<Waiting>,
    /// What is sent at the moment.
    piece: Option<FileBody>,
    /// Where the next piece begins.
    offset: u64,
    end: u64,
    pool: Arc<Pool>,
    direct: Option<Direct>,
}

impl std::fmt::Debug for ComingBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ComingBody").field("offset", &self.offset).field("end", &self.end).finish_non_exhaustive()
    }
}

impl ComingBody {
    /// The `length` bytes from `offset` on.
    pub fn new(coming: Coming, offset: u64, length: u64, pool: Arc<Pool>) -> Self {
        let end = offset.saturating_add(length);
        Self { coming: Some(coming), waiting: None, piece: None, offset, end, pool, direct: None }
    }

    /// Has parts that are in memory sent by the connection itself, to which they are promised.
    pub fn send_directly(&mut self, direct: &Direct) {
        self.direct = Some(direct.clone());
    }

    /// Bytes that are still to come.
    pub fn remaining(&self) -> u64 {
        self.end - self.offset + self.piece.as_ref().map_or(0, FileBody::remaining)
    }

    /// The next piece; `None` at the end.
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if let Some(piece) = &mut self.piece {
                match ready!(piece.poll_piece(context)) {
                    None => self.piece = None,
                    some => return Poll::Ready(some),
                }
            }
            if self.offset == self.end {
                return Poll::Ready(None);
            }
            if let Err(error) = ready!(self.poll_more(context)) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    /// Waits for bytes that may be sent, and makes a piece of them.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (from, end) = (self.offset, self.end);
        let waiting = match (&mut self.waiting, self.coming.take()) {
            (Some(waiting), _) => waiting,
            (None, Some(mut coming)) => match coming.now(from, end)? {
                Some(until) => {
                    self.send(coming, until);
                    return Poll::Ready(Ok(()));
                }
                None => self.waiting.insert(Box::pin(async move {
                    let until = coming.until(from, end).await;
                    (coming, until)
                })),
            },
            // After an error nothing is asked for any more.
            (None, None) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        };
        let (coming, until) = ready!(waiting.as_mut().poll(context));
        self.waiting = None;
        let until = until?;
        self.send(coming, until);
        Poll::Ready(Ok(()))
    }

    fn send(&mut self, coming: Coming, until: u64) {
        let length = until.min(self.end).saturating_sub(self.offset);
        let mut piece = FileBody::shared(coming.file(), self.offset, length, Arc::clone(&self.pool));
        if let Some(direct) = &self.direct {
            piece.send_directly(direct);
        }
        self.offset += length;
        self.piece = Some(piece);
        self.coming = Some(coming);
    }
}
