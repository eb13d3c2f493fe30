//! Re-hashes all that images are made of, and the deltas between them, and tells by name what is missing or damaged.
//!
//! Each blob is read once. A root file goes through a SHA-256 of its own and, behind the metadata of each image that it is
//! the root of, through that image's fingerprint.

use std::collections::BTreeMap;

use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::image::{ImageFile, ImageFiles};
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;
use sha2::{Digest as _, Sha256};

use super::hash::{BUFFER, each_part};
use super::{PublishError, Publisher, blocking};
use crate::auth::Viewer;
use crate::blobs::{BlobError, Blobs, Deleted};
use crate::catalog::{BlobUse, Found, StoredImage};

/// Blobs that are asked for at once.
const PAGE: usize = 100;
/// Fingerprints that are computed in one reading; a root that is shared by more images is read again for the others.
const TOGETHER: usize = 16;

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// It is not there.
    Missing,
    /// It cannot be read to its end; why.
    Unreadable(String),
    /// It has another length, in bytes, than the catalog says.
    Length(u64),
    /// Its bytes have another SHA-256 than its name says.
    Digest(Digest),
    /// The file is whole, but metadata and root together have another SHA-256 than this image is called by.
    Fingerprint {
        /// What the image is called by.
        listed: Fingerprint,
        /// What its bytes give.
        computed: Fingerprint,
    },
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Unreadable(why) => write!(f, "cannot be read ({why})"),
            Self::Length(found) => write!(f, "is damaged: it has {found} bytes"),
            Self::Digest(found) => write!(f, "is damaged: its SHA-256 is {found}"),
            Self::Fingerprint { computed, .. } => {
                write!(f, "does not make up the image that it is listed for: the fingerprint would be {computed}")
            }
        }
    }
}

