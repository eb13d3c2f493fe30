//! The crate against the real `xdelta3`, and against itself.

mod decoding;
mod encoding;
mod hostile;
mod kit;
