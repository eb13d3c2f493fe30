//! Files that an upstream promises: images are listed before their bytes are here, and these come when somebody asks for them.
//!
//! A row of `blobs` whose bytes are not here has `present = 0`, and a promise says where they are. What comes is kept as long as the limits of the
//! upstream say, and then is only promised again. A file that an image needs which came otherwise is never let go of.

use std::collections::BTreeSet;
use std::sync::Arc;

use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;

use super::audit::{Action, record};
use super::engine::{Batch, Row, Tx, values};
use super::images::look;
use super::remove::retire;
use super::sight::project_id;
use super::upstreams::{self, Upstream, UpstreamId};
use super::{Catalog, CatalogError, bump_revision, changes, rows};
use crate::auth::Actor;

/// How long the last use of a file is not written down again, in seconds.
const USED_EVERY: i64 = 3600;

/// Where an upstream has a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// Which file.
    pub digest: Digest,
    /// Its path, below the address of the upstream.
    pub path: String,
}

/// A split image all of whose bytes are here, and of which it is not known whether its fingerprint is theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unproven {
    /// Its project.
    pub project: ProjectName,
    /// What it is called by.
    pub fingerprint: Fingerprint,
    /// Its metadata file.
    pub metadata: Digest,
    /// Its root file.
    pub root: Digest,
}

/// A file that came because somebody asked for it, and that may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cached {
    /// Which file.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// When it was used last, to an hour.
    pub used_at: Timestamp,
}

/// What an upstream promises, and how much of it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// Files that it promises.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files of them that are here.
    pub here: u64,
    /// Their bytes.
    pub here_bytes: u64,
}

/// The condition that nothing but images of lazy upstreams needs the file `b.digest`, each of which promises it.
const ONLY_PROMISED: &str = "b.retired_at IS NULL AND NOT EXISTS (SELECT 1 FROM deltas d WHERE d.digest = b.digest) \
     AND NOT EXISTS (SELECT 1 FROM image_files f JOIN images i ON i.id = f.image_id WHERE f.digest = b.digest AND (NOT EXISTS ( \
     SELECT 1 FROM upstream_images m JOIN upstreams u ON u.id = m.upstream_id JOIN promises q ON q.upstream_id = u.id \
     WHERE m.fingerprint = i.fingerprint AND u.project_id = i.project_id AND u.lazy = 1 AND q.digest = f.digest) OR EXISTS ( \
     SELECT 1 FROM upstream_images m JOIN upstreams u ON u.id = m.upstream_id \
     WHERE m.fingerprint = i.fingerprint AND u.project_id = i.project_id AND u.lazy = 0)))";

