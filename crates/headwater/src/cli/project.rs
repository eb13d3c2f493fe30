//! `headwater project …`

use clap::Subcommand;
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;
use serde::Serialize;

use super::out::Out;
use super::place::Place;
use super::stop::Stop;
use super::{OnOff, human, now};
use crate::app::App;
use crate::auth::Viewer;
use crate::catalog::{CatalogError, Project, Retention, VersionImage};
use crate::publish::{Judged, Stays};

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
        #[command(flatten)]
        keep: Keep,
    },
    /// Change a project
    ///
    /// With --repack on, root files of containers that are published in it from now on, by `headwater publish` or by uploads of `lxc` and
    /// `incus`, are packed anew so that deltas between versions are small; their images have other fingerprints than the files given. Images
    /// that are copied from other servers keep theirs, and so do those that are there. Virtual machines are left as they are.
    ///
    /// With --keep or --keep-days, images go by themselves: a server deletes, once an hour, those that none of these rules keeps. The last version of
    /// a product stays always, and so does an image that is in no product. `headwater project prune --dry-run` shows what that means.
    #[command(
        visible_alias = "set",
        after_help = "Examples:\n  headwater project edit team-a --repack on\n  headwater project edit team-a --description \"Images of team A\"\n  headwater project edit ci --keep 5 --keep-days 30 --keep-aliased\n  headwater project edit ci --keep 0 --keep-days 0"
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
        #[command(flatten)]
        keep: Keep,
    },
    /// Show a project
    #[command(after_help = "Examples:\n  headwater project show team-a")]
    Show {
        /// The name
        name: ProjectName,
    },
    /// Delete the images of a project that none of its rules keeps
    ///
    /// They go as if somebody had deleted them: out of every listing at once, while their files are served for a while. Servers do the same
    /// once an hour. Rules are set by `headwater project edit`; without --keep or --keep-days, nothing goes. Images that came from a mirrored
    /// server are left to the rules of that mirror.
    #[command(
        after_help = "Examples:\n  headwater project prune ci --dry-run\n  headwater project prune ci --dry-run --format json\n  headwater project prune ci"
    )]
    Prune {
        /// The name
        name: ProjectName,
        /// Show what would go, and why the others stay, and change nothing
        #[arg(long)]
        dry_run: bool,
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

/// Which images stay by themselves.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Keep {
    /// How many of the newest versions of each product stay; 0 when their number does not count [default: 0]
    #[arg(long, value_name = "VERSIONS")]
    keep: Option<u32>,
    /// For how many days versions stay after they came; 0 when their age does not count [default: 0]
    #[arg(long, value_name = "DAYS")]
    keep_days: Option<u32>,
    /// Whether images that a fixed alias leads to stay [default: off]
    #[arg(long, value_enum, value_name = "on|off", num_args = 0..=1, default_missing_value = "on")]
    keep_aliased: Option<OnOff>,
}

impl Keep {
    /// What is said here, and the rest as it was; `None` when nothing is said.
    fn over(self, before: Retention) -> Option<Retention> {
        let Self { keep, keep_days, keep_aliased } = self;
        let said = keep.is_some() || keep_days.is_some() || keep_aliased.is_some();
        said.then(|| Retention {
            keep: keep.unwrap_or(before.keep),
            keep_days: keep_days.unwrap_or(before.keep_days),
            keep_aliased: keep_aliased.map_or(before.keep_aliased, |keep| keep == OnOff::On),
        })
    }
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a ProjectName,
    description: &'a str,
    images: u64,
    repack: bool,
    keep: u32,
    keep_days: u32,
    keep_aliased: bool,
    created_at: String,
}

