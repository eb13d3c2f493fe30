//! Images behind an address: a file whose SHA-256 is known, or an address whose headers name such a file
//! (LXD `lxd/images.go` `imgPostURLInfo`, `lxd/daemon_images.go`).

use headwater_formats::arch::Architecture;
use headwater_formats::digest::Fingerprint;
use http::HeaderMap;
use http::header::CONTENT_DISPOSITION;
use reqwest::{Method, Url};

use super::ask::Session;
use super::deliver::{Arriving, Delivery, channel};
use super::origin::Files;
use super::{ClientError, Offer, Origin};

/// The file itself, whose SHA-256 was given.
pub(super) fn by_address(origin: &Origin) -> Result<Offer, ClientError> {
    let fingerprint: Fingerprint = origin.name.parse().map_err(|_| {
        ClientError::Refused(
            "a direct download needs the SHA-256 of the file as its fingerprint; give all 64 characters".to_owned(),
        )
    })?;
    Ok(offer(fingerprint, origin.server.clone()))
}

/// Asks the address which file is meant, telling it what this server is, in the words of LXD and of Incus.
pub(super) async fn by_headers(
    session: &Session,
    origin: &Origin,
    architectures: &[Architecture],
) -> Result<Offer, ClientError> {
    let names = architectures.iter().map(|architecture| architecture.name()).collect::<Vec<_>>().join(", ");
    let mut request = session.request(Method::HEAD, origin.server.clone());
    for family in ["LXD", "Incus"] {
        request = request
            .header(format!("{family}-Server-Architectures"), names.as_str())
            .header(format!("{family}-Server-Version"), env!("CARGO_PKG_VERSION"));
    }
    let response = session.send(request).await?;
    if response.status() != http::StatusCode::OK {
        return Err(session.refusal(response).await);
    }
    let told = |what: &str| {
        header(response.headers(), what).ok_or_else(|| {
            let what =
                format!("answers without the header LXD-Image-{what} or Incus-Image-{what}, so that it names no image");
            ClientError::nonsense(&session.name, what)
        })
    };
    let (hash, address) = (told("Hash")?, told("URL")?);
    let fingerprint: Fingerprint = hash
        .to_ascii_lowercase()
        .parse()
        .map_err(|_| ClientError::nonsense(&session.name, "names an image by something that is no SHA-256"))?;
    let address = response
        .url()
        .join(&address)
        .ok()
        .filter(|url| url.scheme() == "https")
        .ok_or_else(|| ClientError::nonsense(&session.name, "names an image at an address that is not https"))?;
    Ok(offer(fingerprint, address))
}

fn header(headers: &HeaderMap, what: &str) -> Option<String> {
    ["lxd", "incus"]
        .iter()
        .find_map(|family| headers.get(format!("{family}-image-{}", what.to_ascii_lowercase())))
        .and_then(|value| value.to_str().ok())
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
}

fn offer(fingerprint: Fingerprint, address: Url) -> Offer {
    Offer { fingerprint, size: None, alias: None, about: None, files: Files::File(address) }
}

/// Fetches a unified image.
pub(super) async fn deliver(session: &Session, address: Url, offer: &Offer) -> Result<Delivery, ClientError> {
    let last = address.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default().to_owned();
    let response = session.send(session.request(Method::GET, address)).await?;
    if response.status() != http::StatusCode::OK {
        return Err(session.refusal(response).await);
    }
    let (mut sender, reader) = channel();
    let announced = offer.size.or(response.content_length());
    let first = Arriving {
        label: "",
        name: filename(response.headers()).unwrap_or(last),
        size: response.content_length().or(offer.size),
        reader,
    };
    let session = session.clone();
    let pump = async move { sender.body(&session, response, announced, None).await };
    Ok(Delivery { first, root: None, pump: Box::pin(pump) })
}

/// The name under which the server wants the file to be saved.
pub(super) fn filename(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_DISPOSITION)?.to_str().ok()?;
    let name = value.split(';').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case("filename").then(|| value.trim().trim_matches('"').to_owned())
    })?;
    Some(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_the_header_as_daemons_write_it() {
        for (text, expected) in [
            ("inline;filename=abc.tar.gz", Some("abc.tar.gz")),
            ("attachment; FileName=\"a b.tar\"", Some("a b.tar")),
            ("inline", None),
            ("inline;filename=", None),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_DISPOSITION, text.parse().unwrap())]);
            assert_eq!(filename(&headers).as_deref(), expected, "{text}");
        }
    }
}
