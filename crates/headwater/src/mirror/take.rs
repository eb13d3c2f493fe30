//! One image from an upstream: its bytes fetched, checked, and ready to be listed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::image::ImageType;
use headwater_formats::names::AliasName;
use headwater_formats::simplestreams::client::ListedFile;
use sha2::Sha256;

use super::patch::patched;
use super::{Course, Event, MirrorError, OfferedDelta, Progress, TakeImage, TransferError, Transfers, Wanted};
use crate::blobs::Complete;
use crate::catalog::{AliasTarget, Given, GivenProduct, ImageAlias, Upstream};
use crate::client::{Arriving, ClientError, Offer};
use crate::publish::{self, Filename, Listing, Packing, Prepared, Publisher, Ready, Request, Source, blocking};

/// Tells of bytes as they come, and counts those that came over the network.
pub(super) struct Told {
    pub(super) course: Course,
    pub(super) came: AtomicU64,
}

impl publish::Progress for Told {
    fn advance(&self, bytes: u64) {
        Progress::came(self, bytes);
    }
}

impl Progress for Told {
    fn there(&self, bytes: u64) {
        (self.course.tell)(Event::Bytes(bytes));
    }

    fn came(&self, bytes: u64) {
        self.came.fetch_add(bytes, Ordering::Relaxed);
        (self.course.tell)(Event::Bytes(bytes));
    }
}

/// An image that is here, complete and good, and not listed yet.
pub(super) struct Taken {
    pub(super) prepared: Prepared,
    /// Its files, which are kept beside the store until the image is listed: should this process be killed before that, they are here.
    pub(super) files: Vec<Arc<Complete>>,
}

/// What an image needs to be taken.
pub(super) struct Taking {
    pub(super) upstream: Upstream,
    pub(super) transfers: Transfers,
    pub(super) publisher: Publisher,
    /// Whether products and versions are the upstream's own.
    pub(super) placed: bool,
    /// Deltas to root files, by these.
    pub(super) deltas: HashMap<Digest, Vec<OfferedDelta>>,
    /// The images that came from it until now.
    pub(super) held: BTreeSet<Fingerprint>,
    pub(super) course: Course,
    pub(super) told: Arc<Told>,
}

impl Taking {
    /// Fetches an image and checks it.
    pub(super) async fn take(
        self: &Arc<Self>,
        product: &GivenProduct,
        wanted: &TakeImage,
    ) -> Result<Taken, MirrorError> {
        let listing = self.listing(product, wanted).await?;
        let taken = match wanted.offer.files() {
            Some((metadata, root)) => self.files(names(wanted), metadata, root, listing).await?,
            None => Taken { prepared: self.stream(&wanted.offer, listing).await?, files: Vec::new() },
        };
        checked(wanted, taken)
    }

    /// Files that a document lists: each goes on from what an earlier run had of it.
    async fn files(
        self: &Arc<Self>,
        names: Vec<String>,
        metadata: &ListedFile,
        root: Option<&ListedFile>,
        listing: Listing,
    ) -> Result<Taken, MirrorError> {
        let (first, _) = self.file(metadata, None).await?;
        let (mut files, mut both) = (vec![Arc::clone(&first)], None);
        if let Some(root) = root {
            let (root, computed) = self.file(root, Some(first.hasher())).await?;
            files.push(root);
            both = computed;
        }
        let taking = Arc::clone(self);
        blocking(move || taking.made(names, files, both, listing)).await
    }

    /// An image of files that are complete, metadata first, with these names; `both` is the computation that went through all of them. Blocks.
    pub(super) fn made(
        &self,
        names: Vec<String>,
        files: Vec<Arc<Complete>>,
        both: Option<Sha256>,
        listing: Listing,
    ) -> Result<Taken, MirrorError> {
        let mut ready = Vec::with_capacity(files.len());
        for (name, file) in names.into_iter().zip(&files) {
            ready.push(Ready::new(name, file.staged().map_err(TransferError::from)?));
        }
        let root = if ready.len() > 1 { ready.pop() } else { None };
        let root = match (root, both, files.first()) {
            (Some(root), Some(both), Some(first)) => Some(root.after(first.digest(), both)),
            (root, ..) => root,
        };
        let source = |ready| Source::Staged(Box::new(ready));
        // An image has a file.
        let first = ready.pop().map(source).ok_or(MirrorError::Stopped)?;
        let prepared = self.publisher.prepare_staged(self.request(first, root.map(source), listing))?;
        Ok(Taken { prepared, files })
    }

