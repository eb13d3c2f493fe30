//! `headwater project …`

use clap::Subcommand;
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;
use serde::Serialize;

use super::out::Out;
use super::place::Place;
use super::stop::Stop;
use super::{human, now};
use crate::auth::Viewer;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List projects
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  headwater project list\n  headwater project list --format json"
    )]
    List,
    /// Make a project
    #[command(after_help = "Examples:\n  headwater project create team-a --description \"Images of team A\"")]
    Create {
        /// The name: letters, digits, -, _ and .
        name: ProjectName,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Give a project another name
    ///
    /// Its images, aliases and grants stay its own. Clients and addresses that hold the old name find nothing any more. The project
    /// `default` keeps its name.
    #[command(visible_alias = "mv", after_help = "Examples:\n  headwater project rename team-a team-b")]
    Rename {
        /// The name it has
        old: ProjectName,
        /// The name it gets
        new: ProjectName,
    },
    /// Change what a project says of itself
    #[command(after_help = "Examples:\n  headwater project describe team-a \"Images of team A\"")]
    Describe {
        /// The name
        name: ProjectName,
        /// What it is for
        description: String,
    },
    /// Delete projects that are empty
    ///
    /// A project with images or aliases in it stays: delete those first. The project `default` stays always.
    #[command(visible_alias = "rm", after_help = "Examples:\n  headwater project delete team-a")]
    Delete {
        /// The names
        #[arg(required = true)]
        names: Vec<ProjectName>,
    },
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a ProjectName,
    description: &'a str,
    images: u64,
    created_at: String,
}

pub(super) async fn run(verb: Verb, place: &Place, out: &Out) -> Result<(), Stop> {
    let app = match verb {
        Verb::Create { .. } => place.open_or_make().await?,
        _ => place.open().await?,
    };
    let catalog = &app.catalog;
    match verb {
        Verb::List => {
            let mut list = out.list(&["NAME", "IMAGES", "DESCRIPTION", "CREATED"]);
            for project in catalog.projects(&Viewer::operator()).await? {
                let row = Row {
                    name: &project.name,
                    description: &project.description,
                    images: project.images,
                    created_at: project.created_at.rfc3339(),
                };
                list.add(&row, || {
                    vec![
                        project.name.to_string(),
                        human::count(project.images),
                        project.description.clone(),
                        // The project that exists always was made at no time.
                        if project.created_at == Timestamp::EPOCH {
                            String::new()
                        } else {
                            human::date(project.created_at)
                        },
                    ]
                })?;
            }
            list.end()?;
        }
        Verb::Create { name, description } => {
            catalog.create_project(&name, &description, now()).await?;
            out.say(format!("made the project {name}"));
        }
        Verb::Rename { old, new } => {
            catalog.rename_project(&old, &new, now()).await?;
            out.say(format!("renamed the project {old} to {new}"));
        }
        Verb::Describe { name, description } => {
            catalog.edit_project(&name, &description, now()).await?;
            out.say(format!("changed the description of the project {name}"));
        }
        Verb::Delete { names } => {
            for name in names {
                catalog.delete_project(&name, now()).await?;
                out.say(format!("deleted the project {name}"));
            }
        }
    }
    catalog.close().await;
    Ok(())
}
