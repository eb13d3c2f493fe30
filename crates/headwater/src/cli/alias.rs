//! `headwater alias …`

use std::str::FromStr;

use clap::Subcommand;
use headwater_formats::digest::Fingerprint;
use headwater_formats::names::{AliasName, ProjectName};
use serde::Serialize;

use super::out::Out;
use super::place::{Place, check_project};
use super::stop::Stop;
use super::{InProject, now, pick};
use crate::app::App;
use crate::auth::Viewer;
use crate::catalog::{Alias, AliasTarget, CatalogError, Wanted};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    List(List),
    Create(Create),
    Delete(Delete),
    Rename(Rename),
}

/// List aliases
///
/// The kind of an alias is fixed (leads to one image), follows (leads to the newest version of a product) or generated
/// (follows, and was made from the properties of the images).
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "ls",
    after_help = "\
Examples:
  headwater alias list
  headwater alias list debian --format csv"
)]
pub(super) struct List {
    /// Parts of names; aliases whose name contains all of them are listed
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    #[command(flatten)]
    project: InProject,
}

/// Make an alias
///
/// With a target, the alias is fixed: it leads to that image for ever. With --follow it leads to the newest version of a
/// product, whichever that is when somebody asks, for the architecture and type that they can use.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater alias create golden 1f2e3d4c5b6a
  headwater alias create stable --follow debian/bookworm
  headwater alias create web --follow debian/bookworm/cloud --description \"What web servers start from\"")]
#[command(group(clap::ArgGroup::new("leads").required(true).args(["target", "follow"])))]
pub(super) struct Create {
    /// The new name
    name: AliasName,
    /// The image: another alias of it, or the first characters of its fingerprint
    target: Option<String>,
    /// The product to follow, as os/release or os/release/variant
    #[arg(long, value_name = "OS/RELEASE[/VARIANT]")]
    follow: Option<Product>,
    /// Free text
    #[arg(long, default_value = "")]
    description: String,
    #[command(flatten)]
    project: InProject,
}

/// Delete aliases that were made by hand
///
/// The images stay. Generated aliases go when their product's last image goes.
#[derive(Debug, clap::Args)]
#[command(visible_alias = "rm", after_help = "Examples:\n  headwater alias delete golden stable")]
pub(super) struct Delete {
    /// The names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<AliasName>,
    #[command(flatten)]
    project: InProject,
}

/// Give an alias that was made by hand another name
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  headwater alias rename golden silver")]
pub(super) struct Rename {
    /// The name it has
    old: AliasName,
    /// The name it gets
    new: AliasName,
    #[command(flatten)]
    project: InProject,
}

/// `os/release[/variant]`
#[derive(Debug, Clone)]
struct Product(AliasTarget);

impl FromStr for Product {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split('/').collect();
        let (os, release, variant) = match words.as_slice() {
            [os, release] => (*os, *release, "default"),
            [os, release, variant] => (*os, *release, *variant),
            _ => ("", "", ""),
        };
        if [os, release, variant].iter().any(|word| word.is_empty()) {
            return Err("write os/release or os/release/variant, for example debian/bookworm/cloud".to_owned());
        }
        Ok(Self(AliasTarget::Follows { os: os.to_owned(), release: release.to_owned(), variant: variant.to_owned() }))
    }
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a AliasName,
    description: &'a str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Fingerprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    follows: Option<String>,
}

impl<'a> Row<'a> {
    fn new(alias: &'a Alias) -> Self {
        let (kind, target, follows) = match &alias.target {
            AliasTarget::Image(fingerprint) => ("fixed", Some(*fingerprint), None),
            AliasTarget::Follows { os, release, variant } => {
                let kind = if alias.generated { "generated" } else { "follows" };
                (kind, None, Some(format!("{os}/{release}/{variant}")))
            }
        };
        Self { name: &alias.name, description: &alias.description, kind, target, follows }
    }
}

/// How many aliases are held in memory at a time.
const PAGE: usize = 500;

