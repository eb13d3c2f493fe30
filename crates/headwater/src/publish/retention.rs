//! Which images of a project stay by themselves, and taking the others away.
//!
//! The decision is pure, for one product at a time. Rules add up: an image goes only when none of them keeps it, and whatever they say, the last
//! version of a product stays. Types are counted apart, and so is what LXD and what Incus is listed, because a version may have one of
//! them only: the last virtual machine does not go for the sake of newer containers.

use std::collections::{BTreeMap, BTreeSet};

use headwater_formats::digest::Fingerprint;
use headwater_formats::image::ImageType;
use headwater_formats::names::{ProjectName, VersionName};
use headwater_formats::simplestreams::Family;
use headwater_formats::timestamp::Timestamp;

use super::{PublishError, Publisher};
use crate::auth::Viewer;
use crate::catalog::{CatalogError, ProductImages, Retention, VersionImage};

/// Products that are read at a time.
const PAGE: usize = 100;
const DAY: i64 = 24 * 3600;

/// Why an image stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stays {
    /// The project has no rule by which anything goes.
    NoRule,
    /// A mirrored server brought it: that server's own rules are for it.
    Mirrored,
    /// It is one of the newest versions.
    Newest,
    /// Its version came a short while ago.
    Young,
    /// An alias leads to it.
    Aliased,
    /// It is the last version.
    Last,
}

/// Whether something that came then is younger than so many days.
pub fn is_young(came_at: Timestamp, days: u32, now: Timestamp) -> bool {
    now.unix().saturating_sub(came_at.unix()) < i64::from(days) * DAY
}

/// Why each of these images of one product stays; `None` for one that goes.
pub fn judge(rules: &Retention, images: &[VersionImage], now: Timestamp) -> Vec<Option<Stays>> {
    if !rules.is_limited() {
        return vec![Some(Stays::NoRule); images.len()];
    }
    let mut versions: BTreeMap<(ImageType, Family), BTreeSet<&VersionName>> = BTreeMap::new();
    let mut young = BTreeSet::new();
    for image in images {
        for lane in lanes(image) {
            versions.entry(lane).or_default().insert(&image.version);
        }
        if is_young(image.came_at, rules.keep_days, now) {
            young.insert(&image.version);
        }
    }
    // Whether the version of an image is one of so many that are the newest.
    let among = |image: &VersionImage, newest: usize| {
        lanes(image).into_iter().any(|lane| {
            let mut newest = versions.get(&lane).into_iter().flatten().rev().take(newest);
            newest.any(|version| *version == &image.version)
        })
    };
    let keep = usize::try_from(rules.keep).unwrap_or(usize::MAX);
    let judge = |image: &VersionImage| {
        if image.upstream.is_some() {
            Some(Stays::Mirrored)
        } else if among(image, keep) {
            Some(Stays::Newest)
        } else if young.contains(&image.version) {
            Some(Stays::Young)
        } else if rules.keep_aliased && image.alias.is_some() {
            Some(Stays::Aliased)
        } else if among(image, 1) {
            Some(Stays::Last)
        } else {
            None
        }
    };
    images.iter().map(judge).collect()
}

/// What an image counts among: those of its type that a client of LXD is listed, and of Incus.
fn lanes(image: &VersionImage) -> Vec<(ImageType, Family)> {
    let families = [Family::Lxd, Family::Incus];
    let of = |family: &Family| image.family == Family::Any || image.family == *family;
    families.into_iter().filter(of).map(|family| (image.image_type, family)).collect()
}

/// An image that was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged<'a> {
    /// The product's key.
    pub product: &'a str,
    /// The image.
    pub image: &'a VersionImage,
    /// Why it stays; `None` when it goes, or went.
    pub stays: Option<Stays>,
}

/// What a round did, or would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PruneTotals {
    /// Images that were judged.
    pub images: u64,
    /// Those that went.
    pub gone: u64,
    /// Bytes of these; what other images have, too, does not become free with them.
    pub bytes: u64,
}

