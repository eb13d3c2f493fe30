//! The documents of a stream with a signature of the server around them (`index.sjson`, `images.sjson`), the signature alone
//! (`index.json.gpg`, `images.json.gpg`), and the public keys.
//!
//! What is signed is the document that the same caller gets without a signature. It is signed when somebody asks for the first time, by one of
//! those who ask, and the signature is kept: a few hundred bytes, whatever the size of the document. Its time is that of the revision,
//! so that all servers on one catalog give the same bytes.
//!
//! Which key signs is looked up for every request, so that a new one counts at once on every server.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use headwater_formats::simplestreams::render;
use headwater_formats::timestamp::Timestamp;
use http::request::Parts;
use http::{Response, StatusCode};
use moka::future::Cache;
use sha2::{Digest, Sha256};

use super::cache::Text;
use super::{Kind, NoStream, cache_for, none, refused, seen};
use crate::catalog::CatalogError;
use crate::http::body::{Body, Part};
use crate::http::caller::Caller;
use crate::http::conditional::Validators;
use crate::http::respond::{self, Document};
use crate::http::route::{Dialect, Endpoint, Scope};
use crate::http::{Connection, State, failed};
use crate::openpgp::{self, GPG_LINE, KeyError, SignError, Signer, StreamKey};

/// What is told where a signature would be.
const NO_KEY: &str =
    "the streams of this server are not signed; who runs it makes a key for them with `headwater key create`";
/// How many signatures are kept.
const KEPT: u64 = 4096;
/// Bytes that are read at a time.
const PIECE: usize = 256 * 1024;
/// How long one is kept that nobody asks for.
const IDLE: Duration = Duration::from_secs(3600);

/// In which form a document is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Form {
    /// The text, readable, with the signature after it.
    Clear,
    /// The signature alone.
    Detached,
}

/// What was signed, by which key.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    /// The document's tag: it changes with every byte.
    document: String,
    at: Timestamp,
    key: String,
    kind: Kind,
    form: Form,
}

/// What is sent before and after the document, or instead of it.
type Around = [Bytes; 2];

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("what is signed cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("the thread that signs ended: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// The signatures that are kept.
#[derive(Debug)]
pub struct Signatures(Cache<Arc<Key>, Around>);

impl Default for Signatures {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(KEPT).time_to_idle(IDLE).build())
    }
}

impl Signatures {
    /// The signature of a document, kept or made now. Of those who ask for it at once, one makes it.
    async fn get(&self, signer: StreamKey, key: Key, text: Arc<Text>) -> Result<Around, Arc<Failed>> {
        let key = Arc::new(key);
        self.0.try_get_with(Arc::clone(&key), sign(signer, key, text)).await
    }
}

async fn sign(signer: StreamKey, key: Arc<Key>, text: Arc<Text>) -> Result<Around, Failed> {
    tokio::task::spawn_blocking(move || {
        let signer = Signer::new(&signer)?;
        let mut pieces = Pieces { reader: text.reader()?, failed: None };
        let around = match key.form {
            Form::Detached => [Bytes::from(signer.detached(&mut pieces, key.at)?), Bytes::new()],
            Form::Clear => {
                let signed = signer.clear(&mut pieces, key.at)?;
                if signed.longest_line > GPG_LINE {
                    tracing::warn!(
                        bytes = signed.longest_line,
                        "a signed document has a line that is too long for gpg, which will say that the signature is bad: \
                         a property or a list of aliases is longer than {GPG_LINE} bytes"
                    );
                }
                [Bytes::from(signed.before), Bytes::from(signed.after)]
            }
        };
        match pieces.failed {
            Some(error) => Err(error.into()),
            None => Ok(around),
        }
    })
    .await?
}

/// What is read, piece by piece. An error ends it, and is told afterwards.
struct Pieces {
    reader: Box<dyn Read + Send>,
    failed: Option<io::Error>,
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut piece = Vec::with_capacity(PIECE);
        match self.reader.by_ref().take(PIECE as u64).read_to_end(&mut piece) {
            Ok(0) => None,
            Ok(_) => Some(piece),
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }
}

