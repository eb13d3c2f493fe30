//! Deltas that are ready: who lists them, who may have their bytes, and when these go.
//!
//! A delta belongs to two root files, not to images. While an image of some project has each of the two, its bytes are needed like those of
//! an image. When one of the two is retired, the bytes are retired with it, and nobody lists the delta any more, because its base is in no
//! list; its row stays as long as the two files do, so that who may have the target may have the delta, too: clients work with
//! lists that are an hour old. When the file is published again meanwhile, the delta is as it was before.
//!
//! A row goes before the bytes that it names: see [`Catalog::end_deltas`].

use std::collections::{BTreeSet, HashMap};

use headwater_formats::digest::Digest;
use headwater_formats::image::{FileFormat, ImageFile};
use headwater_formats::product::Delta;
use headwater_formats::timestamp::Timestamp;

use super::engine::{Batch, Row, Tx, values};
use super::sight::Sight;
use super::{Catalog, CatalogError, bump_revision, changes, files, rows};
use crate::auth::Viewer;

/// The bytes of a delta, for who may have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaFile {
    /// The bytes.
    pub file: ImageFile,
    /// The root files that come out of it: one, but for deltas that are the same bytes.
    pub targets: Vec<Digest>,
}

/// Whether the bytes `blobs.digest` are those of a delta that is needed: both of its files are.
pub(super) const NEEDED: &str = "EXISTS (SELECT 1 FROM deltas n JOIN blobs nt ON nt.digest = n.target JOIN blobs nb ON nb.digest = n.base \
     WHERE n.digest = blobs.digest AND nt.retired_at IS NULL AND nb.retired_at IS NULL)";

