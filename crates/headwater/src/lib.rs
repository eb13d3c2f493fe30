//! Headwater, the image server for LXD and Incus, as a library: the rooms that [`main`](../headwater/index.html)
//! puts together.
//!
//! `ARCHITECTURE.md` at the top of the repository is the map. In one line: front-ends ([`http`], [`cli`]) translate,
//! [`publish`] is the only writer of bytes and rows together, [`catalog`] knows what exists and who may see it,
//! [`blobs`] keeps bytes by their digest, and [`app`] puts them together.

pub mod app;
pub mod auth;
pub mod blobs;
pub mod bundle;
pub mod catalog;
pub mod cli;
pub mod client;
pub mod config;
pub mod deltas;
pub mod documents;
pub mod fail_point;
pub mod fetch;
pub mod first_run;
pub mod http;
pub mod mirror;
pub mod openpgp;
pub mod operations;
pub mod publish;
pub mod telemetry;
