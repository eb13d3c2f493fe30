//! `/1.0/certificates`: who is trusted (LXD and Incus `certificates.go`). Joining and tokens to join with are in [`super::joining`].
//!
//! In the words of this protocol a certificate is *restricted* to projects, or not. Here, an unrestricted one administers the server,
//! and a restricted one has a grant in each of its projects: a publisher of all images, unless somebody gave it another role.
//!
//! | caller | sees | changes |
//! | --- | --- | --- |
//! | administrator | all | all |
//! | admin of projects | itself, and those that are restricted to nothing but these projects | the latter |
//! | anybody else | itself | the certificate itself, by another one; may remove itself |

use headwater_formats::lxd::{self, CertificatePut, Empty, certificate, etag};
use headwater_formats::names::ProjectName;
use http::{Response, StatusCode, header};

use super::{Ask, Body, Failure, NOT_AUTHORIZED, joining, recursion, sync};
use crate::auth::{Access, Certificate, CertificateError, Grant, Identity, IdentityKind, Manages, Role};
use crate::catalog::{CatalogError, Credential, IdentityEdit, NewIdentity};
use crate::http::incoming::Incoming;
use crate::http::respond;

/// What the daemons say to a second certificate of the same hash.
const ALREADY: &str = "Certificate already in trust store";

/// The list: addresses, or objects with `recursion`.
pub(super) async fn list(ask: &Ask<'_>) -> Result<Response<Body>, Failure> {
    let shown = visible(ask).await?;
    if recursion(ask.query) {
        sync(shown.iter().map(object).collect::<Vec<_>>())
    } else {
        sync(shown.iter().map(address).collect::<Vec<_>>())
    }
}

/// Joins with a proof, makes a token to join with, or adds a certificate.
pub(super) async fn post(ask: &Ask<'_>, body: Incoming) -> Result<Response<Body>, Failure> {
    let post: lxd::CertificatesPost = body.json().await?;
    let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    if !matches!(post.kind.as_deref(), None | Some("" | "client")) {
        return Err(bad("Invalid certificate type"));
    }
    let makes_token = post.token.unwrap_or_default();
    if makes_token && given(&post.certificate) {
        return Err(bad("Can't use certificate if token is requested"));
    }
    if let Some(proof) = [&post.trust_token, &post.password].into_iter().flatten().find(|text| !text.is_empty()) {
        return joining::join(ask, proof).await;
    }
    if !ask.caller.access.is_trusted() {
        return Err(forbidden(NOT_AUTHORIZED));
    }
    let wanted = Wanted::read(post.restricted, post.projects.as_deref())?;
    if makes_token {
        let name = post.name.unwrap_or_default();
        return joining::invite(ask, name, post.description.unwrap_or_default(), wanted).await;
    }
    match post.certificate.filter(|text| !text.is_empty()) {
        Some(text) => add(ask, &text, post.name, post.description, wanted).await,
        None => Err(bad("Client is already trusted")),
    }
}

async fn add(
    ask: &Ask<'_>,
    text: &str,
    name: Option<String>,
    description: Option<String>,
    wanted: Wanted,
) -> Result<Response<Body>, Failure> {
    let grants = wanted.grants(&[]);
    wanted.check(&ask.caller.access)?;
    let certificate = Certificate::read(text.as_bytes(), ask.now())?;
    let name = name.filter(|name| !name.is_empty()).or_else(|| certificate.common_name.clone());
    let new = NewIdentity {
        name: name.unwrap_or_else(|| certificate.fingerprint[..12].to_owned()),
        description: description.unwrap_or_default(),
        administrator: !wanted.restricted,
        grants,
        view: None,
        expires_at: None,
        credential: credential(certificate),
    };
    let identity = ask.catalog().add_identity(&new, ask.now()).await.map_err(told)?;
    super::created(address(&identity))
}

