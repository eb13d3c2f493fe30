//! Documents of others, taken in and written again: who read the original sees the same images in ours.

use std::collections::{BTreeMap, BTreeSet};

use headwater_formats::arch::Architecture;
use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::image::{Image, ImageType};
use headwater_formats::product::Product;
use headwater_formats::simplestreams::client::{ListedFile, ListedImage, Listing};
use headwater_formats::simplestreams::{Family, convert, go, item, parse, render};
use headwater_formats::timestamp::Timestamp;
use serde_json::Value;

use crate::real;

/// Where what is seen of ours differs from what is seen of the original: document, property, before, afterwards.
/// Of all that is not named here, nothing differs.
const EXCEPTIONS: &[(&str, &str, &str, &str)] = &[
    // All disks are one kind here, and clients take all kinds the same way. Other kinds have no deltas, and would need places of their own.
    ("multipass-testdata/good_manifest.json", "type", "disk1.img", "disk-kvm.img"),
    ("multipass-testdata/lxd_test_manifest.json", "type", "disk1.img", "disk-kvm.img"),
    // Every product has a variant here: names and filters rest on it.
    ("multipass-testdata/good_manifest.json", "variant", "", "default"),
    ("multipass-testdata/lxd_test_manifest.json", "variant", "", "default"),
];

/// Those of the documents that `real.rs` reads which list images for clients.
const DOCUMENTS: [&str; 8] = [
    "archlinux-lx2160/streams/v1/images.json",
    "kriszos-github-io/streams/v1/images.json",
    "linuxcontainers-excerpt-2023/streams/v1/images.json",
    "meigma-testdata/incus/products.json",
    "meigma-testdata/linuxcontainers/products.json",
    "meigma-testdata/lxd/products.json",
    "multipass-testdata/good_manifest.json",
    "multipass-testdata/lxd_test_manifest.json",
];

/// No real one: what servers may list of one root file, in all the ways that there are.
const EVERY_WAY: &str = r#"{"content_id":"images","datatype":"image-downloads","format":"products:1.0","products":{
    "debian:12:amd64:default":{"aliases":"debian/12,debian/bookworm","arch":"amd64","os":"Debian","release":"bookworm",
        "release_title":"Bookworm","release_codename":"bookworm","version":"12","variant":"default","support_eol":"2028-06-30",
        "supported":true,"distro":"debian","requirements":{"secureboot":"false"},"versions":{
        "20240101":{"label":"release","pubname":"debian-12","build":7,"items":{
            "lxd.tar.xz":{"ftype":"lxd.tar.xz","path":"1/lxd.tar.xz","size":812,"sha256":"01","combined_squashfs_sha256":"a1","combined_disk-kvm-img_sha256":"a2"},
            "incus.tar.xz":{"ftype":"incus.tar.xz","path":"1/lxd.tar.xz","size":812,"sha256":"01","combined_squashfs_sha256":"a1"},
            "root":{"ftype":"squashfs","path":"1/root.squashfs","size":1000,"sha256":"02","md5":"00"},
            "disk":{"ftype":"disk-kvm.img","path":"1/disk.qcow2","size":2000,"sha256":"03"}}},
        "20240102":{"label":"release","items":{
            "lxd.tar.xz":{"ftype":"lxd.tar.xz","path":"2/lxd.tar.xz","size":813,"sha256":"11","combined_squashfs_sha256":"b1","combined_disk-kvm-img_sha256":"b2"},
            "incus.tar.xz":{"ftype":"incus.tar.xz","path":"2/incus.tar.xz","size":814,"sha256":"12","combined_squashfs_sha256":"b3","combined_disk-kvm-img_sha256":"b4"},
            "root":{"ftype":"squashfs","path":"2/root.squashfs","size":1001,"sha256":"13"},
            "disk":{"ftype":"disk-kvm.img","path":"2/disk.qcow2","size":2001,"sha256":"14"}}},
        "20240103":{"items":{
            "incus.tar.xz":{"ftype":"incus.tar.xz","path":"3/incus.tar.xz","size":815,"sha256":"21","combined_rootxz_sha256":"c1"},
            "root":{"ftype":"root.tar.xz","path":"3/root.tar.xz","size":1002,"sha256":"22"}}}}},
    "debian:12:arm64:default":{"aliases":"debian/12","arch":"arm64","os":"Debian","release":"bookworm","release_title":"Bookworm",
        "variant":"default","lxd_requirements":{},"requirements":{"cgroup":"v1"},"versions":{
        "20240101":{"items":{
            "one":{"ftype":"lxd_combined.tar.gz","path":"a/one.tar.gz","size":3000,"sha256":"31"},
            "two":{"ftype":"incus_combined.tar.gz","path":"a/two.tar.xz","size":3001,"sha256":"32"}}},
        "20240102":{"items":{
            "lxd.tar.xz":{"ftype":"lxd.tar.xz","path":"b/lxd.tar.xz","size":816,"sha256":"41","combined_squashfs_sha256":"d1"},
            "root":{"ftype":"squashfs","path":"b/root.squashfs","size":1003,"sha256":"42"},
            "two":{"ftype":"incus_combined.tar.gz","path":"b/two.tar.gz","size":3002,"sha256":"43"}}}}},
    "alpine:3:amd64:default":{"aliases":"alpine/3","arch":"amd64","os":"Alpine","release":"3","release_title":"3","variant":"default","versions":{
        "20240101":{"items":{
            "lxd.tar.xz":{"ftype":"lxd.tar.xz","path":"c/lxd.tar.xz","size":817,"sha256":"51","combined_squashfs_sha256":"e1"},
            "root":{"ftype":"squashfs","path":"c/root.squashfs","size":1004,"sha256":"52"}}}}},
    "void:1:amd64:default":{"aliases":"void","arch":"amd64","os":"Void","release":"1","release_title":"1","variant":"default","versions":{
        "20240101":{"items":{
            "incus.tar.xz":{"ftype":"incus.tar.xz","path":"d/incus.tar.xz","size":818,"sha256":"61","combined_squashfs_sha256":"f1"},
            "root":{"ftype":"squashfs","path":"d/root.squashfs","size":1005,"sha256":"62"}}}}}}}"#;

