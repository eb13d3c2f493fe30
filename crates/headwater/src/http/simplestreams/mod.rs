//! The simplestreams front-end: `index.json` and `images.json`, one pair for each project, filter and family of clients.
//!
//! A document is rendered once per revision of the catalog, compressed once, and kept; asking again costs one look-up of the
//! revision. This file translates; `cache.rs` prepares. Neither knows what a document looks like: that is `documents`.

mod cache;

use headwater_formats::simplestreams::Family;
use http::request::Parts;
use http::{Response, StatusCode, header};

pub use cache::{Documents, Kind};

use super::body::Body;
use super::caller::Caller;
use super::respond::{self, Document};
use super::route::{Dialect, RouteError, Scope};
use super::{State, failed};
use crate::catalog::CatalogError;

/// The family of the client that sent this request.
pub fn family(request: &Parts) -> Family {
    let header = request.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    Family::of_user_agent(header.unwrap_or_default())
}

/// Answers with a document.
pub async fn answer(state: &State, request: &Parts, caller: &Caller, scope: Scope, kind: Kind) -> Response<Body> {
    let gzip = respond::accepts_gzip(&request.headers);
    let wanted = cache::Wanted { family: family(request), gzip };
    match state.documents.get(&state.app.catalog, &caller.viewer, &scope, kind, wanted).await {
        Ok(prepared) => {
            let document = Document {
                bytes: prepared.bytes,
                gzip,
                content_type: "application/json",
                validators: prepared.validators,
                vary: "User-Agent, Accept-Encoding",
            };
            respond::document(request, &document)
        }
        Err(error) => match error.as_ref() {
            CatalogError::NoProject(_) => respond::text(StatusCode::NOT_FOUND, RouteError::NoProject),
            error => failed(Dialect::Text, "a document could not be made", error),
        },
    }
}
