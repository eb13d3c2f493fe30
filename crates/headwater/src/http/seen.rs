//! Which identities were seen, noted in memory and written down together once a minute, as downloads are in [`super::used`].

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use headwater_formats::timestamp::Timestamp;

use crate::auth::IdentityId;
use crate::catalog::Catalog;

/// Most identities that are noted between two writes; further ones are not.
const MOST: usize = 10_000;

/// The notes.
#[derive(Debug, Default)]
pub struct Seen(Mutex<BTreeSet<IdentityId>>);

impl Seen {
    /// Notes that somebody was seen.
    pub fn note(&self, identity: IdentityId) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() < MOST {
            notes.insert(identity);
        }
    }

    /// Writes the notes down.
    pub async fn flush(&self, catalog: &Catalog, now: Timestamp) {
        let notes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if notes.is_empty() {
            return;
        }
        let notes: Vec<_> = notes.into_iter().collect();
        if let Err(error) = catalog.mark_identities_seen(&notes, now).await {
            tracing::warn!(%error, identities = notes.len(), "could not note which identities were seen");
        }
    }
}
