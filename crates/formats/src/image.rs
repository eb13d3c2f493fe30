//! What an image is: the bytes it is made of, and what is said of it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::arch::Architecture;
use crate::digest::{Digest, Fingerprint};
use crate::timestamp::Timestamp;

/// A system container's image or a virtual machine's. Written `container` and `virtual-machine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ImageType {
    /// `container`; also what a missing type means.
    #[default]
    Container,
    /// `virtual-machine`
    VirtualMachine,
}

/// The text is no image type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no image type; use \"container\" or \"virtual-machine\"")]
pub struct UnknownImageType(pub String);

impl ImageType {
    /// The word that the LXD API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::VirtualMachine => "virtual-machine",
        }
    }
}

impl fmt::Display for ImageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ImageType {
    type Err = UnknownImageType;

    fn from_str(text: &str) -> Result<Self, UnknownImageType> {
        match text {
            "container" => Ok(Self::Container),
            "virtual-machine" | "vm" => Ok(Self::VirtualMachine),
            other => Err(UnknownImageType(other.chars().take(64).collect())),
        }
    }
}

impl Serialize for ImageType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// How a tarball is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each variant is the compression of its name")]
pub enum Compression {
    None,
    Gzip,
    Xz,
    Lzma,
    Bzip2,
    Zstd,
    Lz4,
}

/// What kind of file this is, told by its first bytes (LXD `shared/util.go` `DetectCompressionFile`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileFormat {
    /// A tarball.
    Tar(Compression),
    /// A squashfs file system.
    Squashfs,
    /// A QEMU disk image.
    Qcow2,
    /// A delta between two root files; no file of an image.
    Vcdiff,
}

const FORMATS: &[(FileFormat, &str)] = &[
    (FileFormat::Tar(Compression::None), "tar"),
    (FileFormat::Tar(Compression::Gzip), "tar.gz"),
    (FileFormat::Tar(Compression::Xz), "tar.xz"),
    (FileFormat::Tar(Compression::Lzma), "tar.lzma"),
    (FileFormat::Tar(Compression::Bzip2), "tar.bz2"),
    (FileFormat::Tar(Compression::Zstd), "tar.zst"),
    (FileFormat::Tar(Compression::Lz4), "tar.lz4"),
    (FileFormat::Squashfs, "squashfs"),
    (FileFormat::Qcow2, "qcow2"),
    (FileFormat::Vcdiff, "vcdiff"),
];

impl FileFormat {
    /// The extension of a file name, without the leading dot: `tar.xz`, `squashfs`, `qcow2`. Also the word that
    /// the catalog stores.
    pub fn extension(self) -> &'static str {
        FORMATS.iter().find(|row| row.0 == self).map_or("bin", |row| row.1)
    }

    /// The format of that extension.
    pub fn from_extension(text: &str) -> Option<Self> {
        FORMATS.iter().find(|row| row.1 == text).map(|row| row.0)
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.extension())
    }
}

/// The part that a file plays in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileRole {
    /// The only file of a unified image.
    Unified,
    /// The metadata tarball of a split image.
    Metadata,
    /// The root file system or disk of a split image.
    Root,
}

impl FileRole {
    /// The word that the catalog stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unified => "unified",
            Self::Metadata => "metadata",
            Self::Root => "root",
        }
    }

    /// The role of that word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Unified, Self::Metadata, Self::Root].into_iter().find(|role| role.as_str() == text)
    }
}

/// One file of an image: known by its digest, its length in bytes, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageFile {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// What the bytes are.
    pub format: FileFormat,
}

impl ImageFile {
    /// The name under which every front-end gives this file out: `<digest>.<extension>`. One function, so that an
    /// address that was given out is an address that is served.
    pub fn name(&self) -> String {
        format!("{}.{}", self.digest, self.format.extension())
    }
}

/// The files that make up an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageFiles {
    /// One file with metadata and root file system in it.
    Unified(ImageFile),
    /// A metadata tarball and a root file; the fingerprint is over both, in this order.
    Split {
        /// The metadata tarball.
        metadata: ImageFile,
        /// The squashfs, tarball or qcow2.
        root: ImageFile,
    },
}

impl ImageFiles {
    /// The sum of the sizes, in bytes, as the LXD API reports it.
    pub fn size(&self) -> u64 {
        self.iter().fold(0, |sum, (_, file)| sum.saturating_add(file.size))
    }

    /// The root file of a split image.
    pub fn root(&self) -> Option<&ImageFile> {
        match self {
            Self::Unified(_) => None,
            Self::Split { root, .. } => Some(root),
        }
    }

    /// The files with their roles, metadata first.
    pub fn iter(&self) -> impl Iterator<Item = (FileRole, ImageFile)> {
        let (first, second) = match self {
            Self::Unified(file) => ((FileRole::Unified, *file), None),
            Self::Split { metadata, root } => ((FileRole::Metadata, *metadata), Some((FileRole::Root, *root))),
        };
        std::iter::once(first).chain(second)
    }
}

/// Where an image was copied from, so that it can be refreshed (`update_source` of the LXD API).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct UpdateSource {
    /// The alias that is followed.
    pub alias: String,
    /// The server's certificate in PEM, or empty.
    pub certificate: String,
    /// `lxd`, `incus` or `simplestreams`.
    pub protocol: String,
    /// The server's URL.
    pub server: String,
    /// `container`, `virtual-machine` or empty.
    pub image_type: String,
}

/// An image, without the catalog's own fields (project, aliases, product).
///
/// The files never change; all that stands below `public` can be edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What the image is called by.
    pub fingerprint: Fingerprint,
    /// Container or virtual machine.
    pub image_type: ImageType,
    /// The architecture of its programs.
    pub architecture: Architecture,
    /// The bytes.
    pub files: ImageFiles,
    /// The name of the file it was made from (for a split image, of the metadata file); never with a folder in it.
    pub filename: String,
    /// `creation_date` of metadata.yaml.
    pub created_at: Timestamp,
    /// When it was published here.
    pub uploaded_at: Timestamp,
    /// Whether guests may see it.
    pub public: bool,
    /// `expiry_date` of metadata.yaml, or what was set by hand; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// When a file of it was last downloaded; `None` is never.
    pub last_used_at: Option<Timestamp>,
    /// Whether it follows [`Image::update_source`].
    pub auto_update: bool,
    /// Free key-value pairs: `os`, `release`, `variant`, `serial`, `description`, `requirements.*` and so on.
    pub properties: BTreeMap<String, String>,
    /// Names of profiles; kept for clients, without meaning here.
    pub profiles: Vec<String>,
    /// Where it came from.
    pub update_source: Option<UpdateSource>,
}

impl Image {
    /// A property, when it is there and not empty.
    pub fn property(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }
}