impl<'a> From<&'a Project> for Row<'a> {
    fn from(project: &'a Project) -> Self {
        Self {
            name: &project.name,
            description: &project.description,
            images: project.images,
            repack: project.repack,
            keep: project.retention.keep,
            keep_days: project.retention.keep_days,
            keep_aliased: project.retention.keep_aliased,
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
        Verb::Create { name, description, repack, keep } => {
            catalog.create_project(&name, &description, now()).await?;
            if let Some(retention) = keep.over(Retention::default()) {
                set_retention(&app, &name, &retention, out).await?;
            }
            if repack == Some(OnOff::On) {
                catalog.set_repack(&name, true, now()).await?;
            }
            out.say(format!("made the project {name}"));
        }
        Verb::Edit { name, description, repack, keep } => {
            let project = find(&app, &name).await?;
            let retention = keep.over(project.retention);
            if description.is_none() && repack.is_none() && retention.is_none() {
                return Err(Stop::usage(
                    "nothing to change; give --description, --repack, --keep, --keep-days or --keep-aliased",
                ));
            }
            if let Some(retention) = retention {
                set_retention(&app, &name, &retention, out).await?;
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
            out.document(&Row::from(&find(&app, &name).await?))?;
        }
        Verb::Prune { name, dry_run } => prune(&app, &name, dry_run, out).await?,
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

async fn find(app: &App, name: &ProjectName) -> Result<Project, Stop> {
    let project = app.catalog.project(&Viewer::operator(), name).await?;
    Ok(project.ok_or_else(|| CatalogError::NoProject(name.to_string()))?)
}

async fn set_retention(app: &App, name: &ProjectName, retention: &Retention, out: &Out) -> Result<(), Stop> {
    app.catalog.set_retention(name, retention, now()).await?;
    if retention.keep_aliased && !retention.is_limited() {
        out.say(format!(
            "nothing of {name} goes by itself, whatever leads to it; --keep or --keep-days says what does"
        ));
    }
    Ok(())
}

/// An image that goes, or stays.
#[derive(Serialize)]
struct Judgement<'a> {
    /// `remove` or `keep`.
    action: &'static str,
    product: &'a str,
    version: &'a str,
    #[serde(rename = "type")]
    image_type: &'static str,
    fingerprint: String,
    size: u64,
    came_at: String,
    /// `no-rule`, `mirrored`, `newest`, `young`, `aliased`, `last`, or `over` for one that goes.
    why: &'static str,
}

async fn prune(app: &App, name: &ProjectName, dry_run: bool, out: &Out) -> Result<(), Stop> {
    let project = find(app, name).await?;
    let rules = project.retention;
    let mut list = out.findings(&["PRODUCT", "VERSION", "TYPE", "FINGERPRINT", "SIZE", "ACTION", "WHY"]);
    let mut printed = Ok(());
    let mut tell = |judged: Judged<'_>| {
        let Judged { product, image, stays } = judged;
        if stays.is_some() && !dry_run {
            return;
        }
        let row = Judgement {
            action: if stays.is_some() { "keep" } else { "remove" },
            product,
            version: image.version.as_str(),
            image_type: image.image_type.as_str(),
            fingerprint: image.fingerprint.to_string(),
            size: image.size,
            came_at: image.came_at.rfc3339(),
            why: word(stays),
        };
        let added = list.add(&row, || {
            vec![
                product.to_owned(),
                row.version.to_owned(),
                row.image_type.to_owned(),
                image.fingerprint.short().to_string(),
                human::size(image.size),
                row.action.to_owned(),
                reason(stays, image, &rules),
            ]
        });
        if printed.is_ok() {
            printed = added;
        }
    };
    let totals = if dry_run {
        app.publisher.plan_prune(name, now(), &mut tell).await?
    } else {
        app.publisher.prune(name, now(), &mut tell).await?
    };
    printed?;
    list.end()?;
    if !rules.is_limited() {
        out.say(format!("{name} has no rule by which images go; `headwater project edit {name} --keep 5` makes one"));
        return Ok(());
    }
    let gone = human::counted(totals.gone, "image", "images");
    let (does, bytes) = (if dry_run { "would delete" } else { "deleted" }, human::size(totals.bytes));
    out.say(format!("{does} {gone} of {}, {bytes}", human::count(totals.images)));
    let loose = project.images.saturating_sub(totals.images);
    if dry_run && loose > 0 {
        let (stay, are) =
            (human::counted(loose, "image stays", "images stay"), if loose == 1 { "it is" } else { "they are" });
        out.say(format!(
            "{stay} whatever the rules say, because {are} of no product: without os and release there are no versions"
        ));
    }
    Ok(())
}

/// Why, in the word for programs.
fn word(stays: Option<Stays>) -> &'static str {
    match stays {
        None => "over",
        Some(Stays::NoRule) => "no-rule",
        Some(Stays::Mirrored) => "mirrored",
        Some(Stays::Newest) => "newest",
        Some(Stays::Young) => "young",
        Some(Stays::Aliased) => "aliased",
        Some(Stays::Last) => "last",
    }
}

/// Why, for people.
fn reason(stays: Option<Stays>, image: &VersionImage, rules: &Retention) -> String {
    match stays {
        None => "no rule keeps it".to_owned(),
        Some(Stays::NoRule) => "there is no rule".to_owned(),
        Some(Stays::Mirrored) => {
            let upstream = image.upstream.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("the mirror {upstream} decides")
        }
        Some(Stays::Newest) => match rules.keep {
            1 => "the newest version".to_owned(),
            keep => format!("one of the newest {} versions", human::count(keep.into())),
        },
        Some(Stays::Young) => format!("came less than {} ago", human::counted(rules.keep_days.into(), "day", "days")),
        Some(Stays::Aliased) => format!("the alias {} leads to it", image.alias.as_deref().unwrap_or_default()),
        Some(Stays::Last) => "the last version".to_owned(),
    }
}

/// When it was made; the project that exists always was made at no time.
fn made(project: &Project) -> String {
    if project.created_at == Timestamp::EPOCH { String::new() } else { human::date(project.created_at) }
}