/// [`EVERY_WAY`]; of each hash, it has the first two digits only.
fn every_way() -> Vec<u8> {
    fn whole(value: &mut Value) {
        for (key, value) in value.as_object_mut().into_iter().flatten() {
            match value {
                Value::String(text) if key.ends_with("sha256") => *value = text.repeat(32).into(),
                other => whole(other),
            }
        }
    }
    let mut value = serde_json::from_str(EVERY_WAY).unwrap();
    whole(&mut value);
    value.to_string().into_bytes()
}

/// An image as a client sees it, but for the places and names of its files.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    product: String,
    version: String,
    fingerprint: Fingerprint,
    image_type: ImageType,
    architecture: Architecture,
    files: Vec<(u64, Digest)>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    /// All the names that lead to it.
    names: Vec<String>,
    properties: BTreeMap<String, String>,
}

/// The images that such a client sees, in its order; those whose files could not be checked left out.
fn seen(document: &parse::Document, family: Family) -> Vec<Seen> {
    let file = |file: &ListedFile| Some((Some(file.size).filter(|size| *size > 0)?, file.sha256?));
    let seen = |image: ListedImage| {
        Some(Seen {
            files: std::iter::once(&image.metadata).chain(&image.root).map(file).collect::<Option<_>>()?,
            product: image.product,
            version: image.version,
            fingerprint: image.fingerprint,
            image_type: image.image_type,
            architecture: image.architecture,
            created_at: image.created_at,
            expires_at: image.expires_at,
            names: image.aliases,
            properties: image.properties,
        })
    };
    Listing::of([document], family).images.into_iter().filter_map(seen).collect()
}

fn taken_in(document: &parse::Document) -> Vec<Product> {
    convert::products(document, Family::Any, Timestamp::EPOCH)
}

