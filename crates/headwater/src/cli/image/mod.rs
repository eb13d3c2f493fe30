//! `headwater image …`: one file per verb.

mod delete;
mod edit;
mod export;
mod filter;
mod info;
mod list;
mod show;

use clap::Subcommand;
use headwater_formats::lxd;
use headwater_formats::yaml::{MAX_KEY, MAX_VALUE};

use super::InProject;
use super::out::Out;
use super::place::Place;
use super::stop::Stop;
use crate::catalog::StoredImage;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    List(list::Args),
    Show(show::Args),
    Info(info::Args),
    Export(export::Args),
    Edit(edit::Args),
    Delete(delete::Args),
}

pub(super) async fn run(verb: Verb, place: &Place, out: &Out) -> Result<(), Stop> {
    let app = place.open().await?;
    let done = match verb {
        Verb::List(args) => list::run(args, &app, out).await,
        Verb::Show(args) => show::run(args, &app, out).await,
        Verb::Info(args) => info::run(args, &app, out).await,
        Verb::Export(args) => export::run(args, &app, out).await,
        Verb::Edit(args) => edit::run(args, &app, out).await,
        Verb::Delete(args) => delete::run(args, &app, out).await,
    };
    app.catalog.close().await;
    done
}

/// One image by its name.
#[derive(Debug, clap::Args)]
struct Named {
    /// An alias, or the first characters of a fingerprint
    #[arg(value_name = "IMAGE")]
    name: String,
    /// When an alias leads to a container and a virtual machine, take the virtual machine
    #[arg(long)]
    vm: bool,
    #[command(flatten)]
    project: InProject,
}

impl Named {
    async fn find(&self, app: &crate::app::App) -> Result<StoredImage, Stop> {
        super::pick::image(app, &self.project.project, &self.name, self.vm).await
    }
}

/// Reads `KEY=VALUE`.
pub(super) fn property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, _)) if key.len() > MAX_KEY => Err(format!("the key has more than {MAX_KEY} bytes; shorten it")),
        Some((_, value)) if value.len() > MAX_VALUE => {
            Err(format!("the value has more than {MAX_VALUE} bytes; shorten it"))
        }
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a property is written KEY=VALUE, for example os=debian".to_owned()),
    }
}

/// The image as the LXD API shows it.
fn wire(stored: &StoredImage) -> lxd::Image<'_> {
    let aliases = stored
        .aliases
        .iter()
        .map(|alias| lxd::AliasName { name: alias.name.as_str(), description: &alias.description })
        .collect();
    lxd::Image::new(&stored.image, stored.project.as_str(), aliases)
}

fn yes_no(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}
