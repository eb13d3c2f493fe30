//! Which root files clients hold, as far as downloads tell: noted in memory and written down together now and then, as it is with
//! [`used`](super::used).
//!
//! A download counts when the whole file is sent, or begins to be. A delta counts as the root file that comes out of it. Deltas are
//! made and listed for what clients hold. Of a client's address, only a keyed hash leaves the memory. Notes of a process that is killed
//! are lost: a client or two whose next delta starts from another base.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use data_encoding::HEXLOWER;
use headwater_formats::digest::Digest;
use headwater_formats::image::FileFormat;
use headwater_formats::timestamp::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{Response, StatusCode, header};
use sha2::Sha256;

use super::body::Body;
use crate::auth::{Actor, IdentityId, random_hex};
use crate::catalog::{Catalog, CatalogError, HeldNote};

/// Most downloads that are noted between two writes; further ones are not.
const MOST: usize = 10_000;
/// Hexadecimal digits that tell one client from another.
const DIGITS: usize = 16;

/// Who downloaded what.
type Note = (Option<IdentityId>, IpAddr, Digest);

/// The notes.
#[derive(Debug, Default)]
pub struct Held(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    /// With their places in the order of downloads.
    places: HashMap<Note, u64>,
    next: u64,
}

impl Held {
    /// Notes that somebody has a root file from now on. Who comes from nowhere cannot be told from others.
    pub fn note(&self, actor: &Actor, root: Digest) {
        let Some(address) = actor.address else { return };
        let mut notes = self.lock();
        if notes.places.len() < MOST {
            let place = notes.next;
            notes.next += 1;
            // The last of several downloads counts.
            notes.places.insert((actor.identity, address.to_canonical(), root), place);
        }
    }

    /// Writes the notes down.
    pub async fn flush(&self, catalog: &Catalog, now: Timestamp) {
        let notes = std::mem::take(&mut *self.lock()).places;
        if notes.is_empty() {
            return;
        }
        let downloads = notes.len();
        if let Err(error) = write(catalog, notes, now).await {
            tracing::warn!(%error, downloads, "could not note which images clients hold; deltas may start from others");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(catalog: &Catalog, notes: HashMap<Note, u64>, now: Timestamp) -> Result<(), CatalogError> {
    let secret = catalog.held_secret(random_hex).await?;
    let mut notes: Vec<(Note, u64)> = notes.into_iter().collect();
    notes.sort_by_key(|(_, place)| *place);
    let notes: Vec<HeldNote> = notes
        .into_iter()
        .map(|((identity, address, root), _)| HeldNote { root, identity, client: client(&secret, address) })
        .collect();
    catalog.note_held(&notes, now).await
}

/// What tells a client from others, and nobody who does not know the secret from which address it came.
fn client(secret: &str, address: IpAddr) -> String {
    // A key of any length is good: this gives one for all.
    let Ok(mut code) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    match address {
        IpAddr::V4(address) => code.update(&address.octets()),
        IpAddr::V6(address) => code.update(&address.octets()),
    }
    let mut text = HEXLOWER.encode(&code.finalize().into_bytes());
    text.truncate(DIGITS);
    text
}

/// Whether deltas are made of files of this format, or to them.
pub(super) fn is_worth_noting(format: FileFormat) -> bool {
    matches!(format, FileFormat::Squashfs | FileFormat::Qcow2 | FileFormat::Vcdiff)
}

/// Whether an answer sends a file, or the beginning of one.
pub(super) fn is_from_the_beginning(response: &Response<Body>) -> bool {
    match response.status() {
        StatusCode::OK => true,
        StatusCode::PARTIAL_CONTENT => {
            let range = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
            range.is_some_and(|range| range.starts_with("bytes 0-"))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_known_again_by_its_address_and_not_found_by_it() {
        let [one, two, mapped]: [IpAddr; 3] =
            ["192.0.2.7", "192.0.2.8", "::ffff:192.0.2.7"].map(|text| text.parse().unwrap());
        assert_eq!(client("secret", one), client("secret", mapped.to_canonical()));
        assert_ne!(client("secret", one), client("secret", two));
        assert_ne!(client("secret", one), client("another", one));
        assert_eq!(client("secret", one).len(), DIGITS);
    }

    #[test]
    fn notes_have_a_bound_and_the_order_of_downloads() {
        let held = Held::default();
        let actor = |last: u16| {
            let [high, low] = last.to_be_bytes();
            Actor::guest(Some(IpAddr::from([192, 0, high, low])))
        };
        let root = |number: u8| Digest::from_bytes([number; 32]);
        for number in [1, 2, 1, 2, 1] {
            held.note(&actor(7), root(number));
        }
        held.note(&Actor::guest(None), root(1));
        let place = |number| held.lock().places.get(&(None, IpAddr::from([192, 0, 0, 7]), root(number))).copied();
        assert!(place(1) > place(2), "downloaded again after it");
        assert_eq!(held.lock().places.len(), 2);
        for number in 0..u16::try_from(MOST).unwrap() + 5 {
            held.note(&actor(number), root(3));
        }
        assert_eq!(held.lock().places.len(), MOST);
    }
}
