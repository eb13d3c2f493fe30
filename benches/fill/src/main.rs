//! Fills a catalog with made-up images, for measuring: `cargo run --release -p headwater-fill -- FOLDER --images 20000`
//!
//! FOLDER becomes a data folder whose catalog holds so many public images in the project `default`, and a twenty-fifth as many private
//! ones in the project `team`. They are rows only, with digests that nothing has: lists, documents and look-ups are real, downloads
//! end at missing bytes. The same seed gives the same catalog, byte for byte as far as anybody can read it.
//!
//! The images look like those of a busy image factory. A *line* is one operating system, release and purpose (`default`, or an
//! appliance such as `postgres-17`), built for three architectures, plain and with cloud-init, as container and virtual machine: ten
//! images, under one serial. Each line has [`VERSIONS`] serials. Within one `os`, a serial belongs to one line, so that
//! `properties.serial eq … and properties.os eq …` matches exactly ten images, whatever the size of the catalog. They are published in
//! the order of their serials, as a factory does: every line once, then every line again a week later.
//!
//! Beside the catalog stands `facts.json`, what was made, and `samples/` with what to ask for, from all over the catalog, one a line:
//! `fingerprints`, `aliases` (generated and fixed), `following` (aliases that follow by hand), and `filters` (`os serial`).

#![allow(clippy::print_stderr, reason = "it is a program that tells how far it is")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use headwater::app::App;
use headwater::catalog::{AliasTarget, CatalogError, NewImage};
use headwater_formats::alias;
use headwater_formats::arch::Architecture;
use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::image::{Compression, FileFormat, Image, ImageFile, ImageFiles, ImageType};
use headwater_formats::names::{AliasName, ProjectName};
use headwater_formats::product::Line;
use headwater_formats::timestamp::Timestamp;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// How many versions each product has.
const VERSIONS: u64 = 4;
/// Products of a line: of three architectures, plain and with cloud-init.
const PRODUCTS_PER_LINE: u64 = 6;
/// Images of a line in one version, and in all.
const PER_VERSION: u64 = 10;
const PER_LINE: u64 = PER_VERSION * VERSIONS;
/// One private image for so many public ones.
const PRIVATE: u64 = 25;
/// Builds of lines that are committed in one transaction. Indexes of digests are written at random places: the more images share
/// a transaction, the fewer times each page is written.
const BUILDS_AT_ONCE: usize = 1000;
/// The first build: 2025-01-01 00:00 UTC.
const FIRST_BUILD: i64 = 1_735_689_600;
/// When all was uploaded: 2025-03-01 00:00 UTC.
const UPLOADED: i64 = 1_740_787_200;
/// A row of an image, its files, its audit line, and their indexes, with room to spare; and what a transaction needs meanwhile.
const BYTES_PER_IMAGE: u64 = 6 * 1024;
const BYTES_AT_LEAST: u64 = 1 << 30;
/// From how many lines samples are taken, at most: enough that a server cannot have all answers at hand.
const SAMPLED: u64 = 5000;

