//! `headwater verify`

use headwater_formats::digest::Fingerprint;
use headwater_formats::names::ProjectName;
use serde::Serialize;

use super::out::Out;
use super::place::Place;
use super::stop::Stop;
use super::{bar, human};
use crate::publish::{Verified, VerifyEvent};

/// Read all files of all images and compare them with their names
///
/// Prints the images of which a file is missing or damaged, and then ends with exit code 1. Reads every byte that is
/// stored, so it takes as long as that takes; it may run beside servers and publishers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater verify
  headwater verify --format json
  headwater verify --remove-damaged")]
pub(super) struct Args {
    /// Remove files whose bytes are wrong, so that publishing the image again puts whole ones in their place
    #[arg(long)]
    remove_damaged: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    project: &'a ProjectName,
    fingerprint: Fingerprint,
    file: String,
    damage: String,
}

pub(super) async fn run(args: Args, place: &Place, out: &Out) -> Result<(), Stop> {
    let app = place.open().await?;
    let progress = bar::progress(out);
    progress.begin("verify", None);
    let mut list = out.findings(&["PROJECT", "FINGERPRINT", "FILE", "WHAT IS WRONG"]);
    let mut printed = Ok(());
    let mut tell = |event: VerifyEvent<'_>| match event {
        VerifyEvent::Read(file) => progress.advance(file.size),
        VerifyEvent::Damaged { file, damage, image } => {
            let row = Row {
                project: &image.project,
                fingerprint: image.image.fingerprint,
                file: file.name(),
                damage: damage.to_string(),
            };
            let added = list.add(&row, || {
                vec![row.project.to_string(), row.fingerprint.short(), row.file.clone(), row.damage.clone()]
            });
            if printed.is_ok() {
                printed = added;
            }
        }
    };
    let verified = app.publisher.verify(args.remove_damaged, &mut tell).await?;
    progress.end();
    printed?;
    list.end()?;
    out.say(summary(&verified, args.remove_damaged));
    app.catalog.close().await;
    if verified.damaged > 0 { Err(Stop::Said) } else { Ok(()) }
}

fn summary(verified: &Verified, removing: bool) -> String {
    let read = format!("{} ({})", human::counted(verified.files, "file", "files"), human::size(verified.bytes));
    match (verified.damaged, removing) {
        (0, _) => format!("read {read}: all of it is whole"),
        (damaged, true) => format!(
            "read {read}: {} missing or damaged, {} removed; publish those images again",
            human::count(damaged),
            human::count(verified.removed)
        ),
        (damaged, false) => format!(
            "read {read}: {} missing or damaged; `headwater verify --remove-damaged`, then publish those images again",
            human::count(damaged)
        ),
    }
}
