//! What is asked for next, and what has to come of it.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use super::dice::Dice;
use super::things::{Document, Header, Thing, without_time};
use super::wire::{Answer, Manner, Request};

/// One request, and the answer that it has to get.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) thing: Arc<Thing>,
    pub(super) request: Request,
    pub(super) manner: Manner,
    /// The life of the thing when it was asked for.
    pub(super) before: u8,
    expected: Expected,
}

#[derive(Debug, Clone)]
struct Expected {
    status: u16,
    /// The part of the thing's bytes that comes.
    part: Range<usize>,
    /// Other bytes, instead.
    told: Option<String>,
    content_range: Option<String>,
}

const OTHER_VERSION: &str = "this is not the version that the request's conditions name\n";

impl Case {
    /// A request for this thing, of any kind that there is.
    pub(super) fn of(thing: &Arc<Thing>, dice: &mut Dice) -> Self {
        let size = thing.bytes.len();
        let whole = Expected { status: thing.status, part: 0..size, told: None, content_range: None };
        let mut headers: Vec<_> = thing.ask.clone();
        let mut expected = whole.clone();
        let head = thing.head && dice.percent(8);
        if dice.percent(65) {
            let (range, outcome) = range(size, dice);
            headers.push(("Range", range));
            if thing.ranges && !head {
                expected = outcome.unwrap_or(whole.clone());
            }
        }
        if let Some(tag) = thing.etag.clone().filter(|_| thing.conditions && dice.percent(25)) {
            let other = "\"something-else\"".to_owned();
            match dice.below(8) {
                0 => headers.push(("If-Range", tag)),
                1 => {
                    headers.push(("If-Range", dice.pick(&[other, format!("W/{tag}"), "yesterday".to_owned()]).clone()));
                    expected = whole;
                }
                2 => {
                    headers.push(("If-None-Match", dice.pick(&[tag.clone(), format!("{other}, W/{tag}")]).clone()));
                    expected = Expected { status: 304, part: 0..0, told: None, content_range: None };
                }
                3 => headers.push(("If-None-Match", other)),
                4 => {
                    headers.push(("If-Match", other));
                    expected =
                        Expected { status: 412, part: 0..0, told: Some(OTHER_VERSION.to_owned()), content_range: None };
                }
                5 => headers.push(("If-Match", tag)),
                6 => headers.push(("If-Modified-Since", "Mon, 01 Jan 2001 00:00:00 GMT".to_owned())),
                _ => headers.push(("If-Unmodified-Since", "Mon, 01 Jan 2120 00:00:00 GMT".to_owned())),
            }
        }
        let length = expected.part.len();
        let manner = match dice.below(100) {
            0..6 if !head && length > 0 => Manner::Abort(dice.below(length)),
            6..14 => Manner::Slowly,
            _ => Manner::Quickly,
        };
        let method = if head { "HEAD" } else { "GET" };
        let request = Request { method, path: thing.path.clone(), headers };
        Self {
            before: thing.life.as_ref().map_or(0, |life| life.get()),
            thing: Arc::clone(thing),
            request,
            manner,
            expected,
        }
    }

    /// Compares an answer with what it has to be.
    pub(super) fn judge(&self, answer: &Answer) -> Result<(), String> {
        let after = self.thing.life.as_ref().map_or(0, |life| life.get());
        if answer.status == 404 && self.thing.status != 404 && after > 0 {
            return self.judge_body(answer, &self.thing.gone);
        }
        if self.before == 2 {
            return Err(format!("{} for something that is gone", answer.status));
        }
        let expected = &self.expected;
        same("status", &answer.status, &expected.status)?;
        let header = |name: &str| -> Result<Option<&str>, String> {
            let mut values = answer.headers.get_all(name).iter();
            match (values.next(), values.next()) {
                (_, Some(_)) => Err(format!("{name} is sent twice")),
                (value, None) => Ok(value.map(|value| value.to_str().unwrap_or("(not text)"))),
            }
        };
        same("content-range", &header("content-range")?, &expected.content_range.as_deref())?;
        if self.thing.document.is_none() && matches!(expected.status, 200 | 206 | 304) {
            same("etag", &header("etag")?, &self.thing.etag.as_deref())?;
        }
        let whole_head = expected.told.is_none() && expected.status != 304;
        for (name, must) in self.thing.headers.iter().filter(|_| whole_head) {
            let found = header(name)?;
            let good = match must {
                Header::Is(text) => found == Some(text),
                Header::Begins(text) => found.is_some_and(|found| found.starts_with(text)),
                Header::Absent => found.is_none(),
            };
            if !good {
                return Err(format!("{name} is {found:?} and has to be {must:?}"));
            }
        }
        if let Some(document) = &self.thing.document {
            return self.judge_document(answer, document, header("etag")?, header("content-length")?);
        }
        match &expected.told {
            _ if expected.status == 304 => same("bytes of a 304", &answer.body.len(), &0),
            Some(told) => self.judge_body(answer, told.as_bytes()),
            None => self.judge_body(answer, &self.thing.bytes[expected.part.clone()]),
        }
    }

