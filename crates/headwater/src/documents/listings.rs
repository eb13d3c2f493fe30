//! The listings that are kept: one for each stream of one project that somebody asked for lately.
//!
//! A listing that is asked for is brought up to the catalog's revision first: what changed is rendered, the rest stays. Several
//! who ask at once wait for one of them to do it; nobody waits for a body that is being sent. The work goes on when who began it leaves.
//!
//! A listing goes when nobody asked for it in [`IDLE`], and the least recently used ones go while all together take more memory or
//! disk than they may. The one that was asked for last stays, whatever it takes: without it, each question would cost a reading of
//! the whole catalog.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use headwater_formats::names::ProjectName;
use headwater_formats::simplestreams::render;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::chunk::{self, Edits};
use super::snapshot::Snapshot;
use super::spool::{Rendered, Scratch, Spool};
use super::{Projects, Stream, offered};
use crate::catalog::{Catalog, CatalogError, Changed, Changes};

/// How long a listing is kept that nobody asks for.
pub const IDLE: Duration = Duration::from_secs(600);
/// How many listings are brought up to date at a time: each may be a reading of the whole catalog.
const AT_ONCE: usize = 2;
/// Products that are read and rendered at once.
const PAGE: usize = 64;
/// Bytes of disk for all listings together.
const DISK: u64 = 4 << 30;

/// Why there is no listing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ListingError {
    /// The catalog failed, or the project is not there: see [`super::draft`].
    #[error(transparent)]
    Catalog(#[from] Arc<CatalogError>),
    /// Fragments cannot be kept: no disk, for example. A document can still be rendered as a whole.
    #[error("parts of documents cannot be kept: {0}; see whether the disk of the data folder is full")]
    Spool(#[from] Arc<io::Error>),
    /// The stream is of several projects.
    #[error("a listing is of one project")]
    Several,
}

impl From<CatalogError> for ListingError {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(Arc::new(error))
    }
}

impl From<io::Error> for ListingError {
    fn from(error: io::Error) -> Self {
        Self::Spool(Arc::new(error))
    }
}

/// The listings that are kept: a handle that can be cloned and shared.
#[derive(Clone)]
pub struct Listings(Arc<Inner>);

struct Inner {
    memory: u64,
    disk: u64,
    scratch: Scratch,
    kept: Mutex<Kept>,
    turns: Semaphore,
}

#[derive(Default)]
struct Kept {
    listings: HashMap<Stream, Arc<Listing>>,
    spool: Option<Arc<Spool>>,
    swept: bool,
}

struct Listing {
    stream: Stream,
    current: Mutex<Option<Arc<Snapshot>>>,
    used: Mutex<Instant>,
    /// Bytes of memory that the name of it takes, about: filters can be long.
    named: u64,
    work: tokio::sync::Mutex<()>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Listings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listings").field("kept", &self.len()).finish_non_exhaustive()
    }
}

