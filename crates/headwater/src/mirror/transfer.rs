//! One file, from the first byte that is missing to the last.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use headwater_formats::digest::Digest;
use headwater_formats::simplestreams::client::ListedFile;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Rate, TransferError};
use crate::blobs::{BlobError, Blobs, Complete, Incomplete, Partial};
use crate::client::{Began, Body, ClientError, Server};

/// Pieces that wait to be written; a piece is what the network gave at a time, up to some hundred KiB. More of them would not make it quicker: whoever
/// takes bytes from the network would only use the processor before whoever writes them, and before those who wait for the first.
const PIECES: usize = 2;

/// So many bytes at most are the first that are written and told: whoever follows the file need not wait for all of a piece. Further pieces are
/// written as they come, because what is written at once lies together in memory, from where it is served.
const FIRST: usize = 64 << 10;

/// So many bytes, or fewer, are written when all of them are there: a file that is not worth a writer beside the network. A process that is killed
/// loses no more than that of each file that comes.
pub(super) const SMALL: u64 = 64 << 10;

/// A file that a list names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where it is, below the server's address.
    pub path: String,
    /// The SHA-256 that it has to have.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

impl Wanted {
    /// A file of a document; `None` when that gives it no hash.
    pub(super) fn listed(file: &ListedFile) -> Option<Self> {
        Some(Self { path: file.path.as_str().to_owned(), digest: file.sha256?, size: file.size })
    }
}

/// Told how far a transfer is. Called often, from any thread; must be quick.
pub trait Progress: Send + Sync {
    /// So many bytes were there already.
    fn there(&self, bytes: u64) {
        let _ = bytes;
    }
    /// So many more bytes came and are written.
    fn came(&self, bytes: u64) {
        let _ = bytes;
    }
    /// So many bytes that were there, or came, were thrown away: they come again.
    fn lost(&self, bytes: u64) {
        let _ = bytes;
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy)]
pub struct Silent;
impl Progress for Silent {}

/// How often what may pass is tried, and how long is waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// Pauses before each further try, in this order; there are no more tries than that, unless one of them brought much.
    pub pauses: Vec<Duration>,
    /// Bytes that a try has to bring for the tries to be counted anew.
    pub much: u64,
    /// Longest `Retry-After` that is waited for.
    pub retry_after: Duration,
    /// How long another process is waited for that has the same file.
    pub busy: Duration,
    /// How long is rested after the first bytes of a file, so that whoever waits for them gets the processors for a moment: the rest of what a server sends
    /// at once keeps those who take it, hash it and write it busy for milliseconds.
    pub after_first: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            pauses: [1, 2, 5, 15, 30].map(Duration::from_secs).to_vec(),
            much: 16 << 20,
            retry_after: Duration::from_secs(60),
            busy: Duration::from_secs(60),
            after_first: Duration::ZERO,
        }
    }
}

