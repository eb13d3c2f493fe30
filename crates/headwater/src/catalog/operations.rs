use std::collections::BTreeMap;

use headwater_formats::digest::Fingerprint;
use headwater_formats::lxd::operation::Status;
use headwater_formats::names::{AliasName, ProjectName};
use headwater_formats::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::audit::{Action, record};
use super::engine::{Row, Tx, values};
use super::{Catalog, CatalogError, rows};
use crate::auth::{Grant, SecretHash};

/// An operation as the catalog holds it, so that every server can tell of it, and it outlives the one that ran it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredOperation {
    /// A UUID.
    pub id: String,
    /// Grows with every change to any operation.
    pub change: i64,
    /// Something that runs, or a token that waits to be used.
    pub class: OperationClass,
    /// What it does, in words.
    pub description: String,
    /// The project that it belongs to.
    pub project: ProjectName,
    /// When it began.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// How it stands.
    pub status: Status,
    /// Addresses of what it works on, by kind (`images`).
    pub resources: BTreeMap<String, Vec<String>>,
    /// What it tells. Secrets are not in here.
    pub metadata: Map<String, Value>,
    /// Whether it can be cancelled.
    pub may_cancel: bool,
    /// Why it failed.
    pub error: String,
    /// The server that runs it: [`Catalog::server_seen`].
    pub server: String,
    /// Who began it: a certificate's SHA-256 or the beginning of a token; empty for nobody known.
    pub identity: String,
    /// What a token is for.
    pub purpose: Option<Purpose>,
    /// When a token ends that nobody used.
    pub expires_at: Option<Timestamp>,
}

/// What kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationClass {
    /// Something that runs and ends.
    Task,
    /// A secret that waits to be used.
    Token,
}

/// What a token operation is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "for")]
pub enum Purpose {
    /// Who brings it becomes an identity: see [`Catalog::take_join_token`].
    Join(Join),
    /// Who brings it may have one image.
    Download {
        /// The image.
        fingerprint: Fingerprint,
    },
    /// Who brings it may upload one image, which is then listed like this.
    Push(Push),
}

/// What becomes of who joins with a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// What it will be called.
    pub name: String,
    /// Free text.
    pub description: String,
    /// May do everything everywhere.
    pub administrator: bool,
    /// What else it may do.
    pub grants: Vec<Grant>,
}

/// How an image is listed that a daemon was told to push here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The image.
    pub fingerprint: Fingerprint,
    /// Its properties; replace those of its metadata unless empty.
    pub properties: BTreeMap<String, String>,
    /// Whether guests may see it.
    pub public: bool,
    /// Whether it follows its source.
    pub auto_update: bool,
    /// When it expires, in seconds since 1970; `None` leaves what its metadata says.
    pub expires_at: Option<i64>,
    /// Names of profiles; `None` for the usual one.
    pub profiles: Option<Vec<String>>,
    /// Fixed aliases.
    pub aliases: Vec<AliasName>,
    /// Who is said to have published it.
    pub published_by: Option<crate::auth::IdentityId>,
}

/// How long a download secret goes on being good after its first use, in seconds: daemons use it twice, for the image
/// and for its files (LXD gives them 5 s).
pub const SECRET_GRACE: i64 = 120;

/// Most operations that [`Catalog::operations`] gives of those that go on, and of those that have ended.
pub const MOST_LISTED: usize = 1000;

/// Why a task failed whose server was not seen any more.
const SERVER_GONE: &str = "the server that did this ended before it was done; begin it again";

const COLUMNS: &str = "id, change, class, description, project, created_at, updated_at, status, resources, metadata, \
     may_cancel, error, server, identity, purpose, expires_at";

/// What a text that is presented as the secret of an image is worth.
enum Worth {
    /// Nothing.
    Nothing,
    /// It opens the image.
    Good,
    /// It does, for the first time: the token with this id.
    First(String),
}

