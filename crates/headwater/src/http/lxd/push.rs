//! `POST /1.0/images/<fingerprint>/export`: pushing an image to another server (LXD `lxd/images.go` `imageExportPost`).
//!
//! The other server has agreed to it with whoever asks, and gave the secret that comes with the request; properties, aliases and the rest
//! are what was agreed there. Unlike the daemons, we name the root file of a virtual machine as what it is.

use std::sync::Arc;
use std::time::Instant;

use headwater_formats::digest::FingerprintPrefix;
use headwater_formats::lxd::export::ExportPost;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Map;

use super::pull::may_connect;
use super::{Ask, Body, Failure, background, export, images};
use crate::client::push::{Target, Upload};
use crate::fetch::progress_line;
use crate::http::incoming::Incoming;
use crate::operations::NewTask;

/// What LXD calls it (`lxd/db/operationtype`).
const EXPORTING: &str = "Exporting image";

/// Pushes the image.
pub(super) async fn post(
    ask: &Ask<'_>,
    body: Incoming,
    prefix: Option<FingerprintPrefix>,
) -> Result<Response<Body>, Failure> {
    let project = ask.project().await?;
    let image = images::find(ask.state, ask.caller, &project, prefix).await?.image;
    may_connect(ask, &project)?;
    let wanted: ExportPost = body.json().await?;
    let target = Target::new(&wanted.target, &wanted.certificate, &wanted.secret, &wanted.project, wanted.profiles)
        .map_err(|error| Failure::Told(StatusCode::BAD_REQUEST, error.to_string()))?;
    // Opened before the answer, so that deleting the image meanwhile does not cut the upload short.
    let files = export::files(ask.state, &image).await?;
    let state = Arc::clone(ask.state);
    let actor = Arc::clone(&ask.caller.actor);
    let task = NewTask::new(EXPORTING, project.clone()).on_image(&image.fingerprint);
    let begun = ask.state.operations.run(&ask.caller.actor, task, move |running| async move {
        let length = files.body.length().unwrap_or(0);
        let upload = Upload {
            fingerprint: image.fingerprint,
            content_type: files.content_type,
            length,
            pieces: files.body.into_data_stream(),
        };
        let (told, began) = (running.clone(), Instant::now());
        let tell = move |sent: u64| {
            told.progress("upload_progress", progress_line("", sent, Some(length), began.elapsed()));
        };
        tokio::select! {
            biased;
            () = running.cancelled().cancelled() => return Err("the upload was cancelled; nothing was kept there".to_owned()),
            done = state.fetcher.client().push(&target, upload, tell) => done.map_err(|error| error.to_string())?,
        }
        state.used.note(&project, image.fingerprint);
        if !image.public {
            state.downloads.note(&actor, Some(&project), image.fingerprint, (state.now)());
        }
        Ok(Map::new())
    });
    background(&begun.await?)
}
