//! The only writer of bytes and rows together: take in, check, list; then take away what rules let go, sweep, verify, export. Lists deltas that others built, too.
//!
//! ```no_run
//! # async fn example(publisher: headwater::publish::Publisher, now: headwater_formats::timestamp::Timestamp)
//! # -> Result<(), headwater::publish::PublishError> {
//! use std::sync::Arc;
//! use headwater::publish::{Listing, Packing, Request, Silent, Source};
//! use headwater_formats::names::ProjectName;
//!
//! let request = Request {
//!     project: ProjectName::default_project(),
//!     first: Source::File("incus.tar.xz".into()),
//!     root: Some(Source::File("rootfs.squashfs".into())),
//!     listing: Listing { public: true, ..Listing::default() },
//!     packing: Packing::AsGiven,
//! };
//! let published = publisher.publish(request, Arc::new(Silent), now).await?;
//! # Ok(()) }
//! ```
//!
//! A publication has three steps. **Take in**: one pass over the bytes stages and hashes them. **Inspect**: what they are
//! is told by looking into the staged files, so that bad input leaves nothing. **Commit**: first the bytes are made
//! durable, then one transaction lists the image. A crash between the two leaves bytes that nobody knows of, which the next
//! [sweep](Publisher::sweep) removes; never a row without bytes.
//!
//! This room knows nothing of HTTP or of the terminal: progress goes to a [`Progress`], bytes come from a [`Source`].

mod cache;
mod delta;
mod directory;
mod error;
mod export;
mod hash;
mod ingest;
mod repack;
mod retention;
mod signatures;
mod sweep;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use headwater_formats::arch::Architecture;
use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::image::{Image, ImageFile, ImageFiles, ImageType, UpdateSource};
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;
use sha2::Sha256;

use crate::auth::{Actor, IdentityId, Viewer};
use crate::blobs::{Blobs, Placed, Staged};
use crate::catalog::{Catalog, CatalogError, Committed, Given, ImageAlias, NewImage, Project, StoredImage};
use crate::fail_point;

pub use cache::{Both, LetGo};
pub use directory::{DirectoryRequest, PlannedImage, plan_directory};
pub use error::PublishError;
pub use export::{ExportError, ExportRequest, Exported};
pub use retention::{Judged, PruneTotals, Stays, is_young, judge};
pub use sweep::{SweepTotals, Swept};
pub use verify::{Damage, Verified, VerifyEvent};

use ingest::{Expected, Staging};
use repack::Stop;

/// Most bytes that one image may have unless another limit is set: 256 GiB.
pub const MAX_IMAGE_BYTES: u64 = 256 << 30;

/// Bytes to publish.
pub enum Source {
    /// A file on this machine.
    File(PathBuf),
    /// A stream of unknown length, and what to call it in messages and as `filename`.
    Stream {
        /// Its name, without folders.
        name: String,
        /// The bytes.
        reader: Box<dyn Read + Send>,
    },
    /// A stream that begins where another one ends, such as the second file of one upload: asked for when the files before it
    /// were read and found good. Called where blocking is allowed.
    Later(Box<dyn FnOnce() -> io::Result<Opened> + Send>),
    /// A stream that begins like that, and has to turn out to be this very file: else the image is refused.
    Known {
        /// What its length and SHA-256 have to be.
        file: ImageFile,
        /// Gives the bytes.
        open: Box<dyn FnOnce() -> io::Result<Opened> + Send>,
    },
    /// Bytes that are staged already: they are looked into as all others, but neither read nor copied again.
    Staged(Box<Ready>),
}

/// A file that was staged by somebody who knew its digest beforehand.
pub struct Ready {
    name: String,
    staged: Staged,
    /// The digest of the metadata file, and the computation that went on from there through this file.
    both: Option<(Digest, Sha256)>,
}

impl Ready {
    /// A file, and what to call it, without folders.
    pub(crate) fn new(name: impl Into<String>, staged: Staged) -> Self {
        Self { name: name.into(), staged, both: None }
    }

    /// The same as the root file of a split image, with the SHA-256 computation that went through the metadata file of that digest, and then
    /// through this file. Of another metadata file it is of no use, and the file is read again.
    pub(crate) fn after(self, metadata: Digest, both: Sha256) -> Self {
        Self { both: Some((metadata, both)), ..self }
    }
}

/// A stream that has begun.
pub struct Opened {
    /// Its name, without folders.
    pub name: String,
    /// The bytes.
    pub reader: Box<dyn Read + Send>,
}

