//! The simplestreams front-end: `index.json` and `images.json`, one pair for each stream and family of clients.
//!
//! What a document shows is kept in parts and brought up to the catalog's revision when it is asked for; asking again costs one
//! look-up of the revision. This file translates; `look.rs` says what a caller sees at an address, `cache.rs` makes answers of what
//! `documents` keeps. None of them knows what a document looks like.
//!
//! Where a token stands in the address, LXD and Incus are led out of it: their first attempt for every file is in plain, and
//! would show the token. The files of their documents are at signed addresses. Other clients ask over https at once, and
//! Python's refuse paths that leave the address; their files are below the token's.

mod cache;
mod look;

use headwater_formats::simplestreams::Family;
use headwater_formats::simplestreams::render::FilesAt;
use http::request::Parts;
use http::{Response, header};

pub use crate::documents::Kind;
pub use cache::Documents;

use self::look::NoStream;
use super::body::Body;
use super::caller::Caller;
use super::respond::{self, Document};
use super::route::{Dialect, Place, Scope};
use super::{Connection, State, failed, signing};
use crate::catalog::CatalogError;

/// The family of the client that sent this request.
pub fn family(request: &Parts) -> Family {
    let header = request.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    Family::of_user_agent(header.unwrap_or_default())
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
    match prepare(state, request, connection, caller, &scope, kind).await {
        Ok(document) => respond::document(request, document),
        Err(NoStream::Hidden(error)) => respond::text(error.status(), error),
        Err(error) => failed(Dialect::Text, "a document could not be made", &error),
    }
}

async fn prepare(
    state: &State,
    request: &Parts,
    connection: &Connection,
    caller: &Caller,
    scope: &Scope,
    kind: Kind,
) -> Result<Document, NoStream> {
    let catalog = &state.app.catalog;
    let stream = look::stream(catalog, caller, scope, family(request)).await?;
    let files = files_at(state, connection, caller, scope, stream.family).await?;
    let gzip = respond::accepts_gzip(&request.headers);
    let mut prepared =
        state.documents.get(catalog, stream, files, kind, gzip).await.map_err(|error| match &*error {
            CatalogError::NoProject(_) => NoStream::Hidden(look::missing(&scope.place)),
            _ => NoStream::Shared(error),
        })?;
    let known = caller.access.is_trusted();
    if known || matches!(scope.place, Place::View(_)) {
        // Grants and views change without a new revision: its time does not tell whether the document is the same.
        prepared.validators.modified = None;
    }
    Ok(Document {
        body: prepared.body,
        gzip,
        content_type: "application/json",
        validators: prepared.validators,
        vary: match scope.token {
            Some(_) => "User-Agent, Accept-Encoding",
            None => "User-Agent, Accept-Encoding, Authorization",
        },
        cache: if known { respond::PRIVATE_SHORT } else { respond::SHORT },
    })
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
