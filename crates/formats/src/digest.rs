//! SHA-256 values and the two things they name: bytes ([`Digest`]) and images ([`Fingerprint`]).

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The text was not a SHA-256 value in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not 64 characters long.
    #[error("a SHA-256 value has 64 characters, this one has {0}")]
    Length(usize),
    /// A character that is not `0-9` or `a-f`.
    #[error("a SHA-256 value is written in the characters 0-9 and a-f")]
    NotHex,
    /// An empty prefix, or one longer than a whole value.
    #[error("a fingerprint prefix has between 1 and 64 characters, this one has {0}")]
    PrefixLength(usize),
}

fn parse(text: &str) -> Result<[u8; 32], DigestError> {
    if text.len() != 64 {
        return Err(DigestError::Length(text.chars().count()));
    }
    let mut bytes = [0u8; 32];
    match HEXLOWER.decode_mut(text.as_bytes(), &mut bytes) {
        Ok(32) => Ok(bytes),
        _ => Err(DigestError::NotHex),
    }
}

macro_rules! sha256_value {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps the 32 bytes that a SHA-256 computation gave.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = DigestError;

            fn from_str(text: &str) -> Result<Self, DigestError> {
                parse(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

sha256_value! {
    /// The SHA-256 of some bytes: the name of a blob, and the `sha256` of a stream item.
    Digest
}

sha256_value! {
    /// What an image is called by, in both protocols: the SHA-256 of a unified image's file, or of the bytes of
    /// the metadata file followed by the bytes of the root file. Lower-case hexadecimal, 64 characters
    /// (LXD `lxd/images.go`, Incus `cmd/incusd/images.go`).
    Fingerprint
}

impl Fingerprint {
    /// The first 12 characters, as `lxc image list` shows them.
    pub fn short(&self) -> String {
        HEXLOWER.encode(&self.0[..6])
    }
}

impl Digest {
    /// The fingerprint of a unified image, whose file has this digest.
    pub const fn as_unified_fingerprint(&self) -> Fingerprint {
        Fingerprint(self.0)
    }
}

/// The first characters of a fingerprint, as people type them: 1 to 64 characters of lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FingerprintPrefix(String);

impl FingerprintPrefix {
    /// The characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole fingerprint, when all 64 characters are given.
    pub fn full(&self) -> Option<Fingerprint> {
        self.0.parse().ok()
    }
}

impl From<Fingerprint> for FingerprintPrefix {
    fn from(fingerprint: Fingerprint) -> Self {
        Self(fingerprint.to_string())
    }
}

impl FromStr for FingerprintPrefix {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        if text.is_empty() || text.len() > 64 {
            return Err(DigestError::PrefixLength(text.chars().count()));
        }
        if text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text.to_owned()))
        } else {
            Err(DigestError::NotHex)
        }
    }
}

impl fmt::Display for FingerprintPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_reads_back_as_it_is_written() {
        let text = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let fingerprint: Fingerprint = text.parse().unwrap();
        assert_eq!(fingerprint.to_string(), text);
        assert_eq!(fingerprint.short(), "0123456789ab");
    }

    #[test]
    fn upper_case_and_short_values_are_refused() {
        assert_eq!("ABC".parse::<Digest>(), Err(DigestError::Length(3)));
        assert_eq!("A".repeat(64).parse::<Digest>(), Err(DigestError::NotHex));
        assert_eq!("".parse::<FingerprintPrefix>(), Err(DigestError::PrefixLength(0)));
        assert_eq!("%".parse::<FingerprintPrefix>(), Err(DigestError::NotHex));
    }
}
