//! What is taken of a stream: filters in the words that operators of streams know, and in our own.
//!
//! ```
//! use headwater_formats::simplestreams::select::Selection;
//!
//! let selection: Selection = "os=ubuntu arch=amd64,arm64 release~(jammy|noble) ftype!=root.tar.xz".parse().unwrap();
//! assert_eq!(selection.to_string(), "arch=amd64,arm64 os=ubuntu ftype!=root.tar.xz release~(jammy|noble)");
//! let error = "release~(jammy".parse::<Selection>().unwrap_err().to_string();
//! assert!(error.starts_with("the filter \"release~(jammy\" is no regular expression"), "{error}");
//! ```
//!
//! A filter is `key=value`, `key!=value`, `key~regex` or `key!~regex` (python-simplestreams `filters.py` `ItemFilter`), and a file passes when
//! all of them let it. The key is a field of the file, or of its version, product or document, the nearest one; or `product_name`,
//! `version_name`, `item_name`. A field that is missing is empty text, truth values are `True` and `False`, a regular expression may match
//! anywhere. [`view::KEYS`] with `=` are the filters of [`View`], which list
//! values with commas and know names for the same thing; they are about images.
//!
//! Where it differs from `sstream-mirror`: a metadata file is part of an image, so it comes with the root files that were chosen, unless a filter
//! chose among metadata files, too; and a delta comes with the root file that it makes. Regular expressions are those of the `regex` crate, which take no longer than the text is long.
//!
//! What this module does not know: what is held already, and where files come from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use regex::Regex;
use serde_json::Value;

use super::client::is_metadata;
use super::parse::{Combined, Document, Extra, ItemEntry, ProductEntry, VersionEntry};
use crate::filter::bounded;
use crate::view::{self, View, ViewError};

/// Longest text of a selection, in bytes.
pub const MAX_BYTES: usize = 4096;
/// Most filters on fields.
pub const MAX_FILTERS: usize = 32;

/// Why a text is no selection. The sentence says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// A filter of our own that is wrong.
    #[error(transparent)]
    View(#[from] ViewError),
    /// Neither `=` nor `~` in it, or nothing before it.
    #[error("{0:?} is no filter; write key=value, key!=value, key~regex or key!~regex, for example arch=amd64")]
    NoFilter(String),
    /// The part after `~`.
    #[error("the filter {0:?} is no regular expression that can be used here ({1}); mend it")]
    Regex(String, &'static str),
    /// Over [`MAX_BYTES`].
    #[error("the filters have more than {MAX_BYTES} bytes together; shorten them")]
    TooLong,
    /// Over [`MAX_FILTERS`].
    #[error("there are more than {MAX_FILTERS} filters; join some, as in release~(jammy|noble)")]
    TooMany,
}

/// What is taken of a stream. The default one takes everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// What is said of images and products.
    pub view: View,
    filters: BTreeSet<Filter>,
}

/// `key=value` on a field of a file.
#[derive(Debug, Clone)]
struct Filter {
    key: String,
    negated: bool,
    pattern: Pattern,
    /// As it was written, with the operator.
    text: String,
}

#[derive(Debug, Clone)]
enum Pattern {
    Equal(String),
    Search(Regex),
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Filter {}

impl PartialOrd for Filter {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Filter {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

/// How the `ftype` of a delta ends; before it stands that of the root file that it makes.
const DELTA: &str = ".vcdiff";

impl FromStr for Selection {
    type Err = SelectError;

