//! A run of a mirror, from the claim to the last image that goes.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater_formats::digest::Fingerprint;
use headwater_formats::names::UpstreamName;
use headwater_formats::simplestreams::select::Selection;
use rustix::process::{Resource, getrlimit};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};

use super::arrive::{Arrived, come};
use super::claim;
use super::copies::Copies;
use super::offer::Choice;
use super::plan::{Plan, Planner, Take};
use super::take::{Taking, Told};
use super::{Course, Event, MirrorError, Mirrors, Offered, Rate, Step, Terms, Transfers};
use crate::blobs::Complete;
use crate::catalog::{
    Described, Mirrored, Upstream, UpstreamClaim, UpstreamCredential, UpstreamId, UpstreamProtocol, UpstreamRun,
};
use crate::client::credential::{BearerToken, ClientCertificate, Credential};
use crate::client::trust::Trust;
use crate::client::{Seal, Server};
use crate::openpgp::Keyring;
use crate::publish::{Durable, blocking};

/// For how many seconds an upstream is claimed at a time.
const CLAIM: i64 = 60;
/// How often a claim is renewed.
const RENEW: Duration = Duration::from_secs(15);
/// Rows that are read, or images that go, at a time.
const PAGE: usize = 1000;
/// Images of a document that are compared with what is here at a time, or a few more.
const PART: usize = 500;
/// Most images that are listed in one transaction. Pages of the catalog that many images change are written once for all of them.
const TOGETHER: usize = 128;
/// How long is waited for so many.
const GATHER: Duration = Duration::from_millis(500);
/// Of so many images in a row that cannot be taken, no more are tried.
const HOPELESS: usize = 20;
/// After a run that failed, the next is due no later than this.
const AGAIN: u32 = 900;

/// An upstream, and what is to be done about it.
#[derive(Debug)]
pub struct Planned {
    /// The upstream.
    pub upstream: Upstream,
    /// The difference to what it offers.
    pub plan: Plan,
    /// Whether products, versions and names are its own: see [`Offered::placed`].
    placed: bool,
    /// The images that came from it until now.
    held: BTreeSet<Fingerprint>,
    server: Server,
}

impl Planned {
    /// Bytes of the images to take, as far as the upstream tells; of a lazy one, nothing is transferred.
    pub fn bytes(&self) -> u64 {
        if self.upstream.settings.lazy {
            return 0;
        }
        let images = self.plan.take.iter().flat_map(|take| &take.images);
        images.fold(0, |sum, one| sum.saturating_add(one.image.files.size()))
    }

    /// How many images are to be taken.
    pub fn images(&self) -> u64 {
        self.plan.take.iter().fold(0, |sum, take| sum.saturating_add(take.images.len() as u64))
    }
}

impl Mirrors {
    /// What a run would do now.
    ///
    /// # Errors
    /// When the upstream cannot be asked or believed.
    pub async fn plan(&self, name: &UpstreamName, terms: Terms) -> Result<Planned, MirrorError> {
        let upstream = self.publisher.catalog.upstream(name).await?;
        self.planned(upstream, terms).await
    }

    /// Runs an upstream now.
    ///
    /// # Errors
    /// Why it ended early; that is kept with the upstream, too. Images that could not be taken are no error: they are counted.
    pub async fn run(&self, name: &UpstreamName, terms: Terms, course: &Course) -> Result<UpstreamRun, MirrorError> {
        let now = (self.now)();
        let until = now.plus_seconds(CLAIM);
        let claimed = self.publisher.catalog.claim_upstream(name, &self.name, now, until, claim::is_dead).await?;
        match claimed {
            UpstreamClaim::Taken(upstream) => self.claimed(*upstream, terms, course).await,
            UpstreamClaim::Busy => Err(MirrorError::Busy(name.clone())),
        }
    }

    /// Runs the upstream that is due longest, if one is.
    ///
    /// # Errors
    /// Those of the catalog; how the run ended is in the pair.
    pub async fn run_due(
        &self,
        course: &Course,
    ) -> Result<Option<(UpstreamName, Result<UpstreamRun, MirrorError>)>, MirrorError> {
        let now = (self.now)();
        let until = now.plus_seconds(CLAIM);
        let Some(upstream) = self.publisher.catalog.claim_due_upstream(&self.name, now, until, claim::is_dead).await?
        else {
            return Ok(None);
        };
        let name = upstream.name.clone();
        Ok(Some((name, self.claimed(upstream, Terms::default(), course).await)))
    }

