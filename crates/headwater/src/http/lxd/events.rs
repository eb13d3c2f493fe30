//! `/1.0/events`: a websocket that tells what happens (LXD `lxd/events.go`, `lxd/events/connections.go`).

use http::Response;

use super::{Ask, Body, Failure, not_implemented};

/// Switches to the websocket.
pub(super) async fn get(ask: &Ask<'_>) -> Result<Response<Body>, Failure> {
    let _ = ask;
    Err(not_implemented())
}
