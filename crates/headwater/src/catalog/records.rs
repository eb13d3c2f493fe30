//! What is kept of each image beside its rows, so that lists need not render it: its JSON object as text
//! ([`headwater_formats::lxd::record`]), its aliases as the two kinds of viewers see them, and the terms that filters look up.
//!
//! Every write that could change one of these notes it in a [`Changed`], and ends with [`Changed::write`]. An image shows the
//! names of its product only while it is the newest one, and a generated name only while no visible alias made by hand has it; so a
//! write to one image can change what is shown of others. `leads` remembers which images show names of a product.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use headwater_formats::digest::Fingerprint;
use headwater_formats::filter::{Term, is_listed};
use headwater_formats::lxd::AliasName;
use headwater_formats::lxd::record::{self, Fields};
use headwater_formats::names::AliasName as Name;
use sha2::{Digest as _, Sha256};

use super::engine::{Batch, Sql, Tx, Value, values};
use super::names::{self, Names};
use super::rows::{self, ImageRow};
use super::sight::Sight;
use super::{CatalogError, ImageAlias};

/// Images that are rendered at a time when there are many.
const PAGE: usize = 256;

/// What a write may have changed in what is shown of images.
#[derive(Debug, Default)]
pub(super) struct Changed {
    images: BTreeSet<i64>,
    products: BTreeSet<i64>,
    /// Products whose following aliases were looked at.
    lines: BTreeSet<i64>,
}

impl Changed {
    /// An image came, goes, or is another than before, and its product with it. Asked before it goes, and after it came.
    pub(super) async fn image(&mut self, tx: &mut Tx, id: i64, product: Option<i64>) -> Result<(), CatalogError> {
        self.images(tx, &[(id, product)]).await
    }

    /// [`Changed::image`] of several, in a few statements.
    pub(super) async fn images(&mut self, tx: &mut Tx, images: &[(i64, Option<i64>)]) -> Result<(), CatalogError> {
        self.images.extend(images.iter().map(|(id, _)| *id));
        // Their aliases may have become visible, or stop to be: then names that they hide go or come.
        let ids: Vec<i64> = images.iter().map(|(id, _)| *id).collect();
        for batch in Batch::of(&ids) {
            let mut values = values![];
            let list = batch.bind(&mut values);
            // `CROSS JOIN` is the order in which SQLite looks: it would rather go through all names of the project.
            let hidden = format!(
                "SELECT n.product_id FROM aliases a CROSS JOIN product_names n WHERE n.project_id = a.project_id \
                 AND n.public IN (0, 1) AND n.name = a.name AND a.image_id IN ({list})"
            );
            self.products(tx, hidden, values).await?;
        }
        let products: BTreeSet<i64> = images.iter().filter_map(|(_, product)| *product).collect();
        self.products.extend(&products);
        let lines: Vec<i64> = products.into_iter().filter(|product| self.lines.insert(*product)).collect();
        for batch in Batch::of(&lines) {
            let mut values = values![];
            let list = batch.bind(&mut values);
            let hidden = format!(
                "SELECT n.product_id FROM products p CROSS JOIN aliases a CROSS JOIN product_names n \
                 WHERE a.project_id = p.project_id AND a.os = p.os AND a.release = p.release AND a.variant = p.variant \
                 AND n.project_id = a.project_id AND n.public IN (0, 1) AND n.name = a.name AND p.id IN ({list})"
            );
            self.products(tx, hidden, values).await?;
        }
        Ok(())
    }

    /// A hand-made alias came, goes, or is another than before. Asked before the change and after it.
    pub(super) async fn alias(&mut self, tx: &mut Tx, project: i64, name: &Name) -> Result<(), CatalogError> {
        let target = "SELECT a.image_id, p.id FROM aliases a LEFT JOIN products p ON p.project_id = a.project_id \
             AND p.os = a.os AND p.release = a.release AND p.variant = a.variant \
             WHERE a.project_id = $1 AND a.name = $2";
        for row in tx.rows(target, values![project, name.as_str()]).await? {
            self.images.extend(row.opt_int(0)?);
            self.products.extend(row.opt_int(1)?);
        }
        let hidden = "SELECT product_id FROM product_names WHERE project_id = $1 AND public IN (0, 1) AND name = $2";
        self.products(tx, hidden, values![project, name.as_str()]).await
    }

    /// Something of these images that has nothing to do with their names.
    pub(super) fn only(images: impl IntoIterator<Item = i64>) -> Self {
        Self { images: images.into_iter().collect(), ..Self::default() }
    }

    async fn products(&mut self, tx: &mut Tx, sql: impl Into<Sql>, values: Vec<Value>) -> Result<(), CatalogError> {
        for row in tx.rows(sql, values).await? {
            self.products.insert(row.int(0)?);
        }
        Ok(())
    }

