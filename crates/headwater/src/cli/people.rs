//! What the commands about certificates and tokens share: rights, ends, and finding somebody by a name.

use std::fmt::Display;
use std::str::FromStr;

use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;
use serde::Serialize;

use super::duration::Seconds;
use super::human;
use super::place::check_project;
use super::stop::Stop;
use crate::app::App;
use crate::auth::{Grant, Manages, Role};

/// Longest name of a certificate or token, in bytes.
const MAX_NAME: usize = 255;

/// What somebody may do
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Rights {
    /// A project that it may use. May be repeated; with =ROLE, the role there is another than --role says
    #[arg(long = "project", value_name = "PROJECT[=ROLE]", value_parser = InRole::from_str)]
    projects: Vec<InRole>,
    /// What it may do in the projects [default: viewer]
    ///
    /// viewer: see and download private images. publisher: also upload images, and change and delete those. admin: change and
    /// delete everything in the project, and let others in.
    #[arg(long, value_name = "ROLE", requires = "projects")]
    role: Option<Role>,
    /// Let a publisher change and delete all images of the projects, not only those that it uploaded itself
    #[arg(long, requires = "projects")]
    all_images: bool,
    /// Let it do everything, in every project
    #[arg(long, conflicts_with_all = ["projects", "role", "all_images"])]
    administrator: bool,
}

/// `team`, or `team=publisher`
#[derive(Debug, Clone)]
struct InRole {
    project: ProjectName,
    role: Option<Role>,
}

impl FromStr for InRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (project, role) = match text.split_once('=') {
            Some((project, role)) => (project, Some(role.parse::<Role>().map_err(|error| error.to_string())?)),
            None => (text, None),
        };
        let project = ProjectName::new(project).map_err(|error| error.to_string())?;
        Ok(Self { project, role })
    }
}

impl Rights {
    /// Whether nothing was said about rights.
    pub(super) fn is_silent(&self) -> bool {
        self.projects.is_empty() && !self.administrator
    }

    /// Whether it administers the server, and its grants. The projects are looked up now, rather than when somebody joins.
    pub(super) async fn read(&self, app: &App, name: &str) -> Result<(bool, Vec<Grant>), Stop> {
        if self.is_silent() {
            return Err(Stop::usage(format!(
                "say what {name:?} may do: --project PROJECT (with --role publisher or --role admin for more than seeing and \
                 downloading), or --administrator for everything"
            )));
        }
        let mut grants = Vec::new();
        for InRole { project, role } in &self.projects {
            check_project(app, project).await?;
            let role = role.or(self.role).unwrap_or(Role::Viewer);
            let manages = if self.all_images && role == Role::Publisher { Manages::All } else { Manages::Own };
            grants.push(Grant { project: project.clone(), role, manages });
        }
        if self.all_images && !grants.iter().any(|grant| grant.role == Role::Publisher) {
            return Err(Stop::usage(
                "--all-images is for publishers: a viewer changes nothing, and an admin changes all images anyway",
            ));
        }
        Ok((self.administrator, Grant::together(&grants, &[])))
    }
}

/// When something ends: after so long, at a date, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    After(Seconds),
    At(Timestamp),
    Never,
}

impl FromStr for End {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "never" {
            return Ok(Self::Never);
        }
        let at = Timestamp::parse_date(text).or_else(|| Timestamp::parse_rfc3339(text)).map(Self::At);
        at.or_else(|| text.parse().ok().map(Self::After))
            .ok_or("write how long it is good, as 90d, 24h or 30m; until when, as 2027-01-31 or 2027-01-31T12:00:00Z; or never")
    }
}

impl End {
    /// The moment; it must be to come.
    pub(super) fn from(self, now: Timestamp) -> Result<Option<Timestamp>, Stop> {
        let at = match self {
            Self::Never => return Ok(None),
            Self::After(seconds) => now.plus_seconds(i64::from(seconds.0)),
            Self::At(at) => at,
        };
        if at <= now {
            return Err(Stop::usage("--expires names a moment that is over; name one that is to come"));
        }
        Ok(Some(at))
    }
}

