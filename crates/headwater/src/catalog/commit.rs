use std::collections::{BTreeMap, BTreeSet, HashMap};

use headwater_formats::digest::Fingerprint;
use headwater_formats::image::{Image, ImageFile, ImageFiles};
use headwater_formats::names::{ProjectName, VersionName};
use headwater_formats::timestamp::Timestamp;

use super::audit::{Action, record};
use super::engine::{Batch, Tx, values};
use super::mirrored::{self, Given, GivenPlace, place_given};
use super::place::place;
use super::records::Changed;
use super::rows::{self, ImageRow, preference, to_json};
use super::sight::{Sight, project_id};
use super::{Catalog, CatalogError, ImageAlias, Promise, StoredImage, bump_revision, changes, deltas, names, promises};
use crate::auth::{Actor, IdentityId};

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
        let (mut taken, mut products) = (Vec::with_capacity(new.len()), BTreeSet::new());
        let mut shown = Changed::default();
        let projects = projects(&mut tx, new).await?;
        let mut here = Here::of(&mut tx, new, &projects).await?;
        let missing = new.iter().zip(&projects).filter(|(new, project)| here.image(**project, new).is_none());
        let missing: Vec<&Image> = missing.map(|(new, _)| &new.image).collect();
        keep_files(&mut tx, &missing, promises.is_none()).await?;
        for (number, (new, project)) in new.iter().zip(projects).enumerate() {
            let promised = promises.map(|all| all.get(number).map(Vec::as_slice).unwrap_or_default());
            let known = here.image(project, new);
            let image =
                self.take_in(&mut tx, project, (new, promised, known), now, &mut shown, || ensure(number)).await?;
            here.took(new, &image);
            products.extend(image.product);
            taken.push(image);
        }
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

    /// Writes what an image needs of its own, unless the project has it: then it is `known`. What is written once for all images of a transaction is
    /// left to the caller: its files, the names of its product, what lists show, the revision.
    async fn take_in(
        &self,
        tx: &mut Tx,
        project: i64,
        (new, promised, known): (&NewImage, Option<&[Promise]>, Option<i64>),
        now: Timestamp,
        shown: &mut Changed,
        ensure: impl FnOnce() -> std::io::Result<()> + Send,
    ) -> Result<Taken, CatalogError> {
        if let Some(id) = known {
            let fulfilled = promised.is_none() && is_promised(tx, id).await?;
            if fulfilled {
                ensure().map_err(CatalogError::Bytes)?;
                keep_files(tx, &[&new.image], true).await?;
                let sql = "UPDATE upstream_images SET proof = 'right' WHERE fingerprint = $1 \
                     AND upstream_id IN (SELECT u.id FROM upstreams u WHERE u.project_id = $2)";
                tx.execute(sql, values![new.image.fingerprint.to_string(), project]).await?;
            }
            return Ok(Taken { project, id, new: false, fulfilled, product: None, replaced: Vec::new() });
        }
        if promised.is_none() {
            ensure().map_err(CatalogError::Bytes)?;
        }
        let (place, replaces) = match &new.given {
            Some(given) if given.placed => match place_given(tx, project, &new.image, given).await? {
                Some(GivenPlace { product, version, replaces }) => (Some((product, version)), replaces),
                None => (None, Vec::new()),
            },
            _ => (place(tx, project, &new.image).await?, Vec::new()),
        };
        let id = insert(tx, project, new, place.as_ref(), &self.actor, now).await?;
        self.record_image(tx, new, now).await?;
        if let Some(given) = &new.given {
            let split = matches!(new.image.files, ImageFiles::Split { .. });
            // A unified image is called by the hash of its file, which is always compared.
            let proof = if promised.is_some() && split { "open" } else { "right" };
            mirrored::note(tx, &new.image.fingerprint, given, proof).await?;
            for promise in promised.unwrap_or_default() {
                if let Some(upstream) = given.upstream {
                    promises::keep(tx, upstream, promise, now).await?;
                }
            }
        }
        let replaced = replaces.iter().map(|old| old.image.fingerprint).collect();
        for old in replaces {
            mirrored::replace(tx, project, &old, id, now).await?;
            let (subject, replaced) = (new.image.fingerprint.to_string(), old.image.fingerprint.to_string());
            let detail = [("replaces", replaced.as_str())];
            record(tx, &self.actor, Action::ImageRefreshed, Some(&new.project), &subject, &detail, now).await?;
        }
        for ImageAlias { name, description } in &new.aliases {
            let sql = "SELECT 1 FROM aliases WHERE project_id = $1 AND name = $2";
            let moved = tx.row(sql, values![project, name.as_str()]).await?.is_some();
            if moved && new.new_aliases {
                return Err(CatalogError::AliasExists(name.clone()));
            }
            // Where it leads away from; where it leads to is noted with the names below.
            changes::alias(tx, project, name.as_str()).await?;
            if moved {
                shown.alias(tx, project, name).await?;
            }
            tx.execute(
                "INSERT INTO aliases (project_id, name, folded, description, created_at, image_id) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (project_id, name) DO UPDATE \
                 SET image_id = excluded.image_id, os = NULL, release = NULL, variant = NULL",
                values![project, name.as_str(), names::folded(name.as_str()), description.as_str(), now.unix(), id],
            )
            .await?;
            let action = if moved { Action::ImageAliasUpdated } else { Action::ImageAliasCreated };
            let target = new.image.fingerprint.to_string();
            let detail = [("target", target.as_str())];
            record(tx, &self.actor, action, Some(&new.project), name.as_str(), &detail, now).await?;
        }
        Ok(Taken { project, id, new: true, fulfilled: false, product: place.map(|(product, _)| product), replaced })
    }

    async fn record_image(&self, tx: &mut Tx, new: &NewImage, now: Timestamp) -> Result<(), CatalogError> {
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
        record(tx, &self.actor, Action::ImageCreated, project, &image.fingerprint.to_string(), &detail, now).await
    }
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

/// Writes the image's own rows; gives its id. Who publishes it may be forgotten while the bytes are on their way: then nobody has.
async fn insert(
    tx: &mut Tx,
    project: i64,
    new: &NewImage,
    place: Option<&(i64, VersionName)>,
    publisher: &Actor,
    now: Timestamp,
) -> Result<i64, CatalogError> {
    let image = &new.image;
    let source = image.update_source.as_ref().map(to_json).transpose()?;
    let id = tx
        .row(
            "INSERT INTO images (project_id, fingerprint, image_type, architecture, filename, created_at, uploaded_at, \
             public, expires_at, last_used_at, auto_update, properties, profiles, update_source, product_id, version, \
             preference, published_by) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
             (SELECT id FROM identities WHERE id = $18)) RETURNING id",
            values![
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
                source,
                place.map(|(product, _)| *product),
                place.map(|(_, version)| version.as_str().to_owned()),
                preference(image),
                new.published_by.or(publisher.identity).map(|identity| identity.0),
            ],
        )
        .await?
        .ok_or_else(|| CatalogError::Corrupt("an image was not kept".into()))?
        .int(0)?;
    for (role, file) in image.files.iter() {
        tx.later(
            "INSERT INTO image_files (image_id, role, digest) VALUES ($1, $2, $3)",
            values![id, role.as_str(), file.digest.to_string()],
        )
        .await?;
    }
    Ok(id)
}

/// What was taken in of one image.
struct Taken {
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
