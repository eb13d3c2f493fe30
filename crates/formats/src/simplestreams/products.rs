//! A products document, read product by product.
//!
//! A document of ten thousand products is twenty times as large in memory as its text is, when all of it is there in fields and
//! maps. Here the text is gone through once to find out where each product stands in it, and what stands above all of them; a product becomes fields
//! when its turn comes, and whoever takes it keeps of it what is needed.
//!
//! ```
//! use headwater_formats::simplestreams::parse::Products;
//!
//! let text = br#"{"products":{"q":{"os":"Debian"},"p":{}},"datatype":"image-downloads","os":"all"}"#;
//! let mut products = Products::read(text).unwrap();
//! assert_eq!(products.head().datatype, "image-downloads");
//! let (key, product) = products.next().unwrap().unwrap();
//! assert_eq!((key.as_str(), product.os.as_str()), ("p", "all"));
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Deserializer, Map, Value};

use super::document::{Document, ProductEntry};
use super::parse::{
    Budget, MAX_EXPANSION, MAX_ITEMS, MAX_PAIRS, MAX_PRODUCTS, ParseError, as_text, expand, is_plain, product,
};

/// The products of a document, in the order of their keys. What is wrong with a product shows when its turn comes; all that can be
/// said of the whole before that is found by [`Products::read`].
#[derive(Debug)]
pub struct Products<T> {
    text: T,
    /// Fields that products may have in common.
    top: Map<String, Value>,
    abbreviations: Map<String, Value>,
    pub(super) head: Document,
    budget: Budget,
    /// Their keys, and where they stand in the text.
    left: std::collections::btree_map::IntoIter<String, Range<usize>>,
}

impl<T: AsRef<[u8]>> Products<T> {
    /// Finds the products of a document.
    ///
    /// # Errors
    /// When the text is no document, or has more products than [`MAX_PRODUCTS`].
    pub fn read(text: T) -> Result<Self, ParseError> {
        let bytes = text.as_ref();
        is_plain(bytes)?;
        let unreadable = |error: serde_json::Error| ParseError::Json(error.to_string());
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            serde_json::from_slice::<IgnoredAny>(bytes).map_err(unreadable)?;
            return Err(ParseError::NoObject("the document"));
        }
        let mut deserializer = Deserializer::from_slice(bytes);
        let Parts { mut top, products } = deserializer.deserialize_map(Whole).map_err(unreadable)?;
        deserializer.end().map_err(unreadable)?;
        let left = match products.map(RawValue::get) {
            None | Some("null") => BTreeMap::new(),
            Some(products) if products.starts_with('{') => places(bytes, products)?,
            Some(_) => return Err(ParseError::NoObject("\"products\" in the document")),
        };
        let abbreviations = match top.remove("_aliases") {
            Some(Value::Object(abbreviations)) => abbreviations,
            _ => Map::new(),
        };
        let mut text_of = |key| top.remove(key).as_ref().and_then(as_text).unwrap_or_default();
        let head = Document {
            content_id: text_of("content_id"),
            datatype: text_of("datatype"),
            products: BTreeMap::new(),
            extra: top.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        };
        let budget = Budget { expansion: MAX_EXPANSION, items: MAX_ITEMS, pairs: MAX_PAIRS };
        Ok(Self { text, top, abbreviations, head, budget, left: left.into_iter() })
    }

    /// The document without its products.
    pub fn head(&self) -> &Document {
        &self.head
    }

    fn parse(&mut self, key: &str, place: Range<usize>) -> Result<Option<ProductEntry>, ParseError> {
        let text = self.text.as_ref().get(place).unwrap_or_default();
        if text.first() != Some(&b'{') {
            return Ok(None);
        }
        let mut value: Value = serde_json::from_slice(text).map_err(|error| {
            let key: String = key.chars().take(128).collect();
            ParseError::Json(format!("in the product {key:?}, {error}"))
        })?;
        if !self.abbreviations.is_empty() {
            expand(&mut value, &self.abbreviations, &mut self.budget)?;
        }
        let Value::Object(fields) = value else { return Ok(None) };
        product(key, fields, &self.top, &mut self.budget).map(Some)
    }
}

impl<T: AsRef<[u8]>> Iterator for Products<T> {
    type Item = Result<(String, ProductEntry), ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (key, place) = self.left.next()?;
            match self.parse(&key, place) {
                Ok(Some(entry)) => return Some(Ok((key, entry))),
                Ok(None) => {}
                Err(error) => {
                    // Whoever goes on all the same gets no more than what was good before.
                    self.left = BTreeMap::new().into_iter();
                    return Some(Err(error));
                }
            }
        }
    }
}

/// A document, its products as they are written.
struct Parts<'a> {
    top: Map<String, Value>,
    products: Option<&'a RawValue>,
}

struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut parts = Parts { top: Map::new(), products: None };
        // Of fields with the same name the last one counts, as everywhere.
        while let Some(key) = map.next_key::<String>()? {
            if key == "products" {
                parts.products = Some(map.next_value()?);
            } else {
                parts.top.insert(key, map.next_value()?);
            }
        }
        Ok(parts)
    }
}

