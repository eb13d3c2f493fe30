//! `headwater delta list`

use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::image::ImageType;
use serde::Serialize;

use super::{part, percent};
use crate::app::App;
use crate::auth::Viewer;
use crate::catalog::DeltaRow;
use crate::cli::out::Out;
use crate::cli::place::check_project;
use crate::cli::stop::Stop;
use crate::cli::{InProject, human, pick};

/// List deltas, and why there are none
///
/// A delta makes the root file of a version out of the one of an older version, its base. It is waiting, building, ready (and listed
/// in the streams), refused because it does not pay, or failed because bytes were not what they should be. SIZE is the part of the full file
/// that a host downloads; CLIENTS is how many were seen to hold the base.
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "ls",
    after_help = "\
Examples:
  headwater delta list
  headwater delta list debian/12
  headwater delta list debian:bookworm:amd64:default --format json"
)]
pub(in crate::cli) struct Args {
    /// A product, or an image of it by its alias or fingerprint
    #[arg(value_name = "PRODUCT")]
    product: Option<String>,
    #[command(flatten)]
    project: InProject,
}

/// Products whose deltas are held in memory at a time.
const PAGE: usize = 500;

#[derive(Serialize)]
struct Row<'a> {
    product: &'a str,
    #[serde(rename = "type")]
    image_type: ImageType,
    version: &'a str,
    base_version: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    full_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    saved: Option<u64>,
    clients: u64,
    why: &'a str,
    image: Fingerprint,
    target: Digest,
    base: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    asked_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
}

pub(super) async fn run(args: Args, app: &App, out: &Out) -> Result<(), Stop> {
    let project = &args.project.project;
    check_project(app, project).await?;
    let product = match &args.product {
        Some(name) => Some(product(app, &args.project, name).await?),
        None => None,
    };
    let mut list =
        out.list(&["PRODUCT", "TYPE", "VERSION", "BASE", "STATE", "SIZE", "OF FULL", "SAVED", "CLIENTS", "WHY"]);
    let mut after = None;
    loop {
        let (page, next) = app.catalog.deltas(project, after.as_deref(), PAGE).await?;
        for row in page.iter().filter(|row| product.as_ref().is_none_or(|product| *product == row.place.product)) {
            list.add(&wire(row), || cells(row))?;
        }
        after = next;
        if after.is_none() {
            return list.end();
        }
    }
}

/// The key of the product that is meant.
async fn product(app: &App, project: &InProject, name: &str) -> Result<String, Stop> {
    let keys = [name.to_owned()];
    if !app.catalog.products_at(&Viewer::operator(), &project.project, &keys).await?.is_empty() {
        return Ok(name.to_owned());
    }
    let image = pick::image(app, &project.project, name, false).await?;
    match image.placement {
        Some(placement) => Ok(placement.product),
        None => Err(Stop::failed(format!(
            "{} is in no product, because it has no os and release; deltas are between versions of a product",
            image.image.fingerprint.short()
        ))),
    }
}

fn wire(row: &DeltaRow) -> Row<'_> {
    let (size, full) = (row.file.map(|file| file.size), row.target.size);
    Row {
        product: &row.place.product,
        image_type: row.image_type,
        version: row.place.version.as_str(),
        base_version: row.place.base_version.as_str(),
        state: row.state.as_str(),
        size,
        full_size: full,
        percent: size.map(|size| part(size, full)),
        saved: size.map(|size| full.saturating_sub(size)),
        clients: row.clients,
        why: &row.why,
        image: row.place.image,
        target: row.target.digest,
        base: row.base.digest,
        digest: row.file.map(|file| file.digest),
        asked_at: row.asked_at.rfc3339(),
        ended_at: row.ended_at.map(|at| at.rfc3339()),
    }
}

fn cells(row: &DeltaRow) -> Vec<String> {
    let full = row.target.size;
    let told = |tell: &dyn Fn(u64) -> String| row.file.map(|file| tell(file.size)).unwrap_or_default();
    vec![
        row.place.product.clone(),
        row.image_type.as_str().to_uppercase(),
        row.place.version.to_string(),
        row.place.base_version.to_string(),
        row.state.as_str().to_uppercase(),
        told(&human::size),
        told(&|size| percent(size, full)),
        told(&|size| human::size(full.saturating_sub(size))),
        human::count(row.clients),
        row.why.clone(),
    ]
}
