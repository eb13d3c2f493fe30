//! Which products changed, and when: what keeps a listing up to date for the price of what is new.
//!
//! Every write that changes what is listed of a product notes its key with the number of the revision that the write makes. The row
//! of a product that is gone stays, so that who has an older listing learns of it. A product may be noted too often, which costs a
//! little; never too seldom.
//!
//! What is listed of a product are its rows, its names, and the deltas to its root files. A name that is made by hand reaches further than the products that it
//! leads to: while it leads to something that is seen, it takes a generated name of the same spelling away from all other products.

use std::collections::{BTreeSet, HashMap};

use headwater_formats::names::ProjectName;

use super::engine::{Batch, Tx, values};
use super::products::{self, Listed};
use super::sight::{Sight, sight};
use super::{Catalog, CatalogError, Revision, names, revision, rows};
use crate::auth::Viewer;

/// Into this, products `p` are selected. The number is the one that [`bump_revision`](super::bump_revision) will make, so
/// that products that are about to go can be noted while they are there.
const NOTE: &str = "INSERT INTO product_changes (project_id, key, revision) \
     SELECT DISTINCT p.project_id, p.key, r.number + 1 FROM";
/// And this comes after it.
const AGAIN: &str = "ON CONFLICT (project_id, key) DO UPDATE SET revision = excluded.revision";
/// The products that have the name of an alias `a` as a generated one; [`NAMESAKE`] is their condition. `CROSS JOIN` is the order in which
/// SQLite looks: it would rather go through all names of the project.
const NAMESAKES: &str = "CROSS JOIN product_names n CROSS JOIN products p CROSS JOIN revision r";
const NAMESAKE: &str =
    "n.project_id = a.project_id AND n.public IN (0, 1) AND n.name = a.name AND p.id = n.product_id AND r.id = 1";
/// The products of the line that an alias `a` follows.
const LINE: &str = "JOIN products p ON p.id IN (SELECT l.id FROM products l WHERE l.project_id = a.project_id AND l.os = a.os \
     AND l.release = a.release AND l.variant = a.variant) JOIN revision r ON r.id = 1";

/// Notes a product whose images changed, and those that had to give names up to aliases that follow its line, or get them
/// back. Before a product goes, and after its last change: before the revision is bumped.
pub(super) async fn product(tx: &mut Tx, id: i64) -> Result<(), CatalogError> {
    products_of(tx, &[id]).await
}

/// [`product`] for several, in a few statements.
pub(super) async fn products_of(tx: &mut Tx, ids: &[i64]) -> Result<(), CatalogError> {
    for batch in Batch::of(ids) {
        let mut values = values![];
        let list = batch.bind(&mut values);
        let own = format!("{NOTE} products p JOIN revision r ON r.id = 1 WHERE p.id IN ({list}) {AGAIN}");
        tx.later(own, values.clone()).await?;
        let following = format!(
            "{NOTE} products f CROSS JOIN aliases a {NAMESAKES} WHERE a.project_id = f.project_id AND a.os = f.os \
             AND a.release = f.release AND a.variant = f.variant AND {NAMESAKE} AND f.id IN ({list}) {AGAIN}"
        );
        tx.later(following, values).await?;
    }
    Ok(())
}

/// Notes the products that had to give names up to the fixed aliases of an image, or get them back: it goes, or is seen by others than
/// before. Its own product is noted as that.
pub(super) async fn names_of_image(tx: &mut Tx, id: i64) -> Result<(), CatalogError> {
    let sql = format!("{NOTE} aliases a {NAMESAKES} WHERE a.image_id = $1 AND {NAMESAKE} {AGAIN}");
    tx.execute(sql, values![id]).await?;
    Ok(())
}

/// Notes the products that an alias leads to, and those that have its name as a generated one, whether there is such an
/// alias or not. Before and after an alias is changed.
pub(super) async fn alias(tx: &mut Tx, project: i64, name: &str) -> Result<(), CatalogError> {
    let fixed = "aliases a JOIN images i ON i.id = a.image_id JOIN products p ON p.id = i.product_id \
         JOIN revision r ON r.id = 1";
    for leads in [format!("{NOTE} {fixed}"), format!("{NOTE} aliases a {LINE}")] {
        let sql = format!("{leads} WHERE a.project_id = $1 AND a.name = $2 {AGAIN}");
        tx.execute(sql, values![project, name]).await?;
    }
    let sql = format!(
        "{NOTE} product_names n JOIN products p ON p.id = n.product_id JOIN revision r ON r.id = 1 \
         WHERE n.project_id = $1 AND n.public IN (0, 1) AND n.name = $2 {AGAIN}"
    );
    tx.execute(sql, values![project, name]).await?;
    Ok(())
}

/// Notes the products that name a file, of whatever project, whose format becomes another one.
pub(super) async fn format(tx: &mut Tx, digest: &str, format: &str) -> Result<(), CatalogError> {
    let sql = format!(
        "{NOTE} blobs b JOIN image_files f ON f.digest = b.digest JOIN images i ON i.id = f.image_id \
         JOIN products p ON p.id = i.product_id JOIN revision r ON r.id = 1 \
         WHERE b.digest = $1 AND b.format <> $2 {AGAIN}"
    );
    tx.later(sql, values![digest, format]).await
}

