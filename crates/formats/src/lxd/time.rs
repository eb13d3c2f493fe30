//! Times in the API: RFC 3339, and never nothing. "Not set" is Go's zero time; an empty text would make clients reject the whole
//! answer (LXD `shared/api/image.go`, where every time is a `time.Time`).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::timestamp::Timestamp;

/// Go's zero time.
pub const ZERO: &str = "0001-01-01T00:00:00Z";

/// A moment, or none. Read leniently: `null`, the zero time and everything up to 1970, which clients show as "never",
/// are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct WireTime(pub Option<Timestamp>);

impl From<Timestamp> for WireTime {
    fn from(at: Timestamp) -> Self {
        Self(Some(at))
    }
}

impl From<Option<Timestamp>> for WireTime {
    fn from(at: Option<Timestamp>) -> Self {
        Self(at)
    }
}

impl fmt::Display for WireTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(at) => f.write_str(&at.rfc3339()),
            None => f.write_str(ZERO),
        }
    }
}

impl Serialize for WireTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WireTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(Self(None));
        };
        let at = Timestamp::parse_rfc3339(&text)
            .ok_or_else(|| serde::de::Error::custom("a time is written like 2025-01-01T00:00:00Z"))?;
        Ok(Self((at > Timestamp::EPOCH).then_some(at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_the_zero_time_in_both_directions() {
        assert_eq!(serde_json::to_string(&WireTime(None)).unwrap(), "\"0001-01-01T00:00:00Z\"");
        for never in ["null", "\"0001-01-01T00:00:00Z\"", "\"1970-01-01T00:00:00Z\"", "\"1970-01-01T01:00:00+01:00\""] {
            assert_eq!(serde_json::from_str::<WireTime>(never).unwrap(), WireTime(None), "{never}");
        }
        let nanoseconds: WireTime = serde_json::from_str("\"2024-01-03T08:42:00.352164451+01:00\"").unwrap();
        assert_eq!(serde_json::to_string(&nanoseconds).unwrap(), "\"2024-01-03T07:42:00Z\"");
        assert!(serde_json::from_str::<WireTime>("\"\"").is_err());
    }
}
