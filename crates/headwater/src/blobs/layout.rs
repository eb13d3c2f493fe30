//! Where everything is: the only code that knows a path inside the store.
//!
//! ```text
//! VERSION                  the number of this layout
//! sha256/ab/<digest>       the blobs; `ab` are the first two characters of the digest
//! staging/<random>         blobs that are being written
//! staging/<digest>-<random> the same, complete; kept until the catalog names the blob
//! partial/<digest>         files on their way whose digest is known; made when the first of them comes
//! copies/<number>-<digest> what upstreams said, to ask them whether it is still so; may be removed at any time
//! ```
//!
//! A store without `partial` and `copies` is as good as one with them, so that the number of the layout is the same: a release that does not know
//! these folders leaves them alone.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use headwater_formats::digest::Digest;

use super::BlobError;
use super::copies::CopyName;

const VERSION: &str = "1";

#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Checks the store in this folder, or makes it. `VERSION` comes last, so that where it is, all else is.
    pub(super) fn open(root: &Path) -> Result<Self, BlobError> {
        let layout = Self { root: root.to_owned() };
        match layout.read_version()? {
            Some(found) if found == VERSION => Ok(layout),
            Some(found) => Err(BlobError::Layout { found, known: VERSION.to_owned() }),
            None => {
                layout.create()?;
                Ok(layout)
            }
        }
    }

    fn read_version(&self) -> Result<Option<String>, BlobError> {
        let mut text = String::new();
        match File::open(self.root.join("VERSION")) {
            Ok(file) => file.take(64).read_to_string(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(text.trim().to_owned()))
    }

    fn create(&self) -> Result<(), BlobError> {
        fs::create_dir_all(&self.root)?;
        // A first run that was cut short leaves empty folders. Blobs without VERSION were put there by something else.
        if self.blobs().is_dir() && fs::read_dir(self.blobs())?.next().is_some() {
            return Err(BlobError::Layout { found: String::new(), known: VERSION.to_owned() });
        }
        make_folder(&self.blobs())?;
        make_folder(&self.staging())?;
        let temporary = self.staging().join(format!("version-{}", uuid::Uuid::new_v4().simple()));
        let mut file = File::create_new(&temporary)?;
        writeln!(file, "{VERSION}")?;
        file.sync_all()?;
        fs::rename(&temporary, self.root.join("VERSION"))?;
        sync_folder(&self.root)?;
        if let Some(parent) = self.root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }
        Ok(())
    }

    /// The folder of the 256 folders.
    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("sha256")
    }

    /// The folder that holds this blob.
    pub(super) fn folder_of(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(&digest.to_string()[..2])
    }

    /// The blob's file.
    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.blobs().join(&name[..2]).join(name)
    }

    /// The folder of what is being written.
    pub(super) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// The folder of files on their way.
    pub(super) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    /// A file on its way that will have this digest.
    pub(super) fn partial(&self, digest: &Digest) -> PathBuf {
        self.partials().join(digest.to_string())
    }

    /// The folder of copies.
    pub(super) fn copies(&self) -> PathBuf {
        self.root.join("copies")
    }

    /// A copy.
    pub(super) fn copy(&self, name: &CopyName) -> PathBuf {
        self.copies().join(name.file_name())
    }

    /// A new name for something that is being written.
    pub(super) fn staged(&self) -> PathBuf {
        self.staging().join(uuid::Uuid::new_v4().simple().to_string())
    }

    /// A new name for something that is about to be a blob: begins with its digest.
    pub(super) fn announced(&self, digest: &Digest) -> PathBuf {
        self.staging().join(format!("{digest}-{}", uuid::Uuid::new_v4().simple()))
    }
}

/// Makes a folder whose parent exists; somebody else may make it at the same time.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