    /// Reads filters with blanks between them. In ours a blank or a percent sign is escaped as in a path; a regular expression has `\s`.
    fn from_str(text: &str) -> Result<Self, SelectError> {
        if text.len() > MAX_BYTES {
            return Err(SelectError::TooLong);
        }
        let (mut ours, mut filters) = (Vec::new(), BTreeSet::new());
        for word in text.split_whitespace() {
            if word.split_once('=').is_some_and(|(key, _)| view::KEYS.contains(&key)) {
                ours.push(word);
            } else {
                filters.insert(Filter::parse(word)?);
            }
        }
        if filters.len() > MAX_FILTERS {
            return Err(SelectError::TooMany);
        }
        Ok(Self { view: ours.join(" ").parse()?, filters })
    }
}

/// The same selection, however it was written: ours first, each kind in the order of the alphabet.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ours = self.view.words().to_string();
        let words = [ours.as_str()].into_iter().filter(|ours| !ours.is_empty());
        for (position, word) in words.chain(self.filters.iter().map(|filter| filter.text.as_str())).enumerate() {
            f.write_str(if position > 0 { " " } else { "" })?;
            f.write_str(word)?;
        }
        Ok(())
    }
}

impl Filter {
    fn parse(word: &str) -> Result<Self, SelectError> {
        let no_filter = || SelectError::NoFilter(word.chars().take(64).collect());
        let at = word.find(|c: char| !(c.is_alphanumeric() || "_-|".contains(c))).filter(|at| *at > 0);
        let (key, rest) = word.split_at(at.ok_or_else(no_filter)?);
        let (negated, rest) = rest.strip_prefix('!').map_or((false, rest), |rest| (true, rest));
        let pattern = if let Some(value) = rest.strip_prefix('=') {
            Pattern::Equal(value.to_owned())
        } else if let Some(regex) = rest.strip_prefix('~') {
            Pattern::Search(bounded(regex).build().map_err(|error| {
                let why = match error {
                    regex::Error::CompiledTooBig(_) => "it is too large",
                    _ => "a bracket is open, or it looks around",
                };
                SelectError::Regex(word.chars().take(64).collect(), why)
            })?)
        } else {
            return Err(no_filter());
        };
        Ok(Self { key: key.to_owned(), negated, pattern, text: word.to_owned() })
    }

    fn passes(&self, place: &Place<'_>) -> bool {
        let value = place.field(&self.key);
        let matched = match &self.pattern {
            Pattern::Equal(wanted) => *wanted == value,
            Pattern::Search(regex) => regex.is_match(&value),
        };
        matched != self.negated
    }
}

impl Selection {
    /// Whether everything is taken.
    pub fn is_everything(&self) -> bool {
        self.view.is_everything() && self.filters.is_empty()
    }

    /// Whether there are filters on fields, which only documents have.
    pub fn asks_for_fields(&self) -> bool {
        !self.filters.is_empty()
    }

    /// The document without the files that the filters on fields keep out, and without versions and products that are left empty.
    /// What [`Selection::view`] says is about images, and comes after ([`View::narrow`]).
    pub fn narrow(&self, mut document: Document) -> Document {
        let products = std::mem::take(&mut document.products);
        let left = products.into_iter().filter_map(|(key, product)| {
            let product = self.narrow_product(&document, &key, product)?;
            Some((key, product))
        });
        let left = left.collect();
        Document { products: left, ..document }
    }

    /// The same for one product of a document; `None` when it is left empty.
    pub fn narrow_product(&self, document: &Document, key: &str, mut product: ProductEntry) -> Option<ProductEntry> {
        if self.filters.is_empty() {
            return Some(product);
        }
        let mut versions = std::mem::take(&mut product.versions);
        for (version_name, version) in &mut versions {
            let items = std::mem::take(&mut version.items);
            let (mut chosen, mut metadata, mut deltas) = (BTreeMap::new(), Vec::new(), Vec::new());
            for (item_name, item) in items {
                let place = Place {
                    document,
                    product: (key, &product),
                    version: (version_name, version),
                    item: (&item_name, &item),
                };
                let passes = self.filters.iter().all(|filter| filter.passes(&place));
                if is_metadata(&item.ftype) {
                    metadata.push((passes, item_name, item));
                } else if item.ftype.ends_with(DELTA) {
                    deltas.push((item_name, item));
                } else if passes {
                    chosen.insert(item_name, item);
                }
            }
            if !chosen.is_empty() {
                let some = metadata.iter().any(|(passes, ..)| *passes);
                let metadata = metadata.into_iter().filter(|(passes, ..)| *passes || !some);
                let roots: BTreeSet<String> = chosen.values().map(|item| format!("{}{DELTA}", item.ftype)).collect();
                let deltas = deltas.into_iter().filter(|(_, item)| roots.contains(&item.ftype));
                chosen.extend(metadata.map(|(_, name, item)| (name, item)).chain(deltas));
                version.items = chosen;
            }
        }
        versions.retain(|_, version| !version.items.is_empty());
        product.versions = versions;
        (!product.versions.is_empty()).then_some(product)
    }
}

/// A file with all that stands above it.
struct Place<'a> {
    document: &'a Document,
    product: (&'a str, &'a ProductEntry),
    version: (&'a str, &'a VersionEntry),
    item: (&'a str, &'a ItemEntry),
}

