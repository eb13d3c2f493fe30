use headwater_formats::digest::Digest;
use headwater_formats::names::UpstreamName;
use headwater_formats::simplestreams::select::SelectError;

use super::plan::PlanError;
use crate::blobs::BlobError;
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
    /// A file of it.
    #[error(transparent)]
    Transfer(#[from] TransferError),
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
    /// Somebody stopped sending.
    #[error("sending was stopped; what is there is complete, and the next push sends the rest")]
    PushStopped,
    /// Documents are read, and nothing else.
    #[error(
        "\"{0}\" is asked by simplestreams, which takes no images; add the server once more with --protocol lxd or incus"
    )]
    TakesNothing(UpstreamName),
    /// Images are taken of those who are known.
    #[error(
        "\"{0}\" does not know who is asking, and takes no images of guests; `headwater mirror edit {0} --token TOKEN` joins it"
    )]
    Stranger(UpstreamName),
    /// The store has lost a file.
    #[error("the file {0} of the image is not in the store; `headwater verify` shows what else is missing")]
    NoBytes(Digest),
    /// Too many images in a row could not be taken.
    #[error("{0} images in a row could not be taken, the last because: {1}")]
    Hopeless(usize, String),
}

/// Why a file did not come. `path` is what its list calls it.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The server said no, or nonsense.
    #[error("{path:?} cannot be fetched: {source}")]
    Client {
        /// Which file.
        path: String,
        /// Why.
        source: ClientError,
    },
    /// It was tried again and again.
    #[error(
        "{path:?} did not come in {tries} tries: {server} {what}; {had} bytes of {size} are kept, and the next run goes on there"
    )]
    Broken {
        /// Which file.
        path: String,
        /// How often it was tried.
        tries: u32,
        /// The server's address, without what is secret.
        server: String,
        /// What happened the last time: goes on from its address.
        what: String,
        /// Bytes that are there.
        had: u64,
        /// Bytes that it has.
        size: u64,
    },
    /// The bytes are others.
    #[error(
        "{server} sends a file for {path:?} whose SHA-256 is {found}, where its list says {expected}{}; nothing was kept, tell who runs \
         that server when it stays so",
        if *again { ", also when it was fetched anew" } else { "" }
    )]
    Wrong {
        /// Which file.
        path: String,
        /// The server's address, without what is secret.
        server: String,
        /// What the digest is.
        found: Digest,
        /// What it should be.
        expected: Digest,
        /// Whether it was wrong before.
        again: bool,
    },
    /// Another process has the file.
    #[error("{path:?} is being fetched by another process; wait for that to end, then run this again")]
    Busy {
        /// Which file.
        path: String,
    },
    /// The bytes could not be stored.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// Somebody stopped it.
    #[error("the transfer was cancelled; what has come is kept, and the next run goes on there")]
    Cancelled,
}
