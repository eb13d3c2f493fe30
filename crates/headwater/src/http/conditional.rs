//! Conditional and range requests (RFC 9110, sections 13 and 14): what the headers ask for, decided without any I/O.
//!
//! ```
//! use headwater::http::conditional::{Range, range};
//!
//! let headers = http::HeaderMap::from_iter([(http::header::RANGE, http::HeaderValue::from_static("bytes=-5"))]);
//! assert_eq!(range(&headers, 100, None, None), Range::Part { first: 95, last: 99 });
//! ```
//!
//! Choices that the RFC leaves to a server: several ranges in one request, ranges that cannot be read and units other than
//! bytes are answered with the whole file, as if there were no `Range`; so nobody can ask for a thousand overlapping
//! pieces. Only a single range that lies outside the file is refused (416).
//!
//! This file does not know what is being sent.

use std::time::{Duration, SystemTime};

use headwater_formats::timestamp::Timestamp;
use http::header::{self, HeaderMap, HeaderName};

/// What is known of a representation, to compare the client's copy with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// A strong entity tag, with its quotes.
    pub etag: Option<String>,
    /// When it last changed.
    pub modified: Option<Timestamp>,
}

/// What the conditions in a request come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send it.
    Send,
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client thinks it is.
    Failed,
}

/// What a `Range` comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Send everything (200).
    Whole,
    /// Send these bytes, the last one included (206).
    Part {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: u64,
    },
    /// The range lies outside (416).
    Outside,
}

