//! The short names that an image gets by itself: `debian/12`, `debian/bookworm`, `debian/12/cloud`.
//!
//! ```
//! use headwater_formats::{alias, arch::Architecture, product::Line};
//!
//! let line = Line {
//!     os: "Debian".into(),
//!     release: "bookworm".into(),
//!     variant: "default".into(),
//!     architecture: Architecture::X86_64,
//! };
//! let names = alias::generated(&line, None, None);
//! assert_eq!(names, ["debian/bookworm/default", "debian/bookworm", "debian/12/default", "debian/12"]);
//! assert_eq!(alias::split_arch("debian/12/amd64"), ("debian/12", Some(Architecture::X86_64)));
//! ```
//!
//! Clients of simplestreams know no default variant and no latest release by themselves: every form that shall work
//! has to be listed (LXD `shared/simplestreams/products.go`). They do add `/<architecture>` to each name, so
//! generated names are without it.
//!
//! What this module does not know: which image a name leads to, and the names that people give by hand.

use crate::arch::Architecture;
use crate::names::AliasName;
use crate::product::Line;

/// Operating system, number and code name of releases that people call by both. In lower case.
const RELEASES: &[(&str, &str, &str)] = &[
    ("debian", "8", "jessie"),
    ("debian", "9", "stretch"),
    ("debian", "10", "buster"),
    ("debian", "11", "bullseye"),
    ("debian", "12", "bookworm"),
    ("debian", "13", "trixie"),
    ("debian", "14", "forky"),
    ("debian", "15", "duke"),
    ("devuan", "1", "jessie"),
    ("devuan", "2", "ascii"),
    ("devuan", "3", "beowulf"),
    ("devuan", "4", "chimaera"),
    ("devuan", "5", "daedalus"),
    ("devuan", "6", "excalibur"),
    ("devuan", "7", "freia"),
    ("ubuntu", "14.04", "trusty"),
    ("ubuntu", "16.04", "xenial"),
    ("ubuntu", "18.04", "bionic"),
    ("ubuntu", "20.04", "focal"),
    ("ubuntu", "20.10", "groovy"),
    ("ubuntu", "21.04", "hirsute"),
    ("ubuntu", "21.10", "impish"),
    ("ubuntu", "22.04", "jammy"),
    ("ubuntu", "22.10", "kinetic"),
    ("ubuntu", "23.04", "lunar"),
    ("ubuntu", "23.10", "mantic"),
    ("ubuntu", "24.04", "noble"),
    ("ubuntu", "24.10", "oracular"),
    ("ubuntu", "25.04", "plucky"),
    ("ubuntu", "25.10", "questing"),
    ("ubuntu", "26.04", "resolute"),
];

/// The other name of a release: the code name of its number, or the number of its code name. Knows Debian, Devuan and
/// Ubuntu; the case of what is asked does not matter, the answer is in lower case.
pub fn release_synonym(os: &str, release: &str) -> Option<&'static str> {
    RELEASES.iter().filter(|row| row.0.eq_ignore_ascii_case(os)).find_map(|(_, number, code_name)| {
        if number.eq_ignore_ascii_case(release) {
            Some(*code_name)
        } else if code_name.eq_ignore_ascii_case(release) {
            Some(*number)
        } else {
            None
        }
    })
}

/// All the names of a release, in lower case and without repetition: the release itself, the `version` and the
/// `release_codename` that the image states, and the other names that the built-in table knows for each of these.
pub fn release_names(os: &str, release: &str, version: Option<&str>, codename: Option<&str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        let name = name.to_lowercase();
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    };
    for given in [Some(release), version, codename].into_iter().flatten() {
        add(given);
        if let Some(other) = release_synonym(os, given) {
            add(other);
        }
    }
    names
}

/// The short names of a product, in the order in which documents list them: for each name of the release
/// ([`release_names`]) `os/release/variant`, and `os/release` when the variant is `default`. A rolling release
/// (called `current`) also gets `os/variant`, and `os` when the variant is `default`.
///
/// `version` and `codename` are the image's properties `version` and `release_codename`. All names are in lower case,
/// without architecture, each is a valid [`AliasName`], none comes twice.
pub fn generated(line: &Line, version: Option<&str>, codename: Option<&str>) -> Vec<String> {
    let os = line.os.to_lowercase();
    let variant = line.variant.to_lowercase();
    let by_default = variant == "default";
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: String| {
        if AliasName::new(name.as_str()).is_ok() && !names.contains(&name) {
            names.push(name);
        }
    };
    for release in release_names(&line.os, &line.release, version, codename) {
        // A property is free text: a slash in it would make a name that reads as another product's.
        if release.contains('/') {
            continue;
        }
        add(format!("{os}/{release}/{variant}"));
        if by_default {
            add(format!("{os}/{release}"));
        }
        if release == "current" {
            add(format!("{os}/{variant}"));
            if by_default {
                add(os.clone());
            }
        }
    }
    names
}

/// Splits an architecture off the end of a name: `debian/12/cloud/arm64` is `debian/12/cloud` for aarch64. Any name
/// of an architecture counts (`arm64`, `aarch64`). Without one, the name comes back whole.
///
/// An alias may end in such a word by chance; look the whole name up first.
pub fn split_arch(name: &str) -> (&str, Option<Architecture>) {
    match name.rsplit_once('/') {
        Some((base, last)) if !base.is_empty() => match last.parse() {
            Ok(architecture) => (base, Some(architecture)),
            Err(_) => (name, None),
        },
        _ => (name, None),
    }
}

/// Whether a product of this architecture that is listed under `listed` is meant by `wanted`, which is in lower case: case does
/// not matter, and what is wanted may have the product's architecture at its end.
pub(crate) fn means(wanted: &str, listed: &str, architecture: Architecture) -> bool {
    let listed = listed.to_lowercase();
    listed == wanted
        || match split_arch(wanted) {
            (base, Some(found)) => found == architecture && listed == base,
            (_, None) => false,
        }
}