/// Notes the products that have a root file, of whatever project: what can be made into it changes.
pub(super) async fn root(tx: &mut Tx, digest: &str) -> Result<(), CatalogError> {
    let sql = format!(
        "{NOTE} image_files f JOIN images i ON i.id = f.image_id JOIN products p ON p.id = i.product_id \
         JOIN revision r ON r.id = 1 WHERE f.digest = $1 AND f.role = 'root' {AGAIN}"
    );
    tx.execute(sql, values![digest]).await?;
    Ok(())
}

/// Notes that a project has its name from the coming revision on: what was listed under that name before was another's.
pub(super) async fn named(tx: &mut Tx, project: &ProjectName) -> Result<(), CatalogError> {
    let sql = "UPDATE projects SET named_at = (SELECT r.number + 1 FROM revision r WHERE r.id = 1) WHERE name = $1";
    tx.execute(sql, values![project.as_str()]).await?;
    Ok(())
}

/// A product that may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its key.
    pub key: String,
    /// The product as it is now; `None` when nothing of it is seen (any more).
    pub listed: Option<Listed>,
}

/// A running answer to [`Catalog::products_changed`]. All of it is from one moment: it holds a reading transaction until it is dropped.
pub struct Changes {
    tx: Tx,
    sight: Sight,
    revision: Revision,
    at: At,
}

/// How far it is.
enum At {
    /// All products, after this key.
    All(String),
    /// The products with these keys, as far as they are visible.
    These(std::vec::IntoIter<String>),
    /// What changed, after this revision and key.
    Since(i64, String),
    End,
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl Catalog {
    /// What changed of a project's products since a revision, as [`Catalog::listed_products`] gives them, and the revision of now. Without `since`,
    /// or when the project's name was another's at that time, all of them: see [`Changes::is_whole`].
    ///
    /// With `named`, only products that were given one of these names are of interest ([`headwater_formats::view::View::names`]), and all of them are no more
    /// than an index tells: there may be others among them, and keys of products that are not seen. Of what changed since a revision,
    /// all is told.
    ///
    /// A listing of revision `since` in which these are replaced, or removed, equals a fresh one.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], also for a project in which the viewer may see nothing.
    pub async fn products_changed(
        &self,
        viewer: &Viewer,
        project: &ProjectName,
        since: Option<i64>,
        named: Option<&BTreeSet<String>>,
    ) -> Result<Changes, CatalogError> {
        let mut tx = self.engine.read().await?;
        let revision = revision(&mut tx).await?;
        let sight = sight(&mut tx, viewer, project).await?;
        let known = tx.row("SELECT named_at FROM projects WHERE id = $1", values![sight.project]).await?;
        let known = known.map(|row| row.int(0)).transpose()?.unwrap_or_default();
        let at = match (since.filter(|since| (known..=revision.number).contains(since)), named) {
            (Some(since), _) => At::Since(since.saturating_add(1), String::new()),
            (None, None) => At::All(String::new()),
            (None, Some(named)) => {
                let keys: Vec<String> = names::products_named(&mut tx, sight, named).await?.into_iter().collect();
                At::These(keys.into_iter())
            }
        };
        Ok(Changes { tx, sight, revision, at })
    }
}

impl Changes {
    /// The moment.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Whether these are all products (of interest), in the byte order of their keys, rather than what changed.
    pub fn is_whole(&self) -> bool {
        matches!(self.at, At::All(_) | At::These(_))
    }

    /// Up to `limit` more; none at the end. A product comes once.
    pub async fn next(&mut self, limit: usize) -> Result<Vec<Changed>, CatalogError> {
        let changed = match &mut self.at {
            At::End => Vec::new(),
            At::All(after) => {
                let listed = products::after(&mut self.tx, self.sight, after, limit).await?;
                listed.into_iter().map(|one| Changed { key: one.product.key.clone(), listed: Some(one) }).collect()
            }
            At::These(keys) => {
                let keys: Vec<String> = keys.take(limit).collect();
                self.at_their_keys(keys).await?
            }
            At::Since(revision, key) => {
                let sql = "SELECT c.revision, c.key FROM product_changes c WHERE c.project_id = $1 \
                     AND (c.revision, c.key) > ($2, $3) ORDER BY c.revision, c.key LIMIT $4";
                let values = values![self.sight.project, *revision, key.as_str(), rows::limit(limit)];
                let found = self.tx.rows(sql, values).await?;
                let keys: Vec<String> = found.iter().map(|row| row.text(1)).collect::<Result<_, _>>()?;
                if let Some(last) = found.last() {
                    self.at = At::Since(last.int(0)?, last.text(1)?);
                }
                self.at_their_keys(keys).await?
            }
        };
        match (&mut self.at, changed.last()) {
            (_, None) => self.at = At::End,
            (At::All(after), Some(last)) => last.key.clone_into(after),
            _ => {}
        }
        Ok(changed)
    }

    /// The products with these keys, in their order.
    async fn at_their_keys(&mut self, keys: Vec<String>) -> Result<Vec<Changed>, CatalogError> {
        let listed = products::with_keys(&mut self.tx, self.sight, &keys).await?;
        let mut found: HashMap<_, _> = listed.into_iter().map(|one| (one.product.key.clone(), one)).collect();
        Ok(keys.into_iter().map(|key| Changed { listed: found.remove(&key), key }).collect())
    }
}
