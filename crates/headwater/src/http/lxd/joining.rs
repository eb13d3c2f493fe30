//! Joining: a client shows its certificate and a token, and is known from then on.
//!
//! The token says what the client will be called and what it may do; nothing of that is taken from the request. It is good once. The
//! certificate is that of the TLS session, whose key the client holds: one in the body would prove nothing.

use headwater_formats::lxd::JoinToken;
use http::Response;

use super::certificates::{Wanted, address, bad, credential, forbidden, told};
use super::{Ask, Body, Failure, NOT_AUTHORIZED, background, created};
use crate::auth::{Certificate, Grant, Secret, SecretHash};
use crate::catalog::{CatalogError, IdentityEdit, Join, NewIdentity};
use crate::http::guard::Claim;
use crate::operations::{Invitation, JOIN_SECONDS};

/// Joins with this proof: a whole token, or the secret in it. LXD sends either as `password`, Incus and later LXD as
/// `trust_token`. Who tries wrong ones waits longer and longer.
///
/// Who is known already gets what the token allows in addition to what it may do, where the daemons would say that it is trusted
/// already and the client would give up: `lxc` has one certificate for all of its remotes.
pub(super) async fn join(ask: &Ask<'_>, proof: &str) -> Result<Response<Body>, Failure> {
    let now = ask.now();
    let Some(shown) = &ask.caller.certificate else { return Err(bad("No client certificate provided")) };
    // Before the token is used up, for the client can mend this and come again.
    let certificate = Certificate::from_der(&shown.der, now)?;
    let word = proof.parse::<JoinToken>().ok();
    if word.as_ref().and_then(|word| word.expires_at.0).is_some_and(|end| end <= now) {
        return Err(forbidden("Token has expired"));
    }
    if Secret::parse(proof.trim()).is_ok() {
        return Err(forbidden(
            "this is an access token, which is sent with each request; a token to join with is made by `headwater trust add`",
        ));
    }
    let secret = word.as_ref().map_or(proof.trim(), |word| &word.secret);
    let catalog = ask.catalog();
    let Some(join) = catalog.take_join_token(&SecretHash::of(secret), now).await? else {
        ask.wrong_secret(Claim::Certificate(&certificate.fingerprint)).await?;
        return Err(forbidden(if word.is_some() {
            "No matching certificate add operation found"
        } else {
            NOT_AUTHORIZED
        }));
    };
    let identity = match catalog.identity_by_certificate(&certificate.fingerprint, now).await? {
        Some(known) => {
            let edit = IdentityEdit {
                administrator: Some(known.administrator || join.administrator),
                grants: Some(Grant::together(&known.grants, &join.grants)),
                ..IdentityEdit::default()
            };
            catalog.edit_identity(known.id, &edit, now).await.map_err(told)?
        }
        None => catalog.add_identity(&joined(join, certificate), now).await.map_err(told)?,
    };
    created(address(&identity))
}

fn joined(join: Join, certificate: Certificate) -> NewIdentity {
    NewIdentity {
        credential: credential(certificate),
        name: join.name,
        description: join.description,
        administrator: join.administrator,
        grants: join.grants,
        view: None,
        expires_at: None,
    }
}

/// Makes a token to join with.
pub(super) async fn invite(
    ask: &Ask<'_>,
    name: String,
    description: String,
    wanted: Wanted,
) -> Result<Response<Body>, Failure> {
    wanted.check(&ask.caller.access)?;
    if name.trim().is_empty() {
        return Err(bad("a token to join with needs a name, which its client will have; send one as name"));
    }
    if [&name, &description].iter().any(|text| text.contains('\0')) {
        return Err(bad(&CatalogError::Text.to_string()));
    }
    let grants = wanted.grants(&[]);
    for grant in &grants {
        // Now rather than when somebody joins.
        if ask.state.app.catalog.project(&ask.caller.viewer, &grant.project).await?.is_none() {
            return Err(Failure::not_found("Project not found"));
        }
    }
    let about = ask.state.about();
    if about.addresses.is_empty() || about.fingerprint.is_empty() {
        return Err(bad(
            "Can't issue token when server isn't listening on network; its operator says where it is reached with `addresses` in the configuration",
        ));
    }
    let invitation = Invitation {
        join: Join { name, description, administrator: wanted.is_administrator(), grants },
        fingerprint: about.fingerprint,
        addresses: about.addresses,
        expires_at: Some(ask.now().plus_seconds(JOIN_SECONDS)),
    };
    background(&ask.state.operations.token(&ask.caller.actor, invitation.token()).await?)
}
