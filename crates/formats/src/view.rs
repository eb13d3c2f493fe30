//! Views: the filter that stands in the path of a stream, `/only/os=debian,alpine/only/arch=arm64/only/latest=1/`.
//!
//! ```
//! use headwater_formats::view::View;
//!
//! let mut view = View::default();
//! view.parse_segment("arch=arm64").unwrap();
//! view.parse_segment("latest=2").unwrap();
//! assert_eq!(view.to_string(), "only/arch=arm64/only/latest=2/");
//! assert!(view.parse_segment("colour=red").is_err());
//! ```
//!
//! The same filters with blanks between them are the text of a saved view:
//!
//! ```
//! use headwater_formats::view::View;
//!
//! let view: View = "os=debian,alpine latest=1".parse().unwrap();
//! assert_eq!(view.words().to_string(), "latest=1 os=alpine,debian");
//! ```
//!
//! A client of simplestreams downloads the whole list whenever it looks at it. With a view it downloads what it wants.
//!
//! What this module does not know: URLs (the caller splits the path and decodes percent escapes) and who may see
//! what (a view is applied to products that were already chosen for the asker).

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::num::NonZeroU16;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;

use crate::alias;
use crate::arch::Architecture;
use crate::image::ImageType;
use crate::product::Product;

/// What can be filtered by.
pub const KEYS: [&str; 7] = ["os", "release", "variant", "arch", "type", "alias", "latest"];
/// Most segments that one view may be made of.
pub const MAX_SEGMENTS: usize = 16;
/// Most values that one segment may list.
pub const MAX_VALUES: usize = 64;
/// Longest value, in bytes: that of an alias.
pub const MAX_VALUE_BYTES: usize = 255;
/// Most versions that `latest` may ask for.
pub const MAX_LATEST: u16 = 1000;

