use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use headwater_formats::digest::Fingerprint;
use headwater_formats::image::{Image, ImageFile, ImageFiles};
use headwater_formats::names::{ProjectName, VersionName};
use headwater_formats::timestamp::Timestamp;

use super::audit::{Action, line, record_all};
use super::coming::{Coming, Missing, Occupied, Place, Placed};
use super::engine::{Batch, Tx, Value, values};
use super::mirrored::{self, Given, version_given};
use super::place::free_version;
use super::records::Changed;
use super::rows::{self, ImageRow};
use super::sight::{Sight, project_id};
use super::{Catalog, CatalogError, ImageAlias, Promise, StoredImage, bump_revision, changes, deltas, names, promises};
use crate::auth::IdentityId;

/// An image whose bytes are durable, ready to be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage {
    /// The project it goes into; must exist.
    pub project: ProjectName,
    /// The image; `uploaded_at` becomes the time of the commit.
    pub image: Image,
    /// Fixed aliases for it. The description of one that exists stays.
    pub aliases: Vec<ImageAlias>,
    /// Whether aliases that exist are an error; else they are moved to this image.
    pub new_aliases: bool,
    /// Who may manage it as its publisher; `None` is who lists it. Somebody who is not known any more is nobody.
    pub published_by: Option<IdentityId>,
    /// Where its upstream has it; `None` places it by its own properties.
    pub given: Option<Given>,
    /// The fingerprint of the files that were given, when the image was made of them by packing the root file anew. For the audit.
    pub repacked_from: Option<Fingerprint>,
}

/// How a commit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// The image is listed now.
    New(StoredImage),
    /// The project had an image with this fingerprint; nothing was changed.
    Already(StoredImage),
}

impl Catalog {
    /// Lists an image: rows and revision in one transaction.
    ///
    /// Its version name is [`headwater_formats::product::version_name`]; when that version already holds another image
    /// of a conflicting [slot](headwater_formats::simplestreams::Slot), the name is bumped by a minute until it is free. An image of an upstream
    /// is placed where that has it, and takes the place of another one of the same upstream there.
    ///
    /// `ensure` is called inside the transaction, under the lock that sweeps take too: it makes sure, quickly, that the
    /// bytes are still in place (a sweep may have taken equal bytes since they were stored) and puts them back if not.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`]; [`CatalogError::AliasExists`] with `new_aliases`; [`CatalogError::Bytes`] when `ensure` fails: then nothing was written.
    pub async fn commit_image(
        &self,
        new: &NewImage,
        now: Timestamp,
        ensure: impl FnOnce() -> std::io::Result<()> + Send,
    ) -> Result<Committed, CatalogError> {
        let mut ensure = Some(ensure);
        let ensure = |_| ensure.take().map_or(Ok(()), |ensure| ensure());
        let mut committed = self.commit_images(std::slice::from_ref(new), now, ensure).await?;
        committed.pop().ok_or_else(gone)
    }

    /// Lists several images, of any projects, in one transaction: all of them or, after an error, none. They are taken in in their
    /// order, as [`Catalog::commit_image`] would one after the other, but readers see one new revision, and the names of a product
    /// are made once. The answer has one entry for each, in the same order, as it stands when all are listed.
    ///
    /// `ensure` is called once for each image that is new, with its place in the list. Nobody else can write until the transaction
    /// ends: a few thousand images at a time are a good measure.
    ///
    /// # Errors
    /// As [`Catalog::commit_image`], of the first image that fails.
    pub async fn commit_images(
        &self,
        new: &[NewImage],
        now: Timestamp,
        ensure: impl FnMut(usize) -> std::io::Result<()> + Send,
    ) -> Result<Vec<Committed>, CatalogError> {
        self.commit_all(new, None, now, ensure, true).await
    }

    /// [`Catalog::commit_images`] for who does not want to know how they stand then.
    ///
    /// # Errors
    /// As there.
    pub async fn list_images(
        &self,
        new: &[NewImage],
        now: Timestamp,
        ensure: impl FnMut(usize) -> std::io::Result<()> + Send,
    ) -> Result<(), CatalogError> {
        self.commit_all(new, None, now, ensure, false).await.map(drop)
    }

