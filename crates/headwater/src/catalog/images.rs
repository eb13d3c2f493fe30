use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use headwater_formats::digest::{Fingerprint, FingerprintPrefix};
use headwater_formats::image::{Image, UpdateSource};
use headwater_formats::names::{AliasName, ProjectName, VersionName};
use headwater_formats::product::{Line, version_name};
use headwater_formats::simplestreams::families;
use headwater_formats::timestamp::Timestamp;

use super::audit::{Action, record};
use super::engine::{Tx, Value, values};
use super::place::{free_version, keep_versions, place, tidy, version_row};
use super::records::Changed;
use super::rows::{self, ImageRow, to_json};
use super::sight::{project_id, sight};
use super::{Catalog, CatalogError, bump_revision, changes, names};
use crate::auth::{IdentityId, Viewer};

/// An image as the catalog holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// The project it is in. The same bytes can be an image of several projects.
    pub project: ProjectName,
    /// The image itself.
    pub image: Image,
    /// Fixed aliases of it and, when it is the newest visible one of its product, architecture and type, the names
    /// that follow its product. By name.
    pub aliases: Vec<ImageAlias>,
    /// Its product and version; `None` when it has no `os` or `release`.
    pub placement: Option<Placement>,
    /// Who may manage it as its publisher; `None` when that is not known (any more).
    pub published_by: Option<IdentityId>,
}

/// A name that leads to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageAlias {
    /// The name.
    pub name: AliasName,
    /// Free text, often empty.
    pub description: String,
}

impl From<AliasName> for ImageAlias {
    /// Without description.
    fn from(name: AliasName) -> Self {
        Self { name, description: String::new() }
    }
}

/// Where an image stands in the streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The product's key.
    pub product: String,
    /// The version's name.
    pub version: VersionName,
}

/// The outcome of a look-up by prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<T> {
    /// Nothing that the asker may see.
    Nothing,
    /// Exactly this.
    One(T),
    /// More than one that the asker may see.
    Several,
}

/// What can be changed about an image. `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageEdit {
    /// Whether guests may see it.
    pub public: Option<bool>,
    /// All the properties. Changing `os`, `release`, `variant` or `serial` moves the image to another product or version, and so may
    /// changing to whom it is listed ([`families`]).
    pub properties: Option<BTreeMap<String, String>>,
    /// When it expires; `Some(None)` is never.
    pub expires_at: Option<Option<Timestamp>>,
    /// Whether it follows its source.
    pub auto_update: Option<bool>,
    /// Names of profiles.
    pub profiles: Option<Vec<String>>,
    /// Where it was copied from; `Some(None)` is from nowhere.
    pub update_source: Option<Option<UpdateSource>>,
}

