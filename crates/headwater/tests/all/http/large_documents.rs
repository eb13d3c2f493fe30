//! Documents that are too large to be kept whole: sent piece by piece from what is kept of them.

use std::io::Read;
use std::sync::Arc;

use headwater::auth::Role;
use headwater::documents::{self, Form, Kind, Listings, SMALL, Stream};
use headwater::http::body::{Body, Part};
use headwater::http::read_body::ReadBody;
use headwater::http::{Connection, Settings};
use headwater_formats::names::ProjectName;
use headwater_formats::simplestreams::Family;
use headwater_formats::simplestreams::render::FilesAt;
use http::Method;
use http_body_util::BodyExt;

use super::kit::{Server, listed, now};
use super::people::May;
use super::private_streams::{LXD, paths};

fn unzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

async fn publish(server: &Server, number: u32) {
    let mut new = listed(number);
    for (key, value) in [("os", "Debian".to_owned()), ("release", format!("r{}", number % 300))] {
        new.image.properties.insert(key.to_owned(), value);
    }
    new.image.created_at = now().plus_seconds(60 * i64::from(number / 300));
    server.app.catalog.commit_image(&new, now(), || Ok(())).await.unwrap();
}

/// With a document of more than [`SMALL`].
async fn server() -> Server {
    let server = Server::new().await;
    for number in 0..900 {
        publish(&server, number).await;
    }
    server
}

async fn whole(server: &Server) -> documents::Documents {
    let viewer = headwater::auth::Viewer::guest();
    let stream = Stream::of_project(&viewer, ProjectName::default_project(), Default::default(), Family::Lxd);
    documents::draft(&server.app.catalog, &stream).await.unwrap().placed(&FilesAt::IMAGES)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_document_is_sent_in_either_form_with_its_length() {
    let server = server().await;
    let path = "/streams/v1/images.json";
    let expected = whole(&server).await;
    assert!(expected.products.len() as u64 > SMALL, "{} bytes", expected.products.len());
    let plain = server.get(path, &[LXD]).await;
    let gzip = server.get(path, &[LXD, "Accept-Encoding: gzip"]).await;
    assert!(plain.body == expected.products && unzip(&gzip.body) == expected.products);
    for answer in [&plain, &gzip] {
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    }
    let tag = format!("If-None-Match: {}", gzip.header("etag"));
    let again = server.get(path, &[LXD, "Accept-Encoding: gzip", &tag]).await;
    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
    assert_ne!(plain.header("etag"), gzip.header("etag"));
    let head = server.ask(&Connection::test_tls(), Method::HEAD, path, &[LXD, "Accept-Encoding: gzip"]).await;
    assert_eq!((&head.headers, head.body.len()), (&gzip.headers, 0));

    publish(&server, 1000).await;
    let after = server.get(path, &[LXD, "Accept-Encoding: gzip", &tag]).await;
    let expected = whole(&server).await;
    assert!(after.status == 200 && unzip(&after.body) == expected.products);
    // A server that starts now sends the same.
    let other = server.again(Settings::default(), now).get(path, &[LXD, "Accept-Encoding: gzip"]).await;
    assert!(other.body == after.body);
    assert_eq!(other.headers, after.headers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_document_names_signed_addresses_where_it_has_to() {
    let server = server().await;
    let (secret, _) = server.token("ci", May::be("default", Role::Viewer)).await;
    let path = format!("/t/{}/streams/v1/images.json", secret.expose());
    let plain = server.get(&path, &[LXD]).await;
    let gzip = server.get(&path, &[LXD, "Accept-Encoding: gzip"]).await;
    assert_eq!((plain.status.as_u16(), gzip.status.as_u16()), (200, 200));
    assert_eq!(plain.header("content-length"), plain.body.len().to_string());
    assert!(unzip(&gzip.body) == plain.body);
    let all = paths(&plain.json());
    assert_eq!(all.len(), 900);
    assert!(all.iter().all(|path| path.starts_with("../../f/")), "{}", all[0]);
    let moved = all[0].rsplit_once('/').unwrap().0.to_owned() + "/";
    let expected =
        String::from_utf8(whole(&server).await.products).unwrap().replace("\"images/", &format!("\"{moved}"));
    assert!(plain.text() == expected);
    let again = server.get(&path, &[LXD, &format!("If-None-Match: {}", plain.header("etag"))]).await;
    assert_eq!(again.status, 304);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_can_be_sent_with_something_before_and_after_it() {
    let server = server().await;
    let kept = Listings::new(1 << 20, Arc::new(tempfile::tempfile));
    let viewer = headwater::auth::Viewer::guest();
    let stream = Stream::of_project(&viewer, ProjectName::default_project(), Default::default(), Family::Lxd);
    let snapshot = kept.get(&server.app.catalog, &stream).await.unwrap();
    let expected = [b"before\n", &whole(&server).await.products[..], b"\nafter"].concat();
    for form in [Form::Plain, Form::Gzip] {
        let (reader, length) = snapshot.between(Kind::Products, form, b"before\n", b"\nafter").unwrap();
        let body = Body::parts([Part::Read(ReadBody::sized(reader, length, Arc::default()))]);
        let told = body.length().unwrap();
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len() as u64, told);
        assert!(if form == Form::Gzip { unzip(&bytes) } else { bytes.to_vec() } == expected);
    }
}
