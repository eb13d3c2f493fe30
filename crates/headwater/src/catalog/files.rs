use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::image::ImageFile;
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;

use super::{Catalog, CatalogError};
use crate::auth::Viewer;

/// A blob and who needs it, for `verify`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobUse {
    /// The file.
    pub file: ImageFile,
    /// The images that are made of it.
    pub images: Vec<(ProjectName, Fingerprint)>,
}

/// A blob that no image needs any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// When the last image that needed it was deleted.
    pub retired_at: Timestamp,
}

impl Catalog {
    /// The file with this digest, if the viewer may have it: it belongs to an image that the viewer may see in any
    /// project, or did until it was retired and has not been swept since.
    pub async fn file(&self, viewer: &Viewer, digest: &Digest) -> Result<Option<ImageFile>, CatalogError> {
        let _ = (viewer, digest);
        unimplemented!()
    }

    /// Up to `limit` blobs that images need, by digest, after the given one.
    pub async fn blobs_in_use(&self, after: Option<Digest>, limit: usize) -> Result<Vec<BlobUse>, CatalogError> {
        let _ = (after, limit);
        unimplemented!()
    }

    /// Every blob that the catalog knows of (in use or retired), by digest, after the given one: what a sweep of stray bytes must spare.
    pub async fn known_blobs(&self, after: Option<Digest>, limit: usize) -> Result<Vec<Digest>, CatalogError> {
        let _ = (after, limit);
        unimplemented!()
    }

    /// Blobs that were retired before that moment, oldest first.
    pub async fn retired(&self, before: Timestamp, limit: usize) -> Result<Vec<Retired>, CatalogError> {
        let _ = (before, limit);
        unimplemented!()
    }

    /// Forgets a blob if it is still retired since before that moment, and calls `remove` while no publisher can come
    /// to need it (the transaction is open, the store is locked). `false` when it is needed again.
    pub async fn forget_blob(
        &self,
        digest: &Digest,
        before: Timestamp,
        remove: impl FnOnce() -> std::io::Result<()> + Send,
    ) -> Result<bool, CatalogError> {
        let _ = (digest, before, remove);
        unimplemented!()
    }

    /// Calls `remove` for a blob that the catalog does not know, while no publisher can come to need it. `false` when it is known.
    pub async fn remove_unknown_blob(
        &self,
        digest: &Digest,
        remove: impl FnOnce() -> std::io::Result<()> + Send,
    ) -> Result<bool, CatalogError> {
        let _ = (digest, remove);
        unimplemented!()
    }
}
