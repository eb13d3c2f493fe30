//! Signed addresses of files, between the keys of the catalog and the requests: who makes the first key, and who may use a grant.
//!
//! The keys are read anew for every list that is signed and every file that is asked for by a signed address. So a key that was
//! replaced, or forgotten, on another server counts here at once.

use std::net::IpAddr;
use std::sync::Arc;

use headwater_formats::timestamp::Timestamp;

use super::State;
use crate::auth::Network;
use crate::auth::address::{AddressKey, FileGrant, Keyring};
use crate::auth::{Access, Identity};
use crate::catalog::{Catalog, CatalogError};

/// A grant for files, for this identity at that address. `None` only when the keys in the catalog are none of ours.
pub(super) async fn grant(
    state: &State,
    identity: &Identity,
    address: IpAddr,
) -> Result<Option<FileGrant>, CatalogError> {
    let now = (state.now)();
    let keys = keys_for_signing(&state.app.catalog, now).await?;
    let network = state.settings.bind_addresses.then(|| Network::of(address));
    Ok(keys.sign(identity, network, now))
}

/// What who holds the grant may see, now and from that address; `None` when it is not good, whatever the reason.
pub(super) async fn access(state: &State, grant: &FileGrant, address: IpAddr) -> Result<Option<Access>, CatalogError> {
    let (now, catalog) = ((state.now)(), &state.app.catalog);
    let Some(identity) = catalog.identity(grant.identity(), now).await? else { return Ok(None) };
    let keys = Keyring::new(catalog.address_keys().await?);
    let good = keys.check(grant, &identity, Network::of(address), state.settings.bind_addresses, now);
    Ok(good.then(|| Access::of(Arc::new(identity))))
}

/// The keys, with a new one when there is none or the newest is a month old.
async fn keys_for_signing(catalog: &Catalog, now: Timestamp) -> Result<Keyring, CatalogError> {
    let keys = catalog.address_keys().await?;
    let usable = !keys.is_empty();
    let keys = Keyring::new(keys);
    if !keys.wants_a_key(now) {
        return Ok(keys);
    }
    let key = AddressKey::random(now).map_err(CatalogError::Bytes)?;
    let (old, useless) = (AddressKey::too_old_before(now), AddressKey::useless_before(now));
    match catalog.add_address_key(&key, Some(old), useless).await {
        Ok(keys) => Ok(Keyring::new(keys)),
        Err(error) if usable => {
            tracing::warn!(%error, "the key of file addresses is a month old, and could not be replaced; it goes on signing");
            Ok(keys)
        }
        Err(error) => Err(error),
    }
}
