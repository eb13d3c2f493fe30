//! Writes the documents: strictly typed, compact, and the same bytes for the same products.
//!
//! Go clients reject a whole document over one value of another type than they expect, so every field they know is
//! written by a typed field here, and what upstreams added of their own is written again only where it cannot be taken
//! for one of those (LXD and Incus `shared/simplestreams/products.go`).
//!
//! A document is [`document_head`], the [`product_fragment`]s with [`DOCUMENT_SEPARATOR`] between them, and
//! [`DOCUMENT_TAIL`]. Fragments can be kept and joined again; a fragment depends on nothing but its product. Over all the
//! fragments of a document, product keys and fingerprints have to be unique: [`products`] sees to it by itself.
//!
//! Documents are written in lines, because `gpg` and `gpgv` look at no more than the first 19,995 bytes of a line of a clear-signed text (GnuPG
//! `g10/armor.c`, `fake_packet`): members of products, versions and item lists have a line each, and so have the keys in an index. Lines begin with `{` or
//! `"`, and none ends in blanks, so that what is signed is the document as it is ([`signed_index`] changes one path).
//!
//! Where a document's files lie is a [`FilesAt`], put in when it is written: most lie in `images/`, and those of a stream
//! that belongs to somebody at an address that was made for them. A [`Draft`] is a document that still lacks it, so that
//! what is written for one can be kept for others.

use std::borrow::{Borrow, Cow};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::Formatter;

use super::delta::{Clients, Roots};
use super::item::{Slot, conflict, families, offered, slot};
use super::{CONTENT_ID, DATATYPE, Family, PRODUCTS_PATH, SIGNED_PRODUCTS_PATH, go};
use crate::digest::{Digest, Fingerprint};
use crate::image::{Image, ImageFile, ImageFiles};
use crate::names::AliasName;
use crate::product::{Delta, Product, Version};
use crate::timestamp::Timestamp;

/// Stands between two fragments.
pub const DOCUMENT_SEPARATOR: &[u8] = b",\n";
/// Stands after the last fragment.
pub const DOCUMENT_TAIL: &[u8] = b"}}";

/// Stands after the last key of an index.
pub const INDEX_TAIL: &[u8] = b"]}}}";

/// Names that mean something to Python's library beside those that Go clients know: it takes the strongest hash that it
/// finds, and spells out abbreviations.
const PYTHON: &[&str] = &["_aliases", "sha512", "item_name", "item_url", "product_name", "version_name"];

/// The index, naming the products of these keys. Without keys it has no entry: clients skip a stream without
/// products, and a document need not be there.
pub fn index<'a>(keys: impl IntoIterator<Item = &'a str>, updated: Timestamp) -> Vec<u8> {
    in_memory(|out| write_index(out, keys, updated))
}

