//! Which delta stands beside a root file in a document.
//!
//! A client that holds the root file of an older version downloads the delta and makes the new root file out of the two. It looks for
//! the base by the *name of a version* of the same product (`delta_base`), so a delta is listed only together with an older version that has an
//! image of the same kind with that base. There is no way back to the whole file when it fails, and more than one delta for one file
//! breaks clients (Incus since 6.23): one at most is listed, that of the base that most readers of this document hold.
//!
//! ```
//! use headwater_formats::simplestreams::Family;
//! use headwater_formats::simplestreams::delta::Clients;
//!
//! // A mirror, or a client of unknown kind: deltas between squashfs files, and no base that it prefers.
//! let clients = Clients::from(Family::Any);
//! assert!(clients.bases.is_empty());
//! ```
//!
//! What this module does not know: how deltas are made, who holds what, and what a document looks like.

use std::collections::HashMap;

use super::{Deltas, Family, Slot};
use crate::digest::Digest;
use crate::image::ImageFile;
use crate::product::{Delta, Version};

/// The clients that a document is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clients<'a> {
    /// Whose items they read.
    pub family: Family,
    /// Which deltas they handle.
    pub deltas: Deltas,
    /// Root files that they are known to hold, the one that most of them hold first. It may be that none is known.
    pub bases: &'a [Digest],
}

impl From<Family> for Clients<'_> {
    /// Clients of which nothing else is known.
    fn from(family: Family) -> Self {
        Self { family, deltas: Deltas::default(), bases: &[] }
    }
}

/// The names of the versions that list a root file in that place, ascending, and to whom.
pub(super) struct Roots<'a>(HashMap<(Slot, Digest), Vec<(&'a str, Family)>>);

impl<'a> Roots<'a> {
    /// Out of what is listed of a product: place, root file, version, and to whom; by the versions' names, ascending.
    pub(super) fn new(listed: impl IntoIterator<Item = (Slot, Digest, &'a str, Family)>) -> Self {
        let mut roots: HashMap<_, Vec<(&str, Family)>> = HashMap::new();
        for (slot, root, version, readers) in listed {
            let versions = roots.entry((slot, root)).or_default();
            match versions.last_mut() {
                Some((last, known)) if *last == version => *known = known.together(readers),
                _ => versions.push((version, readers)),
            }
        }
        Self(roots)
    }

    /// To whom that version lists this root file in that place.
    fn readers(&self, slot: Slot, root: Digest, version: &str) -> Option<Family> {
        self.0.get(&(slot, root))?.iter().find(|(name, _)| *name == version).map(|(_, readers)| *readers)
    }

    /// The newest version before that one which lists this root file in that place to all of these readers.
    fn before(&self, slot: Slot, root: Digest, version: &str, readers: Family) -> Option<&'a str> {
        let versions = self.0.get(&(slot, root))?;
        versions.iter().rev().find(|(name, known)| *name < version && known.covers(readers)).map(|(name, _)| *name)
    }

