//! `/1.0/projects` (LXD `lxd/api_project.go`, Incus `cmd/incusd/api_project.go`).
//!
//! Administrators see and change all projects. Everybody else who is known sees those in which they have a role, and no others, whatever is
//! public in them: a client that joins and finds a single project works in that one from then on. `project=` means
//! nothing here, for such clients add it to every request.

use headwater_formats::lxd::{Empty, Project, ProjectPost, ProjectPut, ProjectsPost, etag, project as wire};
use headwater_formats::names::ProjectName;
use http::{Response, StatusCode, header};
use serde_json::Map;

use super::{Ask, Body, Failure, background, created, recursion, sync};
use crate::auth::Role;
use crate::catalog::{self, CatalogError};
use crate::http::incoming::Incoming;
use crate::http::respond;
use crate::operations::NewTask;

/// Most images whose addresses a project lists. Clients show how many there are, and nothing else depends on it.
const MOST_USED_BY: usize = 1000;

/// The list: addresses, or objects with `recursion`.
pub(super) async fn list(ask: &Ask<'_>) -> Result<Response<Body>, Failure> {
    let mut projects = ask.state.app.catalog.projects(&ask.caller.viewer).await?;
    projects.retain(|project| shown(ask, &project.name));
    if !recursion(ask.query) {
        return sync(projects.iter().map(|project| address(&project.name)).collect::<Vec<_>>());
    }
    let mut used_by = Vec::with_capacity(projects.len());
    for project in &projects {
        used_by.push(contents(ask, &project.name).await?);
    }
    sync(projects.iter().zip(used_by).map(|(project, used_by)| object(project, used_by)).collect::<Vec<_>>())
}

/// Makes a project.
pub(super) async fn create(ask: &Ask<'_>, body: Incoming) -> Result<Response<Body>, Failure> {
    let post: ProjectsPost = body.json().await?;
    let name = named(&post.name)?;
    check(post.config.as_ref())?;
    let description = post.description.unwrap_or_default();
    ask.catalog().create_project(&name, &description, ask.now()).await.map_err(told)?;
    created(address(&name))
}

/// One project: GET, POST (rename), PUT, PATCH, DELETE.
pub(super) async fn one(
    ask: &Ask<'_>,
    body: Incoming,
    name: Option<ProjectName>,
    method: &str,
) -> Result<Response<Body>, Failure> {
    let missing = || Failure::not_found("Project not found");
    let name = name.filter(|name| shown(ask, name)).ok_or_else(missing)?;
    let project = ask.state.app.catalog.project(&ask.caller.viewer, &name).await?.ok_or_else(missing)?;
    match method {
        "GET" => {
            let used_by = contents(ask, &name).await?;
            let object = object(&project, used_by);
            let mut response = sync(&object)?;
            respond::set(&mut response, header::ETAG, etag::project(&object));
            Ok(response)
        }
        "POST" => rename(ask, &name, body.json().await?).await,
        "DELETE" => {
            if name.is_default() {
                return Err(forbidden("The 'default' project cannot be deleted"));
            }
            ask.catalog().delete_project(&name, ask.now()).await.map_err(told)?;
            sync(Empty {})
        }
        _ => {
            if_match(ask, &etag::project(&object(&project, Vec::new())))?;
            let put: ProjectPut = body.json().await?;
            check(put.config.as_ref())?;
            let description = match put.description {
                None if method == "PATCH" => project.description,
                given => given.unwrap_or_default(),
            };
            ask.catalog().edit_project(&name, &description, ask.now()).await.map_err(told)?;
            sync(Empty {})
        }
    }
}

/// Clients wait for an operation here, so they get one that has ended.
async fn rename(ask: &Ask<'_>, old: &ProjectName, post: ProjectPost) -> Result<Response<Body>, Failure> {
    if old.is_default() {
        return Err(forbidden("The 'default' project cannot be renamed"));
    }
    let new = named(&post.name)?;
    ask.catalog().rename_project(old, &new, ask.now()).await.map_err(told)?;
    let mut task = NewTask::new("Renaming project", ProjectName::default_project());
    task.resources.insert("projects".to_owned(), vec![address(&new)]);
    background(&ask.state.operations.done(&ask.caller.actor, task, Ok(Map::new())).await?)
}

/// Whether the caller gets to know of a project here.
fn shown(ask: &Ask<'_>, name: &ProjectName) -> bool {
    ask.caller.access.has(Role::Viewer, name)
}

fn object(project: &catalog::Project, used_by: Vec<String>) -> Project<'_> {
    Project { name: project.name.as_str(), description: &project.description, config: wire::config(), used_by }
}

async fn contents(ask: &Ask<'_>, name: &ProjectName) -> Result<Vec<String>, Failure> {
    let images = ask.state.app.catalog.fingerprints(&ask.caller.viewer, name, MOST_USED_BY).await?;
    let suffix = if name.is_default() { String::new() } else { format!("?project={name}") };
    Ok(images.iter().map(|image| format!("/1.0/images/{image}{suffix}")).collect())
}

/// A project's name needs no escapes: see [`ProjectName`].
fn address(name: &ProjectName) -> String {
    format!("/1.0/projects/{name}")
}

fn named(text: &str) -> Result<ProjectName, Failure> {
    ProjectName::new(text).map_err(|error| bad(&error))
}

fn check(config: Option<&std::collections::BTreeMap<String, String>>) -> Result<(), Failure> {
    config.map_or(Ok(()), wire::check).map_err(|error| bad(&error))
}

fn if_match(ask: &Ask<'_>, tag: &str) -> Result<(), Failure> {
    let Some(value) = ask.request.headers.get(header::IF_MATCH) else { return Ok(()) };
    let given = String::from_utf8_lossy(value.as_bytes());
    if etag::matches(&given, tag) {
        return Ok(());
    }
    Err(Failure::Told(StatusCode::PRECONDITION_FAILED, format!("ETag doesn't match: {given} vs {tag}")))
}

fn bad(sentence: &dyn std::fmt::Display) -> Failure {
    Failure::Told(StatusCode::BAD_REQUEST, sentence.to_string())
}

fn forbidden(words: &str) -> Failure {
    Failure::Told(StatusCode::FORBIDDEN, words.to_owned())
}

/// In the words of the daemons.
fn told(error: CatalogError) -> Failure {
    match error {
        CatalogError::ProjectExists(name) => {
            Failure::Told(StatusCode::CONFLICT, format!("A project named \"{name}\" already exists"))
        }
        CatalogError::ProjectInUse(_) => bad(&"Only empty projects can be removed"),
        CatalogError::Text => bad(&error),
        other => Failure::Catalog(other),
    }
}
