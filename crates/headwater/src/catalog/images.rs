use std::collections::BTreeMap;

use headwater_formats::digest::{Fingerprint, FingerprintPrefix};
use headwater_formats::image::Image;
use headwater_formats::names::{AliasName, ProjectName, VersionName};
use headwater_formats::timestamp::Timestamp;

use super::{Catalog, CatalogError};
use crate::auth::Viewer;

/// An image as the catalog holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// The project it is in. The same bytes can be an image of several projects.
    pub project: ProjectName,
    /// The image itself.
    pub image: Image,
    /// Fixed aliases of it and, when it is the newest visible one of its product, architecture and type, the names
    /// that follow its product. By name.
    pub aliases: Vec<ImageAlias>,
    /// Its product and version; `None` when it has no `os` or `release`.
    pub placement: Option<Placement>,
}

/// A name that leads to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageAlias {
    /// The name.
    pub name: AliasName,
    /// Free text, often empty.
    pub description: String,
}

/// Where an image stands in the streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The product's key.
    pub product: String,
    /// The version's name.
    pub version: VersionName,
}

/// The outcome of a look-up by prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<T> {
    /// Nothing that the asker may see.
    Nothing,
    /// Exactly this.
    One(T),
    /// More than one that the asker may see.
    Several,
}

/// What can be changed about an image. `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageEdit {
    /// Whether guests may see it.
    pub public: Option<bool>,
    /// All the properties. Changing `os`, `release`, `variant` or `serial` moves the image to another product or version.
    pub properties: Option<BTreeMap<String, String>>,
    /// When it expires; `Some(None)` is never.
    pub expires_at: Option<Option<Timestamp>>,
    /// Whether it follows its source.
    pub auto_update: Option<bool>,
    /// Names of profiles.
    pub profiles: Option<Vec<String>>,
}

impl Catalog {
    /// The image whose fingerprint begins with this prefix, among those that the viewer may see in the project.
    pub async fn image(
        &self,
        viewer: &Viewer,
        project: &ProjectName,
        prefix: &FingerprintPrefix,
    ) -> Result<Found<StoredImage>, CatalogError> {
        let _ = (viewer, project, prefix);
        unimplemented!()
    }

    /// Up to `limit` images in the order of their fingerprints, after the given one. An unknown project is [`CatalogError::NoProject`].
    pub async fn images(
        &self,
        viewer: &Viewer,
        project: &ProjectName,
        after: Option<Fingerprint>,
        limit: usize,
    ) -> Result<Vec<StoredImage>, CatalogError> {
        let _ = (viewer, project, after, limit);
        unimplemented!()
    }

    /// Changes an image; [`CatalogError::NoImage`] when it is not there.
    pub async fn edit_image(
        &self,
        project: &ProjectName,
        fingerprint: &Fingerprint,
        edit: &ImageEdit,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let _ = (project, fingerprint, edit, now);
        unimplemented!()
    }

    /// Takes an image out of every listing at once. Files that no image needs any more are retired: they go on being
    /// served to those who could see them, until a sweep finds that their grace is over. Its fixed aliases go, too.
    pub async fn delete_image(
        &self,
        project: &ProjectName,
        fingerprint: &Fingerprint,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let _ = (project, fingerprint, now);
        unimplemented!()
    }

    /// Notes that these images were downloaded; does not change the revision.
    pub async fn mark_used(&self, used: &[(ProjectName, Fingerprint)], at: Timestamp) -> Result<(), CatalogError> {
        let _ = (used, at);
        unimplemented!()
    }
}