impl Listings {
    /// None yet. All together take about that many bytes of memory at most; their fragments lie in files that `scratch` gives.
    pub fn new(memory: u64, scratch: Scratch) -> Self {
        Self(Arc::new(Inner { memory, disk: DISK, scratch, kept: Mutex::default(), turns: Semaphore::new(AT_ONCE) }))
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        locked(&self.0.kept).listings.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Both documents of a stream of one project, as of the catalog's revision now or of a later one.
    ///
    /// # Errors
    /// See [`ListingError`].
    pub async fn get(&self, catalog: &Catalog, stream: &Stream) -> Result<Arc<Snapshot>, ListingError> {
        let Projects::One(_) = &stream.projects else { return Err(ListingError::Several) };
        let revision = catalog.revision().await?;
        let listing = self.listing(stream);
        let fresh = |found: &Arc<Snapshot>| found.revision().number >= revision.number;
        if let Some(found) = listing.current().filter(fresh) {
            return Ok(found);
        }
        let (inner, catalog) = (Arc::clone(&self.0), catalog.clone());
        let work = tokio::spawn(async move {
            let _one = listing.work.lock().await;
            if let Some(found) = listing.current().filter(|found| found.revision().number >= revision.number) {
                return Ok(found);
            }
            // The semaphore is never closed.
            let _turn = inner.turns.acquire().await;
            let made = inner.bring_up(&catalog, &listing).await;
            match &made {
                Ok(made) => inner.keep(&listing, made),
                Err(_) => inner.forget_unmade(&listing),
            }
            made
        });
        let made = work.await.map_err(io::Error::other)??;
        self.renew(stream);
        Ok(made)
    }

    /// The listing of this stream, made when it is missing, and noted as used.
    fn listing(&self, stream: &Stream) -> Arc<Listing> {
        let mut kept = locked(&self.0.kept);
        let listing = kept.listings.entry(stream.clone()).or_insert_with(|| {
            Arc::new(Listing {
                stream: stream.clone(),
                current: Mutex::default(),
                used: Mutex::new(Instant::now()),
                named: 512
                    + stream.filters.iter().map(|filter| filter.to_string().len() as u64 * 2).sum::<u64>()
                    + stream.bases.len() as u64 * 64,
                work: tokio::sync::Mutex::default(),
            })
        });
        let listing = Arc::clone(listing);
        *locked(&listing.used) = Instant::now();
        if !std::mem::replace(&mut kept.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(&self.0)));
        }
        listing
    }

    /// Moves a listing into the spool that is in use, if that has replaced a worn one; not while somebody waits.
    fn renew(&self, stream: &Stream) {
        let (listing, spool) = {
            let kept = locked(&self.0.kept);
            (kept.listings.get(stream).cloned(), kept.spool.clone())
        };
        let (Some(listing), Some(spool)) = (listing, spool) else { return };
        if listing.current().is_some_and(|found| !found.is_within(&spool)) {
            tokio::spawn(async move {
                let _one = listing.work.lock().await;
                let Some(found) = listing.current().filter(|found| !found.is_within(&spool)) else { return };
                let moved = tokio::task::spawn_blocking(move || found.moved(&spool)).await;
                if let Ok(Ok(moved)) = moved {
                    *locked(&listing.current) = Some(Arc::new(moved));
                }
            });
        }
    }
}

impl Listing {
    fn current(&self) -> Option<Arc<Snapshot>> {
        locked(&self.current).clone()
    }
}

impl Inner {
    /// The spool in use. A worn one is replaced; what lies in it moves when it is asked for.
    fn spool(&self) -> io::Result<Arc<Spool>> {
        let mut kept = locked(&self.kept);
        match &kept.spool {
            Some(spool) if !spool.is_worn() => Ok(Arc::clone(spool)),
            _ => {
                let spool = Spool::new(&self.scratch)?;
                kept.spool = Some(Arc::clone(&spool));
                Ok(spool)
            }
        }
    }

    /// What is listed now, from what was listed before.
    async fn bring_up(&self, catalog: &Catalog, listing: &Listing) -> Result<Arc<Snapshot>, ListingError> {
        let Projects::One(project) = &listing.stream.projects else { return Err(ListingError::Several) };
        let before = listing.current();
        let since = before.as_ref().map(|before| before.revision().number);
        let (viewer, named) = (listing.stream.viewer(), listing.stream.names());
        let mut changes = catalog.products_changed(&viewer, project, since, named.as_ref()).await?;
        let revision = changes.revision();
        let before = before.filter(|_| !changes.is_whole()).map(|before| before.chunks.clone()).unwrap_or_default();
        let spool = self.spool()?;
        let edits = self.edits(&mut changes, &listing.stream, &spool).await?;
        drop(changes);
        let made = tokio::task::spawn_blocking(move || Snapshot::new(revision, chunk::edited(&before, edits)));
        Ok(Arc::new(made.await.map_err(io::Error::other)??))
    }

