//! Tokens to join with, as operations.

use headwater_formats::lxd::{JoinToken, WireTime};
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;
use serde_json::{Map, json};

use super::NewToken;
use crate::catalog::{Join, Purpose};

/// How long a join token is good when nobody says so, in seconds: a day.
pub const JOIN_SECONDS: i64 = 24 * 3600;

/// An invitation: who will be known, and where to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// What becomes of who joins.
    pub join: Join,
    /// SHA-256 of the server's certificate.
    pub fingerprint: String,
    /// Where the server is, as `host:port`; clients need one at least.
    pub addresses: Vec<String>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

impl Invitation {
    /// The operation. `lxc` and `incus` make the word for who joins from what it tells, and find the tokens of
    /// `config trust list-tokens` by it (LXD `shared/api/operation.go`, `ToCertificateAddToken`).
    pub fn token(&self) -> NewToken {
        let projects: Vec<&ProjectName> = self.join.grants.iter().map(|grant| &grant.project).collect();
        let mut metadata = Map::new();
        metadata.insert("fingerprint".to_owned(), json!(self.fingerprint));
        metadata.insert("addresses".to_owned(), json!(self.addresses));
        metadata.insert(
            "request".to_owned(),
            json!({
                "name": self.join.name,
                "type": "client",
                "restricted": !self.join.administrator,
                "projects": projects,
                "certificate": "",
                "description": self.join.description,
                "token": true,
            }),
        );
        if let Some(end) = self.expires_at {
            metadata.insert("expiresAt".to_owned(), json!(end.rfc3339()));
        }
        NewToken {
            description: "Executing operation".to_owned(),
            project: ProjectName::default_project(),
            resources: Default::default(),
            metadata,
            purpose: Purpose::Join(self.join.clone()),
            expires_at: self.expires_at,
        }
    }

    /// The word for who is invited, with the secret of the operation.
    pub fn word(&self, secret: &str) -> JoinToken {
        JoinToken {
            client_name: self.join.name.clone(),
            fingerprint: self.fingerprint.clone(),
            addresses: self.addresses.clone(),
            secret: secret.to_owned(),
            expires_at: WireTime(self.expires_at),
        }
    }
}