/// [`index`], written bit by bit.
pub fn write_index<'a>(
    mut out: impl Write,
    keys: impl IntoIterator<Item = &'a str>,
    updated: Timestamp,
) -> io::Result<()> {
    let mut keys = keys.into_iter().peekable();
    if keys.peek().is_none() {
        let updated = updated.rfc2822();
        return write!(out, r#"{{"format":"index:1.0","updated":"{updated}","index":{{}}}}"#);
    }
    out.write_all(&index_head(updated))?;
    for (position, key) in keys.enumerate() {
        if position > 0 {
            out.write_all(DOCUMENT_SEPARATOR)?;
        }
        out.write_all(&index_key(key))?;
    }
    out.write_all(INDEX_TAIL)
}

/// What stands before the first key of an index that has keys. Between keys stands [`DOCUMENT_SEPARATOR`], after them
/// [`INDEX_TAIL`].
pub fn index_head(updated: Timestamp) -> Vec<u8> {
    let updated = updated.rfc2822();
    format!(
        r#"{{"format":"index:1.0","updated":"{updated}","index":{{"{CONTENT_ID}":{{"datatype":"{DATATYPE}","format":"products:1.0","path":"{PRODUCTS_PATH}","updated":"{updated}","products":["#
    )
    .into_bytes()
}

/// A product's key as the index lists it.
pub fn index_key(key: &str) -> Vec<u8> {
    in_memory(|out| write_json(out, key))
}

/// The index as it is clear-signed: the path of the products document is that of the [signed one](SIGNED_PRODUCTS_PATH), as the tools of
/// simplestreams write it (Python `simplestreams/util.py`, `signjson_file`).
pub fn signed_index(index: &[u8]) -> Vec<u8> {
    // Within a JSON string every quote is escaped, so that this is the member `path` and nothing else.
    let (plain, signed) = (format!(r#""path":"{PRODUCTS_PATH}""#), format!(r#""path":"{SIGNED_PRODUCTS_PATH}""#));
    match index.windows(plain.len()).position(|window| window == plain.as_bytes()) {
        Some(at) => [&index[..at], signed.as_bytes(), &index[at + plain.len()..]].concat(),
        None => index.to_vec(),
    }
}

/// Where the files lie that a document names, relative to the address that people configure: what stands before their
/// names, with a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilesAt(Cow<'static, str>);

impl FilesAt {
    /// `images/`, where files lie that anybody may look for.
    pub const IMAGES: Self = Self(Cow::Borrowed("images/"));

    /// `f/<grant>/`, that many folders above the address of the stream. Go clients resolve the `..` before they ask (LXD and
    /// Incus `client/simplestreams_images.go`, by `path.Join`), so that what stands in the stream's address is not sent;
    /// Python refuses such paths. `None` unless the grant is made of letters, digits, `-` and `_`.
    pub fn above(depth: usize, grant: &str) -> Option<Self> {
        let good = !grant.is_empty() && grant.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        good.then(|| Self(format!("{}f/{grant}/", "../".repeat(depth)).into()))
    }

    /// The text. JSON needs no escapes for it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A piece of a document without the places of its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    text: Vec<u8>,
    /// Where in `text` the name of a file begins, ascending.
    names: Vec<usize>,
}

impl Draft {
    /// A piece that names no file.
    pub fn plain(text: Vec<u8>) -> Self {
        Self { text, names: Vec::new() }
    }

    /// Adds bytes that name no file.
    pub fn push(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
    }

    /// Adds another piece.
    pub fn append(&mut self, other: &Self) {
        let at = self.text.len();
        self.names.extend(other.names.iter().map(|name| at + name));
        self.text.extend_from_slice(&other.text);
    }

    /// The bytes, with the files in that place.
    pub fn placed(&self, files: &FilesAt) -> Vec<u8> {
        let prefix = files.as_str().as_bytes();
        let mut out = Vec::with_capacity(self.text.len() + self.names.len() * prefix.len());
        let mut done = 0;
        for name in &self.names {
            out.extend_from_slice(&self.text[done..*name]);
            out.extend_from_slice(prefix);
            done = *name;
        }
        out.extend_from_slice(&self.text[done..]);
        out
    }

    /// The bytes without the places.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Where in [`Draft::text`] the name of a file begins, ascending: there stands the place.
    pub fn names(&self) -> &[usize] {
        &self.names
    }

    /// How many bytes of memory it takes.
    pub fn size(&self) -> usize {
        self.text.len() + self.names.len() * size_of::<usize>()
    }
}

/// The products document for these clients. The order is that of `products`; what cannot be listed is left
/// out: images without a [`slot`], images that are not [`offered`] to these clients, a fingerprint, a version name or a product key for
/// the second time, versions and products without images.
pub fn products<'a, P: Borrow<Product>>(
    products: impl IntoIterator<Item = P>,
    clients: impl Into<Clients<'a>>,
    updated: Timestamp,
) -> Vec<u8> {
    in_memory(|out| write_products(out, products, clients, updated))
}

/// [`products()`], written product by product: memory holds one product, and 32 bytes for each image that was written.
pub fn write_products<'a, P: Borrow<Product>>(
    mut out: impl Write,
    products: impl IntoIterator<Item = P>,
    clients: impl Into<Clients<'a>>,
    updated: Timestamp,
) -> io::Result<()> {
    let clients = clients.into();
    out.write_all(&document_head(updated))?;
    let mut keys = HashSet::new();
    let mut fingerprints = HashSet::new();
    let mut first = true;
    for product in products {
        let product = product.borrow();
        if keys.contains(&product.key) {
            continue;
        }
        if let Some(fragment) = fragment(product, &clients, &mut fingerprints) {
            if !first {
                out.write_all(DOCUMENT_SEPARATOR)?;
            }
            first = false;
            out.write_all(&fragment.placed(&FilesAt::IMAGES))?;
            keys.insert(product.key.clone());
        }
    }
    out.write_all(DOCUMENT_TAIL)
}

/// What stands before the first fragment.
pub fn document_head(updated: Timestamp) -> Vec<u8> {
    format!(
        r#"{{"content_id":"{CONTENT_ID}","datatype":"{DATATYPE}","format":"products:1.0","updated":"{}","products":{{"#,
        updated.rfc2822()
    )
    .into_bytes()
}

/// One product as a member of the document's `products`: `"key":{…}`. `None` when nothing of it can be listed; then
/// its key does not belong into the index either. Images whose fingerprint was `seen` are left out, the others are added to it.
pub fn product_fragment<'a>(
    product: &Product,
    clients: impl Into<Clients<'a>>,
    seen: &mut HashSet<Fingerprint>,
) -> Option<Draft> {
    fragment(product, &clients.into(), seen)
}

