//! What was taken from an upstream: which images, what the upstream calls their products and versions, and since when it lists them no more.
//!
//! An image that somebody else published, or that several upstreams list, is one image: it goes only when nobody has it any more for a reason.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use headwater_formats::digest::Fingerprint;
use headwater_formats::image::Image;
use headwater_formats::names::{ProjectName, VersionName};
use headwater_formats::timestamp::Timestamp;
use serde_json::Value as Json;

use super::audit::{Action, record};
use super::engine::{Batch, Tx, values};
use super::images::look;
use super::place::{free_version, taken};
use super::remove::retire;
use super::rows::{self, ImageRow, to_json};
use super::sight::project_id;
use super::{Catalog, CatalogError, UpstreamId, UpstreamSettings, bump_revision, changes, names};

/// What an upstream says of a product; it is given out again as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GivenProduct {
    /// Its key.
    pub key: String,
    /// All its names; `None` for those that its newest image gives it, as when nobody gives any.
    pub names: Option<Vec<String>>,
    /// Fields that mean nothing here.
    pub extra: BTreeMap<String, Json>,
}

/// Where an upstream has an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Which one; `None` for an image that was carried here from an upstream that is not known any more.
    pub upstream: Option<UpstreamId>,
    /// In which product.
    pub product: GivenProduct,
    /// In which version.
    pub version: VersionName,
    /// Fields of the version that mean nothing here.
    pub version_extra: BTreeMap<String, Json>,
    /// Whether it is placed there; else by its own properties, and what is said of the product here is only remembered.
    pub placed: bool,
}

/// What an upstream says of a product that is here, and of some of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The product.
    pub product: GivenProduct,
    /// Fields of versions that mean nothing here.
    pub versions: BTreeMap<VersionName, BTreeMap<String, Json>>,
}

/// An image that was taken from an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrored {
    /// Which image.
    pub fingerprint: Fingerprint,
    /// The key of its product there.
    pub product: String,
    /// Its version there.
    pub version: String,
    /// Since when the upstream lists it no more.
    pub gone_at: Option<Timestamp>,
    /// When it came to the project; `None` when the project has it no more: it may have been deleted by hand.
    pub came_at: Option<Timestamp>,
    /// Whether a fixed alias leads to it.
    pub aliased: bool,
    /// Whether its bytes, which came when somebody asked for them, turned out to have another fingerprint.
    pub wrong: bool,
}

impl Catalog {
    /// What was taken from an upstream, up to `limit` images after the given one, in the order of their fingerprints.
    pub async fn mirrored(
        &self,
        upstream: UpstreamId,
        after: Option<&Fingerprint>,
        limit: usize,
    ) -> Result<Vec<Mirrored>, CatalogError> {
        let sql = "SELECT m.fingerprint, m.product, m.version, m.gone_at, i.uploaded_at, \
             (SELECT MIN(a.id) FROM aliases a WHERE a.image_id = i.id), m.proof FROM upstream_images m \
             JOIN upstreams u ON u.id = m.upstream_id \
             LEFT JOIN images i ON i.project_id = u.project_id AND i.fingerprint = m.fingerprint \
             WHERE m.upstream_id = $1 AND m.fingerprint > $2 ORDER BY m.fingerprint LIMIT $3";
        let after = after.map(Fingerprint::to_string).unwrap_or_default();
        let found = self.engine.fetch(sql, values![upstream.0, after, rows::limit(limit)]).await?;
        let read = |row: &super::engine::Row| {
            Ok(Mirrored {
                fingerprint: rows::parse("a fingerprint", &row.text(0)?)?,
                product: row.text(1)?,
                version: row.text(2)?,
                gone_at: row.opt_int(3)?.map(rows::time).transpose()?,
                came_at: row.opt_int(4)?.map(rows::time).transpose()?,
                aliased: row.opt_int(5)?.is_some(),
                wrong: row.text(6)? == "wrong",
            })
        };
        found.iter().map(read).collect()
    }

    /// Which of these images the project has.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`].
    pub async fn present(
        &self,
        project: &ProjectName,
        fingerprints: &[Fingerprint],
    ) -> Result<BTreeSet<Fingerprint>, CatalogError> {
        let sql = "SELECT i.fingerprint FROM images i WHERE i.project_id = $1 AND i.fingerprint IN";
        self.those(project, fingerprints, sql).await
    }

