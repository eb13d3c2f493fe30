//! Which root files clients hold, as far as their downloads tell.
//!
//! Who downloaded a root file, or a delta to it, holds it from then on. Of one product and one type of image, only what a client downloaded last
//! is kept: that is what the next delta should start from. Clients are told apart by a keyed hash of their address, and
//! guests' addresses stand nowhere.
//!
//! For example, 40 hosts of a token `web` downloaded yesterday's image, and two the one of last week: [`Catalog::bases_held`]
//! gives both root files, yesterday's first, if there are deltas that start from them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use headwater_formats::digest::Digest;
use headwater_formats::timestamp::Timestamp;

use super::engine::{Batch, Tx, values};
use super::{Catalog, CatalogError, rows};
use crate::auth::IdentityId;

/// Stands for guests in `held.identity_id`; no identity has that number.
const GUESTS: i64 = 0;
/// Notes that are written in one transaction: other writers wait that long.
const NOTES_AT_ONCE: usize = 500;
/// Most bases that are told of.
const MOST_BASES: usize = 64;
/// The setting with the key of [`HeldNote::client`].
const SECRET: &str = "held_secret";

/// A download that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeldNote {
    /// The root file that the client holds now. Of files that are no image's root file, nothing is noted.
    pub root: Digest,
    /// Who downloaded it; `None` for guests.
    pub identity: Option<IdentityId>,
    /// What tells this client from others of that identity: no more of its address than a hash with [`Catalog::held_secret`].
    pub client: String,
}

