//! Reads documents of other servers, leniently.
//!
//! ```
//! use headwater_formats::simplestreams::parse;
//!
//! let document = parse::products(br#"{"arch":"amd64","products":{"p":{"os":"Debian","versions":{
//!     "20240101":{"items":{"m":{"ftype":"lxd.tar.xz","size":"812"}}}}}}}"#).unwrap();
//! let product = &document.products["p"];
//! assert_eq!(product.arch, "amd64");
//! assert_eq!(product.versions["20240101"].items["m"].size, Some(812));
//! ```
//!
//! Python's library, which many servers are made with, moves fields that are equal everywhere one level up, keeps a table
//! of abbreviations (`_aliases`), and does not mind numbers written as text. All this is undone here: what is read stands
//! at its own level, with its own type. Fields that are not known are kept as they are, to be given out again.
//!
//! What a document cannot do: name a file outside of its server's folder, or make a small text large in memory. The size of
//! the text itself is limited by who fetches it; nesting ends at 128 levels within a product. Where there are many products,
//! [`Products`] gives one after the other, and what is in memory of all of them is the text.
//!
//! Facts: python-simplestreams `simplestreams/util.py` (`products_exdata`, `expand_tree`), Go clients
//! `shared/simplestreams/products.go`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::client::{is_metadata, is_root};
pub use super::document::{
    Combined, Document, Extra, Index, ItemEntry, PathError, ProductEntry, RelativePath, Stream, VersionEntry,
};
pub use super::products::Products;

/// Most streams in an index.
pub const MAX_STREAMS: usize = 10_000;
/// Most products in a document.
pub const MAX_PRODUCTS: usize = 100_000;
/// Most items in a document, over all products and versions.
pub const MAX_ITEMS: usize = 1_000_000;
/// Most pairs of metadata files and root files within versions, over the whole document: clients make an image of each.
pub const MAX_PAIRS: usize = 1_000_000;
/// Most bytes that fields moved up and abbreviations may add to a document.
pub const MAX_EXPANSION: usize = 64 << 20;

/// Why a document cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The text is no JSON, or no UTF-8, or nested too deeply.
    #[error("the document is no valid JSON: {0}")]
    Json(String),
    /// The text is clear-signed.
    #[error("the document is signed text; use the address of the plain .json, or remove the signature first")]
    Signed,
    /// A part that must be an object is something else.
    #[error("{0} is no JSON object")]
    NoObject(&'static str),
    /// A path that a client may not follow.
    #[error("{place} names the path {path:?}, which {reason}; it is not followed")]
    Path {
        /// Which stream or item.
        place: String,
        /// The path, shortened.
        path: String,
        /// What is wrong with it.
        reason: PathError,
    },
    /// More parts than the limit.
    #[error("the document has more than {limit} {what}")]
    TooMany {
        /// Streams, products, items.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// [`MAX_EXPANSION`] was reached.
    #[error("the document's shared fields and abbreviations expand to more than {MAX_EXPANSION} bytes")]
    Expansion,
}

/// Reads an index.
pub fn index(text: &[u8]) -> Result<Index, ParseError> {
    let Value::Object(mut top) = json(text)? else { return Err(ParseError::NoObject("the index")) };
    let entries = match top.remove("index") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(entries)) => entries,
        Some(_) => return Err(ParseError::NoObject("\"index\" in the index")),
    };
    if entries.len() > MAX_STREAMS {
        return Err(ParseError::TooMany { what: "streams", limit: MAX_STREAMS });
    }
    let mut streams = BTreeMap::new();
    for (name, entry) in entries {
        let Value::Object(mut entry) = entry else { continue };
        let path = match entry.remove("path").as_ref().and_then(as_text) {
            None => None,
            Some(path) => Some(checked(&path, || format!("the stream {:?}", shorten(&name)))?),
        };
        let products = match entry.remove("products") {
            Some(Value::Array(list)) => list.iter().filter_map(as_text).collect(),
            _ => Vec::new(),
        };
        let datatype = entry.remove("datatype").as_ref().and_then(as_text).unwrap_or_default();
        streams.insert(name, Stream { datatype, path, products, extra: entry.into_iter().collect() });
    }
    Ok(Index { streams })
}

