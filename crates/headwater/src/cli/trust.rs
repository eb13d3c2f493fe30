//! `headwater trust …`: certificates of clients, and tokens with which new ones join.

use std::path::PathBuf;

use clap::Subcommand;
use headwater_formats::lxd::certificate;
use serde::Serialize;

use super::out::Out;
use super::people::{self, End, GrantRow, Rights, date_or, grant_rows, may, rfc3339, short};
use super::place::Place;
use super::reach::{Addresses, Reach};
use super::stop::Stop;
use super::{human, now};
use crate::app::App;
use crate::auth::{Certificate, Grant, Identity, IdentityKind, MAX_CERTIFICATE_BYTES};
use crate::catalog::{Credential, IdentityEdit, Join, NewIdentity, Purpose, StoredOperation};
use crate::operations::{Cancelled, Invitation, JOIN_SECONDS, Operations};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    Add(Add),
    List(List),
    Show(Show),
    Edit(Edit),
    Remove(Remove),
}

/// Let a client in: make a token that it joins with, or take its certificate
///
/// Prints one word. Whoever gives it to `lxc remote add` or `incus remote add` joins with the certificate of that client, once; from then on
/// the client is known by its certificate, and may do what was said here. The word holds the addresses of the server and the hash of
/// its certificate, so that nothing has to be typed or compared.
///
/// With --certificate, no word is made: the certificate in the file is known at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater trust add laptop --administrator
  headwater trust add ci --project team-a --role publisher --expires 30m
  headwater trust add farm --project default --project team-a=admin --address images.example.com:8443
  headwater trust add anna --project team-a --certificate anna.crt")]
pub(super) struct Add {
    /// What the client will be called; names need not be unique
    #[arg(value_parser = people::name)]
    name: String,
    #[command(flatten)]
    rights: Rights,
    /// Free text
    #[arg(long, default_value = "")]
    description: String,
    /// How long the word is good, as 30m or 24h, or until when, as 2027-01-31; with --certificate, how long the certificate is
    /// known [default: 24h; with --certificate, never ends]
    #[arg(long, value_name = "TIME")]
    expires: Option<End>,
    /// The client's certificate (client.crt), in PEM or DER
    #[arg(long, value_name = "FILE", conflicts_with = "addresses")]
    certificate: Option<PathBuf>,
    #[command(flatten)]
    addresses: Addresses,
}

/// List the clients that are known, and the tokens that wait for one
#[derive(Debug, clap::Args)]
#[command(visible_alias = "ls", after_help = "Examples:\n  headwater trust list\n  headwater trust list --format json")]
pub(super) struct List {}

/// Show all that is known of a client
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  headwater trust show laptop\n  headwater trust show 1f2e3d --format json")]
pub(super) struct Show {
    /// Its name, or the first characters of its certificate's fingerprint
    client: String,
}

/// Change what a client is called and what it may do
///
/// What is not named stays as it is. --project names all the projects that it may use from then on. A change takes effect
/// with the client's next request.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater trust edit ci --project team-a=publisher --project team-b --all-images
  headwater trust edit 1f2e3d --name \"Anna's laptop\" --expires 2027-01-31
  headwater trust edit anna --administrator")]
pub(super) struct Edit {
    /// Its name, or the first characters of its certificate's fingerprint
    client: String,
    /// What it is called
    #[arg(long, value_name = "NAME", value_parser = people::name)]
    name: Option<String>,
    /// Free text
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    rights: Rights,
    /// Until when it is known: 90d, 2027-01-31, 2027-01-31T12:00:00Z, or never for without end
    #[arg(long, value_name = "TIME")]
    expires: Option<End>,
}

/// Turn clients away, and take back tokens that nobody has used yet
///
/// What a client has published stays.
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "rm",
    after_help = "Examples:\n  headwater trust remove laptop\n  headwater trust remove 1f2e3d 4a5b6c"
)]
pub(super) struct Remove {
    /// Names, or first characters of fingerprints or of ids of tokens
    #[arg(required = true, value_name = "CLIENT")]
    clients: Vec<String>,
}

pub(super) async fn run(verb: Verb, place: &Place, out: &Out) -> Result<(), Stop> {
    let app = place.open().await?;
    let done = match verb {
        Verb::Add(args) => add(args, place, &app, out).await,
        Verb::List(List {}) => list(&app, out).await,
        Verb::Show(args) => show(&args, &app, out).await,
        Verb::Edit(args) => edit(args, &app, out).await,
        Verb::Remove(args) => remove(args, &app, out).await,
    };
    app.catalog.close().await;
    done
}

