//! Addresses of private files: good for one identity, for a day, and from the network for which they were made.
//!
//! Clients of simplestreams ask for every file over plain HTTP first, so what stands in a file's address is seen by whoever
//! listens. A token must not stand there; a [`FileGrant`] may: it names who may have files (by a number), until when, and
//! carries a code that only this server can compute, over these and over the network that the list of images was sent to. It
//! says nothing about which files: that is asked when it is used, of the identity as it is then.
//!
//! ```
//! use headwater::auth::Network;
//! use headwater::auth::address::{AddressKey, Keyring};
//! use headwater_formats::timestamp::Timestamp;
//!
//! let now = Timestamp::from_unix(1_760_000_000).unwrap();
//! let keys = Keyring::new(vec![AddressKey::random(now).unwrap()]);
//! let network = Network::of("192.0.2.7".parse().unwrap());
//! assert_eq!(network, Network::of("::ffff:192.0.2.7".parse().unwrap()));
//! ```
//!
//! This file knows neither where keys are kept nor how an address is written around a grant.

use std::fmt;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use headwater_formats::timestamp::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Identity, IdentityId, Network};

/// Hours from the beginning of the running hour to the end of a grant: it is good for more than 24 and up to 25. Daemons work
/// from lists that are an hour old, or older when the server did not answer, and a file that leaves the lists stays for a day too.
const HOURS: i64 = 25;
/// By how many hours the clocks of servers that share a catalog may differ.
const SKEW: i64 = 1;
/// After how many seconds a key signs no more, if nobody changed it before.
const KEY_AGE: i64 = 30 * 24 * 3600;
/// Bytes of the code: 192 bits.
const CODE: usize = 24;
/// Bytes of a grant: key, identity, end, code. A multiple of five, so that every character of the text counts.
const GRANT: usize = KEY_ID + 8 + 4 + CODE;
/// Bytes of a key's id.
const KEY_ID: usize = 4;

/// What is signed begins with this, so that the keys are good for nothing else.
const CONTEXT: &[u8] = b"headwater file address 1\0";

/// A key by which addresses of private files are signed.
#[derive(Clone, PartialEq, Eq)]
pub struct AddressKey {
    /// Names it in addresses: 8 hexadecimal digits.
    pub id: String,
    /// The key: 64 hexadecimal digits.
    pub secret: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl fmt::Debug for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressKey").field("id", &self.id).field("created_at", &self.created_at).finish_non_exhaustive()
    }
}

impl AddressKey {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn random(now: Timestamp) -> std::io::Result<Self> {
        let mut id = [0; KEY_ID];
        getrandom::fill(&mut id).map_err(std::io::Error::other)?;
        Ok(Self { id: HEXLOWER.encode(&id), secret: super::random_hex()?, created_at: now })
    }

    /// The moment before which a key must have been made to be too old at that time.
    pub fn too_old_before(now: Timestamp) -> Timestamp {
        now.plus_seconds(-KEY_AGE)
    }

    /// The moment before which its successor must have been made for a key to be of no use any more at that time: all that it
    /// signed has ended.
    pub fn useless_before(now: Timestamp) -> Timestamp {
        now.plus_seconds(-(HOURS + 2 * SKEW) * 3600)
    }

    fn id_bytes(&self) -> Option<[u8; KEY_ID]> {
        HEXLOWER.decode(self.id.as_bytes()).ok()?.try_into().ok()
    }
}

/// Who may have files at an address, and until when. Its text is 64 characters of `a-z2-7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileGrant {
    key: [u8; KEY_ID],
    identity: IdentityId,
    /// In hours since 1970.
    end: u32,
    code: [u8; CODE],
}

impl FileGrant {
    /// Reads one. Whether it is good, [`Keyring::check`] says.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != GRANT / 5 * 8 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let bytes: [u8; GRANT] = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok()?.try_into().ok()?;
        let (key, rest) = bytes.split_first_chunk()?;
        let (identity, rest) = rest.split_first_chunk()?;
        let (end, rest) = rest.split_first_chunk()?;
        Some(Self {
            key: *key,
            identity: IdentityId(i64::from_be_bytes(*identity)),
            end: u32::from_be_bytes(*end),
            code: *rest.first_chunk()?,
        })
    }

    /// Whom it is for.
    pub fn identity(&self) -> IdentityId {
        self.identity
    }

    /// From then on it is not good any more.
    pub fn ends_at(&self) -> Timestamp {
        Timestamp::from_unix(i64::from(self.end) * 3600).unwrap_or(Timestamp::EPOCH)
    }
}

