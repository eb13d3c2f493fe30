//! Lets the images of a run come: several at a time, small ones in their own way.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use super::small::{self, Small};
use super::take::{Taken, Taking};
use super::{MirrorError, Step, TakeImage, Wanted};
use crate::catalog::GivenProduct;
use crate::publish::blocking;

/// Images that are looked for, or finished, in one go.
const TOGETHER: usize = 32;

/// An image that is to be taken, and its product.
pub(super) type ToTake = (Arc<GivenProduct>, TakeImage);
/// How that went.
pub(super) type Arrived = (Step, Result<Taken, MirrorError>);

/// An image that comes next, and whether it may come as a small one.
struct Next {
    wanted: ToTake,
    is_small: bool,
}

/// What became of one.
enum Came {
    Arrived(Arrived),
    /// Its bytes are in memory.
    Small(ToTake, Small),
    /// It has to come in the ordinary way.
    Again(ToTake),
}

/// Lets images come, so many at a time, until nobody wants them any more.
pub(super) async fn come(
    taking: Arc<Taking>,
    mut wanted: impl Iterator<Item = ToTake>,
    at_once: usize,
    done: mpsc::Sender<Arrived>,
) {
    let mut next = VecDeque::new();
    let mut coming = JoinSet::new();
    let mut in_memory = Vec::new();
    let mut finishing = JoinSet::new();
    loop {
        // No more come while those that are in memory are not written.
        while coming.len() < at_once && in_memory.len() < TOGETHER * 2 {
            if next.is_empty() {
                next = look(&taking, &mut wanted).await;
            }
            let Some(one) = next.pop_front() else { break };
            coming.spawn(one.come(Arc::clone(&taking)));
        }
        if finishing.is_empty() && !in_memory.is_empty() {
            let some = in_memory.drain(..in_memory.len().min(TOGETHER)).collect();
            finishing.spawn(finish(Arc::clone(&taking), some));
        }
        let came = tokio::select! {
            Some(came) = coming.join_next() => Vec::from_iter(ended(came)),
            Some(finished) = finishing.join_next() => ended(finished).unwrap_or_default(),
            else => return,
        };
        for came in came {
            match came {
                Came::Arrived(arrived) => {
                    if done.send(arrived).await.is_err() {
                        return;
                    }
                }
                Came::Small(wanted, small) => in_memory.push((wanted, small)),
                Came::Again(wanted) => next.push_front(Next { wanted, is_small: false }),
            }
        }
    }
}

/// What a task made; a panic in there goes on here. Only a runtime that is shutting down makes it end without either.
fn ended<T>(task: Result<T, JoinError>) -> Option<T> {
    match task.map_err(JoinError::try_into_panic) {
        Ok(done) => Some(done),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => None,
    }
}

/// Looks which of the next images are small, with nothing of them here.
async fn look(taking: &Taking, wanted: &mut impl Iterator<Item = ToTake>) -> VecDeque<Next> {
    let some: Vec<ToTake> = wanted.take(TOGETHER).collect();
    let may_be_small: Vec<_> = some.iter().map(|(_, image)| small::files(taking, image)).collect();
    let any = may_be_small.iter().any(Option::is_some);
    let blobs = taking.publisher.blobs.clone();
    let are_small = move || {
        let unknown = |files: &Option<Vec<Wanted>>| {
            files.as_ref().is_some_and(|files| files.iter().all(|file| !blobs.is_known(&file.digest)))
        };
        may_be_small.iter().map(unknown).collect::<Vec<_>>()
    };
    let are_small = match any {
        true => blocking(are_small).await,
        false => vec![false; some.len()],
    };
    some.into_iter().zip(are_small).map(|(wanted, is_small)| Next { wanted, is_small }).collect()
}

impl Next {
    async fn come(self, taking: Arc<Taking>) -> Came {
        let (product, image) = &self.wanted;
        if self.is_small {
            match Small::fetched(&taking, product, image).await {
                Ok(Some(small)) => return Came::Small(self.wanted, small),
                Ok(None) => {}
                Err(error) => return Came::Arrived((step(product, image), Err(error))),
            }
        }
        Came::Arrived((step(product, image), taking.take(product, image).await))
    }
}

/// Finishes small images in one go.
async fn finish(taking: Arc<Taking>, some: Vec<(ToTake, Small)>) -> Vec<Came> {
    let one = move |(wanted, small): (ToTake, Small)| match small.finish(&taking, &wanted.1) {
        Some(taken) => Came::Arrived((step(&wanted.0, &wanted.1), taken)),
        None => Came::Again(wanted),
    };
    blocking(move || some.into_iter().map(one).collect()).await
}

/// An image that is to be taken, as it is told.
pub(super) fn step(product: &GivenProduct, image: &TakeImage) -> Step {
    Step {
        product: product.key.clone(),
        version: image.version.to_string(),
        fingerprint: image.image.fingerprint,
        size: image.image.files.size(),
    }
}
