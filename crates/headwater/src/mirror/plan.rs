//! What a run is to do: the difference between what an upstream offers and what is here. Pure.
//!
//! Nothing is removed because an upstream made a mistake: images go only after a grace, the last version of a product stays, and when much
//! of what was listed is missing at once, nothing is done at all.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::image::Image;
use headwater_formats::names::VersionName;
use headwater_formats::product::Product;
use headwater_formats::timestamp::Timestamp;
use serde_json::Value as Json;

use super::OfferedDelta;
use super::offer::Offered;
use super::promise::promises;
use crate::catalog::{Described, GivenProduct, Mirrored, Promise, UpstreamSettings};
use crate::client::Offer;
use crate::publish::is_young;

/// Of so many products or more, …
const MANY: usize = 3;
/// … a run does nothing when fewer than this part of them is still listed: one in two.
const LEAST: usize = 2;

/// Fields of an upstream that mean nothing here.
pub type Fields = BTreeMap<String, Json>;

/// What a run is to do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Images that are chosen and listed.
    pub listed: u64,
    /// Products with images to take, in the order of the upstream.
    pub take: Vec<Take>,
    /// Products that the upstream describes otherwise than they are described here, without those that are only to be taken.
    pub describe: Vec<Described>,
    /// Images that are not listed any more.
    pub gone: Vec<Fingerprint>,
    /// Images that are listed again.
    pub back: Vec<Fingerprint>,
    /// Images that are listed and here, and not noted as this upstream's: with product and version.
    pub shared: Vec<(Fingerprint, String, String)>,
    /// Images whose time is over, once all else went well.
    pub remove: Vec<Fingerprint>,
    /// Deltas to root files that are to be taken, by these.
    pub deltas: HashMap<Digest, Vec<OfferedDelta>>,
    /// Where the files of all images are that are chosen, when the upstream is lazy.
    pub promises: Vec<Promise>,
}

/// What is to be taken of a product.
#[derive(Debug, Clone)]
pub struct Take {
    /// What the upstream says of it.
    pub product: GivenProduct,
    /// The images with their versions, the newest first: should a run be cut short, that is what people want.
    pub images: Vec<TakeImage>,
}

/// An image that is to be taken. There may be very many of them, so what is needed late is kept small.
#[derive(Debug, Clone)]
pub struct TakeImage {
    /// Its version.
    pub version: VersionName,
    /// The image as it is listed, without its properties.
    pub image: Image,
    /// How its bytes come.
    pub offer: Offer,
    /// What the upstream says of the version, and the properties of the image, as JSON: a twentieth of what maps take.
    fields: Box<str>,
}

impl TakeImage {
    fn new(version: VersionName, version_extra: Fields, mut image: Image, offer: Offer) -> Self {
        let properties = std::mem::take(&mut image.properties);
        let properties = properties.into_iter().map(|(key, value)| (key, Json::String(value))).collect();
        let fields = Json::Array(vec![Json::Object(version_extra.into_iter().collect()), Json::Object(properties)]);
        Self { version, image, offer, fields: fields.to_string().into_boxed_str() }
    }

    /// What the upstream says of the version, and the properties of the image.
    pub fn fields(&self) -> (Fields, BTreeMap<String, String>) {
        // What was written above can be read.
        serde_json::from_str(&self.fields).unwrap_or_default()
    }
}

/// Why nothing is to be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Much of what was listed is missing.
    #[error(
        "it lists {listed} of the {held} products that came from it, which looks like a mistake, so nothing was changed; if it is none, \
         run it once with --accept-loss"
    )]
    Shrunk {
        /// Products that are still listed.
        listed: usize,
        /// Products that it listed.
        held: usize,
    },
}

