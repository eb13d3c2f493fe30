//! The files that streams name: `/images/<digest>.<extension>`, the same bytes for ever, and the same below
//! `/f/<grant>/`, for who holds the grant.
//!
//! The catalog says whether the caller may have the file; the blobs give the bytes. It is opened before the answer begins, so
//! that deleting it meanwhile does not cut the answer short. This file does not know which image a file belongs to. A delta is given to who may have
//! the root file that comes out of it.

use std::borrow::Cow;

use headwater_formats::digest::Digest;
use headwater_formats::image::{FileFormat, ImageFile};
use http::request::Parts;
use http::{Method, Response, StatusCode, header};

use super::body::Body;
use super::caller::Caller;
use super::conditional::Validators;
use super::content::{Content, content};
use super::respond::{self, OpenFile};
use super::route::Dialect;
use super::{Connection, State, failed, held, signing};
use crate::auth::address::FileGrant;
use crate::auth::{Access, Viewer};
use crate::blobs::{BlobError, Blobs, OpenBlob};
use crate::catalog::{Catalog, CatalogError};
use crate::mirror::PullError;

/// What is told of a file that is not there, or not for the caller.
pub(super) const NO_SUCH_FILE: &str = "there is no such file here; fetch the list of images again";

/// Answers with the file, or with the same 404 whether it is missing, hidden, or of another format than the address says.
pub async fn answer(
    state: &State,
    request: &Parts,
    caller: &Caller,
    digest: Digest,
    format: FileFormat,
) -> Response<Body> {
    let cache = if caller.access.is_trusted() { respond::PRIVATE_FILE } else { respond::IMMUTABLE };
    send(state, request, caller, digest, format, cache.into()).await
}

/// Answers who holds a grant. One that is wrong, has ended, is used from elsewhere, or is of somebody who is not known any
/// more, is told what is told of a missing file.
pub async fn signed(
    state: &State,
    request: &Parts,
    connection: &Connection,
    grant: &str,
    digest: Digest,
    format: FileFormat,
) -> Response<Body> {
    let Some(grant) = FileGrant::parse(grant) else { return missing() };
    let access = match signing::access(state, &grant, connection.peer.ip()).await {
        Ok(Some(access)) => access,
        Ok(None) => return missing(),
        Err(error) => return failed(Dialect::Text, "a signed address could not be looked up", &error),
    };
    let seconds = grant.ends_at().unix().saturating_sub((state.now)().unix()).max(0);
    let caller = Caller::new(access, Some(connection.peer.ip().to_canonical()));
    send(state, request, &caller, digest, format, format!("private, max-age={seconds}, immutable").into()).await
}

/// A file, and whether everybody may have it.
struct Found {
    file: ImageFile,
    public: bool,
    /// The root file that a client has when it has this: the file itself, or what comes out of a delta.
    root: Option<Digest>,
}

/// A file that the catalog names, an image's or a delta.
struct Named {
    file: ImageFile,
    /// The files of images that it stands for: itself, or what comes out of a delta.
    stands_for: Vec<Digest>,
}

/// The file, if the viewer may have it. What an address ends in says which kind it is, whatever else is made of the same bytes.
async fn named(
    catalog: &Catalog,
    viewer: &Viewer,
    digest: &Digest,
    format: FileFormat,
) -> Result<Option<Named>, CatalogError> {
    Ok(match format {
        FileFormat::Vcdiff => {
            let delta = catalog.delta_file(viewer, digest).await?;
            delta.map(|delta| Named { file: delta.file, stands_for: delta.targets })
        }
        _ => {
            let file = catalog.file(viewer, digest).await?.filter(|file| file.format == format);
            file.map(|file| Named { file, stands_for: vec![*digest] })
        }
    })
}

