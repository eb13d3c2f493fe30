//! What can be set, where from, and what it is when nobody sets it.
//!
//! ```
//! let config = headwater::config::Config::read(None).unwrap();
//! assert_eq!(config.log.level, "info");
//! ```
//!
//! Three layers, the first that says something wins: flags of the command line, `HEADWATER_…` in the environment, the file
//! (TOML). Everything has a default, so none of the three is needed. [`template`] is the commented file, made from the words
//! below; `docs/reference/configuration.md` holds the same text, and a test compares them.
//!
//! This file does not know the command line; that is [`crate::cli`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use confique::Config as _;
use confique::toml::FormatOptions;
use headwater_formats::arch::Architecture;
use serde::Deserialize;

use crate::deltas;
use crate::http::accept::Limits;
use crate::http::tls::Files;

/// The settings of a Headwater server. Every one may be left out.
#[allow(rustdoc::broken_intra_doc_links, reason = "[::] is an address, and people read these words as they are")]
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Config {
    /// The data folder: catalog, images and certificate. Without it:
    /// $XDG_DATA_HOME/headwater, else ~/.local/share/headwater.
    #[config(env = "HEADWATER_DATA")]
    pub data: Option<PathBuf>,
    /// A PostgreSQL server for the catalog, as postgres://user:password@host/database.
    /// Without it, the catalog is a file in the data folder.
    #[config(env = "HEADWATER_DATABASE")]
    pub database: Option<String>,
    /// Where to listen: TLS and plain HTTP on the same port. [::] is every address,
    /// IPv4 included. Ignored when systemd hands over sockets. In the environment,
    /// several are separated by commas.
    #[config(env = "HEADWATER_LISTEN", parse_env = confique::env::parse::list_by_comma, default = ["[::]:8443"])]
    pub listen: Vec<SocketAddr>,
    /// What the server calls itself: the certificate of the first run is made for this
    /// name, and the first run prints it in commands. LXD and Incus take two servers of
    /// one name for the same server, so give each its own. Without it: the name of the host.
    #[config(env = "HEADWATER_SERVER_NAME")]
    pub server_name: Option<String>,
    /// Where others reach the server, as host:port, best first: for servers that are told
    /// to fetch images here, and in tokens to join. Without it: the name of the server and
    /// the addresses that it listens on. In the environment, separated by commas.
    #[config(env = "HEADWATER_ADDRESSES", parse_env = confique::env::parse::list_by_comma)]
    pub addresses: Option<Vec<String>>,
    /// The architectures that an alias such as debian/12 means for clients that do not
    /// say their own, best first. Without it: that of this machine.
    #[config(env = "HEADWATER_ARCHITECTURES", parse_env = confique::env::parse::list_by_comma)]
    pub architectures: Option<Vec<String>>,
    /// How many hours the files of deleted images can still be downloaded: clients keep
    /// lists for an hour and more.
    #[config(env = "HEADWATER_GRACE_HOURS", default = 24)]
    pub grace_hours: u32,
    /// How many days it is kept who did what (`headwater audit`); 0 is for ever.
    #[config(env = "HEADWATER_AUDIT_DAYS", default = 365)]
    pub audit_days: u32,
    /// Whether publishers may have this server fetch images from other servers, and push
    /// images to them. It then connects to whatever https address a publisher names.
    #[config(env = "HEADWATER_CONNECT", default = true)]
    pub connect: bool,
    /// How often, in hours, images that follow their source are looked for there; 0 is
    /// never.
    #[config(env = "HEADWATER_AUTO_UPDATE_HOURS", default = 6)]
    pub auto_update_hours: u32,
    /// The certificate.
    #[config(nested)]
    pub tls: Tls,
    /// Private images.
    #[config(nested)]
    pub private: Private,
    /// What clients may cost.
    #[config(nested)]
    pub limits: LimitSettings,
    /// What is kept in memory.
    #[config(nested)]
    pub cache: Cache,
    /// Deltas, with which hosts download only what changed of an image.
    #[config(nested)]
    pub deltas: DeltaSettings,
    /// What is written to standard error.
    #[config(nested)]
    pub log: Log,
}

