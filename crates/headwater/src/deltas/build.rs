//! One delta, from two files to bytes that are known to be right.
//!
//! Four things are compared before it is listed: the base's SHA-256 with its name, the target's with its name, the delta's as it is read back
//! with what was written, and the SHA-256 of what comes out, when the delta is decoded against the base, with the target's name.

use std::fmt;
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;

use headwater_formats::digest::Digest;
use headwater_formats::image::ImageFile;
use headwater_vcdiff::{Error, Forward, Limits, ReadAt, decode, encode};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::pace::Going;
use super::sample::{Sampled, sample};
use super::{Claim, Deltas, Settings, thread};
use crate::blobs::{BlobError, Blobs, OpenBlob, Staged};
use crate::catalog::{CatalogError, ClaimedDelta, DeltaState};
use crate::fail_point;
use crate::publish::{Progress, PublishError};

/// Bytes that are read at once.
const BUFFER: usize = 1 << 20;

/// Why there is no delta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does not pay; trying again would not change that.
    Refused(String),
    /// Bytes are not what they should be.
    Failed(String),
    /// The machine did not do it this time.
    Trouble(String),
    /// The work was stopped.
    Stopped,
}

/// A delta that was found right, and is listed by [`Deltas::end`]. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Built {
    staged: Staged,
}

/// How the work on a pair ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The delta is listed.
    Listed(ImageFile),
    /// It does not pay.
    Refused(String),
    /// Something is wrong with the bytes.
    Failed(String),
    /// It will be tried again.
    Trouble(String),
    /// It was stopped; the pair waits.
    Stopped,
    /// Nobody needs it any more, or another one builds it.
    Lost,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(_) => f.write_str("it is listed"),
            Self::Refused(why) | Self::Failed(why) | Self::Trouble(why) => f.write_str(why),
            Self::Stopped => f.write_str("it was stopped, and will be built later"),
            Self::Lost => f.write_str("it is not needed any more, or is built elsewhere"),
        }
    }
}

/// A pair that is worth building.
#[derive(Debug)]
pub struct Probed {
    base: OpenBlob,
    target: OpenBlob,
    /// What was found in a sample, unless the target is small.
    pub sampled: Option<Sampled>,
    /// Most bytes that the delta may have beside the others to its target.
    left: u64,
}

impl Deltas {
    /// Looks at a pair for about a second: opens both files, hashes the base, encodes a sample.
    ///
    /// # Errors
    /// Why it will not be built.
    pub async fn probe(&self, claim: &Claim) -> Result<Probed, Verdict> {
        let left = self.left(&claim.pair).await?;
        let work = self.work(&claim.pair, &claim.stop);
        let probed = thread::run(self.settings.background, move || work.probe()).await;
        let probed = probed.unwrap_or_else(|| Err(broken()))?;
        match probed.sampled.filter(Sampled::is_hopeless) {
            Some(sampled) => Err(Verdict::Refused(format!(
                "almost nothing of it is in the base: the delta would have about {}% of the full file",
                sampled.percent()
            ))),
            None => Ok(Probed { left, ..probed }),
        }
    }

    /// Most bytes that another delta to the same target may have. Two that are built at the same time do not know of each other.
    async fn left(&self, pair: &ClaimedDelta) -> Result<u64, Verdict> {
        let budget = percent_of(&pair.target, self.settings.together_percent);
        let spent = self.publisher.catalog.delta_bytes_to(&pair.target.digest).await;
        let spent = spent.map_err(|error| Verdict::Trouble(error.to_string()))?;
        match budget.saturating_sub(spent) {
            0 => Err(self.settings.spent()),
            left => Ok(left),
        }
    }