    /// Runs an upstream that is claimed, and gives the claim back.
    async fn claimed(&self, upstream: Upstream, terms: Terms, course: &Course) -> Result<UpstreamRun, MirrorError> {
        let (id, name, every) = (upstream.id, upstream.name.clone(), upstream.settings.every);
        let began = (self.now)();
        let mut run = UpstreamRun { began_at: began.unix(), ..UpstreamRun::default() };
        let renewing = self.renew(id, &name);
        let work = self.work(upstream, terms, course, &mut run);
        let done = tokio::select! {
            done = work => done,
            () = renewing => Err(MirrorError::Lost(name)),
        };
        let ended = (self.now)();
        run.ended_at = ended.unix();
        if let Err(error) = &done {
            run.why = error.to_string();
        }
        let wait = if run.why.is_empty() { every } else { every.min(AGAIN) };
        let due = (every > 0).then(|| ended.plus_seconds(wait.into()));
        // One that was stopped is due as before: whoever starts next goes on.
        let kept = (!matches!(done, Err(MirrorError::Stopped | MirrorError::Lost(_)))).then_some(&run);
        self.publisher.catalog.end_upstream_claim(id, &self.name, kept, due).await?;
        done.map(|()| run)
    }

    /// Renews the claim until it is lost.
    async fn renew(&self, id: UpstreamId, name: &UpstreamName) {
        loop {
            tokio::time::sleep(RENEW).await;
            let until = (self.now)().plus_seconds(CLAIM);
            match self.publisher.catalog.keep_upstream_claim(id, &self.name, until).await {
                Ok(true) => {}
                Ok(false) => return,
                // The next try may do better, and a claim lasts for several.
                Err(error) => tracing::warn!(upstream = %name, %error, "the claim of a mirror's run was not renewed"),
            }
        }
    }

    async fn planned(&self, upstream: Upstream, terms: Terms) -> Result<Planned, MirrorError> {
        let trust = Trust::from_pem(&upstream.settings.certificate)?;
        let server = self.client.server_as(&credential(&upstream.settings.credential)?, &upstream.server, &trust)?;
        let copies = Arc::new(Copies::of(&upstream, &self.publisher.blobs));
        let server = server.keeping(Arc::clone(&copies) as _);
        let selection: Selection = upstream.settings.filter.parse()?;
        let now = (self.now)();
        let seal = seal(&upstream.settings.keyring)?;
        let held = self.held(upstream.id).await?;
        let mut planner = Planner::new(&held, &upstream.settings, now);
        let placed = upstream.protocol == UpstreamProtocol::SimpleStreams;
        if placed {
            let mut choice = Choice::new(selection, upstream.settings.both_families, now);
            for path in server.streams(seal.as_ref()).await? {
                let mut products = server.products(&path, seal.as_ref()).await?;
                loop {
                    let part;
                    (choice, products, part) = blocking(move || {
                        let part = choice.next(&mut products, PART);
                        (choice, products, part)
                    })
                    .await;
                    let Some(part) = part? else { break };
                    self.add(&mut planner, &upstream, part).await?;
                }
            }
        } else {
            let images = server.images(&upstream.settings.upstream_project).await?;
            let all = blocking(move || Offered::by_images(images, &selection, now)).await;
            self.add(&mut planner, &upstream, all).await?;
        }
        let plan = planner.end(terms.accept_loss)?;
        copies.tidy_up().await;
        let held = held.into_iter().map(|row| row.fingerprint).collect();
        Ok(Planned { upstream, plan, placed, held, server })
    }

    /// The images that came from an upstream until now.
    async fn held(&self, upstream: UpstreamId) -> Result<Vec<Mirrored>, MirrorError> {
        let mut held: Vec<Mirrored> = Vec::new();
        loop {
            let page = self.publisher.catalog.mirrored(upstream, held.last().map(|row| &row.fingerprint), PAGE).await?;
            let more = page.len() >= PAGE;
            held.extend(page);
            if !more {
                return Ok(held);
            }
        }
    }

