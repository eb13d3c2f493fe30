use std::collections::{BTreeMap, BTreeSet, HashMap};

use headwater_formats::alias::split_arch;
use headwater_formats::arch::Architecture;
use headwater_formats::digest::Digest;
use headwater_formats::image::ImageFiles;
use headwater_formats::names::ProjectName;
use headwater_formats::product::{Delta, Line, Product, Version};
use serde_json::Value as Json;

use super::engine::{Batch, Tx, Value, values};
use super::names::{Following, fixed, following};
use super::rows::{self, ImageRow, from_json};
use super::sight::{Sight, sight};
use super::{Catalog, CatalogError, ImageAlias, deltas};
use crate::auth::Viewer;

/// A product's own row.
struct ProductRow {
    id: i64,
    key: String,
    line: Line,
    extra: BTreeMap<String, Json>,
}

/// A product, and which of its names are fixed: they stay with an image of its newest version, whatever comes after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The product, with all its names.
    pub product: Product,
    /// Those that are fixed.
    pub fixed: Vec<String>,
}

impl Catalog {
    /// Up to `limit` products in the byte order of their keys, after the given one, with all the versions and images
    /// that the viewer may see (versions in ascending byte order of their names) and the product's alias names: generated
    /// ones, hand-made ones that follow it, and fixed ones of images of its newest version, and the deltas that are ready to their root
    /// files. Products without a visible image are left out.
    ///
    /// What is said of the product (its line's spelling, title, code name, version) are the properties of its newest visible image.
    /// Names are without the product's architecture at their end, because clients add it.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], also for a project in which the viewer may see nothing.
    pub async fn listed_products(
        &self,
        viewer: &Viewer,
        project: &ProjectName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Listed>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let sight = sight(&mut tx, viewer, project).await?;
        let products = self::after(&mut tx, sight, after.unwrap_or_default(), limit).await?;
        tx.commit().await?;
        Ok(products)
    }

