//! Removes bytes that nobody needs: what the last image has let go of, once its grace is over; what a crash left between
//! bytes and rows; and what dead processes were still writing.
//!
//! Safe beside running publishers and servers. A blob is deleted inside a transaction that excludes commits, and a
//! publisher whose bytes went away before its commit puts them back there ([`Placed::ensure`](crate::blobs::Placed::ensure)).
//! A download that is under way keeps its file open.

use std::collections::VecDeque;

use headwater_formats::digest::Digest;
use headwater_formats::timestamp::Timestamp;

use super::{PublishError, Publisher, blocking};
use crate::blobs::{Blobs, List};
use crate::catalog::Retired;
use crate::fail_point;

/// Rows that are asked for at once.
const PAGE: usize = 1000;

/// Something that goes, or would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swept {
    /// A blob whose last image was deleted longer ago than the grace.
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
}

impl SweepTotals {
    /// All the bytes that are free now, or would be.
    pub fn bytes(&self) -> u64 {
        self.retired_bytes.saturating_add(self.stray_bytes).saturating_add(self.staged_bytes)
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
        for retired in self.catalog.retired(before, i32::MAX as usize).await? {
            totals.count(Swept::Retired(retired), tell);
        }
        self.strays(true, &mut totals, tell).await?;
        self.leftovers(true, &mut totals).await?;
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
        let before = grace_over(now, grace_seconds);
        loop {
            let page = self.catalog.retired(before, PAGE).await?;
            let mut gone = 0;
            for retired in &page {
                let remove = remover(&self.blobs, retired.digest);
                if self.catalog.forget_blob(&retired.digest, before, remove).await? {
                    fail_point::reached("sweep::forgotten");
                    totals.count(Swept::Retired(*retired), tell);
                    gone += 1;
                }
            }
            // A page of which nothing went is a page that publishers took back, every one of it: it does not come again,
            // but a loop that relies on that has no end when it is wrong.
            if page.len() < PAGE || gone == 0 {
                break;
            }
        }
        self.catalog.end_grace(before).await?;
        self.strays(false, &mut totals, tell).await?;
        self.leftovers(false, &mut totals).await?;
        Ok(totals)
    }

    /// Walks the store and the catalog side by side, both in the order of digests.
    async fn strays(
        &self,
        dry_run: bool,
        totals: &mut SweepTotals,
        tell: &mut (dyn FnMut(Swept) + Send),
    ) -> Result<(), PublishError> {
        let mut known = VecDeque::new();
        let mut last_known = None;
        let mut more_known = true;
        let mut list = self.blobs.list();
        loop {
            let (rest, stored) = blocking(move || next_stored(list)).await?;
            list = rest;
            if stored.is_empty() {
                return Ok(());
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
                // Between listing and this moment somebody may have published it: the catalog looks again.
                if dry_run || self.catalog.remove_unknown_blob(&digest, remover(&self.blobs, digest)).await? {
                    totals.count(Swept::Stray { digest, size }, tell);
                }
            }
        }
    }

    async fn leftovers(&self, dry_run: bool, totals: &mut SweepTotals) -> Result<(), PublishError> {
        let blobs = self.blobs.clone();
        let found = blocking(move || blobs.sweep_staging(dry_run)).await?;
        totals.staged += found.files;
        totals.staged_bytes += found.bytes;
        Ok(())
    }
}

/// What was retired before this moment has had its grace. The second in which the grace ends counts: without a grace,
/// what was deleted a moment ago goes.
fn grace_over(now: Timestamp, grace_seconds: u32) -> Timestamp {
    now.plus_seconds(1 - i64::from(grace_seconds))
}

/// Deletes a blob; one that is not there was deleted by a sweep that was cut short before its rows were.
fn remover(blobs: &Blobs, digest: Digest) -> impl FnOnce() -> std::io::Result<()> + Send + 'static {
    let blobs = blobs.clone();
    move || {
        fail_point::reached("sweep::before-delete");
        blobs.delete(&digest)?;
        fail_point::reached("sweep::after-delete");
        Ok(())
    }
}

/// The next page of a listing.
fn next_stored(mut list: List) -> Result<(List, Vec<Digest>), PublishError> {
    let page = list.by_ref().take(PAGE).collect::<Result<Vec<_>, _>>()?;
    Ok((list, page))
}