/// Works out the difference, part by part of what is offered, so that nothing stays in memory of what is here already.
pub(super) struct Planner<'a> {
    settings: &'a UpstreamSettings,
    now: Timestamp,
    held: &'a [Mirrored],
    noted: HashMap<Fingerprint, &'a Mirrored>,
    /// The same by their products.
    of_product: BTreeMap<&'a str, Vec<&'a Mirrored>>,
    /// Whether anything was offered, chosen or not.
    something: bool,
    /// Of the products that came from the upstream, those that it still lists, chosen or not.
    still: BTreeSet<&'a str>,
    listed: HashSet<Fingerprint>,
    /// The versions of the products that have images here which they may list no more.
    versions: BTreeMap<&'a str, Vec<VersionName>>,
    described: Vec<Described>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    /// `held` are the images that came from the upstream until now.
    pub(super) fn new(held: &'a [Mirrored], settings: &'a UpstreamSettings, now: Timestamp) -> Self {
        let mut of_product: BTreeMap<&str, Vec<&Mirrored>> = BTreeMap::new();
        for row in held {
            of_product.entry(&row.product).or_default().push(row);
        }
        Self {
            settings,
            now,
            held,
            noted: held.iter().map(|row| (row.fingerprint, row)).collect(),
            of_product,
            something: false,
            still: BTreeSet::new(),
            listed: HashSet::new(),
            versions: BTreeMap::new(),
            described: Vec::new(),
            plan: Plan::default(),
        }
    }

    /// The next part of what is offered. `present` are those of its images that the project has.
    pub(super) fn add(&mut self, offered: Offered, present: &BTreeSet<Fingerprint>) {
        let Offered { products, mut offers, mut deltas, keys, placed } = offered;
        self.something |= !keys.is_empty();
        if self.settings.lazy {
            self.plan.promises.extend(offers.values().filter_map(promises).flatten());
        }
        let of_product = &self.of_product;
        self.still.extend(keys.iter().filter_map(|key| Some(*of_product.get_key_value(key.as_str())?.0)));
        for product in products {
            let given = given(&product);
            let mut take = Take { product: given.clone(), images: Vec::new() };
            let mut described = BTreeMap::new();
            let names: Vec<VersionName> = product.versions.iter().map(|version| version.name.clone()).collect();
            for version in product.versions.into_iter().rev() {
                for image in version.images {
                    let fingerprint = image.fingerprint;
                    self.listed.insert(fingerprint);
                    self.plan.listed += 1;
                    match (self.noted.get(&fingerprint), present.contains(&fingerprint)) {
                        // It would turn out to be wrong again.
                        (Some(row), false) if row.wrong && self.settings.lazy => {}
                        (_, false) => {
                            let Some(offer) = offers.remove(&fingerprint) else { continue };
                            let root = image.files.root().map(|root| root.digest);
                            if let Some((root, found)) = root.and_then(|root| deltas.remove_entry(&root)) {
                                self.plan.deltas.insert(root, found);
                            }
                            let extra = version.extra.clone();
                            take.images.push(TakeImage::new(version.name.clone(), extra, image, offer));
                        }
                        (Some(row), true) => {
                            self.plan.back.extend(row.gone_at.map(|_| fingerprint));
                            described.insert(version.name.clone(), version.extra.clone());
                        }
                        (None, true) => {
                            let place = (fingerprint, product.key.clone(), version.name.to_string());
                            self.plan.shared.push(place);
                        }
                    }
                }
            }
            if let Some((key, rows)) = self.of_product.get_key_value(product.key.as_str())
                && rows.iter().any(|row| !self.listed.contains(&row.fingerprint))
            {
                self.versions.insert(key, names);
            }
            if !take.images.is_empty() {
                take.images.shrink_to_fit();
                self.plan.take.push(take);
            }
            if placed && !described.is_empty() {
                self.described.push(Described { product: given, versions: described });
            }
        }
    }

    /// What was added since this was asked last of products that are here, as the upstream describes them. Those that are described otherwise here
    /// are to be [described](Self::describe).
    pub(super) fn described(&mut self) -> Vec<Described> {
        std::mem::take(&mut self.described)
    }

    /// Products that are to be described anew.
    pub(super) fn describe(&mut self, products: Vec<Described>) {
        self.plan.describe.extend(products);
    }

    /// The difference, when all was added.
    ///
    /// # Errors
    /// [`PlanError::Shrunk`], unless `accept_loss`.
    pub(super) fn end(mut self, accept_loss: bool) -> Result<Plan, PlanError> {
        if !accept_loss {
            self.suspicious()?;
        }
        let unlisted: Vec<&Mirrored> = self.held.iter().filter(|row| !self.listed.contains(&row.fingerprint)).collect();
        self.plan.gone = unlisted.iter().filter(|row| row.gone_at.is_none()).map(|row| row.fingerprint).collect();
        self.plan.remove = retired(&self.versions, &unlisted, self.settings, self.now);
        Ok(self.plan)
    }

    /// Whether much is missing of what was listed, whatever is chosen of it.
    fn suspicious(&self) -> Result<(), PlanError> {
        let held = self.of_product.iter().filter(|(_, rows)| rows.iter().any(|row| row.gone_at.is_none()));
        let held: Vec<&str> = held.map(|(key, _)| *key).collect();
        let listed = held.iter().filter(|key| self.still.contains(**key)).count();
        let nothing = !self.something && !held.is_empty();
        if nothing || (held.len() >= MANY && listed * LEAST < held.len()) {
            return Err(PlanError::Shrunk { listed, held: held.len() });
        }
        Ok(())
    }
}

