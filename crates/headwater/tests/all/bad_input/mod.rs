//! What people and programs get wrong, and the exact words they get for it: tables of bad images, requests and commands.
//!
//! Each row says how the bad thing is made and what is answered. The tables are tried on the built program, from outside, and
//! hold it to the same four things: the words are these and no others; nothing is changed; nothing that is not the asker's
//! business is told; and it neither panics, nor takes long, nor takes much memory.

mod commands;
mod folders;
mod images;
mod kit;
mod requests;
mod serving;