/// What differs, as `EXCEPTIONS` names it, between what clients see of the original and of ours.
fn differences(original: &[u8], label: &str) -> BTreeSet<(String, String, String)> {
    let original = parse::products(original).unwrap();
    let products = taken_in(&original);
    let mut found = BTreeSet::new();
    for written_for in Family::ALL {
        let text = render::products(&products, written_for, Timestamp::EPOCH);
        let strict = go::products(&text).unwrap().document();
        // A document for all is read by everybody.
        for reader in Family::ALL.into_iter().filter(|reader| [*reader, Family::Any].contains(&written_for)) {
            let label = format!("{label}, written for {written_for}, read by {reader}");
            let (before, after) = (seen(&original, reader), seen(&strict, reader));
            assert_eq!(after, seen(&parse::products(&text).unwrap(), reader), "{label}");
            assert_eq!(after.len(), before.len(), "{label}");
            for (before, mut after) in before.into_iter().zip(after) {
                for key in before.properties.keys().chain(after.properties.keys()).collect::<BTreeSet<_>>() {
                    let of = |image: &Seen| image.properties.get(key).cloned().unwrap_or_default();
                    if of(&before) != of(&after) {
                        found.insert((key.clone(), of(&before), of(&after)));
                    }
                }
                after.properties.clone_from(&before.properties);
                assert_eq!(after, before, "{label}");
            }
        }
    }
    found
}

#[test]
fn who_read_the_original_sees_the_same_in_ours() {
    for path in DOCUMENTS {
        let original = real::read(path);
        let listed: usize =
            Family::ALL.iter().map(|family| seen(&parse::products(&original).unwrap(), *family).len()).sum();
        assert!(listed > 0, "{path} lists nothing");
        let named = EXCEPTIONS.iter().filter(|(of, ..)| *of == path);
        let named = named.map(|(_, key, before, after)| ((*key).into(), (*before).into(), (*after).into())).collect();
        assert_eq!(differences(&original, path), named, "{path}");
    }
}

#[test]
fn whom_upstream_lists_an_image_to_is_whom_we_list_it_to() {
    let original = every_way();
    let document = parse::products(&original).unwrap();
    assert_eq!(Family::ALL.map(|family| seen(&document, family).len()), [7, 7, 14]);
    assert_eq!(differences(&original, "every way"), BTreeSet::new());
}

/// The images by the first two digits of their fingerprints.
fn images(products: &[Product]) -> BTreeMap<String, &Image> {
    let images = products.iter().flat_map(|product| &product.versions).flat_map(|version| &version.images);
    images.map(|image| (image.fingerprint.to_string()[..2].to_owned(), image)).collect()
}

#[test]
fn images_say_whom_they_are_for() {
    let products = taken_in(&parse::products(&every_way()).unwrap());
    let images = images(&products);
    let of = |family: Option<&str>| {
        let of = images.iter().filter(|(_, image)| image.property(item::FAMILIES) == family);
        of.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(None), ["a1"], "the same bytes for both");
    assert_eq!(of(Some("lxd")), ["31", "a2", "b1", "b2", "d1", "e1"]);
    assert_eq!(of(Some("incus")), ["32", "43", "b3", "b4", "c1", "f1"]);
    // A document that was read for one family says nothing of the other.
    for family in [Family::Lxd, Family::Incus] {
        let products = convert::products(&parse::products(&every_way()).unwrap(), family, Timestamp::EPOCH);
        let images = products.iter().flat_map(|product| &product.versions).flat_map(|version| &version.images);
        assert!(images.clone().count() == 7 && images.clone().all(|image| item::families(image) == Family::Any));
    }
}

