//! The names that images have: fixed ones, those that follow their product by hand, and generated ones.
//!
//! Generated names come from the properties of a product's newest image. A guest must not learn them from a private
//! image, so each product has two sets: of its newest image, and of its newest public image.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use headwater_formats::alias;
use headwater_formats::image::{Image, ImageType};
use headwater_formats::names::{AliasName, ProjectName};
use headwater_formats::product::Line;

use super::engine::{Batch, Tx, values};
use super::rows::{self, ImageRow};
use super::sight::Sight;
use super::{CatalogError, ImageAlias, Placement, StoredImage, changes};

/// The names that this image gives its product.
pub(super) fn generated(image: &Image) -> Vec<String> {
    match Line::of_image(image) {
        Some(line) => alias::generated(&line, image.property("version"), image.property("release_codename")),
        None => Vec::new(),
    }
}

/// The newest visible image of a product and type.
pub(super) async fn newest(
    tx: &mut Tx,
    product: i64,
    image_type: ImageType,
    sight: Sight,
) -> Result<Option<ImageRow>, CatalogError> {
    let tail = format!(
        " WHERE i.product_id = $1 AND i.image_type = $2{} \
         ORDER BY i.version DESC, i.preference DESC, i.fingerprint DESC LIMIT 1",
        sight.and_visible("i")
    );
    Ok(rows::images(tx, &tail, values![product, image_type.as_str()]).await?.pop())
}

/// Writes the generated names of a product anew, if they are others than before, and notes that it changed.
pub(super) async fn refresh(tx: &mut Tx, product: i64) -> Result<(), CatalogError> {
    refresh_all(tx, &[product]).await
}

/// [`refresh`] of several products: in a few statements for all of those whose names an upstream gives.
pub(super) async fn refresh_all(tx: &mut Tx, products: &[i64]) -> Result<(), CatalogError> {
    changes::products_of(tx, products).await?;
    let mut rows = Vec::new();
    for batch in Batch::of(products) {
        let mut values = values![];
        let list = batch.bind(&mut values);
        let sql = format!(
            "SELECT n.product_id, n.public, n.name FROM product_names n WHERE n.product_id IN ({list}) \
             ORDER BY n.product_id, n.public, n.position"
        );
        let mut found: HashMap<(i64, bool), Vec<String>> = HashMap::new();
        for row in tx.rows(sql, values.clone()).await? {
            found.entry((row.int(0)?, row.truth(1)?)).or_default().push(row.text(2)?);
        }
        let some = "SELECT i.product_id FROM images i WHERE i.product_id = p.id";
        let sql = format!(
            "SELECT p.id, p.project_id, p.given_names, ({some} LIMIT 1), ({some} AND i.public = 1 LIMIT 1) \
             FROM products p WHERE p.id IN ({list})"
        );
        let mut seen = BTreeSet::new();
        for row in tx.rows(sql, values).await? {
            let (id, project) = (row.int(0)?, row.int(1)?);
            if !seen.insert(id) {
                continue;
            }
            let given: Option<Vec<String>> = row.opt_text(2)?.map(|text| rows::from_json(&text)).transpose()?;
            for (private, any) in [(true, row.opt_int(3)?.is_some()), (false, row.opt_int(4)?.is_some())] {
                let sight = Sight { project, private };
                let wanted = match &given {
                    _ if !any => Vec::new(),
                    // The names that an upstream gives, instead of those that would be made.
                    Some(given) => given.clone(),
                    None => made(tx, id, sight).await?,
                };
                let found = found.remove(&(id, !private)).unwrap_or_default();
                if found == wanted {
                    continue;
                }
                if !found.is_empty() {
                    let sql = "DELETE FROM product_names WHERE product_id = $1 AND public = $2";
                    tx.later(sql, values![id, sight.names()]).await?;
                }
                let named = wanted.into_iter().enumerate();
                rows.extend(
                    named.map(|(position, name)| values![project, id, sight.names(), rows::limit(position), name]),
                );
            }
        }
    }
    tx.insert("INSERT INTO product_names (project_id, product_id, public, position, name)", rows, "").await
}

/// The names that its newest image gives a product.
async fn made(tx: &mut Tx, product: i64, sight: Sight) -> Result<Vec<String>, CatalogError> {
    let container = newest(tx, product, ImageType::Container, sight).await?;
    let machine = newest(tx, product, ImageType::VirtualMachine, sight).await?;
    let newest = container.into_iter().chain(machine).max_by_key(ImageRow::age);
    Ok(newest.map(|row| generated(&row.image)).unwrap_or_default())
}

