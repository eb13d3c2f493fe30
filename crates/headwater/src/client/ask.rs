//! One server, one request at a time: addresses, limits of time and length, and what is made of an answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::credential::Credential;
use super::error::{Redirected, words};
use super::gather::Gathered;
use super::server::{Document, Keep, Validators};
use super::trust::Trust;
use super::{ClientError, Limits};

/// The coding in which documents may come: they are a tenth as long then.
const GZIP: &str = "gzip";

/// A server, and how it is spoken to.
#[derive(Debug, Clone)]
pub(super) struct Session {
    http: reqwest::Client,
    base: Url,
    /// What it is called in messages: without user, password, path and query, which may be secret.
    pub(super) name: String,
    pub(super) limits: Limits,
    /// What its documents were.
    copies: Option<Arc<dyn Keep>>,
}

/// An answer of the API, as far as it is read (LXD `shared/api/response.go`).
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Answer {
    #[serde(rename = "type")]
    kind: String,
    error: Option<String>,
    metadata: serde_json::Value,
}

impl Default for Answer {
    fn default() -> Self {
        Self { kind: String::new(), error: None, metadata: serde_json::Value::Null }
    }
}

impl Session {
    pub(super) fn new(
        server: &Url,
        trust: &Trust,
        shown: &Credential,
        limits: &Limits,
        user_agent: &str,
    ) -> Result<Self, ClientError> {
        let most = limits.redirects;
        // What is shown is for this server alone.
        let only = (*shown != Credential::Nothing).then(|| server.origin());
        let redirects = redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() > most {
                attempt.error(Redirected::Circle(most))
            } else if attempt.url().scheme() != "https" {
                attempt.error(Redirected::Plain)
            } else if only.as_ref().is_some_and(|only| attempt.url().origin() != *only) {
                attempt.error(Redirected::Elsewhere)
            } else {
                attempt.follow()
            }
        });
        let builder = reqwest::Client::builder()
            .user_agent(user_agent)
            .connect_timeout(limits.connect)
            // A secret in a query would be told to whoever is redirected to.
            .referer(false)
            .redirect(redirects)
            // Bytes are compared with what lists say of them as they come: also when another part of the program makes the client able to
            // decode them.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .https_only(true);
        let builder = match (trust.config(shown)?, shown) {
            (Some(config), _) => builder.tls_backend_preconfigured(config),
            (None, Credential::Certificate(ours)) => builder.identity(ours.identity()?),
            (None, _) => builder,
        };
        let builder = match shown {
            Credential::Token(token) => {
                builder.default_headers(HeaderMap::from_iter([(AUTHORIZATION, token.header())]))
            }
            _ => builder,
        };
        let http = builder.build().map_err(|error| ClientError::Setup(error.without_url().to_string()))?;
        Ok(Self {
            http,
            base: server.clone(),
            name: server.origin().ascii_serialization(),
            limits: limits.clone(),
            copies: None,
        })
    }

    /// With a place for its documents.
    pub(super) fn keeping(self, copies: Arc<dyn Keep>) -> Self {
        Self { copies: Some(copies), ..self }
    }

    /// The address of something below the server's, with slashes inside of a part escaped.
    pub(super) fn address<'a>(
        &self,
        path: impl IntoIterator<Item = &'a str>,
        query: &[(&str, &str)],
    ) -> Result<Url, ClientError> {
        let mut url = self.base.clone();
        url.path_segments_mut().map_err(|()| ClientError::Address(self.name.clone()))?.pop_if_empty().extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    pub(super) fn request(&self, method: Method, address: Url) -> RequestBuilder {
        self.http.request(method, address)
    }

    /// Sends a request and waits for the head of its answer, whatever its status.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        self.send_within(self.limits.head, request).await
    }

    /// The same with another limit.
    pub(super) async fn send_within(&self, limit: Duration, request: RequestBuilder) -> Result<Response, ClientError> {
        match tokio::time::timeout(limit, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(ClientError::request(&self.name, &error.without_url())),
            Err(_) => Err(ClientError::unreachable(
                &self.name,
                format!("it took the request and sent no answer for {} seconds; try again later", limit.as_secs_f32()),
            )),
        }
    }

    /// The next piece of a body; `had` is how many bytes there were before.
    pub(super) async fn piece(&self, response: &mut Response, had: u64) -> Result<Option<Bytes>, ClientError> {
        match tokio::time::timeout(self.limits.stall, response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(ClientError::body(&self.name, &error.without_url(), had)),
            Err(_) => Err(ClientError::broken(
                &self.name,
                format!("sent nothing for {} seconds after {had} bytes", self.limits.stall.as_secs_f32()),
            )),
        }
    }

    /// All of a body that is not long.
    pub(super) async fn whole(&self, response: Response, limit: usize) -> Result<Vec<u8>, ClientError> {
        self.gathered(response, limit, false).await
    }

    /// The same, inflated if it comes as gzip.
    async fn gathered(&self, mut response: Response, limit: usize, gzip: bool) -> Result<Vec<u8>, ClientError> {
        let wrong = |error: io::Error| {
            let what = match error.kind() {
                io::ErrorKind::FileTooLarge => {
                    format!("answers with more than {limit} bytes where a short answer belongs")
                }
                _ => "sends something as gzip that is none, or not all of it".to_owned(),
            };
            ClientError::nonsense(&self.name, what)
        };
        let reading = async {
            let (mut gathered, mut came) = (Gathered::new(limit, gzip), 0);
            while let Some(piece) = self.piece(&mut response, came).await? {
                came += piece.len() as u64;
                gathered.add(&piece).map_err(wrong)?;
            }
            gathered.end().map_err(wrong)
        };
        match tokio::time::timeout(self.limits.document, reading).await {
            Ok(read) => read,
            Err(_) => Err(ClientError::broken(
                &self.name,
                format!("had not sent a short answer after {} seconds", self.limits.document.as_secs_f32()),
            )),
        }
    }

    /// What the API answers to a GET, without its envelope.
    pub(super) async fn api<T: DeserializeOwned>(&self, address: Url) -> Result<T, ClientError> {
        let response = self.send(self.request(Method::GET, address)).await?;
        self.understand(response).await
    }

    /// The same for a list that may be as long as a document.
    pub(super) async fn api_list<T: DeserializeOwned>(&self, address: Url) -> Result<T, ClientError> {
        let response = self.send(self.request(Method::GET, address)).await?;
        self.understand_within(response, self.limits.document_bytes).await
    }

    /// The metadata of an answer of the API that is no error. The status counts, as it does for clients (LXD `client/lxd.go`
    /// `lxdParseResponse`).
    pub(super) async fn understand<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        self.understand_within(response, self.limits.object_bytes).await
    }

    async fn understand_within<T: DeserializeOwned>(&self, response: Response, limit: usize) -> Result<T, ClientError> {
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let body = self.whole(response, limit).await?;
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| self.no_api())?;
        if answer.kind == "error" {
            let said = words(answer.error.as_deref().unwrap_or_default());
            return Err(ClientError::nonsense(
                &self.name,
                format!("answers with an error that claims success: {said}"),
            ));
        }
        serde_json::from_value(answer.metadata)
            .map_err(|error| ClientError::nonsense(&self.name, format!("answers with JSON of another shape ({error})")))
    }

    /// An answer that says no, in its own words when it has some.
    pub(super) async fn refusal(&self, response: Response) -> ClientError {
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let said = match self.whole(response, self.limits.object_bytes).await {
            Ok(body) => serde_json::from_slice::<Answer>(&body).ok().and_then(|answer| answer.error),
            Err(_) => None,
        };
        let words = match said.as_deref().map(words) {
            Some(said) if !said.is_empty() => said,
            _ => "it does not say why; check the address".to_owned(),
        };
        ClientError::Status { server: self.name.clone(), status, words, retry_after }
    }

    /// A document of a stream, which does not come when it is the one that is kept.
    pub(super) async fn document(&self, address: Url) -> Result<Vec<u8>, ClientError> {
        let name = address.to_string();
        let (validators, copy) = match self.copies.clone() {
            Some(copies) => {
                let name = name.clone();
                blocking(move || copies.get(&name)).await?.unwrap_or_default()
            }
            None => <_>::default(),
        };
        let (bytes, validators) = match self.document_unless(address, &validators).await? {
            Document::Unchanged => return Ok(copy),
            Document::New { bytes, validators } => (bytes, validators),
        };
        let Some(copies) = self.copies.clone().filter(|_| !validators.is_empty()) else { return Ok(bytes) };
        blocking(move || {
            copies.put(&name, &validators, &bytes);
            bytes
        })
        .await
    }

    /// A document, unless it is what it was when these validators came with it. Exactly 200 will do (LXD `shared/simplestreams`), or 304 for who has it.
    async fn document_unless(&self, address: Url, kept: &Validators) -> Result<Document, ClientError> {
        let request = self.request(Method::GET, address).header(ACCEPT_ENCODING, GZIP);
        let response = self.send(kept.condition(request)).await?;
        match response.status() {
            StatusCode::OK => {
                let validators = Validators::of(response.headers());
                let gzip = response.headers().get(CONTENT_ENCODING).is_some_and(is_gzip);
                let bytes = self.gathered(response, self.limits.document_bytes, gzip).await?;
                Ok(Document::New { bytes, validators })
            }
            StatusCode::NOT_MODIFIED if !kept.is_empty() => Ok(Document::Unchanged),
            _ => Err(self.refusal(response).await),
        }
    }

    fn no_api(&self) -> ClientError {
        ClientError::nonsense(
            &self.name,
            "answers with something that is no answer of an image server; check the address, and the protocol",
        )
    }
}

