//! Clients that hold the server up: by thousands of connections, by sending slowly, or by sending what nobody reads.

use std::time::{Duration, Instant};

use headwater::http::accept::Limits;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::kit::Sample;
use super::sockets::{Running, ask, get, quick, running};

/// A connection from another address of this machine.
async fn from(running: &Running, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, last], 0).into()).unwrap();
    socket.connect(running.address).await.unwrap()
}

async fn trickle<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, head: &'static [u8]) {
    for byte in head.iter().cycle() {
        if stream.write_all(std::slice::from_ref(byte)).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Each connection has two ends in this process.
fn raise_file_limit(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    assert!(maximum.is_none_or(|maximum| maximum >= wanted), "this test needs {wanted} open files (ulimit -Hn)");
    setrlimit(Resource::Nofile, Rlimit { current: maximum.or(Some(wanted)), maximum }).unwrap();
}

/// How soon a request is answered while they are there is measured by `./dev bench slow`; here, that it is at all.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_slow_clients_do_not_keep_others_from_being_answered() {
    raise_file_limit(6000);
    let long = Duration::from_secs(120);
    let running = running(Limits { handshake: long, head: long, ..Limits::default() }).await;
    let image = running.server.publish(&[Sample::default().unified()]).await;
    let mut slow = tokio::task::JoinSet::new();
    for number in 0..2000 {
        let stream = running.plain().await;
        match number % 8 {
            0 => {
                let connector = running.connector(None, false);
                slow.spawn(async move {
                    let mut stream = connector.connect("images.example".try_into().unwrap(), stream).await.unwrap();
                    let _ = stream.read(&mut [0]).await;
                });
            }
            1..4 => _ = slow.spawn(trickle(stream, b"GET /1.0/images HTTP/1.1\r\nHost: x\r\nX: ")),
            4 => _ = slow.spawn(trickle(stream, b"\x16\x03\x01\x01\x40")),
            _ => {
                slow.spawn(async move {
                    let mut stream = stream;
                    let _ = stream.read(&mut [0]).await;
                });
            }
        }
    }
    let since = Instant::now();
    let answer = ask(running.secured().await, &get("/1.0/images")).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(&image), "{answer}");
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!(slow.len(), 2000);
    assert!(slow.try_join_next().is_none(), "they are all still there");
    slow.shutdown().await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_leaves_places_for_the_others() {
    let running = running(Limits { connections: 8, connections_per_client: 2, ..Limits::default() }).await;
    let held = [running.plain().await, running.plain().await];
    let health = get("/healthz");
    assert_eq!(ask(from(&running, 2).await, &health).await.lines().last(), Some("ok"));
    let mut further = running.plain().await;
    let _ = further.write_all(health.as_bytes()).await;
    let mut answer = Vec::new();
    let _ =
        tokio::time::timeout(Duration::from_secs(5), further.read_to_end(&mut answer)).await.expect("closed at once");
    assert!(answer.is_empty());
    drop(held);
    for attempt in 0.. {
        let mut stream = running.plain().await;
        let _ = stream.write_all(health.as_bytes()).await;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        if answer.ends_with("ok\n") {
            break;
        }
        assert!(attempt < 100, "places are given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.end().await;
}

/// Sends the head and then a body for as long as the server takes it; what is heard meanwhile, and whether that ended in order.
async fn upload<S>(stream: S, head: &str, bytes: usize) -> (String, std::io::Result<usize>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut hear, mut say) = tokio::io::split(stream);
    let head = head.to_owned();
    let saying = tokio::spawn(async move {
        say.write_all(head.as_bytes()).await?;
        for _ in 0..bytes.div_ceil(64 * 1024) {
            say.write_all(&[0; 64 * 1024]).await?;
        }
        say.flush().await
    });
    // A client that is busy sending hears a little later.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut heard = Vec::new();
    let outcome = tokio::time::timeout(Duration::from_secs(10), hear.read_to_end(&mut heard)).await.expect("an end");
    // Clients such as Go's report the broken pipe, and not what they were told.
    if saying.is_finished() {
        saying.await.unwrap().expect("the server goes on taking what is sent, or lets it wait");
    } else {
        saying.abort();
    }
    (String::from_utf8_lossy(&heard).into_owned(), outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_while_sending_hears_why() {
    let running = running(Limits::default()).await;
    let size = 64 << 20;
    let head = format!("POST /1.0/images/00/refresh HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n");
    let chunked = "POST /1.0/images/00/refresh HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4000000\r\n";
    for head in [head.as_str(), chunked] {
        let (heard, outcome) = upload(running.secured().await, head, size).await;
        outcome.expect("closed in order");
        assert!(heard.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{heard}");
        assert!(
            heard.contains("\r\nconnection: close\r\n") && heard.contains("\"error\":\"not authorized\""),
            "{heard}"
        );
        let (heard, outcome) = upload(running.plain().await, head, size).await;
        outcome.expect("closed in order");
        assert!(heard.contains("this is answered over https only"), "{heard}");
    }
    // Without a body, the connection is kept.
    let mut kept = running.secured().await;
    for end in ["", "Connection: close\r\n"] {
        let head = format!("POST /1.0/images/00/refresh HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{end}\r\n");
        kept.write_all(head.as_bytes()).await.unwrap();
    }
    let mut heard = String::new();
    kept.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard.matches("HTTP/1.1 403").count(), 2, "{heard}");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_while_sending_over_http_2_hears_why() {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let running = running(Limits::default()).await;
    let connector = running.connector(None, true);
    let stream = connector.connect("localhost".try_into().unwrap(), running.plain().await).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    for size in [1, 64 << 20] {
        let body = Full::new(bytes::Bytes::from(vec![0; size]));
        let request = http::Request::post("https://x/1.0/images/00/refresh").body(body).unwrap();
        let answer = client.send_request(request).await.expect("an answer, and no broken stream");
        assert_eq!(answer.status(), 403, "{size}");
        let heard = answer.into_body().collect().await.expect("all of the answer").to_bytes();
        assert!(String::from_utf8_lossy(&heard).contains("\"error\":\"not authorized\""), "{size}: {heard:?}");
    }
    connection.abort();
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_does_not_wait_for_who_never_stops_sending() {
    let running = running(quick()).await;
    let mut stream = running.secured().await;
    stream
        .write_all(b"POST /1.0/images/00/refresh HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\nx")
        .await
        .unwrap();
    stream.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let since = Instant::now();
    running.end().await;
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_in_the_middle_of_a_body_hears_why() {
    let running = running(Limits { stall: Duration::from_secs(1), ..Limits::default() }).await;
    let mut stream = running.secured().await;
    let head =
        "POST /1.0/certificates HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut heard = String::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut heard)).await.expect("an end").unwrap();
    assert!(heard.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{heard}");
    assert!(heard.contains("\"error\":\"nothing of the body came for 1 s; send it again"), "{heard}");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_json_that_is_too_large_is_told_so() {
    let running = running(Limits::default()).await;
    let size = 8 << 20;
    let head = format!(
        "POST /1.0/certificates HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    );
    let (heard, outcome) = upload(running.secured().await, &head, size).await;
    outcome.expect("closed in order");
    assert!(heard.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{heard}");
    assert!(heard.contains("the body has more than 1048576 bytes, which is the limit here; send less"), "{heard}");
    running.end().await;
}
