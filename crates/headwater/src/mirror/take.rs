//! One image from an upstream: its bytes fetched, checked, and ready to be listed.

use std::collections::BTreeSet;
use std::sync::Arc;

use headwater_formats::digest::Fingerprint;
use headwater_formats::image::ImageType;
use headwater_formats::names::AliasName;

use super::{Course, Event, MirrorError, TakeImage};
use crate::catalog::{AliasTarget, Given, GivenProduct, ImageAlias, Upstream};
use crate::client::{ClientError, Offer, Server};
use crate::publish::{Filename, Listing, Packing, Prepared, Progress, Publisher, Request, Source};

/// Tells of bytes as they come.
struct Told(Course);

impl Progress for Told {
    fn advance(&self, bytes: u64) {
        (self.0.tell)(Event::Bytes(bytes));
    }
}

/// What an image needs to be taken.
pub(super) struct Taking {
    pub(super) upstream: Upstream,
    pub(super) server: Server,
    pub(super) publisher: Publisher,
    /// Whether products and versions are the upstream's own.
    pub(super) placed: bool,
    /// The images that came from it until now.
    pub(super) held: BTreeSet<Fingerprint>,
    pub(super) course: Course,
}

impl Taking {
    /// Fetches an image and checks it.
    pub(super) async fn take(
        &self,
        product: &GivenProduct,
        wanted: &TakeImage,
        offer: &Offer,
    ) -> Result<Prepared, MirrorError> {
        let delivery = self.unless_stopped(self.server.deliver(offer)).await?;
        let source = |arriving: crate::client::Arriving| Source::Stream {
            name: arriving.name,
            reader: Box::new(arriving.reader),
        };
        let request = Request {
            project: self.upstream.project.clone(),
            first: source(delivery.first),
            root: delivery.root.map(source),
            listing: Listing { aliases: self.aliases(offer).await?, ..self.listing(product, wanted) },
            // A mirror has what its upstream has.
            packing: Packing::AsGiven,
        };
        // Only the download stops when the run does. What takes the bytes in then ends by itself, for want of them.
        let preparing = self.publisher.prepare(request, Arc::new(Told(self.course.clone())));
        let (prepared, pumped) = tokio::join!(preparing, self.unless_stopped(delivery.pump));
        let prepared = match (prepared, pumped) {
            (Ok(prepared), Ok(())) => prepared,
            (Err(error), Ok(()) | Err(MirrorError::Client(ClientError::GivenUp))) => return Err(error.into()),
            (_, Err(error)) => return Err(error),
        };
        let kind = |image_type: ImageType, architecture| format!("a {image_type} for {architecture}");
        let listed = kind(wanted.image.image_type, wanted.image.architecture);
        let sent = kind(prepared.image_type(), prepared.architecture());
        if listed == sent { Ok(prepared) } else { Err(MirrorError::Other { listed, sent }) }
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

    fn listing(&self, product: &GivenProduct, wanted: &TakeImage) -> Listing {
        let image = &wanted.image;
        Listing {
            public: self.upstream.settings.public,
            properties: image.properties.clone(),
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
                version_extra: wanted.version_extra.clone(),
                placed: self.placed,
            }),
            ..Listing::default()
        }
    }
}
