//! What the server answers: most tests call the front door without sockets, as a connection would; `sockets` opens some.

mod addresses;
mod alias_changes;
mod api;
mod asking;
mod callers;
mod documents;
mod files;
mod image_changes;
mod kit;
mod many_uploads;
mod people;
mod plain;
mod program;
mod slow;
mod sockets;
mod uploads;
