//! Files that come from servers which are as bad as a test wants them, and what is on the disk when they did not come.

mod kit;
mod refusals;
mod resuming;
mod together;
