//! Who is asking: the one place where a request becomes a [`Caller`].
//!
//! A request without credentials is a guest's, and sees public images. A token comes in an `Authorization` header (`Bearer`, or
//! `Basic` with the token as password and any user name), or in the address. Where neither is, a TLS client certificate counts;
//! one that nobody here knows is no credential: LXD and Incus send theirs to every server (LXD `client/connection.go`). All
//! other credentials that are presented and not known are an error, never silently a guest: people would see "not found"
//! and look for the wrong fault.
//!
//! An identity is looked up for every request, so that what is granted or revoked holds from the next one on. This file does
//! not know what is being asked for.

use std::net::IpAddr;
use std::sync::Arc;

use data_encoding::BASE64;
use headwater_formats::timestamp::Timestamp;
use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode, header};

use super::guard::{Busy, Claim};
use super::tls::ClientCertificate;
use super::{Connection, State, Transport};
use crate::auth::{Access, Actor, Identity, Secret, Viewer};
use crate::catalog::CatalogError;

/// Somebody, for the length of one request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What they may see: [`Access::viewer`].
    pub viewer: Viewer,
    /// What they may see and do.
    pub access: Access,
    /// Whom the audit names.
    pub actor: Arc<Actor>,
    /// The certificate that the client showed, whether it counts or not: with it, somebody may join.
    pub certificate: Option<Arc<ClientCertificate>>,
}

impl Caller {
    /// Somebody with these rights, at that address.
    pub fn new(access: Access, address: Option<IpAddr>) -> Self {
        let actor = match access.identity() {
            Some(identity) => Actor::identity(identity, address),
            None => Actor::guest(address),
        };
        Self { viewer: access.viewer().clone(), access, actor: Arc::new(actor), certificate: None }
    }

    /// The saved view that the caller's token is bound to.
    pub fn is_bound_to_a_view(&self) -> bool {
        self.access.identity().is_some_and(|identity| identity.view.is_some())
    }
}

/// Why credentials are not taken. The sentence is what the client is told, where its protocol has no words for it.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// They are not known here.
    #[error("the credentials that were sent are not known here; leave them out to see what is public")]
    Unknown,
    /// The token in the address is not known here.
    #[error(transparent)]
    InAddress(super::route::RouteError),
    /// There is a token in the address, and another one, or something else, in a header.
    #[error("the address and the Authorization header carry different credentials; send one of them")]
    Two,
    /// Too many were wrong.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// They could not be looked up.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Refused {
    /// The status that goes with the sentence where the protocol has none of its own.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unknown => StatusCode::UNAUTHORIZED,
            Self::InAddress(error) => error.status(),
            Self::Two => StatusCode::BAD_REQUEST,
            Self::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Catalog(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Headers by which a client of the LXD API says that it will not be taken for a guest
/// (LXD `client/lxd.go`, Incus `client/incus.go`).
const INSISTS: [HeaderName; 2] =
    [HeaderName::from_static("x-lxd-authenticated"), HeaderName::from_static("x-incus-authenticated")];

/// Finds out who is asking; `in_address` is the token that stands in the address.
pub async fn resolve(
    state: &State,
    request: &Parts,
    connection: &Connection,
    in_address: Option<&Secret>,
) -> Result<Caller, Refused> {
    let identity = match (Presented::read(&request.headers), in_address) {
        (Some(presented), Some(secret)) if presented.token.as_ref() != Some(secret) => return Err(Refused::Two),
        (Some(presented), _) => {
            let claim = presented.claim();
            Some(by_token(state, connection, presented.token.as_ref(), claim, Refused::Unknown).await?)
        }
        (None, Some(secret)) => {
            let unknown = Refused::InAddress(super::route::RouteError::NoToken);
            Some(by_token(state, connection, Some(secret), Claim::Token(secret.prefix()), unknown).await?)
        }
        (None, None) => by_certificate(state, connection).await?,
    };
    let insists = insists(request);
    let access = match identity {
        Some(identity) => {
            state.seen.note(identity.id);
            Access::of(Arc::new(identity))
        }
        None if insists => return Err(Refused::Unknown),
        None => Access::guest(),
    };
    let certificate = match &connection.transport {
        Transport::Tls(certificate) => certificate.clone(),
        Transport::Plain => None,
    };
    Ok(Caller { certificate, ..Caller::new(access, Some(connection.peer.ip().to_canonical())) })
}

async fn by_token(
    state: &State,
    connection: &Connection,
    token: Option<&Secret>,
    claim: Claim<'_>,
    unknown: Refused,
) -> Result<Identity, Refused> {
    let found = match token {
        Some(token) => state.app.catalog.identity_by_token(&token.hash(), (state.now)()).await?,
        None => None,
    };
    match found {
        Some(identity) => {
            state.guard.succeeded(claim).await;
            Ok(identity)
        }
        None => {
            state.guard.failed(connection.peer.ip(), claim).await?;
            Err(unknown)
        }
    }
}

async fn by_certificate(state: &State, connection: &Connection) -> Result<Option<Identity>, Refused> {
    let Transport::Tls(Some(certificate)) = &connection.transport else { return Ok(None) };
    let now = (state.now)();
    // Before the look-up: what is noted must not be newer than what was seen.
    let moment = state.app.catalog.moment().await?;
    if state.remembered.is_stranger(&certificate.fingerprint, moment) {
        return Ok(None);
    }
    let found = state.app.catalog.identity_by_certificate(&certificate.fingerprint, now).await?;
    if found.is_none() {
        state.remembered.note_stranger(&certificate.fingerprint, moment);
    }
    Ok(found.filter(|_| is_valid(&certificate.der, now)))
}

/// Whether a certificate's own dates let it count, as the daemons ask at every request (LXD `lxd/util/net.go`
/// `CheckTrustState`).
fn is_valid(der: &[u8], now: Timestamp) -> bool {
    x509_parser::parse_x509_certificate(der).is_ok_and(|(_, certificate)| {
        let validity = certificate.validity();
        (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now.unix())
    })
}

/// What an `Authorization` header says.
#[derive(Debug, PartialEq, Eq)]
struct Presented {
    /// The token, if it can be one.
    token: Option<Secret>,
    /// The user name that came with it.
    user: Option<String>,
}

impl Presented {
    /// Reads the header; `None` when there is none. Several at once are nobody's.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(header::AUTHORIZATION).iter();
        let line = lines.next()?;
        let nobody = Self { token: None, user: None };
        if lines.next().is_some() {
            return Some(nobody);
        }
        let Some((scheme, rest)) = line.to_str().ok().and_then(|text| text.trim().split_once(' ')) else {
            return Some(nobody);
        };
        let rest = rest.trim_start();
        Some(if scheme.eq_ignore_ascii_case("bearer") {
            Self { token: Secret::parse(rest).ok(), user: None }
        } else if scheme.eq_ignore_ascii_case("basic") {
            let pair = BASE64.decode(rest.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            match pair.as_deref().and_then(|pair| pair.split_once(':')) {
                Some((user, password)) => {
                    Self { token: Secret::parse(password).ok(), user: Some(user.to_owned()).filter(|u| !u.is_empty()) }
                }
                None => nobody,
            }
        } else {
            nobody
        })
    }

    fn claim(&self) -> Claim<'_> {
        match (&self.user, &self.token) {
            (Some(user), _) => Claim::User(user),
            (None, Some(token)) => Claim::Token(token.prefix()),
            (None, None) => Claim::Nobody,
        }
    }
}

