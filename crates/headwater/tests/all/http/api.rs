//! The guest half of the LXD/Incus API, in the exact JSON that clients read.

use serde_json::{Value, json};

use super::kit::{Sample, Server, fingerprint, qcow2, squashfs};

const AMD64: &str = "User-Agent: LXD 5.0.2 (Linux; x86_64; 6.1; Debian GNU/Linux; 12)";
const ARM64: &str = "User-Agent: Incus 6.0.4 (Linux; aarch64; 6.1; Debian GNU/Linux; 12)";

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_open_to_guests() {
    let server = Server::new().await;
    assert_eq!(server.metadata("/").await, json!(["/1.0"]));
    let found = server.metadata("/1.0?project=default").await;
    assert_eq!(found["auth"], "untrusted");
    assert_eq!(found["auth_methods"], json!(["tls"]));
    assert_eq!(found["public"], false);
    assert_eq!(found["config"], json!({}));
    let extensions = strings(&found["api_extensions"]);
    assert!(extensions.contains(&"api_filtering"));
    for lie in ["clustering", "instances", "image_registries"] {
        assert!(!extensions.contains(&lie), "{lie}");
    }
    let body = server.get("/", &[]).await.text().to_owned();
    assert_eq!(
        body,
        "{\"type\":\"sync\",\"status\":\"Success\",\"status_code\":200,\"operation\":\"\",\"error_code\":0,\"error\":\"\",\
         \"metadata\":[\"/1.0\"]}\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_by_any_prefix_with_all_its_fields() {
    let server = Server::new().await;
    let bytes = Sample::default().unified();
    let print = server.publish_in("default", std::slice::from_ref(&bytes), &["mine"], true).await;
    assert_eq!(print, fingerprint(&[&bytes]));
    for prefix in [&print[..], &print[..12], &print[..1]] {
        let answer = server.get(&format!("/1.0/images/{prefix}?secret=whatever"), &[]).await;
        let image = &answer.json()["metadata"];
        assert_eq!(answer.header("etag").len(), 66);
        assert_eq!(image["fingerprint"], print);
        assert_eq!(image["size"], bytes.len());
        assert_eq!(image["type"], "container");
        assert_eq!(image["architecture"], "x86_64");
        assert_eq!(image["created_at"], "2025-01-01T07:42:00Z");
        assert_eq!(image["expires_at"], "0001-01-01T00:00:00Z");
        assert_eq!(image["uploaded_at"], "2025-10-09T08:53:20Z");
        assert_eq!(
            (&image["public"], &image["cached"], &image["auto_update"]),
            (&true.into(), &false.into(), &false.into())
        );
        assert_eq!((&image["project"], &image["profiles"]), (&"default".into(), &json!(["default"])));
        assert_eq!(image["properties"]["release"], "bookworm");
        let names: Vec<&str> =
            image["aliases"].as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"mine") && names.contains(&"debian/12"), "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_of_several_is_told_and_a_hidden_one_is_not() {
    let server = Server::new().await;
    let mut seen = Vec::new();
    // Two of seventeen begin with the same character.
    for number in 0..17 {
        let serial: &'static str = format!("20250101_07:{number:02}").leak();
        seen.push(server.publish(&[Sample { serial, ..Sample::default() }.unified()]).await);
    }
    seen.sort();
    let twin = seen.windows(2).find(|pair| pair[0][..1] == pair[1][..1]).unwrap();
    server.get(&format!("/1.0/images/{}", &twin[0][..1]), &[]).await.is_api_error(400, "More than one image matches");
    let private = Sample { os: "Secret", ..Sample::default() }.unified();
    let private = server.publish_in("default", &[private], &["hidden"], false).await;
    for (hidden, missing) in [
        (format!("/1.0/images/{private}"), format!("/1.0/images/{}", "0".repeat(64))),
        (format!("/1.0/images/{}", &private[..12]), "/1.0/images/000000000000".to_owned()),
        (format!("/1.0/images/{private}/export?secret=x"), format!("/1.0/images/{}/export?secret=x", "0".repeat(64))),
        ("/1.0/images/aliases/hidden".to_owned(), "/1.0/images/aliases/missing".to_owned()),
        ("/1.0/images/aliases/secret/bookworm".to_owned(), "/1.0/images/aliases/missing".to_owned()),
    ] {
        let (hidden, missing) = (server.get(&hidden, &[]).await, server.get(&missing, &[]).await);
        assert_eq!((hidden.status.as_u16(), &hidden.headers, &hidden.body), (404, &missing.headers, &missing.body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_in_the_order_of_fingerprints_filtered_and_by_project() {
    let server = Server::new().await;
    let debian = server.publish(&[Sample::default().unified()]).await;
    let alpine = server.publish(&[Sample { os: "Alpine", release: "3.20", ..Sample::default() }.unified()]).await;
    let machine = server.publish(&[Sample { os: "Arch", ..Sample::default() }.metadata(), qcow2()]).await;
    server.publish_in("default", &[Sample { os: "Secret", ..Sample::default() }.unified()], &[], false).await;
    let mut all = vec![&debian, &alpine, &machine];
    all.sort();
    let address = |print: &String| format!("/1.0/images/{print}");
    let expected: Vec<String> = all.iter().map(|print| address(print)).collect();
    assert_eq!(strings(&server.metadata("/1.0/images").await), expected);
    assert_eq!(strings(&server.metadata("/1.0/images?recursion=0&filter=&project=default").await), expected);
    assert_eq!(strings(&server.metadata("/1.0/images?recursion=x").await), expected);
    let objects = server.metadata("/1.0/images?recursion=1").await;
    let prints: Vec<&str> = objects.as_array().unwrap().iter().map(|o| o["fingerprint"].as_str().unwrap()).collect();
    assert_eq!(prints, all);
    assert_eq!(objects[0], server.metadata(&format!("/1.0/images/{}", all[0])).await);
    for (filter, found) in [
        ("properties.os+eq+debian", vec![&debian]),
        ("properties.os+eq+DEBIAN%7Calpine", vec![&debian, &alpine]),
        ("properties.os+eq+debian,alpine", vec![&debian, &alpine]),
        ("type+eq+virtual-machine", vec![&machine]),
        ("not+type+eq+container", vec![&machine]),
        ("type+eq+container+and+properties.release+eq+3.20", vec![&alpine]),
        ("public+eq+true", vec![&debian, &alpine, &machine]),
        ("public+eq+false", vec![]),
        ("architecture+eq+amd64", vec![&debian, &alpine, &machine]),
        ("nonsense+eq+1", vec![]),
    ] {
        let mut found: Vec<String> = found.into_iter().map(address).collect();
        found.sort();
        assert_eq!(strings(&server.metadata(&format!("/1.0/images?filter={filter}")).await), found, "{filter}");
    }
    server.make_project("team").await;
    server.get("/1.0/images?project=team", &[]).await.is_api_error(404, "Project not found");
    let shared = server.publish_in("team", &[Sample::default().unified()], &[], true).await;
    let expected = [format!("/1.0/images/{shared}?project=team")];
    assert_eq!(strings(&server.metadata("/1.0/images?project=team").await), expected);
    assert_eq!(server.metadata(&format!("/1.0/images/{shared}?project=team")).await["project"], "team");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_several_pages_is_whole() {
    let server = Server::new().await;
    for number in 0..405u32 {
        let image = crate::http::kit::listed(number);
        server.app.catalog.commit_image(&image, super::kit::now(), || Ok(())).await.unwrap();
    }
    let answer = server.get("/1.0/images?recursion=1", &[]).await;
    assert_eq!(answer.header("content-length"), "", "sent page by page");
    let json = answer.json();
    let prints: Vec<&str> =
        json["metadata"].as_array().unwrap().iter().map(|o| o["fingerprint"].as_str().unwrap()).collect();
    assert_eq!(prints.len(), 405);
    assert!(prints.is_sorted());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unified_image_is_exported_under_a_name_with_a_dot() {
    let server = Server::new().await;
    let bytes = Sample::default().unified();
    let print = server.publish(std::slice::from_ref(&bytes)).await;
    let path = format!("/1.0/images/{}/export", &print[..12]);
    let answer = server.get(&path, &["Accept-Encoding: gzip"]).await;
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &bytes));
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        ("content-disposition", &format!("inline;filename={print}.tar")),
        ("accept-ranges", "bytes"),
        ("last-modified", "Thu, 09 Oct 2025 08:53:20 GMT"),
        ("content-encoding", ""),
        ("content-length", &bytes.len().to_string()),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    let part = server.get(&path, &["Range: bytes=100-199"]).await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &bytes[100..200]));
    assert_eq!(server.metadata(&format!("/1.0/images/{print}")).await["last_used_at"], "0001-01-01T00:00:00Z");
    server.state.flush_used().await;
    assert_eq!(server.metadata(&format!("/1.0/images/{print}")).await["last_used_at"], "2025-10-09T08:53:20Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_image_is_exported_as_a_form_of_known_length() {
    let server = Server::new().await;
    for (root, field, extension) in [(squashfs(1), "rootfs", "squashfs"), (qcow2(), "rootfs.img", "qcow2")] {
        let metadata = Sample::default().metadata();
        let print = server.publish(&[metadata.clone(), root.clone()]).await;
        assert_eq!(print, fingerprint(&[&metadata, &root]));
        let answer = server.get(&format!("/1.0/images/{print}/export"), &["Range: bytes=0-9"]).await;
        assert_eq!(answer.status, 200);
        let boundary = answer.header("content-type").strip_prefix("multipart/form-data; boundary=").unwrap().to_owned();
        assert_eq!(boundary.len(), 60);
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        let mut expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"metadata\"; filename=\"meta-{print}.tar\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        expected.extend(&metadata);
        expected.extend(
            format!(
                "\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{print}.{extension}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n"
            )
            .into_bytes(),
        );
        expected.extend(&root);
        expected.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
        assert!(answer.body == expected);
        let again = server.get(&format!("/1.0/images/{print}/export"), &[]).await;
        assert!(again.body == expected, "the boundary moved");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_whose_bytes_are_lost_is_told_without_internals() {
    let server = Server::new().await;
    let print = server.publish(&[Sample::default().unified()]).await;
    assert_eq!(server.app.blobs.delete(&print.parse().unwrap()).unwrap(), headwater::blobs::Deleted::Gone);
    let answer = server.get(&format!("/1.0/images/{print}/export"), &[]).await;
    answer.is_api_error(500, "the server failed to answer; its log says why");
    let answer = server.get(&format!("/images/{print}.tar"), &[]).await;
    answer.is_text(500, "the server failed to answer; its log says why");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_leads_to_the_newest_image_for_the_machine_that_asks() {
    let server = Server::new().await;
    server.publish(&[Sample { serial: "20240101_00:00", ..Sample::default() }.unified()]).await;
    let newest = server.publish(&[Sample::default().unified()]).await;
    let arm = server.publish(&[Sample { architecture: "aarch64", ..Sample::default() }.unified()]).await;
    for (name, agent, target) in [
        ("debian/12", AMD64, &newest),
        ("debian%2F12", AMD64, &newest),
        ("debian/bookworm", ARM64, &arm),
        ("debian/bookworm/default", ARM64, &arm),
        // Nobody says for what machine: the server's own.
        ("debian/12", "User-Agent: curl/8", &newest),
        // The name says it, whoever asks.
        ("debian/12/arm64", AMD64, &arm),
        ("debian/12/x86_64", ARM64, &newest),
    ] {
        let answer = server.get(&format!("/1.0/images/aliases/{name}"), &[agent]).await;
        let entry = &answer.json()["metadata"];
        assert_eq!((&entry["target"], &entry["type"]), (&json!(target), &"container".into()), "{name} {agent}");
        assert_eq!(entry["name"], name.replace("%2F", "/"));
        assert_eq!((answer.header("etag").len(), answer.header("vary")), (66, "User-Agent"));
    }
    server.get("/1.0/images/aliases/debian/12/s390x", &[AMD64]).await.is_api_error(404, "Image alias not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_list_the_aliases_of_public_images() {
    let server = Server::new().await;
    let newest = server.publish_in("default", &[Sample::default().unified()], &["odd name+%"], true).await;
    server.publish_in("default", &[Sample { os: "Secret", ..Sample::default() }.unified()], &["hidden"], false).await;
    let addresses = server.metadata("/1.0/images/aliases").await;
    let addresses = strings(&addresses);
    assert!(addresses.contains(&"/1.0/images/aliases/debian%2F12"), "{addresses:?}");
    assert!(addresses.contains(&"/1.0/images/aliases/odd%20name+%25"), "{addresses:?}");
    assert!(!addresses.iter().any(|address| address.contains("hidden") || address.contains("secret")), "{addresses:?}");
    let entries = server.metadata("/1.0/images/aliases?recursion=1").await;
    assert_eq!(entries.as_array().unwrap().len(), addresses.len());
    for (address, entry) in addresses.iter().zip(entries.as_array().unwrap()) {
        assert_eq!(entry["target"], newest);
        assert_eq!(*entry, server.metadata(address).await, "the list and the alias itself say different things");
    }
}
