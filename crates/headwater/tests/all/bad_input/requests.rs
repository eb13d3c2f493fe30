//! Bad requests, byte by byte over a socket, to the running program: one row each, with the exact status and body.
//!
//! Heads that cannot be read as HTTP at all are answered by the engine with a status and no body. All others are answered in
//! words: a line of text, or the envelope of the API.

use std::io::{Read, Write};

use super::kit::{MEMORY, Table, stored};
use super::serving::{Over, Serving};
use crate::cli::kit::{House, Sample, fingerprint};

/// The body of an error in plain text.
fn text(sentence: &str) -> String {
    format!("{sentence}\n")
}

/// The body of an error of the API.
fn api(status: u16, message: &str) -> String {
    let message = serde_json::to_string(message).unwrap();
    format!(
        "{{\"type\":\"error\",\"status\":\"\",\"status_code\":0,\"operation\":\"\",\"error_code\":{status},\"error\":{message},\
         \"metadata\":null}}\n"
    )
}

/// A GET with these lines in its head.
fn get(path: &str, lines: &[&str]) -> Vec<u8> {
    asked("GET", path, lines)
}

fn asked(method: &str, path: &str, lines: &[&str]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: images.example\r\nConnection: close\r\n");
    for line in lines {
        head += line;
        head += "\r\n";
    }
    (head + "\r\n").into_bytes()
}

/// One row: what is sent, and what comes back.
struct Row {
    what: String,
    over: Over,
    request: Vec<u8>,
    status: u16,
    body: Vec<u8>,
}

fn row(what: impl Into<String>, over: Over, request: Vec<u8>, status: u16, body: impl Into<Vec<u8>>) -> Row {
    Row { what: what.into(), over, request, status, body: body.into() }
}

const EMPTY: &str = "the path has an empty segment; use single slashes, and none at the end";
const DOTS: &str = "the path has a \".\" or \"..\" segment; resolve it before asking";
const CONTROL: &str = "the path holds a control character; remove it";
const ESCAPE: &str = "the path has a percent sign that is not followed by two hexadecimal digits; write it as %25";
const NOT_UTF8: &str = "the path is not valid UTF-8 once its percent escapes are decoded; encode it as UTF-8";
const LONG: &str = "the path has more than 8192 bytes; shorten it";
const NOTHING: &str = "there is nothing at this address; streams begin with /streams/v1/index.json, the API with /1.0";
const NO_FILE: &str = "there is no such file here; fetch the list of images again";
const NO_PROJECT: &str = "there is no such project here; check its name in the address";
const TLS_ONLY: &str =
    "this is answered over https only; use https:// and the same port (a proxy in front has to speak https to it)";
const HOST: &str = "the request has to name one host; send one Host header with the name and port of this server";

/// What the server that is asked holds.
struct Held {
    /// A public file, its address, its digest.
    file: Vec<u8>,
    path: String,
    digest: String,
    /// The digest, and so the fingerprint, of a private image.
    hidden: String,
    /// The first character of two public images' fingerprints.
    twins: String,
}