    /// Renders what changed. While a page is rendered, the next one is read.
    async fn edits(&self, changes: &mut Changes, stream: &Stream, spool: &Arc<Spool>) -> Result<Edits, ListingError> {
        let mut edits = Edits::new();
        let mut page = changes.next(PAGE).await?;
        while !page.is_empty() {
            let (stream, spool) = (stream.clone(), Arc::clone(spool));
            let rendering = tokio::task::spawn_blocking(move || rendered(page, &stream, &spool));
            page = changes.next(PAGE).await?;
            edits.extend(rendering.await.map_err(io::Error::other)??);
        }
        Ok(edits)
    }

    /// Keeps what was made, and lets go of what is too much.
    fn keep(&self, listing: &Listing, made: &Arc<Snapshot>) {
        *locked(&listing.current) = Some(Arc::clone(made));
        let mut gone = Vec::new();
        let mut kept = locked(&self.kept);
        loop {
            let made = kept.listings.values().filter_map(|one| Some((one.named, one.current()?)));
            let sums = made.map(|(named, one)| (named + one.memory(), one.disk()));
            let (memory, disk) = sums.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
            if memory <= self.memory && disk <= self.disk {
                break;
            }
            let others = kept.listings.values().filter(|one| one.stream != listing.stream && one.current().is_some());
            let Some(oldest) = others.min_by_key(|one| *locked(&one.used)).map(|one| one.stream.clone()) else { break };
            gone.extend(kept.listings.remove(&oldest));
        }
        // Dropped after the lock: there may be much in them.
        drop(kept);
    }

    /// Lets go of a listing that could not be made: names that nobody has cost nothing.
    fn forget_unmade(&self, listing: &Listing) {
        let mut kept = locked(&self.kept);
        // Made before, it shows nothing any more: its project is gone or hidden.
        kept.listings.remove(&listing.stream);
    }

    /// Lets go of what nobody asked for; whether there is anything left.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut gone = Vec::new();
        let mut kept = locked(&self.kept);
        kept.listings.retain(|_, listing| {
            let idle = now.duration_since(*locked(&listing.used)) >= IDLE;
            if idle {
                gone.push(Arc::clone(listing));
            }
            !idle
        });
        if kept.listings.is_empty() {
            kept.spool = None;
            kept.swept = false;
        }
        kept.swept
    }
}

/// Looks from time to time, as long as there is something to look at.
async fn sweep(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(IDLE / 10).await;
        match inner.upgrade() {
            Some(inner) if inner.sweep() => {}
            _ => return,
        }
    }
}

/// What a page of changes does to a listing.
fn rendered(page: Vec<Changed>, stream: &Stream, spool: &Arc<Spool>) -> io::Result<Edits> {
    let mut edits = Edits::new();
    let mut shown = Vec::new();
    let mut keys = Vec::new();
    for Changed { key, listed } in page {
        let listed = listed.and_then(|listed| offered(listed, stream.family));
        let product = listed.and_then(|listed| stream.narrow(listed.product));
        // A project has each image once.
        let draft =
            product.and_then(|product| render::product_fragment(&product, stream.clients(), &mut Default::default()));
        match draft {
            Some(draft) => {
                shown.push(Rendered::new(key.clone(), &draft)?);
                keys.push(key);
            }
            None => {
                edits.insert(key, None);
            }
        }
    }
    edits.extend(keys.into_iter().zip(spool.put(shown)?.into_iter().map(Some)));
    Ok(edits)
}

/// The stream's project, if it is of one.
#[must_use]
pub fn only_project(stream: &Stream) -> Option<&ProjectName> {
    match &stream.projects {
        Projects::One(project) => Some(project),
        Projects::These(projects) => match projects.as_slice() {
            [project] => Some(project),
            _ => None,
        },
        Projects::All => None,
    }
}
