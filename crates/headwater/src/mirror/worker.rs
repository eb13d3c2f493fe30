//! What a server does about mirrors as long as it runs.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Course, MirrorError, Mirrors};
use crate::catalog::CatalogError;

/// How often it is looked whether an upstream is due.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long nothing is begun after the catalog did not answer.
const REST: Duration = Duration::from_secs(60);

/// Runs upstreams when they are due, one after the other.
#[derive(Debug, Clone)]
pub struct Worker {
    mirrors: Mirrors,
}

impl Worker {
    /// Runs them with these.
    pub fn new(mirrors: Mirrors) -> Self {
        Self { mirrors }
    }

    /// Works until the server is `ending`. A server that cannot write to its catalog mirrors nothing.
    pub async fn run(self, ending: CancellationToken) {
        let course = Course { stop: ending.child_token(), ..Course::unobserved() };
        loop {
            let pause = match self.mirrors.run_due(&course).await {
                Ok(None) => LOOK_EVERY,
                Ok(Some((upstream, Ok(run)))) => {
                    let (taken, removed, failed) = (run.taken, run.removed, run.failed);
                    tracing::info!(%upstream, listed = run.listed, taken, removed, failed, "a mirror's run has ended");
                    Duration::ZERO
                }
                Ok(Some((_, Err(MirrorError::Stopped)))) => Duration::ZERO,
                Ok(Some((upstream, Err(error)))) => {
                    tracing::warn!(%upstream, %error, "a mirror's run has ended early; what is here stays");
                    Duration::ZERO
                }
                Err(MirrorError::Catalog(CatalogError::NotWritable(_))) => {
                    tracing::debug!("nothing is mirrored: the catalog can only be read");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "it cannot be seen which upstreams are due; the next try is in a while");
                    REST
                }
            };
            tokio::select! {
                biased;
                () = ending.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}
