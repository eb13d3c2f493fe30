//! Writes a plain tree that any web server can serve: the two documents and the files that they name.
//!
//! ```text
//! streams/v1/index.json       streams/v1/images.json
//! streams/v1/index.json.gpg   streams/v1/images.json.gpg
//! streams/v1/index.sjson      streams/v1/images.sjson
//! signing-key.asc             signing-key.gpg
//! images/<digest>.<extension>
//! ```
//!
//! Deltas are among them as far as all clients of the family handle them.
//!
//! The second to fourth line are there when the catalog has a key that signs streams.
//!
//! The documents are the same bytes as a live server's for the same client family, project and view. Files come first, then the
//! products, then the index, each by a temporary name, a sync and a rename: who reads the tree meanwhile never sees a
//! name whose file is not there. Files that are there already are kept. A file that is not named any more stays
//! for a grace, because clients work with lists that are an hour old; `.headwater-export.json` says since when.
//!
//! Only names that an export gives are ever removed or replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use headwater_formats::digest::Digest;
use headwater_formats::image::{FileFormat, ImageFile};
use headwater_formats::names::ProjectName;
use headwater_formats::simplestreams::render::FilesAt;
use headwater_formats::simplestreams::{Family, INDEX_PATH, PRODUCTS_PATH, slot};
use headwater_formats::timestamp::Timestamp;
use headwater_formats::view::View;
use rustix::fs::FlockOperation;

use super::signatures::Signatures;
use super::{Publisher, blocking, hash};
use crate::auth::Viewer;
use crate::blobs::{BlobError, Blobs};
use crate::catalog::{CatalogError, KeptKey};
use crate::documents::{self, Documents, Stream};
use crate::openpgp::{KeyError, SignError};

/// What the export remembers between two runs; also the sign that a tree is ours.
const STATE: &str = ".headwater-export.json";
/// Beginning of temporary names.
const TEMPORARY: &str = ".headwater-part-";

/// What to export, and where to.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// The top of the tree; made when it is missing.
    pub to: PathBuf,
    /// The project.
    pub project: ProjectName,
    /// A filter.
    pub view: View,
    /// The clients that the tree is for.
    pub family: Family,
    /// Whose eyes the tree shows: everything in it is for everybody who can read it.
    pub viewer: Viewer,
    /// How long files stay after no document names them.
    pub grace_seconds: u32,
    /// Reads the files that are there already, instead of trusting their names and lengths.
    pub rehash: bool,
}

/// What an export did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    /// Files that the documents name.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them that were not there before.
    pub added: u64,
    /// Files that no document names any more, and that were removed.
    pub removed: u64,
    /// Files that no document names any more, and that stay until their grace is over.
    pub leaving: u64,
    /// Whether the documents are signed.
    pub signed: bool,
}

/// Why a tree was not written, or not to its end. The documents in it are the old ones, or the new ones with all files.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The tree cannot be written.
    #[error("{path:?} cannot be written: {source}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A stream that something else made.
    #[error("{0:?} holds a stream that no export of ours made; choose another folder, or empty it")]
    Foreign(PathBuf),
    /// Another export is writing there.
    #[error("another export is writing to {0:?}; wait for its end")]
    Busy(PathBuf),
    /// A file that an image needs.
    #[error("the file {0} is missing or damaged in the store; `headwater verify` tells more")]
    Damaged(String),
    /// Files that are not here.
    #[error(
        "{} of the files that this tree needs {} not here, because a lazy upstream only promises {}; have it keep all of them (`headwater mirror edit \
         NAME --lazy off`, then `headwater mirror run NAME`), or export with a filter that leaves those images out",
        files,
        if *files == 1 { "is" } else { "are" },
        if *files == 1 { "it" } else { "them" }
    )]
    Promised {
        /// How many.
        files: usize,
    },
    /// The key in the catalog is damaged.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The documents could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The store of bytes failed.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Publisher {
    /// Writes or refreshes a tree. Running it again costs what has changed.
    pub async fn export(&self, request: ExportRequest, now: Timestamp) -> Result<Exported, ExportError> {
        let ExportRequest { project, view, family, viewer, .. } = &request;
        let stream = Stream::of_project(viewer, project.clone(), view.clone(), *family);
        let (drafts, files) = documents::with_each_product(&self.catalog, &stream, BTreeSet::new, |files, product| {
            let images = product.versions.iter().flat_map(|version| &version.images);
            for image in images.filter(|image| slot(image).is_some()) {
                files.extend(image.files.iter().map(|(_, file)| Named(file)));
            }
            files.extend(stream.deltas_of(product).iter().map(|delta| Named(delta.file)));
        })
        .await?;
        let digests: Vec<Digest> = files.iter().map(|Named(file)| file.digest).collect();
        match self.catalog.absent(&digests).await?.len() {
            0 => {}
            absent => return Err(ExportError::Promised { files: absent }),
        }
        let documents = drafts.placed(&FilesAt::IMAGES);
        let keys = self.catalog.stream_keys().await?;
        let blobs = self.blobs.clone();
        blocking(move || write_tree(&blobs, &request, &documents, &keys, &files, now)).await
    }
}

/// A file in the order of its name in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Named(ImageFile);

impl Named {
    fn key(&self) -> (Digest, FileFormat) {
        (self.0.digest, self.0.format)
    }
}

