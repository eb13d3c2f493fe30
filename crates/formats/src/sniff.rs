//! What a file is, told by its first bytes.
//!
//! ```
//! use headwater_formats::image::{Compression, FileFormat};
//! use headwater_formats::sniff;
//!
//! assert_eq!(sniff::sniff(b"\xfd7zXZ\0"), Some(FileFormat::Tar(Compression::Xz)));
//! assert_eq!(sniff::sniff(b"PK\x03\x04"), None);
//! assert_eq!(sniff::describe(b"PK\x03\x04"), "a zip archive");
//! ```
//!
//! The table is the one of the clients (LXD `shared/archive.go` and Incus `shared/archive/archive.go`,
//! `DetectCompressionFile`), because what they do not recognise they cannot unpack. A compressed file is taken for a
//! compressed tarball, as they take it; whether it is one, [`crate::inspect`] finds out by unpacking. This module
//! knows nothing of file names: they lie.

use crate::image::{Compression, FileFormat};

/// How many bytes of the beginning [`sniff`] looks at: as many as the clients read. Fewer are fine.
pub const SNIFF_LEN: usize = 263;

/// How many bytes of the beginning [`describe`] can make use of. Fewer are fine.
pub const DESCRIBE_LEN: usize = 33 * 1024;

/// The format of a file that begins with these bytes; `None` when neither LXD nor Incus could make an image of it.
pub fn sniff(head: &[u8]) -> Option<FileFormat> {
    let tar = |compression| Some(FileFormat::Tar(compression));
    if head.starts_with(b"BZ") {
        return tar(Compression::Bzip2);
    }
    if head.starts_with(&[0x1f, 0x8b]) {
        return tar(Compression::Gzip);
    }
    if head.starts_with(b"\xfd7zXZ") {
        return tar(Compression::Xz);
    }
    // The clients take a file for old LZMA whose bytes 1 to 4 are those of xz, whatever the first one is.
    if at(head, 1, b"7zXZ") || head.starts_with(&[0x5d, 0, 0]) {
        return tar(Compression::Lzma);
    }
    if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return tar(Compression::Zstd);
    }
    if head.starts_with(&[0x04, 0x22, 0x4d, 0x18]) {
        return tar(Compression::Lz4);
    }
    if at(head, 257, b"ustar") {
        return tar(Compression::None);
    }
    if head.starts_with(b"hsqs") {
        return Some(FileFormat::Squashfs);
    }
    if head.starts_with(b"QFI") {
        return Some(FileFormat::Qcow2);
    }
    None
}

fn at(head: &[u8], offset: usize, magic: &[u8]) -> bool {
    head.get(offset..).is_some_and(|rest| rest.starts_with(magic))
}

/// Offset, bytes, name. The first row that fits gives the name, so weak marks stand last.
const OTHERS: &[(usize, &[u8], &str)] = &[
    (0, b"KDMV", "a VMDK disk"),
    (0, b"# Disk DescriptorFile", "a VMDK disk's description"),
    (0, b"conectix", "a VHD disk"),
    (0, b"vhdxfile", "a VHDX disk"),
    (64, &[0x7f, 0x10, 0xda, 0xbe], "a VirtualBox disk"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!", "a rar archive"),
    (0, b"LZIP", "an lzip file"),
    (0, b"\x89LZO", "an lzop file"),
    (0, &[0x02, 0x21, 0x4c, 0x18], "an lz4 file in the old format"),
    (0, &[0x1f, 0x9d], "a file compressed by compress(1)"),
    (0, b"070701", "a cpio archive"),
    (0, b"070707", "a cpio archive"),
    (0, b"!<arch>\n", "a Debian package or an ar archive"),
    (0, &[0xed, 0xab, 0xee, 0xdb], "an RPM package"),
    (0, b"sqsh", "a big-endian squashfs of an old version"),
    (0, b"\x7fELF", "a program (ELF)"),
    (0, b"MZ", "a Windows program"),
    (0, b"#!", "a script"),
    (0, b"%PDF", "a PDF document"),
    (0, b"-----BEGIN PGP", "an OpenPGP signature or message"),
    (0, b"-----BEGIN ", "a PEM file"),
    (0, b"<!DOCTYPE", "a web page"),
    (0, b"<!doctype", "a web page"),
    (0, b"<html", "a web page"),
    (0, b"<HTML", "a web page"),
    (0, b"<?xml", "an XML document"),
    (0, b"VCD\0", "a VCDIFF delta without its type byte"),
    (0, &[0xd6, 0xc3, 0xc4], "a VCDIFF delta"),
    (0, b"XFSB", "a raw XFS file system"),
    (0x8001, b"CD001", "an ISO 9660 image"),
    (0x400, &[0xe2, 0xe1, 0xf5, 0xe0], "an EROFS file system"),
    (0x438, &[0x53, 0xef], "a raw ext4 file system"),
    (512, b"EFI PART", "a raw disk with a GPT partition table"),
    (510, &[0x55, 0xaa], "a raw disk with a boot sector"),
];

/// A name for a file that begins with these bytes, to be read in a sentence: "a VMDK disk", "a qcow2 disk". Gives a
/// name to every file, also to those that [`sniff`] knows; sees more kinds when up to [`DESCRIBE_LEN`] bytes are given.
pub fn describe(head: &[u8]) -> &'static str {
    if let Some(format) = sniff(head) {
        return describe_format(format);
    }
    if head.is_empty() {
        return "an empty file";
    }
    if let Some(row) = OTHERS.iter().find(|(offset, magic, _)| at(head, *offset, magic)) {
        return row.2;
    }
    if head.iter().all(|byte| *byte == 0) {
        return "a file of zeros";
    }
    match std::str::from_utf8(&head[..head.len().min(SNIFF_LEN)]) {
        // A character may be cut in two at the end; only then is the error without a length.
        Err(error) if error.error_len().is_some() => "a file of unknown kind",
        _ if head.iter().take(SNIFF_LEN).any(|byte| *byte == 0) => "a file of unknown kind",
        _ if matches!(head[0], b'{' | b'[') => "a JSON document",
        _ => "a text file",
    }
}

