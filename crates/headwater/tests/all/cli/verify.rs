//! `headwater verify`

use std::path::{Path, PathBuf};

use super::kit::{House, Sample};

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