impl fmt::Display for FileGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; GRANT];
        bytes[..KEY_ID].copy_from_slice(&self.key);
        bytes[KEY_ID..KEY_ID + 8].copy_from_slice(&self.identity.0.to_be_bytes());
        bytes[KEY_ID + 8..KEY_ID + 12].copy_from_slice(&self.end.to_be_bytes());
        bytes[KEY_ID + 12..].copy_from_slice(&self.code);
        f.write_str(&BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }
}

/// All the keys that are good for something: the newest signs, each is good for what it signed.
#[derive(Debug, Clone)]
pub struct Keyring(Vec<AddressKey>);

impl Keyring {
    /// From the keys, the newest first.
    pub fn new(keys: Vec<AddressKey>) -> Self {
        Self(keys)
    }

    /// Whether a new key is due: there is none, or the newest is too old.
    pub fn wants_a_key(&self, now: Timestamp) -> bool {
        self.0.first().is_none_or(|key| key.created_at <= AddressKey::too_old_before(now))
    }

    /// A grant for this identity; the same for all of an hour. `None` when there is no key.
    pub fn sign(&self, identity: &Identity, network: Option<Network>, now: Timestamp) -> Option<FileGrant> {
        let key = self.0.first()?;
        let end = u32::try_from(hour(now) + HOURS).ok()?;
        let grant = FileGrant { key: key.id_bytes()?, identity: identity.id, end, code: [0; CODE] };
        let code = code(key, &grant, identity, network)?.finalize().into_bytes();
        Some(FileGrant { code: *code.first_chunk()?, ..grant })
    }

    /// Whether the grant was signed here for this identity, has not ended, and is used from where it may be: from the network
    /// that it was made for, or, when networks do not count (`bound` is false), from anywhere.
    pub fn check(&self, grant: &FileGrant, identity: &Identity, network: Network, bound: bool, now: Timestamp) -> bool {
        let Some(at) = self.0.iter().position(|key| key.id_bytes() == Some(grant.key)) else { return false };
        let key = &self.0[at];
        // A key that was replaced signs no more, whoever holds it: nothing of it outlives the day after.
        let signed_until = match at.checked_sub(1).and_then(|successor| self.0.get(successor)) {
            Some(successor) => hour(successor.created_at).min(hour(now)),
            None => hour(now),
        };
        let end = i64::from(grant.end);
        if grant.ends_at() <= now || end > signed_until + HOURS + SKEW || grant.identity != identity.id {
            return false;
        }
        let networks = [(!bound).then_some(None), Some(Some(network))];
        networks.into_iter().flatten().any(|network| {
            code(key, grant, identity, network).is_some_and(|code| code.verify_truncated_left(&grant.code).is_ok())
        })
    }
}

fn hour(time: Timestamp) -> i64 {
    time.unix().div_euclid(3600)
}

