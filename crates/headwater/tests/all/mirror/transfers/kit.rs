//! A store, an upstream, and transfers with little patience between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater::blobs::{Blobs, Complete};
use headwater::client::trust::Trust;
use headwater::client::{Client, Server};
use headwater::mirror::{Patience, Progress, Rate, TransferError, Transfers, Wanted};
use headwater_formats::arch::Architecture;
use sha2::Sha256;
use tokio_util::sync::CancellationToken;

pub(super) use crate::client::kit::{Asked, Reply, Step, Stub, quick, sha256};

pub(super) const ETAG: &str = "\"one\"";

/// Bytes that do not repeat.
pub(super) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

pub(super) fn wanted(bytes: &[u8]) -> Wanted {
    Wanted { path: "images/file".to_owned(), digest: sha256(bytes).parse().unwrap(), size: bytes.len() as u64 }
}

/// From which byte on a request wants the file.
pub(super) fn from(asked: &Asked) -> Option<usize> {
    let range = asked.header("range")?;
    Some(range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap())
}

/// What a good server answers.
pub(super) fn serve(asked: &Asked, bytes: &[u8]) -> Reply {
    cut(asked, bytes, usize::MAX)
}

/// The same, but the connection breaks after so many bytes of the body.
pub(super) fn cut(asked: &Asked, bytes: &[u8], after: usize) -> Reply {
    let current = asked.header("if-range").is_none_or(|etag| etag == ETAG);
    match from(asked).filter(|_| current) {
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            let rest = &bytes[from..];
            let headers = [("Content-Range", range.as_str()), ("ETag", ETAG)];
            Reply::claiming("206 Partial Content", &headers, &rest[..after.min(rest.len())], rest.len())
        }
        None => Reply::claiming("200 OK", &[("ETag", ETAG)], &bytes[..after.min(bytes.len())], bytes.len()),
    }
}

type Answer = Box<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// A server that answers the first request with the first of these, and so on, and all later ones as the last.
pub(super) async fn one_after_the_other(answers: Vec<Answer>) -> Stub {
    let count = AtomicU64::new(0);
    Stub::new(move |asked| {
        let at = usize::try_from(count.fetch_add(1, Ordering::Relaxed)).unwrap();
        answers[at.min(answers.len() - 1)](asked)
    })
    .await
}

/// Answers for [`one_after_the_other`], each of which sees what was asked, and the file.
macro_rules! answers {
    ($bytes:expr; $($answer:expr),+ $(,)?) => {
        vec![$({
            let bytes = $bytes.clone();
            let answer: fn(&$crate::mirror::transfers::kit::Asked, &[u8]) -> $crate::mirror::transfers::kit::Reply = $answer;
            Box::new(move |asked: &$crate::mirror::transfers::kit::Asked| answer(asked, &bytes)) as Box<dyn Fn(&_) -> _ + Send + Sync>
        }),+]
    };
}
pub(super) use answers;

/// The `Range` of each request.
pub(super) fn ranges(stub: &Stub) -> Vec<Option<usize>> {
    stub.asked().iter().map(from).collect()
}

pub(super) fn upstream(stub: &Stub) -> Server {
    let client = Client::new(vec![Architecture::X86_64], quick());
    client.server(&stub.url(), &Trust::from_pem(&stub.pem).unwrap()).unwrap()
}

/// What was told.
#[derive(Default)]
pub(super) struct Told {
    there: AtomicU64,
    came: AtomicU64,
    lost: AtomicU64,
}

impl Told {
    /// Bytes that were there, came, and were lost.
    pub(super) fn all(&self) -> (u64, u64, u64) {
        let [there, came, lost] = [&self.there, &self.came, &self.lost].map(|count| count.load(Ordering::Relaxed));
        (there, came, lost)
    }
}

impl Progress for Told {
    fn there(&self, bytes: u64) {
        self.there.fetch_add(bytes, Ordering::Relaxed);
    }
    fn came(&self, bytes: u64) {
        self.came.fetch_add(bytes, Ordering::Relaxed);
    }
    fn lost(&self, bytes: u64) {
        self.lost.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Tries three times, at once.
pub(super) fn patience() -> Patience {
    Patience {
        pauses: vec![Duration::from_millis(10); 2],
        retry_after: Duration::from_secs(2),
        busy: Duration::from_millis(300),
        ..Patience::default()
    }
}

pub(super) struct Store {
    pub(super) folder: tempfile::TempDir,
    pub(super) blobs: Blobs,
    pub(super) told: Arc<Told>,
    pub(super) cancel: CancellationToken,
    pub(super) patience: Patience,
    pub(super) rate: Rate,
}

impl Store {
    pub(super) fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    fn at(folder: tempfile::TempDir) -> Self {
        Self {
            blobs: Blobs::open(folder.path()).unwrap(),
            folder,
            told: Arc::default(),
            cancel: CancellationToken::new(),
            patience: patience(),
            rate: Rate::unlimited(),
        }
    }

    /// The next process on the same folder.
    pub(super) fn again(self) -> Self {
        Self::at(self.folder)
    }

    pub(super) fn transfers(&self, stub: &Stub) -> Transfers {
        Transfers::new(upstream(stub), self.blobs.clone(), self.rate.clone()).with_patience(self.patience.clone())
    }

    /// Gets a file of these bytes with this transfer.
    pub(super) async fn with(
        &self,
        transfers: &Transfers,
        bytes: &[u8],
        also: Option<Sha256>,
    ) -> Result<(Arc<Complete>, Option<Sha256>), TransferError> {
        let progress: Arc<dyn Progress> = Arc::<Told>::clone(&self.told);
        let wanted = wanted(bytes);
        let getting = transfers.get(&wanted, also, &progress, &self.cancel);
        tokio::time::timeout(Duration::from_secs(30), getting).await.expect("every transfer ends")
    }

    pub(super) async fn get(&self, stub: &Stub, bytes: &[u8]) -> Result<Arc<Complete>, TransferError> {
        Ok(self.with(&self.transfers(stub), bytes, None).await?.0)
    }

    /// It comes, and these are its bytes.
    pub(super) async fn gets(&self, stub: &Stub, bytes: &[u8]) -> Arc<Complete> {
        let complete = self.get(stub, bytes).await.unwrap();
        assert_eq!(read(&complete), bytes);
        complete
    }

    /// It does not come, for this reason.
    #[track_caller]
    pub(super) fn fails(&self, stub: &Stub, bytes: &[u8], words: &str) -> impl Future<Output = TransferError> {
        let place = std::panic::Location::caller();
        async move {
            let error = self.get(stub, bytes).await.expect_err("it came");
            assert!(error.to_string().contains(words), "{place}: \"{error}\" does not say {words:?}");
            error
        }
    }

    /// Lengths of the files on their way.
    pub(super) fn partial(&self) -> Vec<u64> {
        lengths(&self.folder.path().join("partial"))
    }

    pub(super) fn staged(&self) -> Vec<u64> {
        lengths(&self.folder.path().join("staging"))
    }
}

fn lengths(folder: &std::path::Path) -> Vec<u64> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).collect()
}

pub(super) fn read(complete: &Complete) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut complete.reader(), &mut bytes).unwrap();
    bytes
}

pub(super) fn hash(hasher: Sha256) -> String {
    data_encoding::HEXLOWER.encode(&sha2::Digest::finalize(hasher))
}
