//! What the documents of an upstream were when they came last. Documents are large and seldom change: with a copy here, they come only when they did.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use headwater_formats::digest::Digest;
use sha2::{Digest as _, Sha256};

use crate::blobs::{Blobs, CopyName};
use crate::catalog::Upstream;
use crate::client::{Keep, Validators};
use crate::publish::blocking;

/// The copies for one upstream.
#[derive(Debug)]
pub(super) struct Copies {
    blobs: Blobs,
    whose: i64,
    /// What the names begin with: servers tell different things to whom they know.
    shown: Sha256,
    used: Mutex<BTreeSet<CopyName>>,
}

impl Copies {
    pub(super) fn of(upstream: &Upstream, blobs: &Blobs) -> Self {
        let credential = &upstream.settings.credential;
        let mut shown = Sha256::new();
        for part in [&credential.token, &credential.certificate] {
            shown.update(part.len().to_be_bytes());
            shown.update(part);
        }
        Self { blobs: blobs.clone(), whose: upstream.id.number(), shown, used: Mutex::default() }
    }

    fn name(&self, address: &str) -> CopyName {
        let of = Digest::from_bytes(self.shown.clone().chain_update(address).finalize().into());
        CopyName { whose: self.whose, of }
    }

    /// Removes the copies of documents that the upstream names no more.
    pub(super) async fn tidy_up(&self) {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (blobs, whose) = (self.blobs.clone(), self.whose);
        let is_needed =
            move |name: Option<CopyName>| name.is_none_or(|name| name.whose != whose || used.contains(&name));
        if let Err(error) = blocking(move || blobs.retain_copies(&|name, _| is_needed(name))).await {
            tracing::debug!(%error, "copies of documents that are of no more use were not removed");
        }
    }
}

impl Keep for Copies {
    fn get(&self, address: &str) -> Option<(Validators, Vec<u8>)> {
        let name = self.name(address);
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
        let mut copy = self.blobs.copy(&name)?;
        let end = copy.iter().position(|byte| *byte == b'\n')?;
        let validators = serde_json::from_slice(&copy[..end]).ok()?;
        copy.drain(..=end);
        Some((validators, copy))
    }

    fn put(&self, address: &str, validators: &Validators, bytes: &[u8]) {
        let Ok(validators) = serde_json::to_vec(validators) else { return };
        if let Err(error) = self.blobs.keep_copy(&self.name(address), &[&validators, b"\n", bytes]) {
            tracing::debug!(%error, "a document was not kept, and will come again the next time");
        }
    }
}