/// What an upstream says of a product.
pub(super) fn given(product: &Product) -> GivenProduct {
    let mut seen = BTreeSet::new();
    let names = product.aliases.iter().filter(|name| seen.insert(name.as_str())).cloned().collect();
    GivenProduct { key: product.key.clone(), names: Some(names), extra: product.extra.clone() }
}

/// Images that are not listed any more and have to go: their grace is over, and their version is none of those that are kept.
/// `listed` are the versions that are listed of their products.
fn retired(
    listed: &BTreeMap<&str, Vec<VersionName>>,
    unlisted: &[&Mirrored],
    settings: &UpstreamSettings,
    now: Timestamp,
) -> Vec<Fingerprint> {
    let mut products: BTreeMap<&str, Vec<&Mirrored>> = BTreeMap::new();
    for row in unlisted {
        products.entry(&row.product).or_default().push(row);
    }
    let mut remove = Vec::new();
    for (key, rows) in products {
        let mut versions: BTreeSet<&str> =
            rows.iter().filter(|row| row.came_at.is_some()).map(|row| row.version.as_str()).collect();
        versions.extend(listed.get(key).into_iter().flatten().map(VersionName::as_str));
        // The last version stays, also when its upstream has dropped the whole product.
        let keep = usize::try_from(settings.keep).unwrap_or(usize::MAX).max(1);
        let mut kept: BTreeSet<&str> = versions.into_iter().rev().take(keep).collect();
        let young = rows.iter().filter(|row| row.came_at.is_some_and(|at| is_young(at, settings.keep_days, now)));
        kept.extend(young.map(|row| row.version.as_str()));
        for row in rows {
            let over = row.gone_at.is_some_and(|gone| gone.unix().saturating_add(settings.grace.into()) <= now.unix());
            let kept = kept.contains(row.version.as_str()) || (settings.keep_aliased && row.aliased);
            // What is gone by hand is only forgotten.
            if row.came_at.is_none() || (over && !kept) {
                remove.push(row.fingerprint);
            }
        }
    }
    remove
}

#[cfg(test)]
mod tests {
    use headwater_formats::arch::Architecture;
    use headwater_formats::digest::Digest;
    use headwater_formats::image::{FileFormat, ImageFile, ImageFiles, ImageType};
    use headwater_formats::product::{Line, Version};
    use headwater_formats::simplestreams::client::ListedFile;
    use headwater_formats::simplestreams::parse::RelativePath;

    use super::*;

    fn fingerprint(number: u8) -> Fingerprint {
        Fingerprint::from_bytes([number; 32])
    }

    fn image(number: u8) -> Image {
        let file = ImageFile { digest: Digest::from_bytes([number; 32]), size: 1, format: FileFormat::Squashfs };
        Image {
            fingerprint: fingerprint(number),
            image_type: ImageType::Container,
            architecture: Architecture::X86_64,
            files: ImageFiles::Unified(file),
            filename: String::new(),
            created_at: Timestamp::EPOCH,
            uploaded_at: Timestamp::EPOCH,
            public: true,
            expires_at: None,
            last_used_at: None,
            auto_update: false,
            properties: BTreeMap::new(),
            profiles: Vec::new(),
            update_source: None,
        }
    }

    fn plan(
        offered: Offered,
        held: &[Mirrored],
        present: &BTreeSet<Fingerprint>,
        settings: &UpstreamSettings,
        accept_loss: bool,
        now: Timestamp,
    ) -> Result<Plan, PlanError> {
        let mut planner = Planner::new(held, settings, now);
        planner.add(offered, present);
        let described = planner.described();
        planner.describe(described);
        planner.end(accept_loss)
    }

