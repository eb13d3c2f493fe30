//! Servers that are mirrored: where they are, what is taken of them, when they are due, who is at it, and how the last run ended.
//!
//! An upstream is claimed for a run, as long as the claim is renewed; whoever runs it and dies leaves a claim that runs out. What was taken
//! from it is in `mirrored.rs`. What the settings mean is decided elsewhere; they are kept as they are.

use std::fmt;
use std::str::FromStr;

use headwater_formats::names::{ProjectName, UpstreamName};
use headwater_formats::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use super::audit::{Action, record};
use super::engine::{Row, Tx, values};
use super::rows::{self, from_json, to_json};
use super::sight::project_id;
use super::{Catalog, CatalogError, promises};

/// The number of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamId(pub(super) i64);

impl UpstreamId {
    /// The number itself.
    pub fn number(self) -> i64 {
        self.0
    }
}

/// How an upstream is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamProtocol {
    /// By its documents.
    SimpleStreams,
    /// By its API, as clients of LXD ask it.
    Lxd,
    /// By its API, as clients of Incus ask it.
    Incus,
}

/// The text is no protocol of an upstream.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no protocol that can be mirrored; use simplestreams, lxd or incus")]
pub struct UnknownProtocol(String);

impl UpstreamProtocol {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SimpleStreams => "simplestreams",
            Self::Lxd => "lxd",
            Self::Incus => "incus",
        }
    }
}

impl FromStr for UpstreamProtocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        let all = [Self::SimpleStreams, Self::Lxd, Self::Incus];
        let found = all.into_iter().find(|protocol| protocol.as_str() == text);
        found.ok_or_else(|| UnknownProtocol(text.chars().take(64).collect()))
    }
}

/// What an upstream is shown, so that it knows who asks. Empty for a guest; a token, or a certificate and its key, in PEM. Secrets: they are never
/// logged, and shown by no list.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamCredential {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// The token.
    pub token: String,
}

impl UpstreamCredential {
    /// What kind it is: `certificate`, `token`, or nothing.
    pub fn kind(&self) -> &'static str {
        match self {
            Self { token, .. } if !token.is_empty() => "token",
            Self { certificate, .. } if !certificate.is_empty() => "certificate",
            _ => "",
        }
    }
}

/// Of which kind, and no more.
impl fmt::Debug for UpstreamCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UpstreamCredential").field(&self.kind()).finish()
    }
}

/// What can be set of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamSettings {
    /// What is taken, as [`Selection`](headwater_formats::simplestreams::select::Selection) reads it; empty for everything.
    pub filter: String,
    /// Whether guests may see what is taken.
    pub public: bool,
    /// Whether images that are listed for one family of clients are offered to the other one, too.
    pub both_families: bool,
    /// Seconds between two runs; 0 when it only runs when somebody says so.
    pub every: u32,
    /// Versions of a product that stay although the upstream lists fewer; 0 for those that it lists.
    pub keep: u32,
    /// Versions that came less than so many days ago stay although the upstream lists them no more; 0 for those that it lists.
    pub keep_days: u32,
    /// Whether images that a fixed alias leads to stay although the upstream lists them no more.
    pub keep_aliased: bool,
    /// How long images stay after the upstream ceased to list them, in seconds.
    pub grace: u32,
    /// The server's certificate in PEM; empty when the system has to trust it.
    pub certificate: String,
    /// OpenPGP certificates, armored, of which one has to have signed the documents; empty when no signature is asked for.
    pub keyring: String,
    /// What it is shown.
    pub credential: UpstreamCredential,
    /// The project there whose images are taken, where an API is asked; empty leaves it to the server.
    pub upstream_project: String,
    /// Most bytes a second; 0 for as many as come.
    pub rate: u64,
    /// Files that come at a time.
    pub connections: u32,
    /// Whether files come when somebody asks for them, rather than with a run. Kept in columns of their own, as the next two are.
    #[serde(skip)]
    pub lazy: bool,
    /// Most bytes that are kept of files that came when somebody asked; 0 for as many as come.
    #[serde(skip)]
    pub cache_size: u64,
    /// How long such a file is kept that nobody asks for any more, in seconds; 0 for ever.
    #[serde(skip)]
    pub cache_age: u32,
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self {
            filter: String::new(),
            public: false,
            both_families: false,
            every: 6 * 3600,
            keep: 0,
            keep_days: 0,
            keep_aliased: false,
            grace: 24 * 3600,
            certificate: String::new(),
            keyring: String::new(),
            credential: UpstreamCredential::default(),
            upstream_project: String::new(),
            rate: 0,
            connections: 4,
            lazy: false,
            cache_size: 0,
            cache_age: 0,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamRun {
    /// When it began, in seconds since 1970.
    pub began_at: i64,
    /// When it ended.
    pub ended_at: i64,
    /// Why it did not do all that was to be done; empty when it did.
    pub why: String,
    /// Images that the upstream lists, as far as they were chosen.
    pub listed: u64,
    /// Images that were taken.
    pub taken: u64,
    /// Images that could not be taken; the log says why.
    pub failed: u64,
    /// Images that went.
    pub removed: u64,
    /// Bytes that came over the network, documents apart.
    pub bytes: u64,
}

/// A server that is mirrored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its number.
    pub id: UpstreamId,
    /// Its name, unique on the server.
    pub name: UpstreamName,
    /// Where its images go.
    pub project: ProjectName,
    /// How it is asked.
    pub protocol: UpstreamProtocol,
    /// Its address, with the password in it, if it has one.
    pub server: String,
    /// What was set.
    pub settings: UpstreamSettings,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it runs next; `None` when somebody has to say so.
    pub due_at: Option<Timestamp>,
    /// Until when somebody is at it, if nobody dies.
    pub claimed_until: Option<Timestamp>,
    /// How the last run ended.
    pub last_run: Option<UpstreamRun>,
}