/// A timestamp as `Last-Modified` writes it; `None` before 1970.
pub fn http_date(at: Timestamp) -> Option<String> {
    let seconds = u64::try_from(at.unix()).ok()?;
    Some(httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<i64> {
    parse_date(headers.get(name)?.to_str().ok()?)
}

fn parse_date(text: &str) -> Option<i64> {
    let at = httpdate::parse_http_date(text).ok()?;
    i64::try_from(at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// Decides the conditions of a GET or HEAD in the order that the RFC gives (section 13.2.2).
pub fn evaluate(headers: &HeaderMap, validators: &Validators) -> Verdict {
    let etag = validators.etag.as_deref();
    let modified = validators.modified.map(Timestamp::unix);
    if headers.contains_key(header::IF_MATCH) {
        if !lists(headers, header::IF_MATCH, etag, false) {
            return Verdict::Failed;
        }
    } else if let (Some(limit), Some(modified)) = (date(headers, header::IF_UNMODIFIED_SINCE), modified)
        && modified > limit
    {
        return Verdict::Failed;
    }
    if headers.contains_key(header::IF_NONE_MATCH) {
        if lists(headers, header::IF_NONE_MATCH, etag, true) {
            return Verdict::NotModified;
        }
    } else if let (Some(since), Some(modified)) = (date(headers, header::IF_MODIFIED_SINCE), modified)
        && modified <= since
    {
        return Verdict::NotModified;
    }
    Verdict::Send
}

/// Whether one of the tags in a header (a list, perhaps over several lines, or `*`) is this one.
fn lists(headers: &HeaderMap, name: HeaderName, etag: Option<&str>, weakly: bool) -> bool {
    headers.get_all(name).iter().any(|line| {
        let Ok(mut rest) = line.to_str().map(str::trim) else { return false };
        if rest == "*" {
            return true;
        }
        // A tag may hold commas, so the list is read from quote to quote.
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            let (weak, tail) = match rest.strip_prefix("W/") {
                Some(tail) => (true, tail),
                None => (false, rest),
            };
            let Some(end) = tail.strip_prefix('"').and_then(|tail| tail.find('"')) else { return false };
            let tag = &tail[..end + 2];
            if (weakly || !weak) && etag == Some(tag) {
                return true;
            }
            rest = &tail[end + 2..];
        }
    })
}

/// Decides the `Range` of a GET over `size` bytes; `If-Range` is compared with the validators.
pub fn range(headers: &HeaderMap, size: u64, etag: Option<&str>, modified: Option<Timestamp>) -> Range {
    let mut lines = headers.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Range::Whole };
    if let Some(condition) = headers.get(header::IF_RANGE) {
        let same = condition.to_str().is_ok_and(|text| {
            let text = text.trim();
            etag == Some(text) || (parse_date(text).is_some() && parse_date(text) == modified.map(Timestamp::unix))
        });
        if !same {
            return Range::Whole;
        }
    }
    line.to_str().ok().and_then(|text| single(text, size)).unwrap_or(Range::Whole)
}

fn single(text: &str, size: u64) -> Option<Range> {
    let (unit, set) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    if first.is_empty() {
        let length = number(last)?.min(size);
        return Some(match length {
            0 => Range::Outside,
            length => Range::Part { first: size - length, last: size - 1 },
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some(if first >= size { Range::Outside } else { Range::Part { first, last: last.min(size - 1) } })
}

/// A number in digits; one that is too large for any file is the largest there is.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(list: &[(HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in list {
            map.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    const DAY: &str = "Wed, 03 Jan 2024 07:42:00 GMT";
    const DAY_BEFORE: &str = "Tue, 02 Jan 2024 07:42:00 GMT";
    const DAY_AFTER: &str = "Thu, 04 Jan 2024 07:42:00 GMT";

    fn known() -> Validators {
        Validators { etag: Some("\"a,b\"".into()), modified: Timestamp::from_unix(1_704_267_720) }
    }

    #[test]
    fn conditions() {
        use Verdict::{Failed, NotModified, Send};
        assert_eq!(http_date(known().modified.unwrap()).unwrap(), DAY);
        for (list, verdict) in [
            (&[][..], Send),
            (&[(header::IF_NONE_MATCH, "\"a,b\"")], NotModified),
            (&[(header::IF_NONE_MATCH, "W/\"a,b\"")], NotModified),
            (&[(header::IF_NONE_MATCH, "\"x\", W/\"y\" ,\"a,b\"")], NotModified),
            (&[(header::IF_NONE_MATCH, "*")], NotModified),
            (&[(header::IF_NONE_MATCH, "\"x\"")], Send),
            (&[(header::IF_NONE_MATCH, "a,b")], Send),
            (&[(header::IF_NONE_MATCH, "\"a,b")], Send),
            (&[(header::IF_NONE_MATCH, "")], Send),
            (&[(header::IF_NONE_MATCH, "\"x\""), (header::IF_NONE_MATCH, "\"a,b\"")], NotModified),
            // The tag decides, whatever the date says.
            (&[(header::IF_NONE_MATCH, "\"x\""), (header::IF_MODIFIED_SINCE, DAY_AFTER)], Send),
            (&[(header::IF_MODIFIED_SINCE, DAY)], NotModified),
            (&[(header::IF_MODIFIED_SINCE, DAY_AFTER)], NotModified),
            (&[(header::IF_MODIFIED_SINCE, DAY_BEFORE)], Send),
            (&[(header::IF_MODIFIED_SINCE, "yesterday")], Send),
            (&[(header::IF_MATCH, "\"a,b\"")], Send),
            (&[(header::IF_MATCH, "*")], Send),
            (&[(header::IF_MATCH, "W/\"a,b\"")], Failed),
            (&[(header::IF_MATCH, "\"x\"")], Failed),
            (&[(header::IF_UNMODIFIED_SINCE, DAY_BEFORE)], Failed),
            (&[(header::IF_UNMODIFIED_SINCE, DAY)], Send),
            (&[(header::IF_MATCH, "\"a,b\""), (header::IF_UNMODIFIED_SINCE, DAY_BEFORE)], Send),
        ] {
            assert_eq!(evaluate(&headers(list), &known()), verdict, "{list:?}");
        }
    }

    #[test]
    fn ranges() {
        use Range::{Outside, Whole};
        let part = |first, last| Range::Part { first, last };
        for (text, size, outcome) in [
            ("bytes=0-", 100, part(0, 99)),
            ("bytes=0-0", 100, part(0, 0)),
            ("bytes=10-19", 100, part(10, 19)),
            ("bytes=99-", 100, part(99, 99)),
            ("bytes=90-200", 100, part(90, 99)),
            ("bytes=-1", 100, part(99, 99)),
            ("bytes=-100", 100, part(0, 99)),
            ("bytes=-1000", 100, part(0, 99)),
            ("Bytes = 1 - 2 ", 100, part(1, 2)),
            ("bytes=0-99999999999999999999999", 100, part(0, 99)),
            ("bytes=100-", 100, Outside),
            ("bytes=100-200", 100, Outside),
            ("bytes=99999999999999999999999-", 100, Outside),
            ("bytes=-0", 100, Outside),
            ("bytes=0-", 0, Outside),
            ("bytes=-5", 0, Outside),
            // Not one range of bytes: answered as if it were not there.
            ("bytes=0-1,5-6", 100, Whole),
            ("bytes=0-50,20-80", 100, Whole),
            ("bytes=5-4", 100, Whole),
            ("bytes=-", 100, Whole),
            ("bytes=", 100, Whole),
            ("bytes=a-b", 100, Whole),
            ("bytes=-1-2", 100, Whole),
            ("bytes=+1-2", 100, Whole),
            ("bytes=0x1-2", 100, Whole),
            ("bytes 0-1", 100, Whole),
            ("lines=0-1", 100, Whole),
            ("", 100, Whole),
        ] {
            assert_eq!(range(&headers(&[(header::RANGE, text)]), size, None, None), outcome, "{text} of {size}");
        }
        let twice = headers(&[(header::RANGE, "bytes=0-1"), (header::RANGE, "bytes=2-3")]);
        assert_eq!(range(&twice, 100, None, None), Whole);
        assert_eq!(range(&HeaderMap::new(), 100, None, None), Whole);
    }

    #[test]
    fn if_range_is_compared_strongly() {
        let Validators { etag, modified } = known();
        for (condition, outcome) in [
            ("\"a,b\"", Range::Part { first: 0, last: 1 }),
            (DAY, Range::Part { first: 0, last: 1 }),
            ("W/\"a,b\"", Range::Whole),
            ("\"x\"", Range::Whole),
            (DAY_AFTER, Range::Whole),
            ("nonsense", Range::Whole),
        ] {
            let asked = headers(&[(header::RANGE, "bytes=0-1"), (header::IF_RANGE, condition)]);
            assert_eq!(range(&asked, 100, etag.as_deref(), modified), outcome, "{condition}");
            if outcome == Range::Whole {
                assert_eq!(range(&asked, 100, None, None), Range::Whole);
            }
        }
    }
}