/// Where each of the products stands in the text of the document that they are a piece of.
fn places(document: &[u8], products: &str) -> Result<BTreeMap<String, Range<usize>>, ParseError> {
    struct Each<'a> {
        document: &'a [u8],
        many: &'a mut bool,
    }

    impl<'de> Visitor<'de> for Each<'_> {
        type Value = BTreeMap<String, Range<usize>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("products")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut places = BTreeMap::new();
            while let Some(key) = map.next_key::<String>()? {
                let raw: &RawValue = map.next_value()?;
                let start = raw.get().as_ptr().addr().saturating_sub(self.document.as_ptr().addr());
                places.insert(key, start..start + raw.get().len());
                if places.len() > MAX_PRODUCTS {
                    *self.many = true;
                    return Err(A::Error::custom("there are too many"));
                }
            }
            Ok(places)
        }
    }

    let mut many = false;
    let found = Deserializer::from_str(products).deserialize_map(Each { document, many: &mut many });
    found.map_err(|error| match many {
        true => ParseError::TooMany { what: "products", limit: MAX_PRODUCTS },
        false => ParseError::Json(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<Vec<String>, String> {
        let products = Products::read(text).map_err(|error| error.to_string())?;
        products.map(|found| found.map(|(key, _)| key).map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn products_come_in_the_order_of_their_keys_wherever_they_stand() {
        let text = r#" { "products" : {"q":{}, "p" : { "os" : "x" } ,"\u0061":{},"n":5,"m":null,"l":[{}]} ,
            "os":"top","datatype":"d" } "#;
        assert_eq!(keys(text).unwrap(), ["a", "p", "q"]);
        let mut products = Products::read(text).unwrap();
        assert_eq!((products.head().datatype.as_str(), &products.head().extra["os"]), ("d", &Value::from("top")));
        let systems: Vec<String> = products.by_ref().map(|found| found.unwrap().1.os).collect();
        assert_eq!(systems, ["top", "x", "top"]);
        assert!(products.next().is_none());
        for none in [r#"{"products":null}"#, r#"{"products":{}}"#, "{}"] {
            assert_eq!(keys(none).unwrap(), Vec::<String>::new(), "{none}");
        }
    }

    #[test]
    fn of_fields_with_the_same_name_the_last_one_counts() {
        let text = r#"{"products":{"a":{}},"os":"1","products":{"b":{"os":"2"},"b":{"os":"3"}},"os":"4"}"#;
        let products: Vec<_> = Products::read(text).unwrap().map(Result::unwrap).collect();
        assert_eq!(products.len(), 1);
        assert_eq!((products[0].0.as_str(), products[0].1.os.as_str()), ("b", "3"));
        let tree: Value = serde_json::from_str(text).unwrap();
        assert_eq!(tree["products"], serde_json::json!({"b": {"os": "3"}}), "as in a tree");
    }

    #[test]
    fn what_is_wrong_with_a_product_is_told_when_its_turn_comes() {
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        let text = format!(r#"{{"products":{{"a":{{}},"b":{{"x":{deep}}},"c":{{}}}}}}"#);
        let mut products = Products::read(text.as_bytes()).unwrap();
        assert_eq!(products.next().unwrap().unwrap().0, "a");
        let error = products.next().unwrap().unwrap_err().to_string();
        assert!(error.starts_with("the document is no valid JSON: in the product \"b\", recursion limit"), "{error}");
        assert!(products.next().is_none(), "and no more come");
        assert_eq!(keys(&text).unwrap_err(), error);
    }

    #[test]
    fn what_is_wrong_with_the_whole_is_told_at_once() {
        for (text, expected) in [
            (r#"{"products":{"a":{"b":}}}"#, "the document is no valid JSON: expected value at line 1 column 23"),
            (r#"{"products":{"a":{}}"#, "the document is no valid JSON: EOF while parsing an object"),
            (r#"{"products":{}} {}"#, "the document is no valid JSON: trailing characters at line 1 column 17"),
            (r#"{"products":{"a":{}},}"#, "the document is no valid JSON: trailing comma at line 1 column 22"),
            (r#"{"products":"x"}"#, "\"products\" in the document is no JSON object"),
            ("[{}]", "the document is no JSON object"),
            ("", "the document is no valid JSON: EOF"),
        ] {
            let error = Products::read(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
        let broken = [br#"{"products":{"a":{"os":""#.as_slice(), &[0xff, 0xfe], br#""}}}"#].concat();
        let error = Products::read(broken).unwrap_err().to_string();
        assert!(error.starts_with("the document is no valid JSON: "), "{error}");
    }

    #[test]
    fn limits_are_those_of_the_whole_document() {
        // A little more than half of the pairs that there may be.
        let kinds = (0..1000).map(|_| "lxd.tar.xz").chain((0..MAX_PAIRS / 2000 + 1).map(|_| "squashfs"));
        let items: Vec<String> =
            kinds.enumerate().map(|(number, ftype)| format!(r#""{number}":{{"ftype":"{ftype}"}}"#)).collect();
        let product = format!(r#"{{"versions":{{"v":{{"items":{{{}}}}}}}}}"#, items.join(","));
        let text = format!(r#"{{"products":{{"a":{product},"b":{product}}}}}"#);
        let mut products = Products::read(text.as_bytes()).unwrap();
        assert!(products.next().unwrap().is_ok());
        let many = ParseError::TooMany { what: "pairs of metadata and root files", limit: MAX_PAIRS };
        assert_eq!(products.next().unwrap(), Err(many));
    }
}
