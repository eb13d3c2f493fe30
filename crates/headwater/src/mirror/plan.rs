//! What a run is to do: the difference between what an upstream offers and what is here. Pure.
//!
//! Nothing is removed because an upstream made a mistake: images go only after a grace, the last version of a product stays, and when much
//! of what was listed is missing at once, nothing is done at all.

use std::collections::{BTreeMap, BTreeSet};

use headwater_formats::digest::Fingerprint;
use headwater_formats::image::Image;
use headwater_formats::names::VersionName;
use headwater_formats::product::Product;
use headwater_formats::timestamp::Timestamp;
use serde_json::Value as Json;

use super::offer::Offered;
use crate::catalog::{GivenProduct, Mirrored, UpstreamSettings};
use crate::publish::is_young;

/// Of so many products or more, …
const MANY: usize = 3;
/// … a run does nothing when fewer than this part of them is still listed: one in two.
const LEAST: usize = 2;

/// Fields of an upstream that mean nothing here.
pub type Fields = BTreeMap<String, Json>;

/// What a run is to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Images that are chosen and listed.
    pub listed: u64,
    /// Products with images to take, in the order of the upstream.
    pub take: Vec<Take>,
    /// Products as the upstream describes them, without those that are only to be taken.
    pub describe: Vec<(GivenProduct, BTreeMap<VersionName, Fields>)>,
    /// Images that are not listed any more.
    pub gone: Vec<Fingerprint>,
    /// Images that are listed again.
    pub back: Vec<Fingerprint>,
    /// Images that are listed and here, and not noted as this upstream's: with product and version.
    pub shared: Vec<(Fingerprint, String, String)>,
    /// Images whose time is over, once all else went well.
    pub remove: Vec<Fingerprint>,
}

/// What is to be taken of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// What the upstream says of it.
    pub product: GivenProduct,
    /// The images with their versions, the newest first: should a run be cut short, that is what people want.
    pub images: Vec<TakeImage>,
}

/// An image that is to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeImage {
    /// Its version.
    pub version: VersionName,
    /// What the upstream says of the version.
    pub version_extra: Fields,
    /// The image as it is listed.
    pub image: Image,
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

/// The difference. `present` are the listed images that the project has.
///
/// # Errors
/// [`PlanError::Shrunk`], unless `accept_loss`.
pub(super) fn plan(
    offered: &Offered,
    held: &[Mirrored],
    present: &BTreeSet<Fingerprint>,
    settings: &UpstreamSettings,
    accept_loss: bool,
    now: Timestamp,
) -> Result<Plan, PlanError> {
    if !accept_loss {
        suspicious(offered, held)?;
    }
    let noted: BTreeMap<Fingerprint, &Mirrored> = held.iter().map(|row| (row.fingerprint, row)).collect();
    let mut plan = Plan::default();
    let mut listed = BTreeSet::new();
    for product in &offered.products {
        let given = given(product);
        let mut take = Take { product: given.clone(), images: Vec::new() };
        let mut described = BTreeMap::new();
        for version in product.versions.iter().rev() {
            for image in &version.images {
                listed.insert(image.fingerprint);
                plan.listed += 1;
                match (noted.get(&image.fingerprint), present.contains(&image.fingerprint)) {
                    // It would turn out to be wrong again.
                    (Some(row), false) if row.wrong && settings.lazy => {}
                    (_, false) => take.images.push(TakeImage {
                        version: version.name.clone(),
                        version_extra: version.extra.clone(),
                        image: image.clone(),
                    }),
                    (Some(row), true) => {
                        plan.back.extend(row.gone_at.map(|_| image.fingerprint));
                        described.insert(version.name.clone(), version.extra.clone());
                    }
                    (None, true) => {
                        let place = (image.fingerprint, product.key.clone(), version.name.to_string());
                        plan.shared.push(place);
                    }
                }
            }
        }
        if !take.images.is_empty() {
            plan.take.push(take);
        }
        if offered.placed && !described.is_empty() {
            plan.describe.push((given, described));
        }
    }
    let unlisted: Vec<&Mirrored> = held.iter().filter(|row| !listed.contains(&row.fingerprint)).collect();
    plan.gone = unlisted.iter().filter(|row| row.gone_at.is_none()).map(|row| row.fingerprint).collect();
    plan.remove = retired(offered, &unlisted, settings, now);
    Ok(plan)
}

