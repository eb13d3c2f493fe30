//! The products of several projects as one list, in the order of their keys.
//!
//! | what several projects have | what is listed |
//! | --- | --- |
//! | a product with the same key | one product with the versions of all |
//! | a version with the same name in it | the version of the first project |
//! | what is said of the product | as the first project has it of those with the newest version |
//! | a name for two products of one architecture | the name of the first project's |
//! | a fixed name | only while the image that it stays with is of the newest version of all |
//! | an image that the clients are not offered | nothing of it, as if it was not there |
//!
//! Memory holds a page of each project, and, for more than one project, all names with the number of the project that had
//! each first. When only products of some names are of interest, these are looked up, with all that could take a name from them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use headwater_formats::alias;
use headwater_formats::arch::Architecture;
use headwater_formats::names::ProjectName;
use headwater_formats::product::Product;
use headwater_formats::simplestreams::Family;

use super::offered;
use crate::auth::Viewer;
use crate::catalog::{Catalog, CatalogError, Listed};

/// Products that are read at once, of all projects together.
const PAGE: usize = 64;
/// Products of one project that are read at once when there are many projects.
const SMALLEST_PAGE: usize = 4;

/// How many names are looked up; when there are more, all products are read.
const MOST_NAMES: usize = 256;

/// Which project had a name first, by its place in the list.
type Owners = HashMap<(String, Architecture), usize>;

/// A running merge.
pub(super) struct Merged<'a> {
    readers: Vec<Reader<'a>>,
    owners: Owners,
}

impl<'a> Merged<'a> {
    /// Before the first product. That one of the projects is not there is an error if it is the `only` one to be asked for. With
    /// `named`, only products that were given one of these names are of interest
    /// ([`View::names`](headwater_formats::view::View::names)); there may be others among those that come. What is not offered to the
    /// `family` counts as if it was not there.
    pub(super) async fn begin(
        catalog: &'a Catalog,
        viewer: &'a Viewer,
        projects: &'a [ProjectName],
        only: bool,
        named: Option<&BTreeSet<String>>,
        family: Family,
    ) -> Result<Self, CatalogError> {
        let limit = (PAGE / projects.len().max(1)).max(SMALLEST_PAGE);
        let reader = |project, limit, among: Option<&Arc<[String]>>| Reader {
            catalog,
            viewer,
            project,
            only,
            family,
            limit,
            page: VecDeque::new(),
            after: None,
            among: among.map(|keys| (Arc::clone(keys), 0)),
            ended: false,
        };
        let (mut among, mut rivals) = (None, None);
        if let Some(named) = named {
            let keys = keys_named(catalog, viewer, projects, only, named).await?;
            let mut names = BTreeSet::new();
            if projects.len() > 1 {
                for project in projects {
                    let mut reader = reader(project, PAGE, Some(&keys));
                    while let Some(listed) = reader.take().await? {
                        names.extend(listed.product.aliases);
                    }
                }
            }
            if names.len() <= MOST_NAMES {
                let spelled = names.iter().flat_map(|name| alias::spellings(name)).collect();
                rivals = Some(keys_named(catalog, viewer, projects, only, &spelled).await?);
                among = Some(keys);
            }
        }
        let mut owners = Owners::new();
        if projects.len() > 1 {
            for (place, project) in projects.iter().enumerate() {
                let mut reader = reader(project, PAGE, rivals.as_ref());
                while let Some(listed) = reader.take().await? {
                    let architecture = listed.product.line.architecture;
                    for name in listed.product.aliases {
                        owners.entry((name, architecture)).or_insert(place);
                    }
                }
            }
        }
        Ok(Self { readers: projects.iter().map(|project| reader(project, limit, among.as_ref())).collect(), owners })
    }

    /// The next product.
    pub(super) async fn next(&mut self) -> Result<Option<Product>, CatalogError> {
        if let [only] = self.readers.as_mut_slice() {
            return Ok(only.take().await?.map(|listed| listed.product));
        }
        let mut first: Option<String> = None;
        for reader in &mut self.readers {
            if let Some(listed) = reader.peek().await?
                && first.as_ref().is_none_or(|first| listed.product.key < *first)
            {
                first = Some(listed.product.key.clone());
            }
        }
        let Some(key) = first else { return Ok(None) };
        let mut parts = Vec::new();
        for (place, reader) in self.readers.iter_mut().enumerate() {
            if reader.peek().await?.is_some_and(|listed| listed.product.key == key) {
                parts.extend(reader.take().await?.map(|listed| (place, listed)));
            }
        }
        Ok(united(parts, &self.owners))
    }
}

/// The keys of all products, in any of the projects, that were given one of these names.
async fn keys_named(
    catalog: &Catalog,
    viewer: &Viewer,
    projects: &[ProjectName],
    only: bool,
    named: &BTreeSet<String>,
) -> Result<Arc<[String]>, CatalogError> {
    let mut keys = BTreeSet::new();
    for project in projects {
        match catalog.products_named(viewer, project, named).await {
            Ok(found) => keys.extend(found),
            Err(CatalogError::NoProject(_)) if !only => {}
            Err(error) => return Err(error),
        }
    }
    Ok(keys.into_iter().collect())
}

