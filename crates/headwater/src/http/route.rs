//! Which address means what, and who may call it: the route table.
//!
//! ```
//! use headwater::http::route::{Endpoint, Route};
//!
//! let route = Route::parse("/p/team/only/arch=arm64/streams/v1/index.json").unwrap();
//! assert_eq!(route.endpoint(), Endpoint::Index);
//! assert!(Route::parse("/only/colour=red/streams/v1/index.json").is_err());
//! ```
//!
//! [`TABLE`] is data: dispatch reads it, tests walk every row of it, and a new address begins with a new row.
//! [`Route::parse`] is pure. Neither knows what is in the catalog, or who is asking.

use headwater_formats::digest::{Digest, FingerprintPrefix};
use headwater_formats::image::FileFormat;
use headwater_formats::names::{AliasName, ProjectName, ViewName};
use headwater_formats::view::{View, ViewError};
use http::{Method, StatusCode};

use super::path::{self, PathError};
use crate::auth::Secret;

/// In which form errors are told: each protocol has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// A sentence in `text/plain`.
    Text,
    /// The JSON envelope of the LXD API.
    Api,
}

/// Who may call, at least. What else has to hold (whose image it is, for instance) the front-end asks itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Everybody; what they see depends on who they are.
    Guests,
    /// Who is known here, and who brings a secret or a proof that is looked at behind the door: uploading with a push token,
    /// waiting for one operation, joining.
    Bearer,
    /// Callers with an identity that is known here.
    Trusted,
    /// Viewers of the project that the request names, and greater roles.
    Viewer,
    /// Publishers of that project, and greater roles.
    Publisher,
    /// Who administers the server.
    Administrator,
}

/// What stands behind an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the table right below says which address each one is")]
pub enum Endpoint {
    Health,
    Ready,
    Index,
    Products,
    SignedIndex,
    SignedProducts,
    IndexSignature,
    ProductsSignature,
    SigningKey,
    SigningKeyring,
    File,
    ApiRoot,
    Server,
    Images,
    Image,
    ImageExport,
    ImageRefresh,
    ImageSecret,
    Aliases,
    Alias,
    Certificates,
    Certificate,
    Operations,
    Operation,
    OperationPart,
    Events,
    Projects,
    Project,
    Foreign,
    SignedFile,
}

/// One line of the table.
#[derive(Debug)]
pub struct Row {
    /// What stands behind it.
    pub endpoint: Endpoint,
    /// The address; `{…}` is one segment, `{…*}` one or more, `[scope]` is `/p/<project>` and `/only/<filter>` prefixes.
    pub pattern: &'static str,
    /// An address of this pattern, for the tests.
    pub example: &'static str,
    /// The methods that exist, and who may use each. Any other is unknown here.
    pub methods: &'static [(Method, Who)],
    /// Whether it is answered over plain HTTP; if not, such a request is refused.
    pub plain: bool,
    /// In which form its errors are told.
    pub dialect: Dialect,
    /// Whether what guests are told depends on nothing but the catalog, and changes nothing: see [`super::remembered`].
    pub remembered: bool,
}

use Dialect::{Api, Text};
use Endpoint as E;
use Who::{Administrator, Bearer, Guests, Publisher, Trusted, Viewer};

const READ: &[(Method, Who)] = &[(Method::GET, Guests), (Method::HEAD, Guests)];
const GET: &[(Method, Who)] = &[(Method::GET, Guests)];
const TRUSTED_GET: &[(Method, Who)] = &[(Method::GET, Trusted)];
const REFRESH: &[(Method, Who)] = &[(Method::POST, Publisher)];
const SECRET: &[(Method, Who)] = &[(Method::POST, Viewer)];
const IMAGES: &[(Method, Who)] = &[(Method::GET, Guests), (Method::POST, Bearer)];
const ALIASES: &[(Method, Who)] = &[(Method::GET, Guests), (Method::POST, Publisher)];
const CERTIFICATES: &[(Method, Who)] = &[(Method::GET, Trusted), (Method::POST, Bearer)];
const PROJECTS: &[(Method, Who)] = &[(Method::GET, Trusted), (Method::POST, Administrator)];
const OPERATION: &[(Method, Who)] = &[(Method::GET, Trusted), (Method::DELETE, Trusted)];
const OPERATION_PART: &[(Method, Who)] = &[(Method::GET, Bearer)];
const SERVER: &[(Method, Who)] = &[(Method::GET, Guests), (Method::PUT, Administrator), (Method::PATCH, Administrator)];
const EXPORT: &[(Method, Who)] = &[(Method::GET, Guests), (Method::POST, Publisher)];
const IMAGE: &[(Method, Who)] =
    &[(Method::GET, Guests), (Method::PUT, Publisher), (Method::PATCH, Publisher), (Method::DELETE, Publisher)];
