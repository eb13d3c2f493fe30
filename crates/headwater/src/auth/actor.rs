//! On whose behalf something is changed: what the audit writes down.

use std::net::IpAddr;

use super::{Identity, IdentityId, IdentityKind};

/// What kind of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActorKind {
    /// A person at the command line, on the data folder itself.
    Operator,
    /// The server by itself: sweeps, refreshes.
    Server,
    /// A client certificate.
    Certificate,
    /// A token.
    Token,
    /// Who holds a secret for one image: a daemon that was told to push or pull.
    Secret,
    /// Nobody known.
    Guest,
}

impl ActorKind {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Server => "server",
            Self::Certificate => "certificate",
            Self::Token => "token",
            Self::Secret => "secret",
            Self::Guest => "guest",
        }
    }
}

/// Somebody who does something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor {
    /// What kind.
    pub kind: ActorKind,
    /// What people call it: an identity's name, or the user at the command line.
    pub name: String,
    /// The credential: a certificate's SHA-256, the beginning of a token; may be empty.
    pub subject: String,
    /// The identity, if there is one.
    pub identity: Option<IdentityId>,
    /// Where from.
    pub address: Option<IpAddr>,
}

impl Actor {
    /// The command line.
    pub fn operator(user: impl Into<String>) -> Self {
        Self::new(ActorKind::Operator, user, None)
    }

    /// The server by itself.
    pub fn server() -> Self {
        Self::new(ActorKind::Server, "", None)
    }

    /// Nobody known.
    pub fn guest(address: Option<IpAddr>) -> Self {
        Self::new(ActorKind::Guest, "", address)
    }

    /// Who holds a secret for one image.
    pub fn secret(address: Option<IpAddr>) -> Self {
        Self::new(ActorKind::Secret, "", address)
    }

    /// An identity.
    pub fn identity(identity: &Identity, address: Option<IpAddr>) -> Self {
        let kind = match identity.kind {
            IdentityKind::Certificate => ActorKind::Certificate,
            IdentityKind::Token => ActorKind::Token,
        };
        Self {
            subject: identity.subject.clone(),
            identity: Some(identity.id),
            ..Self::new(kind, identity.name.clone(), address)
        }
    }

    fn new(kind: ActorKind, name: impl Into<String>, address: Option<IpAddr>) -> Self {
        Self { kind, name: name.into(), subject: String::new(), identity: None, address }
    }
}
