//! squashfs, as `mksquashfs` makes it.

use std::fs;
use std::path::Path;

use super::*;

/// What the tests make of their folder `image`.
fn squash(folder: &Path, options: &[&str]) -> Vec<u8> {
    let _ = fs::remove_file(folder.join("out"));
    run("mksquashfs", &[&["image", "out", "-quiet", "-no-progress"], options].concat(), folder);
    fs::read(folder.join("out")).unwrap()
}

fn folder_with(yaml: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    fs::create_dir_all(image.join("rootfs/etc")).unwrap();
    fs::write(image.join("rootfs/etc/hostname"), b"debian\n").unwrap();
    fs::write(image.join("rootfs/noise"), noise(300_000)).unwrap();
    fs::write(image.join("metadata.yaml"), yaml).unwrap();
    folder
}

/// Every byte of a metadata.yaml counts: its last property is the last thing in it.
fn long_yaml(length: usize) -> Vec<u8> {
    let mut yaml = YAML.to_vec();
    let noise = noise(length);
    for (index, chunk) in noise.chunks(100).enumerate() {
        let digits: String = chunk.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        yaml.extend_from_slice(format!("# {index} {digits}\n").as_bytes());
    }
    yaml.extend_from_slice(b"  last: true\n");
    yaml
}

fn holds_everything(bytes: &[u8]) {
    let found = unified(bytes).unwrap();
    assert_eq!((found.image_type, found.format), (ImageType::Container, FileFormat::Squashfs));
    assert_eq!(found.metadata.properties["last"], "true");
    assert_eq!(root(bytes).unwrap(), (FileFormat::Squashfs, ImageType::Container));
}

#[test]
fn unified_images_in_every_compression_and_layout() {
    for length in [10, 3000, 150_000] {
        let folder = folder_with(&long_yaml(length));
        for compressor in ["gzip", "xz", "zstd", "lz4"] {
            for layout in [
                &[][..],
                &["-no-fragments"],
                &["-always-use-fragments"],
                &["-b", "4096", "-always-use-fragments"],
                &["-b", "1M", "-no-fragments"],
                &["-noI", "-noD", "-noF"],
                &["-no-exports", "-no-xattrs", "-nopad"],
            ] {
                holds_everything(&squash(folder.path(), &[&["-comp", compressor], layout].concat()));
            }
        }
    }
}

#[test]
fn lzo_is_a_root_and_no_unified_image() {
    let folder = folder_with(YAML);
    let bytes = squash(folder.path(), &["-comp", "lzo"]);
    assert_eq!(root(&bytes).unwrap().0, FileFormat::Squashfs);
    assert_eq!(
        why(unified(&bytes)),
        "a squashfs compressed with lzo cannot be read here; make it anew with \"mksquashfs -comp xz\" or \"-comp zstd\""
    );
}

#[test]
fn a_root_folder_with_thousands_of_names() {
    let folder = folder_with(&long_yaml(10));
    for index in 0..3000 {
        fs::write(folder.path().join(format!("image/a-name-that-is-rather-long-{index}")), b"").unwrap();
    }
    holds_everything(&squash(folder.path(), &["-comp", "zstd"]));
}

#[test]
fn a_hole_in_a_file() {
    let folder = folder_with(YAML);
    let image = folder.path().join("image/metadata.yaml");
    // The reader of YAML refuses NUL characters, which shows that the hole was read, and where.
    fs::OpenOptions::new().write(true).open(&image).unwrap().set_len(500_000).unwrap();
    let error = why(unified(&squash(folder.path(), &[])));
    assert!(error.starts_with("metadata.yaml cannot be read: line 6"), "{error}");
}