/// How a claim went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamClaim {
    /// It is the caller's now.
    Taken(Box<Upstream>),
    /// Somebody else is at it.
    Busy,
}

/// Images that go in one transaction with their upstream.
const TOGETHER: usize = 500;

/// What [`read`] reads.
macro_rules! columns {
    () => {
        "u.id, u.name, p.name, u.protocol, u.server, u.settings, u.created_at, u.due_at, u.claimed_until, \
         u.last_run, u.claimed_by, u.lazy, u.cache_size, u.cache_age"
    };
}

pub(super) const SELECT: &str =
    concat!("SELECT ", columns!(), " FROM upstreams u JOIN projects p ON p.id = u.project_id");

/// Those that promise the file `$1`, each with the path of it there in the column [`PATH`].
pub(super) const PROMISING: &str = concat!(
    "SELECT ",
    columns!(),
    ", q.path FROM promises q CROSS JOIN upstreams u CROSS JOIN projects p \
     WHERE q.digest = $1 AND u.id = q.upstream_id AND p.id = u.project_id"
);
/// The first column after those of [`read`].
pub(super) const PATH: usize = 14;

impl Catalog {
    /// All of them, by name.
    pub async fn upstreams(&self) -> Result<Vec<Upstream>, CatalogError> {
        let rows = self.engine.fetch(format!("{SELECT} ORDER BY u.name"), values![]).await?;
        rows.iter().map(read).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// [`CatalogError::NoUpstream`].
    pub async fn upstream(&self, name: &UpstreamName) -> Result<Upstream, CatalogError> {
        let rows = self.engine.fetch(format!("{SELECT} WHERE u.name = $1"), values![name.as_str()]).await?;
        rows.first().map(read).transpose()?.ok_or_else(|| CatalogError::NoUpstream(name.to_string()))
    }

    /// Makes one, which is due at once if it runs by itself.
    ///
    /// # Errors
    /// [`CatalogError::UpstreamExists`], [`CatalogError::NoProject`].
    pub async fn create_upstream(
        &self,
        name: &UpstreamName,
        project: &ProjectName,
        protocol: UpstreamProtocol,
        server: &str,
        settings: &UpstreamSettings,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let id = project_id(&mut tx, project).await?;
        let due = (settings.every > 0).then_some(now.unix());
        let sql = "INSERT INTO upstreams (name, project_id, protocol, server, settings, created_at, due_at, lazy, cache_size, \
             cache_age) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (name) DO NOTHING";
        let [lazy, size, age] = cache(settings)?;
        let values =
            values![name.as_str(), id, protocol.as_str(), server, to_json(settings)?, now.unix(), due, lazy, size, age];
        if tx.execute(sql, values).await? == 0 {
            return Err(CatalogError::UpstreamExists(name.clone()));
        }
        let detail =
            [("credential", settings.credential.kind()), ("filter", &settings.filter), ("protocol", protocol.as_str())];
        record(&mut tx, &self.actor, Action::UpstreamCreated, Some(project), name.as_str(), &detail, now).await?;
        tx.commit().await
    }

    /// Changes the settings of one; when it runs next follows from the last run.
    ///
    /// # Errors
    /// [`CatalogError::NoUpstream`].
    pub async fn edit_upstream(
        &self,
        name: &UpstreamName,
        settings: &UpstreamSettings,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let upstream = find(&mut tx, name).await?;
        if upstream.settings == *settings {
            return Ok(());
        }
        let last = upstream.last_run.map_or(now.unix(), |run| run.ended_at);
        let due = (settings.every > 0).then(|| last.saturating_add(settings.every.into()).max(now.unix()));
        let [lazy, size, age] = cache(settings)?;
        let sql =
            "UPDATE upstreams SET settings = $2, due_at = $3, lazy = $4, cache_size = $5, cache_age = $6 WHERE id = $1";
        tx.execute(sql, values![upstream.id.0, to_json(settings)?, due, lazy, size, age]).await?;
        let detail = [("credential", settings.credential.kind()), ("filter", &settings.filter)];
        let project = Some(&upstream.project);
        record(&mut tx, &self.actor, Action::UpstreamUpdated, project, name.as_str(), &detail, now).await?;
        tx.commit().await
    }

    /// Removes one. The images that came from it stay, as if they had been published, but for those of which a file is not here that no other
    /// upstream promises: they go as by [`Catalog::delete_image`]. How many went.
    ///
    /// # Errors
    /// [`CatalogError::NoUpstream`].
    pub async fn delete_upstream(&self, name: &UpstreamName, now: Timestamp) -> Result<u64, CatalogError> {
        let mut gone = 0;
        // They may be many, and others want to write, too.
        let (mut tx, upstream) = loop {
            let mut tx = self.engine.write().await?;
            let upstream = find(&mut tx, name).await?;
            let some = promises::end(&mut tx, &upstream, &self.actor, TOGETHER, now).await?;
            gone += some as u64;
            if some < TOGETHER {
                break (tx, upstream);
            }
            tx.commit().await?;
        };
        tx.execute("DELETE FROM upstreams WHERE id = $1", values![upstream.id.0]).await?;
        let project = Some(&upstream.project);
        record(&mut tx, &self.actor, Action::UpstreamDeleted, project, name.as_str(), &[], now).await?;
        tx.commit().await?;
        Ok(gone)
    }

    /// Claims the one that is due longest, for `by` until then. Claims of those who are `dead` count for nothing.
    pub async fn claim_due_upstream(
        &self,
        by: &str,
        now: Timestamp,
        until: Timestamp,
        dead: impl Fn(&str) -> bool,
    ) -> Result<Option<Upstream>, CatalogError> {
        let due = format!("{SELECT} WHERE u.due_at <= $1 ORDER BY u.due_at, u.name");
        let free = |row: &Row| is_free(row, now, &dead);
        // Mostly there is nothing to do, and nobody has to wait for that.
        let found = self.engine.fetch(due.clone(), values![now.unix()]).await?;
        if !found.iter().map(free).collect::<Result<Vec<_>, _>>()?.contains(&true) {
            return Ok(None);
        }
        let mut tx = self.engine.write().await?;
        for row in tx.rows(due, values![now.unix()]).await? {
            if free(&row)? {
                let upstream = read(&row)?;
                take(&mut tx, upstream.id, by, until).await?;
                tx.commit().await?;
                return Ok(Some(upstream));
            }
        }
        Ok(None)
    }

    /// Claims a certain one, due or not. A claim of somebody who is `dead` counts for nothing.
    ///
    /// # Errors
    /// [`CatalogError::NoUpstream`].
    pub async fn claim_upstream(
        &self,
        name: &UpstreamName,
        by: &str,
        now: Timestamp,
        until: Timestamp,
        dead: impl Fn(&str) -> bool,
    ) -> Result<UpstreamClaim, CatalogError> {
        let mut tx = self.engine.write().await?;
        let row = tx.row(format!("{SELECT} WHERE u.name = $1"), values![name.as_str()]).await?;
        let row = row.ok_or_else(|| CatalogError::NoUpstream(name.to_string()))?;
        if !is_free(&row, now, &dead)? {
            return Ok(UpstreamClaim::Busy);
        }
        let upstream = read(&row)?;
        take(&mut tx, upstream.id, by, until).await?;
        tx.commit().await?;
        Ok(UpstreamClaim::Taken(Box::new(upstream)))
    }

    /// Renews a claim; `false` when it is lost, or the upstream is gone.
    pub async fn keep_upstream_claim(&self, id: UpstreamId, by: &str, until: Timestamp) -> Result<bool, CatalogError> {
        let mut tx = self.engine.write().await?;
        let sql = "UPDATE upstreams SET claimed_until = $3 WHERE id = $1 AND claimed_by = $2";
        let kept = tx.execute(sql, values![id.0, by, until.unix()]).await? > 0;
        tx.commit().await?;
        Ok(kept)
    }

    /// Ends a claim: how the run went, and when the next one is due. Without a run, it was broken off and is due as before.
    pub async fn end_upstream_claim(
        &self,
        id: UpstreamId,
        by: &str,
        run: Option<&UpstreamRun>,
        due_at: Option<Timestamp>,
    ) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let sql = "UPDATE upstreams SET claimed_by = NULL, claimed_until = NULL WHERE id = $1 AND claimed_by = $2";
        let ours = tx.execute(sql, values![id.0, by]).await? > 0;
        if let (true, Some(run)) = (ours, run) {
            let sql = "UPDATE upstreams SET last_run = $2, due_at = $3 WHERE id = $1";
            tx.execute(sql, values![id.0, to_json(run)?, due_at.map(Timestamp::unix)]).await?;
        }
        tx.commit().await
    }
}