    /// Adds a part of what is offered to a plan, beside what is here of it.
    async fn add(&self, planner: &mut Planner<'_>, upstream: &Upstream, part: Offered) -> Result<(), MirrorError> {
        let catalog = &self.publisher.catalog;
        let listed: Vec<Fingerprint> = part.offers.keys().copied().collect();
        // What was only promised until now comes with the next run of one that is lazy no more.
        let present = match upstream.settings.lazy {
            true => catalog.present(&upstream.project, &listed).await?,
            false => catalog.complete(&upstream.project, &listed).await?,
        };
        planner.add(part, &present);
        let described = catalog.described_otherwise(&upstream.project, planner.described()).await?;
        planner.describe(described);
        Ok(())
    }

    async fn work(
        &self,
        upstream: Upstream,
        terms: Terms,
        course: &Course,
        run: &mut UpstreamRun,
    ) -> Result<(), MirrorError> {
        let planning = self.planned(upstream, terms);
        let mut planned = tokio::select! {
            biased;
            () = course.stop.cancelled() => return Err(MirrorError::Stopped),
            planned = planning => planned?,
        };
        run.listed = planned.plan.listed;
        let removed = planned.plan.remove.len() as u64;
        let (images, bytes) = (planned.images(), planned.bytes());
        (course.tell)(Event::Planned { listed: run.listed, images, bytes, removed });
        let (catalog, id, now) = (&self.publisher.catalog, planned.upstream.id, (self.now)());
        catalog.note_gone(id, &planned.plan.gone, &planned.plan.back, now).await?;
        catalog.note_shared(id, &planned.plan.shared).await?;
        let project = planned.upstream.project.clone();
        let describe = std::mem::take(&mut planned.plan.describe);
        let remove = std::mem::take(&mut planned.plan.remove);
        match planned.upstream.settings.lazy {
            true => self.promise(planned, course, run).await?,
            false => self.take(planned, course, run).await?,
        }
        for Described { product, versions } in &describe {
            catalog.describe_product(&project, product, versions, (self.now)()).await?;
        }
        if run.failed > 0 {
            // What is here may be what somebody needs in the place of what did not come.
            run.why = format!("{} of {images} images could not be taken; the log says why", run.failed);
            return Ok(());
        }
        for some in remove.chunks(PAGE) {
            run.removed += catalog.remove_mirrored(id, some, (self.now)()).await?;
        }
        if run.removed > 0 {
            (course.tell)(Event::Removed(run.removed));
        }
        Ok(())
    }

    /// Takes the images that are missing: several come at a time, and those that are complete are listed together.
    async fn take(&self, planned: Planned, course: &Course, run: &mut UpstreamRun) -> Result<(), MirrorError> {
        let Planned { upstream, plan, placed, held, server } = planned;
        let wanted = plan.take.into_iter().flat_map(|Take { product, images }| {
            let product = Arc::new(product);
            images.into_iter().map(move |image| (Arc::clone(&product), image))
        });
        let at_once = usize::try_from(upstream.settings.connections).unwrap_or(1).max(1);
        let rate = NonZero::new(upstream.settings.rate).map_or_else(Rate::unlimited, Rate::limited);
        let transfers = Transfers::new(server, self.publisher.blobs.clone(), rate).with_patience(self.patience.clone());
        let told = Arc::new(Told { course: course.clone(), came: AtomicU64::new(0) });
        let taking = Taking {
            upstream,
            transfers,
            publisher: self.publisher.clone(),
            placed,
            deltas: plan.deltas,
            held,
            course: course.clone(),
            told: Arc::clone(&told),
        };
        let (done, ready) = mpsc::channel(together());
        // Ends with this future, whatever becomes of it.
        let mut coming = JoinSet::new();
        coming.spawn(come(Arc::new(taking), wanted, at_once, done));
        let listed = self.list(ready, course, run).await;
        run.bytes = told.came.load(Ordering::Relaxed);
        listed?;
        ended(coming.join_next().await);
        Ok(())
    }

    /// Lists what comes, together what has come meanwhile. While some images are listed, the bytes of the next ones become durable.
    async fn list(
        &self,
        ready: mpsc::Receiver<Arrived>,
        course: &Course,
        run: &mut UpstreamRun,
    ) -> Result<(), MirrorError> {
        let (durable, to_list) = mpsc::channel(1);
        let placing = self.place(ready, durable, course, &mut run.failed);
        let listing = self.list_durable(to_list, course, &mut run.taken);
        let (placed, listed) = tokio::join!(placing, listing);
        listed.and(placed)
    }