/// Addresses of streams and files, in the words of simplestreams.
fn stream_addresses(held: &Held) -> Vec<Row> {
    let long = "a".repeat(9000);
    let filters = "/only/os=a".repeat(17);
    let values = format!("/only/os={}/streams/v1/index.json", vec!["a"; 65].join(","));
    let zeros = "0".repeat(64);
    let hidden = &held.hidden;
    [
        (format!("/streams/{long}"), 414, LONG),
        ("/streams//v1/index.json".into(), 400, EMPTY),
        ("//streams/v1/index.json".into(), 400, EMPTY),
        ("/streams/v1/index.json/".into(), 400, EMPTY),
        ("/images/../catalog.db".into(), 400, DOTS),
        ("/images/..%2f..%2fcatalog.db".into(), 404, NOTHING),
        ("/images/%2e%2e/%2e%2e/etc/passwd".into(), 400, DOTS),
        ("/p/../streams/v1/index.json".into(), 400, DOTS),
        ("/images/%252e%252e".into(), 404, NOTHING),
        ("/images/%00".into(), 400, CONTROL),
        ("/images/a%0d%0aSet-Cookie:x".into(), 400, CONTROL),
        ("/images/%1b%5b2J".into(), 400, CONTROL),
        ("/images/%ff%fe".into(), 400, NOT_UTF8),
        ("/images/%c0%ae%c0%ae".into(), 400, NOT_UTF8),
        ("/images/%ed%a0%80".into(), 400, NOT_UTF8),
        ("/images/%".into(), 400, ESCAPE),
        ("/images/%2".into(), 400, ESCAPE),
        ("/images/%zz".into(), 400, ESCAPE),
        ("/images/%u0041".into(), 400, ESCAPE),
        ("/streams".into(), 404, NOTHING),
        ("/streams/v1/index.json.asc".into(), 404, NOTHING),
        ("/streams/v2/index.json".into(), 404, NOTHING),
        ("/images".into(), 404, NOTHING),
        ("/images/catalog.db".into(), 404, NOTHING),
        ("/images/short.squashfs".into(), 404, NOTHING),
        (format!("/images/{zeros}"), 404, NOTHING),
        (format!("/images/{zeros}.exe"), 404, NOTHING),
        (format!("/images/{}.tar", held.digest.to_uppercase()), 404, NOTHING),
        (format!("/images/{}.tar%00", held.digest), 400, CONTROL),
        (format!("/images/{zeros}.squashfs"), 404, NO_FILE),
        (format!("/images/{}.tar.xz", held.digest), 404, NO_FILE),
        (format!("/images/{hidden}.tar"), 404, NO_FILE),
        (format!("/p/team/images/{hidden}.tar"), 404, NO_FILE),
        ("/p/unknown/streams/v1/index.json".into(), 404, NO_PROJECT),
        // Where a guest sees nothing there is nothing, for all that the guest can tell.
        ("/p/team/streams/v1/index.json".into(), 404, NO_PROJECT),
        ("/p/a%2fb/streams/v1/index.json".into(), 404, NO_PROJECT),
        ("/p/%27%20OR%201=1/streams/v1/index.json".into(), 404, NO_PROJECT),
        (format!("/p/{}/streams/v1/index.json", "a".repeat(64)), 404, NO_PROJECT),
        ("/p".into(), 404, NOTHING),
        ("/only/os=a/p/default/streams/v1/index.json".into(), 404, NOTHING),
        (
            "/only/os/streams/v1/index.json".into(),
            400,
            "the filter \"os\" has no value; write it as key=value, for example arch=arm64",
        ),
        ("/only/os=/streams/v1/index.json".into(), 400, "the filter os lists an empty value; remove it or write one"),
        ("/only/os=a,,b/streams/v1/index.json".into(), 400, "the filter os lists an empty value; remove it or write one"),
        (
            "/only/colour=red/streams/v1/index.json".into(),
            400,
            "\"colour\" cannot be filtered by; use os, release, variant, arch, type, alias or latest",
        ),
        (
            "/only/arch=vax/streams/v1/index.json".into(),
            400,
            "\"vax\" is no architecture that LXD or Incus knows; known ones are i686, x86_64, armv6l, armv7l, armv8l, aarch64, ppc, \
             ppc64, ppc64le, s390x, mips, mips64, riscv32, riscv64, loongarch64",
        ),
        (
            "/only/type=pod/streams/v1/index.json".into(),
            400,
            "\"pod\" is no image type; use \"container\" or \"virtual-machine\"",
        ),
        (
            "/only/latest=-1/streams/v1/index.json".into(),
            400,
            "latest=-1 is no number of versions; use one number from 1 to 1000",
        ),
        (
            "/only/latest=99999999999999999999/streams/v1/index.json".into(),
            400,
            "latest=99999999999999999999 is no number of versions; use one number from 1 to 1000",
        ),
        (values, 400, "the filter os lists more than 64 values; list fewer"),
        (
            format!("/only/os={}/streams/v1/index.json", "a".repeat(256)),
            400,
            "the filter os has a value of more than 255 bytes; shorten it",
        ),
        (
            format!("{filters}/streams/v1/index.json"),
            400,
            "the path holds more than 16 filters; join some, as in os=debian,alpine",
        ),
    ]
    .into_iter()
    .map(|(path, status, sentence)| row(format!("{path:.60}"), Over::Tls, get(&path, &[]), status, text(sentence)))
    .collect()
}

