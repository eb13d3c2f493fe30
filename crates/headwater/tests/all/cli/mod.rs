//! The built program, run as people run it: one file per verb.

mod alias;
mod edges;
mod export;
mod gc;
mod image;
mod kit;
mod project;
mod publish;
mod reference;
mod serve;
mod verify;
