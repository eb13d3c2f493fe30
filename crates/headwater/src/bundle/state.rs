//! What the maker of bundles remembers of those before: a small JSON file.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::names::ProjectName;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::{BundleError, BundleId};

/// Beginning of temporary names.
const TEMPORARY: &str = ".headwater-bundle-";
/// Its format.
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    format: u32,
    /// Of which project.
    pub(super) project: ProjectName,
    /// The last bundle.
    pub(super) last: BundleId,
    /// Files of the images that the last bundle listed: who has taken in all bundles has them.
    pub(super) files: BTreeSet<Digest>,
    /// All images that any bundle listed.
    pub(super) images: BTreeSet<Fingerprint>,
}

impl State {
    pub(super) fn new(
        project: ProjectName,
        last: BundleId,
        files: BTreeSet<Digest>,
        images: BTreeSet<Fingerprint>,
    ) -> Self {
        Self { format: FORMAT, project, last, files, images }
    }

    /// What is remembered; `None` before the first bundle.
    pub(super) fn read(path: &Path, project: &ProjectName) -> Result<Option<Self>, BundleError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(BundleError::Write { path: path.to_owned(), source }),
        };
        let wrong = |why: String| BundleError::State { path: path.to_owned(), why };
        let state: Self = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if state.format != FORMAT {
            return Err(wrong(format!("it has format {}, and this release reads {FORMAT}", state.format)));
        }
        if state.project != *project {
            return Err(wrong(format!("it is about bundles of the project {:?}", state.project.as_str())));
        }
        Ok(Some(state))
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), BundleError> {
        let bytes = serde_json::to_vec(self).map_err(|error| BundleError::Spool(error.into()))?;
        let mut file = Replacing::begin(path)?;
        file.file().write_all(&bytes).map_err(failed(path))?;
        file.done()
    }
}

/// A file that takes its place when it is complete. Dropped before, it leaves nothing.
pub(super) struct Replacing {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    done: bool,
}

impl Replacing {
    pub(super) fn begin(path: &Path) -> Result<Self, BundleError> {
        remove_dead(folder_of(path)).map_err(failed(path))?;
        loop {
            let name = format!("{TEMPORARY}{}", uuid::Uuid::new_v4().simple());
            let temporary = path.with_file_name(name);
            let file = File::create_new(&temporary).map_err(failed(path))?;
            let new = Self { path: path.to_owned(), temporary, file, done: false };
            rustix::fs::flock(&new.file, FlockOperation::LockExclusive).map_err(|errno| failed(path)(errno.into()))?;
            // Who came between making and locking took it for a dead one.
            if new.file.metadata().map_err(failed(path))?.nlink() > 0 {
                return Ok(new);
            }
        }
    }

    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Makes it durable under its name.
    pub(super) fn done(mut self) -> Result<(), BundleError> {
        let path = &self.path;
        self.file.sync_all().map_err(failed(path))?;
        fs::rename(&self.temporary, path).map_err(failed(path))?;
        self.done = true;
        File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(failed(path))
    }
}

impl Drop for Replacing {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes what runs left that were killed: nobody holds a lock on it.
fn remove_dead(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(|name| name.starts_with(TEMPORARY)) {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else { continue };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            match fs::remove_file(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> BundleError + use<> {
    let path = path.to_owned();
    move |source| BundleError::Write { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_run_left_goes_and_what_another_writes_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at(".headwater-bundle-dead"), b"half").unwrap();
        fs::write(at("theirs"), b"old").unwrap();
        let mut other = Replacing::begin(&at("theirs")).unwrap();
        other.file().write_all(b"new").unwrap();
        let dropped = Replacing::begin(&at("ours")).unwrap();
        let temporaries = [&other, &dropped].map(|one| one.temporary.file_name().unwrap().to_str().unwrap().to_owned());
        let mut expected = [temporaries.as_slice(), &["theirs".to_owned()]].concat();
        expected.sort();
        assert_eq!(names(folder.path()), expected);
        drop(dropped);
        assert_eq!(fs::read(at("theirs")).unwrap(), b"old");
        other.done().unwrap();
        assert_eq!(names(folder.path()), ["theirs"]);
        assert_eq!(fs::read(at("theirs")).unwrap(), b"new");
    }
}
