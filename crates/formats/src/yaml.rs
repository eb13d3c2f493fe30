//! YAML that comes from strangers: read within bounds, and explained to people when it is wrong.
//!
//! ```
//! use headwater_formats::yaml::{self, Entries, Text};
//!
//! let entries: Entries<Option<Text>> = yaml::read("os: Debian\nrelease: 12.0\n")?;
//! assert_eq!(entries.into_texts()["release"], "12.0");
//! assert_eq!(yaml::read::<Text>("[a]").unwrap_err().to_string(), "line 1: this must be one text, not a list or a mapping; put it in quotes");
//! # Ok::<(), yaml::YamlError>(())
//! ```
//!
//! Depth, number of nodes and use of references are bounded; how long the text may be is the caller's to decide before. Knows
//! nothing of what the names in it mean.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};

/// How many entries a mapping may have.
pub const MAX_ENTRIES: usize = 1024;
/// How long one text may be, in bytes.
pub const MAX_VALUE: usize = 64 * 1024;
/// How long a name may be, in bytes.
pub const MAX_KEY: usize = 1024;
/// How many bytes all texts may have together, references followed.
const MAX_UNFOLDED: usize = 4 * 1024 * 1024;

/// Why a text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// References (`*name`), depth or number of nodes beyond any use.
    #[error("it is nested too deeply or refers to itself too often; write it out plainly")]
    Bomb,
    /// Not YAML, or not of the expected shape: a sentence, with the line in front where there is one.
    #[error("{0}")]
    Unreadable(String),
}

/// Reads a text of one document.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    serde_saphyr::from_str_with_options(text, options()).map_err(explain)
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_depth: 16,
            flow_nesting_limit: 16,
            max_nodes: 50_000,
            max_events: 100_000,
            max_aliases: 256,
            max_anchors: 256,
            max_recorded_anchor_events: 10_000,
            max_recorded_anchor_bytes: MAX_UNFOLDED,
            max_total_scalar_bytes: MAX_UNFOLDED,
            max_merge_keys: 256,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 10_000,
            max_replay_stack_depth: 8,
        },
    }
}

/// What the parser says of limits that were reached: part of one of its messages.
const LIMITS: &[&str] = &["budget breached", "alias replay", "alias expansion", "nesting limit", "recursion limit"];

/// What the parser says to programmers, and how it is said to people.
const PLAIN: &[(&str, &str)] = &[
    ("expected string scalar", "this must be one text, not a list or a mapping; put it in quotes"),
    ("expected mapping start", "this must be a mapping; write one \"name: value\" on each line below it"),
    ("expected sequence start", "this must be a list; write it as [one, two]"),
    ("cannot deserialize null into string", "a name or a text is missing; write it, or take the line out"),
    ("duplicate mapping key", "this name stands there twice; leave one"),
    (
        "alias references unknown anchor",
        "\"*\" and a name stand for a text that is marked with \"&\" and that name, and none is; put it in quotes",
    ),
    ("invalid boolean", "this must be true or false"),
    ("multiple YAML documents", "there is more than one document in it; take the second \"---\" out"),
];

/// A sentence with the line in front. Errors may have gone through [`EntriesVisitor`], which only keeps their text, so
/// that the text is what tells them apart; the tests below notice when the parser changes its words.
fn explain(error: serde_saphyr::Error) -> YamlError {
    let error = error.without_snippet();
    let text = error.to_string();
    if LIMITS.iter().any(|limit| text.contains(limit)) {
        return YamlError::Bomb;
    }
    let (mut message, place) = text.split_once(" at line ").unwrap_or((&text, ""));
    let digits = place.find(|c: char| !c.is_ascii_digit()).unwrap_or(place.len());
    let line = place[..digits].parse().ok().or_else(|| error.location().map(|location| location.line()));
    message = message.lines().next().unwrap_or_default();
    let message = match PLAIN.iter().find_map(|(words, plain)| Some((message.find(words)?, plain))) {
        Some((at, plain)) => format!("{}{plain}", &message[..at]),
        None => message.chars().take(400).collect(),
    };
    YamlError::Unreadable(match line {
        Some(line) if line > 0 => format!("line {line}: {message}"),
        _ => message,
    })
}

/// A scalar of any kind, as it was written; at most [`MAX_VALUE`] bytes, no NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() > MAX_VALUE {
            return Err(D::Error::custom(format!(
                "a text has {} bytes, and {MAX_VALUE} are allowed; shorten it",
                text.len()
            )));
        }
        if text.contains('\0') {
            return Err(D::Error::custom("a text holds a NUL character; take it out"));
        }
        Ok(Self(text))
    }
}

/// A mapping with at most [`MAX_ENTRIES`] entries, whose names have at most [`MAX_KEY`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entries<V>(pub BTreeMap<String, V>);

impl<V> Default for Entries<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl Entries<Option<Text>> {
    /// Entries without a value are as good as none.
    pub fn into_texts(self) -> BTreeMap<String, String> {
        self.0.into_iter().filter_map(|(key, text)| Some((key, text?.0))).collect()
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<V> {
    type Value = Entries<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of names to values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some(Text(key)) = map.next_key::<Text>()? {
            if key.len() > MAX_KEY {
                let length = key.len();
                return Err(A::Error::custom(format!(
                    "a name has {length} bytes, and {MAX_KEY} are allowed; shorten it"
                )));
            }
            if entries.len() == MAX_ENTRIES {
                return Err(A::Error::custom(format!(
                    "there are more than {MAX_ENTRIES} entries in a mapping; leave some out"
                )));
            }
            let value = map.next_value::<V>().map_err(|error| {
                // The innermost name is enough: a template's property is found by its own.
                let text = error.to_string();
                if text.starts_with('"') { error } else { A::Error::custom(format!("{key:?}: {text}")) }
            })?;
            entries.insert(key, value);
        }
        Ok(Entries(entries))
    }
}
