//! `GET /1.0/images/<fingerprint>/export`: the files of an image (LXD `lxd/images.go` `imageExport`).
//!
//! One file is sent as it is, with the name that clients save it under. Two files are sent as `multipart/form-data`, in the order
//! in which they are hashed. Unlike the daemons we send the length of that too, which gives clients a percentage.

use bytes::Bytes;
use headwater_formats::digest::FingerprintPrefix;
use headwater_formats::image::{Image, ImageFile, ImageFiles};
use headwater_formats::lxd::export;
use http::request::Parts;
use http::{Response, StatusCode, header};

use super::{Ask, Body, Failure, State, images};
use crate::catalog::StoredImage;
use crate::http::body::Part;
use crate::http::conditional::Validators;
use crate::http::content::content;
use crate::http::files::{self, OpenError};
use crate::http::held;
use crate::http::respond::{self, OpenFile};

/// Caches have to ask again: another image may come to match the same prefix.
const REVALIDATE: &str = "no-cache";

/// Answers with the files.
pub(super) async fn get(ask: &Ask<'_>, prefix: Option<FingerprintPrefix>) -> Result<Response<Body>, Failure> {
    let (state, request) = (ask.state, ask.request);
    let images::Opened { stored: StoredImage { project, image, .. }, actor } =
        images::open(ask, prefix.clone()).await?;
    let sent = match image.files {
        ImageFiles::Unified(file) => single(state, request, &image, file).await,
        ImageFiles::Split { metadata, root } => split(state, &image, metadata, root).await,
    };
    if let Err(Failure::File(OpenError::Missing(_))) = sent {
        // Deleted and swept since it was found: then it is not there, as for who asks a moment later.
        images::open(ask, prefix).await?;
    }
    let response = sent?;
    state.used.note(&project, image.fingerprint);
    if let ImageFiles::Split { root, .. } = image.files
        && held::is_worth_noting(root.format)
    {
        state.held.note(&actor, root.digest);
    }
    if !image.public {
        state.downloads.note(&actor, Some(&project), image.fingerprint, ask.now());
    }
    Ok(response)
}

async fn single(state: &State, request: &Parts, image: &Image, file: ImageFile) -> Result<Response<Body>, Failure> {
    let validators = Validators { etag: Some(files::etag(&file.digest)), modified: Some(image.uploaded_at) };
    let open = OpenFile {
        content: content(state, file, !respond::wants_bytes(request, file.size, &validators)).await?,
        content_type: "application/octet-stream",
        validators,
        cache: REVALIDATE.into(),
        save_as: Some(export::unified(&image.fingerprint, &file)),
    };
    Ok(respond::file(request, open, &state.pool))
}

/// The files of an image as one body, in the order in which they are hashed.
pub(super) struct Files {
    /// `application/octet-stream`, or `multipart/form-data` with its boundary.
    pub(super) content_type: String,
    /// The bytes; their length is known.
    pub(super) body: Body,
}

/// Opens the files of an image.
pub(super) async fn files(state: &State, image: &Image) -> Result<Files, Failure> {
    match image.files {
        ImageFiles::Unified(file) => {
            let part = content(state, file, false).await?.part(0, file.size, &state.pool);
            Ok(Files { content_type: "application/octet-stream".to_owned(), body: Body::parts([part]) })
        }
        ImageFiles::Split { metadata, root } => multipart(state, image, metadata, root).await,
    }
}

async fn multipart(state: &State, image: &Image, metadata: ImageFile, root: ImageFile) -> Result<Files, Failure> {
    let boundary = export::boundary(&image.fingerprint);
    let [first, second, end] = export::form(&image.fingerprint, image.image_type, &metadata, &root);
    let mut parts = Vec::with_capacity(5);
    // Side by side: when both have to come, the second one need not wait for the first.
    let (before, after) = tokio::try_join!(content(state, metadata, false), content(state, root, false))?;
    for (head, file, content) in [(first, metadata, before), (second, root, after)] {
        parts.push(Part::Bytes(Bytes::from(head)));
        parts.push(content.part(0, file.size, &state.pool));
    }
    parts.push(Part::Bytes(Bytes::from(end)));
    Ok(Files { content_type: format!("multipart/form-data; boundary={boundary}"), body: Body::parts(parts) })
}

async fn split(state: &State, image: &Image, metadata: ImageFile, root: ImageFile) -> Result<Response<Body>, Failure> {
    let Files { content_type, body } = multipart(state, image, metadata, root).await?;
    let mut response = respond::with(StatusCode::OK, "application/octet-stream", body);
    respond::set(&mut response, header::CONTENT_TYPE, content_type);
    respond::set(&mut response, header::CACHE_CONTROL, REVALIDATE);
    Ok(response)
}