impl Catalog {
    /// Up to `limit` of the promises of an upstream, by digest, after the given one.
    pub async fn promises(
        &self,
        upstream: UpstreamId,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<Promise>, CatalogError> {
        let sql = "SELECT p.digest, p.path FROM promises p WHERE p.upstream_id = $1 AND p.digest > $2 ORDER BY p.digest LIMIT $3";
        let after = after.map(Digest::to_string).unwrap_or_default();
        let found = self.engine.fetch(sql, values![upstream.0, after, rows::limit(limit)]).await?;
        let read = |row: &Row| Ok(Promise { digest: rows::parse("a digest", &row.text(0)?)?, path: row.text(1)? });
        found.iter().map(read).collect()
    }

    /// Writes down where an upstream has files that the catalog knows; others are passed over, and so is everything when the upstream is gone.
    pub async fn promise(
        &self,
        upstream: UpstreamId,
        promises: &[Promise],
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        if promises.is_empty() {
            return Ok(());
        }
        let mut tx = self.engine.write().await?;
        for promise in promises {
            keep(&mut tx, upstream, promise, now).await?;
        }
        tx.commit().await
    }

    /// The upstreams that promise a file, lazy ones first, each with the path of the file there.
    pub async fn who_promises(&self, digest: &Digest) -> Result<Vec<(Upstream, String)>, CatalogError> {
        let rows = self.engine.fetch(upstreams::PROMISING, values![digest.to_string()]).await?;
        let read = |row: &Row| Ok((upstreams::read(row)?, row.text(upstreams::PATH)?));
        let mut found = rows.iter().map(read).collect::<Result<Vec<_>, CatalogError>>()?;
        found.sort_by_key(|(upstream, _)| (!upstream.settings.lazy, upstream.id));
        Ok(found)
    }

    /// Which of these files are not here.
    pub async fn absent(&self, digests: &[Digest]) -> Result<BTreeSet<Digest>, CatalogError> {
        let digests: Vec<String> = digests.iter().map(Digest::to_string).collect();
        let mut tx = self.engine.read().await?;
        let mut found = BTreeSet::new();
        for batch in Batch::of(&digests) {
            let mut values = values![];
            let list = batch.bind(&mut values);
            let sql = format!("SELECT b.digest FROM blobs b WHERE b.digest IN ({list}) AND b.present = 0");
            for row in tx.rows(sql, values).await? {
                found.insert(rows::parse("a digest", &row.text(0)?)?);
            }
        }
        tx.commit().await?;
        Ok(found)
    }

    /// Which of these images the project has with all their bytes.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`].
    pub async fn complete(
        &self,
        project: &ProjectName,
        fingerprints: &[Fingerprint],
    ) -> Result<BTreeSet<Fingerprint>, CatalogError> {
        let sql = "SELECT i.fingerprint FROM images i WHERE i.project_id = $1 AND NOT EXISTS (SELECT 1 FROM image_files f \
             JOIN blobs b ON b.digest = f.digest WHERE f.image_id = i.id AND b.present = 0) AND i.fingerprint IN";
        self.those(project, fingerprints, sql).await
    }

    /// The metadata file that is here of a split image with this root file whose fingerprint is not proven: so that the root file can go through
    /// that computation while it comes.
    pub async fn metadata_before(&self, root: &Digest) -> Result<Option<Digest>, CatalogError> {
        let sql = "SELECT f.digest FROM image_files r CROSS JOIN images i CROSS JOIN image_files f CROSS JOIN blobs b \
             WHERE r.digest = $1 AND r.role = 'root' AND i.id = r.image_id AND f.image_id = i.id AND f.role = 'metadata' \
             AND b.digest = f.digest AND b.present = 1 AND EXISTS (SELECT 1 FROM upstream_images m \
             JOIN upstreams u ON u.id = m.upstream_id WHERE m.fingerprint = i.fingerprint AND u.project_id = i.project_id \
             AND m.proof = 'open') LIMIT 1";
        let found = self.engine.fetch(sql, values![root.to_string()]).await?;
        found.first().map(|row| rows::parse("a digest", &row.text(0)?)).transpose()
    }

    /// Notes that the bytes of a promised file are here, and gives the images that are complete with it and not proven yet. `None` when the
    /// catalog does not know the file (any more).
    ///
    /// `ensure` is called inside the transaction, under the lock that sweeps take too: it makes sure, quickly, that the bytes are still in place.
    ///
    /// # Errors
    /// [`CatalogError::Bytes`] when `ensure` fails: then nothing was written.
    pub async fn fulfil(
        &self,
        digest: &Digest,
        now: Timestamp,
        ensure: impl FnOnce() -> std::io::Result<()> + Send,
    ) -> Result<Option<Vec<Unproven>>, CatalogError> {
        let mut tx = self.engine.write().await?;
        let text = digest.to_string();
        if tx.execute("UPDATE blobs SET present = 1 WHERE digest = $1", values![text.as_str()]).await? == 0 {
            return Ok(None);
        }
        ensure().map_err(CatalogError::Bytes)?;
        // What can be made of it, or into it, is looked at when the catalog changes next.
        changes::root(&mut tx, &text).await?;
        let sql = "UPDATE promises SET used_at = $2 WHERE digest = $1 AND used_at < $2";
        tx.execute(sql, values![text.as_str(), now.unix()]).await?;
        let sql = "SELECT DISTINCT p.name, i.fingerprint, a.digest, r.digest FROM image_files f CROSS JOIN images i \
             CROSS JOIN projects p CROSS JOIN image_files a CROSS JOIN image_files r CROSS JOIN blobs ab CROSS JOIN blobs rb \
             WHERE f.digest = $1 AND i.id = f.image_id AND p.id = i.project_id AND a.image_id = i.id AND a.role = 'metadata' \
             AND r.image_id = i.id AND r.role = 'root' AND ab.digest = a.digest AND ab.present = 1 AND rb.digest = r.digest \
             AND rb.present = 1 AND EXISTS (SELECT 1 FROM upstream_images m JOIN upstreams u ON u.id = m.upstream_id \
             WHERE m.fingerprint = i.fingerprint AND u.project_id = i.project_id AND m.proof = 'open')";
        let read = |row: &Row| {
            Ok(Unproven {
                project: rows::parse("a project's name", &row.text(0)?)?,
                fingerprint: rows::parse("a fingerprint", &row.text(1)?)?,
                metadata: rows::parse("a digest", &row.text(2)?)?,
                root: rows::parse("a digest", &row.text(3)?)?,
            })
        };
        let unproven = tx.rows(sql, values![text]).await?.iter().map(read).collect::<Result<_, CatalogError>>()?;
        tx.commit().await?;
        Ok(Some(unproven))
    }

    /// Keeps what came of comparing an image's bytes with its fingerprint. One that is wrong goes as by [`Catalog::delete_image`], and does not come again
    /// as long as its upstream lists it with these files.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`].
    pub async fn prove(&self, image: &Unproven, right: bool, now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let project = project_id(&mut tx, &image.project).await?;
        let fingerprint = image.fingerprint.to_string();
        let proof = if right { "right" } else { "wrong" };
        let sql = "UPDATE upstream_images SET proof = $3 WHERE fingerprint = $1 AND proof = 'open' AND upstream_id IN ( \
             SELECT u.id FROM upstreams u JOIN promises q ON q.upstream_id = u.id WHERE u.project_id = $2 AND q.digest = $4)";
        tx.execute(sql, values![fingerprint.as_str(), project, proof, image.root.to_string()]).await?;
        if !right && let Some(row) = look(&mut tx, project, &image.fingerprint).await? {
            retire(&mut tx, project, &row, now).await?;
            let detail = [("filename", row.image.filename.as_str()), ("upstream", "another fingerprint")];
            record(&mut tx, &self.actor, Action::ImageDeleted, Some(&image.project), &fingerprint, &detail, now)
                .await?;
            bump_revision(&mut tx, now).await?;
        }
        tx.commit().await
    }

    /// Notes that files were used, at most once an hour for each. Those that nobody promises are passed over.
    pub async fn use_promised(&self, digests: &[Digest], now: Timestamp) -> Result<(), CatalogError> {
        let digests: Vec<String> = digests.iter().map(Digest::to_string).collect();
        let before = now.plus_seconds(-USED_EVERY).unix();
        let mut due = Vec::new();
        // Mostly there is nothing to write, and nobody has to wait for that.
        for batch in Batch::of(&digests) {
            let mut values = values![before];
            let list = batch.bind(&mut values);
            let sql = format!("SELECT DISTINCT p.digest FROM promises p WHERE p.digest IN ({list}) AND p.used_at < $1");
            for row in self.engine.fetch(sql, values).await? {
                due.push(row.text(0)?);
            }
        }
        if due.is_empty() {
            return Ok(());
        }
        let mut tx = self.engine.write().await?;
        for batch in Batch::of(&due) {
            let mut values = values![now.unix()];
            let list = batch.bind(&mut values);
            let sql = format!("UPDATE promises SET used_at = $1 WHERE digest IN ({list}) AND used_at < $1");
            tx.execute(sql, values).await?;
        }
        tx.commit().await
    }

    /// Bytes that are here of files that an upstream promises and nothing else needs: what its limits are about.
    pub async fn cached_bytes(&self, upstream: UpstreamId) -> Result<u64, CatalogError> {
        let sql = format!(
            "SELECT CAST(COALESCE(SUM(b.size), 0) AS BIGINT) FROM promises p CROSS JOIN blobs b \
             WHERE p.upstream_id = $1 AND b.digest = p.digest AND b.present = 1 AND {ONLY_PROMISED}"
        );
        let found = self.engine.fetch(sql, values![upstream.0]).await?;
        found.first().map_or(Ok(0), |row| rows::unsigned(row.int(0)?))
    }

    /// Up to `limit` of these files, those that were used longest ago first, after the given one.
    pub async fn cached(
        &self,
        upstream: UpstreamId,
        after: Option<&Cached>,
        limit: usize,
    ) -> Result<Vec<Cached>, CatalogError> {
        let sql = format!(
            "SELECT p.digest, b.size, p.used_at FROM promises p CROSS JOIN blobs b \
             WHERE p.upstream_id = $1 AND (p.used_at, p.digest) > ($2, $3) AND b.digest = p.digest AND b.present = 1 \
             AND {ONLY_PROMISED} ORDER BY p.used_at, p.digest LIMIT $4"
        );
        let (at, digest) = after.map_or((-1, String::new()), |one| (one.used_at.unix(), one.digest.to_string()));
        let found = self.engine.fetch(sql, values![upstream.0, at, digest, rows::limit(limit)]).await?;
        let read = |row: &Row| {
            Ok(Cached {
                digest: rows::parse("a digest", &row.text(0)?)?,
                size: rows::unsigned(row.int(1)?)?,
                used_at: rows::time(row.int(2)?)?,
            })
        };
        found.iter().map(read).collect()
    }

    /// Notes that a file is promised and no more, and calls `remove` while no publisher can come to need it (the transaction is open, the
    /// store is locked). `false` when it was used since it was found, or something else needs it by now.
    ///
    /// # Errors
    /// [`CatalogError::Remove`] when `remove` fails: then it stays.
    pub async fn let_go(
        &self,
        upstream: UpstreamId,
        cached: &Cached,
        remove: impl FnOnce() -> std::io::Result<()> + Send,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.engine.write().await?;
        let sql = format!(
            "SELECT 1 FROM promises p CROSS JOIN blobs b WHERE p.upstream_id = $1 AND p.digest = $2 AND p.used_at <= $3 \
             AND b.digest = p.digest AND b.present = 1 AND {ONLY_PROMISED}"
        );
        let digest = cached.digest.to_string();
        if tx.row(sql, values![upstream.0, digest.as_str(), cached.used_at.unix()]).await?.is_none() {
            return Ok(false);
        }
        tx.execute("UPDATE blobs SET present = 0 WHERE digest = $1", values![digest.as_str()]).await?;
        // Deltas that are ready stay: who has the base can do without the file. Those that are not built yet cannot be built any more.
        tx.execute("DELETE FROM deltas WHERE state <> 'ready' AND (target = $1 OR base = $1)", values![digest]).await?;
        remove().map_err(CatalogError::Remove)?;
        tx.commit().await?;
        Ok(true)
    }

    /// What an upstream promises, and how much of it is here, for whatever reason.
    pub async fn kept(&self, upstream: UpstreamId) -> Result<Kept, CatalogError> {
        let sql = "SELECT COUNT(*), CAST(COALESCE(SUM(b.size), 0) AS BIGINT), CAST(COALESCE(SUM(b.present), 0) AS BIGINT), \
             CAST(COALESCE(SUM(b.size * b.present), 0) AS BIGINT) FROM promises p CROSS JOIN blobs b \
             WHERE p.upstream_id = $1 AND b.digest = p.digest AND b.retired_at IS NULL";
        let found = self.engine.fetch(sql, values![upstream.0]).await?;
        let Some(row) = found.first() else { return Ok(Kept::default()) };
        let number = |column| rows::unsigned(row.int(column)?);
        Ok(Kept { files: number(0)?, bytes: number(1)?, here: number(2)?, here_bytes: number(3)? })
    }
}

/// Writes a promise down.
pub(super) async fn keep(
    tx: &mut Tx,
    upstream: UpstreamId,
    promise: &Promise,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let sql = "INSERT INTO promises (upstream_id, digest, path, used_at) SELECT u.id, b.digest, $3, $4 \
         FROM upstreams u CROSS JOIN blobs b WHERE u.id = $1 AND b.digest = $2 \
         ON CONFLICT (upstream_id, digest) DO UPDATE SET path = excluded.path";
    tx.execute(sql, values![upstream.0, promise.digest.to_string(), promise.path.as_str(), now.unix()]).await?;
    Ok(())
}

/// An upstream goes: up to `limit` of its images, of which a file is not here that nobody else promises, go before it. How many that were.
pub(super) async fn end(
    tx: &mut Tx,
    upstream: &Upstream,
    actor: &Arc<Actor>,
    limit: usize,
    now: Timestamp,
) -> Result<usize, CatalogError> {
    let project = project_id(tx, &upstream.project).await?;
    let sql = "SELECT m.fingerprint FROM upstream_images m CROSS JOIN images i \
         WHERE m.upstream_id = $1 AND i.project_id = $2 AND i.fingerprint = m.fingerprint AND EXISTS ( \
         SELECT 1 FROM image_files f JOIN blobs b ON b.digest = f.digest WHERE f.image_id = i.id AND b.present = 0 \
         AND NOT EXISTS (SELECT 1 FROM promises q WHERE q.digest = b.digest AND q.upstream_id <> $1)) LIMIT $3";
    let found = tx.rows(sql, values![upstream.id.0, project, rows::limit(limit)]).await?;
    for row in &found {
        let fingerprint = row.text(0)?;
        let Some(image) = look(tx, project, &rows::parse("a fingerprint", &fingerprint)?).await? else { continue };
        retire(tx, project, &image, now).await?;
        let detail = [("filename", image.image.filename.as_str()), ("upstream", "removed")];
        record(tx, actor, Action::ImageDeleted, Some(&upstream.project), &fingerprint, &detail, now).await?;
    }
    if !found.is_empty() {
        bump_revision(tx, now).await?;
    }
    Ok(found.len())
}
