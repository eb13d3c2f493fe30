//! The crate against the real `xdelta3`, and against itself.

mod decoding;
mod hostile;
mod kit;