/// The certificate.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Tls {
    /// The certificate chain in PEM; read again when the file changes, so that any ACME
    /// client can renew it. Without it: one that the first run makes, in tls/server.crt
    /// of the data folder.
    #[config(env = "HEADWATER_TLS_CERTIFICATE")]
    pub certificate: Option<PathBuf>,
    /// The key of the certificate in PEM.
    #[config(env = "HEADWATER_TLS_KEY")]
    pub key: Option<PathBuf>,
    /// Also speak TLS 1.2. LXD and Incus never need it.
    #[config(env = "HEADWATER_TLS_ALLOW_1_2", default = false)]
    pub allow_1_2: bool,
}

/// Private images.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Private {
    /// Files of streams with a token in their address can be had only from the network
    /// (the IPv4 address, or the first half of the IPv6 address) to which the list was
    /// sent. Without it, who overhears an address can use it from anywhere for a day:
    /// only for clients whose address changes between two requests.
    #[config(env = "HEADWATER_PRIVATE_BIND_ADDRESSES", default = true)]
    pub bind_addresses: bool,
}

/// What clients may cost.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct LimitSettings {
    /// Connections at a time; further ones wait.
    #[config(env = "HEADWATER_LIMITS_CONNECTIONS", default = 4096)]
    pub connections: u32,
    /// Connections at a time that one client may have: one IPv4 address, or the /64
    /// of an IPv6 address; further ones are closed at once. 0 is no limit. Where a
    /// proxy passes connections on, all of them are of one client, the proxy.
    #[config(env = "HEADWATER_LIMITS_CONNECTIONS_PER_CLIENT", default = 2048)]
    pub connections_per_client: u32,
    /// Seconds that a TLS handshake may take.
    #[config(env = "HEADWATER_LIMITS_HANDSHAKE_SECONDS", default = 10)]
    pub handshake_seconds: u32,
    /// Seconds that the head of a request may take, and that a connection may stay
    /// open without one.
    #[config(env = "HEADWATER_LIMITS_IDLE_SECONDS", default = 30)]
    pub idle_seconds: u32,
    /// Seconds that a client may take nothing of a download, or send nothing of an
    /// upload, before it is given up.
    #[config(env = "HEADWATER_LIMITS_STALL_SECONDS", default = 60)]
    pub stall_seconds: u32,
    /// Images that may be uploaded at a time; further ones wait, a minute at most.
    #[config(env = "HEADWATER_LIMITS_UPLOADS", default = 16)]
    pub uploads: u32,
    /// GiB that one upload may have.
    #[config(env = "HEADWATER_LIMITS_UPLOAD_GIB", default = 256)]
    pub upload_gib: u32,
    /// Bytes a second that an upload has to come with; looked at once a minute.
    #[config(env = "HEADWATER_LIMITS_UPLOAD_RATE", default = 1024)]
    pub upload_rate: u32,
    /// Seconds that running downloads may take when the server is told to end.
    #[config(env = "HEADWATER_LIMITS_DRAIN_SECONDS", default = 30)]
    pub drain_seconds: u32,
}

/// What is kept in memory.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Cache {
    /// MiB of memory for what is kept of simplestreams documents: about 300 bytes for each product and kind of client, and
    /// documents of up to 256 KiB as a whole. Compressed parts of documents lie on the disk of the data folder.
    #[config(env = "HEADWATER_CACHE_DOCUMENTS_MIB", default = 64)]
    pub documents_mib: u32,
    /// MiB of whole answers that are kept for guests who ask the same; one answer takes at most a quarter of it.
    #[config(env = "HEADWATER_CACHE_ANSWERS_MIB", default = 16)]
    pub answers_mib: u32,
}

/// Deltas, with which hosts download only what changed of an image.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct DeltaSettings {
    /// Whether the server makes deltas by itself, in the background.
    #[config(env = "HEADWATER_DELTAS_ENABLED", default = true)]
    pub enabled: bool,
    /// Most deltas to one file: from the version before it, and from those that most
    /// clients were seen to hold.
    #[config(env = "HEADWATER_DELTAS_BASES", default = 3)]
    pub bases: u32,
    /// A delta that is not smaller than so many percent of the full file is dropped.
    #[config(env = "HEADWATER_DELTAS_LARGEST_PERCENT", default = 70)]
    pub largest_percent: u32,
    /// All deltas to one file together have at most so many percent of its bytes: those
    /// that help most clients come first, and the others are dropped.
    #[config(env = "HEADWATER_DELTAS_TOGETHER_PERCENT", default = 100)]
    pub together_percent: u32,
    /// Deltas that are made at a time.
    #[config(env = "HEADWATER_DELTAS_AT_ONCE", default = 1)]
    pub at_once: u32,
    /// MiB of memory that making one takes, about; at least 112.
    #[config(env = "HEADWATER_DELTAS_MEMORY_MIB", default = 512)]
    pub memory_mib: u32,
}

