//! The query of a request: `recursion=1&filter=os+eq+debian`.
//!
//! Go's clients write blanks as `+` and everything else in percent escapes (`net/url` `QueryEscape`). A key that stands
//! there twice has its first value, as in Go. This file does not know which keys mean something.

use super::path::{self, PathError};

/// Longest query, in bytes as sent.
pub const MAX_QUERY_BYTES: usize = 8 * 1024;

/// Why a query cannot be read. The sentence is what the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// More than [`MAX_QUERY_BYTES`].
    #[error("the query has more than {MAX_QUERY_BYTES} bytes; shorten it")]
    TooLong,
    /// A percent sign without two hexadecimal digits.
    #[error("the query has a percent sign that is not followed by two hexadecimal digits; write it as %25")]
    BadEscape,
    /// The decoded bytes are no UTF-8.
    #[error("the query is not valid UTF-8 once its percent escapes are decoded; encode it as UTF-8")]
    NotUtf8,
}

/// A decoded query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what stands after the `?`.
    pub fn parse(raw: Option<&str>) -> Result<Self, QueryError> {
        let raw = raw.unwrap_or_default();
        if raw.len() > MAX_QUERY_BYTES {
            return Err(QueryError::TooLong);
        }
        pairs(raw).map(Self)
    }

    /// The value of a key; `None` when it is not there or empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether a key says yes, as Go's `shared.IsTrue` reads it.
    pub fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(is_true)
    }
}

/// Keys and values in their order, as often as they stand there: in a query, and in headers that are written like one.
pub(super) fn pairs(raw: &str) -> Result<Vec<(String, String)>, QueryError> {
    let decode = |text: &str| {
        path::decode(&text.replace('+', " ")).map_err(|error| match error {
            PathError::NotUtf8 => QueryError::NotUtf8,
            _ => QueryError::BadEscape,
        })
    };
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}

/// Whether a text says yes, as Go's `shared.IsTrue` reads it.
pub(super) fn is_true(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_as_go_writes_it() {
        let query = Query::parse(Some("filter=os+eq+%22a+b%22&recursion=1&recursion=2&filter=x&empty=&flag")).unwrap();
        assert_eq!(query.get("filter"), Some("os eq \"a b\""));
        assert_eq!(query.get("recursion"), Some("1"));
        assert_eq!(query.get("empty"), None);
        assert_eq!(query.get("flag"), None);
        assert_eq!(Query::parse(None), Ok(Query::default()));
    }

    #[test]
    fn queries_that_cannot_be_read() {
        for (raw, text) in [
            ("a=%zz", "the query has a percent sign that is not followed by two hexadecimal digits; write it as %25"),
            ("a=%ff", "the query is not valid UTF-8 once its percent escapes are decoded; encode it as UTF-8"),
        ] {
            assert_eq!(Query::parse(Some(raw)).unwrap_err().to_string(), text);
        }
        assert_eq!(Query::parse(Some(&"a".repeat(MAX_QUERY_BYTES + 1))), Err(QueryError::TooLong));
    }
}
