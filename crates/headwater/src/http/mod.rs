//! The front door: connections, routes, and the two protocols in which the same images are answered.
//!
//! A request goes through [`handle`]: its path becomes a [`route::Route`], the table says who may call, [`caller`] resolves who
//! is asking into a [`Viewer`](crate::auth::Viewer), and a front-end ([`simplestreams`], [`lxd`], or the files in [`files`]) translates what the
//! catalog answers. `handle` needs no socket, so tests call it as connections do:
//!
//! ```no_run
//! # async fn example(app: headwater::app::App) {
//! use std::sync::Arc;
//! use headwater::http::incoming::Incoming;
//! use headwater::http::{Connection, Settings, State, handle};
//!
//! let state = State::new(app, Settings::default(), || headwater_formats::timestamp::Timestamp::EPOCH);
//! let state = Arc::new(state);
//! let request = http::Request::get("/1.0").body(Incoming::empty()).unwrap();
//! let answer = handle(&state, request, &Connection::test_tls()).await;
//! assert_eq!(answer.status(), 200);
//! # }
//! ```
//!
//! Where things are: a header is parsed in [`conditional`], [`respond`] or [`caller`]; a path in [`path`] and [`route`]; a query in
//! [`query`]; sockets are opened in [`listen`], accepted in [`accept`] and spoken to in [`connection`]; TLS is in [`tls`] and nowhere else.
//!
//! This room knows nothing of SQL, of where blobs lie, or of how images are published.

pub mod about;
pub mod accept;
pub mod access;
pub mod body;
pub mod buffers;
pub mod caller;
pub mod coming_body;
pub mod conditional;
pub mod connection;
pub mod content;
pub mod direct;
pub mod file_body;
pub mod files;
pub mod guard;
pub mod held;
pub mod incoming;
pub mod leftover;
pub mod linger;
pub mod listen;
pub mod lxd;
pub mod path;
pub mod plain;
mod policy;
pub mod query;
pub mod read_body;
pub mod remembered;
pub mod respond;
pub mod route;
pub mod seen;
mod signing;
pub mod simplestreams;
pub mod tls;
pub mod upgrade;
pub mod uploads;
pub mod used;
pub mod websocket;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use headwater_formats::arch::Architecture;
use headwater_formats::timestamp::Timestamp;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};

use self::about::{About, Description};
use self::body::Body;
use self::buffers::Pool;
use self::caller::Caller;
use self::guard::Guard;
use self::held::Held;
use self::incoming::Incoming;
use self::query::Query;
use self::remembered::Remembered;
use self::route::{Dialect, Endpoint, Route};
use self::seen::Seen;
use self::simplestreams::{Bases, Documents, Signatures};
use self::uploads::Uploads;
use self::used::{Downloads, Used};
use crate::app::App;
use crate::catalog::Moment;
use crate::client::{Client, Limits};
use crate::fetch::Fetcher;
use crate::mirror::PullThrough;
use crate::operations::Operations;

/// What can be set about the answers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The architectures that an alias means for a client that does not say its own, best first.
    pub architectures: Vec<Architecture>,
    /// Most bytes of prepared documents that are kept in memory.
    pub document_cache: u64,
    /// Most bytes of whole answers that are kept for guests who ask the same.
    pub answer_cache: u64,
    /// Whether signed addresses of files are good only from the network to which the list was sent.
    pub bind_addresses: bool,
    /// Whether publishers may have this server connect to other servers, to fetch images and to push them.
    pub connect: bool,
    /// How long other servers are waited for, and how much they may say.
    pub client: Limits,
    /// How many images may be uploaded at a time.
    pub uploads: usize,
    /// Most bytes of one upload.
    pub upload_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            architectures: vec![Architecture::X86_64],
            document_cache: 32 * 1024 * 1024,
            answer_cache: 16 * 1024 * 1024,
            bind_addresses: true,
            connect: true,
            client: Limits::default(),
            uploads: 16,
            upload_bytes: 256 << 30,
        }
    }
}

