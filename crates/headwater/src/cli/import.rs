//! `headwater import`

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::names::{AliasName, ProjectName};
use serde::Serialize;

use super::out::Out;
use super::place::Place;
use super::stop::Stop;
use super::{bar, human, now};
use crate::bundle::{BundleId, Bundles, TakeRequest, Taken, Tell};
use crate::publish::Progress;

/// Take in bundles that `headwater export --to FILE.tar` made elsewhere
///
/// A bundle is read once, so it may come from a pipe; every file in it is compared with its SHA-256, and every image is looked into as those that are published. Images are
/// listed as their files are here, with their properties, products and names, and are public where they were public. When a bundle turns out to be damaged, what came
/// before the damage stays.
///
/// Bundles that were made with a state file build on each other: take them in in the order in which they were made. An image whose files are neither here
/// nor in the bundle is told, and the command fails.
///
/// What is here already is left as it is, unless --update is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater import /media/disk/monday.tar
  headwater import /media/disk/monday.tar /media/disk/tuesday.tar --prune
  ssh outside headwater export --to - | headwater import - --project mirror")]
pub(super) struct Args {
    /// The bundles, in the order in which they were made; - is standard input
    #[arg(required = true, value_name = "BUNDLE|-")]
    bundles: Vec<PathBuf>,
    /// The project that they go into; without it, the one of the same name as that which they were made of
    #[arg(long, value_name = "PROJECT")]
    project: Option<ProjectName>,
    /// Make images and aliases that are here already what they are in the bundle
    #[arg(long)]
    update: bool,
    /// Delete images that earlier bundles of the same state file had and this one does not list any more, but for those that a mirror here keeps
    #[arg(long)]
    prune: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    bundle: &'a str,
    id: String,
    made_at: String,
    project: &'a ProjectName,
    listed: u64,
    already: u64,
    updated: u64,
    missing: u64,
    aliases_left: u64,
    removed: u64,
}

impl<'a> Report<'a> {
    fn new(bundle: &'a str, taken: &'a Taken) -> Self {
        Self {
            bundle,
            id: taken.id.id.to_string(),
            made_at: taken.id.made_at.rfc3339(),
            project: &taken.project,
            listed: taken.listed,
            already: taken.already,
            updated: taken.updated,
            missing: taken.missing,
            aliases_left: taken.aliases_left,
            removed: taken.removed,
        }
    }
}

pub(super) async fn run(args: Args, place: &Place, out: &Out) -> Result<(), Stop> {
    let from_stdin = |path: &PathBuf| path == Path::new("-");
    if args.bundles.iter().filter(|path| from_stdin(path)).count() > 1 {
        return Err(Stop::usage("standard input can be one of the bundles, not several"));
    }
    if args.bundles.iter().any(from_stdin) && io::stdin().is_terminal() {
        return Err(Stop::usage("standard input is a terminal; pipe a bundle into it, or name a file"));
    }
    for path in args.bundles.iter().filter(|path| !from_stdin(path)) {
        open(path)?;
    }
    let app = place.open_or_make().await?;
    let bundles = Bundles::new(app.publisher.clone(), now);
    let request = TakeRequest { project: args.project, update: args.update, prune: args.prune };
    let mut done = Vec::new();
    let mut ended = Ok(());
    for path in &args.bundles {
        let from: Box<dyn Read + Send> = if from_stdin(path) { Box::new(io::stdin()) } else { Box::new(open(path)?) };
        let told = Told { out, listed: AtomicU64::new(0) };
        match bundles.take(from, request.clone(), &told).await {
            Ok(taken) => {
                talk(&taken, out);
                if taken.missing > 0 {
                    ended = Err(Stop::failed(why(&taken)));
                }
                done.push((path.display().to_string(), taken));
            }
            Err(error) => {
                let listed = told.listed.into_inner();
                if listed > 0 {
                    let images = human::counted(listed, "image that was complete is", "images that were complete are");
                    out.say(format!("{images} listed; the rest of the bundle is not"));
                }
                ended = Err(error.into());
                break;
            }
        }
    }
    app.catalog.close().await;
    let reports: Vec<Report<'_>> = done.iter().map(|(name, taken)| Report::new(name, taken)).collect();
    match reports.as_slice() {
        [] => {}
        [one] => out.object(one, String::new)?,
        several => out.object(&several, String::new)?,
    }
    ended
}

fn open(path: &Path) -> Result<File, Stop> {
    File::open(path).map_err(|error| Stop::failed(format!("{:?} cannot be read: {error}", path.display().to_string())))
}

/// `1a2b3c4d5e6f of 2025-01-01 07:42`
pub(super) fn called(bundle: &BundleId) -> String {
    let id: String = bundle.id.to_string().chars().take(12).collect();
    format!("{id} of {}", human::minute(bundle.made_at))
}

fn talk(taken: &Taken, out: &Out) {
    let mut text = format!(
        "bundle {} into {}: {} new, {} here already",
        called(&taken.id),
        taken.project,
        human::counted(taken.listed, "image", "images"),
        human::count(taken.already)
    );
    let more = [
        (taken.updated, "changed"),
        (taken.missing, "without files"),
        (taken.removed, "deleted"),
        (taken.aliases_left, "aliases left as they are (--update changes them)"),
    ];
    for (number, what) in more.into_iter().filter(|(number, _)| *number > 0) {
        text += &format!(", {} {what}", human::count(number));
    }
    out.say(text);
}

fn why(taken: &Taken) -> String {
    let images = human::counted(taken.missing, "image was", "images were");
    match &taken.head.builds_on {
        Some(before) => format!(
            "{images} not taken in, because files are neither here nor in the bundle, which builds on {}; take that one in first, then this one again",
            called(before)
        ),
        None => format!("{images} not taken in, because files are neither here nor in the bundle; make another one"),
    }
}

/// Tells people what happens.
struct Told<'a> {
    out: &'a Out,
    listed: AtomicU64,
}

impl Tell for Told<'_> {
    fn progress(&self) -> Arc<dyn Progress> {
        bar::progress(self.out)
    }

    fn listed(&self, images: u64) {
        self.listed.fetch_add(images, Ordering::Relaxed);
    }

    fn missing(&self, image: &Fingerprint, file: &Digest) {
        self.out.say(format!("{}: the file {file} is neither here nor in the bundle", image.short()));
    }

    fn alias_left(&self, name: &AliasName) {
        self.out.say(format!("the alias {name} leads to something else here, and stays so"));
    }
}
