//! Finds the pairs that are wanted, from what changed since the last time.
//!
//! How far that was is kept in the catalog, so that a server that starts does not look at everything again, and several servers
//! share what they find. When two look at the same product, both want the same pairs, and no pair is wanted twice.
//!
//! What was there before deltas were first planned is the *past*. It may be a million images: it is looked at a page at a time, when there is
//! nothing else to build, so that what is published meanwhile does not wait behind it, and a server that opens such a catalog stays small.

use std::time::Duration;

use headwater_formats::digest::Digest;
use headwater_formats::timestamp::Timestamp;
use tokio::time::Instant;

use super::{Deltas, policy};
use crate::catalog::{CatalogError, ClaimedDelta, DeltaState, DeltaWish, PlanMark, ProductId};

/// Products that are looked at in one step: few, because what a step takes is memory that a server keeps.
const PAGE: usize = 50;
/// Who has downloaded nothing for so many seconds holds nothing any more: 90 days.
const HELD: i64 = 90 * 24 * 3600;
/// How often it is counted anew who holds what.
const COUNT_EVERY: Duration = Duration::from_secs(600);
/// Downloads are written down a little later than they happen, in seconds.
const LATE: i64 = 60;
/// How many pages of the past in which there was nothing new are looked at before it is kept how far that is.
const KEEP_EVERY: u32 = 100;

/// How far one server has come.
#[derive(Debug, Default)]
pub struct Planner {
    mark: Option<PlanMark>,
    /// The revision that is kept in the catalog.
    kept: i64,
    /// How far the past was looked at; `None` when it was to its end.
    past: Option<PlanMark>,
    /// Pages of it since that was kept.
    pages: u32,
    /// When this planner counted last.
    counted: Option<Instant>,
    /// Files of which clients are still to be counted.
    counting: Vec<Digest>,
}