/// What every request needs.
pub struct State {
    app: App,
    settings: Settings,
    documents: Documents,
    remembered: Arc<Remembered>,
    signatures: Signatures,
    pool: Arc<Pool>,
    used: Used,
    downloads: Downloads,
    held: Held,
    bases: Bases,
    seen: Seen,
    guard: Guard,
    operations: Operations,
    uploads: Uploads,
    fetcher: Fetcher,
    pull: PullThrough,
    description: Description,
    draining: AtomicBool,
    now: fn() -> Timestamp,
}

impl State {
    /// The state over an open installation. `now` is asked for the time when an image is downloaded.
    pub fn new(app: App, settings: Settings, now: fn() -> Timestamp) -> Self {
        let pool: Arc<Pool> = Arc::default();
        let blobs = app.blobs.clone();
        let client = Client::new(settings.architectures.clone(), settings.client.clone());
        // A data folder that can only be read is good enough for a server that only reads.
        let scratch = move || blobs.scratch().or_else(|_| tempfile::tempfile());
        Self {
            documents: Documents::new(settings.document_cache, Arc::new(scratch), Arc::clone(&pool)),
            remembered: Arc::new(Remembered::new(settings.answer_cache)),
            signatures: Signatures::default(),
            operations: Operations::new(app.catalog.clone(), now),
            uploads: Uploads::new(settings.uploads, settings.upload_bytes),
            pull: PullThrough::new(client.clone(), app.publisher.clone(), now),
            fetcher: Fetcher::new(client, app.publisher.clone()),
            app,
            settings,
            pool,
            used: Used::default(),
            downloads: Downloads::default(),
            held: Held::default(),
            bases: Bases::default(),
            description: Description::default(),
            seen: Seen::default(),
            guard: Guard::default(),
            draining: AtomicBool::new(false),
            now,
        }
    }

    /// With what the server says of itself.
    pub fn describing(self, description: Description) -> Self {
        Self { description, ..self }
    }

    /// What the server says of itself, with the certificate that is in use now.
    pub fn about(&self) -> About {
        self.description.now()
    }

    /// What goes on in the background.
    pub fn operations(&self) -> &Operations {
        &self.operations
    }

    /// How much was served until now, in bytes of files; requests and handshakes count as some.
    pub fn served(&self) -> Arc<AtomicU64> {
        self.pool.sent()
    }

    pub(crate) fn count_handshake(&self) {
        self.pool.count(buffers::HANDSHAKE);
    }

    /// What fetches images from other servers.
    pub fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// What brings files that an upstream promises when somebody asks for them.
    pub fn pull(&self) -> &PullThrough {
        &self.pull
    }

    /// With a pull-through of another patience.
    pub fn pulling(self, patience: crate::mirror::Patience) -> Self {
        Self { pull: self.pull.with_patience(patience), ..self }
    }

    /// From now on `/readyz` says that no new requests are wanted, and nothing is begun in the background.
    pub fn begin_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.operations.begin_ending();
    }

    /// Writes down which images were downloaded, and by whom as far as deltas go, and which identities were seen, since the last time.
    pub async fn flush_used(&self) {
        self.held.flush(&self.app.catalog, (self.now)()).await;
        self.seen.flush(&self.app.catalog, (self.now)()).await;
        self.used.flush(&self.app.catalog, (self.now)()).await;
        self.pull.flush_used().await;
    }

    /// Writes down who downloaded private images since the last time.
    pub async fn flush_downloads(&self) {
        self.downloads.flush(&self.app.catalog).await;
    }
}

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    address: SocketAddr,
    /// Written once for all the lines that name it.
    written: Arc<str>,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self { address, written: address.to_string().into() }
    }
}

impl Peer {
    /// Its address, without the port.
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// Address and port.
    pub fn as_str(&self) -> &str {
        &self.written
    }
}

