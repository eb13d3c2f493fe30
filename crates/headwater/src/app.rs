//! The composition root: puts the rooms together from a [`Config`](crate::config::Config).
//!
//! Front-ends and tests start the same thing: [`App::open`] gives the catalog, the blobs and the publisher of one data folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::auth::Actor;
use crate::blobs::{BlobError, Blobs};
use crate::catalog::{Catalog, CatalogError, Location};
use crate::publish::Publisher;

/// Why the data folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder itself.
    #[error(
        "the data folder {folder:?} cannot be used: {source}; give another one with --data, or mend its permissions"
    )]
    Folder {
        /// The folder as it was given.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The rows.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// The rooms of one installation, open.
#[derive(Clone)]
pub struct App {
    /// What exists.
    pub catalog: Catalog,
    /// The bytes.
    pub blobs: Blobs,
    /// The writer of both.
    pub publisher: Publisher,
}

impl App {
    /// Opens the installation in this data folder, making what is missing: `catalog.db` (unless `database` names a
    /// PostgreSQL server) and `blobs/`.
    pub async fn open(data: &Path, database: Option<&str>) -> Result<Self, OpenError> {
        std::fs::create_dir_all(data).map_err(|source| {
            let in_the_way = source.kind() == std::io::ErrorKind::AlreadyExists;
            let source = if in_the_way { std::io::Error::other("it is a file") } else { source };
            OpenError::Folder { folder: data.to_owned(), source }
        })?;
        let blobs = Blobs::open(data.join("blobs"))?;
        let location = match database {
            Some(url) => Location::Postgres(url.to_owned()),
            None => Location::Sqlite(data.join("catalog.db")),
        };
        let catalog = Catalog::open(&location).await?;
        Ok(Self { publisher: Publisher::new(catalog.clone(), blobs.clone()), catalog, blobs })
    }

    /// The same installation for changes on behalf of this actor: the audit names it. Without it, the server itself is named.
    pub fn acting(&self, actor: impl Into<Arc<Actor>>) -> Self {
        let actor = actor.into();
        Self {
            catalog: self.catalog.acting(Arc::clone(&actor)),
            blobs: self.blobs.clone(),
            publisher: self.publisher.acting(actor),
        }
    }
}
