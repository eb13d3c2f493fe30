//! Which servers are believed. Beside [`crate::http::tls`], which is the other end, the only file that knows rustls.
//!
//! A certificate that was given is the only one that will do, under whatever name the server is reached: that is how LXD and Incus
//! pin what a person has confirmed once (LXD `shared/network.go` `finalizeTLSConfig`; there, a certificate authority of
//! the system would do as well, here it does not). That the server holds the key is checked in the handshake; that the certificate is
//! valid today is checked as in Go. Without one, the system's authorities decide.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};

use super::ClientError;

/// Whom to believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Certificates that the system trusts for the server's name.
    System,
    /// This certificate and no other.
    Pinned(Pin),
}

/// A certificate that somebody vouched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    der: CertificateDer<'static>,
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

    /// The settings for a connection; `None` leaves it to the system.
    pub(super) fn config(&self) -> Result<Option<ClientConfig>, ClientError> {
        let Self::Pinned(pin) = self else { return Ok(None) };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let only = Only { der: pin.der.clone(), provider: Arc::clone(&provider) };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientError::Setup(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(only))
            .with_no_client_auth();
        Ok(Some(config))
    }
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
    der: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
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
        if shown.as_ref() != self.der.as_ref() {
            return Err(mistrust(Mistrust::Other));
        }
        let (_, certificate) = x509_parser::parse_x509_certificate(shown).map_err(|_| mistrust(Mistrust::Other))?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let valid = certificate.validity();
        if now < valid.not_before.timestamp() || now > valid.not_after.timestamp() {
            return Err(mistrust(Mistrust::Dates));
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
        let only = Only { der: pin.der, provider: Arc::new(aws_lc_rs::default_provider()) };
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