/// What to publish, and how it is to be listed.
pub struct Request {
    /// The project.
    pub project: ProjectName,
    /// The metadata file of a split image, or the only file of a unified one.
    pub first: Source,
    /// The root file of a split image.
    pub root: Option<Source>,
    /// How it is to be listed.
    pub listing: Listing,
    /// How its root file is to be packed.
    pub packing: Packing,
}

/// How the root file of a split image is to be packed. An image whose [fingerprint](Listing::fingerprint) was announced stays as
/// it is in any case, and so do unified images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Packing {
    /// As it is.
    #[default]
    AsGiven,
    /// So that deltas between versions are small.
    ForDeltas,
    /// As it is, unless the project says that containers' root files are packed for deltas.
    AsProjectSays,
}

/// What became of the root file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packed {
    /// It is as it was given: that was wanted.
    AsGiven,
    /// It was packed anew, so that the image has another fingerprint.
    Anew {
        /// The fingerprint of what was given.
        from: Fingerprint,
        /// How many bytes the root file had.
        before: u64,
        /// How many it has.
        after: u64,
    },
    /// It is as it was given, for this reason.
    Left(String),
}

/// The property that holds the fingerprint of the files that an image was made from by packing its root file anew.
pub const REPACKED_FROM: &str = "headwater.repacked_from";

/// How an image is to be listed. The default is what its metadata.yaml says, for nobody but its project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Whether guests may see it.
    pub public: bool,
    /// Properties that are added to those of metadata.yaml, or replace them.
    pub properties: BTreeMap<String, String>,
    /// Whether those of metadata.yaml are left out.
    pub only_these_properties: bool,
    /// Fixed aliases.
    pub aliases: Vec<ImageAlias>,
    /// Whether aliases that lead to another image are an error; else they are moved.
    pub new_aliases: bool,
    /// What its file is said to be called.
    pub filename: Filename,
    /// When it expires; `None` leaves what metadata.yaml says.
    pub expires_at: Option<Timestamp>,
    /// Whether what metadata.yaml says of that is left out.
    pub only_this_expiry: bool,
    /// Names of profiles; `None` for the usual one.
    pub profiles: Option<Vec<String>>,
    /// Whether it follows its source.
    pub auto_update: bool,
    /// Where it was copied from.
    pub update_source: Option<UpdateSource>,
    /// What its fingerprint has to be.
    pub fingerprint: Option<Fingerprint>,
    /// Who may manage it as its publisher; `None` is who publishes it.
    pub published_by: Option<IdentityId>,
    /// Where its upstream has it, when it is mirrored.
    pub given: Option<Given>,
}

/// What an image's file is said to be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Filename {
    /// As the first file is.
    #[default]
    First,
    /// As the root file is, if there is one; else as the first.
    Root,
    /// Like this.
    Given(String),
}

/// Told while bytes are taken in. Called from a blocking thread, often; must be quick.
pub trait Progress: Send + Sync {
    /// A file begins; `total` is its length in bytes when known.
    fn begin(&self, name: &str, total: Option<u64>) {
        let _ = (name, total);
    }
    /// So many more bytes were taken in.
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }
    /// The file is complete.
    fn end(&self) {}
}

/// Tells nobody.
pub struct Silent;
impl Progress for Silent {}

/// An image that was taken in and found good, and is not listed yet. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Prepared {
    staging: Staging,
    project: ProjectName,
    listing: Listing,
}

impl Prepared {
    fn new(staging: Staging, project: ProjectName, listing: Listing) -> Result<Self, PublishError> {
        match listing.fingerprint.filter(|expected| *expected != staging.fingerprint()) {
            Some(expected) => Err(PublishError::Fingerprint { expected, found: staging.fingerprint() }),
            None => Ok(Self { staging, project, listing }),
        }
    }

    /// The architecture that the image names.
    pub fn architecture(&self) -> Architecture {
        self.staging.architecture()
    }

    /// What its files make it.
    pub fn image_type(&self) -> ImageType {
        self.staging.image_type()
    }

    /// Its files, as their bytes tell.
    pub fn files(&self) -> ImageFiles {
        self.staging.files()
    }
}

/// Images whose bytes are durable, and that are not listed yet: see [`Publisher::place`].
#[derive(Debug)]
pub struct Durable {
    images: Vec<(Image, Packed, ProjectName, Listing)>,
    /// The files of each.
    placed: Vec<Vec<Placed>>,
}

/// What came of a request.
#[derive(Debug, Clone)]
pub struct Published {
    /// The image as it is listed.
    pub image: StoredImage,
    /// The project had it before; nothing was changed.
    pub already: bool,
    /// What became of its root file.
    pub packed: Packed,
}

