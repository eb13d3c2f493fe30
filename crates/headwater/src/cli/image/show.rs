//! `headwater image show`

use super::Named;
use super::edit::Editable;
use crate::app::App;
use crate::cli::out::Out;
use crate::cli::stop::Stop;

/// Print what can be changed of an image, as YAML
///
/// What it prints can be changed and given back to `headwater image edit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater image show debian/12
  headwater image show debian/12 | sed 's/public: false/public: true/' | headwater image edit debian/12")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    image: Named,
}

pub(super) async fn run(args: Args, app: &App, out: &Out) -> Result<(), Stop> {
    out.document(&Editable::of(&args.image.find(app).await?.image))
}
