//! `metadata.yaml`: what an image says of itself.
//!
//! ```
//! use headwater_formats::metadata::Metadata;
//!
//! let metadata = Metadata::parse(b"
//! architecture: amd64
//! creation_date: 1704240000
//! properties:
//!   os: Debian
//!   release: 12.0
//!   serial: 20240103
//! ")?;
//! assert_eq!(metadata.architecture.name(), "x86_64");
//! assert_eq!(metadata.properties["release"], "12.0");
//! # Ok::<(), headwater_formats::metadata::MetadataError>(())
//! ```
//!
//! Source: LXD `shared/api/image.go` (`ImageMetadata`, `ImageMetadataTemplate`), Incus' of the same name, and what both
//! daemons insist on in `getImageMetadata` and `getImgPostInfo`: a known architecture and a creation date. Keys that
//! are not known are passed over. JSON is YAML, and is read too.
//!
//! The file comes from strangers: its size, depth, number of entries, length of a value and use of YAML's references
//! are all bounded. It knows nothing of archives (see [`crate::inspect`]), nor what properties mean (see
//! [`crate::product`]).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::arch::{Architecture, UnknownArchitecture};
use crate::timestamp::Timestamp;
use crate::yaml::{self, Entries, Text, YamlError};

/// How long a metadata.yaml may be, in bytes. Real ones have less than ten thousand.
pub const MAX_METADATA: usize = 1024 * 1024;

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The architecture of its programs, whatever name of it was used.
    pub architecture: Architecture,
    /// When it was made; after 1970-01-01.
    pub creation_date: Timestamp,
    /// When it should no longer be used; `None` is never, written 0 or left out.
    pub expiry_date: Option<Timestamp>,
    /// Free key-value pairs; numbers and yes-or-no words are texts as they were written.
    pub properties: BTreeMap<String, String>,
    /// Files that the daemon writes into an instance, by their path there.
    pub templates: BTreeMap<String, Template>,
}

/// A file that the daemon writes into an instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    /// On what occasions: `create`, `copy`, `start`, `rename`.
    pub when: Vec<String>,
    /// Only when there is no such file yet.
    pub create_only: bool,
    /// The file's name in `templates/`.
    pub template: String,
    /// Values for it.
    pub properties: BTreeMap<String, String>,
    /// Owner of the file (Incus).
    pub uid: Option<String>,
    /// Group of the file (Incus).
    pub gid: Option<String>,
    /// Permissions of the file (Incus).
    pub mode: Option<String>,
}

/// Why a metadata.yaml was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Longer than [`MAX_METADATA`], in bytes.
    #[error("metadata.yaml has {0} bytes, and {MAX_METADATA} are allowed; take long texts out of it")]
    TooBig(u64),
    /// Not UTF-8.
    #[error("metadata.yaml is not written in UTF-8; save it as UTF-8")]
    NotUtf8,
    /// Not YAML, or not of the expected shape.
    #[error("metadata.yaml cannot be read: {0}")]
    Yaml(String),
    /// References (`*name`), depth or number of nodes beyond any use.
    #[error("metadata.yaml is nested too deeply or refers to itself too often; write it out plainly")]
    Bomb,
    /// A key that must be there is not.
    #[error("metadata.yaml has no {0}; add it, for example \"{0}: {1}\"")]
    Missing(&'static str, &'static str),
    /// An architecture that no client knows.
    #[error("architecture in metadata.yaml: {0}")]
    Architecture(UnknownArchitecture),
    /// A time that is none.
    #[error("{0} in metadata.yaml is {1:?}; write seconds since 1970-01-01 UTC, for example 1704240000")]
    Time(&'static str, String),
}

impl From<YamlError> for MetadataError {
    fn from(error: YamlError) -> Self {
        match error {
            YamlError::Bomb => Self::Bomb,
            YamlError::Unreadable(sentence) => Self::Yaml(sentence),
        }
    }
}

