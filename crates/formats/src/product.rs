//! Products and versions: a line of images in time, and one moment in it.
//!
//! For example, the product `debian:bookworm:amd64:default` has the version `20250101_07:42`, which holds a
//! container image and a virtual machine image. See [`Line::of_image`] for how an image finds its product.

use std::collections::BTreeMap;

use crate::arch::Architecture;
use crate::digest::Digest;
use crate::image::{Image, ImageFile};
use crate::names::VersionName;
use crate::timestamp::Timestamp;

/// What places an image in a product: its operating system, release, variant and architecture.
///
/// `os` and `variant` keep the spelling that was given; [`Line::key`] is in lower case, and two lines with the
/// same key are the same product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// `Debian`
    pub os: String,
    /// `bookworm`
    pub release: String,
    /// `default`, `cloud`; never empty.
    pub variant: String,
    /// The architecture.
    pub architecture: Architecture,
}

impl Line {
    /// The product of this image by its properties `os`, `release` and `variant` (`default` when missing). `None`
    /// when `os` or `release` is missing: streams cannot list such an image. Characters that a product key, an
    /// alias or a path cannot hold (`:`, `,`, `/`, `%`, `?`, `#`, blanks at the ends, control characters) make it `None` too.
    pub fn of_image(image: &Image) -> Option<Self> {
        let word = |key: &str| {
            let value = image.property(key)?;
            let good = value.trim() == value
                && value.len() <= 64
                && !value.chars().any(|c| c.is_control() || ":,/%?#\\\"".contains(c));
            good.then(|| value.to_owned())
        };
        let variant = match image.property("variant") {
            Some(_) => word("variant")?,
            None => "default".to_owned(),
        };
        Some(Self { os: word("os")?, release: word("release")?, variant, architecture: image.architecture })
    }

    /// `os:release:arch:variant` in lower case, the architecture by its stream name.
    pub fn key(&self) -> String {
        format!("{}:{}:{}:{}", self.os, self.release, self.architecture.stream_name(), self.variant).to_lowercase()
    }
}

/// A product with those of its versions that the asker may see, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// The key in the document: [`Line::key`], or what the upstream of a mirror called it.
    pub key: String,
    /// Operating system, release, variant, architecture.
    pub line: Line,
    /// `release_title`; shown in descriptions.
    pub release_title: Option<String>,
    /// `release_codename`
    pub release_codename: Option<String>,
    /// `version`: the release's number, when `release` is its name.
    pub version: Option<String>,
    /// All the names of the newest image: generated short forms and following aliases; without architecture.
    pub aliases: Vec<String>,
    /// Upstream's fields that are ours to keep and give out again.
    pub extra: BTreeMap<String, serde_json::Value>,
    /// In ascending byte order of the names, which is how clients order them.
    pub versions: Vec<Version>,
}

/// One version of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The name.
    pub name: VersionName,
    /// Upstream's fields that are ours to keep and give out again (`label`, `pubname`, …).
    pub extra: BTreeMap<String, serde_json::Value>,
    /// The images of this version: at most one per root file type.
    pub images: Vec<Image>,
    /// The deltas that are there to the root files of these images, by target and base. Whether there is an older version with the base,
    /// who writes a document looks ([`crate::simplestreams::delta`]).
    pub deltas: Vec<Delta>,
}

/// A file that turns one root file into another one. It belongs to the two files, whatever images have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Delta {
    /// The root file that comes out.
    pub target: Digest,
    /// The root file that it is made from.
    pub base: Digest,
    /// The delta's own bytes.
    pub file: ImageFile,
    /// How many clients were seen to hold the base, when they were counted last.
    pub clients: u64,
}

/// The name under which an image is filed in its product: property `serial` when it is a valid version name, else
/// the creation date (`YYYYMMDD_HH:MM`, UTC).
pub fn version_name(image: &Image) -> VersionName {
    let by_date = |at: Timestamp| VersionName::new(at.version_name()).ok();
    image
        .property("serial")
        .and_then(|serial| VersionName::new(serial).ok())
        .or_else(|| by_date(image.created_at))
        .or_else(|| by_date(Timestamp::EPOCH))
        .unwrap_or_else(|| unreachable!("1970 is a date"))
}