impl Patience {
    /// How long the server wants to be left alone; `None` when no further try is worth it.
    fn asked(&self, error: &ClientError) -> Option<Duration> {
        let wanted = match error {
            ClientError::Status { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        (error.may_pass() && wanted <= self.retry_after).then_some(wanted)
    }
}

/// Gets files from one server. Clones share what is under way: who wants a file that another one is getting waits for it, and has it
/// then, too.
#[derive(Debug, Clone)]
pub struct Transfers {
    upstream: Server,
    blobs: Blobs,
    rate: Rate,
    patience: Patience,
    under_way: Arc<Mutex<UnderWay>>,
}

/// Files that somebody gets, or has and did not let go of yet.
#[derive(Debug, Default)]
struct UnderWay {
    slots: HashMap<Digest, Arc<Slot>>,
    /// With so many, it is looked which of them nobody needs any more.
    full: usize,
}

/// Who has it locked gets the file; who comes later finds it.
type Slot = tokio::sync::Mutex<Weak<Complete>>;

impl Transfers {
    /// From this server into this store, below this rate.
    pub fn new(upstream: Server, blobs: Blobs, rate: Rate) -> Self {
        Self { upstream, blobs, rate, patience: Patience::default(), under_way: Arc::default() }
    }

    /// With another patience.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.upstream
    }

    /// Gets a file completely, or finds that it is there. Only what is missing is asked for. The bytes go through a second SHA-256
    /// computation, too, when one is given: it comes back beside the file.
    ///
    /// The file stays under its name in the store until [`Complete::forget`] is called: for who has listed what it belongs to.
    ///
    /// # Errors
    /// What came is kept for the next time, unless it was wrong. When this future is dropped, that is so, too, but for a few bytes at the end.
    pub async fn get(
        &self,
        wanted: &Wanted,
        also: Option<Sha256>,
        progress: &Arc<dyn Progress>,
        cancel: &CancellationToken,
    ) -> Result<(Arc<Complete>, Option<Sha256>), TransferError> {
        let slot = self.slot(&wanted.digest);
        let mut shared = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(TransferError::Cancelled),
            shared = slot.lock() => shared,
        };
        if let Some(complete) = shared.upgrade() {
            drop(shared);
            progress.there(wanted.size);
            let also = through(&complete, also, cancel).await?;
            return Ok((complete, also));
        }
        let transfer = Transfer { all: self, wanted, progress, cancel, also };
        let complete = Arc::new(transfer.run().await?);
        *shared = Arc::downgrade(&complete);
        let also = complete.also();
        Ok((complete, also))
    }

    /// Keeps everybody else of this process from getting a file; `None` when somebody does, or has it.
    pub(super) fn alone(&self, digest: &Digest) -> Option<OwnedMutexGuard<Weak<Complete>>> {
        let slot = self.slot(digest).try_lock_owned().ok()?;
        (slot.strong_count() == 0).then_some(slot)
    }

    /// All bytes of a file that fits into memory, if they come at the first try, and are right.
    ///
    /// # Errors
    /// What further tries would not change.
    pub(super) async fn in_one_answer(
        &self,
        wanted: &Wanted,
        cancel: &CancellationToken,
    ) -> Result<Option<Vec<u8>>, TransferError> {
        let answer = async {
            let error = match self.bytes(wanted).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => error,
            };
            let Some(pause) = self.patience.asked(&error) else {
                return Err(TransferError::Client { path: wanted.path.clone(), source: error });
            };
            // Whoever tries again does not know that this one did.
            tokio::time::sleep(self.patience.pauses.first().copied().unwrap_or_default().max(pause)).await;
            Ok(None)
        };
        let bytes = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(TransferError::Cancelled),
            bytes = answer => bytes?,
        };
        let Some(bytes) = bytes else { return Ok(None) };
        match Digest::from_bytes(Sha256::digest(&bytes).into()) {
            found if found == wanted.digest => Ok(Some(bytes)),
            found => Err(self.wrong(wanted, found, false)),
        }
    }

    async fn bytes(&self, wanted: &Wanted) -> Result<Option<Vec<u8>>, ClientError> {
        let Began::Body(mut body) = self.upstream.file(&wanted.path, wanted.size, 0, None).await? else {
            return Ok(None);
        };
        let mut bytes = Vec::with_capacity(usize::try_from(wanted.size).unwrap_or_default());
        while let Some(piece) = body.piece().await? {
            bytes.extend_from_slice(&piece);
            self.rate.take(piece.len() as u64).await;
        }
        Ok(Some(bytes))
    }

    fn wrong(&self, wanted: &Wanted, found: Digest, again: bool) -> TransferError {
        TransferError::Wrong {
            path: wanted.path.clone(),
            server: self.upstream.name().to_owned(),
            found,
            expected: wanted.digest,
            again,
        }
    }

    /// The slot of a file; those that nobody needs go.
    fn slot(&self, digest: &Digest) -> Arc<Slot> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let UnderWay { slots, full } = &mut *under_way;
        if slots.len() >= *full {
            slots.retain(|_, slot| {
                Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|complete| complete.strong_count() > 0)
            });
            *full = (slots.len() * 2).max(64);
        }
        Arc::clone(slots.entry(*digest).or_default())
    }
}