    /// Lists images of an upstream whose bytes need not be here: it promises each of their files, which come when somebody asks for them. `promises` has
    /// an entry for each image, in the same order. Otherwise as [`Catalog::commit_images`].
    ///
    /// # Errors
    /// As there.
    pub async fn promise_images(
        &self,
        new: &[NewImage],
        promises: &[Vec<Promise>],
        now: Timestamp,
    ) -> Result<Vec<Committed>, CatalogError> {
        self.commit_all(new, Some(promises), now, |_| Ok(()), true).await
    }

    async fn commit_all(
        &self,
        new: &[NewImage],
        promises: Option<&[Vec<Promise>]>,
        now: Timestamp,
        mut ensure: impl FnMut(usize) -> std::io::Result<()> + Send,
        tell: bool,
    ) -> Result<Vec<Committed>, CatalogError> {
        let mut tx = self.engine.write().await?;
        let mut shown = Changed::default();
        let projects = projects(&mut tx, new).await?;
        let mut here = Here::of(&mut tx, new, &projects).await?;
        let all = new.iter().zip(projects).enumerate().map(|(number, (new, project))| {
            let promised = promises.map(|all| all.get(number).map(Vec::as_slice).unwrap_or_default());
            Missing { number, project, new, promised }
        });
        let all: Vec<Missing<'_>> = all.collect();
        // One that is listed twice comes as it is listed first.
        let mut seen = HashSet::new();
        let is_first = |one: &&Missing<'_>| seen.insert((one.project, one.new.image.fingerprint));
        let missing = all.iter().filter(|one| here.image(one.project, one.new).is_none()).filter(is_first);
        let missing: Vec<Missing<'_>> = missing.copied().collect();
        let images: Vec<&Image> = missing.iter().map(|one| &one.new.image).collect();
        keep_files(&mut tx, &images, promises.is_none()).await?;
        let mut coming = Coming::of(&mut tx, &missing, &self.actor).await?;
        let mut taken = Vec::with_capacity(new.len());
        for one in all {
            let (number, project, new) = (one.number, one.project, one.new);
            if coming.waits(project, &new.image.fingerprint) {
                // Listed twice.
                self.take_in(&mut tx, &mut coming, &mut here, &mut taken, &mut shown, now).await?;
            }
            if let Some(id) = here.image(project, new) {
                taken.push(self.already(&mut tx, one, id, || ensure(number)).await?);
                continue;
            }
            if taken.iter().any(|other| other.replaced_it(project, new)) {
                // It was there when the others were looked for.
                coming.look(&mut tx, &[one], &self.actor).await?;
            }
            if promises.is_none() {
                ensure(number).map_err(CatalogError::Bytes)?;
            }
            let (place, replaces) = match coming.free(one) {
                Ok(place) => (place, Vec::new()),
                Err(Occupied { product, version }) => {
                    self.take_in(&mut tx, &mut coming, &mut here, &mut taken, &mut shown, now).await?;
                    let (place, replaces) = place_beside(&mut tx, product, version, new).await?;
                    coming.occupy(place.clone());
                    (Some(place), replaces)
                }
            };
            let replaces_some = !replaces.is_empty();
            coming.wait(Placed { image: one, place, replaces });
            if replaces_some {
                // What goes for it may be one of those that come.
                self.take_in(&mut tx, &mut coming, &mut here, &mut taken, &mut shown, now).await?;
            }
        }
        self.take_in(&mut tx, &mut coming, &mut here, &mut taken, &mut shown, now).await?;
        taken.sort_by_key(|image| image.number);
        let products: BTreeSet<i64> = taken.iter().filter_map(|image| image.product).collect();
        if taken.iter().any(|image| !image.replaced.is_empty()) {
            // What went may have retired files that one of these has, too.
            let listed: Vec<&Image> =
                taken.iter().zip(new).filter(|(image, _)| image.new).map(|(_, new)| &new.image).collect();
            keep_files(&mut tx, &listed, promises.is_none()).await?;
        }
        // When all were there already, nothing was changed.
        let changed = taken.iter().any(|image| image.new || image.fulfilled);
        if changed {
            let listed = taken.iter().zip(new).filter(|(image, _)| image.new);
            let roots = listed.filter_map(|(_, new)| match &new.image.files {
                ImageFiles::Split { root, .. } => Some(root.digest.to_string()),
                ImageFiles::Unified(_) => None,
            });
            deltas::revive(&mut tx, &roots.collect::<Vec<_>>()).await?;
            names::refresh_all(&mut tx, &Vec::from_iter(products)).await?;
            let listed: Vec<_> =
                taken.iter().filter(|image| image.new).map(|image| (image.id, image.product)).collect();
            shown.images(&mut tx, &listed).await?;
            shown.write(&mut tx).await?;
            bump_revision(&mut tx, now).await?;
        }
        let committed = if tell { committed(&mut tx, new, &taken).await? } else { Vec::new() };
        if changed {
            tx.commit().await?;
        }
        Ok(committed)
    }

