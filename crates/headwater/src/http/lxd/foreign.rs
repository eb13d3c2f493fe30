//! What LXD and Incus have beside images: empty lists, so that no listing command breaks, and a sentence for what would run
//! something.

use http::Response;

use super::{Body, Failure, Query, not_implemented};

/// Answers for the segments after `/1.0`.
pub(super) fn answer(rest: &[String], method: &str, query: &Query) -> Result<Response<Body>, Failure> {
    let _ = (rest, method, query);
    Err(not_implemented())
}