/// Reads a file that somebody else got through one more computation.
async fn through(
    complete: &Arc<Complete>,
    also: Option<Sha256>,
    cancel: &CancellationToken,
) -> Result<Option<Sha256>, TransferError> {
    let Some(also) = also else { return Ok(None) };
    let (complete, stop) = (Arc::clone(complete), cancel.clone());
    match blocking(move || complete.through(also, &mut |_| !stop.is_cancelled())).await?? {
        Some(also) => Ok(Some(also)),
        None => Err(TransferError::Cancelled),
    }
}

struct Transfer<'a> {
    all: &'a Transfers,
    wanted: &'a Wanted,
    progress: &'a Arc<dyn Progress>,
    cancel: &'a CancellationToken,
    also: Option<Sha256>,
}

/// The way to who writes, who says when the first bytes are written.
struct Pieces {
    sender: mpsc::Sender<Bytes>,
    has_begun: Option<oneshot::Receiver<()>>,
}

/// The file, and how it went to write to it.
type Written = (Partial, Result<(), BlobError>);

/// Bytes that came and are not written yet: no more than [`SMALL`].
#[derive(Default)]
struct Little(Vec<u8>);

impl Little {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn write(self, mut partial: Partial, progress: &dyn Progress) -> Result<Partial, BlobError> {
        write(&mut partial, progress, &self.0)?;
        Ok(partial)
    }

    /// Writes them, and looks whether the file is right.
    fn complete(self, partial: Partial, progress: &dyn Progress) -> Result<Complete, Incomplete> {
        self.write(partial, progress).map_err(Incomplete::Blobs)?.complete()
    }
}

/// What became of one request.
enum Tried {
    /// All bytes came.
    Whole,
    /// They stopped, for this reason.
    Stopped(ClientError),
    /// The server has no bytes from there on, or other ones.
    Elsewhere,
}

/// What the tries so far have in common.
#[derive(Default)]
struct Tries {
    /// Since the last one that brought much.
    failed: usize,
    /// All of them.
    made: u32,
    /// The entity tag of the bytes that came here.
    etag: Option<String>,
    /// How many answers the bytes are from; what was there before counts as one.
    answers: u32,
    /// It was begun anew, because what there was did not fit.
    anew: bool,
}