    /// Products with the days of their versions; an image has the number of its product times ten and its day.
    fn offered(products: &[(u8, &[u8])]) -> Offered {
        let product = |(key, days): &(u8, &[u8])| Product {
            key: format!("p{key}"),
            line: Line { os: "d".into(), release: "b".into(), variant: "v".into(), architecture: Architecture::X86_64 },
            release_title: None,
            release_codename: None,
            version: None,
            aliases: vec!["a".into(), "b".into(), "a".into()],
            extra: BTreeMap::new(),
            versions: days
                .iter()
                .map(|day| Version {
                    name: version(*day),
                    extra: BTreeMap::new(),
                    images: vec![image(key * 10 + day)],
                    deltas: Vec::new(),
                })
                .collect(),
        };
        let products: Vec<Product> = products.iter().map(product).collect();
        let keys = products.iter().map(|product| product.key.clone()).collect();
        let images = products.iter().flat_map(|product| &product.versions).flat_map(|version| &version.images);
        let file = || ListedFile { path: RelativePath::new("images/file").unwrap(), size: 1, sha256: None };
        let offers = images.map(|image| (image.fingerprint, Offer::listed(image.fingerprint, file(), None))).collect();
        Offered { products, offers, keys, placed: true, ..Offered::default() }
    }

    fn version(day: u8) -> VersionName {
        VersionName::new(format!("2024010{day}")).unwrap()
    }

    fn held(number: u8, gone: Option<i64>) -> Mirrored {
        Mirrored {
            fingerprint: fingerprint(number),
            product: format!("p{}", number / 10),
            version: version(number % 10).to_string(),
            gone_at: gone.map(|at| Timestamp::from_unix(at).unwrap()),
            came_at: Some(Timestamp::EPOCH),
            aliased: false,
            wrong: false,
        }
    }

    const SETTINGS: fn() -> UpstreamSettings = || UpstreamSettings { grace: 100, ..UpstreamSettings::default() };

    fn planned(offered: Offered, held: &[Mirrored], present: &[u8], settings: &UpstreamSettings, at: i64) -> Plan {
        let present = present.iter().map(|number| fingerprint(*number)).collect();
        plan(offered, held, &present, settings, false, Timestamp::from_unix(at).unwrap()).unwrap()
    }

    fn numbers(fingerprints: &[Fingerprint]) -> Vec<u8> {
        fingerprints.iter().map(|one| one.as_bytes()[0]).collect()
    }

