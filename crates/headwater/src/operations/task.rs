//! What runs on this server: a place in the queue, progress, cancelling, and an end that is kept before it is told.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::MissedTickBehavior;

use super::{
    Actor, Begun, CancellationToken, CatalogError, Event, Future, Map, NewTask, Operations, Status, StoredOperation,
    Value,
};

/// How many tasks run at the same time on one server; further ones wait. They are downloads and uploads of images, which
/// share one disk and one network.
pub const AT_A_TIME: usize = 8;
/// How many may wait; further ones fail at once.
pub const MOST_WAITING: usize = 1000;

/// How often listeners are told of progress.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// How long a task that was cancelled may take to end by itself.
const CANCEL_PATIENCE: Duration = Duration::from_secs(3);
/// The first and the longest pause between two tries to keep how a task ended.
const KEEP_AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// The tasks of this server.
#[derive(Debug, Default)]
pub(super) struct Tasks(Mutex<HashMap<String, Arc<Local>>>);

/// One of them.
#[derive(Debug)]
struct Local {
    told: Mutex<Told>,
    /// What it told from the beginning, without the progress.
    from_the_beginning: Map<String, Value>,
    cancel: CancellationToken,
    /// Its end is in the catalog.
    ended: CancellationToken,
}

/// What it tells before it ends.
#[derive(Debug)]
struct Told {
    operation: StoredOperation,
    /// Listeners do not know all of it yet.
    news: bool,
}

/// A task that runs, as seen from inside.
#[derive(Debug, Clone)]
pub struct Running(Arc<Local>);

impl Running {
    /// Tells how far it is: `download_progress` and `45% (3.20MB/s)`. Told to listeners a few times a second at most.
    pub fn progress(&self, key: &str, text: impl Into<String>) {
        let mut told = lock(&self.0.told);
        told.operation.metadata.insert(key.to_owned(), Value::String(text.into()));
        told.news = true;
    }

    /// Adds an address of what it works on, found meanwhile.
    pub fn works_on(&self, kind: &str, address: String) {
        let mut told = lock(&self.0.told);
        let addresses = told.operation.resources.entry(kind.to_owned()).or_default();
        if !addresses.contains(&address) {
            addresses.push(address);
            told.news = true;
        }
    }

    /// Cancelled when somebody cancels the operation. A task that ends with an error after that has ended as cancelled.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.0.cancel
    }
}

impl Tasks {
    fn get(&self, id: &str) -> Option<Arc<Local>> {
        lock(&self.0).get(id).cloned()
    }

    /// Whether there are any.
    pub(super) fn any(&self) -> bool {
        !lock(&self.0).is_empty()
    }

    /// Lays over what the catalog says of one what is known here only.
    pub(super) fn lay_over(&self, operation: &mut StoredOperation) {
        if operation.status.is_final() {
            return;
        }
        if let Some(local) = self.get(&operation.id) {
            let told = lock(&local.told);
            operation.metadata.clone_from(&told.operation.metadata);
            operation.resources.clone_from(&told.operation.resources);
        }
    }

    /// Cancelled when the end of this one is in the catalog; `None` when it does not run here.
    pub(super) fn ended(&self, id: &str) -> Option<CancellationToken> {
        self.get(id).map(|local| local.ended.clone())
    }

    /// Cancels one, if it runs here.
    pub(super) fn cancel(&self, id: &str) {
        if let Some(local) = self.get(id) {
            local.cancel.cancel();
        }
    }

    /// Cancels all that may be cancelled, or really all.
    pub(super) fn cancel_all(&self) {
        lock(&self.0).values().for_each(|local| local.cancel.cancel());
    }

    /// Sees what the catalog says of one: somebody on another server may have cancelled it, or have taken this server for dead.
    pub(super) fn see(&self, operation: &StoredOperation) {
        if operation.status.is_final() || operation.status == Status::Cancelling {
            self.cancel(&operation.id);
        }
    }
}

