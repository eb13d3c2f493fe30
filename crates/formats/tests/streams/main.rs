//! Simplestreams documents: real ones read, ours written, and the way from one to the other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod again;
mod any_input;
mod real;
mod round_trip;
mod written;
