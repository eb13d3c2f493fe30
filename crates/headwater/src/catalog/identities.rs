//! Who is known: certificates and tokens, and what each may do.
//!
//! A request looks its credential up with one statement, which gives the identity with its grants; that is why a change takes
//! effect with the next request, on every server.

use headwater_formats::names::{ProjectName, ViewName};
use headwater_formats::timestamp::Timestamp;

use super::audit::{self, Action};
use super::engine::{Batch, Row, Tx, Value, values};
use super::sight::project_id;
use super::{Catalog, CatalogError, rows, saved_views};
use crate::auth::{Grant, Identity, IdentityId, IdentityKind, Manages, SecretHash};

/// An identity to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIdentity {
    /// By what it is known.
    pub credential: Credential,
    /// What people call it.
    pub name: String,
    /// Free text.
    pub description: String,
    /// May do everything everywhere.
    pub administrator: bool,
    /// What else it may do. Of several grants for one project the last one counts.
    pub grants: Vec<Grant>,
    /// The saved view that a token is bound to.
    pub view: Option<ViewName>,
    /// From then on it is not known any more.
    pub expires_at: Option<Timestamp>,
}

/// By what an identity is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A client certificate.
    Certificate {
        /// SHA-256 of the DER, 64 hexadecimal digits.
        fingerprint: String,
        /// The DER in base64.
        der_base64: String,
    },
    /// A token.
    Token {
        /// What may be shown of it.
        prefix: String,
        /// What is kept of it.
        hash: SecretHash,
    },
}

/// What can be changed about an identity. `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdentityEdit {
    /// What people call it.
    pub name: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// May do everything everywhere.
    pub administrator: Option<bool>,
    /// All its grants.
    pub grants: Option<Vec<Grant>>,
    /// When it ends; `Some(None)` is never.
    pub expires_at: Option<Option<Timestamp>>,
    /// By what it is known from now on: something of the kind that it is.
    pub credential: Option<Credential>,
}

/// An identity with one of its grants per row: what comes after is `WHERE …`, and the order of the grants.
const SELECT: &str = "SELECT n.id, n.kind, n.name, n.description, n.subject, n.certificate, n.administrator, \
     n.created_at, n.expires_at, n.last_used_at, v.name, p.name, g.role, g.manages FROM identities n \
     LEFT JOIN saved_views v ON v.id = n.view_id LEFT JOIN grants g ON g.identity_id = n.id \
     LEFT JOIN projects p ON p.id = g.project_id";

/// What an expired identity is not.
const ALIVE: &str = "(n.expires_at IS NULL OR n.expires_at > $2)";

impl Catalog {
    /// The identity with this certificate (SHA-256 of its DER in hexadecimal), unless it has expired. Asked at every request of
    /// who shows a certificate, so that a change takes effect with the next one.
    pub async fn identity_by_certificate(
        &self,
        fingerprint: &str,
        now: Timestamp,
    ) -> Result<Option<Identity>, CatalogError> {
        self.known("n.kind = 'certificate' AND n.subject = $1", fingerprint.into(), now).await
    }

    /// The identity with this token, unless it has expired.
    pub async fn identity_by_token(&self, hash: &SecretHash, now: Timestamp) -> Result<Option<Identity>, CatalogError> {
        self.known("n.secret_hash = $1", hash.as_str().into(), now).await
    }

    /// The identity with this number, unless it has expired.
    pub async fn identity(&self, id: IdentityId, now: Timestamp) -> Result<Option<Identity>, CatalogError> {
        self.known("n.id = $1", id.0.into(), now).await
    }

    async fn known(&self, which: &str, value: Value, now: Timestamp) -> Result<Option<Identity>, CatalogError> {
        let sql = format!("{SELECT} WHERE {which} AND {ALIVE} ORDER BY p.name");
        let rows = self.engine.fetch(sql, vec![value, now.unix().into()]).await?;
        Ok(read(&rows)?.pop())
    }

    /// All of them, the expired ones too, by kind, name and subject.
    pub async fn identities(&self) -> Result<Vec<Identity>, CatalogError> {
        let sql = format!("{SELECT} ORDER BY n.kind, n.name, n.subject, p.name");
        read(&self.engine.fetch(sql, values![]).await?)
    }