/// How a request came in.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The other end.
    pub peer: Peer,
    /// Plain or TLS.
    pub transport: Transport,
}

/// What a connection speaks.
#[derive(Debug, Clone)]
pub enum Transport {
    /// HTTP as it is.
    Plain,
    /// TLS, with the certificate that the client showed, if any. Nothing was checked about it but that the client
    /// holds its key.
    Tls(Option<Arc<tls::ClientCertificate>>),
}

impl Connection {
    /// A TLS connection without client certificate from a loopback address, for tests.
    pub fn test_tls() -> Self {
        Self { peer: SocketAddr::from(([127, 0, 0, 1], 9)).into(), transport: Transport::Tls(None) }
    }

    /// The same in plain.
    pub fn test_plain() -> Self {
        Self { transport: Transport::Plain, ..Self::test_tls() }
    }

    /// Whether nobody between can read or change what is said.
    pub fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }
}

/// Answers one request. What fails inside is logged here and told in general terms outside.
pub async fn handle(state: &Arc<State>, request: Request<Incoming>, connection: &Connection) -> Response<Body> {
    let (request, body) = request.into_parts();
    let response = answer(state, &request, body, connection).await;
    if request.method == Method::HEAD { respond::without_body(response) } else { response }
}

async fn answer(state: &Arc<State>, request: &Parts, body: Incoming, connection: &Connection) -> Response<Body> {
    state.pool.count(buffers::REQUEST);
    let asked = remembered::asked(state, request, connection).await;
    if let Some(answer) = asked.as_ref().and_then(|asked| remembered::recall(state, request, asked)) {
        return answer;
    }
    // On the heap, so that an answer that is there does not move the room for all the work that others may be.
    Box::pin(worked_out(state, request, body, connection, asked)).await
}

/// An answer that is not there yet, kept for the next one who asks the same if it may be.
async fn worked_out(
    state: &Arc<State>,
    request: &Parts,
    body: Incoming,
    connection: &Connection,
    asked: Option<(remembered::Key, Moment)>,
) -> Response<Body> {
    let path = request.uri.path();
    if !connection.is_tls()
        && let Err(refusal) = plain::check_address(path)
    {
        return respond::text(StatusCode::BAD_REQUEST, refusal);
    }
    let route = match Route::parse(path) {
        Ok(route) => route,
        Err(error) => return told(route::dialect_of(path), error.status(), api_words(&error), &error),
    };
    let row = route.endpoint().row();
    if !connection.is_tls()
        && let Err(refusal) = plain::check(row, request)
    {
        return told(row.dialect, StatusCode::BAD_REQUEST, &refusal.to_string(), &refusal);
    }
    let who = match row.who(&request.method) {
        Some(who) => who,
        None if row.dialect == Dialect::Api => return lxd::error(StatusCode::NOT_IMPLEMENTED, "not implemented"),
        None => {
            let sentence = format!("{} is not known here; use {}", request.method, row.allow());
            let mut response = respond::text(StatusCode::METHOD_NOT_ALLOWED, sentence);
            respond::set(&mut response, header::ALLOW, row.allow());
            return response;
        }
    };
    let caller = match caller::resolve(state, request, connection, route.token()).await {
        Ok(caller) => caller,
        Err(refusal) => return refused(row.dialect, &refusal),
    };
    let guest = !caller.access.is_trusted();
    let answer = routed(state, request, body, connection, &caller, route, who).await;
    match asked {
        Some(asked) if guest => state.remembered.keep(asked, row, &state.app.catalog, answer),
        _ => answer,
    }
}

