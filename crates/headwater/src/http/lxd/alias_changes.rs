//! Making, changing, renaming and deleting aliases (LXD `lxd/images.go` `imageAliasesPost` and those after it).

use headwater_formats::names::AliasName;
use http::Response;

use super::{Ask, Body, Failure, not_implemented};
use crate::http::incoming::Incoming;

/// `POST /1.0/images/aliases`
pub(super) async fn create(ask: &Ask<'_>, body: Incoming) -> Result<Response<Body>, Failure> {
    let _ = (ask, body);
    Err(not_implemented())
}

/// `POST /1.0/images/aliases/<name>`
pub(super) async fn rename(ask: &Ask<'_>, body: Incoming, name: Option<AliasName>) -> Result<Response<Body>, Failure> {
    let _ = (ask, body, name);
    Err(not_implemented())
}

/// `PUT /1.0/images/aliases/<name>`
pub(super) async fn put(ask: &Ask<'_>, body: Incoming, name: Option<AliasName>) -> Result<Response<Body>, Failure> {
    let _ = (ask, body, name);
    Err(not_implemented())
}

/// `PATCH /1.0/images/aliases/<name>`
pub(super) async fn patch(ask: &Ask<'_>, body: Incoming, name: Option<AliasName>) -> Result<Response<Body>, Failure> {
    let _ = (ask, body, name);
    Err(not_implemented())
}

/// `DELETE /1.0/images/aliases/<name>`
pub(super) async fn delete(ask: &Ask<'_>, name: Option<AliasName>) -> Result<Response<Body>, Failure> {
    let _ = (ask, name);
    Err(not_implemented())
}
