//! How a line for people is written: when, how grave, by which part, the sentence, and then `name=value` for each field.
//!
//! Much of it comes from others: addresses, errors of upstreams. So no character of it can begin another line, or tell the terminal of who reads it
//! to do something. What the program could do with less work is done with less: every request is a line.

use std::fmt::{self, Write};
use std::time::SystemTime;

use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_log::NormalizeEvent;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The name of the field that is the sentence.
const SENTENCE: &str = "message";
/// How fields begin that say who wrote by `log`.
const TRANSLATED: &str = "log.";

/// Writes events like this.
pub(super) struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    #[allow(clippy::disallowed_methods, reason = "a line is of now, whatever time the rest of the program was given")]
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        // What comes from libraries that know only `log` says in fields who said it.
        let translated = event.normalized_metadata();
        let about = translated.as_ref().unwrap_or_else(|| event.metadata());
        let now = stamp(SystemTime::now().into());
        out.write_str(std::str::from_utf8(&now).map_err(|_| fmt::Error)?)?;
        out.write_str(level(*about.level()))?;
        out.write_str(about.target())?;
        out.write_str(": ")?;
        let mut line = Line { out: &mut out, is_empty: true, written: Ok(()) };
        event.record(&mut line);
        line.written?;
        out.write_char('\n')
    }
}

/// How grave, as wide as the others, with what stands around it.
fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => " ERROR ",
        Level::WARN => "  WARN ",
        Level::INFO => "  INFO ",
        Level::DEBUG => " DEBUG ",
        _ => " TRACE ",
    }
}

/// The time in UTC, to the microsecond, as RFC 3339 writes it: `2026-11-24T09:05:01.000250Z`.
fn stamp(at: OffsetDateTime) -> [u8; 27] {
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let mut put = |from: usize, width: usize, number: u32| {
        let mut rest = number;
        for digit in text[from..from + width].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    };
    put(0, 4, at.year().unsigned_abs());
    put(5, 2, u8::from(at.month()).into());
    put(8, 2, at.day().into());
    put(11, 2, at.hour().into());
    put(14, 2, at.minute().into());
    put(17, 2, at.second().into());
    put(20, 6, at.microsecond());
    text
}

/// What was written of a line.
struct Line<'a, W> {
    out: &'a mut W,
    is_empty: bool,
    written: fmt::Result,
}

impl<W: Write> Line<'_, W> {
    fn add(&mut self, name: &str, write: impl FnOnce(&mut W) -> fmt::Result) {
        if self.written.is_ok() && !name.starts_with(TRANSLATED) {
            self.written = self.begin(name).and_then(|()| write(self.out));
        }
    }

    fn begin(&mut self, name: &str) -> fmt::Result {
        if !std::mem::take(&mut self.is_empty) {
            self.out.write_char(' ')?;
        }
        if name == SENTENCE {
            return Ok(());
        }
        self.out.write_str(name.strip_prefix("r#").unwrap_or(name))?;
        self.out.write_char('=')
    }
}

impl<W: Write> Visit for Line<'_, W> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), |out| write!(OneLine(out), "{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), |out| text(out, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), |out| decimal(out, value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), |out| out.write_str(if value { "true" } else { "false" }));
    }
}

fn decimal(out: &mut impl Write, number: u64) -> fmt::Result {
    // As many digits as the largest number has.
    let (mut digits, mut first, mut rest) = ([b'0'; 20], 20, number);
    while rest > 0 || first == 20 {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.write_str(std::str::from_utf8(&digits[first..]).map_err(|_| fmt::Error)?)
}

/// A text as it is, or in quotes when it would not be seen where it ends.
fn text(out: &mut impl Write, text: &str) -> fmt::Result {
    let is_word = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
    let is_visible = |one: char| !one.is_control() && !one.is_whitespace() && one != '"';
    if !text.is_empty() && (text.bytes().all(is_word) || text.chars().all(is_visible)) {
        return out.write_str(text);
    }
    write!(OneLine(out), "{text:?}")
}

/// Escapes control characters, as Rust writes them.
struct OneLine<'a, W>(&'a mut W);

impl<W: Write> Write for OneLine<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !text.contains(char::is_control) {
            return self.0.write_str(text);
        }
        text.chars().try_for_each(|one| match one.is_control() {
            true => write!(self.0, "{}", one.escape_default()),
            false => self.0.write_char(one),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use time::macros::datetime;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn the_time_to_the_microsecond() {
        assert_eq!(&stamp(datetime!(2026-11-24 09:05:01.000_250_999 UTC)), b"2026-11-24T09:05:01.000250Z");
        assert_eq!(&stamp(OffsetDateTime::UNIX_EPOCH), b"1970-01-01T00:00:00.000000Z");
    }

    #[test]
    fn numbers() {
        for number in [0, 7, 10, 200, 1_234_567_890, u64::MAX] {
            let mut text = String::new();
            decimal(&mut text, number).unwrap();
            assert_eq!(text, number.to_string());
        }
    }

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of the events, without their times.
    fn written(events: impl FnOnce()) -> Vec<String> {
        let kept = Kept::default();
        let out = kept.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || out.clone()).event_format(Lines);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), events);
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line[27..].to_owned()).collect()
    }

    #[test]
    fn a_line_is_the_sentence_and_then_its_fields() {
        let lines = written(|| {
            tracing::info!(target: "access", path = "/images/é", status = 200_u16, whole = true, "request");
            tracing::warn!(target: "mirror", error = %"no answer", "a mirror's run failed");
            tracing::debug!(target: "x", r#type = 7, said = "a \"b\"", nothing = "", two = "b c", list = ?["a"]);
        });
        assert_eq!(
            lines,
            [
                "  INFO access: request path=/images/é status=200 whole=true",
                "  WARN mirror: a mirror's run failed error=no answer",
                r#" DEBUG x: type=7 said="a \"b\"" nothing="" two="b c" list=["a"]"#,
            ]
        );
    }

    #[test]
    fn what_others_say_stays_on_its_line() {
        let said = "no\n2026 INFO all is well\x1b[2J\u{9b}";
        let lines = written(|| {
            tracing::error!(target: "x", error = %said, "failed");
            tracing::error!(target: "x", path = said, "failed");
            tracing::error!(target: "x", path = "a\u{9b}b\u{85}c", "failed");
        });
        assert_eq!(
            lines,
            [
                r" ERROR x: failed error=no\n2026 INFO all is well\u{1b}[2J\u{9b}",
                r#" ERROR x: failed path="no\n2026 INFO all is well\u{1b}[2J\u{9b}""#,
                r#" ERROR x: failed path="a\u{9b}b\u{85}c""#,
            ]
        );
    }
}
