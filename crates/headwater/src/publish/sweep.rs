//! Removes bytes that nobody needs: what the last image has let go of, once its grace is over; what a crash left between
//! bytes and rows; what dead processes were still writing; and files on their way that nobody goes on with.
//!
//! Safe beside running publishers and servers. A blob is deleted inside a transaction that excludes commits, and not
//! when a publisher is about to need it. A download that is under way keeps its file open.
//!
//! The order matters after a crash. A publisher that was killed within its commit may have written a transaction that
//! SQLite shows to nobody as long as some process has the catalog open, and to everybody after the last one has closed
//! it. A write by somebody else ends such a transaction. So first the dead are found, then the sweep writes to the
//! catalog, then what they left is removed, and only then the bytes that nobody needs. A publisher that dies in between leaves its
//! staged file, which keeps [`Blobs::delete`] from its bytes until the next sweep.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::time::{Duration, SystemTime};

use headwater_formats::digest::Digest;
use headwater_formats::timestamp::Timestamp;

use super::{PublishError, Publisher, blocking};
use crate::blobs::{BlobError, Blobs, Dead, Deleted, Idle, List};
use crate::catalog::{CatalogError, Retired};
use crate::fail_point;

/// Rows that are asked for at once.
const PAGE: usize = 1000;
/// How long a file on its way is kept when nobody goes on with it: a mirror that runs once a week goes on with what the last run had.
const IDLE_SECONDS: i64 = 7 * 24 * 3600;
/// How long a copy of what an upstream said is kept that nobody asked for: of one that is removed, or seldom run.
const COPY_SECONDS: u64 = 30 * 24 * 3600;
/// The setting that says when the last sweep was.
const LAST_SWEEP: &str = "last_sweep";

/// Something that goes, or would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swept {
    /// A blob whose last image was deleted longer ago than the grace, or a delta one of whose files is such a blob.
    Retired(Retired),
    /// A blob that the catalog does not know: its publisher died before the commit.
    Stray {
        /// Its digest.
        digest: Digest,
        /// Its length in bytes.
        size: u64,
    },
}

/// What went, or would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepTotals {
    /// Blobs whose grace is over.
    pub retired: u64,
    /// Their bytes.
    pub retired_bytes: u64,
    /// Blobs that the catalog does not know.
    pub stray: u64,
    /// Their bytes.
    pub stray_bytes: u64,
    /// Files that dead processes left half written.
    pub staged: u64,
    /// Their bytes.
    pub staged_bytes: u64,
    /// Files on their way that nobody goes on with.
    pub partial: u64,
    /// Their bytes.
    pub partial_bytes: u64,
}

impl SweepTotals {
    /// All the bytes that are free now, or would be.
    pub fn bytes(&self) -> u64 {
        [self.retired_bytes, self.stray_bytes, self.staged_bytes, self.partial_bytes]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    fn count_dead(&mut self, dead: &Dead) {
        self.staged = dead.files();
        self.staged_bytes = dead.bytes;
    }

    fn count_idle(&mut self, idle: Idle) {
        self.partial = idle.files;
        self.partial_bytes = idle.bytes;
    }

    fn count(&mut self, swept: Swept, tell: &mut (dyn FnMut(Swept) + Send)) {
        match swept {
            Swept::Retired(retired) => {
                self.retired += 1;
                self.retired_bytes += retired.size;
            }
            Swept::Stray { size, .. } => {
                self.stray += 1;
                self.stray_bytes += size;
            }
        }
        tell(swept);
    }
}

impl Publisher {
    /// Tells what [`Publisher::sweep`] would do, and changes nothing. `grace_seconds` is how long files stay after the
    /// last image that needed them was deleted: clients work with lists that are an hour old, and downloads take time.
    ///
    /// Holds the list of retired blobs in memory, some 60 bytes for each.
    pub async fn plan_sweep(
        &self,
        now: Timestamp,
        grace_seconds: u32,
        tell: &mut (dyn FnMut(Swept) + Send),
    ) -> Result<SweepTotals, PublishError> {
        let mut totals = SweepTotals::default();
        let before = grace_over(now, grace_seconds);
        let retired = self.catalog.retired(before, i32::MAX as usize).await?;
        for retired in retired.into_iter().filter(|retired| retired.present) {
            totals.count(Swept::Retired(retired), tell);
        }
        let strays = self.strays(true, &mut totals, tell).await?;
        let blobs = self.blobs.clone();
        let before = now.plus_seconds(-IDLE_SECONDS);
        let idle = blocking(move || blobs.idle(before, &|digest| strays.contains(digest)));
        totals.count_idle(idle.await?);
        let blobs = self.blobs.clone();
        totals.count_dead(&blocking(move || blobs.dead()).await?);
        Ok(totals)
    }

