//! Finding an image in simplestreams documents, and fetching the files that they list (LXD `client/simplestreams_images.go`).
//!
//! Items are fetched over https alone: the detour over plain HTTP that Go clients make is for caches between.

use std::sync::Arc;

use headwater_formats::arch::Architecture;
use headwater_formats::digest::FingerprintPrefix;
use headwater_formats::simplestreams::client::{ListedFile, ListedImage, Listing};
use headwater_formats::simplestreams::parse::{self, Document, ParseError, ProductEntry, Products, RelativePath};
use headwater_formats::simplestreams::{Family, INDEX_PATH};
use reqwest::Url;

use super::ask::Session;
use super::deliver::{Arriving, Delivery, channel};
use super::origin::{About, Files};
use super::{ClientError, Offer, Origin, Seal};

/// Most documents of one server that are fetched.
const MAX_DOCUMENTS: usize = 100;

pub(super) async fn find(session: &Session, origin: &Origin, native: Architecture) -> Result<Offer, ClientError> {
    let listing = listing(session).await?;
    let missing = || ClientError::NotFound { server: session.name.clone(), name: super::error::words(&origin.name) };
    let (image, alias) = match listing.resolve(&origin.name, native, origin.image_type) {
        Some(image) => (image, Some(origin.name.clone())),
        None => {
            let prefix: FingerprintPrefix = origin.name.parse().map_err(|_| missing())?;
            (by_fingerprint(session, &listing, &prefix)?.ok_or_else(missing)?, None)
        }
    };
    if let Some(wanted) = origin.image_type
        && wanted != image.image_type
    {
        let what = format!("lists {:?} as a {}, where a {wanted} was asked for", origin.name, image.image_type);
        return Err(ClientError::nonsense(&session.name, what));
    }
    let sizes = std::iter::once(&image.metadata).chain(&image.root).all(|file| file.size > 0);
    Ok(Offer {
        fingerprint: image.fingerprint,
        size: sizes.then(|| image.size()),
        alias,
        about: Some(About {
            properties: image.properties.clone(),
            created_at: Some(image.created_at),
            expires_at: image.expires_at,
            filename: image.filename().to_owned(),
            aliases: image.aliases.iter().map(|name| (name.clone(), String::new())).collect(),
            image_type: Some(image.image_type),
        }),
        files: Files::Listed { metadata: image.metadata.clone(), root: image.root.clone() },
    })
}

/// The image whose fingerprint begins so. One that is listed several times, for LXD and for Incus, is one image here.
fn by_fingerprint<'a>(
    session: &Session,
    listing: &'a Listing,
    prefix: &FingerprintPrefix,
) -> Result<Option<&'a ListedImage>, ClientError> {
    let mut fits = listing.images.iter().filter(|image| image.fingerprint.to_string().starts_with(prefix.as_str()));
    let Some(first) = fits.next() else { return Ok(None) };
    if fits.any(|other| other.fingerprint != first.fingerprint) {
        let what = format!("has more than one image whose fingerprint begins with {prefix}");
        return Err(ClientError::nonsense(&session.name, what));
    }
    Ok(Some(first))
}

async fn listing(session: &Session) -> Result<Listing, ClientError> {
    let documents = documents(session).await?;
    let listed = tokio::task::spawn_blocking(move || Listing::of(&documents, Family::Any)).await;
    listed.map_err(|error| ClientError::Setup(error.to_string()))
}

/// All documents with images that the index names.
async fn documents(session: &Session) -> Result<Vec<Document>, ClientError> {
    let mut documents = Vec::new();
    for path in paths(session, None).await? {
        let mut products = products(session, &path, None).await?;
        // Large documents take a while to read: not on a thread that serves others.
        let parsed = tokio::task::spawn_blocking(move || {
            let entries = products.by_ref().collect::<Result<_, _>>()?;
            Ok(Document { products: entries, ..products.head().clone() })
        });
        documents.push(parsed.await.map_err(|error| ClientError::Setup(error.to_string()))??);
    }
    Ok(documents)
}

/// Where the documents with images are, as the index says.
pub(super) async fn paths(session: &Session, seal: Option<&Arc<dyn Seal>>) -> Result<Vec<RelativePath>, ClientError> {
    let index = text(session, INDEX_PATH, seal).await?;
    let index = parse::index(&index).map_err(|error| unreadable(&session.name, &error))?;
    let paths: Vec<RelativePath> = index.image_streams().map(|(_, path)| path.clone()).collect();
    if paths.len() > MAX_DOCUMENTS {
        let what = format!("lists images in more than {MAX_DOCUMENTS} documents, which is the limit");
        return Err(ClientError::nonsense(&session.name, what));
    }
    Ok(paths)
}

