//! Computes what a client makes of a document: which images it sees, and where an alias leads it.
//!
//! The rules are those of LXD and Incus (`shared/simplestreams/products.go` `ToLXD`/`ToAPI`,
//! `shared/simplestreams/simplestreams.go` `applyAliases`). Used to check what we write, and to read what others write.
//!
//! What this module does not know: downloading, and deltas.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::Family;
use super::parse::{Combined, Document, ItemEntry, ProductEntry, RelativePath};
use crate::arch::Architecture;
use crate::digest::{Digest, Fingerprint, FingerprintPrefix};
use crate::image::ImageType;
use crate::timestamp::Timestamp;

/// A file that a client would download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Where it is.
    pub path: RelativePath,
    /// Length in bytes; 0 when the document does not say.
    pub size: u64,
    /// What the client compares the download with.
    pub sha256: Option<Digest>,
}

/// An image as a client sees it in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedImage {
    /// Key of the product.
    pub product: String,
    /// Name of the version.
    pub version: String,
    /// The combined hash, or the hash of the file.
    pub fingerprint: Fingerprint,
    /// By the kind of root file.
    pub image_type: ImageType,
    /// The architecture that the product's `arch` stands for.
    pub architecture: Architecture,
    /// The metadata file, or the only file.
    pub metadata: ListedFile,
    /// The root file of a split image.
    pub root: Option<ListedFile>,
    /// `squashfs`, `root.tar.xz`, `disk-kvm.img`, `uefi1.img`, `disk1.img`, or `tar.gz` for a unified image.
    pub kind: &'static str,
    /// Midnight of the date in the version's name.
    pub created_at: Timestamp,
    /// `support_eol`; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// As the client stores them.
    pub properties: BTreeMap<String, String>,
    /// The product's names. In a [`Listing`]: the names that lead to this image, in the order in which the client found them.
    pub aliases: Vec<String>,
    /// Its place among kinds of the same type, as clients prefer them.
    pub(super) rank: u8,
}

impl ListedImage {
    /// Bytes of all files together.
    pub fn size(&self) -> u64 {
        self.root.iter().fold(self.metadata.size, |sum, root| sum.saturating_add(root.size))
    }

    /// The name that the client gives to the image's file.
    pub fn filename(&self) -> &str {
        self.metadata.path.file_name()
    }
}

/// A kind of root file: `ftype`, the hashes that make it an image, its type, and its rank among kinds of the same type.
struct RootKind {
    ftype: &'static str,
    hashes: &'static [Combined],
    image_type: ImageType,
    rank: u8,
}

const ROOT_KINDS: &[RootKind] = &[
    RootKind { ftype: "squashfs", hashes: &[Combined::Squashfs], image_type: ImageType::Container, rank: 0 },
    RootKind {
        ftype: "root.tar.xz",
        hashes: &[Combined::RootXz, Combined::Plain],
        image_type: ImageType::Container,
        rank: 1,
    },
    RootKind { ftype: "disk-kvm.img", hashes: &[Combined::DiskKvm], image_type: ImageType::VirtualMachine, rank: 0 },
    RootKind { ftype: "uefi1.img", hashes: &[Combined::Uefi1], image_type: ImageType::VirtualMachine, rank: 1 },
    RootKind { ftype: "disk1.img", hashes: &[Combined::Disk1], image_type: ImageType::VirtualMachine, rank: 2 },
];

/// The images of one product, in the order of its versions. [`Family::Any`] stands for a client that reads the items of
/// both, as LXD 5.0.3 and 5.18 to 5.20 do.
pub fn images_of(key: &str, product: &ProductEntry, family: Family) -> Vec<ListedImage> {
    let Ok(architecture) = product.arch.parse::<Architecture>() else { return Vec::new() };
    let mut images = Vec::new();
    for (name, version) in &product.versions {
        let Some(created_at) = name.get(..8).and_then(Timestamp::parse_compact_date) else { continue };
        let mut add = |fingerprint, metadata, root, kind, image_type, rank| {
            images.push(ListedImage {
                product: key.to_owned(),
                version: name.clone(),
                fingerprint,
                image_type,
                architecture,
                metadata,
                root,
                kind,
                created_at,
                expires_at: Timestamp::parse_date(&product.support_eol).filter(|at| *at > Timestamp::EPOCH),
                properties: properties(product, name, &version.label, kind, family),
                // Blanks stay: a name that was listed with one is never found.
                aliases: product.aliases.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
                rank,
            });
        };
        for item in version.items.values() {
            let Some(metadata) = file(item) else { continue };
            match metadata_kind(&item.ftype, family) {
                None => {}
                Some(MetadataKind::Unified) => {
                    if let Some(digest) = item.sha256 {
                        let fingerprint = digest.as_unified_fingerprint();
                        add(fingerprint, metadata, None, "tar.gz", ImageType::Container, 0);
                    }
                }
                Some(MetadataKind::Split) => {
                    for root in version.items.values() {
                        let Some(kind) = ROOT_KINDS.iter().find(|kind| kind.ftype == root.ftype) else { continue };
                        let Some(fingerprint) = kind.hashes.iter().find_map(|hash| item.combined.get(hash)) else {
                            continue;
                        };
                        let Some(root) = file(root) else { continue };
                        add(*fingerprint, metadata.clone(), Some(root), kind.ftype, kind.image_type, kind.rank);
                    }
                }
            }
        }
    }
    images
}

enum MetadataKind {
    Split,
    Unified,
}

