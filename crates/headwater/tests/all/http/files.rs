//! The files that streams name: whole, in part, compared; to those who may have them.

use headwater::http::Connection;
use http::Method;

use super::kit::{Sample, Server, fingerprint, qcow2, squashfs};

async fn with_disk() -> (Server, String, Vec<u8>) {
    let server = Server::new().await;
    let disk = qcow2();
    server.publish(&[Sample::default().metadata(), disk.clone()]).await;
    let path = format!("/images/{}.qcow2", fingerprint(&[&disk]));
    (server, path, disk)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_immutable_and_never_encoded() {
    let (server, path, disk) = with_disk().await;
    let answer = server.get(&path, &["Accept-Encoding: gzip"]).await;
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &disk));
    for (name, value) in [
        ("content-type", "application/x-qemu-disk"),
        ("content-length", "262144"),
        ("cache-control", "public, max-age=31536000, immutable"),
        ("accept-ranges", "bytes"),
        ("content-encoding", ""),
        ("vary", ""),
        ("etag", &format!("\"{}\"", fingerprint(&[&disk]))),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    assert!(answer.header("last-modified").ends_with(" GMT"));
    let head = server.ask(&Connection::test_tls(), Method::HEAD, &path, &["Range: bytes=0-1"]).await;
    assert_eq!((head.status.as_u16(), &head.headers, head.body.len()), (200, &answer.headers, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_media_type_says_what_the_file_is() {
    let server = Server::new().await;
    let (metadata, root) = (Sample::default().metadata(), squashfs(1));
    server.publish(&[metadata.clone(), root.clone()]).await;
    for (bytes, extension, media_type) in
        [(&metadata, "tar", "application/x-tar"), (&root, "squashfs", "application/vnd.squashfs")]
    {
        let answer = server.get(&format!("/images/{}.{extension}", fingerprint(&[bytes])), &[]).await;
        assert_eq!((answer.header("content-type"), &answer.body), (media_type, bytes));
    }
    // The bytes are there, but not as what the address says that they are.
    let answer = server.get(&format!("/images/{}.tar.xz", fingerprint(&[&metadata])), &[]).await;
    answer.is_text(404, "there is no such file here; fetch the list of images again");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_file() {
    let (server, path, disk) = with_disk().await;
    let size = disk.len();
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=0-103", 0, 103),
        ("bytes=65536-", 65536, size - 1),
        ("bytes=-100", size - 100, size - 1),
        ("bytes=100-99999999999999999999", 100, size - 1),
    ] {
        let answer = server.get(&path, &[&format!("Range: {range}")]).await;
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (206, &disk[first..=last]), "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {first}-{last}/{size}"));
        assert_eq!(answer.header("content-length"), (last - first + 1).to_string());
    }
    for range in ["bytes=262144-", "bytes=300000-400000", "bytes=-0"] {
        let answer = server.get(&path, &[&format!("Range: {range}")]).await;
        answer.is_text(416, "the range lies outside the file, which has 262144 bytes");
        assert_eq!(answer.header("content-range"), "bytes */262144");
    }
    for lines in [
        &["Range: bytes=0-1,4-5"][..],
        &["Range: bytes=0-100,50-200"],
        &["Range: bytes=9-1"],
        &["Range: bytes=--1"],
        &["Range: pages=1-2"],
        &["Range: bytes=0-1", "Range: bytes=2-3"],
        &["Range: bytes=0-1", "If-Range: \"another\""],
        &["Range: bytes=0-1", "If-Range: Thu, 01 Jan 1970 00:00:00 GMT"],
    ] {
        let answer = server.get(&path, lines).await;
        assert_eq!(
            (answer.status.as_u16(), answer.body.len(), answer.header("content-range")),
            (200, size, ""),
            "{lines:?}"
        );
    }
    let etag = format!("If-Range: \"{}\"", fingerprint(&[&disk]));
    assert_eq!(server.get(&path, &["Range: bytes=0-1", &etag]).await.status, 206);
    let etag = format!("If-None-Match: \"{}\"", fingerprint(&[&disk]));
    assert_eq!(server.get(&path, &["Range: bytes=0-1", &etag]).await.status, 304);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_file_and_a_missing_one_are_told_alike() {
    let server = Server::new().await;
    let bytes = Sample::default().unified();
    server.publish_in("default", std::slice::from_ref(&bytes), &[], false).await;
    let hidden = server.get(&format!("/images/{}.tar", fingerprint(&[&bytes])), &[]).await;
    let missing = server.get(&format!("/images/{}.tar", "0".repeat(64)), &[]).await;
    assert_eq!((hidden.status.as_u16(), &hidden.headers, &hidden.body), (404, &missing.headers, &missing.body));
    // The same bytes, public somewhere else, may be had.
    server.make_project("team").await;
    server.publish_in("team", std::slice::from_ref(&bytes), &[], true).await;
    assert_eq!(server.get(&format!("/images/{}.tar", fingerprint(&[&bytes])), &[]).await.body, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_image_leaves_the_documents_at_once_and_its_files_later() {
    let (server, path, disk) = with_disk().await;
    let image = server.metadata("/1.0/images").await[0].as_str().unwrap().to_owned();
    let fingerprint = image.trim_start_matches("/1.0/images/").parse().unwrap();
    let default = headwater_formats::names::ProjectName::default_project();
    server.app.catalog.delete_image(&default, &fingerprint, super::kit::now()).await.unwrap();
    assert_eq!(server.get("/streams/v1/images.json", &[]).await.json()["products"], serde_json::json!({}));
    server.get(&image, &[]).await.is_api_error(404, "Image not found");
    assert_eq!(server.get(&path, &[]).await.body, disk);
}
