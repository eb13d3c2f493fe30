//! How long images of a project stay by themselves: its rules, what they are asked about, and taking away what they let go.
//!
//! What the rules mean is decided elsewhere; here is what has to be known for that, and the transaction in which it is decided, so that
//! nothing goes for which there is a reason to stay by now.

use std::collections::BTreeMap;
use std::fmt;

use headwater_formats::digest::Fingerprint;
use headwater_formats::image::ImageType;
use headwater_formats::names::{ProjectName, UpstreamName, VersionName};
use headwater_formats::simplestreams::Family;
use headwater_formats::simplestreams::item::FAMILIES;
use headwater_formats::timestamp::Timestamp;

use super::audit::{Action, record};
use super::engine::{Batch, Row, Tx, values};
use super::images::look;
use super::remove::delete;
use super::sight::project_id;
use super::{Catalog, CatalogError, bump_revision, rows};

/// Most images that go in one transaction: others have to write, too.
const AT_ONCE: usize = 100;

/// Which images of a project stay by themselves. One goes when a number is set, and nothing here keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// The newest versions of a product that stay; 0 when their number does not count.
    pub keep: u32,
    /// For how many days a version stays after it came; 0 when its age does not count.
    pub keep_days: u32,
    /// Whether what a fixed alias leads to stays.
    pub keep_aliased: bool,
}

impl Retention {
    /// Whether anything can go by these rules.
    pub fn is_limited(&self) -> bool {
        self.keep > 0 || self.keep_days > 0
    }

    /// From three columns, of which this is the first.
    pub(super) fn read(row: &Row, column: usize) -> Result<Self, CatalogError> {
        let number = |column| {
            let number = row.int(column)?;
            u32::try_from(number).map_err(|_| CatalogError::Corrupt(format!("a rule that keeps {number}")))
        };
        Ok(Self { keep: number(column)?, keep_days: number(column + 1)?, keep_aliased: row.truth(column + 2)? })
    }
}

/// As the options of the command line say them: `keep=5 keep-days=30 keep-aliased`.
impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.keep > 0).then(|| format!("keep={}", self.keep)),
            (self.keep_days > 0).then(|| format!("keep-days={}", self.keep_days)),
            self.keep_aliased.then(|| "keep-aliased".to_owned()),
        ];
        f.write_str(&words.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

/// An image of a product, as far as rules ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionImage {
    /// Which one.
    pub fingerprint: Fingerprint,
    /// In which version.
    pub version: VersionName,
    /// Of what type.
    pub image_type: ImageType,
    /// To whom it is listed.
    pub family: Family,
    /// When it came to the project.
    pub came_at: Timestamp,
    /// Bytes of its files.
    pub size: u64,
    /// A fixed alias that leads to it.
    pub alias: Option<String>,
    /// A mirrored server that it came from.
    pub upstream: Option<UpstreamName>,
}

/// All images of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductImages {
    /// The product's key.
    pub product: String,
    /// From the oldest version to the newest.
    pub images: Vec<VersionImage>,
}

const IMAGES: &str = "SELECT i.product_id, i.fingerprint, i.version, i.image_type, i.properties, i.uploaded_at, \
     (SELECT CAST(SUM(b.size) AS BIGINT) FROM image_files f CROSS JOIN blobs b WHERE f.image_id = i.id AND b.digest = f.digest), \
     (SELECT MIN(a.name) FROM aliases a WHERE a.image_id = i.id), \
     (SELECT MIN(u.name) FROM upstream_images m CROSS JOIN upstreams u \
      WHERE m.fingerprint = i.fingerprint AND u.id = m.upstream_id AND u.project_id = i.project_id) \
     FROM images i WHERE";

impl Catalog {
    /// Says which images of a project stay by themselves. Nothing goes by that; see [`Catalog::prune_product`].
    ///
    /// # Errors
    /// [`CatalogError::NoProject`].
    pub async fn set_retention(
        &self,
        name: &ProjectName,
        retention: &Retention,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let id = project_id(&mut tx, name).await?;
        if rules(&mut tx, id).await? != *retention {
            let sql = "UPDATE projects SET keep = $2, keep_days = $3, keep_aliased = $4 WHERE id = $1";
            let Retention { keep, keep_days, keep_aliased } = *retention;
            tx.execute(sql, values![id, i64::from(keep), i64::from(keep_days), keep_aliased]).await?;
            let text = retention.to_string();
            let detail = [("retention", text.as_str())];
            record(&mut tx, &self.actor, Action::ProjectUpdated, Some(name), name.as_str(), &detail, now).await?;
        }
        tx.commit().await
    }

