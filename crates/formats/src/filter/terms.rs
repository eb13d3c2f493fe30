//! What an index can say of a filter: terms, and which of them everything that passes has.
//!
//! ```
//! use headwater_formats::filter::{Filter, Needed};
//!
//! let filter = Filter::parse("properties.os eq Debian and type ne container and properties.version eq 12.1").unwrap();
//! let needed = filter.needed();
//! assert_eq!(needed.len(), 2);
//! let Needed::Term(term) = &needed[0][0] else { panic!("a word") };
//! assert_eq!((term.field(), term.value()), ("properties.os", "debian"));
//! let Needed::Like(like) = &needed[1][0] else { panic!("a pattern") };
//! assert_eq!((like.field(), like.prefix()), ("properties.version", "12"));
//! assert!(like.allows("12x1") && !like.allows("12.2"));
//! ```

use std::borrow::Cow;

use super::{Clause, Filter, Like, TextPattern, Wanted, is_image_field};

/// A field with the text that it holds, folded as equality folds it: two that are the same are equal to the filter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term<'a> {
    field: Cow<'a, str>,
    value: String,
}

impl<'a> Term<'a> {
    /// The term of a field of text.
    pub fn new(field: impl Into<Cow<'a, str>>, value: &str) -> Self {
        Self { field: field.into(), value: fold(value) }
    }

    /// The term of a property.
    pub fn property(key: &str, value: &str) -> Self {
        Self::new(format!("properties.{key}"), value)
    }

    /// The field, as filters name it.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The folded text.
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// Text as it is compared with words: without case.
pub(super) fn fold(text: &str) -> String {
    text.to_lowercase()
}

/// Whether each image has the terms of this field: see [`crate::lxd::record::Fields::terms`].
fn has_terms(field: &str) -> bool {
    field.starts_with("properties.") || ["architecture", "fingerprint", "type"].contains(&field)
}

/// What an image can have that passes a filter.
#[derive(Debug, Clone)]
pub enum Needed<'a> {
    /// A term.
    Term(Term<'a>),
    /// A term of that field whose value is like that.
    Like(Like<'a>),
}

impl Filter {
    /// What is true of every image that passes: for each of the inner lists, it has at least one of what is needed. Nothing at all is
    /// said by an empty outer list; an empty inner one says that no image passes.
    ///
    /// An image that has what is needed need not pass: that is for [`Filter::matches`] to decide. Words are terms, and
    /// patterns of plain characters and dots are like some; other regular expressions, negations, numbers and truth values add nothing here.
    pub fn needed(&self) -> Vec<Vec<Needed<'_>>> {
        let mut needed: Vec<Vec<Needed<'_>>> = Vec::new();
        for clause in &self.clauses {
            match (clause.or, clause.terms()) {
                (false, Some(terms)) => needed.push(terms),
                (false, None) => {}
                // What passes now passed before, or has one of the terms.
                (true, Some(terms)) => needed.iter_mut().for_each(|one| one.extend(terms.iter().cloned())),
                (true, None) => needed.clear(),
            }
        }
        needed
    }
}

impl<'a> Clause {
    /// What an image that this clause lets pass has one of; `None` when that cannot be said.
    fn terms(&'a self) -> Option<Vec<Needed<'a>>> {
        // A clause about a field that no image has matches nothing, negated or not.
        if !is_image_field(&self.field) {
            return Some(Vec::new());
        }
        if self.negated || !has_terms(&self.field) {
            return None;
        }
        let one = |wanted: &'a Wanted| match &wanted.text {
            TextPattern::Word(word) => {
                Some(Needed::Term(Term { field: self.field.as_str().into(), value: word.clone() }))
            }
            TextPattern::Regex(regex, shape) => Some(Needed::Like(Like::new(&self.field, shape.as_ref()?, regex))),
        };
        self.wanted.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::is_listed;
    use crate::lxd::record::{self, Fields};
    use crate::simplestreams::testing::image;
    use proptest::prelude::*;

    fn needed(filter: &str) -> Vec<Vec<String>> {
        let filter = Filter::parse(filter).unwrap();
        let word = |needed: &Needed<'_>| match needed {
            Needed::Term(term) => format!("{}={}", term.field(), term.value()),
            Needed::Like(like) => format!("{}~{}", like.field(), like.prefix()),
        };
        filter.needed().iter().map(|terms| terms.iter().map(word).collect()).collect()
    }

