//! What a bundle says is in it: JSON objects, one a line, so that neither side ever holds more than a few of them.
//!
//! ```text
//! {"bundle":{"format":1,…}}
//! {"product":{"key":"debian:bookworm:amd64:default",…}}
//! {"image":{"fingerprint":"…","files":[…],"place":{…},…}}
//! {"alias":{"name":"stable","follows":{…},…}}
//! {"gone":"…"}
//! ```
//!
//! They come in this order: a product, then its images; after all products the images without one, then aliases that follow products, then the fingerprints
//! of images that are gone. `docs/reference/bundles.md` tells the fields.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};

use headwater_formats::arch::Architecture;
use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::image::{FileFormat, FileRole, ImageFile, ImageFiles, ImageType};
use headwater_formats::names::{AliasName, ProjectName, VersionName};
use headwater_formats::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::BundleError;

/// The format that this release writes, and the latest that it reads.
pub(super) const FORMAT: u32 = 1;
/// The manifest's name in the tar; always the first entry.
pub(super) const NAME: &str = "manifest.jsonl";
/// Where files are in the tar.
const FILES: &str = "files/";
/// Most bytes of a manifest: enough for a million images.
pub(super) const MOST_MANIFEST: u64 = 2 << 30;
/// Most bytes of one line.
pub(super) const MOST_LINE: u64 = 1 << 20;
/// Most lines that are held at a time, …
const PAGE: usize = 256;
/// … and bytes after which no more are read.
const PAGE_BYTES: u64 = 4 << 20;
/// Longest key of a product, in bytes.
const MOST_KEY: usize = 512;

/// The name of a file in the tar.
pub(super) fn file_name(file: &ImageFile) -> String {
    format!("{FILES}{}", file.name())
}

/// Which bundle is meant: the SHA-256 of its manifest, and when it was made, for people who look for the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleId {
    /// SHA-256 of the manifest.
    pub id: Digest,
    /// When it was made.
    #[serde(with = "moment")]
    pub made_at: Timestamp,
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Which format this is.
    pub format: u32,
    /// When it was made.
    #[serde(with = "moment")]
    pub made_at: Timestamp,
    /// The project that it was made of.
    pub project: ProjectName,
    /// The filters, as people write them; empty for everything.
    pub only: String,
    /// Whether private images are in it, too.
    pub private: bool,
    /// The bundle that has the files which are not in this one; `None` for a whole one.
    pub builds_on: Option<BundleId>,
    /// How much follows.
    pub counts: Counts,
}

/// How much a bundle has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Products.
    pub products: u64,
    /// Images.
    pub images: u64,
    /// Aliases that follow products.
    pub aliases: u64,
    /// Images that earlier bundles listed and this one does not.
    pub gone: u64,
    /// Files that are carried.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Bundle(Box<Head>),
    Product(ProductLine),
    Image(Box<ImageLine>),
    Alias(AliasLine),
    Gone(Fingerprint),
}

/// What is said of a product: its images follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProductLine {
    pub(super) key: String,
    /// Names that were given to it, when they are not those that its newest image gives.
    pub(super) names: Option<Vec<String>>,
    pub(super) extra: BTreeMap<String, Json>,
}

/// An image as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageLine {
    pub(super) fingerprint: Fingerprint,
    #[serde(rename = "type", with = "text")]
    pub(super) image_type: ImageType,
    #[serde(with = "text")]
    pub(super) architecture: Architecture,
    /// One of a unified image; metadata and root of a split one, in this order.
    pub(super) files: Vec<FileLine>,
    pub(super) filename: String,
    #[serde(with = "moment")]
    pub(super) created_at: Timestamp,
    #[serde(with = "perhaps_moment")]
    pub(super) expires_at: Option<Timestamp>,
    pub(super) public: bool,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) profiles: Vec<String>,
    pub(super) aliases: Vec<NameLine>,
    pub(super) place: Option<PlaceLine>,
}

/// A file of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileLine {
    #[serde(with = "role")]
    pub(super) role: FileRole,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(with = "format")]
    pub(super) format: FileFormat,
    /// Whether it is the next file in the tar. One that is not came for an image before this one, or with an earlier bundle.
    pub(super) carried: bool,
}

/// A fixed alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NameLine {
    pub(super) name: AliasName,
    pub(super) description: String,
}

/// Where an image stands in the product of the last product line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaceLine {
    pub(super) product: String,
    pub(super) version: VersionName,
    pub(super) extra: BTreeMap<String, Json>,
}

/// An alias that follows products.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AliasLine {
    pub(super) name: AliasName,
    pub(super) description: String,
    pub(super) follows: FollowsLine,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FollowsLine {
    pub(super) os: String,
    pub(super) release: String,
    pub(super) variant: String,
}

