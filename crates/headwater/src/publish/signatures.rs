//! The signatures of an exported tree, and the public keys beside it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use headwater_formats::simplestreams::render;
use headwater_formats::simplestreams::{INDEX_PATH, PRODUCTS_PATH, SIGNED_INDEX_PATH, SIGNED_PRODUCTS_PATH};
use headwater_formats::timestamp::Timestamp;

use super::export::{ExportError, failed, write};
use crate::catalog::KeptKey;
use crate::documents::Documents;
use crate::openpgp::{self, Signer};

/// The key as text, at the top of the tree, as at the top of a server.
const KEY_PATH: &str = "signing-key.asc";
/// The same for gpgv.
const KEYRING_PATH: &str = "signing-key.gpg";

/// What is written beside the documents.
pub(super) enum Signatures {
    /// These.
    These(Box<Made>),
    /// Nothing signs any more: those of the last time go, because they would be bad ones.
    Gone,
    /// Nothing signs, and nothing did. What somebody else put there stays.
    None,
}

pub(super) struct Made {
    key: Vec<u8>,
    keyring: Vec<u8>,
    index: Signed,
    products: Signed,
}

/// The signatures of a document.
struct Signed {
    clear: Vec<u8>,
    detached: Vec<u8>,
}

impl Signatures {
    /// Signs the documents by the key that signs, if any; `before` is whether the last run did.
    pub(super) fn of(documents: &Documents, keys: &[KeptKey], before: bool) -> Result<Self, ExportError> {
        let Some(key) = keys.iter().find(|kept| kept.signs) else {
            return Ok(if before { Self::Gone } else { Self::None });
        };
        let signer = Signer::new(&key.key)?;
        let at = documents.revision.changed_at;
        let index = render::signed_index(&documents.index);
        Ok(Self::These(Box::new(Made {
            key: openpgp::armored_keyring(keys.iter().map(|kept| &kept.key)).into_bytes(),
            keyring: openpgp::binary_keyring(keys.iter().map(|kept| &kept.key)),
            index: Signed::new(&signer, &documents.index, &index, at)?,
            products: Signed::new(&signer, &documents.products, &documents.products, at)?,
        })))
    }

    pub(super) fn are_there(&self) -> bool {
        matches!(self, Self::These(_))
    }

    pub(super) fn write_keys(&self, top: &Path) -> Result<(), ExportError> {
        self.put(&top.join(KEY_PATH), |made| &made.key)?;
        self.put(&top.join(KEYRING_PATH), |made| &made.keyring)
    }

    pub(super) fn write_products(&self, top: &Path) -> Result<(), ExportError> {
        self.put(&top.join(format!("{PRODUCTS_PATH}.gpg")), |made| &made.products.detached)?;
        self.put(&top.join(SIGNED_PRODUCTS_PATH), |made| &made.products.clear)
    }

    pub(super) fn write_index(&self, top: &Path) -> Result<(), ExportError> {
        self.put(&top.join(format!("{INDEX_PATH}.gpg")), |made| &made.index.detached)?;
        self.put(&top.join(SIGNED_INDEX_PATH), |made| &made.index.clear)
    }

    fn put(&self, path: &Path, bytes: impl Fn(&Made) -> &[u8]) -> Result<(), ExportError> {
        match self {
            Self::These(made) => write(path, bytes(made)),
            Self::Gone => match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(path)(error)),
                _ => Ok(()),
            },
            Self::None => Ok(()),
        }
    }
}

impl Signed {
    fn new(signer: &Signer, document: &[u8], clear: &[u8], at: Timestamp) -> Result<Self, ExportError> {
        let around = signer.clear([clear], at)?;
        Ok(Self {
            clear: [around.before.as_bytes(), clear, around.after.as_bytes()].concat(),
            detached: signer.detached([document], at)?.into_bytes(),
        })
    }
}