/// Why a segment is no filter. The sentence says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// No `=` in it.
    #[error("the filter {0:?} has no value; write it as key=value, for example arch=arm64")]
    NoValue(String),
    /// A key that is not known.
    #[error("{0:?} cannot be filtered by; use os, release, variant, arch, type, alias or latest")]
    UnknownKey(String),
    /// `key=`, or nothing between two commas.
    #[error("the filter {0} lists an empty value; remove it or write one")]
    EmptyValue(&'static str),
    /// A value over [`MAX_VALUE_BYTES`].
    #[error("the filter {0} has a value of more than {MAX_VALUE_BYTES} bytes; shorten it")]
    LongValue(&'static str),
    /// A control character.
    #[error("the filter {0} holds a control character; remove it")]
    ControlCharacter(&'static str),
    /// More than [`MAX_VALUES`].
    #[error("the filter {0} lists more than {MAX_VALUES} values; list fewer")]
    TooManyValues(&'static str),
    /// More than [`MAX_SEGMENTS`].
    #[error("the path holds more than {MAX_SEGMENTS} filters; join some, as in os=debian,alpine")]
    TooManySegments,
    /// An architecture that nobody knows.
    #[error("{0}")]
    Architecture(#[from] crate::arch::UnknownArchitecture),
    /// A type that is none.
    #[error("{0}")]
    ImageType(#[from] crate::image::UnknownImageType),
    /// `latest` with something else than one number.
    #[error("latest={0} is no number of versions; use one number from 1 to {MAX_LATEST}")]
    Latest(String),
    /// A percent sign without two hexadecimal digits, or bytes that are no UTF-8.
    #[error(
        "the filter {0:?} has a percent sign that begins no escape; write a percent sign as %25 and a blank as %20"
    )]
    Escape(String),
    /// Filters that exclude one another.
    #[error("these filters let nothing pass, because they exclude one another; mend them")]
    Nothing,
}

/// A filter over products and their images; the default one lets everything pass.
///
/// Two views that were written in another order, or with other names for the same architecture, are equal and print
/// the same, so the printed form serves as key of a cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct View {
    segments: Count,
    os: Option<BTreeSet<String>>,
    // A release and an alias have several names, so two segments cannot be cut down to the values in both: each
    // segment stays as it was written, and a product has to pass them all.
    release: BTreeSet<BTreeSet<String>>,
    variant: Option<BTreeSet<String>>,
    arch: Option<BTreeSet<Architecture>>,
    image_type: Option<BTreeSet<ImageType>>,
    alias: BTreeSet<BTreeSet<String>>,
    latest: Option<NonZeroU16>,
}

/// How many segments were read; no part of what the view lets pass, so all counts are equal.
#[derive(Debug, Clone, Default)]
struct Count(usize);

impl PartialEq for Count {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Count {}

impl std::hash::Hash for Count {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

/// Cuts a set down to what is in the other one too.
fn narrow<T: Ord>(set: &mut Option<BTreeSet<T>>, values: BTreeSet<T>) {
    *set = Some(match set.take() {
        None => values,
        Some(mut before) => {
            before.retain(|value| values.contains(value));
            before
        }
    });
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

impl View {
    /// Adds the filter `key=value[,value…]`, percent escapes already decoded. What passes has to pass all the
    /// segments; within one segment, one of the values is enough.
    ///
    /// Keys: `os`, `release` (any name of it: `12` finds `bookworm`), `variant`, `arch` (any name of it), `type`
    /// (`container`, `virtual-machine` or `vm`), `alias` (with or without architecture), `latest` (newest versions of each
    /// product, 1 to [`MAX_LATEST`]). Case does not matter in values. On an error the view is unchanged.
    pub fn parse_segment(&mut self, segment: &str) -> Result<(), ViewError> {
        if self.segments.0 >= MAX_SEGMENTS {
            return Err(ViewError::TooManySegments);
        }
        let Some((key, list)) = segment.split_once('=') else {
            return Err(ViewError::NoValue(shorten(segment)));
        };
        match key {
            "os" => narrow(&mut self.os, values("os", list)?),
            "release" => {
                self.release.insert(values("release", list)?);
            }
            "variant" => narrow(&mut self.variant, values("variant", list)?),
            "arch" => {
                let known: Result<_, _> = values("arch", list)?.iter().map(|name| name.parse()).collect();
                narrow(&mut self.arch, known?);
            }
            "type" => {
                let known: Result<_, _> = values("type", list)?.iter().map(|name| name.parse()).collect();
                narrow(&mut self.image_type, known?);
            }
            "alias" => {
                self.alias.insert(values("alias", list)?);
            }
            "latest" => {
                let number = list
                    .parse::<NonZeroU16>()
                    .ok()
                    .filter(|n| n.get() <= MAX_LATEST && list.bytes().all(|b| b.is_ascii_digit()))
                    .ok_or_else(|| ViewError::Latest(shorten(list)))?;
                self.latest = Some(self.latest.map_or(number, |before| before.min(number)));
            }
            other => return Err(ViewError::UnknownKey(shorten(other))),
        }
        self.segments.0 += 1;
        Ok(())
    }

    /// The same filter for versions of any age: what it says about an image by itself.
    pub fn of_any_age(&self) -> Self {
        Self { latest: None, ..self.clone() }
    }

    /// Whether everything passes.
    pub fn is_everything(&self) -> bool {
        self.segments.0 == 0
    }

    /// Whether nothing can pass, because filters exclude one another (`os=debian` and `os=alpine`).
    pub fn is_nothing(&self) -> bool {
        fn empty<T>(set: &Option<BTreeSet<T>>) -> bool {
            set.as_ref().is_some_and(BTreeSet::is_empty)
        }
        empty(&self.os) || empty(&self.variant) || empty(&self.arch) || empty(&self.image_type)
    }

    /// Names of which every product that passes was given one, in lower case and as they were given
    /// ([`alias::spellings`]); `None` when products of any name pass.
    pub fn names(&self) -> Option<BTreeSet<String>> {
        if self.is_nothing() {
            return Some(BTreeSet::new());
        }
        let fewest = self.alias.iter().min_by_key(|set| set.len())?;
        Some(fewest.iter().flat_map(|wanted| alias::spellings(wanted)).collect())
    }

    /// Whether the product as such passes: by `os`, `release`, `variant`, `arch` and `alias`.
    pub fn matches(&self, product: &Product) -> bool {
        let line = &product.line;
        let one_of = |set: &Option<BTreeSet<String>>, word: &str| {
            set.as_ref().is_none_or(|set| set.contains(&word.to_lowercase()))
        };
        if !one_of(&self.os, &line.os)
            || !one_of(&self.variant, &line.variant)
            || !self.arch.as_ref().is_none_or(|set| set.contains(&line.architecture))
        {
            return false;
        }
        if !self.release.is_empty() {
            let names = alias::release_names(
                &line.os,
                &line.release,
                product.version.as_deref(),
                product.release_codename.as_deref(),
            );
            if !self.release.iter().all(|set| names.iter().any(|name| set.contains(name))) {
                return false;
            }
        }
        let listed = |wanted: &String| product.aliases.iter().any(|name| alias::means(wanted, name, line.architecture));
        self.alias.iter().all(|set| set.iter().any(listed))
    }

    /// What is left of the product: its images by `type`, its versions by `latest` (counted after the images were
    /// chosen). `None` when nothing is left.
    pub fn narrow(&self, mut product: Product) -> Option<Product> {
        if !self.matches(&product) {
            return None;
        }
        if let Some(types) = &self.image_type {
            for version in &mut product.versions {
                version.images.retain(|image| types.contains(&image.image_type));
            }
            product.versions.retain(|version| !version.images.is_empty());
        }
        if let Some(latest) = self.latest {
            let surplus = product.versions.len().saturating_sub(usize::from(latest.get()));
            product.versions.drain(..surplus);
        }
        (!product.versions.is_empty()).then_some(product)
    }

    /// What is left of all the products, in their order.
    pub fn apply(&self, products: Vec<Product>) -> Vec<Product> {
        products.into_iter().filter_map(|product| self.narrow(product)).collect()
    }
}

fn values(key: &'static str, list: &str) -> Result<BTreeSet<String>, ViewError> {
    let mut set = BTreeSet::new();
    for (index, value) in list.split(',').enumerate() {
        if index >= MAX_VALUES {
            return Err(ViewError::TooManyValues(key));
        }
        if value.is_empty() {
            return Err(ViewError::EmptyValue(key));
        }
        let value = value.to_lowercase();
        if value.len() > MAX_VALUE_BYTES {
            return Err(ViewError::LongValue(key));
        }
        if value.chars().any(char::is_control) {
            return Err(ViewError::ControlCharacter(key));
        }
        set.insert(value);
    }
    Ok(set)
}

/// The path that asks for this view, with percent escapes and a slash at its end: `only/arch=arm64/only/os=debian/`. Empty
/// for the view of everything. A view that nothing can pass has a key without values; that is not parsed again.
impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "only/", "/", "/")
    }
}

/// A view as people write it: see [`View::words`].
#[derive(Debug, Clone, Copy)]
pub struct Words<'a>(&'a View);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, "", " ", "")
    }
}