/// What is written to standard error.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Log {
    /// text or json (one object per line).
    #[config(env = "HEADWATER_LOG_FORMAT", default = "text")]
    pub format: LogFormat,
    /// error, warn, info, debug or trace; also per part, as in "info,access=warn".
    /// Each request is a line of the part "access". Taken over on SIGHUP.
    #[config(env = "HEADWATER_LOG_LEVEL", default = "info")]
    pub level: String,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file or the environment.
    #[error("the configuration cannot be used: {0}; `headwater serve --print-config` shows what can be set")]
    Unusable(String),
    /// A certificate without a key, or a key without a certificate.
    #[error("tls.certificate and tls.key belong together; set both, or neither to use the one of the first run")]
    HalfACertificate,
    /// An architecture that nobody knows.
    #[error("architectures: {0}")]
    Architecture(#[from] headwater_formats::arch::UnknownArchitecture),
    /// Nothing to listen on.
    #[error("listen names no address; give at least one, for example \"[::]:8443\"")]
    NoAddress,
    /// Not `host:port`.
    #[error("addresses: {0:?} is no host with a port; write it as images.example.com:8443 or [2001:db8::7]:8443")]
    NotAnAddress(String),
    /// A limit of zero.
    #[error("{0} is 0, with which nothing would be served; give at least 1")]
    Zero(&'static str),
    /// A number that makes no sense.
    #[error("{name} is {value}; give a number from {least} to {most}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: u32,
        /// The least that can be.
        least: u32,
        /// The most that can be.
        most: u32,
    },
}

impl Config {
    /// Reads the environment and, if there is one, the file.
    pub fn read(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut builder = Self::builder().env();
        if let Some(path) = file {
            // confique takes a file that is not there for an empty one; a misspelt name should be told.
            if let Err(error) = std::fs::metadata(path) {
                return Err(ConfigError::Unusable(format!("{}: {error}", path.display())));
            }
            // Whatever its name ends with.
            let file = confique::File::with_format(path, confique::FileFormat::Toml).load();
            let layer = file.map_err(|error| ConfigError::Unusable(of_file(path, &causes(&error))))?;
            builder = builder.preloaded(layer);
        }
        let config = builder.load().map_err(|error| ConfigError::Unusable(of_environment(&causes(&error))))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return Err(ConfigError::HalfACertificate);
        }
        if self.listen.is_empty() {
            return Err(ConfigError::NoAddress);
        }
        let LimitSettings { connections, handshake_seconds, idle_seconds, stall_seconds, uploads, upload_gib, .. } =
            self.limits;
        for (value, name) in [
            (connections, "limits.connections"),
            (handshake_seconds, "limits.handshake_seconds"),
            (idle_seconds, "limits.idle_seconds"),
            (stall_seconds, "limits.stall_seconds"),
            (uploads, "limits.uploads"),
            (upload_gib, "limits.upload_gib"),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero(name));
            }
        }
        let DeltaSettings { bases, largest_percent, together_percent, at_once, memory_mib, enabled: _ } = self.deltas;
        for (value, name, least, most) in [
            (bases, "deltas.bases", 1, 64),
            (largest_percent, "deltas.largest_percent", 1, 100),
            (together_percent, "deltas.together_percent", 1, 6400),
            (at_once, "deltas.at_once", 1, 64),
            (memory_mib, "deltas.memory_mib", 112, u32::MAX),
        ] {
            if !(least..=most).contains(&value) {
                return Err(ConfigError::OutOfRange { name, value, least, most });
            }
        }
        for address in self.addresses.iter().flatten() {
            if !is_host_and_port(address) {
                return Err(ConfigError::NotAnAddress(address.clone()));
            }
        }
        self.architectures().map(|_| ())
    }

    /// The architectures of aliases for clients that do not say theirs.
    pub fn architectures(&self) -> Result<Vec<Architecture>, ConfigError> {
        match &self.architectures {
            Some(names) => names.iter().map(|name| Ok(name.trim().parse()?)).collect(),
            None => Ok(std::env::consts::ARCH.parse().into_iter().collect()),
        }
    }

    /// Where the certificate is; `true` when it is ours to make.
    pub fn certificate(&self, data: &Path) -> (Files, bool) {
        match (&self.tls.certificate, &self.tls.key) {
            (Some(certificate), Some(key)) => (Files { certificate: certificate.clone(), key: key.clone() }, false),
            _ => (Files::in_data(data), true),
        }
    }

    /// How deltas are made; `background` says whether that makes way for others.
    pub fn deltas(&self, background: bool) -> deltas::Settings {
        deltas::Settings {
            bases: usize::try_from(self.deltas.bases).unwrap_or(usize::MAX),
            largest_percent: u8::try_from(self.deltas.largest_percent).unwrap_or(100),
            together_percent: self.deltas.together_percent,
            memory: u64::from(self.deltas.memory_mib) << 20,
            background,
        }
    }

    /// The limits as the accept loop takes them.
    pub fn limits(&self) -> Limits {
        let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
        Limits {
            connections: usize::try_from(self.limits.connections).unwrap_or(usize::MAX),
            connections_per_client: usize::try_from(self.limits.connections_per_client).unwrap_or(usize::MAX),
            handshake: seconds(self.limits.handshake_seconds),
            head: seconds(self.limits.idle_seconds),
            stall: seconds(self.limits.stall_seconds),
            rate: u64::from(self.limits.upload_rate),
            drain: seconds(self.limits.drain_seconds),
            ..Limits::default()
        }
    }
}