#[test]
fn a_virtual_machine_in_a_squashfs() {
    let folder = folder_with(YAML);
    let image = folder.path().join("image");
    fs::write(image.join("rootfs.img"), disk()).unwrap();
    let both = "there are both rootfs and rootfs.img in it; leave the one that is the root";
    assert_eq!(why(unified(&squash(folder.path(), &[]))), both);
    fs::remove_dir_all(image.join("rootfs")).unwrap();
    assert_eq!(unified(&squash(folder.path(), &[])).unwrap().image_type, ImageType::VirtualMachine);
    fs::write(image.join("rootfs.img"), [0; 100_000]).unwrap();
    assert!(why(unified(&squash(folder.path(), &[]))).starts_with("rootfs.img is a file of zeros"));
    fs::remove_file(image.join("rootfs.img")).unwrap();
    assert!(matches!(unified(&squash(folder.path(), &[])), Err(InspectError::NoRoot)));
    fs::write(image.join("rootfs"), b"").unwrap();
    assert!(why(unified(&squash(folder.path(), &[]))).starts_with("rootfs must be a folder"));
    fs::remove_file(image.join("metadata.yaml")).unwrap();
    assert!(matches!(unified(&squash(folder.path(), &[])), Err(InspectError::NoMetadataInUnified)));
    std::os::unix::fs::symlink("/etc/passwd", image.join("metadata.yaml")).unwrap();
    assert!(why(unified(&squash(folder.path(), &[]))).starts_with("metadata.yaml must be a plain file"));
}

#[test]
fn a_huge_metadata_yaml() {
    let folder = folder_with(YAML);
    let yaml = fs::File::create(folder.path().join("image/metadata.yaml")).unwrap();
    yaml.set_len(1 << 30).unwrap();
    assert!(why(unified(&squash(folder.path(), &["-comp", "zstd"]))).starts_with("metadata.yaml has 1073741824 bytes"));
}

#[test]
fn cut_files_are_refused() {
    let folder = folder_with(&long_yaml(10));
    let bytes = squash(folder.path(), &["-nopad"]);
    for length in (4..bytes.len()).step_by(997) {
        let expected = if length < 96 {
            "the file ends early: it stops within"
        } else {
            "the file ends early: its superblock promises"
        };
        for error in [why(root(&bytes[..length])), why(unified(&bytes[..length]))] {
            assert!(error.starts_with(expected), "{length}: {error}");
            assert!(error.ends_with("; copy it again"), "{length}: {error}");
        }
    }
}

#[test]
fn impossible_superblocks_are_refused() {
    let folder = folder_with(YAML);
    let bytes = squash(folder.path(), &[]);
    let with = |at: usize, new: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        why(root(&bytes))
    };
    for (message, part) in [
        (with(12, &[0, 0, 0, 0]), "has an impossible block size"),
        (with(22, &[5, 0]), "has an impossible block size"),
        (with(20, &[0, 0]), "names compression 0, which does not exist"),
        (with(20, &[7, 0]), "names compression 7, which does not exist"),
        (with(28, &[3, 0]), "the squashfs is of version 3.0, and Linux reads 4.0"),
        (with(48, &[0xff; 8]), "points to a table outside of the file system"),
        (with(64, &[0xff; 8]), "points to a table outside of the file system"),
        (with(64, &[0; 8]), "points to a table outside of the file system"),
        (with(72, &[0xff; 7]), "points to a table outside of the file system"),
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_large_file_system_takes_milliseconds() {
    let folder = folder_with(&long_yaml(10));
    let bytes = squash(folder.path(), &["-nopad"]);
    // The tables lie at the end: a gap of 4 GiB in front of them stands for 4 GiB of data.
    let path = folder.path().join("big");
    fs::write(&path, &bytes).unwrap();
    let mut file = fs::File::options().read(true).write(true).open(&path).unwrap();
    file.set_len(5 << 30).unwrap();
    let size = 5 << 30;
    let start = std::time::Instant::now();
    inspect_root(&mut file, size, &Limits::default()).unwrap();
    inspect_unified(&mut file, size, &Limits::default()).unwrap();
    assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
}
