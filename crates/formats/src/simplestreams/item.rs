//! The places that a version has for images, and the words for them in documents.
//!
//! A version lists files. Clients pair each metadata file with each root file, and take a pair for an image when the
//! metadata item carries the combined hash for that kind of root (LXD `shared/simplestreams/products.go` `ToLXD`). So each
//! kind of root file can be there once.

use crate::image::{FileFormat, Image, ImageFiles, ImageType};

/// The place of an image in a version of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// A container with a squashfs for its root.
    Squashfs,
    /// A container with a tarball for its root, however it is compressed.
    RootTar,
    /// A container in one file.
    UnifiedContainer,
    /// A virtual machine with a qcow2 disk.
    Disk,
}

impl Slot {
    /// Whether an image in this place keeps one in the other place out of the same version. Beside a unified container
    /// no other container is listed: clients rate it as high as a squashfs and would choose at random.
    pub fn conflicts(self, other: Self) -> bool {
        let unified_beside_container =
            |one: Self, two: Self| one == Self::UnifiedContainer && two.image_type() == ImageType::Container;
        self == other || unified_beside_container(self, other) || unified_beside_container(other, self)
    }

    /// The type that clients give to an image in this place.
    pub fn image_type(self) -> ImageType {
        match self {
            Self::Squashfs | Self::RootTar | Self::UnifiedContainer => ImageType::Container,
            Self::Disk => ImageType::VirtualMachine,
        }
    }

    /// `ftype` of the root item; `None` for a unified image, which has none.
    pub fn root_ftype(self) -> Option<&'static str> {
        match self {
            Self::Squashfs => Some("squashfs"),
            Self::RootTar => Some("root.tar.xz"),
            Self::Disk => Some("disk-kvm.img"),
            Self::UnifiedContainer => None,
        }
    }

    /// `ftype` of an item with a delta to such a root file; `None` where clients know of none (LXD and Incus
    /// `shared/simplestreams/products.go`).
    pub fn delta_ftype(self) -> Option<&'static str> {
        match self {
            Self::Squashfs => Some("squashfs.vcdiff"),
            Self::Disk => Some("disk-kvm.img.vcdiff"),
            Self::RootTar | Self::UnifiedContainer => None,
        }
    }

    /// A sentence's name for it, for messages: "a squashfs container".
    pub fn describe(self) -> &'static str {
        match self {
            Self::Squashfs => "a container with a squashfs root",
            Self::RootTar => "a container with a tarball root",
            Self::UnifiedContainer => "a unified container",
            Self::Disk => "a virtual machine with a qcow2 disk",
        }
    }
}

/// The place of this image. `None` for what streams cannot list: a unified virtual machine (LXD takes every
/// unified image for a container), a root file of another type than the image, files beyond the range of Go's numbers.
pub fn slot(image: &Image) -> Option<Slot> {
    i64::try_from(image.files.size()).ok()?;
    match (&image.files, image.image_type) {
        (ImageFiles::Unified(file), ImageType::Container) => match file.format {
            FileFormat::Tar(_) | FileFormat::Squashfs => Some(Slot::UnifiedContainer),
            FileFormat::Qcow2 | FileFormat::Vcdiff => None,
        },
        (ImageFiles::Unified(_), ImageType::VirtualMachine) => None,
        (ImageFiles::Split { metadata, root }, image_type) => match (metadata.format, root.format, image_type) {
            (FileFormat::Tar(_), FileFormat::Squashfs, ImageType::Container) => Some(Slot::Squashfs),
            (FileFormat::Tar(_), FileFormat::Tar(_), ImageType::Container) => Some(Slot::RootTar),
            (FileFormat::Tar(_), FileFormat::Qcow2, ImageType::VirtualMachine) => Some(Slot::Disk),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simplestreams::testing::{image, unified};

    #[test]
    fn the_root_file_decides() {
        assert_eq!(slot(&image(1, "squashfs")), Some(Slot::Squashfs));
        assert_eq!(slot(&image(1, "tar.xz")), Some(Slot::RootTar));
        assert_eq!(slot(&image(1, "tar.zst")), Some(Slot::RootTar));
        assert_eq!(slot(&image(1, "qcow2")), Some(Slot::Disk));
        assert_eq!(slot(&unified(1, "tar.gz")), Some(Slot::UnifiedContainer));
        assert_eq!(slot(&unified(1, "squashfs")), Some(Slot::UnifiedContainer));
    }

    #[test]
    fn what_streams_cannot_say_has_no_place() {
        let mut vm = unified(1, "tar.gz");
        vm.image_type = ImageType::VirtualMachine;
        assert_eq!(slot(&vm), None);
        let mut odd = image(1, "squashfs");
        odd.image_type = ImageType::VirtualMachine;
        assert_eq!(slot(&odd), None);
        let mut large = image(1, "squashfs");
        if let ImageFiles::Split { root, .. } = &mut large.files {
            root.size = u64::MAX;
        }
        assert_eq!(slot(&large), None);
    }

    #[test]
    fn one_image_to_a_place_and_no_container_beside_a_unified_one() {
        use Slot::*;
        for (one, two, conflict) in [
            (Squashfs, Squashfs, true),
            (Squashfs, RootTar, false),
            (Squashfs, Disk, false),
            (UnifiedContainer, Squashfs, true),
            (UnifiedContainer, RootTar, true),
            (UnifiedContainer, UnifiedContainer, true),
            (UnifiedContainer, Disk, false),
            (Disk, Disk, true),
        ] {
            assert_eq!(one.conflicts(two), conflict, "{one:?} {two:?}");
            assert_eq!(two.conflicts(one), conflict, "{two:?} {one:?}");
        }
    }
}