/// Every name, in lower case, that a product can have been given when it is found by this one: itself, the same without
/// the architecture at its end, and each of the two with any architecture behind it, because documents list names without the
/// product's own. An index has to be asked for these and no others; not all that they lead to need be meant.
pub fn spellings(wanted: &str) -> impl Iterator<Item = String> {
    let wanted = wanted.to_lowercase();
    let base = match split_arch(&wanted) {
        (base, Some(_)) => Some(base.to_owned()),
        (_, None) => None,
    };
    [Some(wanted), base].into_iter().flatten().flat_map(|name| {
        let longer = Architecture::spellings().map({
            let name = name.clone();
            move |architecture| format!("{name}/{architecture}")
        });
        std::iter::once(name).chain(longer.collect::<Vec<_>>())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(os: &str, release: &str, variant: &str) -> Line {
        Line { os: os.into(), release: release.into(), variant: variant.into(), architecture: Architecture::Aarch64 }
    }

    #[test]
    fn number_and_code_name_exist_whichever_was_given() {
        let by_number = generated(&line("Debian", "12", "cloud"), None, None);
        let by_name = generated(&line("debian", "bookworm", "Cloud"), None, None);
        assert_eq!(by_number, ["debian/12/cloud", "debian/bookworm/cloud"]);
        assert_eq!(by_name, ["debian/bookworm/cloud", "debian/12/cloud"]);
    }

    #[test]
    fn stated_names_come_before_known_ones_and_none_twice() {
        let names = generated(&line("Ubuntu", "noble", "default"), Some("24.04"), Some("Noble"));
        assert_eq!(names, ["ubuntu/noble/default", "ubuntu/noble", "ubuntu/24.04/default", "ubuntu/24.04"]);
        let names = generated(&line("Alma", "9", "cloud"), Some("9.4"), Some("Seafoam"));
        assert_eq!(names, ["alma/9/cloud", "alma/9.4/cloud", "alma/seafoam/cloud"]);
    }

    #[test]
    fn a_rolling_release_is_found_by_its_system() {
        let names = generated(&line("Archlinux", "current", "default"), None, None);
        assert_eq!(names, ["archlinux/current/default", "archlinux/current", "archlinux/default", "archlinux"]);
        assert_eq!(generated(&line("arch", "current", "cloud"), None, None), ["arch/current/cloud", "arch/cloud"]);
    }

    #[test]
    fn names_that_streams_cannot_list_are_left_out() {
        let names = generated(&line("os", "1", "default"), Some("1,2"), Some("a/b"));
        assert_eq!(names, ["os/1/default", "os/1"]);
        assert_eq!(generated(&line("os", "1", "v"), Some(""), None), ["os/1/v"]);
    }

    #[test]
    fn a_product_is_found_by_what_it_was_called() {
        let all: Vec<String> = spellings("Debian/12/ARM64").collect();
        assert_eq!(all[0], "debian/12/arm64");
        assert!(all.contains(&"debian/12".to_owned()) && all.contains(&"debian/12/aarch64".to_owned()));
        assert!(!spellings("debian/12").any(|name| name == "debian"));
    }

    /// As the catalog lists the names of a product.
    fn bare(name: &str, architecture: Architecture) -> &str {
        match split_arch(name) {
            (base, Some(found)) if found == architecture => base,
            _ => name,
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config {
            cases: 3000,
            failure_persistence: None,
            ..proptest::test_runner::Config::default()
        })]

        #[test]
        fn what_is_meant_is_spelled_out(
            words in proptest::collection::vec(
                proptest::sample::select(vec!["a", "B", "ΑΣ", "İ", "arm64", "ARM64", "aarch64", "amd64", "x86_64", "ß"]), 1..5),
            wanted in proptest::collection::vec(
                proptest::sample::select(vec!["a", "b", "ας", "ΑΣ", "i̇", "arm64", "aarch64", "amd64", "x86_64", "SS"]), 1..5),
            arm in proptest::prelude::any::<bool>(),
        ) {
            let architecture = if arm { Architecture::Aarch64 } else { Architecture::X86_64 };
            let (given, wanted) = (words.join("/"), wanted.join("/").to_lowercase());
            if means(&wanted, bare(&given, architecture), architecture) {
                let given = given.to_lowercase();
                proptest::prop_assert!(spellings(&wanted).any(|name| name == given), "{given} by {wanted}");
            }
        }

        #[test]
        fn each_name_finds_what_has_it(
            words in proptest::collection::vec(proptest::sample::select(vec!["a", "B", "ΑΣ", "arm64", "aarch64"]), 1..4),
        ) {
            let given = words.join("/");
            let listed = bare(&given, Architecture::Aarch64);
            for wanted in [listed.to_lowercase(), format!("{}/arm64", listed.to_lowercase())] {
                proptest::prop_assert!(means(&wanted, listed, Architecture::Aarch64));
                proptest::prop_assert!(spellings(&wanted).any(|name| name == given.to_lowercase()));
            }
        }
    }

    #[test]
    fn an_architecture_is_split_off_by_any_of_its_names() {
        assert_eq!(split_arch("debian/12/cloud/arm64"), ("debian/12/cloud", Some(Architecture::Aarch64)));
        assert_eq!(split_arch("debian/12/x86_64"), ("debian/12", Some(Architecture::X86_64)));
        assert_eq!(split_arch("debian/12"), ("debian/12", None));
        assert_eq!(split_arch("amd64"), ("amd64", None));
        assert_eq!(split_arch("/amd64"), ("/amd64", None));
    }
}
