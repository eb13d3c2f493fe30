//! Reads documents as strictly as Go clients do, to check that they can.
//!
//! ```
//! use headwater_formats::simplestreams::go;
//!
//! let text = br#"{"products":{"p":{"versions":{"20240101":{"items":{"i":{"size":"812"}}}}}}}"#;
//! assert!(go::products(text).unwrap_err().to_string().contains("812"));
//! ```
//!
//! One value of another type than the client's own struct has makes it reject the whole document; unknown fields and missing
//! ones do no harm, `null` is the same as missing, and the names of fields are found without regard to case (Go
//! `encoding/json`; LXD and Incus `shared/simplestreams/{index,products}.go`).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::parse::{Combined, Document, ItemEntry, ProductEntry, RelativePath, VersionEntry};

/// Why Go clients reject the document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("LXD and Incus reject this document: {0}")]
pub struct Rejected(String);

/// `Stream` of the Go clients: an index.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are called as they are in documents")]
pub struct Index {
    pub index: BTreeMap<String, IndexEntry>,
    pub updated: String,
    pub format: String,
}

/// `StreamIndex` of the Go clients.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are called as they are in documents")]
pub struct IndexEntry {
    pub datatype: String,
    pub path: String,
    pub updated: String,
    pub products: Vec<String>,
    pub format: String,
}

/// `Products` of the Go clients: a products document.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are called as they are in documents")]
pub struct Products {
    pub content_id: String,
    pub datatype: String,
    pub format: String,
    pub license: String,
    pub products: BTreeMap<String, Product>,
    pub updated: String,
}

/// `Product` of the Go clients.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are called as they are in documents")]
pub struct Product {
    pub aliases: String,
    pub arch: String,
    pub os: String,
    pub lxd_requirements: Option<BTreeMap<String, String>>,
    pub requirements: Option<BTreeMap<String, String>>,
    pub release: String,
    pub release_codename: String,
    pub release_title: String,
    pub supported: bool,
    pub support_eol: String,
    pub version: String,
    pub variant: String,
    pub versions: BTreeMap<String, Version>,
}

/// `ProductVersion` of the Go clients.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are called as they are in documents")]
pub struct Version {
    pub items: BTreeMap<String, Item>,
    pub label: String,
    pub pubname: String,
}

/// `ProductVersionItem` of the Go clients.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are called as they are in documents")]
pub struct Item {
    pub ftype: String,
    pub path: String,
    pub size: i64,
    pub sha256: String,
    pub md5: String,
    pub delta_base: String,
    pub combined_sha256: String,
    pub combined_rootxz_sha256: String,
    pub combined_squashfs_sha256: String,
    #[serde(rename = "combined_disk-kvm-img_sha256")]
    pub combined_disk_kvm_img_sha256: String,
    #[serde(rename = "combined_disk1-img_sha256")]
    pub combined_disk1_img_sha256: String,
    #[serde(rename = "combined_uefi1-img_sha256")]
    pub combined_uefi1_img_sha256: String,
    pub combined_type: String,
}

const INDEX: &[&str] = &["index", "updated", "format"];
const INDEX_ENTRY: &[&str] = &["datatype", "path", "updated", "products", "format"];
const PRODUCTS: &[&str] = &["content_id", "datatype", "format", "license", "products", "updated"];
pub(crate) const PRODUCT: &[&str] = &[
    "aliases",
    "arch",
    "os",
    "lxd_requirements",
    "requirements",
    "release",
    "release_codename",
    "release_title",
    "supported",
    "support_eol",
    "version",
    "variant",
    "versions",
];
pub(crate) const VERSION: &[&str] = &["items", "label", "pubname"];
pub(crate) const ITEM: &[&str] = &[
    "ftype",
    "path",
    "size",
    "sha256",
    "md5",
    "delta_base",
    "combined_sha256",
    "combined_rootxz_sha256",
    "combined_squashfs_sha256",
    "combined_disk-kvm-img_sha256",
    "combined_disk1-img_sha256",
    "combined_uefi1-img_sha256",
    "combined_type",
];

/// Reads an index.
pub fn index(text: &[u8]) -> Result<Index, Rejected> {
    let mut value = json(text)?;
    name_fields(&mut value, INDEX);
    each(&mut value, "index", |entry| name_fields(entry, INDEX_ENTRY));
    typed(value)
}

/// Reads a products document.
pub fn products(text: &[u8]) -> Result<Products, Rejected> {
    let mut value = json(text)?;
    name_fields(&mut value, PRODUCTS);
    each(&mut value, "products", |product| {
        name_fields(product, PRODUCT);
        each(product, "versions", |version| {
            name_fields(version, VERSION);
            each(version, "items", |item| name_fields(item, ITEM));
        });
    });
    typed(value)
}

impl Products {
    /// The same in the form that [`super::parse`] gives, for [`super::client`] and [`super::convert`]. Nothing is
    /// moved between levels. A path that leaves its folder, a negative size and a hash that is none count as missing.
    pub fn document(&self) -> Document {
        Document {
            content_id: self.content_id.clone(),
            datatype: self.datatype.clone(),
            products: self.products.iter().map(|(key, product)| (key.clone(), product.entry())).collect(),
            ..Document::default()
        }
    }
}