async fn add(args: Add, place: &Place, app: &App, out: &Out) -> Result<(), Stop> {
    let (administrator, grants) = args.rights.read(app, &args.name).await?;
    if let Some(file) = &args.certificate {
        let certificate = Certificate::read(&read(file)?, now())?;
        let fingerprint = certificate.fingerprint.clone();
        let new = NewIdentity {
            name: args.name,
            description: args.description,
            administrator,
            grants,
            view: None,
            expires_at: args.expires.unwrap_or(End::Never).from(now())?,
            credential: Credential::Certificate { fingerprint, der_base64: certificate.der_base64 },
        };
        let identity = app.catalog.add_identity(&new, now()).await?;
        out.say(format!("{} is known by the certificate {}", identity.name, identity.subject));
        return out.object(&Row::certificate(&identity), || format!("{}\n", identity.subject));
    }
    let expires_at = match args.expires {
        Some(end) => end.from(now())?,
        None => Some(now().plus_seconds(JOIN_SECONDS)),
    };
    let Reach { addresses, fingerprint } = args.addresses.reach(place)?;
    let join = Join { name: args.name, description: args.description, administrator, grants };
    let invitation = Invitation { join, addresses, fingerprint, expires_at };
    let operations = Operations::new(app.catalog.clone(), now);
    let begun = operations.token(app.catalog.actor(), invitation.token()).await?;
    let word = invitation.word(begun.secret.as_deref().unwrap_or_default()).to_string();
    let made = Made {
        name: &invitation.join.name,
        token: &word,
        id: &begun.id,
        administrator,
        grants: grant_rows(&invitation.join.grants),
        addresses: &invitation.addresses,
        fingerprint: &invitation.fingerprint,
        expires_at: rfc3339(expires_at),
    };
    out.object(&made, || format!("{word}\n"))?;
    out.say_lines(&explained(&invitation));
    Ok(())
}

fn explained(invitation: &Invitation) -> String {
    let Invitation { join, addresses, expires_at, .. } = invitation;
    let until = date_or(*expires_at, "somebody uses it or `headwater trust remove` takes it back");
    format!(
        "
The word above lets one client in, as {name:?}, until {until}. Give it to whoever runs that client; it is a secret.

  lxc remote add headwater TOKEN
  incus remote add headwater TOKEN

The client may then: {may}
It is sent to: {addresses}
",
        name = join.name,
        may = match (join.administrator, join.grants.is_empty()) {
            (true, _) => "everything".to_owned(),
            (false, _) => may(false, &join.grants),
        },
        addresses = addresses.join(", "),
    )
}

fn read(file: &PathBuf) -> Result<Vec<u8>, Stop> {
    let failed = |why: String| Stop::failed(format!("{}: {why}", file.display()));
    let size = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?.len();
    if size > MAX_CERTIFICATE_BYTES as u64 {
        return Err(failed("it is too large for a certificate; give the client's client.crt".to_owned()));
    }
    std::fs::read(file).map_err(|error| failed(error.to_string()))
}

/// A token to join with that was made.
#[derive(Serialize)]
struct Made<'a> {
    name: &'a str,
    token: &'a str,
    id: &'a str,
    administrator: bool,
    grants: Vec<GrantRow<'a>>,
    addresses: &'a [String],
    fingerprint: &'a str,
    expires_at: Option<String>,
}

/// A client, or a token that waits for one.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    kind: &'static str,
    /// A certificate's fingerprint, or the id of a token's operation.
    id: &'a str,
    description: &'a str,
    administrator: bool,
    grants: Vec<GrantRow<'a>>,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
}

impl<'a> Row<'a> {
    fn certificate(identity: &'a Identity) -> Self {
        Self {
            name: &identity.name,
            kind: "certificate",
            id: &identity.subject,
            description: &identity.description,
            administrator: identity.administrator,
            grants: grant_rows(&identity.grants),
            created_at: identity.created_at.rfc3339(),
            expires_at: rfc3339(identity.expires_at),
            last_used_at: rfc3339(identity.last_used_at),
        }
    }

    fn invited(operation: &'a StoredOperation, join: &'a Join) -> Self {
        Self {
            name: &join.name,
            kind: "join token",
            id: &operation.id,
            description: &join.description,
            administrator: join.administrator,
            grants: grant_rows(&join.grants),
            created_at: operation.created_at.rfc3339(),
            expires_at: rfc3339(operation.expires_at),
            last_used_at: None,
        }
    }
}

