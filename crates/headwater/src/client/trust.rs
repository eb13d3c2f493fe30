//! Which servers are believed. Beside [`crate::http::tls`], which is the other end, the only file that knows rustls.
//!
//! A certificate that was given is the only one that will do, under whatever name the server is reached: that is how LXD and Incus
//! pin what a person has confirmed once (LXD `shared/network.go` `finalizeTLSConfig`; there, a certificate authority of
//! the system would do as well, here it does not). That the server holds the key is checked in the handshake; that the certificate is
//! valid today is checked as in Go. Without one, the system's authorities decide.

use std::sync::{Arc, OnceLock};

use data_encoding::{BASE64, HEXLOWER};
use headwater_formats::lxd::certificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};
use sha2::{Digest as _, Sha256};

use super::ClientError;
use super::credential::Credential;

/// Whom to believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Certificates that the system trusts for the server's name.
    System,
    /// This certificate and no other.
    Pinned(Pin),
    /// The certificate with this SHA-256 and no other.
    Named(Named),
}

/// A certificate that somebody vouched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    der: CertificateDer<'static>,
}

/// A certificate of which nothing but its SHA-256 is known beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    sha256: [u8; 32],
    seen: Seen,
}

/// The certificate that a server has shown, once it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen(Arc<OnceLock<CertificateDer<'static>>>);

impl Named {
    /// By its SHA-256 in hexadecimal. Once a server was believed, its certificate is in the second of the pair.
    pub(super) fn new(sha256: &str) -> Result<(Self, Seen), ClientError> {
        let bytes = HEXLOWER.decode(sha256.trim().to_ascii_lowercase().as_bytes()).ok();
        let sha256 = bytes.and_then(|bytes| bytes.try_into().ok());
        let sha256 = sha256.ok_or(ClientError::Credential("the token names no certificate; copy it again"))?;
        let seen = Seen::default();
        Ok((Self { sha256, seen: seen.clone() }, seen))
    }
}

impl Seen {
    /// In PEM.
    pub(super) fn pem(&self) -> Option<String> {
        Some(certificate::pem(&BASE64.encode(self.0.get()?)))
    }
}

impl Trust {
    /// The first certificate of a text in PEM; an empty text is [`Trust::System`].
    pub fn from_pem(text: &str) -> Result<Self, ClientError> {
        if text.trim().is_empty() {
            return Ok(Self::System);
        }
        let der = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|_| ClientError::NoCertificate)?;
        if x509_parser::parse_x509_certificate(&der).is_err() {
            return Err(ClientError::NoCertificate);
        }
        Ok(Self::Pinned(Pin { der: der.into_owned() }))
    }

    /// The settings for a connection in which this is shown; `None` leaves it to the system.
    pub(super) fn config(&self, shown: &Credential) -> Result<Option<ClientConfig>, ClientError> {
        let wanted = match self {
            Self::System => return Ok(None),
            Self::Pinned(pin) => Wanted::Der(pin.der.clone()),
            Self::Named(named) => Wanted::Named(named.clone()),
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let only = Only { wanted, provider: Arc::clone(&provider) };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientError::Setup(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(only));
        let Credential::Certificate(ours) = shown else { return Ok(Some(builder.with_no_client_auth())) };
        let (chain, key) = pair(ours.certificate(), ours.key())?;
        let config = builder.with_client_auth_cert(chain, key);
        Ok(Some(config.map_err(|error| ClientError::Setup(error.to_string()))?))
    }
}

/// The certificate that a client shows, those that signed it behind it, and its key.
type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn pair(certificate: &str, key: &str) -> Result<Pair, ClientError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
    let chain = chain.map_err(|_| ClientError::Credential("it holds no certificate in PEM"))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| ClientError::Credential("its key is no private key in PEM without a password"))?;
    Ok((chain, key))
}

