use std::fs;
use std::io;
use std::sync::Arc;

use headwater_formats::digest::Digest;

use super::BlobError;
use super::layout::Layout;

/// The blobs in the order of their digests: see [`Blobs::list`](super::Blobs::list).
///
/// A blob that is stored or deleted meanwhile may be listed or not. Files that have no digest's name are passed over.
#[derive(Debug)]
pub struct List {
    layout: Arc<Layout>,
    next_folder: u16,
    names: std::vec::IntoIter<Digest>,
}

impl List {
    pub(super) fn new(layout: Arc<Layout>) -> Self {
        Self { layout, next_folder: 0, names: Vec::new().into_iter() }
    }

    fn read_folder(&self, folder: &str) -> Result<Vec<Digest>, BlobError> {
        let entries = match fs::read_dir(self.layout.blobs().join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut digests = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let digest: Option<Digest> =
                name.to_str().filter(|name| name.starts_with(folder)).and_then(|name| name.parse().ok());
            digests.extend(digest);
        }
        digests.sort_unstable();
        Ok(digests)
    }
}

impl Iterator for List {
    type Item = Result<Digest, BlobError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(digest) = self.names.next() {
                return Some(Ok(digest));
            }
            if self.next_folder > 0xff {
                return None;
            }
            let folder = format!("{:02x}", self.next_folder);
            self.next_folder += 1;
            match self.read_folder(&folder) {
                Ok(digests) => self.names = digests.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