impl Deltas {
    /// Looks at some of the products that changed, and at some of those whose clients did, and adds the pairs that are wanted. Whether there is more to
    /// look at, the past apart.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn plan(&self, planner: &mut Planner) -> Result<bool, CatalogError> {
        let catalog = &self.publisher.catalog;
        let mark = match planner.mark.take() {
            Some(mark) => mark,
            None => self.begin(planner).await?,
        };
        let revision = catalog.revision().await?.number;
        let mut more = false;
        let mut planned = mark.clone();
        if mark.since != revision || !mark.is_between_rounds() {
            let (products, next) = catalog.products_to_plan(&mark, PAGE).await?;
            let new = self.want(&products).await?;
            more = !next.is_between_rounds() || next.since != revision;
            // Kept when something was written anyway, or much was read: what is looked at twice costs little.
            if next.is_between_rounds() && (new > 0 || next.since - planner.kept > 1000) {
                catalog.set_setting(&self.setting("planned"), &next.since.to_string()).await?;
                planner.kept = next.since;
            }
            planned = next;
        }
        planner.mark = Some(planned);
        if !more {
            more = self.count(planner).await?;
        }
        Ok(more)
    }

    /// Looks at a page of what was there before deltas were first planned, and adds the pairs that are wanted. Whether there is more of it.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn plan_past(&self, planner: &mut Planner) -> Result<bool, CatalogError> {
        if planner.mark.is_none() {
            planner.mark = Some(self.begin(planner).await?);
        }
        let Some(mark) = &planner.past else { return Ok(false) };
        let (products, next) = self.publisher.catalog.products_to_plan(mark, PAGE).await?;
        let new = self.want(&products).await?;
        let past = (!next.is_between_rounds()).then_some(next);
        planner.pages += 1;
        if new > 0 || past.is_none() || planner.pages >= KEEP_EVERY {
            self.keep_past(past.as_ref()).await?;
            planner.pages = 0;
        }
        planner.past = past;
        Ok(planner.past.is_some())
    }

    /// Where a planner begins: at what is kept, or at the present, with everything before it as the past.
    async fn begin(&self, planner: &mut Planner) -> Result<PlanMark, CatalogError> {
        let catalog = &self.publisher.catalog;
        if let Some(kept) = catalog.setting(&self.setting("planned")).await?.and_then(|text| text.parse().ok()) {
            planner.kept = kept;
            planner.past = catalog.setting(&self.setting("past")).await?.and_then(|text| text.parse().ok());
        } else {
            planner.kept = catalog.revision().await?.number;
            planner.past = (planner.kept > 0).then(|| PlanMark::all_until(planner.kept));
            if planner.past.is_some() {
                // In this order: who finds the second has the first.
                self.keep_past(planner.past.as_ref()).await?;
                catalog.set_setting(&self.setting("planned"), &planner.kept.to_string()).await?;
            }
        }
        Ok(PlanMark::new(planner.kept))
    }

    async fn keep_past(&self, past: Option<&PlanMark>) -> Result<(), CatalogError> {
        let text = past.map(PlanMark::to_string).unwrap_or_default();
        self.publisher.catalog.set_setting(&self.setting("past"), &text).await
    }

    /// The name of a setting. What was looked at by other rules counts for nothing.
    fn setting(&self, of: &str) -> String {
        format!("deltas_{of}_{}", self.settings.bases)
    }

    /// Counts anew, every ten minutes, who holds what of the products of which something was downloaded; some of them at a time.
    async fn count(&self, planner: &mut Planner) -> Result<bool, CatalogError> {
        const COUNTED: &str = "deltas_counted";
        let catalog = &self.publisher.catalog;
        if planner.counting.is_empty() {
            if planner.counted.is_some_and(|counted| counted.elapsed() < COUNT_EVERY) {
                return Ok(false);
            }
            planner.counted = Some(Instant::now());
            let now = (self.now)();
            let last = catalog.setting(COUNTED).await?.and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
            // Some server on this catalog may have done it; a clock that was set back does not stop it for long.
            let every = i64::try_from(COUNT_EVERY.as_secs()).unwrap_or(i64::MAX);
            if (0..every).contains(&now.unix().saturating_sub(last)) {
                return Ok(false);
            }
            catalog.set_setting(COUNTED, &now.unix().to_string()).await?;
            let since = Timestamp::from_unix(last.saturating_sub(LATE)).unwrap_or_default();
            planner.counting = catalog.held_since(since).await?;
        }
        let some = planner.counting.split_off(planner.counting.len().saturating_sub(PAGE));
        let products = catalog.products_with_roots(&some).await?;
        self.want(&products).await?;
        Ok(!planner.counting.is_empty())
    }

    /// Wants what is to be wanted of these products; how many pairs are new.
    async fn want(&self, products: &[ProductId]) -> Result<u64, CatalogError> {
        let (catalog, now) = (&self.publisher.catalog, (self.now)());
        let (mut wishes, mut preferred) = (Vec::new(), Vec::new());
        for product in catalog.product_roots(products, now.plus_seconds(-HELD)).await? {
            for (place, wish) in policy::wanted(&product, self.settings.bases).into_iter().enumerate() {
                let known = product.known.iter().find(|known| (known.target, known.base) == (wish.target, wish.base));
                // What is ready is preferred or not, below; of what is not, the count is for people, and for when it is ready.
                let news = known.is_none_or(|known| known.state != DeltaState::Ready && known.clients != wish.clients);
                if news {
                    wishes.push((place, wish));
                }
            }
            preferred.extend(policy::preferred(&product));
        }
        // The most useful one of every product, then the second of each.
        wishes.sort_by_key(|(place, _)| *place);
        let wishes: Vec<_> = wishes.into_iter().map(|(_, wish)| wish).collect();
        let new = if wishes.is_empty() { 0 } else { catalog.want_deltas(&wishes, now).await? };
        if !preferred.is_empty() {
            catalog.prefer_deltas(&preferred, now).await?;
        }
        Ok(new)
    }

    /// The pairs to this file that pay most, whether a newer version came since or not, those that help most clients first.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn wishes_to(&self, target: &Digest) -> Result<Vec<DeltaWish>, CatalogError> {
        let catalog = &self.publisher.catalog;
        let products = catalog.products_with_roots(&[*target]).await?;
        let mut found: Vec<DeltaWish> = Vec::new();
        for product in catalog.product_roots(&products, (self.now)().plus_seconds(-HELD)).await? {
            for wish in policy::wanted_to(&product, target, self.settings.bases) {
                if !found.iter().any(|known| known.base == wish.base) {
                    found.push(wish);
                }
            }
        }
        Ok(found)
    }

    /// Whether some product wants this pair (still): there may be a newer version by now.
    pub(super) async fn is_wanted(&self, pair: &ClaimedDelta) -> Result<bool, CatalogError> {
        let catalog = &self.publisher.catalog;
        let products = catalog.products_with_roots(&[pair.target.digest]).await?;
        let since = (self.now)().plus_seconds(-HELD);
        let wanted = catalog.product_roots(&products, since).await?.into_iter().any(|product| {
            let mut wishes = policy::wanted(&product, self.settings.bases).into_iter();
            wishes.any(|wish| (wish.target, wish.base) == (pair.target.digest, pair.base.digest))
        });
        Ok(wanted)
    }
}