/// Addresses and queries of the API, in its envelope.
fn api_addresses(held: &Held) -> Vec<Row> {
    let long = "a".repeat(9000);
    let (hidden, twins) = (&held.hidden, &held.twins);
    let clauses = vec!["public+eq+true"; 65].join("+and+");
    let (image, alias, project) = ("Image not found", "Image alias not found", "Project not found");
    [
        (format!("/1.0/{long}"), 414, LONG),
        ("/1.0/images/..".into(), 400, DOTS),
        ("/1.0/images/%2e".into(), 400, DOTS),
        ("/1.0//images".into(), 400, EMPTY),
        ("/1.0/".into(), 400, EMPTY),
        ("/1.0/images/aliases/a%00b".into(), 400, CONTROL),
        ("/1.0/images/aliases/%ff".into(), 400, NOT_UTF8),
        ("/1.0/images/aliases/100%".into(), 400, ESCAPE),
        ("/2.0".into(), 404, "not found"),
        ("/etc/passwd".into(), 404, "not found"),
        ("/1.0/nothing".into(), 404, "not found"),
        ("/1.0/images/aa/nothing".into(), 404, "not found"),
        ("/1.0/instances".into(), 403, "not authorized"),
        ("/1.0/certificates".into(), 403, "not authorized"),
        ("/1.0/operations/1/wait?timeout=-1".into(), 403, "not authorized"),
        ("/1.0/images/xyz".into(), 404, image),
        (format!("/1.0/images/{}", held.digest.to_uppercase()), 404, image),
        (format!("/1.0/images/{}0", held.digest), 404, image),
        ("/1.0/images/aa'%20or%201=1".into(), 404, image),
        ("/1.0/images/%25".into(), 404, image),
        ("/1.0/images/_".into(), 404, image),
        (format!("/1.0/images/{twins}"), 400, "More than one image matches"),
        (format!("/1.0/images/{hidden}"), 404, image),
        (format!("/1.0/images/{}", &hidden[..12]), 404, image),
        (format!("/1.0/images/{hidden}?project=default&secret=guess"), 404, image),
        (format!("/1.0/images/{hidden}/export?secret=guess"), 404, image),
        ("/1.0/images/aliases/hush".into(), 404, alias),
        ("/1.0/images/aliases/nobody".into(), 404, alias),
        ("/1.0/images/aliases/a,b".into(), 404, alias),
        ("/1.0/images/aliases/%20good".into(), 404, alias),
        (format!("/1.0/images/aliases/{}", "a".repeat(256)), 404, alias),
        ("/1.0/images?project=unknown".into(), 404, project),
        ("/1.0/images?project=team".into(), 404, project),
        ("/1.0/images?project=..".into(), 404, project),
        ("/1.0/images?project=a%2fb".into(), 404, project),
        ("/1.0/images?project=a%00b".into(), 404, project),
        (format!("/1.0/images?project={}", "a".repeat(64)), 404, project),
        ("/1.0/images/aliases?project=unknown".into(), 404, project),
        ("/1.0/images?all-projects=true".into(), 403, "not authorized"),
        ("/1.0/images?filter=os".into(), 400, "Invalid filter: clause has no operator"),
        ("/1.0/images?filter=os+eq".into(), 400, "Invalid filter: clause has no value"),
        ("/1.0/images?filter=not".into(), 400, "Invalid filter: incomplete not clause"),
        ("/1.0/images?filter=os+like+debian".into(), 400, "Invalid filter: unknown operator \"like\", use eq or ne"),
        ("/1.0/images?filter=os+eq+%22debian".into(), 400, "Invalid filter: unterminated quote"),
        ("/1.0/images?filter=os+eq+a+xor+os+eq+b".into(), 400, "Invalid filter: invalid clause composition"),
        ("/1.0/images?filter=os+eq+a+and".into(), 400, "Invalid filter: unterminated compound clause"),
        (
            "/1.0/images?filter=properties.os+eq+(a{1000}){1000}".into(),
            400,
            "Invalid filter: the value for \"properties.os\" is too large a regular expression",
        ),
        (format!("/1.0/images?filter={clauses}"), 400, "Invalid filter: the filter has more than 64 clauses"),
        (
            format!("/1.0/images?filter={}", "a".repeat(5000)),
            400,
            "Invalid filter: the filter has more than 4096 bytes",
        ),
        (format!("/1.0/images?filter={long}"), 400, "the query has more than 8192 bytes; shorten it"),
        (
            "/1.0/images?filter=%ff".into(),
            400,
            "the query is not valid UTF-8 once its percent escapes are decoded; encode it as UTF-8",
        ),
        (
            "/1.0/images?filter=100%".into(),
            400,
            "the query has a percent sign that is not followed by two hexadecimal digits; write it as %25",
        ),
    ]
    .into_iter()
    .map(|(path, status, message)| row(format!("{path:.60}"), Over::Tls, get(&path, &[]), status, api(status, message)))
    .collect()
}

