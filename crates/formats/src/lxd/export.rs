//! The names that files get when an image is exported, or sent to another server, and the form that two of them are sent in (LXD `lxd/images.go` `imageExport`).
//!
//! Each has a dot: `lxc image export IMAGE TARGET` puts what follows the first one behind `TARGET`, and crashes without
//! (LXD `lxc/image.go`).

use data_encoding::HEXLOWER;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::image::null_is_default;
use crate::digest::Fingerprint;
use crate::image::{ImageFile, ImageFiles, ImageType};

/// A request to push an image to another server: the body of `POST /1.0/images/<fingerprint>/export` (LXD
/// `shared/api/image.go` `ImageExportPost`). Its `aliases` are not read: they are what was agreed on with the other server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ExportPost {
    /// The other server's URL.
    #[serde(deserialize_with = "null_is_default")]
    pub target: String,
    /// The secret that it gave.
    #[serde(deserialize_with = "null_is_default")]
    pub secret: String,
    /// Its certificate in PEM.
    #[serde(deserialize_with = "null_is_default")]
    pub certificate: String,
    /// The project there.
    #[serde(deserialize_with = "null_is_default")]
    pub project: String,
    /// Names of profiles there.
    #[serde(deserialize_with = "null_is_default")]
    pub profiles: Vec<String>,
}

/// The name of the only file of a unified image: `<fingerprint>.tar.gz`.
pub fn unified(fingerprint: &Fingerprint, file: &ImageFile) -> String {
    format!("{fingerprint}.{}", file.format.extension())
}

/// The name of the metadata file of a split image: `meta-<fingerprint>.tar.xz`.
pub fn metadata(fingerprint: &Fingerprint, file: &ImageFile) -> String {
    format!("meta-{fingerprint}.{}", file.format.extension())
}

/// The name of the root file of a split image: `<fingerprint>.squashfs`.
pub fn root(fingerprint: &Fingerprint, file: &ImageFile) -> String {
    unified(fingerprint, file)
}

/// The form name of the root file's part in a multipart export: by it, clients tell a virtual machine.
pub fn root_part(image_type: ImageType) -> &'static str {
    match image_type {
        ImageType::Container => "rootfs",
        ImageType::VirtualMachine => "rootfs.img",
    }
}

/// The names of all the files, in the order in which they are sent.
pub fn names(fingerprint: &Fingerprint, files: &ImageFiles) -> Vec<String> {
    match files {
        ImageFiles::Unified(file) => vec![unified(fingerprint, file)],
        ImageFiles::Split { metadata: first, root: second } => {
            vec![metadata(fingerprint, first), root(fingerprint, second)]
        }
    }
}

/// What stands between the files of a split image in one body, `multipart/form-data`: 60 characters, as Go's are; the same every time, so that the
/// length is. They come out of the hash of the very bytes that they stand between, so that no file can be made to hold them.
pub fn boundary(fingerprint: &Fingerprint) -> String {
    let mut text = HEXLOWER.encode(&Sha256::digest(format!("boundary of {fingerprint}")));
    text.truncate(60);
    text
}

/// What stands in such a body before each file, and after the last.
pub fn form(
    fingerprint: &Fingerprint,
    image_type: ImageType,
    metadata_file: &ImageFile,
    root_file: &ImageFile,
) -> [String; 3] {
    let boundary = boundary(fingerprint);
    let head = |line: &str, field: &str, name: String| {
        format!(
            "{line}--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
    };
    [
        head("", "metadata", metadata(fingerprint, metadata_file)),
        head("\r\n", root_part(image_type), root(fingerprint, root_file)),
        format!("\r\n--{boundary}--\r\n"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simplestreams::testing::{image, unified as unified_image};

    #[test]
    fn every_name_has_a_dot_and_the_fingerprint() {
        let split = image(1, "squashfs");
        let fingerprint = split.fingerprint;
        assert_eq!(
            names(&fingerprint, &split.files),
            [format!("meta-{fingerprint}.tar.xz"), format!("{fingerprint}.squashfs")]
        );
        let disk = image(2, "qcow2");
        assert!(names(&disk.fingerprint, &disk.files)[1].ends_with(".qcow2"));
        let one = unified_image(3, "tar.gz");
        assert_eq!(names(&one.fingerprint, &one.files), [format!("{}.tar.gz", one.fingerprint)]);
        assert_eq!(root_part(ImageType::VirtualMachine), "rootfs.img");
        assert_eq!(root_part(ImageType::Container), "rootfs");
    }
}
