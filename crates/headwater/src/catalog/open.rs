//! Opening the catalog: connections for each engine, and numbered migrations.
//!
//! Migrations are the files of `/migrations/{sqlite,postgres}`, same numbers on both sides, built into the program. They
//! run in one write transaction, so that of several programs that start at once one does the work and the others find it done, and a
//! program that is killed meanwhile leaves the schema as it was.

use std::io::ErrorKind;
use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, PgConnection};

use super::engine::{Engine, PATIENCE, Tx, values};
use super::mark::MarkFile;
use super::{CatalogError, Location, names, records};

/// How many connections answer reads at the same time.
const READERS: u32 = 8;
/// KiB of pages that a connection to SQLite keeps, at most: the inner pages of the indexes of a million images, and some more.
const CACHE_KIB: u32 = 8 * 1024;
/// Where SQLite keeps what it needs to take back one statement of a write: a few pages, for which files would be made and written again and again.
const TEMPORARY: &str = "MEMORY";

/// A step of the schema: its number, and its text for SQLite and for PostgreSQL.
struct Migration {
    number: i64,
    sqlite: &'static str,
    postgres: &'static str,
}

/// The migration of that number, in the files of that name.
macro_rules! migration {
    ($number:expr, $name:literal) => {
        Migration {
            number: $number,
            sqlite: include_str!(concat!("../../../../migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../../../../migrations/postgres/", $name, ".sql")),
        }
    };
}

const MIGRATIONS: &[Migration] = &[
    migration!(1, "0001_catalog"),
    migration!(2, "0002_identities"),
    migration!(3, "0003_product_changes"),
    migration!(LISTS, "0004_lists"),
    migration!(5, "0005_stream_keys"),
    migration!(6, "0006_writes"),
    migration!(LOOKUPS, "0007_lookups"),
    migration!(8, "0008_deltas"),
    migration!(9, "0009_upstreams"),
    migration!(10, "0010_records_in_order"),
    migration!(11, "0011_promises"),
    migration!(12, "0012_retention"),
];

/// The migration with the texts of lists, which are made of the rows that are there.
const LISTS: i64 = 4;
/// The migration with what is looked up without case.
const LOOKUPS: i64 = 7;

/// The last schema that this program knows.
fn known() -> i64 {
    MIGRATIONS.last().map_or(0, |migration| migration.number)
}

/// Connects, and brings the schema up to [`known`].
pub(super) async fn open(location: &Location) -> Result<Engine, CatalogError> {
    let engine = match location {
        Location::Sqlite(path) => sqlite(path).await?,
        Location::Postgres(url) => postgres(url).await?,
    };
    let done = migrate(&engine).await;
    if done.is_err() {
        engine.close().await;
    }
    done.map(|()| engine)
}

async fn migrate(engine: &Engine) -> Result<(), CatalogError> {
    let mut tx = engine.read().await?;
    let found = schema(&mut tx).await?;
    tx.commit().await?;
    if is_current(found)? {
        return Ok(());
    }
    // It sorts whole tables.
    engine.keep_temporary("FILE").await?;
    let done = migrate_now(engine).await;
    // What went wrong with the migration is told first.
    done.and(engine.keep_temporary(TEMPORARY).await)
}

async fn migrate_now(engine: &Engine) -> Result<(), CatalogError> {
    let mut tx = engine.write().await?;
    let found = schema(&mut tx).await?;
    if is_current(found)? {
        return Ok(());
    }
    tx.script("CREATE TABLE IF NOT EXISTS schema_migrations (number BIGINT PRIMARY KEY)").await?;
    for migration in MIGRATIONS.iter().filter(|migration| migration.number > found) {
        match tx {
            Tx::Sqlite(..) => tx.script(migration.sqlite).await?,
            Tx::Postgres(..) => tx.script(migration.postgres).await?,
        }
        tx.execute("INSERT INTO schema_migrations (number) VALUES ($1)", values![migration.number]).await?;
    }
    // By the last schema, whichever one the texts came with: what writes them knows no other.
    if found < LISTS {
        records::fill(&mut tx).await?;
    } else if found < LOOKUPS {
        records::fill_words(&mut tx).await?;
    }
    if found < LOOKUPS {
        names::fold(&mut tx).await?;
    }
    tx.commit().await
}

fn is_current(found: i64) -> Result<bool, CatalogError> {
    match found.cmp(&known()) {
        std::cmp::Ordering::Less => Ok(false),
        std::cmp::Ordering::Equal => Ok(true),
        std::cmp::Ordering::Greater => Err(CatalogError::Newer { found, known: known() }),
    }
}

/// The number of the schema; 0 in an empty database.
async fn schema(tx: &mut Tx) -> Result<i64, CatalogError> {
    let tables = match tx {
        Tx::Sqlite(..) => {
            "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name = 'schema_migrations' DESC"
        }
        Tx::Postgres(..) => "SELECT 'schema_migrations' WHERE to_regclass('schema_migrations') IS NOT NULL",
    };
    match tx.row(tables, values![]).await?.map(|row| row.text(0)).transpose()?.as_deref() {
        None => Ok(0),
        Some("schema_migrations") => {
            let row = tx.row("SELECT MAX(number) FROM schema_migrations", values![]).await?;
            Ok(row.map(|row| row.opt_int(0)).transpose()?.flatten().unwrap_or(0))
        }
        Some(_) => Err(CatalogError::Unavailable(
            "the file is the database of another program; choose another data folder".into(),
        )),
    }
}

