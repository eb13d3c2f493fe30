//! Tarballs: what is found in them, and what is said about the wrong ones.

use super::*;

#[test]
fn unified_containers_and_virtual_machines_in_every_compression() {
    let container =
        tarball(&[("metadata.yaml", YAML), ("templates/a.tpl", b"x"), ("rootfs/", b""), ("rootfs/a", b"b")]);
    let machine = tarball(&[("./metadata.yaml", YAML), ("./rootfs.img", &disk())]);
    let root_first = tarball(&[("rootfs/a", &noise(50_000)), ("metadata.yaml", YAML)]);
    for compression in ALL {
        for (file, image_type) in [
            (&container, ImageType::Container),
            (&machine, ImageType::VirtualMachine),
            (&root_first, ImageType::Container),
        ] {
            let found = unified(&pack(file, compression)).unwrap();
            assert_eq!(found.image_type, image_type, "{compression:?}");
            assert_eq!(found.format, FileFormat::Tar(compression));
            assert_eq!(found.metadata.properties["os"], "Debian");
        }
    }
}

#[test]
fn split_images_in_every_compression() {
    let metadata_tarball = tarball(&[("metadata.yaml", YAML), ("templates/", b""), ("templates/a.tpl", &noise(3000))]);
    let root_tarball = tarball(&[("./", b""), ("./etc/", b""), ("./etc/hostname", b"debian")]);
    for compression in ALL {
        let (found, format) = metadata(&pack(&metadata_tarball, compression)).unwrap();
        assert_eq!(found.properties["release"], "12");
        assert_eq!(format, FileFormat::Tar(compression));
        assert_eq!(root(&pack(&root_tarball, compression)).unwrap(), (format, ImageType::Container));
    }
}

#[test]
fn names_are_compared_whole() {
    let file = tarball(&[
        ("metadata.yaml.old", b"x"),
        ("templates/metadata.yaml", b"x"),
        ("rootfs.image", b"x"),
        ("rootfsx/a", b"x"),
        ("../metadata.yaml", b"x"),
        ("/metadata.yaml", b"x"),
        (".//metadata.yaml", b"x"),
    ]);
    assert!(matches!(unified(&file), Err(InspectError::NoMetadataInUnified)));
    assert!(matches!(metadata(&file), Err(InspectError::NoMetadata)));
}

#[test]
fn what_is_missing_or_too_much_is_said_with_what_to_do() {
    let only_metadata = tarball(&[("metadata.yaml", YAML)]);
    let only_root = tarball(&[("rootfs/etc/hostname", b"x")]);
    assert_eq!(
        why(unified(&only_metadata)),
        "there is a metadata.yaml in it, but neither rootfs/ nor rootfs.img; if this is only the metadata tarball of a split image, give its root file too"
    );
    assert_eq!(
        why(unified(&only_root)),
        "there is no metadata.yaml in it; if this is only the root file of a split image, give its metadata tarball too"
    );
    let whole = tarball(&[("metadata.yaml", YAML), ("rootfs/", b"")]);
    assert_eq!(
        why(metadata(&whole)),
        "this metadata tarball also has rootfs/ in it; publish it as a unified image, with no root file"
    );
    let machine = tarball(&[("rootfs.img", b"x"), ("metadata.yaml", YAML)]);
    assert!(matches!(metadata(&machine), Err(InspectError::RootInMetadata("rootfs.img"))));
    assert!(matches!(root(&whole), Err(InspectError::MetadataInRoot)));
    assert_eq!(
        why(root(&[0; 1024])),
        "this is a file of zeros, not a root file; give a squashfs, a tarball or a qcow2 disk"
    );
    let empty = pack(&[0; 1024], Compression::Zstd);
    assert_eq!(why(root(&empty)), "the root tarball is empty; build it anew");
    let twice = tarball(&[("metadata.yaml", YAML), ("./metadata.yaml", YAML)]);
    assert_eq!(why(unified(&twice)), "there are two metadata.yaml in it; leave one");
    assert_eq!(why(metadata(&twice)), "there are two metadata.yaml in it; leave one");
}

