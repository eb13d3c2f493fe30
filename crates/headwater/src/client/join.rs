//! Joining a server with a token that one of its administrators made: it is shown our certificate, and knows it from then on
//! (LXD `lxc/remote.go`, Incus `cmd/incus/remote.go`).
//!
//! The token says which certificate the server has, so that nothing is sent to anybody else.

use headwater_formats::lxd::JoinToken;
use headwater_formats::timestamp::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::ask::Session;
use super::credential::{ClientCertificate, Credential};
use super::trust::{Named, Trust};
use super::{Client, ClientError, origin};

/// What a server says of itself, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct About {
    auth: String,
    api_extensions: Option<Vec<String>>,
}

impl Client {
    /// Joins the server at that address with a token, as this certificate. Gives the server's own certificate in PEM: the one to pin.
    ///
    /// # Errors
    /// When the token has ended, the server is another one than it names, or does not take it.
    pub async fn join(
        &self,
        address: &str,
        token: &JoinToken,
        certificate: &ClientCertificate,
        now: Timestamp,
    ) -> Result<String, ClientError> {
        if token.expires_at.0.is_some_and(|end| end <= now) {
            return Err(ClientError::Credential("the token to join with has ended; have a new one made"));
        }
        // Streams can be at any path of a server, its API is at none.
        let mut address = origin::address(address)?;
        address.set_path("");
        address.set_query(None);
        let (named, seen) = Named::new(&token.fingerprint)?;
        let shown = Credential::Certificate(certificate.clone());
        let session = Session::new(&address, &Trust::Named(named), &shown, &self.limits, &self.user_agent())?;
        let about: About = session.api(session.address(["1.0"], &[])?).await?;
        let word = token.to_string();
        // LXD takes a token as a password unless it says otherwise, Incus as what it is; either passes over what it does not know.
        let explicit = about.api_extensions.unwrap_or_default().iter().any(|name| name == "explicit_trust_token");
        let body = if explicit {
            json!({"type": "client", "trust_token": word})
        } else {
            json!({"type": "client", "trust_token": word, "password": word})
        };
        let request = session
            .request(Method::POST, session.address(["1.0", "certificates"], &[])?)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string());
        let response = session.send(request).await?;
        if !response.status().is_success() {
            return Err(session.refusal(response).await);
        }
        let about: About = session.api(session.address(["1.0"], &[])?).await?;
        if about.auth != "trusted" {
            return Err(ClientError::nonsense(&session.name, "took the token, and does not know who joined with it"));
        }
        seen.pem().ok_or_else(|| ClientError::nonsense(&session.name, "showed no certificate"))
    }
}