    #[test]
    fn words_are_needed_and_nothing_else_is() {
        assert_eq!(needed(""), [[""; 0]; 0]);
        assert_eq!(needed("properties.os eq Debian"), [["properties.os=debian"]]);
        assert_eq!(needed("properties.os eq a,B"), [["properties.os=a", "properties.os=b"]]);
        assert_eq!(needed("architecture eq amd64"), [["architecture=x86_64"]]);
        assert_eq!(needed("properties.os eq a and type eq container"), [["properties.os=a"], ["type=container"]]);
        for filter in
            ["properties.os ne a", "not properties.os eq a", "properties.os eq a.*b", "public eq true", "size eq 1"]
        {
            assert_eq!(needed(filter), [[""; 0]; 0], "{filter}");
            assert_eq!(needed(&format!("type eq a and {filter}")), [["type=a"]], "{filter}");
            assert_eq!(needed(&format!("type eq a or {filter}")), [[""; 0]; 0], "{filter}");
        }
        assert_eq!(needed("properties.version eq 24.04,x"), [["properties.version~24", "properties.version=x"]]);
        assert_eq!(needed("properties.version ne 24.04"), [[""; 0]; 0]);
        assert_eq!(needed("filename eq a.b"), [[""; 0]; 0]);
        assert_eq!(
            needed("type eq a and properties.os eq b or properties.os eq c"),
            [["type=a", "properties.os=c"], ["properties.os=b", "properties.os=c"]]
        );
        assert_eq!(needed("nothing ne a"), [[""; 0]]);
        assert_eq!(needed("nothing eq a or type eq b"), [["type=b"]]);
    }

    fn clause() -> impl Strategy<Value = String> {
        let field = prop_oneof![
            Just("properties.os"),
            Just("properties.release"),
            Just("properties.none"),
            Just("type"),
            Just("architecture"),
            Just("public"),
            Just("size"),
            Just("expires_at"),
            Just("filename"),
            Just("unknown"),
            Just("project"),
            Just("fingerprint"),
            Just("last_used_at"),
            Just("cached"),
        ];
        let value = prop_oneof![
            Just("debian"),
            Just("DEBIAN,alpine"),
            Just("d.*"),
            Just("d.bian"),
            Just("s."),
            Just(".t."),
            Just("x.z,debian"),
            Just("container"),
            Just("amd64"),
            Just("true"),
            Just("0"),
            Just("ß"),
            Just("ÉTÉ"),
            Just("default"),
            Just("meta.tar.xz"),
            Just("\"\""),
        ];
        (any::<bool>(), field, any::<bool>(), value).prop_map(|(not, field, ne, value)| {
            format!("{}{field} {} {value}", if not { "not " } else { "" }, if ne { "ne" } else { "eq" })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn what_passes_has_what_is_needed(
            first in clause(),
            more in proptest::collection::vec((any::<bool>(), clause()), 0..4),
            os in prop_oneof![Just("Debian"), Just("Alpine"), Just("été"), Just("SS"), Just("ẞ"), Just("xyz"), Just("")],
            with in any::<bool>(),
            public in any::<bool>(),
        ) {
            let mut text = first;
            for (or, clause) in &more {
                text = format!("{text} {} {clause}", if *or { "or" } else { "and" });
            }
            let filter = Filter::parse(&text).unwrap();
            let mut image = image(1, "squashfs");
            image.public = public;
            image.properties.clear();
            if with {
                image.properties.insert("os".into(), os.into());
                image.properties.insert("release".into(), "Été \"q\" \\ \n\u{1f600}".into());
            }
            let kept = record::whole(&record::open(&image).unwrap(), "", "default").unwrap();
            let fields = Fields::parse(&kept).unwrap();
            let passes = filter.matches_image(&image, "default");
            prop_assert_eq!(passes, filter.matches(|field| fields.field("default", field)), "{}", text);
            let terms = fields.terms();
            let like = |like: &Like<'_>, term: &Term<'_>| {
                let listed = term.field() == like.field() && is_listed(term.value());
                listed && term.value().starts_with(like.prefix()) && like.allows(term.value())
            };
            let has = filter.needed().iter().all(|one| {
                one.iter().any(|needed| match needed {
                    Needed::Term(term) => terms.contains(term),
                    Needed::Like(one) => terms.iter().any(|term| like(one, term)),
                })
            });
            prop_assert!(has || !passes, "{} {:?}", text, terms);
        }
    }
}