impl Catalog {
    /// Keeps a new operation, whose `change` is given by the catalog. `secret` is that of a token, or of a task that a
    /// guest may wait for. Who begins a task is alive: see [`Catalog::server_seen`]. Tokens for joining and for downloads are
    /// audited.
    pub async fn add_operation(
        &self,
        operation: &StoredOperation,
        secret: Option<&SecretHash>,
    ) -> Result<i64, CatalogError> {
        let mut tx = self.engine.write().await?;
        let change = next_change(&mut tx).await?;
        tx.execute(
            "INSERT INTO operations (id, change, class, description, project, created_at, updated_at, status, \
             resources, metadata, may_cancel, error, server, identity, purpose, expires_at, secret_hash) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
            values![
                operation.id.as_str(),
                change,
                operation.class.as_str(),
                operation.description.as_str(),
                operation.project.as_str(),
                operation.created_at.unix(),
                operation.updated_at.unix(),
                i64::from(operation.status.code()),
                rows::to_json(&operation.resources)?,
                rows::to_json(&operation.metadata)?,
                operation.may_cancel,
                operation.error.as_str(),
                operation.server.as_str(),
                operation.identity.as_str(),
                operation.purpose.as_ref().map(rows::to_json).transpose()?,
                operation.expires_at.map(Timestamp::unix),
                secret.map(|hash| hash.as_str().to_owned()),
            ],
        )
        .await?;
        if operation.class == OperationClass::Task && !operation.status.is_final() {
            note_server(&mut tx, &operation.server, operation.updated_at).await?;
        }
        match &operation.purpose {
            Some(Purpose::Join(join)) => {
                let rights = join.rights();
                let detail: &[_] = &[("rights", rights.as_str())];
                let now = operation.created_at;
                record(&mut tx, &self.actor, Action::JoinTokenCreated, None, &join.name, detail, now).await?;
            }
            Some(Purpose::Download { fingerprint }) => {
                let (project, fingerprint) = (Some(&operation.project), fingerprint.to_string());
                let (action, now) = (Action::ImageSecretCreated, operation.created_at);
                record(&mut tx, &self.actor, action, project, &fingerprint, &[], now).await?;
            }
            Some(Purpose::Push(_)) | None => {}
        }
        tx.commit().await?;
        Ok(change)
    }

