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
//! PostgreSQL stands in `engine.rs` and `open.rs`. This room knows nothing of HTTP, of files on disk, or of how bytes are kept.

mod address_keys;
mod aliases;
mod audit;
mod changes;
mod coming;
mod commit;
mod delta_list;
mod delta_work;
mod deltas;
mod engine;
mod error;
mod files;
mod held;
mod identities;
mod images;
mod lists;
mod mark;
mod mirrored;
mod names;
mod open;
mod operations;
mod place;
#[cfg(test)]
mod plans;
mod products;
mod projects;
mod promises;
mod records;
mod remove;
mod retention;
mod rows;
mod saved_views;
mod settings;
mod sight;
mod stream_keys;
mod succeed;
mod upstreams;
mod version;

use std::path::PathBuf;
use std::sync::Arc;

use headwater_formats::timestamp::Timestamp;

use crate::auth::Actor;
use engine::{Engine, Tx, values};
use mark::Shared;

pub use aliases::{Alias, AliasEdit, AliasTarget, HandMade, Resolved, Wanted};
pub use audit::{Action, AuditEntry, AuditQuery, Download};
pub use changes::{Changed, Changes};
pub use commit::{Committed, NewImage};
pub use delta_list::{DeltaPlace, DeltaRow};
pub use delta_work::{
    ClaimedDelta, DeltaClaim, DeltaState, DeltaWish, KnownDelta, MOST_ATTEMPTS, PlanMark, ProductId, ProductRoot,
    ProductRoots,
};
pub use deltas::DeltaFile;
pub use error::CatalogError;
pub use files::{BlobUse, Retired};
pub use held::HeldNote;
pub use identities::{Credential, IdentityEdit, NewIdentity};
pub use images::{Found, ImageAlias, ImageEdit, Placement, StoredImage};
pub use lists::{Form, ImageList, ImageText, ListPage};
pub use mirrored::{Described, Given, GivenProduct, Mirrored};
pub use operations::{Join, MOST_LISTED, OperationClass, Purpose, Push, SECRET_GRACE, StoredOperation};
pub use products::Listed;
pub use projects::Project;
pub use promises::{Cached, Kept, Promise, Unproven};
pub use retention::{ProductImages, Retention, VersionImage};
pub use saved_views::SavedView;
pub use stream_keys::KeptKey;
pub use upstreams::{
    UnknownProtocol, Upstream, UpstreamClaim, UpstreamCredential, UpstreamId, UpstreamProtocol, UpstreamRun,
    UpstreamSettings,
};

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

/// A state of the catalog, identities and all: what was read from it is still true as long as this is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Moment {
    /// What documents show.
    pub revision: Revision,
    /// Counts every change, also those that make no new revision.
    writes: i64,
}

/// The catalog: a handle that can be cloned and shared.
#[derive(Debug, Clone)]
pub struct Catalog {
    engine: Engine,
    moment: Arc<Shared<Moment>>,
    actor: Arc<Actor>,
}

impl Catalog {
    /// Opens the catalog and brings its schema up to this program's. A SQLite file that cannot be written to is opened
    /// for reading: what writes then says [`CatalogError::NotWritable`].
    ///
    /// # Errors
    /// [`CatalogError::Newer`] when a newer program has already changed the schema; others when the database cannot
    /// be reached, read or written.
    pub async fn open(location: &Location) -> Result<Self, CatalogError> {
        let engine = open::open(location).await?;
        Ok(Self { engine, moment: Arc::default(), actor: Arc::new(Actor::server()) })
    }

    /// The same catalog for changes that are made on behalf of this actor: the audit names it. Without it, the server
    /// itself is named.
    pub fn acting(&self, actor: impl Into<Arc<Actor>>) -> Self {
        Self { engine: self.engine.clone(), moment: Arc::clone(&self.moment), actor: actor.into() }
    }

    /// On whose behalf this handle changes things.
    pub fn actor(&self) -> &Arc<Actor> {
        &self.actor
    }

    /// Ends all connections; on SQLite the write-ahead log is folded in.
    pub async fn close(&self) {
        self.engine.close().await;
    }

    /// The current revision. Cheap: asked for once per request.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revision(&self) -> Result<Revision, CatalogError> {
        Ok(self.moment().await?.revision)
    }

    /// The current state: at least that of when this is called, with every change that was acknowledged by then, whoever made it.
    /// Mostly a matter of reading sixteen bytes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn moment(&self) -> Result<Moment, CatalogError> {
        let ask = || async {
            let sql = "SELECT number, changed_at, writes FROM revision WHERE id = 1";
            let rows = self.engine.fetch(sql, values![]).await?;
            let row = rows.first().ok_or_else(|| CatalogError::Corrupt("the revision is missing".into()))?;
            let revision = Revision { number: row.int(0)?, changed_at: rows::time(row.int(1)?)? };
            Ok(Moment { revision, writes: row.int(2)? })
        };
        self.moment.get(self.engine.mark(), ask).await
    }
}

/// The revision that a transaction sees.
async fn revision(tx: &mut Tx) -> Result<Revision, CatalogError> {
    let row = tx.row("SELECT number, changed_at FROM revision WHERE id = 1", values![]).await?;
    let row = row.ok_or_else(|| CatalogError::Corrupt("the revision is missing".into()))?;
    Ok(Revision { number: row.int(0)?, changed_at: rows::time(row.int(1)?)? })
}

/// Notes a change that readers could see; after the products that it changes ([`changes`]). Its time never goes back, even when the clock does.
async fn bump_revision(tx: &mut Tx, now: Timestamp) -> Result<(), CatalogError> {
    tx.later(
        "UPDATE revision SET number = number + 1, changed_at = CASE WHEN changed_at > $1 THEN changed_at ELSE $1 END \
         WHERE id = 1",
        values![now.unix()],
    )
    .await
}