    async fn file(
        &self,
        listed: &ListedFile,
        also: Option<Sha256>,
    ) -> Result<(Arc<Complete>, Option<Sha256>), MirrorError> {
        // Images of documents that give a file no hash or no size are not offered.
        let wanted = Wanted::listed(listed).ok_or(MirrorError::Stopped)?;
        let progress: Arc<dyn Progress> = Arc::clone(&self.told) as _;
        if let Some(deltas) = self.deltas.get(&wanted.digest) {
            let (transfers, blobs, stop) = (&self.transfers, &self.publisher.blobs, &self.course.stop);
            match patched(transfers, blobs, &wanted, deltas, also.clone(), &progress, stop).await {
                Ok(None) => {}
                Ok(Some(made)) => return Ok(made),
                Err(_) => return Err(MirrorError::Stopped),
            }
        }
        match self.transfers.get(&wanted, also, &progress, &self.course.stop).await {
            Err(TransferError::Cancelled) => Err(MirrorError::Stopped),
            done => Ok(done?),
        }
    }

    fn request(&self, first: Source, root: Option<Source>, listing: Listing) -> Request {
        let project = self.upstream.project.clone();
        // A mirror has what its upstream has.
        Request { project, first, root, listing, packing: Packing::AsGiven }
    }

    /// An image of the API, which comes as one stream.
    async fn stream(&self, offer: &Offer, listing: Listing) -> Result<Prepared, MirrorError> {
        let delivery = self.unless_stopped(self.transfers.server().deliver(offer)).await?;
        let source = |arriving: Arriving| Source::Stream { name: arriving.name, reader: Box::new(arriving.reader) };
        let request = self.request(source(delivery.first), delivery.root.map(source), listing);
        // Only the download stops when the run does. What takes the bytes in then ends by itself, for want of them.
        let preparing = self.publisher.prepare(request, Arc::clone(&self.told) as _);
        let (prepared, pumped) = tokio::join!(preparing, self.unless_stopped(delivery.pump));
        match (prepared, pumped) {
            (Ok(prepared), Ok(())) => Ok(prepared),
            (Err(error), Ok(()) | Err(MirrorError::Client(ClientError::GivenUp))) => Err(error.into()),
            (_, Err(error)) => Err(error),
        }
    }

    async fn unless_stopped<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, MirrorError> {
        tokio::select! {
            biased;
            () = self.course.stop.cancelled() => Err(MirrorError::Stopped),
            done = work => Ok(done?),
        }
    }

    /// The names that lead to this very image there: of the API alone, since those in documents follow a product. One that leads here to
    /// something else than an older image of the same upstream stays where it is.
    async fn aliases(&self, offer: &Offer) -> Result<Vec<ImageAlias>, MirrorError> {
        let mut aliases = Vec::new();
        for (name, description) in offer.about.iter().flat_map(|about| &about.aliases) {
            let Ok(name) = AliasName::new(name.as_str()) else { continue };
            let there = self.publisher.catalog.hand_made_alias(&self.upstream.project, &name).await?;
            let ours = match there.map(|there| there.target) {
                None => true,
                Some(AliasTarget::Image(image)) => self.held.contains(&image),
                Some(_) => false,
            };
            if ours {
                aliases.push(ImageAlias { name, description: description.clone() });
            }
        }
        Ok(aliases)
    }

    /// How an image is to be listed.
    pub(super) async fn listing(&self, product: &GivenProduct, wanted: &TakeImage) -> Result<Listing, MirrorError> {
        let image = &wanted.image;
        let (version_extra, properties) = wanted.fields();
        Ok(Listing {
            aliases: self.aliases(&wanted.offer).await?,
            public: self.upstream.settings.public,
            properties,
            // What the upstream says replaces what the image says of itself, as in daemons.
            only_these_properties: true,
            filename: match image.filename.as_str() {
                "" => Filename::First,
                name => Filename::Given(name.to_owned()),
            },
            expires_at: image.expires_at,
            fingerprint: Some(image.fingerprint),
            given: Some(Given {
                upstream: Some(self.upstream.id),
                product: product.clone(),
                version: wanted.version.clone(),
                version_extra,
                placed: self.placed,
            }),
            ..Listing::default()
        })
    }
}

/// The names of an image's files, metadata first, when a document lists them.
pub(super) fn names(image: &TakeImage) -> Vec<String> {
    let files = image.offer.files().map(|(metadata, root)| std::iter::once(metadata).chain(root));
    files.into_iter().flatten().map(|file| file.path.file_name().to_owned()).collect()
}

/// The image, if it is what is listed.
pub(super) fn checked(wanted: &TakeImage, taken: Taken) -> Result<Taken, MirrorError> {
    let kind = |image_type: ImageType, architecture| format!("a {image_type} for {architecture}");
    let listed = kind(wanted.image.image_type, wanted.image.architecture);
    let sent = kind(taken.prepared.image_type(), taken.prepared.architecture());
    if listed == sent { Ok(taken) } else { Err(MirrorError::Other { listed, sent }) }
}
