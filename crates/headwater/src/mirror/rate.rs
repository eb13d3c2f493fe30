use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What was not used lately may be used at once, up to what comes in this time.
const SAVED: Duration = Duration::from_millis(250);

/// Bytes a second for all who share it. Clones are the same bucket.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    bucket: Option<Arc<Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    bytes_a_second: NonZeroU64,
    /// When all that was taken so far will have come.
    due: Mutex<Option<Instant>>,
}

impl Rate {
    /// As quick as it goes.
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// At most so many bytes a second, on average.
    pub fn limited(bytes_a_second: NonZeroU64) -> Self {
        Self { bucket: Some(Arc::new(Bucket { bytes_a_second, due: Mutex::new(None) })) }
    }

    /// Takes bytes that came, and waits until their time has come. Who takes next waits for these, too; dropped while it waits, it has
    /// taken them.
    pub async fn take(&self, bytes: u64) {
        let Some(bucket) = &self.bucket else { return };
        let due = bucket.take(bytes, Instant::now());
        tokio::time::sleep_until(due).await;
    }
}

impl Bucket {
    fn take(&self, bytes: u64, now: Instant) -> Instant {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_a_second.get());
        // No more than thirty years, which is for ever, so that the addition holds.
        let lasts = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX).min(1 << 60));
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(SAVED).unwrap_or(now);
        let begins = due.map_or(earliest, |due| due.max(earliest));
        let ends = begins.checked_add(lasts).unwrap_or(begins);
        *due = Some(ends);
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(bytes: u64) -> Rate {
        Rate::limited(NonZeroU64::new(bytes).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_share_it_stay_below_together() {
        let (rate, began) = (rate(1000), Instant::now());
        let takers: Vec<_> = (0..10)
            .map(|_| {
                let rate = rate.clone();
                tokio::spawn(async move {
                    for _ in 0..10 {
                        rate.take(100).await;
                    }
                })
            })
            .collect();
        for taker in takers {
            taker.await.unwrap();
        }
        let took = began.elapsed().as_secs_f64();
        assert!((9.7..=10.1).contains(&took), "10,000 bytes at 1,000 a second took {took} seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_used_is_not_saved_for_long() {
        let rate = rate(1000);
        rate.take(1).await;
        tokio::time::sleep(Duration::from_secs(100)).await;
        let began = Instant::now();
        rate.take(1250).await;
        let took = began.elapsed().as_secs_f64();
        assert!((0.99..=1.01).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nobody_waits_and_no_number_is_too_large() {
        let began = Instant::now();
        Rate::unlimited().take(u64::MAX).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        let slow = rate(1);
        let endless = tokio::time::timeout(Duration::from_secs(1_000_000), async {
            for _ in 0..100 {
                slow.take(u64::MAX).await;
            }
        });
        assert!(endless.await.is_err());
    }
}
