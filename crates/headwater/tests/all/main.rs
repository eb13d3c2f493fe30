//! What Headwater promises, tried from outside: one module for each room or behaviour, builders and harnesses in `kit`.

#![allow(missing_docs, reason = "tests say what they show by their names")]

mod catalog;
mod kit;
