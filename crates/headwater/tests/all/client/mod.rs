//! Headwater as a client: what good servers give, what bad ones get away with (nothing), and what is left behind (nothing).

mod direct;
pub(crate) mod kit;
mod lxd;
pub(crate) mod people;
mod push;
mod refresh;
mod streams;