/// A name as it is looked up where case does not matter, as in the address of a stream.
pub(super) fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// Folds the names of the aliases of an older catalog, which has them as they are.
pub(super) async fn fold(tx: &mut Tx) -> Result<(), CatalogError> {
    let mut after = 0;
    loop {
        let sql = "SELECT id, name FROM aliases WHERE id > $1 ORDER BY id LIMIT $2";
        let page = tx.rows(sql, values![after, rows::limit(1024)]).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.int(0)?;
        for row in &page {
            let name = row.text(1)?;
            let folded = folded(&name);
            if folded != name {
                tx.execute("UPDATE aliases SET folded = $2 WHERE id = $1", values![row.int(0)?, folded]).await?;
            }
        }
    }
}

/// The keys of the project's products that one of these names leads to, in order: generated names, hand-made ones that follow the
/// product, and fixed ones of any of its images. The names are folded. Some of the products may not be visible, or be listed without
/// that name, because another alias takes it from them.
pub(super) async fn products_named(
    tx: &mut Tx,
    sight: Sight,
    names: &BTreeSet<String>,
) -> Result<BTreeSet<String>, CatalogError> {
    if names.is_empty() {
        return Ok(BTreeSet::new());
    }
    let list = rows::to_json(names)?;
    let names = tx.each_text("$2");
    let generated = format!(
        "SELECT p.key FROM product_names n JOIN products p ON p.id = n.product_id \
         WHERE n.project_id = $1 AND n.public = $3 AND n.name IN ({names})"
    );
    let fixed = format!(
        "SELECT p.key FROM aliases a JOIN images i ON i.id = a.image_id JOIN products p ON p.id = i.product_id \
         WHERE a.project_id = $1 AND a.folded IN ({names})"
    );
    let following = format!(
        "SELECT p.key FROM aliases a JOIN products p ON p.project_id = a.project_id AND p.os = a.os \
         AND p.release = a.release AND p.variant = a.variant WHERE a.project_id = $1 AND a.folded IN ({names})"
    );
    let mut found = tx.rows(generated, values![sight.project, list.as_str(), sight.names()]).await?;
    for sql in [fixed, following] {
        found.extend(tx.rows(sql, values![sight.project, list.as_str()]).await?);
    }
    found.iter().map(|row| row.text(0)).collect()
}

/// The condition that a hand-made alias `a` leads to something visible.
pub(super) fn leads_somewhere(sight: Sight) -> String {
    let visible = sight.and_visible("s");
    format!(
        "(EXISTS (SELECT 1 FROM images s WHERE s.id = a.image_id{visible}) OR EXISTS (SELECT 1 FROM products sp \
         JOIN images s ON s.product_id = sp.id WHERE sp.project_id = a.project_id AND sp.os = a.os \
         AND sp.release = a.release AND sp.variant = a.variant{visible}))"
    )
}

/// A name that leads to a product's newest image.
pub(super) struct Following {
    pub(super) name: String,
    pub(super) description: String,
}

/// The names that follow these products: generated ones in their order, then hand-made ones by name. A
/// generated name is left out where a visible hand-made alias has it: that one wins, and may lead elsewhere.
pub(super) async fn following(
    tx: &mut Tx,
    sight: Sight,
    products: &[i64],
) -> Result<HashMap<i64, Vec<Following>>, CatalogError> {
    let mut found: HashMap<i64, Vec<Following>> = HashMap::new();
    for batch in Batch::of(products) {
        let mut values = values![sight.names()];
        let sql = format!(
            "SELECT n.product_id, n.name FROM product_names n WHERE n.product_id IN ({}) AND n.public = $1 \
             AND NOT EXISTS (SELECT 1 FROM aliases a WHERE a.project_id = n.project_id AND a.name = n.name AND {}) \
             ORDER BY n.product_id, n.position",
            batch.bind(&mut values),
            leads_somewhere(sight)
        );
        for row in tx.rows(sql, values).await? {
            let name = Following { name: row.text(1)?, description: String::new() };
            found.entry(row.int(0)?).or_default().push(name);
        }
        let mut values = values![];
        // Ordered here and not by the engine: asked for `ORDER BY a.name`, SQLite walks through all of the project's
        // aliases by name for each product, instead of looking up the product's few.
        let sql = format!(
            "SELECT p.id, a.name, a.description FROM products p JOIN aliases a ON a.project_id = p.project_id \
             AND a.os = p.os AND a.release = p.release AND a.variant = p.variant WHERE p.id IN ({})",
            batch.bind(&mut values)
        );
        let mut by_hand = Vec::new();
        for row in tx.rows(sql, values).await? {
            by_hand.push((row.int(0)?, Following { name: row.text(1)?, description: row.text(2)? }));
        }
        by_hand.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        for (product, name) in by_hand {
            found.entry(product).or_default().push(name);
        }
    }
    Ok(found)
}

