//! What is to be done about deltas: which root files products have, which pairs are wanted, who builds one, and how it ended.
//!
//! Which pairs pay is decided elsewhere, by what is read here. A pair waits; is claimed by one builder, for as long as the claim is renewed;
//! and ends as ready ([`Catalog::list_delta`]), refused or failed. A builder that dies leaves a claim that runs out, and the next one
//! takes over. Nothing of this is seen by readers of images, except the order in which bases are preferred.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;

use headwater_formats::digest::Digest;
use headwater_formats::image::{FileFormat, ImageFile, ImageType};
use headwater_formats::names::VersionName;
use headwater_formats::timestamp::Timestamp;

use super::engine::{Batch, Row, Tx, values};
use super::{Catalog, CatalogError, Revision, bump_revision, changes, revision, rows};

/// How often a pair is begun that never comes to an end. Then it has failed: it may be what ends the server.
pub const MOST_ATTEMPTS: u32 = 5;

/// How a pair stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeltaState {
    /// Somebody will build it.
    Waiting,
    /// Somebody is building it.
    Building,
    /// It is listed.
    Ready,
    /// It does not pay.
    Refused,
    /// It went wrong.
    Failed,
}

/// The text is no state of a delta.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no state of a delta")]
pub struct UnknownDeltaState(String);

impl DeltaState {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for DeltaState {
    type Err = UnknownDeltaState;

    fn from_str(text: &str) -> Result<Self, UnknownDeltaState> {
        let all = [Self::Waiting, Self::Building, Self::Ready, Self::Refused, Self::Failed];
        all.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownDeltaState(text.to_owned()))
    }
}

/// A product, in the order in which they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProductId(i64);

/// How far the changed products were looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanMark {
    /// Everything up to this revision was.
    pub since: i64,
    /// Everything up to this one is now; `None` between two rounds.
    until: Option<i64>,
    project: i64,
    revision: i64,
    key: String,
}

impl PlanMark {
    /// All up to this revision was looked at; 0 for nothing at all.
    pub fn new(since: i64) -> Self {
        // No key is empty.
        Self { since, until: None, project: 0, revision: since.saturating_add(1), key: String::new() }
    }

    /// The beginning of a round over everything up to this revision.
    pub fn all_until(revision: i64) -> Self {
        Self { until: Some(revision), ..Self::new(0) }
    }

    /// Whether no round is under way.
    pub fn is_between_rounds(&self) -> bool {
        self.until.is_none()
    }
}

/// `SINCE UNTIL PROJECT REVISION KEY`, without `UNTIL` between two rounds (`-`): what [`PlanMark::from_str`] reads.
impl fmt::Display for PlanMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = self.until.map_or_else(|| "-".to_owned(), |until| until.to_string());
        write!(f, "{} {until} {} {} {}", self.since, self.project, self.revision, self.key)
    }
}

/// The text is no mark.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} does not tell how far products were looked at")]
pub struct UnknownPlanMark(String);

impl FromStr for PlanMark {
    type Err = UnknownPlanMark;

    fn from_str(text: &str) -> Result<Self, UnknownPlanMark> {
        let read = || {
            // Keys may have blanks.
            let mut words = text.splitn(5, ' ');
            let mut word = || words.next();
            let since = word()?.parse().ok()?;
            let until = match word()? {
                "-" => None,
                until => Some(until.parse().ok()?),
            };
            let (project, revision) = (word()?.parse().ok()?, word()?.parse().ok()?);
            Some(Self { since, until, project, revision, key: word()?.to_owned() })
        };
        read().ok_or_else(|| UnknownPlanMark(text.to_owned()))
    }
}

/// A root file that clients know how to patch, as an image of a product has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductRoot {
    /// The version that the image is of.
    pub version: VersionName,
    /// Its type.
    pub image_type: ImageType,
    /// Whether guests see the image.
    pub public: bool,
    /// The file: a squashfs or a qcow2 disk.
    pub file: ImageFile,
}

/// A pair that the catalog knows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownDelta {
    /// What is made.
    pub target: Digest,
    /// Of what.
    pub base: Digest,
    /// How it stands.
    pub state: DeltaState,
    /// How many clients held the base when that was counted last.
    pub clients: u64,
}