fn metadata_kind(ftype: &str, family: Family) -> Option<MetadataKind> {
    match ftype {
        "lxd.tar.xz" if family.reads_lxd() => Some(MetadataKind::Split),
        "incus.tar.xz" if family.reads_incus() => Some(MetadataKind::Split),
        "lxd_combined.tar.gz" if family.reads_lxd() => Some(MetadataKind::Unified),
        "incus_combined.tar.gz" if family.reads_incus() => Some(MetadataKind::Unified),
        _ => None,
    }
}

/// Whether such a file is the metadata of split images, for clients of either family.
pub(super) fn is_metadata(ftype: &str) -> bool {
    matches!(metadata_kind(ftype, Family::Any), Some(MetadataKind::Split))
}

/// Whether such a file is the root of split images.
pub(super) fn is_root(ftype: &str) -> bool {
    ROOT_KINDS.iter().any(|kind| kind.ftype == ftype)
}

fn file(item: &ItemEntry) -> Option<ListedFile> {
    Some(ListedFile { path: item.path.clone()?, size: item.size.unwrap_or(0), sha256: item.sha256 })
}

fn properties(
    product: &ProductEntry,
    serial: &str,
    label: &str,
    kind: &str,
    family: Family,
) -> BTreeMap<String, String> {
    let label_in_brackets = if label.is_empty() { String::new() } else { format!(" ({label})") };
    let description =
        format!("{} {} {}{label_in_brackets} ({serial})", product.os, product.release_title, product.arch);
    let mut properties: BTreeMap<String, String> = [
        ("os", product.os.as_str()),
        ("release", &product.release),
        ("version", &product.version),
        ("variant", &product.variant),
        ("label", label),
        ("architecture", &product.arch),
        ("serial", serial),
        ("type", kind),
        ("description", &description),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    let requirements = match family {
        Family::Incus => product.requirements.as_ref(),
        Family::Lxd | Family::Any => product.lxd_requirements.as_ref().or(product.requirements.as_ref()),
    };
    for (key, value) in requirements.into_iter().flatten() {
        properties.insert(format!("requirements.{key}"), value.clone());
    }
    properties.retain(|_, value| !value.is_empty());
    properties
}

/// All that a client sees of a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// The images in the order in which the client gives out aliases: by system, release and variant, the newest first.
    pub images: Vec<ListedImage>,
    names: BTreeMap<(String, ImageType, Architecture), usize>,
}

/// Why a fingerprint leads to no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No image.
    #[error("no image has a fingerprint that begins so; check the spelling")]
    Missing,
    /// Several images, or one that is listed several times: clients refuse both.
    #[error("more than one image has a fingerprint that begins so; give more characters")]
    Ambiguous,
}

impl Listing {
    /// What a client sees in these documents together.
    pub fn of<'a>(documents: impl IntoIterator<Item = &'a Document>, family: Family) -> Self {
        let mut images: Vec<ListedImage> = documents
            .into_iter()
            .flat_map(|document| &document.products)
            .flat_map(|(key, product)| images_of(key, product, family))
            .collect();
        images.sort_by(order);
        let mut names = BTreeMap::new();
        for (position, image) in images.iter_mut().enumerate() {
            let arch = image.properties.get("architecture").cloned().unwrap_or_default();
            for name in std::mem::take(&mut image.aliases) {
                for name in [name.clone(), format!("{name}/{arch}")] {
                    let key = (name.clone(), image.image_type, image.architecture);
                    names.entry(key).or_insert_with(|| {
                        image.aliases.push(name);
                        position
                    });
                }
            }
        }
        Self { images, names }
    }

    /// The image that this name leads a client to on a machine of the given architecture. Without a wanted type a
    /// container is preferred.
    pub fn resolve(&self, name: &str, native: Architecture, wanted: Option<ImageType>) -> Option<&ListedImage> {
        let types = match wanted {
            Some(one) => vec![one],
            None => vec![ImageType::Container, ImageType::VirtualMachine],
        };
        let runnable = std::iter::once(native).chain(native.personalities().iter().copied());
        let architectures: Vec<Architecture> = runnable.chain(Architecture::all()).collect();
        types.into_iter().find_map(|image_type| {
            architectures.iter().find_map(|architecture| {
                self.names.get(&(name.to_owned(), image_type, *architecture)).map(|position| &self.images[*position])
            })
        })
    }

    /// The image whose fingerprint begins so.
    pub fn find(&self, prefix: &FingerprintPrefix) -> Result<&ListedImage, LookupError> {
        let mut found = self.images.iter().filter(|image| image.fingerprint.to_string().starts_with(prefix.as_str()));
        match (found.next(), found.next()) {
            (None, _) => Err(LookupError::Missing),
            (Some(image), None) => Ok(image),
            (Some(_), Some(_)) => Err(LookupError::Ambiguous),
        }
    }
}

fn order(one: &ListedImage, two: &ListedImage) -> Ordering {
    fn of<'a>(image: &'a ListedImage, key: &str) -> &'a str {
        image.properties.get(key).map_or("", String::as_str)
    }
    let by = |key| of(one, key).cmp(of(two, key));
    by("os")
        .then_with(|| by("release"))
        .then_with(|| of(one, "variant").is_empty().cmp(&of(two, "variant").is_empty()))
        .then_with(|| by("variant"))
        .then_with(|| two.version.cmp(&one.version))
        .then_with(|| one.architecture.name().cmp(two.architecture.name()))
        .then_with(|| one.rank.cmp(&two.rank))
        .then_with(|| one.fingerprint.cmp(&two.fingerprint))
}
