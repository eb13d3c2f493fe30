use headwater_formats::image::Image;
use headwater_formats::names::{AliasName, ProjectName};
use headwater_formats::timestamp::Timestamp;

use super::{Catalog, CatalogError, StoredImage};

/// An image whose bytes are durable, ready to be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage {
    /// The project it goes into; must exist.
    pub project: ProjectName,
    /// The image; `uploaded_at` is the time of the commit.
    pub image: Image,
    /// Fixed aliases for it. One that exists is moved to this image.
    pub aliases: Vec<AliasName>,
}

/// How a commit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// The image is listed now.
    New(StoredImage),
    /// The project had an image with this fingerprint; nothing was changed.
    Already(StoredImage),
}

impl Catalog {
    /// Lists an image: rows and revision in one transaction.
    ///
    /// Its version name is [`headwater_formats::product::version_name`]; when that version already holds another image
    /// of a conflicting [slot](headwater_formats::simplestreams), the name is bumped by a minute until it is free.
    ///
    /// `ensure` is called inside the transaction, under the lock that sweeps take too: it makes sure, quickly, that the
    /// bytes are still in place (a sweep may have taken equal bytes since they were stored) and puts them back if not.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`]; [`CatalogError::Bytes`] when `ensure` fails: then nothing was written.
    pub async fn commit_image(
        &self,
        new: &NewImage,
        now: Timestamp,
        ensure: impl FnOnce() -> std::io::Result<()> + Send,
    ) -> Result<Committed, CatalogError> {
        let _ = (new, now, ensure);
        unimplemented!()
    }
}
