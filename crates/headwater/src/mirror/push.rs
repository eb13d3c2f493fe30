//! The other direction: images of a project here that an upstream does not have yet are sent to it, over the API of LXD and Incus, as somebody
//! whom it knows.
//!
//! What is there is told by its fingerprint, so that a second run sends only what is missing, whatever became of the first. Nothing is ever taken away
//! there; an image that is there is left as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use headwater_formats::digest::Fingerprint;
use headwater_formats::image::{Image, ImageFile, ImageFiles};
use headwater_formats::lxd::{WireTime, export};
use headwater_formats::names::{ProjectName, UpstreamName};
use headwater_formats::simplestreams::select::Selection;
use tokio_util::sync::CancellationToken;

use super::run::credential;
use super::{MirrorError, Mirrors, Step};
use crate::auth::Viewer;
use crate::blobs::{Blobs, OpenBlob};
use crate::catalog::{Alias, AliasTarget, UpstreamProtocol};
use crate::client::push::{Listed, Upload};
use crate::client::trust::Trust;
use crate::client::{ImageState, Server};
use crate::publish::{PublishError, blocking};

/// Rows that are read at a time.
const PAGE: usize = 200;
/// Bytes that are read of a file at a time.
const PIECE: usize = 1 << 20;

/// Which images are sent, and where.
#[derive(Debug, Clone, Default)]
pub struct PushTerms {
    /// Of which project; `None` for the one that the upstream is mirrored into.
    pub project: Option<ProjectName>,
    /// Into which project there; `None` for the one that is mirrored.
    pub to_project: Option<String>,
    /// Which of them.
    pub selection: Selection,
}

/// What a push is to do.
#[derive(Debug)]
pub struct PushPlan {
    /// Images that were chosen.
    pub listed: u64,
    /// Those that are not there, the newest version of each product first.
    pub send: Vec<(Step, Image)>,
    /// Aliases that are not there, or lead elsewhere.
    pub aliases: Vec<PushAlias>,
    to_project: String,
    server: Server,
}

impl PushPlan {
    /// Bytes of the images to send.
    pub fn bytes(&self) -> u64 {
        self.send.iter().fold(0, |sum, (step, _)| sum.saturating_add(step.size))
    }
}

/// A fixed alias of an image that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushAlias {
    /// Its name.
    pub name: String,
    /// The image that it leads to here.
    pub image: Fingerprint,
    /// What is done about it.
    pub action: AliasAction,
    description: String,
}

/// What is done about an alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AliasAction {
    /// It is made.
    Create,
    /// It leads to another image of the same project there, and is moved.
    Move,
    /// It leads to an image there that the project here does not have: it is somebody else's.
    Leave,
}

/// What happens in a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushEvent {
    /// So many more bytes were sent.
    Bytes(u64),
    /// An image is there.
    Sent(Step),
    /// An image is not there.
    Failed(Step, String),
    /// An alias leads to its image there.
    Named(PushAlias),
    /// An alias does not.
    NotNamed(PushAlias, String),
}

/// How a push is followed and stopped.
#[derive(Clone)]
pub struct PushCourse {
    /// Told what happens; must be quick.
    pub tell: Arc<dyn Fn(PushEvent) + Send + Sync>,
    /// Stops it.
    pub stop: CancellationToken,
}

/// How a push ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pushed {
    /// Images that were sent.
    pub sent: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Images that were not taken, and aliases that could not be set.
    pub failed: u64,
}

impl Mirrors {
    /// What is to be sent to an upstream.
    ///
    /// # Errors
    /// [`MirrorError::TakesNothing`], [`MirrorError::Stranger`]; when the upstream cannot be asked or believed.
    pub async fn plan_push(&self, name: &UpstreamName, terms: PushTerms) -> Result<PushPlan, MirrorError> {
        let upstream = self.publisher.catalog.upstream(name).await?;
        if upstream.protocol == UpstreamProtocol::SimpleStreams {
            return Err(MirrorError::TakesNothing(name.clone()));
        }
        let trust = Trust::from_pem(&upstream.settings.certificate)?;
        let shown = credential(&upstream.settings.credential)?;
        let server = self.client.server_as(&shown, &upstream.server, &trust)?;
        if !server.knows_us().await? {
            return Err(MirrorError::Stranger(name.clone()));
        }
        let project = terms.project.unwrap_or(upstream.project);
        let to_project = terms.to_project.unwrap_or(upstream.settings.upstream_project);
        let there = server.fingerprints(&to_project).await?;
        let chosen = self.chosen(&project, &terms.selection).await?;
        let listed = chosen.len() as u64;
        let fingerprints: BTreeSet<Fingerprint> = chosen.iter().map(|(step, _)| step.fingerprint).collect();
        let aliases = self.push_aliases(&server, &project, &to_project, &fingerprints).await?;
        let send = chosen.into_iter().filter(|(step, _)| !there.contains(&step.fingerprint)).collect();
        Ok(PushPlan { listed, send, aliases, to_project, server })
    }

