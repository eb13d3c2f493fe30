//! Images that come into the catalog together: where each of them stands, and the rows that all of them need, in a few statements.
//!
//! Going to the database and back is most of what a small write costs. So the places of all images are looked for first, and an image whose place is free waits until
//! the rows of many are written at once; only one that finds another image in its place has to be placed by itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use headwater_formats::digest::Fingerprint;
use headwater_formats::image::Image;
use headwater_formats::names::VersionName;
use headwater_formats::product::{Line, version_name};
use headwater_formats::simplestreams::conflict;
use headwater_formats::timestamp::Timestamp;
use serde_json::Value as Json;

use super::commit::NewImage;
use super::engine::{Batch, Tx, Value, values};
use super::mirrored::{self, GivenProduct};
use super::place::{keep_products, keep_versions, product_row, version_row};
use super::rows::{self, ImageRow, preference, to_json};
use super::{CatalogError, Promise};
use crate::auth::Actor;

/// A product's id and the name of one of its versions.
pub(super) type Place = (i64, VersionName);

/// An image that the project does not have yet.
#[derive(Clone, Copy)]
pub(super) struct Missing<'a> {
    /// Its number in the list of those that come.
    pub(super) number: usize,
    pub(super) project: i64,
    pub(super) new: &'a NewImage,
    /// What an upstream promises of it; `None` when its bytes are here.
    pub(super) promised: Option<&'a [Promise]>,
}

/// One whose place is known.
pub(super) struct Placed<'a> {
    pub(super) image: Missing<'a>,
    pub(super) place: Option<Place>,
    /// Images that go for it.
    pub(super) replaces: Vec<ImageRow>,
}

/// The images of a transaction.
pub(super) struct Coming<'a> {
    /// The products in which they are, by project and key.
    products: HashMap<(i64, String), i64>,
    /// What stands in their places.
    places: HashMap<Place, Stands<'a>>,
    /// Those of the identities that publish them that are known.
    publishers: BTreeSet<i64>,
    /// Those whose own rows are not written yet.
    waiting: Vec<Placed<'a>>,
}

/// What stands in a version.
enum Stands<'a> {
    /// Images that the catalog had, or that were not placed here.
    Others,
    /// These alone.
    These(Vec<&'a Image>),
}

/// Where an image belongs.
struct Target<'a> {
    key: String,
    line: Line,
    /// What its upstream says of the product.
    given: Option<&'a GivenProduct>,
    version: VersionName,
    version_extra: Option<&'a BTreeMap<String, Json>>,
}

impl<'a> Target<'a> {
    /// `None` when the image has no `os` or `release`: it stands nowhere.
    fn of(new: &'a NewImage) -> Option<Self> {
        let line = Line::of_image(&new.image)?;
        Some(match &new.given {
            Some(given) if given.placed => Self {
                key: given.product.key.clone(),
                line,
                given: Some(&given.product),
                version: given.version.clone(),
                version_extra: Some(&given.version_extra),
            },
            _ => Self { key: line.key(), line, given: None, version: version_name(&new.image), version_extra: None },
        })
    }
}