/// Answers somebody who is known by now.
async fn routed(
    state: &Arc<State>,
    request: &Parts,
    body: Incoming,
    connection: &Connection,
    caller: &Caller,
    route: Route,
    who: route::Who,
) -> Response<Body> {
    let row = route.endpoint().row();
    if row.dialect == Dialect::Api {
        let query = match Query::parse(request.uri.query()) {
            Ok(query) => query,
            Err(error) => return lxd::error(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        return match policy::check(state, row, who, caller, &query).await {
            Ok(()) => lxd::answer(state, request, body, caller, &query, route).await,
            Err(response) => response,
        };
    }
    match route {
        Route::Bare(Endpoint::Health) => respond::text(StatusCode::OK, "ok"),
        Route::Bare(Endpoint::Ready) => ready(state).await,
        Route::Index(scope) => {
            simplestreams::answer(state, request, connection, caller, scope, simplestreams::Kind::Index).await
        }
        Route::Products(scope) => {
            simplestreams::answer(state, request, connection, caller, scope, simplestreams::Kind::Products).await
        }
        Route::Signed(endpoint, scope) => {
            simplestreams::signed::answer(state, request, connection, caller, scope, endpoint).await
        }
        Route::Bare(endpoint @ (Endpoint::SigningKey | Endpoint::SigningKeyring)) => {
            simplestreams::signed::public_key(state, request, endpoint).await
        }
        Route::File { scope: _, digest, format } => files::answer(state, request, caller, digest, format).await,
        Route::SignedFile { grant, digest, format } => {
            files::signed(state, request, connection, &grant, digest, format).await
        }
        // The rest was answered in the other dialect.
        _ => respond::text(StatusCode::NOT_FOUND, files::NO_SUCH_FILE),
    }
}

/// The words of the LXD API for an address that means nothing; clients and people know them.
fn api_words(error: &route::RouteError) -> &str {
    match error {
        route::RouteError::Nothing | route::RouteError::NoProject => "not found",
        route::RouteError::Path(_) | route::RouteError::View(_) => "",
        route::RouteError::NoToken | route::RouteError::NoView => "not found",
    }
}

fn told(dialect: Dialect, status: StatusCode, api: &str, sentence: &dyn std::fmt::Display) -> Response<Body> {
    match dialect {
        Dialect::Text => respond::text(status, sentence),
        Dialect::Api if api.is_empty() => lxd::error(status, &sentence.to_string()),
        Dialect::Api => lxd::error(status, api),
    }
}

fn refused(dialect: Dialect, refusal: &caller::Refused) -> Response<Body> {
    use caller::Refused;
    let mut response = match (refusal, dialect) {
        (Refused::Catalog(error), _) => return failed(dialect, "credentials could not be looked up", error),
        (Refused::Unknown, Dialect::Api) => lxd::error(StatusCode::FORBIDDEN, lxd::NOT_AUTHORIZED),
        (refusal, dialect) => told(dialect, refusal.status(), "", refusal),
    };
    match (refusal, dialect) {
        (Refused::Unknown, Dialect::Text) => {
            respond::set(&mut response, header::WWW_AUTHENTICATE, "Basic realm=\"Headwater\", charset=\"UTF-8\"");
        }
        (Refused::Busy(_), _) => respond::set(&mut response, header::RETRY_AFTER, guard::RETRY_AFTER.to_string()),
        _ => {}
    }
    response
}

async fn ready(state: &State) -> Response<Body> {
    if state.draining.load(Ordering::Relaxed) {
        return respond::text(StatusCode::SERVICE_UNAVAILABLE, "this server is shutting down");
    }
    match state.app.catalog.revision().await {
        Ok(_) => respond::text(StatusCode::OK, "ready"),
        Err(error) => {
            tracing::error!(%error, "not ready: the catalog does not answer");
            respond::text(StatusCode::SERVICE_UNAVAILABLE, "the catalog does not answer; the server's log says why")
        }
    }
}

/// The answer when something failed that is not the client's business: the log has the reason.
fn failed(dialect: Dialect, what: &str, error: &dyn std::fmt::Display) -> Response<Body> {
    tracing::error!(%error, "{what}");
    let sentence = "the server failed to answer; its log says why";
    told(dialect, StatusCode::INTERNAL_SERVER_ERROR, sentence, &sentence)
}
