//! Documents, prepared once and kept: rendered for a revision, a project, a filter and a family, as they are sent.
//!
//! The plain and the compressed form are kept apart, each when somebody asks for it; nearly all clients ask for gzip. An
//! entry that nobody asked for in ten minutes goes, and so do the least used ones when the cache is full. Several who ask for
//! a document that is not there wait for one rendering of it, and only a few are rendered at a time.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::write::GzEncoder;
use headwater_formats::names::ProjectName;
use headwater_formats::simplestreams::Family;
use moka::future::Cache;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::auth::Viewer;
use crate::catalog::{Catalog, CatalogError, Revision};
use crate::documents;
use crate::http::conditional::Validators;
use crate::http::route::{Place, Scope};

/// How many documents are rendered at a time.
const RENDERED_AT_ONCE: usize = 2;
/// How long one is kept that nobody asks for.
const IDLE: Duration = Duration::from_secs(600);

/// Which document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `index.json`
    Index,
    /// `images.json`
    Products,
}

/// For whom, in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// For which clients.
    pub family: Family,
    /// Compressed with gzip.
    pub gzip: bool,
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

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    revision: Revision,
    project: ProjectName,
    view: String,
    viewer: Viewer,
    wanted: Wanted,
}

/// The documents that are kept.
#[derive(Debug)]
pub struct Documents {
    kept: Cache<Arc<Key>, Pair>,
    rendering: Semaphore,
}

impl Documents {
    /// An empty cache for that many bytes.
    pub fn new(bytes: u64) -> Self {
        let kept = Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, pair: &Pair| {
                let bytes = pair.index.bytes.len() + pair.products.bytes.len();
                u32::try_from(bytes + 512).unwrap_or(u32::MAX)
            })
            .time_to_idle(IDLE)
            .build();
        Self { kept, rendering: Semaphore::new(RENDERED_AT_ONCE) }
    }

    /// A document, from the cache or made now. [`CatalogError::NoProject`] also for a project in which the viewer sees nothing.
    pub async fn get(
        &self,
        catalog: &Catalog,
        viewer: &Viewer,
        scope: &Scope,
        kind: Kind,
        wanted: Wanted,
    ) -> Result<Prepared, Arc<CatalogError>> {
        let key = Arc::new(Key {
            revision: catalog.revision().await?,
            project: project_of(scope),
            view: scope.view.to_string(),
            viewer: viewer.clone(),
            wanted,
        });
        let pair = self.kept.try_get_with(Arc::clone(&key), self.prepare(catalog, scope, &key)).await?;
        Ok(match kind {
            Kind::Index => pair.index,
            Kind::Products => pair.products,
        })
    }

    async fn prepare(&self, catalog: &Catalog, scope: &Scope, key: &Key) -> Result<Pair, CatalogError> {
        // The semaphore is never closed: it lives as long as the cache.
        let _turn = self.rendering.acquire().await;
        let Key { project, viewer, wanted, .. } = key;
        if !project.is_default() && catalog.project(viewer, project).await?.is_none() {
            return Err(CatalogError::NoProject(project.to_string()));
        }
        let made = documents::both(catalog, viewer, project, &scope.view, wanted.family).await?;
        let gzip = wanted.gzip;
        let pair = tokio::task::spawn_blocking(move || Pair {
            index: Prepared::new(made.index, gzip, made.revision),
            products: Prepared::new(made.products, gzip, made.revision),
        });
        pair.await.map_err(|error| CatalogError::Bytes(std::io::Error::other(error)))
    }
}

impl Prepared {
    fn new(plain: Vec<u8>, gzip: bool, revision: Revision) -> Self {
        let bytes = if gzip { compress(&plain) } else { plain };
        let etag = format!("\"{}\"", &HEXLOWER.encode(&Sha256::digest(&bytes))[..32]);
        let validators = Validators { etag: Some(etag), modified: Some(revision.changed_at) };
        Self { bytes: Bytes::from(bytes), validators }
    }
}

/// The project that a scope looks at.
fn project_of(scope: &Scope) -> ProjectName {
    match &scope.place {
        Place::Project(project) => project.clone(),
        Place::Bare | Place::View(_) => ProjectName::default_project(),
    }
}

/// Compresses without a time stamp, so that the same document is the same bytes on every server.
fn compress(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 3), Compression::new(6));
    // Memory takes every byte: this cannot fail.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default()
}
