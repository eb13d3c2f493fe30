//! Who may do what: the [`Who`] of the route table against who is asking and the project that the request names.
//!
//! This is the least that has to hold, asked once for every request before its handler runs. Handlers ask what depends on the
//! object: whose image it is, which secret opens it. What a caller may not see is told in the very words, from the very place,
//! that tell of what is not there.

use http::{Response, StatusCode};

use super::body::Body;
use super::caller::Caller;
use super::query::Query;
use super::route::{Endpoint, Row, Who};
use super::{State, lxd};
use crate::auth::Role;

/// What the holder of a token that is bound to a view is told by the API.
const BOUND: &str =
    "not authorized: this token is bound to a view and works for streams only; ask for a token without a view";

/// Nothing, or the answer for who may not.
pub(super) async fn check(
    state: &State,
    row: &Row,
    who: Who,
    caller: &Caller,
    query: &Query,
) -> Result<(), Response<Body>> {
    let refuse = |sentence: &str| lxd::error(StatusCode::FORBIDDEN, sentence);
    // Clients read these two of every server that they are told of.
    if caller.is_bound_to_a_view()
        && !(matches!(row.endpoint, Endpoint::ApiRoot | Endpoint::Server) && who == Who::Guests)
    {
        return Err(refuse(BOUND));
    }
    if matches!(who, Who::Guests | Who::Bearer) {
        return Ok(());
    }
    if !caller.access.is_trusted() {
        return Err(refuse(lxd::NOT_AUTHORIZED));
    }
    let role = match who {
        Who::Guests | Who::Bearer | Who::Trusted => return Ok(()),
        Who::Administrator if caller.access.is_administrator() => return Ok(()),
        Who::Administrator => return Err(refuse("not authorized: this is for those who administer the server")),
        Who::Viewer => Role::Viewer,
        Who::Publisher => Role::Publisher,
    };
    let project = lxd::named_project(state, caller, query).await?;
    match caller.access.has(role, &project) {
        true => Ok(()),
        false => Err(refuse(&format!(
            "not authorized: this takes the role {role} in the project \"{project}\"; ask who administers the server"
        ))),
    }
}
