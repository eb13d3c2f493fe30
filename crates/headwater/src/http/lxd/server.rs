//! `GET /1.0`: what the server is. Daemons ask for it before every pull, so guests get 200 (LXD `lxd/api_1.0.go`).

use std::collections::BTreeMap;

use headwater_formats::lxd::server::{Environment, Server, ServerGuest};
use headwater_formats::lxd::{Envelope, etag};
use headwater_formats::names::ProjectName;
use http::{Response, StatusCode, header};

use super::{Ask, Body, Failure, json, sync};
use crate::auth::IdentityKind;
use crate::http::respond;

/// The server as the caller sees it: guests see what they need to become trusted, all others also what it is.
pub(super) async fn get(ask: &Ask<'_>) -> Result<Response<Body>, Failure> {
    let Some(identity) = ask.caller.access.identity() else { return sync(ServerGuest::default()) };
    let about = ask.state.about();
    let architectures: Vec<&str> = ask.state.settings.architectures.iter().map(|one| one.name()).collect();
    let server = Server {
        guest: ServerGuest { auth: "trusted", ..ServerGuest::default() },
        auth_user_name: &identity.subject,
        auth_user_method: match identity.kind {
            IdentityKind::Certificate => "tls",
            IdentityKind::Token => "bearer",
        },
        environment: Environment {
            addresses: &about.addresses,
            architectures: &architectures,
            certificate: &about.certificate,
            certificate_fingerprint: &about.fingerprint,
            project: effective(ask.query.get("project")),
            server: "headwater",
            server_name: &about.name,
            server_pid: std::process::id(),
            server_version: about.version,
            ..Environment::default()
        },
    };
    let mut response = json(StatusCode::OK, &Envelope::sync(&server))?;
    respond::set(&mut response, header::ETAG, etag::server(&BTreeMap::new()));
    Ok(response)
}

/// The project that the caller means, said back to it. Whether it is there is no question here: clients ask for the server
/// before they look at the project.
fn effective(project: Option<&str>) -> &str {
    project.filter(|name| ProjectName::new(*name).is_ok()).unwrap_or("default")
}

/// `PUT` and `PATCH`: settings are not changed over the API.
pub(super) fn change() -> Result<Response<Body>, Failure> {
    Err(Failure::Told(
        StatusCode::NOT_IMPLEMENTED,
        "the settings of this server are in its configuration file and cannot be changed over the API; \
         `headwater serve --print-config` shows what there is"
            .to_owned(),
    ))
}
