//! The SHA-256 of what is on disk already.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use headwater_formats::digest::Digest;
use sha2::{Digest as _, Sha256};

/// Bytes that are read at once.
pub(super) const BUFFER: usize = 1 << 20;

/// Reads to the end, part by part.
pub(super) fn each_part(reader: &mut dyn Read, buffer: &mut [u8], mut see: impl FnMut(&[u8])) -> io::Result<()> {
    loop {
        match reader.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => see(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The digest of a file.
pub(super) fn of_file(path: &Path) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    each_part(&mut File::open(path)?, &mut vec![0; BUFFER], |part| hasher.update(part))?;
    Ok(Digest::from_bytes(hasher.finalize().into()))
}
