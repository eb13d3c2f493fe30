//! One transfer of one file, for all who wait for it.

use std::sync::Arc;

use headwater_formats::digest::Digest;
use headwater_formats::image::ImageFile;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::{PullError, PullThrough, Source};
use crate::blobs::{BlobError, Blobs, Complete};
use crate::catalog::{Unproven, Upstream};
use crate::client::ClientError;
use crate::mirror::{Progress, TransferError, Wanted};
use crate::publish::{Both, PublishError, blocking};

/// How far a transfer is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct State {
    /// Bytes from the beginning that are written.
    pub(super) length: u64,
    /// How often what there was turned out to be of no use, and was thrown away. Bytes of two generations do not belong together.
    pub(super) generation: u32,
    /// How often the file was opened to be written. One that was opened again may be another one under the same name.
    pub(super) opened: u32,
    /// Whether the upstream sends.
    pub(super) began: bool,
    pub(super) phase: Phase,
}

/// How it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Coming,
    /// All of it is here, right, and in its place.
    Done,
    Failed(PullError),
}

/// Tells who waits.
struct Told(Arc<watch::Sender<State>>);

impl Progress for Told {
    fn there(&self, bytes: u64) {
        self.0.send_modify(|state| {
            state.length += bytes;
            state.opened += 1;
        });
    }

    fn came(&self, bytes: u64) {
        self.0.send_modify(|state| {
            state.length += bytes;
            state.began = true;
        });
    }

    fn lost(&self, _: u64) {
        self.0.send_modify(|state| {
            state.length = 0;
            state.generation += 1;
        });
    }
}

/// Takes a transfer out of those that are under way, whatever becomes of it.
struct Leaving<'a>(&'a PullThrough, Digest);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.flights().remove(&self.1);
    }
}

/// Who promises a file, and with which metadata file before it its image is hashed.
pub(super) struct Promised {
    pub(super) by: Vec<(Upstream, String)>,
    pub(super) before: Option<Before>,
}

/// A metadata file, and the computation through it.
type Before = (Digest, Sha256);

/// A file that came, with what it completes.
struct Came {
    images: Vec<Unproven>,
    both: Option<Both>,
}

/// Brings a file from one of those who promise it.
pub(super) async fn run(pull: PullThrough, file: ImageFile, promised: Promised, flight: Arc<watch::Sender<State>>) {
    let stop = pull.inner.stop.clone();
    let came = {
        let _leaving = Leaving(&pull, file.digest);
        let work = bring(&pull, &file, &promised, &flight);
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => Err(PullError::Stopped),
            outcome = work => outcome,
        };
        let phase = outcome.as_ref().map_or_else(|error| Phase::Failed(*error), |_| Phase::Done);
        flight.send_modify(|state| state.phase = phase);
        drop(flight);
        outcome
    };
    // Whoever waited has what was asked for; what follows is about the images, and about what else is here.
    let Ok(Came { images, both }) = came else { return };
    for image in images {
        if let Err(error) = pull.inner.publisher.prove(&image, both.clone(), (pull.inner.now)()).await {
            let image = image.fingerprint.short();
            tracing::warn!(image, %error, "an image could not be compared with its fingerprint; that is for the next file of it");
        }
    }
    if promised.by.iter().any(|(upstream, _)| upstream.settings.lazy) {
        pull.keep_limits().await;
    }
}