impl Catalog {
    /// The image whose fingerprint begins with this prefix, among those that the viewer may see in the project.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], also for a project in which the viewer may see nothing.
    pub async fn image(
        &self,
        viewer: &Viewer,
        project: &ProjectName,
        prefix: &FingerprintPrefix,
    ) -> Result<Found<StoredImage>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let sight = sight(&mut tx, viewer, project).await?;
        // What begins with the prefix: from it on, and before all that comes after its last continuation.
        let tail = format!(
            " WHERE i.project_id = $1 AND i.fingerprint >= $2 AND i.fingerprint < $3{} ORDER BY i.fingerprint LIMIT 2",
            sight.and_visible("i")
        );
        let (from, to) = (prefix.as_str().to_owned(), format!("{prefix}g"));
        let mut found = rows::images(&mut tx, &tail, values![sight.project, from, to]).await?;
        let found = match (found.pop(), found.pop()) {
            (None, _) => Found::Nothing,
            (Some(image), None) => match names::stored(&mut tx, sight, project, vec![image]).await?.pop() {
                Some(image) => Found::One(image),
                None => Found::Nothing,
            },
            (Some(_), Some(_)) => Found::Several,
        };
        tx.commit().await?;
        Ok(found)
    }

    /// Up to `limit` images in the order of their fingerprints, after the given one.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], also for a project in which the viewer may see nothing.
    pub async fn images(
        &self,
        viewer: &Viewer,
        project: &ProjectName,
        after: Option<Fingerprint>,
        limit: usize,
    ) -> Result<Vec<StoredImage>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let sight = sight(&mut tx, viewer, project).await?;
        let tail = format!(
            " WHERE i.project_id = $1 AND i.fingerprint > $2{} ORDER BY i.fingerprint LIMIT $3",
            sight.and_visible("i")
        );
        let after = after.map(|after| after.to_string()).unwrap_or_default();
        let page = rows::images(&mut tx, &tail, values![sight.project, after, rows::limit(limit)]).await?;
        let images = names::stored(&mut tx, sight, project, page).await?;
        tx.commit().await?;
        Ok(images)
    }

    /// Changes an image. An edit that changes nothing leaves the revision as it is.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], [`CatalogError::NoImage`].
    pub async fn edit_image(
        &self,
        project: &ProjectName,
        fingerprint: &Fingerprint,
        edit: &ImageEdit,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let decide = |_: &Image| Ok::<_, Infallible>(edit.clone());
        self.edit_image_as(project, fingerprint, decide, now).await.map(|decided| match decided {
            Ok(()) => {}
            Err(never) => match never {},
        })
    }

    /// Changes an image as is decided when it is seen as it stands, which nobody else changes meanwhile. When it is decided that
    /// nothing be changed, nothing is.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], [`CatalogError::NoImage`].
    pub async fn edit_image_as<E>(
        &self,
        project: &ProjectName,
        fingerprint: &Fingerprint,
        decide: impl FnOnce(&Image) -> Result<ImageEdit, E> + Send,
        now: Timestamp,
    ) -> Result<Result<(), E>, CatalogError> {
        let mut tx = self.engine.write().await?;
        let project_id = project_id(&mut tx, project).await?;
        let before = find(&mut tx, project_id, fingerprint).await?;
        let edit = match decide(&before.image) {
            Ok(edit) => edit,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut image = before.image.clone();
        edit.apply(&mut image);
        if image == before.image {
            return Ok(Ok(()));
        }
        let line = |image: &Image| Line::of_image(image).map(|line| (line.key(), version_name(image)));
        let elsewhere = line(&image) != line(&before.image);
        let moved = elsewhere || families(&image) != families(&before.image);
        let mut changed = Changed::default();
        changed.image(&mut tx, before.id, before.place.as_ref().map(|(product, _)| *product)).await?;
        let to = match &before.place {
            _ if elsewhere => place(&mut tx, project_id, &image).await?,
            // In its product, though others may stand in its way now, or no more. In one of an upstream, its version is not what it says itself.
            Some((product, version)) if moved => {
                let row = tx.row("SELECT key FROM products WHERE id = $1", values![*product]).await?;
                let key = row.map(|row| row.text(0)).transpose()?;
                let own = key.is_some() && key == Line::of_image(&image).map(|line| line.key());
                let wanted = if own { version_name(&image) } else { version.clone() };
                let version = free_version(&mut tx, *product, &image, wanted).await?;
                keep_versions(&mut tx, vec![version_row(*product, &version, "{}")]).await?;
                Some((*product, version))
            }
            place => place.clone(),
        };
        if moved {
            changed.image(&mut tx, before.id, to.as_ref().map(|(product, _)| *product)).await?;
        }
        tx.execute(
            "UPDATE images SET public = $1, expires_at = $2, auto_update = $3, properties = $4, profiles = $5, \
             product_id = $6, version = $7, update_source = $8 WHERE id = $9",
            values![
                image.public,
                image.expires_at.map(Timestamp::unix),
                image.auto_update,
                to_json(&image.properties)?,
                to_json(&image.profiles)?,
                to.as_ref().map(|(product, _)| *product),
                to.as_ref().map(|(_, version)| version.as_str().to_owned()),
                image.update_source.as_ref().map(to_json).transpose()?,
                before.id,
            ],
        )
        .await?;
        changes::names_of_image(&mut tx, before.id).await?;
        for (product, version) in before.place.iter().chain(to.iter().filter(|_| moved)) {
            tidy(&mut tx, *product, version).await?;
        }
        changed.write(&mut tx).await?;
        let detail = differences(&before.image, &image);
        let detail: Vec<(&str, &str)> = detail.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let subject = fingerprint.to_string();
        record(&mut tx, &self.actor, Action::ImageUpdated, Some(project), &subject, &detail, now).await?;
        bump_revision(&mut tx, now).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Notes that these images were downloaded; does not change the revision. Images that are gone are passed over.
    pub async fn mark_used(&self, used: &[(ProjectName, Fingerprint)], at: Timestamp) -> Result<(), CatalogError> {
        if used.is_empty() {
            return Ok(());
        }
        let mut tx = self.engine.write().await?;
        let mut changed = Vec::new();
        for (project, fingerprint) in used {
            let values: Vec<Value> = values![at.unix(), project.as_str(), fingerprint.to_string()];
            let sql = "UPDATE images SET last_used_at = $1 WHERE project_id = (SELECT id FROM projects WHERE name = $2) \
                 AND fingerprint = $3 AND (last_used_at IS NULL OR last_used_at < $1) RETURNING id";
            if let Some(row) = tx.row(sql, values).await? {
                changed.push(row.int(0)?);
            }
        }
        Changed::only(changed).write(&mut tx).await?;
        tx.commit().await
    }
}

impl ImageEdit {
    fn apply(&self, image: &mut Image) {
        let edit = self.clone();
        image.public = edit.public.unwrap_or(image.public);
        image.expires_at = edit.expires_at.unwrap_or(image.expires_at);
        image.auto_update = edit.auto_update.unwrap_or(image.auto_update);
        image.properties = edit.properties.unwrap_or_else(|| std::mem::take(&mut image.properties));
        image.profiles = edit.profiles.unwrap_or_else(|| std::mem::take(&mut image.profiles));
        image.update_source = edit.update_source.unwrap_or_else(|| image.update_source.take());
    }
}

fn source(image: &Image) -> String {
    image.update_source.as_ref().map_or_else(|| "none".to_owned(), |source| source.alias.clone())
}

/// What an edit changed, for the audit: new values, and of properties the keys, because their values can be long.
fn differences(before: &Image, after: &Image) -> Vec<(&'static str, String)> {
    let keys = before.properties.keys().chain(after.properties.keys()).collect::<BTreeSet<_>>();
    let keys = keys.into_iter().filter(|key| before.properties.get(*key) != after.properties.get(*key));
    let keys: Vec<&str> = keys.map(String::as_str).collect();
    let never = || "never".to_owned();
    let changes = [
        (before.public != after.public, "public", after.public.to_string()),
        (!keys.is_empty(), "properties", keys.join(", ")),
        (before.expires_at != after.expires_at, "expires_at", after.expires_at.map_or_else(never, Timestamp::rfc3339)),
        (before.auto_update != after.auto_update, "auto_update", after.auto_update.to_string()),
        (before.profiles != after.profiles, "profiles", after.profiles.join(", ")),
        (before.update_source != after.update_source, "update_source", source(after)),
    ];
    changes.into_iter().filter(|(changed, ..)| *changed).map(|(_, key, value)| (key, value)).collect()
}

/// An image of a project, whoever may see it.
pub(super) async fn find(tx: &mut Tx, project: i64, fingerprint: &Fingerprint) -> Result<ImageRow, CatalogError> {
    look(tx, project, fingerprint).await?.ok_or_else(|| CatalogError::NoImage(fingerprint.to_string()))
}

/// The same, when it may be missing.
pub(super) async fn look(
    tx: &mut Tx,
    project: i64,
    fingerprint: &Fingerprint,
) -> Result<Option<ImageRow>, CatalogError> {
    let values = values![project, fingerprint.to_string()];
    Ok(rows::images(tx, " WHERE i.project_id = $1 AND i.fingerprint = $2", values).await?.pop())
}
