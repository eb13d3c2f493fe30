//! Wrong credentials take longer and longer to be told so.
//!
//! The secrets of this server have 200 bits and more, so nobody finds one by trying; what is kept small here is the load of trying,
//! and the noise. Failures are counted for the network that a request comes from (one IPv4 address, or the /64 of an IPv6
//! address) and for what it claims to be (the beginning of a token, a user name, a certificate, an image). After a few, each
//! further one waits, twice as long as the one before, five seconds at most. Only failures wait: a right credential is answered at
//! once, whatever came from its network before, so that one broken client behind a gateway does not lock out the others.
//!
//! ```
//! # async fn example() {
//! use headwater::http::guard::{Claim, Guard};
//!
//! let guard = Guard::default();
//! let client = "192.0.2.7".parse().unwrap();
//! // The secret was wrong: wait, then tell so; or tell so many that they have to come back later.
//! assert!(guard.failed(client, Claim::User("ci")).await.is_ok());
//! guard.succeeded(Claim::User("ci")).await;
//! # }
//! ```
//!
//! This file does not know what a right credential is.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::future::Cache;
use tokio::sync::{Semaphore, TryAcquireError};
use tokio::time::Instant;

use crate::auth::Network;

/// Failures that a claim has for nothing.
const FREE_FOR_CLAIM: u32 = 3;
/// Failures that a network has for nothing: many may share an address.
const FREE_FOR_NETWORK: u32 = 10;
/// How long the first failure waits that has to.
const FIRST: Duration = Duration::from_millis(250);
/// How long any waits at most.
const LONGEST: Duration = Duration::from_secs(5);
/// After so long without a failure all is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(15 * 60);
/// Failures of one network that may be waiting.
const WAITING_OF_NETWORK: usize = 16;
/// Failures of all that may be waiting.
const WAITING: usize = 256;
/// Networks, and claims, that are remembered.
const REMEMBERED: u64 = 10_000;

/// Who somebody says that they are. What stands in it is never kept or shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Claim<'a> {
    /// Credentials that are none of this server's, whatever they say.
    Nobody,
    /// The beginning of a token.
    Token(&'a str),
    /// A user name.
    User(&'a str),
    /// A certificate that wants to join, by its SHA-256.
    Certificate(&'a str),
    /// Somebody with a secret for this image.
    Image(&'a str),
    /// Somebody with a secret for this operation.
    Operation(&'a str),
}

/// Too many failures are waiting already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "too many wrong credentials have come from your network; wait {RETRY_AFTER} seconds, and check what sends them"
)]
pub struct Busy;

/// What a `Retry-After` says with [`Busy`], in seconds.
pub const RETRY_AFTER: u32 = 5;

#[derive(Debug)]
struct Tries {
    count: Mutex<(u32, Instant)>,
    waiting: Arc<Semaphore>,
}

impl Tries {
    fn new() -> Arc<Self> {
        Arc::new(Self { count: Mutex::new((0, Instant::now())), waiting: Arc::new(Semaphore::new(WAITING_OF_NETWORK)) })
    }

    /// One more; gives how long it has to wait.
    fn count(&self, free: u32) -> Duration {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let (failures, last) = &mut *count;
        if last.elapsed() > FORGOTTEN {
            *failures = 0;
        }
        *last = Instant::now();
        *failures = failures.saturating_add(1);
        match failures.saturating_sub(free) {
            0 => Duration::ZERO,
            over => FIRST.saturating_mul(2_u32.saturating_pow(over - 1)).min(LONGEST),
        }
    }
}

/// What is remembered of failures.
#[derive(Debug)]
pub struct Guard {
    networks: Cache<Network, Arc<Tries>>,
    /// By their hashes: somebody else chose their length.
    claims: Cache<u64, Arc<Tries>>,
    hasher: RandomState,
    waiting: Semaphore,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            networks: Cache::builder().max_capacity(REMEMBERED).time_to_idle(FORGOTTEN).build(),
            claims: Cache::builder().max_capacity(REMEMBERED).time_to_idle(FORGOTTEN).build(),
            hasher: RandomState::new(),
            waiting: Semaphore::new(WAITING),
        }
    }
}