impl Transfer<'_> {
    async fn run(mut self) -> Result<Complete, TransferError> {
        let mut partial = self.open().await?;
        self.progress.there(partial.length());
        let mut tries = Tries { answers: u32::from(partial.length() > 0), ..Tries::default() };
        let mut little = Little::default();
        loop {
            if partial.length() + little.length() == self.wanted.size {
                let (little, progress) = (std::mem::take(&mut little), Arc::clone(self.progress));
                partial = match blocking(move || little.complete(partial, &*progress)).await? {
                    Ok(complete) => return Ok(complete),
                    Err(Incomplete::Blobs(error)) => return Err(error.into()),
                    Err(Incomplete::Short(partial)) => *partial,
                    Err(Incomplete::Wrong { found, partial }) => {
                        self.progress.lost(self.wanted.size);
                        // One answer from its beginning to its end is what the server has. Pieces may be of two files.
                        if tries.anew || tries.answers < 2 && tries.made > 0 {
                            return Err(self.all.wrong(self.wanted, found, tries.anew));
                        }
                        tries = Tries { anew: true, answers: 0, etag: None, ..tries };
                        *partial
                    }
                };
                continue;
            }
            let before = partial.length();
            let tried;
            (partial, tried) = self.attempt(partial, &mut little, &mut tries).await?;
            tries.made += 1;
            match tried {
                Tried::Whole => {}
                Tried::Elsewhere if tries.anew => {
                    let what = format!("has fewer bytes than the {} that its list says", self.wanted.size);
                    return Err(self.client(ClientError::Nonsense { server: self.server(), what }));
                }
                Tried::Elsewhere => {
                    partial = self.restart(partial).await?;
                    tries = Tries { anew: true, answers: 0, etag: None, ..tries };
                }
                Tried::Stopped(error) => {
                    if partial.length().saturating_sub(before) >= self.all.patience.much {
                        tries.failed = 0;
                    }
                    self.pause(error, &mut tries, &partial).await?;
                }
            }
        }
    }

    /// The file with what there is of it, read.
    async fn open(&mut self) -> Result<Partial, TransferError> {
        let began = tokio::time::Instant::now();
        loop {
            let (blobs, Wanted { digest, size, .. }) = (self.all.blobs.clone(), self.wanted.clone());
            let (also, stop) = (self.also.clone(), self.cancel.clone());
            let opened = blocking(move || -> Result<Option<Partial>, BlobError> {
                let Some(mut partial) = blobs.partial(&digest, size)? else { return Ok(None) };
                if let Some(also) = also {
                    partial = partial.through(also);
                }
                partial.catch_up(&mut |_| !stop.is_cancelled())?;
                Ok(Some(partial))
            });
            if let Some(partial) = opened.await?? {
                self.unless_cancelled(std::future::ready(())).await?;
                return Ok(partial);
            }
            if began.elapsed() >= self.all.patience.busy {
                return Err(TransferError::Busy { path: self.wanted.path.clone() });
            }
            // A sweep looks at it for a moment, an image that was just listed is let go of; only another process takes longer.
            self.unless_cancelled(tokio::time::sleep(Duration::from_millis(100))).await?;
        }
    }

    /// One request for what is missing. When that is little, it is in there afterwards, and not written yet.
    async fn attempt(
        &self,
        partial: Partial,
        little: &mut Little,
        tries: &mut Tries,
    ) -> Result<(Partial, Tried), TransferError> {
        let (from, Wanted { path, size, .. }) = (partial.length(), self.wanted);
        let asked = self.unless_cancelled(self.all.upstream.file(path, *size, from, tries.etag.as_deref()));
        let (partial, asked) = if size - from <= SMALL {
            (partial, asked.await)
        } else {
            // While the server looks for it.
            let (reserved, asked) = tokio::join!(blocking(move || partial.reserve().map(|()| partial)), asked);
            (reserved??, asked)
        };
        let body = match asked? {
            Ok(Began::Body(body)) => body,
            Ok(Began::Outside { .. }) => return Ok((partial, Tried::Elsewhere)),
            Err(error) => return Ok((partial, Tried::Stopped(error))),
        };
        // Asked for a part, and got all of it: it is another file now, or the server knows no parts.
        let partial = if body.start < from { self.restart(partial).await? } else { partial };
        tries.answers = if body.start == 0 { 1 } else { tries.answers + 1 };
        tries.etag.clone_from(&body.etag);
        if self.wanted.size - partial.length() <= SMALL {
            return self.little(partial, body, little).await;
        }
        let (sender, writer) = self.writer(partial);
        let moved = tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(TransferError::Cancelled),
            moved = self.pump(body, sender) => Ok(moved),
        };
        let (partial, written) = writer.await.map_err(|error| BlobError::Io(error.into()))?;
        // When both went wrong, writing was first: nobody took the pieces any more.
        written?;
        match moved? {
            Ok(()) => Ok((partial, Tried::Whole)),
            Err(error) => Ok((partial, Tried::Stopped(error))),
        }
    }

    /// Takes bytes that are few. What there is of them when they stop is written.
    async fn little(
        &self,
        partial: Partial,
        mut body: Box<Body>,
        little: &mut Little,
    ) -> Result<(Partial, Tried), TransferError> {
        let stopped = loop {
            match self.unless_cancelled(body.piece()).await {
                Ok(Ok(Some(piece))) => {
                    little.0.extend_from_slice(&piece);
                    let length = piece.len() as u64;
                    // Taken also when the run is stopped while it is waited for.
                    if let Err(error) = self.unless_cancelled(self.all.rate.take(length)).await {
                        break Err(error);
                    }
                }
                Ok(Ok(None)) => return Ok((partial, Tried::Whole)),
                Ok(Err(error)) => break Ok(error),
                Err(error) => break Err(error),
            }
        };
        let (little, progress) = (std::mem::take(little), Arc::clone(self.progress));
        let partial = blocking(move || little.write(partial, &*progress)).await??;
        Ok((partial, Tried::Stopped(stopped?)))
    }

    /// Moves the bytes from the network to who writes them. Does not return well before the last of them.
    async fn pump(&self, mut body: Box<Body>, mut pieces: Pieces) -> Result<(), ClientError> {
        while let Some(piece) = body.piece().await? {
            let length = piece.len() as u64;
            pieces.sender.send(piece).await.map_err(|_| ClientError::GivenUp)?;
            if let Some(begun) = pieces.has_begun.take() {
                // When it cannot be written, the next piece is not taken.
                let _ = begun.await;
            }
            self.all.rate.take(length).await;
        }
        Ok(())
    }

    /// Writes pieces where blocking is allowed, until there are no more, or one cannot be written.
    fn writer(&self, mut partial: Partial) -> (Pieces, JoinHandle<Written>) {
        let (sender, mut pieces) = mpsc::channel::<Bytes>(PIECES);
        let (began, has_begun) = oneshot::channel();
        let mut began = Some(began);
        let (progress, after_first) = (Arc::clone(self.progress), self.all.patience.after_first);
        let writer = tokio::task::spawn_blocking(move || {
            while let Some(mut piece) = pieces.blocking_recv() {
                if let Some(began) = began.take() {
                    let first = piece.split_to(piece.len().min(FIRST));
                    if let Err(error) = write(&mut partial, &*progress, &first) {
                        return (partial, Err(error));
                    }
                    std::thread::sleep(after_first);
                    let _ = began.send(());
                }
                if let Err(error) = write(&mut partial, &*progress, &piece) {
                    return (partial, Err(error));
                }
            }
            (partial, Ok(()))
        });
        (Pieces { sender, has_begun: Some(has_begun) }, writer)
    }

    async fn restart(&self, mut partial: Partial) -> Result<Partial, TransferError> {
        self.progress.lost(partial.length());
        Ok(blocking(move || partial.restart().map(|()| partial)).await??)
    }

    /// Waits before the next try, if there is one.
    async fn pause(&self, error: ClientError, tries: &mut Tries, partial: &Partial) -> Result<(), TransferError> {
        let patience = &self.all.patience;
        let Some(wanted) = patience.asked(&error) else { return Err(self.client(error)) };
        let Some(pause) = patience.pauses.get(tries.failed) else {
            return Err(match error {
                ClientError::Broken { server, what } => TransferError::Broken {
                    path: self.wanted.path.clone(),
                    tries: tries.made,
                    server,
                    what,
                    had: partial.length(),
                    size: self.wanted.size,
                },
                error => self.client(error),
            });
        };
        tries.failed += 1;
        self.unless_cancelled(tokio::time::sleep(wanted.max(*pause))).await
    }

    async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T, TransferError> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(TransferError::Cancelled),
            done = work => Ok(done),
        }
    }

    fn server(&self) -> String {
        self.all.upstream.name().to_owned()
    }

    fn client(&self, source: ClientError) -> TransferError {
        TransferError::Client { path: self.wanted.path.clone(), source }
    }
}

fn write(partial: &mut Partial, progress: &dyn Progress, bytes: &[u8]) -> Result<(), BlobError> {
    if !bytes.is_empty() {
        partial.write_all(bytes)?;
        progress.came(bytes.len() as u64);
    }
    Ok(())
}

/// Runs what blocks where blocking is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, BlobError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| BlobError::Io(error.into()))
}
