//! `headwater publish`

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use headwater_formats::arch::Architecture;
use headwater_formats::digest::Fingerprint;
use headwater_formats::image::ImageType;
use headwater_formats::names::{AliasName, ProjectName, VersionName};
use serde::Serialize;

use super::image::property;
use super::out::Out;
use super::place::Place;
use super::stop::Stop;
use super::{InProject, OnOff, bar, human, now};
use crate::catalog::{ImageAlias, StoredImage};
use crate::publish::{DirectoryRequest, Listing, Packed, Packing, Published, Request, Source};

/// Publish an image from files, from a directory, or from standard input
///
/// Takes a unified image (one file with metadata.yaml and the root file system in it), a split image (a metadata tarball and
/// a squashfs, tarball or qcow2 file), a directory as distrobuilder or lxd-imagebuilder leave it, or - for a unified
/// image on standard input. What a file is, is told by its bytes, not by its name.
///
/// Images are private unless --public is given: guests do not see them. Publishing the same bytes again changes
/// nothing and is no error. When the command ends well, the image is on disk for good, and a running server lists it.
///
/// With --format json, prints an object that tells all about the image; for a directory that holds several images (a
/// container and a virtual machine, say), a list of them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  Split container image, for everybody:
    headwater publish metadata.tar.xz rootfs.squashfs --public
  Virtual machine, with an alias of its own:
    headwater publish metadata.tar.xz disk.qcow2 --alias web-server
  What distrobuilder has built, into a project:
    headwater publish ./out --project team-a
  So that the next version costs hosts a third of the download:
    headwater publish metadata.tar.xz rootfs.squashfs --public --repack
  From another machine, with more properties:
    ssh builder cat image.tar.gz | headwater publish - --property os=debian --property release=bookworm")]
pub(super) struct Args {
    /// The unified image, the metadata tarball, a directory, or - for standard input
    #[arg(value_name = "FILE|DIRECTORY|-")]
    source: PathBuf,
    /// The root file of a split image: squashfs, tarball or qcow2
    root: Option<PathBuf>,
    #[command(flatten)]
    project: InProject,
    /// A fixed alias for the image; one that exists is moved to it. May be repeated
    #[arg(long = "alias", value_name = "ALIAS")]
    aliases: Vec<AliasName>,
    /// Let everybody see and download it
    #[arg(long)]
    public: bool,
    /// A property, added to those of metadata.yaml or instead of one. May be repeated
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,
    /// Pack the root file anew, so that deltas between versions are small; off leaves it as it is, whatever the project says
    ///
    /// A container's squashfs or tarball becomes a squashfs with small blocks (see docs/guides/deltas.md), about a tenth larger, from which
    /// hosts that have the version before download a third. A virtual machine's qcow2 is no longer compressed, and several times as large.
    /// What is in it stays as it is, but the image gets another fingerprint: both are told, and the property headwater.repacked_from keeps the old
    /// one. Needs squashfs-tools 4.5 or newer; qemu-img for disks.
    #[arg(long, value_name = "SWITCH", num_args = 0..=1, require_equals = true, default_missing_value = "on", value_enum)]
    repack: Option<OnOff>,
}

/// What is printed for programs.
#[derive(Serialize)]
struct Report<'a> {
    fingerprint: Fingerprint,
    project: &'a ProjectName,
    product: Option<&'a str>,
    version: Option<&'a VersionName>,
    aliases: Vec<&'a AliasName>,
    size: u64,
    r#type: ImageType,
    architecture: Architecture,
    public: bool,
    already_published: bool,
    /// The fingerprint of what was given, when it was packed anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    repacked_from: Option<Fingerprint>,
}

impl<'a> Report<'a> {
    fn new(published: &'a Published) -> Self {
        let StoredImage { project, image, aliases, placement, .. } = &published.image;
        Self {
            fingerprint: image.fingerprint,
            project,
            product: placement.as_ref().map(|placement| placement.product.as_str()),
            version: placement.as_ref().map(|placement| &placement.version),
            aliases: aliases.iter().map(|alias| &alias.name).collect(),
            size: image.files.size(),
            r#type: image.image_type,
            architecture: image.architecture,
            public: image.public,
            already_published: published.already,
            repacked_from: match published.packed {
                Packed::Anew { from, .. } => Some(from),
                Packed::AsGiven | Packed::Left(_) => None,
            },
        }
    }
}

