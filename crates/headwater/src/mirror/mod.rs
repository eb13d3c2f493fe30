//! Mirrors of other servers' streams: their files, as many as there are, over any number of runs that may be killed at any moment.
//!
//! [`transfer`](Transfers) gets one file, whose digest and length its list says: it goes on with what an earlier run had of it, tries again
//! what may pass, and gives a file that becomes a staged blob without being copied. [`Rate`] holds all transfers of a run together below so
//! many bytes a second.

mod error;
mod rate;
mod transfer;

pub use error::TransferError;
pub use rate::Rate;
pub use transfer::{Patience, Progress, Silent, Transfers, Wanted};
