//! `headwater mirror …`: upstreams, and runs of them.

mod lines;
mod list;
mod push;
mod run;
mod settings;

use clap::Subcommand;
use headwater_formats::names::UpstreamName;

use super::out::Out;
use super::place::Place;
use super::stop::Stop;
use super::{human, now};
use crate::client::{Client, Limits};
use crate::mirror::Mirrors;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    Add(Box<settings::Add>),
    Edit(Box<settings::Edit>),
    List(list::List),
    Show(list::Show),
    Status(list::Status),
    Run(run::Args),
    Push(Box<push::Args>),
    Remove(Remove),
}

/// Forget upstreams
///
/// The images that came from them stay, as if they had been published here. What an upstream had before can be taken away with `headwater
/// image delete`. Of a lazy upstream, images go with it whose files are not all here: nobody promises them any more.
#[derive(Debug, clap::Args)]
#[command(visible_alias = "rm", after_help = "Examples:\n  headwater mirror remove images")]
pub(super) struct Remove {
    /// The names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<UpstreamName>,
}

pub(super) async fn run(verb: Verb, place: &Place, out: &Out) -> Result<(), Stop> {
    // Who begins with a mirror has nothing yet.
    let app = if matches!(verb, Verb::Add(_)) { place.open_or_make().await? } else { place.open().await? };
    let done = match verb {
        Verb::Add(args) => settings::add(*args, &app, out).await,
        Verb::Edit(args) => settings::edit(*args, &app, out).await,
        Verb::List(args) => list::list(&args, &app, out).await,
        Verb::Show(args) => list::show(args, &app, out).await,
        Verb::Status(args) => list::status(args, &app, out).await,
        Verb::Run(args) => {
            let client = Client::new(place.config.architectures()?, Limits::default());
            run::run(args, &Mirrors::new(client, app.publisher.clone(), now), out).await
        }
        Verb::Push(args) => {
            let client = Client::new(place.config.architectures()?, Limits::default());
            push::push(*args, &Mirrors::new(client, app.publisher.clone(), now), out).await
        }
        Verb::Remove(Remove { names }) => {
            let mut done = Ok(());
            for name in names {
                match app.catalog.delete_upstream(&name, now()).await {
                    Ok(0) => out.say(format!("forgot the upstream {name}; its images stay")),
                    Ok(gone) => out.say(format!(
                        "forgot the upstream {name}; {} went with it, whose files are not all here, and its other images stay",
                        human::counted(gone, "image", "images")
                    )),
                    Err(error) => {
                        done = Err(error.into());
                        break;
                    }
                }
            }
            done
        }
    };
    app.catalog.close().await;
    done
}