const ALIAS: &[(Method, Who)] = &[
    (Method::GET, Guests),
    (Method::POST, Publisher),
    (Method::PUT, Publisher),
    (Method::PATCH, Publisher),
    (Method::DELETE, Publisher),
];
const CERTIFICATE: &[(Method, Who)] =
    &[(Method::GET, Trusted), (Method::PUT, Trusted), (Method::PATCH, Trusted), (Method::DELETE, Trusted)];
const PROJECT: &[(Method, Who)] = &[
    (Method::GET, Trusted),
    (Method::POST, Administrator),
    (Method::PUT, Administrator),
    (Method::PATCH, Administrator),
    (Method::DELETE, Administrator),
];
const FOREIGN_OBJECT: &[(Method, Who)] = &[
    (Method::GET, Trusted),
    (Method::POST, Trusted),
    (Method::PUT, Trusted),
    (Method::PATCH, Trusted),
    (Method::DELETE, Trusted),
];

/// Every address that means something, with who may call it.
#[rustfmt::skip]
pub static TABLE: &[Row] = &[
    row(E::Health,        "/healthz", "/healthz", READ, true, Text),
    row(E::Ready,         "/readyz", "/readyz", READ, true, Text),
    row(E::Index,         "[scope]/streams/v1/index.json", "/streams/v1/index.json", READ, false, Text),
    row(E::Products,      "[scope]/streams/v1/images.json", "/only/latest=1/streams/v1/images.json", READ, false, Text),
    row(E::SignedIndex,   "[scope]/streams/v1/index.sjson", "/streams/v1/index.sjson", READ, false, Text),
    row(E::SignedProducts, "[scope]/streams/v1/images.sjson", "/p/a/streams/v1/images.sjson", READ, false, Text),
    row(E::IndexSignature, "[scope]/streams/v1/index.json.gpg", "/v/a/streams/v1/index.json.gpg", READ, false, Text),
    row(E::ProductsSignature, "[scope]/streams/v1/images.json.gpg", "/streams/v1/images.json.gpg", READ, false, Text),
    row(E::SigningKey,    "/signing-key.asc", "/signing-key.asc", READ, false, Text),
    row(E::SigningKeyring, "/signing-key.gpg", "/signing-key.gpg", READ, false, Text),
    row(E::File,          "[scope]/images/{digest}.{extension}",
        "/images/0000000000000000000000000000000000000000000000000000000000000000.squashfs", READ, true, Text),
    row(E::SignedFile,    "/f/{grant}/{digest}.{extension}",
        "/f/0/0000000000000000000000000000000000000000000000000000000000000000.squashfs", READ, false, Text),
    row(E::ApiRoot,       "/", "/", GET, false, Api),
    row(E::Server,        "/1.0", "/1.0", SERVER, false, Api),
    row(E::Images,        "/1.0/images", "/1.0/images", IMAGES, false, Api),
    row(E::Aliases,       "/1.0/images/aliases", "/1.0/images/aliases", ALIASES, false, Api),
    row(E::Alias,         "/1.0/images/aliases/{name*}", "/1.0/images/aliases/debian/12", ALIAS, false, Api),
    row(E::Image,         "/1.0/images/{fingerprint}", "/1.0/images/00", IMAGE, false, Api),
    row(E::ImageExport,   "/1.0/images/{fingerprint}/export", "/1.0/images/00/export", EXPORT, false, Api),
    row(E::ImageRefresh,  "/1.0/images/{fingerprint}/refresh", "/1.0/images/00/refresh", REFRESH, false, Api),
    row(E::ImageSecret,   "/1.0/images/{fingerprint}/secret", "/1.0/images/00/secret", SECRET, false, Api),
    row(E::Certificates,  "/1.0/certificates", "/1.0/certificates", CERTIFICATES, false, Api),
    row(E::Certificate,   "/1.0/certificates/{fingerprint}", "/1.0/certificates/00", CERTIFICATE, false, Api),
    row(E::Operations,    "/1.0/operations", "/1.0/operations", TRUSTED_GET, false, Api),
    row(E::Operation,     "/1.0/operations/{id}", "/1.0/operations/1", OPERATION, false, Api),
    row(E::OperationPart, "/1.0/operations/{id}/wait", "/1.0/operations/1/wait", OPERATION_PART, false, Api),
    row(E::Events,        "/1.0/events", "/1.0/events", TRUSTED_GET, false, Api),
    row(E::Projects,      "/1.0/projects", "/1.0/projects", PROJECTS, false, Api),
    row(E::Project,       "/1.0/projects/{name}", "/1.0/projects/default", PROJECT, false, Api),
    row(E::Foreign,       "/1.0/{what LXD and Incus have beside images*}", "/1.0/instances", FOREIGN_OBJECT, false, Api),
];