    /// Brings the records and terms of all of them up to their rows.
    pub(super) async fn write(mut self, tx: &mut Tx) -> Result<(), CatalogError> {
        let products: Vec<i64> = self.products.iter().copied().collect();
        for batch in Batch::of(&products) {
            let mut values = values![];
            let list = batch.bind(&mut values);
            let sql = format!("SELECT r.image_id FROM image_records r WHERE r.leads IN ({list})");
            for row in tx.rows(sql, values).await? {
                self.images.insert(row.int(0)?);
            }
        }
        for some in products.chunks(PAGE) {
            let newest = newest_of_each(&tx.each("$1"));
            for row in tx.rows(newest, values![rows::to_json(&some)?]).await? {
                for column in 0..4 {
                    self.images.extend(row.opt_int(column)?);
                }
            }
        }
        let images: Vec<i64> = self.images.into_iter().collect();
        for page in images.chunks(PAGE) {
            write(tx, page).await?;
        }
        Ok(())
    }
}

/// The images that have to show names of each of the products that a subselect gives: the newest ones of each type, of all and of the public ones.
fn newest_of_each(products: &str) -> String {
    let newest = |image_type: &str, public: &str| {
        format!(
            "(SELECT i.id FROM images i WHERE i.product_id = e.value AND i.image_type = '{image_type}'{public} \
             ORDER BY i.version DESC, i.preference DESC, i.fingerprint DESC LIMIT 1)"
        )
    };
    let of = |image_type| format!("{}, {}", newest(image_type, ""), newest(image_type, " AND i.public = 1"));
    format!("SELECT {}, {} FROM ({products}) e", of("container"), of("virtual-machine"))
}

/// Makes the records of a catalog that has none yet.
pub(super) async fn fill(tx: &mut Tx) -> Result<(), CatalogError> {
    let mut after = 0;
    loop {
        let sql = "SELECT id FROM images WHERE id > $1 ORDER BY id LIMIT $2";
        let found = tx.rows(sql, values![after, rows::limit(PAGE)]).await?;
        let ids = found.iter().map(|row| row.int(0)).collect::<Result<Vec<_>, _>>()?;
        let Some(last) = ids.last() else { return Ok(()) };
        after = *last;
        write(tx, &ids).await?;
    }
}

/// Takes the terms of an image away that is about to be deleted. Its record goes with it.
pub(super) async fn forget(tx: &mut Tx, project: i64, image: i64) -> Result<(), CatalogError> {
    if let Some(old) = old(tx, &[image]).await?.remove(&image) {
        change_terms(tx, image, &terms(project, &old.object)?, &Terms::new()).await?;
    }
    Ok(())
}

/// A record, as it is kept.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    /// The product whose names the image shows, to whomever.
    leads: Option<i64>,
    object: String,
    names: String,
    names_public: String,
}

impl Record {
    /// The columns that a statement writes.
    fn values(self, image: i64) -> Vec<Value> {
        let size = rows::limit(self.object.len() + self.names.len().max(self.names_public.len()));
        values![image, self.leads, size, self.object, self.names, self.names_public]
    }
}

async fn old(tx: &mut Tx, images: &[i64]) -> Result<HashMap<i64, Record>, CatalogError> {
    let mut found = HashMap::new();
    for batch in Batch::of(images) {
        let mut values = values![];
        let list = batch.bind(&mut values);
        let sql = format!(
            "SELECT image_id, leads, object, names, names_public FROM image_records WHERE image_id IN ({list})"
        );
        for row in tx.rows(sql, values).await? {
            let (object, names, names_public) = (row.text(2)?, row.text(3)?, row.text(4)?);
            found.insert(row.int(0)?, Record { leads: row.opt_int(1)?, object, names, names_public });
        }
    }
    Ok(found)
}

/// Writes the records of these images, as far as they exist, and changes their terms.
async fn write(tx: &mut Tx, images: &[i64]) -> Result<(), CatalogError> {
    let mut before = old(tx, images).await?;
    let mut new = Vec::new();
    for (row, record) in rendered(tx, images).await? {
        let Some(old) = before.remove(&row.id) else {
            new.push((row, record));
            continue;
        };
        if old == record {
            continue;
        }
        if old.object != record.object {
            let (had, has) = (terms(row.project, &old.object)?, terms(row.project, &record.object)?);
            change_terms(tx, row.id, &had, &has).await?;
        }
        let sql = "UPDATE image_records SET leads = $2, size = $3, object = $4, names = $5, names_public = $6 \
             WHERE image_id = $1";
        tx.execute(sql, record.values(row.id)).await?;
    }
    add(tx, new).await
}