    /// An image that the project has. When only promises of its files were here, its bytes are now.
    async fn already(
        &self,
        tx: &mut Tx,
        Missing { number, project, new, promised }: Missing<'_>,
        id: i64,
        ensure: impl FnOnce() -> std::io::Result<()> + Send,
    ) -> Result<Taken, CatalogError> {
        let fulfilled = promised.is_none() && is_promised(tx, id).await?;
        if fulfilled {
            ensure().map_err(CatalogError::Bytes)?;
            keep_files(tx, &[&new.image], true).await?;
            let sql = "UPDATE upstream_images SET proof = 'right' WHERE fingerprint = $1 \
                 AND upstream_id IN (SELECT u.id FROM upstreams u WHERE u.project_id = $2)";
            tx.execute(sql, values![new.image.fingerprint.to_string(), project]).await?;
        }
        Ok(Taken { number, project, id, new: false, fulfilled, product: None, replaced: Vec::new() })
    }

    /// Writes what the images that wait need of their own. What is written once for all images of a transaction is left to the caller: their files, the
    /// names of their products, what lists show, the revision.
    async fn take_in(
        &self,
        tx: &mut Tx,
        coming: &mut Coming<'_>,
        here: &mut Here,
        taken: &mut Vec<Taken>,
        shown: &mut Changed,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut lines = Vec::new();
        for (id, Placed { image, place, replaces }) in coming.insert(tx, &self.actor, now).await? {
            let Missing { number, project, new, promised } = image;
            lines.push(self.line_of(new, now)?);
            if let Some(upstream) = new.given.as_ref().and_then(|given| given.upstream) {
                for promise in promised.unwrap_or_default() {
                    promises::keep(tx, upstream, promise, now).await?;
                }
            }
            let replaced = replaces.iter().map(|old| old.image.fingerprint).collect();
            for old in replaces {
                mirrored::replace(tx, project, &old, id, now).await?;
                let (subject, replaced) = (new.image.fingerprint.to_string(), old.image.fingerprint.to_string());
                let detail = [("replaces", replaced.as_str())];
                let project = Some(&new.project);
                lines.push(line(&self.actor, Action::ImageRefreshed, project, &subject, &detail, now)?);
            }
            for alias in &new.aliases {
                let action = lead(tx, (project, alias), new.new_aliases, id, shown, now).await?;
                let target = new.image.fingerprint.to_string();
                let detail = [("target", target.as_str())];
                lines.push(line(&self.actor, action, Some(&new.project), alias.name.as_str(), &detail, now)?);
            }
            let product = place.map(|(product, _)| product);
            let image = Taken { number, project, id, new: true, fulfilled: false, product, replaced };
            here.took(new, &image);
            taken.push(image);
        }
        record_all(tx, lines).await
    }

    /// What the audit says of an image that came.
    fn line_of(&self, new: &NewImage, now: Timestamp) -> Result<Vec<Value>, CatalogError> {
        let (image, project) = (&new.image, Some(&new.project));
        let bytes: u64 = image.files.iter().map(|(_, file)| file.size).sum();
        let (bytes, from) = (bytes.to_string(), new.repacked_from.map(|from| from.to_string()));
        let mut detail = vec![
            ("filename", image.filename.as_str()),
            ("public", if image.public { "true" } else { "false" }),
            ("size", &bytes),
            ("type", image.image_type.as_str()),
        ];
        detail.extend(from.as_deref().map(|from| ("repacked_from", from)));
        line(&self.actor, Action::ImageCreated, project, &image.fingerprint.to_string(), &detail, now)
    }
}