const fn row(
    endpoint: Endpoint,
    pattern: &'static str,
    example: &'static str,
    methods: &'static [(Method, Who)],
    plain: bool,
    dialect: Dialect,
) -> Row {
    let remembered = matches!(endpoint, E::Index | E::Products | E::Images | E::Image | E::Aliases | E::Alias);
    Row { endpoint, pattern, example, methods, plain, dialect, remembered }
}

/// First segments below `/1.0` that a real daemon has and an image server does not: a guest is told `not authorized`
/// there, as everywhere (LXD `lxd/api_1.0.go`, Incus `cmd/incusd/api_1.0.go`).
const FOREIGN: &[&str] = &[
    "auth",
    "cluster",
    "containers",
    "instances",
    "metadata",
    "metrics",
    "network-acls",
    "network-address-sets",
    "network-allocations",
    "network-integrations",
    "network-zones",
    "networks",
    "profiles",
    "resources",
    "storage-buckets",
    "storage-pools",
    "storage-volumes",
    "virtual-machines",
    "warnings",
];

impl Endpoint {
    /// Its line in the table.
    pub fn row(self) -> &'static Row {
        // Every endpoint has a line (a test walks them); the first one stands in only to satisfy the type.
        TABLE.iter().find(|row| row.endpoint == self).unwrap_or(&TABLE[0])
    }
}

impl Row {
    /// Who may use this method; `None` when it does not exist.
    pub fn who(&self, method: &Method) -> Option<Who> {
        self.methods.iter().find(|(known, _)| known == method).map(|(_, who)| *who)
    }