/// Writes the records of images that have none, and their terms: in a few statements for all of them.
async fn add(tx: &mut Tx, new: Vec<(ImageRow, Record)>) -> Result<(), CatalogError> {
    if new.is_empty() {
        return Ok(());
    }
    let (mut pairs, mut words) = (Vec::new(), BTreeSet::new());
    for (row, record) in &new {
        for (term, word) in terms(row.project, &record.object)? {
            pairs.push([term, row.id]);
            words.extend(word);
        }
    }
    let sql = format!("INSERT INTO image_terms (term, image_id) SELECT t.one, t.two FROM ({}) t", tx.each_pair("$1"));
    tx.execute(sql, values![rows::to_json(&pairs)?]).await?;
    list_words(tx, words).await?;
    let places: Vec<i64> = new.iter().map(|(row, _)| place(row.project, &row.image.fingerprint)).collect();
    let mut taken = BTreeSet::new();
    for batch in Batch::of(&places) {
        let mut values = values![];
        let list = batch.bind(&mut values);
        for row in tx.rows(format!("SELECT r.place FROM image_records r WHERE r.place IN ({list})"), values).await? {
            taken.insert(row.int(0)?);
        }
    }
    let (mut ids, mut rows) = (Vec::new(), Vec::new());
    for ((row, record), place) in new.into_iter().zip(places) {
        // Beside the records with the nearest fingerprints in its project, because lists read them in this order. Where there is one already, which
        // takes two images that begin with the same 48 bits, it lies elsewhere and is found as well.
        let place = if taken.insert(place) { place } else { -row.id };
        ids.push(row.id);
        let mut values = record.values(row.id);
        values.push(place.into());
        rows.push(values);
    }
    let head = "INSERT INTO image_records (image_id, leads, size, object, names, names_public, place)";
    tx.insert(head, rows, "").await?;
    let sql = format!(
        "UPDATE images SET record = (SELECT r.place FROM image_records r WHERE r.image_id = images.id) WHERE id IN ({})",
        tx.each("$1")
    );
    tx.execute(sql, values![rows::to_json(&ids)?]).await?;
    Ok(())
}