/// One of these documents, to be read product by product.
pub(super) async fn products(
    session: &Session,
    path: &RelativePath,
    seal: Option<&Arc<dyn Seal>>,
) -> Result<StreamProducts, ClientError> {
    let text = text(session, path.as_str(), seal).await?;
    let found = tokio::task::spawn_blocking(move || Products::read(text)).await;
    let found = found.map_err(|error| ClientError::Setup(error.to_string()))?;
    let products = found.map_err(|error| unreadable(&session.name, &error))?;
    Ok(StreamProducts { server: session.name.clone(), products })
}

fn unreadable(server: &str, error: &ParseError) -> ClientError {
    ClientError::nonsense(server, format!("has a list of images that cannot be read: {error}"))
}

/// The products of a document of a server, one after the other, in the order of their keys. Each becomes fields when its turn comes, which takes a
/// moment: to be done where that is allowed.
#[derive(Debug)]
pub struct StreamProducts {
    server: String,
    products: Products<Vec<u8>>,
}

impl StreamProducts {
    /// The document without its products.
    pub fn head(&self) -> &Document {
        self.products.head()
    }
}

impl Iterator for StreamProducts {
    type Item = Result<(String, ProductEntry), ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.products.next()?.map_err(|error| unreadable(&self.server, &error)))
    }
}

/// A document, without its signature. With a seal it has to be signed: the clear-signed one is asked for first, because a text and its signature beside it
/// cannot be asked for at once. A signed index may name documents in either form (python-simplestreams `util.py` `read_signed`, `signjson_file`).
async fn text(session: &Session, path: &str, seal: Option<&Arc<dyn Seal>>) -> Result<Vec<u8>, ClientError> {
    let address = |path: &str| below(session.base(), path);
    let Some(seal) = seal else { return session.document(address(path)).await };
    let stem = path.strip_suffix(".sjson").or_else(|| path.strip_suffix(".json")).unwrap_or(path);
    let unsigned = |why: String| {
        let what = format!("has a list of images at {:?} that is not believed: {why}", super::error::words(path));
        ClientError::nonsense(&session.name, what)
    };
    let seal = Arc::clone(seal);
    let opened = match session.document(address(&format!("{stem}.sjson"))).await {
        Ok(signed) => tokio::task::spawn_blocking(move || seal.open(&signed)).await,
        Err(error) if error.is_refusal() && !path.ends_with(".sjson") => {
            let plain = session.document(address(path)).await?;
            let signature = match session.document(address(&format!("{path}.gpg"))).await {
                Ok(signature) => signature,
                Err(error) if error.is_refusal() => return Err(unsigned("it is not signed".to_owned())),
                Err(error) => return Err(error),
            };
            tokio::task::spawn_blocking(move || seal.check(&plain, &signature).map(|()| plain)).await
        }
        Err(error) => return Err(error),
    };
    opened.map_err(|error| ClientError::Setup(error.to_string()))?.map_err(unsigned)
}

/// The address of a path in a document: below the address that people configure, whose query stays.
pub(super) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/').filter(|part| !part.is_empty() && *part != "."));
    }
    url
}

/// Fetches the files one after the other; each has to have the length and the hash that its list says.
pub(super) async fn deliver(
    session: Session,
    metadata: ListedFile,
    root: Option<ListedFile>,
) -> Result<Delivery, ClientError> {
    let (mut first_sender, first) = channel();
    let split = root.is_some();
    let label = |root: bool| match (split, root) {
        (false, _) => "",
        (true, false) => "metadata",
        (true, true) => "rootfs",
    };
    let arriving = |reader, file: &ListedFile, root| Arriving {
        label: label(root),
        name: file.path.file_name().to_owned(),
        size: Some(file.size).filter(|size| *size > 0),
        reader,
    };
    let first = arriving(first, &metadata, false);
    let (mut root_sender, root) = match root {
        Some(root) => {
            let (sender, reader) = channel();
            let arriving = arriving(reader, &root, true);
            (Some((sender, root)), Some(arriving))
        }
        None => (None, None),
    };
    let pump = async move {
        let first =
            async { first_sender.file(&session, below(session.base(), metadata.path.as_str()), &metadata).await };
        first.await?;
        if let Some((sender, root)) = &mut root_sender {
            sender.file(&session, below(session.base(), root.path.as_str()), root).await?;
        }
        Ok(())
    };
    Ok(Delivery { first, root, pump: Box::pin(pump) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_below_the_base_and_its_query_stays() {
        for (base, expected) in [
            ("https://h", "https://h/streams/v1/index.json"),
            ("https://h/", "https://h/streams/v1/index.json"),
            ("https://h/t/hw_x/", "https://h/t/hw_x/streams/v1/index.json"),
            ("https://h/p?token=x", "https://h/p/streams/v1/index.json?token=x"),
        ] {
            assert_eq!(below(&Url::parse(base).unwrap(), INDEX_PATH).as_str(), expected);
        }
        let odd = below(&Url::parse("https://h").unwrap(), "images/20240101_07:42/a%3Ab?.tar");
        assert_eq!(odd.as_str(), "https://h/images/20240101_07:42/a%253Ab%3F.tar", "as LXD joins it");
    }
}
