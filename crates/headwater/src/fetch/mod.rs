//! Images from elsewhere into a project: found by [`client`](crate::client), checked and listed by [`publish`](crate::publish), and
//! kept as new as their source.
//!
//! ```no_run
//! # async fn example(fetcher: headwater::fetch::Fetcher, now: fn() -> headwater_formats::timestamp::Timestamp)
//! # -> Result<(), headwater::fetch::FetchError> {
//! use std::sync::Arc;
//! use headwater::auth::{Access, Actor};
//! use headwater::client::{Origin, Protocol};
//! use headwater::fetch::{Course, Fetch};
//! use headwater_formats::names::ProjectName;
//!
//! let origin = Origin::new(Protocol::SimpleStreams, "https://images.linuxcontainers.org", "debian/12")?;
//! let fetch = Fetch::new(ProjectName::default_project(), origin);
//! let course = Course::new(Actor::server(), Access::operator(), now);
//! let fetched = fetcher.fetch(fetch, &course).await?;
//! println!("{}", fetched.image.image.fingerprint);
//! # Ok(()) }
//! ```
//!
//! Nothing is listed unless its fingerprint is the one that the source named. A fetch that fails or is cancelled leaves nothing behind;
//! one that is cancelled when its image is just being listed has succeeded. This room knows nothing of HTTP requests or of operations.

mod error;
mod meter;
mod refresh;

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_formats::digest::FingerprintPrefix;
use headwater_formats::image::{ImageType, UpdateSource};
use headwater_formats::names::{AliasName, ProjectName};
use headwater_formats::timestamp::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::auth::{Access, Actor, Viewer};
use crate::catalog::{AliasTarget, Catalog, CatalogError, Found, ImageAlias, ImageEdit, StoredImage};
use crate::client::{Arriving, Client, ClientError, Offer, Origin};
use crate::publish::{Filename, Listing, Packing, Publisher, Request, Source};

pub use error::FetchError;
pub use refresh::Round;

use meter::Meter;
pub use meter::line as progress_line;

/// An image to be fetched, and how it is to be listed.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// Into which project.
    pub project: ProjectName,
    /// Where from.
    pub origin: Origin,
    /// The certificate of that server as it was given, to be remembered with the source.
    pub certificate: String,
    /// Whether guests may see it.
    pub public: bool,
    /// Whether it follows its source; it can when it was asked for by alias.
    pub auto_update: bool,
    /// Properties that are added to those that it has there, or replace them.
    pub properties: BTreeMap<String, String>,
    /// When it expires; `None` leaves what its source says.
    pub expires_at: Option<Timestamp>,
    /// Names of profiles; `None` for the usual one.
    pub profiles: Option<Vec<String>>,
    /// What its file shall be called; empty leaves it to the source.
    pub filename: String,
    /// Names that shall lead to it, and lead nowhere yet.
    pub aliases: Vec<ImageAlias>,
    /// Whether it keeps the names that it has there, as far as they are free here.
    pub copy_aliases: bool,
}

impl Fetch {
    /// The image as it is there, for nobody but the project.
    pub fn new(project: ProjectName, origin: Origin) -> Self {
        Self {
            project,
            origin,
            certificate: String::new(),
            public: false,
            auto_update: false,
            properties: BTreeMap::new(),
            expires_at: None,
            profiles: None,
            filename: String::new(),
            aliases: Vec::new(),
            copy_aliases: false,
        }
    }
}

/// Told how far a download is, a few times a second: `rootfs: 45% (3.20MB/s)`.
pub type Tell = Arc<dyn Fn(String) + Send + Sync>;

/// On whose behalf, and how it can be followed and stopped.
#[derive(Clone)]
pub struct Course {
    /// Whom the audit names.
    pub actor: Arc<Actor>,
    /// What they may change.
    pub access: Access,
    /// How far it is.
    pub tell: Tell,
    /// Stops it.
    pub cancel: CancellationToken,
    /// The time.
    pub now: fn() -> Timestamp,
}

impl Course {
    /// Followed by nobody and never stopped.
    pub fn new(actor: impl Into<Arc<Actor>>, access: Access, now: fn() -> Timestamp) -> Self {
        let tell = Arc::new(|_: String| ());
        Self { actor: actor.into(), access, tell, cancel: CancellationToken::new(), now }
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The image as it is listed.
    pub image: StoredImage,
    /// The project had it before; no bytes moved.
    pub already: bool,
}

/// The room's handle.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: Client,
    publisher: Publisher,
}

