//! Keeping images as new as their source (LXD `lxd/daemon_images.go` `autoUpdateImage`).

use std::time::Duration;

use headwater_formats::digest::Fingerprint;
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;

use super::{Course, FetchError, Fetched, Fetcher, existing, filename};
use crate::auth::{Access, Actor, Viewer};
use crate::catalog::{CatalogError, StoredImage};
use crate::client::trust::Trust;
use crate::client::{Origin, Protocol};
use crate::publish::Listing;

/// Images that are read from the catalog at a time.
const PAGE: usize = 200;
/// How long one refresh that nobody waits for may take.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);
/// The setting that says when the last round began: in seconds since 1970.
const LAST_ROUND: &str = "auto_update_round";

/// What a round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Images that have a newer successor now.
    pub refreshed: u64,
    /// Images that were the newest.
    pub current: u64,
    /// Images whose source could not be asked, or did not give a good image; the log says why.
    pub failed: u64,
}

impl Fetcher {
    /// Fetches the image that its source has now under the name by which this one came. When it is another one, it takes this one's place:
    /// aliases, profiles, public or not; this one is deleted. Whether that happened.
    ///
    /// # Errors
    /// [`FetchError::NoSource`] for an image that was not copied by a name.
    pub async fn refresh(&self, stored: &StoredImage, course: &Course) -> Result<Option<StoredImage>, FetchError> {
        let source = stored.image.update_source.as_ref().ok_or(FetchError::NoSource)?;
        let protocol: Protocol = source.protocol.parse()?;
        let mut origin = Origin::new(protocol, &source.server, &source.alias)?;
        origin.trust = Trust::from_pem(&source.certificate)?;
        origin.image_type = source.image_type.parse().ok();
        let offer = course.unless_cancelled(self.client.find(&origin)).await?;
        if offer.fingerprint == stored.image.fingerprint {
            return Ok(None);
        }
        let publisher = self.publisher.acting(std::sync::Arc::clone(&course.actor));
        if existing(&publisher.catalog, &stored.project, &offer).await?.is_none() {
            let about = offer.about.as_ref();
            let listing = Listing {
                public: stored.image.public,
                properties: about.map(|about| about.properties.clone()).unwrap_or_default(),
                only_these_properties: about.is_some(),
                filename: filename("", &offer),
                expires_at: about.and_then(|about| about.expires_at),
                profiles: Some(stored.image.profiles.clone()),
                auto_update: stored.image.auto_update,
                update_source: stored.image.update_source.clone(),
                fingerprint: Some(offer.fingerprint),
                published_by: stored.published_by,
                ..Listing::default()
            };
            let _: Fetched = self.download(&publisher, &stored.project, &origin, &offer, listing, course).await?;
        }
        let (old, new) = (&stored.image.fingerprint, &offer.fingerprint);
        publisher.catalog.replace_image(&stored.project, old, new, (course.now)()).await?;
        Ok(existing(&publisher.catalog, &stored.project, &offer).await?)
    }

    /// Refreshes all images that follow their source, one after the other, unless some server on this catalog has begun to do so in the
    /// last `hours`. `None` when it is not time yet.
    pub async fn refresh_all(&self, hours: u32, now: fn() -> Timestamp) -> Result<Option<Round>, CatalogError> {
        let catalog = &self.publisher.catalog;
        let last = catalog.setting(LAST_ROUND).await?.and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        let began = now().unix();
        // A clock that was set back does not stop the rounds for long.
        if (0..i64::from(hours).saturating_mul(3600)).contains(&began.saturating_sub(last)) {
            return Ok(None);
        }
        catalog.set_setting(LAST_ROUND, &began.to_string()).await?;
        let mut round = Round::default();
        for (project, fingerprint) in self.following().await? {
            let course = Course::new(Actor::server(), Access::operator(), now);
            match tokio::time::timeout(PATIENCE, self.refresh_one(&project, &fingerprint, &course)).await {
                Ok(Ok(Some(new))) => {
                    round.refreshed += 1;
                    tracing::info!(%project, old = %fingerprint.short(), new = %new.image.fingerprint.short(), "an image was refreshed");
                }
                Ok(Ok(None)) => round.current += 1,
                Ok(Err(error)) => {
                    round.failed += 1;
                    tracing::warn!(%project, image = %fingerprint.short(), %error, "an image could not be refreshed");
                }
                Err(_) => {
                    round.failed += 1;
                    tracing::warn!(%project, image = %fingerprint.short(), "an image was not refreshed within six hours");
                }
            }
        }
        Ok(Some(round))
    }

    /// As it stands now: it may have been deleted, or told to stay, since it was listed.
    async fn refresh_one(
        &self,
        project: &ProjectName,
        fingerprint: &Fingerprint,
        course: &Course,
    ) -> Result<Option<StoredImage>, FetchError> {
        let found = self.publisher.catalog.image(&Viewer::operator(), project, &(*fingerprint).into()).await?;
        match found {
            crate::catalog::Found::One(stored) if stored.image.auto_update => self.refresh(&stored, course).await,
            _ => Ok(None),
        }
    }

    async fn following(&self) -> Result<Vec<(ProjectName, Fingerprint)>, CatalogError> {
        let (catalog, everything) = (&self.publisher.catalog, Viewer::operator());
        let mut following = Vec::new();
        for project in catalog.projects(&everything).await? {
            let mut after = None;
            loop {
                let page = catalog.images(&everything, &project.name, after, PAGE).await?;
                let follows = |stored: &&StoredImage| stored.image.auto_update && stored.image.update_source.is_some();
                let found = page.iter().filter(follows).map(|stored| (project.name.clone(), stored.image.fingerprint));
                following.extend(found);
                match page.last() {
                    Some(last) if page.len() >= PAGE => after = Some(last.image.fingerprint),
                    _ => break,
                }
            }
        }
        Ok(following)
    }
}