    /// The names that were given to these products of a project, by their keys. Those without names of their own are left out.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`].
    pub async fn given_names(
        &self,
        project: &ProjectName,
        keys: &[String],
    ) -> Result<BTreeMap<String, Vec<String>>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let id = project_id(&mut tx, project).await?;
        let mut found = BTreeMap::new();
        for batch in Batch::of(keys) {
            let mut values = values![id];
            let list = batch.bind(&mut values);
            let sql = format!(
                "SELECT p.key, p.given_names FROM products p WHERE p.project_id = $1 AND p.given_names IS NOT NULL AND p.key IN ({list})"
            );
            for row in tx.rows(sql, values).await? {
                found.insert(row.text(0)?, rows::from_json(&row.text(1)?)?);
            }
        }
        tx.commit().await?;
        Ok(found)
    }

    /// Which of these images came to the project from an upstream that it still mirrors.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`].
    pub async fn of_upstreams(
        &self,
        project: &ProjectName,
        fingerprints: &[Fingerprint],
    ) -> Result<BTreeSet<Fingerprint>, CatalogError> {
        let sql = "SELECT m.fingerprint FROM upstream_images m JOIN upstreams u ON u.id = m.upstream_id \
             WHERE u.project_id = $1 AND m.fingerprint IN";
        self.those(project, fingerprints, sql).await
    }

    /// Those of the images that a statement finds; it ends where the list of them belongs, and takes the project as its first parameter.
    pub(super) async fn those(
        &self,
        project: &ProjectName,
        fingerprints: &[Fingerprint],
        sql: &'static str,
    ) -> Result<BTreeSet<Fingerprint>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let id = project_id(&mut tx, project).await?;
        let texts: Vec<String> = fingerprints.iter().map(Fingerprint::to_string).collect();
        let mut found = BTreeSet::new();
        for batch in Batch::of(&texts) {
            let mut values = values![id];
            let list = batch.bind(&mut values);
            for row in tx.rows(format!("{sql} ({list})"), values).await? {
                found.insert(rows::parse("a fingerprint", &row.text(0)?)?);
            }
        }
        tx.commit().await?;
        Ok(found)
    }

    /// Writes down that an upstream lists images that came to its project from other upstreams, with the keys of their products and the
    /// names of their versions there. Images that nobody mirrors are passed over: they stay whatever upstreams do.
    pub async fn note_shared(
        &self,
        upstream: UpstreamId,
        listed: &[(Fingerprint, String, String)],
    ) -> Result<(), CatalogError> {
        if listed.is_empty() {
            return Ok(());
        }
        let mut tx = self.engine.write().await?;
        for (fingerprint, product, version) in listed {
            let sql = "INSERT INTO upstream_images (upstream_id, fingerprint, product, version) \
                 SELECT u.id, $2, $3, $4 FROM upstreams u WHERE u.id = $1 AND EXISTS (SELECT 1 FROM upstream_images m \
                 JOIN upstreams o ON o.id = m.upstream_id WHERE m.fingerprint = $2 AND o.project_id = u.project_id) \
                 ON CONFLICT (upstream_id, fingerprint) DO NOTHING";
            tx.execute(sql, values![upstream.0, fingerprint.to_string(), product.as_str(), version.as_str()]).await?;
        }
        tx.commit().await
    }

    /// Writes down which images the upstream ceased to list, and which it lists again.
    pub async fn note_gone(
        &self,
        upstream: UpstreamId,
        gone: &[Fingerprint],
        back: &[Fingerprint],
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        if gone.is_empty() && back.is_empty() {
            return Ok(());
        }
        let mut tx = self.engine.write().await?;
        for (fingerprints, at) in [(gone, Some(now.unix())), (back, None)] {
            for fingerprint in fingerprints {
                let sql = "UPDATE upstream_images SET gone_at = $3 WHERE upstream_id = $1 AND fingerprint = $2";
                tx.execute(sql, values![upstream.0, fingerprint.to_string(), at]).await?;
            }
        }
        tx.commit().await
    }

    /// Those of the products of which something else is said here, of them or of one of these versions: what [`Catalog::describe_product`]
    /// would change.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`].
    pub async fn described_otherwise(
        &self,
        project: &ProjectName,
        products: Vec<Described>,
    ) -> Result<Vec<Described>, CatalogError> {
        if products.is_empty() {
            return Ok(products);
        }
        let mut tx = self.engine.read().await?;
        let project = project_id(&mut tx, project).await?;
        let (mut here, mut versions) = (HashMap::new(), HashMap::new());
        let keys: Vec<&str> = products.iter().map(|said| said.product.key.as_str()).collect();
        for batch in Batch::of(&keys) {
            let mut values = values![project];
            let list = batch.bind(&mut values);
            let sql = format!(
                "SELECT p.id, p.key, p.extra, p.given_names FROM products p WHERE p.project_id = $1 AND p.key IN ({list})"
            );
            for row in tx.rows(sql, values).await? {
                here.insert(row.text(1)?, (row.int(0)?, row.text(2)?, row.opt_text(3)?));
            }
        }
        let ids: Vec<i64> = here.values().map(|(id, ..)| *id).collect();
        for batch in Batch::of(&ids) {
            let mut values = values![];
            let list = batch.bind(&mut values);
            let sql = format!("SELECT v.product_id, v.name, v.extra FROM versions v WHERE v.product_id IN ({list})");
            for row in tx.rows(sql, values).await? {
                versions.insert((row.int(0)?, row.text(1)?), row.text(2)?);
            }
        }
        tx.commit().await?;
        let mut otherwise = Vec::new();
        for said in products {
            let Some((id, extra, names)) = here.get(&said.product.key) else { continue };
            let given = said.product.names.as_ref().map(to_json).transpose()?;
            let mut differs = *extra != to_json(&said.product.extra)? || *names != given;
            for (name, extra) in &said.versions {
                let here = versions.get(&(*id, name.to_string()));
                differs |= here.map_or(Ok(false), |here| Ok::<_, CatalogError>(*here != to_json(extra)?))?;
            }
            if differs {
                otherwise.push(said);
            }
        }
        Ok(otherwise)
    }

    /// Says anew what the upstream says of a product and of its versions. Whether that changed anything; a product that is not here is passed over.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`].
    pub async fn describe_product(
        &self,
        project: &ProjectName,
        product: &GivenProduct,
        versions: &BTreeMap<VersionName, BTreeMap<String, Json>>,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.engine.write().await?;
        let project = project_id(&mut tx, project).await?;
        let sql = "SELECT id, extra, given_names FROM products WHERE project_id = $1 AND key = $2";
        let Some(row) = tx.row(sql, values![project, product.key.as_str()]).await? else { return Ok(false) };
        let id = row.int(0)?;
        let (extra, given) = (to_json(&product.extra)?, product.names.as_ref().map(to_json).transpose()?);
        let mut changed = row.text(1)? != extra || row.opt_text(2)? != given;
        if changed {
            let sql = "UPDATE products SET extra = $2, given_names = $3 WHERE id = $1";
            tx.execute(sql, values![id, extra, given]).await?;
        }
        for (version, extra) in versions {
            let sql = "UPDATE versions SET extra = $3 WHERE product_id = $1 AND name = $2 AND extra <> $3";
            changed |= tx.execute(sql, values![id, version.as_str(), to_json(extra)?]).await? > 0;
        }
        if changed {
            names::refresh(&mut tx, id).await?;
            bump_revision(&mut tx, now).await?;
            tx.commit().await?;
        }
        Ok(changed)
    }

    /// Takes images away that an upstream lists no more: they go as by [`Catalog::delete_image`], unless another upstream of the project lists
    /// them. What is not (any more) of this upstream is passed over, and so is what an alias leads to by now, where such images are kept. How
    /// many went.
    pub async fn remove_mirrored(
        &self,
        upstream: UpstreamId,
        fingerprints: &[Fingerprint],
        now: Timestamp,
    ) -> Result<u64, CatalogError> {
        let mut tx = self.engine.write().await?;
        let sql =
            "SELECT p.id, p.name, u.settings FROM upstreams u JOIN projects p ON p.id = u.project_id WHERE u.id = $1";
        let Some(row) = tx.row(sql, values![upstream.0]).await? else { return Ok(0) };
        let (project, name) = (row.int(0)?, rows::parse::<ProjectName>("a project's name", &row.text(1)?)?);
        let settings: UpstreamSettings = rows::from_json(&row.text(2)?)?;
        let (mut noted, mut removed) = (0, 0);
        for fingerprint in fingerprints {
            let text = fingerprint.to_string();
            let sql = "SELECT 1 FROM images i CROSS JOIN aliases a WHERE i.project_id = $1 AND i.fingerprint = $2 \
                 AND a.image_id = i.id LIMIT 1";
            if settings.keep_aliased && tx.row(sql, values![project, text.as_str()]).await?.is_some() {
                continue;
            }
            let sql = "DELETE FROM upstream_images WHERE upstream_id = $1 AND fingerprint = $2";
            if tx.execute(sql, values![upstream.0, text.as_str()]).await? == 0 {
                continue;
            }
            noted += 1;
            let sql = "SELECT 1 FROM upstream_images m JOIN upstreams u ON u.id = m.upstream_id \
                 WHERE m.fingerprint = $1 AND u.project_id = $2 LIMIT 1";
            if tx.row(sql, values![text.as_str(), project]).await?.is_some() {
                continue;
            }
            let Some(row) = look(&mut tx, project, fingerprint).await? else { continue };
            retire(&mut tx, project, &row, now).await?;
            let detail = [("filename", row.image.filename.as_str()), ("upstream", "gone")];
            record(&mut tx, &self.actor, Action::ImageDeleted, Some(&name), &text, &detail, now).await?;
            removed += 1;
        }
        if removed > 0 {
            bump_revision(&mut tx, now).await?;
        }
        if noted > 0 {
            tx.commit().await?;
        }
        Ok(removed)
    }
}

