//! Every address of the route table as a guest, and the ones that mean nothing.

use headwater::http::Connection;
use headwater::http::route::{Dialect, TABLE, Who};
use http::Method;

use super::kit::Server;

const METHODS: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
];

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_table_tried_with_every_method_by_a_guest() {
    let server = Server::new().await;
    for row in TABLE {
        for method in METHODS {
            let answer = server.ask(&Connection::test_tls(), method.clone(), row.example, &[]).await;
            let what = format!("{method} {}: {answer:?}", row.pattern);
            match (row.who(&method), row.dialect) {
                // The examples name no image that is there.
                (Some(Who::Guests), _) => assert!([200, 404].contains(&answer.status.as_u16()), "{what}"),
                // Only with a secret or a proof.
                (Some(Who::Bearer), _) => assert!([400, 403, 404, 501].contains(&answer.status.as_u16()), "{what}"),
                (Some(_), _) => answer.is_api_error(403, "not authorized"),
                (None, Dialect::Api) if method == Method::HEAD => assert_eq!(answer.status, 501, "{what}"),
                (None, Dialect::Api) => answer.is_api_error(501, "not implemented"),
                (None, Dialect::Text) => {
                    answer.is_text(405, &format!("{method} is not known here; use GET, HEAD"));
                    assert_eq!(answer.header("allow"), "GET, HEAD");
                }
            }
            if method == Method::HEAD {
                assert!(answer.body.is_empty(), "{what}");
            } else {
                assert!(answer.header("content-length") == answer.body.len().to_string(), "{what}");
            }
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_nobody_knows_are_an_error_and_not_a_guest() {
    let server = Server::new().await;
    for line in [
        "Authorization: Bearer x",
        "Authorization: Basic YTpi",
        "X-LXD-authenticated: true",
        "X-Incus-authenticated: true",
    ] {
        server.get("/1.0/images", &[line]).await.is_api_error(403, "not authorized");
        let answer = server.get("/streams/v1/index.json", &[line]).await;
        answer.is_text(401, "the credentials that were sent are not known here; leave them out to see what is public");
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"Headwater\", charset=\"UTF-8\"");
    }
}

/// Paths and queries that mean nothing, with the exact words that a person gets.
#[tokio::test(flavor = "multi_thread")]
async fn bad_addresses_are_told_in_the_words_of_their_protocol() {
    let server = Server::new().await;
    let long_path = format!("/streams/{}", "a".repeat(9000));
    let long_api = format!("/1.0/{}", "a".repeat(9000));
    let long_query = format!("/1.0/images?filter={}", "a".repeat(9000));
    let long_filter = format!("/1.0/images?filter={}", "a".repeat(5000));
    let many = "/only/os=a".repeat(17) + "/streams/v1/index.json";
    let nothing = "there is nothing at this address; streams begin with /streams/v1/index.json, the API with /1.0";
    let nobody = "there is no such project here; check its name in the address";
    let long_name = format!("/p/{}/streams/v1/index.json", "a".repeat(64));
    let no_file = "there is no such file here; fetch the list of images again";
    let zeros = format!("/images/{}.squashfs", "0".repeat(64));
    for (path, status, sentence) in [
        (long_path.as_str(), 414, "the path has more than 8192 bytes; shorten it"),
        ("/streams//v1/index.json", 400, "the path has an empty segment; use single slashes, and none at the end"),
        ("/streams/v1/", 400, "the path has an empty segment; use single slashes, and none at the end"),
        ("/images/../1.0", 400, "the path has a \".\" or \"..\" segment; resolve it before asking"),
        ("/images/%2e%2e/x", 400, "the path has a \".\" or \"..\" segment; resolve it before asking"),
        ("/p/./streams/v1/index.json", 400, "the path has a \".\" or \"..\" segment; resolve it before asking"),
        ("/images/%00", 400, "the path holds a control character; remove it"),
        ("/images/%0a", 400, "the path holds a control character; remove it"),
        ("/images/%ff", 400, "the path is not valid UTF-8 once its percent escapes are decoded; encode it as UTF-8"),
        (
            "/images/%zz",
            400,
            "the path has a percent sign that is not followed by two hexadecimal digits; write it as %25",
        ),
        (
            "/images/%",
            400,
            "the path has a percent sign that is not followed by two hexadecimal digits; write it as %25",
        ),
        ("/streams", 404, nothing),
        ("/streams/v1/index.xml", 404, nothing),
        ("/streams/v1/index.json/more", 404, nothing),
        ("/images", 404, nothing),
        ("/images/short.squashfs", 404, nothing),
        (&zeros, 404, no_file),
        ("/p/unknown/streams/v1/index.json", 404, nobody),
        ("/p/a%2Fb/streams/v1/index.json", 404, nobody),
        ("/p/%20/streams/v1/index.json", 404, nobody),
        (&long_name, 404, nobody),
        ("/only/os=a/p/b/streams/v1/index.json", 404, nothing),
        (
            "/only/os/streams/v1/index.json",
            400,
            "the filter \"os\" has no value; write it as key=value, for example arch=arm64",
        ),
        ("/only/os=/streams/v1/index.json", 400, "the filter os lists an empty value; remove it or write one"),
        (
            "/only/colour=red/streams/v1/index.json",
            400,
            "\"colour\" cannot be filtered by; use os, release, variant, arch, type, alias or latest",
        ),
        (
            "/only/latest=0/streams/v1/images.json",
            400,
            "latest=0 is no number of versions; use one number from 1 to 1000",
        ),
        (&many, 400, "the path holds more than 16 filters; join some, as in os=debian,alpine"),
    ] {
        server.get(path, &[]).await.is_text(status, sentence);
    }
    for (path, status, message) in [
        (long_api.as_str(), 414, "the path has more than 8192 bytes; shorten it"),
        ("/1.0/images/..", 400, "the path has a \".\" or \"..\" segment; resolve it before asking"),
        ("/1.0//images", 400, "the path has an empty segment; use single slashes, and none at the end"),
        ("/1.0/images/aliases/a%00", 400, "the path holds a control character; remove it"),
        ("/nothing", 404, "not found"),
        ("/1.0/nothing", 404, "not found"),
        ("/1.0/images/aa/nothing", 404, "not found"),
        ("/2.0", 404, "not found"),
        ("/1.0/images/xyz", 404, "Image not found"),
        ("/1.0/images/ABCDEF", 404, "Image not found"),
        ("/1.0/images/%25", 404, "Image not found"),
        ("/1.0/images/aa'%20or%201=1", 404, "Image not found"),
        ("/1.0/images/0/export", 404, "Image not found"),
        ("/1.0/images/aliases/a,b", 404, "Image alias not found"),
        ("/1.0/images/aliases/nobody", 404, "Image alias not found"),
        ("/1.0/images?project=unknown", 404, "Project not found"),
        ("/1.0/images?project=a/b", 404, "Project not found"),
        ("/1.0/images/aliases?project=unknown", 404, "Project not found"),
        ("/1.0/images/00?project=unknown", 404, "Project not found"),
        ("/1.0/images?all-projects=true", 403, "not authorized"),
        ("/1.0/images?filter=os", 400, "Invalid filter: clause has no operator"),
        ("/1.0/images?filter=os+eq", 400, "Invalid filter: clause has no value"),
        ("/1.0/images?filter=not", 400, "Invalid filter: incomplete not clause"),
        ("/1.0/images?filter=a+eq+b+c+d", 400, "Invalid filter: invalid clause composition"),
        (&long_filter, 400, "Invalid filter: the filter has more than 4096 bytes"),
        (&long_query, 400, "the query has more than 8192 bytes; shorten it"),
        (
            "/1.0/images?filter=%ff",
            400,
            "the query is not valid UTF-8 once its percent escapes are decoded; encode it as UTF-8",
        ),
        (
            "/1.0/images?filter=%zz",
            400,
            "the query has a percent sign that is not followed by two hexadecimal digits; write it as %25",
        ),
    ] {
        server.get(path, &[]).await.is_api_error(status, message);
    }
}

/// The page that says who may call what holds the route table, word for word.
#[test]
fn the_page_of_who_may_what_holds_the_route_table() {
    let mut table = String::from("| address | methods | in plain HTTP |\n| --- | --- | --- |\n");
    for row in TABLE {
        let mut methods: Vec<(String, Vec<&str>)> = Vec::new();
        for (method, who) in row.methods {
            let who = format!("{who:?}").to_lowercase();
            match methods.iter_mut().find(|(known, _)| *known == who) {
                Some((_, methods)) => methods.push(method.as_str()),
                None => methods.push((who, vec![method.as_str()])),
            }
        }
        let methods: Vec<String> =
            methods.iter().map(|(who, methods)| format!("{}: {who}", methods.join(", "))).collect();
        let plain = if row.plain { "answered" } else { "refused" };
        table.push_str(&format!("| `{}` | {} | {plain} |\n", row.pattern, methods.join("; ")));
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/access.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- the route table, written by a test -->\n", "<!-- /the route table -->");
    let (before, rest) = page.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let expected = format!("{before}{begin}{table}{end}{after}");
    if std::env::var_os("HEADWATER_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert!(found == expected, "{} is out of date; run this test with HEADWATER_UPDATE_DOCS=1", path.display());
}