    /// Encodes the delta and finds out whether it is right.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn make(&self, claim: &Claim, probed: Probed, progress: Arc<dyn Progress>) -> Result<Built, Verdict> {
        let work = self.work(&claim.pair, &claim.stop);
        let built = thread::run(self.settings.background, move || work.make(&probed, &*progress)).await;
        built.unwrap_or_else(|| Err(broken()))
    }

    /// Both, one after the other.
    ///
    /// # Errors
    /// Why there is no delta.
    pub async fn build(&self, claim: &Claim, progress: Arc<dyn Progress>) -> Result<Built, Verdict> {
        let probed = self.probe(claim).await?;
        self.make(claim, probed, progress).await
    }

    /// What a sample of a pair tells, whoever has claimed it; `None` for small files.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub async fn look(&self, pair: &ClaimedDelta) -> Result<Option<Sampled>, Verdict> {
        let work = self.work(pair, &CancellationToken::new());
        let probed = thread::run(self.settings.background, move || work.probe()).await;
        probed.unwrap_or_else(|| Err(broken())).map(|probed| probed.sampled)
    }

    /// Lists what was built, or writes down why there is nothing.
    ///
    /// # Errors
    /// Those of the catalog; the claim runs out by itself then.
    pub async fn end(&self, claim: &Claim, built: Result<Built, Verdict>) -> Result<Ended, CatalogError> {
        let (catalog, pair, now) = (&self.publisher.catalog, &claim.pair, (self.now)());
        let verdict = match built {
            Ok(Built { staged }) => match self.publisher.list_delta(staged, pair, &self.name, now).await {
                Ok(Some(file)) => return Ok(Ended::Listed(file)),
                Ok(None) => return Ok(Ended::Lost),
                Err(PublishError::Catalog(error)) => return Err(error),
                Err(error) => Verdict::Trouble(error.to_string()),
            },
            Err(verdict) => verdict,
        };
        if claim.is_lost() {
            return Ok(Ended::Lost);
        }
        let (state, ended) = match verdict {
            Verdict::Stopped => {
                catalog.release_delta(pair, &self.name, None).await?;
                return Ok(Ended::Stopped);
            }
            Verdict::Trouble(why) => {
                catalog.release_delta(pair, &self.name, Some(&why)).await?;
                return Ok(Ended::Trouble(why));
            }
            Verdict::Refused(why) => (DeltaState::Refused, Ended::Refused(why)),
            Verdict::Failed(why) => (DeltaState::Failed, Ended::Failed(why)),
        };
        let kept = catalog.end_delta(pair, &self.name, state, &ended.to_string(), now).await?;
        Ok(if kept { ended } else { Ended::Lost })
    }

    fn work(&self, pair: &ClaimedDelta, stop: &CancellationToken) -> Work {
        let going = Going { stop: stop.clone(), pace: self.pace.clone() };
        Work { blobs: self.publisher.blobs.clone(), pair: *pair, settings: self.settings, going }
    }
}

fn broken() -> Verdict {
    Verdict::Trouble("the thread that builds it broke off; the log says why".to_owned())
}

/// What a thread needs to work on a pair.
struct Work {
    blobs: Blobs,
    pair: ClaimedDelta,
    settings: Settings,
    going: Going,
}

impl Work {
    fn probe(&self) -> Result<Probed, Verdict> {
        let base = self.open(&self.pair.base, "base")?;
        let target = self.open(&self.pair.target, "target")?;
        if self.hash(&base)? != self.pair.base.digest {
            return Err(damaged("base"));
        }
        let sampled = sample(&self.watched(&base), &self.watched(&target), &self.settings.encoding());
        let sampled = sampled.map_err(|error| self.trouble(&error))?;
        Ok(Probed { base, target, sampled, left: u64::MAX })
    }

    fn make(&self, probed: &Probed, progress: &dyn Progress) -> Result<Built, Verdict> {
        let staged = self.encode(probed, progress)?;
        fail_point::reached("deltas::encoded");
        progress.begin("checking", Some(self.pair.target.size));
        let checked = self.check(probed.base.reader(), staged.reader(), staged.digest(), progress);
        progress.end();
        checked?;
        fail_point::reached("deltas::verified");
        Ok(Built { staged })
    }

    fn open(&self, file: &ImageFile, what: &str) -> Result<OpenBlob, Verdict> {
        match self.blobs.open_blob(&file.digest) {
            Ok(Some(blob)) if blob.size == file.size => Ok(blob),
            Ok(Some(_)) => Err(damaged(what)),
            Ok(None) => {
                Err(Verdict::Failed(format!("the bytes of the {what} are missing; `headwater verify` says more")))
            }
            Err(error) => Err(Verdict::Trouble(error.to_string())),
        }
    }

    /// The SHA-256 of the base.
    fn hash(&self, base: &OpenBlob) -> Result<Digest, Verdict> {
        let (mut reader, mut hasher, mut buffer) = (base.reader(), Sha256::new(), vec![0; BUFFER]);
        loop {
            self.going.on().map_err(|_| Verdict::Stopped)?;
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(Digest::from_bytes(hasher.finalize().into())),
                Ok(read) => {
                    fail_point::corrupt("deltas::base", &mut buffer[..read]);
                    hasher.update(&buffer[..read]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.trouble(&Error::Base(error))),
            }
        }
    }

    fn watched<'a>(&'a self, blob: &'a OpenBlob) -> Watched<'a> {
        Watched { blob, going: &self.going }
    }

    fn encode(&self, probed: &Probed, progress: &dyn Progress) -> Result<Staged, Verdict> {
        let staged = self.blobs.stage().map_err(|error| Verdict::Trouble(error.to_string()))?;
        let (size, percent) = (self.pair.target.size, self.settings.largest_percent);
        let too_large = percent_of(&self.pair.target, percent.into());
        let too_large_beside_others = probed.left.saturating_add(1);
        let mut delta = Limited { inner: staged, left: too_large.min(too_large_beside_others), passed: false };
        let mut target = Hashing { inner: probed.target.reader(), hasher: Sha256::new(), going: &self.going, progress };
        progress.begin("encoding", Some(size));
        let encoded = encode(&self.watched(&probed.base), &mut target, &mut delta, &self.settings.encoding());
        progress.end();
        match encoded {
            _ if delta.passed && too_large_beside_others < too_large => return Err(self.settings.spent()),
            _ if delta.passed => {
                return Err(Verdict::Refused(format!(
                    "it has {percent}% of the full file or more, which does not pay"
                )));
            }
            Err(error) => return Err(self.trouble(&error)),
            Ok(_) => {}
        }
        if Digest::from_bytes(target.hasher.finalize().into()) != self.pair.target.digest {
            return Err(damaged("target"));
        }
        Ok(delta.inner)
    }

