//! Makes a bundle of a project.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::PathBuf;

use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::image::{Image, ImageFile};
use headwater_formats::names::{AliasName, ProjectName};
use headwater_formats::product::{Line as ProductOf, Product, Version};
use headwater_formats::timestamp::Timestamp;
use headwater_formats::view::View;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::manifest::{
    self, AliasLine, Counts, FORMAT, FileLine, FollowsLine, ImageLine, Line, MOST_LINE, MOST_MANIFEST, NameLine,
    PlaceLine, ProductLine,
};
use super::state::{Replacing, State, failed};
use super::{BundleError, BundleId, Bundles, Head};
use crate::auth::Viewer;
use crate::blobs::Blobs;
use crate::catalog::{AliasTarget, Catalog, CatalogError, Revision};
use crate::publish::blocking;

/// Products, images or aliases that are read at a time.
const PAGE: usize = 64;
/// How often the project is read anew when it changes meanwhile. Then the last reading has to do: each product in it is whole.
const ATTEMPTS: usize = 4;
/// How much is written at once.
const PIECE: usize = 1 << 20;

/// Where a bundle is written to.
pub enum To {
    /// A file, that takes its place when it is complete.
    File(PathBuf),
    /// A stream.
    Stream(Box<dyn Write + Send>),
}

/// What to make a bundle of.
pub struct MakeRequest {
    /// Where it goes.
    pub to: To,
    /// The project.
    pub project: ProjectName,
    /// A filter. Images that are in no product pass only the one of everything.
    pub view: View,
    /// Whose eyes it is made with: what is in a bundle is for everybody who gets hold of it.
    pub viewer: Viewer,
    /// Where it is remembered what earlier bundles had. Without it, the bundle is a whole one.
    pub state: Option<PathBuf>,
    /// When it is made.
    pub made_at: Timestamp,
    /// Stops it.
    pub stop: CancellationToken,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Which bundle it is.
    pub id: BundleId,
    /// The one that it builds on.
    pub builds_on: Option<BundleId>,
    /// How much is in it.
    pub counts: Counts,
    /// Images in it that no earlier bundle listed.
    pub new_images: u64,
}

impl Bundles {
    /// Makes a bundle.
    ///
    /// # Errors
    /// Then there is no bundle, and what is remembered of earlier ones is as before.
    pub async fn make(&self, request: MakeRequest) -> Result<Made, BundleError> {
        let before = match &request.state {
            Some(path) => State::read(path, &request.project)?,
            None => None,
        };
        let blobs = self.publisher.blobs.clone();
        let known = before.as_ref().map(|state| state.files.clone()).unwrap_or_default();
        let seen = before.as_ref().map(|state| state.images.clone()).unwrap_or_default();
        let body = self.read(&request, &known, &seen).await?;
        let digests: Vec<Digest> = body.carried.iter().map(|file| file.digest).collect();
        match self.publisher.catalog.absent(&digests).await?.len() {
            0 => {}
            absent => return Err(BundleError::Promised { files: absent }),
        }
        blocking(move || write(&blobs, request, before, body)).await
    }

    /// Everything but the first line.
    async fn read(
        &self,
        request: &MakeRequest,
        known: &BTreeSet<Digest>,
        seen: &BTreeSet<Fingerprint>,
    ) -> Result<Body, BundleError> {
        let catalog = &self.publisher.catalog;
        let mut revision: Revision = catalog.revision().await?;
        let mut attempt = 1;
        loop {
            let scratch = self.publisher.blobs.scratch().map_err(BundleError::Spool)?;
            let mut body = Body::new(scratch);
            body.fill(catalog, request, known, seen).await?;
            let now = catalog.revision().await?;
            if now == revision || attempt == ATTEMPTS {
                return Ok(body);
            }
            revision = now;
            attempt += 1;
        }
    }
}

/// What is said of a project, spooled.
struct Body {
    lines: BufWriter<File>,
    bytes: u64,
    counts: Counts,
    /// Files to carry, in their order.
    carried: Vec<ImageFile>,
    /// All files of the images.
    files: BTreeSet<Digest>,
    images: BTreeSet<Fingerprint>,
    new_images: u64,
}

impl Body {
    fn new(scratch: File) -> Self {
        Self {
            lines: BufWriter::new(scratch),
            bytes: 0,
            counts: Counts::default(),
            carried: Vec::new(),
            files: BTreeSet::new(),
            images: BTreeSet::new(),
            new_images: 0,
        }
    }

