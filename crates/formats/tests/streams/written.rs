//! The exact bytes of what is written.

use std::collections::{BTreeMap, HashSet};

use headwater_formats::alias;
use headwater_formats::arch::Architecture;
use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::image::{FileFormat, Image, ImageFile, ImageFiles, ImageType};
use headwater_formats::names::VersionName;
use headwater_formats::product::{Delta, Line, Product, Version};
use headwater_formats::simplestreams::delta::Clients;
use headwater_formats::simplestreams::render::{Draft, FilesAt};
use headwater_formats::simplestreams::{Deltas, Family, convert, go, item, parse, render};
use headwater_formats::timestamp::Timestamp;
use headwater_formats::view::View;
use serde_json::Value;

fn file(byte: u8, size: u64, extension: &str) -> ImageFile {
    ImageFile { digest: Digest::from_bytes([byte; 32]), size, format: FileFormat::from_extension(extension).unwrap() }
}

fn image(fingerprint: u8, image_type: ImageType, files: ImageFiles) -> Image {
    Image {
        fingerprint: Fingerprint::from_bytes([fingerprint; 32]),
        image_type,
        architecture: Architecture::X86_64,
        files,
        filename: "meta.tar.xz".into(),
        created_at: Timestamp::EPOCH,
        uploaded_at: Timestamp::EPOCH,
        public: true,
        expires_at: None,
        last_used_at: None,
        auto_update: false,
        properties: [("requirements.secureboot".to_owned(), "false".to_owned())].into(),
        profiles: Vec::new(),
        update_source: None,
    }
}

/// Debian 12 with one version: a container and a virtual machine with the same metadata file.
fn debian() -> Product {
    let line = Line {
        os: "Debian".into(),
        release: "12".into(),
        variant: "default".into(),
        architecture: Architecture::X86_64,
    };
    let metadata = file(0x01, 812, "tar.xz");
    Product {
        key: line.key(),
        aliases: alias::generated(&line, None, None),
        line,
        release_title: None,
        release_codename: None,
        version: None,
        extra: BTreeMap::new(),
        versions: vec![Version {
            name: VersionName::new("20240103_07:42").unwrap(),
            extra: BTreeMap::new(),
            deltas: Vec::new(),
            images: vec![
                image(
                    0x22,
                    ImageType::VirtualMachine,
                    ImageFiles::Split { metadata, root: file(0x03, 692_434_944, "qcow2") },
                ),
                image(
                    0x11,
                    ImageType::Container,
                    ImageFiles::Split { metadata, root: file(0x02, 134_660_096, "squashfs") },
                ),
            ],
        }],
    }
}

