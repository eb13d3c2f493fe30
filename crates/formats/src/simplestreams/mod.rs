//! Simplestreams: the JSON documents that list images for clients that need nothing but a web server.
//!
//! ```
//! use headwater_formats::simplestreams::{Family, render};
//! use headwater_formats::timestamp::Timestamp;
//!
//! let family = Family::of_user_agent("LXD 5.0.2 (Linux; x86_64; 6.1; Debian GNU/Linux; 12)");
//! assert_eq!(family, Family::Lxd);
//! let index = render::index(["debian:12:amd64:default"], Timestamp::EPOCH);
//! let products = render::products(&[], family, Timestamp::EPOCH);
//! assert!(index.starts_with(br#"{"format":"index:1.0""#));
//! assert!(products.ends_with(br#""products":{}}"#));
//! ```
//!
//! The way out: products are written strictly typed, one way for each [`Family`] of clients ([`render`]), after
//! [`item`] has said which image takes which place in a version, and [`delta`] which delta is listed beside it.
//!
//! The way in: documents of other servers are read leniently ([`parse`]), and [`client`] computes from them which images
//! a client would build; [`select`] leaves out what a mirror does not want. [`convert`] turns these into products of ours and says what is lost on the way. [`go`] reads
//! as strictly as the clients themselves do, to check that what is written can be read.
//!
//! What this module does not know: signatures, HTTP, and where the files lie (paths are `images/<digest>.<extension>`,
//! relative to the address that people configure).

pub mod client;
pub mod convert;
pub mod delta;
mod document;
pub mod family;
pub mod go;
pub mod item;
pub mod parse;
mod products;
pub mod render;
pub mod select;
#[cfg(test)]
pub(crate) mod testing;

pub use family::{Deltas, Family, architecture_of_user_agent};
pub use item::{Slot, conflict, families, offered, slot};

/// Where the index lies, relative to the address that people configure; Go clients know no other place
/// (LXD `shared/simplestreams/simplestreams.go`).
pub const INDEX_PATH: &str = "streams/v1/index.json";
/// Where the index says that the products document lies. Clients keep both under the last part of their paths, so these differ.
pub const PRODUCTS_PATH: &str = "streams/v1/images.json";
/// Where the clear-signed index lies.
pub const SIGNED_INDEX_PATH: &str = "streams/v1/index.sjson";
/// Where the clear-signed index says that the products document lies, which is clear-signed, too.
pub const SIGNED_PRODUCTS_PATH: &str = "streams/v1/images.sjson";
/// The name of our only stream.
pub const CONTENT_ID: &str = "images";
/// The only datatype that image clients look at.
pub const DATATYPE: &str = "image-downloads";
