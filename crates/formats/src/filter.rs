//! The `filter=` of the LXD API: `properties.os eq debian and type eq container`.
//!
//! ```
//! use headwater_formats::filter::{Filter, Value};
//!
//! let filter = Filter::parse("properties.os eq debian|alpine and not public eq false").unwrap();
//! assert!(filter.matches(|field| match field {
//!     "properties.os" => Some(Value::Text("Debian".into())),
//!     "public" => Some(Value::Bool(true)),
//!     _ => None,
//! }));
//! ```
//!
//! The grammar is a flat list of `[not] FIELD OPERATOR VALUE`, joined by `and` and `or` and evaluated strictly from
//! left to right (LXD `shared/filter/clause.go`). Operators are `eq` and `ne`. A value may stand in double quotes. For text it
//! is a regular expression that has to match the whole field, whatever the case; commas separate alternatives. Truth
//! values and numbers are compared as such.
//!
//! Two differences from LXD 5.0, where clients fall back to filtering by themselves: an operator that is neither `eq` nor
//! `ne` is an error instead of acting as `eq`, and quotes around a single word are accepted.
//!
//! What this module does not know: where the fields come from ([`image_field`] is the table for images).

mod like;
mod terms;

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};

use crate::arch::Architecture;
use crate::image::Image;
use crate::timestamp::Timestamp;

pub use like::{LONGEST_WORD, Like, is_listed};
pub use terms::{Needed, Term};

/// Longest filter, in bytes.
pub const MAX_BYTES: usize = 4096;
/// Most clauses in one filter.
pub const MAX_CLAUSES: usize = 64;
/// Most memory that one regular expression may take when compiled, in bytes.
const MAX_REGEX_BYTES: usize = 64 * 1024;

/// Why a text is no filter. The sentences are those of LXD where it has one (the API puts `Invalid filter: ` before them).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// `not` at the end.
    #[error("incomplete not clause")]
    IncompleteNot,
    /// A field at the end.
    #[error("clause has no operator")]
    NoOperator,
    /// An operator at the end.
    #[error("clause has no value")]
    NoValue,
    /// A quote that is never closed.
    #[error("unterminated quote")]
    UnterminatedQuote,
    /// Something else than `and` or `or` between two clauses.
    #[error("invalid clause composition")]
    Composition,
    /// `and` or `or` at the end.
    #[error("unterminated compound clause")]
    UnterminatedCompound,
    /// Neither `eq` nor `ne`.
    #[error("unknown operator {0:?}, use eq or ne")]
    UnknownOperator(String),
    /// Over [`MAX_BYTES`].
    #[error("the filter has more than {MAX_BYTES} bytes")]
    TooLong,
    /// Over [`MAX_CLAUSES`].
    #[error("the filter has more than {MAX_CLAUSES} clauses")]
    TooManyClauses,
    /// A regular expression that takes too much memory.
    #[error("the value for {0:?} is too large a regular expression")]
    TooComplex(String),
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A truth value.
    Bool(bool),
    /// A number.
    Int(i64),
    /// The field exists in principle and is not set: equal to no value.
    Unset,
}

/// A filter that was understood. The default one lets everything pass.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    clauses: Vec<Clause>,
}

#[derive(Debug, Clone)]
struct Clause {
    or: bool,
    negated: bool,
    field: String,
    wanted: Vec<Wanted>,
}

/// One alternative of a value, prepared for each type that the field may turn out to have.
#[derive(Debug, Clone)]
struct Wanted {
    text: TextPattern,
    flag: Option<bool>,
    number: Option<i64>,
}

#[derive(Debug, Clone)]
enum TextPattern {
    Word(String),
    /// With what is known of all that it matches, if anything is.
    Regex(Regex, Option<like::Shape>),
}