/// What has to be known of a product to plan its deltas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductRoots {
    /// Its root files, from the oldest version to the newest.
    pub roots: Vec<ProductRoot>,
    /// How many clients hold each of them now: the one of a type that they downloaded last.
    pub held: HashMap<Digest, u64>,
    /// Pairs whose target is one of the files.
    pub known: Vec<KnownDelta>,
}

/// A pair that is wanted, or what is to be said of one that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaWish {
    /// What to make.
    pub target: Digest,
    /// Of what.
    pub base: Digest,
    /// How many clients hold the base.
    pub clients: u64,
}

/// A pair that somebody builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimedDelta {
    /// What to make.
    pub target: ImageFile,
    /// Of what.
    pub base: ImageFile,
}

/// How a claim on a certain pair went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeltaClaim {
    /// It is the caller's now.
    Taken(ClaimedDelta),
    /// Somebody else builds it.
    Busy,
    /// It is there already.
    Ready,
    /// One of the files belongs to no image.
    Unneeded,
}

/// Root files that clients patch (LXD `shared/simplestreams`): of containers a squashfs, of virtual machines a disk.
const PATCHED: &str = "'squashfs', 'qcow2'";
/// Most projects that are walked through for one page of products.
const PROJECTS_AT_ONCE: usize = 200;

impl Catalog {
    /// Up to about `limit` products that changed after the mark, whatever their project, and the mark after them. When none come, all that had changed by
    /// the time that the round began was looked at, and the mark says so.
    pub async fn products_to_plan(
        &self,
        mark: &PlanMark,
        limit: usize,
    ) -> Result<(Vec<ProductId>, PlanMark), CatalogError> {
        let mut tx = self.engine.read().await?;
        let Revision { number, .. } = revision(&mut tx).await?;
        let mut mark = mark.clone();
        let until = *mark.until.get_or_insert(number);
        let mut found = Vec::new();
        for _ in 0..PROJECTS_AT_ONCE {
            let sql = "SELECT c.revision, c.key, p.id FROM product_changes c \
                 LEFT JOIN products p ON p.project_id = c.project_id AND p.key = c.key \
                 WHERE c.project_id = $1 AND (c.revision, c.key) > ($2, $3) AND c.revision <= $4 \
                 ORDER BY c.revision, c.key LIMIT $5";
            let values = values![mark.project, mark.revision, mark.key.as_str(), until, rows::limit(limit)];
            let page = tx.rows(sql, values).await?;
            for row in &page {
                found.extend(row.opt_int(2)?.map(ProductId));
            }
            if let (Some(last), true) = (page.last(), page.len() >= limit) {
                (mark.revision, mark.key) = (last.int(0)?, last.text(1)?);
                break;
            }
            let sql = "SELECT id FROM projects WHERE id > $1 ORDER BY id LIMIT 1";
            match tx.row(sql, values![mark.project]).await? {
                Some(row) => mark = PlanMark { project: row.int(0)?, until: mark.until, ..PlanMark::new(mark.since) },
                None => {
                    // What is found in this page was all.
                    mark = PlanMark::new(until);
                    break;
                }
            }
            if found.len() >= limit {
                break;
            }
        }
        tx.commit().await?;
        Ok((found, mark))
    }

    /// The root files that were downloaded since, by their digests.
    pub async fn held_since(&self, since: Timestamp) -> Result<Vec<Digest>, CatalogError> {
        // Put together with nothing, because SQLite would rather go through all by their digests than through the few by their time.
        let sql = "SELECT DISTINCT h.digest || '' FROM held h WHERE h.at >= $1";
        let found = self.engine.fetch(sql, values![since.unix()]).await?;
        let found = found.iter().map(|row| rows::parse("a digest", &row.text(0)?));
        found.collect::<Result<BTreeSet<_>, _>>().map(|found| found.into_iter().collect())
    }