/// A name for a certificate or token: for people alone, and not unique.
pub(super) fn name(text: &str) -> Result<String, String> {
    match text {
        _ if text.trim().is_empty() => Err("a name has at least one character".to_owned()),
        _ if text.len() > MAX_NAME => Err(format!("a name has at most {MAX_NAME} bytes")),
        _ if text.chars().any(char::is_control) => Err("a name holds no control characters".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// What somebody may do, in one line.
pub(super) fn may(administrator: bool, grants: &[Grant]) -> String {
    if administrator {
        return "administrator".to_owned();
    }
    grants.iter().map(Grant::to_string).collect::<Vec<_>>().join(", ")
}

/// A moment for people; `never` when there is none.
pub(super) fn date_or(at: Option<Timestamp>, otherwise: &str) -> String {
    at.map_or_else(|| otherwise.to_owned(), human::date)
}

/// A moment for programs.
pub(super) fn rfc3339(at: Option<Timestamp>) -> Option<String> {
    at.map(Timestamp::rfc3339)
}

/// A grant for programs.
#[derive(Debug, Serialize)]
pub(super) struct GrantRow<'a> {
    project: &'a ProjectName,
    role: Role,
    manages: Manages,
}

pub(super) fn grant_rows(grants: &[Grant]) -> Vec<GrantRow<'_>> {
    grants.iter().map(|grant| GrantRow { project: &grant.project, role: grant.role, manages: grant.manages }).collect()
}

/// The only one that somebody means: by its whole name, else by the beginning of what it is known by. `list` says which command shows them.
pub(super) fn pick<'a, T>(
    all: &'a [T],
    text: &str,
    name: impl Fn(&T) -> &str,
    key: impl Fn(&T) -> &str,
    list: &str,
) -> Result<&'a T, Stop> {
    let mut found: Vec<&T> = all.iter().filter(|one| name(one) == text).collect();
    if found.is_empty() && !text.is_empty() {
        let small = text.to_ascii_lowercase();
        found = all.iter().filter(|one| key(one).starts_with(&small)).collect();
    }
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Stop::failed(format!(
            "nothing here is called {text:?}, or known by that; `{list}` shows what there is"
        ))),
        several => {
            let keys: Vec<String> = several.iter().map(|one| format!("{} ({})", name(one), short(key(one)))).collect();
            Err(Stop::failed(format!("{text:?} may be {}; name one of them by what stands in brackets", either(&keys))))
        }
    }
}

/// The first characters of a hash or id, as lists show it.
pub(super) fn short(key: &str) -> &str {
    key.get(..12).unwrap_or(key)
}

fn either(words: &[impl Display]) -> String {
    match words {
        [] => String::new(),
        [one] => one.to_string(),
        [all @ .., last] => {
            format!("{} or {last}", all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_as_people_write_them() {
        let now = Timestamp::parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
        for (text, end) in [
            ("24h", Some("2026-01-02T00:00:00Z")),
            ("2027-01-31", Some("2027-01-31T00:00:00Z")),
            ("2027-01-31T12:00:00Z", Some("2027-01-31T12:00:00Z")),
            ("never", None),
        ] {
            let read = text.parse::<End>().unwrap().from(now).unwrap();
            assert_eq!(read.map(Timestamp::rfc3339).as_deref(), end, "{text}");
        }
        for text in ["2025-12-31", "0s", "2026-01-01T00:00:00Z"] {
            assert!(text.parse::<End>().unwrap().from(now).is_err(), "{text} is over");
        }
        for text in ["", "soon", "24", "2026-13-01"] {
            assert!(text.parse::<End>().is_err(), "{text}");
        }
    }

    #[test]
    fn picked_by_name_before_anything_else() {
        let all = [("ab", "cd11"), ("cd", "ab22"), ("ab", "ab33"), ("x", "ff44")];
        let pick = |text| pick(&all, text, |one| one.0, |one| one.1, "list").map(|one| one.1);
        let failed = |text| match pick(text) {
            Err(Stop::Failed(sentence)) => sentence,
            other => panic!("{other:?}"),
        };
        assert_eq!(pick("cd").unwrap(), "ab22");
        assert_eq!(pick("FF").unwrap(), "ff44");
        assert_eq!(pick("ab3").unwrap(), "ab33");
        assert_eq!(failed("ab"), "\"ab\" may be ab (cd11) or ab (ab33); name one of them by what stands in brackets");
        assert_eq!(failed("y"), "nothing here is called \"y\", or known by that; `list` shows what there is");
        assert!(failed("").starts_with("nothing here is called \"\""));
    }
}
