//! Lengths of time as people write them: `90s`, `30m`, `24h`, `7d`.

use std::fmt;
use std::str::FromStr;

/// A length of time in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seconds(pub(super) u32);

const UNITS: [(char, u32); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write a number and a unit, s, m, h or d: 24h, 30m, 0s".to_owned();
        let unit = text.chars().next_back().ok_or_else(wrong)?;
        let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let digits = text.strip_suffix(unit).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let number: u32 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
        number
            .checked_mul(seconds)
            .map(Self)
            .ok_or_else(|| "this is longer than 136 years; choose a shorter time".to_owned())
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A day is 24h as people say it; more of them are days.
        let fits = |(unit, seconds): &(char, u32)| {
            self.0.is_multiple_of(*seconds) && self.0 >= if *unit == 'd' { 2 * seconds } else { *seconds }
        };
        let (unit, seconds) = UNITS.into_iter().find(fits).unwrap_or(('s', 1));
        write!(f, "{}{unit}", self.0 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        for (text, seconds) in
            [("0s", 0), ("90s", 90), ("30m", 1800), ("24h", 86_400), ("25h", 90_000), ("7d", 604_800)]
        {
            assert_eq!(text.parse(), Ok(Seconds(seconds)));
            assert_eq!(Seconds(seconds).to_string(), text);
        }
        for text in ["", "24", "h", "-1h", "+1h", "1.5h", "1w", "99999999999s", "é"] {
            assert!(text.parse::<Seconds>().is_err(), "{text}");
        }
        assert!("50000d".parse::<Seconds>().unwrap_err().contains("136 years"));
    }
}