    /// The value of an `Allow` header.
    pub fn allow(&self) -> String {
        self.methods.iter().map(|(method, _)| method.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// The part of a stream's address that stands before its documents and files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// `/t/<token>`: all that who has it may see.
    pub token: Option<Secret>,
    /// What is looked at.
    pub place: Place,
    /// `/only/<key>=<values>`, all of them.
    pub view: View,
    /// How many segments the prefix has: how often `..` leads from its documents to the top.
    pub depth: usize,
}

/// What a stream looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// No more was said: the default project, or all the projects of a token.
    Bare,
    /// `/p/<project>`
    Project(ProjectName),
    /// `/v/<view>`
    View(ViewName),
}

/// An address that means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// An address without a variable part that matters (for what guests may call).
    Bare(Endpoint),
    /// `streams/v1/index.json`
    Index(Scope),
    /// `streams/v1/images.json`
    Products(Scope),
    /// One of the two with a signature in it, or the signature alone: `index.sjson`, `images.json.gpg`, …
    Signed(Endpoint, Scope),
    /// A file by its digest. The prefixes before it are there because clients put the base address of the stream before the
    /// paths that its documents name; only a token among them matters.
    File {
        /// The prefixes.
        scope: Scope,
        /// SHA-256 of the file.
        digest: Digest,
        /// What the extension says that it is.
        format: FileFormat,
    },
    /// A file at an address that was signed for somebody: `/f/<grant>/<digest>.<extension>`.
    SignedFile {
        /// Who may have it, where and until when, as it was signed.
        grant: String,
        /// SHA-256 of the file.
        digest: Digest,
        /// What the extension says that it is.
        format: FileFormat,
    },
    /// A certificate, by the beginning of its SHA-256, which can be any text.
    Certificate(String),
    /// An operation or what is below it, by its id, which can be any text.
    Operation(Endpoint, String),
    /// A project. `None` is a text that can be no project, and so finds nothing.
    Project(Option<ProjectName>),
    /// What LXD and Incus have beside images: the segments after `/1.0`.
    Foreign(Vec<String>),
    /// An image, or what is below it. `None` is a text that can be no fingerprint, and so finds nothing.
    Image(Endpoint, Option<FingerprintPrefix>),
    /// An alias. `None` is a text that can be no alias, and so finds nothing.
    Alias(Option<AliasName>),
}

/// Why an address means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The path as such.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A filter in it.
    #[error(transparent)]
    View(#[from] ViewError),
    /// `/p/` with a text that can be no project.
    #[error("there is no such project here; check its name in the address")]
    NoProject,
    /// `/t/` with a text that can be no token.
    #[error("the token in the address is not known here; it may have been revoked, or have ended: ask for a new one")]
    NoToken,
    /// `/v/` with a text that can be no view.
    #[error("there is no such view here; check its name in the address")]
    NoView,
    /// Nothing is there.
    #[error("there is nothing at this address; streams begin with /streams/v1/index.json, the API with /1.0")]
    Nothing,
}

impl RouteError {
    /// The status that goes with the sentence.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Path(error) => error.status(),
            Self::View(_) => StatusCode::BAD_REQUEST,
            Self::NoToken => StatusCode::FORBIDDEN,
            Self::NoProject | Self::NoView | Self::Nothing => StatusCode::NOT_FOUND,
        }
    }
}

impl Route {
    /// Reads the path of a request, as it was sent.
    pub fn parse(path: &str) -> Result<Self, RouteError> {
        let segments = path::segments(path)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            [] => Ok(Self::Bare(E::ApiRoot)),
            ["healthz"] => Ok(Self::Bare(E::Health)),
            ["readyz"] => Ok(Self::Bare(E::Ready)),
            ["signing-key.asc"] => Ok(Self::Bare(E::SigningKey)),
            ["signing-key.gpg"] => Ok(Self::Bare(E::SigningKeyring)),
            ["1.0", rest @ ..] => api(rest),
            ["f", grant, name] => match file(name) {
                Some((digest, format)) => Ok(Self::SignedFile { grant: (*grant).to_owned(), digest, format }),
                None => Err(RouteError::Nothing),
            },
            all => stream(all),
        }
    }

    /// The token that stands in it.
    pub fn token(&self) -> Option<&Secret> {
        match self {
            Self::Index(scope) | Self::Products(scope) | Self::Signed(_, scope) | Self::File { scope, .. } => {
                scope.token.as_ref()
            }
            _ => None,
        }
    }

    /// What stands behind it.
    pub fn endpoint(&self) -> Endpoint {
        match self {
            Self::Bare(endpoint) | Self::Image(endpoint, _) | Self::Signed(endpoint, _) => *endpoint,
            Self::Index(_) => E::Index,
            Self::Products(_) => E::Products,
            Self::File { .. } => E::File,
            Self::Alias(_) => E::Alias,
            Self::SignedFile { .. } => E::SignedFile,
            Self::Certificate(_) => E::Certificate,
            Self::Operation(endpoint, _) => *endpoint,
            Self::Project(_) => E::Project,
            Self::Foreign(_) => E::Foreign,
        }
    }
}