/// The version in which an image of an upstream comes to stand, and the images of the same upstream that go for it: the upstream has replaced them without another
/// name for the version. Where somebody else's image stands in its way, it is the next free name of a version, and nothing goes.
pub(super) async fn version_given(
    tx: &mut Tx,
    product: i64,
    image: &Image,
    given: &Given,
) -> Result<(VersionName, Vec<ImageRow>), CatalogError> {
    let others = taken(tx, product, "=", &given.version, image).await?;
    let (mut replaces, mut foreign) = (Vec::new(), false);
    for other in others {
        let sql = "SELECT 1 FROM upstream_images WHERE upstream_id = $1 AND fingerprint = $2";
        let values = values![given.upstream.map(|id| id.0), other.image.fingerprint.to_string()];
        match tx.row(sql, values).await? {
            Some(_) => replaces.push(other),
            None => foreign = true,
        }
    }
    if foreign {
        return Ok((free_version(tx, product, image, given.version.clone()).await?, Vec::new()));
    }
    Ok((given.version.clone(), replaces))
}

/// Puts an image in the place of one that its upstream has replaced: the fixed aliases of the old one lead to the new one.
pub(super) async fn replace(
    tx: &mut Tx,
    project: i64,
    old: &ImageRow,
    new: i64,
    now: Timestamp,
) -> Result<(), CatalogError> {
    tx.execute("UPDATE aliases SET image_id = $1 WHERE image_id = $2", values![new, old.id]).await?;
    changes::names_of_image(tx, new).await?;
    let sql = "DELETE FROM upstream_images WHERE fingerprint = $1 \
         AND upstream_id IN (SELECT u.id FROM upstreams u WHERE u.project_id = $2)";
    tx.execute(sql, values![old.image.fingerprint.to_string(), project]).await?;
    retire(tx, project, old, now).await
}

