//! What Headwater promises, tried from outside: one module for each room or behaviour, builders and harnesses in `kit`.
//! All of it is one binary, which is linked once.

#![allow(missing_docs, reason = "tests say what they show by their names")]

mod catalog;
mod cli;
mod house;
mod http;
mod kit;
