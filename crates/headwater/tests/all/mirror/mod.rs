//! Mirrors: what is taken of good upstreams and how, and what bad ones get away with (nothing).

mod bundles;
mod documents;
mod hostile;
mod kit;
mod lazy;
mod private;
mod push;
mod running;
mod signed;
mod transfers;
