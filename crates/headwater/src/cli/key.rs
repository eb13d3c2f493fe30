//! `headwater key …`

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use headwater_formats::timestamp::Timestamp;
use serde::Serialize;

use super::out::Out;
use super::place::Place;
use super::stop::Stop;
use super::{human, now};
use crate::auth::address::AddressKey;
use crate::catalog::{Catalog, CatalogError, KeptKey};
use crate::openpgp::{StreamKey, armored_keyring, binary_keyring};

/// Most bytes of a file with a key or a passphrase.
const MAX_FILE: u64 = 1 << 20;
/// Fewest characters of a fingerprint that name a key.
const SHORTEST_NAME: usize = 8;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List the keys and what they are for
    ///
    /// Keys of the kind "stream" are OpenPGP keys, of which one signs the documents of streams. Keys of the kind "address" sign the
    /// addresses of private files; the server makes them itself, the newest signs, and the others are good for what they signed.
    #[command(visible_alias = "ls", after_help = "Examples:\n  headwater key list\n  headwater key list --format json")]
    List,
    /// Make an OpenPGP key that signs streams
    ///
    /// With a key, the server has each document of a stream in two more forms: clear-signed (index.sjson, images.sjson) and with a detached
    /// signature (index.json.gpg, images.json.gpg); `headwater export` writes them, too. The first key signs at once. Every further one is
    /// published beside it, and signs from `headwater key use` on, so that clients can learn it before.
    #[command(after_help = "\
Examples:
  headwater key create
  headwater key create --name \"Images of Example <images@example.com>\"")]
    Create {
        /// Whose it is, as gpg shows it
        #[arg(long, value_name = "NAME", default_value = "Headwater image streams")]
        name: String,
    },
    /// Bring an OpenPGP key that signs streams
    ///
    /// The file holds a secret key, as `gpg --armor --export-secret-keys KEY` writes it. What signs is kept in the catalog without a
    /// passphrase, as servers sign by themselves; a primary key whose secret is elsewhere is left there.
    #[command(after_help = "\
Examples:
  headwater key import secret.asc
  gpg --armor --export-secret-subkeys images@example.com | headwater key import - --passphrase-file pass")]
    Import {
        /// The file; - for standard input
        file: PathBuf,
        /// A file whose first line is the passphrase of the key
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Print the public keys for streams, for clients that check signatures
    ///
    /// The same that the server gives at /signing-key.asc and, with --binary, at /signing-key.gpg. No command gives a secret.
    #[command(after_help = "\
Examples:
  headwater key export > images.asc
  headwater key export --binary > images.gpg")]
    Export {
        /// One key: its fingerprint, or at least 8 characters of the end of it. Without it: all
        key: Option<String>,
        /// A keyring for gpgv, instead of text
        #[arg(long)]
        binary: bool,
    },
    /// Let another key sign streams from now on
    #[command(after_help = "Examples:\n  headwater key use 0123456789ABCDEF")]
    Use {
        /// The key: its fingerprint, or at least 8 characters of the end of it
        key: String,
    },
    /// Delete a key for streams; nobody can sign with it any more
    #[command(
        visible_alias = "rm",
        after_help = "Examples:\n  headwater key delete 0123456789ABCDEF\n  headwater key delete 0123456789ABCDEF --force"
    )]
    Delete {
        /// The key: its fingerprint, or at least 8 characters of the end of it
        key: String,
        /// Even the key that signs; streams are not signed any more then
        #[arg(long, short)]
        force: bool,
    },
    /// Make a new key that signs addresses of private files from now on
    ///
    /// What older keys signed stays good until it ends, a day later at most, so nobody notices. With --revoke-old nothing that was
    /// signed before is good any more: daemons that work from a list that they have already get a file again when they fetch
    /// the next one, an hour later at most.
    ///
    /// Keys for streams are replaced in two steps: `headwater key create`, and `headwater key use` when clients know the new one.
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
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    signs: bool,
}

impl<'a> Row<'a> {
    fn of_stream(key: &'a StreamKey, signs: bool) -> Self {
        Self {
            id: &key.id,
            kind: "stream",
            name: Some(&key.owner),
            created_at: key.created_at.rfc3339(),
            expires_at: key.expires_at.map(Timestamp::rfc3339),
            signs,
        }
    }
}

