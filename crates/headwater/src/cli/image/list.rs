//! `headwater image list`

use super::filter::Word;
use super::{wire, yes_no};
use crate::app::App;
use crate::auth::Viewer;
use crate::catalog::StoredImage;
use crate::cli::out::Out;
use crate::cli::stop::Stop;
use crate::cli::{InProject, human};

/// List images
///
/// A filter is key=value, where the key is a property (os, release, variant, …) or a field of the image (type, architecture,
/// public, fingerprint, …) and the value may be a regular expression or several values with commas between; or it is
/// a word, a part of an alias or fingerprint. Images that fit all the filters are listed.
///
/// The formats json and yaml give the images as the LXD API does, in the order of their fingerprints.
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "ls",
    after_help = "\
Examples:
  headwater image list
  headwater image list os=debian release=bookworm,trixie
  headwater image list type=virtual-machine arch=arm64
  headwater image list cloud
  headwater image list --project team-a --format json"
)]
pub(in crate::cli) struct Args {
    /// key=value, or a part of an alias or fingerprint
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    #[command(flatten)]
    project: InProject,
}

/// How many images are held in memory at a time.
const PAGE: usize = 500;

const COLUMNS: [&str; 8] =
    ["ALIAS", "FINGERPRINT", "PUBLIC", "DESCRIPTION", "ARCHITECTURE", "TYPE", "SIZE", "UPLOAD DATE"];

pub(super) async fn run(args: Args, app: &App, out: &Out) -> Result<(), Stop> {
    let words = args.filters.iter().map(|text| Word::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let mut list = out.list(&COLUMNS);
    let mut after = None;
    loop {
        let page = app.catalog.images(&Viewer::operator(), &args.project.project, after, PAGE).await?;
        for stored in page.iter().filter(|stored| words.iter().all(|word| word.matches(stored))) {
            list.add(&wire(stored), || cells(stored))?;
        }
        after = page.last().map(|stored| stored.image.fingerprint);
        if page.len() < PAGE {
            return list.end();
        }
    }
}

fn cells(stored: &StoredImage) -> Vec<String> {
    let image = &stored.image;
    vec![
        aliases(stored),
        image.fingerprint.short(),
        yes_no(image.public).to_owned(),
        image.property("description").unwrap_or_default().to_owned(),
        image.architecture.to_string(),
        image.image_type.as_str().to_uppercase(),
        human::size(image.files.size()),
        human::date(image.uploaded_at),
    ]
}

/// The shortest alias, and how many more there are.
fn aliases(stored: &StoredImage) -> String {
    let names = stored.aliases.iter().map(|alias| alias.name.as_str());
    match (names.min_by_key(|name| name.len()), stored.aliases.len()) {
        (None, _) => String::new(),
        (Some(name), 1) => name.to_owned(),
        (Some(name), count) => format!("{name} ({} more)", count - 1),
    }
}
