//! Statements behind the catalog's back.

use headwater::catalog::Location;
use headwater_formats::digest::Digest;
use sqlx::{AssertSqlSafe, Connection as _};

/// Runs one.
pub(crate) async fn run(location: &Location, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    match location {
        Location::Sqlite(path) => {
            let mut connection = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
        Location::Postgres(url) => {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

/// Who builds deltas in tests.
pub(crate) const BUILDER: &str = "a test";

/// A delta that [`BUILDER`] is building, as if it had been planned; so many clients hold its base. Both files must be known.
pub(crate) async fn building(location: &Location, target: &Digest, base: &Digest, clients: u64) {
    let sql = format!(
        "INSERT INTO deltas (target, base, state, clients, why, attempts, asked_at, claimed_by, claimed_until) \
         VALUES ('{target}', '{base}', 'building', {clients}, '', 1, 0, '{BUILDER}', 0)"
    );
    run(location, &sql).await;
}
