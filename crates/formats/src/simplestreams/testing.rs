//! Small images and products for the unit tests of this crate.

use std::collections::BTreeMap;

use crate::digest::{Digest, Fingerprint};
use crate::image::{FileFormat, Image, ImageFile, ImageFiles, ImageType};
use crate::names::VersionName;
use crate::product::{Line, Product, Version};
use crate::timestamp::Timestamp;

pub(crate) fn file(first: u8, rest: u8, size: u64, extension: &str) -> ImageFile {
    let mut bytes = [rest; 32];
    bytes[0] = first;
    ImageFile { digest: Digest::from_bytes(bytes), size, format: FileFormat::from_extension(extension).unwrap() }
}

/// A split image; the number makes its root file and fingerprint, all share one metadata file.
pub(crate) fn image(number: u8, root: &str) -> Image {
    let at = Timestamp::parse_rfc3339("2024-01-03T07:42:00Z").unwrap();
    Image {
        fingerprint: Fingerprint::from_bytes([number; 32]),
        image_type: if root == "qcow2" { ImageType::VirtualMachine } else { ImageType::Container },
        architecture: "x86_64".parse().unwrap(),
        files: ImageFiles::Split {
            metadata: file(0xaa, 0, 812, "tar.xz"),
            root: file(0xbb, number, 1000 + u64::from(number), root),
        },
        filename: "meta.tar.xz".into(),
        created_at: at,
        uploaded_at: at,
        public: true,
        expires_at: None,
        last_used_at: None,
        auto_update: false,
        properties: BTreeMap::new(),
        profiles: Vec::new(),
        update_source: None,
    }
}

pub(crate) fn unified(number: u8, extension: &str) -> Image {
    let file = ImageFile { digest: Digest::from_bytes([number; 32]), ..file(0, 0, 2000, extension) };
    Image { files: ImageFiles::Unified(file), filename: format!("image.{extension}"), ..image(number, "squashfs") }
}

pub(crate) fn product(os: &str, release: &str, variant: &str, arch: &str, versions: &[(&str, Vec<Image>)]) -> Product {
    let line =
        Line { os: os.into(), release: release.into(), variant: variant.into(), architecture: arch.parse().unwrap() };
    Product {
        key: line.key(),
        aliases: crate::alias::generated(&line, None, None),
        line,
        release_title: None,
        release_codename: None,
        version: None,
        extra: BTreeMap::new(),
        versions: versions
            .iter()
            .map(|(name, images)| Version {
                name: VersionName::new(*name).unwrap(),
                extra: BTreeMap::new(),
                images: images.clone(),
                deltas: Vec::new(),
            })
            .collect(),
    }
}