    #[test]
    fn what_is_new_is_taken_the_newest_first() {
        let plan = planned(offered(&[(1, &[1, 2, 3]), (2, &[1])]), &[held(11, None)], &[11, 21], &SETTINGS(), 0);
        assert_eq!(plan.listed, 4);
        let taken: Vec<_> = plan
            .take
            .iter()
            .map(|take| (take.product.key.as_str(), take.images.len(), &take.images[0].version))
            .collect();
        assert_eq!(taken, [("p1", 2, &version(3))]);
        assert_eq!(plan.take[0].product.names.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]), "no name twice");
        assert_eq!(plan.describe.iter().map(|said| said.product.key.as_str()).collect::<Vec<_>>(), ["p1"]);
        // Here, but not from this upstream.
        assert_eq!(plan.shared, [(fingerprint(21), "p2".to_owned(), "20240101".to_owned())]);
        assert_eq!((plan.gone.len(), plan.back.len(), plan.remove.len()), (0, 0, 0));
    }

    #[test]
    fn a_second_run_has_nothing_to_do() {
        let held: Vec<Mirrored> = [11, 12, 21].into_iter().map(|number| held(number, None)).collect();
        let plan = planned(offered(&[(1, &[1, 2]), (2, &[1])]), &held, &[11, 12, 21], &SETTINGS(), 0);
        assert_eq!((plan.listed, plan.describe.len()), (3, 2));
        assert!(plan.take.is_empty() && plan.gone.is_empty() && plan.back.is_empty() && plan.shared.is_empty());
        assert!(plan.remove.is_empty());
    }

    #[test]
    fn what_was_deleted_by_hand_is_taken_again_as_long_as_it_is_listed() {
        let gone = |number| Mirrored { came_at: None, ..held(number, None) };
        let plan = planned(offered(&[(1, &[2])]), &[gone(11), gone(12)], &[], &SETTINGS(), 0);
        assert_eq!(plan.take[0].images[0].image.fingerprint, fingerprint(12));
        assert_eq!((numbers(&plan.gone), numbers(&plan.remove)), (vec![11], vec![11]), "and forgotten otherwise");
    }

    #[test]
    fn what_is_not_listed_goes_after_the_grace() {
        let offered = || offered(&[(1, &[3])]);
        let rows = [held(11, None), held(12, Some(50)), held(13, Some(60))];
        let plan = planned(offered(), &rows, &[13], &SETTINGS(), 149);
        assert_eq!((numbers(&plan.gone), numbers(&plan.back), numbers(&plan.remove)), (vec![11], vec![13], vec![]));
        let plan = planned(offered(), &rows, &[13], &SETTINGS(), 150);
        assert_eq!(numbers(&plan.remove), [12]);
    }

    #[test]
    fn kept_versions_and_the_last_one_stay() {
        let old = [held(11, Some(0)), held(12, Some(0)), held(13, Some(0))];
        let keep = |keep| UpstreamSettings { keep, ..SETTINGS() };
        let with = || offered(&[(1, &[4]), (2, &[1])]);
        assert_eq!(numbers(&planned(with(), &old, &[14], &keep(0), 1000).remove), [11, 12, 13]);
        assert_eq!(numbers(&planned(with(), &old, &[14], &keep(3), 1000).remove), [11]);
        assert_eq!(numbers(&planned(with(), &old, &[14], &keep(9), 1000).remove), Vec::<u8>::new());
        // Came on the first day, and so on.
        let day = |days: i64| Timestamp::from_unix(days * 86_400).unwrap();
        let came: Vec<Mirrored> =
            (1..=3).map(|number| Mirrored { came_at: Some(day(number)), ..held(10 + number as u8, Some(0)) }).collect();
        let days = |days| UpstreamSettings { keep_days: days, ..SETTINGS() };
        assert_eq!(numbers(&planned(with(), &came, &[14], &days(3), day(5).unix()).remove), [11, 12]);
        assert_eq!(numbers(&planned(with(), &came, &[14], &days(3), day(5).unix() - 1).remove), [11]);
        let named: Vec<Mirrored> =
            old.iter().map(|row| Mirrored { aliased: row.fingerprint == fingerprint(12), ..row.clone() }).collect();
        let aliased = UpstreamSettings { keep_aliased: true, ..SETTINGS() };
        assert_eq!(numbers(&planned(with(), &named, &[14], &aliased, 1000).remove), [11, 13]);
        assert_eq!(
            numbers(&planned(with(), &named, &[14], &keep(0), 1000).remove),
            [11, 12, 13],
            "unless it is asked for"
        );
        // The upstream has dropped the product.
        let without = || offered(&[(2, &[1])]);
        assert_eq!(numbers(&planned(without(), &old, &[], &keep(0), 1000).remove), [11, 12]);
    }

    #[test]
    fn an_upstream_that_lost_most_is_not_believed() {
        let held: Vec<Mirrored> = (1..=5).map(|product| held(product * 10 + 1, None)).collect();
        let shrunk = |products: &[(u8, &[u8])], accept| {
            plan(offered(products), &held, &BTreeSet::new(), &SETTINGS(), accept, Timestamp::EPOCH).map(|_| ())
        };
        assert_eq!(shrunk(&[(1, &[1]), (2, &[1])], false), Err(PlanError::Shrunk { listed: 2, held: 5 }));
        assert_eq!(shrunk(&[(1, &[1]), (2, &[1])], true), Ok(()));
        assert_eq!(shrunk(&[(1, &[1]), (2, &[2]), (3, &[3])], false), Ok(()));
        assert_eq!(shrunk(&[], false), Err(PlanError::Shrunk { listed: 0, held: 5 }));
        // Another filter is no loss.
        let mut chosen = offered(&[(1, &[1])]);
        chosen.keys = (1..=5).map(|product| format!("p{product}")).collect();
        assert!(plan(chosen, &held, &BTreeSet::new(), &SETTINGS(), false, Timestamp::EPOCH).is_ok());
    }
}
