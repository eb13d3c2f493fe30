//! Lists of images of any length, as text that is ready to be sent.
//!
//! A page is one row of one statement: the database joins the texts of [`super::records`] itself, and nothing is parsed or written
//! here. Before a long one it is asked how many bytes that would be. Between two pages nothing is held, neither a transaction nor a connection. With a filter, the images are looked at one by one; which
//! ones, the rarest of the terms decides that all who pass have ([`Filter::needed`]), or it is all of them.

use std::collections::BTreeMap;

use headwater_formats::digest::FingerprintPrefix;
use headwater_formats::filter::{Filter, Like, Needed, Term};
use headwater_formats::lxd::record::{self, Fields};
use headwater_formats::names::ProjectName;

use super::engine::{Batch, Row, Tx, Value, values};
use super::sight::{Sight, sight};
use super::{Catalog, CatalogError, Found, records, rows};
use crate::auth::Viewer;

/// Bytes of text in a page, or up to twice as many where that is quicker; the last image of a page may reach beyond.
const PAGE_BYTES: i64 = 256 * 1024;
/// Most images in a page.
const PAGE: i64 = 512;
/// Most images in a page of fingerprints alone.
const PAGE_OF_FINGERPRINTS: i64 = 2048;
/// Images in the first page.
const FIRST: i64 = 256;
/// Images of a page of those that were looked up one by one.
const LOOKED_UP: usize = 64;
/// How many images an index may name to be worth asking: beyond that, all images are looked at in their order.
const MOST_CANDIDATES: i64 = 16_384;
/// So many terms of which an image needs one are looked up for each candidate.
const FEW_TERMS: usize = 8;
/// From so many candidates on, it is counted how many images between the first and the last of them have another term: what was published
/// together lies together.
const MANY: i64 = 32;

/// How many words are looked at to find those that are like a pattern.
const MOST_WORDS: i64 = 4096;
/// How many words may be like it to be looked up, each for itself.
const MOST_ALIKE: usize = 128;

/// What stands in a list for each image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// Its object of the LXD API, in JSON.
    Object,
    /// Its fingerprint between these two texts.
    Fingerprint {
        /// What stands before it.
        before: String,
        /// What stands behind it.
        after: String,
    },
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage {
    /// What stands for each image, with commas between; may be empty.
    pub text: String,
    /// Whether there may be more.
    pub more: bool,
}

/// One image, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageText {
    /// Its object of the LXD API, in JSON.
    pub json: String,
}

/// A list on its way: the images of a project that a viewer sees and a filter lets pass, in the order of their fingerprints. What
/// changes while it is read may show or not; no image is there twice, and none is left out that was there all the time.
#[derive(Debug)]
pub struct ImageList {
    catalog: Catalog,
    viewer: Viewer,
    project: ProjectName,
    filter: Filter,
    form: Form,
    /// The last fingerprint that was read.
    after: String,
    source: Source,
    /// Most images in the next page.
    limit: i64,
}

#[derive(Debug)]
enum Source {
    /// Not looked into yet.
    Unknown,
    /// All images of the project.
    All,
    /// These images, by fingerprint and number, the next one last.
    These(Vec<(String, i64)>),
}

/// What one statement gives.
struct Joined {
    text: Option<String>,
    count: i64,
    last: Option<String>,
    /// Whether the project is there.
    known: bool,
    bytes: i64,
}

impl Catalog {
    /// Begins a list of the images of a project; nothing is read before the first page is asked for.
    pub fn image_list(&self, viewer: &Viewer, project: &ProjectName, filter: Filter, form: Form) -> ImageList {
        ImageList {
            catalog: self.clone(),
            viewer: viewer.clone(),
            project: project.clone(),
            filter,
            form,
            after: String::new(),
            source: Source::Unknown,
            limit: FIRST,
        }
    }

