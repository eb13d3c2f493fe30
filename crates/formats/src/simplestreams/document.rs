//! What a document says, with every field at its own level and of its own type; [`super::parse`] makes it out of text.
//!
//! For example, [`Index::image_streams`] gives the paths of the documents that a client of images would fetch.
//!
//! What this module does not know: how other servers write these things.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::DATATYPE;
use crate::digest::{Digest, Fingerprint};

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing, or nothing between two slashes at the end.
    #[error("names no file")]
    Empty,
    /// Begins with a slash.
    #[error("is absolute")]
    Absolute,
    /// A component `..`.
    #[error("leaves its folder")]
    Parent,
    /// `https://…` and the like.
    #[error("is an address of its own")]
    Scheme,
    /// A backslash or a control character.
    #[error("holds a backslash or a control character")]
    Character,
    /// Over 1024 bytes.
    #[error("is longer than 1024 bytes")]
    Long,
}

/// A path relative to the address that people configure, which stays below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(String);

impl RelativePath {
    /// Checks the text and wraps it.
    pub fn new(text: &str) -> Result<Self, PathError> {
        if text.len() > 1024 {
            return Err(PathError::Long);
        }
        if text.chars().any(|c| c == '\\' || c.is_control()) {
            return Err(PathError::Character);
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        if text.contains("://") {
            return Err(PathError::Scheme);
        }
        if text.split('/').any(|component| component == "..") {
            return Err(PathError::Parent);
        }
        if matches!(text.rsplit('/').next(), None | Some("" | ".")) {
            return Err(PathError::Empty);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the last slash.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Fields that are not known, as they were.
pub type Extra = BTreeMap<String, Value>;

/// An index.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Index {
    /// The streams, by name. What stands among them and is no object is left out.
    pub streams: BTreeMap<String, Stream>,
}

/// A stream that an index names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stream {
    /// What it lists: `image-downloads`, `image-ids`.
    pub datatype: String,
    /// Where its document is.
    pub path: Option<RelativePath>,
    /// The keys of its products, as the index has them; clients only look whether there are any.
    pub products: Vec<String>,
    /// Fields that are not known.
    pub extra: Extra,
}

impl Index {
    /// The documents that image clients fetch: those of streams of the right type that claim to have products.
    pub fn image_streams(&self) -> impl Iterator<Item = (&str, &RelativePath)> {
        self.streams
            .iter()
            .filter(|(_, stream)| stream.datatype == DATATYPE && !stream.products.is_empty())
            .filter_map(|(name, stream)| Some((name.as_str(), stream.path.as_ref()?)))
    }
}

/// A products document, with every field at its own level.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    /// The stream's name.
    pub content_id: String,
    /// What it lists.
    pub datatype: String,
    /// The products by their keys.
    pub products: BTreeMap<String, ProductEntry>,
    /// Fields that are not known.
    pub extra: Extra,
}

/// A product of a document. Text that is missing is empty.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "the text fields are called as they are in documents")]
pub struct ProductEntry {
    pub arch: String,
    pub os: String,
    pub release: String,
    pub release_title: String,
    pub release_codename: String,
    pub version: String,
    pub variant: String,
    /// Separated by commas.
    pub aliases: String,
    /// `YYYY-MM-DD`
    pub support_eol: String,
    pub supported: Option<bool>,
    pub requirements: Option<BTreeMap<String, String>>,
    /// What LXD takes instead of `requirements` when it is there, even when it is empty.
    pub lxd_requirements: Option<BTreeMap<String, String>>,
    /// The versions by their names.
    pub versions: BTreeMap<String, VersionEntry>,
    /// Fields that are not known.
    pub extra: Extra,
}

/// A version of a product.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "the text fields are called as they are in documents")]
pub struct VersionEntry {
    pub label: String,
    pub pubname: String,
    /// The items by their keys, which mean nothing.
    pub items: BTreeMap<String, ItemEntry>,
    /// Fields that are not known.
    pub extra: Extra,
}

/// A file of a version.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ItemEntry {
    /// What it is.
    pub ftype: String,
    /// Where it is.
    pub path: Option<RelativePath>,
    /// Length in bytes.
    pub size: Option<u64>,
    /// SHA-256 of it.
    pub sha256: Option<Digest>,
    /// For a delta: the version that it starts from.
    pub delta_base: String,
    /// For a metadata file: the fingerprints of the images that it makes with root files.
    pub combined: BTreeMap<Combined, Fingerprint>,
    /// `virtual-machine` for a unified virtual machine; only Incus since 7.1 reads it.
    pub combined_type: String,
    /// Fields that are not known.
    pub extra: Extra,
}

/// A combined hash by the kind of root file that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Combined {
    /// `combined_sha256`: `root.tar.xz`, when there is no [`Combined::RootXz`].
    Plain,
    /// `combined_rootxz_sha256`: `root.tar.xz`.
    RootXz,
    /// `combined_squashfs_sha256`
    Squashfs,
    /// `combined_disk-kvm-img_sha256`
    DiskKvm,
    /// `combined_disk1-img_sha256`
    Disk1,
    /// `combined_uefi1-img_sha256`
    Uefi1,
}

impl Combined {
    /// Each with the name of its field.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Plain, "combined_sha256"),
        (Self::RootXz, "combined_rootxz_sha256"),
        (Self::Squashfs, "combined_squashfs_sha256"),
        (Self::DiskKvm, "combined_disk-kvm-img_sha256"),
        (Self::Disk1, "combined_disk1-img_sha256"),
        (Self::Uefi1, "combined_uefi1-img_sha256"),
    ];
}
