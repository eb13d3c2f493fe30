use std::io::Write as _;

use data_encoding::BASE64;
use headwater_formats::timestamp::Timestamp;
use pgp::composed::{ArmorOptions, DetachedSignature};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    Packet, PacketParser, SecretKey, SecretSubkey, Signature, SignatureConfig, SignatureHasher, SignatureType,
    Subpacket, SubpacketData,
};
use pgp::types::{KeyDetails as _, Password, SigningKey as _};

use super::key::{KeyError, StreamKey};
use super::seconds;

/// How many bytes of a line of a clear-signed text gpg and gpgv look at (GnuPG `g10/options.h` and `g10/armor.c`, `MAX_LINELEN`).
pub const GPG_LINE: usize = 19_995;

/// Why a text was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// It would have to be changed to be clear-signed.
    #[error("the text has a line that begins with a dash or ends in a blank, and cannot be clear-signed as it is")]
    NotPlain,
    /// The library refuses.
    #[error("the text could not be signed: {0}")]
    Library(#[from] pgp::errors::Error),
}

/// What stands around a clear-signed text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearSigned {
    /// Before it.
    pub before: String,
    /// After it.
    pub after: String,
    /// The length of the longest line in bytes. One that is longer than [`GPG_LINE`] makes gpg say that the signature is bad.
    pub longest_line: usize,
}

enum Secret {
    Primary(SecretKey),
    Sub(SecretSubkey),
}

/// A key that is ready to sign.
pub struct Signer {
    secret: Secret,
    not_before: Timestamp,
}

impl Signer {
    /// Reads the key.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] when what was kept is not what [`StreamKey`] says.
    pub fn new(key: &StreamKey) -> Result<Self, KeyError> {
        let packet = BASE64.decode(key.secret.as_bytes()).map_err(KeyError::unusable)?;
        let secret = match PacketParser::new(packet.as_slice()).next() {
            Some(Ok(Packet::SecretKey(secret))) => Secret::Primary(secret),
            Some(Ok(Packet::SecretSubkey(secret))) => Secret::Sub(secret),
            _ => return Err(KeyError::Unusable("its secret is damaged".to_owned())),
        };
        Ok(Self { secret, not_before: key.created_at })
    }

    /// A signature over exactly these bytes, in armor.
    ///
    /// # Errors
    /// [`SignError::Library`], of which no case is known.
    pub fn detached<P: AsRef<[u8]>>(
        &self,
        pieces: impl IntoIterator<Item = P>,
        at: Timestamp,
    ) -> Result<String, SignError> {
        let mut hasher = self.begin(SignatureType::Binary, at)?;
        for piece in pieces {
            hasher.write_all(piece.as_ref()).map_err(pgp::errors::Error::from)?;
        }
        armored(self.end(hasher)?)
    }

    /// What makes of these bytes a clear-signed text. The text itself stays as it is, so lines of it must not begin with a dash, nor end in
    /// blanks: programs differ in whether they hash those.
    ///
    /// # Errors
    /// [`SignError::NotPlain`] for such a line.
    pub fn clear<P: AsRef<[u8]>>(
        &self,
        pieces: impl IntoIterator<Item = P>,
        at: Timestamp,
    ) -> Result<ClearSigned, SignError> {
        let mut hasher = self.begin(SignatureType::Text, at)?;
        let mut lines = Lines::default();
        for piece in pieces {
            lines.see(piece.as_ref())?;
            hasher.write_all(piece.as_ref()).map_err(pgp::errors::Error::from)?;
        }
        let longest_line = lines.end()?;
        let signature = armored(self.end(hasher)?)?;
        Ok(ClearSigned {
            before: format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: {}\n\n", self.hash()),
            // The end of line before the signature is not part of the text (RFC 9580, section 7.1).
            after: format!("\n{signature}"),
            longest_line,
        })
    }

    fn hash(&self) -> HashAlgorithm {
        match &self.secret {
            Secret::Primary(key) => key.hash_alg(),
            Secret::Sub(key) => key.hash_alg(),
        }
    }

    fn begin(&self, kind: SignatureType, at: Timestamp) -> Result<SignatureHasher, SignError> {
        let (algorithm, fingerprint, id) = match &self.secret {
            Secret::Primary(key) => (key.algorithm(), key.fingerprint(), key.legacy_key_id()),
            Secret::Sub(key) => (key.algorithm(), key.fingerprint(), key.legacy_key_id()),
        };
        let at = seconds(at.max(self.not_before));
        let mut config = SignatureConfig::v4(kind, algorithm, self.hash());
        config.hashed_subpackets = vec![
            Subpacket::regular(SubpacketData::SignatureCreationTime(at))?,
            Subpacket::regular(SubpacketData::IssuerFingerprint(fingerprint))?,
        ];
        config.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(id))?];
        Ok(config.into_hasher()?)
    }

    fn end(&self, hasher: SignatureHasher) -> Result<Signature, SignError> {
        let password = Password::empty();
        Ok(match &self.secret {
            Secret::Primary(key) => hasher.sign(key, &password)?,
            Secret::Sub(key) => hasher.sign(key, &password)?,
        })
    }
}

fn armored(signature: Signature) -> Result<String, SignError> {
    Ok(DetachedSignature::new(signature).to_armored_string(ArmorOptions::default())?)
}

/// Watches that a text can be clear-signed without a change.
struct Lines {
    last: u8,
    length: usize,
    longest: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self { last: b'\n', length: 0, longest: 0 }
    }
}

impl Lines {
    fn see(&mut self, piece: &[u8]) -> Result<(), SignError> {
        for line in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.last == b'\n' {
                self.length = 0;
                if line.first() == Some(&b'-') {
                    return Err(SignError::NotPlain);
                }
            }
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            if text.len() < line.len() && blank(*text.last().unwrap_or(&self.last)) {
                return Err(SignError::NotPlain);
            }
            self.length += text.len();
            self.longest = self.longest.max(self.length);
            self.last = *line.last().unwrap_or(&self.last);
        }
        Ok(())
    }

    fn end(self) -> Result<usize, SignError> {
        if blank(self.last) { Err(SignError::NotPlain) } else { Ok(self.longest) }
    }
}

fn blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}