    /// Removes what nobody needs; `tell` is called for each blob after it is gone.
    pub async fn sweep(
        &self,
        now: Timestamp,
        grace_seconds: u32,
        tell: &mut (dyn FnMut(Swept) + Send),
    ) -> Result<SweepTotals, PublishError> {
        let mut totals = SweepTotals::default();
        self.clear_dead(now, &mut totals).await?;
        let before = grace_over(now, grace_seconds);
        self.catalog.end_deltas(before).await?;
        loop {
            let page = self.catalog.retired(before, PAGE).await?;
            let mut gone = 0;
            for retired in &page {
                let remove = remover(&self.blobs, retired.digest);
                if went(self.catalog.forget_blob(&retired.digest, before, remove).await)? {
                    fail_point::reached("sweep::forgotten");
                    gone += 1;
                    // What was only promised sets nothing free.
                    if retired.present {
                        totals.count(Swept::Retired(*retired), tell);
                    }
                }
            }
            // A page of which nothing went is all needed by publishers at this moment: that is for the next sweep.
            if page.len() < PAGE || gone == 0 {
                break;
            }
        }
        self.catalog.end_grace(before).await?;
        let strays = self.strays(false, &mut totals, tell).await?;
        let (blobs, before) = (self.blobs.clone(), now.plus_seconds(-IDLE_SECONDS));
        let idle = blocking(move || blobs.remove_idle(before, &|digest| strays.contains(digest)));
        totals.count_idle(idle.await?);
        let (blobs, age) = (self.blobs.clone(), Duration::from_secs(COPY_SECONDS));
        // One from the future is new.
        let is_new = move |used: SystemTime| used.elapsed().map_or(true, |since| since < age);
        blocking(move || blobs.retain_copies(&|_, used| is_new(used)).map_err(BlobError::Io)).await?;
        Ok(totals)
    }

    /// Walks the store and the catalog side by side, both in the order of digests. Gives the strays: when a mirror was killed before
    /// its image was listed, the file on its way is what is left of its work.
    async fn strays(
        &self,
        dry_run: bool,
        totals: &mut SweepTotals,
        tell: &mut (dyn FnMut(Swept) + Send),
    ) -> Result<BTreeSet<Digest>, PublishError> {
        let mut strays = BTreeSet::new();
        let mut known = VecDeque::new();
        let mut last_known = None;
        let mut more_known = true;
        let mut list = self.blobs.list();
        loop {
            let (rest, stored) = blocking(move || next_stored(list)).await?;
            list = rest;
            if stored.is_empty() {
                return Ok(strays);
            }
            for digest in stored {
                loop {
                    while known.front().is_some_and(|front| *front < digest) {
                        known.pop_front();
                    }
                    if !known.is_empty() || !more_known {
                        break;
                    }
                    known = self.catalog.known_blobs(last_known, PAGE).await?.into();
                    more_known = known.len() == PAGE;
                    last_known = known.back().copied().or(last_known);
                }
                if known.front() == Some(&digest) {
                    continue;
                }
                let blobs = self.blobs.clone();
                let Some(size) = blocking(move || blobs.stat(&digest)).await? else { continue };
                strays.insert(digest);
                // Between listing and this moment somebody may have published it: the catalog looks again.
                if dry_run || went(self.catalog.remove_unknown_blob(&digest, remover(&self.blobs, digest)).await)? {
                    totals.count(Swept::Stray { digest, size }, tell);
                }
            }
        }
    }

    /// See the beginning of this file for why in this order.
    async fn clear_dead(&self, now: Timestamp, totals: &mut SweepTotals) -> Result<(), PublishError> {
        let blobs = self.blobs.clone();
        let dead = blocking(move || blobs.dead()).await?;
        totals.count_dead(&dead);
        // Never the same value twice: SQLite does not write what would change nothing.
        let mark = format!("{} {}", now.rfc3339(), uuid::Uuid::new_v4().simple());
        self.catalog.set_setting(LAST_SWEEP, &mark).await?;
        fail_point::reached("sweep::settled");
        let blobs = self.blobs.clone();
        blocking(move || blobs.remove_dead(dead)).await?;
        Ok(())
    }
}

/// What was retired before this moment has had its grace. The second in which the grace ends counts: without a grace,
/// what was deleted a moment ago goes.
fn grace_over(now: Timestamp, grace_seconds: u32) -> Timestamp {
    now.plus_seconds(1 - i64::from(grace_seconds))
}

/// Deletes a blob; one that is not there was deleted by a sweep that was cut short before its rows were.
pub(super) fn remover(blobs: &Blobs, digest: Digest) -> impl FnOnce() -> io::Result<()> + Send + 'static {
    let blobs = blobs.clone();
    move || {
        fail_point::reached("sweep::before-delete");
        if blobs.delete(&digest)? == Deleted::Needed {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        fail_point::reached("sweep::after-delete");
        Ok(())
    }
}

/// Whether a blob went; one that a publisher is about to need stays.
pub(super) fn went(removed: Result<bool, CatalogError>) -> Result<bool, CatalogError> {
    match removed {
        Err(CatalogError::Remove(error)) if error.kind() == io::ErrorKind::ResourceBusy => Ok(false),
        other => other,
    }
}

/// The next page of a listing.
fn next_stored(mut list: List) -> Result<(List, Vec<Digest>), PublishError> {
    let page = list.by_ref().take(PAGE).collect::<Result<Vec<_>, _>>()?;
    Ok((list, page))
}
