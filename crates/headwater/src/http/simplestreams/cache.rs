//! Documents as answers: what [`Listings`] keep is sent from where it lies, and what is small from memory.
//!
//! | document | how it is kept |
//! | --- | --- |
//! | of one project | in parts (`documents`); whole when it has up to 256 KiB |
//! | of one project, files at a place of the caller's | made of the same parts while it is sent; whole for a while when it is small |
//! | of several projects | rendered and kept whole for each revision, within bounds |
//!
//! What is whole goes when nobody asked for it in ten minutes, and so do the least used ones when there are too many. Several who
//! ask for a document of several projects that is not there wait for one rendering of it, and only a few are rendered at a time.

use std::io::{self, Read, Write};
use std::sync::Arc;

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
use crate::documents::{
    self, Drafts, Form, IDLE, Kind, ListingError, Listings, Projects, SMALL, Scratch, Snapshot, Stream,
};
use crate::http::body::{Body, Part};
use crate::http::buffers::Pool;
use crate::http::conditional::Validators;
use crate::http::read_body::ReadBody;

/// How many documents are rendered whole at a time.
const RENDERED_AT_ONCE: usize = 2;
/// How hard gzip tries for a document that many ask for.
const SHARED: Compression = Compression::new(6);
/// And for one that is one caller's, for an hour: a third of the time for a tenth more bytes.
const PERSONAL: Compression = Compression::new(3);

/// A document, ready to be sent.
#[derive(Debug)]
pub struct Prepared {
    /// The bytes.
    pub body: Body,
    /// Its tag (another one for the compressed form) and the time of the revision.
    pub validators: Validators,
}

/// The text of a document, to be read more than once: for its signature, and to be sent with it.
#[derive(Debug)]
pub struct Text {
    source: Source,
    length: u64,
    pool: Arc<Pool>,
    /// As those of [`Prepared`], without compression.
    pub validators: Validators,
}

#[derive(Debug)]
enum Source {
    Whole(Bytes),
    Parts(Arc<Snapshot>, Kind),
    Placed(Arc<Snapshot>, FilesAt),
}

impl Text {
    /// Reads it from its beginning. Work for a blocking thread.
    ///
    /// # Errors
    /// When what is kept cannot be read.
    pub fn reader(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match &self.source {
            Source::Whole(bytes) => Box::new(io::Cursor::new(bytes.clone())),
            Source::Parts(snapshot, kind) => Box::new(snapshot.reader(*kind, Form::Plain)?),
            Source::Placed(snapshot, files) => Box::new(snapshot.placed(files)),
        })
    }

    /// Another text of the same state: this one, whole in memory, changed. For an index, which is its keys.
    ///
    /// # Errors
    /// As [`Text::reader`].
    pub fn changed(self, change: impl FnOnce(&[u8]) -> Vec<u8>) -> io::Result<Self> {
        let mut text = Vec::new();
        self.reader()?.read_to_end(&mut text)?;
        let text = change(&text);
        Ok(Self { length: text.len() as u64, source: Source::Whole(text.into()), ..self })
    }

    /// It, as a part of a body.
    ///
    /// # Errors
    /// As [`Text::reader`].
    pub fn part(&self) -> io::Result<Part> {
        Ok(match &self.source {
            Source::Whole(bytes) => Part::Bytes(bytes.clone()),
            _ => Part::Read(ReadBody::sized(self.reader()?, self.length, Arc::clone(&self.pool))),
        })
    }
}

/// A document that is there as a whole.
#[derive(Debug, Clone)]
struct Whole {
    bytes: Bytes,
    validators: Validators,
}

/// Both documents of one reading of the catalog, so that they belong together.
#[derive(Debug, Clone)]
struct Pair {
    index: Whole,
    products: Whole,
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
    form: Form,
}

/// The documents that are kept.
#[derive(Debug)]
pub struct Documents {
    listings: Listings,
    placed: Cache<Arc<Key>, Bytes>,
    sent: Cache<Arc<Key>, Pair>,
    drafts: Cache<Arc<Listed>, Arc<Drafts>>,
    rendering: Semaphore,
    pool: Arc<Pool>,
}

