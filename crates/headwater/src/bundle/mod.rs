//! Bundles: images with all that is said of them in one file, to be carried where no network goes.
//!
//! ```no_run
//! # async fn example(publisher: headwater::publish::Publisher, now: fn() -> headwater_formats::timestamp::Timestamp)
//! # -> Result<(), headwater::bundle::BundleError> {
//! use headwater::bundle::{Bundles, TakeRequest, Unseen};
//!
//! let bundle = std::fs::File::open("images.tar").unwrap();
//! let taken = Bundles::new(publisher, now).take(Box::new(bundle), TakeRequest::default(), &Unseen).await?;
//! println!("{} images are new", taken.listed);
//! # Ok(()) }
//! ```
//!
//! A bundle is a plain tar: the manifest first (`manifest.jsonl`, see `manifest.rs`), then the files that it says are carried, in the order in which it says so: images one
//! after the other, metadata before root, each file once. So whoever takes it in reads it once, from a pipe, too, and lists images as they come.
//!
//! | file | what it does |
//! | --- | --- |
//! | `manifest.rs` | the lines of a manifest: written, read, checked |
//! | `make.rs` | reads a project, writes a bundle |
//! | `state.rs` | what is remembered between bundles that build on each other |
//! | `tape.rs` | a tar as a stream |
//! | `take.rs` | takes a bundle in |
//!
//! This room knows nothing of terminals. Bytes come into the store by `publish` alone, which looks into them as into all that is published.

mod make;
mod manifest;
mod state;
mod take;
mod tape;

use std::io;
use std::path::PathBuf;

use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::timestamp::Timestamp;

use crate::blobs::BlobError;
use crate::catalog::CatalogError;
use crate::publish::{PublishError, Publisher};

pub use make::{Made, MakeRequest, To};
pub use manifest::{BundleId, Counts, Head};
pub use take::{TakeRequest, Taken, Tell, Unseen};

/// The room's handle.
#[derive(Debug, Clone)]
pub struct Bundles {
    publisher: Publisher,
    now: fn() -> Timestamp,
}

impl Bundles {
    /// Reads and writes with this publisher.
    pub fn new(publisher: Publisher, now: fn() -> Timestamp) -> Self {
        Self { publisher, now }
    }
}

/// Why a bundle was not made or not taken in to its end. One that was not made leaves nothing; of one that was not taken in to its end, the
/// images that were complete are listed.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file or folder on this machine.
    #[error("{path:?} cannot be written or read: {source}")]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The bytes go nowhere.
    #[error("the bundle cannot be written: {0}")]
    Stream(#[source] io::Error),
    /// Somebody stopped it.
    #[error("stopped; nothing was written")]
    Stopped,
    /// What is remembered of earlier bundles.
    #[error(
        "{path:?} does not say what earlier bundles had: {why}; give another file with --state, or remove it to begin with a whole bundle"
    )]
    State {
        /// Where.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A file that an image needs.
    #[error("the file {0} is missing or damaged in the store; `headwater verify` tells more")]
    Store(Digest),
    /// Files that are not here.
    #[error(
        "{} of the files to carry {} not here, because a lazy upstream only promises {}; have it keep all of them (`headwater mirror edit NAME --lazy \
         off`, then `headwater mirror run NAME`), or leave those images out with --only",
        files,
        if *files == 1 { "is" } else { "are" },
        if *files == 1 { "it" } else { "them" }
    )]
    Promised {
        /// How many.
        files: usize,
    },
    /// The manifest became larger than one may be.
    #[error("the manifest has more than {0} bytes, which is the limit; make several bundles, each with another --only")]
    TooLarge(u64),
    /// More is said of one image or product than a line may hold.
    #[error(
        "an image or a product has more than {0} bytes of properties, which is more than a bundle can say of it; leave it out with --only, or remove some of them"
    )]
    LineTooLarge(u64),
    /// A file beside the blobs, for what has no place in memory.
    #[error("no temporary file can be used in the data folder: {0}")]
    Spool(#[source] io::Error),

    /// The bundle cannot be read.
    #[error("the bundle cannot be read: {0}")]
    Read(#[source] io::Error),
    /// It ends before its end.
    #[error("the bundle ends early, so it was not copied whole; copy it again")]
    Cut,
    /// It is no tar, or a damaged one.
    #[error("the bundle is no tar, or a damaged one: {0}")]
    Tar(&'static str),
    /// The first file is none that begins a bundle.
    #[error(
        "this is no bundle: it begins with {0:?} where a bundle has its manifest; `headwater export --to FILE.tar` makes one"
    )]
    NoBundle(String),
    /// Something in the tar is no plain file.
    #[error(
        "{name:?} in the bundle is {what}, and a bundle has nothing but files; whoever made it, it was not Headwater"
    )]
    NoFile {
        /// Its name.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// A name that leads out.
    #[error("{0:?} in the bundle is a name that leads out of it; whoever made it, it was not Headwater")]
    Outside(String),
    /// Two manifests.
    #[error("the bundle has a second manifest; give bundles one by one")]
    SecondManifest,
    /// A manifest of another time.
    #[error("the bundle has format {0}, which a later release of Headwater writes; this one reads format {format}, so update it", format = manifest::FORMAT)]
    Later(u64),
    /// The manifest.
    #[error("line {line} of the manifest is wrong: {why}; copy the bundle again, or make another one")]
    Manifest {
        /// Which line, from 1.
        line: u64,
        /// Why.
        why: String,
    },
    /// A file that is not the one that the manifest names.
    #[error("{found:?} ({size} bytes) is in the bundle where the manifest names {}; copy the bundle again, or make another one", wanted.as_deref().unwrap_or("no file any more"))]
    Unnamed {
        /// What is there.
        found: String,
        /// Its length.
        size: u64,
        /// What should be there.
        wanted: Option<String>,
    },
    /// A file that is not what its name says.
    #[error("{name:?} in the bundle is damaged: its SHA-256 is {found}; copy the bundle again")]
    Damaged {
        /// Its name.
        name: String,
        /// What it is.
        found: Digest,
    },
    /// The files of an image are another one than the manifest says.
    #[error("the image {0} is not what the manifest says of it; make the bundle again")]
    Other(Fingerprint),
    /// An image was refused.
    #[error("the image {fingerprint} was not taken in: {source}")]
    Image {
        /// Which one.
        fingerprint: Fingerprint,
        /// Why.
        source: PublishError,
    },
    /// Images could not be listed.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The store of bytes failed.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}