/// Whether the client will not be taken for a guest.
pub(super) fn insists(request: &Parts) -> bool {
    INSISTS.iter().any(|name| request.headers.get(name).is_some_and(|value| value.as_bytes() == b"true"))
}

/// Whether the request carries credentials that a person typed or a program keeps.
pub(super) fn presents(request: &Parts) -> bool {
    request.headers.contains_key(header::AUTHORIZATION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(lines: &[&str]) -> Option<Presented> {
        let lines = lines.iter().map(|line| (header::AUTHORIZATION, HeaderValue::from_str(line).unwrap()));
        Presented::read(&HeaderMap::from_iter(lines))
    }

    #[test]
    fn headers_as_clients_write_them() {
        let text = format!("hw_{}", "a".repeat(40));
        let token = Some(Secret::parse(&text).unwrap());
        let basic = |pair: &str| format!("Basic {}", BASE64.encode(pair.as_bytes()));
        let nobody = Presented { token: None, user: None };
        assert_eq!(read(&[]), None);
        for line in [format!("Bearer {text}"), format!("bearer  {text}"), basic(&format!(":{text}"))] {
            let presented = read(&[&line]).unwrap();
            assert_eq!(presented, Presented { token: token.clone(), user: None }, "{line}");
            assert_eq!(presented.claim(), Claim::Token("hw_aaaaaaaa"));
        }
        let presented = read(&[&basic(&format!("ci:{text}"))]).unwrap();
        assert_eq!((&presented.token, presented.claim()), (&token, Claim::User("ci")));
        let wrong = read(&[&basic("ci:guess")]).unwrap();
        assert_eq!((&wrong.token, wrong.claim()), (&None, Claim::User("ci")));
        for line in ["", "Bearer", "Bearer x", "Basic", "Basic !", "Basic YQ==", "Digest username=x", &text] {
            assert_eq!(read(&[line]), Some(Presented { token: None, user: None }), "{line}");
        }
        assert_eq!(read(&[&format!("Bearer {text}"), "Bearer x"]), Some(nobody), "not the one that suits us");
    }
}