    /// The image whose fingerprint begins with this prefix, among those that the viewer may see in the project: as
    /// [`Catalog::image`], in one statement.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], also for a project in which the viewer may see nothing.
    pub async fn image_text(
        &self,
        viewer: &Viewer,
        project: &ProjectName,
        prefix: &FingerprintPrefix,
    ) -> Result<Found<ImageText>, CatalogError> {
        let private = viewer.sees_private_in(project);
        let sql = format!(
            "SELECT r.object, {} FROM images i JOIN image_records r ON r.place = i.record \
             WHERE i.project_id = (SELECT id FROM projects WHERE name = $1) \
             AND i.fingerprint >= $2 AND i.fingerprint < $3{} ORDER BY i.fingerprint LIMIT 2",
            names(private),
            Sight { project: 0, private }.and_visible("i")
        );
        let (from, to) = (prefix.as_str().to_owned(), format!("{prefix}g"));
        let mut found = self.engine.fetch(sql, values![project.as_str(), from, to]).await?;
        match (found.pop(), found.pop()) {
            (None, _) => {
                let mut tx = self.engine.read().await?;
                sight(&mut tx, viewer, project).await?;
                Ok(Found::Nothing)
            }
            (Some(row), None) => {
                let json = record::whole(&row.text(0)?, &row.text(1)?, project.as_str()).map_err(unreadable)?;
                Ok(Found::One(ImageText { json }))
            }
            (Some(_), Some(_)) => Ok(Found::Several),
        }
    }
}

impl ImageText {
    /// What an `ETag` is made of, and all that filters know.
    ///
    /// # Errors
    /// [`CatalogError::Corrupt`].
    pub fn fields(&self) -> Result<Fields<'_>, CatalogError> {
        Fields::parse(&self.json).map_err(unreadable)
    }
}

impl ImageList {
    /// The project that is listed.
    pub fn project(&self) -> &ProjectName {
        &self.project
    }

    /// The next page. After one that says that there is no more, there is none.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], also for a project in which the viewer may see nothing.
    pub async fn next(&mut self) -> Result<ListPage, CatalogError> {
        if let Source::Unknown = self.source {
            self.source = self.plan().await?;
        }
        let batch: Vec<(String, i64)> = match &mut self.source {
            Source::These(left) => left.split_off(left.len().saturating_sub(LOOKED_UP)),
            _ => Vec::new(),
        };
        if let (Source::These(_), true) = (&self.source, batch.is_empty()) {
            return Ok(ListPage { text: String::new(), more: false });
        }
        let first = self.after.is_empty();
        let joined = self.join(&batch).await?;
        if !joined.known {
            return Err(CatalogError::NoProject(self.project.as_str().to_owned()));
        }
        if first && joined.count == 0 {
            // Who sees nothing in it must not learn that there is such a project.
            let mut tx = self.catalog.engine.read().await?;
            sight(&mut tx, &self.viewer, &self.project).await?;
        }
        let full = joined.count >= self.limit || joined.bytes >= PAGE_BYTES;
        let more = match &mut self.source {
            Source::These(left) => {
                if full {
                    let after = joined.last.as_deref().unwrap_or_default();
                    left.extend(batch.into_iter().filter(|(fingerprint, _)| fingerprint.as_str() > after));
                }
                !left.is_empty()
            }
            _ => full,
        };
        // Large objects make for short pages: then fewer are looked at for the next one.
        let most = if self.whole() { PAGE } else { PAGE_OF_FINGERPRINTS };
        self.limit = if joined.bytes >= PAGE_BYTES { (joined.count * 2).clamp(1, most) } else { most };
        self.after = joined.last.unwrap_or(std::mem::take(&mut self.after));
        let text = match joined.text {
            Some(text) if self.filter.is_everything() => self.ended(text)?,
            Some(text) => self.passing(&text)?,
            None => String::new(),
        };
        Ok(ListPage { text, more })
    }

    /// Whether objects are read, to be sent or to be looked at.
    fn whole(&self) -> bool {
        !self.filter.is_everything() || self.form == Form::Object
    }

    /// Where the images come from.
    async fn plan(&self) -> Result<Source, CatalogError> {
        let needed = self.filter.needed();
        if needed.is_empty() {
            return Ok(Source::All);
        }
        let mut tx = self.catalog.engine.read().await?;
        let sight = sight(&mut tx, &self.viewer, &self.project).await?;
        let needed = spelled_out(&mut tx, sight, needed).await?;
        if needed.iter().any(Vec::is_empty) {
            return Ok(Source::These(Vec::new()));
        }
        let Some(rarest) = rarest(&mut tx, sight, &needed).await? else { return Ok(Source::All) };
        let found = candidates(&mut tx, sight, &needed, rarest).await?;
        tx.commit().await?;
        Ok(Source::These(found.into_iter().rev().collect()))
    }