impl Catalog {
    /// Lists a delta that was built. `by` is who claimed it. The products with the target are noted as changed. `false`, and nothing
    /// is changed, when the claim is not that of `by` any more, or when no image needs the target or the base (any more).
    ///
    /// `ensure` is called inside the transaction, under the lock that sweeps take too: it makes sure, quickly, that the bytes are still in
    /// place and puts them back if not.
    ///
    /// # Errors
    /// [`CatalogError::Bytes`] when `ensure` fails: then nothing was written.
    pub async fn list_delta(
        &self,
        target: &Digest,
        base: &Digest,
        file: &ImageFile,
        by: &str,
        now: Timestamp,
        ensure: impl FnOnce() -> std::io::Result<()> + Send,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.engine.write().await?;
        let (target, base, digest) = (target.to_string(), base.to_string(), file.digest.to_string());
        let claim = "SELECT 1 FROM deltas d JOIN blobs t ON t.digest = d.target JOIN blobs o ON o.digest = d.base \
             WHERE d.target = $1 AND d.base = $2 AND d.state = 'building' AND d.claimed_by = $3 \
             AND t.retired_at IS NULL AND o.retired_at IS NULL";
        if tx.row(claim, values![target.as_str(), base.as_str(), by]).await?.is_none() {
            return Ok(false);
        }
        ensure().map_err(CatalogError::Bytes)?;
        // Bytes that are a file of an image as well keep the format that the image says.
        tx.execute(
            "INSERT INTO blobs (digest, size, format) VALUES ($1, $2, $3) ON CONFLICT (digest) DO UPDATE \
             SET retired_at = NULL, present = 1, size = excluded.size",
            values![digest.as_str(), rows::signed(file.size)?, FileFormat::Vcdiff.extension()],
        )
        .await?;
        tx.execute(
            "UPDATE deltas SET state = 'ready', digest = $3, why = '', ended_at = $4, claimed_by = NULL, claimed_until = NULL \
             WHERE target = $1 AND base = $2",
            values![target.as_str(), base, digest, now.unix()],
        )
        .await?;
        changes::root(&mut tx, &target).await?;
        bump_revision(&mut tx, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Takes deltas with these bytes out of all lists at once, because the bytes are not what they should be, and forgets that
    /// they were built; gives how many that were. Nobody is given the bytes any more, and the next sweep after their grace removes them.
    pub async fn drop_delta(&self, digest: &Digest, now: Timestamp) -> Result<u64, CatalogError> {
        let mut tx = self.engine.write().await?;
        let digest = digest.to_string();
        let targets = tx.rows("SELECT target FROM deltas WHERE digest = $1", values![digest.as_str()]).await?;
        if targets.is_empty() {
            return Ok(0);
        }
        for target in &targets {
            changes::root(&mut tx, &target.text(0)?).await?;
        }
        let dropped = tx.execute("DELETE FROM deltas WHERE digest = $1", values![digest.as_str()]).await?;
        tx.execute(
            "UPDATE blobs SET retired_at = $1 WHERE digest = $2 AND retired_at IS NULL \
             AND NOT EXISTS (SELECT 1 FROM image_files f WHERE f.digest = $2)",
            values![now.unix(), digest],
        )
        .await?;
        bump_revision(&mut tx, now).await?;
        tx.commit().await?;
        Ok(dropped)
    }

    /// The bytes of a delta, if the viewer may have them: whoever may have the root file that comes out may have the delta to it
    /// ([`Catalog::file`]).
    pub async fn delta_file(&self, viewer: &Viewer, digest: &Digest) -> Result<Option<DeltaFile>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let audiences = files::audiences(&mut tx, viewer).await?;
        let select = "SELECT d.target, b.size FROM deltas d JOIN blobs b ON b.digest = d.digest WHERE d.digest = $1";
        let mut found = Vec::new();
        match audiences {
            None => found = tx.rows(select, values![digest.to_string()]).await?,
            Some(audiences) => {
                for batch in Batch::of(&audiences) {
                    let mut values = values![digest.to_string()];
                    let seen = files::seen("d.target", &batch.bind(&mut values));
                    found.extend(tx.rows(format!("{select} AND {seen}"), values).await?);
                }
            }
        }
        tx.commit().await?;
        let Some(first) = found.first() else { return Ok(None) };
        let file = ImageFile { digest: *digest, size: rows::unsigned(first.int(1)?)?, format: FileFormat::Vcdiff };
        let targets: BTreeSet<Digest> =
            found.iter().map(|row| rows::parse("a digest", &row.text(0)?)).collect::<Result<_, _>>()?;
        Ok(Some(DeltaFile { file, targets: targets.into_iter().collect() }))
    }

    /// The deltas with these bytes that are ready, as target and base.
    pub async fn deltas_of_bytes(&self, digest: &Digest) -> Result<Vec<(Digest, Digest)>, CatalogError> {
        let sql = "SELECT d.target, d.base FROM deltas d WHERE d.digest = $1 ORDER BY d.target, d.base";
        let found = self.engine.fetch(sql, values![digest.to_string()]).await?;
        let read = |row: &Row| Ok((rows::parse("a digest", &row.text(0)?)?, rows::parse("a digest", &row.text(1)?)?));
        found.iter().map(read).collect()
    }

    /// Forgets deltas whose bytes were retired before that moment. A sweep calls this first: as long as there is a row, publishing the file
    /// that is missing again brings the delta back, so its bytes must be there.
    pub async fn end_deltas(&self, before: Timestamp) -> Result<u64, CatalogError> {
        let mut tx = self.engine.write().await?;
        let ended = tx
            .execute(
                "DELETE FROM deltas WHERE digest IN (SELECT b.digest FROM blobs b WHERE b.retired_at < $1)",
                values![before.unix()],
            )
            .await?;
        tx.commit().await?;
        Ok(ended)
    }
}

/// The deltas that are ready to the root files of the visible images of these products, by target; each target's by base.
pub(super) async fn of_products(
    tx: &mut Tx,
    sight: Sight,
    products: &[i64],
) -> Result<HashMap<Digest, Vec<Delta>>, CatalogError> {
    let mut found: HashMap<Digest, Vec<Delta>> = HashMap::new();
    for batch in Batch::of(products) {
        let mut values = values![];
        let list = batch.bind(&mut values);
        // The first condition is looked at once: without deltas, that is all. In this order: SQLite would rather begin with all deltas.
        let sql = format!(
            "SELECT d.target, d.base, d.digest, b.size, d.clients FROM images i CROSS JOIN image_files f \
             CROSS JOIN deltas d CROSS JOIN blobs b \
             WHERE EXISTS (SELECT 1 FROM deltas r WHERE r.digest IS NOT NULL) AND i.product_id IN ({list}){} \
             AND f.image_id = i.id AND f.role = 'root' AND d.target = f.digest AND d.digest IS NOT NULL \
             AND b.digest = d.digest AND b.retired_at IS NULL",
            sight.and_visible("i")
        );
        for row in tx.rows(sql, values).await? {
            let delta = Delta {
                target: rows::parse("a digest", &row.text(0)?)?,
                base: rows::parse("a digest", &row.text(1)?)?,
                file: ImageFile {
                    digest: rows::parse("a digest", &row.text(2)?)?,
                    size: rows::unsigned(row.int(3)?)?,
                    format: FileFormat::Vcdiff,
                },
                clients: rows::unsigned(row.int(4)?)?,
            };
            found.entry(delta.target).or_default().push(delta);
        }
    }
    for deltas in found.values_mut() {
        deltas.sort_by_key(|delta| delta.base);
        // A target that several images have comes as often.
        deltas.dedup();
    }
    Ok(found)
}

/// A root file was retired: with it the deltas to and from it, as far as they are ready; what was not built yet is not wanted any more.
pub(super) async fn retire(tx: &mut Tx, root: &str, now: Timestamp) -> Result<(), CatalogError> {
    tx.execute("DELETE FROM deltas WHERE state <> 'ready' AND (target = $1 OR base = $1)", values![root]).await?;
    let sql = format!(
        "UPDATE blobs SET retired_at = $2 WHERE retired_at IS NULL \
         AND digest IN (SELECT d.digest FROM deltas d WHERE (d.target = $1 OR d.base = $1) AND d.digest IS NOT NULL) \
         AND NOT EXISTS (SELECT 1 FROM image_files f WHERE f.digest = blobs.digest) AND NOT {NEEDED} RETURNING digest"
    );
    let retired = tx.rows(sql, values![root, now.unix()]).await?;
    note_targets(tx, &retired).await
}

/// These root files are needed, and may have been retired before: with them come back the deltas to and from them whose other file is needed,
/// too.
pub(super) async fn revive(tx: &mut Tx, roots: &[String]) -> Result<(), CatalogError> {
    for batch in Batch::of(roots) {
        let mut values = values![];
        let list = batch.bind(&mut values);
        let sql = format!(
            "UPDATE blobs SET retired_at = NULL WHERE retired_at IS NOT NULL AND digest IN ( \
             SELECT d.digest FROM deltas d JOIN blobs o ON o.digest = d.base \
             WHERE d.target IN ({list}) AND d.digest IS NOT NULL AND o.retired_at IS NULL UNION ALL \
             SELECT d.digest FROM deltas d JOIN blobs o ON o.digest = d.target \
             WHERE d.base IN ({list}) AND d.digest IS NOT NULL AND o.retired_at IS NULL) RETURNING digest"
        );
        let revived = tx.rows(sql, values).await?;
        note_targets(tx, &revived).await?;
    }
    Ok(())
}

/// Notes the products that list something else because deltas with these bytes came or went. Mostly there are none.
async fn note_targets(tx: &mut Tx, bytes: &[Row]) -> Result<(), CatalogError> {
    for row in bytes {
        for delta in tx.rows("SELECT target FROM deltas WHERE digest = $1", values![row.text(0)?]).await? {
            changes::root(tx, &delta.text(0)?).await?;
        }
    }
    Ok(())
}