/// The room's handle.
#[derive(Debug, Clone)]
pub struct Publisher {
    /// What exists.
    pub catalog: Catalog,
    /// The bytes.
    pub blobs: Blobs,
    max_image_bytes: u64,
}

impl Publisher {
    /// Writes to this catalog and these blobs.
    pub fn new(catalog: Catalog, blobs: Blobs) -> Self {
        Self { catalog, blobs, max_image_bytes: MAX_IMAGE_BYTES }
    }

    /// The same publisher for changes on behalf of this actor: see [`Catalog::acting`].
    pub fn acting(&self, actor: impl Into<Arc<Actor>>) -> Self {
        Self { catalog: self.catalog.acting(actor), ..self.clone() }
    }

    /// With another limit for the bytes of one image, all its files together.
    pub fn with_max_image_bytes(self, max_image_bytes: u64) -> Self {
        Self { max_image_bytes, ..self }
    }

    /// Takes in, checks and lists one image. When it returns `Ok`, the image is durable and every server on this
    /// catalog lists it. Publishing the same bytes into the same project again changes nothing and says so.
    ///
    /// When this future is dropped, the bytes that were taken in so far are thrown away in the background.
    pub async fn publish(
        &self,
        request: Request,
        progress: Arc<dyn Progress>,
        now: Timestamp,
    ) -> Result<Published, PublishError> {
        self.publish_when(request, progress, || now).await
    }

    /// The same for bytes that take long to come: the time is asked for when the image is about to be listed.
    pub async fn publish_when(
        &self,
        request: Request,
        progress: Arc<dyn Progress>,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Published, PublishError> {
        let prepared = self.prepare(request, progress).await?;
        self.list_one(prepared, now()).await
    }

    /// Takes in and checks one image, and lists nothing yet: see [`Publisher::list`].
    pub async fn prepare(&self, request: Request, progress: Arc<dyn Progress>) -> Result<Prepared, PublishError> {
        let Request { project, first, root, listing, packing } = request;
        // Who announced a fingerprint looks for it.
        let packing = if listing.fingerprint.is_some() { Packing::AsGiven } else { packing };
        let packing = packing.in_project(&self.require_project(&project).await?);
        let staging = self.stage(first, root, Expected::default(), packing, progress).await?;
        Prepared::new(staging, project, listing)
    }

    /// [`Publisher::prepare`] of bytes that are here already, and stay as they are. Blocks; that the project is missing is told when the image is listed.
    pub(crate) fn prepare_staged(&self, request: Request) -> Result<Prepared, PublishError> {
        let Request { project, first, root, listing, .. } = request;
        let staging = ingest::stage(&self.blobs, first, root, &Expected::default(), self.max_image_bytes, &Silent)?;
        Prepared::new(staging, project, listing)
    }

    async fn list_one(&self, prepared: Prepared, now: Timestamp) -> Result<Published, PublishError> {
        let mut listed = self.list(vec![prepared], now).await?;
        listed.pop().ok_or_else(|| CatalogError::Corrupt("an image is missing".into()).into())
    }

    /// So that nobody uploads gigabytes before hearing that the project is missing.
    async fn require_project(&self, project: &ProjectName) -> Result<Project, PublishError> {
        let found = self.catalog.project(&Viewer::operator(), project).await?;
        Ok(found.ok_or_else(|| CatalogError::NoProject(project.to_string()))?)
    }

    async fn stage(
        &self,
        first: Source,
        root: Option<Source>,
        expected: Expected,
        packing: Packing,
        progress: Arc<dyn Progress>,
    ) -> Result<Staging, PublishError> {
        let (blobs, limit) = (self.blobs.clone(), self.max_image_bytes);
        let stop = Stop::default();
        // Packing takes long: it ends when this future is dropped.
        let _guard = stop.guard();
        let work = move || {
            let staging = ingest::stage(&blobs, first, root, &expected, limit, &*progress)?;
            let staging = staging.packed(&blobs, packing, limit, &stop)?;
            fail_point::reached("publish::packed");
            Ok(staging)
        };
        blocking(work).await
    }

    /// Lists images that were taken in, all in one transaction, or none: what comes back has one entry for each, in their order. Their bytes are made
    /// durable together before that.
    pub async fn list(&self, prepared: Vec<Prepared>, now: Timestamp) -> Result<Vec<Published>, PublishError> {
        let durable = self.place(prepared).await?;
        let packed: Vec<Packed> = durable.images.iter().map(|(_, packed, ..)| packed.clone()).collect();
        let (new, mut placed) = durable.new_images(now);
        let committed = self.catalog.commit_images(&new, now, |number| ensure(&mut placed, number)).await?;
        listed(placed).await;
        let published = committed.into_iter().zip(packed).map(|(committed, packed)| match committed {
            Committed::New(image) => Published { image, already: false, packed },
            Committed::Already(image) => Published { image, already: true, packed },
        });
        Ok(published.collect())
    }

    /// The first half of [`Publisher::list`]: makes the bytes of images durable. Nobody knows of them yet, and dropped, they are left to a sweep.
    pub async fn place(&self, prepared: Vec<Prepared>) -> Result<Durable, PublishError> {
        let blobs = self.blobs.clone();
        let durable = blocking(move || {
            let (mut stagings, mut images) = (Vec::new(), Vec::new());
            for Prepared { staging, project, listing } in prepared {
                // When it is listed is said then.
                let image = staging.image(&listing.filename, Timestamp::EPOCH);
                images.push((image, staging.packed.clone(), project, listing));
                stagings.push(staging);
            }
            Ok::<_, PublishError>(Durable { images, placed: place(&blobs, stagings)? })
        });
        let durable = durable.await?;
        fail_point::reached("publish::before-commit");
        Ok(durable)
    }

    /// The second half of [`Publisher::list`], for who does not want to know what came of it. Gives what has to be dropped where blocking is allowed.
    pub async fn list_durable(&self, durable: Durable, now: Timestamp) -> Result<impl Send + 'static, PublishError> {
        let (new, mut placed) = durable.new_images(now);
        self.catalog.list_images(&new, now, |number| ensure(&mut placed, number)).await?;
        fail_point::reached("publish::after-commit");
        Ok(placed)
    }
}

