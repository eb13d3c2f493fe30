//! What kind of client is asking, by its `User-Agent`.
//!
//! The header of both clients and both daemons reads
//! `LXD 5.0.2 (Linux; x86_64; 5.15.0; Ubuntu; 22.04) (zfs 2.1.5; dir 1) (cluster)`: name, version, perhaps `LTS`, then the
//! machine, and further groups that a client may leave out (LXD `shared/version/useragent.go`).

use std::fmt;

use super::item::Slot;
use crate::arch::Architecture;

/// Clients that read the same items; also those to whom an image is listed ([`families`](super::families)).
///
/// LXD 5.0.3 and 5.18 to 5.20 read the items of both and reject every image as listed twice when both are there, so
/// LXD clients are given their own items only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Reads `lxd.tar.xz` and `lxd_combined.tar.gz`.
    Lxd,
    /// Reads `incus.tar.xz` and `incus_combined.tar.gz`.
    Incus,
    /// Mirrors, browsers and others: both kinds of items are listed. Of an image: it is listed to the clients of both.
    Any,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lxd, Self::Incus, Self::Any];

    /// The family of the client that sends this header; `Any` when it is not known.
    pub fn of_user_agent(header: &str) -> Self {
        match header.split_once(' ').map_or(header, |(name, _)| name) {
            "LXD" => Self::Lxd,
            "Incus" => Self::Incus,
            _ => Self::Any,
        }
    }

    /// A word for caches, logs and file names: `lxd`, `incus`, `any`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lxd => "lxd",
            Self::Incus => "incus",
            Self::Any => "any",
        }
    }

    /// Whether items of LXD are for this family.
    pub fn reads_lxd(self) -> bool {
        self != Self::Incus
    }

    /// Whether items of Incus are for this family.
    pub fn reads_incus(self) -> bool {
        self != Self::Lxd
    }

    /// The clients that are among both, where [`Family::Any`] is those of LXD and those of Incus; `None` when there are none.
    pub fn common(self, other: Self) -> Option<Self> {
        match (self, other) {
            (one, Self::Any) | (Self::Any, one) => Some(one),
            (one, other) => (one == other).then_some(one),
        }
    }

    /// The clients of either.
    pub fn together(self, other: Self) -> Self {
        if self == other { self } else { Self::Any }
    }

    /// Whether all the clients of the other are among these.
    pub fn covers(self, other: Self) -> bool {
        self.together(other) == self
    }
}

/// The kinds of deltas that a client handles.
///
/// All of them undo a delta between squashfs files. Incus, and LXD 5.0.3 and 5.13 to 5.21.1, look for the base of a disk under the
/// fingerprint of the container beside it, and then a download fails for good that would have gone well without a delta (LXD issue
/// 13264, mended in `shared/simplestreams/products.go` by pull request 13288). Older LXD passes deltas of disks over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Deltas {
    /// Those between squashfs files.
    #[default]
    Squashfs,
    /// Those between qcow2 disks, too.
    Disks,
}

