//! The room as a whole, on a real catalog and a real store in a throw-away folder.

mod bad_input;
mod exporting;
mod folders;
mod kit;
mod publishing;
mod ready;
mod sweeping;
mod verifying;
