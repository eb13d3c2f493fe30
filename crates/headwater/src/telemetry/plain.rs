//! How what a line says is written: the sentence, and then `name=value` for each field.
//!
//! Much of it comes from others: addresses, errors of upstreams. So no character of it can begin another line, or tell the terminal of who reads it
//! to do something.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// The name of the field that is the sentence.
const SENTENCE: &str = "message";

/// Writes fields like this.
pub(super) struct Plain;

impl<'writer> FormatFields<'writer> for Plain {
    fn format_fields<R: RecordFields>(&self, mut out: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line { out: &mut out, is_empty: true, written: Ok(()) };
        fields.record(&mut line);
        line.written
    }
}

/// What was written of a line.
struct Line<'a, W> {
    out: &'a mut W,
    is_empty: bool,
    written: fmt::Result,
}

impl<W: Write> Line<'_, W> {
    fn add(&mut self, name: &str, value: &dyn fmt::Debug) -> fmt::Result {
        if !std::mem::take(&mut self.is_empty) {
            self.out.write_char(' ')?;
        }
        if name != SENTENCE {
            self.out.write_str(name.strip_prefix("r#").unwrap_or(name))?;
            self.out.write_char('=')?;
        }
        write!(OneLine(self.out), "{value:?}")
    }
}

impl<W: Write> Visit for Line<'_, W> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.written.is_ok() {
            self.written = self.add(field.name(), value);
        }
    }
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
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        let written = |name: &str, value: &dyn fmt::Debug| {
            let mut out = String::new();
            Line { out: &mut out, is_empty: true, written: Ok(()) }.add(name, value).unwrap();
            out
        };
        assert_eq!(written("message", &format_args!("a mirror's run failed")), "a mirror's run failed");
        assert_eq!(written("path", &format_args!("/images/é")), "path=/images/é");
        assert_eq!(written("r#type", &7), "type=7");
        assert_eq!(written("level", &"a \"b\""), r#"level="a \"b\"""#);
        assert_eq!(
            written("error", &format_args!("no\n2026 INFO all is well\x1b[2J\u{9b}")),
            r"error=no\n2026 INFO all is well\u{1b}[2J\u{9b}"
        );
    }
}