#[test]
fn files_of_other_kinds_are_named() {
    assert_eq!(
        why(unified(b"KDMV....")),
        "this is a VMDK disk, not an image; give a tarball or squashfs with metadata.yaml and a root in it, or a metadata tarball and a root file"
    );
    assert_eq!(why(unified(&disk())), "this is a qcow2 disk, not a whole image; give its metadata tarball too");
    assert_eq!(
        why(metadata(&disk())),
        "this is a qcow2 disk, not a metadata tarball; give the metadata tarball first, then the root file"
    );
    assert_eq!(why(root(b"")), "this is an empty file, not a root file; give a squashfs, a tarball or a qcow2 disk");
    let text = pack(b"hello, I am no tarball, whatever you may think of me, and not short either", Compression::Gzip);
    assert_eq!(why(unified(&text)), "the file ends early: it stops in the middle of a file's header; copy it again");
    let page = pack(&b"<html>".repeat(200), Compression::Xz);
    assert_eq!(why(root(&page)), "the file is damaged: the xz data holds no tarball; copy it again, or build it anew");
}

#[test]
fn rootfs_img_must_be_a_sound_qcow2_disk() {
    let raw = tarball(&[("metadata.yaml", YAML), ("rootfs.img", &[0; 4096])]);
    assert_eq!(
        why(unified(&raw)),
        "rootfs.img is a file of zeros, and clients take only a qcow2 disk; convert it with \"qemu-img convert -O qcow2\""
    );
    let mut backed = disk();
    backed[15] = 200;
    let backed = tarball(&[("metadata.yaml", YAML), ("rootfs.img", &backed)]);
    assert!(why(unified(&backed)).starts_with("the qcow2 disk has a backing file"));
    let link = [typed("metadata.yaml", tar::EntryType::Symlink, b""), tarball(&[])].concat();
    assert_eq!(
        why(unified(&link)),
        "metadata.yaml must be a plain file; build the archive anew, without links and without --sparse"
    );
}

#[test]
fn metadata_errors_come_through() {
    let wrong = tarball(&[("metadata.yaml", b"architecture: vax\ncreation_date: 1\n")]);
    assert!(why(metadata(&wrong)).starts_with("architecture in metadata.yaml: \"vax\" is no architecture"));
}

#[test]
fn long_names_sparse_files_and_attributes_are_understood() {
    let long = [b"rootfs/".as_slice(), &[b'x'; 300], b"\0"].concat();
    let attributes = b"40 SCHILY.xattr.security.capability=\n\x01\n\n";
    assert_eq!(attributes.len(), 40);
    let path = b"16 path=rootfs/\n";
    let sparse_name = b"30 GNU.sparse.name=rootfs.img\n";
    for (entries, image_type) in [
        ([typed("././@LongLink", tar::EntryType::GNULongName, &long), entry("x", b"")].concat(), ImageType::Container),
        ([typed("pax", tar::EntryType::XHeader, path), entry("x", b"")].concat(), ImageType::Container),
        (
            [typed("pax", tar::EntryType::XHeader, attributes), entry("rootfs/bin/ping", b"x")].concat(),
            ImageType::Container,
        ),
        (
            [typed("pax", tar::EntryType::XHeader, sparse_name), entry("GNUSparseFile.7/rootfs.img", b"x")].concat(),
            ImageType::VirtualMachine,
        ),
        (
            // The map of an old sparse file goes on for one block that its size does not count.
            {
                let mut header = header("rootfs.img", tar::EntryType::GNUSparse, 5);
                header.as_gnu_mut().unwrap().set_is_extended(true);
                header.set_cksum();
                let mut data = header.as_bytes().to_vec();
                data.extend_from_slice(tar::GnuExtSparseHeader::new().as_bytes());
                data.extend_from_slice(&entry("", b"12345")[512..]);
                data
            },
            ImageType::VirtualMachine,
        ),
    ] {
        let global = typed("global", tar::EntryType::XGlobalHeader, b"19 comment=whatever");
        let before = [&global[..], &entries, &entry("metadata.yaml", YAML), &[0; 1024]].concat();
        assert_eq!(unified(&before).unwrap().image_type, image_type);
    }
}

#[test]
fn pax_sizes_win_over_the_header() {
    let mut wrong = entry("metadata.yaml", YAML);
    wrong[..512].copy_from_slice(header("metadata.yaml", tar::EntryType::Regular, 0).as_bytes());
    let length = format!("size={}\n", YAML.len()).len() + 3;
    let record = format!("{length} size={}\n", YAML.len());
    assert_eq!(record.len(), length);
    let file = [typed("pax", tar::EntryType::XHeader, record.as_bytes()), wrong, vec![0; 1024]].concat();
    assert_eq!(metadata(&file).unwrap().0.properties["os"], "Debian");
}

