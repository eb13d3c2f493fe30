use headwater_formats::arch::Architecture;
use headwater_formats::digest::Fingerprint;
use headwater_formats::image::ImageType;
use headwater_formats::names::{AliasName, ProjectName};
use headwater_formats::timestamp::Timestamp;

use super::{Catalog, CatalogError};
use crate::auth::Viewer;

/// What an alias leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AliasTarget {
    /// One image, for ever (as in LXD).
    Image(Fingerprint),
    /// The newest version of a line of products, chosen by architecture and type when it is asked for.
    Follows {
        /// `os`, compared in lower case.
        os: String,
        /// `release`
        release: String,
        /// `variant`
        variant: String,
    },
}

/// An alias as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The name.
    pub name: AliasName,
    /// Free text.
    pub description: String,
    /// What it leads to.
    pub target: AliasTarget,
    /// Made from the product's own names, rather than by hand.
    pub generated: bool,
}

/// What the asker can use, for aliases that could mean several images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Architectures, best first; when none of them is there, any will do. An architecture at the end of the alias's
    /// name (`debian/12/arm64`) is stricter: then only that one will do.
    pub architectures: Vec<Architecture>,
    /// Only this type; without it, containers come before virtual machines.
    pub image_type: Option<ImageType>,
}

/// Where an alias led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The name as it was asked for.
    pub name: AliasName,
    /// Free text.
    pub description: String,
    /// The image.
    pub fingerprint: Fingerprint,
    /// Its type.
    pub image_type: ImageType,
}

impl Catalog {
    /// Finds what a name leads to: a fixed alias first, then one that follows, set by hand, then the generated names;
    /// each first as a whole, then without an architecture at its end. Only images that the viewer may see count.
    pub async fn resolve_alias(
        &self,
        viewer: &Viewer,
        project: &ProjectName,
        name: &AliasName,
        wanted: &Wanted,
    ) -> Result<Option<Resolved>, CatalogError> {
        let _ = (viewer, project, name, wanted);
        unimplemented!()
    }

    /// Up to `limit` aliases by name, after the given one: those that lead to something the viewer may see.
    pub async fn aliases(
        &self,
        viewer: &Viewer,
        project: &ProjectName,
        after: Option<&AliasName>,
        limit: usize,
    ) -> Result<Vec<Alias>, CatalogError> {
        let _ = (viewer, project, after, limit);
        unimplemented!()
    }

    /// Makes an alias. A hand-made alias may have the name of a generated one, and then wins.
    pub async fn create_alias(
        &self,
        project: &ProjectName,
        name: &AliasName,
        description: &str,
        target: &AliasTarget,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let _ = (project, name, description, target, now);
        unimplemented!()
    }

    /// Removes a hand-made alias.
    pub async fn delete_alias(
        &self,
        project: &ProjectName,
        name: &AliasName,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let _ = (project, name, now);
        unimplemented!()
    }
}
