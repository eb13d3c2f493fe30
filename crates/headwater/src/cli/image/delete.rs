//! `headwater image delete`

use crate::app::App;
use crate::cli::out::Out;
use crate::cli::stop::Stop;
use crate::cli::{InProject, now, pick};

/// Delete images
///
/// They leave every listing at once, together with their fixed aliases. Their files go on being served for a while, so
/// that downloads that have begun can end; `headwater gc` frees the space when that time is over.
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "rm",
    after_help = "\
Examples:
  headwater image delete 1f2e3d4c5b6a
  headwater image delete old-one older-one --project team-a"
)]
pub(in crate::cli) struct Args {
    /// Aliases, or the first characters of fingerprints
    #[arg(value_name = "IMAGE", required = true)]
    names: Vec<String>,
    /// When an alias leads to a container and a virtual machine, take the virtual machine
    #[arg(long)]
    vm: bool,
    #[command(flatten)]
    project: InProject,
}

pub(super) async fn run(args: Args, app: &App, out: &Out) -> Result<(), Stop> {
    let project = &args.project.project;
    // All the names are understood before the first image goes.
    let mut fingerprints = Vec::new();
    for name in &args.names {
        let fingerprint = pick::image(app, project, name, args.vm).await?.image.fingerprint;
        if !fingerprints.contains(&fingerprint) {
            fingerprints.push(fingerprint);
        }
    }
    for fingerprint in fingerprints {
        app.catalog.delete_image(project, &fingerprint, now()).await?;
        out.say(format!("deleted {fingerprint}"));
    }
    Ok(())
}