/// Lets a fixed alias that was given with an image lead to it: what was done.
async fn lead(
    tx: &mut Tx,
    (project, ImageAlias { name, description }): (i64, &ImageAlias),
    must_be_new: bool,
    image: i64,
    shown: &mut Changed,
    now: Timestamp,
) -> Result<Action, CatalogError> {
    let sql = "SELECT 1 FROM aliases WHERE project_id = $1 AND name = $2";
    let moved = tx.row(sql, values![project, name.as_str()]).await?.is_some();
    if moved && must_be_new {
        return Err(CatalogError::AliasExists(name.clone()));
    }
    // Where it leads away from; where it leads to is noted with the names of all.
    changes::alias(tx, project, name.as_str()).await?;
    if moved {
        shown.alias(tx, project, name).await?;
    }
    tx.execute(
        "INSERT INTO aliases (project_id, name, folded, description, created_at, image_id) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (project_id, name) DO UPDATE \
         SET image_id = excluded.image_id, os = NULL, release = NULL, variant = NULL",
        values![project, name.as_str(), names::folded(name.as_str()), description.as_str(), now.unix(), image],
    )
    .await?;
    Ok(if moved { Action::ImageAliasUpdated } else { Action::ImageAliasCreated })
}

/// The place of an image in a version where something stands that conflicts with it, or may: and what goes for it.
async fn place_beside(
    tx: &mut Tx,
    product: i64,
    version: VersionName,
    new: &NewImage,
) -> Result<(Place, Vec<ImageRow>), CatalogError> {
    let (version, replaces) = match &new.given {
        Some(given) if given.placed => version_given(tx, product, &new.image, given).await?,
        _ => (free_version(tx, product, &new.image, version).await?, Vec::new()),
    };
    Ok(((product, version), replaces))
}

/// Whether a file of this image is not here.
async fn is_promised(tx: &mut Tx, image: i64) -> Result<bool, CatalogError> {
    let sql = "SELECT 1 FROM image_files f JOIN blobs b ON b.digest = f.digest WHERE f.image_id = $1 AND b.present = 0";
    Ok(tx.row(sql, values![image]).await?.is_some())
}

/// The projects of these images.
async fn projects(tx: &mut Tx, new: &[NewImage]) -> Result<Vec<i64>, CatalogError> {
    let (mut ids, mut last): (_, Option<(&ProjectName, i64)>) = (Vec::with_capacity(new.len()), None);
    for new in new {
        let id = match last {
            Some((name, id)) if *name == new.project => id,
            _ => project_id(tx, &new.project).await?,
        };
        last = Some((&new.project, id));
        ids.push(id);
    }
    Ok(ids)
}

/// Those of the images that their projects have, by project and fingerprint.
struct Here(HashMap<(i64, Fingerprint), i64>);

impl Here {
    async fn of(tx: &mut Tx, new: &[NewImage], projects: &[i64]) -> Result<Self, CatalogError> {
        let mut wanted: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for (new, project) in new.iter().zip(projects) {
            wanted.entry(*project).or_default().push(new.image.fingerprint.to_string());
        }
        let mut here = HashMap::new();
        for (project, fingerprints) in wanted {
            for batch in Batch::of(&fingerprints) {
                let mut values = values![project];
                let list = batch.bind(&mut values);
                let sql =
                    format!("SELECT id, fingerprint FROM images WHERE project_id = $1 AND fingerprint IN ({list})");
                for row in tx.rows(sql, values).await? {
                    here.insert((project, rows::parse("a fingerprint", &row.text(1)?)?), row.int(0)?);
                }
            }
        }
        Ok(Self(here))
    }

    fn image(&self, project: i64, new: &NewImage) -> Option<i64> {
        self.0.get(&(project, new.image.fingerprint)).copied()
    }

