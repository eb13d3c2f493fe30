//! OpenPGP: the keys by which streams are signed, the signatures, and whether others' are right.
//!
//! ```
//! use headwater::openpgp::{Signer, StreamKey};
//! use headwater_formats::timestamp::Timestamp;
//!
//! let now = Timestamp::from_unix(1_760_000_000).unwrap();
//! let key = StreamKey::create("Images of Example", now).unwrap();
//! let signed = Signer::new(&key).unwrap().clear([r#"{"format":"index:1.0"}"#], now).unwrap();
//! assert!(signed.before.starts_with("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n"));
//! assert!(signed.after.starts_with("\n-----BEGIN PGP SIGNATURE-----\n"));
//! ```
//!
//! A text is read in pieces, so that memory does not grow with it. The same key, text and time give the same bytes on every server:
//! signatures are of version 4, which have no salt, and none of the algorithms here takes random numbers to sign.
//!
//! This room knows nothing of HTTP, of SQL, of where keys are kept, or of what a text means. It is the only one that knows `pgp`.

mod import;
mod key;
mod sign;
#[cfg(test)]
mod tests;
mod verify;

pub use key::{KeyError, StreamKey, armored_keyring, binary_keyring};
pub use sign::{ClearSigned, GPG_LINE, SignError, Signer};
pub use verify::{Keyring, MAX_KEYRING_BYTES, VerifyError};

use headwater_formats::timestamp::Timestamp;
use pgp::types::Timestamp as Seconds;

/// Times of OpenPGP are seconds since 1970 in 32 bits; what lies outside is moved to the nearest.
fn seconds(time: Timestamp) -> Seconds {
    Seconds::from_secs(u32::try_from(time.unix().max(0)).unwrap_or(u32::MAX))
}

fn timestamp(time: Seconds) -> Timestamp {
    Timestamp::from_unix(i64::from(time.as_secs())).unwrap_or(Timestamp::EPOCH)
}
