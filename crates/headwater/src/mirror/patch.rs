//! A root file that is made of an older one and a delta, instead of being fetched whole.
//!
//! The delta's bytes are compared with its list like any file's, and what it makes with the hash of the root file. Whatever goes wrong, the
//! whole file is there to be fetched.

use std::io::{self, Write};
use std::sync::Arc;

use headwater_formats::digest::Digest;
use headwater_vcdiff::{Forward, Limits, decode};
use sha2::Sha256;
use tokio_util::sync::CancellationToken;

use super::{Progress, TransferError, Transfers, Wanted};
use crate::blobs::{BlobError, Blobs, Complete, Incomplete, Partial};
use crate::publish::blocking;

/// A delta that an upstream lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedDelta {
    /// The SHA-256 of the root file that it starts from.
    pub base: Digest,
    /// The delta's own file.
    pub file: Wanted,
}

/// Makes a file of what is here, if one of these deltas does. `None` leaves it to be fetched: no base is here, the file itself (or a part of it) is, or
/// something went wrong.
///
/// # Errors
/// [`TransferError::Cancelled`] alone.
pub(super) async fn patched(
    transfers: &Transfers,
    blobs: &Blobs,
    wanted: &Wanted,
    deltas: &[OfferedDelta],
    also: Option<Sha256>,
    progress: &Arc<dyn Progress>,
    stop: &CancellationToken,
) -> Result<Option<(Arc<Complete>, Option<Sha256>)>, TransferError> {
    let mut deltas: Vec<&OfferedDelta> = deltas.iter().filter(|delta| delta.file.size < wanted.size).collect();
    deltas.sort_by_key(|delta| delta.file.size);
    for delta in deltas {
        let (store, base, target) = (blobs.clone(), delta.base, wanted.digest);
        let pays = blocking(move || Ok::<_, BlobError>(store.stat(&base)?.is_some() && store.stat(&target)?.is_none()));
        if !pays.await.unwrap_or(false) {
            continue;
        }
        let (path, why) = (
            &delta.file.path,
            match transfers.get(&delta.file, None, progress, stop).await {
                Err(TransferError::Cancelled) => return Err(TransferError::Cancelled),
                Err(error) => error.to_string(),
                Ok((file, _)) => {
                    let work = Work { blobs: blobs.clone(), base, wanted: wanted.clone(), stop: stop.clone() };
                    let (read, also) = (Arc::clone(&file), also.clone());
                    let made = blocking(move || work.make(&read, also)).await;
                    // Of no more use, whatever it made.
                    blocking(move || file.forget()).await;
                    match made {
                        _ if stop.is_cancelled() => return Err(TransferError::Cancelled),
                        Ok(None) => return Ok(None),
                        Ok(Some(complete)) => {
                            progress.there(wanted.size - delta.file.size);
                            let also = complete.also();
                            return Ok(Some((Arc::new(complete), also)));
                        }
                        Err(why) => why,
                    }
                }
            },
        );
        tracing::warn!(path, why, "a delta of an upstream was of no use; the whole file is fetched");
    }
    Ok(None)
}

struct Work {
    blobs: Blobs,
    base: Digest,
    wanted: Wanted,
    stop: CancellationToken,
}

impl Work {
    /// `None` when somebody has, or had, the file in work: that goes on as it began.
    fn make(&self, delta: &Complete, also: Option<Sha256>) -> Result<Option<Complete>, String> {
        let said = |error: BlobError| error.to_string();
        let Some(base) = self.blobs.open_blob(&self.base).map_err(said)? else { return Ok(None) };
        let Some(mut partial) = self.blobs.partial(&self.wanted.digest, self.wanted.size).map_err(said)? else {
            return Ok(None);
        };
        if partial.length() > 0 {
            return Ok(None);
        }
        if let Some(also) = also {
            partial = partial.through(also);
        }
        partial.reserve().map_err(said)?;
        let limits = Limits { target: self.wanted.size, ..Limits::default() };
        let mut target = Forward(Watched { partial: &mut partial, stop: &self.stop });
        let decoded = decode(base.reader(), delta.reader(), &mut target, &limits);
        if let Err(error) = decoded {
            partial.restart().map_err(said)?;
            return Err(error.to_string());
        }
        match partial.complete() {
            Ok(complete) => Ok(Some(complete)),
            Err(Incomplete::Blobs(error)) => Err(error.to_string()),
            // Bytes that are wrong are gone already.
            Err(Incomplete::Wrong { found, .. }) => Err(format!("it makes a file whose SHA-256 is {found}")),
            Err(Incomplete::Short(mut partial)) => {
                partial.restart().map_err(said)?;
                Err("it makes a file that is too short".to_owned())
            }
        }
    }
}

/// What is made, as long as it is wanted.
struct Watched<'a> {
    partial: &'a mut Partial,
    stop: &'a CancellationToken,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Not `Interrupted`, which would be tried again.
        if self.stop.is_cancelled() { Err(io::Error::other("the run was stopped")) } else { self.partial.write(bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.partial.flush()
    }
}
