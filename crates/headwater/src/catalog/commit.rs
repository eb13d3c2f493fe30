use headwater_formats::image::Image;
use headwater_formats::names::{ProjectName, VersionName};
use headwater_formats::timestamp::Timestamp;

use super::audit::{Action, record};
use super::engine::{Tx, values};
use super::images::{find, look};
use super::place::place;
use super::records::Changed;
use super::rows::{self, ImageRow, preference, to_json};
use super::sight::{Sight, project_id};
use super::{Catalog, CatalogError, ImageAlias, StoredImage, bump_revision, names};
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
    /// of a conflicting [slot](headwater_formats::simplestreams::Slot), the name is bumped by a minute until it is free.
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
        let mut tx = self.engine.write().await?;
        let sight = Sight { project: project_id(&mut tx, &new.project).await?, private: true };
        if let Some(row) = look(&mut tx, sight.project, &new.image.fingerprint).await? {
            let stored = one(&mut tx, sight, new, row).await?;
            return Ok(Committed::Already(stored));
        }
        ensure().map_err(CatalogError::Bytes)?;
        for (_, file) in new.image.files.iter() {
            tx.execute(
                "INSERT INTO blobs (digest, size, format) VALUES ($1, $2, $3) \
                 ON CONFLICT (digest) DO UPDATE SET format = excluded.format, retired_at = NULL",
                values![file.digest.to_string(), rows::signed(file.size)?, file.format.extension()],
            )
            .await?;
        }
        let place = place(&mut tx, sight.project, &new.image).await?;
        let id = insert(&mut tx, sight.project, new, place.as_ref(), &self.actor, now).await?;
        self.record_image(&mut tx, new, now).await?;
        let mut changed = Changed::default();
        for ImageAlias { name, description } in &new.aliases {
            let sql = "SELECT 1 FROM aliases WHERE project_id = $1 AND name = $2";
            let moved = tx.row(sql, values![sight.project, name.as_str()]).await?.is_some();
            if moved && new.new_aliases {
                return Err(CatalogError::AliasExists(name.clone()));
            }
            if moved {
                changed.alias(&mut tx, sight.project, name).await?;
            }
            tx.execute(
                "INSERT INTO aliases (project_id, name, description, created_at, image_id) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (project_id, name) DO UPDATE \
                 SET image_id = excluded.image_id, os = NULL, release = NULL, variant = NULL",
                values![sight.project, name.as_str(), description.as_str(), now.unix(), id],
            )
            .await?;
            let action = if moved { Action::ImageAliasUpdated } else { Action::ImageAliasCreated };
            let target = new.image.fingerprint.to_string();
            let detail = [("target", target.as_str())];
            record(&mut tx, &self.actor, action, Some(&new.project), name.as_str(), &detail, now).await?;
        }
        let product = place.map(|(product, _)| product);
        if let Some(product) = product {
            names::refresh(&mut tx, product).await?;
        }
        changed.image(&mut tx, id, product).await?;
        changed.write(&mut tx).await?;
        bump_revision(&mut tx, now).await?;
        let row = find(&mut tx, sight.project, &new.image.fingerprint).await?;
        let stored = one(&mut tx, sight, new, row).await?;
        tx.commit().await?;
        Ok(Committed::New(stored))
    }

    async fn record_image(&self, tx: &mut Tx, new: &NewImage, now: Timestamp) -> Result<(), CatalogError> {
        let (image, project) = (&new.image, Some(&new.project));
        let bytes: u64 = image.files.iter().map(|(_, file)| file.size).sum();
        let detail = [
            ("filename", image.filename.as_str()),
            ("public", if image.public { "true" } else { "false" }),
            ("size", &bytes.to_string()),
            ("type", image.image_type.as_str()),
        ];
        record(tx, &self.actor, Action::ImageCreated, project, &image.fingerprint.to_string(), &detail, now).await
    }
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
        tx.execute(
            "INSERT INTO image_files (image_id, role, digest) VALUES ($1, $2, $3)",
            values![id, role.as_str(), file.digest.to_string()],
        )
        .await?;
    }
    Ok(id)
}

async fn one(tx: &mut Tx, sight: Sight, new: &NewImage, row: ImageRow) -> Result<StoredImage, CatalogError> {
    let mut stored = names::stored(tx, sight, &new.project, vec![row]).await?;
    stored.pop().ok_or_else(|| CatalogError::Corrupt("an image is missing".into()))
}
