//! Where an image stands in the streams: its product, its version, and what goes when the last image leaves them.

use std::collections::BTreeSet;

use headwater_formats::image::Image;
use headwater_formats::names::VersionName;
use headwater_formats::product::{Line, version_name};
use headwater_formats::simplestreams::{conflict, slot};

use super::engine::{Row, Tx, Value, values};
use super::rows::{self, ImageRow};
use super::version::bump;
use super::{CatalogError, changes, names};

/// Finds or makes the product and version of an image that is not in that version yet.
pub(super) async fn place(
    tx: &mut Tx,
    project: i64,
    image: &Image,
) -> Result<Option<(i64, VersionName)>, CatalogError> {
    let Some(line) = Line::of_image(image) else { return Ok(None) };
    let row = product_row(project, &line.key(), &line);
    let kept = keep_products(tx, vec![row]).await?;
    let product = kept.first().ok_or_else(|| CatalogError::Corrupt("a product was not kept".into()))?.int(0)?;
    let version = free_version(tx, product, image, version_name(image)).await?;
    keep_versions(tx, vec![version_row(product, &version, "{}")]).await?;
    Ok(Some((product, version)))
}

/// What a product is called, and its line: the columns that [`keep_products`] writes.
pub(super) fn product_row(project: i64, key: &str, line: &Line) -> Vec<Value> {
    values![
        project,
        key,
        line.os.to_lowercase(),
        line.release.to_lowercase(),
        line.variant.to_lowercase(),
        line.architecture.name(),
    ]
}

/// Finds or makes products: the id, the project and the key of each, in any order.
pub(super) async fn keep_products(tx: &mut Tx, rows: Vec<Vec<Value>>) -> Result<Vec<Row>, CatalogError> {
    let head = "INSERT INTO products (project_id, key, os, release, variant, architecture)";
    let tail = "ON CONFLICT (project_id, key) DO UPDATE SET key = excluded.key RETURNING id, project_id, key";
    tx.insert_for(head, rows, tail).await
}

/// A version, and what is said of it as JSON: the columns that [`keep_versions`] writes.
pub(super) fn version_row(product: i64, name: &VersionName, extra: &str) -> Vec<Value> {
    values![product, name.as_str(), extra]
}

/// Makes versions, or says anew what is said of them, unless nothing is.
pub(super) async fn keep_versions(tx: &mut Tx, rows: Vec<Vec<Value>>) -> Result<(), CatalogError> {
    let tail = "ON CONFLICT (product_id, name) DO UPDATE SET extra = excluded.extra WHERE excluded.extra <> '{}'";
    tx.insert("INSERT INTO versions (product_id, name, extra)", rows, tail).await
}

/// That name of a version, or the first one after it in which nothing conflicts with the image.
pub(super) async fn free_version(
    tx: &mut Tx,
    product: i64,
    image: &Image,
    wanted: VersionName,
) -> Result<VersionName, CatalogError> {
    // One look at an index; only when it is taken, all that comes after it is of interest.
    if taken(tx, product, "=", &wanted, image).await?.is_empty() {
        return Ok(wanted);
    }
    let taken = taken(tx, product, ">=", &wanted, image).await?;
    let taken: BTreeSet<VersionName> = taken.into_iter().filter_map(|row| row.place).map(|(_, name)| name).collect();
    let mut name = wanted;
    while taken.contains(&name) {
        name = bump(&name);
    }
    Ok(name)
}

/// The images at (`=`) or from (`>=`) a version on that conflict with this one.
pub(super) async fn taken(
    tx: &mut Tx,
    product: i64,
    operator: &'static str,
    name: &VersionName,
    image: &Image,
) -> Result<Vec<ImageRow>, CatalogError> {
    if slot(image).is_none() {
        return Ok(Vec::new());
    }
    let tail = format!(" WHERE i.product_id = $1 AND i.version {operator} $2 AND i.fingerprint <> $3");
    let values = values![product, name.as_str(), image.fingerprint.to_string()];
    let others = rows::images(tx, &tail, values).await?;
    Ok(others.into_iter().filter(|row| conflict(&row.image, image)).collect())
}

/// Removes a version and a product if the last image has left them, and brings the product's names up to its newest image;
/// notes that the product changed.
pub(super) async fn tidy(tx: &mut Tx, product: i64, version: &VersionName) -> Result<(), CatalogError> {
    // While it is there.
    changes::product(tx, product).await?;
    tx.execute(
        "DELETE FROM versions WHERE product_id = $1 AND name = $2 \
         AND NOT EXISTS (SELECT 1 FROM images i WHERE i.product_id = $1 AND i.version = $2)",
        values![product, version.as_str()],
    )
    .await?;
    let gone = tx
        .execute(
            "DELETE FROM products WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM versions v WHERE v.product_id = $1)",
            values![product],
        )
        .await?;
    if gone == 0 { names::refresh(tx, product).await } else { Ok(()) }
}