/// `images.example:8443`, `192.0.2.7:8443`, `[2001:db8::7]:8443`.
pub fn is_host_and_port(text: &str) -> bool {
    let named = || {
        text.parse::<http::uri::Authority>().is_ok_and(|authority| {
            !authority.host().is_empty()
                && !text.contains(['@', '['])
                && authority.port_u16().is_some_and(|port| port > 0)
        })
    };
    text.parse::<SocketAddr>().is_ok_and(|address| address.port() > 0) || named()
}

/// The commented configuration file with all the defaults.
pub fn template() -> String {
    confique::toml::template::<Config>(FormatOptions::default())
}

/// What is wrong in a file, by its line.
fn of_file(path: &Path, causes: &str) -> String {
    let path = path.display();
    match causes.split_once("TOML parse error at ") {
        // Between the place and the reason, the parser draws the line.
        Some((_, rest)) => {
            let mut lines = rest.lines();
            let (place, reason) = (lines.next().unwrap_or_default(), lines.next_back().unwrap_or_default());
            format!("{path}, {place}: {}", plain(reason))
        }
        None if causes.contains("invalid utf-8") => format!("{path}: it is not written in UTF-8; save it as UTF-8"),
        None => format!("{path}: {}", plain(causes.rsplit(": ").next().unwrap_or_default())),
    }
}

/// What is wrong in the environment, by the variable's name.
fn of_environment(causes: &str) -> String {
    let named = causes.split_once("environment variable `").and_then(|(_, rest)| rest.split_once('`'));
    match named.and_then(|(name, rest)| Some((name, rest.split_once(": ")?.1))) {
        Some((name, reason)) => format!("{name}: {}", plain(reason)),
        None => plain(causes),
    }
}

/// What parsers say to programmers, and how it is said to people.
const PLAIN: &[(&str, &str)] = &[
    (" for type u32: invalid digit found in string", ", expected a whole number from 0 to 4294967295"),
    (" for type u32: number too large to fit in target type", ", expected a whole number from 0 to 4294967295"),
    ("expected u32", "expected a whole number from 0 to 4294967295"),
    ("expected a sequence", "expected a list, as in [\"one\", \"two\"]"),
    ("invalid socket address syntax", "this is no address with a port; write it as 192.0.2.7:8443 or [::]:8443"),
    ("invalid value for bool:", "neither true nor false:"),
    ("value is not valid unicode", "it is not written in UTF-8"),
];