impl FileLine {
    pub(super) fn file(&self) -> ImageFile {
        ImageFile { digest: self.digest, size: self.size, format: self.format }
    }
}

impl ImageLine {
    /// The files in the shape of an image; `None` when they make none.
    pub(super) fn image_files(&self) -> Option<ImageFiles> {
        match self.files.as_slice() {
            [one] if one.role == FileRole::Unified => Some(ImageFiles::Unified(one.file())),
            [metadata, root] if (metadata.role, root.role) == (FileRole::Metadata, FileRole::Root) => {
                Some(ImageFiles::Split { metadata: metadata.file(), root: root.file() })
            }
            _ => None,
        }
    }

    /// Whether it can be one, after the product of that key.
    fn check(&self, product: Option<&str>) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("the image {} {what}", self.fingerprint.short()));
        if self.image_files().is_none() {
            return wrong("has files that make no image");
        }
        if self.files.iter().any(|file| file.size == 0 || file.format == FileFormat::Vcdiff) {
            return wrong("has a file that is none of an image");
        }
        match (&self.place, product) {
            (None, None) => Ok(()),
            (Some(place), Some(product)) if place.product == product => Ok(()),
            _ => wrong("does not stand behind its product"),
        }
    }
}

impl ProductLine {
    fn check(&self) -> Result<(), String> {
        let good = |text: &str| !text.is_empty() && text.len() <= MOST_KEY && !text.chars().any(char::is_control);
        if !good(&self.key) {
            return Err("the key of a product is empty, too long, or has control characters".to_owned());
        }
        match self.names.iter().flatten().find(|name| AliasName::new(name.as_str()).is_err()) {
            Some(_) => Err(format!("a name of the product {:?} is none that an alias can have", self.key)),
            None => Ok(()),
        }
    }
}

impl FollowsLine {
    fn check(&self) -> Result<(), String> {
        let good = |text: &String| !text.is_empty() && text.len() <= 64 && !text.chars().any(char::is_control);
        match [&self.os, &self.release, &self.variant].into_iter().all(good) {
            true => Ok(()),
            false => Err("an alias follows something that is no line of products".to_owned()),
        }
    }
}

/// Reads the lines of a manifest that lies in a file.
pub(super) struct Lines {
    from: BufReader<File>,
    number: u64,
    bytes: u64,
    stage: Stage,
    product: Option<String>,
}

/// How far a manifest has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Start,
    Products,
    Loose,
    Aliases,
    Gone,
}

impl Lines {
    /// From the beginning.
    pub(super) fn begin(mut file: File) -> io::Result<Self> {
        file.rewind()?;
        Ok(Self { from: BufReader::new(file), number: 0, bytes: 0, stage: Stage::Start, product: None })
    }

    /// The file, to begin anew.
    pub(super) fn into_file(self) -> File {
        self.from.into_inner()
    }

    /// The next line, checked for itself and for its place.
    pub(super) fn next(&mut self) -> Result<Option<Line>, BundleError> {
        let mut text = Vec::new();
        // One more than may be, so that a longer one is seen.
        (&mut self.from).take(MOST_LINE + 1).read_until(b'\n', &mut text).map_err(BundleError::Spool)?;
        if text.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        self.bytes += text.len() as u64;
        if text.len() as u64 > MOST_LINE {
            return Err(self.wrong("it is longer than a line may be"));
        }
        if text.pop() != Some(b'\n') {
            return Err(self.wrong("it has no end"));
        }
        if self.number == 1 {
            self.look_at_format(&text)?;
        }
        let line: Line = serde_json::from_slice(&text).map_err(|error| self.wrong(&error.to_string()))?;
        self.place(&line).map_err(|why| self.wrong(&why))?;
        Ok(Some(line))
    }

    /// The next few lines; none at the end.
    pub(super) fn page(&mut self) -> Result<Vec<Line>, BundleError> {
        let (mut page, begun) = (Vec::new(), self.bytes);
        while page.len() < PAGE && self.bytes - begun < PAGE_BYTES {
            match self.next()? {
                Some(line) => page.push(line),
                None => break,
            }
        }
        Ok(page)
    }

    /// A later format may look different in everything but this.
    fn look_at_format(&self, text: &[u8]) -> Result<(), BundleError> {
        let first: Json = serde_json::from_slice(text).map_err(|error| self.wrong(&error.to_string()))?;
        match first.pointer("/bundle/format").and_then(Json::as_u64) {
            None => Err(self.wrong("it does not say which format it has")),
            Some(format) if format > u64::from(FORMAT) => Err(BundleError::Later(format)),
            Some(format) if format == u64::from(FORMAT) => Ok(()),
            Some(format) => Err(self.wrong(&format!("there is no format {format}"))),
        }
    }