impl Metadata {
    /// Reads the bytes of a metadata.yaml.
    ///
    /// # Errors
    ///
    /// A sentence that names the key, and the line where there is one.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetadataError> {
        if bytes.len() > MAX_METADATA {
            return Err(MetadataError::TooBig(bytes.len() as u64));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| MetadataError::NotUtf8)?;
        let document: Option<Document> = yaml::read(text)?;
        let document = document.unwrap_or_default();
        let architecture = document.architecture.filter(|text| !text.0.is_empty());
        let architecture = architecture.ok_or(MetadataError::Missing("architecture", "x86_64"))?.0;
        let creation_date = time("creation_date", document.creation_date)?;
        Ok(Self {
            architecture: architecture.parse().map_err(MetadataError::Architecture)?,
            creation_date: creation_date.ok_or(MetadataError::Missing("creation_date", "1704240000"))?,
            expiry_date: time("expiry_date", document.expiry_date)?,
            properties: document.properties.unwrap_or_default().into_texts(),
            templates: document.templates.unwrap_or_default().into_templates(),
        })
    }
}

/// Zero is no time at all, to both daemons.
fn time(key: &'static str, text: Option<Text>) -> Result<Option<Timestamp>, MetadataError> {
    let Some(Text(text)) = text else { return Ok(None) };
    let wrong = || MetadataError::Time(key, text.chars().take(64).collect());
    let seconds = whole_number(&text).filter(|seconds| *seconds >= 0).ok_or_else(wrong)?;
    if seconds == 0 {
        return Ok(None);
    }
    Timestamp::from_unix(seconds).map(Some).ok_or_else(wrong)
}

