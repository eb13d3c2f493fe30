//! What Headwater promises, tried from outside: one module for each room or behaviour, builders and harnesses in `kit`.
//! All of it is one binary, which is linked once.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they show by their names, and fail by panicking; clippy's allowance covers `#[test]` functions only"
)]

mod bad_input;
mod catalog;
mod cli;
mod client;
mod deltas;
mod documents;
mod house;
mod http;
mod kit;
mod mirror;
mod operations;
mod torture;