    /// Bytes of all deltas to this file that are ready.
    pub async fn delta_bytes_to(&self, target: &Digest) -> Result<u64, CatalogError> {
        let sql = "SELECT CAST(COALESCE(SUM(b.size), 0) AS BIGINT) FROM deltas d JOIN blobs b ON b.digest = d.digest \
             WHERE d.target = $1 AND d.state = 'ready'";
        let rows = self.engine.fetch(sql, values![target.to_string()]).await?;
        let bytes = rows.first().map(|row| row.int(0)).transpose()?.unwrap_or_default();
        Ok(u64::try_from(bytes).unwrap_or_default())
    }

    /// The products that have one of these root files, in their order.
    pub async fn products_with_roots(&self, digests: &[Digest]) -> Result<Vec<ProductId>, CatalogError> {
        let digests: Vec<String> = digests.iter().map(Digest::to_string).collect();
        let mut tx = self.engine.read().await?;
        let mut found = BTreeSet::new();
        for batch in Batch::of(&digests) {
            let mut values = values![];
            let sql = format!(
                "SELECT DISTINCT i.product_id FROM image_files f CROSS JOIN images i WHERE f.digest IN ({}) \
                 AND f.role = 'root' AND i.id = f.image_id AND i.product_id IS NOT NULL",
                batch.bind(&mut values)
            );
            for row in tx.rows(sql, values).await? {
                found.insert(ProductId(row.int(0)?));
            }
        }
        tx.commit().await?;
        Ok(found.into_iter().collect())
    }

    /// What has to be known of these products to plan their deltas, as far as their files are here, in no order; those without two files of a type are left out. Downloads
    /// from before `held_since` do not count.
    pub async fn product_roots(
        &self,
        products: &[ProductId],
        held_since: Timestamp,
    ) -> Result<Vec<ProductRoots>, CatalogError> {
        let ids: Vec<i64> = products.iter().map(|ProductId(id)| *id).collect();
        let mut tx = self.engine.read().await?;
        let mut found: BTreeMap<i64, Vec<ProductRoot>> = BTreeMap::new();
        for batch in Batch::of(&ids) {
            let mut values = values![];
            let sql = format!(
                "SELECT i.product_id, i.version, i.image_type, i.public, b.digest, b.size, b.format FROM images i \
                 JOIN image_files f ON f.image_id = i.id AND f.role = 'root' JOIN blobs b ON b.digest = f.digest \
                 WHERE i.product_id IN ({}) AND b.format IN ({PATCHED}) AND b.present = 1 ORDER BY i.product_id, i.version, i.image_type",
                batch.bind(&mut values)
            );
            for row in tx.rows(sql, values).await? {
                found.entry(row.int(0)?).or_default().push(ProductRoot {
                    version: rows::parse("a version's name", &row.text(1)?)?,
                    image_type: rows::parse("an image's type", &row.text(2)?)?,
                    public: row.truth(3)?,
                    file: rows::file(row.text(4)?, row.int(5)?, row.text(6)?)?,
                });
            }
        }
        let mut all = Vec::new();
        for roots in found.into_values() {
            let mut held = HashMap::new();
            for kind in kinds(&roots) {
                let files: Vec<String> = of_kind(&roots, kind).map(|root| root.file.digest.to_string()).collect();
                if files.len() > 1 {
                    count_held(&mut tx, &files, held_since, &mut held).await?;
                }
            }
            let known = known(&mut tx, &roots).await?;
            if kinds(&roots).into_iter().any(|kind| of_kind(&roots, kind).count() > 1) || !known.is_empty() {
                all.push(ProductRoots { roots, held, known });
            }
        }
        tx.commit().await?;
        Ok(all)
    }

