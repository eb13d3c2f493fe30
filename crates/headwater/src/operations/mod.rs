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
//! `task.rs` runs what runs here; `news.rs` tells listeners what happened, in the order in which the catalog numbered it, whoever did it;
//! `keep.rs` is what goes on beside; `join.rs` says what a token to join with tells.
//!
//! Operations are rows of the catalog, so that each of several servers can tell of them and a finished one outlives the server;
//! progress is told by the server that runs it alone. A task whose server dies is ended as failed by the others, or at
//! the next start. This room knows nothing of HTTP, or of what a task does.

mod join;
mod keep;
mod news;
mod task;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use headwater_formats::lxd::operation::Status;
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::{Semaphore, broadcast};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::join::{Invitation, JOIN_SECONDS};
use self::news::News;
use self::task::Tasks;
pub use self::task::{AT_A_TIME, MOST_WAITING, Running};
use crate::auth::{Actor, SecretHash};
use crate::catalog::{AuditEntry, Catalog, CatalogError, OperationClass, Purpose, StoredOperation};

/// How often it is looked at whether an operation has ended that runs elsewhere.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is about to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// What it does, in the words that LXD uses for it where there are some (`lxd/db/operationtype`).
    pub description: String,
    /// The project that it belongs to.
    pub project: ProjectName,
    /// Addresses of what it works on, by kind (`images`).
    pub resources: BTreeMap<String, Vec<String>>,
    /// What it tells from the beginning, and also when it fails. What it ends with is added.
    pub metadata: Map<String, Value>,
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
            metadata: Map::new(),
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

/// The room's handle.
#[derive(Clone)]
pub struct Operations(Arc<Room>);

struct Room {
    catalog: Catalog,
    now: fn() -> Timestamp,
    /// This server, until it ends: a random name.
    server: String,
    tasks: Tasks,
    news: News,
    /// Places for tasks that run at a time.
    places: Arc<Semaphore>,
    tracker: TaskTracker,
    /// The server is ending: nothing new is begun.
    ending: CancellationToken,
    /// All tasks have ended after that.
    ended: CancellationToken,
}

impl Operations {
    /// Over this catalog.
    pub fn new(catalog: Catalog, now: fn() -> Timestamp) -> Self {
        Self(Arc::new(Room {
            catalog,
            now,
            server: uuid::Uuid::new_v4().to_string(),
            tasks: Tasks::default(),
            news: News::default(),
            places: Arc::new(Semaphore::new(AT_A_TIME)),
            tracker: TaskTracker::new(),
            ending: CancellationToken::new(),
            ended: CancellationToken::new(),
        }))
    }

    /// Runs a task in the background, at most [`AT_A_TIME`] at the same time. Its error is a sentence for people. What it gives back
    /// becomes the operation's metadata.
    ///
    /// When it is cancelled, it is told by [`Running::cancelled`]; if it does not end soon after, it is dropped where it waits. A
    /// task that panics has failed.
    pub async fn run<W, F>(&self, actor: &Arc<Actor>, task: NewTask, work: W) -> Result<Begun, CatalogError>
    where
        W: FnOnce(Running) -> F + Send + 'static,
        F: Future<Output = Result<Map<String, Value>, String>> + Send + 'static,
    {
        self.begin(actor, task, work).await
    }

    /// Notes a task that is done already: its answer is final, and clients ask no further.
    pub async fn done(
        &self,
        actor: &Arc<Actor>,
        task: NewTask,
        outcome: Result<Map<String, Value>, String>,
    ) -> Result<Begun, CatalogError> {
        let (mut operation, secret) = self.task(actor, task)?;
        operation.may_cancel = false;
        match outcome {
            Ok(metadata) => {
                operation.status = Status::Success;
                operation.metadata.extend(metadata);
            }
            Err(error) => (operation.status, operation.error) = (Status::Failure, error),
        }
        self.add(actor, operation, secret).await
    }

    /// Makes a token; its secret is told in [`Begun::secret`].
    pub async fn token(&self, actor: &Arc<Actor>, token: NewToken) -> Result<Begun, CatalogError> {
        let operation = StoredOperation {
            class: OperationClass::Token,
            status: Status::Running,
            resources: token.resources,
            metadata: token.metadata,
            purpose: Some(token.purpose),
            expires_at: token.expires_at,
            ..self.blank(actor, token.description, token.project)
        };
        let secret = secret()?;
        self.add(actor, operation, Some(secret)).await
    }

    /// One operation, with the progress if it runs here.
    pub async fn get(&self, id: &str) -> Result<Option<StoredOperation>, CatalogError> {
        let mut found = self.0.catalog.operation(id).await?;
        if let Some(operation) = &mut found {
            self.0.tasks.lay_over(operation);
        }
        Ok(found)
    }

