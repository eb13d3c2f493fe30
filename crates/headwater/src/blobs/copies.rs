//! Copies of what others said, which they would say again: to lose one costs a transfer, no more. Each begins with its own hash, since nothing is
//! synced here, and after a power failure there may be anything.

use std::fs::{self, File};
use std::io::{self, Write};
use std::time::SystemTime;

use headwater_formats::digest::Digest;
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use sha2::{Digest as _, Sha256};

use super::layout::{Layout, make_folder};

/// Length of the hash of all that follows it.
const HASH: usize = 32;

/// The name of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CopyName {
    /// The number of whom it is kept for.
    pub whose: i64,
    /// What it is a copy of.
    pub of: Digest,
}

impl CopyName {
    pub(super) fn file_name(&self) -> String {
        format!("{}-{}", self.whose, self.of)
    }

    fn parse(name: &str) -> Option<Self> {
        let (whose, of) = name.split_once('-')?;
        Some(Self { whose: whose.parse().ok()?, of: of.parse().ok()? })
    }
}

/// See [`super::Blobs::copy`].
pub(super) fn get(layout: &Layout, name: &CopyName) -> Option<Vec<u8>> {
    let path = layout.copy(name);
    let mut copy = fs::read(&path).ok()?;
    let (hash, rest) = copy.split_at_checked(HASH)?;
    if Sha256::digest(rest)[..] != *hash {
        return None;
    }
    copy.drain(..HASH);
    // Whoever tidies up sees that it is of use.
    let _ = File::options().write(true).open(path).and_then(|file| touch(&file));
    Some(copy)
}

/// Says that a file was written to just now, by the clock of who keeps files.
fn touch(file: &File) -> io::Result<()> {
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps { last_access: time(UTIME_OMIT), last_modification: time(UTIME_NOW) };
    Ok(rustix::fs::futimens(file, &times)?)
}

/// See [`super::Blobs::keep_copy`].
pub(super) fn put(layout: &Layout, name: &CopyName, parts: &[&[u8]]) -> io::Result<()> {
    make_folder(&layout.copies())?;
    // Nobody else may read it: it may tell of what is private.
    let mut file = tempfile::NamedTempFile::new_in(layout.copies())?;
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    file.write_all(&hash.finalize())?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.persist(layout.copy(name)).map_err(|error| error.error)?;
    Ok(())
}

/// See [`super::Blobs::retain_copies`].
pub(super) fn retain(layout: &Layout, keep: &dyn Fn(Option<CopyName>, SystemTime) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(layout.copies()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_str().and_then(CopyName::parse);
        let gone = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        };
        match entry.metadata().and_then(|about| about.modified()) {
            Ok(modified) if keep(name, modified) => {}
            Ok(_) => fs::remove_file(entry.path()).or_else(gone)?,
            Err(error) => gone(error)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::blobs::Blobs;

    use super::*;

    fn name(whose: i64, of: &str) -> CopyName {
        CopyName { whose, of: Digest::from_bytes(Sha256::digest(of).into()) }
    }

    #[test]
    fn a_copy_is_what_was_kept_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let (one, other) = (name(7, "one"), name(7, "other"));
        assert_eq!(blobs.copy(&one), None);
        blobs.keep_copy(&one, &[b"a", b"", b"bc"]).unwrap();
        assert_eq!((blobs.copy(&one), blobs.copy(&other)), (Some(b"abc".to_vec()), None));
        blobs.keep_copy(&one, &[b"de"]).unwrap();
        assert_eq!(blobs.copy(&one), Some(b"de".to_vec()));
        let path = folder.path().join("copies").join(one.file_name());
        for damage in [&b""[..], b"de", &[0; 32], &[0; 40]] {
            fs::write(&path, damage).unwrap();
            assert_eq!(blobs.copy(&one), None, "{damage:?}");
        }
    }

    #[test]
    fn what_is_not_needed_goes() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        blobs.retain_copies(&|_, _| false).unwrap();
        let (one, other, theirs) = (name(7, "one"), name(7, "other"), name(-8, "one"));
        for copy in [&one, &other, &theirs] {
            blobs.keep_copy(copy, &[b"x"]).unwrap();
        }
        let left = folder.path().join("copies").join(".tmpleft");
        fs::write(&left, "of a process that was killed").unwrap();
        blobs.retain_copies(&|name, _| name.is_none_or(|name| name.whose != 7 || name == one)).unwrap();
        assert_eq!([&one, &other, &theirs].map(|copy| blobs.copy(copy).is_some()), [true, false, true]);
        assert!(left.exists());
        // Reading one makes it new.
        let path_of = |copy: &CopyName| folder.path().join("copies").join(copy.file_name());
        let old = fs::metadata(path_of(&one)).unwrap().modified().unwrap() - Duration::from_secs(1000);
        for copy in [&one, &theirs] {
            let path = path_of(copy);
            File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
        }
        assert!(blobs.copy(&theirs).is_some());
        blobs.retain_copies(&|_, modified| modified > old + Duration::from_secs(500)).unwrap();
        assert_eq!([&one, &theirs].map(|copy| blobs.copy(copy).is_some()), [false, true]);
    }
}
