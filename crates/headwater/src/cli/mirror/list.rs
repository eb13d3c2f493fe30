//! `headwater mirror list`, `show` and `status`.

use headwater_formats::names::{ProjectName, UpstreamName};
use headwater_formats::timestamp::Timestamp;
use reqwest::Url;
use serde::Serialize;

use super::super::duration::Seconds;
use super::super::out::Out;
use super::super::stop::Stop;
use super::super::{human, now};
use crate::app::App;
use crate::auth::Secret;
use crate::catalog::{Kept, Upstream, UpstreamCredential, UpstreamRun};
use crate::client::credential::ClientCertificate;

/// List upstreams
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "ls",
    after_help = "Examples:\n  headwater mirror list\n  headwater mirror list --format json"
)]
pub(in crate::cli) struct List {}

/// Show an upstream with all its settings
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  headwater mirror show images")]
pub(in crate::cli) struct Show {
    /// Its name
    name: UpstreamName,
}

/// Show how the last runs ended, and when the next ones are due
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  headwater mirror status\n  headwater mirror status images --format json")]
pub(in crate::cli) struct Status {
    /// Only this one
    name: Option<UpstreamName>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a UpstreamName,
    project: &'a ProjectName,
    protocol: &'static str,
    server: String,
    filter: &'a str,
    public: bool,
    both_families: bool,
    schedule: String,
    keep: u32,
    keep_days: u32,
    keep_aliased: bool,
    grace: String,
    certificate: bool,
    signed: bool,
    credential: &'static str,
    client_fingerprint: Option<String>,
    upstream_project: &'a str,
    rate_bytes: u64,
    connections: u32,
    lazy: bool,
    cache_size_bytes: u64,
    cache_age: String,
    created_at: String,
}

impl<'a> Row<'a> {
    fn new(upstream: &'a Upstream) -> Self {
        let settings = &upstream.settings;
        Self {
            name: &upstream.name,
            project: &upstream.project,
            protocol: upstream.protocol.as_str(),
            server: shown(&upstream.server),
            filter: &settings.filter,
            public: settings.public,
            both_families: settings.both_families,
            schedule: Seconds(settings.every).to_string(),
            keep: settings.keep,
            keep_days: settings.keep_days,
            keep_aliased: settings.keep_aliased,
            grace: Seconds(settings.grace).to_string(),
            certificate: !settings.certificate.is_empty(),
            signed: !settings.keyring.is_empty(),
            credential: settings.credential.kind(),
            client_fingerprint: client_fingerprint(&settings.credential),
            upstream_project: &settings.upstream_project,
            rate_bytes: settings.rate,
            connections: settings.connections,
            lazy: settings.lazy,
            cache_size_bytes: settings.cache_size,
            cache_age: Seconds(settings.cache_age).to_string(),
            created_at: upstream.created_at.rfc3339(),
        }
    }
}

/// By what the upstream knows the certificate that it is shown.
fn client_fingerprint(credential: &UpstreamCredential) -> Option<String> {
    let UpstreamCredential { certificate, key, .. } = credential;
    ClientCertificate::from_pem(certificate, key).ok().map(|ours| ours.fingerprint().to_owned())
}

/// The address without a password, and without a token in its path.
fn shown(server: &str) -> String {
    let Ok(mut url) = Url::parse(server) else { return String::new() };
    if url.password().is_some() {
        // Fails only for addresses that have no host, which none of these is.
        let _ = url.set_password(Some("…"));
    }
    let hidden: Vec<&str> = url.path().split('/').map(|part| if is_token(part) { "…" } else { part }).collect();
    let path = hidden.join("/");
    url.set_path(&path);
    url.to_string().replace("%E2%80%A6", "…").trim_end_matches('/').to_owned()
}

fn is_token(part: &str) -> bool {
    Secret::parse(part).is_ok()
}

