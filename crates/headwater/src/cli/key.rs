//! `headwater key …`

use clap::Subcommand;
use headwater_formats::timestamp::Timestamp;
use serde::Serialize;

use super::out::Out;
use super::place::Place;
use super::stop::Stop;
use super::{human, now};
use crate::auth::address::AddressKey;
use crate::catalog::CatalogError;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List the keys; the first one signs, the others are good for what they signed
    #[command(visible_alias = "ls", after_help = "Examples:\n  headwater key list\n  headwater key list --format json")]
    List,
    /// Make a new key that signs from now on
    ///
    /// What older keys signed stays good until it ends, a day later at most, so nobody notices. With --revoke-old nothing that was
    /// signed before is good any more: daemons that work from a list that they have already get a file again when they fetch
    /// the next one, an hour later at most.
    #[command(after_help = "Examples:\n  headwater key rotate\n  headwater key rotate --revoke-old")]
    Rotate {
        /// End the addresses that were given out so far
        #[arg(long)]
        revoke_old: bool,
    },
}

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    created_at: String,
    signs: bool,
}

pub(super) async fn run(verb: Verb, place: &Place, out: &Out) -> Result<(), Stop> {
    let app = place.open().await?;
    let catalog = &app.catalog;
    match verb {
        Verb::List => {
            let mut list = out.list(&["KEY", "CREATED", "SIGNS"]);
            for (at, key) in catalog.address_keys().await?.iter().enumerate() {
                let row = Row { id: &key.id, created_at: key.created_at.rfc3339(), signs: at == 0 };
                list.add(&row, || {
                    vec![key.id.clone(), human::date(key.created_at), if row.signs { "YES" } else { "NO" }.to_owned()]
                })?;
            }
            list.end()?;
        }
        Verb::Rotate { revoke_old } => {
            let now = now();
            let key = AddressKey::random(now).map_err(CatalogError::Bytes)?;
            // No key was made after the end of the calendar.
            let forget =
                if revoke_old { Timestamp::EPOCH.plus_seconds(i64::MAX) } else { AddressKey::useless_before(now) };
            catalog.add_address_key(&key, None, forget).await?;
            out.say(if revoke_old {
                format!("the key {} signs addresses of files from now on; those signed before are good no more", key.id)
            } else {
                format!(
                    "the key {} signs addresses of files from now on; those signed before end within 25 hours",
                    key.id
                )
            });
        }
    }
    catalog.close().await;
    Ok(())
}