    /// Reads a page after the last one; of these images only, when there are some.
    async fn join(&self, only: &[(String, i64)]) -> Result<Joined, CatalogError> {
        let private = self.viewer.sees_private_in(&self.project);
        let mut values = values![self.project.as_str(), self.after.as_str(), self.limit];
        let (text, size) = match self.whole() {
            true => (format!("r.object || r.{}", names(private)), "r.size"),
            false => ("i.fingerprint".to_owned(), "64"),
        };
        let numbers: Vec<i64> = only.iter().map(|(_, number)| *number).collect();
        let (from, only) = match (Batch::of(&numbers).next(), only.first()) {
            (Some(batch), Some((last, _))) => {
                // By their numbers, in this order, because images that were published together lie together. A number may have come to be
                // another image's since it was looked up: that one is listed if it passes, but not out of its turn.
                values.push(Value::from(last.as_str()));
                let last = values.len();
                let only =
                    format!(" AND i.fingerprint <= ${last} AND r.image_id IN ({}) AND ", batch.bind(&mut values));
                ("image_records r CROSS JOIN images i", format!("i.id = r.image_id{only}"))
            }
            _ if self.whole() => ("images i JOIN image_records r ON r.place = i.record", String::new()),
            _ => ("images i", String::new()),
        };
        let from = format!(
            "FROM {from} WHERE {only}i.project_id = (SELECT id FROM projects WHERE name = $1) AND i.fingerprint > $2{}",
            Sight { project: 0, private }.and_visible("i")
        );
        let is_small = match self.limit > FIRST && numbers.is_empty() {
            true => self.is_small(size, &from, values.clone()).await?,
            false => false,
        };
        values.push(self.between()?.into());
        let between = values.len();
        let page = if is_small {
            format!(
                "(SELECT i.fingerprint, {text} AS text, {size} AS size {from} ORDER BY i.fingerprint LIMIT $3) page"
            )
        } else {
            values.push(PAGE_BYTES.into());
            format!(
                "(SELECT i.fingerprint, {text} AS text, {size} AS size, \
                 SUM({size}) OVER (ORDER BY i.fingerprint ROWS UNBOUNDED PRECEDING) AS upto {from} \
                 ORDER BY i.fingerprint LIMIT $3) page WHERE page.upto - page.size < ${}",
                values.len()
            )
        };
        let sql = format!(
            "SELECT string_agg(page.text, ${between}), COUNT(*), MAX(page.fingerprint), \
             (SELECT id FROM projects WHERE name = $1), CAST(COALESCE(SUM(page.size), 0) AS BIGINT) FROM {page}"
        );
        let found = self.catalog.engine.fetch(sql, values).await?;
        let row = found.first().ok_or_else(|| CatalogError::Corrupt("a page is missing".into()))?;
        Ok(Joined {
            text: row.opt_text(0)?,
            count: row.int(1)?,
            last: row.opt_text(2)?,
            known: row.opt_int(3)?.is_some(),
            bytes: row.int(4)?,
        })
    }

    /// Whether a page has so few bytes that all of it can be read, which most often is so. Else its images are counted up one by one, for which they are
    /// written down twice.
    async fn is_small(&self, size: &str, from: &str, values: Vec<Value>) -> Result<bool, CatalogError> {
        let sql = format!(
            "SELECT CAST(COALESCE(SUM(page.size), 0) AS BIGINT) FROM (SELECT {size} AS size {from} ORDER BY i.fingerprint LIMIT $3) page"
        );
        let found = self.catalog.engine.fetch(sql, values).await?;
        Ok(found.first().map(|row| row.int(0)).transpose()?.unwrap_or_default() <= 2 * PAGE_BYTES)
    }

    /// What stands between two images as they are read: where they have to be looked at, a line each.
    fn between(&self) -> Result<String, CatalogError> {
        let close = record::close(self.project.as_str()).map_err(unreadable)?;
        Ok(match (&self.form, self.filter.is_everything()) {
            (_, false) => format!("{close}\n"),
            (Form::Object, true) => format!("{close},"),
            (Form::Fingerprint { before, after }, true) => format!("{after},{before}"),
        })
    }