#[test]
fn what_is_said_of_products_and_versions_comes_along() {
    let products = taken_in(&parse::products(&every_way()).unwrap());
    let debian = products.iter().find(|product| product.key == "debian:12:amd64:default").unwrap();
    for image in debian.versions.iter().flat_map(|version| &version.images) {
        assert_eq!(image.property("release_title"), Some("Bookworm"));
        assert_eq!(image.property("release_codename"), Some("bookworm"));
        assert_eq!(image.property("version"), Some("12"));
    }
    assert_eq!(images(&products)["e1"].property("release_codename"), None, "nothing is said of it");
    let text = render::products(&products, Family::Incus, Timestamp::EPOCH);
    let written: Value = serde_json::from_slice(&text).unwrap();
    let product = &written["products"]["debian:12:amd64:default"];
    for (key, value) in [
        ("release_title", Value::from("Bookworm")),
        ("release_codename", "bookworm".into()),
        ("version", "12".into()),
        ("support_eol", "2028-06-30".into()),
        ("supported", true.into()),
        ("distro", "debian".into()),
        ("requirements", serde_json::json!({"secureboot": "false"})),
        ("aliases", "debian/12,debian/bookworm".into()),
    ] {
        assert_eq!(product[key], value, "{key}");
    }
    let version = &product["versions"]["20240101"];
    let said = ["label", "pubname", "build"].map(|key| &version[key]);
    assert_eq!(said, [&Value::from("release"), &"debian-12".into(), &7.into()]);
}

#[test]
fn requirements_of_both_families_stand_beside_one_another() {
    let products = taken_in(&parse::products(&every_way()).unwrap());
    let written = |family| -> Value {
        let text = render::products(&products, family, Timestamp::EPOCH);
        serde_json::from_slice::<Value>(&text).unwrap()["products"]["debian:12:arm64:default"].take()
    };
    let none = serde_json::json!({});
    let cgroup = serde_json::json!({"cgroup": "v1"});
    let of = |product: &Value| ["requirements", "lxd_requirements"].map(|key| product.get(key).cloned());
    assert_eq!(of(&written(Family::Any)), [Some(cgroup.clone()), Some(none)]);
    assert_eq!(of(&written(Family::Incus)), [Some(cgroup), None]);
    assert_eq!(of(&written(Family::Lxd)), [None, None]);
}

/// What [`convert::LOSSES`] says of an image that both are listed.
#[test]
fn an_image_for_both_has_the_requirements_that_lxd_sees() {
    let mut document = parse::products(&every_way()).unwrap();
    let product = document.products.get_mut("debian:12:amd64:default").unwrap();
    product.lxd_requirements = Some([("cgroup".to_owned(), "v2".to_owned())].into());
    let products = taken_in(&document);
    let images = images(&products);
    let requirements = |name: &str| {
        let image = images[name].properties.iter();
        image.filter(|(key, _)| key.starts_with("requirements.")).map(|(key, _)| key.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(requirements("a1"), ["requirements.cgroup"]);
    assert_eq!(requirements("b1"), ["requirements.cgroup"]);
    assert_eq!(requirements("b3"), ["requirements.secureboot"]);
}

#[test]
fn of_disks_that_exclude_one_another_the_one_that_clients_prefer_is_taken() {
    let mut document = parse::products(&every_way()).unwrap();
    let version = document.products.get_mut("debian:12:amd64:default").unwrap().versions.get_mut("20240101").unwrap();
    let disk = version.items["disk"].clone();
    for (name, kind, hash) in [("a", "disk1.img", parse::Combined::Disk1), ("b", "uefi1.img", parse::Combined::Uefi1)] {
        version.items.insert(name.into(), parse::ItemEntry { ftype: kind.into(), ..disk.clone() });
        let fingerprint = Fingerprint::from_bytes([name.as_bytes()[0]; 32]);
        version.items.get_mut("lxd.tar.xz").unwrap().combined.insert(hash, fingerprint);
    }
    let taken = |document: &parse::Document| {
        let products = taken_in(document);
        let debian = products.into_iter().find(|product| product.key == "debian:12:amd64:default").unwrap();
        let images = debian.versions[0].images.clone().into_iter();
        let machine = |image: &Image| image.image_type == ImageType::VirtualMachine;
        images.filter(machine).map(|image| image.properties["type"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(taken(&document), ["disk-kvm.img"]);
    let version = document.products.get_mut("debian:12:amd64:default").unwrap().versions.get_mut("20240101").unwrap();
    version.items.remove("disk");
    assert_eq!(taken(&document), ["uefi1.img"]);
}
