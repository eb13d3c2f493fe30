use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;

use super::{Catalog, CatalogError};
use crate::auth::Viewer;

/// A project: a namespace with its own images and aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The name.
    pub name: ProjectName,
    /// Free text.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many images the viewer sees in it.
    pub images: u64,
}

impl Catalog {
    /// The projects in which the viewer may see something: `default`, those with a public image, those granted; by name.
    pub async fn projects(&self, viewer: &Viewer) -> Result<Vec<Project>, CatalogError> {
        let _ = viewer;
        unimplemented!()
    }

    /// One of those.
    pub async fn project(&self, viewer: &Viewer, name: &ProjectName) -> Result<Option<Project>, CatalogError> {
        let _ = (viewer, name);
        unimplemented!()
    }

    /// Makes a project.
    pub async fn create_project(
        &self,
        name: &ProjectName,
        description: &str,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let _ = (name, description, now);
        unimplemented!()
    }

    /// Removes a project without images and aliases; `default` stays.
    pub async fn delete_project(&self, name: &ProjectName, now: Timestamp) -> Result<(), CatalogError> {
        let _ = (name, now);
        unimplemented!()
    }
}