/// The deltas that the [fragment](product_fragment) of a product names when none of its fingerprints was seen before.
pub fn listed_deltas<'a>(product: &Product, clients: impl Into<Clients<'a>>) -> Vec<Delta> {
    let clients = clients.into();
    let listed = Listed::of(product, clients.family, &mut HashSet::new());
    let beside = |(version, images): &Chosen<'_>| {
        let delta = |(slot, image): &(Slot, &Image)| listed.roots.delta(version, *slot, image.files.root()?, &clients);
        let mut deltas: Vec<Delta> = images.iter().filter_map(delta).map(|(delta, _)| *delta).collect();
        // Two images of one place have the same root file.
        deltas.dedup();
        deltas
    };
    listed.versions.values().flat_map(beside).collect()
}

/// Whether there is anything of this product to list to that family: whether [`product_fragment`] gives something.
pub fn lists_something(product: &Product, family: Family) -> bool {
    let listed = |image: &Image| slot(image).is_some() && offered(image, family);
    product.versions.iter().any(|version| version.images.iter().any(listed))
}

/// Compact JSON in which the members of the outer objects have a line each: those of a product, of its versions, and items.
#[derive(Default)]
struct Lines {
    depth: usize,
}

/// Product, versions, version, items.
const OBJECTS_IN_LINES: usize = 4;

impl Formatter for Lines {
    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.depth += 1;
        out.write_all(b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.depth -= 1;
        out.write_all(b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        if self.depth <= OBJECTS_IN_LINES { out.write_all(b"\n") } else { Ok(()) }
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.is_ascii() {
            return out.write_all(fragment.as_bytes());
        }
        for piece in fragment.split_inclusive(ENDS_OF_LINES) {
            let text = piece.trim_end_matches(ENDS_OF_LINES);
            out.write_all(text.as_bytes())?;
            for end in piece[text.len()..].chars() {
                write!(out, "\\u{:04x}", u32::from(end))?;
            }
        }
        Ok(())
    }
}

/// Beside control characters, which JSON escapes, these end a line for Python, whose library takes a clear-signed text apart by lines (`util.py`,
/// `read_signed`): they are escaped, too.
const ENDS_OF_LINES: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

fn write_json(out: impl Write, value: &(impl Serialize + ?Sized)) -> io::Result<()> {
    Ok(value.serialize(&mut serde_json::Serializer::with_formatter(out, Lines::default()))?)
}

/// Writes into memory, and knows how far it is.
struct Counted<'a> {
    text: Vec<u8>,
    written: &'a Cell<usize>,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        self.written.set(self.text.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The name of a file. While it is being written, it notes where it begins: `serde_json` has handed on every byte before it
/// by then, the opening quote too.
struct Name<'a> {
    file: &'a ImageFile,
    written: &'a Cell<usize>,
    names: &'a RefCell<Vec<usize>>,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.names.borrow_mut().push(self.written.get());
        f.write_str(&self.file.name())
    }
}

