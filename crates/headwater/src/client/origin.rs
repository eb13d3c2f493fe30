use std::collections::BTreeMap;
use std::str::FromStr;

use headwater_formats::digest::Fingerprint;
use headwater_formats::image::ImageType;
use headwater_formats::simplestreams::client::ListedFile;
use headwater_formats::timestamp::Timestamp;
use reqwest::Url;

use super::ClientError;
use super::trust::Trust;

/// How images are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// The API, as clients of LXD call it.
    Lxd,
    /// The same API, as clients of Incus call it.
    Incus,
    /// Documents that list images.
    SimpleStreams,
    /// The address of a file, whose SHA-256 is known.
    Direct,
    /// An address whose headers say where the file is, and its SHA-256: `image import https://…`.
    Headers,
}

impl Protocol {
    /// As requests and `update_source` name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lxd => "lxd",
            Self::Incus => "incus",
            Self::SimpleStreams => "simplestreams",
            Self::Direct | Self::Headers => "direct",
        }
    }
}

impl FromStr for Protocol {
    type Err = ClientError;

    /// The word of a request; empty is `lxd`, as old clients leave it out (LXD `lxd/images.go` `imgPostRemoteInfo`).
    fn from_str(text: &str) -> Result<Self, ClientError> {
        match text {
            "" | "lxd" => Ok(Self::Lxd),
            "incus" => Ok(Self::Incus),
            "simplestreams" => Ok(Self::SimpleStreams),
            "direct" => Ok(Self::Direct),
            "oci" => Err(ClientError::Refused(
                "images of OCI registries are no images of system containers or virtual machines, and are not kept here; \
                 use the registry as a remote of its own"
                    .to_owned(),
            )),
            other => Err(ClientError::Protocol(super::error::words(other))),
        }
    }
}

/// Where an image is, and which one.
#[derive(Debug, Clone)]
pub struct Origin {
    /// How it is asked for.
    pub protocol: Protocol,
    /// The server's address as it was given; the password in it, if any, is sent to that server.
    pub server: Url,
    /// Whom to believe.
    pub trust: Trust,
    /// An alias, or (the beginning of) a fingerprint. For [`Protocol::Direct`] the file's SHA-256; unused for [`Protocol::Headers`].
    pub name: String,
    /// What opens a private image.
    pub secret: Option<String>,
    /// The project on that server; empty leaves it to the server.
    pub project: String,
    /// Only an image of this type.
    pub image_type: Option<ImageType>,
}

impl Origin {
    /// The image of that name on a server that the system trusts.
    ///
    /// # Errors
    /// [`ClientError::Address`] for an address that is not https, [`ClientError::Nameless`].
    pub fn new(protocol: Protocol, server: &str, name: &str) -> Result<Self, ClientError> {
        let url = address(server)?;
        if name.is_empty() && protocol != Protocol::Headers {
            return Err(ClientError::Nameless);
        }
        Ok(Self {
            protocol,
            server: url,
            trust: Trust::System,
            name: name.to_owned(),
            secret: None,
            project: String::new(),
            image_type: None,
        })
    }
}

/// The address of a server that can be asked.
pub(super) fn address(text: &str) -> Result<Url, ClientError> {
    let wrong = || ClientError::Address(super::error::words(text));
    let url = Url::parse(text.trim()).map_err(|_| wrong())?;
    if url.scheme() != "https" || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong());
    }
    Ok(url)
}

/// An image that a server has, as it describes it.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Which image; the bytes have to fit.
    pub fingerprint: Fingerprint,
    /// Bytes of all files together, when the server says so; the bytes have to fit.
    pub size: Option<u64>,
    /// The name by which it was found, when that can lead to another image later.
    pub alias: Option<String>,
    /// What the server says of the image; `None` leaves it to the image's own metadata.
    pub about: Option<About>,
    pub(super) files: Files,
}

impl Offer {
    /// An image that a document lists.
    pub fn listed(fingerprint: Fingerprint, metadata: ListedFile, root: Option<ListedFile>) -> Self {
        let files = || std::iter::once(&metadata).chain(&root);
        let size =
            files().all(|file| file.size > 0).then(|| files().fold(0_u64, |sum, file| sum.saturating_add(file.size)));
        Self { fingerprint, size, alias: None, about: None, files: Files::Listed { metadata, root } }
    }
}

impl Offer {
    /// The metadata file, or the only one, and the root file, when a document lists them.
    pub fn files(&self) -> Option<(&ListedFile, Option<&ListedFile>)> {
        match &self.files {
            Files::Listed { metadata, root } => Some((metadata, root.as_ref())),
            Files::Export(_) | Files::File(_) => None,
        }
    }
}

/// What a server says of an image beside its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// All properties.
    pub properties: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it goes out of use.
    pub expires_at: Option<Timestamp>,
    /// What its file was called.
    pub filename: String,
    /// The names that lead to it there.
    pub aliases: Vec<(String, String)>,
    /// Of what type it is said to be.
    pub image_type: Option<ImageType>,
}

/// Where the bytes are.
#[derive(Debug, Clone)]
pub(super) enum Files {
    /// An export of the API.
    Export(Url),
    /// A unified image.
    File(Url),
    /// Files that a stream lists.
    Listed { metadata: ListedFile, root: Option<ListedFile> },
}
