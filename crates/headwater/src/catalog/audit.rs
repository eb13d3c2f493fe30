use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;

use super::engine::{Row, Tx, Value, values};
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
    UpstreamCreated,
    UpstreamUpdated,
    UpstreamDeleted,
    AddressKeyRotated,
    StreamKeyCreated,
    StreamKeyImported,
    StreamKeyUsed,
    StreamKeyDeleted,
}

impl Action {
    /// Every one.
    pub const ALL: [Self; 32] = [
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
        Self::UpstreamCreated,
        Self::UpstreamUpdated,
        Self::UpstreamDeleted,
        Self::AddressKeyRotated,
        Self::StreamKeyCreated,
        Self::StreamKeyImported,
        Self::StreamKeyUsed,
        Self::StreamKeyDeleted,
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
            Self::UpstreamCreated => "upstream-created",
            Self::UpstreamUpdated => "upstream-updated",
            Self::UpstreamDeleted => "upstream-deleted",
            Self::AddressKeyRotated => "address-key-rotated",
            Self::StreamKeyCreated => "stream-key-created",
            Self::StreamKeyImported => "stream-key-imported",
            Self::StreamKeyUsed => "stream-key-used",
            Self::StreamKeyDeleted => "stream-key-deleted",
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

/// A download that the audit names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Download {
    /// Who had it.
    pub actor: Arc<Actor>,
    /// The project, when one was named.
    pub project: Option<ProjectName>,
    /// An image's fingerprint, or the digest of a file of one.
    pub subject: String,
    /// When.
    pub at: Timestamp,
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

    /// Writes down downloads, all in one transaction.
    pub async fn note_downloads(&self, downloads: &[Download]) -> Result<(), CatalogError> {
        if downloads.is_empty() {
            return Ok(());
        }
        let mut tx = self.engine.write().await?;
        for Download { actor, project, subject, at } in downloads {
            record(&mut tx, actor, Action::ImageRetrieved, project.as_ref(), subject, &[], *at).await?;
        }
        tx.commit().await
    }

    /// The first `limit` lines that fit, oldest first.
    pub async fn audit(&self, query: &AuditQuery, limit: usize) -> Result<Vec<AuditEntry>, CatalogError> {
        self.lines(query, "ASC", limit).await
    }

    /// The last `limit` lines that fit, oldest first.
    pub async fn audit_end(&self, query: &AuditQuery, limit: usize) -> Result<Vec<AuditEntry>, CatalogError> {
        let mut lines = self.lines(query, "DESC", limit).await?;
        lines.reverse();
        Ok(lines)
    }

    async fn lines(
        &self,
        query: &AuditQuery,
        order: &'static str,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, CatalogError> {
        let mut sql = "SELECT id, at, action, project, subject, detail, actor_kind, actor_name, credential, address \
             FROM audit WHERE id > $1"
            .to_owned();
        let mut values = values![query.after.unwrap_or(0)];
        // `+at`: lines come in the order of their numbers, which the index of times would only have to be sorted back into.
        let conditions: [(&str, Option<Value>); 5] = [
            ("+at >= $1", query.since.map(|time| time.unix().into())),
            ("+at < $1", query.until.map(|time| time.unix().into())),
            ("project = $1", query.project.as_ref().map(|name| name.as_str().into())),
            ("substr(subject, 1, length($1)) = $1", query.subject.as_deref().map(Into::into)),
            ("(actor_name = $1 OR substr(credential, 1, length($1)) = $1)", query.actor.as_deref().map(Into::into)),
        ];
        for (condition, value) in conditions {
            if let Some(value) = value {
                values.push(value);
                sql = format!("{sql} AND {}", condition.replace("$1", &format!("${}", values.len())));
            }
        }
        values.push(rows::limit(limit).into());
        let sql = format!("{sql} ORDER BY id {order} LIMIT ${}", values.len());
        self.engine.fetch(sql, values).await?.iter().map(read).collect()
    }

    /// The number of the last line; 0 when there is none.
    pub async fn last_audit(&self) -> Result<i64, CatalogError> {
        let last = self.engine.fetch("SELECT id FROM audit WHERE id > 0 ORDER BY id DESC LIMIT 1", values![]).await?;
        last.first().map_or(Ok(0), |row| row.int(0))
    }

    /// Removes the lines from before that time; gives how many. Others may write in between: it is done in pieces.
    pub async fn trim_audit(&self, before: Timestamp) -> Result<u64, CatalogError> {
        const PIECE: u64 = 5000;
        let mut removed = 0;
        loop {
            let mut tx = self.engine.write().await?;
            let piece = tx
                .execute(
                    "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY at LIMIT $2)",
                    values![before.unix(), rows::signed(PIECE)?],
                )
                .await?;
            tx.commit().await?;
            removed += piece;
            if piece < PIECE {
                return Ok(removed);
            }
        }
    }
}

fn read(row: &Row) -> Result<AuditEntry, CatalogError> {
    let project = row.text(3)?;
    Ok(AuditEntry {
        id: row.int(0)?,
        at: rows::time(row.int(1)?)?,
        action: row.text(2)?,
        project: if project.is_empty() { None } else { Some(rows::parse("a project's name", &project)?) },
        subject: row.text(4)?,
        detail: rows::from_json(&row.text(5)?)?,
        actor_kind: row.text(6)?,
        actor_name: row.text(7)?,
        credential: row.text(8)?,
        address: row.text(9)?,
    })
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
    let values = line(actor, action, project, subject, detail, now)?;
    tx.later(format!("{HEAD} VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"), values).await
}

const HEAD: &str =
    "INSERT INTO audit (at, action, project, subject, detail, actor_kind, actor_name, credential, address)";

/// A line, to be written by [`record_all`].
pub(super) fn line(
    actor: &Actor,
    action: Action,
    project: Option<&ProjectName>,
    subject: &str,
    detail: &[(&str, &str)],
    now: Timestamp,
) -> Result<Vec<Value>, CatalogError> {
    let detail: BTreeMap<&str, &str> = detail.iter().copied().collect();
    Ok(values![
        now.unix(),
        action.as_str(),
        project.map(ProjectName::as_str).unwrap_or_default(),
        subject,
        rows::to_json(&detail)?,
        actor.kind.as_str(),
        actor.name.as_str(),
        actor.subject.as_str(),
        actor.address.map(|address| address.to_string()).unwrap_or_default(),
    ])
}

/// Writes lines in the transaction of what they tell of.
pub(super) async fn record_all(tx: &mut Tx, lines: Vec<Vec<Value>>) -> Result<(), CatalogError> {
    tx.insert(HEAD, lines, "").await
}
