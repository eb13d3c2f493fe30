//! What an index of words can say of a pattern.
//!
//! `24.04` is a regular expression to LXD and Incus, in which the dot stands for any character. But it has the length of a word, and
//! begins with one: where the words of a field are known, a few of them can be picked out, instead of looking at every image.

use regex::Regex;

/// Longest word that an index has to list, in characters, folded.
pub const LONGEST_WORD: usize = 32;
/// Longest pattern that is looked up, in characters: folding makes two characters of one at most (`İ`).
const LONGEST_PATTERN: usize = LONGEST_WORD / 2;

/// How all texts begin that a pattern of plain characters and dots matches; such texts are short enough to be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    prefix: String,
}

impl Shape {
    /// Of the value of a filter, as it was written. `None` for what has alternatives, repetitions, anchors or classes.
    pub(super) fn of(pattern: &str) -> Option<Self> {
        let (mut prefix, mut steady, mut length) = (String::new(), true, 0);
        let mut rest = pattern.chars();
        while let Some(next) = rest.next() {
            let literal = match next {
                '.' => None,
                '\\' => Some(rest.next().filter(char::is_ascii_punctuation)?),
                '^' | '$' | '|' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' => return None,
                other => Some(other),
            };
            length += 1;
            // Without case, `s` is also `ſ`, and beyond ASCII there is more of that.
            match literal.filter(|one| steady && one.is_ascii() && !one.eq_ignore_ascii_case(&'s')) {
                Some(one) => prefix.push(one.to_ascii_lowercase()),
                None => steady = false,
            }
        }
        (length <= LONGEST_PATTERN).then_some(Self { prefix })
    }
}

/// A pattern for a field of which an index can list the words.
#[derive(Debug, Clone)]
pub struct Like<'a> {
    field: &'a str,
    shape: &'a Shape,
    regex: &'a Regex,
}

impl<'a> Like<'a> {
    pub(super) fn new(field: &'a str, shape: &'a Shape, regex: &'a Regex) -> Self {
        Self { field, shape, regex }
    }

    /// The field, as filters name it.
    pub fn field(&self) -> &'a str {
        self.field
    }

    /// How every matching word begins, in ASCII, and folded as in a [`Term`](super::Term); may be empty.
    pub fn prefix(&self) -> &'a str {
        &self.shape.prefix
    }

    /// Whether a text may match that is this word when it is folded.
    pub fn allows(&self, folded: &str) -> bool {
        // One character of ASCII is one character of what was folded, and equal to it but for case.
        !folded.is_ascii() || self.regex.is_match(folded)
    }
}

/// Whether an index of words lists this one, which is folded.
pub fn is_listed(folded: &str) -> bool {
    folded.chars().take(LONGEST_WORD + 1).count() <= LONGEST_WORD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::terms::fold;
    use crate::filter::{Filter, Needed};
    use proptest::prelude::*;

    fn prefix(pattern: &str) -> Option<String> {
        Shape::of(pattern).map(|shape| shape.prefix)
    }

    #[test]
    fn plain_characters_and_dots_have_a_shape() {
        for (pattern, found) in [
            ("24.04", Some("24")),
            (r"24\.04", Some("24.04")),
            ("N.ble", Some("n")),
            (".", Some("")),
            ("20250101_07.42", Some("20250101_07")),
            ("Debian.", Some("debian")),
            ("Suse.", Some("")),
            ("9-Stream.", Some("9-")),
            ("é.", Some("")),
            (r"a\d", None),
            (r"a\", None),
            ("a.*", None),
            ("^a.b$", None),
            ("a.b|c", None),
            ("a.{3}", None),
            ("(?i)a", None),
            ("[ab].", None),
            ("0123456789abcd.f", Some("0123456789abcd")),
            ("0123456789abcdef.", None),
        ] {
            assert_eq!(prefix(pattern).as_deref(), found, "{pattern}");
        }
    }

    #[test]
    fn folding_is_what_is_said_of_it() {
        let ascii = regex::Regex::new("(?i)^[ -~]$").unwrap();
        let mut others = String::new();
        for one in (0..=char::MAX as u32).filter_map(char::from_u32) {
            let text = one.to_string();
            let folded = fold(&text);
            assert!(folded.chars().count() <= 2, "{one:?}");
            assert_eq!(fold(&folded), folded, "{one:?}");
            if !one.is_ascii() && ascii.is_match(&text) {
                others.push(one);
            }
            assert!(one.is_ascii() || !folded.is_ascii() || one == '\u{212a}', "{one:?} is folded to {folded:?}");
        }
        assert_eq!(others, "ſ\u{212a}", "the letters that are equal to an ASCII one without case");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(5000) })]

        #[test]
        fn what_matches_is_allowed_and_listed(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![".", r"\.", "2", "4", "s", "K", "k", "i", "é", "Σ", "_", "-", r"\-", r"\*", "a"]), 1..18),
            text in proptest::collection::vec(
                proptest::sample::select(vec!['.', '2', '4', 'S', 'ſ', 's', 'k', '\u{212a}', 'İ', 'ı', 'É', 'σ', 'ς', '_', '-', '*', 'A']), 0..18),
            same in any::<bool>(),
        ) {
            let pattern = pieces.concat();
            let mut text: String = text.into_iter().collect();
            if same {
                // Mostly a text that matches.
                let letters: Vec<char> = text.chars().chain("zzzzzzzzzzzzzzzzzz".chars()).collect();
                let piece = |(piece, letter): (&&str, &char)| match *piece {
                    "." => *letter,
                    "s" => 'ſ',
                    "k" => '\u{212a}',
                    other => other.chars().next_back().unwrap().to_uppercase().next().unwrap(),
                };
                text = pieces.iter().zip(&letters).map(piece).collect();
            }
            let filter = Filter::equal("properties.x", &pattern).unwrap();
            let passes = filter.matches(|_| Some(crate::filter::Value::Text(text.as_str().into())));
            let folded = fold(&text);
            for needed in filter.needed() {
                let [Needed::Like(like)] = needed.as_slice() else { continue };
                let found = is_listed(&folded) && folded.starts_with(like.prefix()) && like.allows(&folded);
                prop_assert!(found || !passes, "{pattern:?} {text:?} {folded:?}");
            }
        }
    }
}