/// The code over everything that a grant says or means. Each part but the last has a fixed length.
fn code(key: &AddressKey, grant: &FileGrant, identity: &Identity, network: Option<Network>) -> Option<Hmac<Sha256>> {
    let secret = HEXLOWER.decode(key.secret.as_bytes()).ok()?;
    let mut code = Hmac::<Sha256>::new_from_slice(&secret).ok()?;
    code.update(CONTEXT);
    code.update(&grant.key);
    code.update(&grant.identity.0.to_be_bytes());
    code.update(&grant.end.to_be_bytes());
    code.update(&network.unwrap_or(Network::ANY).bytes());
    code.update(identity.kind.as_str().as_bytes());
    code.update(b"\0");
    code.update(identity.subject.as_bytes());
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::super::{IdentityKind, Secret};
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_760_000_400 + seconds).unwrap()
    }

    fn somebody(id: i64, subject: &str) -> Identity {
        Identity {
            id: IdentityId(id),
            kind: IdentityKind::Token,
            name: "ci".into(),
            description: String::new(),
            subject: subject.into(),
            certificate: None,
            administrator: false,
            grants: Vec::new(),
            view: None,
            created_at: Timestamp::EPOCH,
            expires_at: None,
            last_used_at: None,
        }
    }

    fn net(text: &str) -> Network {
        Network::of(text.parse().unwrap())
    }

    fn keys(made: &[i64]) -> Keyring {
        Keyring::new(made.iter().map(|seconds| AddressKey::random(at(*seconds)).unwrap()).collect())
    }

    #[test]
    fn good_for_its_identity_its_network_and_a_day() {
        let keys = keys(&[0]);
        let (ci, here) = (somebody(7, "hw_abcdefgh"), net("192.0.2.7"));
        let grant = keys.sign(&ci, Some(here), at(0)).unwrap();
        let good = |identity: &Identity, network, seconds| keys.check(&grant, identity, network, true, at(seconds));
        assert!(good(&ci, here, 0));
        assert!(good(&ci, here, 24 * 3600), "more than a day");
        assert!(!good(&ci, here, 25 * 3600), "no more than 25 hours");
        assert_eq!(grant.ends_at().unix() % 3600, 0);
        assert!(!good(&ci, net("192.0.2.8"), 0), "another address");
        assert!(!good(&somebody(8, "hw_abcdefgh"), here, 0), "another number");
        assert!(!good(&somebody(7, "hw_zzzzzzzz"), here, 0), "the number, used again");
        let certificate = Identity { kind: IdentityKind::Certificate, ..ci.clone() };
        assert!(!good(&certificate, here, 0));
        assert_eq!(keys.sign(&ci, Some(here), at(0)), keys.sign(&ci, Some(here), at(60)), "the same within an hour");
        assert_ne!(keys.sign(&ci, Some(here), at(0)), keys.sign(&ci, Some(here), at(3600)));
    }

    #[test]
    fn networks_count_unless_the_operator_says_otherwise() {
        let keys = keys(&[0]);
        let ci = somebody(7, "hw_abcdefgh");
        let (bound, free) = (keys.sign(&ci, Some(net("192.0.2.7")), at(0)), keys.sign(&ci, None, at(0)));
        let (bound, free) = (bound.unwrap(), free.unwrap());
        let elsewhere = net("198.51.100.1");
        assert!(keys.check(&free, &ci, elsewhere, false, at(0)));
        assert!(!keys.check(&free, &ci, elsewhere, true, at(0)), "a grant for anywhere ends with the setting");
        assert!(keys.check(&bound, &ci, net("192.0.2.7"), false, at(0)), "one that was bound stays what it was");
        assert!(!keys.check(&bound, &ci, elsewhere, false, at(0)));
    }

    #[test]
    fn every_character_counts() {
        let keys = keys(&[0]);
        let (ci, here) = (somebody(7, Secret::random().unwrap().prefix()), net("192.0.2.7"));
        let text = keys.sign(&ci, Some(here), at(0)).unwrap().to_string();
        assert_eq!(text.len(), 64);
        let good = |text: &str| {
            FileGrant::parse(text).is_some_and(|grant| {
                // Whoever it says that it is for, so that the number alone does not decide.
                let identity = somebody(grant.identity().0, &ci.subject);
                keys.check(&grant, &identity, here, true, at(0))
            })
        };
        assert!(good(&text));
        for position in 0..text.len() {
            for other in ['a', 'b', 'q', '7', 'A', '1', '='] {
                let mut changed: Vec<char> = text.chars().collect();
                if changed[position] != other {
                    changed[position] = other;
                    let changed: String = changed.into_iter().collect();
                    assert!(!good(&changed), "{position}: {changed}");
                }
            }
        }
        for bad in ["", &text[1..], &format!("{text}a"), &text.to_ascii_uppercase()] {
            assert_eq!(FileGrant::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_replaced_key_is_good_for_what_it_signed_and_for_nothing_later() {
        let old = keys(&[0]);
        let (ci, here) = (somebody(7, "hw_abcdefgh"), net("192.0.2.7"));
        let before = old.sign(&ci, Some(here), at(600)).unwrap();
        let both = Keyring::new(vec![AddressKey::random(at(900)).unwrap(), old.0[0].clone()]);
        let after = both.sign(&ci, Some(here), at(900)).unwrap();
        assert_ne!(before, after);
        for grant in [before, after] {
            assert!(both.check(&grant, &ci, here, true, at(900)));
        }
        // Who has stolen the old key signs with it two days later.
        let late = 2 * 24 * 3600;
        let stolen = old.sign(&ci, Some(here), at(late)).unwrap();
        assert!(old.check(&stolen, &ci, here, true, at(late)));
        assert!(!both.check(&stolen, &ci, here, true, at(late)));
        // Or signs something that ends next year.
        let next_year = old.sign(&ci, Some(here), at(365 * 24 * 3600)).unwrap();
        assert!(!old.check(&next_year, &ci, here, true, at(0)));
        let alone = Keyring::new(vec![both.0[0].clone()]);
        assert!(!alone.check(&before, &ci, here, true, at(900)), "a forgotten key");
    }

    #[test]
    fn a_new_key_is_due_after_a_month() {
        assert!(keys(&[]).wants_a_key(at(0)));
        assert!(!keys(&[0]).wants_a_key(at(30 * 24 * 3600 - 1)));
        assert!(keys(&[0]).wants_a_key(at(30 * 24 * 3600)));
        let debug = format!("{:?}", keys(&[0]));
        assert!(!debug.contains("secret"), "{debug}");
    }
}
