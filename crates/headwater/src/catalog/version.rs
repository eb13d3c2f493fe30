//! The next version name, for when one is taken.

use headwater_formats::names::VersionName;
use headwater_formats::timestamp::Timestamp;

/// The name a minute later. It is always greater in byte order, which is how clients order versions.
///
/// | taken | next |
/// | --- | --- |
/// | `20250101_07:42`, `20250101_0742`, `202501010742` | `20250101_07:43`, `20250101_0743`, `202501010743` |
/// | `20250101_23:59` | `20250102_00:00` |
/// | `20250101` | `20250101_00:01` |
/// | `20250101.2`, and all else | `20250101.2_00:01`, then `20250101.2_00:02` |
///
/// A name that would grow too long gives way to the first minute of the next day.
pub(super) fn bump(taken: &VersionName) -> VersionName {
    let text = taken.as_str();
    let next = by_calendar(text).or_else(|| by_suffix(text)).unwrap_or_else(|| format!("{text}_00:01"));
    VersionName::new(next)
        .or_else(|_| VersionName::new(taken.date().plus_seconds(24 * 3600).version_name()))
        .unwrap_or_else(|_| unreachable!("a day is a version name"))
}

/// The minute's place in names that are nothing but date and minute.
fn by_calendar(text: &str) -> Option<String> {
    let between = match text.len() {
        14 if text.as_bytes()[8] == b'_' && text.as_bytes()[11] == b':' => ("_", ":"),
        13 if text.as_bytes()[8] == b'_' => ("_", ""),
        12 => ("", ""),
        _ => return None,
    };
    let (hour, minute) = clock(&text[8 + between.0.len()..], between.1)?;
    let now = Timestamp::parse_compact_date(&text[..8])?.plus_seconds(hour * 3600 + minute * 60);
    let next = now.plus_seconds(60);
    let name = next.version_name();
    // The last minute of the calendar has no next one.
    (next.unix() - now.unix() == 60 && name.len() == 14)
        .then(|| format!("{}{}{}{}{}", &name[..8], between.0, &name[9..11], between.1, &name[12..]))
}

/// The minute's place in names that end in one that was added here.
fn by_suffix(text: &str) -> Option<String> {
    let (base, minute) = text.rsplit_once('_')?;
    let (hour, minute) = clock(minute, ":")?;
    let next = hour * 60 + minute + 1;
    (next < 24 * 60).then(|| format!("{base}_{:02}:{:02}", next / 60, next % 60))
}

fn clock(text: &str, between: &str) -> Option<(i64, i64)> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i64>().ok())?;
    if text.len() != 4 + between.len() || &text[2..2 + between.len()] != between {
        return None;
    }
    let (hour, minute) = (digits(&text[..2])?, digits(&text[2 + between.len()..])?);
    (hour < 24 && minute < 60).then_some((hour, minute))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_name_is_a_minute_later_and_greater() {
        for (taken, next) in [
            ("20250101_07:42", "20250101_07:43"),
            ("20250101_0742", "20250101_0743"),
            ("202501010742", "202501010743"),
            ("20250101_23:59", "20250102_00:00"),
            ("20241231_2359", "20250101_0000"),
            ("20250101", "20250101_00:01"),
            ("20250101.2", "20250101.2_00:01"),
            ("20250101.2_00:59", "20250101.2_01:00"),
            ("20250101.2_23:59", "20250101.2_23:59_00:01"),
            ("20250101_99:99", "20250101_99:99_00:01"),
            ("20250101_7:42a", "20250101_7:42a_00:01"),
            ("99991231_23:59", "99991231_23:59_00:01"),
            ("20250101-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "20250102_00:00"),
        ] {
            let found = bump(&VersionName::new(taken).unwrap());
            assert_eq!(found.as_str(), next, "after {taken}");
            assert!(found.as_str() > taken, "{next} comes after {taken}");
        }
    }
}