/// One product out of those with the same key, in the order of their projects.
fn united(parts: Vec<(usize, Listed)>, owners: &Owners) -> Option<Product> {
    let newest = |listed: &Listed| listed.product.versions.last().map(|version| version.name.clone());
    let newest_of_all = parts.iter().map(|(_, listed)| newest(listed)).max()?;
    let mut whole: Option<Product> = None;
    let mut names: Vec<String> = Vec::new();
    let mut versions = BTreeMap::new();
    for (place, mut listed) in parts {
        let leads = newest(&listed) == newest_of_all;
        let architecture = listed.product.line.architecture;
        for name in std::mem::take(&mut listed.product.aliases) {
            let stays = leads || !listed.fixed.contains(&name);
            let key = (name, architecture);
            // A name that nobody owns was made after they were counted.
            let ours = owners.get(&key).is_none_or(|owner| *owner == place);
            if stays && ours && !names.contains(&key.0) {
                names.push(key.0);
            }
        }
        for version in std::mem::take(&mut listed.product.versions) {
            versions.entry(version.name.clone()).or_insert(version);
        }
        if leads && whole.is_none() {
            whole = Some(listed.product);
        }
    }
    let mut whole = whole?;
    whole.aliases = names;
    whole.versions = versions.into_values().collect();
    Some(whole)
}

/// Reads the products of one project, page by page.
struct Reader<'a> {
    catalog: &'a Catalog,
    viewer: &'a Viewer,
    project: &'a ProjectName,
    /// Whether it is the only one that was asked for; of several, one that is gone meanwhile is only one less.
    only: bool,
    family: Family,
    limit: usize,
    page: VecDeque<Listed>,
    after: Option<String>,
    /// These products alone, and how many of them were asked for; else all.
    among: Option<(Arc<[String]>, usize)>,
    ended: bool,
}

impl Reader<'_> {
    async fn peek(&mut self) -> Result<Option<&Listed>, CatalogError> {
        while self.page.is_empty() && !self.ended {
            let read = match &mut self.among {
                None => {
                    let (after, limit) = (self.after.as_deref(), self.limit);
                    self.catalog.listed_products(self.viewer, self.project, after, limit).await
                }
                Some((keys, asked)) => {
                    let some = keys.get(*asked..).unwrap_or_default();
                    let some = some.get(..self.limit).unwrap_or(some);
                    *asked += some.len();
                    self.ended = *asked >= keys.len();
                    self.catalog.products_at(self.viewer, self.project, some).await
                }
            };
            let page = match read {
                Ok(page) => page,
                Err(CatalogError::NoProject(_)) if !self.only => Vec::new(),
                Err(error) => return Err(error),
            };
            if self.among.is_none() {
                match page.last() {
                    Some(last) => self.after = Some(last.product.key.clone()),
                    None => self.ended = true,
                }
            }
            self.page = page.into_iter().filter_map(|listed| offered(listed, self.family)).collect();
        }
        Ok(self.page.front())
    }

    async fn take(&mut self) -> Result<Option<Listed>, CatalogError> {
        self.peek().await?;
        Ok(self.page.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwater_formats::names::VersionName;
    use headwater_formats::product::{Line, Version};

    fn part(place: usize, title: &str, versions: &[&str], names: &[&str], fixed: &[&str]) -> (usize, Listed) {
        let line = Line {
            os: "Debian".into(),
            release: "12".into(),
            variant: "default".into(),
            architecture: Architecture::X86_64,
        };
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let version = |name: &&str| Version {
            name: VersionName::new(*name).unwrap(),
            // Says whose version it is.
            extra: BTreeMap::from([("of".to_owned(), place.into())]),
            images: Vec::new(),
            deltas: Vec::new(),
        };
        let product = Product {
            key: line.key(),
            line,
            release_title: Some(title.to_owned()),
            release_codename: None,
            version: None,
            aliases: owned(&[names, fixed].concat()),
            extra: BTreeMap::new(),
            versions: versions.iter().map(version).collect(),
        };
        (place, Listed { product, fixed: owned(fixed) })
    }

    fn owners(names: &[(&str, usize)]) -> Owners {
        names.iter().map(|(name, place)| (((*name).to_owned(), Architecture::X86_64), *place)).collect()
    }

    #[test]
    fn versions_are_united_and_the_first_project_is_heard() {
        let parts = vec![
            part(0, "first", &["20250101", "20250103"], &["debian/12", "stable"], &[]),
            part(1, "second", &["20250101", "20250102", "20250103"], &["debian/12", "other"], &[]),
        ];
        let all = owners(&[("debian/12", 0), ("stable", 0), ("other", 1)]);
        let product = united(parts, &all).unwrap();
        assert_eq!(product.release_title.as_deref(), Some("first"));
        assert_eq!(product.aliases, ["debian/12", "stable", "other"]);
        let versions: Vec<_> = product.versions.iter().map(|v| (v.name.as_str(), v.extra["of"].as_i64())).collect();
        assert_eq!(versions, [("20250101", Some(0)), ("20250102", Some(1)), ("20250103", Some(0))]);
    }

    #[test]
    fn the_newest_version_says_what_the_product_is_and_ends_the_fixed_names_of_others() {
        let parts = vec![
            part(0, "old", &["20250101"], &["debian/12", "follows"], &["pinned"]),
            part(1, "new", &["20250202"], &["debian/12"], &["pinned-too"]),
        ];
        let product = united(parts, &owners(&[])).unwrap();
        assert_eq!(product.release_title.as_deref(), Some("new"));
        assert_eq!(product.aliases, ["debian/12", "follows", "pinned-too"]);
    }

    #[test]
    fn a_name_that_an_earlier_project_gave_to_another_product_is_left_out() {
        let parts = vec![part(1, "t", &["20250101"], &["mine", "taken"], &[]), part(2, "t", &["20250101"], &[], &[])];
        let product = united(parts, &owners(&[("mine", 1), ("taken", 0)])).unwrap();
        assert_eq!(product.aliases, ["mine"]);
    }
}