    fn add(&mut self, line: &Line) -> Result<(), BundleError> {
        let mut text = serde_json::to_vec(line).map_err(|error| BundleError::Spool(error.into()))?;
        text.push(b'\n');
        if text.len() as u64 > MOST_LINE {
            return Err(BundleError::LineTooLarge(MOST_LINE));
        }
        self.bytes += text.len() as u64;
        if self.bytes > MOST_MANIFEST / 2 {
            return Err(BundleError::TooLarge(MOST_MANIFEST / 2));
        }
        self.counts.add(line);
        self.lines.write_all(&text).map_err(BundleError::Spool)
    }

    async fn fill(
        &mut self,
        catalog: &Catalog,
        request: &MakeRequest,
        known: &BTreeSet<Digest>,
        seen: &BTreeSet<Fingerprint>,
    ) -> Result<(), BundleError> {
        let MakeRequest { project, view, viewer, .. } = request;
        let names = Names::read(catalog, viewer, project).await?;
        let mut lines_of_products = HashSet::new();
        let mut sources = Sources { known, seen, fixed: names.fixed };
        let mut after: Option<String> = None;
        loop {
            let page = catalog.products(viewer, project, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            let keys: Vec<String> = page.iter().map(|product| product.key.clone()).collect();
            let mut given = catalog.given_names(project, &keys).await?;
            for product in page.into_iter().filter_map(|product| view.narrow(product)) {
                let Product { key, line, extra, versions, .. } = product;
                lines_of_products.insert(words(&line));
                let names = given.remove(&key);
                self.add(&Line::Product(ProductLine { key: key.clone(), names, extra }))?;
                for Version { name, extra, images, .. } in versions {
                    for image in images {
                        let (product, version, extra) = (key.clone(), name.clone(), extra.clone());
                        self.image(image, Some(PlaceLine { product, version, extra }), &mut sources)?;
                    }
                }
            }
        }
        if view.is_everything() {
            let mut after: Option<Fingerprint> = None;
            loop {
                let page = catalog.images(viewer, project, after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.image.fingerprint);
                for stored in page.into_iter().filter(|stored| stored.placement.is_none()) {
                    self.image(stored.image, None, &mut sources)?;
                }
            }
        }
        for alias in names.following {
            let FollowsLine { os, release, variant } = &alias.follows;
            if view.is_everything() || lines_of_products.contains(&[os.clone(), release.clone(), variant.clone()]) {
                self.add(&Line::Alias(alias))?;
            }
        }
        for gone in seen.iter().filter(|image| !self.images.contains(image)).copied().collect::<Vec<_>>() {
            self.add(&Line::Gone(gone))?;
        }
        Ok(())
    }

    fn image(&mut self, image: Image, place: Option<PlaceLine>, sources: &mut Sources<'_>) -> Result<(), BundleError> {
        let mut files = Vec::new();
        for (role, file) in image.files.iter() {
            let new = self.files.insert(file.digest) && !sources.known.contains(&file.digest);
            if new {
                self.carried.push(file);
            }
            let ImageFile { digest, size, format } = file;
            files.push(FileLine { role, digest, size, format, carried: new });
        }
        self.images.insert(image.fingerprint);
        self.new_images += u64::from(!sources.seen.contains(&image.fingerprint));
        self.add(&Line::Image(Box::new(ImageLine {
            fingerprint: image.fingerprint,
            image_type: image.image_type,
            architecture: image.architecture,
            files,
            filename: image.filename,
            created_at: image.created_at,
            expires_at: image.expires_at,
            public: image.public,
            properties: image.properties,
            profiles: image.profiles,
            aliases: sources.fixed.remove(&image.fingerprint).unwrap_or_default(),
            place,
        })))
    }
}

/// What lines are made with.
struct Sources<'a> {
    known: &'a BTreeSet<Digest>,
    seen: &'a BTreeSet<Fingerprint>,
    fixed: BTreeMap<Fingerprint, Vec<NameLine>>,
}

/// The aliases that were made by hand.
#[derive(Default)]
struct Names {
    fixed: BTreeMap<Fingerprint, Vec<NameLine>>,
    following: Vec<AliasLine>,
}

impl Names {
    async fn read(catalog: &Catalog, viewer: &Viewer, project: &ProjectName) -> Result<Self, CatalogError> {
        let mut names = Self::default();
        let mut after: Option<AliasName> = None;
        loop {
            let page = catalog.aliases(viewer, project, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(names) };
            after = Some(last.name.clone());
            for alias in page.into_iter().filter(|alias| !alias.generated) {
                let (name, description) = (alias.name, alias.description);
                match alias.target {
                    AliasTarget::Image(image) => {
                        names.fixed.entry(image).or_default().push(NameLine { name, description });
                    }
                    AliasTarget::Follows { os, release, variant } => {
                        let follows = FollowsLine { os, release, variant };
                        names.following.push(AliasLine { name, description, follows });
                    }
                }
            }
        }
    }
}