fn at() -> Timestamp {
    Timestamp::parse_rfc3339("2024-01-03T07:42:00Z").unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// The text without its ends of lines, which mean nothing.
fn on_one_line(bytes: Vec<u8>) -> String {
    text(bytes).replace('\n', "")
}

const META: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const SQUASHFS: &str = "0202020202020202020202020202020202020202020202020202020202020202";
const DISK: &str = "0303030303030303030303030303030303030303030303030303030303030303";
const CONTAINER: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const MACHINE: &str = "2222222222222222222222222222222222222222222222222222222222222222";

fn metadata_item(ftype: &str) -> String {
    format!(
        r#""{ftype}":{{"ftype":"{ftype}","path":"images/{META}.tar.xz","size":812,"sha256":"{META}","combined_squashfs_sha256":"{CONTAINER}","combined_disk-kvm-img_sha256":"{MACHINE}"}}"#
    )
}

fn expected(requirements: &str, metadata: &[&str]) -> String {
    let disk = format!(
        r#""disk.qcow2":{{"ftype":"disk-kvm.img","path":"images/{DISK}.qcow2","size":692434944,"sha256":"{DISK}"}}"#
    );
    let root = format!(
        r#""root.squashfs":{{"ftype":"squashfs","path":"images/{SQUASHFS}.squashfs","size":134660096,"sha256":"{SQUASHFS}"}}"#
    );
    let mut items = vec![disk];
    items.extend(metadata.iter().map(|ftype| metadata_item(ftype)));
    items.push(root);
    format!(
        concat!(
            r#"{{"content_id":"images","datatype":"image-downloads","format":"products:1.0","#,
            r#""updated":"Wed, 03 Jan 2024 07:42:00 +0000","products":{{"debian:12:amd64:default":{{"#,
            r#""aliases":"debian/12/default,debian/12,debian/bookworm/default,debian/bookworm","arch":"amd64","os":"Debian","#,
            r#""release":"12","release_title":"12","variant":"default",{},"#,
            r#""versions":{{"20240103_07:42":{{"items":{{{}}}}}}}}}}}}}"#
        ),
        requirements,
        items.join(",")
    )
}

const BOTH: &str = r#""requirements":{"secureboot":"false"},"lxd_requirements":{"secureboot":"false"}"#;

#[test]
fn each_family_gets_its_own_document() {
    let document = |family| on_one_line(render::products([debian()], family, at()));
    assert_eq!(document(Family::Lxd), expected(BOTH, &["lxd.tar.xz"]));
    assert_eq!(document(Family::Incus), expected(r#""requirements":{"secureboot":"false"}"#, &["incus.tar.xz"]));
    assert_eq!(document(Family::Any), expected(BOTH, &["incus.tar.xz", "lxd.tar.xz"]));
}

#[test]
fn the_index_names_the_products() {
    assert_eq!(
        on_one_line(render::index(["debian:12:amd64:default", "x\"y"], at())),
        concat!(
            r#"{"format":"index:1.0","updated":"Wed, 03 Jan 2024 07:42:00 +0000","index":{"images":{"datatype":"#,
            r#""image-downloads","format":"products:1.0","path":"streams/v1/images.json","#,
            r#""updated":"Wed, 03 Jan 2024 07:42:00 +0000","products":["debian:12:amd64:default","x\"y"]}}}"#
        )
    );
    assert_eq!(
        text(render::index([], at())),
        r#"{"format":"index:1.0","updated":"Wed, 03 Jan 2024 07:42:00 +0000","index":{}}"#
    );
}

/// What gpg and gpgv do not see of a line is not checked by them, and other programs disagree about what a line is.
#[test]
fn every_line_is_one_that_can_be_signed() {
    let mut large = debian();
    large.extra.insert(
        "upstream".into(),
        serde_json::json!({"n": [-1, -2], "text": "a\n- b \r\n", "ends": "é\u{2028}\u{85}x\u{2029}"}),
    );
    large.key = "a\u{2028}b".into();
    for n in 0..200_u32 {
        let mut version = large.versions[0].clone();
        version.name = VersionName::new(format!("20250101_{:02}:{:02}", n / 60, n % 60)).unwrap();
        for image in &mut version.images {
            let mut bytes = *image.fingerprint.as_bytes();
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            image.fingerprint = Fingerprint::from_bytes(bytes);
        }
        large.versions.push(version);
    }
    for family in Family::ALL {
        let document = text(render::products([&large, &large, &debian()], family, at()));
        assert!(document.len() > 100_000, "{}", document.len());
        let read = serde_json::from_str::<Value>(&document).unwrap();
        assert_eq!(read["products"]["a\u{2028}b"]["upstream"], large.extra["upstream"]);
        assert!(!document.contains(['\u{85}', '\u{2028}', '\u{2029}']), "Python takes these for ends of lines");
        let longest = document.lines().map(str::len).max().unwrap();
        assert!(longest < 1000, "{longest}");
        for line in document.lines() {
            assert!(line.starts_with(['{', '"']) && line.ends_with(['{', ',', '}']), "{line:?}");
        }
    }
    let keys: Vec<String> = (0..1000).map(|n| format!("debian:{n}:amd64:default")).collect();
    let index = text(render::index(keys.iter().map(String::as_str), at()));
    assert_eq!(index.lines().count(), 1000);
    assert!(index.lines().all(|line| line.len() < 1000 && line.starts_with(['{', '"']) && line.ends_with([',', '}'])));
}

#[test]
fn the_index_that_is_signed_names_the_products_document_that_is_signed() {
    let keys = ["\"path\":\"streams/v1/images.json\"", "streams/v1/images.json"];
    let plain = render::index(keys, at());
    let mut wanted: Value = serde_json::from_slice(&plain).unwrap();
    wanted["index"]["images"]["path"] = "streams/v1/images.sjson".into();
    let signed = render::signed_index(&plain);
    assert_eq!(serde_json::from_slice::<Value>(&signed).unwrap(), wanted);
    assert_eq!(signed.len(), plain.len() + 1);
    let empty = render::index([], at());
    assert_eq!(render::signed_index(&empty), empty);
}

#[test]
fn a_document_is_its_fragments() {
    let mut other = debian();
    other.key = "other".into();
    for image in &mut other.versions[0].images {
        image.fingerprint = Fingerprint::from_bytes([image.fingerprint.as_bytes()[0] + 1; 32]);
    }
    let products = [debian(), other];
    for family in Family::ALL {
        let mut seen = HashSet::new();
        let mut joined = Draft::plain(render::document_head(at()));
        for (position, product) in products.iter().enumerate() {
            if position > 0 {
                joined.push(render::DOCUMENT_SEPARATOR);
            }
            joined.append(&render::product_fragment(product, family, &mut seen).unwrap());
        }
        joined.push(render::DOCUMENT_TAIL);
        assert_eq!(text(joined.placed(&FilesAt::IMAGES)), text(render::products(&products, family, at())));
    }
}

#[test]
fn files_lie_where_the_reader_may_get_them_and_nothing_else_changes() {
    // What an upstream calls `path`, and a key that looks like the place of a file, stay as they are.
    let mut product = debian();
    product.extra.insert("upstream".into(), serde_json::json!({"path": "images/x.squashfs"}));
    product.key = "\"path\":\"images/:é".into();
    let place = FilesAt::above(2, "abc-9").unwrap();
    assert_eq!(place.as_str(), "../../f/abc-9/");
    for family in Family::ALL {
        let draft = render::product_fragment(&product, family, &mut HashSet::new()).unwrap();
        let read =
            |files: &FilesAt| -> Value { serde_json::from_str(&format!("{{{}}}", text(draft.placed(files)))).unwrap() };
        let (mut moved, usual) = (read(&place), read(&FilesAt::IMAGES));
        let mut files = 0;
        for version in moved[&product.key]["versions"].as_object_mut().unwrap().values_mut() {
            for item in version["items"].as_object_mut().unwrap().values_mut() {
                let name = item["path"].as_str().unwrap().strip_prefix("../../f/abc-9/").unwrap().to_owned();
                item["path"] = format!("images/{name}").into();
                files += 1;
            }
        }
        assert!(files > 1);
        assert_eq!(moved, usual);
    }
}

#[test]
fn a_grant_that_json_or_a_path_could_misread_is_none() {
    for grant in ["", "a/b", "a\"b", "a\\b", "a b", "..", "a%2f", "é"] {
        assert_eq!(FilesAt::above(1, grant), None, "{grant}");
    }
}

#[test]
fn requirements_are_left_out_when_there_are_none() {
    let mut product = debian();
    for image in &mut product.versions[0].images {
        image.properties.clear();
    }
    let document = text(render::products([product], Family::Lxd, at()));
    assert!(!document.contains("requirements"), "an empty lxd_requirements would hide requirements: {document}");
}

#[test]
fn the_product_ends_when_its_last_image_does() {
    let eol = |days: [Option<&str>; 2]| {
        let mut product = debian();
        for (image, day) in product.versions[0].images.iter_mut().zip(days) {
            image.expires_at = day.map(|day| Timestamp::parse_date(day).unwrap());
        }
        let document: serde_json::Value =
            serde_json::from_slice(&render::products([product], Family::Lxd, at())).unwrap();
        document["products"]["debian:12:amd64:default"]["support_eol"].as_str().map(str::to_owned)
    };
    assert_eq!(eol([Some("2026-06-10"), Some("2028-06-30")]).as_deref(), Some("2028-06-30"));
    assert_eq!(eol([Some("2026-06-10"), None]), None);
    assert_eq!(eol([Some("2026-06-10"), Some("1970-01-01")]), None);
}

#[test]
fn images_with_their_own_metadata_get_their_own_items() {
    let mut product = debian();
    if let ImageFiles::Split { metadata, .. } = &mut product.versions[0].images[0].files {
        *metadata = file(0x09, 900, "tar.zst");
    }
    let document: serde_json::Value = serde_json::from_slice(&render::products([product], Family::Any, at())).unwrap();
    let items = &document["products"]["debian:12:amd64:default"]["versions"]["20240103_07:42"]["items"];
    let keys: Vec<&String> = items.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["disk.qcow2", "incus-2.tar.xz", "incus.tar.xz", "lxd-2.tar.xz", "lxd.tar.xz", "root.squashfs"]);
    assert_eq!(items["lxd.tar.xz"]["combined_squashfs_sha256"], CONTAINER);
    assert_eq!(items["lxd.tar.xz"].get("combined_disk-kvm-img_sha256"), None);
    assert_eq!(items["lxd-2.tar.xz"]["combined_disk-kvm-img_sha256"], MACHINE);
    assert_eq!(items["lxd-2.tar.xz"]["ftype"], "lxd.tar.xz");
    assert_eq!(items["lxd-2.tar.xz"].get("combined_squashfs_sha256"), None);
}

#[test]
fn upstreams_fields_come_out_again_but_never_in_the_place_of_ours() {
    let mut product = debian();
    product.extra = [
        ("distro", serde_json::json!("debian")),
        ("hidden", serde_json::json!({"a": [1, 2]})),
        ("os", serde_json::json!(1)),
        ("Aliases", serde_json::json!(["x"])),
        ("ver\u{17f}ions", serde_json::json!([])),
        ("support_eol", serde_json::json!("2030-01-01")),
        ("supported", serde_json::json!(true)),
        ("Supported", serde_json::json!("yes")),
        ("label", serde_json::json!("beta")),
        ("sha512", serde_json::json!("00")),
        ("ftype", serde_json::json!("squashfs")),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    product.versions[0].extra = [
        ("label", serde_json::json!("release")),
        ("pubname", serde_json::json!(7)),
        ("build", serde_json::json!("server")),
        ("Items", serde_json::json!([])),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    let document: serde_json::Value =
        serde_json::from_slice(&render::products([product], Family::Incus, at())).unwrap();
    let product = &document["products"]["debian:12:amd64:default"];
    let keys: Vec<&String> = product.as_object().unwrap().keys().collect();
    let expected = [
        "aliases",
        "arch",
        "distro",
        "hidden",
        "os",
        "release",
        "release_title",
        "requirements",
        "supported",
        "variant",
        "versions",
    ];
    assert_eq!(keys, expected);
    assert_eq!((&product["os"], &product["supported"]), (&"Debian".into(), &true.into()));
    let version = &product["versions"]["20240103_07:42"];
    let keys: Vec<&String> = version.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["build", "items", "label"]);
}

#[test]
fn a_unified_container_is_one_item_for_each_client() {
    let mut product = debian();
    product.versions[0].images =
        vec![image(0x05, ImageType::Container, ImageFiles::Unified(file(0x05, 1234, "tar.zst")))];
    let document: serde_json::Value = serde_json::from_slice(&render::products([&product], Family::Any, at())).unwrap();
    let items = &document["products"]["debian:12:amd64:default"]["versions"]["20240103_07:42"]["items"];
    for ftype in ["lxd_combined.tar.gz", "incus_combined.tar.gz"] {
        assert_eq!(
            items[ftype],
            serde_json::json!({
                "ftype": ftype,
                "path": format!("images/{}.tar.zst", "05".repeat(32)),
                "size": 1234,
                "sha256": "05".repeat(32),
            })
        );
    }
    assert_eq!(items.as_object().unwrap().len(), 2);
}

#[test]
fn what_cannot_be_listed_leaves_no_trace() {
    let mut product = debian();
    product.versions[0].images =
        vec![image(0x05, ImageType::VirtualMachine, ImageFiles::Unified(file(0x05, 1234, "tar.gz")))];
    assert!(Family::ALL.iter().all(|family| !render::lists_something(&product, *family)));
    assert_eq!(render::product_fragment(&product, Family::Lxd, &mut HashSet::new()), None);
    assert!(text(render::products([product], Family::Lxd, at())).ends_with(r#""products":{}}"#));
}

/// Two versions of Debian 12, and deltas between their root files.
fn debian_twice() -> Product {
    let mut product = debian();
    let mut newer = product.versions[0].clone();
    newer.name = VersionName::new("20240104_07:42").unwrap();
    newer.images = vec![
        image(
            0x44,
            ImageType::VirtualMachine,
            ImageFiles::Split { metadata: file(0x04, 812, "tar.xz"), root: file(0x06, 692_434_944, "qcow2") },
        ),
        image(
            0x33,
            ImageType::Container,
            ImageFiles::Split { metadata: file(0x04, 812, "tar.xz"), root: file(0x05, 134_660_096, "squashfs") },
        ),
    ];
    let delta = |target: u8, base: u8, bytes: u8| Delta {
        target: Digest::from_bytes([target; 32]),
        base: Digest::from_bytes([base; 32]),
        file: file(bytes, 1_234, "vcdiff"),
        clients: 0,
    };
    newer.deltas = vec![delta(0x05, 0x02, 0x77), delta(0x06, 0x03, 0x88)];
    product.versions.push(newer);
    product
}

#[test]
fn a_delta_stands_beside_the_file_that_comes_out_of_it() {
    let clients = |family, deltas| Clients { family, deltas, bases: &[] };
    let product = debian_twice();
    let of = |byte: u8| Digest::from_bytes([byte; 32]).to_string();
    let item = |stem: &str, ftype: &str, bytes: u8| {
        let digest = of(bytes);
        format!(
            r#""{stem}.20240103_07:42.vcdiff":{{"ftype":"{ftype}.vcdiff","path":"images/{digest}.vcdiff","size":1234,"sha256":"{digest}","delta_base":"20240103_07:42"}}"#
        )
    };
    let (root, disk) = (item("root", "squashfs", 0x77), item("disk", "disk-kvm.img", 0x88));
    for family in Family::ALL {
        for deltas in [Deltas::Squashfs, Deltas::Disks] {
            let clients = clients(family, deltas);
            let bytes = render::products([&product], clients, at());
            let document = on_one_line(bytes.clone());
            assert!(document.contains(&root), "{document}");
            assert_eq!(document.contains(&disk), deltas == Deltas::Disks, "{document}");
            assert_eq!(document.matches(".vcdiff\":{").count(), if deltas == Deltas::Disks { 2 } else { 1 });
            let named = render::listed_deltas(&product, clients);
            assert_eq!(named, product.versions[1].deltas[..named.len()]);
            assert_eq!(named.len(), if deltas == Deltas::Disks { 2 } else { 1 });
            // Who reads it sees the same images as without.
            let read = go::products(&bytes).unwrap();
            let item = &read.products["debian:12:amd64:default"].versions["20240104_07:42"].items["root.20240103_07:42.vcdiff"];
            assert_eq!((item.ftype.as_str(), item.delta_base.as_str()), ("squashfs.vcdiff", "20240103_07:42"));
            let parsed = parse::products(&bytes).unwrap();
            let mut without = product.clone();
            without.versions[1].deltas.clear();
            let plain = parse::products(&render::products([&without], clients, at())).unwrap();
            let listed = |document| convert::products(document, Family::Lxd, at());
            assert_eq!(listed(&parsed), listed(&plain));
            let placed = FilesAt::above(2, "grant").unwrap();
            let fragment = render::product_fragment(&product, clients, &mut HashSet::new()).unwrap();
            let text = text(fragment.placed(&placed));
            assert!(text.contains(&format!(r#""path":"../../f/grant/{}.vcdiff""#, of(0x77))), "{text}");
        }
    }
}

#[test]
fn a_delta_goes_with_the_version_of_its_base() {
    for view in ["latest=1", "type=vm"] {
        let narrowed = view.parse::<View>().unwrap().narrow(debian_twice()).unwrap();
        assert_eq!(render::listed_deltas(&narrowed, Family::Lxd), []);
        assert!(!text(render::products([narrowed], Family::Lxd, at())).contains("vcdiff"), "{view}");
    }
    let mut swapped = debian_twice();
    let deltas = std::mem::take(&mut swapped.versions[1].deltas);
    swapped.versions[0].deltas = deltas;
    assert_eq!(render::listed_deltas(&swapped, Family::Lxd), [], "they make files of another version");
    let mut twice = debian_twice();
    let more =
        Delta { file: file(0x99, 5, "vcdiff"), base: Digest::from_bytes([0x0a; 32]), ..twice.versions[1].deltas[0] };
    twice.versions[1].deltas.push(Delta { clients: 100, ..more });
    let named = render::listed_deltas(&twice, Family::Incus);
    assert_eq!(named, twice.versions[1].deltas[..1], "no list has the other's base, however many hold it");
}

/// The image, for the clients of one family alone.
fn only(family: &str, mut image: Image) -> Image {
    image.properties.insert(item::FAMILIES.to_owned(), family.to_owned());
    image
}

/// The keys of the items of a version of Debian 12, and what its metadata items make of the squashfs and the disk.
fn items(product: &Product, family: Family, version: &str) -> Vec<String> {
    let document: Value = serde_json::from_slice(&render::products([product], family, at())).unwrap();
    let items = &document["products"]["debian:12:amd64:default"]["versions"][version]["items"];
    let of = |item: &Value, hash: &str| item[hash].as_str().map(|hash| format!(" {}", &hash[..2])).unwrap_or_default();
    let items = items.as_object().into_iter().flatten().map(|(key, item)| {
        let (squashfs, disk) = (of(item, "combined_squashfs_sha256"), of(item, "combined_disk-kvm-img_sha256"));
        format!("{key}{squashfs}{disk}")
    });
    items.collect()
}

#[test]
fn an_image_for_one_family_is_named_by_the_items_of_that_family_alone() {
    let mut product = debian();
    let machine = product.versions[0].images[0].clone();
    product.versions[0].images[0] = only("lxd", machine);
    let version = "20240103_07:42";
    assert_eq!(items(&product, Family::Lxd, version), ["disk.qcow2", "lxd.tar.xz 11 22", "root.squashfs"]);
    assert_eq!(items(&product, Family::Incus, version), ["incus.tar.xz 11", "root.squashfs"]);
    assert_eq!(
        items(&product, Family::Any, version),
        ["disk.qcow2", "incus.tar.xz 11", "lxd.tar.xz 11 22", "root.squashfs"]
    );
}

#[test]
fn one_root_file_has_a_metadata_item_for_each_family() {
    let mut product = debian();
    let container = product.versions[0].images[1].clone();
    let ImageFiles::Split { root, .. } = container.files else { panic!("it is split") };
    let files = ImageFiles::Split { metadata: file(0x09, 900, "tar.xz"), root };
    product.versions[0].images = vec![only("lxd", container), only("incus", image(0x33, ImageType::Container, files))];
    let version = "20240103_07:42";
    assert_eq!(items(&product, Family::Lxd, version), ["lxd.tar.xz 11", "root.squashfs"]);
    assert_eq!(items(&product, Family::Incus, version), ["incus.tar.xz 33", "root.squashfs"]);
    assert_eq!(items(&product, Family::Any, version), ["incus.tar.xz 33", "lxd.tar.xz 11", "root.squashfs"]);
    let unified = |number: u8| image(number, ImageType::Container, ImageFiles::Unified(file(number, 9, "tar.gz")));
    product.versions[0].images = vec![only("lxd", unified(0x05)), only("incus", unified(0x06))];
    assert_eq!(items(&product, Family::Lxd, version), ["lxd_combined.tar.gz"]);
    assert_eq!(items(&product, Family::Incus, version), ["incus_combined.tar.gz"]);
    let document = text(render::products([&product], Family::Any, at()));
    for (ftype, byte) in [("lxd_combined.tar.gz", "05"), ("incus_combined.tar.gz", "06")] {
        let item = format!(r#""ftype":"{ftype}","path":"images/{}.tar.gz""#, byte.repeat(32));
        assert!(document.contains(&item), "{document}");
    }
}

#[test]
fn versions_and_products_of_which_others_are_listed_everything_are_left_out() {
    let mut product = debian_twice();
    for image in &mut product.versions[1].images {
        *image = only("incus", image.clone());
    }
    let versions = |product: &Product, family| {
        let text = render::products([product], family, at());
        let products = go::products(&text).unwrap().products;
        products.values().flat_map(|product| product.versions.keys().cloned()).collect::<Vec<_>>()
    };
    assert_eq!(versions(&product, Family::Lxd), ["20240103_07:42"]);
    for family in [Family::Incus, Family::Any] {
        assert_eq!(versions(&product, family), ["20240103_07:42", "20240104_07:42"]);
    }
    product.versions.remove(0);
    assert!(!render::lists_something(&product, Family::Lxd));
    assert_eq!(render::product_fragment(&product, Family::Lxd, &mut HashSet::new()), None);
    assert!(text(render::products([&product], Family::Lxd, at())).ends_with(r#""products":{}}"#));
    assert!([Family::Incus, Family::Any].iter().all(|family| render::lists_something(&product, *family)));
}

#[test]
fn the_requirements_that_are_said_are_those_of_the_newest_version_that_they_are_listed() {
    let mut product = debian_twice();
    for image in &mut product.versions[1].images {
        *image = only("incus", image.clone());
        image.properties.remove("requirements.secureboot");
        image.properties.insert("requirements.cgroup".into(), "v2".into());
    }
    let said = |family| {
        let text = render::products([&product], family, at());
        let product = go::products(&text).unwrap().products["debian:12:amd64:default"].clone();
        let keys = |said: Option<BTreeMap<String, String>>| said.map(|said| said.into_keys().collect::<Vec<_>>());
        (keys(product.requirements), keys(product.lxd_requirements))
    };
    let (old, new) = (Some(vec!["secureboot".to_owned()]), Some(vec!["cgroup".to_owned()]));
    assert_eq!(said(Family::Lxd), (old.clone(), old.clone()));
    assert_eq!(said(Family::Incus), (new.clone(), None));
    assert_eq!(said(Family::Any), (new, old));
}

#[test]
fn a_delta_names_no_base_that_its_readers_are_not_listed() {
    let named = |product: &Product, family| {
        let deltas = render::listed_deltas(product, family);
        let document = text(render::products([product], family, at()));
        assert_eq!(document.matches(".vcdiff\":{").count(), deltas.len(), "{document}");
        deltas.len()
    };
    let mut product = debian_twice();
    let container = product.versions[0].images[1].clone();
    product.versions[0].images[1] = only("incus", container.clone());
    assert_eq!(Family::ALL.map(|family| named(&product, family)), [0, 1, 0]);
    // The same root file is in an image for LXD, too.
    let ImageFiles::Split { root, .. } = container.files else { panic!("it is split") };
    let files = ImageFiles::Split { metadata: file(0x09, 900, "tar.xz"), root };
    product.versions[0].images.push(only("lxd", image(0x55, ImageType::Container, files)));
    assert_eq!(Family::ALL.map(|family| named(&product, family)), [1, 1, 1]);
    // Two images with the root file that comes out: one delta.
    let container = product.versions[1].images[1].clone();
    let ImageFiles::Split { root, .. } = container.files else { panic!("it is split") };
    let files = ImageFiles::Split { metadata: file(0x0a, 901, "tar.xz"), root };
    product.versions[1].images[1] = only("incus", container);
    product.versions[1].images.push(only("lxd", image(0x66, ImageType::Container, files)));
    assert_eq!(Family::ALL.map(|family| named(&product, family)), [1, 1, 1]);
}