impl Fetcher {
    /// Fetches with this client, into this publisher.
    pub fn new(client: Client, publisher: Publisher) -> Self {
        Self { client, publisher }
    }

    /// The client that it asks other servers with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Fetches an image. One that the project has already is not downloaded again: it is listed anew as was asked, if the
    /// caller may change it, as daemons do (LXD `lxd/images.go` `imgPostRemoteInfo`).
    pub async fn fetch(&self, fetch: Fetch, course: &Course) -> Result<Fetched, FetchError> {
        let offer = course.unless_cancelled(self.client.find(&fetch.origin)).await?;
        let publisher = self.publisher.acting(Arc::clone(&course.actor));
        let stored = existing(&publisher.catalog, &fetch.project, &offer).await?;
        let new_aliases = new_aliases(&publisher.catalog, &fetch, &offer).await?;
        if let Some(stored) = stored {
            relist(&publisher.catalog, &fetch, &offer, &stored, new_aliases, course).await?;
            let image = existing(&publisher.catalog, &fetch.project, &offer).await?.unwrap_or(stored);
            return Ok(Fetched { image, already: true });
        }
        let listing = fetch.listing(&offer, course);
        let fetched = self.download(&publisher, &fetch.project, &fetch.origin, &offer, listing, course).await?;
        if fetch.copy_aliases {
            copy_aliases(&publisher.catalog, &fetch.project, &offer, course).await?;
        }
        Ok(fetched)
    }

    /// Moves the bytes, and lists the image.
    async fn download(
        &self,
        publisher: &Publisher,
        project: &ProjectName,
        origin: &Origin,
        offer: &Offer,
        listing: Listing,
        course: &Course,
    ) -> Result<Fetched, FetchError> {
        let delivery = course.unless_cancelled(self.client.deliver(origin, offer)).await?;
        let meter = Meter::new(&delivery, offer.size, Arc::clone(&course.tell));
        let request = Request {
            project: project.clone(),
            first: source(delivery.first),
            root: delivery.root.map(source),
            listing,
            // Who copies an image wants this image.
            packing: Packing::AsGiven,
        };
        let pump = delivery.pump;
        // Only the download stops when it is cancelled. The publication then ends by itself, for want of bytes, and cleans up; one
        // that has all its bytes is not stopped halfway.
        let pumping = async move { course.unless_cancelled(pump).await };
        let publishing = publisher.publish_when(request, Arc::new(meter), course.now);
        let (published, pumped) = tokio::join!(publishing, pumping);
        match (published, pumped) {
            (Ok(published), _) => Ok(Fetched { image: published.image, already: published.already }),
            // Who publishes has stopped first, and says why.
            (Err(error), Ok(()) | Err(FetchError::Client(ClientError::GivenUp))) => Err(error.into()),
            (Err(_), Err(error)) => Err(error),
        }
    }
}

impl Course {
    /// The outcome, unless it is cancelled before.
    async fn unless_cancelled<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, FetchError> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(FetchError::Cancelled),
            done = work => Ok(done?),
        }
    }
}

impl Fetch {
    fn listing(&self, offer: &Offer, course: &Course) -> Listing {
        let about = offer.about.as_ref();
        Listing {
            public: self.public,
            properties: self.properties(offer),
            // What the source says replaces what the image says of itself, as in daemons.
            only_these_properties: about.is_some(),
            aliases: self.aliases.clone(),
            new_aliases: true,
            filename: filename(&self.filename, offer),
            expires_at: self.expires_at.or(about.and_then(|about| about.expires_at)),
            only_this_expiry: false,
            profiles: self.profiles.clone(),
            auto_update: self.auto_update && offer.alias.is_some(),
            update_source: self.update_source(offer),
            fingerprint: Some(offer.fingerprint),
            published_by: course.access.identity().map(|identity| identity.id),
            given: None,
        }
    }

    fn properties(&self, offer: &Offer) -> BTreeMap<String, String> {
        let mut properties = offer.about.as_ref().map(|about| about.properties.clone()).unwrap_or_default();
        properties.extend(self.properties.clone());
        properties
    }