/// Notes that images were taken from their upstreams, or that they are listed there (again); and of each whether its fingerprint is that of its bytes, or it is
/// open. An upstream may be forgotten while bytes are on their way: then nothing is noted.
pub(super) async fn note_all(tx: &mut Tx, images: &[(Fingerprint, &Given, &'static str)]) -> Result<(), CatalogError> {
    let upstreams: BTreeSet<i64> = images.iter().filter_map(|(_, given, _)| given.upstream).map(|id| id.0).collect();
    let mut known = BTreeSet::new();
    for upstream in upstreams {
        if tx.row("SELECT 1 FROM upstreams WHERE id = $1", values![upstream]).await?.is_some() {
            known.insert(upstream);
        }
    }
    let mut rows = BTreeMap::new();
    for (image, given, proof) in images {
        let Some(upstream) = given.upstream.map(|id| id.0).filter(|id| known.contains(id)) else { continue };
        let (product, version) = (given.product.key.as_str(), given.version.as_str());
        rows.insert((upstream, *image), values![upstream, image.to_string(), product, version, *proof]);
    }
    let head = "INSERT INTO upstream_images (upstream_id, fingerprint, product, version, proof)";
    let tail = "ON CONFLICT (upstream_id, fingerprint) DO UPDATE \
         SET product = excluded.product, version = excluded.version, gone_at = NULL, proof = excluded.proof";
    tx.insert(head, rows.into_values().collect(), tail).await
}
