//! TLS: the server's certificate and the clients'. Only this file, and [`crate::client::trust`] for the other end, know rustls.
//!
//! The certificate is made on the first run (ECDSA P-256, ten years) and never replaced by itself, because clients and daemons
//! pin it; or it is the user's own. Its files are looked at every few seconds and on SIGHUP, and a new one is used for new
//! connections; one that cannot be used is told in the log, and the old one stays.
//!
//! Clients are asked for a certificate and need none, and any is taken: which ones are known is decided later, by their
//! hash (LXD `lxd/util/net.go` `ServerTLSConfig`). That the client holds its key is checked here.
//!
//! This file knows nothing of HTTP.

use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use data_encoding::{BASE64, HEXLOWER};
use headwater_formats::lxd::certificate;
use headwater_formats::timestamp::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};

/// Ten years, in seconds.
const LIFETIME: i64 = 3650 * 24 * 3600;

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{what} {path:?} cannot be read: {source}; mend its permissions, or give another one in the configuration")]
    Read {
        /// The certificate or the key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{path:?} cannot be written: {source}; mend the permissions of its folder")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One of the two files is there without the other.
    #[error(
        "the certificate {certificate:?} is there and its key {key:?} is not; restore the key, or remove the certificate to \
         get a new pair (clients that have pinned it will have to add this server again)"
    )]
    KeyMissing {
        /// The certificate.
        certificate: PathBuf,
        /// The key that is missing.
        key: PathBuf,
    },
    /// The file holds no such thing.
    #[error("{path:?} holds no {what} in PEM; give a file that does")]
    NotPem {
        /// The certificate or the key.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The two do not belong together, or are of a kind that is not supported.
    #[error("the certificate {certificate:?} cannot be used with the key {key:?}: {reason}")]
    Unusable {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        reason: String,
    },
    /// Making one failed.
    #[error("a certificate could not be made: {0}")]
    Make(String),
}

/// Where the certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The chain in PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key in PEM.
    pub key: PathBuf,
}

/// Inode, time of change in two parts, and size of each of the two files; `None` for one that is not there.
type Stamp = [Option<(u64, i64, i64, u64)>; 2];

impl Files {
    /// Where the certificate of the first run is.
    pub fn in_data(data: &Path) -> Self {
        let folder = data.join("tls");
        Self { certificate: folder.join("server.crt"), key: folder.join("server.key") }
    }

    /// What tells a changed file from an unchanged one.
    fn stamp(&self) -> Stamp {
        [&self.certificate, &self.key].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size()))
        })
    }

    /// Makes a self-signed certificate if there is none; `true` when one was made.
    ///
    /// Its names are the host's and `localhost`, its addresses the loopback ones: Go clients check a pinned certificate against its own
    /// first DNS name (LXD `shared/network.go`), so it holds under whatever name the server is reached.
    pub fn make_if_missing(&self, host: &str, now: Timestamp) -> Result<bool, TlsError> {
        match (self.certificate.exists(), self.key.exists()) {
            (true, true) => return Ok(false),
            (true, false) => {
                return Err(TlsError::KeyMissing { certificate: self.certificate.clone(), key: self.key.clone() });
            }
            // A key alone is what a crash between the two writes leaves.
            (false, _) => {}
        }
        let (certificate, key) = make(host, now).map_err(|error| TlsError::Make(error.to_string()))?;
        if let Some(folder) = self.key.parent() {
            std::fs::create_dir_all(folder).map_err(|source| TlsError::Write { path: folder.to_owned(), source })?;
        }
        write(&self.key, key.as_bytes(), 0o600)?;
        write(&self.certificate, certificate.as_bytes(), 0o644)?;
        Ok(true)
    }

    fn load(&self) -> Result<CertifiedKey, TlsError> {
        let read = |what, path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::Read { what, path: path.to_owned(), source })
        };
        let not_pem = |what, path: &Path| TlsError::NotPem { what, path: path.to_owned() };
        let pem = read("the certificate", &self.certificate)?;
        let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| not_pem("certificate", &self.certificate))?;
        let key = PrivateKeyDer::from_pem_slice(&read("the key", &self.key)?).map_err(|_| not_pem("key", &self.key))?;
        CertifiedKey::from_der(chain, key, &provider()).map_err(|error| TlsError::Unusable {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            reason: error.to_string(),
        })
    }
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