/// Whether much is missing of what was listed, whatever is chosen of it.
fn suspicious(offered: &Offered, held: &[Mirrored]) -> Result<(), PlanError> {
    let held: BTreeSet<&str> =
        held.iter().filter(|row| row.gone_at.is_none()).map(|row| row.product.as_str()).collect();
    let listed = held.iter().filter(|key| offered.keys.contains(**key)).count();
    let nothing = offered.keys.is_empty() && !held.is_empty();
    if nothing || (held.len() >= MANY && listed * LEAST < held.len()) {
        return Err(PlanError::Shrunk { listed, held: held.len() });
    }
    Ok(())
}

/// What an upstream says of a product.
pub(super) fn given(product: &Product) -> GivenProduct {
    let mut seen = BTreeSet::new();
    let names = product.aliases.iter().filter(|name| seen.insert(name.as_str())).cloned().collect();
    GivenProduct { key: product.key.clone(), names: Some(names), extra: product.extra.clone() }
}

/// Images that are not listed any more and have to go: their grace is over, and their version is none of those that are kept.
fn retired(offered: &Offered, unlisted: &[&Mirrored], settings: &UpstreamSettings, now: Timestamp) -> Vec<Fingerprint> {
    let mut products: BTreeMap<&str, Vec<&Mirrored>> = BTreeMap::new();
    for row in unlisted {
        products.entry(&row.product).or_default().push(row);
    }
    let listed: BTreeMap<&str, &Product> =
        offered.products.iter().map(|product| (product.key.as_str(), product)).collect();
    let mut remove = Vec::new();
    for (key, rows) in products {
        let mut versions: BTreeSet<&str> =
            rows.iter().filter(|row| row.came_at.is_some()).map(|row| row.version.as_str()).collect();
        let of_upstream = listed.get(key).map(|product| &product.versions);
        versions.extend(of_upstream.into_iter().flatten().map(|version| version.name.as_str()));
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
        Offered { products, keys, placed: true, ..Offered::default() }
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

    fn planned(offered: &Offered, held: &[Mirrored], present: &[u8], settings: &UpstreamSettings, at: i64) -> Plan {
        let present = present.iter().map(|number| fingerprint(*number)).collect();
        plan(offered, held, &present, settings, false, Timestamp::from_unix(at).unwrap()).unwrap()
    }

    fn numbers(fingerprints: &[Fingerprint]) -> Vec<u8> {
        fingerprints.iter().map(|one| one.as_bytes()[0]).collect()
    }

    #[test]
    fn what_is_new_is_taken_the_newest_first() {
        let plan = planned(&offered(&[(1, &[1, 2, 3]), (2, &[1])]), &[held(11, None)], &[11, 21], &SETTINGS(), 0);
        assert_eq!(plan.listed, 4);
        let taken: Vec<_> = plan
            .take
            .iter()
            .map(|take| (take.product.key.as_str(), take.images.len(), &take.images[0].version))
            .collect();
        assert_eq!(taken, [("p1", 2, &version(3))]);
        assert_eq!(plan.take[0].product.names.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]), "no name twice");
        assert_eq!(plan.describe.iter().map(|(product, _)| product.key.as_str()).collect::<Vec<_>>(), ["p1"]);
        // Here, but not from this upstream.
        assert_eq!(plan.shared, [(fingerprint(21), "p2".to_owned(), "20240101".to_owned())]);
        assert_eq!((plan.gone.len(), plan.back.len(), plan.remove.len()), (0, 0, 0));
    }

    #[test]
    fn a_second_run_has_nothing_to_do() {
        let held: Vec<Mirrored> = [11, 12, 21].into_iter().map(|number| held(number, None)).collect();
        let plan = planned(&offered(&[(1, &[1, 2]), (2, &[1])]), &held, &[11, 12, 21], &SETTINGS(), 0);
        assert_eq!(Plan { describe: Vec::new(), listed: 0, ..plan }, Plan::default());
    }

    #[test]
    fn what_was_deleted_by_hand_is_taken_again_as_long_as_it_is_listed() {
        let gone = |number| Mirrored { came_at: None, ..held(number, None) };
        let plan = planned(&offered(&[(1, &[2])]), &[gone(11), gone(12)], &[], &SETTINGS(), 0);
        assert_eq!(plan.take[0].images[0].image.fingerprint, fingerprint(12));
        assert_eq!((numbers(&plan.gone), numbers(&plan.remove)), (vec![11], vec![11]), "and forgotten otherwise");
    }

    #[test]
    fn what_is_not_listed_goes_after_the_grace() {
        let offered = offered(&[(1, &[3])]);
        let rows = [held(11, None), held(12, Some(50)), held(13, Some(60))];
        let plan = planned(&offered, &rows, &[13], &SETTINGS(), 149);
        assert_eq!((numbers(&plan.gone), numbers(&plan.back), numbers(&plan.remove)), (vec![11], vec![13], vec![]));
        let plan = planned(&offered, &rows, &[13], &SETTINGS(), 150);
        assert_eq!(numbers(&plan.remove), [12]);
    }

    #[test]
    fn kept_versions_and_the_last_one_stay() {
        let old = [held(11, Some(0)), held(12, Some(0)), held(13, Some(0))];
        let keep = |keep| UpstreamSettings { keep, ..SETTINGS() };
        let with = offered(&[(1, &[4]), (2, &[1])]);
        assert_eq!(numbers(&planned(&with, &old, &[14], &keep(0), 1000).remove), [11, 12, 13]);
        assert_eq!(numbers(&planned(&with, &old, &[14], &keep(3), 1000).remove), [11]);
        assert_eq!(numbers(&planned(&with, &old, &[14], &keep(9), 1000).remove), Vec::<u8>::new());
        // Came on the first day, and so on.
        let day = |days: i64| Timestamp::from_unix(days * 86_400).unwrap();
        let came: Vec<Mirrored> =
            (1..=3).map(|number| Mirrored { came_at: Some(day(number)), ..held(10 + number as u8, Some(0)) }).collect();
        let days = |days| UpstreamSettings { keep_days: days, ..SETTINGS() };
        assert_eq!(numbers(&planned(&with, &came, &[14], &days(3), day(5).unix()).remove), [11, 12]);
        assert_eq!(numbers(&planned(&with, &came, &[14], &days(3), day(5).unix() - 1).remove), [11]);
        let named: Vec<Mirrored> =
            old.iter().map(|row| Mirrored { aliased: row.fingerprint == fingerprint(12), ..row.clone() }).collect();
        let aliased = UpstreamSettings { keep_aliased: true, ..SETTINGS() };
        assert_eq!(numbers(&planned(&with, &named, &[14], &aliased, 1000).remove), [11, 13]);
        assert_eq!(
            numbers(&planned(&with, &named, &[14], &keep(0), 1000).remove),
            [11, 12, 13],
            "unless it is asked for"
        );
        // The upstream has dropped the product.
        let without = offered(&[(2, &[1])]);
        assert_eq!(numbers(&planned(&without, &old, &[], &keep(0), 1000).remove), [11, 12]);
    }

    #[test]
    fn an_upstream_that_lost_most_is_not_believed() {
        let held: Vec<Mirrored> = (1..=5).map(|product| held(product * 10 + 1, None)).collect();
        let shrunk = |products: &[(u8, &[u8])], accept| {
            plan(&offered(products), &held, &BTreeSet::new(), &SETTINGS(), accept, Timestamp::EPOCH).map(|_| ())
        };
        assert_eq!(shrunk(&[(1, &[1]), (2, &[1])], false), Err(PlanError::Shrunk { listed: 2, held: 5 }));
        assert_eq!(shrunk(&[(1, &[1]), (2, &[1])], true), Ok(()));
        assert_eq!(shrunk(&[(1, &[1]), (2, &[2]), (3, &[3])], false), Ok(()));
        assert_eq!(shrunk(&[], false), Err(PlanError::Shrunk { listed: 0, held: 5 }));
        // Another filter is no loss.
        let mut chosen = offered(&[(1, &[1])]);
        chosen.keys = (1..=5).map(|product| format!("p{product}")).collect();
        assert!(plan(&chosen, &held, &BTreeSet::new(), &SETTINGS(), false, Timestamp::EPOCH).is_ok());
    }
}
