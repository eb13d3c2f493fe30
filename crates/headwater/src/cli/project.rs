//! `headwater project …`

use clap::Subcommand;
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;
use serde::Serialize;

use super::out::Out;
use super::place::Place;
use super::stop::Stop;
use super::{OnOff, human, now};
use crate::auth::Viewer;
use crate::catalog::{CatalogError, Project};

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
        /// Whether containers that are published in it are packed for small deltas, as `headwater publish --repack` does
        #[arg(long, value_name = "SWITCH", value_enum)]
        repack: Option<OnOff>,
    },
    /// Change a project
    ///
    /// With --repack on, root files of containers that are published in it from now on, by `headwater publish` or by uploads of `lxc` and
    /// `incus`, are packed anew so that deltas between versions are small; their images have other fingerprints than the files given. Images
    /// that are copied from other servers keep theirs, and so do those that are there. Virtual machines are left as they are.
    #[command(
        after_help = "Examples:\n  headwater project edit team-a --repack on\n  headwater project edit team-a --description \"Images of team A\""
    )]
    Edit {
        /// The name
        name: ProjectName,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// Whether containers that are published in it are packed for small deltas
        #[arg(long, value_name = "SWITCH", value_enum)]
        repack: Option<OnOff>,
    },
    /// Show a project
    #[command(after_help = "Examples:\n  headwater project show team-a")]
    Show {
        /// The name
        name: ProjectName,
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
    repack: bool,
    created_at: String,
}

impl<'a> From<&'a Project> for Row<'a> {
    fn from(project: &'a Project) -> Self {
        Self {
            name: &project.name,
            description: &project.description,
            images: project.images,
            repack: project.repack,
            created_at: project.created_at.rfc3339(),
        }
    }
}

pub(super) async fn run(verb: Verb, place: &Place, out: &Out) -> Result<(), Stop> {
    let app = match verb {
        Verb::Create { .. } => place.open_or_make().await?,
        _ => place.open().await?,
    };
    let catalog = &app.catalog;
    match verb {
        Verb::List => {
            let mut list = out.list(&["NAME", "IMAGES", "DESCRIPTION", "REPACK", "CREATED"]);
            for project in catalog.projects(&Viewer::operator()).await? {
                list.add(&Row::from(&project), || {
                    vec![
                        project.name.to_string(),
                        human::count(project.images),
                        project.description.clone(),
                        if project.repack { "on" } else { "" }.to_owned(),
                        made(&project),
                    ]
                })?;
            }
            list.end()?;
        }
        Verb::Create { name, description, repack } => {
            catalog.create_project(&name, &description, now()).await?;
            if repack == Some(OnOff::On) {
                catalog.set_repack(&name, true, now()).await?;
            }
            out.say(format!("made the project {name}"));
        }
        Verb::Edit { name, description, repack } => {
            if description.is_none() && repack.is_none() {
                return Err(Stop::usage("nothing to change; give --description or --repack"));
            }
            if let Some(description) = description {
                catalog.edit_project(&name, &description, now()).await?;
            }
            if let Some(repack) = repack {
                catalog.set_repack(&name, repack == OnOff::On, now()).await?;
            }
            out.say(format!("changed the project {name}"));
        }
        Verb::Show { name } => {
            let project = catalog.project(&Viewer::operator(), &name).await?;
            let project = project.ok_or_else(|| CatalogError::NoProject(name.to_string()))?;
            out.document(&Row::from(&project))?;
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

/// When it was made; the project that exists always was made at no time.
fn made(project: &Project) -> String {
    if project.created_at == Timestamp::EPOCH { String::new() } else { human::date(project.created_at) }
}
