//! `headwater verify`

use std::path::{Path, PathBuf};

use headwater_formats::image::{FileFormat, ImageFile};
use headwater_formats::timestamp::Timestamp;

use super::kit::{House, Sample, fingerprint, squashfs};
use crate::kit::behind::{self, BUILDER};

/// The stored files, wherever the layout puts them.
fn stored(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(stored(&path));
        } else if path.metadata().unwrap().len() > 1000 {
            found.push(path);
        }
    }
    found
}

#[test]
fn damage_is_told_by_name_and_healed_by_publishing_again() {
    let house = House::new();
    let image = house.publish(&Sample::default(), &[]);
    let ran = house.run(&["verify", "--format", "csv"]).ok();
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", "read 1 file (3.00KiB): all of it is whole\n"));

    let [file] = &stored(&house.data().join("blobs"))[..] else { panic!("one file is stored") };
    let mut bytes = std::fs::read(file).unwrap();
    bytes[1000] ^= 1;
    let mut permissions = file.metadata().unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    std::fs::set_permissions(file, permissions).unwrap();
    std::fs::write(file, bytes).unwrap();

    let ran = house.run(&["verify"]);
    assert_eq!(ran.code, Some(1));
    let cells = ran.cells();
    assert_eq!(cells[0], ["PROJECT", "FINGERPRINT", "FILE", "WHAT IS WRONG"]);
    assert_eq!(cells[1][..3], ["default", &image[..12], &format!("{image}.tar")]);
    assert!(cells[1][3].starts_with("is damaged: its SHA-256 is "), "{cells:?}");
    assert_eq!(
        ran.err,
        "read 1 file (3.00KiB): 1 missing or damaged; `headwater verify --remove-damaged`, then publish those images again\n"
    );
    house.run(&["image", "export", &image]).fails(
        1,
        &format!("the stored bytes of {image}.tar are damaged; publish the image again, `headwater verify` tells what else is"),
    );
    assert!(!house.folder.path().join(format!("{image}.tar")).exists(), "nothing half-written is left");

    let ran = house.run(&["verify", "--remove-damaged"]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.err, "read 1 file (3.00KiB): 1 missing or damaged, 1 removed; publish those images again\n");
    house.run(&["image", "export", &image]).fails(
        1,
        &format!("the bytes of {image}.tar are missing from the store; `headwater verify` tells what else is"),
    );
    house.publish(&Sample::default(), &[]);
    house.run(&["verify"]).ok();
    house.run(&["image", "export", &image]).ok();
}

#[tokio::test]
async fn a_damaged_delta_is_told_by_its_files_and_made_again() {
    use std::io::Write as _;
    let house = House::new();
    for (seed, serial) in [(1, "20250101_07:42"), (2, "20250102_07:42")] {
        let metadata = house.file("metadata.tar", &Sample { serial, ..Sample::default() }.metadata());
        let root = house.file("root.squashfs", &squashfs(seed));
        house.run(&["publish", &metadata, &root]).ok();
    }
    let [base, target] = [1, 2].map(|seed| fingerprint(&[&squashfs(seed)]));
    let delta = {
        let app = headwater::app::App::open(&house.data(), None).await.unwrap();
        let mut staged = app.blobs.stage().unwrap();
        staged.write_all(b"what makes the one into the other").unwrap();
        let mut placed = staged.commit().unwrap();
        let (target, base) = (target.parse().unwrap(), base.parse().unwrap());
        let location = headwater::catalog::Location::Sqlite(house.data().join("catalog.db"));
        behind::building(&location, &target, &base, 0).await;
        let file = ImageFile { digest: placed.digest(), size: placed.size(), format: FileFormat::Vcdiff };
        let ensure = || placed.ensure();
        let listed = app.catalog.list_delta(&target, &base, &file, BUILDER, Timestamp::EPOCH, ensure).await;
        assert!(listed.unwrap());
        app.catalog.close().await;
        file.digest.to_string()
    };
    house.run(&["verify"]).ok();
    let stored = house.data().join("blobs/sha256").join(&delta[..2]).join(&delta);
    std::fs::remove_file(stored).unwrap();
    let ran = house.run(&["verify"]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.cells()[1..], [vec!["-", "delta", format!("{delta}.vcdiff").as_str(), "is missing"]]);
    assert!(
        ran.err
            .ends_with("1 missing or damaged; `headwater verify --remove-damaged`; those deltas are made again then\n"),
        "{}",
        ran.err
    );
    let ran = house.run(&["verify", "--format", "json", "--remove-damaged"]);
    let told: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let expected = serde_json::json!([{
        "project": null, "fingerprint": null, "file": format!("{delta}.vcdiff"), "damage": "is missing",
        "delta": {"base": base, "target": target},
    }]);
    assert_eq!(told, expected);
    assert!(ran.err.ends_with("no list names those deltas any more, and they are made again\n"), "{}", ran.err);
    house.run(&["verify"]).ok();
}
