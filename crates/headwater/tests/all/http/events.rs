//! `/1.0/events`: the handshake, and what is told over a real connection.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use headwater::auth::{Actor, Role, Secret};
use headwater::http::accept::Limits;
use headwater::operations::NewTask;
use headwater_formats::names::ProjectName;
use http::Method;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role as End;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::kit::{Server, now};
use super::people::{May, bearer};
use super::sockets::{Running, running};
use headwater::http::Connection;

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Opens a websocket as the clients do; the key and its answer are the example of RFC 6455, section 1.3.
async fn open(running: &Running, secret: &Secret, query: &str) -> Socket {
    let mut stream = running.secured().await;
    let request = format!(
        "GET /1.0/events{query} HTTP/1.1\r\nHost: x\r\n{}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        bearer(secret)
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101 switching protocols\r\n"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
    assert!(!head.contains("sec-websocket-protocol") && !head.contains("sec-websocket-extensions"), "{head}");
    WebSocketStream::from_raw_socket(stream, End::Client, None).await
}

async fn next(socket: &mut Socket) -> Message {
    let next = tokio::time::timeout(Duration::from_secs(20), socket.next());
    next.await.expect("something comes").expect("it goes on").unwrap()
}

/// The next event.
async fn told(socket: &mut Socket) -> Value {
    loop {
        match next(socket).await {
            Message::Ping(_) => {}
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

fn keep(server: &Server) {
    let operations = server.state.operations().clone();
    tokio::spawn(async move { operations.keep().await });
}

async fn finish(server: &Server, description: &str, project: &str) {
    let task = NewTask::new(description, ProjectName::new(project).unwrap());
    server.state.operations().done(&Arc::new(Actor::server()), task, Ok(Map::new())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_until_the_server_ends() {
    let running = running(Limits::default()).await;
    keep(&running.server);
    let (ann, _) = running.server.token("ann", May::everything()).await;
    let mut socket = open(&running, &ann, "").await;
    assert_eq!(next(&mut socket).await, Message::Ping(b"keepalive".as_slice().into()));
    finish(&running.server, "Deleting image", "default").await;
    let event = told(&mut socket).await;
    assert_eq!(
        (&event["type"], &event["location"], &event["project"]),
        (&"operation".into(), &"none".into(), &"default".into())
    );
    assert_eq!(event["timestamp"], now().rfc3339());
    let operation = &event["metadata"];
    assert_eq!((&operation["status"], &operation["description"]), (&"Success".into(), &"Deleting image".into()));
    let path = format!("/1.0/operations/{}", operation["id"].as_str().unwrap());
    let answer = running.server.get(&path, &[&bearer(&ann)]).await;
    assert_eq!(answer.json()["metadata"], *operation, "it can be asked for when it is told");

    let mut everywhere = open(&running, &ann, "?all-projects=true&type=lifecycle").await;
    // By another handle of the catalog, as the command line has one.
    running.server.make_project("team").await;
    let event = told(&mut everywhere).await;
    assert_eq!((&event["type"], &event["project"]), (&"lifecycle".into(), &"team".into()));
    assert_eq!(event["metadata"]["action"], "project-created");
    assert_eq!(event["metadata"]["source"], "/1.0/projects/team");

    running.ending.cancel();
    for mut socket in [socket, everywhere] {
        loop {
            match next(&mut socket).await {
                Message::Close(Some(goodbye)) => {
                    assert_eq!((goodbye.code, goodbye.reason.as_str()), (CloseCode::Away, "the server is ending"));
                    break;
                }
                Message::Ping(_) | Message::Text(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_hears_of_their_own_projects() {
    let running = running(Limits::default()).await;
    keep(&running.server);
    running.server.make_project("team").await;
    let (viewer, _) = running.server.token("viewer", May::be("team", Role::Viewer)).await;
    let (ann, _) = running.server.token("ann", May::everything()).await;
    let mut of_viewer = open(&running, &viewer, "?all-projects=true&type=operation").await;
    let mut of_ann = open(&running, &ann, "?project=team&type=operation").await;
    finish(&running.server, "hidden", "default").await;
    finish(&running.server, "seen", "team").await;
    for socket in [&mut of_viewer, &mut of_ann] {
        assert_eq!(told(socket).await["metadata"]["description"], "seen", "and nothing before it");
    }
    running.end().await;
}

#[tokio::test]
async fn what_is_refused_and_why() {
    let server = Server::new().await;
    let (ann, _) = server.token("ann", May::everything()).await;
    server.get("/1.0/events", &[]).await.is_api_error(403, "not authorized");
    for (query, status, sentence) in [
        ("", 400, "this address speaks WebSocket (RFC 6455) only; send Upgrade: websocket and Connection: Upgrade"),
        ("?project=unknown", 404, "Project not found"),
        ("?project=default&all-projects=true", 400, "all-projects and project exclude each other; leave one out"),
        (
            "?type=operation,weather",
            400,
            "there are no events of type \"weather\"; the types are operation, lifecycle, logging, network-acl, ovn",
        ),
    ] {
        let path = format!("/1.0/events{query}");
        let answer = server.ask(&Connection::test_tls(), Method::GET, &path, &[&bearer(&ann)]).await;
        answer.is_api_error(status, sentence);
    }
}
