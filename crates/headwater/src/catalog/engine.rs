//! The two databases, made to look like one: connections, transactions, parameters, rows.
//!
//! Every statement of this room is one text for both engines: `$1` parameters, `ON CONFLICT`, `RETURNING`, row values.
//! What differs stands here and in `open.rs`:
//!
//! | | SQLite | PostgreSQL |
//! | --- | --- | --- |
//! | a write | one connection, `BEGIN IMMEDIATE`: one writer among all processes, who waits up to [`PATIENCE`] | `READ COMMITTED` behind a transaction-wide advisory lock: one writer among all servers, who waits up to [`PATIENCE`] |
//! | a read of several statements | a deferred transaction on the write-ahead log: one snapshot | `REPEATABLE READ READ ONLY`: one snapshot |
//! | a write of whose answer nothing is needed | waits for the next statement and goes with it ([`Tx::later`]): SQLite works on a thread of its own | goes at once |
//! | durable on commit | `synchronous = FULL` | `synchronous_commit = on` |
//!
//! The lock of a write is also the lock of the store: a publisher's `ensure` and a sweep's `remove` run under it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgPool, PgRow};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Postgres, Row as _, SqlSafeStr as _, Sqlite, Transaction};

use super::CatalogError;
use super::mark::MarkFile;
use crate::fail_point;

/// How long a writer waits for its turn.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The advisory lock that every writer takes on PostgreSQL: "headwate" in ASCII.
const WRITER: i64 = 0x6865_6164_7761_7465;

/// A statement. Composed ones are put together from pieces that are written in this room, never from what is asked.
pub(super) type Sql = Cow<'static, str>;

/// A parameter.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A number, a time, a truth value.
    Int(Option<i64>),
    /// Anything else.
    Text(Option<String>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(Some(i64::from(value)))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

/// The parameters of a statement, from anything that becomes a [`Value`].
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::catalog::engine::Value::from($value)),*] };
}
pub(super) use values;

/// A query of either engine with its parameters bound.
macro_rules! bound {
    ($sql:expr, $values:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe($sql).into_sql_str());
        for value in $values {
            query = match value {
                Value::Int(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
            };
        }
        query
    }};
}

/// One row of an answer. Columns are asked for by their place.
#[derive(Debug)]
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// A number.
    pub(super) fn int(&self, column: usize) -> Result<i64, CatalogError> {
        self.opt_int(column)?.ok_or_else(|| missing(column))
    }

    /// A number that may be missing.
    pub(super) fn opt_int(&self, column: usize) -> Result<Option<i64>, CatalogError> {
        let value = match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        };
        value.map_err(CatalogError::from)
    }

    /// A truth value, stored as a number.
    pub(super) fn truth(&self, column: usize) -> Result<bool, CatalogError> {
        Ok(self.int(column)? != 0)
    }

    /// A text.
    pub(super) fn text(&self, column: usize) -> Result<String, CatalogError> {
        self.opt_text(column)?.ok_or_else(|| missing(column))
    }

    /// A text that may be missing.
    pub(super) fn opt_text(&self, column: usize) -> Result<Option<String>, CatalogError> {
        let value = match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        };
        value.map_err(CatalogError::from)
    }
}

fn missing(column: usize) -> CatalogError {
    CatalogError::Corrupt(format!("a value is missing in column {column} of an answer"))
}

/// The database.
#[derive(Debug, Clone)]
pub(super) enum Engine {
    Sqlite {
        read: SqlitePool,
        /// One connection; `Err` says why there can be none.
        write: Result<SqlitePool, String>,
        /// What tells readers that nothing has changed.
        mark: Option<Arc<MarkFile>>,
    },
    Postgres(PgPool),
}

impl Engine {
    /// Begins a read: all its statements see the same moment.
    pub(super) async fn read(&self) -> Result<Tx, CatalogError> {
        Ok(match self {
            Self::Sqlite { read, .. } => Tx::sqlite(read.begin_with("BEGIN").await?, Ending::Read),
            Self::Postgres(pool) => {
                Tx::Postgres(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?, Ending::Read)
            }
        })
    }

    /// Begins a write, as soon as no other writer is at work: see the table above.
    pub(super) async fn write(&self) -> Result<Tx, CatalogError> {
        match self {
            Self::Sqlite { write: Err(why), .. } => Err(CatalogError::NotWritable(why.clone())),
            Self::Sqlite { write: Ok(pool), mark, .. } => {
                Ok(Tx::sqlite(pool.begin_with("BEGIN IMMEDIATE").await?, Ending::Write(mark.clone())))
            }
            Self::Postgres(pool) => {
                let begun = pool.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
                let mut tx = Tx::Postgres(begun, Ending::Write(None));
                // Its own statement: the next one sees what the writer before committed.
                tx.execute("SELECT pg_advisory_xact_lock($1)", values![WRITER]).await?;
                Ok(tx)
            }
        }
    }

