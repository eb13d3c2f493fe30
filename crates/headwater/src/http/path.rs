//! From the path of a request to its decoded segments: the first door that bytes from outside come through.
//!
//! `/1.0/images/aliases/debian%2F12` becomes `1.0`, `images`, `aliases`, `debian/12`. Percent escapes are decoded
//! exactly once, after the path was split, so that an escaped slash stays inside its segment.
//!
//! This file does not know which segments mean something; that is [`super::route`].

/// Longest path, in bytes as sent.
pub const MAX_PATH_BYTES: usize = 8 * 1024;

/// Why a path was not even looked up. The sentence is what the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// More than [`MAX_PATH_BYTES`].
    #[error("the path has more than {MAX_PATH_BYTES} bytes; shorten it")]
    TooLong,
    /// It does not begin with a slash (as in `OPTIONS *`).
    #[error("the path does not begin with a slash; begin it with one")]
    NotAbsolute,
    /// `//`, or a slash at the end.
    #[error("the path has an empty segment; use single slashes, and none at the end")]
    EmptySegment,
    /// `.` or `..`, escaped or not.
    #[error("the path has a \".\" or \"..\" segment; resolve it before asking")]
    DotSegment,
    /// A percent sign without two hexadecimal digits.
    #[error("the path has a percent sign that is not followed by two hexadecimal digits; write it as %25")]
    BadEscape,
    /// The decoded bytes are no UTF-8.
    #[error("the path is not valid UTF-8 once its percent escapes are decoded; encode it as UTF-8")]
    NotUtf8,
    /// NUL or another control character.
    #[error("the path holds a control character; remove it")]
    ControlCharacter,
}

impl PathError {
    /// The status that goes with the sentence.
    pub fn status(self) -> http::StatusCode {
        match self {
            Self::TooLong => http::StatusCode::URI_TOO_LONG,
            _ => http::StatusCode::BAD_REQUEST,
        }
    }
}

/// Splits and decodes a path. `/` has no segments.
pub fn segments(path: &str) -> Result<Vec<String>, PathError> {
    if path.len() > MAX_PATH_BYTES {
        return Err(PathError::TooLong);
    }
    let rest = path.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    rest.split('/').map(segment).collect()
}

fn segment(raw: &str) -> Result<String, PathError> {
    if raw.is_empty() {
        return Err(PathError::EmptySegment);
    }
    let text = decode(raw)?;
    if text == "." || text == ".." {
        return Err(PathError::DotSegment);
    }
    if text.chars().any(char::is_control) {
        return Err(PathError::ControlCharacter);
    }
    Ok(text)
}

/// Decodes percent escapes once. A percent sign that begins no escape is an error rather than a percent sign: the
/// two readings of `%zz` would make two names of one thing.
pub(super) fn decode(raw: &str) -> Result<String, PathError> {
    let bytes = raw.as_bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'%') {
        let digits = bytes.get(at + 1..at + 3).ok_or(PathError::BadEscape)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(PathError::BadEscape);
        }
    }
    let decoded = percent_encoding::percent_decode(bytes).decode_utf8().map_err(|_| PathError::NotUtf8)?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once_and_slashes_in_them_stay_inside() {
        assert_eq!(segments("/"), Ok(vec![]));
        assert_eq!(segments("/a/b%2Fc/d%252Fe/%C3%A9+f"), Ok(["a", "b/c", "d%2Fe", "é+f"].map(String::from).to_vec()));
    }

    #[test]
    fn paths_that_are_never_looked_up() {
        let long = format!("/{}", "a".repeat(MAX_PATH_BYTES));
        for (path, error, text) in [
            (long.as_str(), PathError::TooLong, "the path has more than 8192 bytes; shorten it"),
            ("*", PathError::NotAbsolute, "the path does not begin with a slash; begin it with one"),
            ("", PathError::NotAbsolute, "the path does not begin with a slash; begin it with one"),
            ("//", PathError::EmptySegment, "the path has an empty segment; use single slashes, and none at the end"),
            (
                "/a//b",
                PathError::EmptySegment,
                "the path has an empty segment; use single slashes, and none at the end",
            ),
            ("/a/", PathError::EmptySegment, "the path has an empty segment; use single slashes, and none at the end"),
            ("/a/../b", PathError::DotSegment, "the path has a \".\" or \"..\" segment; resolve it before asking"),
            ("/a/%2e%2E", PathError::DotSegment, "the path has a \".\" or \"..\" segment; resolve it before asking"),
            ("/a/%2e", PathError::DotSegment, "the path has a \".\" or \"..\" segment; resolve it before asking"),
            (
                "/a%zz",
                PathError::BadEscape,
                "the path has a percent sign that is not followed by two hexadecimal digits; write it as %25",
            ),
            (
                "/a%2",
                PathError::BadEscape,
                "the path has a percent sign that is not followed by two hexadecimal digits; write it as %25",
            ),
            (
                "/%ff",
                PathError::NotUtf8,
                "the path is not valid UTF-8 once its percent escapes are decoded; encode it as UTF-8",
            ),
            (
                "/%c0%ae",
                PathError::NotUtf8,
                "the path is not valid UTF-8 once its percent escapes are decoded; encode it as UTF-8",
            ),
            ("/a%00b", PathError::ControlCharacter, "the path holds a control character; remove it"),
            ("/a%0d%0ab", PathError::ControlCharacter, "the path holds a control character; remove it"),
        ] {
            assert_eq!(segments(path), Err(error), "{path}");
            assert_eq!(error.to_string(), text);
        }
        assert_eq!(PathError::TooLong.status(), 414);
        assert_eq!(PathError::NotUtf8.status(), 400);
    }
}
