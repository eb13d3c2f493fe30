//! The LXD/Incus front-end, as far as guests may call it: `/`, `/1.0`, images, aliases, export.
//!
//! Every answer, errors included, is the JSON envelope that the clients expect (LXD `lxd/response/response.go`), except the
//! files of an export. One module per noun; the shapes of the objects are in `headwater_formats::lxd`. This room knows nothing of
//! how the catalog finds things, nor of simplestreams.

mod alias_changes;
mod aliases;
mod audience;
mod certificates;
mod create;
mod events;
mod export;
mod foreign;
mod image_changes;
mod images;
mod joining;
mod list;
mod multipart;
mod operations;
mod projects;
mod pull;
mod push;
mod server;
mod upload;

use headwater_formats::lxd::Envelope;
use std::sync::Arc;

use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;
use http::request::Parts;
use http::{Response, StatusCode, header};
use serde::Serialize;

use super::body::Body;
use super::caller::Caller;
use super::files::{self, OpenError};
use super::guard::{self, Busy, Claim};
use super::incoming::{BodyError, Incoming};
use super::query::Query;
use super::route::{Endpoint, Route};
use super::{State, respond};
use crate::catalog::{Catalog, CatalogError};
use crate::operations::Begun;

/// What a guest is told where only trusted clients may go.
pub const NOT_AUTHORIZED: &str = "not authorized";

/// Why a request was not answered as asked.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// What is told, with its status.
    #[error("{1}")]
    Told(StatusCode, String),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A file of an image.
    #[error(transparent)]
    File(#[from] super::files::OpenError),
    /// Serialising.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The body.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// Too many wrong secrets.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// An upload that is not taken.
    #[error(transparent)]
    Upload(#[from] super::uploads::Refused),
}

impl Failure {
    fn not_found(what: &str) -> Self {
        Self::Told(StatusCode::NOT_FOUND, what.to_owned())
    }

    fn into_response(self) -> Response<Body> {
        match self {
            Self::Told(status, message) => error(status, &message),
            Self::Body(problem) => error(problem.status(), &problem.to_string()),
            Self::Busy(problem) => {
                let mut response = error(StatusCode::TOO_MANY_REQUESTS, &problem.to_string());
                respond::set(&mut response, header::RETRY_AFTER, guard::RETRY_AFTER.to_string());
                response
            }
            Self::Upload(problem) => error(problem.status(), &problem.to_string()),
            Self::File(OpenError::Pull(problem)) => {
                let status = files::away_status(&problem);
                let mut response = error(status, &problem.to_string());
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    respond::set(&mut response, header::RETRY_AFTER, files::AGAIN);
                }
                response
            }
            Self::Catalog(CatalogError::NoProject(_)) => error(StatusCode::NOT_FOUND, "Project not found"),
            other => super::failed(super::route::Dialect::Api, "a request to the API failed", &other),
        }
    }
}