    /// A page of which all are sent, with its ends.
    fn ended(&self, mut text: String) -> Result<String, CatalogError> {
        match &self.form {
            Form::Object => {
                text.push_str(&record::close(self.project.as_str()).map_err(unreadable)?);
                Ok(text)
            }
            Form::Fingerprint { before, after } => Ok(format!("{before}{text}{after}")),
        }
    }

    /// Those of a page that pass.
    fn passing(&self, page: &str) -> Result<String, CatalogError> {
        let mut lines: Vec<&str> = page.split('\n').collect();
        let last = lines.pop().unwrap_or_default();
        let last = [last, &record::close(self.project.as_str()).map_err(unreadable)?].concat();
        let mut text = String::new();
        for line in lines.into_iter().chain([last.as_str()]) {
            let fields = Fields::parse(line).map_err(unreadable)?;
            if !self.filter.matches(|field| fields.field(self.project.as_str(), field)) {
                continue;
            }
            if !text.is_empty() {
                text.push(',');
            }
            match &self.form {
                Form::Object => text.push_str(line),
                Form::Fingerprint { before, after } => {
                    text.extend([before.as_str(), fields.fingerprint(), after.as_str()]);
                }
            }
        }
        Ok(text)
    }
}

/// The column with the aliases that a viewer sees.
fn names(private: bool) -> &'static str {
    if private { "names" } else { "names_public" }
}

fn unreadable(why: serde_json::Error) -> CatalogError {
    CatalogError::Corrupt(why.to_string())
}

/// What is needed, as terms: a pattern is replaced by all that it can match. Where these are too many, nothing is said.
async fn spelled_out<'a>(
    tx: &mut Tx,
    sight: Sight,
    needed: Vec<Vec<Needed<'a>>>,
) -> Result<Vec<Vec<Term<'a>>>, CatalogError> {
    let mut spelled = Vec::new();
    'each: for one in needed {
        let mut terms = Vec::new();
        for needed in one {
            match needed {
                Needed::Term(term) => terms.push(term),
                Needed::Like(like) => match words(tx, sight, &like).await? {
                    Some(found) => terms.extend(found),
                    None => continue 'each,
                },
            }
        }
        spelled.push(terms);
    }
    Ok(spelled)
}

/// The terms of a field that can match a pattern; `None` when many words have to be looked at, or can match.
async fn words<'a>(tx: &mut Tx, sight: Sight, like: &Like<'a>) -> Result<Option<Vec<Term<'a>>>, CatalogError> {
    let prefix = records::written(like.prefix())?;
    // Written, it is ASCII without control characters, so that there is one after its last.
    let end = prefix.char_indices().next_back().map(|(at, last)| {
        let next = char::from_u32(u32::from(last) + 1).unwrap_or(char::MAX);
        format!("{}{next}", &prefix[..at])
    });
    let mut values = values![records::field(sight.project, like.field()), prefix, MOST_WORDS + 1];
    let before = if end.is_some() { " AND value < $4" } else { "" };
    values.extend(end.map(Value::from));
    let sql = format!("SELECT value FROM words WHERE field = $1 AND value >= $2{before} ORDER BY value LIMIT $3");
    let found = tx.rows(sql, values).await?;
    if found.len() as i64 > MOST_WORDS {
        return Ok(None);
    }
    let mut terms = Vec::new();
    for row in found {
        let value = records::read(&row.text(0)?)?;
        if like.allows(&value) {
            terms.push(Term::new(like.field(), &value));
        }
    }
    Ok((terms.len() <= MOST_ALIKE).then_some(terms))
}

/// A list of terms of which an image needs one, and about how many have one of them.
struct Rarest {
    place: usize,
    number: i64,
}

