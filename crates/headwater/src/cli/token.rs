//! `headwater token …`: secrets for programs, sent with each request.

use clap::Subcommand;
use headwater_formats::names::ViewName;
use serde::Serialize;

use super::now;
use super::out::Out;
use super::people::{self, End, GrantRow, Rights, date_or, grant_rows, may, rfc3339};
use super::place::Place;
use super::reach::Addresses;
use super::stop::Stop;
use crate::app::App;
use crate::auth::{Grant, Identity, IdentityKind, Manages, Role, Secret};
use crate::catalog::{CatalogError, Credential, NewIdentity};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a token, and show it: once, for it is kept nowhere
///
/// Prints the token. It is sent with each request, in a header or in the address; standard error says how. A token that is bound to a
/// saved view sees what that view lets pass, over simplestreams alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater token create mirror --project team-a
  headwater token create ci --project team-a --role publisher --expires 90d
  headwater token create kiosk --view arm-latest")]
pub(super) struct Create {
    /// What it is called; names need not be unique
    #[arg(value_parser = people::name)]
    name: String,
    #[command(flatten)]
    rights: Rights,
    /// The saved view that it is bound to; it sees private images of the view's project, too
    #[arg(long, value_name = "VIEW", conflicts_with_all = ["projects", "role", "all_images", "administrator"])]
    view: Option<ViewName>,
    /// Free text
    #[arg(long, default_value = "")]
    description: String,
    /// How long it is good: 90d, 2027-01-31, or never
    #[arg(long, value_name = "TIME", default_value = "never")]
    expires: End,
    #[command(flatten)]
    addresses: Addresses,
}

/// List tokens, by their beginnings
#[derive(Debug, clap::Args)]
#[command(visible_alias = "ls", after_help = "Examples:\n  headwater token list\n  headwater token list --format json")]
pub(super) struct List {}

/// Make tokens good for nothing
///
/// Who has one is refused from the next request on. What was published with it stays.
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "rm",
    after_help = "Examples:\n  headwater token revoke ci\n  headwater token revoke hw_4tq7xk2m"
)]
pub(super) struct Revoke {
    /// Names, beginnings of tokens, or whole ones
    #[arg(required = true, value_name = "TOKEN")]
    tokens: Vec<String>,
}

pub(super) async fn run(verb: Verb, place: &Place, out: &Out) -> Result<(), Stop> {
    let app = place.open().await?;
    let done = match verb {
        Verb::Create(args) => create(args, place, &app, out).await,
        Verb::List(List {}) => list(&app, out).await,
        Verb::Revoke(args) => revoke(args, &app, out).await,
    };
    app.catalog.close().await;
    done
}

async fn create(args: Create, place: &Place, app: &App, out: &Out) -> Result<(), Stop> {
    let (administrator, grants) = match &args.view {
        None => args.rights.read(app, &args.name).await?,
        Some(name) => {
            let view = app.catalog.saved_view(name).await?;
            let view = view.ok_or_else(|| CatalogError::NoView(name.to_string()))?;
            (false, vec![Grant { project: view.project, role: Role::Viewer, manages: Manages::Own }])
        }
    };
    let secret = Secret::random()?;
    let new = NewIdentity {
        credential: Credential::Token { prefix: secret.prefix().to_owned(), hash: secret.hash() },
        name: args.name,
        description: args.description,
        administrator,
        grants,
        view: args.view,
        expires_at: args.expires.from(now())?,
    };
    let identity = app.catalog.add_identity(&new, now()).await?;
    let made = Made { token: secret.expose(), row: Row::new(&identity) };
    out.object(&made, || format!("{}\n", secret.expose()))?;
    out.say_lines(&explained(&identity, &secret, &args.addresses.first(place)));
    Ok(())
}

fn explained(identity: &Identity, secret: &Secret, address: &str) -> String {
    let secret = secret.expose();
    let until = date_or(identity.expires_at, "it is revoked");
    let streams = "is an address for simplestreams remotes, as in\n    \
                   lxc remote add NAME";
    let head = format!(
        "\nThe token above is shown this once; keep it where secrets are kept. It is good until {until}.\n\n  \
         https://{address}/t/{secret}\n    {streams} https://{address}/t/{secret} --protocol simplestreams\n  \
         https://token:{secret}@{address}\n    is the same with the token as a password (Basic); any user name will do\n"
    );
    match &identity.view {
        Some(view) => {
            format!("{head}\nIt sees what the view {view} lets pass, and is not taken by the API of LXD and Incus.\n")
        }
        None => format!(
            "{head}  Authorization: Bearer {secret}\n    is the header for programs, as in\n    \
             curl -H 'Authorization: Bearer {secret}' https://{address}/1.0/images\n\nIt may: {}\n",
            may(identity.administrator, &identity.grants),
        ),
    }
}

#[derive(Serialize)]
struct Made<'a> {
    token: &'a str,
    #[serde(flatten)]
    row: Row<'a>,
}

#[derive(Serialize)]
struct Row<'a> {
    prefix: &'a str,
    name: &'a str,
    description: &'a str,
    administrator: bool,
    grants: Vec<GrantRow<'a>>,
    view: Option<&'a ViewName>,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
}

impl<'a> Row<'a> {
    fn new(identity: &'a Identity) -> Self {
        Self {
            prefix: &identity.subject,
            name: &identity.name,
            description: &identity.description,
            administrator: identity.administrator,
            grants: grant_rows(&identity.grants),
            view: identity.view.as_ref(),
            created_at: identity.created_at.rfc3339(),
            expires_at: rfc3339(identity.expires_at),
            last_used_at: rfc3339(identity.last_used_at),
        }
    }
}

async fn tokens(app: &App) -> Result<Vec<Identity>, Stop> {
    let mut all = app.catalog.identities().await?;
    all.retain(|identity| identity.kind == IdentityKind::Token);
    Ok(all)
}

async fn list(app: &App, out: &Out) -> Result<(), Stop> {
    let mut list = out.list(&["TOKEN", "NAME", "MAY", "EXPIRES", "LAST USED"]);
    for identity in tokens(app).await? {
        list.add(&Row::new(&identity), || {
            let may = match &identity.view {
                Some(view) => format!("view {view}"),
                None => may(identity.administrator, &identity.grants),
            };
            let expires =
                if identity.is_expired(now()) { "expired".to_owned() } else { date_or(identity.expires_at, "") };
            vec![identity.subject.clone(), identity.name.clone(), may, expires, date_or(identity.last_used_at, "")]
        })?;
    }
    list.end()
}

async fn revoke(args: Revoke, app: &App, out: &Out) -> Result<(), Stop> {
    for text in args.tokens {
        let all = tokens(app).await?;
        // Of a whole token, only the beginning is known here.
        let shown = Secret::parse(&text).map_or(text, |secret| secret.prefix().to_owned());
        let identity = people::pick(&all, &shown, |one| &one.name, |one| &one.subject, "headwater token list")?;
        app.catalog.remove_identity(identity.id, now()).await?;
        out.say(format!("the token {} ({}) is good for nothing any more", identity.name, identity.subject));
    }
    Ok(())
}
