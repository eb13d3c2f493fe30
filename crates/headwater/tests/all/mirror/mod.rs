//! Mirrors: what comes from upstreams that are as bad as a test wants them, and what is on the disk when it did not come.

mod documents;
mod kit;
mod refusals;
mod resuming;
mod together;