fn api(rest: &[&str]) -> Result<Route, RouteError> {
    let endpoint = match rest {
        [] => E::Server,
        ["images"] => E::Images,
        ["images", "aliases"] => E::Aliases,
        ["images", "aliases", name @ ..] => return Ok(Route::Alias(AliasName::new(name.join("/")).ok())),
        ["images", text] => return Ok(Route::Image(E::Image, text.parse().ok())),
        ["images", text, "export"] => return Ok(Route::Image(E::ImageExport, text.parse().ok())),
        ["images", text, "refresh"] => return Ok(Route::Image(E::ImageRefresh, text.parse().ok())),
        ["images", text, "secret"] => return Ok(Route::Image(E::ImageSecret, text.parse().ok())),
        ["certificates"] => E::Certificates,
        ["certificates", text] => return Ok(Route::Certificate((*text).to_owned())),
        ["operations"] => E::Operations,
        ["operations", id] => return Ok(Route::Operation(E::Operation, (*id).to_owned())),
        ["operations", id, "wait"] => return Ok(Route::Operation(E::OperationPart, (*id).to_owned())),
        ["events"] => E::Events,
        ["projects"] => E::Projects,
        ["projects", name] => return Ok(Route::Project(ProjectName::new(*name).ok())),
        [first, ..] if FOREIGN.contains(first) => {
            return Ok(Route::Foreign(rest.iter().map(|segment| (*segment).to_owned()).collect()));
        }
        _ => return Err(RouteError::Nothing),
    };
    Ok(Route::Bare(endpoint))
}

fn stream(mut rest: &[&str]) -> Result<Route, RouteError> {
    let all = rest.len();
    let mut scope = Scope { token: None, place: Place::Bare, view: View::default(), depth: 0 };
    if let ["t", token, tail @ ..] = rest {
        scope.token = Some(Secret::parse(token).map_err(|_| RouteError::NoToken)?);
        rest = tail;
    }
    match rest {
        ["p", project, tail @ ..] => {
            scope.place = Place::Project(ProjectName::new(*project).map_err(|_| RouteError::NoProject)?);
            rest = tail;
        }
        ["v", view, tail @ ..] => {
            scope.place = Place::View(ViewName::new(*view).map_err(|_| RouteError::NoView)?);
            rest = tail;
        }
        _ => {}
    }
    // What comes after the scope is known by its end; before that, a slash may be one of an alias.
    let end = match rest {
        [.., "streams", "v1", _] => 3,
        [.., "images", _] => 2,
        _ => 0,
    };
    while let ["only", filter, tail @ ..] = rest {
        let more = match filter.starts_with("alias=") {
            true => rest_of_alias(tail.get(..tail.len().saturating_sub(end)).unwrap_or_default()),
            false => 0,
        };
        let (more, tail) = tail.split_at(more);
        match more {
            [] => scope.view.parse_segment(filter)?,
            more => scope.view.parse_segment(&[&[*filter], more].concat().join("/"))?,
        }
        rest = tail;
    }
    scope.depth = all - rest.len();
    match rest {
        ["streams", "v1", "index.json"] => Ok(Route::Index(scope)),
        ["streams", "v1", "images.json"] => Ok(Route::Products(scope)),
        ["streams", "v1", "index.sjson"] => Ok(Route::Signed(E::SignedIndex, scope)),
        ["streams", "v1", "images.sjson"] => Ok(Route::Signed(E::SignedProducts, scope)),
        ["streams", "v1", "index.json.gpg"] => Ok(Route::Signed(E::IndexSignature, scope)),
        ["streams", "v1", "images.json.gpg"] => Ok(Route::Signed(E::ProductsSignature, scope)),
        ["images", name] => match file(name) {
            Some((digest, format)) => Ok(Route::File { scope, digest, format }),
            None => Err(RouteError::Nothing),
        },
        _ => Err(RouteError::Nothing),
    }
}

/// How many segments after `alias=…` are still its value: all up to the next filter. LXD 5.0 decodes an escaped slash in the address of
/// a remote before it asks.
fn rest_of_alias(segments: &[&str]) -> usize {
    let next = |pair: &[&str]| matches!(pair, ["only", filter] if filter.contains('='));
    segments.windows(2).position(next).unwrap_or(segments.len())
}