    /// Adds one. An expired one with the same credential gives way to it.
    ///
    /// # Errors
    /// [`CatalogError::IdentityExists`], [`CatalogError::NoProject`], [`CatalogError::NoView`].
    pub async fn add_identity(&self, new: &NewIdentity, now: Timestamp) -> Result<Identity, CatalogError> {
        let mut tx = self.engine.write().await?;
        let (kind, subject, certificate, hash) = columns(&new.credential);
        let before = "WHERE n.kind = $1 AND n.subject = $2 ORDER BY p.name";
        let before = read(&tx.rows(format!("{SELECT} {before}"), values![kind.as_str(), subject]).await?)?.pop();
        match before {
            Some(before) if before.is_expired(now) => self.remove(&mut tx, &before, now).await?,
            Some(_) => return Err(CatalogError::IdentityExists(subject.to_owned())),
            None => {}
        }
        let view = match &new.view {
            Some(view) => Some(saved_views::view_id(&mut tx, view).await?),
            None => None,
        };
        let made = tx
            .row(
                "INSERT INTO identities (kind, subject, name, description, secret_hash, certificate, administrator, \
                 view_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id",
                values![
                    kind.as_str(),
                    subject,
                    new.name.as_str(),
                    new.description.as_str(),
                    hash.map(|hash| hash.as_str().to_owned()),
                    certificate.map(str::to_owned),
                    new.administrator,
                    view,
                    now.unix(),
                    new.expires_at.map(Timestamp::unix),
                ],
            )
            .await?;
        let id = made.ok_or_else(|| CatalogError::Corrupt("a new identity has no number".into()))?.int(0)?;
        grant(&mut tx, id, &new.grants).await?;
        let identity = by_id(&mut tx, IdentityId(id)).await?;
        let action = match kind {
            IdentityKind::Certificate => Action::CertificateCreated,
            IdentityKind::Token => Action::TokenCreated,
        };
        self.record_identity(&mut tx, action, &identity, now).await?;
        tx.commit().await?;
        Ok(identity)
    }

    /// Changes one.
    ///
    /// # Errors
    /// [`CatalogError::NoIdentity`] (also when the new credential is of the other kind), [`CatalogError::NoProject`],
    /// [`CatalogError::IdentityExists`] for a credential that belongs to another one.
    pub async fn edit_identity(
        &self,
        id: IdentityId,
        edit: &IdentityEdit,
        now: Timestamp,
    ) -> Result<Identity, CatalogError> {
        let mut tx = self.engine.write().await?;
        let before = by_id(&mut tx, id).await?;
        tx.execute(
            "UPDATE identities SET name = $2, description = $3, administrator = $4, expires_at = $5 WHERE id = $1",
            values![
                id.0,
                edit.name.as_deref().unwrap_or(&before.name),
                edit.description.as_deref().unwrap_or(&before.description),
                edit.administrator.unwrap_or(before.administrator),
                edit.expires_at.unwrap_or(before.expires_at).map(Timestamp::unix),
            ],
        )
        .await?;
        if let Some(credential) = &edit.credential {
            let (kind, subject, certificate, hash) = columns(credential);
            if kind != before.kind {
                return Err(no_identity(id));
            }
            let taken = tx
                .row(
                    "SELECT 1 FROM identities WHERE kind = $1 AND subject = $2 AND id <> $3",
                    values![kind.as_str(), subject, id.0],
                )
                .await?;
            if taken.is_some() {
                return Err(CatalogError::IdentityExists(subject.to_owned()));
            }
            tx.execute(
                "UPDATE identities SET subject = $2, certificate = $3, secret_hash = $4 WHERE id = $1",
                values![id.0, subject, certificate.map(str::to_owned), hash.map(|hash| hash.as_str().to_owned())],
            )
            .await?;
        }
        if let Some(grants) = &edit.grants {
            tx.execute("DELETE FROM grants WHERE identity_id = $1", values![id.0]).await?;
            grant(&mut tx, id.0, grants).await?;
        }
        let identity = by_id(&mut tx, id).await?;
        let action = match identity.kind {
            IdentityKind::Certificate => Action::CertificateUpdated,
            IdentityKind::Token => Action::TokenUpdated,
        };
        self.record_identity(&mut tx, action, &identity, now).await?;
        tx.commit().await?;
        Ok(identity)
    }

    /// Removes one: nobody knows it from the next request on.
    ///
    /// # Errors
    /// [`CatalogError::NoIdentity`].
    pub async fn remove_identity(&self, id: IdentityId, now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let identity = by_id(&mut tx, id).await?;
        self.remove(&mut tx, &identity, now).await?;
        tx.commit().await
    }

    async fn remove(&self, tx: &mut Tx, identity: &Identity, now: Timestamp) -> Result<(), CatalogError> {
        tx.execute("DELETE FROM identities WHERE id = $1", values![identity.id.0]).await?;
        let action = match identity.kind {
            IdentityKind::Certificate => Action::CertificateDeleted,
            IdentityKind::Token => Action::TokenRevoked,
        };
        self.record_identity(tx, action, identity, now).await
    }

