//! The accept loop: takes connections in, never waits for one of them, and lets them finish when the server ends.
//!
//! Each connection is a task of its own from the first byte on, so a slow handshake holds nobody up. There are only so many at a
//! time; at the limit new ones wait in the system's queue. One client can have half of them, so that it takes no place from
//! the others by holding connections open; its further ones are closed at once. When the server ends, connections finish what they are doing, and
//! those that take too long are cut.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::incoming::Pace;
use super::tls::Tls;
use super::upgrade::Keeper;
use super::{State, connection};
use crate::auth::Network;

/// What a connection may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How many there may be at a time.
    pub connections: usize,
    /// How many of them may be of one client; 0 is no limit.
    pub connections_per_client: usize,
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
            connections_per_client: 2048,
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

/// The place that a connection takes among all that there may be, and among those of its client, until it is dropped.
pub(super) struct Place {
    _one_of_all: OwnedSemaphorePermit,
    clients: Arc<Clients>,
    network: Network,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.leave(self.network);
    }
}

/// How many connections each client has; those that have none are not in it.
#[derive(Debug)]
struct Clients {
    /// The most that one may have; 0 is no limit.
    most: usize,
    open: Mutex<HashMap<Network, Client>>,
}

#[derive(Debug, Default)]
struct Client {
    open: usize,
    /// The log was told that further ones are refused.
    told: bool,
}

impl Clients {
    fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// A place for one more connection of this client; `None` when it has too many.
    fn enter(self: &Arc<Self>, address: IpAddr, one_of_all: OwnedSemaphorePermit) -> Option<Place> {
        let network = Network::of(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let client = open.entry(network).or_default();
        if self.most > 0 && client.open >= self.most {
            if !std::mem::replace(&mut client.told, true) {
                tracing::warn!(
                    client = %address,
                    limit = self.most,
                    "a client has too many connections; further ones are closed at once \
                     (limits.connections_per_client in the configuration)"
                );
            }
            return None;
        }
        client.open += 1;
        Some(Place { _one_of_all: one_of_all, clients: Arc::clone(self), network })
    }

    fn leave(&self, network: Network) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut client) = open.entry(network) {
            client.get_mut().open -= 1;
            if client.get().open == 0 {
                client.remove();
            }
        }
    }
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
    let clients = Clients::new(shared.limits.connections_per_client);
    let loops = TaskTracker::new();
    for listener in listeners {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (shared, places, clients) = (Arc::clone(&shared), Arc::clone(&places), Arc::clone(&clients));
        let ending = ending.clone();
        loops.spawn(async move {
            // The listener is dropped with the loop: from then on the system refuses connections.
            ending.run_until_cancelled(accept(listener, &shared, &places, &clients)).await;
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

async fn accept(
    listener: tokio::net::TcpListener,
    shared: &Arc<Shared>,
    places: &Arc<Semaphore>,
    clients: &Arc<Clients>,
) {
    loop {
        let Some(place) = place(places, shared.limits.connections).await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(place) = clients.enter(peer.ip(), place) else { continue };
                let place = Arc::new(place);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_and_others_have_theirs() {
        let places = Arc::new(Semaphore::new(10));
        let enter = |clients: &Arc<Clients>, address: &str| {
            clients.enter(address.parse().unwrap(), Arc::clone(&places).try_acquire_owned().unwrap())
        };
        let clients = Clients::new(2);
        let (one, two) = (enter(&clients, "2001:db8::1").unwrap(), enter(&clients, "2001:db8::2").unwrap());
        assert!(enter(&clients, "2001:db8::3").is_none(), "one network");
        assert!(enter(&clients, "192.0.2.7").is_some());
        drop(one);
        assert!(enter(&clients, "2001:db8::3").is_some());
        drop(two);
        assert!(clients.open.lock().unwrap().is_empty(), "nothing is remembered of who is gone");
        assert_eq!(places.available_permits(), 10);
        let unlimited = Clients::new(0);
        assert_eq!((0..5).filter_map(|_| enter(&unlimited, "192.0.2.7")).collect::<Vec<_>>().len(), 5);
    }
}
