//! Deltas with their names: where they belong, for people who ask what there is and why not.
//!
//! A delta belongs to two files. Here it is told in the words of products: once for each version that has the target and each older
//! one, of the same type, that has the base.

use headwater_formats::digest::Fingerprint;
use headwater_formats::image::{ImageFile, ImageType};
use headwater_formats::names::{ProjectName, VersionName};
use headwater_formats::timestamp::Timestamp;

use super::delta_work::{ClaimedDelta, DeltaState};
use super::engine::{Row, values};
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

/// Where the next page of [`Catalog::deltas`] begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaCursor(DeltaPlaceKey);

type DeltaPlaceKey = (String, String, String, String, String);

impl Catalog {
    /// Where a pair belongs: the first of the products in which the target is newer than the base; those that guests see come first.
    pub async fn delta_place(&self, pair: &ClaimedDelta) -> Result<Option<DeltaPlace>, CatalogError> {
        let sql = format!(
            "{PLACE} {FROM_PLACES} WHERE tf.digest = $1 AND bf.digest = $2 ORDER BY ti.public DESC, ti.id, bi.id LIMIT 1"
        );
        let values = values![pair.target.digest.to_string(), pair.base.digest.to_string()];
        let found = self.engine.fetch(sql, values).await?;
        found.first().map(place).transpose()
    }

    /// Up to `limit` deltas of the products of a project, by product, version and base, after the cursor; a cursor for the next page.
    pub async fn deltas(
        &self,
        project: &ProjectName,
        after: Option<&DeltaCursor>,
        limit: usize,
    ) -> Result<(Vec<DeltaRow>, Option<DeltaCursor>), CatalogError> {
        let sql = format!(
            "{PLACE}, ti.image_type, tb.digest, tb.size, tb.format, bb.digest, bb.size, bb.format, d.state, db.digest, db.size, db.format, \
             d.clients, d.why, d.asked_at, d.ended_at {FROM_PLACES} \
             JOIN deltas d ON d.target = tf.digest AND d.base = bf.digest JOIN blobs tb ON tb.digest = d.target \
             JOIN blobs bb ON bb.digest = d.base LEFT JOIN blobs db ON db.digest = d.digest \
             WHERE r.name = $1 AND (p.key, ti.version, bi.version, tb.digest, bb.digest) > ($2, $3, $4, $5, $6) \
             ORDER BY p.key, ti.version, bi.version, tb.digest, bb.digest LIMIT $7"
        );
        let (key, version, base_version, target, base) = after.map(|DeltaCursor(key)| key.clone()).unwrap_or_default();
        let values = values![project.as_str(), key, version, base_version, target, base, rows::limit(limit)];
        let mut found = Vec::new();
        for row in self.engine.fetch(sql, values).await? {
            let file = row.opt_text(13)?.map(|digest| rows::file(digest, row.int(14)?, row.text(15)?)).transpose()?;
            found.push(DeltaRow {
                place: place(&row)?,
                image_type: rows::parse("an image's type", &row.text(5)?)?,
                target: rows::file(row.text(6)?, row.int(7)?, row.text(8)?)?,
                base: rows::file(row.text(9)?, row.int(10)?, row.text(11)?)?,
                state: rows::parse("a delta's state", &row.text(12)?)?,
                file,
                clients: rows::unsigned(row.int(16)?)?,
                why: row.text(17)?,
                asked_at: rows::time(row.int(18)?)?,
                ended_at: row.opt_int(19)?.map(rows::time).transpose()?,
            });
        }
        let next = found.last().filter(|_| found.len() >= limit).map(|last| {
            let DeltaPlace { product, version, base_version, .. } = &last.place;
            let (version, base_version) = (version.to_string(), base_version.to_string());
            DeltaCursor((
                product.clone(),
                version,
                base_version,
                last.target.digest.to_string(),
                last.base.digest.to_string(),
            ))
        });
        Ok((found, next))
    }
}

/// Products `p` of projects `r` in which an image `ti` has the file `tf`, and an image `bi` of the same type, of an older version, the file `bf`.
const FROM_PLACES: &str = "FROM image_files tf JOIN images ti ON ti.id = tf.image_id AND tf.role = 'root' \
     JOIN products p ON p.id = ti.product_id JOIN projects r ON r.id = p.project_id \
     JOIN images bi ON bi.product_id = ti.product_id AND bi.image_type = ti.image_type AND bi.version < ti.version \
     JOIN image_files bf ON bf.image_id = bi.id AND bf.role = 'root'";
/// What is told of a place.
const PLACE: &str = "SELECT r.name, p.key, ti.fingerprint, ti.version, bi.version";

fn place(row: &Row) -> Result<DeltaPlace, CatalogError> {
    Ok(DeltaPlace {
        project: rows::parse("a project's name", &row.text(0)?)?,
        product: row.text(1)?,
        image: rows::parse("a fingerprint", &row.text(2)?)?,
        version: rows::parse("a version's name", &row.text(3)?)?,
        base_version: rows::parse("a version's name", &row.text(4)?)?,
    })
}
