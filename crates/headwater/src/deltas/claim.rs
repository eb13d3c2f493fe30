//! Having a pair for oneself: claims are renewed while work goes on, and end it when they are lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Deltas;
use crate::catalog::{CatalogError, ClaimedDelta, DeltaClaim, DeltaWish};

/// How many seconds a claim holds that is not renewed; fewer where tests kill builders and wait for the next one.
const LEASE: i64 = if cfg!(feature = "fail-points") { 4 } else { 60 };
/// How often it is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(LEASE as u64 / 4);
/// How often it is looked at whether both files are still needed.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A pair that is being built here. Dropped, it is no longer renewed, and the work that goes on for it is stopped.
#[derive(Debug)]
pub struct Claim {
    pub(super) pair: ClaimedDelta,
    /// Cancelled when the work is to stop.
    pub(super) stop: CancellationToken,
    lost: Arc<AtomicBool>,
    keeper: AbortHandle,
}

impl Claim {
    /// The pair.
    pub fn pair(&self) -> &ClaimedDelta {
        &self.pair
    }

    /// Stops the work.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Whether the work is to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Whether the pair is somebody else's by now, or nobody's because one of the files is not needed any more.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.keeper.abort();
        self.stop.cancel();
    }
}

impl Deltas {
    /// Claims the pair that waits longest, if there is one. Cancelling `stop` stops the work on it.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn next(&self, stop: &CancellationToken) -> Result<Option<Claim>, CatalogError> {
        loop {
            let now = (self.now)();
            let catalog = &self.publisher.catalog;
            let Some(pair) = catalog.claim_delta(&self.name, now, now.plus_seconds(LEASE)).await? else {
                return Ok(None);
            };
            if self.is_wanted(&pair).await? {
                crate::fail_point::reached("deltas::claimed");
                return Ok(Some(self.keep(pair, stop)));
            }
            catalog.forget_delta(&pair, &self.name).await?;
        }
    }

    /// Claims this pair, wanted or not, and whatever came of it before; else says why not.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn claim(
        &self,
        wish: &DeltaWish,
        stop: &CancellationToken,
    ) -> Result<Result<Claim, DeltaClaim>, CatalogError> {
        let now = (self.now)();
        let claimed = self.publisher.catalog.claim_this_delta(wish, &self.name, now, now.plus_seconds(LEASE)).await?;
        Ok(match claimed {
            DeltaClaim::Taken(pair) => Ok(self.keep(pair, stop)),
            other => Err(other),
        })
    }

    fn keep(&self, pair: ClaimedDelta, stop: &CancellationToken) -> Claim {
        let (stop, lost) = (stop.child_token(), Arc::new(AtomicBool::new(false)));
        let keeping = tokio::spawn({
            let (deltas, stop, lost) = (self.clone(), stop.clone(), Arc::clone(&lost));
            async move {
                deltas.hold(&pair).await;
                lost.store(true, Ordering::Relaxed);
                stop.cancel();
            }
        });
        Claim { pair, stop, lost, keeper: keeping.abort_handle() }
    }

    /// Renews the claim until it is lost.
    async fn hold(&self, pair: &ClaimedDelta) {
        let catalog = &self.publisher.catalog;
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let held = async {
                if !catalog.is_delta_claimed(pair, &self.name).await? {
                    return Ok(false);
                }
                if renewed.elapsed() < RENEW_EVERY {
                    return Ok(true);
                }
                let kept = catalog.keep_delta_claim(pair, &self.name, (self.now)().plus_seconds(LEASE)).await?;
                renewed = Instant::now();
                Ok::<_, CatalogError>(kept)
            };
            match held.await {
                Ok(true) => {}
                Ok(false) => return,
                // Listing it asks again.
                Err(error) => tracing::warn!(%error, "it cannot be seen whether a delta is still wanted"),
            }
        }
    }
}
