//! Files that an upstream promises: made durable when they came, compared with the images that they complete, and let go of when the limits of
//! their upstream say so.
//!
//! The promise stays: what was let go of comes again when somebody asks for it. A file is let go of as a sweep deletes one, inside a transaction under
//! the lock that publishers take, so that an image that comes to need it in the same moment either finds it or puts it back.

use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::timestamp::Timestamp;
use sha2::{Digest as _, Sha256};

use super::hash::{BUFFER, each_part};
use super::sweep::{remover, went};
use super::{PublishError, Publisher, blocking};
use crate::blobs::{BlobError, Blobs, Staged};
use crate::catalog::{Cached, Unproven, Upstream};

/// Files that are asked for at once.
const PAGE: usize = 100;

/// A computation that went through the metadata file of that digest, and then through a root file.
pub type Both = (Digest, Sha256);

/// What was let go of, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LetGo {
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Publisher {
    /// Makes a promised file durable, whose bytes were found right before, and gives the images that are complete with it and whose fingerprints are not
    /// proven: see [`Publisher::prove`]. `None` when nothing knows the file any more: then its bytes go at once.
    ///
    /// # Errors
    /// Then nothing names the bytes, and the next sweep removes what is left of them.
    pub async fn fulfil(&self, file: Staged, now: Timestamp) -> Result<Option<Vec<Unproven>>, PublishError> {
        let mut placed = blocking(move || file.commit()).await?;
        let digest = placed.digest();
        let complete = self.catalog.fulfil(&digest, now, || placed.ensure()).await?;
        // Not before: as long as this is there, no sweep removes the bytes.
        drop(placed);
        if complete.is_none() {
            went(self.catalog.remove_unknown_blob(&digest, remover(&self.blobs, digest)).await)?;
        }
        Ok(complete)
    }

    /// Compares the bytes of an image with its fingerprint, and takes it away when they differ. `both` saves reading the root file, if it went through
    /// the metadata file of this image. Whether they are the same; also when a file went meanwhile, since then it is for the next time to tell.
    ///
    /// # Errors
    /// When the bytes cannot be read, or the catalog fails: it stays open.
    pub async fn prove(&self, image: &Unproven, both: Option<Both>, now: Timestamp) -> Result<bool, PublishError> {
        let both = match both {
            Some((metadata, both)) if metadata == image.metadata => Some(both),
            _ => {
                let (blobs, metadata, root) = (self.blobs.clone(), image.metadata, image.root);
                blocking(move || computed(&blobs, &metadata, &root)).await?
            }
        };
        let Some(both) = both else { return Ok(true) };
        let found = Fingerprint::from_bytes(both.finalize().into());
        let right = found == image.fingerprint;
        if !right {
            let (project, image) = (&image.project, image.fingerprint.short());
            tracing::warn!(%project, %image, %found, "an image that an upstream lists has another fingerprint than it says; it was taken away");
        }
        self.catalog.prove(image, right, now).await?;
        Ok(right)
    }

    /// Lets go of files that came because somebody asked for them, as far as the limits of their upstreams say: those that were used longest ago first.
    /// With `dry_run`, nothing is changed. `tell` is called for each file.
    ///
    /// # Errors
    /// What went until then is gone.
    pub async fn keep_limits(
        &self,
        dry_run: bool,
        now: Timestamp,
        tell: &mut (dyn FnMut(&Upstream, Cached) + Send),
    ) -> Result<LetGo, PublishError> {
        let mut gone = LetGo::default();
        for upstream in self.catalog.upstreams().await? {
            let settings = &upstream.settings;
            if settings.lazy && (settings.cache_size > 0 || settings.cache_age > 0) {
                self.keep_limits_of(&upstream, dry_run, now, &mut gone, tell).await?;
            }
        }
        Ok(gone)
    }

    async fn keep_limits_of(
        &self,
        upstream: &Upstream,
        dry_run: bool,
        now: Timestamp,
        gone: &mut LetGo,
        tell: &mut (dyn FnMut(&Upstream, Cached) + Send),
    ) -> Result<(), PublishError> {
        let (size, age) = (upstream.settings.cache_size, upstream.settings.cache_age);
        let mut bytes = if size > 0 { self.catalog.cached_bytes(upstream.id).await? } else { 0 };
        let oldest = (age > 0).then(|| now.plus_seconds(-i64::from(age)));
        let is_over = |bytes: u64, file: &Cached| bytes > size || oldest.is_some_and(|oldest| file.used_at < oldest);
        let mut after = None;
        loop {
            let page = self.catalog.cached(upstream.id, after.as_ref(), PAGE).await?;
            for file in &page {
                if !is_over(bytes, file) {
                    return Ok(());
                }
                let remove = remover(&self.blobs, file.digest);
                if dry_run || went(self.catalog.let_go(upstream.id, file, remove).await)? {
                    gone.files += 1;
                    gone.bytes += file.size;
                    tell(upstream, *file);
                    // One that stays, because somebody uses it at this moment, leaves its place to the next one.
                    bytes = bytes.saturating_sub(file.size);
                }
            }
            if page.len() < PAGE {
                return Ok(());
            }
            after = page.last().copied();
        }
    }
}

/// The computation through both files; `None` when one is not there (any more).
fn computed(blobs: &Blobs, metadata: &Digest, root: &Digest) -> Result<Option<Sha256>, BlobError> {
    let (mut both, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
    for digest in [metadata, root] {
        let Some(blob) = blobs.open_blob(digest)? else { return Ok(None) };
        each_part(&mut blob.reader(), &mut buffer, |part| both.update(part))?;
    }
    Ok(Some(both))
}