fn make(host: &str, now: Timestamp) -> Result<(String, String), rcgen::Error> {
    let time = |at: Timestamp| {
        time::OffsetDateTime::from_unix_timestamp(at.unix()).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
    };
    let dns = |name: &str| name.try_into().map(rcgen::SanType::DnsName);
    let mut params = rcgen::CertificateParams::default();
    // A host name that no certificate can hold (with an underscore, for instance) leaves `localhost` alone.
    params.subject_alt_names =
        [host, "localhost"].iter().filter(|name| is_dns_name(name)).flat_map(|name| dns(name)).collect();
    params.subject_alt_names.dedup();
    params.subject_alt_names.push(rcgen::SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    params.subject_alt_names.push(rcgen::SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "Headwater");
    params.distinguished_name.push(rcgen::DnType::CommonName, if is_dns_name(host) { host } else { "localhost" });
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    // A day back, for clients whose clock is behind.
    params.not_before = time(now.plus_seconds(-24 * 3600));
    params.not_after = time(now.plus_seconds(LIFETIME));
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// Letters, digits and hyphens in labels of 1 to 63, 64 characters in all (a common name holds no more).
fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 64 && name.split('.').all(label)
}

/// Written beside, synced, renamed: never half a file, and never readable by others for a moment.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    let attempt = || {
        let beside = path.with_extension("new");
        let _ = std::fs::remove_file(&beside);
        let mut file = File::options().write(true).create_new(true).mode(mode).open(&beside)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    attempt().map_err(|source| TlsError::Write { path: path.to_owned(), source })
}

/// The certificate in use, and the configuration that uses it.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    current: Arc<Current>,
    acceptor: Acceptor,
    stamp: Mutex<Stamp>,
}

struct Acceptor(tokio_rustls::TlsAcceptor);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl Current {
    fn get(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get())
    }
}

impl Tls {
    /// Loads the certificate. TLS 1.3 is spoken, and 1.2 as well if allowed.
    pub fn load(files: Files, allow_tls12: bool) -> Result<Self, TlsError> {
        let stamp = files.stamp();
        let current = Arc::new(Current(RwLock::new(Arc::new(files.load()?))));
        let provider = Arc::new(provider());
        let versions: &[&rustls::SupportedProtocolVersion] = match allow_tls12 {
            true => &[&rustls::version::TLS13, &rustls::version::TLS12],
            false => &[&rustls::version::TLS13],
        };
        let failed = |error: rustls::Error| TlsError::Make(error.to_string());
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(failed)?
            .with_client_cert_verifier(Arc::new(AnyClient { provider }))
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(failed)?;
        config.send_tls13_tickets = 1;
        let acceptor = Acceptor(tokio_rustls::TlsAcceptor::from(Arc::new(config)));
        Ok(Self { files, current, acceptor, stamp: Mutex::new(stamp) })
    }

