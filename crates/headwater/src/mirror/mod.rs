//! Mirrors: images of other servers, kept as those have them.
//!
//! ```no_run
//! # async fn example(mirrors: headwater::mirror::Mirrors, name: headwater_formats::names::UpstreamName)
//! # -> Result<(), headwater::mirror::MirrorError> {
//! use headwater::mirror::{Course, Terms};
//!
//! let run = mirrors.run(&name, Terms::default(), &Course::unobserved()).await?;
//! println!("{} of {} images are new", run.taken, run.listed);
//! # Ok(()) }
//! ```
//!
//! A run asks the upstream what it offers (`offer.rs`; documents come only when they changed: `copies.rs`), works out the difference to what is here (`plan.rs`), takes the images that are missing
//! (`arrive.rs`; one image: `take.rs`; file by file, and on from where an earlier run was cut: `transfer.rs`; by a delta from what is here: `patch.rs`; many images of small files in one go: `small.rs`) and lists them together as they come, and only when all went well takes away what is over (`run.rs`). Of a lazy upstream images are listed by what its documents say (`promise.rs`), and their files come when somebody asks for them (`pull/`).
//! `worker.rs` is what a server does all day. The other way, to an upstream that takes images, is `push.rs`. Several servers on one catalog share the work: an upstream is claimed for a run.
//!
//! An image is visible when all its bytes are here and right, and not before; what documents named stays fetchable for the grace of
//! the server after it went. This room knows nothing of HTTP requests, of terminals, or of operations.

mod arrive;
mod claim;
mod copies;
mod error;
mod offer;
mod patch;
mod plan;
mod promise;
mod pull;
mod push;
mod rate;
mod run;
mod small;
mod take;
mod transfer;
mod worker;

use std::sync::Arc;

use headwater_formats::digest::Fingerprint;
use headwater_formats::timestamp::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::publish::Publisher;

pub use error::{MirrorError, TransferError};
pub use offer::Offered;
pub use patch::OfferedDelta;
pub use plan::{Fields, Plan, PlanError, Take, TakeImage};
pub use pull::{Coming, HELD_BACK, PullError, PullThrough};
pub use push::{AliasAction, PushAlias, PushCourse, PushEvent, PushPlan, PushTerms, Pushed};
pub use rate::Rate;
pub use run::Planned;
pub use transfer::{Patience, Progress, Silent, Transfers, Wanted};
pub use worker::Worker;

/// The room's handle.
#[derive(Debug, Clone)]
pub struct Mirrors {
    client: Client,
    publisher: Publisher,
    /// Who claims, until the process ends.
    name: String,
    patience: Patience,
    now: fn() -> Timestamp,
}

/// How a run is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Whether it is right that much of what the upstream listed is missing.
    pub accept_loss: bool,
}

/// What happens in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It is known what is to be done.
    Planned {
        /// Images that are listed and chosen.
        listed: u64,
        /// Images to take.
        images: u64,
        /// Their bytes, as far as the upstream tells.
        bytes: u64,
        /// Images that will go.
        removed: u64,
    },
    /// So many more bytes have come.
    Bytes(u64),
    /// An image is here and listed.
    Taken(Step),
    /// An image could not be taken.
    Failed(Step, String),
    /// So many images went.
    Removed(u64),
}

/// An image in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which product, as the upstream calls it.
    pub product: String,
    /// Which version.
    pub version: String,
    /// Which image.
    pub fingerprint: Fingerprint,
    /// Bytes of its files.
    pub size: u64,
}

/// How a run is followed and stopped.
#[derive(Clone)]
pub struct Course {
    /// Told what happens; must be quick.
    pub tell: Arc<dyn Fn(Event) + Send + Sync>,
    /// Stops it.
    pub stop: CancellationToken,
}

impl Course {
    /// Followed by nobody and never stopped.
    pub fn unobserved() -> Self {
        Self { tell: Arc::new(|_| ()), stop: CancellationToken::new() }
    }
}

impl Mirrors {
    /// Asks with this client, and lists with this publisher.
    pub fn new(client: Client, publisher: Publisher, now: fn() -> Timestamp) -> Self {
        Self { client, publisher, name: claim::myself(), patience: Patience::default(), now }
    }

    /// With another patience for what may pass.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }
}