    /// The images of up to `limit` products of a project that come after the given one, in the order of their keys.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`].
    pub async fn product_images(
        &self,
        project: &ProjectName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ProductImages>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let id = project_id(&mut tx, project).await?;
        let sql = "SELECT id, key FROM products WHERE project_id = $1 AND key > $2 ORDER BY key LIMIT $3";
        let mut keys = Vec::new();
        for row in tx.rows(sql, values![id, after.unwrap_or_default(), rows::limit(limit)]).await? {
            keys.push((row.int(0)?, row.text(1)?));
        }
        let ids: Vec<i64> = keys.iter().map(|(id, _)| *id).collect();
        let mut found: BTreeMap<i64, Vec<VersionImage>> = BTreeMap::new();
        for batch in Batch::of(&ids) {
            let mut values = values![];
            let list = batch.bind(&mut values);
            let sql = format!("{IMAGES} i.product_id IN ({list}) ORDER BY i.product_id, i.version, i.fingerprint");
            for row in tx.rows(sql, values).await? {
                found.entry(row.int(0)?).or_default().push(read(&row)?);
            }
        }
        tx.commit().await?;
        let with = |(id, product)| ProductImages { product, images: found.remove(&id).unwrap_or_default() };
        Ok(keys.into_iter().map(with).collect())
    }

    /// Takes images of a product away that the rules of its project let go, which `decide` tells: it is asked within the transaction, so that what it
    /// sees is still true when they go. They go as by [`Catalog::delete_image`]; the audit names the rules. Called again as long as
    /// some went: not all of many go at once.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`].
    pub async fn prune_product(
        &self,
        project: &ProjectName,
        product: &str,
        decide: impl Fn(&Retention, &[VersionImage]) -> Vec<Fingerprint>,
        now: Timestamp,
    ) -> Result<Vec<Fingerprint>, CatalogError> {
        let mut tx = self.engine.write().await?;
        let id = project_id(&mut tx, project).await?;
        let retention = rules(&mut tx, id).await?;
        let sql = "SELECT id FROM products WHERE project_id = $1 AND key = $2";
        let Some(row) = tx.row(sql, values![id, product]).await? else { return Ok(Vec::new()) };
        let sql = format!("{IMAGES} i.product_id = $1 ORDER BY i.version, i.fingerprint");
        let images = tx.rows(sql, values![row.int(0)?]).await?;
        let images = images.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let mut gone = decide(&retention, &images);
        gone.truncate(AT_ONCE);
        if gone.is_empty() {
            return Ok(gone);
        }
        let rule = retention.to_string();
        for fingerprint in &gone {
            if let Some(row) = look(&mut tx, id, fingerprint).await? {
                delete(&mut tx, &self.actor, project, &row, Some(&rule), now).await?;
            }
        }
        bump_revision(&mut tx, now).await?;
        tx.commit().await?;
        Ok(gone)
    }
}

async fn rules(tx: &mut Tx, project: i64) -> Result<Retention, CatalogError> {
    let sql = "SELECT keep, keep_days, keep_aliased FROM projects WHERE id = $1";
    let row = tx.row(sql, values![project]).await?;
    row.map_or(Ok(Retention::default()), |row| Retention::read(&row, 0))
}

fn read(row: &Row) -> Result<VersionImage, CatalogError> {
    Ok(VersionImage {
        fingerprint: rows::parse("a fingerprint", &row.text(1)?)?,
        version: rows::parse("a version's name", &row.text(2)?)?,
        image_type: rows::parse("an image's type", &row.text(3)?)?,
        family: family(&row.text(4)?)?,
        came_at: rows::time(row.int(5)?)?,
        size: rows::unsigned(row.int(6)?)?,
        alias: row.opt_text(7)?,
        upstream: row.opt_text(8)?.map(|name| rows::parse("an upstream's name", &name)).transpose()?,
    })
}

/// To whom an image with these properties is listed. Most have no property that says so, and are not read for it.
fn family(properties: &str) -> Result<Family, CatalogError> {
    if !properties.contains(FAMILIES) {
        return Ok(Family::Any);
    }
    let properties: BTreeMap<String, String> = rows::from_json(properties)?;
    Ok(match properties.get(FAMILIES).map(String::as_str) {
        Some("lxd") => Family::Lxd,
        Some("incus") => Family::Incus,
        _ => Family::Any,
    })
}