    fn place(&mut self, line: &Line) -> Result<(), String> {
        let stage = match line {
            Line::Bundle(_) => Stage::Start,
            Line::Product(_) => Stage::Products,
            Line::Image(image) if image.place.is_some() => Stage::Products,
            Line::Image(_) => Stage::Loose,
            Line::Alias(_) => Stage::Aliases,
            Line::Gone(_) => Stage::Gone,
        };
        if (stage == Stage::Start) != (self.number == 1) || stage < self.stage {
            return Err("it stands in the wrong place".to_owned());
        }
        self.stage = stage;
        match line {
            Line::Product(product) => {
                product.check()?;
                self.product = Some(product.key.clone());
            }
            Line::Image(image) => {
                let product = self.product.as_deref().filter(|_| image.place.is_some());
                image.check(product)?;
            }
            Line::Alias(alias) => alias.follows.check()?,
            Line::Bundle(_) | Line::Gone(_) => {}
        }
        Ok(())
    }

    fn wrong(&self, why: &str) -> BundleError {
        BundleError::Manifest { line: self.number, why: why.to_owned() }
    }
}

/// Reads a manifest to its end and compares it with what its first line says; gives that, and the lines from the second on.
pub(super) fn checked(file: File) -> Result<(Head, Lines), BundleError> {
    let mut lines = Lines::begin(file).map_err(BundleError::Spool)?;
    let head = head(&mut lines)?;
    let mut counts = Counts::default();
    while let Some(line) = lines.next()? {
        counts.add(&line);
    }
    if counts != head.counts {
        return Err(lines.wrong("what came until here is not as much as the first line says"));
    }
    let mut lines = Lines::begin(lines.into_file()).map_err(BundleError::Spool)?;
    let head = self::head(&mut lines)?;
    Ok((head, lines))
}

fn head(lines: &mut Lines) -> Result<Head, BundleError> {
    match lines.next()? {
        Some(Line::Bundle(head)) => Ok(*head),
        Some(_) => Err(lines.wrong("it stands in the wrong place")),
        None => Err(BundleError::Manifest { line: 1, why: "it is missing".to_owned() }),
    }
}

impl Counts {
    /// Counts a line.
    pub(super) fn add(&mut self, line: &Line) {
        match line {
            Line::Bundle(_) => {}
            Line::Product(_) => self.products += 1,
            Line::Image(image) => {
                self.images += 1;
                for file in image.files.iter().filter(|file| file.carried) {
                    self.files += 1;
                    self.bytes = self.bytes.saturating_add(file.size);
                }
            }
            Line::Alias(_) => self.aliases += 1,
            Line::Gone(_) => self.gone += 1,
        }
    }
}

/// What is written as its `Display` and read as its `FromStr`.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// A time of RFC 3339.
mod moment {
    use headwater_formats::timestamp::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&at.rfc3339())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        Timestamp::parse_rfc3339(&text).ok_or_else(|| de::Error::custom("a time is none of RFC 3339"))
    }
}

/// The same, or null.
mod perhaps_moment {
    use headwater_formats::timestamp::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(super) fn serialize<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        at.map(Timestamp::rfc3339).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        let read = |text: String| {
            Timestamp::parse_rfc3339(&text).ok_or_else(|| de::Error::custom("a time is none of RFC 3339"))
        };
        text.map(read).transpose()
    }
}

