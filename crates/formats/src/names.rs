//! Names that people give: projects, aliases, versions. Each type can only be made from a checked text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::timestamp::Timestamp;

/// Why a text is no name of that kind. The sentence names the rule, not the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("{0} is empty; give it at least one character")]
    Empty(&'static str),
    /// Longer than the limit, in bytes.
    #[error("{what} has {length} bytes, more than the {limit} that are allowed; choose a shorter one")]
    TooLong {
        /// What was being named.
        what: &'static str,
        /// How long it was.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// A character that this kind of name may not hold.
    #[error("{what} may not hold {found:?}; {rule}")]
    Character {
        /// What was being named.
        what: &'static str,
        /// The character.
        found: char,
        /// What is allowed.
        rule: &'static str,
    },
    /// A name with a meaning of its own.
    #[error("{what} may not be {found:?}; choose another one")]
    Reserved {
        /// What was being named.
        what: &'static str,
        /// The name.
        found: &'static str,
    },
    /// Clients skip a version whose name does not begin with a date.
    #[error("a version name begins with a date written YYYYMMDD, for example 20250101_07:42")]
    NoDate,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks the text and wraps it.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                $check(&text)?;
                Ok(Self(text))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// A project: 1 to 63 bytes of `a-z A-Z 0-9 - _ .`, not `.` or `..`. LXD forbids `/`, blanks and quotes too
    /// (`lxd/api_project.go`, `projectValidateName`); ours is the part of its names that is safe in a path.
    ProjectName, check_project
}

name! {
    /// A saved view: the same characters as a project's name.
    ViewName, check_view
}

name! {
    /// An upstream of a mirror: the same characters as a project's name.
    UpstreamName, check_upstream
}

name! {
    /// An alias, such as `debian/12/cloud`: 1 to 255 bytes, no control characters, no `,` (the list separator of
    /// simplestreams), no blank at either end. Slashes, inner blanks, `+`, `%` and unicode are allowed.
    AliasName, check_alias
}

name! {
    /// A version of a product, such as `20250101_07:42`: begins with a valid `YYYYMMDD`, 8 to 64 bytes of
    /// `A-Z a-z 0-9 _ . : + -`. Go clients skip a version whose first eight characters are no date.
    VersionName, check_version
}

impl ProjectName {
    /// The project that exists always.
    pub fn default_project() -> Self {
        Self("default".to_owned())
    }

    /// Whether this is the project that exists always.
    pub fn is_default(&self) -> bool {
        self.0 == "default"
    }
}

impl VersionName {
    /// Midnight UTC of the date in the name: what simplestreams clients take for the creation date.
    pub fn date(&self) -> Timestamp {
        // The first eight bytes were checked to be an ASCII date when the name was made.
        Timestamp::parse_compact_date(&self.0[..8]).unwrap_or_default()
    }
}

fn length(what: &'static str, text: &str, limit: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty(what)),
        n if n > limit => Err(NameError::TooLong { what, length: n, limit }),
        _ => Ok(()),
    }
}

fn check_project(text: &str) -> Result<(), NameError> {
    check_segment("a project name", text)
}

fn check_view(text: &str) -> Result<(), NameError> {
    check_segment("a view name", text)
}

fn check_upstream(text: &str) -> Result<(), NameError> {
    check_segment("the name of an upstream", text)
}

/// What stands in an address as one segment.
fn check_segment(what: &'static str, text: &str) -> Result<(), NameError> {
    length(what, text, 63)?;
    if let Some(found) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
        return Err(NameError::Character { what, found, rule: "use letters, digits, '-', '_' and '.'" });
    }
    match text {
        "." => Err(NameError::Reserved { what, found: "." }),
        ".." => Err(NameError::Reserved { what, found: ".." }),
        _ => Ok(()),
    }
}

fn check_alias(text: &str) -> Result<(), NameError> {
    let what = "an alias";
    length(what, text, 255)?;
    if let Some(found) = text.chars().find(|c| c.is_control() || *c == ',') {
        return Err(NameError::Character {
            what,
            found,
            rule: "commas and control characters cannot be listed by simplestreams",
        });
    }
    if text.trim() != text {
        return Err(NameError::Character {
            what,
            found: ' ',
            rule: "blanks may stand inside an alias, not at its ends",
        });
    }
    Ok(())
}

fn check_version(text: &str) -> Result<(), NameError> {
    let what = "a version name";
    length(what, text, 64)?;
    if let Some(found) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '+' | '-')))
    {
        return Err(NameError::Character { what, found, rule: "use letters, digits, '_', '.', ':', '+' and '-'" });
    }
    match text.get(..8).and_then(Timestamp::parse_compact_date) {
        Some(_) => Ok(()),
        None => Err(NameError::NoDate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_at_the_door() {
        assert!(ProjectName::new("team-a").is_ok());
        assert!(ProjectName::new("a/b").is_err());
        assert!(ProjectName::new("..").is_err());
        assert!(AliasName::new("debian/12/cloud image+x").is_ok());
        assert!(AliasName::new("a,b").is_err());
        assert!(AliasName::new(" a").is_err());
        assert!(AliasName::new("a\0b").is_err());
        assert!(VersionName::new("20250101_07:42").is_ok());
        assert_eq!(VersionName::new("20251301"), Err(NameError::NoDate));
        assert_eq!(
            VersionName::new("é0250101"),
            Err(NameError::Character {
                what: "a version name",
                found: 'é',
                rule: "use letters, digits, '_', '.', ':', '+' and '-'"
            })
        );
    }
}