    /// Makes the bytes of images durable.
    async fn place(
        &self,
        mut ready: mpsc::Receiver<Arrived>,
        durable: mpsc::Sender<Together>,
        course: &Course,
        failed: &mut u64,
    ) -> Result<(), MirrorError> {
        let mut in_a_row = 0;
        let together = together();
        let mut some = Vec::with_capacity(together);
        while ready.recv_many(&mut some, together).await > 0 {
            let enough = Instant::now() + GATHER;
            while some.len() < together {
                let left = together - some.len();
                let Ok(1..) = timeout_at(enough, ready.recv_many(&mut some, left)).await else { break };
            }
            let (mut steps, mut prepared, mut files) = (Vec::new(), Vec::new(), Vec::new());
            for (step, taken) in some.drain(..) {
                match taken {
                    Ok(image) => {
                        in_a_row = 0;
                        steps.push(step);
                        prepared.push(image.prepared);
                        files.extend(image.files);
                    }
                    Err(MirrorError::Stopped) if course.stop.is_cancelled() => return Err(MirrorError::Stopped),
                    Err(error) => {
                        in_a_row += 1;
                        *failed += 1;
                        let why = error.to_string();
                        let (product, version) = (&step.product, &step.version);
                        tracing::warn!(product, version, image = %step.fingerprint.short(), why, "an image was not taken from an upstream");
                        (course.tell)(Event::Failed(step, why.clone()));
                        if in_a_row >= HOPELESS {
                            return Err(MirrorError::Hopeless(in_a_row, why));
                        }
                    }
                }
            }
            if prepared.is_empty() {
                continue;
            }
            let images = self.publisher.place(prepared).await?;
            if durable.send(Together { steps, images, files }).await.is_err() {
                // They could not be listed, and whoever lists says why.
                return Ok(());
            }
        }
        Ok(())
    }

    /// Lists images whose bytes are durable.
    async fn list_durable(
        &self,
        mut durable: mpsc::Receiver<Together>,
        course: &Course,
        taken: &mut u64,
    ) -> Result<(), MirrorError> {
        // Those before are let go of while the next ones are listed.
        let mut letting_go = JoinSet::new();
        while let Some(Together { steps, images, files }) = durable.recv().await {
            let placed = self.publisher.list_durable(images, (self.now)()).await?;
            ended(letting_go.join_next().await);
            // They are in the store now.
            letting_go.spawn_blocking(move || {
                drop(placed);
                files.iter().for_each(|file| file.forget());
            });
            *taken += steps.len() as u64;
            steps.into_iter().for_each(|step| (course.tell)(Event::Taken(step)));
        }
        ended(letting_go.join_next().await);
        Ok(())
    }
}

/// A panic of a task that ended goes on here.
fn ended(task: Option<Result<(), JoinError>>) {
    if let Some(Err(error)) = task
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// How many images are listed together: each has two files open until they are let go of, and there are five times as many between their last byte and
/// that. Half of the files that a process may have open are for everything else.
fn together() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 20).unwrap_or(TOGETHER).clamp(1, TOGETHER)
}

/// Images that are listed together.
struct Together {
    steps: Vec<Step>,
    images: Durable,
    /// Their files: see [`Taken::files`].
    files: Vec<Arc<Complete>>,
}

/// Believes documents that are signed by one of these keys.
struct Signed(Keyring);

impl Seal for Signed {
    fn open(&self, signed: &[u8]) -> Result<Vec<u8>, String> {
        self.0.open(signed).map_err(|error| error.to_string())
    }

    fn check(&self, text: &[u8], signature: &[u8]) -> Result<(), String> {
        self.0.check(text, signature).map_err(|error| error.to_string())
    }
}

/// What the upstream is shown.
pub(super) fn credential(kept: &UpstreamCredential) -> Result<Credential, MirrorError> {
    Ok(match kept {
        UpstreamCredential { token, .. } if !token.is_empty() => Credential::Token(BearerToken::new(token)?),
        UpstreamCredential { certificate, key, .. } if !certificate.is_empty() => {
            Credential::Certificate(ClientCertificate::from_pem(certificate, key)?)
        }
        _ => Credential::Nothing,
    })
}

fn seal(keyring: &str) -> Result<Option<Arc<dyn Seal>>, MirrorError> {
    if keyring.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(Signed(Keyring::read(keyring.as_bytes())?))))
}