pub(super) async fn run(verb: Verb, place: &Place, out: &Out) -> Result<(), Stop> {
    let app = match &verb {
        Verb::Create { .. } | Verb::Import { .. } => place.open_or_make().await?,
        _ => place.open().await?,
    };
    let catalog = &app.catalog;
    match verb {
        Verb::List => list(catalog, out).await?,
        Verb::Create { name } => {
            let key = StreamKey::create(&name, now())?;
            let signs = catalog.add_stream_key(&key, false, now()).await?;
            added(&key, signs, "was made", out)?;
        }
        Verb::Import { file, passphrase_file } => {
            let passphrase = passphrase_file.map(|file| read(&file)).transpose()?;
            let passphrase = passphrase.as_deref().map(first_line);
            let key = StreamKey::import(&read(&file)?, passphrase, now())?;
            let signs = catalog.add_stream_key(&key, true, now()).await?;
            added(&key, signs, "was imported", out)?;
        }
        Verb::Export { key, binary } => {
            let mut keys = catalog.stream_keys().await?;
            if let Some(name) = key {
                let id = find(&keys, &name)?;
                keys.retain(|kept| kept.key.id == id);
            }
            if keys.is_empty() {
                return Err(Stop::failed("there is no key for streams; `headwater key create` makes one"));
            }
            let keys = keys.iter().map(|kept| &kept.key);
            if binary {
                out.bytes(&binary_keyring(keys))?;
            } else {
                out.data(&armored_keyring(keys))?;
            }
        }
        Verb::Use { key } => {
            let id = find(&catalog.stream_keys().await?, &key)?;
            catalog.use_stream_key(&id, now()).await?;
            out.say(format!("the key {id} signs streams from now on"));
        }
        Verb::Delete { key, force } => {
            let id = find(&catalog.stream_keys().await?, &key)?;
            catalog.delete_stream_key(&id, force, now()).await?;
            let unsigned = catalog.signing_key().await?.is_none();
            let then = if unsigned { "; streams are not signed any more" } else { "" };
            out.say(format!("the key {id} is gone{then}"));
        }
        Verb::Rotate { revoke_old } => rotate(catalog, revoke_old, out).await?,
    }
    catalog.close().await;
    Ok(())
}

async fn list(catalog: &Catalog, out: &Out) -> Result<(), Stop> {
    let mut list = out.list(&["KEY", "KIND", "NAME", "CREATED", "EXPIRES", "SIGNS"]);
    let signs = |yes| if yes { "YES" } else { "NO" }.to_owned();
    for kept in &catalog.stream_keys().await? {
        let key = &kept.key;
        let row = Row::of_stream(key, kept.signs);
        list.add(&row, || {
            let expires = key.expires_at.map(human::date).unwrap_or_default();
            let (kind, created) = (row.kind.to_owned(), human::date(key.created_at));
            vec![key.id.clone(), kind, key.owner.clone(), created, expires, signs(row.signs)]
        })?;
    }
    for (at, key) in catalog.address_keys().await?.iter().enumerate() {
        let row = Row {
            id: &key.id,
            kind: "address",
            name: None,
            created_at: key.created_at.rfc3339(),
            expires_at: None,
            signs: at == 0,
        };
        list.add(&row, || {
            let (kind, created) = (row.kind.to_owned(), human::date(key.created_at));
            vec![key.id.clone(), kind, String::new(), created, String::new(), signs(row.signs)]
        })?;
    }
    list.end()
}

fn added(key: &StreamKey, signs: bool, how: &str, out: &Out) -> Result<(), Stop> {
    let row = Row::of_stream(key, signs);
    out.object(&row, || format!("{}\n", key.id))?;
    out.say(if signs {
        format!("the key {how} and signs streams from now on; clients find it at /signing-key.asc and /signing-key.gpg")
    } else {
        format!(
            "the key {how} and is published; it signs when clients know it and `headwater key use {}` says so",
            &key.id[key.id.len().saturating_sub(16)..]
        )
    });
    Ok(())
}

async fn rotate(catalog: &Catalog, revoke_old: bool, out: &Out) -> Result<(), Stop> {
    let now = now();
    let key = AddressKey::random(now).map_err(CatalogError::Bytes)?;
    // No key was made after the end of the calendar.
    let forget = if revoke_old { Timestamp::EPOCH.plus_seconds(i64::MAX) } else { AddressKey::useless_before(now) };
    catalog.add_address_key(&key, None, forget).await?;
    out.say(if revoke_old {
        format!("the key {} signs addresses of files from now on; those signed before are good no more", key.id)
    } else {
        format!("the key {} signs addresses of files from now on; those signed before end within 25 hours", key.id)
    });
    Ok(())
}

/// The fingerprint of the key that somebody means, by the whole of it or its end, as gpg takes both.
fn find(keys: &[KeptKey], name: &str) -> Result<String, Stop> {
    let wanted: String = name.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_uppercase();
    let wanted = wanted.strip_prefix("0X").unwrap_or(&wanted);
    let mut found = keys.iter().map(|kept| &kept.key.id).filter(|id| id.ends_with(wanted));
    match (found.next(), found.next()) {
        _ if wanted.len() < SHORTEST_NAME => Err(Stop::usage(format!(
            "{name:?} is too short to name a key; give its fingerprint, or at least {SHORTEST_NAME} characters of the end of it"
        ))),
        (Some(id), None) => Ok(id.clone()),
        (Some(_), Some(_)) => Err(Stop::failed(format!("several keys end in {name:?}; give the whole fingerprint"))),
        (None, _) => Err(CatalogError::NoKey(name.to_owned()).into()),
    }
}

/// A small file, or standard input.
fn read(path: &Path) -> Result<Vec<u8>, Stop> {
    let failed = |why: &dyn std::fmt::Display| Stop::failed(format!("{} cannot be read: {why}", path.display()));
    let source: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(std::fs::File::open(path).map_err(|error| failed(&error))?),
    };
    let mut bytes = Vec::new();
    source.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(failed(&"it is larger than a key can be (1 MiB)"));
    }
    Ok(bytes)
}

fn first_line(bytes: &[u8]) -> &[u8] {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}
