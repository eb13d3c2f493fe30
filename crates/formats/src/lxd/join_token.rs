//! The token that a client joins with, as one word: what `lxc remote add` and `incus remote add` take instead of an address
//! (LXD `shared/api/certificate.go`, Incus `shared/api/certificate.go`, `CertificateAddToken`).
//!
//! ```
//! use headwater_formats::lxd::{JoinToken, WireTime};
//!
//! let token = JoinToken {
//!     client_name: "laptop".into(),
//!     fingerprint: "ab".repeat(32),
//!     addresses: vec!["images.example:8443".into()],
//!     secret: "cd".repeat(32),
//!     expires_at: WireTime(None),
//! };
//! assert_eq!(token.to_string().parse(), Ok(token));
//! ```
//!
//! It is the base64 of a JSON object. The client goes to each of the addresses in turn, compares the certificate that it sees there with
//! the fingerprint, and sends the token back to prove that it was invited. This module does not know whether a token is good.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::etag;
use super::time::WireTime;

/// Longest word that is looked at, in bytes: a real one has some hundreds.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// What a join token says. Clients take one for an address unless all but the end is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// What the client will be called.
    pub client_name: String,
    /// SHA-256 of the server's certificate, in hexadecimal.
    pub fingerprint: String,
    /// Where the server is, as `host:port`.
    pub addresses: Vec<String>,
    /// The proof.
    pub secret: String,
    /// When it ends.
    #[serde(default)]
    pub expires_at: WireTime,
}

/// A text that is no join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no token to join with; copy it again, whole and in one line")]
pub struct NoJoinToken;

/// The word. Go escapes some characters in JSON that others do not; here they are escaped, too, so that it is the word that the daemons
/// would make.
impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&etag::go_json(self)))
    }
}

/// Reads the word as clients do; blanks at its ends and fields that are not known (`type` of later LXD) do not matter.
impl FromStr for JoinToken {
    type Err = NoJoinToken;

    fn from_str(text: &str) -> Result<Self, NoJoinToken> {
        let text = text.trim();
        if text.len() > MAX_TOKEN_BYTES {
            return Err(NoJoinToken);
        }
        let json = BASE64.decode(text.as_bytes()).map_err(|_| NoJoinToken)?;
        let token: Self = serde_json::from_slice(&json).map_err(|_| NoJoinToken)?;
        let complete = ![&token.client_name, &token.fingerprint, &token.secret].iter().any(|text| text.is_empty())
            && !token.addresses.is_empty();
        if complete { Ok(token) } else { Err(NoJoinToken) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::timestamp::Timestamp;

    fn token() -> JoinToken {
        JoinToken {
            client_name: "a & b".into(),
            fingerprint: "f".into(),
            addresses: vec!["10.0.0.1:8443".into(), "[2001:db8::1]:8443".into()],
            secret: "5".into(),
            expires_at: WireTime(None),
        }
    }

    #[test]
    fn written_as_the_daemons_write_it() {
        let json = concat!(
            r#"{"client_name":"a \u0026 b","fingerprint":"f","addresses":["10.0.0.1:8443","[2001:db8::1]:8443"],"#,
            r#""secret":"5","expires_at":"0001-01-01T00:00:00Z"}"#
        );
        assert_eq!(token().to_string(), BASE64.encode(json.as_bytes()));
    }

    #[test]
    fn words_of_later_releases_are_read() {
        // As later LXD make it: with a type, and with nanoseconds.
        let json = concat!(
            r#"{"client_name":"a","fingerprint":"f","addresses":["h:1"],"secret":"5","#,
            r#""expires_at":"2030-01-01T00:00:00.123456789Z","type":"Client certificate"}"#
        );
        let read: JoinToken = format!(" {}\n", BASE64.encode(json.as_bytes())).parse().unwrap();
        assert_eq!(read.expires_at.0, Timestamp::parse_rfc3339("2030-01-01T00:00:00Z"));
        let without_end = r#"{"client_name":"a","fingerprint":"f","addresses":["h:1"],"secret":"5"}"#;
        assert!(BASE64.encode(without_end.as_bytes()).parse::<JoinToken>().is_ok());
    }

    #[test]
    fn what_is_not_whole_is_none() {
        let missing = [
            JoinToken { client_name: String::new(), ..token() },
            JoinToken { fingerprint: String::new(), ..token() },
            JoinToken { addresses: Vec::new(), ..token() },
            JoinToken { secret: String::new(), ..token() },
        ];
        let words = missing.iter().map(ToString::to_string);
        let whole = token().to_string();
        let cut = whole[..whole.len() - 4].to_owned();
        let long = BASE64.encode(&vec![b' '; MAX_TOKEN_BYTES]);
        for word in words.chain(["".into(), "https://x".into(), "e30=".into(), "bnVsbA==".into(), cut, long]) {
            assert_eq!(word.parse::<JoinToken>(), Err(NoJoinToken), "{word}");
        }
    }

    proptest! {
        #[test]
        fn read_as_it_was_written(
            client_name in ".{1,40}",
            fingerprint in "[0-9a-f]{64}",
            addresses in proptest::collection::vec(".{0,60}", 1..5),
            secret in ".{1,70}",
            expires in proptest::option::of(1i64..250_000_000_000),
        ) {
            let expires_at = WireTime(expires.and_then(Timestamp::from_unix));
            let token = JoinToken { client_name, fingerprint, addresses, secret, expires_at };
            let word = token.to_string();
            prop_assert!(word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)));
            prop_assert_eq!(word.parse(), Ok(token));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = text.parse::<JoinToken>();
            let _ = BASE64.encode(&bytes).parse::<JoinToken>();
        }
    }
}
