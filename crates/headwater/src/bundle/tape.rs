//! The tar of a bundle, read as a stream: plain files, one after the other.
//!
//! Headers are read by the crate `tar`, but not the archive: bundles have short names and nothing but files, and whatever else stands in a tar
//! (long names of any length, links, devices) is refused by its first block.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use tar::{EntryType, Header};

use super::BundleError;

/// Bytes in a block of a tar.
const BLOCK: usize = 512;
/// Most bytes behind the end that are looked at: programs fill up to blocks of 10 KiB, some to more.
const MOST_BEHIND: u64 = 1 << 20;

/// A file in the tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) size: u64,
}

/// A tar that is read, shared between who asks for entries and who reads one.
#[derive(Clone)]
pub(super) struct Tape(Arc<Mutex<Inner>>);

struct Inner {
    from: Box<dyn Read + Send>,
    /// What is left of the entry, and the padding behind it.
    left: u64,
    padding: u64,
    cut: bool,
}

impl Tape {
    pub(super) fn new(from: Box<dyn Read + Send>) -> Self {
        Self(Arc::new(Mutex::new(Inner { from, left: 0, padding: 0, cut: false })))
    }

    /// The next file; the one before must have been read to its end. `None` at the end of the tar.
    pub(super) fn next(&self) -> Result<Option<Entry>, BundleError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    /// Whether the bytes ended before the tar did.
    pub(super) fn is_cut(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).cut
    }

    /// Whether there is something behind the end.
    pub(super) fn at_end(&self) -> Result<(), BundleError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).at_end()
    }
}

/// Reads the entry.
impl Read for Tape {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(buffer)
    }
}

impl Inner {
    fn next(&mut self) -> Result<Option<Entry>, BundleError> {
        let mut padding = [0; BLOCK];
        let length = usize::try_from(self.padding).unwrap_or(0).min(BLOCK);
        self.exactly(&mut padding[..length])?;
        self.padding = 0;
        let mut header = Header::new_old();
        self.exactly(header.as_mut_bytes())?;
        if is_zero(header.as_bytes()) {
            let mut second = [0; BLOCK];
            self.exactly(&mut second)?;
            return match is_zero(&second) {
                true => Ok(None),
                false => Err(BundleError::Tar("its end is half of one")),
            };
        }
        let mut summed = header.clone();
        summed.set_cksum();
        if header.cksum().ok() != summed.cksum().ok() {
            return Err(BundleError::Tar("a header has a wrong checksum"));
        }
        let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
        let what = match header.entry_type() {
            EntryType::Regular => None,
            EntryType::Link | EntryType::Symlink => Some("a link"),
            EntryType::Char | EntryType::Block => Some("a device"),
            EntryType::Directory => Some("a folder"),
            EntryType::Fifo => Some("a pipe"),
            _ => Some("an entry of a kind that no bundle has"),
        };
        if let Some(what) = what {
            return Err(BundleError::NoFile { name, what });
        }
        if name.starts_with('/') || name.split('/').any(|part| part == "..") {
            return Err(BundleError::Outside(name));
        }
        // No number above this is a length; adding the padding cannot overflow.
        let size = header.entry_size().ok().filter(|size| *size <= i64::MAX as u64);
        let size = size.ok_or(BundleError::Tar("an entry has an impossible size"))?;
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(Some(Entry { name, size }))
    }

    fn exactly(&mut self, buffer: &mut [u8]) -> Result<(), BundleError> {
        let read = self.from.read_exact(buffer);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                self.cut = true;
                BundleError::Cut
            }
            _ => BundleError::Read(error),
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.from.read(&mut buffer[..wanted])?;
        if read == 0 {
            self.cut = true;
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the bundle ends early"));
        }
        self.left -= read as u64;
        Ok(read)
    }

    fn at_end(&mut self) -> Result<(), BundleError> {
        let mut buffer = vec![0; BLOCK];
        let mut behind = (&mut self.from).take(MOST_BEHIND);
        loop {
            match behind.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) if is_zero(&buffer[..read]) => {}
                Ok(_) => return Err(BundleError::Tar("something stands behind its end; give bundles one by one")),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(BundleError::Read(error)),
            }
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn header(size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_path("files/large").unwrap();
        header.set_size(size);
        header.set_cksum();
        header
    }

    /// Octal digits end at 8 GiB.
    #[test]
    fn files_are_as_large_as_images_are() {
        let size = 200 << 30;
        let mut bytes = header(size).as_bytes().to_vec();
        bytes.extend(b"the beginning");
        let mut tape = Tape::new(Box::new(Cursor::new(bytes)));
        assert_eq!(tape.next().unwrap(), Some(Entry { name: "files/large".into(), size }));
        let mut read = Vec::new();
        let error = tape.read_to_end(&mut read).unwrap_err();
        assert_eq!(
            (read.as_slice(), error.kind(), tape.is_cut()),
            (&b"the beginning"[..], io::ErrorKind::UnexpectedEof, true)
        );
    }

    #[test]
    fn sizes_that_none_has_are_refused() {
        for field in [[0xff; 12], *b"zzzzzzzzzzz\0"] {
            let mut header = header(0);
            header.as_old_mut().size = field;
            header.set_cksum();
            let error = Tape::new(Box::new(Cursor::new(header.as_bytes().to_vec()))).next().unwrap_err();
            assert_eq!(error.to_string(), "the bundle is no tar, or a damaged one: an entry has an impossible size");
        }
    }
}
