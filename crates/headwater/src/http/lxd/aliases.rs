//! `GET /1.0/images/aliases` and `GET /1.0/images/aliases/<name>` (LXD `lxd/images.go`, Incus `cmd/incusd/images.go`).
//!
//! In the API an alias is one image. One that follows a product leads to the newest image for the machine that asks, which
//! daemons and clients name in their `User-Agent`; for others, the server's own order of architectures decides. Guests may list
//! aliases (the daemons refuse that): they see those that lead to public images.

use std::collections::BTreeMap;

use headwater_formats::alias::split_arch;
use headwater_formats::lxd::{AliasEntry, etag};
use headwater_formats::names::{AliasName, ProjectName};
use headwater_formats::simplestreams::architecture_of_user_agent;
use http::request::Parts;
use http::{Response, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::list::{self, Page, Pages};
use super::{Ask, Body, Caller, Failure, Query, State, project, recursion, sync};
use crate::auth::Viewer;
use crate::catalog::{AliasTarget, Catalog, Resolved, Wanted};
use crate::http::respond;

/// Aliases that are read from the catalog at a time.
const PAGE: usize = 500;

/// What stands for itself in an address, as in Go's `url.PathEscape`.
const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':').remove(b'@').remove(b'+');

fn wanted(state: &State, request: &Parts) -> Wanted {
    let header = request.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let own = header.and_then(architecture_of_user_agent);
    Wanted {
        architectures: own.into_iter().chain(state.settings.architectures.iter().copied()).collect(),
        image_type: None,
    }
}

fn entry(resolved: &Resolved) -> AliasEntry<'_> {
    AliasEntry {
        description: &resolved.description,
        target: resolved.fingerprint,
        name: resolved.name.as_str(),
        image_type: resolved.image_type,
    }
}

/// What is told of an alias that is not there, or not for this caller.
pub(super) const MISSING: &str = "Image alias not found";

/// Where an alias leads the caller.
pub(super) async fn find(ask: &Ask<'_>, project: &ProjectName, name: &AliasName) -> Result<Resolved, Failure> {
    let (catalog, wanted) = (&ask.state.app.catalog, wanted(ask.state, ask.request));
    let found = catalog.resolve_alias(&ask.caller.viewer, project, name, &wanted).await?;
    found.ok_or_else(|| Failure::not_found(MISSING))
}

/// Its `ETag`.
pub(super) fn tag(resolved: &Resolved) -> String {
    etag::alias(&entry(resolved))
}

/// One alias; a missing and a hidden one are told in the same words.
pub(super) async fn get(ask: &Ask<'_>, name: Option<AliasName>) -> Result<Response<Body>, Failure> {
    let project = ask.project().await?;
    let name = name.ok_or_else(|| Failure::not_found(MISSING))?;
    let resolved = find(ask, &project, &name).await?;
    let mut response = sync(entry(&resolved))?;
    respond::set(&mut response, header::ETAG, tag(&resolved));
    respond::set(&mut response, header::VARY, "User-Agent");
    Ok(response)
}

/// The list: addresses, or objects with `recursion`.
pub(super) async fn list(
    state: &State,
    request: &Parts,
    caller: &Caller,
    query: &Query,
) -> Result<Response<Body>, Failure> {
    let mut response = list::answer(Aliases {
        catalog: state.app.catalog.clone(),
        viewer: caller.viewer.clone(),
        project: project(state, caller, query).await?,
        objects: recursion(query),
        wanted: wanted(state, request),
        after: None,
        followed: BTreeMap::new(),
    })
    .await?;
    respond::set(&mut response, header::VARY, "User-Agent");
    Ok(response)
}

/// A line of products and the architecture at the end of the alias's name: aliases that agree in both lead to the same image.
type Followed = (String, String, String, Option<headwater_formats::arch::Architecture>);

/// Most lines that are remembered during one list.
const REMEMBERED: usize = 4096;

struct Aliases {
    catalog: Catalog,
    viewer: Viewer,
    project: ProjectName,
    objects: bool,
    wanted: Wanted,
    after: Option<AliasName>,
    followed: BTreeMap<Followed, Option<Resolved>>,
}

impl Aliases {
    async fn resolve(&mut self, name: &AliasName, target: &AliasTarget) -> Result<Option<Resolved>, Failure> {
        let resolve = self.catalog.resolve_alias(&self.viewer, &self.project, name, &self.wanted);
        let AliasTarget::Follows { os, release, variant } = target else { return Ok(resolve.await?) };
        let key = (os.clone(), release.clone(), variant.clone(), split_arch(name.as_str()).1);
        if let Some(known) = self.followed.get(&key) {
            return Ok(known.clone());
        }
        let found = resolve.await?;
        if self.followed.len() < REMEMBERED {
            self.followed.insert(key, found.clone());
        }
        Ok(found)
    }
}

impl Pages for Aliases {
    async fn next(&mut self) -> Result<Page, Failure> {
        let aliases = self.catalog.aliases(&self.viewer, &self.project, self.after.as_ref(), PAGE).await?;
        self.after = aliases.last().map(|alias| alias.name.clone());
        let mut page = Page::new(aliases.len() >= PAGE);
        for alias in aliases {
            if !self.objects {
                page.push(&address(&self.project, &alias.name))?;
            } else if let Some(found) = self.resolve(&alias.name, &alias.target).await? {
                page.push(&entry(&Resolved { name: alias.name, description: alias.description, ..found }))?;
            }
        }
        Ok(page)
    }
}

/// The address of an alias.
pub(super) fn address(project: &ProjectName, name: &AliasName) -> String {
    let name = utf8_percent_encode(name.as_str(), SEGMENT);
    match project.is_default() {
        true => format!("/1.0/images/aliases/{name}"),
        false => format!("/1.0/images/aliases/{name}?project={project}"),
    }
}
