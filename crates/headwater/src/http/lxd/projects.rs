//! `/1.0/projects` (LXD `lxd/api_project.go`).

use headwater_formats::names::ProjectName;
use http::Response;

use super::{Ask, Body, Failure, not_implemented};
use crate::http::incoming::Incoming;

/// The list: addresses, or objects with `recursion`.
pub(super) async fn list(ask: &Ask<'_>) -> Result<Response<Body>, Failure> {
    let _ = ask;
    Err(not_implemented())
}

/// Makes a project.
pub(super) async fn create(ask: &Ask<'_>, body: Incoming) -> Result<Response<Body>, Failure> {
    let _ = (ask, body);
    Err(not_implemented())
}

/// One project: GET, POST (rename), PUT, PATCH, DELETE.
pub(super) async fn one(
    ask: &Ask<'_>,
    body: Incoming,
    name: Option<ProjectName>,
    method: &str,
) -> Result<Response<Body>, Failure> {
    let _ = (ask, body, name, method);
    Err(not_implemented())
}
