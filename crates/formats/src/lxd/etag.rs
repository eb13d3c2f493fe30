//! The `ETag` of an image, of an alias and of a certificate, computed as the daemons do, so that one that was noted from a real
//! daemon stays valid here: SHA-256 of the JSON as Go writes it, with a line feed (LXD `lxd/util/http.go` `EtagHash`).
//!
//! ```
//! let properties = [("os".to_owned(), "<b>".to_owned())].into();
//! let tag = headwater_formats::lxd::etag::image(true, false, &properties);
//! assert!(tag.starts_with('"') && tag.len() == 66);
//! assert!(headwater_formats::lxd::etag::matches(tag.trim_matches('"'), &tag));
//! ```

use std::collections::BTreeMap;
use std::io::{self, Write};

use data_encoding::HEXLOWER;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use sha2::{Digest, Sha256};

use super::AliasEntry;

/// The tag of an image, quotes included: over what `PUT` can change of it, except expiry and profiles.
pub fn image<K: Serialize, V: Serialize>(public: bool, auto_update: bool, properties: &BTreeMap<K, V>) -> String {
    hash(&(public, auto_update, properties))
}

/// The tag of an alias, quotes included: over the whole entry.
pub fn alias(entry: &AliasEntry<'_>) -> String {
    hash(entry)
}

/// The tag of a certificate, quotes included: over the whole object.
pub fn certificate(object: &super::Certificate) -> String {
    hash(object)
}

/// The tag of a project, quotes included: over what `PUT` can change of it.
pub fn project(object: &super::Project<'_>) -> String {
    hash(&(object.description, &object.config))
}

/// The tag of the server, quotes included: over its settings.
pub fn server(config: &BTreeMap<String, String>) -> String {
    hash(config)
}

/// Whether an `If-Match` names this tag. Clients send back what they got, quotes included; without them is taken too.
pub fn matches(if_match: &str, tag: &str) -> bool {
    let bare = |text: &str| text.trim().trim_start_matches("W/").trim_matches('"').to_owned();
    if_match.trim() == "*" || if_match.split(',').any(|one| bare(one) == bare(tag))
}

/// A value as Go writes it in JSON.
pub(super) fn go_json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut json = Vec::new();
    // Memory takes every byte, and the values have text for keys: this cannot fail.
    let done = value.serialize(&mut Serializer::with_formatter(&mut json, GoFormatter));
    debug_assert!(done.is_ok());
    json
}

fn hash<T: Serialize>(value: &T) -> String {
    let mut json = go_json(value);
    json.push(b'\n');
    format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(&json)))
}

/// Writes JSON as Go's `encoding/json` does: `<`, `>` and `&` escaped for the sake of HTML, U+2028 and U+2029 for
/// the sake of JavaScript.
struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (plain, special) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut characters = special.chars();
            if let Some(character) = characters.next() {
                write!(writer, "\\u{:04x}", u32::from(character))?;
            }
            rest = characters.as_str();
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go_json<T: Serialize>(value: &T) -> String {
        String::from_utf8(super::go_json(value)).unwrap()
    }

    #[test]
    fn over_the_bytes_that_the_daemons_hash() {
        let properties: BTreeMap<String, String> = [("description", "tiny one"), ("os", "tiny"), ("release", "one")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        // What LXD 5.0.2 hashes for such an image.
        let hashed = "[false,false,{\"description\":\"tiny one\",\"os\":\"tiny\",\"release\":\"one\"}]\n";
        assert_eq!(go_json(&(false, false, &properties)) + "\n", hashed);
        let expected = format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(hashed)));
        assert_eq!(image(false, false, &properties), expected);
        assert_ne!(image(true, false, &properties), expected);
    }

    #[test]
    fn escaped_as_go_does() {
        assert_eq!(
            go_json(&"a<b>&\u{2028}\u{2029}\"\\\u{7f}é"),
            "\"a\\u003cb\\u003e\\u0026\\u2028\\u2029\\\"\\\\\u{7f}é\""
        );
        assert_eq!(go_json(&"\n\t\u{1}"), "\"\\n\\t\\u0001\"");
    }

    #[test]
    fn taken_back_with_and_without_quotes() {
        assert!(matches("\"ab\"", "\"ab\"") && matches("ab", "\"ab\"") && matches("\"x\", W/\"ab\"", "\"ab\""));
        assert!(matches("*", "\"ab\""));
        assert!(!matches("\"abc\"", "\"ab\"") && !matches("", "\"ab\""));
    }
}
