//! Somebody for a test: an identity in the catalog, and the requests that it makes.

use std::net::SocketAddr;
use std::sync::Arc;

use data_encoding::{BASE64, HEXLOWER};
use headwater::auth::{Grant, Identity, Manages, Role, Secret};
use headwater::catalog::{Credential, NewIdentity};
use headwater::http::tls::ClientCertificate;
use headwater::http::{Connection, Transport};
use headwater_formats::names::{ProjectName, ViewName};
use headwater_formats::timestamp::Timestamp;
use sha2::{Digest, Sha256};

use super::kit::{Server, now};

/// What somebody may do.
#[derive(Debug, Clone, Default)]
pub(crate) struct May {
    pub(crate) administrator: bool,
    pub(crate) grants: Vec<Grant>,
    pub(crate) view: Option<ViewName>,
    pub(crate) expires_at: Option<Timestamp>,
}

impl May {
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    pub(crate) fn everything() -> Self {
        Self { administrator: true, ..Self::default() }
    }

    pub(crate) fn be(project: &str, role: Role) -> Self {
        Self::manage(project, role, Manages::Own)
    }

    pub(crate) fn manage(project: &str, role: Role, manages: Manages) -> Self {
        let project = ProjectName::new(project).unwrap();
        Self { grants: vec![Grant { project, role, manages }], ..Self::default() }
    }
}

/// The header that brings a token.
pub(crate) fn bearer(secret: &Secret) -> String {
    format!("Authorization: Bearer {}", secret.expose())
}

/// The header that brings a token as a password.
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()))
}

/// A client certificate that is valid from `days.0` to `days.1` after [`now`].
pub(crate) fn certificate(name: &str, days: (i64, i64)) -> Arc<ClientCertificate> {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec![]).unwrap();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    let day = |days: i64| time::OffsetDateTime::from_unix_timestamp(now().unix() + days * 86_400).unwrap();
    (parameters.not_before, parameters.not_after) = (day(days.0), day(days.1));
    let der = parameters.self_signed(&key).unwrap().der().to_vec();
    Arc::new(ClientCertificate { fingerprint: HEXLOWER.encode(&Sha256::digest(&der)), der })
}

/// A TLS connection on which that certificate was shown.
pub(crate) fn shown(certificate: &Arc<ClientCertificate>) -> Connection {
    Connection { transport: Transport::Tls(Some(Arc::clone(certificate))), ..Connection::test_tls() }
}

/// A TLS connection from there.
pub(crate) fn from_address(address: &str) -> Connection {
    Connection { peer: SocketAddr::new(address.parse().unwrap(), 9).into(), ..Connection::test_tls() }
}

impl Server {
    /// Makes a token.
    pub(crate) async fn token(&self, name: &str, may: May) -> (Secret, Identity) {
        let secret = Secret::random().unwrap();
        let credential = Credential::Token { prefix: secret.prefix().to_owned(), hash: secret.hash() };
        let identity = self.add(name, credential, may).await;
        (secret, identity)
    }

    /// Trusts a certificate.
    pub(crate) async fn trust(&self, certificate: &ClientCertificate, may: May) -> Identity {
        let credential = Credential::Certificate {
            fingerprint: certificate.fingerprint.clone(),
            der_base64: BASE64.encode(&certificate.der),
        };
        self.add("somebody", credential, may).await
    }

    async fn add(&self, name: &str, credential: Credential, may: May) -> Identity {
        let May { administrator, grants, view, expires_at } = may;
        let new = NewIdentity {
            credential,
            name: name.to_owned(),
            description: String::new(),
            administrator,
            grants,
            view,
            expires_at,
        };
        self.app.catalog.add_identity(&new, now()).await.unwrap()
    }
}
