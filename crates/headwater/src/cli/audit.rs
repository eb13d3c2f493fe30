//! `headwater audit`

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use headwater_formats::digest::FingerprintPrefix;
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;
use serde::Serialize;

use super::duration::Seconds;
use super::now;
use super::out::Out;
use super::place::Place;
use super::stop::Stop;
use crate::catalog::{AuditEntry, AuditQuery, Catalog};

/// Lines that are read from the catalog at a time.
const PAGE: usize = 1000;
/// Lines that a person is shown.
const SHOWN: usize = 100;
/// Lines that come before those that are waited for.
const BEFORE: usize = 10;
/// How often it is looked for new lines.
const EVERY: Duration = Duration::from_secs(1);

/// Show who did what
///
/// Every change of images, aliases, projects, identities, tokens and views is written down in the transaction that makes it, with
/// who made it and from where; so is who downloaded private images. The last line is the newest.
///
/// People are shown the last 100 lines; programs (--format json, yaml or csv) get all of them, unless --limit says otherwise. The server
/// forgets lines after a year; `audit_days` in its configuration sets that.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  headwater audit --since 7d\n  headwater audit --image 4f1e9b --format json\n  \
                        headwater audit --project team-a --actor laptop\n  headwater audit --follow")]
pub(super) struct Args {
    /// Only what happened from then on: 7d, 12h, 2025-01-31 or 2025-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only what happened before then
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Only what happened in this project
    #[arg(long, value_name = "PROJECT")]
    project: Option<ProjectName>,
    /// Only what happened to the image whose fingerprint begins with this
    #[arg(long, value_name = "FINGERPRINT")]
    image: Option<FingerprintPrefix>,
    /// Only what was done by this user, certificate or token: its name, or the beginning of what it is known by
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only the last so many lines
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// Go on with what happens from now on, after the last 10 lines; JSON comes one object per line
    #[arg(long, short, conflicts_with = "until")]
    follow: bool,
}

/// A moment, or how long ago it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Ago(Seconds),
    At(Timestamp),
}

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at = Timestamp::parse_date(text).or_else(|| Timestamp::parse_rfc3339(text)).map(Self::At);
        at.or_else(|| text.parse().ok().map(Self::Ago))
            .ok_or("write how long ago it was, as 7d, 12h or 30m, or when, as 2025-01-31 or 2025-01-31T12:00:00Z")
    }
}

impl Moment {
    fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(Seconds(seconds)) => now.plus_seconds(-i64::from(seconds)),
            Self::At(at) => at,
        }
    }
}

/// A line as programs read it.
#[derive(Serialize)]
struct Line<'a> {
    id: i64,
    at: String,
    action: &'a str,
    project: Option<&'a ProjectName>,
    subject: &'a str,
    detail: &'a BTreeMap<String, String>,
    actor_kind: &'a str,
    actor_name: &'a str,
    credential: &'a str,
    address: &'a str,
}

const COLUMNS: [&str; 7] = ["TIME", "ACTION", "PROJECT", "SUBJECT", "WHO", "FROM", "DETAIL"];

impl<'a> Line<'a> {
    fn of(entry: &'a AuditEntry) -> Self {
        Self {
            id: entry.id,
            at: entry.at.rfc3339(),
            action: &entry.action,
            project: entry.project.as_ref(),
            subject: &entry.subject,
            detail: &entry.detail,
            actor_kind: &entry.actor_kind,
            actor_name: &entry.actor_name,
            credential: &entry.credential,
            address: &entry.address,
        }
    }

    fn cells(&self) -> Vec<String> {
        let detail: Vec<String> = self.detail.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let who = [self.actor_kind, self.actor_name, short(self.credential)];
        vec![
            self.at.clone(),
            self.action.to_owned(),
            self.project.map(ToString::to_string).unwrap_or_default(),
            short(self.subject).to_owned(),
            who.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "),
            self.address.to_owned(),
            detail.join(" "),
        ]
    }
}