/// Whether nobody is at it.
fn is_free(row: &Row, now: Timestamp, dead: &impl Fn(&str) -> bool) -> Result<bool, CatalogError> {
    let holds = row.opt_int(8)?.is_some_and(|until| until >= now.unix());
    Ok(!holds || row.opt_text(10)?.is_some_and(|by| dead(&by)))
}

/// What is kept in columns of its own.
fn cache(settings: &UpstreamSettings) -> Result<[i64; 3], CatalogError> {
    Ok([i64::from(settings.lazy), rows::signed(settings.cache_size)?, settings.cache_age.into()])
}

async fn take(tx: &mut Tx, id: UpstreamId, by: &str, until: Timestamp) -> Result<(), CatalogError> {
    let sql = "UPDATE upstreams SET claimed_by = $2, claimed_until = $3 WHERE id = $1";
    tx.execute(sql, values![id.0, by, until.unix()]).await?;
    Ok(())
}

async fn find(tx: &mut Tx, name: &UpstreamName) -> Result<Upstream, CatalogError> {
    let row = tx.row(format!("{SELECT} WHERE u.name = $1"), values![name.as_str()]).await?;
    row.as_ref().map(read).transpose()?.ok_or_else(|| CatalogError::NoUpstream(name.to_string()))
}

pub(super) fn read(row: &Row) -> Result<Upstream, CatalogError> {
    let settings = UpstreamSettings {
        lazy: row.truth(11)?,
        cache_size: rows::unsigned(row.int(12)?)?,
        cache_age: u32::try_from(row.int(13)?).unwrap_or(u32::MAX),
        ..from_json(&row.text(5)?)?
    };
    Ok(Upstream {
        id: UpstreamId(row.int(0)?),
        name: rows::parse("an upstream's name", &row.text(1)?)?,
        project: rows::parse("a project's name", &row.text(2)?)?,
        protocol: rows::parse("an upstream's protocol", &row.text(3)?)?,
        server: row.text(4)?,
        settings,
        created_at: rows::time(row.int(6)?)?,
        due_at: row.opt_int(7)?.map(rows::time).transpose()?,
        claimed_until: row.opt_int(8)?.map(rows::time).transpose()?,
        last_run: row.opt_text(9)?.map(|text| from_json(&text)).transpose()?,
    })
}
