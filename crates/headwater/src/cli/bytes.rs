//! Numbers of bytes as people write them: `500MiB`, `50GiB`, `0`.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) u64);

const UNITS: [(&str, u64); 5] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("B", 1)];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write a number and a unit, KiB, MiB, GiB or TiB: 500MiB, 50GiB, 0".to_owned();
        let with_unit = UNITS.into_iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)));
        // Zero needs no unit.
        let (digits, unit) = with_unit.or((text == "0").then_some((text, 1))).ok_or_else(wrong)?;
        let digits = Some(digits.trim_end()).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let number: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
        // What the catalog can keep.
        let bytes = number.checked_mul(unit).filter(|bytes| i64::try_from(*bytes).is_ok());
        bytes.map(Self).ok_or_else(|| "this is more than 8 EiB; write a smaller number".to_owned())
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, unit): &&(&str, u64)| *unit > 1 && self.0 >= *unit && self.0.is_multiple_of(*unit);
        match UNITS.iter().rev().find(fits) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None if self.0 == 0 => f.write_str("0"),
            None => write!(f, "{}B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        for (text, bytes) in
            [("0", 0), ("500MiB", 500 << 20), ("50GiB", 50 << 30), ("3TiB", 3 << 40), ("1KiB", 1024), ("7B", 7)]
        {
            assert_eq!(text.parse(), Ok(Bytes(bytes)));
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!("1024MiB".parse::<Bytes>().unwrap().to_string(), "1GiB");
        for text in ["", "50", "GiB", "-1GiB", "+1GiB", "1.5GiB", "1GB", "1g", "99999999999TiB", "é"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }
}
