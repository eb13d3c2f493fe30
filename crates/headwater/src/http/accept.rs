//! The accept loop: takes connections in, never waits for one of them, and lets them finish when the server ends.
//!
//! Each connection is a task of its own from the first byte on, so a slow handshake holds nobody up. There are only so many at a
//! time; at the limit new ones wait in the system's queue. When the server ends, connections finish what they are doing, and
//! those that take too long are cut.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::incoming::Pace;
use super::tls::Tls;
use super::upgrade::Keeper;
use super::{State, connection};

/// What a connection may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How many there may be at a time.
    pub connections: usize,
    /// How long the first byte and the TLS handshake may take.
    pub handshake: Duration,
    /// How long a request's head may take; also how long a connection may do nothing between requests.
    pub head: Duration,
    /// How long an answer may take to begin.
    pub answer: Duration,
    /// How long a client may take nothing of what is sent to it, or send nothing of a body.
    pub stall: Duration,
    /// Bytes a second that a body has to come with.
    pub rate: u64,
    /// How long running requests may take when the server ends.
    pub drain: Duration,
}

impl Limits {
    /// How slowly a body may come.
    pub(super) fn pace(&self) -> Pace {
        Pace { stall: self.stall, rate: self.rate }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            answer: Duration::from_secs(25),
            stall: Duration::from_secs(60),
            rate: 1024,
            drain: Duration::from_secs(30),
        }
    }
}

/// What every connection needs.
pub(super) struct Shared {
    pub(super) state: Arc<State>,
    pub(super) tls: Arc<Tls>,
    pub(super) limits: Limits,
    /// Finish what is running.
    pub(super) drain: CancellationToken,
    /// Stop at once.
    pub(super) cut: CancellationToken,
    /// All of them.
    pub(super) connections: TaskTracker,
}

/// The place that a connection takes among all that there may be, until it is dropped.
pub(super) struct Place {
    _one_of_all: OwnedSemaphorePermit,
}

impl Shared {
    /// What a connection in this place is counted and ended by when it leaves HTTP.
    pub(super) fn keeper(&self, place: Arc<Place>) -> Keeper {
        Keeper { connections: self.connections.clone(), drain: self.drain.clone(), cut: self.cut.clone(), place }
    }
}

/// Serves these listeners until `ending` is cancelled and all connections are done, or were cut.
pub async fn run(
    listeners: Vec<TcpListener>,
    state: Arc<State>,
    tls: Arc<Tls>,
    limits: Limits,
    ending: CancellationToken,
) -> io::Result<()> {
    let connections = TaskTracker::new();
    let shared = Arc::new(Shared {
        state,
        tls,
        limits,
        drain: CancellationToken::new(),
        cut: CancellationToken::new(),
        connections: connections.clone(),
    });
    let places = Arc::new(Semaphore::new(shared.limits.connections));
    let loops = TaskTracker::new();
    for listener in listeners {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (shared, places) = (Arc::clone(&shared), Arc::clone(&places));
        let ending = ending.clone();
        loops.spawn(async move {
            // The listener is dropped with the loop: from then on the system refuses connections.
            ending.run_until_cancelled(accept(listener, &shared, &places)).await;
        });
    }
    loops.close();
    loops.wait().await;
    ending.cancelled().await;
    shared.state.begin_draining();
    shared.drain.cancel();
    connections.close();
    if tokio::time::timeout(shared.limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections that did not finish in time are cut");
        shared.cut.cancel();
        connections.wait().await;
    }
    Ok(())
}

async fn accept(listener: tokio::net::TcpListener, shared: &Arc<Shared>, places: &Arc<Semaphore>) {
    loop {
        let Some(place) = place(places, shared.limits.connections).await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let place = Arc::new(Place { _one_of_all: place });
                let connection = Arc::clone(shared);
                shared.connections.spawn(async move {
                    let cut = connection.cut.clone();
                    cut.run_until_cancelled(connection::serve(stream, peer, place, &connection)).await;
                });
            }
            Err(error) if of_one_connection(&error) => {}
            Err(error) => {
                // Out of file descriptors or memory: trying again at once would only burn the processor.
                tracing::error!(%error, "connections cannot be accepted for the moment");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn place(places: &Arc<Semaphore>, limit: usize) -> Option<OwnedSemaphorePermit> {
    if let Ok(place) = Arc::clone(places).try_acquire_owned() {
        return Some(place);
    }
    tracing::warn!(
        limit,
        "all connections are taken; new ones wait until one ends (limits.connections in the configuration)"
    );
    Arc::clone(places).acquire_owned().await.ok()
}

fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
