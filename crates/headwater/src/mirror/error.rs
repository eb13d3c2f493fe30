use headwater_formats::names::UpstreamName;
use headwater_formats::simplestreams::select::SelectError;

use super::plan::PlanError;
use crate::catalog::CatalogError;
use crate::client::ClientError;
use crate::openpgp::VerifyError;
use crate::publish::PublishError;

/// Why a run ended early, or an image was not taken. What was here stays.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The upstream.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What it lists, beside what is here.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The filter that was kept.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The keys that were kept.
    #[error("the keys that sign its documents cannot be used: {0}")]
    Keyring(#[from] VerifyError),
    /// The bytes that it sent.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The bytes are another kind of image than is listed.
    #[error("it lists {listed} and sends {sent}; nothing was taken over")]
    Other {
        /// Type and architecture in the list.
        listed: String,
        /// Those of the bytes.
        sent: String,
    },
    /// Somebody else runs it.
    #[error("a run of \"{0}\" is under way; `headwater mirror status` shows it")]
    Busy(UpstreamName),
    /// Somebody else has taken it over, or removed it.
    #[error("the run of \"{0}\" was taken over by another process, or the upstream was removed meanwhile")]
    Lost(UpstreamName),
    /// Somebody stopped it.
    #[error("the run was stopped; what came complete is kept, and the next run goes on from there")]
    Stopped,
    /// Too many images in a row could not be taken.
    #[error("{0} images in a row could not be taken, the last because: {1}")]
    Hopeless(usize, String),
}
