use std::fmt;
use std::io::Write;

use data_encoding::BASE64;
use headwater_formats::timestamp::Timestamp;
use pgp::armor::{self, BlockType};
use pgp::composed::SignedKeyDetails;
use pgp::composed::SignedPublicKey;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::crypto::{ed25519, eddsa_legacy};
use pgp::packet::{
    KeyFlags, PacketTrait, PubKeyInner, PublicKey, SecretKey, SignatureConfig, SignatureType, Subpacket, SubpacketData,
    UserId,
};
use pgp::ser::Serialize;
use pgp::types::{
    KeyDetails as _, KeyVersion, Password, PlainSecretParams, PublicParams, SecretParams, SignedUser, Tag,
};

use super::{import, seconds, timestamp};

/// Longest name of a key in bytes.
const MAX_OWNER: usize = 256;

/// Why a key cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The name is no name.
    #[error("the name of a key is one line of 1 to 256 bytes; give another one")]
    Owner,
    /// The system has no random numbers.
    #[error("the system gave no random numbers for a key ({0}); see what is wrong with it")]
    Randomness(std::io::Error),
    /// The bytes are no OpenPGP key.
    #[error("this is no OpenPGP key ({0}); `gpg --armor --export-secret-keys KEY` writes one")]
    Unreadable(String),
    /// A public key.
    #[error("this is a public key, which cannot sign; `gpg --armor --export-secret-keys KEY` writes the secret one")]
    Public,
    /// Several keys.
    #[error("the file holds several keys; export the one that is to sign: `gpg --armor --export-secret-keys KEY`")]
    Several,
    /// Nothing in it may sign, or its secret is not there.
    #[error("no part of the key that may sign holds a secret and is good now ({0}); export a key that can sign")]
    NoSigner(String),
    /// The passphrase is missing.
    #[error("the key is protected by a passphrase; give a file that holds it with --passphrase-file")]
    Protected,
    /// The passphrase is wrong.
    #[error("the passphrase does not open the key; check the file")]
    Passphrase,
    /// It was withdrawn.
    #[error("the key is revoked; take another one")]
    Revoked,
    /// It is over.
    #[error("the key expired at {0}; extend it with `gpg --quick-set-expire`, and export it again")]
    Expired(String),
    /// The library refuses.
    #[error("the key cannot be used ({0}); take another one, such as one that `headwater key create` makes")]
    Unusable(String),
}

impl KeyError {
    pub(super) fn unusable(error: impl fmt::Display) -> Self {
        Self::Unusable(error.to_string())
    }
}

/// A key by which streams are signed: what everybody may have of it, and the one secret that signs.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamKey {
    /// The fingerprint of the key: 40 hexadecimal digits in upper case, as gpg shows it.
    pub id: String,
    /// Whose it is, as gpg shows it.
    pub owner: String,
    /// No signature bears an earlier time: verifiers refuse those that are older than their key.
    pub created_at: Timestamp,
    /// When verifiers stop to believe it, if ever.
    pub expires_at: Option<Timestamp>,
    /// The public key, as packets.
    pub certificate: Vec<u8>,
    /// The secret of the part that signs, as one packet in base64. Nothing protects it.
    pub secret: String,
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamKey").field("id", &self.id).field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl StreamKey {
    /// Makes an Ed25519 key that signs and does nothing else, and does not expire. It is of the kind that gpg 2.1 and later know
    /// ("EdDSA", which RFC 9580 calls legacy); gpg 2.2 does not know the newer kind.
    ///
    /// # Errors
    /// [`KeyError::Owner`], [`KeyError::Randomness`].
    pub fn create(owner: &str, now: Timestamp) -> Result<Self, KeyError> {
        if owner.is_empty() || owner.len() > MAX_OWNER || owner.chars().any(char::is_control) {
            return Err(KeyError::Owner);
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| KeyError::Randomness(std::io::Error::other(error)))?;
        made(bytes, owner, now).map_err(KeyError::unusable)
    }

    /// Reads a secret key that other programs made, armored or as packets: of version 4, and RSA from 2048 bits, Ed25519, or ECDSA over the curves of
    /// NIST. What is kept of it is the part that signs: the newest subkey that may, or the primary key. Other secrets in it, and
    /// what others said of it, are left out.
    ///
    /// # Errors
    /// Everything that [`KeyError`] names but randomness.
    pub fn import(bytes: &[u8], passphrase: Option<&[u8]>, now: Timestamp) -> Result<Self, KeyError> {
        import::read(bytes, passphrase, now)
    }
}

