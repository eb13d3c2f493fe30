//! `headwater verify`

use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::names::ProjectName;
use serde::Serialize;

use super::out::Out;
use super::place::Place;
use super::stop::Stop;
use super::{bar, human};
use crate::publish::{Verified, VerifyEvent};

/// Read all files of all images and compare them with their names
///
/// Prints the images of which a file is missing or damaged, and the deltas that are, and then ends with exit code 1. Reads every byte that is
/// stored, so it takes as long as that takes; it may run beside servers and publishers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater verify
  headwater verify --format json
  headwater verify --remove-damaged")]
pub(super) struct Args {
    /// Remove files whose bytes are wrong, so that publishing the image again puts whole ones in their place; deltas are made again by
    /// themselves
    #[arg(long)]
    remove_damaged: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    /// Of an image, `None` of a delta.
    project: Option<&'a ProjectName>,
    /// The same.
    fingerprint: Option<Fingerprint>,
    file: String,
    damage: String,
    /// The root files of a delta.
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<FromTo>,
}

#[derive(Serialize)]
struct FromTo {
    base: Digest,
    target: Digest,
}

pub(super) async fn run(args: Args, place: &Place, out: &Out) -> Result<(), Stop> {
    let app = place.open().await?;
    let progress = bar::progress(out);
    progress.begin("verify", None);
    let mut list = out.findings(&["PROJECT", "FINGERPRINT", "FILE", "WHAT IS WRONG"]);
    let mut printed = Ok(());
    let mut tell = |event: VerifyEvent<'_>| {
        let row = match event {
            VerifyEvent::Read(file) => return progress.advance(file.size),
            VerifyEvent::Damaged { file, damage, image } => Row {
                project: Some(&image.project),
                fingerprint: Some(image.image.fingerprint),
                file: file.name(),
                damage: damage.to_string(),
                delta: None,
            },
            VerifyEvent::DamagedDelta { file, damage, target, base } => Row {
                project: None,
                fingerprint: None,
                file: file.name(),
                damage: damage.to_string(),
                delta: Some(FromTo { base: *base, target: *target }),
            },
        };
        let added = list.add(&row, || {
            let project = row.project.map_or_else(|| "-".to_owned(), ToString::to_string);
            let fingerprint = row.fingerprint.map_or_else(|| "delta".to_owned(), |fingerprint| fingerprint.short());
            vec![project, fingerprint, row.file.clone(), row.damage.clone()]
        });
        if printed.is_ok() {
            printed = added;
        }
    };
    let verified = app.publisher.verify(args.remove_damaged, super::now(), &mut tell).await?;
    progress.end();
    printed?;
    list.end()?;
    out.say(summary(&verified, args.remove_damaged));
    app.catalog.close().await;
    if verified.damaged > 0 { Err(Stop::Said) } else { Ok(()) }
}

fn summary(verified: &Verified, removing: bool) -> String {
    let read = format!("{} ({})", human::counted(verified.files, "file", "files"), human::size(verified.bytes));
    let promised = match verified.promised {
        0 => String::new(),
        promised => format!(
            "; {} not here, and an upstream promises {}",
            human::counted(promised, "file is", "files are"),
            if promised == 1 { "it" } else { "them" }
        ),
    };
    if verified.damaged == 0 {
        return format!("read {read}: all of it is whole{promised}");
    }
    let damaged = human::count(verified.damaged);
    let images = verified.damaged > verified.deltas;
    let deltas = verified.deltas > 0;
    match removing {
        true => {
            let images = if images { "; publish those images again" } else { "" };
            let deltas = if deltas { "; no list names those deltas any more, and they are made again" } else { "" };
            format!(
                "read {read}: {damaged} missing or damaged, {} removed{images}{deltas}{promised}",
                human::count(verified.removed)
            )
        }
        false => {
            let images = if images { ", then publish those images again" } else { "" };
            let deltas = if deltas { "; those deltas are made again then" } else { "" };
            format!(
                "read {read}: {damaged} missing or damaged; `headwater verify --remove-damaged`{images}{deltas}{promised}"
            )
        }
    }
}
