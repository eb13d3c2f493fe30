use std::collections::BTreeMap;

use headwater_formats::digest::Fingerprint;
use headwater_formats::lxd::operation::Status;
use headwater_formats::names::{AliasName, ProjectName};
use headwater_formats::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Catalog, CatalogError};
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

impl Catalog {
    /// Keeps a new operation, whose `change` is given by the catalog. `secret` is that of a token, or of a task that a
    /// guest may wait for.
    pub async fn add_operation(
        &self,
        operation: &StoredOperation,
        secret: Option<&SecretHash>,
    ) -> Result<i64, CatalogError> {
        let _ = (operation, secret);
        todo!()
    }

    /// Keeps what changed about one: status, metadata, resources, error, `may_cancel`, `updated_at`. One that has ended
    /// stays as it ended: `false`.
    pub async fn update_operation(&self, operation: &StoredOperation) -> Result<bool, CatalogError> {
        let _ = operation;
        todo!()
    }

    /// One of them.
    pub async fn operation(&self, id: &str) -> Result<Option<StoredOperation>, CatalogError> {
        let _ = id;
        todo!()
    }

    /// Whether this is the secret of that operation.
    pub async fn is_operation_secret(&self, id: &str, secret: &SecretHash) -> Result<bool, CatalogError> {
        let _ = (id, secret);
        todo!()
    }

    /// Those of a project (of all projects for `None`), oldest first.
    pub async fn operations(&self, project: Option<&ProjectName>) -> Result<Vec<StoredOperation>, CatalogError> {
        let _ = project;
        todo!()
    }

    /// Those that changed since, in the order of their changes.
    pub async fn operations_changed(&self, since: i64, limit: usize) -> Result<Vec<StoredOperation>, CatalogError> {
        let _ = (since, limit);
        todo!()
    }

    /// The number of the last change to any operation.
    pub async fn last_operation_change(&self) -> Result<i64, CatalogError> {
        todo!()
    }

    /// Takes a join token: it is gone, whatever comes of it. `None` when there is none with this secret, or it has expired.
    pub async fn take_join_token(&self, secret: &SecretHash, now: Timestamp) -> Result<Option<Join>, CatalogError> {
        let _ = (secret, now);
        todo!()
    }

    /// Whether this secret opens that image of the project now. The first use starts [`SECRET_GRACE`].
    pub async fn use_download_secret(
        &self,
        project: &ProjectName,
        fingerprint: &Fingerprint,
        secret: &SecretHash,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        let _ = (project, fingerprint, secret, now);
        todo!()
    }

    /// What was agreed about the image that who brings this secret is about to upload; does not use it up.
    pub async fn push_secret(
        &self,
        project: &ProjectName,
        fingerprint: &Fingerprint,
        secret: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<Push>, CatalogError> {
        let _ = (project, fingerprint, secret, now);
        todo!()
    }

    /// Ends a push token whose image has arrived.
    pub async fn end_push_token(&self, secret: &SecretHash, now: Timestamp) -> Result<(), CatalogError> {
        let _ = (secret, now);
        todo!()
    }

    /// Says that this server is alive, and ends as failed what servers were running that were not seen since `dead_before`.
    pub async fn server_seen(&self, server: &str, now: Timestamp, dead_before: Timestamp) -> Result<(), CatalogError> {
        let _ = (server, now, dead_before);
        todo!()
    }

    /// Forgets operations that ended before that time, and tokens that expired; gives how many.
    pub async fn forget_operations(&self, before: Timestamp, now: Timestamp) -> Result<u64, CatalogError> {
        let _ = (before, now);
        todo!()
    }
}
