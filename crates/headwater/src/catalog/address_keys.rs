use headwater_formats::timestamp::Timestamp;

use super::audit::{Action, record};
use super::engine::{Row, Tx, values};
use super::{Catalog, CatalogError, rows};
use crate::auth::address::AddressKey;

const NEWEST_FIRST: &str = "SELECT id, secret, created_at FROM address_keys ORDER BY created_at DESC, id";

impl Catalog {
    /// The keys by which addresses of private files are signed, newest first. The newest signs; all are good for what they signed.
    pub async fn address_keys(&self) -> Result<Vec<AddressKey>, CatalogError> {
        self.engine.fetch(NEWEST_FIRST, values![]).await?.iter().map(read).collect()
    }

    /// Adds a key unless there is one that was made after `not_after`, and forgets those whose successor was made before
    /// `forget_before`; gives what is there then, newest first. So servers that start at once agree on one. No two keys are
    /// made in the same second: one that would be is made a second later.
    pub async fn add_address_key(
        &self,
        key: &AddressKey,
        not_after: Option<Timestamp>,
        forget_before: Timestamp,
    ) -> Result<Vec<AddressKey>, CatalogError> {
        let mut tx = self.engine.write().await?;
        let there = all(&mut tx).await?;
        let newest = there.first().map(|key| key.created_at);
        if newest.zip(not_after).is_some_and(|(newest, limit)| newest > limit) {
            return Ok(there);
        }
        let created_at = newest.map_or(key.created_at, |newest| key.created_at.max(newest.plus_seconds(1)));
        tx.execute(
            "INSERT INTO address_keys (id, secret, created_at) VALUES ($1, $2, $3)",
            values![key.id.as_str(), key.secret.as_str(), created_at.unix()],
        )
        .await?;
        let mut kept = vec![AddressKey { created_at, ..key.clone() }];
        let mut forgotten = 0_u32;
        for old in there {
            let replaced_at = kept.last().map_or(created_at, |successor| successor.created_at);
            if forgotten > 0 || replaced_at < forget_before {
                tx.execute("DELETE FROM address_keys WHERE id = $1", values![old.id.as_str()]).await?;
                forgotten += 1;
            } else {
                kept.push(old);
            }
        }
        let detail = [("forgotten", forgotten.to_string())];
        let detail = detail.each_ref().map(|(name, value)| (*name, value.as_str()));
        record(&mut tx, &self.actor, Action::AddressKeyRotated, None, &key.id, &detail, key.created_at).await?;
        tx.commit().await?;
        Ok(kept)
    }
}

async fn all(tx: &mut Tx) -> Result<Vec<AddressKey>, CatalogError> {
    tx.rows(NEWEST_FIRST, values![]).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<AddressKey, CatalogError> {
    Ok(AddressKey { id: row.text(0)?, secret: row.text(1)?, created_at: rows::time(row.int(2)?)? })
}
