//! What comes in without TLS: public files and health are answered, everything else is refused in words.

use headwater::http::Connection;
use headwater::http::route::{Dialect, TABLE};
use http::Method;

use super::kit::{Sample, Server, fingerprint};

const TLS_ONLY: &str =
    "this is answered over https only; use https:// and the same port (a proxy in front has to speak https to it)";

#[tokio::test(flavor = "multi_thread")]
async fn no_document_and_no_part_of_the_api_is_answered_in_plain() {
    let server = Server::new().await;
    for row in TABLE.iter().filter(|row| !row.plain) {
        for method in [Method::GET, Method::POST, Method::HEAD, Method::DELETE] {
            let answer = server.ask(&Connection::test_plain(), method.clone(), row.example, &[]).await;
            match row.dialect {
                _ if method == Method::HEAD => assert_eq!(answer.status, 400),
                Dialect::Api => answer.is_api_error(400, TLS_ONLY),
                Dialect::Text => answer.is_text(400, TLS_ONLY),
            }
            assert_eq!(answer.header("location"), "", "a redirect could lead back here");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn public_files_are_answered_and_private_ones_are_not() {
    let server = Server::new().await;
    let (public, private) = (Sample::default().unified(), Sample { os: "Secret", ..Sample::default() }.unified());
    server.publish(std::slice::from_ref(&public)).await;
    server.publish_in("default", std::slice::from_ref(&private), &[], false).await;
    let path = format!("/images/{}.tar", fingerprint(&[&public]));
    for prefix in ["", "/p/default", "/only/os=debian", "/p/default/only/latest=1"] {
        assert_eq!(server.plain(&format!("{prefix}{path}"), &[]).await.body, public);
    }
    let part = server.plain(&path, &["Range: bytes=10-19"]).await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &public[10..20]));
    let head = server.ask(&Connection::test_plain(), Method::HEAD, &path, &[]).await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, public.len().to_string().as_str()));
    let post = server.ask(&Connection::test_plain(), Method::POST, &path, &[]).await;
    post.is_text(405, "POST is not known here; use GET, HEAD");
    let answer = server.plain(&format!("/images/{}.tar", fingerprint(&[&private])), &[]).await;
    answer.is_text(404, "there is no such file here; fetch the list of images again");
    server.plain("/healthz", &[]).await.is_text(200, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_in_clear_are_told_even_where_none_are_needed() {
    let server = Server::new().await;
    let sentence =
        "the request carries credentials in clear; use https:// and the same port, and consider them known to others";
    let path = format!("/images/{}.tar", "0".repeat(64));
    server.plain(&path, &["Authorization: Basic YTpi"]).await.is_text(400, sentence);
    server.plain("/1.0/images", &["Authorization: Bearer x"]).await.is_api_error(400, sentence);
}