    /// Those of a project (of all for `None`), oldest first; of very many the newest: see [`Catalog::operations`].
    pub async fn list(&self, project: Option<&ProjectName>) -> Result<Vec<StoredOperation>, CatalogError> {
        let mut found = self.0.catalog.operations(project).await?;
        found.iter_mut().for_each(|operation| self.0.tasks.lay_over(operation));
        Ok(found)
    }

    /// Waits until it has ended, or so long; then how it stands. `None` when there is no such operation. When this server ends
    /// meanwhile, how it stands then.
    pub async fn wait(&self, id: &str, limit: Option<Duration>) -> Result<Option<StoredOperation>, CatalogError> {
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            // Taken before the look at the catalog, so that an end in between is not missed.
            let ended = self.0.tasks.ended(id);
            let Some(found) = self.get(id).await? else { return Ok(None) };
            let now = Instant::now();
            if found.status.is_final() || end.is_some_and(|end| end <= now) || self.0.ended.is_cancelled() {
                return Ok(Some(found));
            }
            let look = now + LOOK_EVERY;
            let look = end.map_or(look, |end| end.min(look));
            let local = async {
                match ended {
                    Some(ended) => ended.cancelled_owned().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = local => {}
                () = self.0.ended.cancelled() => {}
                () = tokio::time::sleep_until(look) => {}
            }
        }
    }

    /// Cancels one on behalf of somebody, on whichever server it runs.
    pub async fn cancel(&self, actor: &Arc<Actor>, id: &str) -> Result<Cancelled, CatalogError> {
        let Some(mut operation) = self.0.catalog.operation(id).await? else { return Ok(Cancelled::Missing) };
        if operation.status.is_final() {
            return Ok(Cancelled::Missing);
        }
        if !operation.may_cancel {
            return Ok(Cancelled::Refused);
        }
        operation.updated_at = (self.0.now)();
        operation.status = match operation.class {
            OperationClass::Task => Status::Cancelling,
            OperationClass::Token => {
                operation.may_cancel = false;
                Status::Cancelled
            }
        };
        // The server that runs it sees it in the catalog; this one need not wait for that.
        let changed = self.0.catalog.acting(Arc::clone(actor)).update_operation(&operation).await?;
        self.0.tasks.cancel(id);
        self.tell_news().await;
        // Meanwhile it may have ended, or somebody else may have cancelled it.
        let going_on = changed || self.get(id).await?.is_some_and(|operation| !operation.status.is_final());
        Ok(if going_on { Cancelled::Yes } else { Cancelled::Missing })
    }

    /// What happens from now on, on every server. Who is too slow misses the oldest, and is told so.
    pub async fn subscribe(&self) -> Result<broadcast::Receiver<Event>, CatalogError> {
        self.listen().await
    }

    /// From now on nothing new is begun, and what runs is given a moment: see [`Operations::keep`], which does it.
    pub fn begin_ending(&self) {
        self.0.ending.cancel();
    }

    /// Cancelled when the server is ending and all its tasks have ended.
    pub fn ended(&self) -> &CancellationToken {
        &self.0.ended
    }

    async fn add(
        &self,
        actor: &Arc<Actor>,
        mut operation: StoredOperation,
        secret: Option<String>,
    ) -> Result<Begun, CatalogError> {
        let hash = secret.as_deref().map(SecretHash::of);
        let catalog = self.0.catalog.acting(Arc::clone(actor));
        operation.change = catalog.add_operation(&operation, hash.as_ref()).await?;
        self.tell_news().await;
        Ok(Begun { id: operation.id.clone(), operation, secret })
    }

    fn task(&self, actor: &Actor, task: NewTask) -> Result<(StoredOperation, Option<String>), CatalogError> {
        let secret = task.with_secret.then(secret).transpose()?;
        let operation = StoredOperation {
            resources: task.resources,
            metadata: task.metadata,
            may_cancel: task.may_cancel,
            ..self.blank(actor, task.description, task.project)
        };
        Ok((operation, secret))
    }

    fn blank(&self, actor: &Actor, description: String, project: ProjectName) -> StoredOperation {
        let now = (self.0.now)();
        StoredOperation {
            id: uuid::Uuid::new_v4().to_string(),
            change: 0,
            class: OperationClass::Task,
            description,
            project,
            created_at: now,
            updated_at: now,
            status: Status::Pending,
            resources: BTreeMap::new(),
            metadata: Map::new(),
            may_cancel: true,
            error: String::new(),
            server: self.0.server.clone(),
            identity: actor.subject.clone(),
            purpose: None,
            expires_at: None,
        }
    }
}

/// Only hexadecimal digits: clients escape it twice.
fn secret() -> Result<String, CatalogError> {
    crate::auth::random_hex().map_err(CatalogError::Randomness)
}

impl std::fmt::Debug for Operations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operations").finish_non_exhaustive()
    }
}