impl<'a> Coming<'a> {
    /// Knows of these images, and where they belong.
    pub(super) async fn of(tx: &mut Tx, missing: &[Missing<'a>], actor: &Actor) -> Result<Self, CatalogError> {
        let mut coming =
            Self { products: HashMap::new(), places: HashMap::new(), publishers: BTreeSet::new(), waiting: Vec::new() };
        coming.look(tx, missing, actor).await?;
        Ok(coming)
    }

    /// Finds or makes the products of these images, and looks what stands in their versions.
    pub(super) async fn look(
        &mut self,
        tx: &mut Tx,
        missing: &[Missing<'a>],
        actor: &Actor,
    ) -> Result<(), CatalogError> {
        let targets = missing.iter().filter_map(|one| Some((one.project, Target::of(one.new)?)));
        let targets: Vec<(i64, Target<'_>)> = targets.collect();
        self.products.extend(products(tx, &targets).await?);
        let mut wanted = BTreeSet::new();
        for (project, target) in targets {
            if let Some(product) = self.products.get(&(project, target.key)) {
                wanted.insert((*product, target.version.to_string()));
            }
        }
        for place in occupied(tx, &wanted.into_iter().collect::<Vec<_>>()).await? {
            self.occupy(place);
        }
        let publishers = missing.iter().filter_map(|one| publisher(one.new, actor)).collect();
        self.publishers.extend(known(tx, publishers).await?);
        Ok(())
    }

    /// The place where an image belongs, when nothing that stands there conflicts with it: then it stands there, too. `Err` when it has to be looked for.
    pub(super) fn free(&mut self, image: Missing<'a>) -> Result<Option<Place>, Occupied> {
        let Some(Target { key, version, .. }) = Target::of(image.new) else { return Ok(None) };
        // It was looked for.
        let Some(product) = self.products.get(&(image.project, key)).copied() else { return Ok(None) };
        let place = (product, version);
        let new = &image.new.image;
        match self.places.get_mut(&place) {
            None => {
                self.places.insert(place.clone(), Stands::These(vec![new]));
            }
            Some(Stands::These(others)) if others.iter().all(|other| !conflict(other, new)) => others.push(new),
            Some(_) => return Err(Occupied { product, version: place.1 }),
        }
        Ok(Some(place))
    }

    /// Something else stands there from now on.
    pub(super) fn occupy(&mut self, place: Place) {
        self.places.insert(place, Stands::Others);
    }

    /// Whether an image waits.
    pub(super) fn waits(&self, project: i64, fingerprint: &Fingerprint) -> bool {
        self.waiting.iter().any(|one| one.image.project == project && one.image.new.image.fingerprint == *fingerprint)
    }

    /// Lets an image wait until [`Coming::insert`].
    pub(super) fn wait(&mut self, placed: Placed<'a>) {
        self.waiting.push(placed);
    }

    /// Writes the own rows of those that wait: what each is, where it stands, its files, and from which upstream it is. Gives them with
    /// their ids, in their order.
    pub(super) async fn insert(
        &mut self,
        tx: &mut Tx,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Vec<(i64, Placed<'a>)>, CatalogError> {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        versions(tx, &waiting).await?;
        let mut images = Vec::with_capacity(waiting.len());
        for Placed { image: Missing { project, new, .. }, place, .. } in &waiting {
            let publisher = publisher(new, actor).filter(|id| self.publishers.contains(id));
            images.push(image(*project, new, place.as_ref(), publisher, now)?);
        }
        const HEAD: &str = "INSERT INTO images (project_id, fingerprint, image_type, architecture, filename, created_at, uploaded_at, \
             public, expires_at, last_used_at, auto_update, properties, profiles, update_source, product_id, version, \
             preference, published_by)";
        let mut ids = HashMap::with_capacity(waiting.len());
        for row in tx.insert_for(HEAD, images, "RETURNING id, project_id, fingerprint").await? {
            ids.insert((row.int(1)?, rows::parse("a fingerprint", &row.text(2)?)?), row.int(0)?);
        }
        let (mut files, mut notes) = (Vec::new(), Vec::new());
        let mut placed = Vec::with_capacity(waiting.len());
        for one in waiting {
            let Missing { project, new, promised, .. } = one.image;
            let image = &new.image;
            let id = ids.get(&(project, image.fingerprint)).copied();
            let id = id.ok_or_else(|| CatalogError::Corrupt("an image was not kept".into()))?;
            files.extend(image.files.iter().map(|(role, file)| values![id, role.as_str(), file.digest.to_string()]));
            if let Some(given) = &new.given {
                // A unified image is called by the hash of its file, which is always compared.
                let proof = if promised.is_some() && image.files.root().is_some() { "open" } else { "right" };
                notes.push((image.fingerprint, given, proof));
            }
            placed.push((id, one));
        }
        tx.insert("INSERT INTO image_files (image_id, role, digest)", files, "").await?;
        mirrored::note_all(tx, &notes).await?;
        Ok(placed)
    }
}

/// Something that may conflict stands in the place of an image, which has to be looked at by itself.
pub(super) struct Occupied {
    pub(super) product: i64,
    pub(super) version: VersionName,
}

/// The products of these places, made where there are none; what an upstream says of one replaces what is said.
async fn products(tx: &mut Tx, targets: &[(i64, Target<'_>)]) -> Result<HashMap<(i64, String), i64>, CatalogError> {
    let (mut own, mut given) = (BTreeMap::new(), BTreeMap::new());
    for (project, Target { key, line, given: product, .. }) in targets {
        let mut row = product_row(*project, key, line);
        let all = match product {
            None => &mut own,
            Some(product) => {
                row.extend(values![to_json(&product.extra)?, product.names.as_ref().map(to_json).transpose()?]);
                &mut given
            }
        };
        all.insert((*project, key.as_str()), row);
    }
    let (own, given) = (own.into_values().collect(), given.into_values().collect());
    let mut found = keep_products(tx, own).await?;
    let head = "INSERT INTO products (project_id, key, os, release, variant, architecture, extra, given_names)";
    let tail = "ON CONFLICT (project_id, key) DO UPDATE SET extra = excluded.extra, given_names = excluded.given_names \
         RETURNING id, project_id, key";
    found.extend(tx.insert_for(head, given, tail).await?);
    found.iter().map(|row| Ok(((row.int(1)?, row.text(2)?), row.int(0)?))).collect()
}

/// Those of these versions in which there is an image.
async fn occupied(tx: &mut Tx, places: &[(i64, String)]) -> Result<Vec<Place>, CatalogError> {
    /// How many are asked for at once.
    const AT_ONCE: usize = 64;

    let mut occupied = Vec::new();
    for some in places.chunks(AT_ONCE) {
        // Filled up, so that there are few different statements.
        let length = if some.len() == 1 { 1 } else { AT_ONCE };
        let (mut values, mut list) = (values![], Vec::new());
        for (product, version) in some.iter().chain(some.last().into_iter().cycle()).take(length) {
            list.push(format!("(${}, ${})", values.len() + 1, values.len() + 2));
            values.extend(values![*product, version.as_str()]);
        }
        let sql = format!(
            "SELECT DISTINCT i.product_id, i.version FROM images i WHERE (i.product_id, i.version) IN (VALUES {})",
            list.join(", ")
        );
        for row in tx.rows(sql, values).await? {
            occupied.push((row.int(0)?, rows::parse("a version's name", &row.text(1)?)?));
        }
    }
    Ok(occupied)
}

/// Makes the versions in which images stand, or says anew what is said of them, unless nothing is.
async fn versions(tx: &mut Tx, waiting: &[Placed<'_>]) -> Result<(), CatalogError> {
    let mut versions: BTreeMap<&Place, String> = BTreeMap::new();
    for Placed { image, place, .. } in waiting {
        let Some(place) = place else { continue };
        let extra = Target::of(image.new).and_then(|target| target.version_extra).map(to_json).transpose()?;
        let extra = extra.unwrap_or_else(|| "{}".to_owned());
        if extra != "{}" || !versions.contains_key(place) {
            versions.insert(place, extra);
        }
    }
    let rows = versions.into_iter().map(|((product, name), extra)| version_row(*product, name, &extra));
    keep_versions(tx, rows.collect()).await
}

/// Who publishes an image, by number.
fn publisher(new: &NewImage, actor: &Actor) -> Option<i64> {
    new.published_by.or(actor.identity).map(|identity| identity.0)
}

/// Those of the identities that are known: one may be forgotten while bytes are on their way, and then nobody has published them.
async fn known(tx: &mut Tx, identities: BTreeSet<i64>) -> Result<BTreeSet<i64>, CatalogError> {
    let identities: Vec<i64> = identities.into_iter().collect();
    let mut known = BTreeSet::new();
    for batch in Batch::of(&identities) {
        let mut values = values![];
        let sql = format!("SELECT id FROM identities WHERE id IN ({})", batch.bind(&mut values));
        for row in tx.rows(sql, values).await? {
            known.insert(row.int(0)?);
        }
    }
    Ok(known)
}

/// The columns of an image's row.
fn image(
    project: i64,
    new: &NewImage,
    place: Option<&Place>,
    publisher: Option<i64>,
    now: Timestamp,
) -> Result<Vec<Value>, CatalogError> {
    let image = &new.image;
    Ok(values![
        project,
        image.fingerprint.to_string(),
        image.image_type.as_str(),
        image.architecture.name(),
        image.filename.as_str(),
        image.created_at.unix(),
        now.unix(),
        image.public,
        image.expires_at.map(Timestamp::unix),
        image.last_used_at.map(Timestamp::unix),
        image.auto_update,
        to_json(&image.properties)?,
        to_json(&image.profiles)?,
        image.update_source.as_ref().map(to_json).transpose()?,
        place.map(|(product, _)| *product),
        place.map(|(_, version)| version.as_str().to_owned()),
        preference(image),
        publisher,
    ])
}