/// The same for a format that is known.
pub fn describe_format(format: FileFormat) -> &'static str {
    match format {
        FileFormat::Tar(Compression::None) => "a tarball",
        FileFormat::Tar(Compression::Gzip) => "a gzip file",
        FileFormat::Tar(Compression::Xz) => "an xz file",
        FileFormat::Tar(Compression::Lzma) => "an lzma file",
        FileFormat::Tar(Compression::Bzip2) => "a bzip2 file",
        FileFormat::Tar(Compression::Zstd) => "a zstd file",
        FileFormat::Tar(Compression::Lz4) => "an lz4 file",
        FileFormat::Squashfs => "a squashfs file system",
        FileFormat::Qcow2 => "a qcow2 disk",
        FileFormat::Vcdiff => "a VCDIFF delta",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(offset: usize, magic: &[u8]) -> Vec<u8> {
        let mut head = vec![0u8; offset];
        head.extend_from_slice(magic);
        head
    }

    #[test]
    fn every_format_of_the_clients_is_known() {
        let tar = |c| Some(FileFormat::Tar(c));
        assert_eq!(sniff(b"BZh9"), tar(Compression::Bzip2));
        assert_eq!(sniff(&[0x1f, 0x8b, 8]), tar(Compression::Gzip));
        assert_eq!(sniff(b"\xfd7zXZ\0"), tar(Compression::Xz));
        assert_eq!(sniff(b"\x007zXZ"), tar(Compression::Lzma));
        assert_eq!(sniff(&[0x5d, 0, 0, 0x80]), tar(Compression::Lzma));
        assert_eq!(sniff(&[0x28, 0xb5, 0x2f, 0xfd]), tar(Compression::Zstd));
        assert_eq!(sniff(&[0x04, 0x22, 0x4d, 0x18]), tar(Compression::Lz4));
        assert_eq!(sniff(&marked(257, b"ustar")), tar(Compression::None));
        assert_eq!(sniff(b"hsqs"), Some(FileFormat::Squashfs));
        assert_eq!(sniff(b"QFI\xfb"), Some(FileFormat::Qcow2));
    }

    #[test]
    fn the_mark_of_a_tarball_lies_within_the_sniffed_bytes() {
        assert_eq!(sniff(&marked(257, b"ustar ")[..SNIFF_LEN]), Some(FileFormat::Tar(Compression::None)));
    }

    #[test]
    fn what_no_client_unpacks_has_a_name_and_no_format() {
        for (offset, magic, name) in OTHERS {
            let head = marked(*offset, magic);
            assert_eq!(sniff(&head), None, "{name}");
            assert_eq!(describe(&head), *name);
            assert!(head.len() <= DESCRIBE_LEN, "{name}");
        }
        assert_eq!(describe(b""), "an empty file");
        assert_eq!(describe(&[0; 600]), "a file of zeros");
        assert_eq!(describe(b"{\"a\": 1}"), "a JSON document");
        assert_eq!(describe("ein Wort, über das man spricht".as_bytes()), "a text file");
        assert_eq!(describe(&[0xc0, 0xc1, 1, 2]), "a file of unknown kind");
    }
}