    /// The delta to list beside a root file of this version, and the version that has its base: of the base that comes first among
    /// those that the clients are known to hold; else of the base that most clients hold; else of the newest one.
    pub(super) fn delta<'v>(
        &self,
        version: &'v Version,
        slot: Slot,
        root: &ImageFile,
        clients: &Clients<'_>,
    ) -> Option<(&'v Delta, &'a str)> {
        if !clients.deltas.reads(slot) {
            return None;
        }
        let name = version.name.as_str();
        let readers = self.readers(slot, root.digest, name)?;
        let there = version.deltas.iter().filter(|delta| delta.target == root.digest);
        let usable = there.filter_map(|delta| Some((delta, self.before(slot, delta.base, name, readers)?)));
        usable.max_by_key(|(delta, base)| {
            let place = clients.bases.iter().position(|held| *held == delta.base);
            (std::cmp::Reverse(place.unwrap_or(usize::MAX)), delta.clients, *base, delta.base)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::FileFormat;
    use crate::simplestreams::testing::file;

    const DAYS: [&str; 4] = ["20250101", "20250102", "20250103", "20250104"];

    fn root(number: u8) -> Digest {
        Digest::from_bytes([number; 32])
    }

    fn version(name: &str, deltas: &[(u8, u8, u64)]) -> Version {
        let delta = |(target, base, clients): &(u8, u8, u64)| Delta {
            target: root(*target),
            base: root(*base),
            file: file(*target, *base, 9, "vcdiff"),
            clients: *clients,
        };
        Version {
            name: crate::names::VersionName::new(name).unwrap(),
            extra: Default::default(),
            images: Vec::new(),
            deltas: deltas.iter().map(delta).collect(),
        }
    }

    /// The base of the delta that is listed beside root file 4 of the fourth version, and its version.
    fn chosen(deltas: &[(u8, u8, u64)], bases: &[u8]) -> Option<(Digest, &'static str)> {
        let versions = [(1, "20250101"), (2, "20250102"), (3, "20250103"), (4, "20250104"), (5, "20250105")];
        let roots = Roots::new(versions.map(|(number, name)| (Slot::Squashfs, root(number), name, Family::Lxd)));
        let bases: Vec<Digest> = bases.iter().map(|number| root(*number)).collect();
        let clients = Clients { bases: &bases, ..Family::Lxd.into() };
        let file = ImageFile { digest: root(4), size: 100, format: FileFormat::Squashfs };
        let version = version("20250104", deltas);
        roots.delta(&version, Slot::Squashfs, &file, &clients).map(|(delta, name)| (delta.base, name))
    }

    #[test]
    fn what_its_readers_hold_decides_then_what_most_hold_then_age() {
        let three = [(4, 1, 5), (4, 2, 9), (4, 3, 5)];
        assert_eq!(chosen(&three, &[]), Some((root(2), "20250102")));
        assert_eq!(chosen(&three, &[1]), Some((root(1), "20250101")));
        assert_eq!(chosen(&three, &[7, 3, 1]), Some((root(3), "20250103")), "in the order of the list");
        assert_eq!(chosen(&three, &[7]), Some((root(2), "20250102")), "of another product");
        assert_eq!(chosen(&[(4, 1, 0), (4, 3, 0), (4, 2, 0)], &[]), Some((root(3), "20250103")));
        assert_eq!(chosen(&[], &[1]), None);
    }

    #[test]
    fn a_base_is_in_an_older_version_of_this_place() {
        assert_eq!(chosen(&[(4, 9, 7)], &[9]), None, "its version is not listed");
        assert_eq!(chosen(&[(4, 5, 7)], &[5]), None, "its version is newer");
        assert_eq!(chosen(&[(4, 4, 7)], &[]), None, "its version is this one");
        assert_eq!(chosen(&[(3, 2, 7)], &[]), None, "it makes another file");
        let roots = Roots::new([1, 4].map(|day| (Slot::Disk, root(day), DAYS[usize::from(day) - 1], Family::Lxd)));
        let file = ImageFile { digest: root(4), size: 100, format: FileFormat::Squashfs };
        let version = version("20250104", &[(4, 1, 0)]);
        let lxd = Clients::from(Family::Lxd);
        assert!(roots.delta(&version, Slot::Squashfs, &file, &lxd).is_none(), "it is a disk there");
        assert!(roots.delta(&version, Slot::Disk, &file, &lxd).is_none(), "not for these clients");
        let disks = Clients { deltas: Deltas::Disks, ..lxd };
        assert_eq!(roots.delta(&version, Slot::Disk, &file, &disks).map(|(_, base)| base), Some("20250101"));
    }

    #[test]
    fn of_versions_with_the_same_root_the_newest_older_one_is_named() {
        let listed = [(1, "20250101"), (1, "20250102"), (4, "20250103"), (1, "20250104")];
        let roots = Roots::new(listed.map(|(number, name)| (Slot::Squashfs, root(number), name, Family::Any)));
        let file = ImageFile { digest: root(4), size: 100, format: FileFormat::Squashfs };
        let found = version("20250103", &[(4, 1, 0)]);
        let found = roots.delta(&found, Slot::Squashfs, &file, &Family::Any.into()).map(|(_, base)| base.to_owned());
        assert_eq!(found.as_deref(), Some("20250102"));
    }

    #[test]
    fn a_base_is_listed_to_all_to_whom_the_file_is() {
        let chosen = |bases: [&[Family]; 2], target: &[Family]| {
            let listed = [(1, bases[0]), (2, bases[1]), (4, target)];
            let listed = listed.into_iter().flat_map(|(number, readers)| {
                let name = DAYS[usize::from(number) - 1];
                readers.iter().map(move |readers| (Slot::Squashfs, root(number), name, *readers))
            });
            let roots = Roots::new(listed);
            let file = ImageFile { digest: root(4), size: 100, format: FileFormat::Squashfs };
            let version = version("20250104", &[(4, 1, 0), (4, 2, 9)]);
            roots.delta(&version, Slot::Squashfs, &file, &Family::Any.into()).map(|(_, base)| base)
        };
        use Family::{Any, Incus, Lxd};
        assert_eq!(chosen([&[Any], &[Any]], &[Any]), Some("20250102"));
        assert_eq!(chosen([&[Any], &[Lxd]], &[Any]), Some("20250101"), "Incus does not know the newer base");
        assert_eq!(chosen([&[Any], &[Lxd]], &[Lxd]), Some("20250102"));
        assert_eq!(chosen([&[Any], &[Lxd, Incus]], &[Incus, Lxd]), Some("20250102"), "two images with one root file");
        assert_eq!(chosen([&[Incus], &[Lxd]], &[Any]), None);
        assert_eq!(chosen([&[Incus], &[Incus]], &[Lxd]), None);
    }
}
