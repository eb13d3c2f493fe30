//! Pull-through: a file that an upstream promises comes when somebody asks for it, and goes to who asks while it comes.
//!
//! There is one transfer of a file at a time, whoever asks for it ([`flight`]); it goes on when who began it goes away. Readers follow the growing file,
//! each from the byte that it wants, as far as they may ([`coming`]): the last bytes of an answer are held back until the whole file was found right and is
//! in its place, so that nobody ever has an answer with other bytes to its end. What does not come whole is kept for the next time.
//!
//! A server that is down costs those who want what is not here a sentence; what is here is served without asking anybody.

mod coming;
mod flight;
mod used;

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headwater_formats::digest::Digest;
use headwater_formats::image::ImageFile;
use headwater_formats::timestamp::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::run::credential;
use super::{MirrorError, Patience, Rate, Transfers};
use crate::catalog::{Upstream, UpstreamId};
use crate::client::Client;
use crate::client::trust::Trust;
use crate::publish::Publisher;

pub use coming::{Coming, HELD_BACK};
use flight::{Promised, State};
use used::Used;

/// Why a promised file does not come. What is told is for strangers; the log has the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// No upstream has said that it has it.
    #[error("there is no such file here")]
    NotPromised,
    /// This server asks no others.
    #[error("this file is kept by another server, which is not asked for it here; fetch it from where it comes from")]
    Closed,
    /// The upstream cannot be asked now, or broke off.
    #[error("this file is kept by another server, which cannot be reached now or does not send it; try again later")]
    Away,
    /// The upstream has no such file any more, or other bytes.
    #[error(
        "the server that this file comes from does not send what it lists, so nothing was kept; fetch the list of images again later"
    )]
    Wrong,
    /// The bytes could not be kept here.
    #[error("this file cannot be stored here now; try again later")]
    Store,
    /// This server is ending.
    #[error("this server is shutting down; try again in a moment")]
    Stopped,
}

/// The room's handle for files that come when somebody asks for them. Clones share what is under way.
#[derive(Debug, Clone)]
pub struct PullThrough {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    publisher: Publisher,
    patience: Patience,
    now: fn() -> Timestamp,
    flights: Mutex<HashMap<Digest, Arc<watch::Sender<State>>>>,
    sources: Mutex<HashMap<UpstreamId, Arc<Source>>>,
    used: Used,
    /// Who keeps the limits; one at a time is enough.
    limits: tokio::sync::Mutex<()>,
    stop: CancellationToken,
}

/// An upstream that files come from, and what its transfers share.
#[derive(Debug)]
struct Source {
    /// The upstream as it was when this was made.
    of: Upstream,
    transfers: Transfers,
    permits: Arc<Semaphore>,
}

/// Somebody waits for each of these: what does not pass soon is told.
fn patience() -> Patience {
    Patience {
        pauses: [1, 2].map(Duration::from_secs).to_vec(),
        retry_after: Duration::from_secs(10),
        // Another server on the same store fetches the file; what it takes depends on its line.
        busy: Duration::from_secs(300),
        after_first: Duration::from_millis(1),
        ..Patience::default()
    }
}

impl PullThrough {
    /// Asks with this client, and keeps with this publisher.
    pub fn new(client: Client, publisher: Publisher, now: fn() -> Timestamp) -> Self {
        Self::patiently(client, publisher, now, patience())
    }