/// The extension of a format.
mod format {
    use headwater_formats::image::FileFormat;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(format: &FileFormat, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(format.extension())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<FileFormat, D::Error> {
        let text = String::deserialize(from)?;
        FileFormat::from_extension(&text).ok_or_else(|| de::Error::custom("a file has a format that is unknown"))
    }
}

/// The word of a role.
mod role {
    use headwater_formats::image::FileRole;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(role: &FileRole, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(role.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<FileRole, D::Error> {
        let text = String::deserialize(from)?;
        FileRole::parse(&text).ok_or_else(|| de::Error::custom("a file has a role that is unknown"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const HEAD: &str = r#"{"bundle":{"format":1,"made_at":"2025-01-01T00:00:00Z","project":"default","only":"","private":false,"builds_on":null,"counts":COUNTS}}"#;
    const PRODUCT: &str = r#"{"product":{"key":"a:b:amd64:c","names":null,"extra":{}}}"#;
    const GONE: &str = r#"{"gone":"0000000000000000000000000000000000000000000000000000000000000000"}"#;

    fn image(place: &str, files: &str) -> String {
        let digest = "11".repeat(32);
        let files = files.replace("DIGEST", &digest);
        format!(
            r#"{{"image":{{"fingerprint":"{digest}","type":"container","architecture":"x86_64","files":[{files}],"filename":"a.tar","created_at":"2025-01-01T00:00:00Z","expires_at":null,"public":true,"properties":{{}},"profiles":[],"aliases":[],"place":{place}}}}}"#
        )
    }

    const UNIFIED: &str = r#"{"role":"unified","digest":"DIGEST","size":5,"format":"tar.xz","carried":true}"#;
    const PLACE: &str = r#"{"product":"a:b:amd64:c","version":"20250101","extra":{}}"#;

    fn head(products: u64, images: u64, gone: u64) -> String {
        let counts = Counts { products, images, gone, files: images, bytes: images * 5, aliases: 0 };
        HEAD.replace("COUNTS", &serde_json::to_string(&counts).unwrap())
    }

    fn read(lines: &[&str]) -> Result<(Head, Lines), BundleError> {
        let mut file = tempfile::tempfile().unwrap();
        for line in lines {
            writeln!(file, "{line}").unwrap();
        }
        checked(file)
    }

    fn why(lines: &[&str]) -> String {
        match read(lines) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("that is a manifest: {lines:?}"),
        }
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        let (image, loose) = (image(PLACE, UNIFIED), image("null", UNIFIED));
        let (found, mut lines) = read(&[&head(1, 2, 1), PRODUCT, &image, &loose, GONE]).unwrap();
        assert_eq!((found.counts.files, found.counts.bytes, found.project.as_str()), (2, 10, "default"));
        for written in [PRODUCT, &image, &loose, GONE] {
            let line = lines.next().unwrap().unwrap();
            assert_eq!(serde_json::to_string(&line).unwrap(), written);
        }
        assert_eq!(lines.next().unwrap(), None);
    }

    #[test]
    fn each_mistake_is_told() {
        let (placed, loose) = (image(PLACE, UNIFIED), image("null", UNIFIED));
        let later = head(0, 0, 0).replace(r#""format":1"#, r#""format":2,"new":true"#);
        let elsewhere = placed.replace("a:b:amd64:c", "x:y:amd64:z");
        let root = image("null", &UNIFIED.replace("unified", "root"));
        let empty = image("null", &UNIFIED.replace(":5", ":0"));
        let delta = image("null", &UNIFIED.replace("tar.xz", "vcdiff"));
        let escape = PRODUCT.replace("a:b", "a\\u0007b");
        for (lines, expected) in [
            (vec![], "line 1 of the manifest is wrong: it is missing"),
            (vec![PRODUCT], "line 1 of the manifest is wrong: it does not say which format it has"),
            (
                vec![&later],
                "the bundle has format 2, which a later release of Headwater writes; this one reads format 1",
            ),
            (vec![&head(1, 0, 0)], "line 1 of the manifest is wrong: what came until here is not as much"),
            (vec![&head(0, 0, 0), PRODUCT], "line 2 of the manifest is wrong: what came until here is not as much"),
            (vec![&head(0, 0, 0), &head(0, 0, 0)], "line 2 of the manifest is wrong: it stands in the wrong place"),
            (vec![&head(1, 0, 1), GONE, PRODUCT], "line 3 of the manifest is wrong: it stands in the wrong place"),
            (vec![&head(1, 2, 0), PRODUCT, &loose, &placed], "line 4 of the manifest is wrong: it stands in the wrong"),
            (vec![&head(1, 1, 0), PRODUCT, &elsewhere], "the image 111111111111 does not stand behind its product"),
            (vec![&head(0, 1, 0), &root], "the image 111111111111 has files that make no image"),
            (vec![&head(0, 1, 0), &empty], "the image 111111111111 has a file that is none of an image"),
            (vec![&head(0, 1, 0), &delta], "the image 111111111111 has a file that is none of an image"),
            (vec![&head(1, 0, 0), &escape], "the key of a product is empty, too long, or has control characters"),
            (vec![&head(0, 0, 0), r#"{"other":1}"#], "line 2 of the manifest is wrong: unknown variant"),
            (vec![&head(0, 0, 0), "{"], "line 2 of the manifest is wrong: EOF while parsing"),
        ] {
            let why = why(&lines);
            assert!(why.contains(expected), "{why}\nwanted: {expected}");
        }
        let long = format!("{{\"gone\":\"{}\"}}", "0".repeat(5 << 20));
        assert!(why(&[&head(0, 0, 1), &long]).contains("it is longer than a line may be"));
    }
}
