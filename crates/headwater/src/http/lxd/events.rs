//! `/1.0/events`: a websocket that tells what happens (LXD `lxd/events.go`, `lxd/events/connections.go`).

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use headwater_formats::timestamp::Timestamp;
use http::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::audience::Audience;
use super::{Ask, Body, Failure, NOT_AUTHORIZED};
use crate::auth::{Access, Identity};
use crate::http::State;
use crate::http::websocket::Handshake;
use crate::operations::Event;

/// What is sent with a ping, as the daemons do.
const PING: &[u8] = b"keepalive";
/// After so many pings without any answer a client is given up.
const PATIENCE: u32 = 3;
/// How many frames a client may send between two pings. It has nothing to say but answers to pings.
const MOST_FRAMES: u32 = 64;
/// How long it is listened to after the goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);
/// How long clients are told of the last tasks when the server ends.
const END_LIMIT: Duration = Duration::from_secs(12);

/// Switches to the websocket. Frames are in the order in which things happened; the operation that one tells of can be asked for by then.
pub(super) async fn get(ask: &Ask<'_>) -> Result<Response<Body>, Failure> {
    let bad = |sentence: String| Failure::Told(StatusCode::BAD_REQUEST, sentence);
    let audience = Audience::new(ask).await?;
    let handshake = Handshake::read(ask.request).map_err(|refusal| bad(refusal.to_string()))?;
    // Before the answer, so that what the client does after it is not missed.
    let events = ask.state.operations.subscribe().await?;
    let state = Arc::clone(ask.state);
    let operations = state.operations.clone();
    Ok(handshake.answer(move |socket, ending| async move {
        let ended = async move {
            ending.cancelled().await;
            let _ = tokio::time::timeout(END_LIMIT, operations.ended().cancelled()).await;
        };
        Talk { socket, events, audience, source: state, pace: Pace::default() }.run(ended).await;
    }))
}

/// What a talk asks now and then.
trait Source {
    /// The time.
    fn now(&self) -> Timestamp;

    /// What somebody may do now, whom the server knew when the talk began; `None` when it knows him no more.
    async fn access(&self, identity: &Identity) -> Option<Access>;
}

impl Source for Arc<State> {
    fn now(&self) -> Timestamp {
        (self.now)()
    }

    async fn access(&self, identity: &Identity) -> Option<Access> {
        match self.app.catalog.identity(identity.id, Source::now(self)).await {
            Ok(found) => found.map(|identity| Access::of(Arc::new(identity))),
            // The catalog is away for a moment; nothing new comes from it then.
            Err(error) => {
                tracing::debug!(%error, "it is not known whether a listener is still trusted");
                Some(Access::of(Arc::new(identity.clone())))
            }
        }
    }
}

/// A websocket and what is told over it.
struct Talk<S, T> {
    socket: WebSocketStream<S>,
    events: Receiver<Event>,
    audience: Audience,
    source: T,
    pace: Pace,
}

/// How patient a talk is.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How often the client is asked whether it is there; first at once.
    ping: Duration,
    /// How long it may take to take one frame.
    send: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { ping: Duration::from_secs(10), send: Duration::from_secs(10) }
    }
}

/// Why a talk ends.
enum End {
    /// The client is gone, or does not take what it is sent: nothing can be said to it.
    Gone,
    /// It is said why.
    Goodbye(CloseCode, &'static str),
}

const TOO_SLOW: End = End::Goodbye(CloseCode::Policy, "events were lost, because they were not taken fast enough");
const TOO_LOUD: End = End::Goodbye(CloseCode::Policy, "this address tells events, and listens to nothing");
const REVOKED: End = End::Goodbye(CloseCode::Policy, NOT_AUTHORIZED);
const SERVER_ENDS: End = End::Goodbye(CloseCode::Away, "the server is ending");

impl<S: AsyncRead + AsyncWrite + Unpin, T: Source> Talk<S, T> {
    /// Tells until the client leaves or is given up, or `ended`.
    async fn run(mut self, ended: impl Future<Output = ()>) {
        match self.talk(ended).await {
            End::Gone => {}
            End::Goodbye(code, reason) => {
                let goodbye = CloseFrame { code, reason: reason.into() };
                let _ = tokio::time::timeout(GOODBYE_LIMIT, async {
                    self.socket.close(Some(goodbye)).await?;
                    while let Some(frame) = self.socket.next().await {
                        frame?;
                    }
                    Ok::<_, Error>(())
                })
                .await;
            }
        }
    }

    async fn talk(&mut self, ended: impl Future<Output = ()>) -> End {
        let mut ping = tokio::time::interval(self.pace.ping);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ended = std::pin::pin!(ended);
        let (mut unanswered, mut frames) = (0, 0);
        loop {
            let done = tokio::select! {
                event = self.events.recv() => match event {
                    Ok(event) => self.tell(&event).await,
                    Err(RecvError::Lagged(_)) => Err(TOO_SLOW),
                    Err(RecvError::Closed) => Err(SERVER_ENDS),
                },
                frame = self.socket.next() => match frame {
                    None | Some(Err(_)) => Err(End::Gone),
                    Some(Ok(_)) if frames >= MOST_FRAMES => Err(TOO_LOUD),
                    Some(Ok(_)) => {
                        (unanswered, frames) = (0, frames + 1);
                        Ok(())
                    }
                },
                _ = ping.tick() => {
                    (unanswered, frames) = (unanswered + 1, 0);
                    match unanswered > PATIENCE {
                        true => Err(End::Gone),
                        false => self.ping().await,
                    }
                }
                () = &mut ended => return self.last_words().await,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn tell(&mut self, event: &Event) -> Result<(), End> {
        match self.audience.frame(event, self.source.now()) {
            Some(frame) => self.send(Message::text(frame)).await,
            None => Ok(()),
        }
    }

    /// Who was known when it began may be known no more, or may do less.
    async fn ping(&mut self) -> Result<(), End> {
        if let Some(identity) = self.audience.access().identity().cloned() {
            match self.source.access(&identity).await {
                Some(access) => self.audience.set_access(access),
                None => return Err(REVOKED),
            }
        }
        self.send(Message::Ping(PING.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match tokio::time::timeout(self.pace.send, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(End::Gone),
        }
    }

    /// What was still to be told when the server's last task had ended.
    async fn last_words(&mut self) -> End {
        loop {
            match self.events.try_recv() {
                Ok(event) => {
                    if let Err(end) = self.tell(&event).await {
                        return end;
                    }
                }
                Err(TryRecvError::Lagged(_)) => return TOO_SLOW,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return SERVER_ENDS,
            }
        }
    }
}

#[cfg(test)]
mod tests;
