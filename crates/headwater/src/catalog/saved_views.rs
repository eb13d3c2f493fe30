use headwater_formats::names::{ProjectName, ViewName};
use headwater_formats::timestamp::Timestamp;
use headwater_formats::view::View;

use super::{Catalog, CatalogError};

/// A filter with a name, over one project: served at `/v/<name>/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedView {
    /// Its name, unique on the server.
    pub name: ViewName,
    /// The project that it looks at.
    pub project: ProjectName,
    /// The filter.
    pub view: View,
    /// Free text.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Catalog {
    /// All of them, by name.
    pub async fn saved_views(&self) -> Result<Vec<SavedView>, CatalogError> {
        todo!()
    }

    /// One of them.
    pub async fn saved_view(&self, name: &ViewName) -> Result<Option<SavedView>, CatalogError> {
        let _ = name;
        todo!()
    }

    /// Makes one.
    ///
    /// # Errors
    /// [`CatalogError::ViewExists`], [`CatalogError::NoProject`].
    pub async fn create_view(
        &self,
        name: &ViewName,
        project: &ProjectName,
        view: &View,
        description: &str,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let _ = (name, project, view, description, now);
        todo!()
    }

    /// Removes one that no token is bound to.
    ///
    /// # Errors
    /// [`CatalogError::NoView`], [`CatalogError::ViewInUse`].
    pub async fn delete_view(&self, name: &ViewName, now: Timestamp) -> Result<(), CatalogError> {
        let _ = (name, now);
        todo!()
    }
}