/// Reads filters with blanks between them, `arch=arm64 latest=1`; a blank or a percent sign in a value is escaped as in a
/// path (`%20`, `%25`). Nothing but blanks is the view of everything.
impl FromStr for View {
    type Err = ViewError;

    fn from_str(text: &str) -> Result<Self, ViewError> {
        let mut view = Self::default();
        for word in text.split_whitespace() {
            view.parse_segment(&decode(word).ok_or_else(|| ViewError::Escape(shorten(word)))?)?;
        }
        if view.is_nothing() { Err(ViewError::Nothing) } else { Ok(view) }
    }
}

/// Decodes percent escapes.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut pieces = text.as_bytes().split(|byte| *byte == b'%');
    bytes.extend_from_slice(pieces.next()?);
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.extend(HEXLOWER_PERMISSIVE.decode(digits).ok()?);
        bytes.extend_from_slice(rest);
    }
    String::from_utf8(bytes).ok()
}

impl View {
    /// The view as people write it: filters with blanks between them, values escaped as in a path. Reading it gives the same
    /// view, unless it [lets nothing pass](Self::is_nothing).
    pub fn words(&self) -> Words<'_> {
        Words(self)
    }

    /// Each filter after `before`, with `between` them and `end` after the last.
    fn write(&self, f: &mut fmt::Formatter<'_>, before: &str, between: &str, end: &str) -> fmt::Result {
        let mut first = true;
        let mut segment = |f: &mut fmt::Formatter<'_>, key: &str, values: &mut dyn Iterator<Item = &str>| {
            if !std::mem::take(&mut first) {
                f.write_str(between)?;
            }
            write!(f, "{before}{key}=")?;
            for (index, value) in values.enumerate() {
                if index > 0 {
                    f.write_char(',')?;
                }
                for byte in value.bytes() {
                    match byte {
                        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                            f.write_char(char::from(byte))?;
                        }
                        other => write!(f, "%{other:02X}")?,
                    }
                }
            }
            Ok(())
        };
        for set in &self.alias {
            segment(f, "alias", &mut set.iter().map(String::as_str))?;
        }
        if let Some(set) = &self.arch {
            segment(f, "arch", &mut set.iter().map(|arch| arch.stream_name()))?;
        }
        if let Some(number) = self.latest {
            segment(f, "latest", &mut std::iter::once(number.to_string().as_str()))?;
        }
        if let Some(set) = &self.os {
            segment(f, "os", &mut set.iter().map(String::as_str))?;
        }
        for set in &self.release {
            segment(f, "release", &mut set.iter().map(String::as_str))?;
        }
        if let Some(set) = &self.image_type {
            segment(f, "type", &mut set.iter().map(|kind| kind.as_str()))?;
        }
        if let Some(set) = &self.variant {
            segment(f, "variant", &mut set.iter().map(String::as_str))?;
        }
        if first { Ok(()) } else { f.write_str(end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simplestreams::testing::{image, product};

    fn view(segments: &[&str]) -> View {
        let mut view = View::default();
        for segment in segments {
            view.parse_segment(segment).unwrap();
        }
        view
    }

    fn error(segment: &str) -> String {
        View::default().parse_segment(segment).unwrap_err().to_string()
    }

    #[test]
    fn keys_are_what_can_be_filtered_by() {
        for key in KEYS {
            let parsed = View::default().parse_segment(&format!("{key}="));
            assert!(!matches!(parsed, Ok(()) | Err(ViewError::UnknownKey(_))), "{key}");
        }
        let told = ViewError::UnknownKey("x".to_owned()).to_string();
        let [first @ .., last] = KEYS;
        assert!(told.ends_with(&format!("use {} or {last}", first.join(", "))), "{told}");
    }

    #[test]
    fn equal_views_print_the_same() {
        let one = view(&["arch=amd64,aarch64", "os=Debian", "latest=5", "alias=a/b,a,c"]);
        let two =
            view(&["os=debian,alpine", "alias=c,a,a/b", "os=debian", "latest=9", "arch=arm64,x86_64", "latest=5"]);
        assert_eq!(one, two);
        assert_eq!(one.to_string(), two.to_string());
        assert_eq!(one.to_string(), "only/alias=a,a%2Fb,c/only/arch=amd64,arm64/only/latest=5/only/os=debian/");
        assert_eq!(view(&[]).to_string(), "");
        assert!(view(&[]).is_everything() && !one.is_everything());
        assert_ne!(view(&["alias=x,os=y"]), view(&["alias=x", "os=y"]));
        assert_ne!(view(&["alias=x,os=y"]).to_string(), view(&["alias=x", "os=y"]).to_string());
    }

    #[test]
    fn a_release_is_found_by_each_of_its_names() {
        let product = product("Debian", "bookworm", "default", "amd64", &[]);
        assert!(view(&["release=12"]).matches(&product));
        assert!(view(&["release=BOOKWORM"]).matches(&product));
        assert!(view(&["release=12", "release=bookworm"]).matches(&product));
        assert!(!view(&["release=12", "release=13"]).matches(&product));
        assert!(!view(&["os=ubuntu"]).matches(&product));
        assert!(!view(&["os=ubuntu", "os=debian"]).matches(&product));
        assert!(view(&["arch=x86_64"]).matches(&product));
        assert!(!view(&["variant=cloud"]).matches(&product));
    }

    #[test]
    fn an_alias_is_found_with_and_without_architecture() {
        let mut product = product("Debian", "bookworm", "default", "arm64", &[]);
        product.aliases = vec!["debian/12".into(), "Stable".into(), "odd/amd64".into()];
        assert!(view(&["alias=debian/12"]).matches(&product));
        assert!(view(&["alias=debian/12/arm64"]).matches(&product));
        assert!(view(&["alias=debian/12/aarch64"]).matches(&product));
        assert!(!view(&["alias=debian/12/amd64"]).matches(&product));
        assert!(view(&["alias=odd/amd64"]).matches(&product));
        assert!(view(&["alias=x,stable", "alias=debian/12"]).matches(&product));
        assert!(!view(&["alias=x", "alias=debian/12"]).matches(&product));
    }

    #[test]
    fn the_names_to_look_for_are_those_of_the_shortest_list() {
        assert_eq!(view(&["os=debian", "latest=1"]).names(), None);
        assert_eq!(view(&["os=debian", "os=alpine"]).names(), Some(BTreeSet::new()));
        let names = view(&["alias=a,b", "alias=Debian/12"]).names().unwrap();
        assert!(names.contains("debian/12") && names.contains("debian/12/amd64") && !names.contains("a"));
    }

    #[test]
    fn the_newest_versions_are_counted_after_the_images_were_chosen() {
        let versions = [
            ("20240101", vec![image(1, "squashfs"), image(2, "qcow2")]),
            ("20240102", vec![image(3, "qcow2")]),
            ("20240103", vec![image(4, "squashfs")]),
            ("20240104", vec![image(5, "qcow2")]),
        ];
        let product = product("Debian", "12", "default", "amd64", &versions);
        let left = view(&["type=container", "latest=2"]).narrow(product.clone()).unwrap();
        let names: Vec<&str> = left.versions.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(names, ["20240101", "20240103"]);
        assert_eq!(left.versions[0].images, [image(1, "squashfs")]);
        let left = view(&["latest=1"]).apply(vec![product.clone()]);
        assert_eq!(left[0].versions.len(), 1);
        assert_eq!(left[0].versions[0].name.as_str(), "20240104");
        assert_eq!(view(&["type=vm", "type=container"]).narrow(product.clone()), None);
        let of_any_age = view(&["type=container", "latest=1"]).of_any_age();
        assert_eq!(of_any_age, view(&["type=container"]));
        assert_eq!(of_any_age.narrow(product).unwrap().versions.len(), 2);
    }

    #[test]
    fn what_is_no_filter_is_refused_with_the_way_out() {
        assert_eq!(error("arch"), "the filter \"arch\" has no value; write it as key=value, for example arch=arm64");
        assert_eq!(
            error("colour=red"),
            "\"colour\" cannot be filtered by; use os, release, variant, arch, type, alias or latest"
        );
        assert_eq!(error("os="), "the filter os lists an empty value; remove it or write one");
        assert_eq!(error("os=a,,b"), "the filter os lists an empty value; remove it or write one");
        assert_eq!(error("os=a\0"), "the filter os holds a control character; remove it");
        assert!(error("arch=vax").starts_with("\"vax\" is no architecture"));
        assert!(error("type=oci").starts_with("\"oci\" is no image type"));
        for latest in ["0", "1001", "-1", "+1", "x", "", "1,2", "99999999999"] {
            assert_eq!(
                error(&format!("latest={latest}")),
                format!("latest={latest} is no number of versions; use one number from 1 to 1000")
            );
        }
        assert_eq!(
            error(&format!("os={}", "a".repeat(256))),
            "the filter os has a value of more than 255 bytes; shorten it"
        );
        let many = vec!["a"; 65].join(",");
        assert_eq!(error(&format!("os={many}")), "the filter os lists more than 64 values; list fewer");
    }

    #[test]
    fn written_with_blanks_it_is_read_again() {
        for (text, written) in [
            ("", ""),
            ("  arch=x86_64\tlatest=3 ", "arch=amd64 latest=3"),
            ("alias=a%20b,100%25,%C3%A9", "alias=100%25,a%20b,%C3%A9"),
            ("release=12 release=bookworm type=vm", "release=12 release=bookworm type=virtual-machine"),
        ] {
            let view: View = text.parse().unwrap();
            assert_eq!(view.words().to_string(), written);
            assert_eq!(written.parse(), Ok(view));
        }
        for (text, why) in [
            ("os=debian os=alpine", "these filters let nothing pass, because they exclude one another; mend them"),
            (
                "alias=50%",
                "the filter \"alias=50%\" has a percent sign that begins no escape; write a percent sign as %25 and a \
                 blank as %20",
            ),
            ("os = debian", "the filter \"os\" has no value; write it as key=value, for example arch=arm64"),
        ] {
            assert_eq!(text.parse::<View>().unwrap_err().to_string(), why);
        }
        for bad in ["os=%f", "os=%zz", "os=%ff", "os=%00"] {
            assert!(bad.parse::<View>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_holds_no_more_than_sixteen_filters() {
        let mut view = view(&["os=a"; 16]);
        let before = view.clone();
        assert_eq!(view.parse_segment("os=a"), Err(ViewError::TooManySegments));
        assert_eq!(view, before);
    }
}