async fn postgres(url: &str) -> Result<Engine, CatalogError> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(CatalogError::Unavailable(
            "its address does not begin with postgres://; write it as postgres://USER:PASSWORD@HOST/DATABASE"
                .to_owned(),
        ));
    }
    let options = PgConnectOptions::from_str(url).map_err(|error| {
        let error = error.to_string();
        CatalogError::Unavailable(format!(
            "its address cannot be read ({}); write it as postgres://USER:PASSWORD@HOST/DATABASE",
            error.strip_prefix("error with configuration: ").unwrap_or(&error)
        ))
    })?;
    let patience = format!("{}s", PATIENCE.as_secs());
    let options = options
        .application_name("headwater")
        .options([("lock_timeout", patience.as_str()), ("synchronous_commit", "on")]);
    // A pool tries again and again for as long as it is patient; a server that is not there is told at once.
    PgConnection::connect_with(&options).await?.close().await?;
    let pool = PgPoolOptions::new().max_connections(READERS * 2).acquire_timeout(PATIENCE).connect_with(options);
    Ok(Engine::Postgres(pool.await?))
}

/// How many rows SQLite's thread may be ahead of who reads them.
const ROWS_AHEAD: usize = 4096;

/// Opens a file for one writer and several readers; where it cannot be written to, for readers alone.
async fn sqlite(path: &Path) -> Result<Engine, CatalogError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(PATIENCE)
        .foreign_keys(true)
        // A page of a list is thousands of rows. They come from a thread of their own, through a channel that holds 50 unless
        // told otherwise, and each time it is full both sides wait for one another.
        .row_buffer_size(ROWS_AHEAD)
        .pragma("cache_size", format!("-{CACHE_KIB}"))
        .synchronous(SqliteSynchronous::Full);
    let pool = |connections: u32| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .min_connections(1)
            .test_before_acquire(false)
            // When the disk is full, SQLite itself ends the transaction, and the rollback that follows fails for want
            // of one: sqlx would count that connection as inside a transaction for ever. It is replaced instead.
            .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .acquire_timeout(PATIENCE * 2)
    };
    if let Err(why) = writable(path) {
        if !path.exists() {
            return Err(CatalogError::Unavailable(format!(
                "{why}; check that its folder exists and may be written to"
            )));
        }
        let options = options.read_only(true);
        let read = match pool(READERS).connect_with(options.clone()).await {
            Ok(read) if sqlx::query("SELECT 1 FROM sqlite_master").execute(&read).await.is_ok() => read,
            // SQLite wants to make the shared memory of a write-ahead log even for readers. Where nothing waits in a log and nobody can
            // write, it may be told that the file does not change.
            _ if log_is_empty(path) => pool(READERS).connect_with(options.immutable(true)).await?,
            _ => {
                return Err(CatalogError::Unavailable(format!(
                    "{why}, and its write-ahead log holds changes that only a writer can fold in; open it once where it may be written to"
                )));
            }
        };
        return Ok(Engine::Sqlite { read, write: Err(format!("{why}; it can only be read")), mark: None });
    }
    let writer = options.clone().journal_mode(SqliteJournalMode::Wal).pragma("temp_store", TEMPORARY);
    let write = patiently(|| pool(1).connect_with(writer.clone())).await?;
    let read = pool(READERS).connect_with(options.pragma("query_only", "ON")).await?;
    let mark = MarkFile::for_writer(path).map_err(|error| {
        CatalogError::Unavailable(format!("the file beside it that ends in -mark cannot be written to ({error})"))
    })?;
    Ok(Engine::Sqlite { read, write: Ok(write), mark: Some(Arc::new(mark)) })
}

/// Whether this process may write to the file and beside it. Makes the file when it is missing: for its owner only, because it will hold
/// the hashes of credentials.
///
/// The file itself is never opened here: closing it would end the locks that another handle of this process holds on it.
fn writable(path: &Path) -> Result<(), String> {
    use rustix::fs::{Access, access};

    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let allowed = || {
        access(folder, Access::WRITE_OK | Access::EXEC_OK)?;
        if !path.exists() {
            let made = tempfile::NamedTempFile::new_in(folder)?.into_temp_path();
            match made.persist_noclobber(path) {
                Err(refused) if refused.error.kind() != ErrorKind::AlreadyExists => return Err(refused.error),
                _ => {}
            }
        }
        Ok(access(path, Access::READ_OK | Access::WRITE_OK)?)
    };
    allowed().map_err(|error: std::io::Error| match error.kind() {
        ErrorKind::ReadOnlyFilesystem => "its file system is mounted read-only".to_owned(),
        ErrorKind::PermissionDenied => "this user may not write to the file or its folder".to_owned(),
        ErrorKind::NotFound => "its folder does not exist".to_owned(),
        ErrorKind::StorageFull => "the disk is full".to_owned(),
        _ => format!("its file cannot be written to ({error})"),
    })
}

fn log_is_empty(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).map_or(true, |log| log.len() == 0)
}

/// Turning the write-ahead log on, and folding it in after a crash, wants the file alone, and SQLite's own waiting does not cover it.
async fn patiently<T, F: Future<Output = Result<T, sqlx::Error>>>(
    mut connect: impl FnMut() -> F,
) -> Result<T, CatalogError> {
    const STEP: Duration = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    loop {
        match connect().await {
            Ok(done) => return Ok(done),
            Err(sqlx::Error::Database(error))
                if waited < PATIENCE && error.code().is_some_and(|code| is_busy(&code)) =>
            {
                tokio::time::sleep(STEP).await;
                waited += STEP;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_busy(code: &str) -> bool {
    code.parse::<u32>().is_ok_and(|code| code & 0xff == 5)
}