/// Reads a products document. Products, versions and items that are no objects are left out.
pub fn products(text: &[u8]) -> Result<Document, ParseError> {
    let mut products = Products::read(text)?;
    let entries = products.by_ref().collect::<Result<_, _>>()?;
    Ok(Document { products: entries, ..products.head })
}

/// What may still be added while a document is taken apart.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) expansion: usize,
    pub(super) items: usize,
    pub(super) pairs: usize,
}

impl Budget {
    fn expand(&mut self, bytes: usize) -> Result<(), ParseError> {
        self.expansion = self.expansion.checked_sub(bytes).ok_or(ParseError::Expansion)?;
        Ok(())
    }
}

/// The fields of one level, and those of the levels above it, nearest first.
struct Fields<'a> {
    own: Map<String, Value>,
    above: &'a [&'a Map<String, Value>],
}

impl Fields<'_> {
    /// A field of this level, or else of the nearest level that has it.
    fn text(&mut self, key: &str, budget: &mut Budget) -> Result<String, ParseError> {
        if let Some(text) = self.own.remove(key).as_ref().and_then(as_text) {
            return Ok(text);
        }
        let inherited = self.above.iter().find_map(|level| level.get(key).and_then(as_text)).unwrap_or_default();
        budget.expand(inherited.len())?;
        Ok(inherited)
    }

    fn map(&mut self, key: &str) -> Option<BTreeMap<String, String>> {
        match self.own.remove(key)? {
            Value::Object(map) => Some(map.iter().filter_map(|(k, v)| Some((k.clone(), as_text(v)?))).collect()),
            _ => None,
        }
    }

    fn objects(&mut self, key: &str) -> Map<String, Value> {
        match self.own.remove(key) {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        }
    }
}

pub(super) fn product(
    key: &str,
    own: Map<String, Value>,
    top: &Map<String, Value>,
    budget: &mut Budget,
) -> Result<ProductEntry, ParseError> {
    let above = [top];
    let mut fields = Fields { own, above: &above };
    let aliases = match fields.own.get("aliases") {
        Some(Value::Array(list)) => {
            let list = list.iter().filter_map(as_text).collect::<Vec<_>>().join(",");
            fields.own.remove("aliases");
            list
        }
        _ => fields.text("aliases", budget)?,
    };
    let supported = fields.text("supported", budget)?;
    let mut entry = ProductEntry {
        arch: fields.text("arch", budget)?,
        os: fields.text("os", budget)?,
        release: fields.text("release", budget)?,
        release_title: fields.text("release_title", budget)?,
        release_codename: fields.text("release_codename", budget)?,
        version: fields.text("version", budget)?,
        variant: fields.text("variant", budget)?,
        aliases,
        support_eol: fields.text("support_eol", budget)?,
        supported: supported.to_ascii_lowercase().parse().ok(),
        requirements: fields.map("requirements"),
        lxd_requirements: fields.map("lxd_requirements"),
        ..ProductEntry::default()
    };
    let versions = fields.objects("versions");
    for (name, value) in versions {
        if let Value::Object(own) = value {
            let place = (key, name.as_str());
            let version = version(place, own, &[&fields.own, top], budget)?;
            entry.versions.insert(name, version);
        }
    }
    entry.extra = fields.own.into_iter().collect();
    Ok(entry)
}

fn version(
    place: (&str, &str),
    own: Map<String, Value>,
    above: &[&Map<String, Value>; 2],
    budget: &mut Budget,
) -> Result<VersionEntry, ParseError> {
    let mut fields = Fields { own, above };
    let mut entry = VersionEntry {
        label: fields.text("label", budget)?,
        pubname: fields.text("pubname", budget)?,
        ..VersionEntry::default()
    };
    let items = fields.objects("items");
    for (name, value) in items {
        if let Value::Object(own) = value {
            budget.items =
                budget.items.checked_sub(1).ok_or(ParseError::TooMany { what: "items", limit: MAX_ITEMS })?;
            let item = item(place, &name, own, &[&fields.own, above[0], above[1]], budget)?;
            entry.items.insert(name, item);
        }
    }
    let of_kind = |kind: fn(&str) -> bool| entry.items.values().filter(|item| kind(&item.ftype)).count();
    let pairs = of_kind(is_metadata).saturating_mul(of_kind(is_root));
    let too_many = ParseError::TooMany { what: "pairs of metadata and root files", limit: MAX_PAIRS };
    budget.pairs = budget.pairs.checked_sub(pairs).ok_or(too_many)?;
    entry.extra = fields.own.into_iter().collect();
    Ok(entry)
}