/// One certificate: GET, PUT, PATCH, DELETE.
pub(super) async fn one(ask: &Ask<'_>, body: Incoming, prefix: &str, method: &str) -> Result<Response<Body>, Failure> {
    let identity = find(ask, prefix).await?;
    let object = object(&identity);
    let tag = etag::certificate(&object);
    if method == "GET" {
        let mut response = sync(object)?;
        respond::set(&mut response, header::ETAG, tag);
        return Ok(response);
    }
    if let Some(value) = ask.request.headers.get(header::IF_MATCH) {
        let given = String::from_utf8_lossy(value.as_bytes());
        if !etag::matches(&given, &tag) {
            let sentence = format!("ETag doesn't match: {given} vs {tag}");
            return Err(Failure::Told(StatusCode::PRECONDITION_FAILED, sentence));
        }
    }
    match method {
        "DELETE" => ask.catalog().remove_identity(identity.id, ask.now()).await.map_err(told)?,
        "PUT" => change(ask, &identity, filled(body.json().await?)).await?,
        _ => change(ask, &identity, completed(body.json().await?, &object)).await?,
    }
    sync(Empty {})
}

/// What is missing in a `PUT` is empty, except what not every client knows of: the certificate, its type, its description.
fn filled(put: CertificatePut) -> CertificatePut {
    CertificatePut { name: Some(put.name.unwrap_or_default()), ..put }
}

/// What is missing in a `PATCH` stays as it is.
fn completed(patch: CertificatePut, object: &lxd::Certificate) -> CertificatePut {
    CertificatePut {
        name: patch.name.or_else(|| Some(object.name.clone())),
        restricted: patch.restricted.or(Some(object.restricted)),
        projects: patch.projects.or_else(|| Some(object.projects.clone())),
        description: patch.description.or_else(|| Some(object.description.clone())),
        ..patch
    }
}

async fn change(ask: &Ask<'_>, identity: &Identity, put: CertificatePut) -> Result<(), Failure> {
    if !matches!(put.kind.as_deref(), None | Some("" | "client")) {
        return Err(bad("The certificate type cannot be changed"));
    }
    let wanted = Wanted::read(put.restricted, put.projects.as_deref())?;
    let mut edit = IdentityEdit::default();
    if manages(&ask.caller.access, identity) {
        wanted.check(&ask.caller.access)?;
        edit.name = put.name;
        edit.description = put.description;
        edit.administrator = Some(!wanted.restricted);
        edit.grants = Some(wanted.grants(&identity.grants));
    } else {
        let before: Vec<&ProjectName> = identity.grants.iter().map(|grant| &grant.project).collect();
        let same = wanted.restricted != identity.administrator
            && wanted.projects.iter().collect::<Vec<_>>() == before
            && put.name.as_deref() == Some(&*identity.name)
            && put.description.as_deref().is_none_or(|text| text.is_empty() || text == identity.description);
        if !same {
            return Err(forbidden("Only the certificate can be changed"));
        }
    }
    if let Some(text) = put.certificate.filter(|text| !text.is_empty()) {
        // What clients send back unchanged may have expired meanwhile; that is no reason to refuse another name.
        if Some(text.trim()) != identity.certificate.as_deref().map(certificate::pem).as_deref().map(str::trim) {
            let certificate = Certificate::read(text.as_bytes(), ask.now())?;
            edit.credential = (certificate.fingerprint != identity.subject).then(|| credential(certificate));
        }
    }
    ask.catalog().edit_identity(identity.id, &edit, ask.now()).await.map_err(told)?;
    Ok(())
}

/// What a request says about rights.
#[derive(Debug)]
pub(super) struct Wanted {
    restricted: bool,
    projects: Vec<ProjectName>,
}

impl Wanted {
    fn read(restricted: Option<bool>, projects: Option<&[String]>) -> Result<Self, Failure> {
        let restricted = restricted.unwrap_or_default();
        let mut read = Vec::new();
        for name in projects.unwrap_or_default() {
            let name = ProjectName::new(name).map_err(|_| Failure::not_found("Project not found"))?;
            if !read.contains(&name) {
                read.push(name);
            }
        }
        if !restricted && !read.is_empty() {
            return Err(bad(
                "projects limit restricted certificates alone; set restricted, or leave the projects out for a certificate that may do everything",
            ));
        }
        read.sort();
        Ok(Self { restricted, projects: read })
    }