fn plain(text: &str) -> String {
    PLAIN.iter().fold(text.to_owned(), |text, (words, plain)| text.replace(words, plain))
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string().trim_end().to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(next.trim_end()) {
            text.push_str(": ");
            text.push_str(next.trim_end());
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headwater.toml");
        std::fs::write(&path, text).unwrap();
        Config::read(Some(&path))
    }

    #[test]
    fn everything_has_a_default_and_the_template_says_it() {
        let config = read(&template()).unwrap();
        assert_eq!(config.listen, ["[::]:8443".parse().unwrap()]);
        assert_eq!((config.limits().connections, config.audit_days), (4096, 365));
        assert!(!config.architectures().unwrap().is_empty());
        assert_eq!(config.certificate(Path::new("/d")).0.key, Path::new("/d/tls/server.key"));
    }

    #[test]
    fn the_reference_is_the_template() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/configuration.md");
        let expected = format!(
            "# Configuration\n\nHeadwater needs no configuration. What can be set stands below, with its default; `headwater serve \
             --print-config` prints the same.\nA flag of the command line comes first, then the environment, then the file that \
             `--config FILE` (or `HEADWATER_CONFIG`) names.\n\n```toml\n{}```\n",
            template()
        );
        if std::env::var_os("HEADWATER_UPDATE_DOCS").is_some() {
            std::fs::write(&page, &expected).unwrap();
        }
        let found = std::fs::read_to_string(&page).unwrap_or_default();
        assert!(found == expected, "{} is out of date; run this test with HEADWATER_UPDATE_DOCS=1", page.display());
    }

    /// Every limit that can be set is explained, with its default, and nothing is explained that is not there.
    #[test]
    fn the_page_of_limits_names_every_setting_with_its_default() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/limits.md");
        let page = std::fs::read_to_string(page).unwrap();
        let template = template();
        let (_, limits) = template.split_once("[limits]\n").unwrap();
        let limits = limits.split("\n[").next().unwrap();
        let settings: Vec<(&str, &str)> =
            limits.lines().filter_map(|line| line.strip_prefix('#')?.split_once(" = ")).collect();
        assert!(settings.len() > 5, "{settings:?}");
        for (name, default) in &settings {
            let rows: Vec<&str> = page.lines().filter(|line| line.contains(&format!("| `limits.{name}` |"))).collect();
            assert!(!rows.is_empty(), "limits.{name} is not on the page");
            for row in rows {
                let told = row.split('|').nth(2).unwrap().trim();
                assert!(told.split(' ').any(|word| word == *default), "limits.{name} = {default}, but: {row}");
            }
        }
        for word in page.split('`').filter_map(|word| word.strip_prefix("limits.")) {
            let name = word.split(' ').next().unwrap();
            assert!(name == "name" || settings.iter().any(|(known, _)| *known == name), "there is no limits.{name}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        for (text, words) in [
            ("colour = 1", "unknown field `colour`"),
            ("[tls]\nallow_1_3 = true", "unknown field `allow_1_3`"),
            ("listen = [\"8443\"]", "line 1, column 11: this is no address with a port"),
            ("listen = []", "listen names no address"),
            ("addresses = [\"images.example\"]", "addresses: \"images.example\" is no host with a port"),
            ("addresses = [\"https://images.example:8443\"]", "is no host with a port"),
            ("[tls]\ncertificate = \"a\"", "belong together"),
            ("architectures = [\"vax\"]", "architectures: \"vax\" is no architecture"),
            ("[limits]\nconnections = 0", "limits.connections is 0"),
            ("[deltas]\nlargest_percent = 101", "deltas.largest_percent is 101; give a number from 1 to 100"),
            ("[deltas]\nmemory_mib = 64", "deltas.memory_mib is 64; give a number from 112 to"),
            ("[log]\nformat = \"xml\"", "unknown variant `xml`"),
            ("listen = ", "headwater.toml"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headwater.conf");
        std::fs::write(&path, "grace_hours = 1").unwrap();
        assert_eq!(Config::read(Some(&path)).unwrap().grace_hours, 1, "whatever its name ends with");
        let error = Config::read(Some(Path::new("/nowhere/headwater.toml"))).unwrap_err().to_string();
        assert!(error.contains("/nowhere/headwater.toml: No such file"), "{error}");
    }
}