impl PruneTotals {
    fn count(&mut self, judged: Judged<'_>, tell: &mut (dyn FnMut(Judged<'_>) + Send)) {
        self.images += 1;
        if judged.stays.is_none() {
            self.gone += 1;
            self.bytes = self.bytes.saturating_add(judged.image.size);
        }
        tell(judged);
    }
}

impl Publisher {
    /// Tells what [`Publisher::prune`] would do, and changes nothing; `tell` is called for each image of a product, in the order of products and
    /// versions.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`].
    pub async fn plan_prune(
        &self,
        project: &ProjectName,
        now: Timestamp,
        tell: &mut (dyn FnMut(Judged<'_>) + Send),
    ) -> Result<PruneTotals, PublishError> {
        let mut totals = PruneTotals::default();
        let rules = self.rules(project).await?;
        let mut products = Pages::of(project);
        while let Some(page) = products.next(self).await? {
            for ProductImages { product, images } in &page {
                for (image, stays) in images.iter().zip(judge(&rules, images, now)) {
                    totals.count(Judged { product, image, stays }, tell);
                }
            }
        }
        Ok(totals)
    }

    /// Takes the images of a project away that none of its rules keeps: they go as if somebody deleted them. Each product is looked at again in
    /// the transaction in which images go, so that several servers, and people, can work beside each other. `tell` is called for
    /// each image, after those went that go.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`].
    pub async fn prune(
        &self,
        project: &ProjectName,
        now: Timestamp,
        tell: &mut (dyn FnMut(Judged<'_>) + Send),
    ) -> Result<PruneTotals, PublishError> {
        let mut totals = PruneTotals::default();
        let rules = self.rules(project).await?;
        if !rules.is_limited() {
            return Ok(totals);
        }
        let mut products = Pages::of(project);
        while let Some(page) = products.next(self).await? {
            for ProductImages { product, images } in &page {
                let judged = judge(&rules, images, now);
                let mut gone = BTreeSet::new();
                // Mostly nothing goes, and nobody has to wait for that.
                while judged.contains(&None) {
                    let some =
                        self.catalog.prune_product(project, product, |rules, images| over(rules, images, now), now);
                    let some = some.await?;
                    if some.is_empty() {
                        break;
                    }
                    gone.extend(some);
                }
                for (image, stays) in images.iter().zip(judged) {
                    let went = gone.contains(&image.fingerprint);
                    // What was to go and is still there got a reason meanwhile, or was deleted by somebody else.
                    if went || stays.is_some() {
                        totals.count(Judged { product, image, stays: if went { None } else { stays } }, tell);
                    }
                }
            }
        }
        Ok(totals)
    }

    /// The same in all projects.
    pub async fn prune_all(&self, now: Timestamp) -> Result<PruneTotals, PublishError> {
        let mut totals = PruneTotals::default();
        for project in self.catalog.projects(&Viewer::operator()).await? {
            if !project.retention.is_limited() {
                continue;
            }
            match self.prune(&project.name, now, &mut |_| ()).await {
                Ok(some) => {
                    totals.images += some.images;
                    totals.gone += some.gone;
                    totals.bytes = totals.bytes.saturating_add(some.bytes);
                }
                // Deleted or renamed meanwhile.
                Err(PublishError::Catalog(CatalogError::NoProject(_))) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(totals)
    }

    async fn rules(&self, project: &ProjectName) -> Result<Retention, PublishError> {
        let found = self.catalog.project(&Viewer::operator(), project).await?;
        Ok(found.ok_or_else(|| CatalogError::NoProject(project.to_string()))?.retention)
    }
}

/// The images of one product that go.
fn over(rules: &Retention, images: &[VersionImage], now: Timestamp) -> Vec<Fingerprint> {
    let judged = images.iter().zip(judge(rules, images, now));
    judged.filter(|(_, stays)| stays.is_none()).map(|(image, _)| image.fingerprint).collect()
}

/// The products of a project, page by page.
struct Pages<'a> {
    project: &'a ProjectName,
    after: Option<String>,
    ended: bool,
}

impl<'a> Pages<'a> {
    fn of(project: &'a ProjectName) -> Self {
        Self { project, after: None, ended: false }
    }

    async fn next(&mut self, publisher: &Publisher) -> Result<Option<Vec<ProductImages>>, PublishError> {
        if self.ended {
            return Ok(None);
        }
        let page = publisher.catalog.product_images(self.project, self.after.as_deref(), PAGE).await?;
        self.ended = page.len() < PAGE;
        self.after = page.last().map(|last| last.product.clone());
        Ok(Some(page))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn image(number: u8, day: u8, came: i64) -> VersionImage {
        VersionImage {
            fingerprint: Fingerprint::from_bytes([number; 32]),
            version: VersionName::new(format!("202501{day:02}")).unwrap(),
            image_type: ImageType::Container,
            family: Family::Any,
            came_at: Timestamp::from_unix(came * DAY).unwrap(),
            size: 1,
            alias: None,
            upstream: None,
        }
    }

    fn rules(keep: u32, keep_days: u32, keep_aliased: bool) -> Retention {
        Retention { keep, keep_days, keep_aliased }
    }

    fn at(days: i64) -> Timestamp {
        Timestamp::from_unix(days * DAY).unwrap()
    }

    const GOES: Option<Stays> = None;

    #[test]
    fn the_newest_and_the_young_and_the_last_stay() {
        let images: Vec<_> = (1..=4).map(|day| image(day, day, i64::from(day))).collect();
        let judged = |rules| judge(&rules, &images, at(5));
        assert_eq!(judged(rules(0, 0, true)), [Some(Stays::NoRule); 4], "which images go, nothing says");
        let newest = Some(Stays::Newest);
        assert_eq!(judged(rules(2, 0, false)), [GOES, GOES, newest, newest]);
        let young = Some(Stays::Young);
        assert_eq!(judged(rules(0, 3, false)), [GOES, GOES, young, young]);
        assert_eq!(judged(rules(1, 3, false)), [GOES, GOES, young, newest], "rules add up");
        assert_eq!(judge(&rules(0, 3, false), &images, at(100)), [GOES, GOES, GOES, Some(Stays::Last)]);
        assert_eq!(judge(&rules(0, 3, false), &images, at(4)), [GOES, young, young, young]);
        // A clock that was set back makes nothing old.
        assert_eq!(judge(&rules(0, 1, false), &images, at(0)), [young; 4]);
    }

    #[test]
    fn what_an_alias_leads_to_stays_when_it_is_asked_for() {
        let mut images: Vec<_> = (1..=3).map(|day| image(day, day, 0)).collect();
        images[0].alias = Some("stable".to_owned());
        assert_eq!(judge(&rules(1, 0, true), &images, at(9)), [Some(Stays::Aliased), GOES, Some(Stays::Newest)]);
        assert_eq!(judge(&rules(1, 0, false), &images, at(9)), [GOES, GOES, Some(Stays::Newest)]);
    }

    #[test]
    fn what_a_mirror_brought_is_left_to_its_rules() {
        let mut images: Vec<_> = (1..=3).map(|day| image(day, day, 0)).collect();
        images[0].upstream = Some("images".parse().unwrap());
        images[2].upstream = Some("images".parse().unwrap());
        let mirrored = Some(Stays::Mirrored);
        // It counts as a version.
        assert_eq!(judge(&rules(1, 0, false), &images, at(9)), [mirrored, GOES, mirrored]);
        assert_eq!(judge(&rules(2, 0, false), &images, at(9)), [mirrored, Some(Stays::Newest), mirrored]);
    }

    #[test]
    fn types_and_families_are_counted_apart() {
        let mut images: Vec<_> = (1..=5).map(|day| image(day, day, 0)).collect();
        images[0].image_type = ImageType::VirtualMachine;
        images[1].family = Family::Lxd;
        images[2].family = Family::Lxd;
        images[3].family = Family::Incus;
        images[4].family = Family::Incus;
        let newest = Some(Stays::Newest);
        assert_eq!(judge(&rules(1, 0, false), &images, at(9)), [newest, GOES, newest, GOES, newest]);
        // One for both takes the place of both.
        images.push(image(6, 6, 0));
        assert_eq!(judge(&rules(1, 0, false), &images, at(9)), [newest, GOES, GOES, GOES, GOES, newest]);
    }

    fn any_image() -> impl Strategy<Value = VersionImage> {
        (0..200u8, 1..12u8, 0..40i64, any::<bool>(), 0..3usize, 0..4u8).prop_map(
            |(number, day, came, machine, family, kept)| VersionImage {
                image_type: if machine { ImageType::VirtualMachine } else { ImageType::Container },
                family: Family::ALL[family],
                alias: (kept == 1).then(|| "a".to_owned()),
                upstream: (kept == 2).then(|| "images".parse().unwrap()),
                ..image(number, day, came)
            },
        )
    }

    fn any_rules() -> impl Strategy<Value = Retention> {
        (0..6u32, 0..40u32, any::<bool>()).prop_map(|(keep, days, aliased)| rules(keep, days, aliased))
    }

    fn staying(rules: &Retention, images: &[VersionImage], now: i64) -> Vec<bool> {
        judge(rules, images, at(now)).iter().map(Option::is_some).collect()
    }

    proptest! {
        #[test]
        fn the_last_of_each_kind_stays(images in proptest::collection::vec(any_image(), 1..30), rules in any_rules(), now in 0..100i64) {
            let stay = staying(&rules, &images, now);
            for image in &images {
                for lane in lanes(image) {
                    let left = images.iter().zip(&stay).any(|(other, stays)| *stays && lanes(other).contains(&lane));
                    prop_assert!(left, "nothing is left of {lane:?}");
                }
            }
        }

        #[test]
        fn more_rules_and_larger_ones_keep_more(
            images in proptest::collection::vec(any_image(), 0..30), rules in any_rules(), now in 0..100i64,
            keep in 0..4u32, days in 0..20u32, aliased in any::<bool>(),
        ) {
            prop_assume!(rules.is_limited());
            let larger = Retention {
                keep: rules.keep + keep, keep_days: rules.keep_days + days, keep_aliased: rules.keep_aliased || aliased,
            };
            let (less, more) = (staying(&rules, &images, now), staying(&larger, &images, now));
            prop_assert!(less.iter().zip(&more).all(|(less, more)| !less || *more));
        }

        #[test]
        fn time_only_takes(images in proptest::collection::vec(any_image(), 0..30), rules in any_rules(), now in 0..100i64, later in 0..50i64) {
            let (sooner, later) = (staying(&rules, &images, now), staying(&rules, &images, now + later));
            prop_assert!(later.iter().zip(&sooner).all(|(later, sooner)| !later || *sooner));
        }

        #[test]
        fn what_is_promised_stays(images in proptest::collection::vec(any_image(), 0..30), rules in any_rules(), now in 0..100i64) {
            let stay = staying(&rules, &images, now);
            for (image, stays) in images.iter().zip(stay) {
                let newer: BTreeSet<_> = images.iter().map(|other| &other.version).filter(|other| **other > image.version).collect();
                let promised = !rules.is_limited() || image.upstream.is_some() || (rules.keep_aliased && image.alias.is_some())
                    || newer.len() < rules.keep as usize || is_young(image.came_at, rules.keep_days, at(now));
                prop_assert!(stays || !promised);
            }
        }

        #[test]
        fn a_second_round_has_nothing_to_do(images in proptest::collection::vec(any_image(), 0..30), rules in any_rules(), now in 0..100i64) {
            let stay = staying(&rules, &images, now);
            let left: Vec<_> = images.iter().zip(stay).filter(|(_, stays)| *stays).map(|(image, _)| image.clone()).collect();
            prop_assert!(staying(&rules, &left, now).into_iter().all(|stays| stays));
        }
    }
}