/// What an alias that follows a product knows of it.
fn words(line: &ProductOf) -> [String; 3] {
    [line.os.to_lowercase(), line.release.to_lowercase(), line.variant.to_lowercase()]
}

/// Writes all of it, and then what is to be remembered.
fn write(blobs: &Blobs, request: MakeRequest, before: Option<State>, body: Body) -> Result<Made, BundleError> {
    let MakeRequest { to, project, view, viewer, state, made_at, stop } = request;
    let builds_on = before.as_ref().map(|state| state.last.clone());
    let head = Head {
        format: FORMAT,
        made_at,
        private: viewer.sees_private_in(&project),
        project: project.clone(),
        only: view.words().to_string(),
        builds_on: builds_on.clone(),
        counts: body.counts,
    };
    let mut first =
        serde_json::to_vec(&Line::Bundle(Box::new(head))).map_err(|error| BundleError::Spool(error.into()))?;
    first.push(b'\n');
    let mut lines = body.lines.into_inner().map_err(|error| BundleError::Spool(error.into_error()))?;
    lines.rewind().map_err(BundleError::Spool)?;
    let size = first.len() as u64 + body.bytes;
    let mut manifest = Hashing::new(first.as_slice().chain(BufReader::new(lines)), &stop);
    let id = match to {
        To::Stream(to) => {
            let stream = BundleError::Stream;
            let mut tar = tar::Builder::new(BufWriter::with_capacity(PIECE, to));
            let id = fill(&mut tar, &mut manifest, size, blobs, &body.carried, made_at, &stop, stream)?;
            tar.into_inner().and_then(|mut to| to.flush()).map_err(stream)?;
            id
        }
        To::File(path) => {
            let mut file = Replacing::begin(&path)?;
            let mut tar = tar::Builder::new(BufWriter::with_capacity(PIECE, file.file()));
            let id = fill(&mut tar, &mut manifest, size, blobs, &body.carried, made_at, &stop, failed(&path))?;
            tar.into_inner().and_then(|mut to| to.flush()).map_err(failed(&path))?;
            file.done()?;
            id
        }
    };
    let id = BundleId { id, made_at };
    if let Some(path) = state {
        let mut images = before.map(|state| state.images).unwrap_or_default();
        images.extend(body.images);
        State::new(project, id.clone(), body.files, images).write(&path)?;
    }
    Ok(Made { id, builds_on, counts: body.counts, new_images: body.new_images })
}

/// Writes manifest and files; gives the SHA-256 of the manifest.
#[allow(clippy::too_many_arguments, reason = "they are what a bundle is made of, used once each")]
fn fill<W: Write, R: Read>(
    tar: &mut tar::Builder<W>,
    manifest: &mut Hashing<'_, R>,
    size: u64,
    blobs: &Blobs,
    carried: &[ImageFile],
    made_at: Timestamp,
    stop: &CancellationToken,
    failed: impl Fn(io::Error) -> BundleError,
) -> Result<Digest, BundleError> {
    let told = |error| if stop.is_cancelled() { BundleError::Stopped } else { failed(error) };
    tar.append(&header(manifest::NAME, size, made_at).map_err(&told)?, &mut *manifest).map_err(&told)?;
    let (id, _) = manifest.sum();
    for file in carried {
        let blob = blobs.open_blob(&file.digest)?.filter(|blob| blob.size == file.size);
        let blob = blob.ok_or(BundleError::Store(file.digest))?;
        let mut reader = Hashing::new(blob.reader(), stop);
        let header = header(&manifest::file_name(file), file.size, made_at).map_err(&told)?;
        tar.append(&header, &mut reader).map_err(&told)?;
        if reader.sum() != (file.digest, file.size) {
            return Err(BundleError::Store(file.digest));
        }
    }
    Ok(id)
}

fn header(name: &str, size: u64, made_at: Timestamp) -> io::Result<tar::Header> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(u64::try_from(made_at.unix()).unwrap_or(0));
    header.set_cksum();
    Ok(header)
}

/// Hashes and counts what is read.
struct Hashing<'a, R> {
    from: R,
    hasher: Sha256,
    size: u64,
    stop: &'a CancellationToken,
}

impl<'a, R: Read> Hashing<'a, R> {
    fn new(from: R, stop: &'a CancellationToken) -> Self {
        Self { from, hasher: Sha256::new(), size: 0, stop }
    }

    fn sum(&self) -> (Digest, u64) {
        (Digest::from_bytes(self.hasher.clone().finalize().into()), self.size)
    }
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("stopped"));
        }
        let read = self.from.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.size += read as u64;
        Ok(read)
    }
}