    /// What is remembered of the source: it leads to other images later when the image was found by a name.
    fn update_source(&self, offer: &Offer) -> Option<UpdateSource> {
        let alias = offer.alias.clone()?;
        let found = offer.about.as_ref().and_then(|about| about.image_type);
        Some(UpdateSource {
            alias,
            certificate: self.certificate.clone(),
            protocol: self.origin.protocol.as_str().to_owned(),
            server: self.origin.server.as_str().trim_end_matches('/').to_owned(),
            image_type: self.origin.image_type.or(found).map(ImageType::as_str).unwrap_or_default().to_owned(),
        })
    }
}

/// What the image's file is said to be called.
fn filename(wanted: &str, offer: &Offer) -> Filename {
    let there = offer.about.as_ref().map(|about| about.filename.as_str()).unwrap_or_default();
    match (wanted, there) {
        ("", "") => Filename::First,
        ("", name) | (name, _) => Filename::Given(name.to_owned()),
    }
}

fn source(arriving: Arriving) -> Source {
    Source::Stream { name: arriving.name, reader: Box::new(arriving.reader) }
}

/// The image in the project, whoever may see it: its bytes need not be fetched again.
async fn existing(
    catalog: &Catalog,
    project: &ProjectName,
    offer: &Offer,
) -> Result<Option<StoredImage>, CatalogError> {
    let prefix = FingerprintPrefix::from(offer.fingerprint);
    match catalog.image(&Viewer::operator(), project, &prefix).await? {
        Found::One(stored) => Ok(Some(stored)),
        Found::Nothing | Found::Several => Ok(None),
    }
}

/// The aliases that are still to be made. One that leads elsewhere is told before any bytes move.
async fn new_aliases<'a>(
    catalog: &Catalog,
    fetch: &'a Fetch,
    offer: &Offer,
) -> Result<Vec<&'a ImageAlias>, CatalogError> {
    let mut new = Vec::new();
    for alias in &fetch.aliases {
        match catalog.hand_made_alias(&fetch.project, &alias.name).await? {
            None => new.push(alias),
            Some(there) if there.target == AliasTarget::Image(offer.fingerprint) => {}
            Some(_) => return Err(CatalogError::AliasExists(alias.name.clone())),
        }
    }
    Ok(new)
}

/// Lists an image that was there as it was asked for.
async fn relist(
    catalog: &Catalog,
    fetch: &Fetch,
    offer: &Offer,
    stored: &StoredImage,
    new_aliases: Vec<&ImageAlias>,
    course: &Course,
) -> Result<(), FetchError> {
    let now = (course.now)();
    let fingerprint = &stored.image.fingerprint;
    if course.access.may_manage(&fetch.project, stored.published_by) {
        let mut properties = stored.image.properties.clone();
        properties.extend(fetch.properties.clone());
        let source = fetch.update_source(offer);
        let edit = ImageEdit {
            public: Some(fetch.public),
            properties: Some(properties),
            expires_at: fetch.expires_at.map(Some),
            auto_update: Some(fetch.auto_update && source.is_some()),
            profiles: fetch.profiles.clone(),
            update_source: source.map(Some),
        };
        catalog.edit_image(&fetch.project, fingerprint, &edit, now).await?;
    }
    for alias in new_aliases {
        let target = AliasTarget::Image(*fingerprint);
        catalog.create_alias(&fetch.project, &alias.name, &alias.description, &target, now).await?;
    }
    if fetch.copy_aliases {
        copy_aliases(catalog, &fetch.project, offer, course).await?;
    }
    Ok(())
}

/// Gives an image the names that it has at its source. Those that are taken here stay as they are.
async fn copy_aliases(
    catalog: &Catalog,
    project: &ProjectName,
    offer: &Offer,
    course: &Course,
) -> Result<(), FetchError> {
    let target = AliasTarget::Image(offer.fingerprint);
    for (name, description) in offer.about.iter().flat_map(|about| &about.aliases) {
        let Ok(name) = AliasName::new(name.as_str()) else { continue };
        match catalog.create_alias(project, &name, description, &target, (course.now)()).await {
            Ok(()) | Err(CatalogError::AliasExists(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
