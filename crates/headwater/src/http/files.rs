//! The files that streams name: `/images/<digest>.<extension>`, the same bytes for ever.
//!
//! The catalog says whether the caller may have the file; the blobs give the bytes. It is opened before the answer begins, so
//! that deleting it meanwhile does not cut the answer short. This file does not know which image a file belongs to.

use headwater_formats::digest::Digest;
use headwater_formats::image::{FileFormat, ImageFile};
use http::request::Parts;
use http::{Response, StatusCode};

use super::body::Body;
use super::caller::Caller;
use super::conditional::Validators;
use super::respond::{self, OpenFile};
use super::route::Dialect;
use super::{State, failed};
use crate::blobs::{BlobError, Blobs, OpenBlob};

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
    let file = match state.app.catalog.file(&caller.viewer, &digest).await {
        Ok(Some(file)) if file.format == format => file,
        Ok(_) => {
            return respond::text(StatusCode::NOT_FOUND, NO_SUCH_FILE);
        }
        Err(error) => return failed(Dialect::Text, "a file could not be looked up", &error),
    };
    let open = match open(&state.app.blobs, file).await {
        Ok(open) => open,
        Err(error) => return failed(Dialect::Text, "a file could not be opened", &error),
    };
    let open = OpenFile {
        size: open.size,
        content_type: respond::media_type(format),
        validators: Validators { etag: Some(etag(&digest)), modified: respond::modified(&open.file) },
        cache: respond::IMMUTABLE,
        save_as: None,
        file: open.file,
    };
    respond::file(request, open, &state.pool)
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
