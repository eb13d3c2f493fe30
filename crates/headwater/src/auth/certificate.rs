//! Certificates of clients, as somebody hands them in: read, and refused when they cannot be trusted with anything.
//!
//! A certificate is known by the SHA-256 of its DER and by nothing else: who signed it does not matter, and clients sign theirs themselves. The
//! checks are those that LXD and Incus make (`certificateValidate`).

use data_encoding::{BASE64, HEXLOWER};
use headwater_formats::timestamp::Timestamp;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// Largest certificate that is looked at, in bytes as it is handed in.
pub const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;
/// Fewest bits of an RSA key.
const MIN_RSA_BITS: usize = 2048;

/// A client's certificate that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of the DER, 64 hexadecimal digits.
    pub fingerprint: String,
    /// The DER in base64, standard alphabet, in one line.
    pub der_base64: String,
    /// The name in it, if there is one.
    pub common_name: Option<String>,
}

/// Why a certificate is not taken. Where the daemons have words for it, these are they.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// No certificate at all.
    #[error("this is no certificate; give the client's client.crt, in PEM or as base64 of its DER")]
    NotACertificate,
    /// It begins later.
    #[error("The provided certificate isn't valid yet")]
    NotYet,
    /// It has ended.
    #[error("The provided certificate is expired")]
    Expired,
    /// Its key can be guessed.
    #[error("RSA key is too weak (minimum of 2048bit)")]
    WeakKey,
}

impl Certificate {
    /// Reads one in PEM (of several the first), in DER, or in base64 of DER with or without line breaks.
    pub fn read(bytes: &[u8], now: Timestamp) -> Result<Self, CertificateError> {
        const NOT: CertificateError = CertificateError::NotACertificate;
        if bytes.len() > MAX_CERTIFICATE_BYTES {
            return Err(NOT);
        }
        if bytes.first() == Some(&0x30) {
            return Self::from_der(bytes, now);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| NOT)?;
        if text.contains("-----BEGIN ") {
            let block = x509_parser::pem::Pem::iter_from_buffer(bytes)
                .filter_map(Result::ok)
                .find(|block| block.label == "CERTIFICATE")
                .ok_or(NOT)?;
            return Self::from_der(&block.contents, now);
        }
        let base64: String = text.split_ascii_whitespace().collect();
        Self::from_der(&BASE64.decode(base64.as_bytes()).map_err(|_| NOT)?, now)
    }

    /// Reads the DER of one.
    pub fn from_der(der: &[u8], now: Timestamp) -> Result<Self, CertificateError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::NotACertificate)?;
        if !rest.is_empty() {
            return Err(CertificateError::NotACertificate);
        }
        let validity = certificate.validity();
        if now.unix() < validity.not_before.timestamp() {
            return Err(CertificateError::NotYet);
        }
        if now.unix() > validity.not_after.timestamp() {
            return Err(CertificateError::Expired);
        }
        if let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed()
            && key.key_size() < MIN_RSA_BITS
        {
            return Err(CertificateError::WeakKey);
        }
        let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        Ok(Self {
            fingerprint: HEXLOWER.encode(&Sha256::digest(der)),
            der_base64: BASE64.encode(der),
            common_name: name.map(str::to_owned).filter(|name| !name.is_empty() && !name.contains('\0')),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds).unwrap()
    }

    /// Of the years 2020 to 2030, by a P-256 key.
    fn made() -> rcgen::Certificate {
        let mut params = rcgen::CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "anna@laptop");
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap()
    }

    const NOW: i64 = 1_760_000_000;

    #[test]
    fn read_in_every_form() {
        let certificate = made();
        let der = certificate.der().to_vec();
        let pem = format!("Subject: anna\n{}{}", certificate.pem(), made().pem());
        let folded = BASE64.encode(&der).as_bytes().chunks(60).map(<[u8]>::to_vec).collect::<Vec<_>>().join(&b'\n');
        let expected = Certificate {
            fingerprint: HEXLOWER.encode(&Sha256::digest(&der)),
            der_base64: BASE64.encode(&der),
            common_name: Some("anna@laptop".into()),
        };
        for bytes in [&der, pem.as_bytes(), BASE64.encode(&der).as_bytes(), &folded] {
            assert_eq!(Certificate::read(bytes, time(NOW)).as_ref(), Ok(&expected));
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let der = made().der().to_vec();
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let longer = [&der[..], b"\0"].concat();
        let large = vec![b'A'; MAX_CERTIFICATE_BYTES + 1];
        let bad: [&[u8]; 8] = [
            b"",
            b"hello",
            b"AAAA",
            &der[..der.len() - 1],
            &longer,
            key.as_bytes(),
            &large,
            b"-----BEGIN CERTIFICATE-----",
        ];
        for bytes in bad {
            assert_eq!(Certificate::read(bytes, time(NOW)), Err(CertificateError::NotACertificate));
        }
    }

    #[test]
    fn only_in_its_time() {
        let der = made().der().to_vec();
        for (at, expected) in [
            ("2019-12-31T23:59:59Z", Err(CertificateError::NotYet)),
            ("2020-01-01T00:00:00Z", Ok(())),
            ("2030-01-01T00:00:00Z", Ok(())),
            ("2030-01-01T00:00:01Z", Err(CertificateError::Expired)),
        ] {
            let now = Timestamp::parse_rfc3339(at).unwrap();
            assert_eq!(Certificate::from_der(&der, now).map(|_| ()), expected, "{at}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(at in 0usize..400, put in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            let mut bytes = made().der().to_vec();
            let at = at.min(bytes.len());
            bytes.splice(at..(at + put.len()).min(bytes.len()), put.iter().copied());
            let _ = Certificate::read(&bytes, time(NOW));
            let _ = Certificate::read(BASE64.encode(&bytes).as_bytes(), time(NOW));
            let _ = Certificate::read(&put, time(NOW));
        }
    }

    #[test]
    fn rsa_keys_have_2048_bits() {
        // Made by `openssl req -x509 -newkey rsa:<bits> -days 7300` at the end of 2026.
        let weak = include_bytes!("testdata/rsa1024.pem");
        assert_eq!(Certificate::read(weak, time(1_800_000_000)), Err(CertificateError::WeakKey));
        let strong = include_bytes!("testdata/rsa2048.pem");
        assert!(Certificate::read(strong, time(1_800_000_000)).is_ok());
    }
}
