//! What a server does about deltas as long as it runs: looks at what changed, builds what is wanted, shows each build as an
//! operation, and lets go of everything within a second when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater_formats::names::ProjectName;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Claim, Deltas, Ended, Planner, Probed, Verdict};
use crate::auth::Actor;
use crate::catalog::{CatalogError, DeltaPlace, Moment};
use crate::operations::{NewTask, Operations, Running};
use crate::publish::Progress;

/// How often it is looked at whether something changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked at whether somebody's claim ran out, though nothing changed.
const CLAIM_EVERY: Duration = Duration::from_secs(15);
/// How long nothing is begun after the machine did not do what it should.
const REST: Duration = Duration::from_secs(300);
/// How long builds may take to stop. What they leave then is found by the next sweep.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// What an operation is called.
const DESCRIPTION: &str = "Building a delta";
/// Under this name it tells how far it is.
const PROGRESS: &str = "delta_progress";

/// Builds deltas in the background.
#[derive(Clone)]
pub struct Worker {
    deltas: Deltas,
    operations: Operations,
    at_once: usize,
}

/// What it knows from one look to the next.
struct Course {
    planner: Planner,
    /// When there was nothing to build last, and of what the catalog said then.
    nothing: Option<(Moment, Instant)>,
    /// Nothing is begun before that.
    rest: Option<Instant>,
    builds: JoinSet<bool>,
}

impl Worker {
    /// Builds so many at a time, and tells of them as operations.
    pub fn new(deltas: Deltas, operations: Operations, at_once: usize) -> Self {
        Self { deltas, operations, at_once: at_once.max(1) }
    }