    /// The images of a project that are chosen, by their products, the newest version first; those of no product only when all are.
    async fn chosen(&self, project: &ProjectName, selection: &Selection) -> Result<Vec<(Step, Image)>, MirrorError> {
        let (catalog, viewer) = (&self.publisher.catalog, Viewer::operator());
        let mut chosen = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = catalog.products(&viewer, project, after.as_deref(), PAGE).await?;
            let more = page.len() >= PAGE;
            after = page.last().map(|last| last.key.clone());
            for product in selection.view.apply(page) {
                for version in product.versions.into_iter().rev() {
                    let name = version.name.to_string();
                    chosen.extend(version.images.into_iter().map(|image| (step(&product.key, &name, &image), image)));
                }
            }
            if !more {
                break;
            }
        }
        let mut after: Option<Fingerprint> = None;
        while selection.is_everything() {
            let page = catalog.images(&viewer, project, after, PAGE).await?;
            let more = page.len() >= PAGE;
            after = page.last().map(|last| last.image.fingerprint);
            let loose = page.into_iter().filter(|stored| stored.placement.is_none());
            chosen.extend(loose.map(|stored| (step("", "", &stored.image), stored.image)));
            if !more {
                break;
            }
        }
        Ok(chosen)
    }

    /// What is to be done about the fixed aliases of these images.
    async fn push_aliases(
        &self,
        server: &Server,
        project: &ProjectName,
        to_project: &str,
        images: &BTreeSet<Fingerprint>,
    ) -> Result<Vec<PushAlias>, MirrorError> {
        let catalog = &self.publisher.catalog;
        let there: BTreeMap<String, String> = server.aliases(to_project).await?;
        let mut aliases = Vec::new();
        let mut after = None;
        loop {
            let page = catalog.aliases(&Viewer::operator(), project, after.as_ref(), PAGE).await?;
            let more = page.len() >= PAGE;
            after = page.last().map(|last| last.name.clone());
            for Alias { name, description, target, generated } in page {
                let AliasTarget::Image(image) = target else { continue };
                if generated || !images.contains(&image) {
                    continue;
                }
                let action = match there.get(name.as_str()) {
                    None => AliasAction::Create,
                    Some(target) if *target == image.to_string() => continue,
                    Some(target) => {
                        let other: Vec<Fingerprint> = target.parse().into_iter().collect();
                        let ours = !catalog.present(project, &other).await?.is_empty();
                        if ours { AliasAction::Move } else { AliasAction::Leave }
                    }
                };
                aliases.push(PushAlias { name: name.to_string(), image, action, description });
            }
            if !more {
                return Ok(aliases);
            }
        }
    }

    /// Sends what is to be sent, one image after the other, and then sets the aliases.
    ///
    /// # Errors
    /// Why it ended early: the upstream cannot be reached any more, or it was stopped. What it does not take is no error: that is counted.
    pub async fn push(&self, plan: PushPlan, course: &PushCourse) -> Result<Pushed, MirrorError> {
        let PushPlan { send, aliases, to_project, server, .. } = plan;
        let mut pushed = Pushed::default();
        let mut missing = BTreeSet::new();
        for (step, image) in send {
            let sending = self.send(&server, &to_project, &image, course);
            let sent = tokio::select! {
                biased;
                () = course.stop.cancelled() => return Err(MirrorError::PushStopped),
                sent = sending => sent,
            };
            match sent {
                Ok(()) => {
                    pushed.sent += 1;
                    pushed.bytes = pushed.bytes.saturating_add(step.size);
                    (course.tell)(PushEvent::Sent(step));
                }
                Err(MirrorError::Client(error)) if error.may_pass() => return Err(error.into()),
                Err(error) => {
                    pushed.failed += 1;
                    missing.insert(step.fingerprint);
                    (course.tell)(PushEvent::Failed(step, error.to_string()));
                }
            }
        }
        for alias in aliases.into_iter().filter(|alias| !missing.contains(&alias.image)) {
            let PushAlias { name, image, action, description } = &alias;
            let done = match action {
                AliasAction::Create => server.create_alias(&to_project, name, description, image).await,
                AliasAction::Move => server.move_alias(&to_project, name, description, image).await,
                AliasAction::Leave => continue,
            };
            match done {
                Ok(()) => (course.tell)(PushEvent::Named(alias)),
                Err(error) if error.may_pass() => return Err(error.into()),
                Err(error) => {
                    pushed.failed += 1;
                    (course.tell)(PushEvent::NotNamed(alias, error.to_string()));
                }
            }
        }
        Ok(pushed)
    }

    /// Sends an image, and has it listed there as it is here.
    async fn send(
        &self,
        server: &Server,
        project: &str,
        image: &Image,
        course: &PushCourse,
    ) -> Result<(), MirrorError> {
        let (content_type, length, pieces) = body(&self.publisher.blobs, image).await?;
        let fingerprint = image.fingerprint;
        let upload = Upload { fingerprint, content_type, length, pieces };
        let listed = Listed { filename: filename(image), public: image.public, properties: image.properties.clone() };
        let (tell, before) = (Arc::clone(&course.tell), AtomicU64::new(0));
        let progress = move |sent: u64| {
            let had = before.swap(sent, Ordering::Relaxed);
            tell(PushEvent::Bytes(sent.saturating_sub(had)));
        };
        if let Err(error) = server.upload(project, &listed, upload, progress).await {
            // Somebody else may have brought it meanwhile.
            if error.may_pass() || server.image_state(project, &fingerprint).await.is_err() {
                return Err(error.into());
            }
            return Ok(());
        }
        // Servers add our properties to those in its metadata, which may have others; and there is no header for the rest.
        let there = server.image_state(project, &fingerprint).await?;
        let wanted = ImageState {
            public: image.public,
            properties: image.properties.clone(),
            expires_at: WireTime(image.expires_at),
            ..there.clone()
        };
        if wanted != there {
            server.set_image_state(project, &fingerprint, &wanted).await?;
        }
        Ok(())
    }
}

