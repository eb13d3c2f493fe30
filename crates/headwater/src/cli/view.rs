//! `headwater view …`: filters with names.

use clap::Subcommand;
use headwater_formats::names::{ProjectName, ViewName};
use headwater_formats::view::View;
use serde::Serialize;

use super::out::Out;
use super::place::Place;
use super::stop::Stop;
use super::{InProject, human, now};
use crate::app::App;
use crate::catalog::{CatalogError, SavedView};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    Create(Box<Create>),
    List(List),
    Show(Show),
    Delete(Delete),
}

/// Give a filter over a project a name
///
/// The view is served at /v/NAME/, for simplestreams remotes, to everybody who may see the images. A token can be bound to it (`headwater
/// token create --view`), and then sees nothing else.
///
/// A filter is os, release, variant, arch, type, alias or latest, with one value or several; an image passes that passes all
/// filters. It is what stands in an address as /only/arch=arm64/only/latest=1/.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater view create arm-latest --filter 'arch=arm64 latest=1'
  headwater view create web --project team-a --filter 'os=debian,ubuntu variant=cloud type=container' --description \"What web servers start from\"")]
pub(super) struct Create {
    /// The name: letters, digits, -, _ and .
    name: ViewName,
    /// The filters, with blanks between them: key=value[,value…]; a blank in a value is written %20
    #[arg(long, value_name = "FILTERS")]
    filter: View,
    /// Free text
    #[arg(long, default_value = "")]
    description: String,
    #[command(flatten)]
    project: InProject,
}

/// List saved views, of all projects
#[derive(Debug, clap::Args)]
#[command(visible_alias = "ls", after_help = "Examples:\n  headwater view list\n  headwater view list --format json")]
pub(super) struct List {}

/// Show a saved view
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  headwater view show arm-latest")]
pub(super) struct Show {
    /// The name
    name: ViewName,
}

/// Delete saved views
///
/// The images stay. A view that tokens are bound to stays, too: revoke those first.
#[derive(Debug, clap::Args)]
#[command(visible_alias = "rm", after_help = "Examples:\n  headwater view delete arm-latest")]
pub(super) struct Delete {
    /// The names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<ViewName>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a ViewName,
    project: &'a ProjectName,
    filter: String,
    path: String,
    description: &'a str,
    created_at: String,
}

impl<'a> Row<'a> {
    fn new(view: &'a SavedView) -> Self {
        Self {
            name: &view.name,
            project: &view.project,
            filter: view.view.words().to_string(),
            path: format!("/v/{}/", view.name),
            description: &view.description,
            created_at: view.created_at.rfc3339(),
        }
    }
}

pub(super) async fn run(verb: Verb, place: &Place, out: &Out) -> Result<(), Stop> {
    let app = place.open().await?;
    let done = act(verb, &app, out).await;
    app.catalog.close().await;
    done
}

async fn act(verb: Verb, app: &App, out: &Out) -> Result<(), Stop> {
    let catalog = &app.catalog;
    match verb {
        Verb::Create(args) => {
            let Create { name, filter, description, project: InProject { project } } = *args;
            catalog.create_view(&name, &project, &filter, &description, now()).await?;
            out.say(format!("made the view {name}, served at /v/{name}/"));
            Ok(())
        }
        Verb::List(List {}) => {
            let mut list = out.list(&["NAME", "PROJECT", "FILTER", "DESCRIPTION", "CREATED"]);
            for view in catalog.saved_views().await? {
                let row = Row::new(&view);
                list.add(&row, || {
                    vec![
                        view.name.to_string(),
                        view.project.to_string(),
                        row.filter.clone(),
                        view.description.clone(),
                        human::date(view.created_at),
                    ]
                })?;
            }
            list.end()
        }
        Verb::Show(Show { name }) => match catalog.saved_view(&name).await? {
            Some(view) => out.document(&Row::new(&view)),
            None => Err(CatalogError::NoView(name.to_string()).into()),
        },
        Verb::Delete(Delete { names }) => {
            for name in names {
                catalog.delete_view(&name, now()).await?;
                out.say(format!("deleted the view {name}"));
            }
            Ok(())
        }
    }
}
