//! A run of a lazy upstream: its images are listed by what its documents say of them, and nothing is transferred. The files are promised, and come when
//! somebody asks for them (`pull/`).

use std::collections::HashMap;
use std::sync::Arc;

use headwater_formats::digest::Digest;
use headwater_formats::image::Image;

use super::arrive::step;
use super::{Course, Event, MirrorError, Mirrors, Planned, Step, Take, TakeImage};
use crate::catalog::{Committed, Given, GivenProduct, NewImage, Promise, Upstream, UpstreamRun};
use crate::client::Offer;
use crate::publish::MAX_IMAGE_BYTES;

/// Images that are listed in one transaction.
const TOGETHER: usize = 500;
/// Promises that are read, or written, at a time.
const PAGE: usize = 5000;

/// Images that wait to be listed together.
#[derive(Default)]
struct Waiting {
    new: Vec<NewImage>,
    promises: Vec<Vec<Promise>>,
    steps: Vec<Step>,
}

impl Mirrors {
    /// Lists the images that are missing, and writes down where the files of all of them are.
    pub(super) async fn promise(
        &self,
        planned: Planned,
        course: &Course,
        run: &mut UpstreamRun,
    ) -> Result<(), MirrorError> {
        let Planned { upstream, plan, .. } = planned;
        let mut waiting = Waiting::default();
        for Take { product, images } in plan.take {
            let product = Arc::new(product);
            for wanted in images {
                let step = step(&product, &wanted);
                match promises(&wanted.offer).filter(|_| wanted.image.files.size() <= MAX_IMAGE_BYTES) {
                    Some(promises) => {
                        waiting.new.push(new(&upstream, &product, wanted));
                        waiting.promises.push(promises);
                        waiting.steps.push(step);
                    }
                    None => {
                        run.failed += 1;
                        let why =
                            format!("its files have no hash, or more than {MAX_IMAGE_BYTES} bytes, which is the limit");
                        (course.tell)(Event::Failed(step, why));
                    }
                }
                if waiting.new.len() >= TOGETHER {
                    self.list_promised(std::mem::take(&mut waiting), course, run).await?;
                }
            }
        }
        self.list_promised(waiting, course, run).await?;
        self.say_where(&upstream, plan.promises).await
    }

    async fn list_promised(
        &self,
        Waiting { new, promises, steps }: Waiting,
        course: &Course,
        run: &mut UpstreamRun,
    ) -> Result<(), MirrorError> {
        if course.stop.is_cancelled() {
            return Err(MirrorError::Stopped);
        }
        if new.is_empty() {
            return Ok(());
        }
        let committed = self.publisher.catalog.promise_images(&new, &promises, (self.now)()).await?;
        for (step, committed) in steps.into_iter().zip(committed) {
            if matches!(committed, Committed::New(_)) {
                run.taken += 1;
                (course.tell)(Event::Taken(step));
            }
        }
        Ok(())
    }

    /// Writes down where files are, as far as that is not known: images that were here before had no such place, or have another one now.
    async fn say_where(&self, upstream: &Upstream, promises: Vec<Promise>) -> Result<(), MirrorError> {
        let catalog = &self.publisher.catalog;
        let mut known: HashMap<Digest, String> = HashMap::new();
        let mut after: Option<Digest> = None;
        loop {
            let page = catalog.promises(upstream.id, after.as_ref(), PAGE).await?;
            after = page.last().map(|promise| promise.digest);
            let more = page.len() >= PAGE;
            known.extend(page.into_iter().map(|promise| (promise.digest, promise.path)));
            if !more {
                break;
            }
        }
        let mut missing = Vec::new();
        for promise in promises {
            if known.get(&promise.digest) != Some(&promise.path) {
                known.insert(promise.digest, promise.path.clone());
                missing.push(promise);
            }
        }
        for some in missing.chunks(PAGE) {
            catalog.promise(upstream.id, some, (self.now)()).await?;
        }
        Ok(())
    }
}

/// Where the files of an image are, when a document lists them with their hashes.
pub(super) fn promises(offer: &Offer) -> Option<Vec<Promise>> {
    let (metadata, root) = offer.files()?;
    let promise = |file: &headwater_formats::simplestreams::client::ListedFile| {
        Some(Promise { digest: file.sha256?, path: file.path.as_str().to_owned() })
    };
    std::iter::once(metadata).chain(root).map(promise).collect()
}

/// The image as its document describes it, to be listed.
fn new(upstream: &Upstream, product: &Arc<GivenProduct>, wanted: TakeImage) -> NewImage {
    let (version_extra, properties) = wanted.fields();
    let TakeImage { version, image, .. } = wanted;
    let given = Given {
        upstream: Some(upstream.id),
        product: GivenProduct::clone(product),
        version,
        version_extra,
        placed: true,
    };
    NewImage {
        project: upstream.project.clone(),
        // As one that is published, whose profiles are those of an image that names none.
        image: Image { public: upstream.settings.public, profiles: vec!["default".to_owned()], properties, ..image },
        aliases: Vec::new(),
        new_aliases: false,
        published_by: None,
        given: Some(given),
        repacked_from: None,
    }
}
