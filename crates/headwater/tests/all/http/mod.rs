//! What the server answers: most tests call the front door without sockets, as a connection would; `sockets` opens some.

mod addresses;
mod api;
mod callers;
mod certificates;
mod documents;
mod events;
mod files;
mod hidden;
mod joining;
pub(crate) mod kit;
mod operations;
pub(crate) mod people;
mod plain;
mod program;
mod slow;
mod sockets;
mod who;