    /// Adds pairs that are not known yet, as waiting, in this order; those that wait or were refused learn how many clients there are. How many are new.
    /// Pairs of which a file is not needed by any image any more are left out.
    pub async fn want_deltas(&self, wishes: &[DeltaWish], now: Timestamp) -> Result<u64, CatalogError> {
        let mut tx = self.engine.write().await?;
        let mut new = 0;
        for (place, DeltaWish { target, base, clients }) in wishes.iter().enumerate() {
            // A second apart, so that they are built in this order: the first of each product before the second of any.
            let asked_at = now.plus_seconds(i64::try_from(place).unwrap_or(i64::MAX)).unix();
            let (target, base, clients) = (target.to_string(), base.to_string(), rows::signed(*clients)?);
            let sql = "SELECT state FROM deltas WHERE target = $1 AND base = $2";
            match tx.row(sql, values![target.as_str(), base.as_str()]).await? {
                Some(row) if row.text(0)? == DeltaState::Ready.as_str() => {}
                Some(_) => {
                    let sql = "UPDATE deltas SET clients = $3 WHERE target = $1 AND base = $2";
                    tx.execute(sql, values![target, base, clients]).await?;
                }
                None => {
                    let sql = format!(
                        "INSERT INTO deltas (target, base, state, clients, why, attempts, asked_at) \
                         SELECT $1, $2, 'waiting', $3, '', 0, $4 WHERE {} AND {}",
                        needed("$1"),
                        needed("$2")
                    );
                    new += tx.execute(sql, values![target, base, clients, asked_at]).await?;
                }
            }
        }
        tx.commit().await?;
        Ok(new)
    }

