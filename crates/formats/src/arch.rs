//! Architectures: the names of LXD and Incus, the many names of the world, and the names that streams use.
//!
//! Source: LXD `shared/osarch/architectures.go`, Incus `shared/osarch/architectures.go`.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// An architecture that LXD or Incus knows. Shown by its canonical name (`x86_64`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each variant is the architecture of its canonical name")]
pub enum Architecture {
    I686,
    X86_64,
    Armv6l,
    Armv7l,
    Armv8l,
    Aarch64,
    Ppc,
    Ppc64,
    Ppc64le,
    S390x,
    Mips,
    Mips64,
    Riscv32,
    Riscv64,
    Loongarch64,
}

/// The text names no architecture that LXD or Incus knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no architecture that LXD or Incus knows; known ones are {known}", known = known())]
pub struct UnknownArchitecture(pub String);

fn known() -> String {
    TABLE.iter().map(|row| row.1).collect::<Vec<_>>().join(", ")
}

use Architecture as A;

/// Architecture, canonical name, name in streams (Debian's), further names that are accepted.
const TABLE: &[(Architecture, &str, &str, &[&str])] = &[
    (A::I686, "i686", "i386", &["i586", "386", "x86", "generic_32"]),
    (A::X86_64, "x86_64", "amd64", &["generic_64", "x86_64_v1", "x86_64_v2", "x86_64_v3", "x86_64_v4", "amd64v3"]),
    (A::Armv6l, "armv6l", "armel", &["arm"]),
    (A::Armv7l, "armv7l", "armhf", &["armhfp", "armv7", "armv7a_hardfp", "armv7a_vfpv3_hardfp"]),
    (A::Armv8l, "armv8l", "armv8l", &[]),
    (A::Aarch64, "aarch64", "arm64", &["arm64_generic"]),
    (A::Ppc, "ppc", "powerpc", &[]),
    (A::Ppc64, "ppc64", "powerpc64", &[]),
    (A::Ppc64le, "ppc64le", "ppc64el", &[]),
    (A::S390x, "s390x", "s390x", &[]),
    (A::Mips, "mips", "mipsel", &["mipsle"]),
    (A::Mips64, "mips64", "mips64el", &["mips64le"]),
    (A::Riscv32, "riscv32", "riscv32", &[]),
    (A::Riscv64, "riscv64", "riscv64", &[]),
    (A::Loongarch64, "loongarch64", "loong64", &[]),
];

impl Architecture {
    /// Every architecture, in the order of LXD's identifiers.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// Every text that is read as an architecture, each once.
    pub fn spellings() -> impl Iterator<Item = &'static str> {
        TABLE.iter().flat_map(|(_, name, stream, others)| {
            let stream = (stream != name).then_some(*stream);
            [*name].into_iter().chain(stream).chain(others.iter().copied())
        })
    }

    fn row(self) -> &'static (Architecture, &'static str, &'static str, &'static [&'static str]) {
        // The table has one row per variant, in declaration order (the test below walks all of them).
        &TABLE[self as usize]
    }

    /// The name that LXD and Incus store and print, such as `x86_64`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The name that streams use, such as `amd64`; all clients since LXD 4.0 map it back, except `loong64`
    /// and `armv8l`, which the older ones do not know.
    pub fn stream_name(self) -> &'static str {
        self.row().2
    }

    /// The architectures that a host of this one also runs, best first.
    pub fn personalities(self) -> &'static [Architecture] {
        match self {
            A::X86_64 => &[A::I686],
            A::Aarch64 => &[A::Armv8l, A::Armv7l, A::Armv6l],
            A::Armv8l => &[A::Armv7l, A::Armv6l],
            A::Armv7l => &[A::Armv6l],
            A::Ppc64 => &[A::Ppc],
            A::Mips64 => &[A::Mips],
            _ => &[],
        }
    }
}

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    fn from_str(text: &str) -> Result<Self, UnknownArchitecture> {
        TABLE
            .iter()
            .find(|(_, name, stream, others)| *name == text || *stream == text || others.contains(&text))
            .map(|row| row.0)
            .ok_or_else(|| UnknownArchitecture(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Architecture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_architecture() {
        for (index, (arch, name, stream, others)) in TABLE.iter().enumerate() {
            assert_eq!(*arch as usize, index);
            for text in [name, stream].into_iter().chain(others.iter()) {
                assert_eq!(text.parse::<Architecture>().as_ref(), Ok(arch), "{text}");
            }
        }
        assert!("vax".parse::<Architecture>().is_err());
        let all: Vec<&str> = Architecture::spellings().collect();
        assert!(all.iter().all(|text| text.parse::<Architecture>().is_ok()));
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len(), "none comes twice");
    }
}
