//! The crate against the real `xdelta3`, and against itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they show by their names, and fail by panicking; clippy's allowance covers `#[test]` functions only"
)]

mod decoding;
mod encoding;
mod hostile;
mod kit;