impl Serialize for Name<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What the names of one fragment share.
#[derive(Default)]
struct Names {
    written: Cell<usize>,
    names: RefCell<Vec<usize>>,
}

fn in_memory(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Vec<u8> {
    let mut out = Vec::new();
    match write(&mut out) {
        Ok(()) => out,
        // Memory takes every byte, and all that is serialized here has text for its keys.
        Err(error) => unreachable!("a document could not be written into memory: {error}"),
    }
}

#[derive(Serialize)]
struct ProductOut<'a> {
    aliases: String,
    arch: &'static str,
    os: &'a str,
    release: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    release_codename: Option<&'a str>,
    release_title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    variant: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    requirements: Option<&'a BTreeMap<&'a str, &'a str>>,
    // LXD up to 5.0.2 and 5.17 reads only this one, later ones prefer it even when it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    lxd_requirements: Option<&'a BTreeMap<&'a str, &'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    support_eol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supported: Option<bool>,
    #[serde(flatten)]
    extra: BTreeMap<&'a str, &'a Value>,
    versions: BTreeMap<&'a str, VersionOut<'a>>,
}

#[derive(Serialize)]
struct VersionOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pubname: Option<&'a str>,
    #[serde(flatten)]
    extra: BTreeMap<&'a str, &'a Value>,
    items: BTreeMap<Cow<'static, str>, ItemOut<'a>>,
}

#[derive(Serialize)]
struct ItemOut<'a> {
    ftype: &'static str,
    path: Name<'a>,
    size: u64,
    sha256: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta_base: Option<&'a str>,
    #[serde(rename = "combined_squashfs_sha256", skip_serializing_if = "Option::is_none")]
    squashfs: Option<Fingerprint>,
    #[serde(rename = "combined_rootxz_sha256", skip_serializing_if = "Option::is_none")]
    root_tar: Option<Fingerprint>,
    #[serde(rename = "combined_disk-kvm-img_sha256", skip_serializing_if = "Option::is_none")]
    disk: Option<Fingerprint>,
}

impl<'a> ItemOut<'a> {
    fn new(ftype: &'static str, file: &'a ImageFile, names: &'a Names) -> Self {
        Self {
            ftype,
            path: Name { file, written: &names.written, names: &names.names },
            size: file.size,
            sha256: file.digest,
            delta_base: None,
            squashfs: None,
            root_tar: None,
            disk: None,
        }
    }
}

/// A version with the images that are listed of it, in the order of their places.
type Chosen<'a> = (&'a Version, Vec<(Slot, &'a Image)>);

/// What is listed of a product.
struct Listed<'a> {
    versions: BTreeMap<&'a str, Chosen<'a>>,
    /// For deltas alone: nothing is in it when there are none.
    roots: Roots<'a>,
}

impl<'a> Listed<'a> {
    fn of(product: &'a Product, family: Family, seen: &mut HashSet<Fingerprint>) -> Self {
        let mut versions = BTreeMap::new();
        for version in &product.versions {
            if versions.contains_key(version.name.as_str()) {
                continue;
            }
            let chosen = choose(version, family, seen);
            if !chosen.is_empty() {
                versions.insert(version.name.as_str(), (version, chosen));
            }
        }
        let deltas = versions.values().any(|(version, _)| !version.deltas.is_empty());
        let roots = versions.iter().filter(|_| deltas).flat_map(|(name, (_, images))| {
            images.iter().filter_map(move |(slot, image)| {
                Some((*slot, image.files.root()?.digest, *name, families(image).common(family)?))
            })
        });
        Self { roots: Roots::new(roots), versions }
    }
}