/// Queries that are odd and are answered as the daemons answer them: with the same list.
fn harmless_queries(list: &[u8]) -> Vec<Row> {
    [
        "recursion=-",
        "recursion=0x1",
        "recursion=99999999999999999999",
        "recursion",
        "filter=",
        "&&=&=x",
        "project=",
        "a=b&a=c",
    ]
    .into_iter()
    .map(|query| row(query, Over::Tls, get(&format!("/1.0/images?{query}"), &[]), 200, list))
    .collect()
}

/// What begins like this and fills all the room that a head has: not a byte more, since what the server leaves unread may cost
/// the client the answer.
fn endless(begin: &str) -> Vec<u8> {
    let mut head = begin.as_bytes().to_vec();
    head.resize(64 * 1024, b'A');
    head
}

/// Heads, read as far as they can be.
fn heads(held: &Held) -> Vec<Row> {
    let bare = |request: &str| request.as_bytes().to_vec();
    let mut rows = Vec::new();
    let many = "X: y\r\n".repeat(200);
    for (what, request, status) in [
        ("not HTTP", bare("nonsense\r\n\r\n"), 400),
        ("HTTP/0.9", bare("GET /1.0\r\n\r\n"), 400),
        ("HTTP/3.7", bare("GET /1.0 HTTP/3.7\r\nHost: x\r\n\r\n"), 400),
        // Not a word: no client that begins like this would understand one.
        ("HTTP/2 without being asked", bare("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 0),
        ("a NUL in the address", bare("GET /1.0\0 HTTP/1.1\r\nHost: x\r\n\r\n"), 400),
        ("a blank in the address", bare("GET /1.0/images /x HTTP/1.1\r\nHost: x\r\n\r\n"), 400),
        ("bytes in the address", b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        ("a NUL in a name", bare("GET /1.0 HTTP/1.1\r\nHost: x\r\nA\0B: c\r\n\r\n"), 400),
        ("a NUL in a value", bare("GET /1.0 HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n"), 400),
        ("a blank before the colon", bare("GET /1.0 HTTP/1.1\r\nHost : x\r\n\r\n"), 400),
        ("a line without a colon", bare("GET /1.0 HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n"), 400),
        ("a folded line", bare("GET /1.0 HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n"), 400),
        (
            "two lengths",
            bare("POST /1.0/images HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            400,
        ),
        ("a length of -1", bare("POST /1.0/images HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"), 400),
        ("a length of +1", bare("POST /1.0/images HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na"), 400),
        (
            "a length of 2^64",
            bare("POST /1.0/images HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551616\r\n\r\n"),
            400,
        ),
        ("a length of 1, 1", bare("POST /1.0/images HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\na"), 400),
        ("an unknown coding", bare("POST /1.0/images HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: what\r\n\r\n"), 400),
        (
            "chunked, and then another",
            bare("POST /1.0/images HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"),
            400,
        ),
        ("chunks in HTTP/1.0", bare("POST /1.0/images HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        ("a head of 200 lines", bare(&format!("GET /1.0 HTTP/1.1\r\nHost: x\r\n{many}\r\n")), 431),
        ("a head without end", endless("GET /1.0 HTTP/1.1\r\nHost: x\r\nX: "), 431),
        ("an address without end", endless("GET /"), 431),
        ("a method without end", endless(""), 431),
    ] {
        for over in [Over::Plain, Over::Tls] {
            rows.push(row(format!("{what}, {over:?}"), over, request.clone(), status, ""));
        }
    }
    for (what, lines) in [
        ("no host", ""),
        ("two hosts", "Host: a\r\nHost: a\r\n"),
        ("two hosts that differ", "Host: a\r\nHost: b\r\n"),
        ("a host with a path", "Host: a/../b\r\n"),
        ("a host with a name in front", "Host: me@a\r\n"),
        ("a host with a blank", "Host: a b\r\n"),
        ("a host with a port of letters", "Host: a:b\r\n"),
        ("a host with a port of 99999", "Host: a:99999\r\n"),
        ("a host in other letters", "Host: \u{e9}\r\n"),
    ] {
        let request = |path: &str| bare(&format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{lines}\r\n"));
        rows.push(row(what, Over::Tls, request("/1.0/images"), 400, api(400, HOST)));
        rows.push(row(what, Over::Plain, request(&held.path), 400, text(HOST)));
    }
    // Two statements of length: the chunks decide, and the connection is good for nothing else. What follows is never read
    // as a request of its own.
    for lines in
        ["Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"]
    {
        let head = format!("POST /1.0/images HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
        let request = format!("{head}0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        rows.push(row("a length and chunks", Over::Tls, request.into_bytes(), 403, api(403, "not authorized")));
    }
    rows
}

/// Good addresses, asked for in a wrong way.
fn manners(held: &Held) -> Vec<Row> {
    let not_known = |method: &str| text(&format!("{method} is not known here; use GET, HEAD"));
    let clear =
        "the request carries credentials in clear; use https:// and the same port, and consider them known to others";
    let unknown = "the credentials that were sent are not known here; leave them out to see what is public";
    let path = &held.path;
    let index = "/streams/v1/index.json";
    let mut rows = Vec::new();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get"] {
        rows.push(row(format!("{method} of a document"), Over::Tls, asked(method, index, &[]), 405, not_known(method)));
        rows.push(row(
            format!("{method} of a file in plain"),
            Over::Plain,
            asked(method, path, &[]),
            405,
            not_known(method),
        ));
    }
    for (method, address, status, message) in [
        ("PROPFIND", "/1.0", 501, "not implemented"),
        ("OPTIONS", "/1.0/images", 501, "not implemented"),
        ("POST", "/1.0/images", 403, "not authorized"),
        ("DELETE", "/1.0/images/00", 403, "not authorized"),
        ("POST", "/1.0/images/aliases", 403, "not authorized"),
        ("PUT", "/1.0/images/aliases/good", 403, "not authorized"),
        ("PATCH", "/1.0", 403, "not authorized"),
    ] {
        let what = format!("{method} {address}");
        rows.push(row(what, Over::Tls, asked(method, address, &[]), status, api(status, message)));
    }
    let slash = "the path does not begin with a slash; begin it with one";
    rows.push(row("OPTIONS *", Over::Tls, asked("OPTIONS", "*", &[]), 400, api(400, slash)));
    rows.push(row("no slash", Over::Tls, get("images", &[]), 400, api(400, slash)));
    rows.push(row("CONNECT", Over::Tls, asked("CONNECT", "evil.example:443", &[]), 400, api(400, slash)));
    // The address of a proxy request names a host; it is the path that counts.
    let missing = api(404, "Image not found");
    rows.push(row("an absolute address", Over::Tls, get("http://evil.example/1.0/images/xyz", &[]), 404, missing));
    for (what, line) in [
        ("a password", "Authorization: Basic YWRtaW46aHVudGVyMg=="),
        ("half a password", "Authorization: Basic"),
        ("a token", "Authorization: Bearer hunter2"),
        ("another scheme", "Authorization: Negotiate hunter2"),
        ("no scheme", "Authorization: "),
    ] {
        rows.push(row(format!("{what} for a document"), Over::Tls, get(index, &[line]), 401, text(unknown)));
        rows.push(row(format!("{what} for the API"), Over::Tls, get("/1.0", &[line]), 403, api(403, "not authorized")));
        rows.push(row(format!("{what} for a file in plain"), Over::Plain, get(path, &[line]), 400, text(clear)));
        rows.push(row(format!("{what} for the API in plain"), Over::Plain, get("/1.0", &[line]), 400, api(400, clear)));
    }
    for line in ["X-LXD-authenticated: true", "X-Incus-authenticated: true"] {
        rows.push(row(line, Over::Tls, get("/1.0", &[line]), 403, api(403, "not authorized")));
    }
    rows.push(row("a document in plain", Over::Plain, get(index, &[]), 400, text(TLS_ONLY)));
    rows.push(row("the API in plain", Over::Plain, get("/1.0", &[]), 400, api(400, TLS_ONLY)));
    rows
}

/// Conditions and ranges of a file, over both transports.
fn conditions(held: &Held) -> Vec<Row> {
    let (file, size) = (&held.file, held.file.len());
    let outside = text(&format!("the range lies outside the file, which has {size} bytes"));
    let failed = text("this is not the version that the request's conditions name");
    let etag = format!("\"{}\"", held.digest);
    let whole = || (200, file.clone());
    let mut rows = Vec::new();
    let many = format!("Range: bytes={}", vec!["0-"; 2000].join(","));
    let strong = format!("If-Match: W/{etag}");
    let bare = format!("If-None-Match: {}", held.digest);
    for (line, (status, body)) in [
        // One range that can be had, however large its numbers.
        ("Range: bytes=10-19", (206, file[10..20].to_vec())),
        ("Range: bytes=10-99999999999999999999999", (206, file[10..].to_vec())),
        ("Range: bytes=-99999999999999999999999", (206, file.clone())),
        // One that cannot.
        ("Range: bytes=99999999999999999999999-", (416, outside.clone().into_bytes())),
        ("Range: bytes=1000000-1000001", (416, outside.clone().into_bytes())),
        ("Range: bytes=-0", (416, outside.into_bytes())),
        // What is no single range of bytes is as good as none.
        ("Range: bytes=0-1,1-2", whole()),
        ("Range: bytes=0-,0-,0-", whole()),
        (&many, whole()),
        ("Range: bytes=9-1", whole()),
        ("Range: bytes=--1", whole()),
        ("Range: bytes=-1-2", whole()),
        ("Range: bytes=0x0-0x9", whole()),
        ("Range: bytes=", whole()),
        ("Range: bytes=\u{0661}-\u{0662}", whole()),
        ("Range: lines=1-2", whole()),
        ("Range: 0-1", whole()),
        // Conditions that do not hold, or cannot be read.
        ("If-Match: \"another\"", (412, failed.clone().into_bytes())),
        ("If-Match: nonsense", (412, failed.clone().into_bytes())),
        (&strong, (412, failed.clone().into_bytes())),
        ("If-Match: ", (412, failed.clone().into_bytes())),
        ("If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT", (412, failed.into_bytes())),
        ("If-Unmodified-Since: yesterday", whole()),
        ("If-None-Match: \"another\"", whole()),
        ("If-None-Match: \"open", whole()),
        (&bare, whole()),
        ("If-None-Match: ,,,,", whole()),
        ("If-None-Match: *", (304, vec![])),
        ("If-Modified-Since: yesterday", whole()),
        ("If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT", whole()),
        ("If-Modified-Since: Thu, 99 Jan 2020 99:99:99 GMT", whole()),
        ("If-Modified-Since: -1", whole()),
        // Not ours to fulfil, and no reason to refuse.
        ("Expect: 100-continue", whole()),
        ("Expect: a-miracle", whole()),
        ("Upgrade: h2c", whole()),
        ("Accept: nothing/at-all", whole()),
        ("Accept-Encoding: identity;q=0", whole()),
        ("X-Forwarded-For: 127.0.0.1", whole()),
        ("Cookie: \u{1}", (400, vec![])),
    ] {
        for over in [Over::Plain, Over::Tls] {
            rows.push(row(format!("{line:.60} ({over:?})"), over, get(&held.path, &[line]), status, body.clone()));
        }
    }
    let two = ["Range: bytes=0-1", "Range: bytes=2-3"];
    rows.push(row("two ranges in two lines", Over::Tls, get(&held.path, &two), 200, file.clone()));
    for condition in ["If-Range: \"another\"", "If-Range: W/\"x\"", "If-Range: yesterday", "If-Range: "] {
        let lines = ["Range: bytes=0-1", condition];
        rows.push(row(condition, Over::Tls, get(&held.path, &lines), 200, file.clone()));
    }
    rows
}

/// First bytes that are neither TLS nor HTTP, or only begin to be: closed without an answer in HTTP.
const HANDSHAKES: [(&str, &[u8]); 5] = [
    ("a record of no length", b"\x16\x03\x01\x00\x00"),
    ("a record of nonsense", b"\x16\x03\x01\x00\x05hello"),
    ("a record longer than any", b"\x16\x03\x01\xff\xff"),
    ("a version of nonsense", b"\x16\xff\xff\x00\x01\x01"),
    ("a hello of -1 bytes", b"\x16\x03\x01\x00\x04\x01\xff\xff\xff"),
];

/// Public images of which two have fingerprints that begin alike: how, and the serials.
fn twins() -> (String, Vec<&'static str>) {
    let serials: Vec<&'static str> = (0..17).map(|n| &*format!("20250301_07:{n:02}").leak()).collect();
    let first = |serial: &'static str| {
        let print = fingerprint(&[&Sample { serial, ..Sample::default() }.unified()]);
        print[..1].to_owned()
    };
    for (at, serial) in serials.iter().enumerate() {
        if let Some(other) = serials[..at].iter().find(|other| first(other) == first(serial)) {
            return (first(serial), vec![other, serial]);
        }
    }
    panic!("seventeen fingerprints begin with sixteen characters");
}

#[test]
fn bad_requests_are_refused_in_words_and_change_nothing() {
    let house = House::new();
    let sample = Sample::default();
    let file = sample.unified();
    let digest = house.publish(&sample, &["--alias", "good", "--public"]);
    let (begin, serials) = twins();
    for serial in serials {
        house.publish(&Sample { serial, ..Sample::default() }, &["--public"]);
    }
    let hidden = house.publish(&Sample { os: "Hushed", ..Sample::default() }, &["--alias", "hush"]);
    house.run(&["project", "create", "team"]).ok();
    house.publish(&Sample { os: "Teamwork", ..Sample::default() }, &["--project", "team"]);
    let serving = Serving::start(&house);
    let before = stored(&house);
    let list = serving.ask(Over::Tls, &get("/1.0/images", &[]));
    assert_eq!(list.status, 200);
    let held = Held { path: format!("/images/{digest}.tar"), file, digest, hidden, twins: begin };
    let data = house.folder.path().display().to_string();
    let mut table = Table::new([data, held.hidden.clone(), "Hushed".into(), "hush".into(), "Teamwork".into()]);
    for rows in [
        stream_addresses(&held),
        api_addresses(&held),
        harmless_queries(&list.body),
        heads(&held),
        manners(&held),
        conditions(&held),
    ] {
        for Row { what, over, request, status, body } in rows {
            let answer = table.row(&what, || serving.ask(over, &request));
            let (found, expected) = (String::from_utf8_lossy(&answer.body), String::from_utf8_lossy(&body));
            let short = |text: &str| text.chars().take(600).collect::<String>();
            table.same(&what, (answer.status, short(&found)), (status, short(&expected)));
            table.same(&what, answer.body.len(), body.len());
            table.discreet(&what, &format!("{}{found}", answer.head));
        }
    }
    for (what, bytes) in HANDSHAKES {
        let mut stream = serving.plain();
        let said = table.row(what, || {
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said);
            said
        });
        table.same(what, said.starts_with(b"HTTP/"), false);
    }
    // It is as well as before.
    assert_eq!(serving.ask(Over::Plain, &get("/healthz", &[])).body, b"ok\n");
    assert_eq!(serving.ask(Over::Plain, &get(&held.path, &[])).body, held.file);
    assert_eq!(serving.ask(Over::Tls, &get("/1.0/images", &[])).body, list.body);
    assert!(serving.most_memory() < MEMORY, "{} KiB", serving.most_memory());
    serving.end();
    table.same("what is stored", stored(&house), before);
    let log = String::from_utf8(house.read("log")).expect("the log is text");
    for bad in ["panic", " ERROR ", " WARN ", "hunter2", "aHVudGVyMg", "guess"] {
        let line = log.lines().find(|line| line.contains(bad));
        table.same("the log", line, None);
    }
    let steering = log.lines().find(|line| line.chars().any(char::is_control));
    table.same("the log may not steer a terminal", steering, None);
    table.end(250);
}