    fn patiently(client: Client, publisher: Publisher, now: fn() -> Timestamp, patience: Patience) -> Self {
        let inner = Inner {
            client,
            publisher,
            patience,
            now,
            flights: Mutex::default(),
            sources: Mutex::default(),
            used: Used::default(),
            limits: tokio::sync::Mutex::default(),
            stop: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// With another patience, nothing being under way.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        let Inner { client, publisher, now, .. } = &*self.inner;
        Self::patiently(client.clone(), publisher.clone(), *now, patience)
    }

    /// Ends all transfers; what came is kept for the next time.
    pub fn stop(&self) {
        self.inner.stop.cancel();
    }

    /// Whether an upstream promises the file.
    ///
    /// # Errors
    /// [`PullError::Store`] when the catalog fails.
    pub async fn is_promised(&self, digest: &Digest) -> Result<bool, PullError> {
        Ok(!self.promised(digest).await?.is_empty())
    }

    /// A file that is not here, to be read while it comes. Waits until its first byte is here, so that a server that is down can be told; of a short file
    /// for all of it.
    ///
    /// # Errors
    /// Why it does not come.
    pub async fn join(&self, file: &ImageFile) -> Result<Coming, PullError> {
        // A transfer that nobody waited for may end in the very moment in which we come.
        for _ in 0..3 {
            let watched = self.flight(file).await?;
            match Coming::joined(watched, &self.inner.publisher.blobs, file).await {
                Err(PullError::Stopped) if !self.inner.stop.is_cancelled() => {}
                joined => return joined,
            }
        }
        Err(PullError::Stopped)
    }

    /// Notes that a file was used.
    pub fn used(&self, digest: Digest) {
        self.inner.used.note(digest);
    }

    /// Writes down which files were used since the last time.
    pub async fn flush_used(&self) {
        self.inner.used.flush(&self.inner.publisher.catalog, (self.inner.now)()).await;
    }

    async fn promised(&self, digest: &Digest) -> Result<Vec<(Upstream, String)>, PullError> {
        self.inner.publisher.catalog.who_promises(digest).await.map_err(|error| {
            tracing::error!(%error, "it cannot be seen who promises a file");
            PullError::Store
        })
    }

    /// The transfer of a file: the one that is under way, or a new one.
    async fn flight(&self, file: &ImageFile) -> Result<watch::Receiver<State>, PullError> {
        if let Some(flight) = self.flights().get(&file.digest) {
            return Ok(flight.subscribe());
        }
        let (by, before) = tokio::join!(self.promised(&file.digest), flight::before(self, &file.digest));
        let promised = Promised { by: by?, before: before? };
        if promised.by.is_empty() {
            return Err(PullError::NotPromised);
        }
        let mut flights = self.flights();
        if let Some(flight) = flights.get(&file.digest) {
            return Ok(flight.subscribe());
        }
        let flight = Arc::new(watch::Sender::new(State::default()));
        flights.insert(file.digest, Arc::clone(&flight));
        let watched = flight.subscribe();
        tokio::spawn(flight::run(self.clone(), *file, promised, flight));
        Ok(watched)
    }

    fn flights(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Arc<watch::Sender<State>>>> {
        self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What transfers from an upstream share, made anew when its settings changed.
    fn source(&self, upstream: &Upstream) -> Result<Arc<Source>, MirrorError> {
        let mut sources = self.inner.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = sources.get(&upstream.id)
            && (&source.of.server, &source.of.settings) == (&upstream.server, &upstream.settings)
        {
            return Ok(Arc::clone(source));
        }
        let settings = &upstream.settings;
        let (shown, trust) = (credential(&settings.credential)?, Trust::from_pem(&settings.certificate)?);
        let server = self.inner.client.server_as(&shown, &upstream.server, &trust)?;
        let rate = NonZero::new(settings.rate).map_or_else(Rate::unlimited, Rate::limited);
        let blobs = self.inner.publisher.blobs.clone();
        let transfers = Transfers::new(server, blobs, rate).with_patience(self.inner.patience.clone());
        let at_once = usize::try_from(settings.connections).unwrap_or(1).max(1);
        let source = Source { of: upstream.clone(), transfers, permits: Arc::new(Semaphore::new(at_once)) };
        let source = Arc::new(source);
        sources.insert(upstream.id, Arc::clone(&source));
        Ok(source)
    }

    /// Lets go of what is beyond the limits of upstreams.
    async fn keep_limits(&self) {
        let _one = self.inner.limits.lock().await;
        let mut tell = |upstream: &Upstream, file: crate::catalog::Cached| {
            tracing::debug!(upstream = %upstream.name, file = %file.digest, bytes = file.size, "a file was let go of");
        };
        if let Err(error) = self.inner.publisher.keep_limits(false, (self.inner.now)(), &mut tell).await {
            tracing::warn!(%error, "files that are beyond the limits of an upstream could not be let go of");
        }
    }
}
