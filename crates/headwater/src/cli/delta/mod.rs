//! `headwater delta …`: one file per verb.

mod build;
mod explain;
mod list;

use clap::Subcommand;
use headwater_formats::image::{FileFormat, ImageFile, ImageFiles};

use super::out::Out;
use super::place::Place;
use super::stop::Stop;
use super::{InProject, now, pick};
use crate::app::App;
use crate::catalog::{DeltaWish, StoredImage};
use crate::deltas::Deltas;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    List(list::Args),
    Build(build::Args),
    Explain(explain::Args),
}

pub(super) async fn run(verb: Verb, place: &Place, out: &Out) -> Result<(), Stop> {
    let app = place.open().await?;
    // Who types waits for it.
    let deltas = Deltas::new(app.publisher.clone(), place.config.deltas(false), now);
    let done = match verb {
        Verb::List(args) => list::run(args, &app, out).await,
        Verb::Build(args) => build::run(args, &app, &deltas, out).await,
        Verb::Explain(args) => explain::run(args, &app, &deltas, place, out).await,
    };
    app.catalog.close().await;
    done
}

/// Finds an image and the one that a delta to it would start from.
async fn images(
    app: &App,
    project: &InProject,
    vm: bool,
    name: &str,
    from: Option<&str>,
) -> Result<(StoredImage, Option<StoredImage>), Stop> {
    let image = pick::image(app, &project.project, name, vm).await?;
    let base = match from {
        Some(from) => Some(pick::image(app, &project.project, from, vm).await?),
        None => None,
    };
    Ok((image, base))
}

/// The root file of an image that clients can patch; else why there is none.
fn root(stored: &StoredImage) -> Result<ImageFile, String> {
    let short = stored.image.fingerprint.short();
    match stored.image.files {
        ImageFiles::Unified(_) => {
            Err(format!("{short} is one file with its metadata in it: deltas are between root files of their own"))
        }
        ImageFiles::Split { root, .. } => match root.format {
            FileFormat::Squashfs | FileFormat::Qcow2 => Ok(root),
            other => {
                Err(format!("the root file of {short} is a {other}: clients patch only a squashfs or a qcow2 disk"))
            }
        },
    }
}

/// The pair that two images make, if clients could ever use it.
fn pair(image: &StoredImage, base: &StoredImage) -> Result<DeltaWish, String> {
    let (target, from) = (root(image)?, root(base)?);
    let names = || (image.image.fingerprint.short(), base.image.fingerprint.short());
    let (Some(place), Some(older)) = (&image.placement, &base.placement) else {
        return Err("images without os and release are in no product, and deltas are listed in products".to_owned());
    };
    if place.product != older.product || image.image.image_type != base.image.image_type || target.format != from.format
    {
        let (image, base) = names();
        return Err(format!("{image} and {base} are not of one product and type; a delta is between versions of one"));
    }
    if older.version >= place.version {
        let (image, base) = names();
        return Err(format!("{base} is not older than {image}; a delta starts from an older version"));
    }
    if target.digest == from.digest {
        return Err("both images have the same root file; there is nothing to make".to_owned());
    }
    Ok(DeltaWish { target: target.digest, base: from.digest, clients: 0 })
}

/// `28%`: how large a delta is beside what it makes.
fn percent(size: u64, full: u64) -> String {
    format!("{}%", part(size, full))
}

/// The same as a number, rounded up: what is not nothing never looks like it.
fn part(size: u64, full: u64) -> u64 {
    size.saturating_mul(100).div_ceil(full.max(1))
}
