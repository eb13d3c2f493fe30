//! `headwater export`

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use headwater_formats::names::ProjectName;
use headwater_formats::simplestreams::Family;
use headwater_formats::view::View;
use serde::Serialize;

use super::duration::Seconds;
use super::out::Out;
use super::place::{Place, check_project};
use super::stop::{Stop, on_interrupt};
use super::{InProject, human, import, now};
use crate::app::App;
use crate::auth::Viewer;
use crate::bundle::{Bundles, Made, MakeRequest, To};
use crate::publish::ExportRequest;

/// Write a simplestreams tree that any web server can serve, or a bundle to carry elsewhere
///
/// --to DIR writes a tree. It holds the documents that a live server gives to the clients of one kind, byte for byte, and all the files
/// that they name. Running the command again writes what has changed; files that no document names any more stay for the
/// grace. When there is a key for streams (`headwater key list`), the documents are there with signatures, too, and the public key.
///
/// --to FILE.tar (or - for standard output) writes a bundle: one file with images and all that is said of them, for `headwater import` on a machine that no network leads
/// to. With --state FILE, it is remembered there what bundles had, and the next one carries only files that are new.
///
/// Only public images are exported, unless --private is given: everybody who can read the tree or the bundle sees all of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater export --to /var/www/images --client lxd
  headwater export --to /srv/arm --only arch=arm64 --only latest=1
  headwater export --to ./team-a --project team-a --private
  headwater export --to /media/disk/monday.tar --state ~/closed-network.json
  headwater export --to - --only os=debian | ssh closed headwater import -")]
pub(super) struct Args {
    /// The top of the tree, made when it is missing; or the bundle, told by its name, that ends in .tar, or is - for standard output
    #[arg(long, value_name = "DIR|FILE.tar|-")]
    to: PathBuf,
    /// The clients that will read the tree; any without it
    #[arg(long, value_enum)]
    client: Option<Client>,
    /// A filter: os, release, variant, arch, type, alias or latest, and values with commas between. May be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    only: Vec<String>,
    /// Private images, too
    #[arg(long)]
    private: bool,
    /// How long files stay in the tree after no document names them
    ///
    /// Without it: what the configuration says, or 24h.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    grace: Option<Seconds>,
    /// Read the files that are in the tree already, instead of trusting their names and lengths
    #[arg(long)]
    rehash: bool,
    /// Remember here what bundles had, and leave out files that earlier ones had
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    #[command(flatten)]
    project: InProject,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Client {
    /// LXD of any version
    Lxd,
    /// Incus
    Incus,
    /// Both, as far as one document can serve both
    Any,
}

#[derive(Serialize)]
struct Report<'a> {
    to: &'a str,
    project: &'a ProjectName,
    files: u64,
    bytes: u64,
    added: u64,
    removed: u64,
    leaving: u64,
    signed: bool,
}

pub(super) async fn run(args: Args, place: &Place, out: &Out) -> Result<(), Stop> {
    let bundle = is_bundle(&args.to);
    check(&args, bundle)?;
    let grace = args.grace.unwrap_or(place.grace);
    let mut view = View::default();
    for filter in &args.only {
        view.parse_segment(filter).map_err(|error| Stop::usage(format!("--only {filter}: {error}")))?;
    }
    let app = place.open().await?;
    let project = args.project.project;
    check_project(&app, &project).await?;
    let viewer = if args.private { Viewer::operator() } else { Viewer::guest() };
    if app.catalog.project(&viewer, &project).await?.is_none() {
        return Err(Stop::failed(format!(
            "the project {:?} has no public image; --private exports the private ones",
            project.as_str()
        )));
    }
    if bundle {
        return make(&args.to, args.state, project, view, viewer, &app, out).await;
    }
    let family = match args.client {
        Some(Client::Lxd) => Family::Lxd,
        Some(Client::Incus) => Family::Incus,
        Some(Client::Any) | None => Family::Any,
    };
    let request = ExportRequest {
        to: args.to.clone(),
        project: project.clone(),
        view,
        family,
        viewer,
        grace_seconds: grace.0,
        rehash: args.rehash,
    };
    let done = app.publisher.export(request, now()).await?;
    let to = args.to.display().to_string();
    let report = Report {
        to: &to,
        project: &project,
        files: done.files,
        bytes: done.bytes,
        added: done.added,
        removed: done.removed,
        leaving: done.leaving,
        signed: done.signed,
    };
    out.object(&report, || format!("{}\n", to.trim_end_matches('/')))?;
    out.say(format!(
        "{} ({}): {} new, {} removed, {} to be removed when their grace of {} is over",
        human::counted(done.files, "file", "files"),
        human::size(done.bytes),
        human::count(done.added),
        human::count(done.removed),
        human::count(done.leaving),
        grace,
    ));
    app.catalog.close().await;
    Ok(())
}

