//! Images behind an address: named by headers, or by their hash.

use headwater::client::Protocol;

use super::kit::{Here, Reply, Stub, sha256};
use crate::http::kit::Sample;

fn named(headers: &[(&str, &str)]) -> Reply {
    Reply::new("200 OK", headers, b"")
}

/// A server that names an image by headers of this family.
async fn stub(family: &'static str) -> Stub {
    let bytes = Sample::default().unified();
    Stub::new(move |asked| match (asked.method.as_str(), asked.path()) {
        ("HEAD", "/latest") => {
            let (hash, url) = (format!("{family}-Image-Hash"), format!("{family}-Image-URL"));
            named(&[(&hash, &sha256(&bytes)), (&url, "/files/image.tar")])
        }
        ("GET", "/files/image.tar") => Reply::file(&bytes),
        _ => Reply::error(404, "x"),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_either_family_name_an_image() {
    for family in ["LXD", "Incus"] {
        let here = Here::new().await;
        let stub = stub(family).await;
        let mut origin = stub.origin(Protocol::Headers, "");
        origin.server.set_path("/latest");
        let fetched = here.fetch(origin).await.unwrap();
        let image = &fetched.image.image;
        assert_eq!(image.fingerprint.to_string(), sha256(&Sample::default().unified()));
        assert_eq!(image.property("os"), Some("Debian"), "what metadata.yaml says");
        assert_eq!((image.filename.as_str(), image.update_source.as_ref()), ("image.tar", None));
        let asked = &stub.asked()[0];
        for name in ["lxd-server-architectures", "incus-server-architectures"] {
            assert_eq!(asked.header(name), Some("x86_64"));
        }
        assert_eq!(asked.header("lxd-server-version"), Some(env!("CARGO_PKG_VERSION")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_taken_by_its_hash_and_no_other() {
    let here = Here::new().await;
    let stub = stub("LXD").await;
    let mut origin = stub.origin(Protocol::Direct, &"0".repeat(64));
    origin.server.set_path("/files/image.tar");
    here.fails(origin.clone(), "fingerprint").await;
    origin.name = "abc".into();
    here.fails(origin.clone(), "give all 64 characters").await;
    origin.name = sha256(&Sample::default().unified());
    here.fetch(origin).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_names_no_image_is_told() {
    let hash = "a".repeat(64);
    let cases = [
        ("without the header LXD-Image-Hash", named(&[("LXD-Image-URL", "https://x/")])),
        ("without the header LXD-Image-URL", named(&[("LXD-Image-Hash", &hash)])),
        ("by something that is no SHA-256", named(&[("LXD-Image-Hash", "abc"), ("LXD-Image-URL", "https://x/")])),
        ("at an address that is not https", named(&[("LXD-Image-Hash", &hash), ("LXD-Image-URL", "http://x/")])),
        ("answers 404 Not Found", Reply::new("404 Not Found", &[], b"")),
        ("as if in a circle", Reply::redirect("/")),
    ];
    let here = Here::new().await;
    for (words, reply) in cases {
        let stub = Stub::new(move |_| reply.clone()).await;
        here.fails(stub.origin(Protocol::Headers, ""), words).await;
    }
}
