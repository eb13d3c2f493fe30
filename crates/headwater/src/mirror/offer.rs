//! What an upstream offers, whatever it speaks: products with versions and images, and where the bytes of each image are.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use headwater_formats::arch::Architecture;
use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::image::{Compression, FileFormat, Image, ImageFile, ImageFiles, ImageType};
use headwater_formats::names::VersionName;
use headwater_formats::product::{Line, Product, Version, version_name};
use headwater_formats::simplestreams::client::ListedFile;
use headwater_formats::simplestreams::item::FAMILIES;
use headwater_formats::simplestreams::parse::{ProductEntry, RelativePath, VersionEntry};
use headwater_formats::simplestreams::select::Selection;
use headwater_formats::simplestreams::{Family, convert};
use headwater_formats::timestamp::Timestamp;

use super::{OfferedDelta, Wanted};
use crate::client::{ClientError, Offer, StreamProducts};

/// Most deltas to one file that are looked at.
const MOST_DELTAS: usize = 16;

/// What an upstream offers and was chosen, or a part of it.
#[derive(Debug, Default)]
pub struct Offered {
    /// In the order of the documents; of the LXD API in the order of their keys. A fingerprint is there once, in all parts together.
    pub products: Vec<Product>,
    /// How the bytes of each image come.
    pub offers: HashMap<Fingerprint, Offer>,
    /// Deltas to root files, by these.
    pub deltas: HashMap<Digest, Vec<OfferedDelta>>,
    /// The keys of all its products, chosen or not.
    pub keys: BTreeSet<String>,
    /// Whether products, versions and names are the upstream's own; else they follow from the properties of the images.
    pub placed: bool,
}

impl Offered {
    /// What the API of a server shows, placed as it would be if it were published here. Images that name no system are in no product, so that they are taken
    /// only when everything is.
    pub fn by_images(images: Vec<(Offer, String)>, selection: &Selection, now: Timestamp) -> Self {
        let mut offered = Self::default();
        let mut products: BTreeMap<String, Product> = BTreeMap::new();
        let mut loose = Vec::new();
        for (offer, architecture) in images {
            let Some(image) = described(&offer, &architecture, now) else { continue };
            if offered.offers.insert(image.fingerprint, offer).is_some() {
                continue;
            }
            let (key, line) = match Line::of_image(&image) {
                Some(line) => (line.key(), line),
                None => {
                    loose.push(image);
                    continue;
                }
            };
            let product = products.entry(key.clone()).or_insert_with(|| empty(key, line));
            let name = version_name(&image);
            match product.versions.iter_mut().find(|version| version.name == name) {
                Some(version) => version.images.push(image),
                None => product.versions.push(version(name, vec![image])),
            }
        }
        offered.keys = products.keys().cloned().collect();
        for mut product in products.into_values() {
            product.versions.sort_by(|one, other| one.name.cmp(&other.name));
            if let Some(product) = selection.view.narrow(product) {
                offered.add(product);
            }
        }
        if selection.is_everything() {
            for image in loose {
                // A product of its own for each, so that none is an older version of another.
                let key = image.fingerprint.to_string();
                let line = Line {
                    os: String::new(),
                    release: String::new(),
                    variant: String::new(),
                    architecture: image.architecture,
                };
                offered.keys.insert(key.clone());
                let versions = vec![version(version_name(&image), vec![image])];
                offered.add(Product { versions, ..empty(key, line) });
            }
        }
        offered
    }

    /// Without versions that are left empty.
    fn add(&mut self, mut product: Product) {
        product.versions.retain(|version| !version.images.is_empty());
        if !product.versions.is_empty() {
            self.products.push(product);
        }
    }
}

/// What is chosen of documents, whose products are read one after the other.
#[derive(Debug)]
pub(super) struct Choice {
    selection: Selection,
    /// Whether images for one family of clients are offered to both.
    both_families: bool,
    now: Timestamp,
    /// The images that were found so far.
    seen: HashSet<Fingerprint>,
}

impl Choice {
    pub(super) fn new(selection: Selection, both_families: bool, now: Timestamp) -> Self {
        Self { selection, both_families, now, seen: HashSet::new() }
    }

