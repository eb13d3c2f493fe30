//! What is going on: tasks that run in the background, tokens that wait to be used, and the events that tell of both.
//!
//! ```no_run
//! # async fn example(operations: headwater::operations::Operations) -> Result<(), headwater::catalog::CatalogError> {
//! use std::sync::Arc;
//! use headwater::{auth::Actor, operations::NewTask};
//! use headwater_formats::names::ProjectName;
//!
//! let task = NewTask::new("Downloading image", ProjectName::default_project());
//! let actor = Arc::new(Actor::server());
//! let begun = operations.run(&actor, task, |running| async move {
//!     running.progress("download_progress", "45% (3.20MB/s)");
//!     Ok(serde_json::Map::new())
//! }).await?;
//! operations.wait(&begun.id, None).await?;
//! # Ok(()) }
//! ```
//!
//! Operations are rows of the catalog, so that each of several servers can tell of them and a finished one outlives the server;
//! progress is told by the server that runs it alone. A task whose server dies is ended as failed by the others, or at
//! the next start. This room knows nothing of HTTP, or of what a task does.

mod join;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::auth::Actor;
use crate::catalog::{AuditEntry, Catalog, CatalogError, Purpose, StoredOperation};

pub use join::{Invitation, JOIN_SECONDS};

/// What is about to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// What it does, in the words that LXD uses for it where there are some (`lxd/db/operationtype`).
    pub description: String,
    /// The project that it belongs to.
    pub project: ProjectName,
    /// Addresses of what it works on, by kind (`images`).
    pub resources: BTreeMap<String, Vec<String>>,
    /// Whether it can be cancelled.
    pub may_cancel: bool,
    /// Whether who began it is a guest, and gets a secret to wait with.
    pub with_secret: bool,
}

impl NewTask {
    /// A task that can be cancelled and works on nothing yet.
    pub fn new(description: impl Into<String>, project: ProjectName) -> Self {
        Self {
            description: description.into(),
            project,
            resources: BTreeMap::new(),
            may_cancel: true,
            with_secret: false,
        }
    }

    /// The same, working on this image.
    pub fn on_image(mut self, fingerprint: &headwater_formats::digest::Fingerprint) -> Self {
        self.resources.entry("images".to_owned()).or_default().push(format!("/1.0/images/{fingerprint}"));
        self
    }
}

/// A token that is about to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewToken {
    /// What it is, in words.
    pub description: String,
    /// The project that it belongs to.
    pub project: ProjectName,
    /// Addresses of what it opens.
    pub resources: BTreeMap<String, Vec<String>>,
    /// What else its operation tells.
    pub metadata: Map<String, Value>,
    /// What it is for.
    pub purpose: Purpose,
    /// When it ends if nobody uses it.
    pub expires_at: Option<Timestamp>,
}

/// What happened, for those who listen.
#[derive(Debug, Clone)]
pub enum Event {
    /// An operation began, went on, or ended.
    Operation(Arc<StoredOperation>),
    /// Something was done: a line of the audit.
    Lifecycle(Arc<AuditEntry>),
}

/// How a wish to cancel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It is cancelled, or will be as soon as it can.
    Yes,
    /// It cannot be cancelled.
    Refused,
    /// There is no such operation, or it has ended.
    Missing,
}

/// An operation that has begun, and the secret that goes with it, if any.
#[derive(Debug, Clone)]
pub struct Begun {
    /// Its id.
    pub id: String,
    /// How it stands now.
    pub operation: StoredOperation,
    /// For who may wait for it or use it: told this once.
    pub secret: Option<String>,
}

/// A task that runs, as seen from inside.
#[derive(Debug, Clone)]
pub struct Running {
    cancel: CancellationToken,
}

impl Running {
    /// Tells how far it is: `download_progress` and `45% (3.20MB/s)`. Told to listeners a few times a second at most.
    pub fn progress(&self, key: &str, text: impl Into<String>) {
        let _ = (key, text.into());
        todo!()
    }

    /// Adds an address of what it works on, found meanwhile.
    pub fn works_on(&self, kind: &str, address: String) {
        let _ = (kind, address);
        todo!()
    }

    /// Cancelled when somebody cancels the operation. A task that ends with an error after that has ended as cancelled.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancel
    }
}

/// The room's handle.
#[derive(Clone)]
pub struct Operations {
    catalog: Catalog,
    now: fn() -> Timestamp,
}

impl Operations {
    /// Over this catalog.
    pub fn new(catalog: Catalog, now: fn() -> Timestamp) -> Self {
        Self { catalog, now }
    }

    /// Runs a task in the background. Its error is a sentence for people.
    pub async fn run<W, F>(&self, actor: &Arc<Actor>, task: NewTask, work: W) -> Result<Begun, CatalogError>
    where
        W: FnOnce(Running) -> F + Send + 'static,
        F: Future<Output = Result<Map<String, Value>, String>> + Send + 'static,
    {
        let _ = (actor, task, work, &self.catalog, self.now);
        todo!()
    }

    /// Notes a task that is done already: its answer is final, and clients ask no further.
    pub async fn done(
        &self,
        actor: &Arc<Actor>,
        task: NewTask,
        outcome: Result<Map<String, Value>, String>,
    ) -> Result<Begun, CatalogError> {
        let _ = (actor, task, outcome);
        todo!()
    }

    /// Makes a token; its secret is told in [`Begun::secret`].
    pub async fn token(&self, actor: &Arc<Actor>, token: NewToken) -> Result<Begun, CatalogError> {
        let _ = (actor, token);
        todo!()
    }

    /// One operation, with the progress if it runs here.
    pub async fn get(&self, id: &str) -> Result<Option<StoredOperation>, CatalogError> {
        let _ = id;
        todo!()
    }

    /// Those of a project (of all for `None`).
    pub async fn list(&self, project: Option<&ProjectName>) -> Result<Vec<StoredOperation>, CatalogError> {
        let _ = project;
        todo!()
    }

    /// Waits until it has ended, or so long; then how it stands. `None` when there is no such operation.
    pub async fn wait(&self, id: &str, limit: Option<Duration>) -> Result<Option<StoredOperation>, CatalogError> {
        let _ = (id, limit);
        todo!()
    }

    /// Cancels one, on whichever server it runs.
    pub async fn cancel(&self, id: &str) -> Result<Cancelled, CatalogError> {
        let _ = id;
        todo!()
    }

    /// What happens from now on, on every server. Who is too slow misses the oldest.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        todo!()
    }

    /// Keeps the room in order, for ever: says that this server is alive, tells listeners what other servers and the command line
    /// did, forgets what ended long ago.
    pub async fn keep(&self) {
        todo!()
    }
}

impl std::fmt::Debug for Operations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operations").finish_non_exhaustive()
    }
}