impl Place<'_> {
    /// The field of the nearest level that has it (python-simplestreams `util.py` `products_exdata`).
    fn field(&self, key: &str) -> String {
        let item = of_item(self.item.1, key).or_else(|| extra(&self.item.1.extra, key));
        let name = |level: &str, name: &str| (key == level).then(|| name.to_owned());
        item.or_else(|| name("item_name", self.item.0))
            .or_else(|| of_version(self.version.1, key))
            .or_else(|| name("version_name", self.version.0))
            .or_else(|| of_product(self.product.1, key))
            .or_else(|| name("product_name", self.product.0))
            .or_else(|| match key {
                "content_id" => text(&self.document.content_id),
                "datatype" => text(&self.document.datatype),
                _ => extra(&self.document.extra, key),
            })
            .unwrap_or_default()
    }
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn truth(value: bool) -> String {
    if value { "True".to_owned() } else { "False".to_owned() }
}

fn extra(extra: &Extra, key: &str) -> Option<String> {
    match extra.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(truth(*value)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn of_item(item: &ItemEntry, key: &str) -> Option<String> {
    match key {
        "ftype" => text(&item.ftype),
        "path" => item.path.as_ref().map(ToString::to_string),
        "size" => item.size.map(|size| size.to_string()),
        "sha256" => item.sha256.map(|digest| digest.to_string()),
        "delta_base" => text(&item.delta_base),
        "combined_type" => text(&item.combined_type),
        _ => {
            let (kind, _) = Combined::ALL.iter().find(|(_, name)| *name == key)?;
            item.combined.get(kind).map(ToString::to_string)
        }
    }
}

fn of_version(version: &VersionEntry, key: &str) -> Option<String> {
    match key {
        "label" => text(&version.label),
        "pubname" => text(&version.pubname),
        _ => extra(&version.extra, key),
    }
}

fn of_product(product: &ProductEntry, key: &str) -> Option<String> {
    match key {
        "arch" => text(&product.arch),
        "os" => text(&product.os),
        "release" => text(&product.release),
        "release_title" => text(&product.release_title),
        "release_codename" => text(&product.release_codename),
        "version" => text(&product.version),
        "variant" => text(&product.variant),
        "aliases" => text(&product.aliases),
        "support_eol" => text(&product.support_eol),
        "supported" => product.supported.map(truth),
        _ => extra(&product.extra, key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simplestreams::parse;

    const STREAM: &str = r#"{"content_id":"c","region":"eu","products":{
        "ubuntu:22.04:amd64":{"arch":"amd64","os":"ubuntu","release":"jammy","supported":true,"aliases":"22.04,jammy","versions":{
            "20240101":{"label":"release","items":{
                "lxd.tar.xz":{"ftype":"lxd.tar.xz","path":"a"},"incus.tar.xz":{"ftype":"incus.tar.xz","path":"b"},
                "squashfs":{"ftype":"squashfs","path":"c","size":"12"},"disk":{"ftype":"disk-kvm.img","path":"d","cost":1.5}}},
            "20240201":{"label":"daily","items":{
                "lxd.tar.xz":{"ftype":"lxd.tar.xz","path":"e"},"squashfs":{"ftype":"squashfs","path":"f","region":"us"},
                "delta":{"ftype":"squashfs.vcdiff","path":"h","delta_base":"20240101"}}}}},
        "debian:12:arm64":{"arch":"arm64","os":"debian","release":"bookworm","versions":{
            "20240101":{"items":{"u":{"ftype":"lxd_combined.tar.gz","path":"g"}}}}}}}"#;

    /// The paths that are left, as one word.
    fn left(filters: &str) -> String {
        let selection: Selection = filters.parse().unwrap();
        let document = selection.narrow(parse::products(STREAM.as_bytes()).unwrap());
        let versions = document.products.values().flat_map(|product| product.versions.values());
        let mut paths: Vec<_> = versions
            .flat_map(|version| version.items.values().map(|item| item.path.as_ref().unwrap().to_string()))
            .collect();
        paths.sort();
        paths.concat()
    }

    #[test]
    fn fields_of_every_level_are_compared_as_python_does() {
        for (filters, expected) in [
            ("", "abcdefgh"),
            ("ftype=squashfs", "abcefh"),
            ("ftype!=squashfs", "abdg"),
            ("ftype~(squashfs|lxd.tar.xz)", "acefh"),
            ("ftype~squash ftype!~q", ""),
            ("ftype~vcdiff", ""),
            ("label=daily", "efh"),
            ("label=", "g"),
            ("label!=", "abcdefh"),
            ("supported=True", "abcdefh"),
            ("version_name~^202402", "efh"),
            ("product_name~^debian:", "g"),
            ("item_name=disk", "abd"),
            ("release~(jammy|focal)", "abcdefh"),
            ("os!=ubuntu", "g"),
            ("content_id=c region=us", "efh"),
            ("region=eu size=12", "abc"),
            ("cost=1.5", "abd"),
            ("nothing~.", ""),
            ("path~[cf]", "abcefh"),
            ("latest=1 os=debian", "abcdefgh"),
        ] {
            assert_eq!(left(filters), expected, "{filters}");
        }
    }

    #[test]
    fn ours_are_ours_and_both_print_the_same_however_they_were_written() {
        let one: Selection = "latest=2 ftype=squashfs  arch=amd64 b!~x os=Debian".parse().unwrap();
        let other: Selection = "b!~x os=debian arch=x86_64 ftype=squashfs latest=2".parse().unwrap();
        assert_eq!(one, other);
        assert_eq!(one.to_string(), "arch=amd64 latest=2 os=debian b!~x ftype=squashfs");
        assert_eq!(one.to_string().parse::<Selection>().unwrap(), one);
        assert!("".parse::<Selection>().unwrap().is_everything() && !one.is_everything());
    }

    #[test]
    fn what_is_no_filter_is_told() {
        let error = |text: &str| text.parse::<Selection>().unwrap_err().to_string();
        for text in ["ftype", "=x", "~x", "a!x", "!a=b", "a.b=c"] {
            assert!(error(text).starts_with(&format!("{text:?} is no filter; write key=value")), "{text}");
        }
        assert!(error("arch=vax").contains("vax"));
        assert!(error("os=").contains("empty value"));
        assert!(error("os=a os=b").contains("exclude one another"));
        assert!(error("a~(?=b)").ends_with("(a bracket is open, or it looks around); mend it"));
        assert!(error("a~(x{100}){100}").ends_with("(it is too large); mend it"));
        assert_eq!(error(&"a=b ".repeat(2000)), SelectError::TooLong.to_string());
        let many: Vec<String> = (0..=MAX_FILTERS).map(|n| format!("k{n}=v")).collect();
        assert_eq!(error(&many.join(" ")), SelectError::TooMany.to_string());
    }
}