pub(super) async fn run(args: Args, place: &Place, out: &Out) -> Result<(), Stop> {
    let folder = args.root.is_none() && args.source.is_dir();
    let sources = if folder { None } else { Some(sources(&args)?) };
    let app = place.open_or_make().await?;
    let packing = match args.repack {
        Some(OnOff::On) => Packing::ForDeltas,
        Some(OnOff::Off) => Packing::AsGiven,
        None => Packing::AsProjectSays,
    };
    let (project, progress) = (args.project.project, bar::progress(out));
    let (aliases, public, properties) = (args.aliases.clone(), args.public, args.properties.into_iter().collect());
    let published = match sources {
        Some((first, root)) => {
            let aliases = aliases.into_iter().map(ImageAlias::from).collect();
            let listing = Listing { aliases, public, properties, ..Listing::default() };
            let request = Request { project, first, root, listing, packing };
            vec![app.publisher.publish_when(request, progress, now).await?]
        }
        None => {
            let request = DirectoryRequest { project, aliases, public, properties, packing };
            app.publisher.publish_directory(&args.source, request, progress, now()).await?
        }
    };
    report(&published, &args.aliases, out)?;
    app.catalog.close().await;
    Ok(())
}

/// The files that were named; standard input at most once, and not from a keyboard.
fn sources(args: &Args) -> Result<(Source, Option<Source>), Stop> {
    let from_stdin = |path: &Path| path == Path::new("-");
    if args.root.as_deref().is_some_and(from_stdin) && from_stdin(&args.source) {
        return Err(Stop::usage("standard input can be one of the two files, not both"));
    }
    let source = |path: &PathBuf| {
        if !from_stdin(path) {
            return Ok(Source::File(path.clone()));
        }
        if io::stdin().is_terminal() {
            return Err(Stop::usage("standard input is a terminal; pipe an image into it, or name a file"));
        }
        Ok(Source::Stream { name: "stdin".to_owned(), reader: Box::new(io::stdin()) })
    };
    Ok((source(&args.source)?, args.root.as_ref().map(source).transpose()?))
}

fn report(published: &[Published], asked: &[AliasName], out: &Out) -> Result<(), Stop> {
    let text = || {
        let line = |one: &Published| format!("Image published with fingerprint: {}\n", one.image.image.fingerprint);
        published.iter().map(line).collect()
    };
    match published {
        [one] => out.object(&Report::new(one), text)?,
        several => out.object(&several.iter().map(Report::new).collect::<Vec<_>>(), text)?,
    }
    for one in published {
        talk(one, asked, out);
    }
    Ok(())
}

/// `7.6 % more`
#[allow(clippy::cast_precision_loss, reason = "for people, who read two digits")]
fn change(before: u64, after: u64) -> String {
    let percent = (after as f64 / before.max(1) as f64 - 1.0) * 100.0;
    format!("{:.1} % {}", percent.abs(), if percent < 0.0 { "less" } else { "more" })
}

fn talk(published: &Published, asked: &[AliasName], out: &Out) {
    let StoredImage { project, image, aliases, placement, .. } = &published.image;
    let short = image.fingerprint.short();
    let option = if project.is_default() { String::new() } else { format!(" --project {project}") };
    match &published.packed {
        Packed::AsGiven => {}
        Packed::Anew { from, before, after } => {
            out.say(format!(
                "packed anew for small deltas: the root file has {} instead of {} ({})",
                human::size(*after),
                human::size(*before),
                change(*before, *after)
            ));
            out.say(format!(
                "so the image's fingerprint is {}, not that of the files given, {from}",
                image.fingerprint
            ));
        }
        Packed::Left(why) => out.say(format!("not packed anew: {why}")),
    }
    if published.already {
        out.say("already published, nothing changed");
    }
    match placement {
        Some(placement) => {
            out.say(format!("product: {}, version: {}", placement.product, placement.version));
        }
        None => out.say(
            "it belongs to no product, because it has no usable os and release: only the LXD/Incus API lists it, \
             simplestreams does not",
        ),
    }
    let names: Vec<&str> = aliases.iter().map(|alias| alias.name.as_str()).collect();
    if !names.is_empty() {
        out.say(format!("{}: {}", if names.len() == 1 { "alias" } else { "aliases" }, names.join(", ")));
    }
    for alias in asked.iter().filter(|alias| !names.contains(&alias.as_str())) {
        out.say(format!("alias \"{alias}\" was not made; `headwater alias create {alias} {short}{option}` makes it"));
    }
    out.say(format!("size: {}, {} for {}", human::size(image.files.size()), image.image_type, image.architecture));
    if !image.public {
        out.say(format!(
            "it is private, guests cannot see it; `headwater image edit {short} --public{option}` changes that"
        ));
    }
}