    /// Where SQLite keeps what a write needs for itself: `FILE` or `MEMORY`.
    pub(super) async fn keep_temporary(&self, place: &'static str) -> Result<(), CatalogError> {
        if let Self::Sqlite { write: Ok(pool), .. } = self {
            sqlx::query(AssertSqlSafe(format!("PRAGMA temp_store = {place}"))).execute(pool).await?;
        }
        Ok(())
    }

    /// One statement that reads, outside of any transaction.
    pub(super) async fn fetch(&self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Vec<Row>, CatalogError> {
        match self {
            Self::Sqlite { read, .. } => {
                let (mut connection, sql) = (read.acquire().await?, sql.into());
                #[cfg(test)]
                super::plans::note(&mut connection, &sql).await;
                sqlite_rows(&mut connection, sql, values).await
            }
            Self::Postgres(pool) => {
                let mut connection = pool.acquire().await?;
                postgres_rows(&mut connection, sql.into(), values).await
            }
        }
    }

    /// What tells that nothing has changed, where there is such a thing.
    pub(super) fn mark(&self) -> Option<&MarkFile> {
        match self {
            Self::Sqlite { mark, .. } => mark.as_deref(),
            Self::Postgres(_) => None,
        }
    }

    /// Ends all connections.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { read, write, .. } => {
                read.close().await;
                if let Ok(write) = write {
                    write.close().await;
                }
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// A transaction. Dropped without [`Tx::commit`], it changes nothing.
pub(super) enum Tx {
    Sqlite(Transaction<'static, Sqlite>, Ending, Later),
    Postgres(Transaction<'static, Postgres>, Ending),
}

/// What has to happen when a transaction is committed.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    /// Nothing: it only read.
    Read,
    /// The catalog counts it, and the mark tells other readers.
    Write(Option<Arc<MarkFile>>),
}

/// Statements that wait for the next one: SQLite has a thread of its own, and what takes the time of many small writes is to go there and
/// back.
#[derive(Debug, Default)]
pub(super) struct Later {
    statements: usize,
    sql: String,
    values: Vec<Value>,
}

impl Later {
    /// More do not wait: the engine keeps the plans of texts that come again.
    const MOST: usize = 16;

    /// Adds a statement, whose parameters are counted on from those that are there.
    fn add(&mut self, sql: &str, values: Vec<Value>) {
        let before = self.values.len();
        let mut parts = sql.split('$');
        self.sql.push_str(parts.next().unwrap_or_default());
        for part in parts {
            self.sql.push('$');
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            // Without a number, it is a path in JSON.
            match part[..digits].parse::<usize>() {
                Ok(number) => self.sql.push_str(&(number + before).to_string()),
                Err(_) => self.sql.push_str(&part[..digits]),
            }
            self.sql.push_str(&part[digits..]);
        }
        self.values.extend(values);
        self.statements += 1;
    }

    /// Runs those that wait.
    async fn run(&mut self, connection: &mut sqlx::SqliteConnection) -> Result<(), CatalogError> {
        if self.statements > 0 {
            let (sql, values) = std::mem::take(self).text();
            bound!(sql, values).execute(connection).await?;
        }
        Ok(())
    }

    fn text(self) -> (Sql, Vec<Value>) {
        (self.sql.into(), self.values)
    }

    /// All of them with this one behind them, as one text.
    fn with(&mut self, sql: Sql, values: Vec<Value>) -> (Sql, Vec<Value>) {
        if self.statements == 0 {
            return (sql, values);
        }
        self.add(&sql, values);
        std::mem::take(self).text()
    }
}

impl Tx {
    fn sqlite(begun: Transaction<'static, Sqlite>, ending: Ending) -> Self {
        Self::Sqlite(begun, ending, Later::default())
    }

    /// The rows that a statement gives.
    pub(super) async fn rows(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Vec<Row>, CatalogError> {
        match self {
            Self::Sqlite(tx, _, later) => {
                let sql = sql.into();
                #[cfg(test)]
                super::plans::note(tx, &sql).await;
                let (sql, values) = later.with(sql, values);
                sqlite_rows(tx, sql, values).await
            }
            Self::Postgres(tx, _) => postgres_rows(tx, sql.into(), values).await,
        }
    }

    /// The first of them.
    pub(super) async fn row(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Option<Row>, CatalogError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// How many rows a statement changed.
    pub(super) async fn execute(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<u64, CatalogError> {
        let sql = sql.into();
        check(&values)?;
        Ok(match self {
            Self::Sqlite(tx, _, later) => {
                #[cfg(test)]
                super::plans::note(tx, &sql).await;
                // By itself, because all that is run at once is counted together.
                later.run(tx).await?;
                bound!(sql, values).execute(&mut **tx).await?.rows_affected()
            }
            Self::Postgres(tx, _) => bound!(sql, values).execute(&mut **tx).await?.rows_affected(),
        })
    }

    /// Runs a statement of whose answer nothing is needed: at the latest together with the next one, where going to the database and back is what it costs.
    /// What goes wrong with it may be told there.
    pub(super) async fn later(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<(), CatalogError> {
        let sql = sql.into();
        check(&values)?;
        match self {
            Self::Sqlite(tx, _, later) => {
                #[cfg(test)]
                super::plans::note(tx, &sql).await;
                later.add(&sql, values);
                later.sql.push_str(";\n");
                if later.statements >= Later::MOST {
                    later.run(tx).await?;
                }
            }
            Self::Postgres(..) => {
                self.execute(sql, values).await?;
            }
        }
        Ok(())
    }

    /// Inserts rows of as many values each, many in a statement: `head` names the table and the columns, `tail` comes after the values.
    ///
    /// No two rows may be the same one to an `ON CONFLICT DO UPDATE`, which PostgreSQL refuses within a statement.
    pub(super) async fn insert(
        &mut self,
        head: &'static str,
        rows: Vec<Vec<Value>>,
        tail: &'static str,
    ) -> Result<(), CatalogError> {
        self.insert_for(head, rows, tail).await.map(drop)
    }

    /// [`Tx::insert`] whose `tail` returns something: the rows of the answers, in any order.
    pub(super) async fn insert_for(
        &mut self,
        head: &'static str,
        rows: Vec<Vec<Value>>,
        tail: &'static str,
    ) -> Result<Vec<Row>, CatalogError> {
        /// Rows in a statement. There are few lengths, so that the engines see few different statements and can keep their plans.
        const LENGTHS: [usize; 4] = [128, 32, 8, 1];
        /// Most parameters of a statement: 128 of the widest rows. SQLite takes 32,766, PostgreSQL 65,535.
        const MOST: usize = 2400;

        let width = rows.first().map_or(0, Vec::len);
        let (mut left, mut answers) = (rows.len(), Vec::new());
        let mut rows = rows.into_iter();
        while left > 0 {
            let fits = |length: &usize| *length <= left && (*length == 1 || length.saturating_mul(width) <= MOST);
            let length = LENGTHS.into_iter().find(fits).unwrap_or(1);
            left -= length;
            // SQLite's driver looks the name of each parameter up among all of them, unless it has none.
            let name = |number: usize| match self {
                Self::Sqlite(..) => "?".to_owned(),
                Self::Postgres(..) => format!("${number}"),
            };
            let list = |row: usize| {
                let names: Vec<String> = (1..=width).map(|column| name(row * width + column)).collect();
                format!("({})", names.join(", "))
            };
            let lists: Vec<String> = (0..length).map(list).collect();
            let sql = format!("{head} VALUES {} {tail}", lists.join(", "));
            let values = rows.by_ref().take(length).flatten().collect();
            // Parameters without names cannot be counted on.
            if let Self::Sqlite(tx, _, later) = self {
                later.run(tx).await?;
            }
            answers.extend(self.rows(sql, values).await?);
        }
        Ok(answers)
    }

    /// A subselect of the numbers in a JSON list, which is the parameter of that name; their column is `value`.
    pub(super) fn each(&self, parameter: &str) -> String {
        match self {
            Self::Sqlite(..) => format!("SELECT value FROM json_each({parameter})"),
            Self::Postgres(..) => {
                format!("SELECT value::BIGINT AS value FROM json_array_elements_text({parameter}::json)")
            }
        }
    }

    /// A subselect of the pairs of numbers in a JSON list of lists, as [`Tx::each`]; their columns are `one` and `two`.
    pub(super) fn each_pair(&self, parameter: &str) -> String {
        match self {
            Self::Sqlite(..) => {
                format!(
                    "SELECT json_extract(value, '$[0]') AS one, json_extract(value, '$[1]') AS two FROM json_each({parameter})"
                )
            }
            Self::Postgres(..) => {
                format!(
                    "SELECT (value->>0)::BIGINT AS one, (value->>1)::BIGINT AS two FROM json_array_elements({parameter}::json)"
                )
            }
        }
    }

    /// A subselect of the texts in a JSON list, as [`Tx::each`].
    pub(super) fn each_text(&self, parameter: &str) -> String {
        match self {
            Self::Sqlite(..) => format!("SELECT value FROM json_each({parameter})"),
            Self::Postgres(..) => format!("SELECT value FROM json_array_elements_text({parameter}::json)"),
        }
    }

    /// Runs a migration: several statements without parameters.
    pub(super) async fn script(&mut self, sql: &'static str) -> Result<(), CatalogError> {
        match self {
            Self::Sqlite(tx, _, later) => {
                later.run(tx).await?;
                sqlx::raw_sql(sql).execute(&mut **tx).await.map(|_| ())?;
            }
            Self::Postgres(tx, _) => sqlx::raw_sql(sql).execute(&mut **tx).await.map(|_| ())?,
        }
        Ok(())
    }

    /// Keeps what was done; ends a read.
    pub(super) async fn commit(mut self) -> Result<(), CatalogError> {
        let (Self::Sqlite(_, ending, _) | Self::Postgres(_, ending)) = &self;
        let ending = ending.clone();
        let mark = match &ending {
            Ending::Read => None,
            Ending::Write(mark) => {
                self.later("UPDATE revision SET writes = writes + 1 WHERE id = 1", values![]).await?;
                mark.as_deref()
            }
        };
        if let Self::Sqlite(tx, _, later) = &mut self {
            later.run(tx).await?;
        }
        // Whoever waits may be gone before the answer is there: there is a new mark then, too.
        let _committing = mark.map(MarkFile::committing);
        match self {
            Self::Sqlite(tx, ..) => tx.commit().await?,
            Self::Postgres(tx, _) => tx.commit().await?,
        }
        if mark.is_some() {
            fail_point::reached("catalog::committed");
        }
        Ok(())
    }
}

async fn sqlite_rows(
    connection: &mut sqlx::SqliteConnection,
    sql: Sql,
    values: Vec<Value>,
) -> Result<Vec<Row>, CatalogError> {
    check(&values)?;
    Ok(bound!(sql, values).fetch_all(connection).await?.into_iter().map(Row::Sqlite).collect())
}

async fn postgres_rows(
    connection: &mut sqlx::PgConnection,
    sql: Sql,
    values: Vec<Value>,
) -> Result<Vec<Row>, CatalogError> {
    check(&values)?;
    Ok(bound!(sql, values).fetch_all(connection).await?.into_iter().map(Row::Postgres).collect())
}

/// PostgreSQL cannot hold a NUL in a text; so that both engines agree, neither does.
fn check(values: &[Value]) -> Result<(), CatalogError> {
    match values.iter().any(|value| matches!(value, Value::Text(Some(text)) if text.contains('\0'))) {
        true => Err(CatalogError::Text),
        false => Ok(()),
    }
}

/// A list of ids or names as parameters of an `IN (…)`.
///
/// Lists are handed on in pieces of at most [`Batch::LIMIT`], and filled up to one of a few lengths by repeating the last one, so that
/// the engines see few different statements and can keep their plans.
pub(super) struct Batch<'a, T>(&'a [T]);

impl<'a, T: Clone + Into<Value>> Batch<'a, T> {
    /// Binding costs the square of the length, because the driver looks each parameter's name up: 256 is for a page of 200.
    const LENGTHS: [usize; 5] = [1, 8, 64, 256, Self::LIMIT];
    const LIMIT: usize = 512;

    /// The pieces of a list, which may be empty.
    pub(super) fn of(list: &'a [T]) -> impl Iterator<Item = Self> {
        list.chunks(Self::LIMIT).map(Self)
    }

    /// `$first, $second, …` with the parameters from that number on; the values are added to `values`.
    pub(super) fn bind(&self, values: &mut Vec<Value>) -> String {
        let length = Self::LENGTHS.into_iter().find(|length| *length >= self.0.len()).unwrap_or(self.0.len());
        let first = values.len() + 1;
        let filler = self.0.last().into_iter().cycle();
        values.extend(self.0.iter().chain(filler).take(length).cloned().map(Into::into));
        (first..first + length).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_wait_count_their_parameters_on() {
        let mut later = Later::default();
        later.add("INSERT INTO t (a, b) VALUES ($1, $2)", values![1, "x"]);
        later.sql.push_str(";\n");
        let (sql, values) =
            later.with("SELECT json_extract(c, '$[0]') FROM t WHERE a = $2 AND b = $1".into(), values!["y", 2]);
        assert_eq!(
            sql,
            "INSERT INTO t (a, b) VALUES ($1, $2);\nSELECT json_extract(c, '$[0]') FROM t WHERE a = $4 AND b = $3"
        );
        assert_eq!(format!("{values:?}"), "[Int(Some(1)), Text(Some(\"x\")), Text(Some(\"y\")), Int(Some(2))]");
        assert_eq!(later.with("SELECT $1".into(), values![1]).0, "SELECT $1", "and nothing waits any more");
    }
}
