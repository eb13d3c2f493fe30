//! Which root files the clients of a token hold, looked up once for each revision of the catalog and token.
//!
//! What is listed for a token depends on it, so that it is not to change with every download: it is renewed when the catalog has another
//! revision, because lists are made anew then anyway, and after a while.

use std::sync::Arc;
use std::time::Duration;

use headwater_formats::digest::Digest;
use moka::sync::Cache;

use crate::auth::IdentityId;
use crate::catalog::{Catalog, CatalogError};

/// How many identities are remembered.
const KEPT: u64 = 4096;
/// How long, when the catalog does not change.
const RENEWED: Duration = Duration::from_secs(600);

/// What was looked up, and at which revision.
#[derive(Debug)]
pub struct Bases(Cache<IdentityId, (i64, Arc<[Digest]>)>);

impl Default for Bases {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(KEPT).time_to_live(RENEWED).build())
    }
}

impl Bases {
    /// The bases that a list for this identity should prefer: [`Catalog::bases_preferred`].
    pub(super) async fn of(&self, catalog: &Catalog, identity: IdentityId) -> Result<Vec<Digest>, CatalogError> {
        let revision = catalog.revision().await?.number;
        if let Some((at, bases)) = self.0.get(&identity)
            && at == revision
        {
            return Ok(bases.to_vec());
        }
        let bases = catalog.bases_preferred(identity).await?;
        self.0.insert(identity, (revision, bases.clone().into()));
        Ok(bases)
    }
}
