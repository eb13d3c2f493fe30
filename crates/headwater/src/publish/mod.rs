//! The only writer of bytes and rows together: take in, check, list; retire, sweep, verify.
//!
//! This room knows nothing of HTTP or of the terminal: progress goes to a [`Progress`], bytes come from a [`Source`].

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use headwater_formats::names::{AliasName, ProjectName};
use headwater_formats::timestamp::Timestamp;

use crate::blobs::{BlobError, Blobs};
use crate::catalog::{Catalog, CatalogError, StoredImage};

/// Bytes to publish.
pub enum Source {
    /// A file on this machine.
    File(PathBuf),
    /// A stream of unknown length, and what to call it in messages and as `filename`.
    Stream {
        /// Its name, without folders.
        name: String,
        /// The bytes.
        reader: Box<dyn Read + Send>,
    },
}

/// What to publish, and how it is to be listed.
pub struct Request {
    /// The project.
    pub project: ProjectName,
    /// The metadata file of a split image, or the only file of a unified one.
    pub first: Source,
    /// The root file of a split image.
    pub root: Option<Source>,
    /// Fixed aliases.
    pub aliases: Vec<AliasName>,
    /// Whether guests may see it.
    pub public: bool,
    /// Properties that are added to those of metadata.yaml, or replace them.
    pub properties: BTreeMap<String, String>,
}

/// Told while bytes are taken in. Called from a blocking thread, often; must be quick.
pub trait Progress: Send + Sync {
    /// A file begins; `total` is its length in bytes when known.
    fn begin(&self, name: &str, total: Option<u64>) {
        let _ = (name, total);
    }
    /// So many more bytes were taken in.
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }
    /// The file is complete.
    fn end(&self) {}
}

/// Tells nobody.
pub struct Silent;
impl Progress for Silent {}

/// What came of a request.
#[derive(Debug, Clone)]
pub struct Published {
    /// The image as it is listed.
    pub image: StoredImage,
    /// The project had it before; nothing was changed.
    pub already: bool,
}

/// Why an image was not published. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The bytes are not an image, or not one that clients could use. `{file}` is the name that the user gave.
    #[error("{file:?} cannot be published: {reason}")]
    Refused {
        /// The file's name.
        file: String,
        /// A sentence.
        reason: String,
    },
    /// The source could not be read.
    #[error("{file:?} cannot be read: {source}")]
    Read {
        /// The file's name.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes could not be stored.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The rows could not be written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// The room's handle.
#[derive(Clone)]
pub struct Publisher {
    /// What exists.
    pub catalog: Catalog,
    /// The bytes.
    pub blobs: Blobs,
}

impl Publisher {
    /// Takes in, checks and lists one image. When it returns `Ok`, the image is durable and every server on this
    /// catalog lists it.
    pub async fn publish(
        &self,
        request: Request,
        progress: Arc<dyn Progress>,
        now: Timestamp,
    ) -> Result<Published, PublishError> {
        let _ = (request, progress, now);
        unimplemented!()
    }
}
