use std::collections::HashMap;

use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::image::ImageFile;
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;

use super::engine::{Batch, Tx, values};
use super::remove::GUESTS;
use super::sight::private_projects;
use super::{Catalog, CatalogError, rows};
use crate::auth::Viewer;

/// A blob and who needs it, for `verify`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobUse {
    /// The file.
    pub file: ImageFile,
    /// The images that are made of it.
    pub images: Vec<(ProjectName, Fingerprint)>,
    /// The deltas whose bytes it is, as target and base.
    pub deltas: Vec<(Digest, Digest)>,
    /// Whether an upstream promises it: then it need not be here.
    pub promised: bool,
}

/// A blob that no image and no delta needs any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// When the last image that needed it was deleted; of a delta, the last one that had its target, or its base.
    pub retired_at: Timestamp,
    /// Whether it is here; one that was only promised sets nothing free.
    pub present: bool,
}

impl Catalog {
    /// The file with this digest, if the viewer may have it: it belongs to an image that the viewer may see in any
    /// project, or did until that was deleted, and its grace is not over.
    pub async fn file(&self, viewer: &Viewer, digest: &Digest) -> Result<Option<ImageFile>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let digest = digest.to_string();
        let select = "SELECT b.size, b.format FROM blobs b WHERE b.digest = $1";
        let found = match audiences(&mut tx, viewer).await? {
            None => tx.row(select, values![digest.as_str()]).await?,
            Some(audiences) => {
                let mut found = None;
                for batch in Batch::of(&audiences) {
                    let mut values = values![digest.as_str()];
                    let seen = seen("b.digest", &batch.bind(&mut values));
                    found = tx.row(format!("{select} AND {seen}"), values).await?;
                    if found.is_some() {
                        break;
                    }
                }
                found
            }
        };
        tx.commit().await?;
        found.map(|row| rows::file(digest, row.int(0)?, row.text(1)?)).transpose()
    }

    /// Whether an image needs this file, or a delta is made of it whose files are needed. One that nothing needs is on its way out: a sweep
    /// removes its bytes before its row goes.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn is_file_needed(&self, digest: &Digest) -> Result<bool, CatalogError> {
        let sql = "SELECT 1 FROM blobs WHERE digest = $1 AND retired_at IS NULL";
        Ok(!self.engine.fetch(sql, values![digest.to_string()]).await?.is_empty())
    }

    /// Up to `limit` blobs that images need, and deltas between files that images need, by digest, after the given one.
    pub async fn blobs_in_use(&self, after: Option<Digest>, limit: usize) -> Result<Vec<BlobUse>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let mut uses = Vec::new();
        for row in tx
            .rows(
                "SELECT b.digest, b.size, b.format, \
                 CAST(CASE WHEN EXISTS (SELECT 1 FROM promises p WHERE p.digest = b.digest) THEN 1 ELSE 0 END AS BIGINT) FROM blobs b \
                 WHERE b.digest > $1 AND b.retired_at IS NULL ORDER BY b.digest LIMIT $2",
                values![start(after), rows::limit(limit)],
            )
            .await?
        {
            let file = rows::file(row.text(0)?, row.int(1)?, row.text(2)?)?;
            uses.push(BlobUse { file, images: Vec::new(), deltas: Vec::new(), promised: row.truth(3)? });
        }
        let digests: Vec<String> = uses.iter().map(|one| one.file.digest.to_string()).collect();
        let mut images: HashMap<Digest, Vec<(ProjectName, Fingerprint)>> = HashMap::new();
        let mut deltas: HashMap<Digest, Vec<(Digest, Digest)>> = HashMap::new();
        for batch in Batch::of(&digests) {
            let mut values = values![];
            let sql = format!(
                "SELECT DISTINCT f.digest, p.name, i.fingerprint FROM image_files f JOIN images i ON i.id = f.image_id \
                 JOIN projects p ON p.id = i.project_id WHERE f.digest IN ({}) ORDER BY f.digest, p.name, i.fingerprint",
                batch.bind(&mut values)
            );
            for row in tx.rows(sql, values).await? {
                let image =
                    (rows::parse("a project's name", &row.text(1)?)?, rows::parse("a fingerprint", &row.text(2)?)?);
                images.entry(rows::parse("a digest", &row.text(0)?)?).or_default().push(image);
            }
            let mut values = values![];
            let sql = format!(
                "SELECT d.digest, d.target, d.base FROM deltas d WHERE d.digest IN ({}) ORDER BY d.digest, d.target, d.base",
                batch.bind(&mut values)
            );
            for row in tx.rows(sql, values).await? {
                let digest = |column| rows::parse::<Digest>("a digest", &row.text(column)?);
                deltas.entry(digest(0)?).or_default().push((digest(1)?, digest(2)?));
            }
        }
        tx.commit().await?;
        for one in &mut uses {
            one.images = images.remove(&one.file.digest).unwrap_or_default();
            one.deltas = deltas.remove(&one.file.digest).unwrap_or_default();
        }
        Ok(uses)
    }

    /// Every blob that the catalog knows to be here (in use or retired), by digest, after the given one: what a sweep of stray
    /// bytes must spare. One that is only promised has none: what lies there was left by a crash.
    pub async fn known_blobs(&self, after: Option<Digest>, limit: usize) -> Result<Vec<Digest>, CatalogError> {
        let found = self
            .engine
            .fetch(
                "SELECT digest FROM blobs WHERE digest > $1 AND present = 1 ORDER BY digest LIMIT $2",
                values![start(after), rows::limit(limit)],
            )
            .await?;
        found.iter().map(|row| rows::parse("a digest", &row.text(0)?)).collect()
    }

    /// Blobs that were retired before that moment, oldest first.
    pub async fn retired(&self, before: Timestamp, limit: usize) -> Result<Vec<Retired>, CatalogError> {
        let found = self
            .engine
            .fetch(
                "SELECT digest, size, retired_at, present FROM blobs WHERE retired_at < $1 ORDER BY retired_at, digest LIMIT $2",
                values![before.unix(), rows::limit(limit)],
            )
            .await?;
        let read = |row: &super::engine::Row| {
            Ok(Retired {
                digest: rows::parse("a digest", &row.text(0)?)?,
                size: rows::unsigned(row.int(1)?)?,
                retired_at: rows::time(row.int(2)?)?,
                present: row.truth(3)?,
            })
        };
        found.iter().map(read).collect()
    }

    /// Forgets a blob if it is still retired since before that moment, and calls `remove` while no publisher can come
    /// to need it (the transaction is open, the store is locked). `false` when it is needed again, and of the bytes of a delta before
    /// [`Catalog::end_deltas`].
    ///
    /// # Errors
    /// [`CatalogError::Remove`] when `remove` fails: the blob stays retired, and can be tried again.
    pub async fn forget_blob(
        &self,
        digest: &Digest,
        before: Timestamp,
        remove: impl FnOnce() -> std::io::Result<()> + Send,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.engine.write().await?;
        let forgotten = tx
            .execute(
                "DELETE FROM blobs WHERE digest = $1 AND retired_at < $2 \
                 AND NOT EXISTS (SELECT 1 FROM deltas d WHERE d.digest = $1)",
                values![digest.to_string(), before.unix()],
            )
            .await?;
        if forgotten == 0 {
            return Ok(false);
        }
        remove().map_err(CatalogError::Remove)?;
        tx.commit().await?;
        Ok(true)
    }

    /// Calls `remove` for a blob that the catalog does not know, or knows only as promised, while no publisher can come to need it. `false` when it is
    /// known to be here.
    ///
    /// # Errors
    /// [`CatalogError::Remove`] when `remove` fails.
    pub async fn remove_unknown_blob(
        &self,
        digest: &Digest,
        remove: impl FnOnce() -> std::io::Result<()> + Send,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.engine.write().await?;
        if tx.row("SELECT 1 FROM blobs WHERE digest = $1 AND present = 1", values![digest.to_string()]).await?.is_some()
        {
            return Ok(false);
        }
        remove().map_err(CatalogError::Remove)?;
        tx.commit().await?;
        Ok(true)
    }

    /// Ends the grace of images that were deleted before that moment: files that others still need are no longer served to
    /// those who could see only the deleted ones. A sweep calls this once; gives how many such permissions ended.
    pub async fn end_grace(&self, before: Timestamp) -> Result<u64, CatalogError> {
        let mut tx = self.engine.write().await?;
        let ended = tx.execute("DELETE FROM retired_access WHERE ended_at < $1", values![before.unix()]).await?;
        tx.commit().await?;
        Ok(ended)
    }
}

/// Whose files a viewer may have: guests', and those of the projects whose private images they see; `None` is everybody's.
pub(super) async fn audiences(tx: &mut Tx, viewer: &Viewer) -> Result<Option<Vec<i64>>, CatalogError> {
    Ok(private_projects(tx, viewer).await?.map(|mut projects| {
        projects.insert(0, GUESTS);
        projects
    }))
}

/// The condition that a file, by the column with its digest, is one that these audiences may have: of an image that they see, or saw until it was
/// deleted, and its grace is not over.
pub(super) fn seen(digest: &str, audiences: &str) -> String {
    // Nobody but guests has the number 0: as a project's id it matches nothing.
    format!(
        "(EXISTS (SELECT 1 FROM image_files f JOIN images i ON i.id = f.image_id \
         WHERE f.digest = {digest} AND (i.public = 1 OR i.project_id IN ({audiences}))) OR EXISTS \
         (SELECT 1 FROM retired_access a WHERE a.digest = {digest} AND a.audience IN ({audiences})))"
    )
}

fn start(after: Option<Digest>) -> String {
    after.map(|digest| digest.to_string()).unwrap_or_default()
}