impl Product {
    fn entry(&self) -> ProductEntry {
        let versions = self.versions.iter().map(|(name, version)| {
            let entry = VersionEntry {
                label: version.label.clone(),
                pubname: version.pubname.clone(),
                items: version.items.iter().map(|(key, item)| (key.clone(), item.entry())).collect(),
                ..VersionEntry::default()
            };
            (name.clone(), entry)
        });
        ProductEntry {
            arch: self.arch.clone(),
            os: self.os.clone(),
            release: self.release.clone(),
            release_title: self.release_title.clone(),
            release_codename: self.release_codename.clone(),
            version: self.version.clone(),
            variant: self.variant.clone(),
            aliases: self.aliases.clone(),
            support_eol: self.support_eol.clone(),
            supported: Some(self.supported),
            requirements: self.requirements.clone(),
            lxd_requirements: self.lxd_requirements.clone(),
            versions: versions.collect(),
            ..ProductEntry::default()
        }
    }
}

impl Item {
    fn entry(&self) -> ItemEntry {
        let hashes = [
            (Combined::Plain, &self.combined_sha256),
            (Combined::RootXz, &self.combined_rootxz_sha256),
            (Combined::Squashfs, &self.combined_squashfs_sha256),
            (Combined::DiskKvm, &self.combined_disk_kvm_img_sha256),
            (Combined::Disk1, &self.combined_disk1_img_sha256),
            (Combined::Uefi1, &self.combined_uefi1_img_sha256),
        ];
        ItemEntry {
            ftype: self.ftype.clone(),
            path: RelativePath::new(&self.path).ok(),
            size: u64::try_from(self.size).ok(),
            sha256: self.sha256.parse().ok(),
            delta_base: self.delta_base.clone(),
            combined: hashes.into_iter().filter_map(|(kind, hash)| Some((kind, hash.parse().ok()?))).collect(),
            combined_type: self.combined_type.clone(),
            ..ItemEntry::default()
        }
    }
}

/// The name by which Go finds the field for a key: letters without regard to case, and two letters outside of ASCII
/// that fold to `s` and `k`.
pub(crate) fn fold(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

/// Gives the fields of an object the names that the struct has, and drops those that are `null`.
fn name_fields(value: &mut Value, known: &[&str]) {
    let Value::Object(fields) = value else { return };
    let mut named = Map::new();
    for (key, value) in std::mem::take(fields) {
        if value.is_null() {
            continue;
        }
        let folded = fold(&key);
        let exact = known.contains(&key.as_str());
        // A field under its exact name wins over one in other letters.
        if exact || !known.contains(&folded.as_str()) {
            named.insert(key, value);
        } else if !named.contains_key(&folded) {
            named.insert(folded, value);
        }
    }
    *fields = named;
}

fn each(value: &mut Value, key: &str, mut change: impl FnMut(&mut Value)) {
    if let Some(Value::Object(members)) = value.get_mut(key) {
        members.retain(|_, member| !member.is_null());
        members.values_mut().for_each(&mut change);
    }
}

fn json(text: &[u8]) -> Result<Value, Rejected> {
    serde_json::from_slice(text).map_err(|error| Rejected(error.to_string()))
}

fn typed<T: for<'de> Deserialize<'de>>(value: Value) -> Result<T, Rejected> {
    // A struct of serde also reads a list; Go's does not.
    if !value.is_object() {
        return Err(Rejected("it is no JSON object".to_owned()));
    }
    serde_json::from_value(value).map_err(|error| Rejected(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        products(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn one_wrong_type_spoils_the_document() {
        for text in [
            r#"{"products":{"p":{"versions":{"v":{"items":{"i":{"size":"1"}}}}}}}"#,
            r#"{"products":{"p":{"versions":{"v":{"items":{"i":{"size":1.5}}}}}}}"#,
            r#"{"products":{"p":{"aliases":["a"]}}}"#,
            r#"{"products":{"p":{"Aliases":["a"]}}}"#,
            r#"{"products":{"p":{"alia\u017fes":["a"]}}}"#,
            r#"{"products":{"p":{"supported":"yes"}}}"#,
            r#"{"products":{"p":{"requirements":{"a":false}}}}"#,
            r#"{"products":{"p":"x"}}"#,
            r#"{"products":[]}"#,
            "[]",
        ] {
            assert!(refused(text).starts_with("LXD and Incus reject this document: "), "{text}");
        }
        assert!(index(br#"{"index":{"updated":"x"}}"#).is_err());
    }

    #[test]
    fn missing_unknown_and_null_do_no_harm() {
        let read =
            products(br#"{"new":[1],"products":{"p":{"os":null,"ARCH":"amd64","versions":null,"x":{}},"q":null}}"#)
                .unwrap();
        assert_eq!(read.products.len(), 1);
        assert_eq!(read.products["p"], Product { arch: "amd64".into(), ..Product::default() });
        assert_eq!(products(b"{}").unwrap(), Products::default());
        assert_eq!(index(br#"{"index":{"a":{"clouds":[]}}}"#).unwrap().index["a"], IndexEntry::default());
    }
}