/// `release`, `version` (empty when it is the same) and `release_title`.
type Release = (&'static str, &'static str, &'static str);

/// Each `os` with its releases.
const SYSTEMS: [(&str, &[Release]); 20] = [
    ("Debian", &[("bookworm", "12", "bookworm"), ("trixie", "13", "trixie"), ("bullseye", "11", "bullseye")]),
    ("Ubuntu", &[("noble", "24.04", "24.04 LTS"), ("jammy", "22.04", "22.04 LTS"), ("focal", "20.04", "20.04 LTS")]),
    ("Alpine", &[("3.22", "", "3.22"), ("3.21", "", "3.21"), ("3.20", "", "3.20"), ("edge", "", "edge")]),
    ("Fedora", &[("42", "", "42"), ("41", "", "41")]),
    ("Almalinux", &[("9", "", "9"), ("8", "", "8"), ("10", "", "10")]),
    ("Rockylinux", &[("9", "", "9"), ("8", "", "8"), ("10", "", "10")]),
    ("Centos", &[("9-Stream", "", "9-Stream"), ("10-Stream", "", "10-Stream")]),
    ("Opensuse", &[("15.6", "", "15.6"), ("tumbleweed", "", "tumbleweed")]),
    ("Archlinux", &[("current", "", "current")]),
    ("Gentoo", &[("current", "", "current")]),
    ("Voidlinux", &[("current", "", "current")]),
    ("Kali", &[("current", "", "current")]),
    ("Devuan", &[("daedalus", "5", "daedalus"), ("excalibur", "6", "excalibur")]),
    ("Oracle", &[("9", "", "9"), ("8", "", "8")]),
    ("Amazonlinux", &[("2023", "", "2023")]),
    ("Nixos", &[("25.05", "", "25.05"), ("unstable", "", "unstable")]),
    ("Mint", &[("xia", "", "xia"), ("wilma", "", "wilma")]),
    ("Openwrt", &[("24.10", "", "24.10"), ("snapshot", "", "snapshot")]),
    ("Slackware", &[("15.0", "", "15.0"), ("current", "", "current")]),
    ("Openeuler", &[("24.03", "", "24.03"), ("22.03", "", "22.03")]),
];

/// What appliances are for.
const PURPOSES: [&str; 16] = [
    "postgres",
    "nginx",
    "redis",
    "gitlab-runner",
    "kubernetes",
    "haproxy",
    "prometheus",
    "grafana",
    "desktop",
    "builder",
    "python",
    "nodejs",
    "golang",
    "openvpn",
    "mail",
    "wordpress",
];

/// The third architecture of a line.
const OTHERS: [Architecture; 4] =
    [Architecture::Armv7l, Architecture::Riscv64, Architecture::Ppc64le, Architecture::S390x];

/// Fills a catalog with made-up images, for measuring.
#[derive(Parser)]
struct Options {
    /// The data folder to make; must not exist.
    folder: PathBuf,
    /// How many public images: a multiple of 1000.
    #[arg(long)]
    images: u64,
    /// Another seed gives other digests.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the rows in this PostgreSQL database, which must be empty, instead of a file.
    #[arg(long)]
    database: Option<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(fill(&options))
}

async fn fill(options: &Options) -> Result<(), Box<dyn Error>> {
    if options.images == 0 || !options.images.is_multiple_of(PER_LINE * PRIVATE) {
        return Err(format!("--images must be a multiple of {}", PER_LINE * PRIVATE).into());
    }
    std::fs::create_dir(&options.folder)?;
    enough_room(&options.folder, options.images)?;
    let app = App::open(&options.folder, options.database.as_deref()).await?;
    let team = ProjectName::new("team")?;
    app.catalog.create_project(&team, "Images of one team, for its members", uploaded()?).await?;
    let lines = options.images / PER_LINE;
    let mut facts = Facts::new(lines);
    let began = Instant::now();
    let builds: Vec<(u64, u64)> =
        (0..VERSIONS).flat_map(|version| (0..lines + lines / PRIVATE).map(move |number| (version, number))).collect();
    let mut done = 0;
    for piece in builds.chunks(BUILDS_AT_ONCE) {
        let mut images = Vec::new();
        for (version, number) in piece {
            let project = if *number < lines { ProjectName::default_project() } else { team.clone() };
            let made = BuildLine::new(*number).images(options.seed, *version, &project, *number < lines)?;
            facts.note(*number, *version, &made);
            images.extend(made);
        }
        app.catalog.commit_images(&images, uploaded()?, |_| Ok(())).await?;
        done += images.len();
        let seconds = began.elapsed().as_secs_f64();
        eprintln!("{done} images in {seconds:.0} s, {:.0} a second", done as f64 / seconds);
    }
    facts.following = following(&app, lines).await?;
    app.catalog.close().await;
    facts.write(options, began.elapsed().as_secs_f64())
}

/// Makes names that follow lines by hand; gives them, one a line.
async fn following(app: &App, lines: u64) -> Result<String, Box<dyn Error>> {
    let mut made = String::new();
    for number in (0..lines).step_by(20) {
        let line = BuildLine::new(number);
        let name = AliasName::new(format!("{}-{}-{number}", line.os.to_lowercase(), line.release.0))?;
        let target = AliasTarget::Follows {
            os: line.os.into(),
            release: line.release.0.into(),
            variant: line.variants[0].clone(),
        };
        let done = app.catalog.create_alias(&ProjectName::default_project(), &name, "", &target, uploaded()?).await;
        done.map_err(|error: CatalogError| format!("{name}: {error}"))?;
        made += &format!("{name}\n");
    }
    Ok(made)
}

fn enough_room(folder: &Path, images: u64) -> Result<(), Box<dyn Error>> {
    let disk = rustix::fs::statvfs(folder)?;
    let (free, needed) = (disk.f_bavail * disk.f_frsize, BYTES_AT_LEAST + images * BYTES_PER_IMAGE);
    if free < needed {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        return Err(format!("{:.1} GiB must be free for that, and {:.1} GiB are", gib(needed), gib(free)).into());
    }
    Ok(())
}

fn uploaded() -> Result<Timestamp, Box<dyn Error>> {
    moment(UPLOADED)
}

fn moment(seconds: i64) -> Result<Timestamp, Box<dyn Error>> {
    Timestamp::from_unix(seconds).ok_or_else(|| format!("{seconds} is no time").into())
}

/// What the line of that number is.
struct BuildLine {
    number: u64,
    /// Its number among the lines of the same system, which decides the minute of its builds.
    within_system: u64,
    os: &'static str,
    release: Release,
    /// Plain, and with cloud-init.
    variants: [String; 2],
}

/// One of the images of a line.
struct Part {
    architecture: Architecture,
    variant: usize,
    image_type: ImageType,
}

impl BuildLine {
    fn new(number: u64) -> Self {
        let (os, releases) = SYSTEMS[pick(number, SYSTEMS.len())];
        let within_system = number / SYSTEMS.len() as u64;
        let release = releases[pick(within_system, releases.len())];
        // The plain images of each release come first, then appliance after appliance.
        let variants = match within_system / releases.len() as u64 {
            0 => ["default".into(), "cloud".into()],
            n => {
                let appliance = format!("{}-{n}", PURPOSES[pick(n, PURPOSES.len())]);
                [appliance.clone(), format!("{appliance}-cloud")]
            }
        };
        Self { number, within_system, os, release, variants }
    }

    fn parts(&self) -> impl Iterator<Item = Part> {
        use ImageType::{Container, VirtualMachine};
        let other = OTHERS[pick(self.number, OTHERS.len())];
        let both: &[ImageType] = &[Container, VirtualMachine];
        [(Architecture::X86_64, both), (Architecture::Aarch64, both), (other, &both[..1])].into_iter().flat_map(
            |(architecture, types)| {
                (0..2).flat_map(move |variant| {
                    types.iter().map(move |image_type| Part { architecture, variant, image_type: *image_type })
                })
            },
        )
    }

    /// A week between versions; a minute between the builds of one system.
    fn built(&self, version: u64) -> Result<Timestamp, Box<dyn Error>> {
        const DAY: u64 = 24 * 60;
        if self.within_system >= 7 * DAY {
            return Err("there are not as many minutes in a week as lines of one system; ask for fewer images".into());
        }
        moment(FIRST_BUILD + i64::try_from((version * 7 * DAY + self.within_system) * 60)?)
    }

    /// The images of one of its versions.
    fn images(
        &self,
        seed: u64,
        version: u64,
        project: &ProjectName,
        public: bool,
    ) -> Result<Vec<NewImage>, Box<dyn Error>> {
        let at = self.built(version)?;
        let golden = version + 1 == VERSIONS && self.number.is_multiple_of(10);
        let mut made = Vec::new();
        for (number, part) in self.parts().enumerate() {
            let image = self.image(seed, version, number, &part, at, public);
            let aliases = match golden && number == 0 {
                true => vec![AliasName::new(format!("golden-{}", self.number))?.into()],
                false => Vec::new(),
            };
            made.push(NewImage {
                project: project.clone(),
                image,
                aliases,
                new_aliases: false,
                published_by: None,
                given: None,
                repacked_from: None,
            });
        }
        Ok(made)
    }

    fn image(&self, seed: u64, version: u64, number: usize, part: &Part, at: Timestamp, public: bool) -> Image {
        let (release, version_number, title) = self.release;
        let variant = &self.variants[part.variant];
        let architecture = part.architecture.stream_name();
        let serial = at.version_name();
        let machine = part.image_type == ImageType::VirtualMachine;
        let mut properties = vec![
            ("architecture", architecture.to_owned()),
            ("description", format!("{} {release} {architecture} ({variant}) ({serial})", self.os)),
            ("os", self.os.to_owned()),
            ("release", release.to_owned()),
            ("release_title", title.to_owned()),
            ("serial", serial),
            ("type", if machine { "disk-kvm.img" } else { "squashfs" }.to_owned()),
            ("variant", variant.clone()),
        ];
        if !version_number.is_empty() {
            properties.push(("version", version_number.to_owned()));
            properties.push(("label", "release".to_owned()));
        }
        if machine && self.number.is_multiple_of(3) {
            properties.push(("requirements.secureboot", "false".to_owned()));
        }
        let hash =
            |what: &str| -> [u8; 32] { Sha256::digest(format!("{seed} {} {version} {what}", self.number)).into() };
        // A container and the virtual machine beside it are of one build, and have one metadata file.
        let metadata = hash(&format!("metadata {architecture} {}", part.variant));
        let root = hash(&format!("root {number}"));
        let (format, smallest) = if machine { (FileFormat::Qcow2, 250) } else { (FileFormat::Squashfs, 60) };
        let root_size = (smallest << 20) + u64::from(u32::from_be_bytes([0, root[0] % 16, root[1], root[2]])) * 16;
        Image {
            fingerprint: Fingerprint::from_bytes(hash(&format!("image {number}"))),
            image_type: part.image_type,
            architecture: part.architecture,
            files: ImageFiles::Split {
                metadata: ImageFile {
                    digest: Digest::from_bytes(metadata),
                    size: 640 + u64::from(metadata[0]),
                    format: FileFormat::Tar(Compression::Xz),
                },
                root: ImageFile { digest: Digest::from_bytes(root), size: root_size, format },
            },
            filename: "lxd.tar.xz".into(),
            created_at: at,
            uploaded_at: at,
            public,
            expires_at: None,
            last_used_at: None,
            auto_update: false,
            properties: properties.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            profiles: vec!["default".into()],
            update_source: None,
        }
    }
}

/// A place in a list of that length, by turns.
fn pick(number: u64, length: usize) -> usize {
    usize::try_from(number % length as u64).unwrap_or_default()
}

/// What was made, and what to ask for.
struct Facts {
    lines: u64,
    step: u64,
    fingerprints: String,
    aliases: String,
    filters: String,
    golden: u64,
    following: String,
}

impl Facts {
    fn new(lines: u64) -> Self {
        let step = lines.div_ceil(SAMPLED);
        let (fingerprints, aliases, filters, following) = Default::default();
        Self { lines, step, fingerprints, aliases, filters, following, golden: 0 }
    }

    /// Notes the images of one version of a line.
    fn note(&mut self, number: u64, version: u64, images: &[NewImage]) {
        self.golden += images.iter().map(|image| image.aliases.len() as u64).sum::<u64>();
        let Some(first) = images.first().filter(|_| number < self.lines && number.is_multiple_of(self.step)) else {
            return;
        };
        let text = |key: &str| first.image.property(key).unwrap_or_default();
        self.filters += &format!("{} {}\n", text("os"), text("serial"));
        for new in images {
            self.fingerprints += &format!("{}\n", new.image.fingerprint);
            for alias in &new.aliases {
                self.aliases += &format!("{}\n", alias.name);
            }
        }
        let newest = images.last().filter(|_| version + 1 == VERSIONS);
        if let Some((newest, line)) = newest.and_then(|new| Some((new, Line::of_image(&new.image)?))) {
            let names = alias::generated(&line, newest.image.property("version"), None);
            self.aliases.extend(names.first().map(|name| format!("{name}\n")));
        }
    }

    fn write(&self, options: &Options, seconds: f64) -> Result<(), Box<dyn Error>> {
        let samples = options.folder.join("samples");
        std::fs::create_dir(&samples)?;
        for (name, text) in [
            ("fingerprints", &self.fingerprints),
            ("aliases", &self.aliases),
            ("following", &self.following),
            ("filters", &self.filters),
        ] {
            std::fs::write(samples.join(name), text)?;
        }
        let products = self.lines * PRODUCTS_PER_LINE;
        let facts = json!({
            "images": options.images,
            "private": options.images / PRIVATE,
            "seed": options.seed,
            "products": products,
            "versions": products * VERSIONS,
            "fixed_aliases": self.golden,
            "following_aliases": self.following.lines().count(),
            "seconds": seconds,
        });
        // Last: where it is, all else is.
        std::fs::write(options.folder.join("facts.json"), serde_json::to_string_pretty(&facts)? + "\n")?;
        Ok(())
    }
}
