//! A connection that goes on in another protocol after its request: websockets.
//!
//! The HTTP engine lets go of such a connection, so somebody else has to count it and end it with the server: [`Upgrade::run`]. A
//! handler finds the [`Upgrade`] among the extensions of a request that asks for one; it is not there in HTTP/2, nor when a
//! handler is called without a connection:
//!
//! ```no_run
//! # fn example(request: &http::request::Parts) -> Option<()> {
//! use headwater::http::upgrade::Upgrade;
//! use tokio::io::AsyncWriteExt;
//!
//! let upgrade = request.extensions.get::<Upgrade>()?.clone();
//! upgrade.run(|mut stream, ending| async move {
//!     let _ = stream.write_all(b"hello").await;
//!     ending.cancelled().await;
//! });
//! // The answer has to be 101, with the headers of the protocol.
//! # Some(()) }
//! ```
//!
//! This file does not know what is spoken afterwards.

use std::future::Future;
use std::sync::Arc;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::Place;

/// The wish of a client to go on in another protocol.
#[derive(Clone)]
pub struct Upgrade {
    pub(super) on: OnUpgrade,
    pub(super) keeper: Keeper,
}

/// What a connection is counted and ended by.
#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) connections: TaskTracker,
    pub(super) drain: CancellationToken,
    pub(super) cut: CancellationToken,
    pub(super) place: Arc<Place>,
}

impl Upgrade {
    /// Does this with the stream as soon as the answer, which has to be 101, is sent; in the background. The connection counts
    /// until `work` ends. `work` has to end soon after the token that it is given is cancelled: the server is ending, and
    /// cuts it after a while.
    pub fn run<W, F>(self, work: W)
    where
        W: FnOnce(TokioIo<Upgraded>, CancellationToken) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { on, keeper } = self;
        let connections = keeper.connections.clone();
        connections.spawn(async move {
            let _place = keeper.place;
            let whole = async {
                match on.await {
                    Ok(stream) => work(TokioIo::new(stream), keeper.drain).await,
                    Err(error) => tracing::debug!(%error, "a connection did not go on in another protocol"),
                }
            };
            keeper.cut.run_until_cancelled(whole).await;
        });
    }
}

impl std::fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upgrade").finish_non_exhaustive()
    }
}
