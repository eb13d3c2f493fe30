use std::collections::BTreeMap;

use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;

use super::engine::{Tx, values};
use super::{Catalog, CatalogError, rows};
use crate::auth::Actor;

/// What was done. The words of image actions are those of LXD's lifecycle events (`shared/api/event_lifecycle.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the words say it")]
pub enum Action {
    ImageCreated,
    ImageUpdated,
    ImageDeleted,
    ImageRetrieved,
    ImageRefreshed,
    ImageSecretCreated,
    ImageAliasCreated,
    ImageAliasUpdated,
    ImageAliasRenamed,
    ImageAliasDeleted,
    ProjectCreated,
    ProjectUpdated,
    ProjectRenamed,
    ProjectDeleted,
    CertificateCreated,
    CertificateUpdated,
    CertificateDeleted,
    TokenCreated,
    TokenUpdated,
    TokenRevoked,
    JoinTokenCreated,
    JoinTokenRevoked,
    ViewCreated,
    ViewDeleted,
    AddressKeyRotated,
}

impl Action {
    /// Every one.
    pub const ALL: [Self; 25] = [
        Self::ImageCreated,
        Self::ImageUpdated,
        Self::ImageDeleted,
        Self::ImageRetrieved,
        Self::ImageRefreshed,
        Self::ImageSecretCreated,
        Self::ImageAliasCreated,
        Self::ImageAliasUpdated,
        Self::ImageAliasRenamed,
        Self::ImageAliasDeleted,
        Self::ProjectCreated,
        Self::ProjectUpdated,
        Self::ProjectRenamed,
        Self::ProjectDeleted,
        Self::CertificateCreated,
        Self::CertificateUpdated,
        Self::CertificateDeleted,
        Self::TokenCreated,
        Self::TokenUpdated,
        Self::TokenRevoked,
        Self::JoinTokenCreated,
        Self::JoinTokenRevoked,
        Self::ViewCreated,
        Self::ViewDeleted,
        Self::AddressKeyRotated,
    ];

    /// As it is stored, shown, and sent in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ImageCreated => "image-created",
            Self::ImageUpdated => "image-updated",
            Self::ImageDeleted => "image-deleted",
            Self::ImageRetrieved => "image-retrieved",
            Self::ImageRefreshed => "image-refreshed",
            Self::ImageSecretCreated => "image-secret-created",
            Self::ImageAliasCreated => "image-alias-created",
            Self::ImageAliasUpdated => "image-alias-updated",
            Self::ImageAliasRenamed => "image-alias-renamed",
            Self::ImageAliasDeleted => "image-alias-deleted",
            Self::ProjectCreated => "project-created",
            Self::ProjectUpdated => "project-updated",
            Self::ProjectRenamed => "project-renamed",
            Self::ProjectDeleted => "project-deleted",
            Self::CertificateCreated => "certificate-created",
            Self::CertificateUpdated => "certificate-updated",
            Self::CertificateDeleted => "certificate-deleted",
            Self::TokenCreated => "token-created",
            Self::TokenUpdated => "token-updated",
            Self::TokenRevoked => "token-revoked",
            Self::JoinTokenCreated => "join-token-created",
            Self::JoinTokenRevoked => "join-token-revoked",
            Self::ViewCreated => "view-created",
            Self::ViewDeleted => "view-deleted",
            Self::AddressKeyRotated => "address-key-rotated",
        }
    }
}

/// One line of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Grows with every line; never used again.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// What was done: [`Action::as_str`].
    pub action: String,
    /// In which project; `None` for what is in none.
    pub project: Option<ProjectName>,
    /// To what: a fingerprint, an alias, a name.
    pub subject: String,
    /// What else is to say, such as the new name of something renamed.
    pub detail: BTreeMap<String, String>,
    /// What kind of somebody: [`crate::auth::ActorKind::as_str`].
    pub actor_kind: String,
    /// Who.
    pub actor_name: String,
    /// With which credential: a certificate's SHA-256, the beginning of a token.
    pub credential: String,
    /// Where from; empty for the command line.
    pub address: String,
}

/// Which lines of the audit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only those after this line.
    pub after: Option<i64>,
    /// Only those from this time on.
    pub since: Option<Timestamp>,
    /// Only those before this time.
    pub until: Option<Timestamp>,
    /// Only this project's.
    pub project: Option<ProjectName>,
    /// Only those whose subject begins with this.
    pub subject: Option<String>,
    /// Only those of this actor (its name or the beginning of its credential).
    pub actor: Option<String>,
}

impl Catalog {
    /// Notes something that changed no row, such as a download.
    pub async fn note(
        &self,
        action: Action,
        project: Option<&ProjectName>,
        subject: &str,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        record(&mut tx, &self.actor, action, project, subject, &[], now).await?;
        tx.commit().await
    }

    /// Up to `limit` lines, oldest first.
    pub async fn audit(&self, query: &AuditQuery, limit: usize) -> Result<Vec<AuditEntry>, CatalogError> {
        let _ = (query, limit);
        todo!()
    }

    /// The number of the last line; 0 when there is none.
    pub async fn last_audit(&self) -> Result<i64, CatalogError> {
        todo!()
    }

    /// Removes the lines from before that time; gives how many.
    pub async fn trim_audit(&self, before: Timestamp) -> Result<u64, CatalogError> {
        let _ = before;
        todo!()
    }
}

/// Writes a line, in the transaction of what it tells of.
pub(super) async fn record(
    tx: &mut Tx,
    actor: &Actor,
    action: Action,
    project: Option<&ProjectName>,
    subject: &str,
    detail: &[(&str, &str)],
    now: Timestamp,
) -> Result<(), CatalogError> {
    let detail: BTreeMap<&str, &str> = detail.iter().copied().collect();
    tx.execute(
        "INSERT INTO audit (at, action, project, subject, detail, actor_kind, actor_name, credential, address) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        values![
            now.unix(),
            action.as_str(),
            project.map(ProjectName::as_str).unwrap_or_default(),
            subject,
            rows::to_json(&detail)?,
            actor.kind.as_str(),
            actor.name.as_str(),
            actor.subject.as_str(),
            actor.address.map(|address| address.to_string()).unwrap_or_default(),
        ],
    )
    .await?;
    Ok(())
}