fn step(product: &str, version: &str, image: &Image) -> Step {
    Step {
        product: product.to_owned(),
        version: version.to_owned(),
        fingerprint: image.fingerprint,
        size: image.files.size(),
    }
}

/// A header holds no letters beyond ASCII.
fn filename(image: &Image) -> String {
    let name = &image.filename;
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return name.clone();
    }
    export::names(&image.fingerprint, &image.files).swap_remove(0)
}

/// A part of what is sent.
enum Part {
    Text(String),
    File(OpenBlob),
}

/// The files of an image as one body: its type, its length, its bytes. The files are open from now on, so that deleting the image meanwhile does not cut
/// the upload short.
async fn body(
    blobs: &Blobs,
    image: &Image,
) -> Result<(String, u64, impl Stream<Item = io::Result<Bytes>> + Send + use<>), MirrorError> {
    let (fingerprint, blobs) = (image.fingerprint, blobs.clone());
    let (image_type, files) = (image.image_type, image.files);
    let opened = blocking(move || {
        let open = |file: &ImageFile| {
            let blob = blobs.open_blob(&file.digest).map_err(PublishError::from)?;
            blob.map(Part::File).ok_or(MirrorError::NoBytes(file.digest))
        };
        Ok::<_, MirrorError>(match files {
            ImageFiles::Unified(file) => ("application/octet-stream".to_owned(), vec![open(&file)?]),
            ImageFiles::Split { metadata, root } => {
                let [first, second, end] = export::form(&fingerprint, image_type, &metadata, &root);
                let parts =
                    vec![Part::Text(first), open(&metadata)?, Part::Text(second), open(&root)?, Part::Text(end)];
                (format!("multipart/form-data; boundary={}", export::boundary(&fingerprint)), parts)
            }
        })
    });
    let (content_type, parts) = opened.await?;
    let length = |part: &Part| match part {
        Part::Text(text) => text.len() as u64,
        Part::File(blob) => blob.size,
    };
    let whole = parts.iter().map(length).sum();
    Ok((content_type, whole, stream::iter(parts).flat_map(pieces)))
}

fn pieces(part: Part) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let (text, file) = match part {
        Part::Text(text) => (Some(text), None),
        Part::File(blob) => (None, Some((Arc::new(blob), 0))),
    };
    stream::iter(text.map(|text| Ok(Bytes::from(text)))).chain(stream::unfold(file, |file| async move {
        let (blob, at) = file?;
        if at >= blob.size {
            return None;
        }
        let reading = Arc::clone(&blob);
        let read = blocking(move || {
            let mut piece = vec![0; PIECE.min(usize::try_from(reading.size - at).unwrap_or(PIECE))];
            let mut from = reading.reader();
            io::Seek::seek(&mut from, io::SeekFrom::Start(at))?;
            from.read_exact(&mut piece)?;
            Ok(Bytes::from(piece))
        });
        match read.await {
            Ok(piece) => {
                let next = at + piece.len() as u64;
                Some((Ok(piece), Some((blob, next))))
            }
            Err(error) => Some((Err(error), None)),
        }
    }))
}
