use std::error::Error;
use std::time::Duration;

use http::StatusCode;

use super::trust;

/// Most characters of another server's words that are told to people.
const MAX_WORDS: usize = 300;

/// Why another server did not give, or take, an image. Each is a sentence that names the server.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// What was given as a certificate is none.
    #[error("the certificate of the source is no certificate in PEM; leave it out, or copy it again")]
    NoCertificate,
    /// No address that can be used.
    #[error("{0:?} is no address that images can be fetched from; give one that begins with https://")]
    Address(String),
    /// What was to be shown to a server is of no use.
    #[error("the credential for the server cannot be used: {0}")]
    Credential(&'static str),
    /// Neither an alias nor a fingerprint.
    #[error("neither an alias nor a fingerprint says which image is meant; give one of them")]
    Nameless,
    /// A way of fetching that is not known.
    #[error("Unsupported protocol: {0}")]
    Protocol(String),
    /// Something that is known and not done.
    #[error("{0}")]
    Refused(String),
    /// The connection could not be prepared.
    #[error("no connection can be prepared: {0}; see the log of this server")]
    Setup(String),
    /// The server did not come to answer.
    #[error("{server} cannot be asked: {reason}")]
    Unreachable {
        /// Its address, without what is secret.
        server: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The server is not believed: its certificate, or its handshake.
    #[error("{server} cannot be asked: {reason}")]
    Mistrusted {
        /// Its address, without what is secret.
        server: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The server said no.
    #[error("{server} answers {status}: {words}")]
    Status {
        /// Its address.
        server: String,
        /// With which status.
        status: StatusCode,
        /// In which words.
        words: String,
        /// How long it wants to be left alone, if it said so.
        retry_after: Option<Duration>,
    },
    /// There is no such image. The words of the daemons.
    #[error("Image not found: {server} has no image {name:?} that fits; check its name there")]
    NotFound {
        /// Its address.
        server: String,
        /// What was asked for.
        name: String,
    },
    /// The server said something that cannot be so.
    #[error("{server} {what}; nothing was taken over")]
    Nonsense {
        /// Its address.
        server: String,
        /// What it did: goes on from its address.
        what: String,
    },
    /// The bytes ended before they were complete.
    #[error("{server} {what}; nothing was kept, try again")]
    Broken {
        /// Its address.
        server: String,
        /// What happened: goes on from its address.
        what: String,
    },
    /// Who reads the bytes has stopped.
    #[error("the download was given up")]
    GivenUp,
}

impl ClientError {
    pub(super) fn nonsense(server: &str, what: impl Into<String>) -> Self {
        Self::Nonsense { server: server.to_owned(), what: what.into() }
    }

    pub(super) fn broken(server: &str, what: impl Into<String>) -> Self {
        Self::Broken { server: server.to_owned(), what: what.into() }
    }

    pub(super) fn unreachable(server: &str, reason: impl Into<String>) -> Self {
        Self::Unreachable { server: server.to_owned(), reason: reason.into() }
    }

    /// Whether the server knows of no such thing, or shows it to nobody like us.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Status { status, .. } if status.is_client_error())
    }

    /// Whether it may be better in a moment, with nobody doing anything about it: connections that break, silence, trouble of the server,
    /// too many requests.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error()
                    || matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            }
            _ => false,
        }
    }

    /// What a request failed with before its answer began.
    pub(super) fn request(server: &str, error: &reqwest::Error) -> Self {
        for cause in causes(error) {
            if let Some(reason) = trust::reason(cause) {
                return Self::Mistrusted { server: server.to_owned(), reason };
            }
            if let Some(refused) = cause.downcast_ref::<Redirected>() {
                return Self::nonsense(server, refused.to_string());
            }
        }
        let reason = if error.is_timeout() {
            "no connection came about in time; check the address, and that no firewall is between".to_owned()
        } else {
            let last = causes(error).last().map(ToString::to_string).unwrap_or_default();
            format!("{}; check the address, and that the server runs", words(&last))
        };
        Self::unreachable(server, reason)
    }

    /// What the body of an answer broke off with.
    pub(super) fn body(server: &str, error: &reqwest::Error, had: u64) -> Self {
        let last = causes(error).last().map(ToString::to_string).unwrap_or_default();
        Self::broken(server, format!("broke the connection off after {had} bytes ({})", words(&last)))
    }
}

/// Why a redirect is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Redirected {
    /// Too many of them.
    #[error("sends from one address to the next, {0} times and more, as if in a circle")]
    Circle(usize),
    /// To an address that is not spoken to.
    #[error("sends to an address that is not https")]
    Plain,
    /// Away from the server that may know who asks.
    #[error("sends to another server, which may not be shown what this one is shown")]
    Elsewhere,
}

/// The error and what caused it. An `io::Error` does not count what it was made of among its causes.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        inside.map(|inside| inside as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

/// The words of a stranger: shortened, on one line, without what could harm a terminal.
pub(super) fn words(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_strangers_are_tamed() {
        assert_eq!(words("a\u{1b}[31m\n  b\t"), "a [31m b");
        assert_eq!(words(&"x".repeat(1000)).len(), MAX_WORDS);
    }

    #[test]
    fn what_an_io_error_was_made_of_is_found() {
        let inner = Redirected::Plain;
        let outer = std::io::Error::other(std::io::Error::other(inner.clone()));
        let found = causes(&outer).find_map(|cause| cause.downcast_ref::<Redirected>());
        assert_eq!(found, Some(&inner));
    }
}