fn file(name: &str) -> Option<(Digest, FileFormat)> {
    let (digest, extension) = name.split_once('.')?;
    Some((digest.parse().ok()?, FileFormat::from_extension(extension)?))
}

/// The dialect of an address that may mean nothing: clients of streams ask below these names, all else is the API's.
pub fn dialect_of(path: &str) -> Dialect {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match first {
        "streams" | "images" | "p" | "only" | "t" | "v" | "f" | "healthz" | "readyz" | "signing-key.asc"
        | "signing-key.gpg" => Text,
        _ => Api,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_reached_by_its_example() {
        for row in TABLE {
            let route = Route::parse(row.example).unwrap_or_else(|error| panic!("{}: {error}", row.example));
            assert_eq!(route.endpoint(), row.endpoint, "{}", row.pattern);
            assert_eq!(row.endpoint.row().pattern, row.pattern, "two rows have one endpoint");
            assert_eq!(dialect_of(row.example), row.dialect, "{}", row.pattern);
        }
    }

    #[test]
    fn only_what_may_be_seen_by_anyone_is_answered_in_plain() {
        let plain: Vec<Endpoint> = TABLE.iter().filter(|row| row.plain).map(|row| row.endpoint).collect();
        assert_eq!(plain, [E::Health, E::Ready, E::File]);
    }

    #[test]
    fn guests_may_only_read() {
        for row in TABLE {
            for (method, who) in row.methods {
                assert!(*who != Guests || method.is_safe(), "{method} {} is open to guests", row.pattern);
            }
        }
    }

    #[test]
    fn scopes_are_read_from_the_front() {
        let Ok(Route::Products(scope)) =
            Route::parse("/p/team/only/os=debian%2Calpine/only/latest=2/streams/v1/images.json")
        else {
            panic!("no products document")
        };
        assert_eq!(scope.place, Place::Project(ProjectName::new("team").unwrap()));
        assert_eq!(scope.depth, 6);
        assert_eq!(scope.view.to_string(), "only/latest=2/only/os=alpine,debian/");
        for (path, error) in [
            ("/only/os=a/p/team/streams/v1/index.json", RouteError::Nothing),
            ("/p/team/p/other/streams/v1/index.json", RouteError::Nothing),
            ("/p/a%2Fb/streams/v1/index.json", RouteError::NoProject),
            ("/p/team", RouteError::Nothing),
            ("/p", RouteError::Nothing),
            ("/t/abc/streams/v1/index.json", RouteError::NoToken),
            ("/v/a%20b/streams/v1/index.json", RouteError::NoView),
            ("/only", RouteError::Nothing),
            ("/streams/v1/other.json", RouteError::Nothing),
            ("/streams/v1/index.json/x", RouteError::Nothing),
            ("/1.0/nothing", RouteError::Nothing),
            ("/1.0/images/aa/nothing", RouteError::Nothing),
            ("/only/os/streams/v1/index.json", RouteError::View(ViewError::NoValue("os".into()))),
        ] {
            assert_eq!(Route::parse(path), Err(error), "{path}");
        }
    }

    #[test]
    fn an_alias_in_a_filter_keeps_its_slashes_raw_or_escaped() {
        let scope = |path: &str| match Route::parse(path) {
            Ok(Route::Index(scope) | Route::File { scope, .. } | Route::Signed(_, scope)) => scope,
            other => panic!("{path}: {other:?}"),
        };
        let file = format!("images/{}.squashfs", "ab".repeat(32));
        for (path, view, depth) in [
            ("alias=debian%2F12", "only/alias=debian%2F12/", 2),
            ("alias=debian/12", "only/alias=debian%2F12/", 3),
            ("alias=debian/12/amd64,b/c", "only/alias=b%2Fc,debian%2F12%2Famd64/", 5),
            ("alias=debian%2F12/cloud", "only/alias=debian%2F12%2Fcloud/", 3),
            ("alias=a/b,os=debian", "only/alias=a%2Fb,os%3Ddebian/", 3),
            ("alias=a/b/only/os=debian", "only/alias=a%2Fb/only/os=debian/", 5),
            (
                "os=debian/only/alias=a/b/only/alias=c/d/only/latest=1",
                "only/alias=a%2Fb/only/alias=c%2Fd/only/latest=1/only/os=debian/",
                10,
            ),
            ("alias=only/only/only/os=a", "only/alias=only%2Fonly/only/os=a/", 5),
            ("alias=streams/v1/x", "only/alias=streams%2Fv1%2Fx/", 4),
            ("alias=images/x", "only/alias=images%2Fx/", 3),
        ] {
            for tail in ["streams/v1/index.json", "streams/v1/images.sjson", &file] {
                let scope = scope(&format!("/p/team/only/{path}/{tail}"));
                assert_eq!((scope.view.to_string().as_str(), scope.depth), (view, depth + 2), "{path} {tail}");
            }
        }
        for (path, error) in [
            // No other value has slashes, and nothing but filters may follow.
            ("/only/os=a/b/streams/v1/index.json", RouteError::Nothing),
            ("/only/alias=a/b/streams/v1/index.xml", RouteError::Nothing),
            ("/only/alias=a/b", RouteError::Nothing),
            ("/only/alias=a/streams/v1", RouteError::Nothing),
            (
                "/only/alias=a/only/colour=red/streams/v1/index.json",
                RouteError::View(ViewError::UnknownKey("colour".into())),
            ),
            ("/only/alias=a/b/only/os=/streams/v1/index.json", RouteError::View(ViewError::EmptyValue("os"))),
        ] {
            assert_eq!(Route::parse(path), Err(error), "{path}");
        }
        // The name of a file is no part of an alias, and neither is an empty segment.
        assert_eq!(Route::parse("/only/alias=a/images/x.squashfs"), Err(RouteError::Nothing));
        assert_eq!(Route::parse("/only/alias=a//streams/v1/index.json"), Err(PathError::EmptySegment.into()));
        let long = format!("/only/alias=a{}/streams/v1/index.json", "/aaaaaaaaa".repeat(26));
        assert_eq!(Route::parse(&long), Err(RouteError::View(ViewError::LongValue("alias"))));
    }

    #[test]
    fn files_are_named_by_digest_and_known_extension() {
        let digest = "ab".repeat(32);
        for extension in ["tar", "tar.gz", "tar.xz", "tar.lzma", "tar.bz2", "tar.zst", "tar.lz4", "squashfs", "qcow2"] {
            let path = format!("/p/team/only/os=a/images/{digest}.{extension}");
            assert!(matches!(Route::parse(&path), Ok(Route::File { .. })), "{path}");
        }
        for name in [
            digest.clone(),
            format!("{digest}.exe"),
            format!("{digest}.TAR"),
            format!("{}.tar", digest.to_uppercase()),
            format!("{}.tar", &digest[1..]),
            format!("{digest}.tar.xz.tar"),
        ] {
            assert_eq!(Route::parse(&format!("/images/{name}")), Err(RouteError::Nothing), "{name}");
        }
    }

    #[test]
    fn aliases_keep_their_slashes_raw_or_escaped() {
        let name = |path: &str| match Route::parse(path) {
            Ok(Route::Alias(name)) => name.map(|name| name.to_string()),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(name("/1.0/images/aliases/debian/12"), Some("debian/12".into()));
        assert_eq!(name("/1.0/images/aliases/debian%2F12"), Some("debian/12".into()));
        assert_eq!(name("/1.0/images/aliases/a%252Fb"), Some("a%2Fb".into()));
        assert_eq!(name("/1.0/images/aliases/a+b%20c"), Some("a+b c".into()));
        assert_eq!(name("/1.0/images/aliases/a,b"), None);
        assert_eq!(name("/1.0/images/aliases/aliases/export"), Some("aliases/export".into()));
        assert_eq!(Route::parse("/1.0/images/XYZ"), Ok(Route::Image(E::Image, None)));
    }
}
