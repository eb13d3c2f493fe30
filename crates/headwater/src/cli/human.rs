//! Sizes, dates and counts as people read them, in the manner of `lxc`.
//!
//! ```text
//! 12.34MiB    Jan 2, 2025 at 3:04pm (UTC)    2025/01/02 15:04 UTC    1,234,567
//! ```
//!
//! It knows nothing of tables or of where the text goes.

use headwater_formats::timestamp::Timestamp;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// `12.34MiB`: powers of 1024, two decimals, whole bytes below 1 KiB (LXD `shared/units`).
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    format!("{value:.2}{unit}")
}

/// `1,234,567`
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 image`, `2 images`
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `Jan 2, 2025 at 3:04pm (UTC)`, as lists show moments.
pub(super) fn date(at: Timestamp) -> String {
    write(
        at,
        format_description!(
            "[month repr:short] [day padding:none], [year] at [hour repr:12 padding:none]:[minute][period case:lower] (UTC)"
        ),
    )
}

/// `2025/01/02 15:04 UTC`, as `image info` shows moments.
pub(super) fn minute(at: Timestamp) -> String {
    write(at, format_description!("[year]/[month]/[day] [hour]:[minute] UTC"))
}

fn write(at: Timestamp, format: &[BorrowedFormatItem<'_>]) -> String {
    OffsetDateTime::from_unix_timestamp(at.unix())
        .ok()
        .and_then(|moment| moment.format(format).ok())
        .unwrap_or_else(|| at.rfc3339())
}

/// The text in one line and without control characters, which could otherwise move the cursor or repaint the screen:
/// descriptions and names come from people who are not the one who reads them.
pub(super) fn one_line(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_bidi_control(character) {
            clean.extend(character.escape_default());
        } else {
            clean.push(character);
        }
    }
    clean
}

/// As [`one_line`], but line feeds stay.
pub(super) fn lines(text: &str) -> String {
    text.lines().map(one_line).collect::<Vec<_>>().join("\n")
}

/// Characters that turn the direction of the text around them, and so make it look like another one.
fn is_bidi_control(character: char) -> bool {
    matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_lxc_prints_them() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00KiB"),
            (12_939_428, "12.34MiB"),
            (1 << 30, "1.00GiB"),
            (u64::MAX, "16.00EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn counts_have_separators() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        assert_eq!(counted(1, "image", "images"), "1 image");
    }

    #[test]
    fn dates_as_lxc_prints_them() {
        let at = |text| Timestamp::parse_rfc3339(text).unwrap();
        assert_eq!(date(at("2025-01-02T15:04:00Z")), "Jan 2, 2025 at 3:04pm (UTC)");
        assert_eq!(date(at("2025-12-31T00:05:00Z")), "Dec 31, 2025 at 12:05am (UTC)");
        assert_eq!(minute(at("2025-01-02T15:04:00Z")), "2025/01/02 15:04 UTC");
    }

    #[test]
    fn a_text_cannot_steer_the_terminal() {
        assert_eq!(one_line("a\x1b[2Jb\nc\u{202e}é"), "a\\u{1b}[2Jb\\nc\\u{202e}é");
    }
}
