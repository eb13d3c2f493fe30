//! `/1.0/operations`: what goes on in the background (LXD `lxd/operations.go`).

use headwater_formats::lxd;
use http::Response;

use super::{Ask, Body, Failure, not_implemented};
use crate::catalog::StoredOperation;

/// The object of an operation, with its secret for who is meant to have it.
pub(super) fn object(operation: &StoredOperation, secret: Option<&str>) -> lxd::Operation {
    let _ = (operation, secret);
    todo!()
}

/// The list: addresses by status, or objects with `recursion`.
pub(super) async fn list(ask: &Ask<'_>) -> Result<Response<Body>, Failure> {
    let _ = ask;
    Err(not_implemented())
}

/// One operation.
pub(super) async fn get(ask: &Ask<'_>, id: &str) -> Result<Response<Body>, Failure> {
    let _ = (ask, id);
    Err(not_implemented())
}

/// Waits for its end.
pub(super) async fn wait(ask: &Ask<'_>, id: &str) -> Result<Response<Body>, Failure> {
    let _ = (ask, id);
    Err(not_implemented())
}

/// Cancels it.
pub(super) async fn cancel(ask: &Ask<'_>, id: &str) -> Result<Response<Body>, Failure> {
    let _ = (ask, id);
    Err(not_implemented())
}
