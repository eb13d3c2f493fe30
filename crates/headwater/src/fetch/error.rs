use crate::catalog::CatalogError;
use crate::client::ClientError;
use crate::publish::PublishError;

/// Why an image was not fetched. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The other server.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The bytes that it sent.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The image was not copied from anywhere, or not by a name. The words of the daemons.
    #[error("Image source not found")]
    NoSource,
    /// Somebody stopped it.
    #[error("the download was cancelled; nothing was kept")]
    Cancelled,
}
