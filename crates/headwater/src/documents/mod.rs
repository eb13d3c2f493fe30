//! The two documents of a stream, made from the catalog alone: what a server answers and what an export writes are
//! the same bytes because both come from here.
//!
//! ```no_run
//! # async fn example(catalog: &headwater::catalog::Catalog) -> Result<(), headwater::catalog::CatalogError> {
//! use headwater::{auth::Viewer, documents::{self, Stream}};
//! use headwater_formats::simplestreams::{Family, render::FilesAt};
//! use headwater_formats::{names::ProjectName, view::View};
//!
//! let stream = Stream::of_project(&Viewer::guest(), ProjectName::default_project(), View::default(), Family::Lxd);
//! let made = documents::draft(catalog, &stream).await?.placed(&FilesAt::IMAGES);
//! # Ok(()) }
//! ```
//!
//! A [`Stream`] says what is listed, never who asks: two callers who see the same have the same stream, and what was rendered for
//! one serves the other. A stream of several projects is theirs made one (`merge.rs`). The documents lack the place of
//! their files until somebody says it, because that alone differs between callers.
//!
//! A server does not render a document for every revision. What it was asked for lately it keeps as [`Listings`]: each product
//! rendered once and compressed for itself, in files without names, and put together while it is sent.
//!
//! | file | what it does |
//! | --- | --- |
//! | `listings.rs` | which listings are kept, and that they show the revision of now |
//! | `chunk.rs` | a listing as a sequence that is changed in a few places |
//! | `spool.rs` | where rendered products lie |
//! | `snapshot.rs` | both documents of one revision, and reading them |
//! | `gzip.rs` | one gzip member out of pieces |
//! | `merge.rs` | several projects as one |
//!
//! Streams of several projects are rendered as a whole, each time: what one project lists there depends on the others.
//!
//! This room knows nothing of HTTP, and no paths: who makes [`Listings`] says where files without names come from.

mod chunk;
mod gzip;
mod listings;
mod merge;
mod snapshot;
mod spool;

use std::collections::{BTreeSet, HashSet};

use headwater_formats::digest::Digest;
use headwater_formats::names::ProjectName;
use headwater_formats::product::{Delta, Product};
use headwater_formats::simplestreams::delta::Clients;
use headwater_formats::simplestreams::render::{self, Draft, FilesAt};
use headwater_formats::simplestreams::{Deltas, Family, item};
use headwater_formats::view::View;

use crate::auth::Viewer;
use crate::catalog::{Catalog, CatalogError, Listed, Revision};
use merge::Merged;

pub use listings::{IDLE, ListingError, Listings, only_project};
pub use snapshot::{Form, Kind, Reader, SMALL, Snapshot};
pub use spool::Scratch;

/// How often the catalog is read anew when it changes meanwhile. Then the last reading has to do: its parts are from
/// several moments, but each product is whole, and who asks later gets a later one.
const ATTEMPTS: usize = 4;

/// Whose images.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Projects {
    /// Those of one project.
    One(ProjectName),
    /// Those of several, or of none. Where two projects have something to say about the same, the earlier one is heard.
    These(Vec<ProjectName>),
    /// Those of all there are, by name.
    All,
}

/// What a stream lists.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stream {
    /// Of which projects.
    pub projects: Projects,
    /// Their private images too.
    pub private: bool,
    /// What has to pass, one filter after the other.
    pub filters: Vec<View>,
    /// For which clients.
    pub family: Family,
    /// Which deltas these clients handle.
    pub deltas: Deltas,
    /// Root files that they are known to hold, the one that most of them hold first. No more than make a difference
    /// ([`Catalog::bases_preferred`]), so that most callers have the same stream.
    pub bases: Vec<Digest>,
}

impl Stream {
    /// What this viewer sees of a project, for clients of which nothing else is known.
    pub fn of_project(viewer: &Viewer, project: ProjectName, filter: View, family: Family) -> Self {
        Self {
            private: viewer.sees_private_in(&project),
            projects: Projects::One(project),
            filters: vec![filter],
            family,
            deltas: Deltas::default(),
            bases: Vec::new(),
        }
    }

