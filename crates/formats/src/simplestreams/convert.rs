//! Turns what a document lists into products and images of ours.
//!
//! [`products`] is the way back from [`super::render`]: what was published, listed and read again is the same, but for
//! the [`LOSSES`].
//!
//! What this module does not know: the files themselves. Their formats are what their names say; who downloads them
//! looks at the bytes.

use std::collections::BTreeMap;

use super::Family;
use super::client::{ListedFile, ListedImage, images_of};
use super::item::{FAMILIES, conflict, slot};
use super::parse::{Document, ProductEntry};
use crate::digest::Fingerprint;
use crate::image::{Compression, FileFormat, Image, ImageFile, ImageFiles};
use crate::names::{AliasName, VersionName};
use crate::product::{Line, Product, Version};
use crate::timestamp::Timestamp;

/// Something that an image has and that a stream cannot say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// What is lost.
    pub what: &'static str,
    /// What comes out instead.
    pub instead: &'static str,
}

/// What is lost between an image and the image that a client makes of its listing. Everything else comes through.
pub const LOSSES: &[Loss] = &[
    Loss {
        what: "images without os or release, unified virtual machines, root files of another type than the image",
        instead: "not listed; the LXD API has them",
    },
    Loss {
        what: "a second image in the same place of a version, a container beside a unified one",
        instead: "not listed; publishing refuses it",
    },
    Loss {
        what: "an image for one family beside one for the other with another root file in the same place",
        instead: "not listed; publishing refuses it",
    },
    Loss { what: "a fingerprint for the second time", instead: "listed once" },
    Loss {
        what: "properties other than os, release, version, variant, label, architecture, serial, type, requirements.*, \
               release_title, release_codename",
        instead: "left out",
    },
    Loss {
        what: "property headwater.families",
        instead: "said by the items of a document for all clients; left out where a document for one family is read",
    },
    Loss { what: "property description", instead: "made of os, release title, architecture, label and version" },
    Loss { what: "property architecture", instead: "the architecture's name in streams, such as amd64" },
    Loss { what: "property type", instead: "the kind of root file" },
    Loss { what: "property serial", instead: "the name of the version" },
    Loss {
        what: "spelling of os, release and variant, properties version, release_title and release_codename",
        instead: "those of the product; without a title, the release",
    },
    Loss { what: "requirements of each image", instead: "those of the newest version, for all of the product" },
    Loss {
        what: "requirements for Incus, when those for LXD differ, of an image that a document lists to both",
        instead: "those for LXD",
    },
    Loss { what: "label of each image", instead: "one for all images of the version" },
    Loss {
        what: "time of day of created_at, and its date where the version has another",
        instead: "midnight of the version's date",
    },
    Loss { what: "uploaded_at", instead: "when it is taken in" },
    Loss {
        what: "last_used_at, auto_update, profiles, update_source",
        instead: "those of the server that takes it in",
    },
    Loss {
        what: "expires_at",
        instead: "the last day of the whole product; never, when one of its images never expires",
    },
    Loss { what: "public: false", instead: "whoever reads the document sees the image as public" },
    Loss { what: "descriptions of aliases, aliases of older versions, aliases with commas", instead: "left out" },
    Loss { what: "filename", instead: "<digest>.<extension> of the metadata file" },
    Loss {
        what: "of other servers: fields of items that clients do not read (md5, sha512), items that make no image",
        instead: "left out",
    },
    Loss { what: "of other servers: names of items, order of aliases among them", instead: "ours" },
    Loss { what: "of other servers: kinds of disks (uefi1.img, disk1.img)", instead: "disk-kvm.img" },
    Loss { what: "of other servers: no variant, no release title", instead: "the variant default, the release" },
];

/// The products of a document with the images that clients of that family see in it. `uploaded_at` is the time to
/// give them.
///
/// With [`Family::Any`], these are the images that clients of LXD or of Incus see. Those that are listed to one of the two alone say so
/// in their property [`FAMILIES`], so that documents made of them list each to whom this document did; the others are as LXD sees them.
///
/// The product's `release_title` and `release_codename` become properties of the images, too.
///
/// Left out are images whose files have no size or no hash (they could not be checked), versions whose names are
/// no names of ours, products without `os` or `release`, and deltas, because who takes images in makes its own. Products keep the keys and the unknown fields of the document.
pub fn products(document: &Document, family: Family, uploaded_at: Timestamp) -> Vec<Product> {
    document.products.iter().filter_map(|(key, entry)| product(key, entry, family, uploaded_at)).collect()
}

/// An image that a document lists.
struct Found {
    image: Image,
    rank: u8,
    readers: Family,
}

