//! Which images were downloaded, noted in memory and written down together now and then: a write per download would make
//! every reader wait for the catalog's one writer.
//!
//! Of public images it is only known when they were last used. Of private ones the audit also knows who had them, and from where. Notes of
//! a process that is killed are lost: a `last_used_at` that is a minute too old, and the downloads of the last seconds.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use headwater_formats::digest::Fingerprint;
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;

use crate::auth::Actor;
use crate::catalog::{Catalog, Download};

/// Most images that are noted between two writes; further ones are not.
const MOST: usize = 10_000;

/// The notes.
#[derive(Debug, Default)]
pub struct Used(Mutex<BTreeSet<(ProjectName, Fingerprint)>>);

impl Used {
    /// Notes that an image was downloaded.
    pub fn note(&self, project: &ProjectName, fingerprint: Fingerprint) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() < MOST {
            notes.insert((project.clone(), fingerprint));
        }
    }

    /// Writes the notes down.
    pub async fn flush(&self, catalog: &Catalog, now: Timestamp) {
        let notes: Vec<_> =
            std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect();
        if notes.is_empty() {
            return;
        }
        if let Err(error) = catalog.mark_used(&notes, now).await {
            tracing::warn!(%error, images = notes.len(), "could not note which images were downloaded");
        }
    }
}

/// Downloads of private images that the audit does not have yet.
#[derive(Debug, Default)]
pub struct Downloads(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    noted: HashMap<(Arc<Actor>, Option<ProjectName>, String), Timestamp>,
    /// How many there was no room for.
    lost: u64,
}

impl Downloads {
    /// Notes a download: of an image by its fingerprint, or of a file of one by its digest, when no project was named. One that comes in
    /// pieces, or is begun again, within a few seconds is one line.
    pub fn note(&self, actor: &Arc<Actor>, project: Option<&ProjectName>, subject: impl ToString, at: Timestamp) {
        let mut pending = self.lock();
        let key = (Arc::clone(actor), project.cloned(), subject.to_string());
        if pending.noted.len() < MOST {
            pending.noted.entry(key).or_insert(at);
        } else if !pending.noted.contains_key(&key) {
            pending.lost += 1;
        }
    }

    /// Writes the notes down. When that fails, they are kept for the next time.
    pub async fn flush(&self, catalog: &Catalog) {
        let Pending { noted, lost } = std::mem::take(&mut *self.lock());
        if lost > 0 {
            tracing::warn!(lost, "more private images were downloaded at a time than the audit can note");
        }
        let mut downloads: Vec<Download> =
            noted.into_iter().map(|((actor, project, subject), at)| Download { actor, project, subject, at }).collect();
        downloads.sort_by(|a, b| (a.at, &a.subject).cmp(&(b.at, &b.subject)));
        if let Err(error) = catalog.note_downloads(&downloads).await {
            tracing::warn!(%error, downloads = downloads.len(), "the audit could not be told who downloaded images; it is tried again");
            for Download { actor, project, subject, at } in downloads {
                self.note(&actor, project.as_ref(), subject, at);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::catalog::{AuditQuery, Location};

    fn guest(last: u16) -> Arc<Actor> {
        let bytes = last.to_be_bytes();
        Arc::new(Actor::guest(Some(IpAddr::from([192, 0, bytes[0], bytes[1]]))))
    }

    #[tokio::test]
    async fn downloads_reach_the_audit_once_each_and_never_without_bound() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&Location::Sqlite(folder.path().join("catalog.db"))).await.unwrap();
        let (project, image) = (ProjectName::default_project(), Fingerprint::from_bytes([7; 32]));
        let at = |seconds| Timestamp::from_unix(1_700_000_000_i64 + seconds).unwrap();
        let downloads = Downloads::default();
        downloads.note(&guest(2), Some(&project), image, at(3));
        downloads.note(&guest(1), Some(&project), image, at(1));
        downloads.note(&guest(1), Some(&project), image, at(2));
        downloads.flush(&catalog).await;
        let lines = catalog.audit(&AuditQuery::default(), 10).await.unwrap();
        let told: Vec<_> = lines.iter().map(|line| (line.at, line.address.as_str())).collect();
        assert_eq!(told, [(at(1), "192.0.0.1"), (at(3), "192.0.0.2")]);
        assert!(lines.iter().all(|line| line.action == "image-retrieved" && line.subject == image.to_string()));

        downloads.flush(&catalog).await;
        assert_eq!(catalog.audit(&AuditQuery::default(), 10).await.unwrap().len(), 2, "nothing new");
        for number in 0..u16::try_from(MOST).unwrap() + 5 {
            downloads.note(&guest(number), Some(&project), image, at(4));
        }
        let waiting = |pending: &Pending| (pending.noted.len(), pending.lost);
        assert_eq!(waiting(&downloads.lock()), (MOST, 5));

        catalog.close().await;
        downloads.flush(&catalog).await;
        assert_eq!(downloads.lock().noted.len(), MOST, "kept for the next time");
    }
}