#[test]
fn malformed_extended_headers_are_refused() {
    let too_long = b"99 path=x\n";
    let records: [&[u8]; 9] = [
        b"x",
        b" ",
        b"0 path=x\n",
        too_long,
        b"9 path=xx",
        b"4 a\n",
        b"-1 a=b\n",
        b"3 \n",
        b"99999999999999999999999 a=b\n",
    ];
    for record in records {
        let file = [typed("pax", tar::EntryType::XHeader, record), tarball(&[("metadata.yaml", YAML)])].concat();
        assert_eq!(
            why(metadata(&file)),
            "the file is damaged: in the archive, an extended header (PAX) is malformed; copy it again, or build it anew",
            "{}",
            String::from_utf8_lossy(record)
        );
    }
}

#[test]
fn a_damaged_header_is_said_where() {
    let mut file = tarball(&[("a", b"x"), ("metadata.yaml", YAML)]);
    file[1024] ^= 1;
    assert_eq!(
        why(unified(&file)),
        "the file is damaged: in the archive, the header after entry 1 has a wrong checksum; copy it again, or build it anew"
    );
    let mut after_end = tarball(&[("metadata.yaml", YAML)]);
    let length = after_end.len();
    after_end[length - 512] = 1;
    assert!(why(metadata(&after_end)).contains("there is data after its end mark"));
}

#[test]
fn checksums_over_signed_bytes_are_accepted() {
    let mut file = tarball(&[("metadata.yaml", YAML), ("rootfs/\u{e9}", b"")]);
    let second = 1024;
    let mut header = tar::Header::from_byte_slice(&file[second..second + 512]).clone();
    let sum = header.cksum().unwrap() - 2 * 256;
    header.as_old_mut().cksum.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    file[second..second + 512].copy_from_slice(header.as_bytes());
    assert_eq!(unified(&file).unwrap().image_type, ImageType::Container);
}

/// However a file is cut, it is refused with a sentence, unless nobody could know without unpacking all of it.
#[test]
fn cut_files_are_refused() {
    let whole = tarball(&[("metadata.yaml", YAML), ("rootfs/", b""), ("rootfs/a", &noise(20_000))]);
    let meta = tarball(&[("metadata.yaml", YAML), ("templates/a", &noise(20_000))]);
    for compression in ALL {
        let (whole, meta) = (pack(&whole, compression), pack(&meta, compression));
        for percent in 0..100 {
            let whole = &whole[..whole.len() * percent / 100];
            let meta = &meta[..meta.len() * percent / 100];
            let (whole, meta) = (unified(whole), metadata(meta));
            let noticed = matches!(compression, Compression::Xz | Compression::Zstd | Compression::Lz4);
            assert!(whole.is_err() || !noticed, "{compression:?} cut to {percent} %");
            let Err(error) = meta else {
                // Cut between the last file and the end mark, a plain tarball is whole by Go's and GNU tar's rules.
                assert!(compression == Compression::None && percent > 90, "{compression:?} cut to {percent} %");
                continue;
            };
            if percent > 10 && !error.to_string().starts_with("the file ends early: ") {
                panic!("{compression:?} cut to {percent} %: {error}");
            }
        }
    }
}

#[test]
fn a_plain_unified_tarball_is_followed_to_its_end() {
    let whole = tarball(&[("metadata.yaml", YAML), ("rootfs/", b""), ("rootfs/a", &noise(20_000))]);
    for length in [whole.len() - 1024 - 5000, whole.len() - 1024 - 1, whole.len() - 100] {
        let error = why(unified(&whole[..length]));
        assert!(error.starts_with("the file ends early: "), "{error}");
    }
}

/// A disk that fails is not a damaged file.
#[test]
fn a_failing_disk_is_said_to_be_one() {
    struct Failing(Cursor<Vec<u8>>, u64);
    impl Read for Failing {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            if self.0.position() >= self.1 {
                return Err(std::io::Error::other("the disk is on fire"));
            }
            let most = usize::try_from(self.1 - self.0.position()).unwrap();
            let length = buf.len().min(most);
            self.0.read(&mut buf[..length])
        }
    }
    impl Seek for Failing {
        fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }
    let meta = tarball(&[("metadata.yaml", YAML), ("templates/a", &noise(200_000))]);
    for compression in ALL {
        let file = pack(&meta, compression);
        let size = file.len() as u64;
        let mut failing = Failing(Cursor::new(file), 100_000);
        let error = inspect_metadata(&mut failing, size, &Limits::default()).unwrap_err();
        assert_eq!(error.to_string(), "the file cannot be read: the disk is on fire", "{compression:?}");
    }
}
