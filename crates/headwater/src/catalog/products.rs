use headwater_formats::names::ProjectName;
use headwater_formats::product::Product;

use super::{Catalog, CatalogError};
use crate::auth::Viewer;

impl Catalog {
    /// Up to `limit` products in the byte order of their keys, after the given one, with all the versions and images
    /// that the viewer may see (versions in ascending byte order of their names) and the product's alias names: generated
    /// ones, hand-made ones that follow it, and fixed ones of images of its newest version. Products without a visible image are left out.
    pub async fn products(
        &self,
        viewer: &Viewer,
        project: &ProjectName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Product>, CatalogError> {
        let _ = (viewer, project, after, limit);
        unimplemented!()
    }
}