/// 15 bits of the project, then 48 of the fingerprint: a number whose order is that of the fingerprints.
fn place(project: i64, fingerprint: &Fingerprint) -> i64 {
    let [a, b, c, d, e, f, ..] = *fingerprint.as_bytes();
    (project & 0x7fff) << 48 | i64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// The records that these images should have.
async fn rendered(tx: &mut Tx, images: &[i64]) -> Result<Vec<(ImageRow, Record)>, CatalogError> {
    let mut by_project: BTreeMap<i64, Vec<ImageRow>> = BTreeMap::new();
    for batch in Batch::of(images) {
        let mut values = values![];
        let tail = format!(" WHERE i.id IN ({})", batch.bind(&mut values));
        for row in rows::images(tx, &tail, values).await? {
            by_project.entry(row.project).or_default().push(row);
        }
    }
    let mut records = Vec::new();
    for (project, page) in by_project {
        let all = names::of(tx, Sight { project, private: true }, &page).await?;
        let public = names::of(tx, Sight { project, private: false }, &page).await?;
        for (row, (all, public)) in page.into_iter().zip(all.into_iter().zip(public)) {
            let record = render(&row, &all, &public)?;
            records.push((row, record));
        }
    }
    Ok(records)
}

fn render(row: &ImageRow, all: &Names, public: &Names) -> Result<Record, CatalogError> {
    let product = row.place.as_ref().map(|(product, _)| *product);
    let is_public = row.image.public;
    Ok(Record {
        leads: product.filter(|_| all.newest || public.newest && is_public),
        object: record::open(&row.image).map_err(unwritable)?,
        names: aliases(&all.aliases)?,
        names_public: if is_public { aliases(&public.aliases)? } else { String::new() },
    })
}

fn aliases(names: &[ImageAlias]) -> Result<String, CatalogError> {
    let names = names.iter().map(|alias| AliasName { name: alias.name.as_str(), description: &alias.description });
    record::aliases(&names.collect::<Vec<_>>()).map_err(unwritable)
}

fn unwritable(why: serde_json::Error) -> CatalogError {
    CatalogError::Corrupt(why.to_string())
}

/// What an index has of an image: its terms, each with the word that it is made of, if words like it are listed.
type Terms = BTreeMap<i64, Option<Word>>;

/// A field of a project, and the folded text as a database can hold it ([`written`]).
type Word = (i64, String);

/// A text as it stands in a JSON string: databases cannot hold a NUL. What begins like another text does so written, too.
pub(super) fn written(text: &str) -> Result<String, CatalogError> {
    let quoted = rows::to_json(&text)?;
    Ok(quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(&quoted).to_owned())
}

/// The text that was [`written`] so.
pub(super) fn read(written: &str) -> Result<String, CatalogError> {
    rows::from_json(&format!("\"{written}\""))
}

async fn change_terms(tx: &mut Tx, image: i64, old: &Terms, new: &Terms) -> Result<(), CatalogError> {
    let list =
        |terms: &Terms| (!terms.is_empty()).then(|| rows::to_json(&terms.keys().collect::<Vec<_>>())).transpose();
    let without = |terms: &Terms, others: &Terms| -> Terms {
        let left = terms.iter().filter(|(term, _)| !others.contains_key(term));
        left.map(|(term, word)| (*term, word.clone())).collect()
    };
    let (gone, came) = (without(old, new), without(new, old));
    if let Some(list) = list(&gone)? {
        let sql = format!("DELETE FROM image_terms WHERE image_id = $1 AND term IN ({})", tx.each("$2"));
        tx.execute(sql, values![image, list.as_str()]).await?;
        forget_words(tx, &gone, list).await?;
    }
    if let Some(list) = list(&came)? {
        let sql = format!("INSERT INTO image_terms (term, image_id) SELECT t.value, $1 FROM ({}) t", tx.each("$2"));
        tx.execute(sql, values![image, list]).await?;
        list_words(tx, came.into_values().flatten().collect()).await?;
    }
    Ok(())
}

/// Words that are written in one statement: so many, or fewer.
const WORDS_AT_ONCE: usize = 64;

/// Lists these words, as far as they are not.
async fn list_words(tx: &mut Tx, words: BTreeSet<Word>) -> Result<(), CatalogError> {
    let words: Vec<Word> = words.into_iter().collect();
    for some in words.chunks(WORDS_AT_ONCE) {
        let values = some.iter().flat_map(|(field, value)| values![*field, value.as_str()]).collect();
        let rows: Vec<String> = (0..some.len()).map(|row| format!("(${}, ${})", row * 2 + 1, row * 2 + 2)).collect();
        let sql = format!("INSERT INTO words (field, value) VALUES {} ON CONFLICT DO NOTHING", rows.join(", "));
        tx.execute(sql, values).await?;
    }
    Ok(())
}

/// Takes those of these words away that no image has any more; `list` is their terms.
async fn forget_words(tx: &mut Tx, words: &Terms, list: String) -> Result<(), CatalogError> {
    let unused = format!(
        "SELECT t.value FROM ({}) t WHERE NOT EXISTS (SELECT 1 FROM image_terms i WHERE i.term = t.value)",
        tx.each("$1")
    );
    for row in tx.rows(unused, values![list]).await? {
        if let Some(Some((field, value))) = words.get(&row.int(0)?) {
            let sql = "DELETE FROM words WHERE field = $1 AND value = $2";
            tx.execute(sql, values![*field, value.as_str()]).await?;
        }
    }
    Ok(())
}

/// Lists the words of a catalog that has records already.
pub(super) async fn fill_words(tx: &mut Tx) -> Result<(), CatalogError> {
    let mut after = 0;
    loop {
        let sql = "SELECT r.image_id, i.project_id, r.object FROM image_records r JOIN images i ON i.id = r.image_id \
             WHERE r.image_id > $1 ORDER BY r.image_id LIMIT $2";
        let page = tx.rows(sql, values![after, rows::limit(PAGE)]).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.int(0)?;
        let mut words = BTreeSet::new();
        for row in &page {
            words.extend(terms(row.int(1)?, &row.text(2)?)?.into_values().flatten());
        }
        list_words(tx, words).await?;
    }
}

/// The terms of a record's object.
fn terms(project: i64, object: &str) -> Result<Terms, CatalogError> {
    let whole = record::whole(object, "", "").map_err(unwritable)?;
    let fields = Fields::parse(&whole).map_err(unwritable)?;
    let one = |term: &Term<'_>| {
        let word = is_listed(term.value()).then(|| written(term.value())).transpose()?;
        Ok((self::term(project, term), word.map(|word| (field(project, term.field()), word))))
    };
    fields.terms().iter().map(one).collect()
}

/// A field as its words are listed under it.
pub(super) fn field(project: i64, field: &str) -> i64 {
    term(project, &Term::new(field, ""))
}

/// A term as it is indexed: 64 bits of a hash, which take a tenth of the room of the words. Two words that share them lead to
/// images that do not pass, and are found out when these are looked at.
pub(super) fn term(project: i64, term: &Term<'_>) -> i64 {
    let mut hash = Sha256::new();
    hash.update(project.to_be_bytes());
    hash.update((term.field().len() as u64).to_be_bytes());
    hash.update(term.field());
    hash.update(term.value());
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hash.finalize());
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}