impl Deltas {
    /// What the client that sends this header handles; one that is not known is not trusted with disks.
    pub fn of_user_agent(header: &str) -> Self {
        // A mirror of ours makes what it can of whatever base it has.
        if header.starts_with("Headwater/") {
            return Self::Disks;
        }
        let mut words = header.split(' ');
        let (Some("LXD"), Some(version)) = (words.next(), words.next()) else { return Self::Squashfs };
        let numbers: Option<Vec<u32>> = version
            .split('.')
            .map(|word| word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok()).flatten())
            .collect();
        let finds_bases = match numbers.as_deref() {
            Some([5, 0, patch, ..]) => *patch >= 4,
            Some([5, 21, patch, ..]) => *patch >= 2,
            Some([major, minor, ..]) => (*major, *minor) >= (6, 1),
            _ => false,
        };
        if finds_bases { Self::Disks } else { Self::Squashfs }
    }

    /// Whether deltas between root files of images in this place are among them.
    pub fn reads(self, slot: Slot) -> bool {
        match slot {
            Slot::Squashfs => true,
            Slot::Disk => self == Self::Disks,
            Slot::RootTar | Slot::UnifiedContainer => false,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The architecture of the machine that sends this header: the second field of the first group. `None` for clients
/// other than LXD, Incus and Headwater itself, and for an architecture that is not known.
pub fn architecture_of_user_agent(header: &str) -> Option<Architecture> {
    if Family::of_user_agent(header) == Family::Any && !header.starts_with("Headwater/") {
        return None;
    }
    let (_, machine) = header.split_once(" (")?;
    // The name of the system may hold a closing bracket; the first two fields do not.
    machine.split("; ").nth(1)?.split(')').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_by_the_first_word() {
        for (header, family) in [
            ("LXD 5.0.2 (Linux; x86_64; 6.1; Debian GNU/Linux; 12)", Family::Lxd),
            ("LXD 5.0.3 (Linux; x86_64; 5.15.0; Ubuntu; 22.04) (zfs 2.1.5; dir 1) (cluster)", Family::Lxd),
            ("LXD 5.19", Family::Lxd),
            ("LXD", Family::Lxd),
            ("Incus 6.0.4 (Linux; aarch64; 6.1)", Family::Incus),
            ("python-simplestreams/0.1", Family::Any),
            ("Mozilla/5.0 (X11; Linux x86_64)", Family::Any),
            ("LXDx 1", Family::Any),
            ("lxd 5.0.2", Family::Any),
            ("", Family::Any),
        ] {
            assert_eq!(Family::of_user_agent(header), family, "{header}");
        }
    }

    #[test]
    fn families_are_sets_of_two() {
        use Family::*;
        for (one, other, common, together, covers) in [
            (Lxd, Lxd, Some(Lxd), Lxd, true),
            (Lxd, Incus, None, Any, false),
            (Incus, Lxd, None, Any, false),
            (Lxd, Any, Some(Lxd), Any, false),
            (Any, Incus, Some(Incus), Any, true),
            (Any, Any, Some(Any), Any, true),
        ] {
            assert_eq!(one.common(other), common, "{one} {other}");
            assert_eq!(one.together(other), together, "{one} {other}");
            assert_eq!(one.covers(other), covers, "{one} {other}");
        }
    }

    #[test]
    fn deltas_of_disks_are_for_lxd_that_finds_their_base() {
        for (header, disks) in [
            ("LXD 5.0.2 (Linux; x86_64; 6.1; Debian GNU/Linux; 12)", false),
            ("LXD 5.0.3 (Linux; x86_64; 6.1)", false),
            ("LXD 5.0.4 (Linux; x86_64; 6.1)", true),
            ("LXD 5.0.10", true),
            ("LXD 4.0.9 (Linux; x86_64; 5.4)", false),
            ("LXD 5.1", false),
            ("LXD 5.12", false),
            ("LXD 5.13 (Linux; x86_64)", false),
            ("LXD 5.20 (Linux; x86_64)", false),
            ("LXD 5.21.0 LTS (Linux; x86_64)", false),
            ("LXD 5.21.1 LTS (Linux; x86_64)", false),
            ("LXD 5.21.2 LTS (Linux; x86_64; 6.8.0; Ubuntu; 24.04) (zfs 2.1.5)", true),
            ("LXD 5.21 (Linux; x86_64)", false),
            ("LXD 5.22", false),
            ("LXD 6.0", false),
            ("LXD 6.1 (Linux; x86_64)", true),
            ("LXD 6.10", true),
            ("LXD 7.0", true),
            ("LXD 6", false),
            ("LXD +6.1", false),
            ("LXD 6.1x", false),
            ("LXD 99999999999.1", false),
            ("LXD", false),
            ("Incus 6.1 (Linux; x86_64)", false),
            ("Incus 6.0.4 (Linux; aarch64; 6.1)", false),
            ("python-simplestreams/0.1", false),
            ("Headwater/6.1.0 (Linux; x86_64)", true),
            ("", false),
        ] {
            assert_eq!(Deltas::of_user_agent(header) == Deltas::Disks, disks, "{header}");
        }
        use Slot::*;
        assert_eq!(
            [Squashfs, RootTar, UnifiedContainer, Disk].map(|slot| Deltas::Squashfs.reads(slot)),
            [true, false, false, false]
        );
        assert_eq!(
            [Squashfs, RootTar, UnifiedContainer, Disk].map(|slot| Deltas::Disks.reads(slot)),
            [true, false, false, true]
        );
    }

    #[test]
    fn the_machine_is_the_second_field_of_the_first_group() {
        for (header, architecture) in [
            ("LXD 5.0.2 (Linux; x86_64; 6.1; Debian GNU/Linux; 12)", Some(Architecture::X86_64)),
            ("LXD 5.21.4 LTS (Linux; aarch64; 6.8.0; Ubuntu; 24.04) (zfs 2.1.5)", Some(Architecture::Aarch64)),
            ("Incus 6.0.4 (Linux; ppc64le)", Some(Architecture::Ppc64le)),
            ("Incus 6.0.4 (Darwin; arm64; 23.0)", Some(Architecture::Aarch64)),
            ("Headwater/1.0.0 (Linux; aarch64)", Some(Architecture::Aarch64)),
            ("Incus 6.0.4", None),
            ("Incus 6.0.4 (Linux; vax; 1)", None),
            ("Incus 6.0.4 (zfs 2.1.5; dir 1)", None),
            ("curl/8 (Linux; x86_64; 1)", None),
        ] {
            assert_eq!(architecture_of_user_agent(header), architecture, "{header}");
        }
    }
}