impl Filter {
    /// Reads a filter, percent escapes already decoded. Nothing but blanks is the filter that lets everything pass.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > MAX_BYTES {
            return Err(FilterError::TooLong);
        }
        let mut rest = text.trim_start();
        let mut clauses = Vec::new();
        let mut or = false;
        while let Some(mut word) = next_word(&mut rest) {
            if clauses.len() >= MAX_CLAUSES {
                return Err(FilterError::TooManyClauses);
            }
            let mut negated = word.eq_ignore_ascii_case("not");
            if negated {
                word = next_word(&mut rest).ok_or(FilterError::IncompleteNot)?;
            }
            let operator = next_word(&mut rest).ok_or(FilterError::NoOperator)?;
            let value = next_value(&mut rest)?;
            match operator {
                "eq" => {}
                "ne" => negated = !negated,
                other => return Err(FilterError::UnknownOperator(other.chars().take(64).collect())),
            }
            clauses.push(Clause { or, negated, field: word.to_owned(), wanted: alternatives(word, value)? });
            match next_word(&mut rest) {
                None => break,
                Some("and") => or = false,
                Some("or") => or = true,
                Some(_) => return Err(FilterError::Composition),
            }
            if rest.is_empty() {
                return Err(FilterError::UnterminatedCompound);
            }
        }
        Ok(Self { clauses })
    }

    /// The filter `FIELD eq VALUE`, whatever characters the value holds.
    pub fn equal(field: &str, value: &str) -> Result<Self, FilterError> {
        if field.len() + value.len() > MAX_BYTES {
            return Err(FilterError::TooLong);
        }
        let clause = Clause { or: false, negated: false, field: field.to_owned(), wanted: alternatives(field, value)? };
        Ok(Self { clauses: vec![clause] })
    }

    /// Whether everything passes.
    pub fn is_everything(&self) -> bool {
        self.clauses.is_empty()
    }

    /// Whether the thing with these fields passes. `field` answers with what a field holds, [`Value::Unset`] for one
    /// that is not set, and `None` for one that no such thing has: a clause about that never matches, negated or not.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> Option<Value<'a>>) -> bool {
        self.clauses.iter().fold(true, |so_far, clause| {
            // The clauses that cannot change the outcome are not evaluated.
            if so_far == clause.or {
                return so_far;
            }
            match field(&clause.field) {
                None => false,
                Some(value) => clause.wanted.iter().any(|wanted| wanted.equals(&value)) != clause.negated,
            }
        })
    }

    /// Whether the image passes; `project` is the name of the project that it is in.
    pub fn matches_image(&self, image: &Image, project: &str) -> bool {
        self.matches(|field| image_field(image, project, field))
    }
}

/// A field of an image by its name in the LXD API; `properties.os` goes into the properties.
pub fn image_field<'a>(image: &'a Image, project: &'a str, field: &str) -> Option<Value<'a>> {
    if let Some(key) = field.strip_prefix("properties.") {
        return Some(image.properties.get(key).map_or(Value::Unset, |value| Value::Text(value.into())));
    }
    let time = |at: Option<Timestamp>| at.map_or(Value::Unset, |at| Value::Text(at.rfc3339().into()));
    Some(match field {
        "architecture" => Value::Text(image.architecture.name().into()),
        "auto_update" => Value::Bool(image.auto_update),
        "cached" => Value::Bool(false),
        "created_at" => time(Some(image.created_at)),
        "expires_at" => time(image.expires_at),
        "filename" => Value::Text(image.filename.as_str().into()),
        "fingerprint" => Value::Text(image.fingerprint.to_string().into()),
        "last_used_at" => time(image.last_used_at),
        "project" => Value::Text(project.into()),
        "public" => Value::Bool(image.public),
        "size" => Value::Int(i64::try_from(image.files.size()).unwrap_or(i64::MAX)),
        "type" => Value::Text(image.image_type.as_str().into()),
        "uploaded_at" => time(Some(image.uploaded_at)),
        _ => return None,
    })
}

/// The fields of an image beside its properties: those of [`image_field`].
pub(crate) const FIELDS: [&str; 13] = [
    "architecture",
    "auto_update",
    "cached",
    "created_at",
    "expires_at",
    "filename",
    "fingerprint",
    "last_used_at",
    "project",
    "public",
    "size",
    "type",
    "uploaded_at",
];