fn item(
    (product, version): (&str, &str),
    name: &str,
    own: Map<String, Value>,
    above: &[&Map<String, Value>; 3],
    budget: &mut Budget,
) -> Result<ItemEntry, ParseError> {
    let mut fields = Fields { own, above };
    // These four belong to one file and are never shared.
    let path = match fields.own.remove("path").as_ref().and_then(as_text) {
        None => None,
        Some(path) => Some(checked(&path, || {
            format!("the item {:?} in version {:?} of product {:?}", shorten(name), shorten(version), shorten(product))
        })?),
    };
    let size = fields.own.remove("size").as_ref().and_then(as_size);
    let sha256 = fields.own.remove("sha256").as_ref().and_then(as_text).and_then(|text| hash(&text).parse().ok());
    let mut combined = BTreeMap::new();
    for (kind, key) in Combined::ALL {
        if let Ok(fingerprint) = hash(&fields.text(key, budget)?).parse() {
            combined.insert(kind, fingerprint);
        }
    }
    Ok(ItemEntry {
        ftype: fields.text("ftype", budget)?,
        path,
        size,
        sha256,
        delta_base: fields.text("delta_base", budget)?,
        combined,
        combined_type: fields.text("combined_type", budget)?,
        extra: fields.own.into_iter().collect(),
    })
}

/// Replaces abbreviations: where an object has the field `crsn: "use1"` and the table says `{"crsn": {"use1": {…}}}`,
/// the fields of the last object are added to it.
pub(super) fn expand(value: &mut Value, table: &Map<String, Value>, budget: &mut Budget) -> Result<(), ParseError> {
    match value {
        Value::Object(fields) => {
            for (key, meanings) in table {
                let Some(Value::String(short)) = fields.get(key) else { continue };
                let Some(Value::Object(meaning)) = meanings.get(short) else { continue };
                for (key, value) in meaning {
                    // Only plain values are shared; this is also what keeps the result flat.
                    let bytes = match value {
                        Value::Object(_) | Value::Array(_) => continue,
                        Value::String(text) => text.len(),
                        _ => 0,
                    };
                    budget.expand(key.len() + bytes + size_of::<Value>())?;
                    fields.insert(key.clone(), value.clone());
                }
            }
            fields.values_mut().try_for_each(|value| expand(value, table, budget))
        }
        Value::Array(list) => list.iter_mut().try_for_each(|value| expand(value, table, budget)),
        _ => Ok(()),
    }
}

fn json(text: &[u8]) -> Result<Value, ParseError> {
    is_plain(text)?;
    serde_json::from_slice(text).map_err(|error| ParseError::Json(error.to_string()))
}

/// Clear-signed text is no JSON, and people should hear which address they want.
pub(super) fn is_plain(text: &[u8]) -> Result<(), ParseError> {
    match text.trim_ascii_start().starts_with(b"-----BEGIN PGP SIGNED MESSAGE-----") {
        true => Err(ParseError::Signed),
        false => Ok(()),
    }
}

fn checked(path: &str, place: impl FnOnce() -> String) -> Result<RelativePath, ParseError> {
    RelativePath::new(path).map_err(|reason| ParseError::Path { place: place(), path: shorten(path), reason })
}

fn shorten(text: &str) -> String {
    text.chars().take(128).collect()
}

fn hash(text: &str) -> String {
    if text.len() == 64 { text.to_ascii_lowercase() } else { String::new() }
}

