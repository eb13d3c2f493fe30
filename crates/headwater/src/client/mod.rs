//! Headwater as a client: asks other image servers what they have, takes their images, and brings them ours.
//!
//! ```no_run
//! # async fn example() -> Result<(), headwater::client::ClientError> {
//! use headwater::client::{Client, Limits, Origin, Protocol};
//! use headwater_formats::arch::Architecture;
//!
//! let client = Client::new(vec![Architecture::X86_64], Limits::default());
//! let origin = Origin::new(Protocol::SimpleStreams, "https://images.linuxcontainers.org", "debian/12")?;
//! let offer = client.find(&origin).await?;
//! println!("{} has {:?} bytes", offer.fingerprint, offer.size);
//! # Ok(()) }
//! ```
//!
//! There are four ways to get an image: from the API of LXD and Incus ([`lxd`]), from simplestreams ([`streams`]), from an address
//! whose headers name an image, and from the address of a file ([`direct`]). [`Client::find`] asks which image is meant;
//! [`Client::deliver`] fetches its bytes into readers, so that nothing here knows where they go. [`push`] is the other direction. Who wants
//! all that a server has asks a [`Server`] for its lists and, from any byte on, for its files.
//!
//! # Whom it trusts
//!
//! Only https is spoken, whatever a redirect says. A server is believed when it shows exactly the certificate that came with the
//! request, or, without one, a certificate that the system trusts for its name ([`trust`]). Who pulls for others presents nothing of his own, as daemons
//! do; what opens a private image is its secret. A mirror can have a [`credential`], which is shown to its upstream and to nobody else.
//! Everything that a server says is limited in length and time, and told to people shortened and without control characters.
//!
//! This room knows nothing of the catalog, of blobs, or of who asked for a download.

mod ask;
pub mod credential;
mod deliver;
pub mod direct;
mod error;
mod export;
mod gather;
mod join;
pub mod lxd;
mod origin;
pub mod push;
mod remote;
mod server;
pub mod streams;
pub mod trust;

use std::time::Duration;

use headwater_formats::arch::Architecture;

pub use deliver::{Arriving, Delivery, Pump};
pub use error::ClientError;
pub use origin::{About, Offer, Origin, Protocol};
pub use remote::ImageState;
pub use server::{Began, Body, Keep, Seal, Server, Validators};
pub use streams::StreamProducts;

use ask::Session;
use credential::Credential;
use trust::Trust;

/// How long other servers are waited for, and how much they may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Until a connection is there, its TLS handshake included.
    pub connect: Duration,
    /// Until the head of an answer comes.
    pub head: Duration,
    /// Between two pieces of a body, in either direction.
    pub stall: Duration,
    /// For a whole answer in JSON, so that one that trickles ends, too.
    pub document: Duration,
    /// Until the answer to an upload comes, after its last byte: daemons write the image down first.
    pub upload: Duration,
    /// Most bytes of an answer of the API.
    pub object_bytes: usize,
    /// Most bytes of a document of a stream, inflated.
    pub document_bytes: usize,
    /// Most redirects for one request.
    pub redirects: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            head: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            document: Duration::from_secs(600),
            upload: Duration::from_secs(600),
            object_bytes: 1 << 20,
            document_bytes: 64 << 20,
            redirects: 10,
        }
    }
}

/// Asks other servers.
#[derive(Debug, Clone)]
pub struct Client {
    architectures: Vec<Architecture>,
    limits: Limits,
}

impl Client {
    /// A client for machines of these architectures, best first: it is what a name means where it could mean several images.
    pub fn new(architectures: Vec<Architecture>, limits: Limits) -> Self {
        Self { architectures, limits }
    }

    /// Which image is meant, and what its server says of it. No image bytes move.
    ///
    /// # Errors
    /// When the server cannot be reached, is not believed, answers nonsense, or has no such image.
    pub async fn find(&self, origin: &Origin) -> Result<Offer, ClientError> {
        let session = self.session(origin)?;
        match origin.protocol {
            Protocol::Lxd | Protocol::Incus => lxd::find(&session, origin).await,
            Protocol::SimpleStreams => streams::find(&session, origin, self.native()).await,
            Protocol::Headers => direct::by_headers(&session, origin, &self.architectures).await,
            Protocol::Direct => direct::by_address(origin),
        }
    }

    /// Begins to fetch an image that [`Client::find`] found. What comes back has to be driven: see [`Delivery`].
    ///
    /// # Errors
    /// As in [`Client::find`]; what goes wrong later is told by the [`Pump`].
    pub async fn deliver(&self, origin: &Origin, offer: &Offer) -> Result<Delivery, ClientError> {
        Server::new(self.session(origin)?).deliver(offer).await
    }

    /// A server that is asked again and again, over connections that are kept.
    ///
    /// # Errors
    /// [`ClientError::Address`] for an address that is not https.
    pub fn server(&self, address: &str, trust: &Trust) -> Result<Server, ClientError> {
        self.server_as(&Credential::Nothing, address, trust)
    }

    /// The same as somebody who is known there.
    ///
    /// # Errors
    /// [`ClientError::Address`] for an address that is not https, [`ClientError::Credential`].
    pub fn server_as(&self, shown: &Credential, address: &str, trust: &Trust) -> Result<Server, ClientError> {
        let address = origin::address(address)?;
        Ok(Server::new(Session::new(&address, trust, shown, &self.limits, &self.user_agent())?))
    }

    fn session(&self, origin: &Origin) -> Result<Session, ClientError> {
        Session::new(&origin.server, &origin.trust, &Credential::Nothing, &self.limits, &self.user_agent())
    }

    fn native(&self) -> Architecture {
        self.architectures.first().copied().unwrap_or(Architecture::X86_64)
    }

    /// Names the machine where daemons name theirs, because servers choose by it which image an alias means.
    fn user_agent(&self) -> String {
        format!("Headwater/{} (Linux; {})", env!("CARGO_PKG_VERSION"), self.native().name())
    }
}
