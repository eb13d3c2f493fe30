//! A server that is asked again and again, over connections that are kept.

use std::sync::Arc;

use headwater_formats::simplestreams::parse::Document;
use reqwest::Url;

use super::ask::Session;
use super::origin::Files;
use super::trust::Trust;
use super::{Client, ClientError, Delivery, Offer, direct, export, lxd, streams};

/// Tells whether documents are signed by somebody who is believed. An error is the rest of a sentence that names the document.
pub trait Seal: Send + Sync {
    /// The text within a clear-signed document.
    ///
    /// # Errors
    /// Why it is not believed.
    fn open(&self, signed: &[u8]) -> Result<Vec<u8>, String>;
    /// Whether a signature is over these bytes.
    ///
    /// # Errors
    /// Why it is not believed.
    fn check(&self, text: &[u8], signature: &[u8]) -> Result<(), String>;
}

/// A server that is mirrored.
#[derive(Debug, Clone)]
pub struct Server {
    session: Session,
}

impl Client {
    /// The server at this address.
    ///
    /// # Errors
    /// [`ClientError::Address`] for an address that is not https; [`ClientError::Setup`].
    pub fn server(&self, address: &str, trust: &Trust) -> Result<Server, ClientError> {
        let wrong = || ClientError::Address(super::error::words(address));
        let url = Url::parse(address.trim()).map_err(|_| wrong())?;
        if url.scheme() != "https" || url.host_str().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        Ok(Server::new(Session::new(&url, trust, &self.limits, &self.user_agent())?))
    }
}

impl Server {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.session.name
    }

    /// All its documents that list images. With a seal, each has to be signed: clear-signed (`.sjson`), or beside it (`.json.gpg`).
    ///
    /// # Errors
    /// When it cannot be reached, is not believed, or answers nonsense.
    pub async fn documents(&self, seal: Option<&Arc<dyn Seal>>) -> Result<Vec<Document>, ClientError> {
        streams::documents(&self.session, seal).await
    }

    /// All images that its API shows to a guest, each with the name of its architecture.
    ///
    /// # Errors
    /// When it cannot be reached, is not believed, or answers nonsense.
    pub async fn images(&self) -> Result<Vec<(Offer, String)>, ClientError> {
        lxd::all(&self.session).await
    }

    /// Begins to fetch an image: see [`Client::deliver`].
    ///
    /// # Errors
    /// As there.
    pub async fn deliver(&self, offer: &Offer) -> Result<Delivery, ClientError> {
        match &offer.files {
            Files::Export(address) => export::deliver(&self.session, address.clone(), offer).await,
            Files::File(address) => direct::deliver(&self.session, address.clone(), offer).await,
            Files::Listed { metadata, root } => {
                streams::deliver(self.session.clone(), metadata.clone(), root.clone()).await
            }
        }
    }
}
