//! The simplestreams front-end: `index.json` and `images.json`, one pair for each stream and family of clients.
//!
//! What a document shows is kept in parts and brought up to the catalog's revision when it is asked for; asking again costs one
//! look-up of the revision. This file translates; `look.rs` says what a caller sees at an address, `cache.rs` makes answers of what
//! `documents` keeps, `signed.rs` signs. None of them knows what a document looks like.
//!
//! Where a token stands in the address, LXD and Incus are led out of it: their first attempt for every file is in plain, and
//! would show the token. The files of their documents are at signed addresses. Other clients ask over https at once, and
//! Python's refuse paths that leave the address; their files are below the token's.

mod bases;
mod cache;
mod look;
pub(super) mod signed;

use std::sync::Arc;

use headwater_formats::simplestreams::Family;
use headwater_formats::simplestreams::render::FilesAt;
use http::request::Parts;
use http::{Response, header};

pub use crate::documents::Kind;
pub use bases::Bases;
pub use cache::Documents;
pub use signed::Signatures;

use self::look::NoStream;
use super::body::Body;
use super::caller::Caller;
use super::respond::{self, Document};
use super::route::{Dialect, Place, Scope};
use super::{Connection, State, failed, signing};
use crate::catalog::CatalogError;
use crate::documents::Stream;

/// The family of the client that sent this request.
pub fn family(request: &Parts) -> Family {
    Family::of_user_agent(user_agent(request))
}

fn user_agent(request: &Parts) -> &str {
    request.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Answers with a document.
pub async fn answer(
    state: &State,
    request: &Parts,
    connection: &Connection,
    caller: &Caller,
    scope: Scope,
    kind: Kind,
) -> Response<Body> {
    let gzip = respond::accepts_gzip(&request.headers);
    match prepare(state, request, connection, caller, &scope, kind, gzip).await {
        Ok(mut document) => {
            if caller.access.is_trusted() || matches!(scope.place, Place::View(_)) {
                // Grants and views change without a new revision: its time does not tell whether the document is the same.
                document.validators.modified = None;
            }
            respond::document(request, document)
        }
        Err(none) => refused(none),
    }
}

fn refused(none: NoStream) -> Response<Body> {
    match none {
        NoStream::Hidden(error) => respond::text(error.status(), error),
        error => failed(Dialect::Text, "a document could not be made", &error),
    }
}

/// The document with the validators that it has for those who may see it for ever.
async fn prepare(
    state: &State,
    request: &Parts,
    connection: &Connection,
    caller: &Caller,
    scope: &Scope,
    kind: Kind,
    gzip: bool,
) -> Result<Document, NoStream> {
    let (stream, files) = seen(state, request, connection, caller, scope).await?;
    let prepared = state.documents.get(&state.app.catalog, stream, files, kind, gzip).await;
    let prepared = prepared.map_err(|error| none(error, scope))?;
    Ok(Document {
        body: prepared.body,
        gzip,
        content_type: "application/json",
        validators: prepared.validators,
        vary: match scope.token {
            Some(_) => "User-Agent, Accept-Encoding",
            None => "User-Agent, Accept-Encoding, Authorization",
        },
        cache: cache_for(caller),
    })
}

/// The stream that this caller sees at the address, and where its files are.
async fn seen(
    state: &State,
    request: &Parts,
    connection: &Connection,
    caller: &Caller,
    scope: &Scope,
) -> Result<(Stream, FilesAt), NoStream> {
    let mut stream = look::stream(&state.app.catalog, caller, scope, user_agent(request)).await?;
    if let Some(identity) = caller.access.identity() {
        stream.bases = state.bases.of(&state.app.catalog, identity.id).await?;
    }
    let files = files_at(state, connection, caller, scope, stream.family).await?;
    Ok((stream, files))
}

fn none(error: Arc<CatalogError>, scope: &Scope) -> NoStream {
    match &*error {
        CatalogError::NoProject(_) => NoStream::Hidden(look::missing(&scope.place)),
        _ => NoStream::Shared(error),
    }
}

fn cache_for(caller: &Caller) -> &'static str {
    if caller.access.is_trusted() { respond::PRIVATE_SHORT } else { respond::SHORT }
}

/// Where the files of the document are for this caller.
async fn files_at(
    state: &State,
    connection: &Connection,
    caller: &Caller,
    scope: &Scope,
    family: Family,
) -> Result<FilesAt, CatalogError> {
    let identity = match (&scope.token, caller.access.identity()) {
        (Some(_), Some(identity)) if leaves_the_address(family) => identity,
        _ => return Ok(FilesAt::IMAGES),
    };
    let grant = signing::grant(state, identity, connection.peer.ip()).await?;
    grant
        .and_then(|grant| FilesAt::above(scope.depth, &grant.to_string()))
        .ok_or_else(|| CatalogError::Corrupt("the key of file addresses cannot be read".into()))
}

/// Whether the clients of that family try files in plain first, and resolve `..` before they ask.
fn leaves_the_address(family: Family) -> bool {
    matches!(family, Family::Lxd | Family::Incus)
}