/// The fixed aliases of these images, by name.
pub(super) async fn fixed(tx: &mut Tx, images: &[i64]) -> Result<HashMap<i64, Vec<ImageAlias>>, CatalogError> {
    let mut found: HashMap<i64, Vec<ImageAlias>> = HashMap::new();
    for batch in Batch::of(images) {
        let mut values = values![];
        let list = batch.bind(&mut values);
        let sql = format!(
            "SELECT image_id, name, description FROM aliases WHERE image_id IN ({list}) ORDER BY image_id, name"
        );
        for row in tx.rows(sql, values).await? {
            let alias = ImageAlias { name: rows::parse("an alias", &row.text(1)?)?, description: row.text(2)? };
            found.entry(row.int(0)?).or_default().push(alias);
        }
    }
    Ok(found)
}

/// The names of one image, and whether it is the newest visible one of its product and type.
pub(super) struct Names {
    pub(super) aliases: Vec<ImageAlias>,
    pub(super) newest: bool,
}

/// The names of a page of images, in its order, in a handful of statements for all of them.
pub(super) async fn of(tx: &mut Tx, sight: Sight, page: &[ImageRow]) -> Result<Vec<Names>, CatalogError> {
    let ids: Vec<i64> = page.iter().map(|row| row.id).collect();
    let newest = newest_among(tx, sight, &ids).await?;
    let led: BTreeSet<i64> = page.iter().filter(|row| newest.contains(&row.id)).filter_map(product).collect();
    let led: Vec<i64> = led.into_iter().collect();
    let mut fixed = fixed(tx, &ids).await?;
    let following = following(tx, sight, &led).await?;
    page.iter()
        .map(|row| {
            let mut names: BTreeMap<AliasName, String> =
                fixed.remove(&row.id).into_iter().flatten().map(|alias| (alias.name, alias.description)).collect();
            let newest = newest.contains(&row.id);
            if let Some(follow) = product(row).filter(|_| newest).and_then(|id| following.get(&id)) {
                for name in follow {
                    names.insert(rows::parse("an alias", &name.name)?, name.description.clone());
                }
            }
            let aliases = names.into_iter().map(|(name, description)| ImageAlias { name, description }).collect();
            Ok(Names { aliases, newest })
        })
        .collect()
}

fn product(row: &ImageRow) -> Option<i64> {
    row.place.as_ref().map(|(product, _)| *product)
}

/// Adds names, product and version to a page of images.
pub(super) async fn stored(
    tx: &mut Tx,
    sight: Sight,
    project: &ProjectName,
    page: Vec<ImageRow>,
) -> Result<Vec<StoredImage>, CatalogError> {
    let names = of(tx, sight, &page).await?;
    let products: Vec<i64> = page.iter().filter_map(product).collect::<BTreeSet<_>>().into_iter().collect();
    let keys = keys(tx, &products).await?;
    page.into_iter()
        .zip(names)
        .map(|(row, names)| {
            let placement = match row.place {
                Some((product, version)) => Some(Placement {
                    product: keys
                        .get(&product)
                        .cloned()
                        .ok_or_else(|| CatalogError::Corrupt("an image's product is missing".into()))?,
                    version,
                }),
                None => None,
            };
            let (aliases, published_by) = (names.aliases, row.published_by);
            Ok(StoredImage { project: project.clone(), image: row.image, aliases, placement, published_by })
        })
        .collect()
}

/// Those of these images that are the newest visible ones of their product and type.
async fn newest_among(tx: &mut Tx, sight: Sight, images: &[i64]) -> Result<BTreeSet<i64>, CatalogError> {
    let mut newest = BTreeSet::new();
    for batch in Batch::of(images) {
        let mut values = values![];
        let sql = format!(
            "SELECT i.id FROM images i WHERE i.id IN ({}) AND i.product_id IS NOT NULL AND NOT EXISTS \
             (SELECT 1 FROM images n WHERE n.product_id = i.product_id AND n.image_type = i.image_type \
             AND (n.version, n.preference, n.fingerprint) > (i.version, i.preference, i.fingerprint){})",
            batch.bind(&mut values),
            sight.and_visible("n")
        );
        for row in tx.rows(sql, values).await? {
            newest.insert(row.int(0)?);
        }
    }
    Ok(newest)
}

async fn keys(tx: &mut Tx, products: &[i64]) -> Result<HashMap<i64, String>, CatalogError> {
    let mut keys = HashMap::new();
    for batch in Batch::of(products) {
        let mut values = values![];
        let list = batch.bind(&mut values);
        for row in tx.rows(format!("SELECT id, key FROM products WHERE id IN ({list})"), values).await? {
            keys.insert(row.int(0)?, row.text(1)?);
        }
    }
    Ok(keys)
}
