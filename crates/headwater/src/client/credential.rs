//! What is shown to a server that has to know who asks: a client certificate, whose key never leaves this process, or a token.

use std::fmt;

use headwater_formats::timestamp::Timestamp;
use http::HeaderValue;

use super::{ClientError, trust};

/// How long a certificate that is made here is good: ten years, as those that `lxc` and `incus` make.
const LIFETIME: i64 = 10 * 365 * 24 * 3600;

/// What a server is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credential {
    /// Nothing: a guest asks.
    #[default]
    Nothing,
    /// A certificate, in the TLS handshake.
    Certificate(ClientCertificate),
    /// A token, with each request.
    Token(BearerToken),
}

/// A certificate and its key.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    certificate: String,
    key: String,
    fingerprint: String,
}

/// Without the key.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl ClientCertificate {
    /// A certificate (with those that signed it behind it, if they are wanted there) and its key, both in PEM.
    ///
    /// # Errors
    /// [`ClientError::Credential`] when one of them cannot be read, or they do not belong to each other.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, ClientError> {
        let fingerprint = trust::fingerprint_of_pair(certificate, key)?;
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), fingerprint })
    }

    /// A new one, signed by itself, as clients of LXD and Incus have.
    ///
    /// # Errors
    /// [`ClientError::Setup`] when the system gives no random numbers.
    pub fn generate(name: &str, now: Timestamp) -> Result<Self, ClientError> {
        let make = || {
            let time = |at: Timestamp| {
                time::OffsetDateTime::from_unix_timestamp(at.unix()).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
            };
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::OrganizationName, "Headwater");
            // No more than a common name holds.
            let common: String = name.chars().filter(char::is_ascii_graphic).take(64).collect();
            params.distinguished_name.push(rcgen::DnType::CommonName, common);
            params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature, rcgen::KeyUsagePurpose::KeyEncipherment];
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            // A day back, for servers whose clock is behind.
            params.not_before = time(now.plus_seconds(-24 * 3600));
            params.not_after = time(now.plus_seconds(LIFETIME));
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?;
            Ok::<_, rcgen::Error>((params.self_signed(&key)?.pem(), key.serialize_pem()))
        };
        let (certificate, key) = make().map_err(|error| ClientError::Setup(error.to_string()))?;
        Self::from_pem(&certificate, &key)
    }

    /// The certificate, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The key, in PEM: a secret.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// SHA-256 of the certificate, in hexadecimal: what servers know it by.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Both in one text.
    pub(super) fn identity(&self) -> Result<reqwest::Identity, ClientError> {
        let both = format!("{}\n{}", self.key.trim_end(), self.certificate);
        reqwest::Identity::from_pem(both.as_bytes())
            .map_err(|_| ClientError::Credential("it cannot be used in a connection"))
    }
}

/// A token, as it is sent in a header.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(HeaderValue);

/// Without the token.
impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(…)")
    }
}

impl BearerToken {
    /// Takes one.
    ///
    /// # Errors
    /// [`ClientError::Credential`] for a text that cannot stand in a header.
    pub fn new(token: &str) -> Result<Self, ClientError> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| ClientError::Credential("a token is one word without blanks"))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_unix(1_750_000_000).unwrap()
    }

    #[test]
    fn a_certificate_and_its_key_belong_together() {
        let one = ClientCertificate::generate("headwater a", now()).unwrap();
        let other = ClientCertificate::generate("headwater a", now()).unwrap();
        assert_ne!(one.fingerprint(), other.fingerprint());
        assert_eq!(ClientCertificate::from_pem(one.certificate(), one.key()).unwrap(), one);
        let mixed = ClientCertificate::from_pem(one.certificate(), other.key()).unwrap_err().to_string();
        assert!(mixed.contains("another certificate's"), "{mixed}");
        for (certificate, key, why) in [
            ("", one.key(), "it holds no certificate in PEM"),
            (one.key(), one.key(), "it holds no certificate in PEM"),
            (one.certificate(), "", "its key is no private key in PEM"),
            (one.certificate(), one.certificate(), "its key is no private key in PEM"),
        ] {
            let refused = ClientCertificate::from_pem(certificate, key).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn secrets_are_not_told_by_accident() {
        let made = ClientCertificate::generate("a", now()).unwrap();
        let told = format!("{:?}", Credential::Certificate(made.clone()));
        assert!(told.contains(made.fingerprint()) && !told.contains("PRIVATE"), "{told}");
        let told = format!("{:?}", Credential::Token(BearerToken::new("hw_secret").unwrap()));
        assert!(!told.contains("hw_secret"), "{told}");
        assert!(BearerToken::new("a\nb").is_err());
    }
}
