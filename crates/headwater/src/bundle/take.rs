//! Takes a bundle in: reads it once, and lists images as their files are here.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::image::{FileRole, ImageFile};
use headwater_formats::names::{AliasName, ProjectName, VersionName};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::manifest::{self, AliasLine, FileLine, ImageLine, Line, Lines, MOST_MANIFEST, NAME, ProductLine, file_name};
use super::tape::Tape;
use super::{BundleError, BundleId, Bundles, Head};
use crate::auth::Viewer;
use crate::catalog::{AliasEdit, AliasTarget, CatalogError, Given, GivenProduct, HandMade, ImageAlias, ImageEdit};
use crate::publish::{Filename, Listing, Opened, Packing, Prepared, Progress, PublishError, Request, Source, blocking};

/// Most images that are listed in one transaction, …
const TOGETHER: usize = 64;
/// … and bytes that wait for that.
const TOGETHER_BYTES: u64 = 256 << 20;
/// How much is read at once of what is only looked at.
const PIECE: usize = 256 << 10;

/// How a bundle is to be taken in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakeRequest {
    /// The project; without it, the one of the same name as that which the bundle was made of.
    pub project: Option<ProjectName>,
    /// Whether what is here already becomes as the bundle has it.
    pub update: bool,
    /// Whether images go that earlier bundles listed and this one does not.
    pub prune: bool,
}

/// What became of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Which bundle it was.
    pub id: BundleId,
    /// What it says of itself.
    pub head: Head,
    /// The project that it was taken into.
    pub project: ProjectName,
    /// Images that are new.
    pub listed: u64,
    /// Images that were here.
    pub already: u64,
    /// Those of them that were changed.
    pub updated: u64,
    /// Images whose files are neither here nor in the bundle.
    pub missing: u64,
    /// Aliases that lead to something else here, and were left so.
    pub aliases_left: u64,
    /// Images that went.
    pub removed: u64,
}

/// Told what happens.
pub trait Tell: Send + Sync {
    /// Who is told about bytes.
    fn progress(&self) -> Arc<dyn Progress> {
        Arc::new(crate::publish::Silent)
    }
    /// So many more images are listed.
    fn listed(&self, images: u64) {
        let _ = images;
    }
    /// An image cannot be taken in, because this file of it is neither here nor in the bundle.
    fn missing(&self, image: &Fingerprint, file: &Digest) {
        let _ = (image, file);
    }
    /// An alias stays, because it leads to something else here.
    fn alias_left(&self, name: &AliasName) {
        let _ = name;
    }
}

/// Tells nobody.
pub struct Unseen;
impl Tell for Unseen {}

impl Bundles {
    /// Takes a bundle in.
    ///
    /// # Errors
    /// What was complete until then is listed. That files of images are missing is no error: they are counted.
    pub async fn take(
        &self,
        from: Box<dyn Read + Send>,
        request: TakeRequest,
        tell: &dyn Tell,
    ) -> Result<Taken, BundleError> {
        let tape = Tape::new(from);
        let spool = self.publisher.blobs.scratch().map_err(BundleError::Spool)?;
        let reading = tape.clone();
        let (id, head, lines) = blocking(move || open(reading, spool)).await?;
        let project = request.project.clone().unwrap_or_else(|| head.project.clone());
        if self.publisher.catalog.project(&Viewer::operator(), &project).await?.is_none() {
            return Err(CatalogError::NoProject(project.to_string()).into());
        }
        let id = BundleId { id, made_at: head.made_at };
        let taken =
            Taken { id, head, project, listed: 0, already: 0, updated: 0, missing: 0, aliases_left: 0, removed: 0 };
        let mut taking =
            Taking { room: self, request, tell, tape, taken, waiting: Vec::new(), bytes: 0, product: None };
        let done = taking.all(lines).await;
        // What was complete before something went wrong is listed.
        let listed = taking.list().await;
        done.and(listed)?;
        Ok(taking.taken)
    }
}

/// Spools the manifest and checks it; its SHA-256.
fn open(mut tape: Tape, mut spool: std::fs::File) -> Result<(Digest, Head, Lines), BundleError> {
    let first = tape.next()?.ok_or_else(|| BundleError::NoBundle(String::new()))?;
    if first.name != NAME {
        return Err(BundleError::NoBundle(first.name));
    }
    if first.size > MOST_MANIFEST {
        return Err(BundleError::TooLarge(MOST_MANIFEST));
    }
    let id = through(&mut tape, |piece| spool.write_all(piece).map_err(BundleError::Spool))?;
    let (head, lines) = manifest::checked(spool)?;
    Ok((id, head, lines))
}