    fn judge_document(
        &self,
        answer: &Answer,
        document: &Document,
        etag: Option<&str>,
        length: Option<&str>,
    ) -> Result<(), String> {
        if self.request.method == "HEAD" {
            return same("bytes of a HEAD", &answer.body.len(), &0);
        } else if matches!(self.manner, Manner::Abort(_)) {
            return Ok(());
        }
        let tag = etag.filter(|tag| tag.starts_with('"')).ok_or("a document without a strong etag")?;
        if !document.tags.agree(tag, &answer.body) {
            return Err(format!("the etag {tag} came with other bytes before"));
        }
        same("content-length", &length, &Some(answer.body.len().to_string().as_str()))?;
        let mut plain = answer.body.clone();
        if document.gzip {
            plain.clear();
            MultiGzDecoder::new(&answer.body[..]).read_to_end(&mut plain).map_err(|error| error.to_string())?;
        }
        if without_time(&plain) == **self.thing.bytes { Ok(()) } else { Err("the document is another one".to_owned()) }
    }

    fn judge_body(&self, answer: &Answer, expected: &[u8]) -> Result<(), String> {
        let length = answer.headers.get("content-length").map(|value| value.to_str().unwrap_or("(not text)"));
        // Lists of the API are made while they are sent.
        if length.is_some() || self.thing.conditions {
            same("content-length", &length, &Some(expected.len().to_string().as_str()))?;
        }
        let found = &answer.body;
        let expected = match self.manner {
            _ if self.request.method == "HEAD" => &[][..],
            Manner::Abort(_) => &expected[..found.len().min(expected.len())],
            _ => expected,
        };
        if found != expected {
            let at = found.iter().zip(expected).position(|(one, other)| one != other);
            let at = at.unwrap_or(found.len().min(expected.len()));
            let (found, expected) = (found.len(), expected.len());
            return Err(format!("the body has {found} bytes for {expected}, and differs at byte {at}"));
        }
        Ok(())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found:?} and has to be {expected:?}")) }
}

/// A `Range`, and what it makes of something of this size; nothing when the whole has to come.
fn range(size: usize, dice: &mut Dice) -> (String, Option<Expected>) {
    let part = |first: usize, end: usize| {
        let content_range = Some(format!("bytes {first}-{}/{size}", end - 1));
        Some(Expected { status: 206, part: first..end, told: None, content_range })
    };
    let outside = || {
        let told = Some(format!("the range lies outside the file, which has {size} bytes\n"));
        Some(Expected { status: 416, part: 0..0, told, content_range: Some(format!("bytes */{size}")) })
    };
    let first = dice.below(size);
    match dice.below(12) {
        0..4 => {
            let last = first + dice.below(size - first);
            (format!("bytes={first}-{last}"), part(first, last + 1))
        }
        4 => {
            let last = (first + dice.below(200)).min(size - 1);
            (format!("bytes={first}-{last}"), part(first, last + 1))
        }
        5 => (format!("bytes={first}-"), part(first, size)),
        6 => {
            let last = dice.below(size * 2) + 1;
            (format!("bytes=-{last}"), part(size.saturating_sub(last), size))
        }
        7 => (format!("bytes={first}-{}", size + dice.below(1000)), part(first, size)),
        8 => (dice.pick(&[format!("bytes={size}-"), format!("bytes={}-{}", size + 5, size + 9)]).clone(), outside()),
        9 => ("bytes=-0".to_owned(), outside()),
        10 => (format!("bytes=0-{first},{first}-{first}"), None),
        _ => {
            let bad = ["bytes=9-3", "bytes=", "bytes=a-b", "bytes", "lines=0-1", "bytes=--1", "bytes=1-2-3", "0-5"];
            ((*dice.pick(&bad)).to_owned(), None)
        }
    }
}
