//! The built program, run as people run it: one file per verb.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed; clippy.toml allows this in #[test] functions, not in what they call"
)]

mod alias;
mod audit;
mod bundle;
mod delta;
mod edges;
mod export;
mod gc;
mod image;
mod key;
pub(crate) mod kit;
mod mirror;
mod project;
mod publish;
mod reference;
mod repack;
mod serve;
mod token;
mod trust;
mod verify;
mod view;