    /// Loads the files again.
    pub fn reload(&self) -> Result<(), TlsError> {
        let stamp = self.files.stamp();
        let loaded = self.files.load();
        // Noted even when it fails, so that a broken file is told once and not every few seconds.
        *self.stamp.lock().unwrap_or_else(PoisonError::into_inner) = stamp;
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded?);
        Ok(())
    }

    /// Loads the files again if they have changed; says in the log what came of it.
    pub fn reload_if_changed(&self) {
        if self.files.stamp() == *self.stamp.lock().unwrap_or_else(PoisonError::into_inner) {
            return;
        }
        match self.reload() {
            Ok(()) => tracing::info!(fingerprint = %self.fingerprint(), "a new certificate is in use"),
            Err(error) => tracing::warn!(%error, "the changed certificate is not used, the one before stays"),
        }
    }

    /// SHA-256 of the certificate, as clients show it when they ask whether to trust it.
    pub fn fingerprint(&self) -> String {
        self.current.get().cert.first().map(|leaf| HEXLOWER.encode(&Sha256::digest(leaf))).unwrap_or_default()
    }

    /// The certificate in PEM.
    pub fn pem(&self) -> String {
        let current = self.current.get();
        let Some(leaf) = current.cert.first() else { return String::new() };
        certificate::pem(&BASE64.encode(leaf))
    }

    /// Shakes hands on a connection.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<Secured<S>> {
        let stream = self.acceptor.0.accept(stream).await?;
        let session = stream.get_ref().1;
        let http2 = session.alpn_protocol() == Some(b"h2");
        let client = session.peer_certificates().and_then(|chain| chain.first()).map(|leaf| {
            Arc::new(ClientCertificate { fingerprint: HEXLOWER.encode(&Sha256::digest(leaf)), der: leaf.to_vec() })
        });
        Ok(Secured { stream, http2, client })
    }
}

/// A connection after the handshake.
pub struct Secured<S> {
    /// What is said on it, in clear on this side.
    pub stream: tokio_rustls::server::TlsStream<S>,
    /// Whether the client chose HTTP/2.
    pub http2: bool,
    /// What the client showed.
    pub client: Option<Arc<ClientCertificate>>,
}

/// A client's certificate. The client holds its key; nothing else is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// SHA-256 of the DER, in lower-case hexadecimal.
    pub fingerprint: String,
    /// The certificate itself.
    pub der: Vec<u8>,
}

/// Takes any certificate whose key the client holds, or none.
#[derive(Debug)]
struct AnyClient {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_unix(1_760_000_000).unwrap()
    }

    #[test]
    fn a_certificate_is_made_once_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::in_data(folder.path());
        assert!(files.make_if_missing("images.example", now()).unwrap());
        let pem = std::fs::read(&files.certificate).unwrap();
        assert!(!files.make_if_missing("other.example", now()).unwrap());
        assert_eq!(std::fs::read(&files.certificate).unwrap(), pem);
        assert_eq!(std::fs::metadata(&files.key).unwrap().permissions().mode() & 0o777, 0o600);
        let (_, parsed) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        let certificate = parsed.parse_x509().unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(names[0].contains("images.example") && names[1].contains("localhost"), "{names:?}");
        assert!(certificate.extended_key_usage().unwrap().unwrap().value.server_auth);
        assert_eq!(certificate.validity().not_after.timestamp(), now().unix() + LIFETIME);
        let tls = Tls::load(files, false).unwrap();
        assert_eq!(tls.fingerprint(), HEXLOWER.encode(&Sha256::digest(&parsed.contents)));
    }

    #[test]
    fn a_certificate_without_its_key_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::in_data(folder.path());
        files.make_if_missing("a", now()).unwrap();
        std::fs::remove_file(&files.key).unwrap();
        let error = files.make_if_missing("a", now()).unwrap_err().to_string();
        assert!(error.contains("restore the key, or remove the certificate"), "{error}");
        std::fs::remove_file(&files.certificate).unwrap();
        assert!(files.make_if_missing("bad_name", now()).unwrap());
    }

    #[test]
    fn a_broken_new_file_leaves_the_old_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::in_data(folder.path());
        files.make_if_missing("a", now()).unwrap();
        let tls = Tls::load(files.clone(), true).unwrap();
        let before = tls.fingerprint();
        let (certificate, key) = make("b", now()).unwrap();
        write(&files.certificate, certificate.as_bytes(), 0o644).unwrap();
        let error = tls.reload().unwrap_err().to_string();
        assert!(error.contains("cannot be used with the key"), "{error}");
        assert_eq!(tls.fingerprint(), before);
        write(&files.key, key.as_bytes(), 0o600).unwrap();
        tls.reload_if_changed();
        assert_ne!(tls.fingerprint(), before);
        std::fs::write(&files.certificate, "nonsense").unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::NotPem { .. })));
    }
}
