//! What the server answers: most tests call the front door without sockets, as a connection would; `sockets` opens some.

mod addresses;
mod api;
mod asking;
mod callers;
mod documents;
mod files;
mod kit;
mod people;
mod plain;
mod program;
mod slow;
mod sockets;
mod uploads;
