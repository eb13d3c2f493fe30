//! What is answered over plain HTTP: public files and health, nothing else.
//!
//! Go clients ask for each file of a stream over plain HTTP first, on the same port, so that caches on the way can help; they
//! have its hash from a document that came over TLS (LXD `client/simplestreams_images.go`). Everything else is refused at
//! once, in words, rather than redirected: behind a proxy that ends TLS, a redirect would lead back here, and Go clients
//! follow redirects without limit.
//!
//! This file does not know how to tell plain from TLS; that is [`super::connection`].

use http::request::Parts;

use super::caller;
use super::path;
use super::route::Row;

/// Why a request is not answered in plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It needs TLS.
    #[error(
        "this is answered over https only; use https:// and the same port (a proxy in front has to speak https to it)"
    )]
    TlsOnly,
    /// It carries a password or a token.
    #[error(
        "the request carries credentials in clear; use https:// and the same port, and consider them known to others"
    )]
    Credentials,
}

/// Whether an address may be asked for in plain at all: those that hold a secret are refused before anything is looked up,
/// whether they mean something or not.
pub fn check_address(path: &str) -> Result<(), Refusal> {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match path::decode(first).as_deref() {
        Ok("t") => Err(Refusal::Credentials),
        Ok("f") => Err(Refusal::TlsOnly),
        _ => Ok(()),
    }
}

/// Whether this request may be answered in plain.
pub fn check(row: &Row, request: &Parts) -> Result<(), Refusal> {
    if caller::presents(request) {
        return Err(Refusal::Credentials);
    }
    if row.plain { Ok(()) } else { Err(Refusal::TlsOnly) }
}
