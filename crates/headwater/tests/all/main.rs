//! All the integration tests, in one binary: it is linked once. One file per behaviour.

mod cli;
mod house;
