//! What the server answers: most tests call the front door without sockets, as a connection would; `sockets` opens some.

mod addresses;
mod alias_changes;
mod api;
mod asking;
mod callers;
mod certificates;
mod documents;
mod events;
mod files;
mod hidden;
mod image_changes;
mod itself;
mod joining;
pub(crate) mod kit;
mod many_uploads;
mod operations;
pub(crate) mod people;
mod plain;
mod private_files;
mod private_streams;
mod program;
mod projects;
mod slow;
mod sockets;
mod uploads;
mod who;