fn fragment(product: &Product, clients: &Clients<'_>, seen: &mut HashSet<Fingerprint>) -> Option<Draft> {
    let names = Names::default();
    let listed = Listed::of(product, clients.family, seen);
    let versions = &listed.versions;
    if versions.is_empty() {
        return None;
    }
    let of = |family: Family| clients.family.common(family).and_then(|family| requirements(versions, family));
    let (of_lxd, of_incus) = (of(Family::Lxd), of(Family::Incus));
    let given = of_incus.as_ref().or(of_lxd.as_ref()).filter(|given| !given.is_empty());
    // Where they are missing, LXD takes those for Incus.
    let given_to_lxd = of_lxd.as_ref().filter(|own| !own.is_empty() || given.is_some());
    let out = ProductOut {
        aliases: aliases(&product.aliases),
        arch: product.line.architecture.stream_name(),
        os: &product.line.os,
        release: &product.line.release,
        release_codename: not_empty(product.release_codename.as_deref()),
        release_title: not_empty(product.release_title.as_deref()).unwrap_or(&product.line.release),
        version: not_empty(product.version.as_deref()),
        variant: &product.line.variant,
        requirements: given,
        lxd_requirements: given_to_lxd,
        support_eol: support_eol(versions.values().flat_map(|(_, images)| images)),
        supported: product.extra.get("supported").and_then(Value::as_bool),
        extra: foreign(&product.extra),
        versions: versions
            .iter()
            .map(|(name, (version, images))| (*name, version_out(version, images, &listed.roots, clients, &names)))
            .collect(),
    };
    let mut text = Counted { text: Vec::new(), written: &names.written };
    let written = write_json(&mut text, &product.key)
        .and_then(|()| text.write_all(b":"))
        .and_then(|()| write_json(&mut text, &out));
    let text = text.text;
    match written {
        Ok(()) => Some(Draft { text, names: names.names.take() }),
        // Memory takes every byte, and all that is serialized here has text for its keys.
        Err(error) => unreachable!("a product could not be written into memory: {error}"),
    }
}

/// The images of a version that are offered to that family and can stand side by side, in the order of their places.
fn choose<'a>(version: &'a Version, family: Family, seen: &mut HashSet<Fingerprint>) -> Vec<(Slot, &'a Image)> {
    let for_them = version.images.iter().filter(|image| offered(image, family));
    let mut all: Vec<(Slot, &Image)> = for_them.filter_map(|image| slot(image).map(|slot| (slot, image))).collect();
    all.sort_by_key(|(slot, image)| (*slot, image.fingerprint));
    let mut chosen: Vec<(Slot, &Image)> = Vec::new();
    for (slot, image) in all {
        if !chosen.iter().any(|(_, taken)| conflict(taken, image)) && seen.insert(image.fingerprint) {
            chosen.push((slot, image));
        }
    }
    chosen
}

fn version_out<'a>(
    version: &'a Version,
    images: &[(Slot, &'a Image)],
    roots: &Roots<'a>,
    clients: &Clients<'_>,
    names: &'a Names,
) -> VersionOut<'a> {
    let text = |key: &str| not_empty(version.extra.get(key).and_then(Value::as_str));
    VersionOut {
        label: images.iter().find_map(|(_, image)| image.property("label")).or_else(|| text("label")),
        pubname: text("pubname"),
        extra: foreign(&version.extra),
        items: items(version, images, roots, clients, names),
    }
}

