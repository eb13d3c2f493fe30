//! How readers know, for the price of a few bytes read, that nothing has changed.
//!
//! Beside a SQLite catalog lies a small file with a random number in it, the mark (`catalog.db-mark`). Every writer, of whatever
//! process, writes another one after its transaction is committed and before anybody is told so. So as long as the mark is the same,
//! nothing was acknowledged that a reader could have missed, and what was read before is still true.
//!
//! Before its commit, a writer takes the old mark away, so that nothing is believed while it commits, nor after it has died between
//! commit and mark: then readers ask the catalog, until somebody writes again. Writers that know nothing of marks are seen by what
//! bounds all belief: a mark is believed for [`TRUSTED`], then the catalog is asked for its count of writes, if they count what they do.
//!
//! Where there is no mark (PostgreSQL, a catalog that cannot be written to), requests that come together share one query: each
//! takes the answer of a query that began after it came.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::CatalogError;

/// How long an unchanged mark is believed without asking the catalog.
const TRUSTED: Duration = Duration::from_secs(1);

/// What the file holds. Zeros are no mark.
pub(super) type Mark = [u8; 16];

/// The file, kept open: nothing is opened or closed per request.
#[derive(Debug)]
pub(super) struct MarkFile(File);

impl MarkFile {
    /// The mark beside a catalog that this process may write to, made when it is missing: for those who may write to the catalog.
    pub(super) fn for_writer(catalog: &Path) -> io::Result<Self> {
        let path = path(catalog);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = match options.clone().create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                as_the_catalog(&file, catalog)?;
                file
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(&path)?,
            Err(error) => return Err(error),
        };
        let file = Self(file);
        if file.read().is_none() {
            file.renew();
        }
        Ok(file)
    }

    /// The mark as it is now; `None` when it cannot be read.
    pub(super) fn read(&self) -> Option<Mark> {
        let mut mark = Mark::default();
        self.0.read_exact_at(&mut mark, 0).ok()?;
        (mark != Mark::default()).then_some(mark)
    }

    /// Takes the mark away, before a commit; when the answer is dropped, there is another one.
    pub(super) fn committing(&self) -> Committing<'_> {
        self.write(Ok(Mark::default()));
        Committing(self)
    }

    /// Another mark. When that fails, readers see the change when they ask next, at the latest after [`TRUSTED`].
    fn renew(&self) {
        let mut mark = Mark::default();
        self.write(getrandom::fill(&mut mark).map(|()| mark));
    }

    fn write(&self, mark: Result<Mark, getrandom::Error>) {
        let written = mark.map_err(io::Error::other).and_then(|mark| self.0.write_all_at(&mark, 0));
        if let Err(error) = written {
            tracing::warn!(%error, "the mark beside the catalog cannot be written; other servers see changes up to a second late");
        }
    }
}

/// Gives a new mark the owner and the mode of the catalog, as SQLite does with the files beside it: when root made it, the server that
/// the catalog belongs to could not be started any more, and what a group may write would be changed without a mark.
fn as_the_catalog(mark: &File, catalog: &Path) -> io::Result<()> {
    // Asked by name, never opened: closing it would end the locks that another handle of this process holds on it.
    let (theirs, own) = (std::fs::metadata(catalog)?, mark.metadata()?);
    if (theirs.uid(), theirs.gid()) != (own.uid(), own.gid()) {
        // Only root may. Who is not, has made a file that is its own, as it is with the write-ahead log.
        let _ = std::os::unix::fs::fchown(mark, Some(theirs.uid()), Some(theirs.gid()));
    }
    mark.set_permissions(Permissions::from_mode(theirs.mode() & 0o666))
}

fn path(catalog: &Path) -> std::path::PathBuf {
    let mut path = catalog.as_os_str().to_owned();
    path.push("-mark");
    path.into()
}

/// Makes the new mark when it is dropped: also when whoever waited for the commit has gone meanwhile.
pub(super) struct Committing<'a>(&'a MarkFile);

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        self.0.renew();
    }
}

