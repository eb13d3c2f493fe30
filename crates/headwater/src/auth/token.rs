//! Secrets that this server gives out: made from the system's random numbers, shown once, kept as their SHA-256.
//!
//! They have 200 bits or more of randomness, so a plain hash is enough: nobody can try them all, and nobody chooses them.

use std::fmt;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};

/// What every token begins with, so that people and scanners for leaked secrets know it.
const PREFIX: &str = "hw_";
/// Characters after [`PREFIX`].
const LENGTH: usize = 40;
/// How much of a token may be shown.
const SHOWN: usize = PREFIX.len() + 8;

/// A token as its holder has it: `hw_` and 40 characters of `a-z2-7`. Neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The SHA-256 of a secret, in hexadecimal: what is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretHash(String);

/// A text that can be no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no token of Headwater: those begin with hw_ and have 43 characters; copy it again")]
pub struct TokenError;

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; LENGTH * 5 / 8];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Self(format!("{PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())))
    }

    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let rest = text.strip_prefix(PREFIX).ok_or(TokenError)?;
        let good = rest.len() == LENGTH && rest.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
        if good { Ok(Self(text.to_owned())) } else { Err(TokenError) }
    }

    /// The whole secret, for who is meant to have it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The beginning of it, which may be shown and written down.
    pub fn prefix(&self) -> &str {
        &self.0[..SHOWN]
    }

    /// What is kept of it.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}…)", self.prefix())
    }
}

impl SecretHash {
    /// The hash of any secret: a token's, or the hexadecimal one of an operation.
    pub fn of(secret: &str) -> Self {
        Self(HEXLOWER.encode(&Sha256::digest(secret.as_bytes())))
    }

    /// 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// 32 random bytes in hexadecimal: what the LXD API uses as secrets of operations, because clients escape them twice.
///
/// # Errors
/// When the system has no random numbers.
pub fn random_hex() -> std::io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(HEXLOWER.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_and_read_again() {
        let secret = Secret::random().unwrap();
        assert_eq!(Secret::parse(secret.expose()), Ok(secret.clone()));
        assert_ne!(secret, Secret::random().unwrap());
        assert_eq!(secret.prefix().len(), 11);
        assert_eq!(secret.hash().as_str().len(), 64);
        assert_eq!(format!("{secret:?}"), format!("Secret({}…)", secret.prefix()), "a log does not show it");
    }

    #[test]
    fn other_texts_are_no_tokens() {
        let good = format!("hw_{}", "a".repeat(40));
        assert!(Secret::parse(&good).is_ok());
        for bad in
            ["", "hw_", &good[1..], &good[..42], &format!("{good}a"), &good.to_uppercase(), &good.replace('a', "1")]
        {
            assert_eq!(Secret::parse(bad), Err(TokenError), "{bad}");
        }
    }
}