/// Which of these lists has the terms that the fewest images have; `None` when so many have them that looking at all images is no more work.
async fn rarest(tx: &mut Tx, sight: Sight, needed: &[Vec<Term<'_>>]) -> Result<Option<Rarest>, CatalogError> {
    // First a little is counted of each, so that what is common costs nothing where something is rare.
    for most in [MOST_CANDIDATES / 256, MOST_CANDIDATES / 16, MOST_CANDIDATES] {
        let numbers = counts(tx, sight, needed, most + 1, None).await?;
        let fewest = numbers.into_iter().enumerate().min_by_key(|(_, number)| *number);
        if let Some((place, number)) = fewest.filter(|(_, number)| *number <= most) {
            return Ok(Some(Rarest { place, number }));
        }
    }
    Ok(None)
}

/// How many images have one of the terms of each list, each counted up to `most`; only those [`BETWEEN`] others, when a term of them is given. Such that the viewer
/// does not see count, too, and one with several of the terms counts several times: it is about the work.
async fn counts(
    tx: &mut Tx,
    sight: Sight,
    needed: &[Vec<Term<'_>>],
    most: i64,
    between: Option<&Term<'_>>,
) -> Result<Vec<i64>, CatalogError> {
    let mut numbers = Vec::new();
    // One statement for all that are usual.
    for lists in needed.chunks(8) {
        let mut values = values![most];
        let within = match between {
            Some(term) => {
                values.extend(values![records::term(sight.project, term)]);
                format!(" AND {BETWEEN}")
            }
            None => String::new(),
        };
        let mut columns = Vec::new();
        for terms in lists {
            let terms: Vec<i64> = terms.iter().map(|term| records::term(sight.project, term)).collect();
            let mut batches = Vec::new();
            for batch in Batch::of(&terms) {
                let one_of = batch.bind(&mut values);
                batches.push(format!(
                    "(SELECT COUNT(*) FROM (SELECT 1 FROM image_terms WHERE term IN ({one_of}){within} LIMIT $1) t)"
                ));
            }
            columns.push(batches.join(" + "));
        }
        let row = tx.row(format!("SELECT {}", columns.join(", ")), values).await?;
        let row = row.ok_or_else(|| CatalogError::Corrupt("a count is missing".into()))?;
        for column in 0..columns.len() {
            numbers.push(row.int(column)?);
        }
    }
    Ok(numbers)
}

/// The condition that an image lies between the first and the last that have the term `$2`.
const BETWEEN: &str = "image_id BETWEEN (SELECT MIN(image_id) FROM image_terms WHERE term = $2) \
     AND (SELECT MAX(image_id) FROM image_terms WHERE term = $2)";

/// The visible images that have one of the terms of the rarest list, and one of each other list that is short: fingerprints and numbers.
async fn candidates(
    tx: &mut Tx,
    sight: Sight,
    needed: &[Vec<Term<'_>>],
    rarest: Rarest,
) -> Result<BTreeMap<String, i64>, CatalogError> {
    let (mut first, mut between) = (rarest.place, None);
    if let ([term], true, true) = (&needed[first][..], rarest.number >= MANY, needed.len() > 1) {
        let numbers = counts(tx, sight, needed, rarest.number, Some(term)).await?;
        let fewest = numbers.into_iter().enumerate().min_by_key(|(_, number)| *number);
        if let Some((place, _)) = fewest.filter(|(place, number)| *place != first && *number < rarest.number) {
            (first, between) = (place, Some(term));
        }
    }
    let others = || needed.iter().enumerate().filter(|(place, terms)| *place != first && terms.len() <= FEW_TERMS);
    let mut found = BTreeMap::new();
    for term in &needed[first] {
        let mut values = values![records::term(sight.project, term)];
        let mut also = String::new();
        if let Some(term) = between {
            values.extend(values![records::term(sight.project, term)]);
            also.push_str(&format!(" AND t.{BETWEEN}"));
        }
        for (_, terms) in others() {
            let mut list = Vec::new();
            for term in terms {
                values.extend(values![records::term(sight.project, term)]);
                list.push(format!("${}", values.len()));
            }
            // A look at an index is much less than to read the image and ask the filter.
            also.push_str(&format!(
                " AND EXISTS (SELECT 1 FROM image_terms o WHERE o.term IN ({}) AND o.image_id = t.image_id)",
                list.join(", ")
            ));
        }
        // Joined in this order, because there are few terms and many images.
        let sql = format!(
            "SELECT string_agg(i.fingerprint || ' ' || i.id, ',') FROM image_terms t CROSS JOIN images i \
             WHERE t.term = $1{also} AND i.id = t.image_id{}",
            sight.and_visible("i")
        );
        let row = tx.row(sql, values).await?;
        let list = row.map(|row: Row| row.opt_text(0)).transpose()?.flatten().unwrap_or_default();
        for one in list.split(',').filter(|one| !one.is_empty()) {
            let (fingerprint, number) = one.split_once(' ').unwrap_or_default();
            found.insert(fingerprint.to_owned(), rows::parse("an image's number", number)?);
        }
    }
    Ok(found)
}
