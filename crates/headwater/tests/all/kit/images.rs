//! Images without bytes, for tests of what the catalog says.

use headwater::catalog::NewImage;
use headwater_formats::arch::Architecture;
use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::image::{Compression, FileFormat, Image, ImageFile, ImageFiles, ImageType};
use headwater_formats::names::{AliasName, ProjectName};
use headwater_formats::timestamp::Timestamp;

/// A moment in the test's day, in minutes after 2025-01-01 00:00 UTC.
pub(crate) fn minute(minutes: i64) -> Timestamp {
    Timestamp::from_unix(1_735_689_600 + minutes * 60).unwrap()
}

/// 32 bytes that begin with this number.
pub(crate) fn bytes(number: u32) -> [u8; 32] {
    number.to_be_bytes().repeat(8).try_into().unwrap()
}

/// A file of an image with this number.
pub(crate) fn file(number: u32, format: FileFormat) -> ImageFile {
    ImageFile { digest: Digest::from_bytes(bytes(number)), size: u64::from(number) + 1, format }
}

/// A public container image, `debian:bookworm:amd64:default`, of that minute, with two files of its own.
pub(crate) fn image(number: u32) -> Image {
    let properties = [("os", "Debian"), ("release", "bookworm"), ("description", "An image")];
    Image {
        fingerprint: Fingerprint::from_bytes(bytes(number)),
        image_type: ImageType::Container,
        architecture: Architecture::X86_64,
        files: ImageFiles::Split {
            metadata: file(number.wrapping_add(0x1000_0000), FileFormat::Tar(Compression::Xz)),
            root: file(number.wrapping_add(0x2000_0000), FileFormat::Squashfs),
        },
        filename: "lxd.tar.xz".into(),
        created_at: minute(i64::from(number % 100_000)),
        uploaded_at: minute(0),
        public: true,
        expires_at: None,
        last_used_at: None,
        auto_update: false,
        properties: properties.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        profiles: vec!["default".into()],
        update_source: None,
    }
}

/// Small changes to an image, one after the other.
pub(crate) trait Change: Sized {
    fn property(self, key: &str, value: &str) -> Self;
    fn private(self) -> Self;
    fn on(self, architecture: Architecture) -> Self;
    fn machine(self) -> Self;
    fn root_tar(self) -> Self;
    fn unified(self) -> Self;
    fn at(self, minutes: i64) -> Self;
}

impl Change for Image {
    fn property(mut self, key: &str, value: &str) -> Self {
        self.properties.insert(key.to_owned(), value.to_owned());
        self
    }

    fn private(mut self) -> Self {
        self.public = false;
        self
    }

    fn on(mut self, architecture: Architecture) -> Self {
        self.architecture = architecture;
        self
    }

    fn machine(mut self) -> Self {
        self.image_type = ImageType::VirtualMachine;
        self.with_root(FileFormat::Qcow2)
    }

    fn root_tar(self) -> Self {
        self.with_root(FileFormat::Tar(Compression::Zstd))
    }

    fn unified(mut self) -> Self {
        let digest = Digest::from_bytes(*self.fingerprint.as_bytes());
        let format = FileFormat::Tar(Compression::Gzip);
        self.files = ImageFiles::Unified(ImageFile { digest, size: 7, format });
        self
    }

    fn at(mut self, minutes: i64) -> Self {
        self.created_at = minute(minutes);
        self
    }
}

trait WithRoot {
    fn with_root(self, format: FileFormat) -> Self;
}

impl WithRoot for Image {
    fn with_root(mut self, format: FileFormat) -> Self {
        if let ImageFiles::Split { root, .. } = &mut self.files {
            root.format = format;
        }
        self
    }
}

/// A project's name.
pub(crate) fn project(name: &str) -> ProjectName {
    ProjectName::new(name).unwrap()
}

/// An alias's name.
pub(crate) fn alias(name: &str) -> AliasName {
    AliasName::new(name).unwrap()
}

/// The image in a project, with fixed aliases.
pub(crate) fn new(project_name: &str, image: Image, aliases: &[&str]) -> NewImage {
    NewImage {
        project: project(project_name),
        image,
        aliases: aliases.iter().map(|name| alias(name).into()).collect(),
        new_aliases: false,
        published_by: None,
        given: None,
        repacked_from: None,
    }
}
