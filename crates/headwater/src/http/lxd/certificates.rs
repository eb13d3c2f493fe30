//! `/1.0/certificates`: who is trusted, joining, and tokens to join with (LXD `lxd/certificates.go`).

use http::Response;

use super::{Ask, Body, Failure, not_implemented};
use crate::http::incoming::Incoming;

/// The list: addresses, or objects with `recursion`.
pub(super) async fn list(ask: &Ask<'_>) -> Result<Response<Body>, Failure> {
    let _ = ask;
    Err(not_implemented())
}

/// Joins with a proof, adds a certificate, or makes a token to join with.
pub(super) async fn post(ask: &Ask<'_>, body: Incoming) -> Result<Response<Body>, Failure> {
    let _ = (ask, body);
    Err(not_implemented())
}

/// One certificate: GET, PUT, PATCH, DELETE.
pub(super) async fn one(ask: &Ask<'_>, body: Incoming, prefix: &str, method: &str) -> Result<Response<Body>, Failure> {
    let _ = (ask, body, prefix, method);
    Err(not_implemented())
}
