use headwater_formats::digest::Digest;

use crate::blobs::BlobError;
use crate::client::ClientError;

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
