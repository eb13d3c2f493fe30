//! Documents, prepared once and kept: rendered for a revision and a stream, then with the place of their files put in, as they
//! are sent.
//!
//! Most streams have their files in one place, and what is kept of them is what is sent: the plain and the compressed form
//! apart, each when somebody asks for it; nearly all clients ask for gzip. Where files have a place for each caller, the draft is
//! kept too, so that another caller, or the next hour, costs no reading of the catalog.
//!
//! An entry that nobody asked for in ten minutes goes, and so do the least used ones when the cache is full. Several who ask for
//! a document that is not there wait for one rendering of it, and only a few are rendered at a time.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::write::GzEncoder;
use headwater_formats::simplestreams::render::FilesAt;
use headwater_formats::timestamp::Timestamp;
use moka::future::Cache;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::catalog::{Catalog, CatalogError, Revision};
use crate::documents::{self, Drafts, Stream};
use crate::http::conditional::Validators;

/// How many documents are rendered at a time.
const RENDERED_AT_ONCE: usize = 2;
/// How long one is kept that nobody asks for.
const IDLE: Duration = Duration::from_secs(600);
/// How hard gzip tries for a document that many ask for.
const SHARED: Compression = Compression::new(6);
/// And for one that is one caller's, for an hour: a third of the time for a tenth more bytes.
const PERSONAL: Compression = Compression::new(3);

/// Which document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `index.json`
    Index,
    /// `images.json`
    Products,
}

/// A document as it is sent.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The bytes.
    pub bytes: Bytes,
    /// Its tag (another one for the compressed form) and the time of the revision.
    pub validators: Validators,
}

/// Both documents of one reading of the catalog, so that they belong together.
#[derive(Debug, Clone)]
struct Pair {
    index: Prepared,
    products: Prepared,
}

/// What is listed, at which moment.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Listed {
    revision: Revision,
    stream: Stream,
}

/// How it is sent.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    listed: Arc<Listed>,
    files: FilesAt,
    gzip: bool,
}

/// The documents that are kept.
#[derive(Debug)]
pub struct Documents {
    sent: Cache<Arc<Key>, Pair>,
    drafts: Cache<Arc<Listed>, Arc<Drafts>>,
    rendering: Semaphore,
}

impl Documents {
    /// An empty cache for that many bytes.
    pub fn new(bytes: u64) -> Self {
        let weight = |bytes: usize| u32::try_from(bytes + 512).unwrap_or(u32::MAX);
        let sent = Cache::builder()
            .max_capacity(bytes / 2)
            .weigher(move |_, pair: &Pair| weight(pair.index.bytes.len() + pair.products.bytes.len()))
            .time_to_idle(IDLE)
            .build();
        let drafts = Cache::builder()
            .max_capacity(bytes / 2)
            .weigher(move |_, drafts: &Arc<Drafts>| weight(drafts.index.len() + drafts.products.size()))
            .time_to_idle(IDLE)
            .build();
        Self { sent, drafts, rendering: Semaphore::new(RENDERED_AT_ONCE) }
    }

    /// A document of a stream whose files are in that place, from the cache or made now.
    ///
    /// # Errors
    /// As [`documents::draft`].
    pub async fn get(
        &self,
        catalog: &Catalog,
        stream: Stream,
        files: FilesAt,
        kind: Kind,
        gzip: bool,
    ) -> Result<Prepared, Arc<CatalogError>> {
        let listed = Arc::new(Listed { revision: catalog.revision().await?, stream });
        let key = Arc::new(Key { listed, files, gzip });
        let pair = match self.sent.get(&key).await {
            Some(pair) => pair,
            None => {
                let drafts = if key.files == FilesAt::IMAGES {
                    None
                } else {
                    let listed = &key.listed;
                    Some(self.drafts.try_get_with(Arc::clone(listed), self.draft(catalog, listed)).await?)
                };
                self.sent.try_get_with(Arc::clone(&key), self.prepare(catalog, &key, drafts)).await?
            }
        };
        Ok(match kind {
            Kind::Index => pair.index,
            Kind::Products => pair.products,
        })
    }

    async fn draft(&self, catalog: &Catalog, listed: &Listed) -> Result<Arc<Drafts>, CatalogError> {
        // The semaphore is never closed: it lives as long as the cache.
        let _turn = self.rendering.acquire().await;
        documents::draft(catalog, &listed.stream).await.map(Arc::new)
    }

    async fn prepare(&self, catalog: &Catalog, key: &Key, drafts: Option<Arc<Drafts>>) -> Result<Pair, CatalogError> {
        let level = if drafts.is_some() { PERSONAL } else { SHARED };
        let drafts = match drafts {
            Some(drafts) => drafts,
            None => self.draft(catalog, &key.listed).await?,
        };
        let _turn = self.rendering.acquire().await;
        let (files, level) = (key.files.clone(), key.gzip.then_some(level));
        let pair = tokio::task::spawn_blocking(move || {
            let made = drafts.placed(&files);
            let modified = made.revision.changed_at;
            Pair {
                index: Prepared::new(made.index, level, modified),
                products: Prepared::new(made.products, level, modified),
            }
        });
        pair.await.map_err(|error| CatalogError::Bytes(std::io::Error::other(error)))
    }
}

impl Prepared {
    fn new(plain: Vec<u8>, level: Option<Compression>, modified: Timestamp) -> Self {
        let bytes = match level {
            Some(level) => compress(&plain, level),
            None => plain,
        };
        let etag = format!("\"{}\"", &HEXLOWER.encode(&Sha256::digest(&bytes))[..32]);
        let validators = Validators { etag: Some(etag), modified: Some(modified) };
        Self { bytes: Bytes::from(bytes), validators }
    }
}

/// Compresses without a time stamp, so that the same document is the same bytes on every server.
fn compress(plain: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 3), level);
    // Memory takes every byte: this cannot fail.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default()
}