/// The file, if who has this access may have it. A token that is bound to a view may have the files of images that the view
/// lets pass, of any age: `latest` says what is listed, and lists are an hour old.
async fn find(
    state: &State,
    access: &Access,
    digest: &Digest,
    format: FileFormat,
) -> Result<Option<Found>, CatalogError> {
    let catalog = &state.app.catalog;
    let viewer = access.viewer();
    let Some(Named { file, stands_for }) = named(catalog, viewer, digest, format).await? else { return Ok(None) };
    let public = !access.is_trusted() || named(catalog, &Viewer::guest(), digest, format).await?.is_some();
    let root = stands_for.first().filter(|_| held::is_worth_noting(format)).copied();
    let found = Some(Found { file, public, root });
    let Some(bound) = access.identity().and_then(|identity| identity.view.as_ref()) else { return Ok(found) };
    let Some(view) = catalog.saved_view(bound).await? else { return Ok(None) };
    let filter = view.view.of_any_age();
    for digest in &stands_for {
        let passes = |product| {
            let images = filter.narrow(product).into_iter().flat_map(|product| product.versions).flat_map(|v| v.images);
            images.into_iter().any(|image| image.files.iter().any(|(_, file)| file.digest == *digest))
        };
        match catalog.has_product_with_file(viewer, &view.project, digest, passes).await {
            Ok(true) => return Ok(found),
            Ok(false) | Err(CatalogError::NoProject(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn missing() -> Response<Body> {
    respond::text(StatusCode::NOT_FOUND, NO_SUCH_FILE)
}

async fn send(
    state: &State,
    request: &Parts,
    caller: &Caller,
    digest: Digest,
    format: FileFormat,
    cache: Cow<'static, str>,
) -> Response<Body> {
    let Found { file, public, root } = match find(state, &caller.access, &digest, format).await {
        Ok(Some(found)) => found,
        Ok(None) => return missing(),
        Err(error) => return failed(Dialect::Text, "a file could not be looked up", &error),
    };
    let known = Validators { etag: Some(etag(&file.digest)), modified: None };
    let content = match content(state, file, !respond::wants_bytes(request, file.size, &known)).await {
        Ok(content) => content,
        Err(OpenError::Pull(error)) => return away(&error),
        Err(error) => {
            // Swept since it was found: then it is not there, as for who asks a moment later. A sweep removes bytes before
            // their row, so the row tells nothing; what an image needs is never swept, and missed aloud.
            let swept = matches!(error, OpenError::Missing(_))
                && matches!(state.app.catalog.is_file_needed(&digest).await, Ok(false));
            return if swept { missing() } else { failed(Dialect::Text, "a file could not be opened", &error) };
        }
    };
    let modified = match &content {
        Content::Here(open) => respond::modified(&open.file),
        Content::Coming(_) | Content::Unread(_) => None,
    };
    let open = OpenFile {
        content,
        content_type: respond::media_type(file.format),
        validators: Validators { modified, ..known },
        cache,
        save_as: None,
    };
    let response = respond::file(request, open, &state.pool);
    if !public && request.method == Method::GET && response.status().is_success() {
        state.downloads.note(&caller.actor, None, digest, (state.now)());
    }
    if let Some(root) = root.filter(|_| request.method == Method::GET && held::is_from_the_beginning(&response)) {
        state.held.note(&caller.actor, root);
    }
    response
}

/// What is told of a file that an upstream has and that does not come.
fn away(error: &PullError) -> Response<Body> {
    let mut response = respond::text(away_status(error), error);
    if away_status(error) == StatusCode::SERVICE_UNAVAILABLE {
        respond::set(&mut response, header::RETRY_AFTER, AGAIN);
    }
    response
}

/// After so many seconds it may do better.
pub(super) const AGAIN: &str = "30";

/// The status of such an answer.
pub(super) fn away_status(error: &PullError) -> StatusCode {
    match error {
        PullError::NotPromised => StatusCode::NOT_FOUND,
        PullError::Wrong => StatusCode::BAD_GATEWAY,
        PullError::Closed | PullError::Away | PullError::Store | PullError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The entity tag of a file: its digest.
pub(super) fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// Why a file that the catalog names could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// It is gone.
    #[error("the file {0} is not in the store; `headwater verify` tells which images need it")]
    Missing(Digest),
    /// An upstream has it, and it does not come.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// It is not what the catalog says.
    #[error(
        "the file {digest} has {found} bytes in the store and {expected} in the catalog; `headwater verify` tells more"
    )]
    Size { digest: Digest, found: u64, expected: u64 },
    /// The system said no.
    #[error("the file {0} cannot be read: {1}")]
    Store(Digest, BlobError),
}

/// Opens a file that the catalog names, off the threads that serve connections.
pub(super) async fn open(blobs: &Blobs, file: ImageFile) -> Result<OpenBlob, OpenError> {
    let blobs = blobs.clone();
    let digest = file.digest;
    let opened = tokio::task::spawn_blocking(move || blobs.open_blob(&digest))
        .await
        .unwrap_or_else(|error| Err(BlobError::Io(std::io::Error::other(error))));
    match opened {
        Ok(Some(open)) if open.size == file.size => Ok(open),
        Ok(Some(open)) => Err(OpenError::Size { digest, found: open.size, expected: file.size }),
        Ok(None) => Err(OpenError::Missing(digest)),
        Err(error) => Err(OpenError::Store(digest, error)),
    }
}
