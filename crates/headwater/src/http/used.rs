//! Which images were downloaded, noted in memory and written down together now and then: a write per download would make
//! every reader wait for the catalog's one writer.
//!
//! Notes of a process that is killed are lost, which costs nothing but a `last_used_at` that is a minute too old.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use headwater_formats::digest::Fingerprint;
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;

use crate::catalog::Catalog;

/// Most images that are noted between two writes; further ones are not.
const MOST: usize = 10_000;

/// The notes.
#[derive(Debug, Default)]
pub struct Used(Mutex<BTreeSet<(ProjectName, Fingerprint)>>);

impl Used {
    /// Notes that an image was downloaded.
    pub fn note(&self, project: &ProjectName, fingerprint: Fingerprint) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() < MOST {
            notes.insert((project.clone(), fingerprint));
        }
    }

    /// Writes the notes down.
    pub async fn flush(&self, catalog: &Catalog, now: Timestamp) {
        let notes: Vec<_> =
            std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect();
        if notes.is_empty() {
            return;
        }
        if let Err(error) = catalog.mark_used(&notes, now).await {
            tracing::warn!(%error, images = notes.len(), "could not note which images were downloaded");
        }
    }
}