/// Told while verifying.
#[derive(Debug)]
pub enum VerifyEvent<'a> {
    /// A file was read; it is whole unless an event about its damage came before.
    Read(&'a ImageFile),
    /// A file is damaged.
    Damaged {
        /// The file.
        file: &'a ImageFile,
        /// What is wrong with it.
        damage: &'a Damage,
        /// An image that needs it. There is one event for each.
        image: &'a StoredImage,
    },
    /// A delta is damaged: clients that download it fail, and do not try the whole file.
    DamagedDelta {
        /// The delta's bytes.
        file: &'a ImageFile,
        /// What is wrong with them.
        damage: &'a Damage,
        /// The root file that should come out.
        target: &'a Digest,
        /// The root file that it starts from.
        base: &'a Digest,
    },
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verified {
    /// Files that images are made of, and deltas.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that are missing or damaged.
    pub damaged: u64,
    /// Those of them that are deltas.
    pub deltas: u64,
    /// Files that are not here, and that an upstream promises: they come when somebody asks for them. They count among no others.
    pub promised: u64,
    /// Damaged files that were removed, so that publishing the same bytes again puts whole ones in their place.
    pub removed: u64,
}

/// What reading one blob showed.
struct Reading {
    damage: Option<Damage>,
    fingerprints: Vec<(Fingerprint, Fingerprint)>,
}

impl Publisher {
    /// Reads every file of every image. With `remove_damaged`, files whose bytes are wrong are taken out of the store:
    /// clients would refuse them anyway, and publishing the same bytes again heals the image then. Deltas that are damaged or missing are taken
    /// out of the lists, too, and are wanted anew from `now` on.
    ///
    /// Memory does not grow with the number of images nor with their sizes. What is published or deleted meanwhile may be
    /// seen or not.
    pub async fn verify(
        &self,
        remove_damaged: bool,
        now: Timestamp,
        tell: &mut (dyn FnMut(VerifyEvent<'_>) + Send),
    ) -> Result<Verified, PublishError> {
        let mut totals = Verified::default();
        let mut after = None;
        loop {
            let page = self.catalog.blobs_in_use(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(totals) };
            after = Some(last.file.digest);
            for blob in page {
                self.verify_blob(&blob, remove_damaged.then_some(now), &mut totals, tell).await?;
            }
        }
    }

    async fn verify_blob(
        &self,
        used: &BlobUse,
        remove_damaged: Option<Timestamp>,
        totals: &mut Verified,
        tell: &mut (dyn FnMut(VerifyEvent<'_>) + Send),
    ) -> Result<(), PublishError> {
        let file = used.file;
        // Fingerprint and metadata file of each image that this is the root of.
        let mut split = BTreeMap::new();
        for (project, fingerprint) in &used.images {
            if let Some(image) = self.stored(project, fingerprint).await?
                && let ImageFiles::Split { metadata, root } = image.image.files
                && root.digest == file.digest
            {
                split.insert(*fingerprint, metadata.digest);
            }
        }
        let split: Vec<_> = split.into_iter().collect();
        let mut batches = split.chunks(TOGETHER);
        let mut batch = batches.next().unwrap_or_default();
        let mut mismatched = Vec::new();
        let damage = loop {
            let (blobs, owned) = (self.blobs.clone(), batch.to_vec());
            let reading = blocking(move || read(&blobs, &file, &owned)).await?;
            mismatched.extend(reading.fingerprints);
            match (reading.damage, batches.next()) {
                (None, Some(next)) => batch = next,
                (damage, _) => break damage,
            }
        };
        if damage == Some(Damage::Missing) && used.promised {
            totals.promised += 1;
            return Ok(());
        }
        let mut found = false;
        if let Some(damage) = &damage {
            for (project, fingerprint) in &used.images {
                // Deleted and swept since the list was read: then nothing is wrong.
                if let Some(image) = self.stored(project, fingerprint).await? {
                    tell(VerifyEvent::Damaged { file: &file, damage, image: &image });
                    found = true;
                }
            }
        }
        let wrong_bytes = matches!(damage, Some(Damage::Length(_) | Damage::Digest(_)));
        if let Some(damage) = &damage
            && !used.deltas.is_empty()
        {
            // Not wanted any more since the list was read: then nothing is wrong.
            let deltas = self.catalog.deltas_of_bytes(&file.digest).await?;
            for (target, base) in &deltas {
                tell(VerifyEvent::DamagedDelta { file: &file, damage, target, base });
            }
            totals.deltas += u64::from(!deltas.is_empty() && !found);
            found |= !deltas.is_empty();
            if let Some(now) = remove_damaged.filter(|_| wrong_bytes || *damage == Damage::Missing) {
                self.catalog.drop_delta(&file.digest, now).await?;
            }
        }
        for (listed, computed) in mismatched {
            for (project, fingerprint) in used.images.iter().filter(|(_, fingerprint)| *fingerprint == listed) {
                if let Some(image) = self.stored(project, fingerprint).await? {
                    let damage = Damage::Fingerprint { listed, computed };
                    tell(VerifyEvent::Damaged { file: &file, damage: &damage, image: &image });
                    found = true;
                }
            }
        }
        totals.damaged += u64::from(found);
        if found && remove_damaged.is_some() && wrong_bytes {
            let blobs = self.blobs.clone();
            let deleted = blocking(move || blobs.delete(&file.digest)).await?;
            totals.removed += u64::from(deleted == Deleted::Gone);
        }
        totals.files += 1;
        totals.bytes += file.size;
        tell(VerifyEvent::Read(&file));
        Ok(())
    }

    async fn stored(
        &self,
        project: &ProjectName,
        fingerprint: &Fingerprint,
    ) -> Result<Option<StoredImage>, PublishError> {
        match self.catalog.image(&Viewer::operator(), project, &(*fingerprint).into()).await? {
            Found::One(image) => Ok(Some(image)),
            Found::Nothing | Found::Several => Ok(None),
        }
    }
}

/// Reads one blob; `split` are the images that it is the root of, with their metadata files.
fn read(blobs: &Blobs, file: &ImageFile, split: &[(Fingerprint, Digest)]) -> Result<Reading, BlobError> {
    let damaged = |damage| Ok(Reading { damage: Some(damage), fingerprints: Vec::new() });
    let Some(blob) = blobs.open_blob(&file.digest)? else { return damaged(Damage::Missing) };
    let mut buffer = vec![0; BUFFER];
    let mut hashers = Vec::new();
    for (fingerprint, metadata) in split {
        // Metadata that is missing or damaged is reported where it is read itself.
        let Some(metadata) = blobs.open_blob(metadata)? else { continue };
        let mut hasher = Sha256::new();
        if each_part(&mut metadata.reader(), &mut buffer, |part| hasher.update(part)).is_ok() {
            hashers.push((*fingerprint, hasher));
        }
    }
    let mut own = Sha256::new();
    let whole = each_part(&mut blob.reader(), &mut buffer, |part| {
        own.update(part);
        hashers.iter_mut().for_each(|(_, hasher)| hasher.update(part));
    });
    if let Err(error) = whole {
        return damaged(Damage::Unreadable(error.to_string()));
    }
    let digest = Digest::from_bytes(own.finalize().into());
    if digest != file.digest {
        return damaged(if blob.size == file.size { Damage::Digest(digest) } else { Damage::Length(blob.size) });
    }
    let computed =
        hashers.into_iter().map(|(listed, hasher)| (listed, Fingerprint::from_bytes(hasher.finalize().into())));
    Ok(Reading { damage: None, fingerprints: computed.filter(|(listed, computed)| listed != computed).collect() })
}