/// Some builders write `1704240000.0`, or `1.70424e+09`, which Go takes for a whole number too.
fn whole_number(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let number: f64 = text.parse().ok()?;
    // Up to 2^53 each whole number has a float of its own.
    (number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0).then_some(number as i64)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    architecture: Option<Text>,
    creation_date: Option<Text>,
    expiry_date: Option<Text>,
    properties: Option<Entries<Option<Text>>>,
    templates: Option<Entries<Option<TemplateDocument>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TemplateDocument {
    when: Option<Vec<Text>>,
    create_only: Option<bool>,
    template: Option<Text>,
    properties: Option<Entries<Option<Text>>>,
    uid: Option<Text>,
    gid: Option<Text>,
    mode: Option<Text>,
}

impl From<TemplateDocument> for Template {
    fn from(document: TemplateDocument) -> Self {
        let text = |text: Option<Text>| text.map(|text| text.0);
        Self {
            when: document.when.unwrap_or_default().into_iter().map(|text| text.0).collect(),
            create_only: document.create_only.unwrap_or_default(),
            template: text(document.template).unwrap_or_default(),
            properties: document.properties.unwrap_or_default().into_texts(),
            uid: text(document.uid),
            gid: text(document.gid),
            mode: text(document.mode),
        }
    }
}

impl Entries<Option<TemplateDocument>> {
    fn into_templates(self) -> BTreeMap<String, Template> {
        self.0.into_iter().filter_map(|(path, document)| Some((path, document?.into()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{MAX_ENTRIES, MAX_VALUE};

    const HEAD: &str = "architecture: x86_64\ncreation_date: 1704240000\n";

    fn parse(more: &str) -> Result<Metadata, MetadataError> {
        Metadata::parse(format!("{HEAD}{more}").as_bytes())
    }

    fn refusal(text: &str) -> String {
        Metadata::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn scalars_stay_as_they_were_written() {
        let metadata = parse(
            "properties:\n  release: 24.04\n  serial: 20240101\n  eol: yes\n  mask: 0x10\n  octal: 010\n  time: 20240103_07:42\n  \
             date: 2024-01-03\n  sci: 1e3\n  quoted: \"24.10\"\n  empty: \"\"\n  none:\n  tilde: ~\n  nil: null\n  text: a b # c\n",
        )
        .unwrap();
        let of = |key: &str| metadata.properties.get(key).map(String::as_str);
        assert_eq!(of("release"), Some("24.04"));
        assert_eq!(of("serial"), Some("20240101"));
        assert_eq!(of("eol"), Some("yes"));
        assert_eq!(of("mask"), Some("0x10"));
        assert_eq!(of("octal"), Some("010"));
        assert_eq!(of("time"), Some("20240103_07:42"));
        assert_eq!(of("date"), Some("2024-01-03"));
        assert_eq!(of("sci"), Some("1e3"));
        assert_eq!(of("quoted"), Some("24.10"));
        assert_eq!(of("empty"), Some(""));
        assert_eq!(of("text"), Some("a b"));
        assert_eq!((of("none"), of("tilde")), (None, None));
    }

    #[test]
    fn json_is_read_too() {
        let metadata = Metadata::parse(
            b"{\n\t\"architecture\": \"aarch64\",\n\t\"creation_date\": 1704240000,\n\t\"expiry_date\": 1706832000,\n\t\
              \"properties\": {\"os\": \"Debian\", \"release\": 12.0, \"slash\": \"a\\/b\"},\n\t\"templates\": null}",
        )
        .unwrap();
        assert_eq!(metadata.architecture, Architecture::Aarch64);
        assert_eq!(metadata.expiry_date, Timestamp::from_unix(1_706_832_000));
        assert_eq!(metadata.properties["release"], "12.0");
        assert_eq!(metadata.properties["slash"], "a/b");
    }

    #[test]
    fn templates_are_read_with_incus_owner_and_mode() {
        let metadata = parse(
            "templates:\n  /etc/hostname:\n    when: [create, copy]\n    create_only: true\n    template: hostname.tpl\n    \
             properties: {a: 1}\n    uid: 0\n    gid: \"0\"\n    mode: 0644\n  /etc/hosts:\n    when:\n    - start\n    template: hosts.tpl\n\
             what_is_this: [1, {2: 3}]\n",
        )
        .unwrap();
        let hostname = &metadata.templates["/etc/hostname"];
        assert_eq!(hostname.when, ["create", "copy"]);
        assert!(hostname.create_only);
        assert_eq!(hostname.properties["a"], "1");
        assert_eq!((hostname.uid.as_deref(), hostname.mode.as_deref()), (Some("0"), Some("0644")));
        let hosts = &metadata.templates["/etc/hosts"];
        assert_eq!((hosts.template.as_str(), hosts.create_only, hosts.uid.as_ref()), ("hosts.tpl", false, None));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            refusal("creation_date: 1\n"),
            "metadata.yaml has no architecture; add it, for example \"architecture: x86_64\""
        );
        let no_date = "metadata.yaml has no creation_date; add it, for example \"creation_date: 1704240000\"";
        assert_eq!(refusal("architecture: amd64\n"), no_date);
        assert_eq!(refusal("architecture: amd64\ncreation_date: 0\n"), no_date);
        assert!(refusal("").starts_with("metadata.yaml has no architecture"));
        assert!(
            refusal("architecture: vax\ncreation_date: 1\n")
                .starts_with("architecture in metadata.yaml: \"vax\" is no")
        );
    }

    #[test]
    fn times_are_whole_seconds_after_1970() {
        let date = |text: &str| {
            Metadata::parse(format!("architecture: amd64\ncreation_date: {text}\n").as_bytes())
                .map(|m| m.creation_date.unix())
        };
        assert_eq!(date("1704240000").unwrap(), 1_704_240_000);
        assert_eq!(date("\"1704240000\"").unwrap(), 1_704_240_000);
        assert_eq!(date("1704240000.0").unwrap(), 1_704_240_000);
        assert_eq!(date("1.70424e+09").unwrap(), 1_704_240_000);
        for wrong in
            ["-5", "1.5", "tomorrow", "99999999999999", "9223372036854775808", "1e300", ".inf", ".nan", "2024-01-03"]
        {
            let error = date(wrong).unwrap_err().to_string();
            assert!(error.contains("write seconds since 1970-01-01 UTC"), "{wrong}: {error}");
        }
        assert_eq!(parse("expiry_date: 0\n").unwrap().expiry_date, None);
        assert_eq!(parse("expiry_date:\n").unwrap().expiry_date, None);
    }

    #[test]
    fn a_value_of_the_wrong_shape_is_named() {
        let no_text = "this must be one text, not a list or a mapping; put it in quotes";
        let no_mapping = "this must be a mapping; write one \"name: value\" on each line below it";
        for (more, message) in [
            ("properties:\n  os: [a, b]\n", format!("line 4: \"os\": {no_text}")),
            ("properties:\n  os: {a: b}\n", format!("line 4: \"os\": {no_text}")),
            ("properties: [a, b]\n", format!("line 3: {no_mapping}")),
            ("properties: text\n", format!("line 3: {no_mapping}")),
            ("templates:\n  /etc/hosts: text\n", format!("line 4: \"/etc/hosts\": {no_mapping}")),
            (
                "templates:\n  /a:\n    when: create\n",
                "line 5: \"/a\": this must be a list; write it as [one, two]".to_owned(),
            ),
            ("templates:\n  /a:\n    properties: {b: [c]}\n", format!("line 5: \"b\": {no_text}")),
            ("properties:\n  os: a\n  os: b\n", "line 5: this name stands there twice; leave one".to_owned()),
            ("properties:\n  ~: b\n", "line 4: a name or a text is missing; write it, or take the line out".to_owned()),
            ("properties: {a: \"x\\0y\"}\n", "line 3: \"a\": a text holds a NUL character; take it out".to_owned()),
            (
                "---\narchitecture: x86_64\n",
                "line 4: there is more than one document in it; take the second \"---\" out".to_owned(),
            ),
        ] {
            let expected = format!("metadata.yaml cannot be read: {message}");
            assert_eq!(parse(more).unwrap_err().to_string(), expected, "{more:?}");
        }
        for more in ["\n\t- x", "a: [b", "a: \"b", "a: b: c", "x: *nowhere\n"] {
            let error = parse(more).unwrap_err().to_string();
            assert!(error.starts_with("metadata.yaml cannot be read: line "), "{more:?}: {error}");
            assert!(!error.contains('\n'), "{more:?}: {error}");
        }
        assert_eq!(Metadata::parse(b"\xff\xfe"), Err(MetadataError::NotUtf8));
    }

    #[test]
    fn sizes_are_bounded() {
        let properties = |n: usize| (0..n).fold("properties:\n".to_owned(), |text, i| format!("{text}  p{i}: {i}\n"));
        assert_eq!(parse(&properties(MAX_ENTRIES)).unwrap().properties.len(), MAX_ENTRIES);
        let error = parse(&properties(MAX_ENTRIES + 1)).unwrap_err().to_string();
        assert!(error.contains("more than 1024 entries"), "{error}");
        let value = |n: usize| format!("properties:\n  long: {}\n", "x".repeat(n));
        assert!(parse(&value(MAX_VALUE)).is_ok());
        let error = parse(&value(MAX_VALUE + 1)).unwrap_err().to_string();
        assert!(error.contains("\"long\": a text has 65537 bytes, and 65536 are allowed; shorten it"), "{error}");
        let error = Metadata::parse(&vec![b' '; MAX_METADATA + 1]).unwrap_err();
        assert_eq!(error, MetadataError::TooBig(MAX_METADATA as u64 + 1));
    }

    #[test]
    fn bombs_are_refused_at_once() {
        let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(",");
            laughs += &format!("a{level}: &a{level} [{aliases}]\n");
        }
        assert_eq!(parse(&laughs), Err(MetadataError::Bomb));
        let repeated = format!("x: &x \"{}\"\ny: [{}]\n", "x".repeat(60_000), vec!["*x"; 9000].join(","));
        assert_eq!(parse(&repeated), Err(MetadataError::Bomb));
        for deep in ["[".repeat(100_000), "{a: ".repeat(50_000), "- ".repeat(50_000)] {
            assert!(parse(&format!("z: {deep}")).is_err());
            assert!(parse(&format!("z:\n  {deep}")).is_err());
        }
        assert!(parse(&format!("z:\n{}", "  - a\n".repeat(60_000))).is_err());
    }

    #[test]
    fn a_little_use_of_references_is_fine() {
        let metadata = parse("properties:\n  os: &os Debian\n  title: *os\n").unwrap();
        assert_eq!(metadata.properties["title"], "Debian");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ -~\\n\\t\u{e9}&*:{}\\[\\],!|>%@-]{0,300}") {
            let _ = Metadata::parse(text.as_bytes());
            let _ = parse(&format!("properties:\n  {text}"));
        }

        #[test]
        fn any_text_survives_when_quoted(value in "\\PC{0,60}") {
            let quoted = serde_json::to_string(&value).unwrap();
            let metadata = parse(&format!("properties: {{a: {quoted}}}\n")).unwrap();
            proptest::prop_assert_eq!(&metadata.properties["a"], &value);
        }
    }
}
