//! From rows to the words that all rooms share, and back.

use std::str::FromStr;

use headwater_formats::digest::Digest;
use headwater_formats::image::{FileFormat, FileRole, Image, ImageFile, ImageFiles};
use headwater_formats::names::VersionName;
use headwater_formats::simplestreams::{Slot, slot};
use headwater_formats::timestamp::Timestamp;

use super::CatalogError;
use super::engine::{Row, Tx, Value};
use crate::auth::IdentityId;

/// An image with what only this room knows of it.
#[derive(Debug, Clone)]
pub(super) struct ImageRow {
    pub(super) id: i64,
    /// Its project's id.
    pub(super) project: i64,
    pub(super) image: Image,
    /// Its product's id and its version.
    pub(super) place: Option<(i64, VersionName)>,
    /// Which of several images of one version and type is preferred: see [`preference`].
    pub(super) preference: i64,
    pub(super) published_by: Option<IdentityId>,
}

impl ImageRow {
    /// What orders the images of one product and type: the greatest is the newest.
    pub(super) fn age(&self) -> impl Ord + use<> {
        let version = self.place.as_ref().map(|(_, version)| version.as_str().to_owned());
        (version, self.preference, self.image.fingerprint)
    }
}

/// Clients prefer a squashfs to a tarball (LXD `shared/simplestreams`); a unified image is never beside either.
pub(super) fn preference(image: &Image) -> i64 {
    match slot(image) {
        Some(Slot::Squashfs | Slot::Disk) => 3,
        Some(Slot::UnifiedContainer) => 2,
        Some(Slot::RootTar) => 1,
        None => 0,
    }
}

/// Reads images: what comes after `FROM images i …`, such as ` WHERE i.id = $1`.
pub(super) async fn images(tx: &mut Tx, tail: &str, values: Vec<Value>) -> Result<Vec<ImageRow>, CatalogError> {
    const SELECT: &str = "SELECT i.id, i.fingerprint, i.image_type, i.architecture, i.filename, i.created_at, \
         i.uploaded_at, i.public, i.expires_at, i.last_used_at, i.auto_update, i.properties, i.profiles, \
         i.update_source, i.product_id, i.version, i.preference, m.role, m.digest, mb.size, mb.format, r.digest, \
         rb.size, rb.format, i.published_by, i.project_id \
         FROM images i \
         JOIN image_files m ON m.image_id = i.id AND m.role <> 'root' JOIN blobs mb ON mb.digest = m.digest \
         LEFT JOIN image_files r ON r.image_id = i.id AND r.role = 'root' LEFT JOIN blobs rb ON rb.digest = r.digest";
    tx.rows(format!("{SELECT}{tail}"), values).await?.iter().map(image).collect()
}

fn image(row: &Row) -> Result<ImageRow, CatalogError> {
    let first = file(row.text(18)?, row.int(19)?, row.text(20)?)?;
    let root = match row.opt_text(21)? {
        Some(digest) => Some(file(digest, row.int(22)?, row.text(23)?)?),
        None => None,
    };
    let role = row.text(17)?;
    let files = match (FileRole::parse(&role), root) {
        (Some(FileRole::Unified), None) => ImageFiles::Unified(first),
        (Some(FileRole::Metadata), Some(root)) => ImageFiles::Split { metadata: first, root },
        _ => return Err(CatalogError::Corrupt("an image is neither whole nor split".into())),
    };
    let opt_time = |column| row.opt_int(column)?.map(time).transpose();
    let place = match (row.opt_int(14)?, row.opt_text(15)?) {
        (Some(product), Some(version)) => Some((product, parse("a version's name", &version)?)),
        _ => None,
    };
    Ok(ImageRow {
        id: row.int(0)?,
        project: row.int(25)?,
        place,
        preference: row.int(16)?,
        published_by: row.opt_int(24)?.map(IdentityId),
        image: Image {
            fingerprint: parse("a fingerprint", &row.text(1)?)?,
            image_type: parse("an image's type", &row.text(2)?)?,
            architecture: parse("an architecture", &row.text(3)?)?,
            files,
            filename: row.text(4)?,
            created_at: time(row.int(5)?)?,
            uploaded_at: time(row.int(6)?)?,
            public: row.truth(7)?,
            expires_at: opt_time(8)?,
            last_used_at: opt_time(9)?,
            auto_update: row.truth(10)?,
            properties: from_json(&row.text(11)?)?,
            profiles: from_json(&row.text(12)?)?,
            update_source: row.opt_text(13)?.map(|text| from_json(&text)).transpose()?,
        },
    })
}

/// A file by its columns.
pub(super) fn file(digest: String, size: i64, format: String) -> Result<ImageFile, CatalogError> {
    Ok(ImageFile {
        digest: parse::<Digest>("a digest", &digest)?,
        size: unsigned(size)?,
        format: FileFormat::from_extension(&format)
            .ok_or_else(|| CatalogError::Corrupt(format!("{format:?} is no file format")))?,
    })
}

/// Reads a checked word.
pub(super) fn parse<T: FromStr<Err: std::fmt::Display>>(what: &str, text: &str) -> Result<T, CatalogError> {
    text.parse().map_err(|why| CatalogError::Corrupt(format!("{what}: {why}")))
}

/// Reads a time.
pub(super) fn time(seconds: i64) -> Result<Timestamp, CatalogError> {
    Timestamp::from_unix(seconds).ok_or_else(|| CatalogError::Corrupt(format!("{seconds} is no time")))
}

/// Reads a number that is never negative.
pub(super) fn unsigned(number: i64) -> Result<u64, CatalogError> {
    u64::try_from(number).map_err(|_| CatalogError::Corrupt(format!("{number} is no size")))
}

/// Writes a number that is never negative.
pub(super) fn signed(number: u64) -> Result<i64, CatalogError> {
    i64::try_from(number).map_err(|_| CatalogError::Corrupt(format!("a size of {number} bytes")))
}

/// Reads a structured value.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, CatalogError> {
    serde_json::from_str(text).map_err(|why| CatalogError::Corrupt(why.to_string()))
}

/// Writes a structured value.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, CatalogError> {
    serde_json::to_string(value).map_err(|why| CatalogError::Corrupt(why.to_string()))
}

/// How many rows are asked for.
pub(super) fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