/// Whether images have a field of that name, set or not.
fn is_image_field(field: &str) -> bool {
    field.starts_with("properties.") || FIELDS.contains(&field)
}

impl Wanted {
    fn equals(&self, value: &Value<'_>) -> bool {
        match value {
            Value::Text(text) => match &self.text {
                TextPattern::Word(word) => terms::fold(text) == *word,
                TextPattern::Regex(regex, _) => regex.is_match(text),
            },
            Value::Bool(flag) => self.flag == Some(*flag),
            Value::Int(number) => self.number == Some(*number),
            Value::Unset => false,
        }
    }
}

fn alternatives(field: &str, value: &str) -> Result<Vec<Wanted>, FilterError> {
    value
        .split(',')
        .map(|one| {
            // `amd64` finds x86_64: the API shows canonical names, people type the others too.
            let one = match one.parse::<Architecture>() {
                Ok(architecture) if field == "architecture" => architecture.name(),
                _ => one,
            };
            Ok(Wanted { text: pattern(field, one)?, flag: truth(one), number: one.parse().ok() })
        })
        .collect()
}

/// The words that Go's `strconv.ParseBool` takes.
fn truth(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A regular expression of a stranger: matching takes time in proportion to the text, and neither memory nor nesting grows beyond a bound.
pub(crate) fn bounded(regex: &str) -> RegexBuilder {
    let mut builder = RegexBuilder::new(regex);
    builder.size_limit(MAX_REGEX_BYTES).dfa_size_limit(MAX_REGEX_BYTES).nest_limit(64);
    builder
}

fn pattern(field: &str, value: &str) -> Result<TextPattern, FilterError> {
    let word = || TextPattern::Word(terms::fold(value));
    if value.chars().all(|c| c.is_alphanumeric() || " _-/:=%@~".contains(c)) {
        return Ok(word());
    }
    let anchored = if value.contains(['^', '$']) { value.to_owned() } else { format!("^(?:{value})$") };
    match bounded(&anchored).case_insensitive(true).build() {
        Ok(regex) => Ok(TextPattern::Regex(regex, like::Shape::of(value))),
        Err(regex::Error::CompiledTooBig(_)) => Err(FilterError::TooComplex(field.chars().take(64).collect())),
        Err(_) => Ok(word()),
    }
}

fn next_word<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after.trim_start();
    (!word.is_empty()).then_some(word)
}

