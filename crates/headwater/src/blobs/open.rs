use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use headwater_formats::digest::Digest;

use super::BlobError;
use super::layout::Layout;

/// A blob that is open for reading at any offset ([`std::os::unix::fs::FileExt`]). It stays readable when the blob is
/// deleted meanwhile.
#[derive(Debug)]
pub struct OpenBlob {
    /// The file.
    pub file: File,
    /// Its length in bytes.
    pub size: u64,
}

impl OpenBlob {
    /// Reads it from the beginning; any number of readers can share one open blob.
    pub fn reader(&self) -> BlobReader<'_> {
        BlobReader { file: &self.file, position: 0, size: self.size }
    }
}

/// Reads a blob with a position of its own, never past the length that it had when it was opened.
#[derive(Debug, Clone)]
pub struct BlobReader<'a> {
    pub(super) file: &'a File,
    pub(super) position: u64,
    pub(super) size: u64,
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size.saturating_sub(self.position);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..length], self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for BlobReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

/// `None` for "not found".
fn if_there<T>(result: io::Result<T>) -> Result<Option<T>, BlobError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn open(layout: &Layout, digest: &Digest) -> Result<Option<OpenBlob>, BlobError> {
    let Some(file) = if_there(File::open(layout.blob(digest)))? else { return Ok(None) };
    let size = file.metadata()?.len();
    Ok(Some(OpenBlob { file, size }))
}

pub(super) fn stat(layout: &Layout, digest: &Digest) -> Result<Option<u64>, BlobError> {
    Ok(if_there(fs::metadata(layout.blob(digest)))?.map(|metadata| metadata.len()))
}

pub(super) fn link_to(layout: &Layout, digest: &Digest, to: &Path) -> Result<bool, BlobError> {
    match fs::hard_link(layout.blob(digest), to) {
        Ok(()) => Ok(true),
        // Another file system, one without links, a file with too many of them, or a kernel that protects files of
        // other owners from being linked (`fs.protected_hardlinks`).
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::CrossesDevices
                    | io::ErrorKind::Unsupported
                    | io::ErrorKind::TooManyLinks
                    | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}
