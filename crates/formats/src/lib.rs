//! The formats of LXD and Incus images, and of the documents that list them.
//!
//! For example, [`digest::Fingerprint`] is what both protocols call an image by, [`inspect`] tells what a file on
//! disk is by looking at its bytes, and [`simplestreams`] turns products into the JSON that clients download.
//!
//! This crate is pure: it knows nothing of networks, folders, clocks, databases or async. What it reads comes
//! through [`std::io::Read`] and [`std::io::Seek`], what it needs to know of the time comes as a parameter.

pub mod alias;
pub mod arch;
pub mod digest;
pub mod filter;
pub mod image;
pub mod inspect;
pub mod lxd;
pub mod metadata;
pub mod names;
pub mod product;
pub mod simplestreams;
pub mod sniff;
pub mod timestamp;
pub mod tree;
pub mod view;
pub mod yaml;
