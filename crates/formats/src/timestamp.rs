//! Moments in time, to the second, and the ways in which the two protocols write them.

use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::macros::format_description;

/// Seconds since 1970-01-01 00:00 UTC. Always a moment that the [`time`] crate can show (years -9999 to 9999).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01 00:00 UTC, which clients show as "never".
    pub const EPOCH: Self = Self(0);

    /// The moment that many seconds after the epoch; `None` when no calendar has it.
    pub fn from_unix(seconds: i64) -> Option<Self> {
        OffsetDateTime::from_unix_timestamp(seconds).ok().map(|_| Self(seconds))
    }

    /// Seconds since the epoch.
    pub const fn unix(self) -> i64 {
        self.0
    }

    /// The moment `seconds` later (earlier when negative), held at the ends of the calendar.
    pub fn plus_seconds(self, seconds: i64) -> Self {
        const FIRST: i64 = -377_705_116_800; // -9999-01-01
        const LAST: i64 = 253_402_300_799; // 9999-12-31 23:59:59
        Self(self.0.saturating_add(seconds).clamp(FIRST, LAST))
    }

    fn datetime(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.0).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// `2025-01-01T00:00:00Z`, as the LXD API writes times.
    pub fn rfc3339(self) -> String {
        self.datetime().format(&Rfc3339).unwrap_or_else(|_| "0001-01-01T00:00:00Z".to_owned())
    }

    /// `Wed, 01 Jan 2025 00:00:00 +0000`, as simplestreams documents write times.
    pub fn rfc2822(self) -> String {
        self.datetime().format(&Rfc2822).unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 +0000".to_owned())
    }

    /// `20250101`.
    pub fn compact_date(self) -> String {
        self.datetime().format(format_description!("[year][month][day]")).unwrap_or_default()
    }

    /// `2025-01-01`, as `support_eol` is written.
    pub fn date(self) -> String {
        self.datetime().format(format_description!("[year]-[month]-[day]")).unwrap_or_default()
    }

    /// `20250101_07:42`, the version name of this moment (UTC).
    pub fn version_name(self) -> String {
        self.datetime().format(format_description!("[year][month][day]_[hour]:[minute]")).unwrap_or_default()
    }

    /// Reads an RFC 3339 time; fractions of a second are dropped.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text, &Rfc3339).ok().map(|t| Self(t.unix_timestamp()))
    }

    /// Reads `YYYY-MM-DD` as midnight UTC.
    pub fn parse_date(text: &str) -> Option<Self> {
        time::Date::parse(text, format_description!("[year]-[month]-[day]"))
            .ok()
            .map(|d| Self(d.midnight().assume_utc().unix_timestamp()))
    }

    /// Reads the `YYYYMMDD` that a version name must begin with, as midnight UTC.
    pub fn parse_compact_date(text: &str) -> Option<Self> {
        if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        time::Date::parse(text, format_description!("[year][month][day]"))
            .ok()
            .map(|d| Self(d.midnight().assume_utc().unix_timestamp()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_the_protocols_write_it() {
        let t = Timestamp::from_unix(1_704_267_720).unwrap();
        assert_eq!(t.rfc3339(), "2024-01-03T07:42:00Z");
        assert_eq!(t.rfc2822(), "Wed, 03 Jan 2024 07:42:00 +0000");
        assert_eq!(t.version_name(), "20240103_07:42");
        assert_eq!(t.date(), "2024-01-03");
        assert_eq!(Timestamp::parse_compact_date("20240103"), Timestamp::from_unix(1_704_240_000));
        assert_eq!(Timestamp::parse_compact_date("20241303"), None);
        assert_eq!(Timestamp::from_unix(i64::MAX), None);
    }
}
