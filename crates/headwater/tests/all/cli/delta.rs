//! `headwater delta …`

use super::kit::{House, Ran, Sample};
use crate::deltas::kit::{noise, squashfs, versions};

const SERIALS: [&str; 3] = ["20250101_07:42", "20250102_07:42", "20250103_07:42"];

/// Publishes a version with this root file; gives back its fingerprint.
fn publish(house: &House, day: usize, root: &[u8]) -> String {
    let metadata = Sample { serial: SERIALS[day - 1], ..Sample::default() }.metadata();
    let (metadata, root) = (house.file("metadata.tar", &metadata), house.file("root.squashfs", root));
    let ran = house.run(&["publish", &metadata, &root, "--public", "--format", "json"]);
    ran.json()["fingerprint"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_wanted_is_built_and_listed() {
    let house = House::new();
    let roots = versions(3);
    publish(&house, 1, &roots[0]);
    assert_eq!(house.run(&["delta", "build"]).ok().err, "there is nothing to build\n");
    assert_eq!(house.run(&["delta", "list", "--format", "csv"]).ok().out, "");
    let image = publish(&house, 2, &roots[1]);
    let ran = house.run(&["delta", "build"]).ok();
    let said = "debian:bookworm:amd64:default 20250102_07:42 from 20250101_07:42: 16.";
    assert!(ran.err.starts_with(said), "{}", ran.err);
    assert!(ran.err.contains("KiB, 7% of 260.00KiB\n1 delta is listed\n"), "{}", ran.err);
    assert_eq!(house.run(&["delta", "build"]).ok().err, "there is nothing to build\n");

    let json = house.run(&["delta", "list", "--format", "json"]).json();
    let (row, size) = (&json[0], json[0]["size"].as_u64().unwrap());
    assert_eq!(
        (&row["state"], &row["image"], &row["type"]),
        (&"ready".into(), &image.as_str().into(), &"container".into())
    );
    assert_eq!((&row["percent"], row["saved"].as_u64()), (&7.into(), Some(260 * 1024 - size)));
    let table = house.run(&["delta", "ls", "debian:bookworm:amd64:default"]).ok();
    let cells = &table.cells()[1];
    assert_eq!(cells[..5], ["debian:bookworm:amd64:default", "CONTAINER", "20250102_07:42", "20250101_07:42", "READY"]);
    assert_eq!((cells[6], cells[8], cells[9]), ("7%", "0", ""));
    assert_eq!(house.run(&["delta", "list", &image[..12], "--format", "csv"]).ok().out.lines().count(), 1);
    house
        .run(&["delta", "list", "debian:sid"])
        .fails(1, "there is no image \"debian:sid\"; `headwater image list` shows the ones there are");
    house.run(&["verify"]).ok();
}

#[test]
fn a_certain_pair_is_built_even_when_it_was_refused() {
    let house = House::new();
    let roots = versions(3);
    let images: Vec<String> = (1..=3).map(|day| publish(&house, day, &roots[day - 1])).collect();
    house.file("strict.toml", b"[deltas]\nlargest_percent = 1\n");
    let ran = house.run(&["delta", "build", "--config", "strict.toml"]).ok();
    let why = "it has 1% of the full file or more, which does not pay";
    let name = "debian:bookworm:amd64:default 20250103_07:42 from 20250102_07:42";
    assert_eq!(ran.err, format!("{name}: {why}\n1 does not pay\n"));
    let list = house.run(&["delta", "list", "--format", "csv"]).ok().out;
    assert_eq!(
        list,
        format!("debian:bookworm:amd64:default,CONTAINER,20250103_07:42,20250102_07:42,REFUSED,,,,0,\"{why}\"\n")
    );
    assert_eq!(house.run(&["delta", "build"]).ok().err, "there is nothing to build\n");
    let ran = house.run(&["delta", "build", &images[2]]).ok();
    assert!(ran.err.ends_with("1 delta is listed\n"), "{}", ran.err);
    let ran = house.run(&["delta", "build", &images[2], "--from", &images[0]]).ok();
    assert!(ran.err.ends_with("1 delta is listed\n"), "{}", ran.err);
    let again = house.run(&["delta", "build", &images[2], "--from", &images[0]]).ok();
    assert!(again.err.contains("is there already\nthere is nothing to build\n"), "{}", again.err);
    let short = |image: &str| image[..12].to_owned();
    house.run(&["delta", "build", &images[0], "--from", &images[2]]).fails(
        1,
        &format!("{} is not older than {}; a delta starts from an older version", short(&images[2]), short(&images[0])),
    );
    house.run(&["delta", "build", &images[0]]).fails(
        1,
        &format!(
            "there is no older version that a delta to {0} could start from; `headwater delta explain {0}` says more",
            short(&images[0])
        ),
    );
    let unified = house.publish(&Sample { release: "trixie", ..Sample::default() }, &[]);
    house.run(&["delta", "build", &unified]).fails(
        1,
        &format!("{} is one file with its metadata in it: deltas are between root files of their own", short(&unified)),
    );
    house.run(&["delta", "build", &images[1], "--from", &unified]).fails(
        1,
        &format!("{} is one file with its metadata in it: deltas are between root files of their own", short(&unified)),
    );
}

#[test]
fn bytes_that_are_not_what_they_should_be_are_an_error() {
    let house = House::new();
    for (number, root) in versions(2).iter().enumerate() {
        publish(&house, number + 1, root);
    }
    let base = house.run(&["image", "list", "--format", "json"]).json();
    assert_eq!(base.as_array().unwrap().len(), 2);
    let digest = super::kit::fingerprint(&[&versions(1)[0]]);
    let path = house.data().join("blobs/sha256").join(&digest[..2]).join(&digest);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let ran: Ran = house.run(&["delta", "build"]);
    assert_eq!(ran.code, Some(1));
    let why = "the base's bytes do not have the SHA-256 of its name; `headwater verify` says more";
    assert!(ran.err.ends_with(&format!("from 20250101_07:42: {why}\n")), "{}", ran.err);
    assert!(ran.err.contains("1 went wrong\nError: "), "{}", ran.err);
}

#[test]
fn it_is_explained_what_a_delta_saves_and_why_there_is_none() {
    let house = House::new();
    let shared = noise(9 << 20, 1);
    let mut large = squashfs(&[noise(1 << 20, 2), shared.clone()].concat());
    // Blocks of 1 MiB, and fragments.
    large[12..16].copy_from_slice(&(1u32 << 20).to_le_bytes());
    large[16..20].copy_from_slice(&3u32.to_le_bytes());
    large[20..22].copy_from_slice(&6u16.to_le_bytes());
    large[22..24].copy_from_slice(&20u16.to_le_bytes());
    let first = publish(&house, 1, &squashfs(&shared));
    let second = publish(&house, 2, &large);
    let explained = |image: &str| house.run(&["delta", "explain", image]).ok().out;
    let text = explained(&first);
    assert!(text.contains("Root file: squashfs, 9.00MiB, xz, blocks of 128.00KiB, without fragments\n"), "{text}");
    assert!(
        text.ends_with("No delta: there is no older version of the same type that a delta could start from\n"),
        "{text}"
    );
    let text = explained(&second);
    assert!(text.contains("Root file: squashfs, 10.00MiB, zstd, blocks of 1.00MiB, with fragments\n"), "{text}");
    assert!(text.contains("From 20250101_07:42: not asked for; by a sample, it would have about 1"), "{text}");
    assert!(text.contains("No delta: nobody has asked for one"), "{text}");
    assert!(
        text.contains("Packing: its blocks are larger than 128 KiB, and the ends of many files share blocks, so that"),
        "{text}"
    );
    assert!(text.contains("`headwater publish --repack`"), "{text}");
    house.run(&["delta", "build"]).ok();
    let text = explained(&second);
    assert!(text.contains("From 20250101_07:42: ready, 1.0") && text.contains("of the full file: saves "), "{text}");
    assert!(!text.contains("No delta"), "{text}");
    let json = house.run(&["delta", "explain", &second, "--from", &first, "--format", "json"]).json();
    assert_eq!((&json["deltas"][0]["state"], &json["root"]["block_size"]), (&"ready".into(), &(1 << 20).into()));
    assert!(json["advice"].is_string() && json["why"] == "");
    let unified = house.publish(&Sample { release: "trixie", ..Sample::default() }, &[]);
    assert!(explained(&unified).contains("No delta: "), "{}", explained(&unified));
}