    /// Notes that these were seen. Does not change the revision and is not audited.
    pub async fn mark_identities_seen(&self, seen: &[IdentityId], at: Timestamp) -> Result<(), CatalogError> {
        if seen.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = seen.iter().map(|id| id.0).collect();
        let mut tx = self.engine.write().await?;
        for batch in Batch::of(&ids) {
            let mut values = values![at.unix()];
            let list = batch.bind(&mut values);
            let later = "(last_used_at IS NULL OR last_used_at < $1)";
            tx.execute(format!("UPDATE identities SET last_used_at = $1 WHERE id IN ({list}) AND {later}"), values)
                .await?;
        }
        tx.commit().await
    }

    async fn record_identity(
        &self,
        tx: &mut Tx,
        action: Action,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let may = may(identity);
        let mut detail = vec![("name", identity.name.as_str()), ("may", may.as_str())];
        if let Some(view) = &identity.view {
            detail.push(("view", view.as_str()));
        }
        audit::record(tx, &self.actor, action, None, &identity.subject, &detail, now).await
    }
}

/// What an identity may do, for the audit: `administrator`, or `team publisher all, web viewer`.
fn may(identity: &Identity) -> String {
    if identity.administrator {
        return "administrator".to_owned();
    }
    let grants: Vec<String> = identity.grants.iter().map(Grant::to_string).collect();
    grants.join(", ")
}

/// Kind, subject, certificate and hash, as the columns hold them.
fn columns(credential: &Credential) -> (IdentityKind, &str, Option<&str>, Option<&SecretHash>) {
    match credential {
        Credential::Certificate { fingerprint, der_base64 } => {
            (IdentityKind::Certificate, fingerprint, Some(der_base64), None)
        }
        Credential::Token { prefix, hash } => (IdentityKind::Token, prefix, None, Some(hash)),
    }
}

fn no_identity(id: IdentityId) -> CatalogError {
    CatalogError::NoIdentity(id.0.to_string())
}

async fn by_id(tx: &mut Tx, id: IdentityId) -> Result<Identity, CatalogError> {
    let rows = tx.rows(format!("{SELECT} WHERE n.id = $1 ORDER BY p.name"), values![id.0]).await?;
    read(&rows)?.pop().ok_or_else(|| no_identity(id))
}

async fn grant(tx: &mut Tx, id: i64, grants: &[Grant]) -> Result<(), CatalogError> {
    for grant in grants {
        let project = project_id(tx, &grant.project).await?;
        tx.execute(
            "INSERT INTO grants (identity_id, project_id, role, manages) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (identity_id, project_id) DO UPDATE SET role = excluded.role, manages = excluded.manages",
            values![id, project, grant.role.as_str(), grant.manages.as_str()],
        )
        .await?;
    }
    Ok(())
}

/// Reads rows of [`SELECT`]: those of one identity follow one another.
fn read(rows: &[Row]) -> Result<Vec<Identity>, CatalogError> {
    let mut found: Vec<Identity> = Vec::new();
    for row in rows {
        let id = IdentityId(row.int(0)?);
        if found.last().is_none_or(|last| last.id != id) {
            let opt_time = |column| row.opt_int(column)?.map(rows::time).transpose();
            found.push(Identity {
                id,
                kind: kind(&row.text(1)?)?,
                name: row.text(2)?,
                description: row.text(3)?,
                subject: row.text(4)?,
                certificate: row.opt_text(5)?,
                administrator: row.truth(6)?,
                grants: Vec::new(),
                view: row.opt_text(10)?.map(|name| rows::parse("a view's name", &name)).transpose()?,
                created_at: rows::time(row.int(7)?)?,
                expires_at: opt_time(8)?,
                last_used_at: opt_time(9)?,
            });
        }
        if let (Some(project), Some(identity)) = (row.opt_text(11)?, found.last_mut()) {
            identity.grants.push(Grant {
                project: rows::parse::<ProjectName>("a project's name", &project)?,
                role: rows::parse("a role", &row.text(12)?)?,
                manages: rows::parse::<Manages>("what a grant manages", &row.text(13)?)?,
            });
        }
    }
    Ok(found)
}

fn kind(text: &str) -> Result<IdentityKind, CatalogError> {
    [IdentityKind::Certificate, IdentityKind::Token]
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| CatalogError::Corrupt(format!("{text:?} is no kind of identity")))
}
