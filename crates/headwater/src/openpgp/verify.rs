//! Whether a text was signed by one of certain keys.

use headwater_formats::timestamp::Timestamp;
use pgp::composed::{CleartextSignedMessage, Deserializable as _, DetachedSignature, SignedPublicKey};
use pgp::packet::{Signature, SignatureType};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails as _, VerifyingKey};

use super::timestamp;

/// Most bytes of a keyring.
pub const MAX_KEYRING_BYTES: usize = 1 << 20;

/// Why a text is not believed, or a keyring is none. Parts of sentences that name the text, or the file, go before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Over [`MAX_KEYRING_BYTES`].
    #[error("it has more than {MAX_KEYRING_BYTES} bytes, which is the limit for keys; give only those that sign")]
    TooLarge,
    /// Not a public key in it.
    #[error("it holds no OpenPGP public key that can be read ({0}); export it with `gpg --export --armor`")]
    NoKey(String),
    /// The text has no signature.
    #[error("it is not signed")]
    Unsigned,
    /// No signature is by one of the keys.
    #[error("its signature is by none of the keys that were given, or it was changed after it was signed")]
    Unknown,
}

/// Keys that are believed.
#[derive(Debug, Clone)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

impl Keyring {
    /// Reads public keys, in armor or as packets.
    ///
    /// # Errors
    /// [`VerifyError::TooLarge`], [`VerifyError::NoKey`].
    pub fn read(bytes: &[u8]) -> Result<Self, VerifyError> {
        if bytes.len() > MAX_KEYRING_BYTES {
            return Err(VerifyError::TooLarge);
        }
        let read =
            || -> pgp::errors::Result<Vec<SignedPublicKey>> { SignedPublicKey::from_reader_many(bytes)?.0.collect() };
        let keys = read().map_err(|error| VerifyError::NoKey(error.to_string()))?;
        // One whose parts are not bound to it, or that was withdrawn, is not believed.
        let good = |key: &SignedPublicKey| {
            let revoked = key.details.revocation_signatures.iter().any(|one| one.verify_key(&key.primary_key).is_ok());
            !revoked && key.verify_bindings().is_ok()
        };
        let keys: Vec<SignedPublicKey> = keys.into_iter().filter(good).collect();
        if keys.is_empty() { Err(VerifyError::NoKey("none is valid".to_owned())) } else { Ok(Self { keys }) }
    }

    /// The keys in armor, as [`Keyring::read`] takes them.
    ///
    /// # Errors
    /// [`VerifyError::NoKey`], of which no case is known.
    pub fn to_armor(&self) -> Result<String, VerifyError> {
        let packets = self.keys.iter().try_fold(Vec::new(), |mut packets, key| {
            key.to_writer(&mut packets)?;
            Ok::<_, pgp::errors::Error>(packets)
        });
        let packets = packets.map_err(|error| VerifyError::NoKey(error.to_string()))?;
        Ok(super::key::armored_public(packets))
    }

    /// The text within a clear-signed one, with ends of lines as they were signed.
    ///
    /// # Errors
    /// [`VerifyError::Unsigned`], [`VerifyError::Unknown`].
    pub fn open(&self, signed: &[u8]) -> Result<Vec<u8>, VerifyError> {
        let text = std::str::from_utf8(signed).map_err(|_| VerifyError::Unsigned)?;
        let (message, _) = CleartextSignedMessage::from_string(text).map_err(|_| VerifyError::Unsigned)?;
        let text = message.signed_text().into_bytes();
        match message.signatures().iter().any(|signature| self.made(signature, &text)) {
            true => Ok(text),
            false => Err(VerifyError::Unknown),
        }
    }

    /// Whether a signature beside a text is over exactly these bytes.
    ///
    /// # Errors
    /// [`VerifyError::Unsigned`] when it is no signature, [`VerifyError::Unknown`].
    pub fn check(&self, text: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
        let signature =
            DetachedSignature::from_reader_single(signature).map_err(|_| VerifyError::Unsigned)?.0.signature;
        if self.made(&signature, text) { Ok(()) } else { Err(VerifyError::Unknown) }
    }

    fn made(&self, signature: &Signature, text: &[u8]) -> bool {
        let Some(at) = signature.created().map(timestamp) else { return false };
        self.keys.iter().any(|key| {
            let created = timestamp(key.primary_key.created_at());
            // What the key says of itself last, of all its names.
            let users = key.details.users.iter().flat_map(|user| &user.signatures);
            let own = users.filter(|one| one.key_expiration_time().is_some() || one.created().is_some());
            let own = own.max_by_key(|one| one.created().map(timestamp));
            let lasts = own.and_then(Signature::key_expiration_time).map(|lasts| i64::from(lasts.as_secs()));
            good_at(created, lasts, at)
                && (verified(signature, &key.primary_key, text)
                    || key.public_subkeys.iter().any(|subkey| {
                        let mut bindings = subkey.signatures.iter();
                        let withdrawn = bindings.any(|one| one.typ() == Some(SignatureType::SubkeyRevocation));
                        let newest = subkey.signatures.iter().max_by_key(|one| one.created().map(timestamp));
                        let signs = newest.is_some_and(|one| one.key_flags().sign());
                        let lasts = newest.and_then(Signature::key_expiration_time);
                        let lasts = lasts.map(|lasts| i64::from(lasts.as_secs()));
                        let created = timestamp(subkey.key.created_at());
                        !withdrawn && signs && good_at(created, lasts, at) && verified(signature, &subkey.key, text)
                    }))
        })
    }
}

/// Whether a key that is good for so many seconds (0: for ever) may have signed then.
fn good_at(created: Timestamp, lasts: Option<i64>, at: Timestamp) -> bool {
    at >= created && lasts.filter(|lasts| *lasts > 0).is_none_or(|lasts| at < created.plus_seconds(lasts))
}

fn verified(signature: &Signature, key: &impl VerifyingKey, text: &[u8]) -> bool {
    signature.verify(key, text).is_ok()
}
