//! Which files were used, noted in memory and written down together now and then.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use headwater_formats::digest::Digest;
use headwater_formats::timestamp::Timestamp;

use crate::catalog::Catalog;

/// Most files that are noted between two writes; further ones are not.
const MOST: usize = 10_000;

/// The notes.
#[derive(Debug, Default)]
pub(super) struct Used(Mutex<BTreeSet<Digest>>);

impl Used {
    pub(super) fn note(&self, digest: Digest) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() < MOST {
            notes.insert(digest);
        }
    }

    pub(super) async fn flush(&self, catalog: &Catalog, now: Timestamp) {
        let notes: Vec<Digest> =
            std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect();
        if notes.is_empty() {
            return;
        }
        if let Err(error) = catalog.use_promised(&notes, now).await {
            tracing::warn!(%error, files = notes.len(), "could not note which files were used");
        }
    }
}
