//! What the server answers: most tests call the front door without sockets, as a connection would; `sockets` opens some.

mod addresses;
mod api;
mod callers;
mod documents;
mod files;
mod itself;
mod kit;
mod people;
mod plain;
mod program;
mod projects;
mod sockets;
