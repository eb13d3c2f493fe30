//! An image's JSON object as it is kept and sent: a text in three pieces, so that a list is joined and not written.
//!
//! | piece | what it is | changes with |
//! | --- | --- | --- |
//! | [`open`] | `{`, all members but the last two, `"aliases":[` | the image |
//! | [`aliases`] | the entries of the list of aliases, mostly none | names, and who is asking |
//! | [`close`] | `],"project":"…"}` | the project's name |
//!
//! ```
//! use headwater_formats::lxd::record::close;
//!
//! assert_eq!(close("default").unwrap(), r#"],"project":"default"}"#);
//! ```

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::time::ZERO;
use super::{AliasName, Image};
use crate::filter::{Term, Value};

/// What stands behind the first piece of an image without aliases, in a project without name.
const END: &str = r#"],"project":""}"#;

/// The first piece of an image's object.
///
/// # Errors
/// None in practice: all that an image holds can be written as JSON.
pub fn open(image: &crate::image::Image) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string(&Image::new(image, "", Vec::new()))?;
    match text.strip_suffix(END).map(str::len) {
        Some(length) => {
            text.truncate(length);
            Ok(text)
        }
        None => Err(serde::ser::Error::custom("an image does not end with its aliases and project")),
    }
}

/// The second piece: aliases with commas between them.
///
/// # Errors
/// None in practice.
pub fn aliases(names: &[AliasName<'_>]) -> Result<String, serde_json::Error> {
    let list = serde_json::to_string(names)?;
    Ok(list.strip_prefix('[').and_then(|list| list.strip_suffix(']')).unwrap_or_default().to_owned())
}

/// The third piece.
///
/// # Errors
/// None in practice.
pub fn close(project: &str) -> Result<String, serde_json::Error> {
    Ok(format!("],\"project\":{}}}", serde_json::to_string(project)?))
}

/// All three pieces.
///
/// # Errors
/// None in practice.
pub fn whole(open: &str, aliases: &str, project: &str) -> Result<String, serde_json::Error> {
    Ok([open, aliases, &close(project)?].concat())
}

/// What filters, tags and indexes look at in an object, borrowed from its text.
#[derive(Debug, Deserialize)]
pub struct Fields<'a> {
    /// Whether the image follows its source.
    pub auto_update: bool,
    /// Whether guests see it.
    pub public: bool,
    #[serde(borrow)]
    properties: Properties<'a>,
    #[serde(borrow)]
    expires_at: Cow<'a, str>,
    #[serde(borrow)]
    architecture: Cow<'a, str>,
    cached: bool,
    #[serde(borrow)]
    filename: Cow<'a, str>,
    #[serde(borrow)]
    fingerprint: Cow<'a, str>,
    size: u64,
    #[serde(rename = "type", borrow)]
    image_type: Cow<'a, str>,
    #[serde(borrow)]
    created_at: Cow<'a, str>,
    #[serde(borrow)]
    last_used_at: Cow<'a, str>,
    #[serde(borrow)]
    uploaded_at: Cow<'a, str>,
}

impl<'a> Fields<'a> {
    /// Reads a whole object.
    ///
    /// # Errors
    /// When the text is no object of an image.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The properties, in the order of their keys.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties.0.iter().map(|(key, value)| (&*key.0, &*value.0))
    }

    /// The fingerprint, as it is written.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The same as [`crate::filter::image_field`].
    pub fn field<'b>(&'b self, project: &'b str, field: &str) -> Option<Value<'b>> {
        if let Some(wanted) = field.strip_prefix("properties.") {
            let found = self.properties().find(|(key, _)| *key == wanted);
            return Some(found.map_or(Value::Unset, |(_, value)| Value::Text(value.into())));
        }
        let text = |text: &'b str| Value::Text(text.into());
        let time = |at: &'b str| if at == ZERO { Value::Unset } else { Value::Text(at.into()) };
        Some(match field {
            "architecture" => text(&self.architecture),
            "auto_update" => Value::Bool(self.auto_update),
            "cached" => Value::Bool(self.cached),
            "created_at" => text(&self.created_at),
            "expires_at" => time(&self.expires_at),
            "filename" => text(&self.filename),
            "fingerprint" => text(&self.fingerprint),
            "last_used_at" => time(&self.last_used_at),
            "project" => text(project),
            "public" => Value::Bool(self.public),
            "size" => Value::Int(i64::try_from(self.size).unwrap_or(i64::MAX)),
            "type" => text(&self.image_type),
            "uploaded_at" => text(&self.uploaded_at),
            _ => return None,
        })
    }

    /// What an index of images holds of this one: its properties, architecture, type and fingerprint.
    pub fn terms(&self) -> Vec<Term<'_>> {
        let properties = self.properties().map(|(key, value)| Term::property(key, value));
        let own =
            [("architecture", &self.architecture), ("fingerprint", &self.fingerprint), ("type", &self.image_type)];
        properties.chain(own.map(|(field, value)| Term::new(field, value))).collect()
    }
}

/// A text that is borrowed when nothing in it is escaped. In a map, serde's own would always be copied.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Debug)]
struct Properties<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Properties<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Vec<(Text<'de>, Text<'de>)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("properties")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Pairs).map(Properties)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{FIELDS, image_field};
    use crate::simplestreams::testing::image;

    #[test]
    fn the_pieces_are_the_object() {
        let mut source = image(1, "squashfs");
        source.properties =
            [("a \"b\"", "\\ \n é \u{1f600}"), ("os", "Debian")].map(|(k, v)| (k.into(), v.into())).into();
        source.filename = "],\"project\":\"\"}".into();
        let names = [("a/b", ""), ("c", "\"it\"")].map(|(name, description)| AliasName { name, description });
        for count in 0..=2 {
            let kept = whole(&open(&source).unwrap(), &aliases(&names[..count]).unwrap(), "a\"b").unwrap();
            let sent = serde_json::to_string(&Image::new(&source, "a\"b", names[..count].to_vec())).unwrap();
            assert_eq!(kept, sent);
            assert!(!kept.contains('\n'), "a line of text");
        }
    }

    #[test]
    fn fields_are_those_of_the_image() {
        let mut source = image(1, "squashfs");
        source.properties.insert("a \"b\"".into(), "é \n".into());
        source.expires_at = Some(source.created_at.plus_seconds(7));
        let kept = whole(&open(&source).unwrap(), "", "default").unwrap();
        let fields = Fields::parse(&kept).unwrap();
        let others = ["properties.a \"b\"", "properties.os", "properties.", "none"];
        for field in FIELDS.into_iter().chain(others) {
            assert_eq!(fields.field("team", field), image_field(&source, "team", field), "{field}");
        }
        let properties: Vec<(&str, &str)> = source.properties.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(fields.properties().collect::<Vec<_>>(), properties);
        assert_eq!(fields.terms().len(), source.properties.len() + 3);
    }
}