/// Reads the entry to its end; its SHA-256.
fn through(tape: &mut Tape, mut see: impl FnMut(&[u8]) -> Result<(), BundleError>) -> Result<Digest, BundleError> {
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE]);
    loop {
        match tape.read(&mut piece) {
            Ok(0) => return Ok(Digest::from_bytes(hasher.finalize().into())),
            Ok(read) => {
                hasher.update(&piece[..read]);
                see(&piece[..read])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if tape.is_cut() => return Err(BundleError::Cut),
            Err(error) => return Err(BundleError::Read(error)),
        }
    }
}

/// Comes to the next entry, which has to be this file.
fn expect(tape: &Tape, file: &ImageFile) -> Result<String, BundleError> {
    let wanted = file_name(file);
    match tape.next()? {
        Some(entry) if entry.name == wanted && entry.size == file.size => Ok(wanted),
        Some(entry) if entry.name == NAME => Err(BundleError::SecondManifest),
        Some(entry) => Err(BundleError::Unnamed { found: entry.name, size: entry.size, wanted: Some(wanted) }),
        None => Err(BundleError::Cut),
    }
}

/// Reads the next file, which is not needed, and makes sure that it is what its name says.
fn pass(tape: &mut Tape, file: &ImageFile) -> Result<(), BundleError> {
    let name = expect(tape, file)?;
    match through(tape, |_| Ok(()))? {
        found if found == file.digest => Ok(()),
        found => Err(BundleError::Damaged { name, found }),
    }
}

/// Makes sure that nothing follows.
fn end(tape: &Tape) -> Result<(), BundleError> {
    match tape.next()? {
        None => tape.at_end(),
        Some(entry) if entry.name == NAME => Err(BundleError::SecondManifest),
        Some(entry) => Err(BundleError::Unnamed { found: entry.name, size: entry.size, wanted: None }),
    }
}

/// A product whose images come.
struct Current {
    given: GivenProduct,
    /// The versions of images that are here and are to become as the bundle has them.
    described: BTreeMap<VersionName, BTreeMap<String, Json>>,
}

/// A bundle that is being taken in.
struct Taking<'a> {
    room: &'a Bundles,
    request: TakeRequest,
    tell: &'a dyn Tell,
    tape: Tape,
    taken: Taken,
    /// Images whose files are here, that are not listed yet, and the bytes of these files.
    waiting: Vec<Prepared>,
    bytes: u64,
    product: Option<Current>,
}