/// A word, or what stands between two double quotes; the closing one ends a word.
fn next_value<'a>(rest: &mut &'a str) -> Result<&'a str, FilterError> {
    let Some(quoted) = rest.strip_prefix('"') else {
        return next_word(rest).ok_or(FilterError::NoValue);
    };
    let closing = quoted
        .match_indices('"')
        .map(|(at, _)| at)
        .find(|at| quoted[at + 1..].chars().next().is_none_or(char::is_whitespace))
        .ok_or(FilterError::UnterminatedQuote)?;
    *rest = quoted[closing + 1..].trim_start();
    Ok(&quoted[..closing])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simplestreams::testing::image;

    fn sample() -> Image {
        let mut image = image(1, "squashfs");
        image.properties =
            [("os", "Debian"), ("release", "24.04"), ("description", "Debian 12 (cloud) amd64"), ("n", "true")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into();
        image
    }

    fn passes(filter: &str) -> bool {
        Filter::parse(filter).unwrap().matches_image(&sample(), "default")
    }

    fn error(filter: &str) -> String {
        Filter::parse(filter).unwrap_err().to_string()
    }

    #[test]
    fn text_is_compared_whole_and_without_case() {
        assert!(passes("properties.os eq debian"));
        assert!(passes("properties.os eq deb.*"));
        assert!(!passes("properties.os eq deb"));
        assert!(passes("properties.os eq ^deb"));
        assert!(passes("properties.os eq alpine|DEBIAN"));
        assert!(!passes("properties.os eq ebia|x"));
        assert!(passes("properties.os ne alpine"));
        assert!(passes("properties.release eq 24.04"));
        assert!(passes("architecture eq x86_64") && passes("architecture eq amd64"));
        assert!(passes("type eq container") && !passes("type eq virtual-machine"));
        assert!(passes("project eq default"));
        // What is no regular expression is a word.
        assert!(!passes("properties.os eq (debian"));
    }

    #[test]
    fn truth_values_and_numbers_are_compared_as_such() {
        assert!(passes("public eq true") && passes("public eq 1") && !passes("public eq false"));
        assert!(passes("public ne false") && !passes("public eq yes"));
        let size = sample().files.size();
        assert!(passes(&format!("size eq {size}")) && passes(&format!("size eq 0{size}")));
        assert!(!passes("size eq 1.*"));
        assert!(passes("properties.n eq true"));
    }

    #[test]
    fn clauses_are_evaluated_from_left_to_right() {
        assert!(passes("type eq x and type eq x or type eq container"));
        assert!(!passes("type eq container or type eq x and type eq x"));
        assert!(passes("not type eq x and NOT type eq y"));
        assert!(!passes("not type ne x"));
    }

    #[test]
    fn quotes_hold_blanks_and_commas_part_alternatives() {
        assert!(passes(r#"properties.description eq "debian 12 \(cloud\) AMD64""#));
        assert!(passes(r#"properties.os eq "debian""#));
        assert!(passes(r#"properties.os eq "debian" and type eq container"#));
        assert!(passes("properties.os eq alpine,debian"));
        assert!(!passes("properties.os ne alpine,debian"));
        assert!(passes("size eq 1,2,4096") == (sample().files.size() == 4096));
    }

    #[test]
    fn nothing_filters_nothing() {
        assert!(passes("") && passes("  "));
        assert!(Filter::parse(" ").unwrap().is_everything());
        assert!(!Filter::parse("a eq b").unwrap().is_everything());
    }

    #[test]
    fn what_is_not_there_equals_nothing() {
        assert!(!passes("properties.colour eq red") && !passes("properties.colour eq .*"));
        assert!(passes("properties.colour ne red"));
        assert!(!passes("colour eq red") && !passes("colour ne red") && !passes("not colour eq red"));
        assert!(!passes("properties eq x"));
        assert!(!passes("expires_at eq .*"));
    }

    #[test]
    fn errors_are_those_of_lxd() {
        assert_eq!(error("not"), "incomplete not clause");
        assert_eq!(error("a"), "clause has no operator");
        assert_eq!(error("a eq"), "clause has no value");
        assert_eq!(error("a eq b c eq d"), "invalid clause composition");
        assert_eq!(error("a eq b AND c eq d"), "invalid clause composition");
        assert_eq!(error("a eq b and"), "unterminated compound clause");
        assert_eq!(error("a eq b and not"), "incomplete not clause");
        assert_eq!(error(r#"a eq "b"#), "unterminated quote");
        assert_eq!(error("a gt b"), "unknown operator \"gt\", use eq or ne");
    }

    #[test]
    fn the_fields_are_those_of_the_table() {
        let names = "architecture auto_update cached created_at expires_at filename fingerprint last_used_at project public \
             size type uploaded_at aliases profiles update_source properties properties.os properties. a";
        for name in names.split_whitespace() {
            assert_eq!(is_image_field(name), image_field(&sample(), "default", name).is_some(), "{name}");
        }
    }

    #[test]
    fn limits_hold() {
        assert_eq!(error(&"a".repeat(4097)), "the filter has more than 4096 bytes");
        let many = |n: usize| vec!["a eq b"; n].join(" and ");
        assert!(Filter::parse(&many(64)).is_ok());
        assert_eq!(error(&many(65)), "the filter has more than 64 clauses");
        assert_eq!(error(r"os eq (\w{1000}){1000}"), "the value for \"os\" is too large a regular expression");
        assert!(Filter::parse(r"properties.os eq \w+.*\d+").is_ok());
        let deep = format!("os eq {}a{}", "(".repeat(500), ")".repeat(500));
        assert!(Filter::parse(&deep).is_ok(), "too deep an expression is a word");
    }
}