/// Whether that is the name of a bundle.
fn is_bundle(to: &Path) -> bool {
    to == Path::new("-") || to.extension().is_some_and(|extension| extension == "tar")
}

/// Options that only a tree or only a bundle has.
fn check(args: &Args, bundle: bool) -> Result<(), Stop> {
    let of_trees = [("--client", args.client.is_some()), ("--grace", args.grace.is_some()), ("--rehash", args.rehash)];
    match of_trees.iter().find(|(_, given)| *given && bundle) {
        Some((option, _)) => Err(Stop::usage(format!(
            "{option} is about trees, and --to {} makes a bundle; leave it out, or name a folder",
            args.to.display()
        ))),
        None if args.state.is_some() && !bundle => Err(Stop::usage(
            "--state is about bundles, and --to names no file that ends in .tar; a tree remembers by itself what is in it",
        )),
        None if args.to == Path::new("-") && io::stdout().is_terminal() => {
            Err(Stop::usage("standard output is a terminal; pipe the bundle elsewhere, or name a file"))
        }
        None => Ok(()),
    }
}

/// What is printed of a bundle for programs.
#[derive(Serialize)]
struct MadeReport<'a> {
    to: &'a str,
    project: &'a ProjectName,
    id: String,
    builds_on: Option<String>,
    images: u64,
    new_images: u64,
    gone: u64,
    files: u64,
    bytes: u64,
}

async fn make(
    to: &Path,
    state: Option<PathBuf>,
    project: ProjectName,
    view: View,
    viewer: Viewer,
    app: &App,
    out: &Out,
) -> Result<(), Stop> {
    let (stop, interrupted) = on_interrupt();
    let stream = to == Path::new("-");
    let target = if stream { To::Stream(Box::new(io::stdout())) } else { To::File(to.to_owned()) };
    let request = MakeRequest { to: target, project: project.clone(), view, viewer, state, made_at: now(), stop };
    let made = Bundles::new(app.publisher.clone(), now).make(request).await;
    interrupted.abort();
    let Made { id, builds_on, counts, new_images } = made?;
    let name = to.display().to_string();
    if !stream {
        let report = MadeReport {
            to: &name,
            project: &project,
            id: id.id.to_string(),
            builds_on: builds_on.as_ref().map(|bundle| bundle.id.to_string()),
            images: counts.images,
            new_images,
            gone: counts.gone,
            files: counts.files,
            bytes: counts.bytes,
        };
        out.object(&report, || format!("{name}\n"))?;
    }
    let built = match &builds_on {
        None => "whole".to_owned(),
        Some(bundle) => format!("builds on {}", import::called(bundle)),
    };
    out.say(format!(
        "bundle {}, {built}: {} ({} new), {} to carry ({})",
        import::called(&id),
        human::counted(counts.images, "image", "images"),
        human::count(new_images),
        human::counted(counts.files, "file", "files"),
        human::size(counts.bytes),
    ));
    app.catalog.close().await;
    Ok(())
}
