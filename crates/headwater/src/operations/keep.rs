//! What goes on beside: this server says that it is alive, news are looked for, what ended long ago is forgotten; and the end.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::{CatalogError, LOOK_EVERY, Operations};

/// How often this server says that it is alive while tasks run on it; other servers do so, too.
const ALIVE_EVERY: Duration = Duration::from_secs(10);
/// The same when nothing runs, to see whether other servers died; in turns of [`ALIVE_EVERY`].
const IDLE_TURNS: u32 = 6;
/// A server that was not seen for so many seconds is dead.
const DEAD_AFTER: i64 = 60;
/// How many seconds an operation that has ended can be asked for.
const REMEMBER: i64 = 3600;
/// How long tasks may go on when the server ends. Then they are cancelled.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// How long they may take after that: longer than a task that is cancelled may.
const CANCELLED_PATIENCE: Duration = Duration::from_secs(5);

impl Operations {
    /// Keeps the room in order: says that this server is alive, tells listeners what other servers and the command line
    /// did, forgets what ended long ago. Returns when [`Operations::begin_ending`] was called and all tasks have ended, or were
    /// cancelled.
    pub async fn keep(&self) {
        let mut alive = tokio::time::interval(ALIVE_EVERY);
        let mut look = tokio::time::interval(LOOK_EVERY);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = 0;
        let mut end = std::pin::pin!(self.end());
        loop {
            tokio::select! {
                () = &mut end => return,
                _ = look.tick() => self.tell_news().await,
                _ = alive.tick() => {
                    if let Err(error) = self.tidy(turn).await {
                        tracing::warn!(%error, "operations cannot be kept in order; the next try is in ten seconds");
                    }
                    turn = (turn + 1) % IDLE_TURNS;
                }
            }
        }
    }

    async fn tidy(&self, turn: u32) -> Result<(), CatalogError> {
        let (catalog, now) = (&self.0.catalog, (self.0.now)());
        if turn == 0 || self.0.tasks.any() {
            catalog.server_seen(&self.0.server, now, now.plus_seconds(-DEAD_AFTER)).await?;
        }
        if turn == 0 {
            catalog.forget_operations(now.plus_seconds(-REMEMBER), now).await?;
        }
        Ok(())
    }

    /// Waits for the wish to end, and for the tasks.
    async fn end(&self) {
        self.0.ending.cancelled().await;
        self.0.tracker.close();
        for patience in [END_PATIENCE, CANCELLED_PATIENCE] {
            if tokio::time::timeout(patience, self.0.tracker.wait()).await.is_ok() {
                break;
            }
            tracing::warn!(tasks = self.0.tracker.len(), "tasks that did not end in time are cancelled");
            self.0.tasks.cancel_all();
        }
        self.0.ended.cancel();
    }
}
