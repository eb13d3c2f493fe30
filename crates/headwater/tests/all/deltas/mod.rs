//! Deltas that make themselves: which are built, that they are right, and that wrong ones are not listed.

mod building;
pub(crate) mod kit;
mod sharing;
mod worker;
