//! The two documents of a stream, made from the catalog alone: what a server answers and what an export writes are
//! the same bytes because both come from here.
//!
//! ```no_run
//! # async fn example(catalog: &headwater::catalog::Catalog) -> Result<(), headwater::catalog::CatalogError> {
//! use headwater::{auth::Viewer, documents};
//! use headwater_formats::{names::ProjectName, simplestreams::Family, view::View};
//!
//! let project = ProjectName::default_project();
//! let made = documents::both(catalog, &Viewer::guest(), &project, &View::default(), Family::Lxd).await?;
//! # Ok(()) }
//! ```
//!
//! This module knows nothing of HTTP, of caches or of files.

use headwater_formats::names::ProjectName;
use headwater_formats::product::Product;
use headwater_formats::simplestreams::{Family, render};
use headwater_formats::view::View;

use crate::auth::Viewer;
use crate::catalog::{Catalog, CatalogError, Revision};

/// Products that are read at once.
const PAGE: usize = 64;
/// How often the catalog is read anew when it changes meanwhile. Then the last reading has to do: its parts are from
/// several moments, but each product is whole, and who asks later gets a later one.
const ATTEMPTS: usize = 4;

/// Both documents of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documents {
    /// The revision of the catalog that they show.
    pub revision: Revision,
    /// `streams/v1/index.json`
    pub index: Vec<u8>,
    /// `streams/v1/images.json`
    pub products: Vec<u8>,
}

/// The index: which products there are.
pub async fn index(
    catalog: &Catalog,
    viewer: &Viewer,
    project: &ProjectName,
    view: &View,
    family: Family,
) -> Result<Vec<u8>, CatalogError> {
    Ok(both(catalog, viewer, project, view, family).await?.index)
}

/// The products, with their versions and files.
pub async fn products(
    catalog: &Catalog,
    viewer: &Viewer,
    project: &ProjectName,
    view: &View,
    family: Family,
) -> Result<Vec<u8>, CatalogError> {
    Ok(both(catalog, viewer, project, view, family).await?.products)
}

/// Index and products in one reading, so that they belong together.
pub async fn both(
    catalog: &Catalog,
    viewer: &Viewer,
    project: &ProjectName,
    view: &View,
    family: Family,
) -> Result<Documents, CatalogError> {
    with_each_product(catalog, viewer, project, view, family, || (), |(), _| {}).await.map(|(documents, ())| documents)
}

/// Like [`both`]; `see` is also shown every product that is listed. When the catalog changes while it is read, all
/// begins anew with another `start`.
pub async fn with_each_product<T>(
    catalog: &Catalog,
    viewer: &Viewer,
    project: &ProjectName,
    view: &View,
    family: Family,
    start: impl Fn() -> T,
    see: impl Fn(&mut T, &Product),
) -> Result<(Documents, T), CatalogError> {
    let mut revision = catalog.revision().await?;
    let mut attempt = 1;
    loop {
        let mut seen = start();
        let mut keys = Vec::new();
        let mut products = render::document_head(revision.changed_at);
        let mut after: Option<String> = None;
        loop {
            let page = catalog.products(viewer, project, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for product in page.into_iter().filter_map(|product| view.narrow(product)) {
                let Some(fragment) = render::product_fragment(&product, family) else { continue };
                if !keys.is_empty() {
                    products.extend_from_slice(render::DOCUMENT_SEPARATOR);
                }
                products.extend_from_slice(&fragment);
                see(&mut seen, &product);
                keys.push(product.key);
            }
        }
        products.extend_from_slice(render::DOCUMENT_TAIL);
        let now = catalog.revision().await?;
        if now == revision || attempt == ATTEMPTS {
            let index = render::index(keys.iter().map(String::as_str), revision.changed_at);
            return Ok((Documents { revision, index, products }, seen));
        }
        revision = now;
        attempt += 1;
    }
}
