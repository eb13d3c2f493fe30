//! The places that a version has for images, and the words for them in documents.
//!
//! A version lists files. Clients pair each metadata file with each root file, and take a pair for an image when the
//! metadata item carries the combined hash for that kind of root (LXD `shared/simplestreams/products.go` `ToLXD`). So each
//! kind of root file can be there once.
//!
//! An image can be for the clients of one family alone ([`FAMILIES`]): then only the metadata item of that family names it. Beside it there
//! can be one for the other family with other metadata to the same root file.

use super::Family;
use crate::image::{FileFormat, Image, ImageFiles, ImageType};
use crate::product::Product;

/// The property that says to whom streams list an image: `lxd`, or `incus`. Without it, and with any other value, to both. The LXD API
/// gives it out as it does all properties, and gives the image to everybody.
pub const FAMILIES: &str = "headwater.families";

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
    /// Whether no client may be listed an image in this place and one in the other place of the same version. Beside a unified
    /// container no other container is listed: clients rate it as high as a squashfs and would choose at random.
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

/// The clients to whom streams list this image, as its property [`FAMILIES`] says: those of one family, or [`Family::Any`] for
/// those of both.
pub fn families(image: &Image) -> Family {
    match image.property(FAMILIES) {
        Some("lxd") => Family::Lxd,
        Some("incus") => Family::Incus,
        _ => Family::Any,
    }
}

/// Whether the documents for that family may list this image. Those for [`Family::Any`] list all.
pub fn offered(image: &Image, family: Family) -> bool {
    families(image).common(family).is_some()
}

/// Whether one of these images keeps the other one out of the same version: both are listed to the same clients in places that
/// [conflict](Slot::conflicts); or they are for different clients, and their root files would have to be the same item and are not the
/// same file. An image that streams cannot list keeps nothing out.
pub fn conflict(one: &Image, other: &Image) -> bool {
    let (Some(place), Some(other_place)) = (slot(one), slot(other)) else { return false };
    if families(one).common(families(other)).is_some() {
        return place.conflicts(other_place);
    }
    let root = |image: &Image| image.files.root().map(|root| root.digest);
    place == other_place && root(one) != root(other)
}

/// The product with what is offered to that family; `None` when nothing of it is.
pub fn for_family(mut product: Product, family: Family) -> Option<Product> {
    for version in &mut product.versions {
        version.images.retain(|image| offered(image, family));
    }
    product.versions.retain(|version| !version.images.is_empty());
    (!product.versions.is_empty()).then_some(product)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simplestreams::testing::{image, product, unified};

    /// The image, for one family only.
    fn only(family: &str, image: Image) -> Image {
        Image { properties: [(FAMILIES.to_owned(), family.to_owned())].into(), ..image }
    }

    #[test]
    fn a_property_says_to_whom_an_image_is_listed() {
        for (value, lxd, incus) in [
            ("lxd", true, false),
            ("incus", false, true),
            ("", true, true),
            ("both", true, true),
            ("LXD", true, true),
            ("lxd,incus", true, true),
        ] {
            let image = only(value, image(1, "squashfs"));
            assert_eq!(offered(&image, Family::Lxd), lxd, "{value:?}");
            assert_eq!(offered(&image, Family::Incus), incus, "{value:?}");
            assert!(offered(&image, Family::Any), "{value:?}");
        }
        assert_eq!(families(&image(1, "squashfs")), Family::Any);
    }

    #[test]
    fn images_for_different_clients_share_a_root_file_or_a_version_but_no_item() {
        let shared = |number: u8, root: &str| Image { files: image(1, root).files, ..image(number, root) };
        for (one, other, expected, why) in [
            (only("lxd", image(1, "squashfs")), only("incus", shared(2, "squashfs")), false, "one root, two metadata"),
            (only("lxd", image(1, "squashfs")), only("incus", image(2, "squashfs")), true, "two roots for one item"),
            (only("lxd", image(1, "squashfs")), only("lxd", shared(2, "squashfs")), true, "the same clients"),
            (only("lxd", image(1, "squashfs")), shared(2, "squashfs"), true, "LXD is listed both"),
            (only("incus", image(1, "qcow2")), shared(2, "qcow2"), true, "Incus is listed both"),
            (image(1, "squashfs"), shared(2, "squashfs"), true, "both are listed both"),
            (only("lxd", unified(1, "tar.gz")), only("incus", unified(2, "tar.gz")), false, "two items"),
            (only("lxd", unified(1, "tar.gz")), only("incus", image(2, "squashfs")), false, "nobody sees both"),
            (only("lxd", unified(1, "tar.gz")), image(2, "tar.xz"), true, "two containers for LXD"),
            (only("lxd", image(1, "squashfs")), only("incus", image(2, "qcow2")), false, "two kinds of root files"),
            (image(1, "squashfs"), image(2, "qcow2"), false, "a container and a machine"),
        ] {
            assert_eq!(conflict(&one, &other), expected, "{why}");
            assert_eq!(conflict(&other, &one), expected, "{why}");
        }
        let unlisted = Image { image_type: ImageType::VirtualMachine, ..image(1, "squashfs") };
        assert!(!conflict(&unlisted, &image(1, "squashfs")), "it takes no place");
    }

    #[test]
    fn what_is_for_others_is_left_out_with_all_that_holds_nothing_else() {
        let images = |number: u8| [only("lxd", image(number, "squashfs")), only("incus", image(number + 10, "qcow2"))];
        let [container, machine] = images(1);
        let versions =
            [("20240101", vec![container.clone(), machine.clone()]), ("20240102", vec![machine]), ("20240103", vec![])];
        let whole = product("Debian", "12", "default", "amd64", &versions);
        let left = |family| {
            let product = for_family(whole.clone(), family)?;
            let versions = product.versions.iter();
            Some(versions.map(|version| (version.name.to_string(), version.images.len())).collect::<Vec<_>>())
        };
        assert_eq!(left(Family::Lxd), Some(vec![("20240101".to_owned(), 1)]));
        assert_eq!(left(Family::Incus), Some(vec![("20240101".to_owned(), 1), ("20240102".to_owned(), 1)]));
        assert_eq!(left(Family::Any), Some(vec![("20240101".to_owned(), 2), ("20240102".to_owned(), 1)]));
        let alone = product("Debian", "12", "default", "amd64", &[("20240101", vec![container])]);
        assert_eq!(for_family(alone, Family::Incus), None);
    }

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