impl Documents {
    /// An empty cache for that many bytes of memory; parts of documents lie in files that `scratch` gives.
    pub fn new(bytes: u64, scratch: Scratch, pool: Arc<Pool>) -> Self {
        let weight = |bytes: usize| u32::try_from(bytes + 512).unwrap_or(u32::MAX);
        let placed = Cache::builder().max_capacity(bytes / 8).weigher(move |_, bytes: &Bytes| weight(bytes.len()));
        let sent = Cache::builder()
            .max_capacity(bytes / 8)
            .weigher(move |_, pair: &Pair| weight(pair.index.bytes.len() + pair.products.bytes.len()));
        let drafts = Cache::builder()
            .max_capacity(bytes / 4)
            .weigher(move |_, drafts: &Arc<Drafts>| weight(drafts.index.len() + drafts.products.size()));
        Self {
            listings: Listings::new(bytes / 2, scratch),
            placed: placed.time_to_idle(IDLE).build(),
            sent: sent.time_to_idle(IDLE).build(),
            drafts: drafts.time_to_idle(IDLE).build(),
            rendering: Semaphore::new(RENDERED_AT_ONCE),
            pool,
        }
    }

    /// A document of a stream whose files are in that place, of the catalog's revision now or of a later one.
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
        let form = if gzip { Form::Gzip } else { Form::Plain };
        if let Some((snapshot, one)) = self.in_parts(catalog, &stream).await? {
            let sent = self.send(snapshot, one, files, kind, form).await;
            return sent.map_err(|error| Arc::new(CatalogError::Bytes(error)));
        }
        let Whole { bytes, validators } = self.whole(catalog, stream, files, kind, form).await?;
        Ok(Prepared { body: Body::full(bytes), validators })
    }

    /// What is kept of a stream in parts, and that stream as one of a single project; `None` when it has to be rendered whole.
    async fn in_parts(
        &self,
        catalog: &Catalog,
        stream: &Stream,
    ) -> Result<Option<(Arc<Snapshot>, Stream)>, Arc<CatalogError>> {
        let Some(project) = documents::only_project(stream) else { return Ok(None) };
        let one = Stream { projects: Projects::One(project.clone()), ..stream.clone() };
        match self.listings.get(catalog, &one).await {
            Ok(snapshot) => return Ok(Some((snapshot, one))),
            // Of a list of projects, one that is gone is only one less.
            Err(ListingError::Catalog(error))
                if matches!(*error, CatalogError::NoProject(_)) && stream.projects != one.projects => {}
            Err(ListingError::Catalog(error)) => return Err(error),
            Err(error) => tracing::warn!(%error, "a document is rendered as a whole"),
        }
        Ok(None)
    }

    /// The text of such a document.
    ///
    /// # Errors
    /// As [`documents::draft`].
    pub async fn text(
        &self,
        catalog: &Catalog,
        stream: Stream,
        files: FilesAt,
        kind: Kind,
    ) -> Result<Text, Arc<CatalogError>> {
        let pool = Arc::clone(&self.pool);
        if let Some((snapshot, _)) = self.in_parts(catalog, &stream).await? {
            let text = blocking(move || text_of_parts(snapshot, files, kind, pool)).await;
            return text.map_err(|error| Arc::new(CatalogError::Bytes(error)));
        }
        let Whole { bytes, validators } = self.whole(catalog, stream, files, kind, Form::Plain).await?;
        Ok(Text { length: bytes.len() as u64, source: Source::Whole(bytes), pool, validators })
    }

    /// A document that is put together from its parts.
    async fn send(
        &self,
        snapshot: Arc<Snapshot>,
        stream: Stream,
        files: FilesAt,
        kind: Kind,
        form: Form,
    ) -> io::Result<Prepared> {
        if kind == Kind::Products && files != FilesAt::IMAGES {
            return self.send_placed(snapshot, stream, files, form).await;
        }
        let modified = snapshot.revision().changed_at;
        let validators = move |digest: [u8; 32]| Validators { etag: Some(etag(&digest)), modified: Some(modified) };
        if let Some(bytes) = snapshot.whole(kind, form) {
            let validators = validators(snapshot.digest(kind, form)?);
            return Ok(Prepared { body: Body::full(bytes), validators });
        }
        let pool = Arc::clone(&self.pool);
        blocking(move || {
            let digest = snapshot.digest(kind, form)?;
            let body = match snapshot.make_whole(kind, form)? {
                Some(bytes) => Body::full(bytes),
                None => {
                    let length = snapshot.length(kind, form)?;
                    Body::parts([Part::Read(ReadBody::sized(snapshot.reader(kind, form)?, length, pool))])
                }
            };
            Ok(Prepared { body, validators: validators(digest) })
        })
        .await
    }

    /// The products with their files at a place of the caller's.
    async fn send_placed(
        &self,
        snapshot: Arc<Snapshot>,
        stream: Stream,
        files: FilesAt,
        form: Form,
    ) -> io::Result<Prepared> {
        let revision = snapshot.revision();
        let etag = etag(&snapshot.placed_digest(&files, form)?);
        let validators = Validators { etag: Some(etag), modified: Some(revision.changed_at) };
        let body = if snapshot.length(Kind::Products, Form::Plain)? <= SMALL {
            let key = Arc::new(Key { listed: Arc::new(Listed { revision, stream }), files: files.clone(), form });
            let read = move || {
                let mut bytes = Vec::new();
                match form {
                    Form::Plain => snapshot.placed(&files).read_to_end(&mut bytes)?,
                    Form::Gzip => snapshot.placed_gzip(&files).read_to_end(&mut bytes)?,
                };
                Ok(Bytes::from(bytes))
            };
            let bytes = self.placed.try_get_with(key, blocking(read)).await;
            Body::full(bytes.map_err(|error: Arc<io::Error>| io::Error::other(error))?)
        } else {
            let pool = Arc::clone(&self.pool);
            match form {
                Form::Plain => {
                    let length = snapshot.placed_length(&files);
                    Body::parts([Part::Read(ReadBody::sized(snapshot.placed(&files), length, pool))])
                }
                Form::Gzip => Body::stream(ReadBody::to_the_end(snapshot.placed_gzip(&files), pool)),
            }
        };
        Ok(Prepared { body, validators })
    }

    /// A document that is rendered as a whole.
    async fn whole(
        &self,
        catalog: &Catalog,
        stream: Stream,
        files: FilesAt,
        kind: Kind,
        form: Form,
    ) -> Result<Whole, Arc<CatalogError>> {
        let listed = Arc::new(Listed { revision: catalog.revision().await?, stream });
        let key = Arc::new(Key { listed, files, form });
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
        let (files, level) = (key.files.clone(), (key.form == Form::Gzip).then_some(level));
        let pair = blocking(move || {
            let made = drafts.placed(&files);
            let modified = made.revision.changed_at;
            Ok(Pair {
                index: Whole::new(made.index, level, modified),
                products: Whole::new(made.products, level, modified),
            })
        });
        pair.await.map_err(CatalogError::Bytes)
    }
}

fn text_of_parts(snapshot: Arc<Snapshot>, files: FilesAt, kind: Kind, pool: Arc<Pool>) -> io::Result<Text> {
    let placed = kind == Kind::Products && files != FilesAt::IMAGES;
    let (digest, length) = match placed {
        true => (snapshot.placed_digest(&files, Form::Plain)?, snapshot.placed_length(&files)),
        false => (snapshot.digest(kind, Form::Plain)?, snapshot.length(kind, Form::Plain)?),
    };
    let validators = Validators { etag: Some(etag(&digest)), modified: Some(snapshot.revision().changed_at) };
    let source = if placed { Source::Placed(snapshot, files) } else { Source::Parts(snapshot, kind) };
    Ok(Text { source, length, pool, validators })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// A strong entity tag out of a SHA-256.
fn etag(digest: &[u8]) -> String {
    format!("\"{}\"", &HEXLOWER.encode(digest)[..32])
}

impl Whole {
    fn new(plain: Vec<u8>, level: Option<Compression>, modified: Timestamp) -> Self {
        let bytes = match level {
            Some(level) => compress(&plain, level),
            None => plain,
        };
        let validators = Validators { etag: Some(etag(&Sha256::digest(&bytes))), modified: Some(modified) };
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