/// The public keys as one file that `gpgv --keyring` takes.
pub fn binary_keyring<'a>(keys: impl IntoIterator<Item = &'a StreamKey>) -> Vec<u8> {
    keys.into_iter().flat_map(|key| &key.certificate).copied().collect()
}

/// The same as text, for `gpg --import` and for people.
pub fn armored_keyring<'a>(keys: impl IntoIterator<Item = &'a StreamKey>) -> String {
    armored_public(binary_keyring(keys))
}

/// Packets of public keys in armor.
pub(super) fn armored_public(packets: Vec<u8>) -> String {
    struct Packets(Vec<u8>);
    impl Serialize for Packets {
        fn to_writer<W: Write>(&self, out: &mut W) -> pgp::errors::Result<()> {
            Ok(out.write_all(&self.0)?)
        }
        fn write_len(&self) -> usize {
            self.0.len()
        }
    }
    let mut text = Vec::new();
    // Memory takes every byte, and armor is ASCII.
    let _ = armor::write(&Packets(packets), BlockType::PublicKey, &mut text, None, true);
    String::from_utf8(text).unwrap_or_default()
}

fn made(bytes: [u8; 32], owner: &str, now: Timestamp) -> pgp::errors::Result<StreamKey> {
    let secret = ed25519::SecretKey::try_from_bytes(bytes, ed25519::Mode::EdDSALegacy)?;
    let public = PublicParams::EdDSALegacy((&secret).into());
    let secret = PlainSecretParams::EdDSALegacy(eddsa_legacy::SecretKey::Ed25519(secret));
    let inner = PubKeyInner::new(KeyVersion::V4, PublicKeyAlgorithm::EdDSALegacy, seconds(now), None, public)?;
    let public = PublicKey::from_inner(inner)?;
    let key = SecretKey::new(public.clone(), SecretParams::Plain(secret))?;

    let owner = UserId::from_str(Default::default(), owner)?;
    let mut flags = KeyFlags::default();
    flags.set_sign(true);
    flags.set_certify(true);
    let mut config = SignatureConfig::v4(SignatureType::CertPositive, key.algorithm(), HashAlgorithm::Sha256);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(seconds(now)))?,
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
        Subpacket::regular(SubpacketData::KeyFlags(flags))?,
        Subpacket::regular(SubpacketData::IsPrimary(true))?,
    ];
    config.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id()))?];
    let signature = config.sign_certification(&key, &public, &Password::empty(), Tag::UserId, &owner)?;
    let user = SignedUser::new(owner, vec![signature]);
    let certificate =
        SignedPublicKey::new(public, SignedKeyDetails::new(Vec::new(), Vec::new(), vec![user], Vec::new()), Vec::new());
    kept(&certificate, &key, timestamp(key.created_at()), None)
}

/// What is kept of a key.
pub(super) fn kept(
    certificate: &SignedPublicKey,
    signer: &impl PacketTrait,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
) -> pgp::errors::Result<StreamKey> {
    let mut secret = Vec::new();
    signer.to_writer_with_header(&mut secret)?;
    let owner = certificate.details.users.first().map(|user| String::from_utf8_lossy(user.id.id()).into_owned());
    Ok(StreamKey {
        id: format!("{:X}", certificate.fingerprint()),
        owner: owner.unwrap_or_default(),
        created_at,
        expires_at,
        certificate: certificate.to_bytes()?,
        secret: BASE64.encode(&secret),
    })
}