pub(super) async fn run(verb: Verb, place: &Place, out: &Out) -> Result<(), Stop> {
    let app = place.open().await?;
    let done = match verb {
        Verb::List(args) => list(args, &app, out).await,
        Verb::Create(args) => create(args, &app, out).await,
        Verb::Delete(args) => delete(args, &app, out).await,
        Verb::Rename(args) => rename(args, &app, out).await,
    };
    app.catalog.close().await;
    done
}

async fn list(args: List, app: &App, out: &Out) -> Result<(), Stop> {
    check_project(app, &args.project.project).await?;
    let mut list = out.list(&["ALIAS", "KIND", "TARGET", "DESCRIPTION"]);
    let mut after = None;
    loop {
        let page = app.catalog.aliases(&Viewer::operator(), &args.project.project, after.as_ref(), PAGE).await?;
        for alias in page.iter().filter(|alias| args.words.iter().all(|word| alias.name.as_str().contains(word))) {
            let row = Row::new(alias);
            list.add(&row, || {
                let target = row.target.map(|fingerprint| fingerprint.short());
                vec![
                    alias.name.to_string(),
                    row.kind.to_owned(),
                    target.or_else(|| row.follows.clone()).unwrap_or_default(),
                    alias.description.clone(),
                ]
            })?;
        }
        after = page.last().map(|alias| alias.name.clone());
        if page.len() < PAGE {
            return list.end();
        }
    }
}

async fn create(args: Create, app: &App, out: &Out) -> Result<(), Stop> {
    let project = &args.project.project;
    check_project(app, project).await?;
    let (target, words) = match (args.follow, args.target) {
        (Some(Product(target)), _) => {
            let words = follow_words(&target);
            (target, words)
        }
        (None, Some(name)) => {
            let fingerprint = pick::image(app, project, &name, false).await?.image.fingerprint;
            (AliasTarget::Image(fingerprint), format!("leads to {}", fingerprint.short()))
        }
        (None, None) => return Err(Stop::usage("say where the alias leads: a target, or --follow")),
    };
    app.catalog.create_alias(project, &args.name, &args.description, &target, now()).await?;
    out.say(format!("made the alias {}: it {words}", args.name));
    Ok(())
}

fn follow_words(target: &AliasTarget) -> String {
    match target {
        AliasTarget::Follows { os, release, variant } => format!("follows {os}/{release}/{variant}"),
        AliasTarget::Image(fingerprint) => format!("leads to {}", fingerprint.short()),
    }
}

async fn delete(args: Delete, app: &App, out: &Out) -> Result<(), Stop> {
    check_project(app, &args.project.project).await?;
    for name in args.names {
        if let Err(error) = app.catalog.delete_alias(&args.project.project, &name, now()).await {
            return Err(not_by_hand(app, &args.project.project, &name, error).await);
        }
        out.say(format!("deleted the alias {name}"));
    }
    Ok(())
}

async fn rename(args: Rename, app: &App, out: &Out) -> Result<(), Stop> {
    check_project(app, &args.project.project).await?;
    if let Err(error) = app.catalog.rename_alias(&args.project.project, &args.old, &args.new, now()).await {
        return Err(not_by_hand(app, &args.project.project, &args.old, error).await);
    }
    out.say(format!("renamed the alias {} to {}", args.old, args.new));
    Ok(())
}

/// Why an alias cannot be changed. One that is listed and was not made by hand is told apart from one that is not there.
async fn not_by_hand(app: &App, project: &ProjectName, name: &AliasName, error: CatalogError) -> Stop {
    let wanted = Wanted { architectures: Vec::new(), image_type: None };
    let found = app.catalog.resolve_alias(&Viewer::operator(), project, name, &wanted).await;
    match (error, found) {
        (CatalogError::NoAlias(_), Ok(Some(_))) => Stop::failed(format!(
            "the alias \"{name}\" is generated from the properties of images and goes with the last of them; only aliases that \
             were made by hand can be changed"
        )),
        (error, _) => error.into(),
    }
}