impl Taking<'_> {
    async fn all(&mut self, mut lines: Lines) -> Result<(), BundleError> {
        loop {
            let (page, rest) = page(lines).await?;
            lines = rest;
            if page.is_empty() {
                break;
            }
            let images = page.iter().filter_map(|line| match line {
                Line::Image(image) => Some(image.fingerprint),
                _ => None,
            });
            let images: Vec<Fingerprint> = images.collect();
            let present = self.room.publisher.catalog.present(&self.taken.project, &images).await?;
            for line in page {
                match line {
                    // It was read before.
                    Line::Bundle(_) => {}
                    Line::Product(product) => self.begin_product(product).await?,
                    Line::Image(image) if present.contains(&image.fingerprint) => self.have(*image).await?,
                    Line::Image(image) => self.image(*image).await?,
                    Line::Alias(alias) => {
                        // It may have the name of something that waits.
                        self.list().await?;
                        self.alias(alias).await?;
                    }
                    // When all else is done.
                    Line::Gone(_) => {}
                }
            }
        }
        self.end_product().await?;
        let tape = self.tape.clone();
        blocking(move || end(&tape)).await?;
        self.list().await?;
        // Who waits for an image may use an older one meanwhile.
        if self.request.prune && self.taken.missing == 0 {
            self.prune(lines).await?;
        }
        Ok(())
    }

    /// Lists what waits.
    async fn list(&mut self) -> Result<(), BundleError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        if waiting.is_empty() {
            return Ok(());
        }
        let listed = self.room.publisher.list(waiting, (self.room.now)()).await?;
        let already = listed.iter().filter(|one| one.already).count() as u64;
        let new = listed.len() as u64 - already;
        self.taken.already += already;
        self.taken.listed += new;
        self.tell.listed(new);
        Ok(())
    }

    async fn begin_product(&mut self, product: ProductLine) -> Result<(), BundleError> {
        self.end_product().await?;
        let ProductLine { key, names, extra } = product;
        self.product = Some(Current { given: GivenProduct { key, names, extra }, described: BTreeMap::new() });
        Ok(())
    }

    async fn end_product(&mut self) -> Result<(), BundleError> {
        let Some(Current { given, described }) = self.product.take().filter(|product| !product.described.is_empty())
        else {
            return Ok(());
        };
        let (catalog, project) = (&self.room.publisher.catalog, &self.taken.project);
        catalog.describe_product(project, &given, &described, (self.room.now)()).await?;
        Ok(())
    }

    /// An image that is here.
    async fn have(&mut self, image: ImageLine) -> Result<(), BundleError> {
        self.pass(&image.files).await?;
        self.taken.already += 1;
        if !self.request.update {
            return Ok(());
        }
        let (catalog, project) = (&self.room.publisher.catalog, &self.taken.project);
        let before = catalog.revision().await?;
        let edit = ImageEdit {
            public: Some(image.public),
            properties: Some(image.properties),
            expires_at: Some(image.expires_at),
            profiles: Some(image.profiles),
            ..ImageEdit::default()
        };
        catalog.edit_image(project, &image.fingerprint, &edit, (self.room.now)()).await?;
        for alias in image.aliases {
            let target = AliasTarget::Image(image.fingerprint);
            self.set_alias(&alias.name, &alias.description, &target).await?;
        }
        let changed = catalog.revision().await? != before;
        self.taken.updated += u64::from(changed);
        if let (Some(place), Some(product)) = (image.place, &mut self.product) {
            product.described.insert(place.version, place.extra);
        }
        Ok(())
    }

    /// An image that is not here.
    async fn image(&mut self, image: ImageLine) -> Result<(), BundleError> {
        for file in image.files.iter().filter(|file| !file.carried) {
            if !self.in_store(&file.file()).await? {
                self.pass(&image.files).await?;
                self.taken.missing += 1;
                self.tell.missing(&image.fingerprint, &file.digest);
                return Ok(());
            }
        }
        let request = self.publication(&image).await?;
        let prepared = self.room.publisher.prepare(request, self.tell.progress()).await;
        let prepared = prepared.map_err(|source| match self.tape.is_cut() {
            true => BundleError::Cut,
            false => why(image.fingerprint, source),
        })?;
        let said = (image.image_files(), image.image_type, image.architecture);
        if said != (Some(prepared.files()), prepared.image_type(), prepared.architecture()) {
            return Err(BundleError::Other(image.fingerprint));
        }
        self.waiting.push(prepared);
        self.bytes = image.files.iter().fold(self.bytes, |sum, file| sum.saturating_add(file.size));
        if self.waiting.len() >= TOGETHER || self.bytes >= TOGETHER_BYTES {
            self.list().await?;
        }
        Ok(())
    }

    /// Whether the store has a file, or will have it once what waits is listed: then that is done.
    async fn in_store(&mut self, file: &ImageFile) -> Result<bool, BundleError> {
        let look = |blobs: crate::blobs::Blobs, file: ImageFile| blocking(move || blobs.stat(&file.digest));
        let blobs = &self.room.publisher.blobs;
        if look(blobs.clone(), *file).await? == Some(file.size) {
            return Ok(true);
        }
        self.list().await?;
        Ok(look(blobs.clone(), *file).await? == Some(file.size))
    }

    /// Reads carried files of an image that need not be kept.
    async fn pass(&self, files: &[FileLine]) -> Result<(), BundleError> {
        for file in files.iter().filter(|file| file.carried).map(FileLine::file) {
            let mut tape = self.tape.clone();
            blocking(move || pass(&mut tape, &file)).await?;
        }
        Ok(())
    }

    async fn publication(&mut self, image: &ImageLine) -> Result<Request, BundleError> {
        let mut aliases = Vec::new();
        for alias in &image.aliases {
            let (name, description) = (alias.name.clone(), alias.description.clone());
            let there = self.room.publisher.catalog.hand_made_alias(&self.taken.project, &name).await?;
            if there.is_none() || self.request.update {
                aliases.push(ImageAlias { name, description });
            } else {
                self.leave(&name);
            }
        }
        let given = self.product.as_ref().zip(image.place.as_ref()).map(|(product, place)| Given {
            upstream: None,
            product: product.given.clone(),
            version: place.version.clone(),
            version_extra: place.extra.clone(),
            placed: true,
        });
        let listing = Listing {
            public: image.public,
            properties: image.properties.clone(),
            only_these_properties: true,
            aliases,
            filename: match image.filename.as_str() {
                "" => Filename::First,
                name => Filename::Given(name.to_owned()),
            },
            expires_at: image.expires_at,
            only_this_expiry: true,
            profiles: Some(image.profiles.clone()),
            fingerprint: Some(image.fingerprint),
            given,
            ..Listing::default()
        };
        let source = |file: &FileLine| self.source(*file);
        let first = image.files.iter().find(|file| file.role != FileRole::Root).map(source);
        Ok(Request {
            project: self.taken.project.clone(),
            first: first.ok_or(BundleError::Other(image.fingerprint))?,
            root: image.files.iter().find(|file| file.role == FileRole::Root).map(source),
            listing,
            // Its fingerprint has to stay.
            packing: Packing::AsGiven,
        })
    }

    /// A file out of the bundle, or of the store when it is not in the bundle.
    fn source(&self, line: FileLine) -> Source {
        let (file, tape, blobs) = (line.file(), self.tape.clone(), self.room.publisher.blobs.clone());
        let carried = move || {
            let name = expect(&tape, &file).map_err(io::Error::other)?;
            Ok(Opened { name, reader: Box::new(tape) as Box<dyn Read + Send> })
        };
        let kept = move || {
            let blob = blobs.open_blob(&file.digest).map_err(io::Error::other)?;
            let blob = blob.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            Ok(Opened { name: file.name(), reader: Box::new(blob.file.take(blob.size)) as Box<dyn Read + Send> })
        };
        Source::Known { file, open: if line.carried { Box::new(carried) } else { Box::new(kept) } }
    }

    async fn alias(&mut self, alias: AliasLine) -> Result<(), BundleError> {
        let AliasLine { name, description, follows } = alias;
        let manifest::FollowsLine { os, release, variant } = follows;
        let [os, release, variant] = [os, release, variant].map(|word| word.to_lowercase());
        self.set_alias(&name, &description, &AliasTarget::Follows { os, release, variant }).await
    }

    /// Makes an alias, or changes one that is here if that is wanted.
    async fn set_alias(&mut self, name: &AliasName, text: &str, target: &AliasTarget) -> Result<(), BundleError> {
        let (catalog, project, now) = (&self.room.publisher.catalog, &self.taken.project, (self.room.now)());
        match catalog.hand_made_alias(project, name).await? {
            None => catalog.create_alias(project, name, text, target, now).await?,
            Some(there) if there.target == *target && there.description == text => {}
            Some(_) if !self.request.update => self.leave(name),
            Some(there) => match target {
                AliasTarget::Follows { .. } if there.target != *target => {
                    catalog.delete_alias(project, name, now).await?;
                    catalog.create_alias(project, name, text, target, now).await?;
                }
                target => {
                    let to = match target {
                        AliasTarget::Image(image) => Some(*image),
                        AliasTarget::Follows { .. } => None,
                    };
                    let edit = AliasEdit { description: Some(text.to_owned()), target: to };
                    let decide = |_: &HandMade| Ok::<_, std::convert::Infallible>(edit);
                    match catalog.edit_alias_as(project, name, decide, now).await? {
                        Ok(()) => {}
                        Err(never) => match never {},
                    }
                }
            },
        }
        Ok(())
    }

    fn leave(&mut self, name: &AliasName) {
        self.taken.aliases_left += 1;
        self.tell.alias_left(name);
    }

    /// Takes away what earlier bundles listed and this one does not, but for what a mirror here keeps.
    async fn prune(&mut self, lines: Lines) -> Result<(), BundleError> {
        let (catalog, project) = (&self.room.publisher.catalog, &self.taken.project);
        let mut lines = Lines::begin(lines.into_file()).map_err(BundleError::Spool)?;
        loop {
            let (page, rest) = page(lines).await?;
            lines = rest;
            if page.is_empty() {
                return Ok(());
            }
            let gone = page.iter().filter_map(|line| match line {
                Line::Gone(image) => Some(*image),
                _ => None,
            });
            let gone: Vec<Fingerprint> = gone.collect();
            let present = catalog.present(project, &gone).await?;
            let mirrored = catalog.of_upstreams(project, &gone).await?;
            for image in present.difference(&mirrored) {
                match catalog.delete_image(project, image, (self.room.now)()).await {
                    Ok(()) => self.taken.removed += 1,
                    // Somebody else was quicker.
                    Err(CatalogError::NoImage(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

/// What was wrong with an image, or with the bundle where its next file should have been.
fn why(fingerprint: Fingerprint, error: PublishError) -> BundleError {
    let PublishError::Read { file, source } = error else {
        return BundleError::Image { fingerprint, source: error };
    };
    match source.downcast::<BundleError>() {
        Ok(of_bundle) => of_bundle,
        Err(source) => BundleError::Image { fingerprint, source: PublishError::Read { file, source } },
    }
}

/// The next lines, none at the end.
async fn page(mut lines: Lines) -> Result<(Vec<Line>, Lines), BundleError> {
    blocking(move || Ok((lines.page()?, lines))).await
}