impl Guard {
    /// Counts a failure, and waits as long as it has to before it may be told.
    ///
    /// # Errors
    /// At once, when too many are waiting.
    pub async fn failed(&self, client: IpAddr, claim: Claim<'_>) -> Result<(), Busy> {
        let network = self.networks.get_with(Network::of(client), async { Tries::new() }).await;
        let claim = self.claims.get_with(self.hasher.hash_one(claim), async { Tries::new() }).await;
        let wait = network.count(FREE_FOR_NETWORK).max(claim.count(FREE_FOR_CLAIM));
        if wait.is_zero() {
            return Ok(());
        }
        let busy = |_: TryAcquireError| Busy;
        let _of_all = self.waiting.try_acquire().map_err(busy)?;
        let _of_network = network.waiting.try_acquire().map_err(busy)?;
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Forgets the failures of a claim that turned out to be true; those of its network stay.
    pub async fn succeeded(&self, claim: Claim<'_>) {
        let claim = self.hasher.hash_one(claim);
        if self.claims.contains_key(&claim) {
            self.claims.invalidate(&claim).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    /// How long it took to be told, in milliseconds.
    async fn try_once(guard: &Guard, client: IpAddr, claim: Claim<'_>) -> u128 {
        let since = Instant::now();
        guard.failed(client, claim).await.unwrap();
        since.elapsed().as_millis()
    }

    /// An address of its own for each number.
    fn elsewhere(number: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + number).into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_waits_longer_with_each_failure_wherever_it_is_made() {
        let guard = Guard::default();
        let mut waited = Vec::new();
        for number in 0..10 {
            waited.push(try_once(&guard, elsewhere(number), Claim::User("ci")).await);
        }
        assert_eq!(waited, [0, 0, 0, 250, 500, 1000, 2000, 4000, 5000, 5000]);
        assert_eq!(try_once(&guard, elsewhere(99), Claim::User("other")).await, 0);
        guard.succeeded(Claim::User("other")).await;
        assert_eq!(
            try_once(&guard, elsewhere(99), Claim::User("ci")).await,
            5000,
            "success of another changes nothing"
        );
        guard.succeeded(Claim::User("ci")).await;
        assert_eq!(try_once(&guard, elsewhere(99), Claim::User("ci")).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_waits_whatever_it_claims_and_no_success_resets_it() {
        let guard = Guard::default();
        let mut waited = Vec::new();
        for number in 0..13 {
            let user = number.to_string();
            waited.push(try_once(&guard, HOME, Claim::User(&user)).await);
            guard.succeeded(Claim::User(&user)).await;
        }
        assert_eq!(waited, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 250, 500, 1000]);
        assert_eq!(try_once(&guard, elsewhere(1), Claim::User("1")).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_while_all_is_forgotten() {
        let guard = Guard::default();
        for number in 0..6 {
            try_once(&guard, elsewhere(number), Claim::Token("hw_aaaaaaaa")).await;
        }
        tokio::time::sleep(FORGOTTEN + Duration::from_secs(1)).await;
        assert_eq!(try_once(&guard, HOME, Claim::Token("hw_aaaaaaaa")).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_wait_and_the_next_is_told_at_once() {
        let guard = Arc::new(Guard::default());
        for _ in 0..12 {
            let _ = guard.failed(HOME, Claim::Nobody).await;
        }
        let waiting: Vec<_> = (0..WAITING_OF_NETWORK)
            .map(|_| {
                let guard = Arc::clone(&guard);
                tokio::spawn(async move { guard.failed(HOME, Claim::Nobody).await })
            })
            .collect();
        tokio::task::yield_now().await;
        let since = Instant::now();
        assert_eq!(guard.failed(HOME, Claim::Nobody).await, Err(Busy));
        assert!(since.elapsed().is_zero());
        assert_eq!(guard.failed(elsewhere(1), Claim::User("a")).await, Ok(()), "others are not concerned");
        for task in waiting {
            task.await.unwrap().unwrap();
        }
        guard.failed(HOME, Claim::Nobody).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let guard = Guard::default();
        for number in 0..30_000 {
            guard.failed(elsewhere(number), Claim::User(&number.to_string())).await.unwrap();
        }
        guard.networks.run_pending_tasks().await;
        guard.claims.run_pending_tasks().await;
        assert!(guard.networks.entry_count() <= REMEMBERED && guard.claims.entry_count() <= REMEMBERED);
    }
}
