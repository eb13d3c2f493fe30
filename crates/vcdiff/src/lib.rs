//! VCDIFF (RFC 3284) as `xdelta3` speaks it: what must be known to make one file of another.
//!
//! ```
//! use std::io::Cursor;
//! use headwater_vcdiff::{Forward, Limits, decode};
//!
//! // "hello, hello, hello": the first word from the base, then a copy of what has just been made.
//! let base = b"hello, world";
//! let delta = [
//!     0xd6, 0xc3, 0xc4, 0, 0, // VCDIFF version 0, nothing special
//!     1, 7, 0, // a window with a segment: 7 bytes of the base, from 0 on
//!     10, 19, 0, 0, 3, 2, // lengths: all that follows, target window, data, instructions, addresses
//!     23, 19 + 16, 12, // copy 7 bytes; copy 12 bytes, address as a distance
//!     0, 7, // from the beginning; from 7 bytes back
//! ];
//! let mut target = Vec::new();
//! decode(Cursor::new(base), &delta[..], &mut Forward(&mut target), &Limits::default())?;
//! assert_eq!(target, b"hello, hello, hello");
//! # Ok::<(), headwater_vcdiff::Error>(())
//! ```
//!
//! The decoder takes deltas of strangers: it never panics, takes no more memory than its [`Limits`] say, and ends. It
//! reads what `xdelta3` 3.0 and 3.1 write with the default code table, with and without checksums, plain or compressed
//! with LZMA.
//!
//! The encoder finds what moved anywhere in a base of any size, on several threads, in memory that the caller sets:
//! [`encode()`]. Whoever publishes a delta decodes it first and compares the target's hash.
//!
//! The format, with what `xdelta3` adds to it and how its decoder behaves, is in `docs/reference/vcdiff.md`.
//!
//! This crate knows nothing of paths, processes, clocks or async: it reads and writes through [`std::io::Read`],
//! [`std::io::Write`], [`std::io::Seek`] and [`ReadAt`].

mod address_cache;
mod adler32;
mod base;
mod code_table;
mod confine;
mod decode;
mod encode;
mod error;
mod format;
mod index;
mod instructions;
mod matcher;
mod near;
mod pages;
mod secondary;
mod varint;
mod window;

pub use decode::{Decoded, Forward, Limits, Rewindable, Target, decode};
pub use encode::{Encoded, Options, encode};
pub use error::{Error, Secondary};
pub use pages::ReadAt;