/// An error in the envelope. The HTTP status and the code inside are the same, because clients believe the former.
pub fn error(status: StatusCode, message: &str) -> Response<Body> {
    let envelope = Envelope::error(status.as_u16(), message);
    json(status, &envelope).unwrap_or_else(|_| respond::with(status, "application/json", Body::empty()))
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Result<Response<Body>, serde_json::Error> {
    let mut bytes = serde_json::to_vec(value)?;
    bytes.push(b'\n');
    Ok(json_body(status, Body::full(bytes)))
}

fn json_body(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = respond::with(status, "application/json", body);
    respond::set(&mut response, header::CACHE_CONTROL, respond::NEVER);
    response
}

fn sync<T: Serialize>(metadata: T) -> Result<Response<Body>, Failure> {
    Ok(json(StatusCode::OK, &Envelope::sync(metadata))?)
}

/// Answers what guests may call. Who may call was checked before.
pub(super) async fn answer(
    state: &Arc<State>,
    request: &Parts,
    body: Incoming,
    caller: &Caller,
    query: &Query,
    route: Route,
) -> Response<Body> {
    dispatch(Ask { state, request, caller, query }, body, route).await.unwrap_or_else(Failure::into_response)
}

async fn dispatch(ask: Ask<'_>, body: Incoming, route: Route) -> Result<Response<Body>, Failure> {
    let Ask { state, request, caller, query } = ask;
    match (route, request.method.as_str()) {
        (Route::Bare(Endpoint::ApiRoot), _) => sync(["/1.0"]),
        (Route::Bare(Endpoint::Server), "GET") => server::get(&ask).await,
        (Route::Bare(Endpoint::Server), _) => server::change(),
        (Route::Bare(Endpoint::Images), "GET") => images::list(state, caller, query).await,
        (Route::Bare(Endpoint::Images), _) => create::post(&ask, body).await,
        (Route::Bare(Endpoint::Aliases), "GET") => aliases::list(state, request, caller, query).await,
        (Route::Bare(Endpoint::Aliases), _) => alias_changes::create(&ask, body).await,
        (Route::Image(Endpoint::Image, prefix), "GET") => images::get(&ask, prefix).await,
        (Route::Image(Endpoint::Image, prefix), "PUT") => image_changes::put(&ask, body, prefix).await,
        (Route::Image(Endpoint::Image, prefix), "PATCH") => image_changes::patch(&ask, body, prefix).await,
        (Route::Image(Endpoint::Image, prefix), _) => image_changes::delete(&ask, prefix).await,
        (Route::Image(Endpoint::ImageExport, prefix), "GET") => export::get(&ask, prefix).await,
        (Route::Image(Endpoint::ImageExport, prefix), _) => push::post(&ask, body, prefix).await,
        (Route::Image(Endpoint::ImageRefresh, prefix), _) => pull::refresh(&ask, prefix).await,
        (Route::Image(_, prefix), _) => image_changes::secret(&ask, prefix).await,
        (Route::Alias(name), "GET") => aliases::get(&ask, name).await,
        (Route::Alias(name), "POST") => alias_changes::rename(&ask, body, name).await,
        (Route::Alias(name), "PUT") => alias_changes::put(&ask, body, name).await,
        (Route::Alias(name), "PATCH") => alias_changes::patch(&ask, body, name).await,
        (Route::Alias(name), _) => alias_changes::delete(&ask, name).await,
        (Route::Bare(Endpoint::Certificates), "GET") => certificates::list(&ask).await,
        (Route::Bare(Endpoint::Certificates), _) => certificates::post(&ask, body).await,
        (Route::Certificate(prefix), method) => certificates::one(&ask, body, &prefix, method).await,
        (Route::Bare(Endpoint::Operations), _) => operations::list(&ask).await,
        (Route::Operation(Endpoint::OperationPart, id), _) => operations::wait(&ask, &id).await,
        (Route::Operation(_, id), "GET") => operations::get(&ask, &id).await,
        (Route::Operation(_, id), _) => operations::cancel(&ask, &id).await,
        (Route::Bare(Endpoint::Events), _) => events::get(&ask).await,
        (Route::Bare(Endpoint::Projects), "GET") => projects::list(&ask).await,
        (Route::Bare(Endpoint::Projects), _) => projects::create(&ask, body).await,
        (Route::Project(name), method) => projects::one(&ask, body, name, method).await,
        (Route::Foreign(rest), method) => foreign::answer(&rest, method, query),
        _ => Err(Failure::not_found("not found")),
    }
}

/// A request to the API: what every handler is given.
#[derive(Clone, Copy)]
struct Ask<'a> {
    state: &'a Arc<State>,
    request: &'a Parts,
    caller: &'a Caller,
    query: &'a Query,
}

impl Ask<'_> {
    /// The catalog for changes on behalf of the caller.
    fn catalog(&self) -> Catalog {
        self.state.app.catalog.acting(Arc::clone(&self.caller.actor))
    }

    /// The project that the request is about: see [`project`].
    async fn project(&self) -> Result<ProjectName, Failure> {
        project(self.state, self.caller, self.query).await
    }

    /// Counts a secret that was wrong, and waits as long as it has to before that may be told.
    async fn wrong_secret(&self, claim: Claim<'_>) -> Result<(), Failure> {
        match self.caller.actor.address {
            Some(client) => Ok(self.state.guard.failed(client, claim).await?),
            None => Ok(()),
        }
    }

    fn now(&self) -> Timestamp {
        (self.state.now)()
    }
}

/// 202: an operation, whether it has ended or goes on.
fn background(begun: &Begun) -> Result<Response<Body>, Failure> {
    let address = format!("/1.0/operations/{}", begun.id);
    let envelope = Envelope::background(address.clone(), operations::object(&begun.operation, begun.secret.as_deref()));
    let mut response = json(StatusCode::ACCEPTED, &envelope)?;
    respond::set(&mut response, header::LOCATION, address);
    Ok(response)
}

/// 201 with the address of what was made.
fn created(address: String) -> Result<Response<Body>, Failure> {
    let mut response = json(StatusCode::CREATED, &Envelope::created())?;
    respond::set(&mut response, header::LOCATION, address);
    Ok(response)
}

/// The same for who may ask, with the answer to give when it is not there.
pub(super) async fn named_project(
    state: &State,
    caller: &Caller,
    query: &Query,
) -> Result<ProjectName, Response<Body>> {
    project(state, caller, query).await.map_err(Failure::into_response)
}

/// The project that a request is about: `project=`, else the default one. Another project in which the caller sees nothing is
/// told from a missing one by nothing.
async fn project(state: &State, caller: &Caller, query: &Query) -> Result<ProjectName, Failure> {
    let Some(name) = query.get("project") else { return Ok(ProjectName::default_project()) };
    let missing = || Failure::not_found("Project not found");
    let name = ProjectName::new(name).map_err(|_| missing())?;
    if !name.is_default() && state.app.catalog.project(&caller.viewer, &name).await?.is_none() {
        return Err(missing());
    }
    Ok(name)
}

/// Whether objects are wanted rather than addresses. Anything but a number other than 0 is no.
fn recursion(query: &Query) -> bool {
    query.get("recursion").and_then(|text| text.parse::<i64>().ok()).is_some_and(|depth| depth != 0)
}