    /// The keys of the products that were given one of these names, in their order: see [`Catalog::products_changed`].
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], also for a project in which the viewer may see nothing.
    pub async fn products_named(
        &self,
        viewer: &Viewer,
        project: &ProjectName,
        names: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let sight = sight(&mut tx, viewer, project).await?;
        let keys = super::names::products_named(&mut tx, sight, names).await?;
        tx.commit().await?;
        Ok(keys)
    }

    /// The products with these keys, in the byte order of them, as [`Catalog::listed_products`] gives them.
    ///
    /// # Errors
    /// As there.
    pub async fn products_at(
        &self,
        viewer: &Viewer,
        project: &ProjectName,
        keys: &[String],
    ) -> Result<Vec<Listed>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let sight = sight(&mut tx, viewer, project).await?;
        let mut listed = with_keys(&mut tx, sight, keys).await?;
        tx.commit().await?;
        listed.sort_by(|a, b| a.product.key.cmp(&b.product.key));
        Ok(listed)
    }

    /// [`Catalog::listed_products`], without telling names apart.
    ///
    /// # Errors
    /// As there.
    pub async fn products(
        &self,
        viewer: &Viewer,
        project: &ProjectName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Product>, CatalogError> {
        let listed = self.listed_products(viewer, project, after, limit).await?;
        Ok(listed.into_iter().map(|listed| listed.product).collect())
    }

    /// Whether one of the products that have this file, in an image that the viewer may see, is accepted. They are shown as
    /// [`Catalog::products`] gives them.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], also for a project in which the viewer may see nothing.
    pub async fn has_product_with_file(
        &self,
        viewer: &Viewer,
        project: &ProjectName,
        digest: &Digest,
        accept: impl Fn(Product) -> bool,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.engine.read().await?;
        let sight = sight(&mut tx, viewer, project).await?;
        // In this order: SQLite would rather go through all public images of the project.
        let sql = format!(
            "SELECT DISTINCT i.product_id FROM image_files f CROSS JOIN images i \
             WHERE f.digest = $1 AND i.id = f.image_id AND i.project_id = $2 AND i.product_id IS NOT NULL{}",
            sight.and_visible("i")
        );
        let found = tx.rows(sql, values![digest.to_string(), sight.project]).await?;
        let ids = found.iter().map(|row| row.int(0)).collect::<Result<Vec<_>, _>>()?;
        // Few at a time: a root file may be shared by many products.
        for some in ids.chunks(PRODUCTS_AT_ONCE) {
            for batch in Batch::of(some) {
                let mut values = values![];
                let sql = format!("{PRODUCT} WHERE p.id IN ({})", batch.bind(&mut values));
                let page = page(&mut tx, sql, values).await?;
                if complete(&mut tx, sight, page).await?.into_iter().any(|listed| accept(listed.product)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// How many products are read at once to look for a file.
const PRODUCTS_AT_ONCE: usize = 64;
const PRODUCT: &str = "SELECT p.id, p.key, p.os, p.release, p.variant, p.architecture, p.extra FROM products p";

/// Up to `limit` visible products after this key, in the order of their keys.
pub(super) async fn after(tx: &mut Tx, sight: Sight, key: &str, limit: usize) -> Result<Vec<Listed>, CatalogError> {
    let sql = format!(
        "{PRODUCT} WHERE p.project_id = $1 AND p.key > $2{} ORDER BY p.key LIMIT $3",
        with_visible_image(sight)
    );
    let page = page(tx, sql, values![sight.project, key, rows::limit(limit)]).await?;
    complete(tx, sight, page).await
}

/// The visible products with these keys, in any order.
pub(super) async fn with_keys(tx: &mut Tx, sight: Sight, keys: &[String]) -> Result<Vec<Listed>, CatalogError> {
    let mut found = Vec::new();
    for batch in Batch::of(keys) {
        let mut values = values![sight.project];
        let list = batch.bind(&mut values);
        let sql = format!("{PRODUCT} WHERE p.project_id = $1 AND p.key IN ({list}){}", with_visible_image(sight));
        let page = page(tx, sql, values).await?;
        found.extend(complete(tx, sight, page).await?);
    }
    Ok(found)
}

fn with_visible_image(sight: Sight) -> String {
    format!(" AND EXISTS (SELECT 1 FROM images i WHERE i.product_id = p.id{})", sight.and_visible("i"))
}

/// The products of these rows with all that is visible of them.
async fn complete(tx: &mut Tx, sight: Sight, page: Vec<ProductRow>) -> Result<Vec<Listed>, CatalogError> {
    let ids: Vec<i64> = page.iter().map(|row| row.id).collect();
    let mut images = visible_images(tx, sight, &ids).await?;
    let mut extras = version_extras(tx, &ids).await?;
    let deltas = deltas::of_products(tx, sight, &ids).await?;
    let mut following = following(tx, sight, &ids).await?;
    let newest: Vec<i64> = images.values().flat_map(|images| of_newest_version(images)).map(|row| row.id).collect();
    let mut fixed = fixed(tx, &newest).await?;
    Ok(page
        .into_iter()
        .map(|row| {
            let images = images.remove(&row.id).unwrap_or_default();
            let newest = of_newest_version(&images).iter();
            let fixed = newest.filter_map(|image| fixed.remove(&image.id)).flatten().collect();
            let following = following.remove(&row.id).unwrap_or_default();
            let (names, fixed) = names(following, fixed, row.line.architecture);
            Listed { product: assemble(row, images, names, &mut extras, &deltas), fixed }
        })
        .collect())
}

async fn page(tx: &mut Tx, sql: String, values: Vec<Value>) -> Result<Vec<ProductRow>, CatalogError> {
    let read = |row: &super::engine::Row| {
        Ok(ProductRow {
            id: row.int(0)?,
            key: row.text(1)?,
            line: Line {
                os: row.text(2)?,
                release: row.text(3)?,
                variant: row.text(4)?,
                architecture: rows::parse("an architecture", &row.text(5)?)?,
            },
            extra: from_json(&row.text(6)?)?,
        })
    };
    tx.rows(sql, values).await?.iter().map(read).collect()
}

/// The visible images of these products, each product's from the oldest to the newest.
async fn visible_images(
    tx: &mut Tx,
    sight: Sight,
    products: &[i64],
) -> Result<HashMap<i64, Vec<ImageRow>>, CatalogError> {
    let mut found: HashMap<i64, Vec<ImageRow>> = HashMap::new();
    for batch in Batch::of(products) {
        let mut values = values![];
        let tail = format!(" WHERE i.product_id IN ({}){}", batch.bind(&mut values), sight.and_visible("i"));
        for row in rows::images(tx, &tail, values).await? {
            if let Some((product, _)) = &row.place {
                found.entry(*product).or_default().push(row);
            }
        }
    }
    for images in found.values_mut() {
        images.sort_by_cached_key(ImageRow::age);
    }
    Ok(found)
}

/// Those of a product's images, oldest first, that are in the version of the last one.
fn of_newest_version(images: &[ImageRow]) -> &[ImageRow] {
    let version = images.last().and_then(|row| row.place.as_ref());
    let first = images.iter().position(|row| row.place.as_ref() == version).unwrap_or(images.len());
    &images[first..]
}

async fn version_extras(
    tx: &mut Tx,
    products: &[i64],
) -> Result<HashMap<(i64, String), BTreeMap<String, Json>>, CatalogError> {
    let mut found = HashMap::new();
    for batch in Batch::of(products) {
        let mut values = values![];
        let list = batch.bind(&mut values);
        let sql =
            format!("SELECT product_id, name, extra FROM versions WHERE product_id IN ({list}) AND extra <> '{{}}'");
        for row in tx.rows(sql, values).await? {
            found.insert((row.int(0)?, row.text(1)?), from_json(&row.text(2)?)?);
        }
    }
    Ok(found)
}

/// The names of a product: generated ones, following ones, fixed ones, none twice; and which of them are only fixed.
fn names(following: Vec<Following>, fixed: Vec<ImageAlias>, architecture: Architecture) -> (Vec<String>, Vec<String>) {
    let fixed: BTreeSet<String> = fixed.into_iter().map(|alias| alias.name.as_str().to_owned()).collect();
    let bare = |name: String| match split_arch(&name) {
        (base, Some(found)) if found == architecture => base.to_owned(),
        _ => name,
    };
    let mut names: Vec<String> = Vec::new();
    for name in following.into_iter().map(|name| bare(name.name)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let following = names.len();
    for name in fixed.into_iter().map(bare) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let fixed = names[following..].to_vec();
    (names, fixed)
}

fn assemble(
    row: ProductRow,
    images: Vec<ImageRow>,
    aliases: Vec<String>,
    extras: &mut HashMap<(i64, String), BTreeMap<String, Json>>,
    deltas: &HashMap<Digest, Vec<Delta>>,
) -> Product {
    let newest = images.last().map(|row| &row.image);
    let property = |key: &str| newest.and_then(|image| image.property(key)).map(str::to_owned);
    let mut product = Product {
        release_title: property("release_title"),
        release_codename: property("release_codename"),
        version: property("version"),
        line: newest.and_then(Line::of_image).unwrap_or(row.line),
        key: row.key,
        aliases,
        extra: row.extra,
        versions: Vec::new(),
    };
    for image in images {
        let Some((_, name)) = image.place else { continue };
        match product.versions.last_mut() {
            Some(version) if version.name == name => version.images.push(image.image),
            _ => {
                let extra = extras.remove(&(row.id, name.as_str().to_owned())).unwrap_or_default();
                product.versions.push(Version { name, extra, images: vec![image.image], deltas: Vec::new() });
            }
        }
    }
    for version in product.versions.iter_mut().filter(|_| !deltas.is_empty()) {
        let roots = version.images.iter().filter_map(|image| match &image.files {
            ImageFiles::Split { root, .. } => Some(root.digest),
            ImageFiles::Unified(_) => None,
        });
        let roots: BTreeSet<Digest> = roots.collect();
        version.deltas = roots.iter().filter_map(|root| deltas.get(root)).flatten().copied().collect();
    }
    product
}