    fn clients(&self) -> Clients<'_> {
        Clients { family: self.family, deltas: self.deltas, bases: &self.bases }
    }

    /// The deltas that the documents name of a product that is listed.
    pub fn deltas_of(&self, product: &Product) -> Vec<Delta> {
        render::listed_deltas(product, self.clients())
    }

    fn viewer(&self) -> Viewer {
        match &self.projects {
            _ if !self.private => Viewer::guest(),
            Projects::One(project) => Viewer::granted([project.clone()]),
            Projects::These(projects) => Viewer::granted(projects.iter().cloned()),
            Projects::All => Viewer::operator(),
        }
    }

    async fn project_names(&self, catalog: &Catalog) -> Result<Vec<ProjectName>, CatalogError> {
        Ok(match &self.projects {
            Projects::One(project) => vec![project.clone()],
            Projects::These(projects) => projects.clone(),
            Projects::All => catalog.projects(&self.viewer()).await?.into_iter().map(|project| project.name).collect(),
        })
    }

    /// Names of which every product that passes was given one: see [`View::names`].
    fn names(&self) -> Option<BTreeSet<String>> {
        self.filters.iter().filter_map(View::names).min_by_key(BTreeSet::len)
    }

    fn narrow(&self, product: Product) -> Option<Product> {
        self.filters.iter().try_fold(product, |product, filter| filter.narrow(product))
    }
}

/// What is offered of a product to that family; `None` when nothing is. This comes before all filters, and before projects are made one:
/// what others are listed is not there, neither as the newest version nor with the names that only stay with it.
fn offered(listed: Listed, family: Family) -> Option<Listed> {
    let Listed { product, mut fixed } = listed;
    let newest = product.versions.last().map(|version| version.name.clone());
    let mut product = item::for_family(product, family)?;
    if product.versions.last().map(|version| &version.name) != newest.as_ref() {
        product.aliases.retain(|name| !fixed.contains(name));
        fixed.clear();
    }
    Some(Listed { product, fixed })
}

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

/// Both documents of one moment, still without the place of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drafts {
    /// The revision of the catalog that they show.
    pub revision: Revision,
    /// `streams/v1/index.json`, which names no files.
    pub index: Vec<u8>,
    /// `streams/v1/images.json`
    pub products: Draft,
}

impl Drafts {
    /// The documents, with the files in that place.
    pub fn placed(&self, files: &FilesAt) -> Documents {
        Documents { revision: self.revision, index: self.index.clone(), products: self.products.placed(files) }
    }
}

/// Index and products in one reading, so that they belong together.
///
/// # Errors
/// [`CatalogError::NoProject`] when the stream is of [one project](Projects::One), and that is not there, or has nothing that is
/// listed so that nobody is to know of it. Of several projects, such a one is left out.
pub async fn draft(catalog: &Catalog, stream: &Stream) -> Result<Drafts, CatalogError> {
    with_each_product(catalog, stream, || (), |(), _| {}).await.map(|(drafts, ())| drafts)
}

/// Like [`draft`]; `see` is also shown every product that is listed. When the catalog changes while it is read, all
/// begins anew with another `start`.
pub async fn with_each_product<T>(
    catalog: &Catalog,
    stream: &Stream,
    start: impl Fn() -> T,
    see: impl Fn(&mut T, &Product),
) -> Result<(Drafts, T), CatalogError> {
    let viewer = stream.viewer();
    let mut revision = catalog.revision().await?;
    let mut attempt = 1;
    loop {
        let mut seen = start();
        let mut keys = Vec::new();
        let mut fingerprints = HashSet::new();
        let mut products = Draft::plain(render::document_head(revision.changed_at));
        let projects = stream.project_names(catalog).await?;
        let only = matches!(stream.projects, Projects::One(_));
        let named = stream.names().filter(|_| !only);
        let mut merged = Merged::begin(catalog, &viewer, &projects, only, named.as_ref(), stream.family).await?;
        while let Some(product) = merged.next().await? {
            let Some(product) = stream.narrow(product) else { continue };
            if only {
                // A project has each image once.
                fingerprints.clear();
            }
            let Some(fragment) = render::product_fragment(&product, stream.clients(), &mut fingerprints) else {
                continue;
            };
            if !keys.is_empty() {
                products.push(render::DOCUMENT_SEPARATOR);
            }
            products.append(&fragment);
            see(&mut seen, &product);
            keys.push(product.key);
        }
        products.push(render::DOCUMENT_TAIL);
        let now = catalog.revision().await?;
        if now == revision || attempt == ATTEMPTS {
            let index = render::index(keys.iter().map(String::as_str), revision.changed_at);
            return Ok((Drafts { revision, index, products }, seen));
        }
        revision = now;
        attempt += 1;
    }
}