    /// One of them was taken in.
    fn took(&mut self, new: &NewImage, taken: &Taken) {
        for old in &taken.replaced {
            self.0.remove(&(taken.project, *old));
        }
        self.0.insert((taken.project, new.image.fingerprint), taken.id);
    }
}

/// Writes down the files of images. When they are here, what an upstream said of their length and format counts for nothing any more. When an upstream promises
/// them, what is known of those that are here, or that another one promised before, stays.
async fn keep_files(tx: &mut Tx, images: &[&Image], are_here: bool) -> Result<(), CatalogError> {
    let mut files = BTreeMap::new();
    for (_, file) in images.iter().flat_map(|image| image.files.iter()) {
        files.entry(file.digest.to_string()).or_insert(file);
    }
    let present = i64::from(are_here);
    if are_here {
        let digests: Vec<&str> = files.keys().map(String::as_str).collect();
        for batch in Batch::of(&digests) {
            let mut values = values![];
            let sql = format!("SELECT digest, format FROM blobs WHERE digest IN ({})", batch.bind(&mut values));
            for row in tx.rows(sql, values).await? {
                let (digest, before) = (row.text(0)?, row.text(1)?);
                let now = files.get(&digest).map(|file| file.format.extension()).filter(|now| *now != before);
                if let Some(now) = now {
                    changes::format(tx, &digest, now).await?;
                }
            }
        }
    }
    let row = |(digest, file): (String, ImageFile)| {
        Ok::<_, CatalogError>(values![digest, rows::signed(file.size)?, file.format.extension(), present])
    };
    let rows = files.into_iter().map(row).collect::<Result<Vec<_>, _>>()?;
    let tail = match are_here {
        true => {
            "ON CONFLICT (digest) DO UPDATE SET format = excluded.format, retired_at = NULL, present = 1, size = excluded.size"
        }
        false => "ON CONFLICT (digest) DO UPDATE SET retired_at = NULL",
    };
    tx.insert("INSERT INTO blobs (digest, size, format, present)", rows, tail).await
}

/// What was taken in of one image.
struct Taken {
    /// Its number in the list of those that came.
    number: usize,
    project: i64,
    id: i64,
    /// Whether the project did not have it before.
    new: bool,
    /// Whether the project had it without all its bytes, which are here now.
    fulfilled: bool,
    /// The product that it was placed in.
    product: Option<i64>,
    /// Images that went for it.
    replaced: Vec<Fingerprint>,
}

impl Taken {
    /// Whether an image went for it.
    fn replaced_it(&self, project: i64, new: &NewImage) -> bool {
        self.project == project && self.replaced.contains(&new.image.fingerprint)
    }
}

/// The images as they stand now, in the order of the list.
async fn committed(tx: &mut Tx, new: &[NewImage], taken: &[Taken]) -> Result<Vec<Committed>, CatalogError> {
    let mut rows = HashMap::new();
    let ids: Vec<i64> = taken.iter().map(|image| image.id).collect();
    for batch in Batch::of(&ids) {
        let mut values = values![];
        let tail = format!(" WHERE i.id IN ({})", batch.bind(&mut values));
        rows.extend(rows::images(tx, &tail, values).await?.into_iter().map(|row| (row.id, row)));
    }
    // Names are read for all images of a project at once.
    let mut projects: HashMap<i64, (&ProjectName, Vec<ImageRow>)> = HashMap::new();
    for (image, new) in taken.iter().zip(new) {
        if let Some(row) = rows.remove(&image.id) {
            projects.entry(image.project).or_insert((&new.project, Vec::new())).1.push(row);
        }
    }
    let mut stored = HashMap::new();
    for (project, (name, rows)) in projects {
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let images = names::stored(tx, Sight { project, private: true }, name, rows).await?;
        stored.extend(ids.into_iter().zip(images));
    }
    taken
        .iter()
        .map(|image| {
            let stored = stored.get(&image.id).cloned().ok_or_else(gone)?;
            Ok(if image.new { Committed::New(stored) } else { Committed::Already(stored) })
        })
        .collect()
}

fn gone() -> CatalogError {
    CatalogError::Corrupt("an image is missing".into())
}
