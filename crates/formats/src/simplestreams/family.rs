//! What kind of client is asking, by its `User-Agent`.
//!
//! The header of both clients and both daemons reads
//! `LXD 5.0.2 (Linux; x86_64; 5.15.0; Ubuntu; 22.04) (zfs 2.1.5; dir 1) (cluster)`: name, version, perhaps `LTS`, then the
//! machine, and further groups that a client may leave out (LXD `shared/version/useragent.go`).

use std::fmt;

use crate::arch::Architecture;

/// Clients that read the same items.
///
/// LXD 5.0.3 and 5.18 to 5.20 read the items of both and reject every image as listed twice when both are there, so
/// LXD clients are given their own items only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Reads `lxd.tar.xz` and `lxd_combined.tar.gz`.
    Lxd,
    /// Reads `incus.tar.xz` and `incus_combined.tar.gz`.
    Incus,
    /// Mirrors, browsers and others: both kinds of items are listed.
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