/// Brings it from one of them. When it has come since it was asked for, no byte of it comes again.
async fn bring(
    pull: &PullThrough,
    file: &ImageFile,
    Promised { by, before }: &Promised,
    flight: &Arc<watch::Sender<State>>,
) -> Result<Came, PullError> {
    let mut last = PullError::Away;
    for (upstream, path) in by {
        let source = match pull.source(upstream) {
            Ok(source) => source,
            Err(error) => {
                tracing::warn!(upstream = %upstream.name, %error, "an upstream cannot be asked for a file");
                continue;
            }
        };
        let permit = tokio::select! {
            permit = source.permits.acquire() => permit,
            // Who wanted it has gone before it was begun.
            () = flight.closed() => return Err(PullError::Stopped),
        };
        // Nobody closes them.
        let Ok(_permit) = permit else { return Err(PullError::Stopped) };
        match from(pull, &source, path, (file, before), flight).await {
            Ok(came) => return Ok(came),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Brings it from this one.
async fn from(
    pull: &PullThrough,
    source: &Source,
    path: &str,
    (file, before): (&ImageFile, &Option<Before>),
    flight: &Arc<watch::Sender<State>>,
) -> Result<Came, PullError> {
    let upstream = &source.of.name;
    flight.send_modify(|state| state.length = 0);
    let progress: Arc<dyn Progress> = Arc::new(Told(Arc::clone(flight)));
    let wanted = Wanted { path: path.to_owned(), digest: file.digest, size: file.size };
    let also = before.as_ref().map(|(_, hasher)| hasher.clone());
    let (complete, both) = match source.transfers.get(&wanted, also, &progress, &pull.inner.stop).await {
        Ok(got) => got,
        Err(TransferError::Cancelled) => return Err(PullError::Stopped),
        Err(error) => {
            tracing::warn!(%upstream, file = %file.digest, %error, "a file that an upstream promises did not come");
            return Err(told(&error));
        }
    };
    let both = before.as_ref().zip(both).map(|((metadata, _), both)| (*metadata, both));
    let images = keep(pull, &complete).await.map_err(|error| {
        tracing::error!(%upstream, file = %file.digest, %error, "a file that came from an upstream could not be kept");
        PullError::Store
    })?;
    tracing::info!(%upstream, file = %file.digest, bytes = file.size, "a file came from an upstream");
    Ok(Came { images, both })
}

/// The computation through the metadata file that is here, when this is the root file of an image that is not proven.
pub(super) async fn before(pull: &PullThrough, digest: &Digest) -> Result<Option<Before>, PullError> {
    let metadata = pull.inner.publisher.catalog.metadata_before(digest).await.map_err(|error| {
        tracing::error!(%error, "it cannot be seen which image a file is of");
        PullError::Store
    })?;
    let Some(metadata) = metadata else { return Ok(None) };
    let blobs = pull.inner.publisher.blobs.clone();
    let read = blocking(move || hashed(&blobs, &metadata)).await.map_err(|error| stored(&error))?;
    Ok(read.map(|hasher| (metadata, hasher)))
}

fn hashed(blobs: &Blobs, digest: &Digest) -> Result<Option<Sha256>, BlobError> {
    let Some(blob) = blobs.open_blob(digest)? else { return Ok(None) };
    let (mut hasher, mut reader) = (Sha256::new(), blob.reader());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match std::io::Read::read(&mut reader, &mut buffer)? {
            0 => return Ok(Some(hasher)),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Puts the file in its place.
async fn keep(pull: &PullThrough, complete: &Arc<Complete>) -> Result<Vec<Unproven>, PublishError> {
    let (publisher, now) = (&pull.inner.publisher, (pull.inner.now)());
    let file = Arc::clone(complete);
    let staged = blocking(move || file.staged()).await?;
    let images = publisher.fulfil(staged, now).await?;
    let file = Arc::clone(complete);
    blocking(move || file.forget()).await;
    Ok(images.unwrap_or_default())
}

/// What strangers are told.
fn told(error: &TransferError) -> PullError {
    match error {
        TransferError::Client { source, .. } if source.may_pass() => PullError::Away,
        TransferError::Client { source: ClientError::Mistrusted { .. }, .. } => PullError::Away,
        TransferError::Client { .. } | TransferError::Wrong { .. } => PullError::Wrong,
        TransferError::Broken { .. } | TransferError::Busy { .. } => PullError::Away,
        TransferError::Cancelled => PullError::Stopped,
        TransferError::Blobs(_) => PullError::Store,
    }
}

fn stored(error: &BlobError) -> PullError {
    tracing::error!(%error, "the store failed when a file was to come");
    PullError::Store
}