    pub(super) fn is_administrator(&self) -> bool {
        !self.restricted
    }

    /// The grants for it; a role that was given before stays.
    pub(super) fn grants(&self, before: &[Grant]) -> Vec<Grant> {
        let grant = |project: &ProjectName| match before.iter().find(|grant| grant.project == *project) {
            Some(grant) => grant.clone(),
            None => Grant { project: project.clone(), role: Role::Publisher, manages: Manages::All },
        };
        self.projects.iter().map(grant).collect()
    }

    /// Whether this caller may give these rights to somebody: administrators any, admins of projects those in their projects.
    pub(super) fn check(&self, access: &Access) -> Result<(), Failure> {
        let within = self.restricted
            && !self.projects.is_empty()
            && self.projects.iter().all(|project| access.has(Role::Admin, project));
        if access.is_administrator() || within { Ok(()) } else { Err(forbidden(NOT_AUTHORIZED)) }
    }
}

/// Whether this caller decides what that certificate may do.
fn manages(access: &Access, identity: &Identity) -> bool {
    let within = || {
        !identity.administrator
            && !identity.grants.is_empty()
            && identity.grants.iter().all(|grant| access.has(Role::Admin, &grant.project))
    };
    access.is_administrator() || within()
}

async fn visible(ask: &Ask<'_>) -> Result<Vec<Identity>, Failure> {
    let access = &ask.caller.access;
    let own = access.identity().map(|identity| identity.id);
    let sees = |identity: &Identity| {
        identity.kind == IdentityKind::Certificate && (Some(identity.id) == own || manages(access, identity))
    };
    Ok(ask.state.app.catalog.identities().await?.into_iter().filter(sees).collect())
}

/// The one that begins like this among those that the caller sees.
async fn find(ask: &Ask<'_>, prefix: &str) -> Result<Identity, Failure> {
    let prefix = prefix.to_ascii_lowercase();
    let mut found = visible(ask).await?;
    found.retain(|identity| identity.subject.starts_with(&prefix));
    match (found.pop(), found.is_empty()) {
        (Some(identity), true) if !prefix.is_empty() => Ok(identity),
        (Some(_), false) => Err(bad("More than one certificate matches")),
        _ => Err(Failure::not_found("Certificate not found")),
    }
}

fn object(identity: &Identity) -> lxd::Certificate {
    let projects = identity.grants.iter().filter(|_| !identity.administrator);
    lxd::Certificate {
        name: identity.name.clone(),
        kind: "client",
        restricted: !identity.administrator,
        projects: projects.map(|grant| grant.project.to_string()).collect(),
        certificate: identity.certificate.as_deref().map(certificate::pem).unwrap_or_default(),
        fingerprint: identity.subject.clone(),
        description: identity.description.clone(),
    }
}

pub(super) fn address(identity: &Identity) -> String {
    format!("/1.0/certificates/{}", identity.subject)
}

pub(super) fn credential(certificate: Certificate) -> Credential {
    Credential::Certificate { fingerprint: certificate.fingerprint, der_base64: certificate.der_base64 }
}

/// What the catalog says, in the words of the protocol.
pub(super) fn told(error: CatalogError) -> Failure {
    match error {
        CatalogError::IdentityExists(_) => Failure::Told(StatusCode::CONFLICT, ALREADY.to_owned()),
        CatalogError::NoIdentity(_) => Failure::not_found("Certificate not found"),
        CatalogError::Text => bad(&CatalogError::Text.to_string()),
        other => other.into(),
    }
}

pub(super) fn bad(sentence: &str) -> Failure {
    Failure::Told(StatusCode::BAD_REQUEST, sentence.to_owned())
}

pub(super) fn forbidden(sentence: &str) -> Failure {
    Failure::Told(StatusCode::FORBIDDEN, sentence.to_owned())
}

impl From<CertificateError> for Failure {
    fn from(error: CertificateError) -> Self {
        bad(&error.to_string())
    }
}