    /// Writes down how many clients hold the bases of deltas that are ready, because that makes another one the preferred one: products with the targets
    /// are listed anew.
    pub async fn prefer_deltas(&self, counted: &[DeltaWish], now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let mut changed = 0;
        for DeltaWish { target, base, clients } in counted {
            let sql =
                "UPDATE deltas SET clients = $3 WHERE target = $1 AND base = $2 AND state = 'ready' AND clients <> $3";
            let (target, clients) = (target.to_string(), rows::signed(*clients)?);
            if tx.execute(sql, values![target.as_str(), base.to_string(), clients]).await? > 0 {
                changes::root(&mut tx, &target).await?;
                changed += 1;
            }
        }
        if changed > 0 {
            bump_revision(&mut tx, now).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Claims the pair that waits longest, or one whose builder has died, for `by` until then. A pair that was begun [`MOST_ATTEMPTS`] times has failed.
    pub async fn claim_delta(
        &self,
        by: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ClaimedDelta>, CatalogError> {
        // Mostly there is nothing to do, and nobody has to wait for that.
        const FIRST: &str = "SELECT d.target, tb.size, tb.format, d.base, bb.size, bb.format, d.attempts, d.why FROM deltas d \
             JOIN blobs tb ON tb.digest = d.target JOIN blobs bb ON bb.digest = d.base \
             WHERE d.state IN ('waiting', 'building') AND (d.state = 'waiting' OR d.claimed_until < $1) \
             ORDER BY d.asked_at, d.target, d.base LIMIT 1";
        if self.engine.fetch(FIRST, values![now.unix()]).await?.is_empty() {
            return Ok(None);
        }
        let mut tx = self.engine.write().await?;
        let mut failed = false;
        let claimed = loop {
            let Some(row) = tx.row(FIRST, values![now.unix()]).await? else { break None };
            let pair = pair(&row)?;
            if row.int(6)? < i64::from(MOST_ATTEMPTS) {
                take(&mut tx, &pair, by, until).await?;
                break Some(pair);
            }
            let last = row.text(7)?;
            let why = match last.as_str() {
                "" => format!(
                    "the server ended {MOST_ATTEMPTS} times while this was built; see its log, then try `headwater delta build`"
                ),
                last => last.to_owned(),
            };
            end(&mut tx, &pair, DeltaState::Failed, &why, now).await?;
            failed = true;
        };
        if claimed.is_some() || failed {
            tx.commit().await?;
        }
        Ok(claimed)
    }

    /// Claims a certain pair, whether somebody wanted it before or not, and however it ended.
    pub async fn claim_this_delta(
        &self,
        wish: &DeltaWish,
        by: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<DeltaClaim, CatalogError> {
        let (target, base) = (wish.target.to_string(), wish.base.to_string());
        let mut tx = self.engine.write().await?;
        let sql = "SELECT state, claimed_until FROM deltas WHERE target = $1 AND base = $2";
        if let Some(row) = tx.row(sql, values![target.as_str(), base.as_str()]).await? {
            match rows::parse("a delta's state", &row.text(0)?)? {
                DeltaState::Ready => return Ok(DeltaClaim::Ready),
                DeltaState::Building if row.int(1)? >= now.unix() => return Ok(DeltaClaim::Busy),
                _ => {}
            }
        }
        let sql = format!(
            "INSERT INTO deltas (target, base, state, clients, why, attempts, asked_at) \
             SELECT $1, $2, 'waiting', $3, '', 0, $4 WHERE {} AND {} \
             ON CONFLICT (target, base) DO UPDATE SET attempts = 0, why = ''",
            needed("$1"),
            needed("$2")
        );
        let values = values![target.as_str(), base.as_str(), rows::signed(wish.clients)?, now.unix()];
        if tx.execute(sql, values).await? == 0 {
            return Ok(DeltaClaim::Unneeded);
        }
        let sql = "SELECT tb.digest, tb.size, tb.format, bb.digest, bb.size, bb.format FROM blobs tb, blobs bb \
             WHERE tb.digest = $1 AND bb.digest = $2";
        let row = tx.row(sql, values![target, base]).await?;
        let pair = pair(&row.ok_or_else(|| CatalogError::Corrupt("a file of an image is not known".into()))?)?;
        take(&mut tx, &pair, by, until).await?;
        tx.commit().await?;
        Ok(DeltaClaim::Taken(pair))
    }

    /// Whether this claim still holds: the pair was not given to somebody else, and both files are needed by images. Cheap.
    pub async fn is_delta_claimed(&self, pair: &ClaimedDelta, by: &str) -> Result<bool, CatalogError> {
        let sql = format!(
            "SELECT 1 FROM deltas d WHERE d.target = $1 AND d.base = $2 AND d.claimed_by = $3 AND {} AND {}",
            needed("d.target"),
            needed("d.base")
        );
        let values = values![pair.target.digest.to_string(), pair.base.digest.to_string(), by];
        Ok(!self.engine.fetch(sql, values).await?.is_empty())
    }

    /// Renews a claim; `false` when it is lost.
    pub async fn keep_delta_claim(
        &self,
        pair: &ClaimedDelta,
        by: &str,
        until: Timestamp,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.engine.write().await?;
        let sql = "UPDATE deltas SET claimed_until = $4 WHERE target = $1 AND base = $2 AND claimed_by = $3";
        let (target, base) = (pair.target.digest.to_string(), pair.base.digest.to_string());
        let kept = tx.execute(sql, values![target, base, by, until.unix()]).await? > 0;
        tx.commit().await?;
        Ok(kept)
    }

    /// Gives a claim back: the pair waits again. With `why`, the attempt counts, and that is what is told if it was the last one.
    pub async fn release_delta(&self, pair: &ClaimedDelta, by: &str, why: Option<&str>) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let sql = "UPDATE deltas SET state = 'waiting', claimed_by = NULL, claimed_until = NULL, why = $4, \
             attempts = attempts - $5 WHERE target = $1 AND base = $2 AND claimed_by = $3";
        let (target, base) = (pair.target.digest.to_string(), pair.base.digest.to_string());
        tx.execute(sql, values![target, base, by, why.unwrap_or_default(), i64::from(why.is_none())]).await?;
        tx.commit().await
    }

    /// Ends a claim without a delta: refused or failed, and why. `false` when the claim is lost.
    pub async fn end_delta(
        &self,
        pair: &ClaimedDelta,
        by: &str,
        state: DeltaState,
        why: &str,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        if !matches!(state, DeltaState::Refused | DeltaState::Failed) {
            return Err(CatalogError::Corrupt(format!("a delta cannot end as {}", state.as_str())));
        }
        let mut tx = self.engine.write().await?;
        let sql = "SELECT 1 FROM deltas WHERE target = $1 AND base = $2 AND claimed_by = $3";
        let values = values![pair.target.digest.to_string(), pair.base.digest.to_string(), by];
        if tx.row(sql, values).await?.is_none() {
            return Ok(false);
        }
        end(&mut tx, pair, state, why, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Forgets a claimed pair: nobody wants it any more.
    pub async fn forget_delta(&self, pair: &ClaimedDelta, by: &str) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let sql = "DELETE FROM deltas WHERE target = $1 AND base = $2 AND claimed_by = $3";
        tx.execute(sql, values![pair.target.digest.to_string(), pair.base.digest.to_string(), by]).await?;
        tx.commit().await
    }
}

/// Whether an image needs the file with that digest.
fn needed(digest: &str) -> String {
    format!("EXISTS (SELECT 1 FROM image_files f WHERE f.digest = {digest} AND f.role = 'root')")
}

fn pair(row: &Row) -> Result<ClaimedDelta, CatalogError> {
    Ok(ClaimedDelta {
        target: rows::file(row.text(0)?, row.int(1)?, row.text(2)?)?,
        base: rows::file(row.text(3)?, row.int(4)?, row.text(5)?)?,
    })
}

async fn take(tx: &mut Tx, pair: &ClaimedDelta, by: &str, until: Timestamp) -> Result<(), CatalogError> {
    let sql = "UPDATE deltas SET state = 'building', claimed_by = $3, claimed_until = $4, ended_at = NULL, \
         attempts = attempts + 1 WHERE target = $1 AND base = $2";
    let (target, base) = (pair.target.digest.to_string(), pair.base.digest.to_string());
    tx.execute(sql, values![target, base, by, until.unix()]).await?;
    Ok(())
}

async fn end(
    tx: &mut Tx,
    pair: &ClaimedDelta,
    state: DeltaState,
    why: &str,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let sql = "UPDATE deltas SET state = $3, why = $4, ended_at = $5, claimed_by = NULL, claimed_until = NULL \
         WHERE target = $1 AND base = $2";
    let (target, base) = (pair.target.digest.to_string(), pair.base.digest.to_string());
    tx.execute(sql, values![target, base, state.as_str(), why, now.unix()]).await?;
    Ok(())
}

/// The types and formats that there are among these files.
fn kinds(roots: &[ProductRoot]) -> Vec<(ImageType, FileFormat)> {
    let mut kinds = Vec::new();
    for root in roots {
        if !kinds.contains(&(root.image_type, root.file.format)) {
            kinds.push((root.image_type, root.file.format));
        }
    }
    kinds
}

fn of_kind(roots: &[ProductRoot], kind: (ImageType, FileFormat)) -> impl Iterator<Item = &ProductRoot> {
    roots.iter().filter(move |root| (root.image_type, root.file.format) == kind)
}

/// How many clients hold each of these files: the one that they downloaded last, as far as that was not too long ago.
async fn count_held(
    tx: &mut Tx,
    files: &[String],
    since: Timestamp,
    held: &mut HashMap<Digest, u64>,
) -> Result<(), CatalogError> {
    let sql = format!(
        "SELECT n.digest, COUNT(*) FROM (SELECT h.digest AS digest, ROW_NUMBER() OVER \
         (PARTITION BY h.identity_id, h.client ORDER BY h.at DESC, h.digest DESC) AS place FROM held h \
         WHERE h.digest IN ({}) AND h.at >= $2) n WHERE n.place = 1 GROUP BY n.digest",
        tx.each_text("$1")
    );
    for row in tx.rows(sql, values![rows::to_json(&files)?, since.unix()]).await? {
        held.insert(rows::parse("a digest", &row.text(0)?)?, rows::unsigned(row.int(1)?)?);
    }
    Ok(())
}

/// The pairs whose target is one of these files.
async fn known(tx: &mut Tx, roots: &[ProductRoot]) -> Result<Vec<KnownDelta>, CatalogError> {
    let files: Vec<String> = roots.iter().map(|root| root.file.digest.to_string()).collect();
    let sql = format!(
        "SELECT d.target, d.base, d.state, d.clients FROM deltas d WHERE d.target IN ({}) ORDER BY d.target, d.base",
        tx.each_text("$1")
    );
    let read = |row: &Row| {
        Ok(KnownDelta {
            target: rows::parse("a digest", &row.text(0)?)?,
            base: rows::parse("a digest", &row.text(1)?)?,
            state: rows::parse("a delta's state", &row.text(2)?)?,
            clients: rows::unsigned(row.int(3)?)?,
        })
    };
    tx.rows(sql, values![rows::to_json(&files)?]).await?.iter().map(read).collect()
}
