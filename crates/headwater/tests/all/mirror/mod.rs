//! Mirrors: what is taken of good upstreams and how, and what bad ones get away with (nothing).

mod bundles;
mod kit;
mod running;