/// One of these [`products`]; `None` when it is left out.
pub fn product(key: &str, entry: &ProductEntry, family: Family, uploaded_at: Timestamp) -> Option<Product> {
    let readers = match family {
        Family::Any => [Family::Lxd, Family::Incus].as_slice(),
        Family::Lxd => &[Family::Lxd],
        Family::Incus => &[Family::Incus],
    };
    let mut versions: BTreeMap<String, BTreeMap<Fingerprint, Found>> = BTreeMap::new();
    for readers in readers {
        for listed in images_of(key, entry, *readers) {
            let Some(image) = image(&listed, uploaded_at) else { continue };
            let found = versions.entry(listed.version).or_default();
            let new = Found { image, rank: listed.rank, readers: *readers };
            let known = found.entry(listed.fingerprint).or_insert(new);
            known.readers = known.readers.together(*readers);
        }
    }
    let versions: Vec<Version> = versions
        .into_iter()
        .filter_map(|(name, found)| version(VersionName::new(name).ok()?, entry, family, found.into_values().collect()))
        .collect();
    let line = Line::of_image(versions.first()?.images.first()?)?;
    let mut extra = entry.extra.clone();
    if let Some(supported) = entry.supported {
        extra.insert("supported".to_owned(), supported.into());
    }
    Some(Product {
        key: key.to_owned(),
        line,
        release_title: given(&entry.release_title),
        release_codename: given(&entry.release_codename),
        version: given(&entry.version),
        aliases: entry.aliases.split(',').filter(|name| AliasName::new(*name).is_ok()).map(str::to_owned).collect(),
        extra,
        versions,
    })
}

/// The version with those of the images that can stand side by side; `None` when there are none.
fn version(name: VersionName, entry: &ProductEntry, family: Family, mut found: Vec<Found>) -> Option<Version> {
    // Of those that keep one another out, what clients prefer stays.
    found.sort_by_key(|found| found.rank);
    let mut images: Vec<Image> = Vec::new();
    for Found { mut image, readers, .. } in found {
        for (property, text) in [("release_title", &entry.release_title), ("release_codename", &entry.release_codename)]
        {
            image.properties.extend(given(text).map(|text| (property.to_owned(), text)));
        }
        if family == Family::Any && readers != Family::Any {
            image.properties.insert(FAMILIES.to_owned(), readers.to_string());
        }
        if slot(&image).is_some() && !images.iter().any(|taken| conflict(taken, &image)) {
            images.push(image);
        }
    }
    let of = entry.versions.get(name.as_str());
    let mut extra = of.map(|of| of.extra.clone()).unwrap_or_default();
    if let Some(pubname) = of.and_then(|of| given(&of.pubname)) {
        extra.insert("pubname".to_owned(), pubname.into());
    }
    (!images.is_empty()).then_some(Version { name, extra, images, deltas: Vec::new() })
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The image that a client would store, with files of known size and hash; `None` without these.
pub fn image(listed: &ListedImage, uploaded_at: Timestamp) -> Option<Image> {
    let files = match &listed.root {
        None => ImageFiles::Unified(file(&listed.metadata, |name| {
            by_name(name).filter(|format| *format != FileFormat::Qcow2).unwrap_or(FileFormat::Tar(Compression::Gzip))
        })?),
        Some(root) => ImageFiles::Split {
            metadata: file(&listed.metadata, tarball)?,
            root: file(root, |name| match listed.kind {
                "squashfs" => FileFormat::Squashfs,
                "root.tar.xz" => tarball(name),
                _ => FileFormat::Qcow2,
            })?,
        },
    };
    Some(Image {
        fingerprint: listed.fingerprint,
        image_type: listed.image_type,
        architecture: listed.architecture,
        files,
        filename: listed.filename().to_owned(),
        created_at: listed.created_at,
        uploaded_at,
        public: true,
        expires_at: listed.expires_at,
        last_used_at: None,
        auto_update: false,
        properties: listed.properties.clone(),
        profiles: Vec::new(),
        update_source: None,
    })
}

fn file(listed: &ListedFile, format: impl FnOnce(&str) -> FileFormat) -> Option<ImageFile> {
    let size = Some(listed.size).filter(|size| *size > 0)?;
    Some(ImageFile { digest: listed.sha256?, size, format: format(listed.path.file_name()) })
}

fn tarball(name: &str) -> FileFormat {
    match by_name(name) {
        Some(format @ FileFormat::Tar(_)) => format,
        _ => FileFormat::Tar(Compression::Xz),
    }
}

/// The format that the end of the name stands for; the shortest end that means something (`a.b.tar.xz` is a `tar.xz`).
fn by_name(name: &str) -> Option<FileFormat> {
    name.match_indices('.').find_map(|(at, _)| FileFormat::from_extension(&name[at + 1..]))
}
