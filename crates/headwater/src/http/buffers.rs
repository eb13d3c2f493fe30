//! Buffers for file pieces, given out and taken back, so that a download costs neither allocation nor clearing per piece,
//! and many downloads at once cost little memory.
//!
//! The first [`LARGE_PIECES`] buffers that are out at the same time have [`LARGE`] bytes, which is as quick as a copy
//! gets; further ones have [`SMALL`] bytes. With them, 64 downloads hold 16 MiB and a thousand hold 45 MiB, at any size of file.
//!
//! This file does not know what is read into the buffers.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Bytes of a large buffer.
pub const LARGE: usize = 256 * 1024;
/// Bytes of a small buffer.
pub const SMALL: usize = 32 * 1024;
/// How many large buffers may be out.
pub const LARGE_PIECES: usize = 64;
/// How many buffers of each kind are kept for later.
const KEPT: usize = 16;

/// Where buffers come from and go back to.
#[derive(Debug, Default)]
pub struct Pool {
    large: Shelf,
    small: Shelf,
    sent: Arc<AtomicU64>,
}

/// What a request costs beside the bytes of files, in such bytes, as far as that is about how busy the machine is with serving.
pub const REQUEST: usize = 64 * 1024;
/// What a TLS handshake costs.
pub const HANDSHAKE: usize = 512 * 1024;

#[derive(Debug, Default)]
struct Shelf {
    out: AtomicUsize,
    idle: Mutex<Vec<Box<[u8]>>>,
}

impl Shelf {
    fn take(&self, size: usize) -> Box<[u8]> {
        self.out.fetch_add(1, Ordering::Relaxed);
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| vec![0; size].into_boxed_slice())
    }

    fn put(&self, buffer: Box<[u8]>) {
        self.out.fetch_sub(1, Ordering::Relaxed);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(buffer);
        }
    }
}

/// A buffer that is out. It goes back when it, or the last [`Bytes`] made of it, is dropped.
#[derive(Debug)]
pub struct Piece {
    buffer: Option<Box<[u8]>>,
    filled: usize,
    pool: Arc<Pool>,
}

impl Pool {
    /// Takes a buffer for up to `wanted` more bytes; it may hold fewer.
    pub fn take(self: &Arc<Self>, wanted: u64) -> Piece {
        let small = wanted <= SMALL as u64 || self.large.out.load(Ordering::Relaxed) >= LARGE_PIECES;
        let buffer = if small { self.small.take(SMALL) } else { self.large.take(LARGE) };
        Piece { buffer: Some(buffer), filled: 0, pool: Arc::clone(self) }
    }

    /// Counts bytes of a file that are on their way, by a buffer or without one; or what costs as much: [`REQUEST`], [`HANDSHAKE`].
    pub fn count(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How much was served, as it is counted.
    pub fn sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }

    /// How many buffers are out now.
    pub fn out(&self) -> usize {
        self.large.out.load(Ordering::Relaxed) + self.small.out.load(Ordering::Relaxed)
    }
}

impl Piece {
    /// The room in it, old bytes included.
    pub fn room(&mut self) -> &mut [u8] {
        self.buffer.as_deref_mut().unwrap_or_default()
    }

    /// The first `filled` bytes, as something that can be sent.
    pub fn into_bytes(mut self, filled: usize) -> Bytes {
        self.filled = filled.min(self.room().len());
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_deref().and_then(|buffer| buffer.get(..self.filled)).unwrap_or_default()
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            let shelf = if buffer.len() == LARGE { &self.pool.large } else { &self.pool.small };
            shelf.put(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_and_are_small_when_many_are_out() {
        let pool = Arc::new(Pool::default());
        let mut out: Vec<Piece> = (0..LARGE_PIECES + 10).map(|_| pool.take(u64::MAX)).collect();
        assert_eq!(pool.out(), LARGE_PIECES + 10);
        assert_eq!(out[LARGE_PIECES - 1].room().len(), LARGE);
        assert_eq!(out[LARGE_PIECES].room().len(), SMALL);
        out.clear();
        assert_eq!(pool.out(), 0);
        assert_eq!(pool.large.idle.lock().unwrap().len(), KEPT);
        let mut piece = pool.take(3);
        assert_eq!(piece.room().len(), SMALL);
        piece.room()[..3].copy_from_slice(b"abc");
        let bytes = piece.into_bytes(3);
        let part = bytes.slice(1..);
        drop(bytes);
        assert_eq!((pool.out(), &part[..]), (1, &b"bc"[..]));
        drop(part);
        assert_eq!(pool.out(), 0);
    }
}