/// Somebody who is known, or who was invited.
enum Entry {
    Known(Box<Identity>),
    Invited(Box<StoredOperation>, Join),
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Self::Known(identity) => &identity.name,
            Self::Invited(_, join) => &join.name,
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Known(identity) => &identity.subject,
            Self::Invited(operation, _) => &operation.id,
        }
    }

    fn row(&self) -> Row<'_> {
        match self {
            Self::Known(identity) => Row::certificate(identity),
            Self::Invited(operation, join) => Row::invited(operation, join),
        }
    }

    fn rights(&self) -> (bool, &[Grant]) {
        match self {
            Self::Known(identity) => (identity.administrator, &identity.grants),
            Self::Invited(_, join) => (join.administrator, &join.grants),
        }
    }
}

async fn entries(app: &App) -> Result<Vec<Entry>, Stop> {
    let mut all = Vec::new();
    for identity in app.catalog.identities().await? {
        if identity.kind == IdentityKind::Certificate {
            all.push(Entry::Known(Box::new(identity)));
        }
    }
    for operation in app.catalog.operations(None).await? {
        let waits = !operation.status.is_final() && operation.expires_at.is_none_or(|end| end > now());
        if let (true, Some(Purpose::Join(join))) = (waits, &operation.purpose) {
            let join = join.clone();
            all.push(Entry::Invited(Box::new(operation), join));
        }
    }
    Ok(all)
}

const LIST: &str = "headwater trust list";

async fn list(app: &App, out: &Out) -> Result<(), Stop> {
    let mut list = out.list(&["NAME", "KIND", "ID", "MAY", "EXPIRES", "LAST USED"]);
    for entry in entries(app).await? {
        let row = entry.row();
        let (administrator, grants) = entry.rights();
        let (expires, used) = match &entry {
            Entry::Known(identity) => {
                let expired = identity.is_expired(now());
                let expires = if expired { "expired".to_owned() } else { date_or(identity.expires_at, "") };
                (expires, date_or(identity.last_used_at, ""))
            }
            Entry::Invited(operation, _) => (date_or(operation.expires_at, ""), String::new()),
        };
        list.add(&row, || {
            vec![
                row.name.to_owned(),
                row.kind.to_owned(),
                short(row.id).to_owned(),
                may(administrator, grants),
                expires,
                used,
            ]
        })?;
    }
    list.end()
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    certificate: Option<String>,
}

async fn show(args: &Show, app: &App, out: &Out) -> Result<(), Stop> {
    let all = entries(app).await?;
    let entry = people::pick(&all, &args.client, Entry::name, Entry::id, LIST)?;
    let certificate = match entry {
        Entry::Known(identity) => identity.certificate.as_deref().map(certificate::pem),
        Entry::Invited(..) => None,
    };
    out.document(&Shown { row: entry.row(), certificate })
}

async fn edit(args: Edit, app: &App, out: &Out) -> Result<(), Stop> {
    let all = entries(app).await?;
    let identity = match people::pick(&all, &args.client, Entry::name, Entry::id, LIST)? {
        Entry::Known(identity) => identity,
        Entry::Invited(..) => {
            return Err(Stop::failed(
                "this is a token that nobody has used yet, which cannot be changed; remove it and make another one",
            ));
        }
    };
    let mut edit = IdentityEdit { name: args.name, description: args.description, ..IdentityEdit::default() };
    if !args.rights.is_silent() {
        let (administrator, grants) = args.rights.read(app, &identity.name).await?;
        (edit.administrator, edit.grants) = (Some(administrator), Some(grants));
    }
    edit.expires_at = args.expires.map(|end| end.from(now())).transpose()?;
    if edit == IdentityEdit::default() {
        return Err(Stop::usage(
            "say what to change: --name, --description, --project with --role, --administrator or --expires",
        ));
    }
    let changed = app.catalog.edit_identity(identity.id, &edit, now()).await?;
    let may = may(changed.administrator, &changed.grants);
    let end = changed.expires_at.map(|end| format!(", until {}", human::date(end))).unwrap_or_default();
    out.say(format!("{} may: {}{end}", changed.name, if may.is_empty() { "nothing" } else { &may }));
    Ok(())
}

async fn remove(args: Remove, app: &App, out: &Out) -> Result<(), Stop> {
    for client in args.clients {
        let all = entries(app).await?;
        match people::pick(&all, &client, Entry::name, Entry::id, LIST)? {
            Entry::Known(identity) => {
                app.catalog.remove_identity(identity.id, now()).await?;
                out.say(format!("{} ({}) is not known any more", identity.name, short(&identity.subject)));
            }
            Entry::Invited(operation, join) => {
                let operations = Operations::new(app.catalog.clone(), now);
                if operations.cancel(app.catalog.actor(), &operation.id).await? != Cancelled::Yes {
                    return Err(Stop::failed(format!("the token for {} was used meanwhile", join.name)));
                }
                out.say(format!("the token for {} is good for nothing any more", join.name));
            }
        }
    }
    Ok(())
}