    /// Works until the server is `ending`. A server that cannot write to its catalog builds nothing.
    pub async fn run(self, ending: CancellationToken) {
        let mut course = Course { planner: Planner::default(), nothing: None, rest: None, builds: JoinSet::new() };
        loop {
            let pause = match self.look(&mut course, &ending).await {
                Ok(true) => Duration::ZERO,
                Ok(false) => LOOK_EVERY,
                Err(CatalogError::NotWritable(_)) => {
                    tracing::debug!("deltas are not built: the catalog can only be read");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "deltas cannot be planned or built now; the next try is in a while");
                    CLAIM_EVERY
                }
            };
            tokio::select! {
                biased;
                () = ending.cancelled() => break,
                Some(ended) = course.builds.join_next() => {
                    // One that panicked was logged, and its claim runs out.
                    if !ended.unwrap_or(false) {
                        course.rest = Instant::now().checked_add(REST);
                    }
                    course.nothing = None;
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
        let stopped = async { while course.builds.join_next().await.is_some() {} };
        if tokio::time::timeout(END_PATIENCE, stopped).await.is_err() {
            tracing::info!("a delta that is being built is left to whoever starts next");
        }
    }

    /// Plans, and begins what there is room for. Whether there is more to plan.
    async fn look(&self, course: &mut Course, ending: &CancellationToken) -> Result<bool, CatalogError> {
        let more = self.deltas.plan(&mut course.planner).await?;
        if course.rest.is_some_and(|until| Instant::now() < until) {
            return Ok(more);
        }
        course.rest = None;
        let mut idle = false;
        while !idle && course.builds.len() < self.at_once {
            let moment = self.deltas.publisher.catalog.moment().await?;
            if course.nothing.is_some_and(|(at, when)| at == moment && when.elapsed() < CLAIM_EVERY) {
                idle = true;
                continue;
            }
            match self.deltas.next(ending).await? {
                Some(claim) => {
                    let (worker, ending) = (self.clone(), ending.clone());
                    course.builds.spawn(async move { worker.build(claim, &ending).await });
                }
                None => {
                    course.nothing = Some((moment, Instant::now()));
                    idle = true;
                }
            }
        }
        if idle && !more {
            // However much there is: a page at every look.
            self.deltas.plan_past(&mut course.planner).await?;
        }
        Ok(more)
    }

    /// Builds one; `false` when it is better to wait before the next one.
    async fn build(&self, claim: Claim, ending: &CancellationToken) -> bool {
        let pair = *claim.pair();
        let place = match self.deltas.publisher.catalog.delta_place(&pair).await {
            Ok(place) => place,
            Err(error) => {
                tracing::warn!(%error, "it cannot be seen where a delta belongs");
                None
            }
        };
        let ended = match self.deltas.probe(&claim).await {
            Ok(probed) => self.operate(claim, probed, place.as_ref(), ending).await,
            Err(verdict) => self.deltas.end(&claim, Err(verdict)).await,
        };
        let product = place.as_ref().map(|place| place.product.as_str()).unwrap_or_default();
        let version = place.as_ref().map(|place| place.version.as_str()).unwrap_or_default();
        let base = place.as_ref().map(|place| place.base_version.as_str()).unwrap_or_default();
        match ended {
            Ok(Ended::Listed(file)) => {
                tracing::info!(product, version, base, size = file.size, full = pair.target.size, "a delta is listed");
            }
            Ok(Ended::Refused(why)) => tracing::info!(product, version, base, why, "a delta is not listed"),
            Ok(Ended::Failed(why)) => {
                let (target, base_file) = (pair.target.digest, pair.base.digest);
                tracing::error!(product, version, base, %target, %base_file, why, "a delta went wrong, and is not listed");
            }
            Ok(Ended::Trouble(why)) => {
                tracing::warn!(product, version, base, why, "a delta could not be built; it will be tried again");
                return false;
            }
            Ok(ended @ (Ended::Stopped | Ended::Lost)) => {
                tracing::debug!(product, version, base, %ended, "a delta is not built")
            }
            Err(error) => {
                tracing::warn!(product, version, base, %error, "how a delta ended was not kept");
                return false;
            }
        }
        true
    }

    /// Builds it as an operation of the project that has it, where its viewers see it.
    async fn operate(
        &self,
        claim: Claim,
        probed: Probed,
        place: Option<&DeltaPlace>,
        ending: &CancellationToken,
    ) -> Result<Ended, CatalogError> {
        let claim = Arc::new(claim);
        let (tell, told) = oneshot::channel();
        let (deltas, server) = (self.deltas.clone(), ending.clone());
        let mine = Arc::clone(&claim);
        let work = move |running: Running| async move {
            let ended = work(&deltas, &mine, probed, &running, &server).await;
            let outcome = outcome(&ended, mine.pair().target.size);
            // Who waits for it is there until the server ends.
            let _ = tell.send(ended);
            outcome
        };
        self.operations.run(&Arc::new(Actor::server()), task(place), work).await?;
        match told.await {
            Ok(ended) => ended,
            // It was never begun, or was given up because it did not stop soon enough when somebody cancelled it.
            Err(_) if claim.is_stopped() && !ending.is_cancelled() => self.deltas.end(&claim, Err(cancelled())).await,
            Err(_) => self.deltas.end(&claim, Err(Verdict::Stopped)).await,
        }
    }
}

fn task(place: Option<&DeltaPlace>) -> NewTask {
    let Some(place) = place else { return NewTask::new(DESCRIPTION, ProjectName::default_project()) };
    let mut task = NewTask::new(DESCRIPTION, place.project.clone()).on_image(&place.image);
    for (key, value) in [
        ("product", place.product.as_str()),
        ("version", place.version.as_str()),
        ("base_version", place.base_version.as_str()),
    ] {
        task.metadata.insert(key.to_owned(), Value::from(value));
    }
    task
}

/// The work of the operation. Whoever cancels it does not want this delta.
async fn work(
    deltas: &Deltas,
    claim: &Arc<Claim>,
    probed: Probed,
    running: &Running,
    ending: &CancellationToken,
) -> Result<Ended, CatalogError> {
    let watching = tokio::spawn({
        let (cancelled, claim) = (running.cancelled().clone(), Arc::downgrade(claim));
        async move {
            cancelled.cancelled().await;
            if let Some(claim) = claim.upgrade() {
                claim.stop();
            }
        }
    });
    let progress = Percent { running: running.clone(), step: Step::default() };
    let built = deltas.make(claim, probed, Arc::new(progress)).await;
    watching.abort();
    let built = match built {
        Err(Verdict::Stopped) if running.cancelled().is_cancelled() && !ending.is_cancelled() => Err(cancelled()),
        built => built,
    };
    deltas.end(claim, built).await
}

fn cancelled() -> Verdict {
    Verdict::Refused("somebody cancelled it; `headwater delta build` makes it".to_owned())
}

/// What the operation tells at its end. That a delta does not pay is no failure.
fn outcome(ended: &Result<Ended, CatalogError>, full: u64) -> Result<Map<String, Value>, String> {
    let texts = |pairs: &[(&str, String)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), Value::from(value.as_str()))).collect()
    };
    match ended {
        Ok(Ended::Listed(file)) => Ok(texts(&[("size", file.size.to_string()), ("full_size", full.to_string())])),
        Ok(Ended::Refused(why)) => Ok(texts(&[("refused", why.clone())])),
        Ok(other) => Err(other.to_string()),
        Err(_) => Err("the catalog did not answer; the server's log says more".to_owned()),
    }
}

/// Tells an operation how far it is.
struct Percent {
    running: Running,
    step: Step,
}

/// A part of the work.
#[derive(Default)]
struct Step {
    name: std::sync::Mutex<String>,
    total: AtomicU64,
    done: AtomicU64,
    told: AtomicU64,
}

impl Progress for Percent {
    fn begin(&self, name: &str, total: Option<u64>) {
        let step = &self.step;
        name.clone_into(&mut step.name.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        step.total.store(total.unwrap_or_default(), Ordering::Relaxed);
        step.done.store(0, Ordering::Relaxed);
        step.told.store(0, Ordering::Relaxed);
        self.running.progress(PROGRESS, format!("{name}: 0%"));
    }

    fn advance(&self, bytes: u64) {
        let step = &self.step;
        let done = step.done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let percent = done.saturating_mul(100) / step.total.load(Ordering::Relaxed).max(1);
        if step.told.swap(percent, Ordering::Relaxed) != percent {
            let name = step.name.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            self.running.progress(PROGRESS, format!("{name}: {percent}%"));
        }
    }
}