    /// The next products of a document, until there are some `images` images of them; `None` when no product is left.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub(super) fn next(
        &mut self,
        document: &mut StreamProducts,
        images: usize,
    ) -> Result<Option<Offered>, ClientError> {
        let mut offered = Offered { placed: true, ..Offered::default() };
        while offered.offers.len() < images {
            let Some(next) = document.next() else { break };
            let (key, entry) = next?;
            // Before anything is left out: their bases are older versions.
            deltas(&entry, &mut offered.deltas);
            let chosen = self.selection.narrow_product(document.head(), &key, entry);
            if let Some(entry) = chosen
                && let Some(product) = convert::product(&key, &entry, Family::Any, self.now)
                && let Some(product) = self.selection.view.narrow(product)
            {
                self.offer(product, &places(&entry), &mut offered);
            }
            offered.keys.insert(key);
        }
        Ok((!offered.keys.is_empty()).then_some(offered))
    }

    fn offer(&mut self, mut product: Product, places: &HashMap<Digest, &RelativePath>, offered: &mut Offered) {
        for version in &mut product.versions {
            version.images.retain_mut(|image| {
                if self.both_families {
                    image.properties.remove(FAMILIES);
                }
                let Some(offer) = listed(image, places) else { return false };
                let new = self.seen.insert(image.fingerprint);
                if new {
                    offered.offers.insert(image.fingerprint, offer);
                }
                new
            });
        }
        offered.add(product);
    }
}

fn empty(key: String, line: Line) -> Product {
    Product {
        key,
        line,
        release_title: None,
        release_codename: None,
        version: None,
        aliases: Vec::new(),
        extra: BTreeMap::new(),
        versions: Vec::new(),
    }
}

fn version(name: VersionName, images: Vec<Image>) -> Version {
    Version { name, extra: BTreeMap::new(), images, deltas: Vec::new() }
}

/// Where a product has files of these digests.
fn places(product: &ProductEntry) -> HashMap<Digest, &RelativePath> {
    let items = product.versions.values().flat_map(|version| version.items.values());
    items.filter_map(|item| Some((item.sha256?, item.path.as_ref()?))).collect()
}

/// The deltas that a product lists, with what they start from: the file of the same kind in the version that is named (LXD
/// `shared/simplestreams/products.go`).
fn deltas(product: &ProductEntry, found: &mut HashMap<Digest, Vec<OfferedDelta>>) {
    for version in product.versions.values() {
        for item in version.items.values() {
            let Some(kind) = item.ftype.strip_suffix(".vcdiff") else { continue };
            let of = |version: &VersionEntry| {
                version.items.values().find(|item| item.ftype == kind).and_then(|item| item.sha256)
            };
            let base = product.versions.get(&item.delta_base).and_then(of);
            let (Some(target), Some(base)) = (of(version), base) else { continue };
            let (Some(path), Some(digest), Some(size)) = (&item.path, item.sha256, item.size) else { continue };
            let file = Wanted { path: path.as_str().to_owned(), digest, size };
            let of_target = found.entry(target).or_default();
            if of_target.len() < MOST_DELTAS {
                of_target.push(OfferedDelta { base, file });
            }
        }
    }
}

fn listed(image: &Image, places: &HashMap<Digest, &RelativePath>) -> Option<Offer> {
    let file = |file: &ImageFile| {
        let path = (*places.get(&file.digest)?).clone();
        Some(ListedFile { path, size: file.size, sha256: Some(file.digest) })
    };
    match &image.files {
        ImageFiles::Unified(only) => Some(Offer::listed(image.fingerprint, file(only)?, None)),
        ImageFiles::Split { metadata, root } => {
            Some(Offer::listed(image.fingerprint, file(metadata)?, Some(file(root)?)))
        }
    }
}

/// The image as far as it is known before its bytes are here: which files it has, only they tell.
fn described(offer: &Offer, architecture: &str, now: Timestamp) -> Option<Image> {
    let about = offer.about.clone().unwrap_or_default();
    let architecture: Architecture = architecture.parse().ok()?;
    let bytes: [u8; 32] = *offer.fingerprint.as_bytes();
    let file = ImageFile {
        digest: Digest::from_bytes(bytes),
        size: offer.size.unwrap_or_default(),
        format: FileFormat::Tar(Compression::None),
    };
    Some(Image {
        fingerprint: offer.fingerprint,
        image_type: about.image_type.unwrap_or(ImageType::Container),
        architecture,
        files: ImageFiles::Unified(file),
        filename: about.filename,
        created_at: about.created_at.unwrap_or(now),
        uploaded_at: now,
        public: true,
        expires_at: about.expires_at.filter(|at| *at > Timestamp::EPOCH),
        last_used_at: None,
        auto_update: false,
        properties: about.properties,
        profiles: Vec::new(),
        update_source: None,
    })
}