    /// Keeps what changed about one: status, metadata, resources, error, `may_cancel`, `updated_at`. One that has ended
    /// stays as it ended, and one that is being cancelled can only end: `false`. A join token that is cancelled is audited.
    pub async fn update_operation(&self, operation: &StoredOperation) -> Result<bool, CatalogError> {
        let mut tx = self.engine.write().await?;
        let change = next_change(&mut tx).await?;
        let status = i64::from(operation.status.code());
        let kept = tx
            .row(
                "UPDATE operations SET change = $2, updated_at = $3, status = $4, resources = $5, metadata = $6, \
                 may_cancel = $7, error = $8 WHERE id = $1 AND status < 200 AND (status <> $9 OR $4 >= 200) \
                 RETURNING purpose",
                values![
                    operation.id.as_str(),
                    change,
                    operation.updated_at.unix(),
                    status,
                    rows::to_json(&operation.resources)?,
                    rows::to_json(&operation.metadata)?,
                    operation.may_cancel,
                    operation.error.as_str(),
                    i64::from(Status::Cancelling.code()),
                ],
            )
            .await?;
        let Some(kept) = kept else { return Ok(false) };
        if let (Status::Cancelled, Some(Purpose::Join(join))) = (operation.status, purpose(&kept, 0)?) {
            let (action, now) = (Action::JoinTokenRevoked, operation.updated_at);
            record(&mut tx, &self.actor, action, None, &join.name, &[], now).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// One of them.
    pub async fn operation(&self, id: &str) -> Result<Option<StoredOperation>, CatalogError> {
        if id.contains('\0') {
            return Ok(None);
        }
        let sql = format!("SELECT {COLUMNS} FROM operations WHERE id = $1");
        self.engine.fetch(sql, values![id]).await?.first().map(read).transpose()
    }

    /// Whether this is the secret of that operation.
    pub async fn is_operation_secret(&self, id: &str, secret: &SecretHash) -> Result<bool, CatalogError> {
        if id.contains('\0') {
            return Ok(false);
        }
        let sql = "SELECT 1 FROM operations WHERE secret_hash = $1 AND id = $2";
        Ok(!self.engine.fetch(sql, values![secret.as_str(), id]).await?.is_empty())
    }

    /// Those of a project (of all projects for `None`), oldest first; at most the [`MOST_LISTED`] newest of those that go on, and
    /// as many of those that have ended.
    pub async fn operations(&self, project: Option<&ProjectName>) -> Result<Vec<StoredOperation>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let mut found = Vec::new();
        for part in ["status < 200", "status >= 200"] {
            let mut values = values![];
            let mut sql = format!("SELECT {COLUMNS} FROM operations WHERE {part}");
            if let Some(project) = project {
                sql.push_str(" AND project = $1");
                values.extend(values![project.as_str()]);
            }
            sql.push_str(&format!(" ORDER BY updated_at DESC LIMIT {MOST_LISTED}"));
            for row in tx.rows(sql, values).await? {
                found.push(read(&row)?);
            }
        }
        tx.commit().await?;
        found.sort_by_key(|operation| (operation.created_at, operation.change));
        Ok(found)
    }

    /// Those that changed since, in the order of their changes.
    pub async fn operations_changed(&self, since: i64, limit: usize) -> Result<Vec<StoredOperation>, CatalogError> {
        let sql = format!("SELECT {COLUMNS} FROM operations WHERE change > $1 ORDER BY change LIMIT $2");
        self.engine.fetch(sql, values![since, rows::limit(limit)]).await?.iter().map(read).collect()
    }

    /// The number of the last change to any operation.
    pub async fn last_operation_change(&self) -> Result<i64, CatalogError> {
        let rows = self.engine.fetch("SELECT value FROM counters WHERE name = 'operations'", values![]).await?;
        rows.first().ok_or_else(no_counter)?.int(0)
    }

    /// Takes a join token: it is gone, whatever comes of it. `None` when there is none with this secret, or it has expired.
    pub async fn take_join_token(&self, secret: &SecretHash, now: Timestamp) -> Result<Option<Join>, CatalogError> {
        const FIND: &str = "SELECT id, purpose, expires_at FROM operations \
             WHERE secret_hash = $1 AND class = 'token' AND status < 200";
        // Anybody may try, so a wrong one does not wait for the lock of the writers.
        if self.engine.fetch(FIND, values![secret.as_str()]).await?.is_empty() {
            return Ok(None);
        }
        let mut tx = self.engine.write().await?;
        let Some(row) = tx.row(FIND, values![secret.as_str()]).await? else { return Ok(None) };
        let Some(Purpose::Join(join)) = purpose(&row, 1)? else { return Ok(None) };
        let expired = row.opt_int(2)?.is_some_and(|end| end <= now.unix());
        let (status, error) = if expired { (Status::Failure, "it has expired") } else { (Status::Success, "") };
        end_token(&mut tx, &row.text(0)?, status, error, now).await?;
        tx.commit().await?;
        Ok((!expired).then_some(join))
    }

    /// Whether this secret opens that image of the project now. The first use starts [`SECRET_GRACE`].
    pub async fn use_download_secret(
        &self,
        project: &ProjectName,
        fingerprint: &Fingerprint,
        secret: &SecretHash,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.engine.read().await?;
        let worth = worth(&mut tx, project, fingerprint, secret, now).await?;
        tx.commit().await?;
        if !matches!(worth, Worth::First(_)) {
            return Ok(matches!(worth, Worth::Good));
        }
        let mut tx = self.engine.write().await?;
        match self::worth(&mut tx, project, fingerprint, secret, now).await? {
            Worth::Nothing => Ok(false),
            Worth::Good => Ok(true),
            Worth::First(id) => {
                end_token(&mut tx, &id, Status::Success, "", now).await?;
                tx.commit().await?;
                Ok(true)
            }
        }
    }

    /// The project in which this secret opens an image, be it still good or not.
    pub async fn project_of_secret(&self, secret: &SecretHash) -> Result<Option<ProjectName>, CatalogError> {
        let sql = "SELECT project, purpose FROM operations WHERE secret_hash = $1 AND class = 'token'";
        let rows = self.engine.fetch(sql, values![secret.as_str()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        match purpose(row, 1)? {
            Some(Purpose::Download { .. }) => rows::parse("a project's name", &row.text(0)?).map(Some),
            _ => Ok(None),
        }
    }

    /// What was agreed about the image that who brings this secret is about to upload; does not use it up.
    pub async fn push_secret(
        &self,
        project: &ProjectName,
        fingerprint: &Fingerprint,
        secret: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<Push>, CatalogError> {
        let sql = "SELECT purpose FROM operations WHERE secret_hash = $1 AND class = 'token' AND status < 200 \
             AND project = $2 AND (expires_at IS NULL OR expires_at > $3)";
        let rows = self.engine.fetch(sql, values![secret.as_str(), project.as_str(), now.unix()]).await?;
        Ok(match rows.first().map(|row| purpose(row, 0)).transpose()?.flatten() {
            Some(Purpose::Push(push)) if push.fingerprint == *fingerprint => Some(push),
            _ => None,
        })
    }

    /// Ends a push token whose image has arrived.
    pub async fn end_push_token(&self, secret: &SecretHash, now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let sql = "SELECT id, purpose FROM operations WHERE secret_hash = $1 AND class = 'token' AND status < 200";
        let Some(row) = tx.row(sql, values![secret.as_str()]).await? else { return Ok(()) };
        if let Some(Purpose::Push(_)) = purpose(&row, 1)? {
            end_token(&mut tx, &row.text(0)?, Status::Success, "", now).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Says that this server is alive, and ends as failed what servers were running that were not seen since `dead_before`.
    pub async fn server_seen(&self, server: &str, now: Timestamp, dead_before: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        note_server(&mut tx, server, now).await?;
        for dead in tx.rows("SELECT id FROM servers WHERE seen_at < $1", values![dead_before.unix()]).await? {
            let dead = dead.text(0)?;
            let sql = "SELECT id FROM operations WHERE server = $1 AND status < 200 AND class = 'task'";
            for left in tx.rows(sql, values![dead.as_str()]).await? {
                end(&mut tx, &left.text(0)?, Status::Failure, SERVER_GONE, now).await?;
            }
            tx.execute("DELETE FROM servers WHERE id = $1", values![dead]).await?;
        }
        tx.commit().await
    }

    /// Forgets operations that ended before that time, and tokens that expired; gives how many.
    pub async fn forget_operations(&self, before: Timestamp, now: Timestamp) -> Result<u64, CatalogError> {
        let ended = "FROM operations WHERE status >= 200 AND updated_at < $1";
        let expired = "FROM operations WHERE expires_at <= $1 AND status < 200";
        // Most of the time there is nothing, and nobody has to wait for that.
        let mut tx = self.engine.read().await?;
        let mut nothing = true;
        for (which, limit) in [(ended, before), (expired, now)] {
            nothing &= tx.row(format!("SELECT 1 {which} LIMIT 1"), values![limit.unix()]).await?.is_none();
        }
        tx.commit().await?;
        if nothing {
            return Ok(0);
        }
        let mut tx = self.engine.write().await?;
        let mut forgotten = 0;
        for (which, limit) in [(ended, before), (expired, now)] {
            forgotten += tx.execute(format!("DELETE {which}"), values![limit.unix()]).await?;
        }
        tx.commit().await?;
        Ok(forgotten)
    }
}

impl OperationClass {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Token => "token",
        }
    }
}

impl Join {
    /// What who joins may do, for the audit: `administrator`, or `team:publisher, shop:viewer`.
    fn rights(&self) -> String {
        if self.administrator {
            return "administrator".to_owned();
        }
        let grants = self.grants.iter().map(|grant| format!("{}:{}", grant.project, grant.role));
        grants.collect::<Vec<_>>().join(", ")
    }
}

fn no_counter() -> CatalogError {
    CatalogError::Corrupt("the counter of operations is missing".into())
}

/// The number of a change. Writers come one after another, so numbers show in the order in which they were given.
async fn next_change(tx: &mut Tx) -> Result<i64, CatalogError> {
    let sql = "UPDATE counters SET value = value + 1 WHERE name = 'operations' RETURNING value";
    tx.row(sql, values![]).await?.ok_or_else(no_counter)?.int(0)
}

async fn note_server(tx: &mut Tx, server: &str, now: Timestamp) -> Result<(), CatalogError> {
    tx.execute(
        "INSERT INTO servers (id, seen_at) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE \
         SET seen_at = CASE WHEN servers.seen_at > excluded.seen_at THEN servers.seen_at ELSE excluded.seen_at END",
        values![server, now.unix()],
    )
    .await?;
    Ok(())
}

/// Ends one that goes on.
async fn end(tx: &mut Tx, id: &str, status: Status, error: &str, now: Timestamp) -> Result<(), CatalogError> {
    let change = next_change(tx).await?;
    tx.execute(
        "UPDATE operations SET status = $2, error = $3, updated_at = $4, change = $5, may_cancel = 0 \
         WHERE id = $1 AND status < 200",
        values![id, i64::from(status.code()), error, now.unix(), change],
    )
    .await?;
    Ok(())
}

/// Ends a token because it was used.
async fn end_token(tx: &mut Tx, id: &str, status: Status, error: &str, now: Timestamp) -> Result<(), CatalogError> {
    tx.execute("UPDATE operations SET used_at = $2 WHERE id = $1", values![id, now.unix()]).await?;
    end(tx, id, status, error, now).await
}

async fn worth(
    tx: &mut Tx,
    project: &ProjectName,
    fingerprint: &Fingerprint,
    secret: &SecretHash,
    now: Timestamp,
) -> Result<Worth, CatalogError> {
    let sql = "SELECT id, purpose, used_at, status, expires_at FROM operations \
         WHERE secret_hash = $1 AND class = 'token' AND project = $2";
    let Some(row) = tx.row(sql, values![secret.as_str(), project.as_str()]).await? else { return Ok(Worth::Nothing) };
    if !matches!(purpose(&row, 1)?, Some(Purpose::Download { fingerprint: known }) if known == *fingerprint) {
        return Ok(Worth::Nothing);
    }
    let now = now.unix();
    Ok(match row.opt_int(2)? {
        Some(used) if now < used.saturating_add(SECRET_GRACE) => Worth::Good,
        Some(_) => Worth::Nothing,
        // Cancelled before anybody came.
        None if row.int(3)? >= 200 => Worth::Nothing,
        None if row.opt_int(4)?.is_some_and(|end| end <= now) => Worth::Nothing,
        None => Worth::First(row.text(0)?),
    })
}

fn purpose(row: &Row, column: usize) -> Result<Option<Purpose>, CatalogError> {
    row.opt_text(column)?.map(|text| rows::from_json(&text)).transpose()
}

fn read(row: &Row) -> Result<StoredOperation, CatalogError> {
    let class = match &*row.text(2)? {
        "task" => OperationClass::Task,
        "token" => OperationClass::Token,
        other => return Err(CatalogError::Corrupt(format!("{other:?} is no class of operations"))),
    };
    let code = row.int(7)?;
    let status = u16::try_from(code).ok().and_then(Status::from_code);
    Ok(StoredOperation {
        id: row.text(0)?,
        change: row.int(1)?,
        class,
        description: row.text(3)?,
        project: rows::parse("a project's name", &row.text(4)?)?,
        created_at: rows::time(row.int(5)?)?,
        updated_at: rows::time(row.int(6)?)?,
        status: status.ok_or_else(|| CatalogError::Corrupt(format!("{code} is no status of an operation")))?,
        resources: rows::from_json(&row.text(8)?)?,
        metadata: rows::from_json(&row.text(9)?)?,
        may_cancel: row.truth(10)?,
        error: row.text(11)?,
        server: row.text(12)?,
        identity: row.text(13)?,
        purpose: purpose(row, 14)?,
        expires_at: row.opt_int(15)?.map(rows::time).transpose()?,
    })
}
