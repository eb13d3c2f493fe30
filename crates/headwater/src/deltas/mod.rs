//! Deltas that make themselves: which pairs of root files pay, and building them so that a wrong one is never listed.
//!
//! ```no_run
//! # async fn example(publisher: headwater::publish::Publisher, now: fn() -> headwater_formats::timestamp::Timestamp)
//! # -> Result<(), headwater::catalog::CatalogError> {
//! use std::sync::Arc;
//! use headwater::deltas::{Deltas, Planner, Settings};
//! use headwater::publish::Silent;
//! use tokio_util::sync::CancellationToken;
//!
//! let (deltas, stop) = (Deltas::new(publisher, Settings::default(), now), CancellationToken::new());
//! let mut planner = Planner::default();
//! while deltas.plan(&mut planner).await? {}
//! while deltas.plan_past(&mut planner).await? {}
//! while let Some(claim) = deltas.next(&stop).await? {
//!     let built = deltas.build(&claim, Arc::new(Silent)).await;
//!     println!("{:?}", deltas.end(&claim, built).await?);
//! }
//! # Ok(()) }
//! ```
//!
//! `policy.rs` chooses pairs, `plan.rs` looks at the products that changed, `claim.rs` keeps others from the pair that is being built here,
//! `sample.rs` and `build.rs` do the work on threads of their own, `pace.rs` has them rest, `worker.rs` is what a server does all day.
//!
//! A delta is listed only after it was read back, decoded against the base, and what came out had the target's SHA-256; the base had its own. What
//! is not listed leaves no bytes. Several servers on one catalog share the work. `docs/reference/deltas.md` says what people can rely on.
//!
//! This room knows nothing of documents, of clients, or of HTTP: who is given a delta is decided by those who list it.

mod build;
mod claim;
mod pace;
mod plan;
mod policy;
mod sample;
mod thread;
mod worker;

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use headwater_formats::timestamp::Timestamp;

use crate::publish::Publisher;

use pace::Pace;

pub use build::{Built, Ended, Probed, Verdict};
pub use claim::Claim;
pub use plan::Planner;
pub use sample::Sampled;
pub use worker::Worker;

/// Bytes that a thread of the encoder takes in any case, its share of the base and its index apart.
const THREAD_MEMORY: u64 = 224 << 20;

/// What can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Most deltas to one root file; 0 wants none.
    pub bases: usize,
    /// A delta that is not smaller than so many percent of its target is dropped.
    pub largest_percent: u8,
    /// All deltas to one file together have at most so many percent of its bytes.
    pub together_percent: u32,
    /// Bytes of memory that one build takes, about.
    pub memory: u64,
    /// Whether building makes way for everything else that the machine does.
    pub background: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { bases: 3, largest_percent: 70, together_percent: 100, memory: 512 << 20, background: true }
    }
}

impl Settings {
    /// Threads of one build: as many as there are processors, in the background half of them, as far as there is memory for them. However
    /// nice a thread is, one that runs takes a while to leave, and what it brings into the caches is in the way of others.
    fn threads(&self) -> NonZero<usize> {
        let all = std::thread::available_parallelism().map_or(1, NonZero::get);
        let processors = if self.background { all.div_ceil(2) } else { all };
        let room = usize::try_from(self.memory / THREAD_MEMORY).unwrap_or(usize::MAX);
        NonZero::new(processors.min(room)).unwrap_or(NonZero::<usize>::MIN)
    }

    fn encoding(&self) -> headwater_vcdiff::Options {
        headwater_vcdiff::Options { memory: self.memory, threads: self.threads() }
    }
}

/// The room's handle.
#[derive(Debug, Clone)]
pub struct Deltas {
    publisher: Publisher,
    settings: Settings,
    /// Who claims: a random name, until the process ends.
    name: String,
    pace: Option<Arc<Pace>>,
    now: fn() -> Timestamp,
}

impl Deltas {
    /// Builds deltas between the root files of this installation.
    pub fn new(publisher: Publisher, settings: Settings, now: fn() -> Timestamp) -> Self {
        Self { publisher, settings, name: uuid::Uuid::new_v4().to_string(), pace: None, now }
    }

    /// Rests when that grows fast: what is served by the same process, in bytes of files.
    #[must_use]
    pub fn resting_beside(self, sent: Arc<AtomicU64>) -> Self {
        Self { pace: Some(Arc::new(Pace::new(sent))), ..self }
    }

    /// What was set.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}