impl Operations {
    pub(super) async fn begin<W, F>(&self, actor: &Arc<Actor>, task: NewTask, work: W) -> Result<Begun, CatalogError>
    where
        W: FnOnce(Running) -> F + Send + 'static,
        F: Future<Output = Result<Map<String, Value>, String>> + Send + 'static,
    {
        if self.0.ending.is_cancelled() {
            return self.done(actor, task, Err("the server is ending; try again when it is back".into())).await;
        }
        if lock(&self.0.tasks.0).len() >= AT_A_TIME + MOST_WAITING {
            let error = format!("{MOST_WAITING} tasks are waiting on this server already; try again later");
            return self.done(actor, task, Err(error)).await;
        }
        let (mut operation, secret) = self.task(actor, task)?;
        let place = Arc::clone(&self.0.places).try_acquire_owned().ok();
        if place.is_some() {
            operation.status = Status::Running;
        }
        let local = Arc::new(Local {
            told: Mutex::new(Told { operation: operation.clone(), news: false }),
            from_the_beginning: operation.metadata.clone(),
            cancel: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        lock(&self.0.tasks.0).insert(operation.id.clone(), Arc::clone(&local));
        let (room, actor) = (self.clone(), Arc::clone(actor));
        // On its own, so that it is whole even when who asked for it leaves meanwhile.
        let beginning = self.0.tracker.spawn(async move {
            // From now on the catalog is watched for what others do to it.
            room.tell_news().await;
            let begun = room.add(&actor, operation, secret).await;
            match &begun {
                Ok(_) => drop(room.0.tracker.spawn({
                    let room = room.clone();
                    async move {
                        let outcome = room.work(&local, place, work).await;
                        room.finish(&local, outcome).await;
                    }
                })),
                Err(_) => drop(lock(&room.0.tasks.0).remove(&local_id(&local))),
            }
            begun
        });
        beginning.await.unwrap_or_else(|_| Err(CatalogError::Unavailable("the server is ending".into())))
    }

    /// Waits for a place, and does the work.
    async fn work<W, F>(
        &self,
        local: &Arc<Local>,
        place: Option<tokio::sync::OwnedSemaphorePermit>,
        work: W,
    ) -> Result<Map<String, Value>, String>
    where
        W: FnOnce(Running) -> F + Send + 'static,
        F: Future<Output = Result<Map<String, Value>, String>> + Send + 'static,
    {
        let cancelled = || Err("it was cancelled before it began".to_owned());
        let _place = match place {
            Some(place) => place,
            None => {
                let place = local.cancel.run_until_cancelled(Arc::clone(&self.0.places).acquire_owned()).await;
                let Some(Ok(place)) = place else { return cancelled() };
                self.set_running(local).await;
                place
            }
        };
        if local.cancel.is_cancelled() {
            return cancelled();
        }
        let running = Running(Arc::clone(local));
        let work = AssertUnwindSafe(async move { work(running).await }).catch_unwind();
        let mut work = std::pin::pin!(work);
        let impatience = async {
            local.cancel.cancelled().await;
            tokio::time::sleep(CANCEL_PATIENCE).await;
        };
        let mut impatience = std::pin::pin!(impatience);
        let mut tell = tokio::time::interval(TELL_EVERY);
        tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = &mut work => return ended.unwrap_or_else(|_| {
                    tracing::error!(operation = local_id(local), "a task panicked");
                    Err("the server failed to do this; its log says why".to_owned())
                }),
                () = &mut impatience => return Err("it was cancelled, and did not end by itself".to_owned()),
                _ = tell.tick() => self.tell_progress(local),
            }
        }
    }

    fn tell_progress(&self, local: &Local) {
        let mut told = lock(&local.told);
        if std::mem::take(&mut told.news) {
            told.operation.updated_at = (self.0.now)();
            self.0.news.send(|| Event::Operation(Arc::new(told.operation.clone())));
        }
    }

    async fn set_running(&self, local: &Local) {
        let operation = {
            let mut told = lock(&local.told);
            told.operation.status = Status::Running;
            told.operation.updated_at = (self.0.now)();
            told.operation.clone()
        };
        // It is not worth more than one try: the end is what counts.
        if let Err(error) = self.0.catalog.update_operation(&operation).await {
            tracing::warn!(operation = operation.id, %error, "it could not be noted that a task has begun");
        }
        self.tell_news().await;
    }

    /// Keeps how it ended, and tells of it then.
    async fn finish(&self, local: &Local, outcome: Result<Map<String, Value>, String>) {
        let operation = {
            let mut told = lock(&local.told);
            let mut operation = told.operation.clone();
            // No progress is told after the end.
            told.news = false;
            operation.updated_at = (self.0.now)();
            operation.may_cancel = false;
            operation.metadata.clone_from(&local.from_the_beginning);
            (operation.status, operation.error) = match outcome {
                Ok(metadata) => {
                    operation.metadata.extend(metadata);
                    (Status::Success, String::new())
                }
                Err(error) if local.cancel.is_cancelled() => (Status::Cancelled, error),
                Err(error) => (Status::Failure, error),
            };
            operation
        };
        let (mut pause, longest) = KEEP_AGAIN;
        loop {
            match self.0.catalog.update_operation(&operation).await {
                Ok(true) => break,
                Ok(false) => {
                    tracing::warn!(operation = operation.id, "a task ended that others took for dead already");
                    break;
                }
                Err(error) if self.0.ended.is_cancelled() => {
                    tracing::error!(operation = operation.id, %error, "how a task ended was not kept");
                    break;
                }
                Err(error) => {
                    tracing::warn!(operation = operation.id, %error, "how a task ended cannot be kept; trying again");
                    tokio::time::sleep(pause).await;
                    pause = longest.min(pause * 2);
                }
            }
        }
        lock(&self.0.tasks.0).remove(&operation.id);
        local.ended.cancel();
        self.tell_news().await;
    }
}

fn local_id(local: &Local) -> String {
    lock(&local.told).operation.id.clone()
}

/// Nothing here panics while it holds a lock; and if it did, what is inside would still be right.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