/// The SHA-256 of a client's certificate in hexadecimal, once it and its key were found to be of use and to belong to each other.
pub(super) fn fingerprint_of_pair(certificate: &str, key: &str) -> Result<String, ClientError> {
    let (chain, key) = pair(certificate, key)?;
    let first = chain.first().ok_or(ClientError::Credential("it holds no certificate in PEM"))?;
    if x509_parser::parse_x509_certificate(first).is_err() {
        return Err(ClientError::Credential("what it holds is no certificate"));
    }
    let fingerprint = HEXLOWER.encode(&Sha256::digest(first));
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|_| {
        ClientError::Credential("the key is another certificate's, or of a kind that is not known here")
    })?;
    Ok(fingerprint)
}

/// Why a pinned server is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mistrust {
    /// Another certificate.
    #[error(
        "the server's certificate is not the one that was given; if the server really got a new one, remove and add it again where the \
         copy was asked for"
    )]
    Other,
    /// Out of its dates.
    #[error("the server's certificate is the one that was given, but it is not valid today; give the server a new one")]
    Dates,
}

/// Takes one certificate and no other.
#[derive(Debug)]
struct Only {
    wanted: Wanted,
    provider: Arc<CryptoProvider>,
}

/// Which certificate is believed.
#[derive(Debug)]
enum Wanted {
    Der(CertificateDer<'static>),
    Named(Named),
}

impl Wanted {
    fn is(&self, shown: &CertificateDer<'_>) -> bool {
        match self {
            Self::Der(der) => shown.as_ref() == der.as_ref(),
            Self::Named(named) => Sha256::digest(shown)[..] == named.sha256,
        }
    }
}

fn mistrust(reason: Mistrust) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(reason))))
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.wanted.is(shown) {
            return Err(mistrust(Mistrust::Other));
        }
        let (_, certificate) = x509_parser::parse_x509_certificate(shown).map_err(|_| mistrust(Mistrust::Other))?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let valid = certificate.validity();
        if now < valid.not_before.timestamp() || now > valid.not_after.timestamp() {
            return Err(mistrust(Mistrust::Dates));
        }
        if let Wanted::Named(named) = &self.wanted {
            // The first one stays; any other would have the same SHA-256.
            let _ = named.seen.0.set(shown.clone().into_owned());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What the chain of causes says about the certificate, in words for people.
pub(super) fn reason(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let rustls = error.downcast_ref::<rustls::Error>()?;
    Some(match rustls {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => other.to_string(),
        rustls::Error::InvalidCertificate(error) => format!(
            "the server's certificate is not trusted by this system ({error}); give its certificate with the request, or add \
             the authority that signed it to the system"
        ),
        other => format!("the TLS handshake failed ({other}); check that the address is that of an https server"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(days: i64) -> (String, CertificateDer<'static>) {
        let mut params = rcgen::CertificateParams::new(vec!["x.example".to_owned()]).unwrap();
        params.not_before = time::OffsetDateTime::from_unix_timestamp(0).unwrap();
        params.not_after = time::OffsetDateTime::from_unix_timestamp(days * 86_400).unwrap();
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), certificate.der().clone())
    }

    fn said(pem: &str, shown: &CertificateDer<'static>, day: u64) -> Option<String> {
        let Trust::Pinned(pin) = Trust::from_pem(pem).unwrap() else { panic!("a certificate was given") };
        let only = Only { wanted: Wanted::Der(pin.der), provider: Arc::new(aws_lc_rs::default_provider()) };
        let name = ServerName::try_from("another.example").unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(day * 86_400));
        only.verify_server_cert(shown, &[], &name, &[], now).err().map(|error| reason(&error).unwrap())
    }

    #[test]
    fn the_given_certificate_and_no_other_under_any_name() {
        let (pem, der) = certificate(10);
        assert_eq!(said(&pem, &der, 5), None);
        let words = said(&pem, &certificate(10).1, 5).unwrap();
        assert!(words.starts_with("the server's certificate is not the one that was given"), "{words}");
        assert!(said(&pem, &der, 11).unwrap().contains("not valid today"));
    }

    #[test]
    fn an_empty_text_leaves_it_to_the_system_and_nonsense_is_refused() {
        assert_eq!(Trust::from_pem(" \n").unwrap(), Trust::System);
        for text in ["abc", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(Trust::from_pem(text), Err(ClientError::NoCertificate)), "{text}");
        }
    }
}