/// Something small that is read again and again, and seldom changes.
#[derive(Debug)]
pub(super) struct Shared<T> {
    /// Queries that have begun.
    begun: AtomicU64,
    /// The last one that ended, and its answer.
    last: tokio::sync::Mutex<Option<(u64, T)>>,
    /// What is believed, under which mark, read when.
    believed: Mutex<Option<(Mark, Instant, T)>>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { begun: AtomicU64::new(0), last: tokio::sync::Mutex::new(None), believed: Mutex::new(None) }
    }
}

impl<T: Copy> Shared<T> {
    /// What is true now: what is believed under the mark, or the answer of a query that begins after this call.
    pub(super) async fn get<F>(&self, mark: Option<&MarkFile>, query: impl Fn() -> F) -> Result<T, CatalogError>
    where
        F: Future<Output = Result<T, CatalogError>>,
    {
        if let Some(believed) = mark.and_then(MarkFile::read).and_then(|mark| self.believed(&mark)) {
            return Ok(believed);
        }
        // Every query that has begun by now may be too old.
        let needed = self.begun.load(Ordering::SeqCst) + 1;
        let mut last = self.last.lock().await;
        if let Some((number, answer)) = *last
            && number >= needed
        {
            return Ok(answer);
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        // The mark comes first: a change that is committed after this reading of it writes another one.
        let read = mark.and_then(MarkFile::read).map(|mark| (mark, Instant::now()));
        let answer = query().await?;
        *last = Some((number, answer));
        *self.believed.lock().unwrap_or_else(PoisonError::into_inner) = read.map(|(mark, when)| (mark, when, answer));
        Ok(answer)
    }

    fn believed(&self, mark: &Mark) -> Option<T> {
        let believed = *self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        believed.filter(|(known, when, _)| known == mark && when.elapsed() < TRUSTED).map(|(_, _, answer)| answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicI64;

    #[tokio::test]
    async fn the_same_mark_asks_nobody_and_another_one_asks_again() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = folder.path().join("catalog.db");
        File::create(&catalog).unwrap();
        let (ours, theirs) = (MarkFile::for_writer(&catalog).unwrap(), MarkFile::for_writer(&catalog).unwrap());
        assert_eq!(ours.read(), theirs.read());
        let (shared, asked) = (Shared::default(), AtomicI64::new(0));
        let query = || async { Ok(asked.fetch_add(1, Ordering::SeqCst)) };
        assert_eq!(shared.get(Some(&ours), query).await.unwrap(), 0);
        assert_eq!(shared.get(Some(&ours), query).await.unwrap(), 0);
        let committing = theirs.committing();
        assert_eq!(shared.get(Some(&ours), query).await.unwrap(), 1, "while somebody commits, nothing is believed");
        assert_eq!(shared.get(Some(&ours), query).await.unwrap(), 2, "nor if it never comes to an end");
        drop(committing);
        assert_eq!(shared.get(Some(&ours), query).await.unwrap(), 3);
        assert_eq!(shared.get(Some(&ours), query).await.unwrap(), 3);
        assert_eq!(shared.get(None, query).await.unwrap(), 4, "without a mark nothing is believed");
        assert_eq!(shared.get(None, query).await.unwrap(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_while_a_query_runs_share_the_next_one() {
        let (shared, asked) = (Arc::new(Shared::default()), Arc::new(AtomicI64::new(0)));
        let ask = || {
            let (shared, asked) = (Arc::clone(&shared), Arc::clone(&asked));
            tokio::spawn(async move {
                let query = || async {
                    let number = asked.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Ok(number)
                };
                shared.get(None, query).await.unwrap()
            })
        };
        let first = ask();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let others: Vec<_> = (0..20).map(|_| ask()).collect();
        assert_eq!(first.await.unwrap(), 0);
        for other in others {
            assert_eq!(other.await.unwrap(), 1, "not the one that had begun before they came");
        }
    }

    #[tokio::test]
    async fn an_error_is_told_to_who_asked_and_the_next_asks_again() {
        let shared = Shared::<i64>::default();
        let failed = shared.get(None, || async { Err(CatalogError::Text) }).await;
        assert!(matches!(failed, Err(CatalogError::Text)));
        assert_eq!(shared.get(None, || async { Ok(7) }).await.unwrap(), 7);
    }
}
