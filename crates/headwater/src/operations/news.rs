//! What happened, for those who listen: the catalog's changes in the order of their numbers, whoever made them.
//!
//! There is one way for news, and it leads through the catalog: whoever changed something here looks at once, and the room looks every
//! half second for what other servers and the command line did. So everybody is told the same, in the same order, once, and
//! nobody is told what cannot be asked for yet. Only progress goes past the catalog. When nobody listens and nothing runs,
//! nobody looks.

use std::sync::Arc;

use tokio::sync::{Mutex, broadcast};

use super::{CatalogError, Event, Operations};
use crate::catalog::AuditQuery;

/// Events that a listener may be behind.
const BEHIND: usize = 1024;
/// Rows that are read at a time.
const PAGE: usize = 200;

/// The listeners, and how far they were told.
#[derive(Debug)]
pub(super) struct News {
    listeners: broadcast::Sender<Event>,
    told: Mutex<Told>,
}

/// The last change and the last line of the audit that were told; `None` while nobody wants to know.
#[derive(Debug, Default)]
struct Told {
    change: Option<i64>,
    line: Option<i64>,
}

impl Default for News {
    fn default() -> Self {
        Self { listeners: broadcast::Sender::new(BEHIND), told: Mutex::default() }
    }
}

impl News {
    /// Whether anybody listens.
    pub(super) fn wanted(&self) -> bool {
        self.listeners.receiver_count() > 0
    }

    /// Tells those who listen, if anybody does.
    pub(super) fn send(&self, event: impl FnOnce() -> Event) {
        if self.wanted() {
            // An error says that the last listener has just left.
            let _ = self.listeners.send(event());
        }
    }
}

impl Operations {
    pub(super) async fn listen(&self) -> Result<broadcast::Receiver<Event>, CatalogError> {
        let Told { change, line } = &mut *self.0.news.told.lock().await;
        // Those who listen already are told what they do not know yet; the new one hears of what comes after.
        self.look(change, line).await?;
        if change.is_none() {
            *change = Some(self.0.catalog.last_operation_change().await?);
        }
        if line.is_none() {
            *line = Some(self.0.catalog.last_audit().await?);
        }
        Ok(self.0.news.listeners.subscribe())
    }

    /// Looks for news, and tells them.
    pub(super) async fn tell_news(&self) {
        let Told { change, line } = &mut *self.0.news.told.lock().await;
        if let Err(error) = self.look(change, line).await {
            tracing::warn!(%error, "listeners cannot be told what happened; the next try is soon");
        }
    }

    async fn look(&self, change: &mut Option<i64>, line: &mut Option<i64>) -> Result<(), CatalogError> {
        let (catalog, news, tasks) = (&self.0.catalog, &self.0.news, &self.0.tasks);
        match change {
            _ if !news.wanted() && !tasks.any() => *change = None,
            None => *change = Some(catalog.last_operation_change().await?),
            Some(last) => loop {
                let page = catalog.operations_changed(*last, PAGE).await?;
                let full = page.len() == PAGE;
                for operation in page {
                    *last = operation.change;
                    tasks.see(&operation);
                    news.send(|| Event::Operation(Arc::new(operation)));
                }
                if !full {
                    break;
                }
            },
        }
        match line {
            _ if !news.wanted() => *line = None,
            None => *line = Some(catalog.last_audit().await?),
            Some(last) => loop {
                let page = catalog.audit(&AuditQuery { after: Some(*last), ..AuditQuery::default() }, PAGE).await?;
                let full = page.len() == PAGE;
                for entry in page {
                    *last = entry.id;
                    news.send(|| Event::Lifecycle(Arc::new(entry)));
                }
                if !full {
                    break;
                }
            },
        }
        Ok(())
    }
}
