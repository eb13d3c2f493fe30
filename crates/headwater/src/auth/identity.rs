//! Identities and what they are granted.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use headwater_formats::names::{ProjectName, ViewName};
use headwater_formats::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// The number of an identity in the catalog. Never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdentityId(pub i64);

/// By what somebody is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityKind {
    /// A TLS client certificate, known by the SHA-256 of its DER.
    Certificate,
    /// A secret of ours, known by its SHA-256.
    Token,
}

impl IdentityKind {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Token => "token",
        }
    }
}

/// What may be done in a project; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See private images and download them.
    Viewer,
    /// Also upload images, and change and delete those that [`Manages`] says.
    Publisher,
    /// Also change and delete everything in the project, and grant roles in it to others.
    Admin,
}

impl Role {
    /// As it is stored and written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Publisher => "publisher",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A role that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no role {0:?}; the roles are viewer, publisher and admin")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        [Self::Viewer, Self::Publisher, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// Which images a publisher may change and delete. Viewers may none, admins all, whatever stands here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manages {
    /// Those that this identity published itself.
    Own,
    /// All of the project.
    All,
}

impl Manages {
    /// As it is stored and written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::All => "all",
        }
    }
}

impl FromStr for Manages {
    type Err = UnknownManages;

    fn from_str(text: &str) -> Result<Self, UnknownManages> {
        [Self::Own, Self::All]
            .into_iter()
            .find(|manages| manages.as_str() == text)
            .ok_or_else(|| UnknownManages(text.to_owned()))
    }
}

/// A word for what a publisher manages that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} says not which images may be changed; write own or all")]
pub struct UnknownManages(String);

/// A role in a project.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// The project.
    pub project: ProjectName,
    /// What may be done in it.
    pub role: Role,
    /// What a publisher may change.
    pub manages: Manages,
}

impl Grant {
    /// What both lists of grants allow together, by project.
    pub fn together(one: &[Self], other: &[Self]) -> Vec<Self> {
        let mut all = BTreeMap::<ProjectName, (Role, Manages)>::new();
        for grant in one.iter().chain(other) {
            // Below a publisher, what is managed means nothing.
            let manages = if grant.role == Role::Publisher { grant.manages } else { Manages::Own };
            let (role, managed) = all.entry(grant.project.clone()).or_insert((grant.role, manages));
            *role = (*role).max(grant.role);
            if manages == Manages::All {
                *managed = Manages::All;
            }
        }
        all.into_iter().map(|(project, (role, manages))| Self { project, role, manages }).collect()
    }
}

/// `team viewer`, `team publisher own`, `team publisher all`, `team admin`.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.project, self.role)?;
        match self.role {
            Role::Publisher => write!(f, " {}", self.manages.as_str()),
            Role::Viewer | Role::Admin => Ok(()),
        }
    }
}

/// Somebody who is known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its number.
    pub id: IdentityId,
    /// By what it is known.
    pub kind: IdentityKind,
    /// What people call it. Not unique.
    pub name: String,
    /// Free text.
    pub description: String,
    /// A certificate's SHA-256 (64 hexadecimal digits), or the beginning of a token, which may be shown.
    pub subject: String,
    /// A certificate's DER in base64 (standard alphabet, one line).
    pub certificate: Option<String>,
    /// May do everything everywhere; its grants do not matter.
    pub administrator: bool,
    /// By project.
    pub grants: Vec<Grant>,
    /// The saved view that a token is bound to: it sees nothing else, in streams only.
    pub view: Option<ViewName>,
    /// When it was added.
    pub created_at: Timestamp,
    /// From then on it is not known any more.
    pub expires_at: Option<Timestamp>,
    /// When it was last seen, to about a minute.
    pub last_used_at: Option<Timestamp>,
}

impl Identity {
    /// Whether it is not known any more at that time.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(project: &str, role: Role, manages: Manages) -> Grant {
        Grant { project: ProjectName::new(project).unwrap(), role, manages }
    }

    #[test]
    fn grants_together_allow_what_each_does() {
        let one = [
            grant("a", Role::Publisher, Manages::All),
            grant("b", Role::Viewer, Manages::All),
            grant("c", Role::Admin, Manages::Own),
        ];
        let other = [
            grant("d", Role::Viewer, Manages::Own),
            grant("b", Role::Publisher, Manages::Own),
            grant("a", Role::Publisher, Manages::Own),
        ];
        let expected = [
            grant("a", Role::Publisher, Manages::All),
            grant("b", Role::Publisher, Manages::Own),
            grant("c", Role::Admin, Manages::Own),
            grant("d", Role::Viewer, Manages::Own),
        ];
        assert_eq!(Grant::together(&one, &other), expected);
        assert_eq!(Grant::together(&other, &one), expected);
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for role in [Role::Viewer, Role::Publisher, Role::Admin] {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        for manages in [Manages::Own, Manages::All] {
            assert_eq!(manages.as_str().parse(), Ok(manages));
        }
        let why = "there is no role \"owner\"; the roles are viewer, publisher and admin";
        assert_eq!("owner".parse::<Role>().unwrap_err().to_string(), why);
        assert_eq!(grant("a", Role::Publisher, Manages::All).to_string(), "a publisher all");
        assert_eq!(grant("a", Role::Admin, Manages::Own).to_string(), "a admin");
    }
}