/// An old name of it is as good (RFC 9110, section 8.4.1.3).
fn is_gzip(coding: &HeaderValue) -> bool {
    [GZIP, "x-gzip"].iter().any(|name| coding.as_bytes().eq_ignore_ascii_case(name.as_bytes()))
}

/// Runs what blocks where blocking is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ClientError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ClientError::Setup(error.to_string()))
}

/// How long the server wants to be left alone (RFC 9110, section 10.2.3). A date counts from the server's own.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let after = text(RETRY_AFTER)?;
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text| httpdate::parse_http_date(text).ok();
    // A moment that is over.
    Some(date(after)?.duration_since(date(text(DATE)?)?).unwrap_or_default())
}

/// The media type of an answer, in lower case and without parameters.
pub(super) fn media_type(response: &Response) -> String {
    let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_say_in_two_ways_when_to_come_again() {
        let date = "Tue, 30 Sep 2025 10:00:00 GMT";
        for (after, date, expected) in [
            ("5", None, Some(5)),
            (" 120 ", None, Some(120)),
            ("Tue, 30 Sep 2025 10:00:30 GMT", Some(date), Some(30)),
            ("Tue, 30 Sep 2025 09:00:00 GMT", Some(date), Some(0)),
            ("Tue, 30 Sep 2025 10:00:30 GMT", None, None),
            ("-1", None, None),
            ("soon", Some(date), None),
        ] {
            let mut headers = HeaderMap::from_iter([(RETRY_AFTER, after.parse().unwrap())]);
            headers.extend(date.map(|date| (DATE, date.parse().unwrap())));
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{after:?}");
        }
    }
}
