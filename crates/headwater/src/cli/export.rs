//! `headwater export`

use std::path::PathBuf;

use clap::ValueEnum;
use headwater_formats::names::ProjectName;
use headwater_formats::simplestreams::Family;
use headwater_formats::view::View;
use serde::Serialize;

use super::duration::Seconds;
use super::out::Out;
use super::place::{Place, check_project};
use super::stop::Stop;
use super::{InProject, human, now};
use crate::auth::Viewer;
use crate::publish::ExportRequest;

/// Write a simplestreams tree that any web server can serve
///
/// The tree holds the documents that a live server gives to the clients of one kind, byte for byte, and all the files
/// that they name. Running the command again writes what has changed; files that no document names any more stay for the
/// grace. When there is a key for streams (`headwater key list`), the documents are there with signatures, too, and the public key.
/// Only public images are exported, unless --private is given: everybody who can read the tree sees all of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater export --to /var/www/images --client lxd
  headwater export --to /srv/arm --only arch=arm64 --only latest=1
  headwater export --to ./team-a --project team-a --private")]
pub(super) struct Args {
    /// The top of the tree; made when it is missing
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The clients that will read it
    #[arg(long, value_enum, default_value_t = Client::Any)]
    client: Client,
    /// A filter: os, release, variant, arch, type, alias or latest, and values with commas between. May be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    only: Vec<String>,
    /// Private images, too
    #[arg(long)]
    private: bool,
    /// How long files stay after no document names them
    ///
    /// Without it: what the configuration says, or 24h.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    grace: Option<Seconds>,
    /// Read the files that are there already, instead of trusting their names and lengths
    #[arg(long)]
    rehash: bool,
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
    let family = match args.client {
        Client::Lxd => Family::Lxd,
        Client::Incus => Family::Incus,
        Client::Any => Family::Any,
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