impl Catalog {
    /// The root files that clients of this identity hold and that ready deltas start from, most held first. The first so many.
    pub async fn bases_held(&self, identity: IdentityId) -> Result<Vec<Digest>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let held = held(&mut tx, identity).await?;
        tx.commit().await?;
        Ok(held)
    }

    /// Those of [`Catalog::bases_held`] that have to be said, because without them another delta would be listed: the one whose base
    /// is held by most clients of all. Mostly there are none.
    pub async fn bases_preferred(&self, identity: IdentityId) -> Result<Vec<Digest>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let held = held(&mut tx, identity).await?;
        let mut rivals = BTreeSet::new();
        let names: Vec<String> = held.iter().map(Digest::to_string).collect();
        for batch in Batch::of(&names) {
            let mut values = values![];
            let sql = format!(
                "SELECT DISTINCT r.target, r.base, r.clients FROM deltas d JOIN deltas r ON r.target = d.target \
                 JOIN blobs b ON b.digest = r.digest \
                 WHERE d.base IN ({}) AND d.digest IS NOT NULL AND b.retired_at IS NULL",
                batch.bind(&mut values)
            );
            for row in tx.rows(sql, values).await? {
                let digest = |column| rows::parse::<Digest>("a digest", &row.text(column)?);
                rivals.insert((digest(0)?, digest(1)?, row.int(2)?));
            }
        }
        tx.commit().await?;
        Ok(differing(&held, &rivals))
    }

    /// Notes what clients downloaded. What they downloaded before of the same product and type is forgotten: of it, they hold this now. Does
    /// not change the revision.
    pub async fn note_held(&self, notes: &[HeldNote], now: Timestamp) -> Result<(), CatalogError> {
        for some in notes.chunks(NOTES_AT_ONCE) {
            let mut tx = self.engine.write().await?;
            let mut others = HashMap::new();
            for note in some {
                let others = match others.entry(note.root) {
                    std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                    std::collections::hash_map::Entry::Vacant(unknown) => {
                        unknown.insert(of_same_products(&mut tx, &note.root).await?)
                    }
                };
                write(&mut tx, note, others, now).await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }

    /// Forgets what was noted before that moment, and not again since; gives how much that was.
    pub async fn forget_held(&self, before: Timestamp) -> Result<u64, CatalogError> {
        let mut tx = self.engine.write().await?;
        let forgotten = tx.execute("DELETE FROM held WHERE at < $1", values![before.unix()]).await?;
        tx.commit().await?;
        Ok(forgotten)
    }

    /// The secret of this installation for [`HeldNote::client`]: `made` when there was none before. Never logged.
    pub async fn held_secret(&self, made: impl FnOnce() -> std::io::Result<String>) -> Result<String, CatalogError> {
        if let Some(secret) = self.setting(SECRET).await? {
            return Ok(secret);
        }
        let made = made().map_err(CatalogError::Bytes)?;
        let mut tx = self.engine.write().await?;
        // Another server may have been faster.
        let sql = "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";
        tx.execute(sql, values![SECRET, made.as_str()]).await?;
        let kept = tx.row("SELECT value FROM settings WHERE key = $1", values![SECRET]).await?;
        let kept = kept.map(|row| row.text(0)).transpose()?;
        tx.commit().await?;
        Ok(kept.unwrap_or(made))
    }
}

async fn held(tx: &mut Tx, identity: IdentityId) -> Result<Vec<Digest>, CatalogError> {
    let sql = "SELECT g.digest, g.clients FROM \
         (SELECT h.digest, COUNT(*) AS clients FROM held h WHERE h.identity_id = $1 GROUP BY h.digest) g \
         WHERE EXISTS (SELECT 1 FROM deltas d JOIN blobs b ON b.digest = d.digest \
         WHERE d.base = g.digest AND b.retired_at IS NULL)";
    let mut found = Vec::new();
    for row in tx.rows(sql, values![identity.0]).await? {
        found.push((std::cmp::Reverse(row.int(1)?), rows::parse::<Digest>("a digest", &row.text(0)?)?));
    }
    found.sort();
    Ok(found.into_iter().take(MOST_BASES).map(|(_, digest)| digest).collect())
}

/// The root files of the products that have this one as a root file, of images of the same type; this one among them. Empty when it is no
/// root file.
async fn of_same_products(tx: &mut Tx, root: &Digest) -> Result<Vec<String>, CatalogError> {
    let sql = "SELECT DISTINCT of.digest FROM image_files f CROSS JOIN images i CROSS JOIN images o CROSS JOIN image_files of \
         WHERE f.digest = $1 AND f.role = 'root' AND i.id = f.image_id \
         AND (o.id = i.id OR o.product_id = i.product_id AND o.image_type = i.image_type) \
         AND of.image_id = o.id AND of.role = 'root'";
    tx.rows(sql, values![root.to_string()]).await?.iter().map(|row| row.text(0)).collect()
}

async fn write(tx: &mut Tx, note: &HeldNote, others: &[String], now: Timestamp) -> Result<(), CatalogError> {
    let identity = note.identity.map_or(GUESTS, |identity| identity.0);
    let root = note.root.to_string();
    if !others.contains(&root) {
        return Ok(());
    }
    for batch in Batch::of(others) {
        let mut values = values![identity, note.client.as_str(), root.as_str()];
        let sql = format!(
            "DELETE FROM held WHERE digest IN ({}) AND identity_id = $1 AND client = $2 AND digest <> $3",
            batch.bind(&mut values)
        );
        tx.execute(sql, values).await?;
    }
    tx.execute(
        "INSERT INTO held (digest, identity_id, client, at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (digest, identity_id, client) DO UPDATE SET at = excluded.at WHERE excluded.at > held.at",
        values![root, identity, note.client.as_str(), now.unix()],
    )
    .await?;
    Ok(())
}

/// Of the bases that are held, in their order, those that make a difference: with them alone, the first one that has a delta to a target is the
/// same as with all, or the one that would be listed anyway. `deltas` are target, base and clients of all that could be listed instead.
fn differing(held: &[Digest], deltas: &BTreeSet<(Digest, Digest, i64)>) -> Vec<Digest> {
    let mut targets: BTreeMap<Digest, Vec<(Digest, i64)>> = BTreeMap::new();
    for (target, base, clients) in deltas {
        targets.entry(*target).or_default().push((*base, *clients));
    }
    let place = |base: &Digest| held.iter().position(|held| held == base);
    // For each target the places of the held bases, the first of them first, and whether that one is listed anyway.
    let targets: Vec<(BTreeSet<usize>, bool)> = targets
        .values()
        .map(|deltas| {
            let places: BTreeSet<usize> = deltas.iter().filter_map(|(base, _)| place(base)).collect();
            let wanted = places.first().and_then(|place| held.get(*place));
            let most = deltas.iter().map(|(_, clients)| *clients).max();
            // Among equals, age decides, of which nothing is known here.
            let mut leading = deltas.iter().filter(|(_, clients)| Some(*clients) == most).map(|(base, _)| base);
            let anyway = (leading.next(), leading.next()) == (wanted, None);
            (places, anyway)
        })
        .collect();
    let mut said = BTreeSet::new();
    loop {
        let before = said.len();
        for (places, anyway) in &targets {
            if let Some(first) = places.first()
                && (!anyway || places.iter().any(|place| said.contains(place)))
            {
                said.insert(*first);
            }
        }
        if said.len() == before {
            return said.into_iter().filter_map(|place| held.get(place).copied()).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(number: u8) -> Digest {
        Digest::from_bytes([number; 32])
    }

    fn said(held: &[u8], deltas: &[(u8, u8, i64)]) -> Vec<u8> {
        let held: Vec<Digest> = held.iter().map(|number| file(*number)).collect();
        let deltas = deltas.iter().map(|(target, base, clients)| (file(*target), file(*base), *clients)).collect();
        differing(&held, &deltas).iter().map(|digest| digest.as_bytes()[0]).collect()
    }

    #[test]
    fn what_would_be_listed_anyway_need_not_be_said() {
        assert_eq!(said(&[1], &[(9, 1, 5)]), [0; 0], "there is no other");
        assert_eq!(said(&[1], &[(9, 1, 5), (9, 2, 4)]), [0; 0], "most hold it");
        assert_eq!(said(&[2], &[(9, 1, 5), (9, 2, 4)]), [2]);
        assert_eq!(said(&[2], &[(9, 1, 5), (9, 2, 5)]), [2], "age would decide");
        assert_eq!(said(&[], &[(9, 1, 5)]), [0; 0]);
    }

    #[test]
    fn what_is_said_for_one_target_does_not_change_another() {
        // 2 has to be said for target 8, and would then be chosen for target 9 as well, where 1 is wanted.
        assert_eq!(said(&[1, 2], &[(8, 2, 1), (8, 3, 7), (9, 1, 5), (9, 2, 4)]), [1, 2]);
        assert_eq!(said(&[2, 1], &[(8, 2, 1), (8, 3, 7), (9, 1, 5), (9, 2, 4)]), [2]);
        // And so on, from target to target.
        let chain = [(7, 1, 9), (7, 2, 1), (8, 2, 9), (8, 3, 1), (9, 3, 1), (9, 4, 9)];
        assert_eq!(said(&[1, 2, 3], &chain), [1, 2, 3]);
    }
}
