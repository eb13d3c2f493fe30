//! A talk over a pipe in memory, with a client of the same library at the other end.

use std::sync::Mutex;

use headwater_formats::lxd::Status;
use headwater_formats::names::ProjectName;
use serde_json::{Map, Value};
use tokio::io::DuplexStream;
use tokio::sync::broadcast::{self, Sender};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::auth::{Actor, IdentityId, IdentityKind};
use crate::catalog::{OperationClass, StoredOperation};
use crate::http::websocket;

/// Everybody is whom this says.
#[derive(Clone)]
struct Known(Arc<Mutex<Option<Access>>>);

impl Source for Known {
    fn now(&self) -> Timestamp {
        Timestamp::EPOCH
    }

    async fn access(&self, _: &Identity) -> Option<Access> {
        self.0.lock().unwrap().clone()
    }
}

fn administrator() -> Access {
    Access::of(Arc::new(Identity {
        id: IdentityId(1),
        kind: IdentityKind::Certificate,
        name: "ann".into(),
        description: String::new(),
        subject: "00".repeat(32),
        certificate: None,
        administrator: true,
        grants: Vec::new(),
        view: None,
        created_at: Timestamp::EPOCH,
        expires_at: None,
        last_used_at: None,
    }))
}

struct Line {
    client: WebSocketStream<DuplexStream>,
    events: Sender<Event>,
    known: Known,
    ended: CancellationToken,
    talk: JoinHandle<()>,
}

async fn line(pace: Pace) -> Line {
    // Small enough that a client that does not read stops the server.
    let (ours, theirs) = tokio::io::duplex(4096);
    let events = broadcast::Sender::new(8);
    let known = Known(Arc::new(Mutex::new(Some(administrator()))));
    let ended = CancellationToken::new();
    let socket = WebSocketStream::from_raw_socket(ours, Role::Server, Some(websocket::config())).await;
    let audience = Audience::all(administrator());
    let talk = Talk { socket, events: events.subscribe(), audience, source: known.clone(), pace };
    let until = ended.clone();
    let talk = tokio::spawn(async move { talk.run(until.cancelled()).await });
    let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    Line { client, events, known, ended, talk }
}

fn event(description: &str) -> Event {
    Event::Operation(Arc::new(StoredOperation {
        id: "1".into(),
        change: 1,
        class: OperationClass::Task,
        description: description.into(),
        project: ProjectName::default_project(),
        created_at: Timestamp::EPOCH,
        updated_at: Timestamp::EPOCH,
        status: Status::Running,
        resources: Default::default(),
        metadata: Map::new(),
        may_cancel: true,
        error: String::new(),
        server: String::new(),
        identity: Actor::server().subject,
        purpose: None,
        expires_at: None,
    }))
}

fn quick() -> Pace {
    Pace { ping: Duration::from_millis(50), send: Duration::from_millis(200) }
}

impl Line {
    async fn next(&mut self) -> Option<Message> {
        let next = tokio::time::timeout(Duration::from_secs(20), self.client.next());
        next.await.expect("something comes").and_then(Result::ok)
    }

    /// The next frame that is no ping.
    async fn told(&mut self) -> Option<Message> {
        loop {
            match self.next().await {
                Some(Message::Ping(_)) => {}
                other => return other,
            }
        }
    }

    async fn is_over(self) {
        tokio::time::timeout(Duration::from_secs(20), self.talk).await.expect("the talk ends").unwrap();
    }

    async fn is_said_goodbye(mut self, code: CloseCode, reason: &str) {
        match self.told().await {
            Some(Message::Close(Some(goodbye))) => {
                assert_eq!((goodbye.code, goodbye.reason.as_str()), (code, reason));
            }
            other => panic!("{other:?}"),
        }
        self.is_over().await;
    }
}

#[tokio::test]
async fn a_ping_comes_first_and_then_events_as_text() {
    let mut line = line(Pace::default()).await;
    assert_eq!(line.next().await, Some(Message::Ping(PING.into())));
    for description in ["one", "two"] {
        line.events.send(event(description)).unwrap();
    }
    for description in ["one", "two"] {
        let Some(Message::Text(text)) = line.told().await else { panic!("no text") };
        let told: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(told["metadata"]["description"], description);
    }
    line.client.close(None).await.unwrap();
    line.is_over().await;
}

#[tokio::test]
async fn who_answers_pings_stays_and_who_does_not_is_given_up() {
    let mut present = line(quick()).await;
    for _ in 0..3 * PATIENCE {
        // Reading answers it.
        assert!(matches!(present.next().await, Some(Message::Ping(_))));
    }
    assert!(!present.talk.is_finished());
    let absent = line(quick()).await;
    absent.is_over().await;
}

#[tokio::test]
async fn who_does_not_read_is_given_up() {
    let line = line(Pace { ping: Duration::from_secs(60), ..quick() }).await;
    line.events.send(event(&"long ".repeat(10_000))).unwrap();
    line.is_over().await;
}

#[tokio::test]
async fn who_misses_events_is_told_so() {
    let line = line(Pace::default()).await;
    // All at once: the talk has had no turn to take one.
    for _ in 0..50 {
        line.events.send(event("many")).unwrap();
    }
    line.is_said_goodbye(CloseCode::Policy, "events were lost, because they were not taken fast enough").await;
}

#[tokio::test]
async fn who_talks_is_told_that_nobody_listens() {
    let mut chatty = line(Pace::default()).await;
    assert!(matches!(chatty.next().await, Some(Message::Ping(_))));
    for _ in 0..MOST_FRAMES - 1 {
        chatty.client.send(Message::text("hello")).await.unwrap();
    }
    chatty.events.send(event("still there")).unwrap();
    assert!(matches!(chatty.told().await, Some(Message::Text(_))), "a little is ignored");
    for _ in 0..2 {
        chatty.client.send(Message::text("hello")).await.unwrap();
    }
    chatty.is_said_goodbye(CloseCode::Policy, "this address tells events, and listens to nothing").await;

    let mut large = line(Pace::default()).await;
    let _ = large.client.send(Message::text("x".repeat(100_000))).await;
    large.is_over().await;
}

#[tokio::test]
async fn who_is_no_longer_known_hears_nothing_more() {
    let mut line = line(quick()).await;
    assert!(matches!(line.next().await, Some(Message::Ping(_))));
    *line.known.0.lock().unwrap() = None;
    line.is_said_goodbye(CloseCode::Policy, "not authorized").await;
}

#[tokio::test]
async fn who_may_do_less_hears_less() {
    let mut line = line(quick()).await;
    let identity = administrator().identity().unwrap().as_ref().clone();
    *line.known.0.lock().unwrap() = Some(Access::of(Arc::new(Identity { administrator: false, ..identity })));
    for _ in 0..3 {
        assert!(matches!(line.next().await, Some(Message::Ping(_))));
    }
    line.events.send(event("hidden")).unwrap();
    for _ in 0..3 {
        assert!(matches!(line.next().await, Some(Message::Ping(_))), "nothing but pings");
    }
}

#[tokio::test]
async fn the_last_events_are_told_before_the_server_ends() {
    let mut line = line(Pace::default()).await;
    assert!(matches!(line.next().await, Some(Message::Ping(_))));
    line.events.send(event("last")).unwrap();
    line.ended.cancel();
    assert!(matches!(line.told().await, Some(Message::Text(text)) if text.contains("last")));
    line.is_said_goodbye(CloseCode::Away, "the server is ending").await;
}