impl Ord for Named {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Named {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What [`STATE`] holds.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct State {
    /// Since when files are named by no document, in seconds since 1970.
    leaving: BTreeMap<String, i64>,
    /// Whether signatures in the tree are ours. Those that somebody else puts there stay.
    #[serde(default)]
    signed: bool,
}

fn write_tree(
    blobs: &Blobs,
    request: &ExportRequest,
    documents: &Documents,
    keys: &[KeptKey],
    files: &BTreeSet<Named>,
    now: Timestamp,
) -> Result<Exported, ExportError> {
    let top = &request.to;
    let images = top.join("images");
    fs::create_dir_all(top).map_err(failed(top))?;
    let lock = File::open(top).map_err(failed(top))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(ExportError::Busy(top.clone())),
        Err(errno) => return Err(failed(top)(errno.into())),
    }
    let mut before = read_state(top)?;
    let signatures = Signatures::of(documents, keys, before.signed)?;
    before.signed |= signatures.are_there();
    for folder in [&images, &top.join("streams"), &top.join("streams/v1")] {
        fs::create_dir_all(folder).map_err(failed(folder))?;
        remove_temporaries(folder).map_err(failed(folder))?;
    }
    // First of all, so that a run that is cut short leaves a tree that is known to be ours.
    write(&top.join(STATE), &state_bytes(&before))?;

    let mut exported = Exported::default();
    for Named(file) in files {
        exported.files += 1;
        exported.bytes += file.size;
        exported.added += u64::from(write_file(blobs, file, &images, request.rehash)?);
    }
    sync(&images)?;
    signatures.write_keys(top)?;
    write(&top.join(PRODUCTS_PATH), &documents.products)?;
    signatures.write_products(top)?;
    write(&top.join(INDEX_PATH), &documents.index)?;
    signatures.write_index(top)?;
    exported.signed = signatures.are_there();

    let after = remove_leftovers(&images, files, &before, request.grace_seconds, now, &mut exported)?;
    write(&top.join(STATE), &state_bytes(&after))?;
    Ok(exported)
}

pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> ExportError + use<> {
    let path = path.to_owned();
    move |source| ExportError::Write { path: path.clone(), source }
}

/// What the last run remembered. A stream without our state was made by something else.
fn read_state(top: &Path) -> Result<State, ExportError> {
    let path = top.join(STATE);
    match fs::read(&path) {
        // What cannot be read only makes files stay for another grace.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match top.join(INDEX_PATH).exists() {
            true => Err(ExportError::Foreign(top.to_owned())),
            false => Ok(State::default()),
        },
        Err(error) => Err(failed(&path)(error)),
    }
}

fn state_bytes(state: &State) -> Vec<u8> {
    serde_json::to_vec(state).unwrap_or_default()
}

/// What runs that were cut short left.
fn remove_temporaries(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(TEMPORARY)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn temporary_beside(path: &Path) -> PathBuf {
    path.with_file_name(format!("{TEMPORARY}{}", uuid::Uuid::new_v4().simple()))
}

/// Replaces a small file as a whole, unless it has these bytes already.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let temporary = temporary_beside(path);
    let written = File::create_new(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(failed(path)(error));
    }
    path.parent().map_or(Ok(()), sync)
}

fn sync(folder: &Path) -> Result<(), ExportError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))
}

/// Links or copies a file into the tree; `false` when it was there.
fn write_file(blobs: &Blobs, file: &ImageFile, images: &Path, rehash: bool) -> Result<bool, ExportError> {
    let path = images.join(file.name());
    let whole = |path: &Path| !rehash || hash::of_file(path).is_ok_and(|digest| digest == file.digest);
    if fs::metadata(&path).is_ok_and(|there| there.is_file() && there.len() == file.size) && whole(&path) {
        return Ok(false);
    }
    let temporary = temporary_beside(&path);
    let result = link_or_copy(blobs, file, &temporary).and_then(|()| match whole(&temporary) {
        true => fs::rename(&temporary, &path).map_err(failed(&path)),
        false => Err(ExportError::Damaged(file.name())),
    });
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result.map(|()| true)
}

fn link_or_copy(blobs: &Blobs, file: &ImageFile, to: &Path) -> Result<(), ExportError> {
    let damaged = || ExportError::Damaged(file.name());
    if blobs.stat(&file.digest)? != Some(file.size) {
        return Err(damaged());
    }
    if blobs.link_to(&file.digest, to)? {
        return Ok(());
    }
    let blob = blobs.open_blob(&file.digest)?.ok_or_else(damaged)?;
    let copy = || {
        let mut target = File::create_new(to)?;
        // Two files: the kernel copies, or shares the blocks where the file system can.
        io::copy(&mut &blob.file, &mut target)?;
        target.sync_all()
    };
    copy().map_err(failed(to))
}

/// Removes the files that no document names since the grace; what the next run has to remember.
fn remove_leftovers(
    images: &Path,
    files: &BTreeSet<Named>,
    before: &State,
    grace_seconds: u32,
    now: Timestamp,
    exported: &mut Exported,
) -> Result<State, ExportError> {
    let mut after = State { signed: exported.signed, ..State::default() };
    for entry in fs::read_dir(images).map_err(failed(images))? {
        let entry = entry.map_err(failed(images))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Some(file) = ours(&name) else { continue };
        if files.contains(&Named(file)) {
            continue;
        }
        let since = before.leaving.get(&name).copied().unwrap_or(now.unix());
        if since.saturating_add(i64::from(grace_seconds)) <= now.unix() {
            fs::remove_file(entry.path()).map_err(failed(&entry.path()))?;
            exported.removed += 1;
        } else {
            exported.leaving += 1;
            after.leaving.insert(name, since);
        }
    }
    Ok(after)
}

/// The file of that name, if it is one that an export gives. Its length does not matter here.
fn ours(name: &str) -> Option<ImageFile> {
    let (digest, extension) = name.split_once('.')?;
    Some(ImageFile { digest: digest.parse().ok()?, size: 0, format: FileFormat::from_extension(extension)? })
}