impl Durable {
    /// As they are to be listed, and the files of each.
    fn new_images(self, now: Timestamp) -> (Vec<NewImage>, Vec<Vec<Placed>>) {
        let new = self.images.into_iter().map(|(mut image, packed, project, listing)| {
            image.uploaded_at = now;
            listing.apply(&mut image);
            let repacked_from = match packed {
                Packed::Anew { from, .. } => Some(from),
                Packed::AsGiven | Packed::Left(_) => None,
            };
            if let Some(from) = repacked_from {
                image.properties.insert(REPACKED_FROM.to_owned(), from.to_string());
            }
            NewImage {
                project,
                image,
                aliases: listing.aliases,
                new_aliases: listing.new_aliases,
                published_by: listing.published_by,
                given: listing.given,
                repacked_from,
            }
        });
        (new.collect(), self.placed)
    }
}

/// Makes sure that the bytes of an image are in place when it is listed.
fn ensure(placed: &mut [Vec<Placed>], number: usize) -> io::Result<()> {
    placed.get_mut(number).into_iter().flatten().try_for_each(Placed::ensure)?;
    fail_point::reached("publish::ensured");
    Ok(())
}

/// Lets go of files that the catalog names now.
async fn listed(placed: Vec<Vec<Placed>>) {
    fail_point::reached("publish::after-commit");
    // Not before: as long as these are there, no sweep removes the bytes.
    blocking(move || drop(placed)).await;
}

impl Packing {
    /// What it means in a project.
    fn in_project(self, project: &Project) -> Self {
        if self == Self::AsProjectSays && !project.repack { Self::AsGiven } else { self }
    }
}

impl Listing {
    fn apply(&self, image: &mut Image) {
        image.public = self.public;
        if self.only_these_properties {
            image.properties.clear();
        }
        image.properties.extend(self.properties.clone());
        image.expires_at = self.expires_at.or(image.expires_at.filter(|_| !self.only_this_expiry));
        image.auto_update = self.auto_update;
        image.update_source.clone_from(&self.update_source);
        if let Some(profiles) = &self.profiles {
            image.profiles.clone_from(profiles);
        }
    }
}

/// Makes the files of images durable: one image's at a time, or those of many together. The files of each.
fn place(blobs: &Blobs, stagings: Vec<Staging>) -> Result<Vec<Vec<Placed>>, PublishError> {
    if stagings.len() == 1 {
        return stagings.into_iter().map(Staging::place).collect();
    }
    let files: Vec<Vec<Staged>> = stagings.into_iter().map(Staging::into_files).collect();
    let counts: Vec<usize> = files.iter().map(Vec::len).collect();
    let mut placed = blobs.commit_all(files.into_iter().flatten().collect())?.into_iter();
    Ok(counts.into_iter().map(|count| placed.by_ref().take(count).collect()).collect())
}

/// Runs what blocks, or takes a while, where that is allowed; a panic in there goes on here.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is shutting down cancels what it was given, and then nobody waits here any more.
            Err(_) => std::future::pending().await,
        },
    }
}
