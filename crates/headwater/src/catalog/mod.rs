//! What exists, and who may see it: projects, products, images, aliases, files, in SQL.
//!
//! ```no_run
//! # async fn example() -> Result<(), headwater::catalog::CatalogError> {
//! use headwater::auth::Viewer;
//! use headwater::catalog::{Catalog, Location};
//! use headwater_formats::names::ProjectName;
//!
//! let catalog = Catalog::open(&Location::Sqlite("catalog.db".into())).await?;
//! let images = catalog.images(&Viewer::guest(), &ProjectName::default_project(), None, 100).await?;
//! # Ok(()) }
//! ```
//!
//! One file per noun. SQL is written here and nowhere else, once for both engines; what differs between SQLite and
//! PostgreSQL stands in `engine.rs`. This room knows nothing of HTTP, of files on disk, or of how bytes are kept.

mod aliases;
mod commit;
mod error;
mod files;
mod images;
mod products;
mod projects;
mod settings;

use std::path::PathBuf;

use headwater_formats::timestamp::Timestamp;

pub use aliases::{Alias, AliasTarget, Resolved, Wanted};
pub use commit::{Committed, NewImage};
pub use error::CatalogError;
pub use files::{BlobUse, Retired};
pub use images::{Found, ImageAlias, ImageEdit, Placement, StoredImage};
pub use projects::Project;

/// Where the catalog is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file, made when it is missing; its folder must exist.
    Sqlite(PathBuf),
    /// A connection URL, `postgres://…`.
    Postgres(String),
}

/// How often the catalog has changed, and when it last did. Documents are the same bytes as long as this is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision {
    /// Grows by one with every change that a reader could see.
    pub number: i64,
    /// The time of that change, as the writer gave it.
    pub changed_at: Timestamp,
}

/// The catalog: a handle that can be cloned and shared.
#[derive(Debug, Clone)]
pub struct Catalog {}

impl Catalog {
    /// Opens the catalog and brings its schema up to this program's.
    ///
    /// # Errors
    /// [`CatalogError::Newer`] when a newer program has already changed the schema; others when the database cannot
    /// be reached, read or written.
    pub async fn open(location: &Location) -> Result<Self, CatalogError> {
        let _ = location;
        unimplemented!()
    }

    /// Ends all connections; on SQLite the write-ahead log is folded in.
    pub async fn close(&self) {
        unimplemented!()
    }

    /// The current revision. Cheap: asked for once per request.
    pub async fn revision(&self) -> Result<Revision, CatalogError> {
        unimplemented!()
    }
}
