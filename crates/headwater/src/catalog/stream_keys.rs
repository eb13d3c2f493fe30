use data_encoding::BASE64;
use headwater_formats::timestamp::Timestamp;

use super::audit::{Action, record};
use super::engine::{Row, Tx, values};
use super::{Catalog, CatalogError, rows};
use crate::openpgp::StreamKey;

/// A key for streams as the catalog keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptKey {
    /// The key.
    pub key: StreamKey,
    /// When it was put here.
    pub added_at: Timestamp,
    /// Whether it signs; at most one does.
    pub signs: bool,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, owner, certificate, secret, created_at, expires_at, added_at, signs FROM stream_keys ",
            $rest
        )
    };
}

impl Catalog {
    /// The keys for streams: the one that signs, then the others, the latest first.
    pub async fn stream_keys(&self) -> Result<Vec<KeptKey>, CatalogError> {
        let rows = self.engine.fetch(select!("ORDER BY signs DESC, added_at DESC, id"), values![]).await?;
        rows.iter().map(read).collect()
    }

    /// The key that signs streams. Cheap: asked for once for each signed document.
    pub async fn signing_key(&self) -> Result<Option<StreamKey>, CatalogError> {
        let rows = self.engine.fetch(select!("WHERE signs = 1"), values![]).await?;
        Ok(rows.first().map(read).transpose()?.map(|kept| kept.key))
    }

    /// Adds a key that was made here, or `imported`. It signs when no other does; gives whether it does.
    ///
    /// # Errors
    /// [`CatalogError::KeyExists`].
    pub async fn add_stream_key(&self, key: &StreamKey, imported: bool, now: Timestamp) -> Result<bool, CatalogError> {
        let mut tx = self.engine.write().await?;
        if find(&mut tx, &key.id).await?.is_some() {
            return Err(CatalogError::KeyExists(key.id.clone()));
        }
        let signs = tx.row("SELECT id FROM stream_keys WHERE signs = 1", values![]).await?.is_none();
        tx.execute(
            "INSERT INTO stream_keys (id, owner, certificate, secret, created_at, expires_at, added_at, signs) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            values![
                key.id.as_str(),
                key.owner.as_str(),
                BASE64.encode(&key.certificate),
                key.secret.as_str(),
                key.created_at.unix(),
                key.expires_at.map(Timestamp::unix),
                now.unix(),
                i64::from(signs),
            ],
        )
        .await?;
        let action = if imported { Action::StreamKeyImported } else { Action::StreamKeyCreated };
        let detail = [("owner", key.owner.as_str()), ("signs", if signs { "true" } else { "false" })];
        record(&mut tx, &self.actor, action, None, &key.id, &detail, now).await?;
        tx.commit().await?;
        Ok(signs)
    }

    /// From now on this key signs. Nothing happens when it does already.
    ///
    /// # Errors
    /// [`CatalogError::NoKey`].
    pub async fn use_stream_key(&self, id: &str, now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let signs = find(&mut tx, id).await?.ok_or_else(|| CatalogError::NoKey(id.to_owned()))?;
        if signs {
            return Ok(());
        }
        let before = tx.row("SELECT id FROM stream_keys WHERE signs = 1", values![]).await?;
        let before = before.map(|row| row.text(0)).transpose()?.unwrap_or_default();
        tx.execute("UPDATE stream_keys SET signs = 0 WHERE signs = 1", values![]).await?;
        tx.execute("UPDATE stream_keys SET signs = 1 WHERE id = $1", values![id]).await?;
        let detail = [("before", before.as_str())];
        record(&mut tx, &self.actor, Action::StreamKeyUsed, None, id, &detail, now).await?;
        tx.commit().await
    }

    /// Forgets a key, and its secret. That of the key that signs only when it is `forced`: nothing is signed then any more.
    ///
    /// # Errors
    /// [`CatalogError::NoKey`], [`CatalogError::KeyInUse`].
    pub async fn delete_stream_key(&self, id: &str, forced: bool, now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let signs = find(&mut tx, id).await?.ok_or_else(|| CatalogError::NoKey(id.to_owned()))?;
        if signs && !forced {
            return Err(CatalogError::KeyInUse(id.to_owned()));
        }
        tx.execute("DELETE FROM stream_keys WHERE id = $1", values![id]).await?;
        let detail = [("signs", if signs { "true" } else { "false" })];
        record(&mut tx, &self.actor, Action::StreamKeyDeleted, None, id, &detail, now).await?;
        tx.commit().await
    }
}

/// Whether the key of that id signs; nothing when there is none.
async fn find(tx: &mut Tx, id: &str) -> Result<Option<bool>, CatalogError> {
    let row = tx.row("SELECT signs FROM stream_keys WHERE id = $1", values![id]).await?;
    row.map(|row| Ok(row.int(0)? == 1)).transpose()
}

fn read(row: &Row) -> Result<KeptKey, CatalogError> {
    let id = row.text(0)?;
    let certificate =
        BASE64.decode(row.text(2)?.as_bytes()).map_err(|_| CatalogError::Corrupt(format!("the public key {id}")))?;
    Ok(KeptKey {
        key: StreamKey {
            owner: row.text(1)?,
            certificate,
            secret: row.text(3)?,
            created_at: rows::time(row.int(4)?)?,
            expires_at: row.opt_int(5)?.map(rows::time).transpose()?,
            id,
        },
        added_at: rows::time(row.int(6)?)?,
        signs: row.int(7)? == 1,
    })
}