fn items<'a>(
    version: &'a Version,
    images: &[(Slot, &'a Image)],
    roots: &Roots<'a>,
    clients: &Clients<'_>,
    names: &'a Names,
) -> BTreeMap<Cow<'static, str>, ItemOut<'a>> {
    let mut items = BTreeMap::new();
    let (mut of_lxd, mut of_incus): (Vec<ItemOut<'a>>, Vec<ItemOut<'a>>) = (Vec::new(), Vec::new());
    for (slot, image) in images {
        let Some(readers) = families(image).common(clients.family) else { continue };
        match (&image.files, slot.root_ftype()) {
            (ImageFiles::Split { metadata, root }, Some(ftype)) => {
                let stem = if *slot == Slot::Disk { "disk" } else { "root" };
                items.insert(format!("{stem}.{}", root.format.extension()).into(), ItemOut::new(ftype, root, names));
                if let Some((delta, base)) = roots.delta(version, *slot, root, clients)
                    && let Some(ftype) = slot.delta_ftype()
                {
                    let item = ItemOut { delta_base: Some(base), ..ItemOut::new(ftype, &delta.file, names) };
                    items.insert(format!("{stem}.{base}.{}", delta.file.format.extension()).into(), item);
                }
                let lists = [(readers.reads_lxd(), &mut of_lxd), (readers.reads_incus(), &mut of_incus)];
                for (_, list) in lists.into_iter().filter(|(reads, _)| *reads) {
                    let position = list.iter().position(|item| item.sha256 == metadata.digest).unwrap_or_else(|| {
                        list.push(ItemOut::new("", metadata, names));
                        list.len() - 1
                    });
                    let item = &mut list[position];
                    match slot {
                        Slot::Squashfs => item.squashfs = Some(image.fingerprint),
                        Slot::RootTar => item.root_tar = Some(image.fingerprint),
                        Slot::Disk => item.disk = Some(image.fingerprint),
                        Slot::UnifiedContainer => {}
                    }
                }
            }
            (ImageFiles::Unified(file), _) => {
                if readers.reads_lxd() {
                    items.insert("lxd_combined.tar.gz".into(), ItemOut::new("lxd_combined.tar.gz", file, names));
                }
                if readers.reads_incus() {
                    items.insert("incus_combined.tar.gz".into(), ItemOut::new("incus_combined.tar.gz", file, names));
                }
            }
            (ImageFiles::Split { .. }, None) => {}
        }
    }
    for (family, ftype, list) in [("lxd", "lxd.tar.xz", of_lxd), ("incus", "incus.tar.xz", of_incus)] {
        for (position, item) in list.into_iter().enumerate() {
            let key = match position {
                0 => Cow::Borrowed(ftype),
                further => Cow::Owned(format!("{family}-{}.tar.xz", further + 1)),
            };
            items.insert(key, ItemOut { ftype, ..item });
        }
    }
    items
}

fn aliases(names: &[String]) -> String {
    let mut list = String::new();
    let mut seen = HashSet::new();
    for name in names.iter().filter(|name| AliasName::new(name.as_str()).is_ok()) {
        if seen.insert(name.as_str()) {
            if !list.is_empty() {
                list.push(',');
            }
            list.push_str(name);
        }
    }
    list
}

/// Requirements belong to a product; those of the newest version that lists something to that family are said. `None` when none does.
fn requirements<'a>(versions: &BTreeMap<&str, Chosen<'a>>, family: Family) -> Option<BTreeMap<&'a str, &'a str>> {
    let for_them = |(_, images): &Chosen<'a>| {
        images.iter().map(|(_, image)| *image).filter(|image| offered(image, family)).collect()
    };
    let newest: Vec<&Image> = versions.values().rev().map(for_them).find(|images: &Vec<_>| !images.is_empty())?;
    let mut all = BTreeMap::new();
    for image in newest {
        for (key, value) in &image.properties {
            if let Some(key) = key.strip_prefix("requirements.").filter(|key| !key.is_empty() && !value.is_empty()) {
                all.entry(key).or_insert(value.as_str());
            }
        }
    }
    Some(all)
}

/// The last day of the product: that of its longest-lived image, and none when one image never expires.
fn support_eol<'a>(images: impl Iterator<Item = &'a (Slot, &'a Image)>) -> Option<String> {
    let days: Option<Vec<Timestamp>> =
        images.map(|(_, image)| image.expires_at.filter(|at| *at > Timestamp::EPOCH)).collect();
    days?.into_iter().max().map(Timestamp::date)
}

/// Upstream's fields that no client can take for one that it knows, of this level or of one below it: Python's library
/// lets fields count for all that stands below them. Go compares names of fields without regard to case, by a folding
/// in which two letters outside of ASCII equal `k` and `s`.
fn foreign(extra: &BTreeMap<String, Value>) -> BTreeMap<&str, &Value> {
    extra
        .iter()
        .filter(|(key, _)| {
            let name = go::fold(key);
            ![go::PRODUCT, go::VERSION, go::ITEM, PYTHON].iter().any(|known| known.contains(&name.as_str()))
        })
        .map(|(key, value)| (key.as_str(), value))
        .collect()
}

fn not_empty(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}