/// Answers with a signed document or a signature.
pub(in crate::http) async fn answer(
    state: &State,
    request: &Parts,
    connection: &Connection,
    caller: &Caller,
    scope: Scope,
    endpoint: Endpoint,
) -> Response<Body> {
    let (kind, form) = match endpoint {
        Endpoint::SignedIndex => (Kind::Index, Form::Clear),
        Endpoint::SignedProducts => (Kind::Products, Form::Clear),
        Endpoint::IndexSignature => (Kind::Index, Form::Detached),
        _ => (Kind::Products, Form::Detached),
    };
    let key = match state.app.catalog.signing_key().await {
        Ok(Some(key)) => key,
        Ok(None) => return respond::text(StatusCode::NOT_FOUND, NO_KEY),
        Err(error) => return refused(NoStream::Catalog(error)),
    };
    let text = match text(state, request, connection, caller, &scope, (kind, form)).await {
        Ok(text) => Arc::new(text),
        Err(none) => return refused(none),
    };
    let wanted = Key {
        document: text.validators.etag.clone().unwrap_or_default(),
        at: text.validators.modified.unwrap_or(Timestamp::EPOCH),
        key: key.id.clone(),
        kind,
        form,
    };
    let tag = Sha256::new().chain_update(&wanted.document);
    let [before, after] = match state.signatures.get(key, wanted, Arc::clone(&text)).await {
        Ok(around) => around,
        Err(error) => return failed(Dialect::Text, "a document could not be signed", &error),
    };
    let tag = tag.chain_update(&before).chain_update(&after).finalize();
    let (content_type, body) = match form {
        Form::Clear => match text.part() {
            Ok(text) => ("text/plain; charset=utf-8", Body::parts([Part::Bytes(before), text, Part::Bytes(after)])),
            Err(error) => return failed(Dialect::Text, "a signed document could not be read", &error),
        },
        Form::Detached => ("application/pgp-signature", Body::full(before)),
    };
    let vary = if scope.token.is_some() { "User-Agent" } else { "User-Agent, Authorization" };
    // Another key signs without a new revision: its time does not tell whether this is the same.
    let validators = Validators { etag: Some(quoted(&tag)), modified: None };
    let document = Document { body, gzip: false, content_type, validators, vary, cache: cache_for(caller) };
    respond::document(request, document)
}

/// What is signed: the document as it is without compression. A clear-signed index names the clear-signed products.
async fn text(
    state: &State,
    request: &Parts,
    connection: &Connection,
    caller: &Caller,
    scope: &Scope,
    (kind, form): (Kind, Form),
) -> Result<Text, NoStream> {
    let (stream, files) = seen(state, request, connection, caller, scope).await?;
    let text = state.documents.text(&state.app.catalog, stream, files, kind).await;
    let text = text.map_err(|error| none(error, scope))?;
    if (kind, form) != (Kind::Index, Form::Clear) {
        return Ok(text);
    }
    let changed = tokio::task::spawn_blocking(move || text.changed(render::signed_index)).await;
    let changed = changed.unwrap_or_else(|error| Err(io::Error::other(error)));
    changed.map_err(|error| NoStream::Catalog(CatalogError::Bytes(error)))
}

/// Answers with the public keys: the one that signs, and those that may come to.
pub(in crate::http) async fn public_key(state: &State, request: &Parts, endpoint: Endpoint) -> Response<Body> {
    let keys = match state.app.catalog.stream_keys().await {
        Ok(keys) if keys.is_empty() => return respond::text(StatusCode::NOT_FOUND, NO_KEY),
        Ok(keys) => keys,
        Err(error) => return refused(NoStream::Catalog(error)),
    };
    let keys = keys.iter().map(|kept| &kept.key);
    let bytes: Bytes = match endpoint {
        Endpoint::SigningKeyring => openpgp::binary_keyring(keys).into(),
        _ => openpgp::armored_keyring(keys).into(),
    };
    let validators = Validators { etag: Some(quoted(&Sha256::digest(&bytes))), modified: None };
    let document = Document {
        body: Body::full(bytes),
        gzip: false,
        content_type: "application/pgp-keys",
        validators,
        vary: "",
        cache: respond::SHORT,
    };
    respond::document(request, document)
}

fn quoted(digest: &[u8]) -> String {
    format!("\"{}\"", &HEXLOWER.encode(digest)[..32])
}