pub(super) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn as_size(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        products(text.as_bytes()).unwrap_err().to_string()
    }

    fn with_path(path: &str) -> String {
        serde_json::json!({"products":{"p":{"versions":{"20240101":{"items":{"i":{"path":path}}}}}}}).to_string()
    }

    #[test]
    fn fields_that_were_moved_up_come_down_again() {
        let document = products(
            br#"{"os":"top","ftype":"squashfs","products":{"p":{"os":"near","label":"beta","sha256":"x","versions":{
                "20240101":{"items":{"a":{},"b":{"ftype":"lxd.tar.xz"}}},
                "20240102":{"label":"release","items":{}}}},"q":{}}}"#,
        )
        .unwrap();
        assert_eq!(document.products["p"].os, "near");
        assert_eq!(document.products["q"].os, "top");
        let versions = &document.products["p"].versions;
        assert_eq!(versions["20240101"].label, "beta");
        assert_eq!(versions["20240102"].label, "release");
        assert_eq!(versions["20240101"].items["a"].ftype, "squashfs");
        assert_eq!(versions["20240101"].items["b"].ftype, "lxd.tar.xz");
        assert_eq!(versions["20240101"].items["a"].sha256, None);
    }

    #[test]
    fn files_that_would_make_images_without_end_are_refused() {
        let items: Map<String, Value> = (0..1001)
            .flat_map(|number| [("lxd.tar.xz", number), ("squashfs", number)])
            .map(|(ftype, number)| (format!("{ftype}{number}"), serde_json::json!({"ftype": ftype})))
            .collect();
        let text = serde_json::json!({"products":{"p":{"versions":{"20240101":{"items":items}}}}}).to_string();
        assert_eq!(error(&text), "the document has more than 1000000 pairs of metadata and root files");
    }

    #[test]
    fn numbers_and_truth_values_may_be_text_and_the_reverse() {
        let document = products(
            br#"{"products":{"p":{"release":24.04,"supported":"True","aliases":["a","b"],
                "requirements":{"secureboot":false,"x":{}},"lxd_requirements":{},"versions":{"20240101":{"items":{
                "a":{"size":"123","sha256":"AB0000000000000000000000000000000000000000000000000000000000CDEF"},
                "b":{"size":-1},"c":{"size":1.5},"d":{"size":"x"}}}}}}}"#,
        )
        .unwrap();
        let product = &document.products["p"];
        assert_eq!((product.release.as_str(), product.aliases.as_str()), ("24.04", "a,b"));
        assert_eq!(product.supported, Some(true));
        assert_eq!(product.requirements, Some([("secureboot".to_owned(), "false".to_owned())].into()));
        assert_eq!(product.lxd_requirements, Some(BTreeMap::new()));
        let items = &product.versions["20240101"].items;
        assert_eq!(items["a"].size, Some(123));
        assert!(items["a"].sha256.is_some());
        assert_eq!([items["b"].size, items["c"].size, items["d"].size], [None, None, None]);
    }

    #[test]
    fn abbreviations_are_spelled_out() {
        let document = products(
            br#"{"_aliases":{"crsn":{"use1":{"region":"us-east-1","os":"Debian"}}},
                "products":{"p":{"crsn":"use1"},"q":{"crsn":"other"}}}"#,
        )
        .unwrap();
        assert_eq!(document.products["p"].os, "Debian");
        assert_eq!(document.products["p"].extra["region"], "us-east-1");
        assert_eq!(document.products["q"].os, "");
        assert!(document.extra.is_empty());
    }

    #[test]
    fn unknown_fields_are_kept_at_their_level() {
        let document = products(
            br#"{"license":"x","products":{"p":{"distro":{"a":[1]},"versions":{"20240101":{"n":1,"items":{"i":{"md5":"z"}}}}}}}"#,
        )
        .unwrap();
        assert_eq!(document.extra["license"], "x");
        let product = &document.products["p"];
        assert_eq!(product.extra["distro"], serde_json::json!({"a":[1]}));
        assert_eq!(product.versions["20240101"].extra["n"], 1);
        assert_eq!(product.versions["20240101"].items["i"].extra["md5"], "z");
    }

    #[test]
    fn parts_that_are_no_objects_are_left_out() {
        let document = products(br#"{"products":{"p":1,"q":{"versions":{"v":"x","w":{"items":{"i":2}}}}}}"#).unwrap();
        assert_eq!(document.products.len(), 1);
        assert_eq!(document.products["q"].versions.len(), 1);
        assert!(document.products["q"].versions["w"].items.is_empty());
        assert!(products(b"{}").unwrap().products.is_empty());
        let index = index(br#"{"index":{"updated":"x","s":{"datatype":"image-ids","path":"a.json"}}}"#).unwrap();
        assert_eq!(index.streams.len(), 1);
        assert_eq!(index.image_streams().count(), 0);
    }

    #[test]
    fn only_image_streams_with_products_are_followed() {
        let index = index(
            br#"{"index":{"a":{"datatype":"image-downloads","path":"streams/v1/a.json","products":["p"]},
                "b":{"datatype":"image-downloads","path":"streams/v1/b.json","products":[]},
                "c":{"datatype":"image-ids","path":"streams/v1/c.json","products":["p"]},
                "d":{"datatype":"image-downloads","products":["p"]}}}"#,
        )
        .unwrap();
        let found: Vec<_> = index.image_streams().map(|(name, path)| (name, path.as_str())).collect();
        assert_eq!(found, [("a", "streams/v1/a.json")]);
    }

    #[test]
    fn a_path_stays_below_its_server() {
        for (path, reason) in [
            ("../x", "leaves its folder"),
            ("a/../../x", "leaves its folder"),
            ("/etc/passwd", "is absolute"),
            ("https://other.example/x", "is an address of its own"),
            ("a\\b", "holds a backslash or a control character"),
            ("a\0b", "holds a backslash or a control character"),
            ("", "names no file"),
            ("a/", "names no file"),
            ("a/.", "names no file"),
            (&"a".repeat(1025), "is longer than 1024 bytes"),
        ] {
            let found = error(&with_path(path));
            assert!(
                found.starts_with("the item \"i\" in version \"20240101\" of product \"p\" names the path \""),
                "{found}"
            );
            assert!(found.ends_with(&format!(", which {reason}; it is not followed")), "{found}");
        }
        let found = index(br#"{"index":{"s":{"path":"../x"}}}"#).unwrap_err().to_string();
        assert_eq!(found, "the stream \"s\" names the path \"../x\", which leaves its folder; it is not followed");
        assert!(products(with_path("images/debian/12/20240101_07:42/a..b.tar.xz").as_bytes()).is_ok());
    }

    #[test]
    fn what_is_no_document_is_refused_by_name() {
        assert_eq!(error("[]"), "the document is no JSON object");
        assert_eq!(error(r#"{"products":[]}"#), "\"products\" in the document is no JSON object");
        assert!(error("{").starts_with("the document is no valid JSON: EOF"));
        assert!(error("\0\0\0").starts_with("the document is no valid JSON"));
        assert!(
            error("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{}").starts_with("the document is signed text")
        );
        assert_eq!(index(b"1").unwrap_err().to_string(), "the index is no JSON object");
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        assert!(error(&format!(r#"{{"x":{deep}}}"#)).contains("recursion limit"));
    }

    #[test]
    fn a_small_text_cannot_become_a_large_document() {
        let long = "x".repeat(100_000);
        let many: String = (0..1000).map(|n| format!(r#","p{n}":{{}}"#)).collect();
        let hoisted = format!(r#"{{"os":"{long}","products":{{"p":{{}}{many}}}}}"#);
        assert_eq!(products(hoisted.as_bytes()), Err(ParseError::Expansion));
        let many: String = (0..1000).map(|n| format!(r#","p{n}":{{"a":"b"}}"#)).collect();
        let aliases = format!(r#"{{"_aliases":{{"a":{{"b":{{"c":"{long}"}}}}}},"products":{{"p":{{}}{many}}}}}"#);
        assert_eq!(products(aliases.as_bytes()), Err(ParseError::Expansion));
        let many: String = (0..MAX_PRODUCTS).map(|n| format!(r#","{n}":1"#)).collect();
        let wide = format!(r#"{{"products":{{"p":1{many}}}}}"#);
        assert_eq!(error(&wide), "the document has more than 100000 products");
    }
}
