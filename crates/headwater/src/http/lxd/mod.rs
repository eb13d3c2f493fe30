//! The LXD/Incus front-end, as far as guests may call it: `/`, `/1.0`, images, aliases, export.
//!
//! Every answer, errors included, is the JSON envelope that the clients expect (LXD `lxd/response/response.go`), except the
//! files of an export. One module per noun; the shapes of the objects are in `headwater_formats::lxd`. This room knows nothing of
//! how the catalog finds things, nor of simplestreams.

mod aliases;
mod export;
mod images;
mod list;
mod server;

use headwater_formats::lxd::Envelope;
use headwater_formats::names::ProjectName;
use http::request::Parts;
use http::{Response, StatusCode, header};
use serde::Serialize;

use super::body::Body;
use super::caller::Caller;
use super::query::{Query, QueryError};
use super::route::{Endpoint, Route};
use super::{State, respond};
use crate::catalog::CatalogError;

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
    /// The query.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl Failure {
    fn not_found(what: &str) -> Self {
        Self::Told(StatusCode::NOT_FOUND, what.to_owned())
    }

    fn into_response(self) -> Response<Body> {
        match self {
            Self::Told(status, message) => error(status, &message),
            Self::Query(problem) => error(StatusCode::BAD_REQUEST, &problem.to_string()),
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
pub(super) async fn answer(state: &State, request: &Parts, caller: &Caller, route: Route) -> Response<Body> {
    dispatch(state, request, caller, route).await.unwrap_or_else(Failure::into_response)
}

async fn dispatch(state: &State, request: &Parts, caller: &Caller, route: Route) -> Result<Response<Body>, Failure> {
    let query = Query::parse(request.uri.query())?;
    match route {
        Route::Bare(Endpoint::ApiRoot) => sync(["/1.0"]),
        Route::Bare(Endpoint::Server) => server::get(),
        Route::Bare(Endpoint::Images) => images::list(state, caller, &query).await,
        Route::Bare(Endpoint::Aliases) => aliases::list(state, request, caller, &query).await,
        Route::Image(Endpoint::Image, prefix) => images::get(state, caller, &query, prefix).await,
        Route::Image(Endpoint::ImageExport, prefix) => export::get(state, request, caller, &query, prefix).await,
        Route::Alias(name) => aliases::get(state, request, caller, &query, name).await,
        _ => Err(Failure::not_found("not found")),
    }
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
