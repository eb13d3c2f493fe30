//! Deltas with their names: where they belong, for people who ask what there is and why not.
//!
//! A delta belongs to two files. Here it is told in the words of products: once for each version that has the target and each older
//! one, of the same type, that has the base.

use headwater_formats::digest::Fingerprint;
use headwater_formats::image::{ImageFile, ImageType};
use headwater_formats::names::{ProjectName, VersionName};
use headwater_formats::timestamp::Timestamp;

use super::delta_work::{ClaimedDelta, DeltaState};
use super::engine::{Batch, Row, values};
use super::sight::project_id;
use super::{Catalog, CatalogError, rows};

/// Where a delta belongs, for people: one of the products that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaPlace {
    /// The project.
    pub project: ProjectName,
    /// The product's key.
    pub product: String,
    /// The image with the target.
    pub image: Fingerprint,
    /// Its version.
    pub version: VersionName,
    /// The version that has the base.
    pub base_version: VersionName,
}

/// A delta with all that is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaRow {
    /// Where it belongs.
    pub place: DeltaPlace,
    /// The type of the images.
    pub image_type: ImageType,
    /// What is made.
    pub target: ImageFile,
    /// Of what.
    pub base: ImageFile,
    /// How it stands.
    pub state: DeltaState,
    /// Its own file when it is ready.
    pub file: Option<ImageFile>,
    /// How many clients held the base when that was counted last.
    pub clients: u64,
    /// Why it was refused, or what went wrong; else empty.
    pub why: String,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Catalog {
    /// Where a pair belongs: the first of the products in which the target is newer than the base; those that guests see come first.
    pub async fn delta_place(&self, pair: &ClaimedDelta) -> Result<Option<DeltaPlace>, CatalogError> {
        let sql = format!(
            "{PLACE} FROM image_files tf CROSS JOIN images ti CROSS JOIN image_files bf CROSS JOIN images bi \
             CROSS JOIN products p CROSS JOIN projects r WHERE tf.digest = $1 AND bf.digest = $2 AND {OF_ONE_PRODUCT} \
             ORDER BY ti.public DESC, ti.id, bi.id"
        );
        let values = values![pair.target.digest.to_string(), pair.base.digest.to_string()];
        let found = self.engine.fetch(sql, values).await?;
        found.first().map(place).transpose()
    }

    /// The deltas of up to `limit` products of a project, by the keys of these, after the given one; by version, then by base. Also the key of the last of the
    /// products, unless it was the last of all.
    pub async fn deltas(
        &self,
        project: &ProjectName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<DeltaRow>, Option<String>), CatalogError> {
        let mut tx = self.engine.read().await?;
        let id = project_id(&mut tx, project).await?;
        let sql = "SELECT id, key FROM products WHERE project_id = $1 AND key > $2 ORDER BY key LIMIT $3";
        let page = tx.rows(sql, values![id, after.unwrap_or_default(), rows::limit(limit)]).await?;
        let products = page.iter().map(|row| row.int(0)).collect::<Result<Vec<i64>, _>>()?;
        let next = page.last().filter(|_| page.len() >= limit).map(|row| row.text(1)).transpose()?;
        let mut found = Vec::new();
        for batch in Batch::of(&products) {
            let mut values = values![];
            // In this order: SQLite would rather begin with all deltas.
            let sql = format!(
                "{PLACE}, ti.image_type, tb.digest, tb.size, tb.format, bb.digest, bb.size, bb.format, d.state, \
                 db.digest, db.size, db.format, d.clients, d.why, d.asked_at, d.ended_at \
                 FROM images ti CROSS JOIN image_files tf CROSS JOIN deltas d CROSS JOIN image_files bf CROSS JOIN images bi \
                 CROSS JOIN products p CROSS JOIN projects r CROSS JOIN blobs tb CROSS JOIN blobs bb \
                 LEFT JOIN blobs db ON db.digest = d.digest \
                 WHERE ti.product_id IN ({}) AND d.target = tf.digest AND bf.digest = d.base AND {OF_ONE_PRODUCT} \
                 AND tb.digest = d.target AND bb.digest = d.base",
                batch.bind(&mut values)
            );
            for row in tx.rows(sql, values).await? {
                found.push(delta(&row)?);
            }
        }
        tx.commit().await?;
        found.sort_by_cached_key(|DeltaRow { place, target, base, .. }| {
            let versions = (place.version.as_str().to_owned(), place.base_version.as_str().to_owned());
            (place.product.clone(), versions, target.digest, base.digest)
        });
        Ok((found, next))
    }
}

/// What is told of a place.
const PLACE: &str = "SELECT r.name, p.key, ti.fingerprint, ti.version, bi.version";
/// In a product `p` of a project `r`, an image `ti` has the root file `tf`, and an image `bi` of the same type, of an older version, `bf`.
const OF_ONE_PRODUCT: &str = "tf.image_id = ti.id AND tf.role = 'root' AND bi.id = bf.image_id AND bf.role = 'root' \
     AND bi.product_id = ti.product_id AND bi.image_type = ti.image_type AND bi.version < ti.version \
     AND p.id = ti.product_id AND r.id = p.project_id";

fn place(row: &Row) -> Result<DeltaPlace, CatalogError> {
    Ok(DeltaPlace {
        project: rows::parse("a project's name", &row.text(0)?)?,
        product: row.text(1)?,
        image: rows::parse("a fingerprint", &row.text(2)?)?,
        version: rows::parse("a version's name", &row.text(3)?)?,
        base_version: rows::parse("a version's name", &row.text(4)?)?,
    })
}

fn delta(row: &Row) -> Result<DeltaRow, CatalogError> {
    let file = row.opt_text(13)?.map(|digest| rows::file(digest, row.int(14)?, row.text(15)?)).transpose()?;
    Ok(DeltaRow {
        place: place(row)?,
        image_type: rows::parse("an image's type", &row.text(5)?)?,
        target: rows::file(row.text(6)?, row.int(7)?, row.text(8)?)?,
        base: rows::file(row.text(9)?, row.int(10)?, row.text(11)?)?,
        state: rows::parse("a delta's state", &row.text(12)?)?,
        file,
        clients: rows::unsigned(row.int(16)?)?,
        why: row.text(17)?,
        asked_at: rows::time(row.int(18)?)?,
        ended_at: row.opt_int(19)?.map(rows::time).transpose()?,
    })
}