    /// Decodes the delta, as it is on the disk, against the base.
    fn check(
        &self,
        base: impl Read + Seek,
        delta: impl Read,
        written: Digest,
        progress: &dyn Progress,
    ) -> Result<(), Verdict> {
        let wanted = &self.pair.target;
        let mut delta = ReadBack { inner: delta, hasher: Sha256::new() };
        let mut made = Forward(Comparing { hasher: Sha256::new(), going: &self.going, progress });
        let limits = Limits { target: wanted.size, ..Limits::default() };
        let decoded = decode(base, &mut delta, &mut made, &limits);
        if self.going.stop.is_cancelled() {
            return Err(Verdict::Stopped);
        }
        // What is behind an error belongs to the delta, too.
        io::copy(&mut delta, &mut io::sink()).map_err(|error| self.trouble(&Error::Delta(error)))?;
        if Digest::from_bytes(delta.hasher.finalize().into()) != written {
            return Err(Verdict::Failed(
                "the delta reads back as other bytes than were written; see that the disk works, then try `headwater delta build`"
                    .to_owned(),
            ));
        }
        match decoded {
            Ok(decoded)
                if decoded.target == wanted.size
                    && Digest::from_bytes(made.0.hasher.finalize().into()) == wanted.digest =>
            {
                Ok(())
            }
            Ok(_) => Err(Verdict::Failed(
                "the delta makes other bytes than the target; please report this, and keep both images".to_owned(),
            )),
            Err(error @ Error::Base(_)) => Err(self.trouble(&error)),
            Err(error) => Err(Verdict::Failed(format!(
                "the delta cannot be decoded; please report this, and keep both images: {error}"
            ))),
        }
    }

    /// Why reading or writing did not go on. When the work was stopped, that is why.
    fn trouble(&self, error: &Error) -> Verdict {
        if self.going.stop.is_cancelled() {
            return Verdict::Stopped;
        }
        match error {
            // In the words of the store, which knows what to do about a full disk.
            Error::Delta(error) => Verdict::Trouble(BlobError::from(io::Error::from(error.kind())).to_string()),
            error => Verdict::Trouble(error.to_string()),
        }
    }
}

impl Settings {
    fn spent(&self) -> Verdict {
        Verdict::Refused(format!(
            "beside the deltas to this file that help more clients it would pass {}% of the full file \
             (deltas.together_percent), which is what all of them may have",
            self.together_percent
        ))
    }
}

/// So many percent of a file, in bytes, rounded up.
fn percent_of(file: &ImageFile, percent: u32) -> u64 {
    u64::try_from((u128::from(file.size) * u128::from(percent)).div_ceil(100)).unwrap_or(u64::MAX)
}

fn damaged(what: &str) -> Verdict {
    Verdict::Failed(format!("the {what}'s bytes do not have the SHA-256 of its name; `headwater verify` says more"))
}

/// A file that is read at any place as long as the work goes on.
struct Watched<'a> {
    blob: &'a OpenBlob,
    going: &'a Going,
}

impl ReadAt for Watched<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.blob.size)
    }

    fn read_exact_at(&self, start: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.going.on()?;
        self.blob.file.read_exact_at(start, bytes)
    }
}

/// The target on its way to the encoder.
struct Hashing<'a, R> {
    inner: R,
    hasher: Sha256,
    going: &'a Going,
    progress: &'a dyn Progress,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.going.on()?;
        // Not much at once, so that the work can be stopped.
        let length = buffer.len().min(BUFFER);
        let read = self.inner.read(&mut buffer[..length])?;
        self.hasher.update(&buffer[..read]);
        self.progress.advance(read as u64);
        Ok(read)
    }
}

/// The delta on its way to the disk, as long as it pays.
struct Limited {
    inner: Staged,
    /// A delta of so many bytes more would be too large.
    left: u64,
    passed: bool,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 >= self.left {
            self.passed = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let written = self.inner.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The delta on its way to the decoder.
struct ReadBack<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for ReadBack<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        fail_point::corrupt("deltas::delta", &mut buffer[..read]);
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// What the decoder makes.
struct Comparing<'a> {
    hasher: Sha256,
    going: &'a Going,
    progress: &'a dyn Progress,
}

impl Write for Comparing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.going.on()?;
        match fail_point::corrupted("deltas::decoded", bytes) {
            Some(corrupted) => self.hasher.update(&corrupted),
            None => self.hasher.update(bytes),
        }
        self.progress.advance(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