/// A SHA-256 as people see it elsewhere; anything else as it is.
fn short(text: &str) -> &str {
    let hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hash { text.get(..12).unwrap_or(text) } else { text }
}

pub(super) async fn run(args: Args, place: &Place, out: &Out) -> Result<(), Stop> {
    let app = place.open().await?;
    let query = AuditQuery {
        after: None,
        since: args.since.map(|moment| moment.before(now())),
        until: args.until.map(|moment| moment.before(now())),
        project: args.project,
        subject: args.image.map(|image| image.to_string()),
        actor: args.actor,
    };
    let done = match (args.follow, args.limit) {
        (true, limit) => follow(&app.catalog, query, limit.unwrap_or(BEFORE), out).await,
        (false, None) if !out.for_people() => all(&app.catalog, query, out).await,
        (false, limit) => end(&app.catalog, &query, limit, out).await,
    };
    app.catalog.close().await;
    done
}

/// The last lines.
async fn end(catalog: &Catalog, query: &AuditQuery, limit: Option<usize>, out: &Out) -> Result<(), Stop> {
    let shown = limit.unwrap_or(SHOWN);
    let mut lines = catalog.audit_end(query, shown.saturating_add(1)).await?;
    let more = lines.len() > shown;
    lines.drain(..lines.len() - lines.len().min(shown));
    let mut list = out.log(&COLUMNS);
    for entry in &lines {
        let line = Line::of(entry);
        list.add(&line, || line.cells())?;
    }
    list.end()?;
    if more && limit.is_none() {
        out.say(format!("these are the last {shown} lines; --limit NUMBER shows more, --format json all"));
    }
    Ok(())
}

/// All lines, oldest first.
async fn all(catalog: &Catalog, mut query: AuditQuery, out: &Out) -> Result<(), Stop> {
    let mut list = out.log(&COLUMNS);
    loop {
        let lines = catalog.audit(&query, PAGE).await?;
        for entry in &lines {
            let line = Line::of(entry);
            list.add(&line, || line.cells())?;
        }
        if lines.len() < PAGE {
            return list.end();
        }
        query.after = lines.last().map(|entry| entry.id);
    }
}

/// The last lines, and then every new one, for ever.
async fn follow(catalog: &Catalog, mut query: AuditQuery, before: usize, out: &Out) -> Result<(), Stop> {
    let last = catalog.last_audit().await?;
    let mut lines = catalog.audit_end(&query, before).await?;
    query.after = Some(last);
    let mut every = tokio::time::interval(EVERY);
    loop {
        for entry in &lines {
            let line = Line::of(entry);
            out.follow(&line, &line.cells())?;
            query.after = query.after.max(Some(entry.id));
        }
        if lines.len() < PAGE {
            every.tick().await;
        }
        lines = catalog.audit(&query, PAGE).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let now = Timestamp::from_unix(1_760_000_000).unwrap();
        for (text, moment) in [
            ("7d", now.plus_seconds(-604_800)),
            ("0s", now),
            ("2025-01-31", Timestamp::parse_rfc3339("2025-01-31T00:00:00Z").unwrap()),
            ("2025-01-31T12:00:00+01:00", Timestamp::parse_rfc3339("2025-01-31T11:00:00Z").unwrap()),
        ] {
            assert_eq!(text.parse::<Moment>().map(|moment| moment.before(now)), Ok(moment), "{text}");
        }
        assert!("yesterday".parse::<Moment>().unwrap_err().contains("write how long ago it was"));
    }

    #[test]
    fn hashes_are_short_and_names_are_not() {
        assert_eq!(short(&"ab".repeat(32)), "abababababab");
        assert_eq!(short(&"ab".repeat(31)), "ab".repeat(31));
        assert_eq!(short(&"xy".repeat(32)), "xy".repeat(32));
    }
}
