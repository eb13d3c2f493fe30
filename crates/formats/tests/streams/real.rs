//! Documents of real servers; `fixtures/streams/ORIGIN.md` says where each is from.

use std::fs;
use std::path::Path;

use headwater_formats::arch::Architecture;
use headwater_formats::image::ImageType;
use headwater_formats::simplestreams::client::{Listing, LookupError};
use headwater_formats::simplestreams::{Family, convert, go, parse};
use headwater_formats::timestamp::Timestamp;

pub(crate) fn read(path: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/streams").join(path)).unwrap()
}

fn document(path: &str) -> parse::Document {
    parse::products(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Products, versions and items of a document.
fn counts(document: &parse::Document) -> (usize, usize, usize) {
    let versions = || document.products.values().flat_map(|product| product.versions.values());
    (document.products.len(), versions().count(), versions().map(|version| version.items.len()).sum())
}

/// The beginnings of the fingerprints that a client sees, sorted.
fn fingerprints(document: &parse::Document, family: Family) -> Vec<String> {
    let mut all: Vec<String> =
        Listing::of([document], family).images.iter().map(|image| image.fingerprint.short()).collect();
    all.sort();
    all
}

#[test]
fn every_document_is_read_and_go_clients_take_them_too() {
    // Counted with a few lines of Python over the same files: products, versions, items; images for LXD and for Incus.
    for (path, expected, lxd, incus) in [
        ("archlinux-lx2160/streams/v1/images.json", (1, 1, 2), 0, 1),
        ("eduardotp1-openstack/images/streams/v1/com.ubuntu.cloud-released-imagemetadata.json", (2, 2, 2), 0, 0),
        ("eumel8-otc/streams/v1/com.ubuntu.cloud-released-otc.json", (2, 2, 2), 0, 0),
        ("eumel8-otc/streams/v1/com.ubuntu.cloud-released-otc.sjson", (2, 2, 2), 0, 0),
        ("kriszos-github-io/streams/v1/images.json", (20, 20, 40), 0, 20),
        ("linuxcontainers-excerpt-2023/streams/v1/images.json", (1, 2, 10), 6, 0),
        ("meigma-testdata/incus/products.json", (1, 1, 4), 1, 1),
        ("meigma-testdata/linuxcontainers/products.json", (1, 1, 2), 1, 0),
        ("meigma-testdata/lxd/products.json", (1, 1, 4), 2, 0),
        ("multipass-testdata/daily/daily_manifest.json", (1, 2, 2), 0, 0),
        ("multipass-testdata/good_manifest.json", (2, 2, 4), 1, 0),
        ("multipass-testdata/lxd_test_manifest.json", (2, 2, 4), 2, 0),
        ("multipass-testdata/releases/multiple_versions_manifest.json", (3, 5, 9), 0, 0),
        ("simplestreams-examples-cirros/streams/v1/net.cirros-cloud:devel:download.json", (3, 9, 33), 0, 0),
        ("simplestreams-examples-cirros/streams/v1/net.cirros-cloud:released:download.json", (3, 6, 22), 0, 0),
        ("simplestreams-examples-foocloud/streams/v1/com.example.foovendor:released:aws.json", (2, 6, 12), 0, 0),
        ("simplestreams-examples-foocloud/streams/v1/com.example.foovendor:released:download.json", (2, 7, 21), 0, 0),
        ("simplestreams-examples-minimal/streams/v1/download.json", (1, 1, 2), 0, 0),
    ] {
        let lenient = document(path);
        assert_eq!(counts(&lenient), expected, "{path}");
        assert_eq!(fingerprints(&lenient, Family::Lxd).len(), lxd, "{path}");
        assert_eq!(fingerprints(&lenient, Family::Incus).len(), incus, "{path}");
        let strict = go::products(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        for family in Family::ALL {
            assert_eq!(
                Listing::of([&strict.document()], family).images,
                Listing::of([&lenient], family).images,
                "{path}"
            );
        }
    }
}

#[test]
fn indexes_lead_to_the_documents_of_images() {
    let images: &[(&str, &[&str])] = &[
        ("archlinux-lx2160/streams/v1/index.json", &["streams/v1/images.json"]),
        ("kriszos-github-io/streams/v1/index.json", &["streams/v1/images.json"]),
        ("simplestreams-examples-minimal/streams/v1/index.json", &["streams/v1/download.json"]),
        (
            "simplestreams-examples-cirros/streams/v1/index.json",
            &["streams/v1/net.cirros-cloud:devel:download.json", "streams/v1/net.cirros-cloud:released:download.json"],
        ),
        (
            "simplestreams-examples-foocloud/streams/v1/index.json",
            &["streams/v1/com.example.foovendor:released:download.json"],
        ),
        ("eduardotp1-openstack/images/streams/v1/index.json", &[]),
        ("eumel8-otc/streams/v1/index.json", &[]),
        ("eumel8-otc/streams/v1/index.sjson", &[]),
    ];
    for (path, expected) in images {
        let index = parse::index(&read(path)).unwrap();
        let found: Vec<&str> = index.image_streams().map(|(_, path)| path.as_str()).collect();
        assert_eq!(found, *expected, "{path}");
        assert!(go::index(&read(path)).is_ok(), "{path}");
    }
}

#[test]
fn an_index_with_text_among_its_streams_is_read_where_go_clients_reject_it() {
    for (path, document) in [
        ("multipass-testdata/releases/streams/v1/index.json", "multiple_versions_manifest.json"),
        ("multipass-testdata/daily/streams/v1/index.json", "daily_manifest.json"),
    ] {
        let index = parse::index(&read(path)).unwrap();
        let found: Vec<&str> = index.image_streams().map(|(_, path)| path.as_str()).collect();
        assert_eq!(found, [document]);
        let refused = go::index(&read(path)).unwrap_err().to_string();
        assert!(refused.starts_with("LXD and Incus reject this document: invalid type: string"), "{refused}");
    }
}

#[test]
fn linuxcontainers_lists_three_images_to_a_version() {
    let document = document("linuxcontainers-excerpt-2023/streams/v1/images.json");
    assert_eq!(
        fingerprints(&document, Family::Lxd),
        ["058f3ce03787", "0b61d3b7c77c", "1c640ac8569c", "814f7012f561", "818eb16b6e7e", "ba9e7cc15c26"]
    );
    let listing = Listing::of([&document], Family::Lxd);
    let container = listing.resolve("almalinux/8/cloud", Architecture::X86_64, None).unwrap();
    assert_eq!((container.fingerprint.short().as_str(), container.kind), ("0b61d3b7c77c", "squashfs"));
    let vm =
        listing.resolve("almalinux/8/cloud/amd64", Architecture::Aarch64, Some(ImageType::VirtualMachine)).unwrap();
    assert_eq!((vm.fingerprint.short().as_str(), vm.kind), ("814f7012f561", "disk-kvm.img"));
    assert_eq!(container.properties["description"], "Almalinux 8 amd64 (20230422_23:27)");
    assert_eq!(container.properties["serial"], "20230422_23:27");
    assert_eq!(container.created_at, Timestamp::parse_date("2023-04-22").unwrap());
    assert_eq!(container.filename(), "lxd.tar.xz");

    let products = convert::products(&document, Family::Lxd, Timestamp::EPOCH);
    assert_eq!(products.len(), 1);
    assert_eq!(products[0].key, "almalinux:8:amd64:cloud");
    assert_eq!(products[0].aliases, ["almalinux/8/cloud"]);
    let images: Vec<usize> = products[0].versions.iter().map(|version| version.images.len()).collect();
    assert_eq!(images, [3, 3]);
}

#[test]
fn a_private_server_with_one_machine_to_a_product() {
    let document = document("kriszos-github-io/streams/v1/images.json");
    let listing = Listing::of([&document], Family::Incus);
    assert!(listing.images.iter().all(|image| image.image_type == ImageType::VirtualMachine));
    let image = listing.resolve("chr/7.20.4/cloud", Architecture::X86_64, None).unwrap();
    assert_eq!(image.fingerprint.short(), "7ea0b6756414");
    assert_eq!(image.size(), 300 + 45_416_448);
    let image = listing.resolve("chr/7.20.4/cloud", Architecture::Aarch64, None).unwrap();
    assert_eq!(image.fingerprint.short(), "4c6e704b3c26");
    assert_eq!(convert::products(&document, Family::Incus, Timestamp::EPOCH).len(), 20);
}

#[test]
fn a_hand_made_server_with_hashes_on_the_wrong_item() {
    let document = document("archlinux-lx2160/streams/v1/images.json");
    let listing = Listing::of([&document], Family::Incus);
    let image = listing.resolve("archlinux", Architecture::Aarch64, None).unwrap();
    assert_eq!((image.fingerprint.short().as_str(), image.kind), ("cdae01e6bed0", "root.tar.xz"));
    assert!(listing.resolve("archlinux", Architecture::Aarch64, Some(ImageType::VirtualMachine)).is_none());
}

#[test]
fn ubuntu_lists_disks_by_an_older_name() {
    let document = document("multipass-testdata/lxd_test_manifest.json");
    let listing = Listing::of([&document], Family::Lxd);
    let image = listing.resolve("xenial", Architecture::X86_64, None).unwrap();
    assert_eq!((image.kind, image.image_type), ("disk1.img", ImageType::VirtualMachine));
    assert_eq!(image.expires_at, Timestamp::parse_date("2021-04-21"));
    assert_eq!(image.properties["label"], "release");
    assert_eq!(image.properties["description"], "ubuntu 16.04 LTS amd64 (release) (20170516)");
    // Two images of this file share their first 28 characters.
    assert_eq!(listing.find(&"09d24fab15c6".parse().unwrap()), Err(LookupError::Ambiguous));
    assert_eq!(listing.find(&"09d24fab15c6e1c86a47d3de2e7f".parse().unwrap()), Ok(image));
    assert_eq!(listing.find(&"ffff".parse().unwrap()), Err(LookupError::Missing));
    // Fields that only some clients know are kept for giving them out again.
    let products = convert::products(&document, Family::Lxd, Timestamp::EPOCH);
    assert_eq!(products[0].release_codename.as_deref(), Some("Xenial Xerus"));
    assert_eq!(products[0].extra["supported"], true);
    assert_eq!(products[0].versions[0].extra["pubname"], "ubuntu-xenial-16.04-amd64-server-20170516");
}

#[test]
fn three_dialects_of_one_release() {
    let both = document("meigma-testdata/incus/products.json");
    assert_eq!(fingerprints(&both, Family::Lxd), ["7f23d644c828"]);
    assert_eq!(fingerprints(&both, Family::Incus), ["7f23d644c828"]);
    // A client that reads the items of both sees the image twice, and then refuses it.
    let twice = Listing::of([&both], Family::Any);
    assert_eq!(twice.images.len(), 2);
    assert_eq!(twice.find(&twice.images[0].fingerprint.into()), Err(LookupError::Ambiguous));
    assert_eq!(
        fingerprints(&document("meigma-testdata/lxd/products.json"), Family::Lxd),
        ["307028f999c8", "cfc89fd421b1"]
    );
    let empty = document("meigma-testdata/linuxcontainers/products.json");
    let image = &Listing::of([&empty], Family::Lxd).images[0];
    assert!(image.properties.keys().all(|key| !key.starts_with("requirements.")));
}

/// A document as a whole, and each of its products as if it were alone in it, however the text is laid out.
#[test]
fn documents_read_product_by_product_are_the_same() {
    let mut read_some = 0;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/streams");
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read(&path).unwrap();
            let Ok(tree) = serde_json::from_slice::<serde_json::Value>(&text) else { continue };
            let Ok(document) = parse::products(&text) else { continue };
            read_some += usize::from(!document.products.is_empty());
            let mut products = parse::Products::read(&text).unwrap();
            let head = parse::Document { products: Default::default(), ..document.clone() };
            assert_eq!(*products.head(), head, "{path:?}");
            let one_by_one: Vec<_> = products.by_ref().map(Result::unwrap).collect();
            assert!(one_by_one.iter().is_sorted_by_key(|(key, _)| key), "{path:?}");
            assert_eq!(one_by_one.into_iter().collect::<std::collections::BTreeMap<_, _>>(), document.products);
            for text in [tree.to_string(), serde_json::to_string_pretty(&tree).unwrap()] {
                assert_eq!(parse::products(text.as_bytes()).unwrap(), document, "{path:?}");
            }
            for (key, product) in &document.products {
                let mut alone = tree.clone();
                let all = alone["products"].as_object_mut().unwrap();
                all.retain(|other, _| other == key);
                let alone = parse::products(alone.to_string().as_bytes()).unwrap();
                assert_eq!(alone.products.values().collect::<Vec<_>>(), [product], "{path:?}: {key}");
            }
        }
    }
    assert!(read_some > 15, "{read_some}");
}