pub(super) async fn list(_: &List, app: &App, out: &Out) -> Result<(), Stop> {
    let mut list = out.list(&["NAME", "PROJECT", "PROTOCOL", "SERVER", "FILTER", "EVERY", "LAZY"]);
    for upstream in app.catalog.upstreams().await? {
        let row = Row::new(&upstream);
        let every = if upstream.settings.every > 0 { row.schedule.clone() } else { "by hand".to_owned() };
        list.add(&row, || {
            vec![
                upstream.name.to_string(),
                upstream.project.to_string(),
                row.protocol.to_owned(),
                row.server.clone(),
                row.filter.to_owned(),
                every,
                if row.lazy { "yes" } else { "no" }.to_owned(),
            ]
        })?;
    }
    list.end()
}

pub(super) async fn show(args: Show, app: &App, out: &Out) -> Result<(), Stop> {
    let upstream = app.catalog.upstream(&args.name).await?;
    out.document(&Row::new(&upstream))
}

#[derive(Serialize)]
struct State<'a> {
    name: &'a UpstreamName,
    project: &'a ProjectName,
    /// `running`, `waiting`, `failed`, or `never run`.
    state: &'static str,
    last_run: Option<Ended<'a>>,
    next_run_at: Option<String>,
    /// Of a lazy one.
    held: Option<Held>,
}

/// What is here of what an upstream promises.
#[derive(Serialize)]
struct Held {
    files: u64,
    bytes: u64,
    of_files: u64,
    of_bytes: u64,
}

impl From<Kept> for Held {
    fn from(kept: Kept) -> Self {
        Self { files: kept.here, bytes: kept.here_bytes, of_files: kept.files, of_bytes: kept.bytes }
    }
}

#[derive(Serialize)]
struct Ended<'a> {
    began_at: String,
    ended_at: String,
    listed: u64,
    taken: u64,
    failed: u64,
    removed: u64,
    bytes: u64,
    why: &'a str,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(seconds).unwrap_or_default()
}

impl<'a> From<&'a UpstreamRun> for Ended<'a> {
    fn from(run: &'a UpstreamRun) -> Self {
        Self {
            began_at: at(run.began_at).rfc3339(),
            ended_at: at(run.ended_at).rfc3339(),
            listed: run.listed,
            taken: run.taken,
            failed: run.failed,
            removed: run.removed,
            bytes: run.bytes,
            why: &run.why,
        }
    }
}

pub(super) async fn status(args: Status, app: &App, out: &Out) -> Result<(), Stop> {
    let upstreams = match &args.name {
        Some(name) => vec![app.catalog.upstream(name).await?],
        None => app.catalog.upstreams().await?,
    };
    let columns = ["NAME", "STATE", "LAST RUN", "LISTED", "TAKEN", "FAILED", "REMOVED", "NEXT RUN", "HELD", "WHY"];
    let mut list = out.list(&columns);
    for upstream in upstreams {
        let last = upstream.last_run.as_ref();
        let state = match last {
            _ if upstream.claimed_until.is_some_and(|until| until >= now()) => "running",
            None => "never run",
            Some(run) if !run.why.is_empty() => "failed",
            Some(_) => "waiting",
        };
        let held = match upstream.settings.lazy {
            true => Some(Held::from(app.catalog.kept(upstream.id).await?)),
            false => None,
        };
        let row = State {
            name: &upstream.name,
            project: &upstream.project,
            state,
            last_run: last.map(Ended::from),
            next_run_at: upstream.due_at.map(Timestamp::rfc3339),
            held,
        };
        let held = row.held.as_ref();
        let held = held.map(|held| format!("{} of {}", human::size(held.bytes), human::size(held.of_bytes)));
        let number = |of: fn(&UpstreamRun) -> u64| last.map(|run| human::count(of(run))).unwrap_or_default();
        list.add(&row, || {
            vec![
                upstream.name.to_string(),
                state.to_owned(),
                last.map(|run| human::minute(at(run.ended_at))).unwrap_or_default(),
                number(|run| run.listed),
                number(|run| run.taken),
                number(|run| run.failed),
                number(|run| run.removed),
                upstream.due_at.map_or_else(|| "by hand".to_owned(), human::minute),
                held.clone().unwrap_or_default(),
                last.map(|run| run.why.clone()).unwrap_or_default(),
            ]
        })?;
    }
    list.end()
}
