//! Who may what: every address of the route table with each of its methods, tried by every kind of caller.
//!
//! The table below says what each of them is told, by a letter; [`Said`] has the reasons in words. It is written from what callers should
//! be allowed, not from what the server does. An address or a method that has no line in it fails the test, and a refused
//! change that changed something, too.

use std::sync::Arc;

use headwater::auth::{Actor, Identity, Manages, Role, Secret};
use headwater::catalog::Purpose;
use headwater::http::Connection;
use headwater::http::incoming::Incoming;
use headwater::http::route::{Endpoint, TABLE};
use headwater::http::tls::ClientCertificate;
use headwater::operations::{NewTask, NewToken, Operations};
use headwater_formats::names::{ProjectName, ViewName};
use headwater_formats::view::View;
use http::Method;

use super::kit::{Answer, Sample, Server, fingerprint, now};
use super::people::{May, basic, bearer, certificate, from_address, shown};

/// The callers, in the order of the table's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// No credentials.
    Nobody,
    /// A certificate that nobody knows.
    Stranger,
    Viewer,
    /// A publisher who manages what they published themselves.
    Own,
    /// A publisher who manages all of the project.
    All,
    Admin,
    /// The same roles in another project.
    OtherViewer,
    OtherPublisher,
    OtherAdmin,
    /// An administrator of the server, by a certificate.
    Server,
    /// No credentials, but the secret of an image or of an operation.
    Secret,
    /// A token at its end.
    Expired,
    /// A token that was revoked.
    Revoked,
    /// A user name and a password that is no token.
    WrongBasic,
    /// A token that is bound to a view of the project, which lets `{theirs}` pass and not `{mine}`.
    Bound,
}

const KINDS: [Kind; 15] = [
    Kind::Nobody,
    Kind::Stranger,
    Kind::Viewer,
    Kind::Own,
    Kind::All,
    Kind::Admin,
    Kind::OtherViewer,
    Kind::OtherPublisher,
    Kind::OtherAdmin,
    Kind::Server,
    Kind::Secret,
    Kind::Expired,
    Kind::Revoked,
    Kind::WrongBasic,
    Kind::Bound,
];

const GET: Method = Method::GET;
const HEAD: Method = Method::HEAD;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

/// An address, a method, a body, and what each caller is told. `{theirs}` is an image of the project `team` that an admin published,
/// `{mine}` one of [`Kind::Own`]; both are private.
struct Line(Endpoint, Method, &'static str, &'static str, &'static str);

#[rustfmt::skip]
fn lines() -> Vec<Line> {
    use Endpoint as E;
    const PUT_IMAGE: &str = r#"{"public":false,"properties":{"a":"b"}}"#;
    const PATCH_IMAGE: &str = r#"{"properties":{"a":"b"}}"#;
    const PUSH: &str = r#"{"source":{"type":"image","mode":"push","fingerprint":"{new}"}}"#;
    const EXPORT: &str = r#"{"target":"https://127.0.0.1:1","certificate":"","secret":"abc","project":"p"}"#;
    const TRUST: &str = r#"{"type":"client","name":"new","certificate":"{der}","restricted":true,"projects":["team"]}"#;
    const JOINED: &str = r#"{"type":"client","name":"joined","restricted":true,"projects":["team"]}"#;
    vec![
        //                                                                        nobody viewer           others   server  expired  bound
        //                                                                          stranger own  all admin         secret   wrong
        Line(E::Health, GET, "/healthz", "",                                       "+ + + + + + + + + + + u u u +"),
        Line(E::Health, HEAD, "/healthz", "",                                      "+ + + + + + + + + + + u u u +"),
        Line(E::Ready, GET, "/readyz", "",                                         "+ + + + + + + + + + + u u u +"),
        Line(E::Ready, HEAD, "/readyz", "",                                        "+ + + + + + + + + + + u u u +"),
        Line(E::Index, GET, "/p/team/streams/v1/index.json", "",                   "p p + + + + p p p + p u u u +"),
        Line(E::Index, HEAD, "/p/team/streams/v1/index.json", "",                  "p p + + + + p p p + p u u u +"),
        Line(E::Products, GET, "/p/team/streams/v1/images.json", "",               "p p + + + + p p p + p u u u +"),
        Line(E::Products, HEAD, "/p/team/streams/v1/images.json", "",              "p p + + + + p p p + p u u u +"),
        Line(E::SignedIndex, GET, "/p/team/streams/v1/index.sjson", "",            "p p + + + + p p p + p u u u +"),
        Line(E::SignedIndex, HEAD, "/p/team/streams/v1/index.sjson", "",           "p p + + + + p p p + p u u u +"),
        Line(E::SignedIndex, GET, "/v/stable/streams/v1/index.sjson", "",          "q q + + + + q q q + q u u u +"),
        Line(E::SignedProducts, GET, "/p/team/streams/v1/images.sjson", "",        "p p + + + + p p p + p u u u +"),
        Line(E::SignedProducts, HEAD, "/p/team/streams/v1/images.sjson", "",       "p p + + + + p p p + p u u u +"),
        Line(E::SignedProducts, GET, "/v/stable/streams/v1/images.sjson", "",      "q q + + + + q q q + q u u u +"),
        Line(E::IndexSignature, GET, "/p/team/streams/v1/index.json.gpg", "",      "p p + + + + p p p + p u u u +"),
        Line(E::IndexSignature, HEAD, "/p/team/streams/v1/index.json.gpg", "",     "p p + + + + p p p + p u u u +"),
        Line(E::IndexSignature, GET, "/v/stable/streams/v1/index.json.gpg", "",    "q q + + + + q q q + q u u u +"),
        Line(E::ProductsSignature, GET, "/p/team/streams/v1/images.json.gpg", "",  "p p + + + + p p p + p u u u +"),
        Line(E::ProductsSignature, HEAD, "/p/team/streams/v1/images.json.gpg", "", "p p + + + + p p p + p u u u +"),
        Line(E::ProductsSignature, GET, "/v/stable/streams/v1/images.json.gpg", "","q q + + + + q q q + q u u u +"),
        Line(E::SigningKey, GET, "/signing-key.asc", "",                           "+ + + + + + + + + + + u u u +"),
        Line(E::SigningKey, HEAD, "/signing-key.asc", "",                          "+ + + + + + + + + + + u u u +"),
        Line(E::SigningKeyring, GET, "/signing-key.gpg", "",                       "+ + + + + + + + + + + u u u +"),
        Line(E::SigningKeyring, HEAD, "/signing-key.gpg", "",                      "+ + + + + + + + + + + u u u +"),
        Line(E::File, GET, "/images/{theirs}.tar", "",                             "f f + + + + f f f + f u u u +"),
        Line(E::File, HEAD, "/images/{theirs}.tar", "",                            "f f + + + + f f f + f u u u +"),
        Line(E::Index, GET, "/v/stable/streams/v1/index.json", "",                 "q q + + + + q q q + q u u u +"),
        Line(E::Products, GET, "/v/stable/streams/v1/images.json", "",             "q q + + + + q q q + q u u u +"),
        Line(E::Index, GET, "/p/other/streams/v1/index.json", "",                  "p p p p p p + + + + p u u u p"),
        Line(E::File, GET, "/images/{mine}.tar", "",                               "f f + + + + f f f + f u u u f"),
        Line(E::SignedFile, GET, "/f/0/{theirs}.tar", "",                          "f f f f f f f f f f f u u u f"),
        Line(E::SignedFile, HEAD, "/f/0/{theirs}.tar", "",                         "f f f f f f f f f f f u u u f"),
        Line(E::ApiRoot, GET, "/", "",                                             "+ + + + + + + + + + + n n n +"),
        Line(E::Server, GET, "/1.0", "",                                           "+ + + + + + + + + + + n n n +"),
        Line(E::Server, PUT, "/1.0", "{}",                                         "n n a a a a a a a ! n n n n v"),
        Line(E::Server, PATCH, "/1.0", "{}",                                       "n n a a a a a a a ! n n n n v"),
        Line(E::Images, GET, "/1.0/images?project=team", "",                       "P P + + + + P P P + P n n n v"),
        Line(E::Images, GET, "/1.0/images?all-projects=true", "",                  "n n + + + + + + + + n n n n v"),
        Line(E::Images, POST, "/1.0/images?project=team", PUSH,                    "n n i + + + P P P + n n n n v"),
        Line(E::Aliases, GET, "/1.0/images/aliases?project=team", "",              "P P + + + + P P P + P n n n v"),
        Line(E::Aliases, POST, "/1.0/images/aliases?project=team",
            r#"{"name":"new","target":"{theirs}"}"#,                               "n n r l + + P P P + n n n n v"),
        Line(E::Aliases, POST, "/1.0/images/aliases?project=team",
            r#"{"name":"new","target":"{mine}"}"#,                                 "n n r + + + P P P + n n n n v"),
        Line(E::Alias, GET, "/1.0/images/aliases/theirs?project=team", "",         "P P + + + + P P P + P n n n v"),
        Line(E::Alias, POST, "/1.0/images/aliases/theirs?project=team",
            r#"{"name":"new"}"#,                                                   "n n r l + + P P P + n n n n v"),
        Line(E::Alias, POST, "/1.0/images/aliases/mine?project=team",
            r#"{"name":"new"}"#,                                                   "n n r + + + P P P + n n n n v"),
        Line(E::Alias, PUT, "/1.0/images/aliases/theirs?project=team",
            r#"{"target":"{theirs}"}"#,                                            "n n r l + + P P P + n n n n v"),
        Line(E::Alias, PUT, "/1.0/images/aliases/mine?project=team",
            r#"{"target":"{theirs}"}"#,                                            "n n r l + + P P P + n n n n v"),
        Line(E::Alias, PUT, "/1.0/images/aliases/mine?project=team",
            r#"{"target":"{mine}"}"#,                                              "n n r + + + P P P + n n n n v"),
        Line(E::Alias, PATCH, "/1.0/images/aliases/theirs?project=team",
            r#"{"description":"x"}"#,                                              "n n r l + + P P P + n n n n v"),
        Line(E::Alias, PATCH, "/1.0/images/aliases/mine?project=team",
            r#"{"description":"x"}"#,                                              "n n r + + + P P P + n n n n v"),
        Line(E::Alias, DELETE, "/1.0/images/aliases/theirs?project=team", "",      "n n r l + + P P P + n n n n v"),
        Line(E::Alias, DELETE, "/1.0/images/aliases/mine?project=team", "",        "n n r + + + P P P + n n n n v"),
        Line(E::Image, GET, "/1.0/images/{theirs}?project=team", "",               "P P + + + + P P P + + n n n v"),
        Line(E::Image, PUT, "/1.0/images/{theirs}?project=team", PUT_IMAGE,        "n n r o + + P P P + n n n n v"),
        Line(E::Image, PUT, "/1.0/images/{mine}?project=team", PUT_IMAGE,          "n n r + + + P P P + n n n n v"),
        Line(E::Image, PATCH, "/1.0/images/{theirs}?project=team", PATCH_IMAGE,    "n n r o + + P P P + n n n n v"),
        Line(E::Image, PATCH, "/1.0/images/{mine}?project=team", PATCH_IMAGE,      "n n r + + + P P P + n n n n v"),
        Line(E::Image, DELETE, "/1.0/images/{theirs}?project=team", "",            "n n r o + + P P P + n n n n v"),
        Line(E::Image, DELETE, "/1.0/images/{mine}?project=team", "",              "n n r + + + P P P + n n n n v"),
        Line(E::ImageExport, GET, "/1.0/images/{theirs}/export?project=team", "",  "P P + + + + P P P + + n n n v"),
        Line(E::ImageExport, POST, "/1.0/images/{theirs}/export?project=team",
            EXPORT,                                                                "n n r + + + P P P + n n n n v"),
        Line(E::ImageRefresh, POST, "/1.0/images/{theirs}/refresh?project=team",
            "",                                                                    "n n r o + + P P P + n n n n v"),
        Line(E::ImageRefresh, POST, "/1.0/images/{mine}/refresh?project=team", "", "n n r + + + P P P + n n n n v"),
        Line(E::ImageSecret, POST, "/1.0/images/{theirs}/secret?project=team", "", "n n + + + + P P P + n n n n v"),
        Line(E::Certificates, GET, "/1.0/certificates", "",                        "n n + + + + + + + + n n n n v"),
        Line(E::Certificates, POST, "/1.0/certificates", TRUST,                    "n n n n n + n n n + n n n n v"),
        Line(E::Certificate, GET, "/1.0/certificates/{joined}", "",                "n n C C C + C C C + n n n n v"),
        Line(E::Certificate, PUT, "/1.0/certificates/{joined}", JOINED,            "n n C C C + C C C + n n n n v"),
        Line(E::Certificate, PATCH, "/1.0/certificates/{joined}",
            r#"{"name":"x"}"#,                                                     "n n C C C + C C C + n n n n v"),
        Line(E::Certificate, DELETE, "/1.0/certificates/{joined}", "",             "n n C C C + C C C + n n n n v"),
        Line(E::Operations, GET, "/1.0/operations?project=team", "",               "n n + + + + P P P + n n n n v"),
        Line(E::Operation, GET, "/1.0/operations/{task}", "",                      "n n + + + + O O O + n n n n v"),
        Line(E::Operation, GET, "/1.0/operations/{token}", "",                     "n n O O O + O O O + n n n n v"),
        Line(E::Operation, DELETE, "/1.0/operations/{token}", "",                  "n n O O O + O O O + n n n n v"),
        Line(E::OperationPart, GET, "/1.0/operations/{task}/wait", "",             "n n + + + + O O O + + n n n v"),
        Line(E::Events, GET, "/1.0/events?project=team", "",                       "n n w w w w P P P w n n n n v"),
        Line(E::Projects, GET, "/1.0/projects", "",                                "n n + + + + + + + + n n n n v"),
        Line(E::Projects, POST, "/1.0/projects", r#"{"name":"new"}"#,              "n n a a a a a a a + n n n n v"),
        Line(E::Project, GET, "/1.0/projects/team", "",                            "n n + + + + P P P + n n n n v"),
        Line(E::Project, POST, "/1.0/projects/spare", r#"{"name":"new"}"#,         "n n a a a a a a a + n n n n v"),
        Line(E::Project, PUT, "/1.0/projects/team", r#"{"description":"x"}"#,      "n n a a a a a a a + n n n n v"),
        Line(E::Project, PATCH, "/1.0/projects/team", r#"{"description":"x"}"#,    "n n a a a a a a a + n n n n v"),
        Line(E::Project, DELETE, "/1.0/projects/spare", "",                        "n n a a a a a a a + n n n n v"),
        Line(E::Foreign, GET, "/1.0/instances", "",                                "n n + + + + + + + + n n n n v"),
        Line(E::Foreign, POST, "/1.0/instances", "{}",                             "n n x x x x x x x x n n n n v"),
        Line(E::Foreign, PUT, "/1.0/profiles/default", "{}",                       "n n x x x x x x x x n n n n v"),
        Line(E::Foreign, PATCH, "/1.0/profiles/default", "{}",                     "n n x x x x x x x x n n n n v"),
        Line(E::Foreign, DELETE, "/1.0/profiles/default", "",                      "n n x x x x x x x x n n n n v"),
    ]
}

/// What a letter of the table means: the status, and the words.
fn said(letter: &str) -> (u16, &'static str) {
    match letter {
        "n" => (403, "not authorized"),
        "r" => (
            403,
            "not authorized: this takes the role publisher in the project \"team\"; ask who administers the server",
        ),
        "i" => (
            403,
            "not authorized: publishing takes the role publisher in the project \"team\"; ask who administers the server",
        ),
        "o" => {
            (403, "not authorized: somebody else has published this image; ask who administers the project \"team\"")
        }
        "l" => (
            403,
            "not authorized: somebody else has published the image that this alias leads to; ask who administers the project \"team\"",
        ),
        "a" => (403, "not authorized: this is for those who administer the server"),
        "v" => (
            403,
            "not authorized: this token is bound to a view and works for streams only; ask for a token without a view",
        ),
        "P" => (404, "Project not found"),
        "C" => (404, "Certificate not found"),
        "O" => (404, "Operation not found"),
        "!" => (
            501,
            "the settings of this server are in its configuration file and cannot be changed over the API; `headwater serve --print-config` shows what there is",
        ),
        "u" => (401, "the credentials that were sent are not known here; leave them out to see what is public"),
        "p" => (404, "there is no such project here; check its name in the address"),
        "q" => (404, "there is no such view here; check its name in the address"),
        "f" => (404, "there is no such file here; fetch the list of images again"),
        "w" => (400, "this address speaks WebSocket (RFC 6455) only; send Upgrade: websocket and Connection: Upgrade"),
        "x" => (501, "this server keeps images and runs nothing; ask an LXD or Incus server for this"),
        other => panic!("the table has a letter {other:?} that means nothing"),
    }
}

/// An installation with something of each kind in it.
struct House {
    server: Server,
    operations: Operations,
    theirs: String,
    mine: String,
    /// A restricted certificate of the project.
    joined: String,
    /// A task that has ended, with its secret, and a token for `theirs` that waits.
    task: (String, String),
    token: (String, String),
    tokens: Vec<(Kind, Secret)>,
    admin: Arc<ClientCertificate>,
    /// Counts callers, so that each has an address of its own.
    callers: u32,
}

impl House {
    async fn new() -> Self {
        let mut server = Server::new().await;
        for name in ["team", "other", "spare"] {
            server.make_project(name).await;
        }
        let key = headwater::openpgp::StreamKey::create("Images", now()).unwrap();
        server.app.catalog.add_stream_key(&key, false, now()).await.unwrap();
        let (own, owner) = server.token("own", May::manage("team", Role::Publisher, Manages::Own)).await;
        let mut tokens = vec![(Kind::Own, own)];
        for (kind, may) in [
            (Kind::Viewer, May::be("team", Role::Viewer)),
            (Kind::All, May::manage("team", Role::Publisher, Manages::All)),
            (Kind::Admin, May::be("team", Role::Admin)),
            (Kind::OtherViewer, May::be("other", Role::Viewer)),
            (Kind::OtherPublisher, May::manage("other", Role::Publisher, Manages::All)),
            (Kind::OtherAdmin, May::be("other", Role::Admin)),
        ] {
            tokens.push((kind, server.token("somebody", may).await.0));
        }
        let (view, team) = (ViewName::new("stable").unwrap(), ProjectName::new("team").unwrap());
        let mut filter = View::default();
        filter.parse_segment("os=theirs").unwrap();
        server.app.catalog.create_view(&view, &team, &filter, "", now()).await.unwrap();
        let bound = May { view: Some(view), ..May::be("team", Role::Viewer) };
        tokens.push((Kind::Bound, server.token("cd", bound).await.0));
        let admin = certificate("admin", (-1, 1));
        let administrator = server.trust(&admin, May::everything()).await;
        let joined = certificate("joined", (-1, 1));
        server.trust(&joined, May::manage("team", Role::Publisher, Manages::All)).await;

        let theirs = publish(&mut server, &administrator, "Theirs", "theirs").await;
        let mine = publish(&mut server, &owner, "Mine", "mine").await;
        let operations = Operations::new(server.app.catalog.clone(), now);
        let actor = Arc::new(Actor::identity(&administrator, None));
        let task = NewTask { with_secret: true, ..NewTask::new("Downloading image", team.clone()) };
        let task = operations.done(&actor, task, Ok(Default::default())).await.unwrap();
        let token = NewToken {
            description: "Image download token".into(),
            project: team,
            resources: Default::default(),
            metadata: Default::default(),
            purpose: Purpose::Download { fingerprint: theirs.parse().unwrap() },
            expires_at: None,
        };
        let token = operations.token(&actor, token).await.unwrap();
        Self {
            server,
            operations,
            theirs,
            mine,
            joined: joined.fingerprint.clone(),
            task: (task.id, task.secret.unwrap()),
            token: (token.id, token.secret.unwrap()),
            tokens,
            admin,
            callers: 0,
        }
    }

    /// Somebody of this kind asks. Each comes from an address of their own, with a wrong credential of their own, so that nobody
    /// has to wait for what others did.
    async fn ask(&mut self, kind: Kind, line: &Line) -> Answer {
        let Line(endpoint, method, address, body, _) = line;
        let fill = |text: &str| {
            let new = certificate("new", (-1, 1));
            text.replace("{theirs}", &self.theirs)
                .replace("{mine}", &self.mine)
                .replace("{new}", &"ab".repeat(32))
                .replace("{joined}", &self.joined)
                .replace("{task}", &self.task.0)
                .replace("{token}", &self.token.0)
                .replace("{der}", &data_encoding::BASE64.encode(&new.der))
        };
        let (mut address, body) = (fill(address), fill(body));
        self.callers += 1;
        let mut connection = from_address(&std::net::Ipv4Addr::from(0x0a00_0000 + self.callers).to_string());
        let showing =
            |connection: Connection, certificate| Connection { transport: shown(certificate).transport, ..connection };
        let mut headers = Vec::new();
        match kind {
            Kind::Nobody => {}
            Kind::Stranger => connection = showing(connection, &certificate("stranger", (-1, 1))),
            Kind::Server => connection = showing(connection, &self.admin),
            Kind::Secret => {
                let secret = if *endpoint == Endpoint::OperationPart { &self.task.1 } else { &self.token.1 };
                address.push_str(&format!("{}secret={secret}", if address.contains('?') { '&' } else { '?' }));
            }
            Kind::Expired => {
                let may = May { expires_at: Some(now()), ..May::everything() };
                headers.push(bearer(&self.server.token("expired", may).await.0));
            }
            Kind::Revoked => {
                let (secret, identity) = self.server.token("revoked", May::everything()).await;
                self.server.app.catalog.remove_identity(identity.id, now()).await.unwrap();
                headers.push(bearer(&secret));
            }
            Kind::WrongBasic => headers.push(basic(&format!("user{}", self.callers), "guess")),
            kind => headers.push(bearer(&self.tokens.iter().find(|(known, _)| *known == kind).unwrap().1)),
        }
        let mut request = http::Request::builder().method(method).uri(address);
        for line in &headers {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        self.server.send(&connection, request.body(Incoming::full(body)).unwrap()).await
    }

    /// What would show that something was changed.
    async fn state(&self) -> String {
        let revision = self.server.app.catalog.revision().await.unwrap();
        let identities = self.server.app.catalog.identities().await.unwrap();
        let mut identities: Vec<Identity> = identities.into_iter().filter(|one| one.name != "expired").collect();
        identities.iter_mut().for_each(|one| one.last_used_at = None);
        let operations = self.operations.list(None).await.unwrap();
        format!("{revision:?} {identities:?} {operations:?}")
    }
}

async fn publish(server: &mut Server, by: &Identity, os: &'static str, alias: &str) -> String {
    let acting = server.app.publisher.acting(Arc::new(Actor::identity(by, None)));
    let before = std::mem::replace(&mut server.app.publisher, acting);
    let file = Sample { os, ..Sample::default() }.unified();
    let published = server.publish_in("team", std::slice::from_ref(&file), &[alias], false).await;
    server.app.publisher = before;
    assert_eq!(published, fingerprint(&[&file]), "the digest of its only file is its fingerprint");
    published
}

fn check(line: &Line, kind: Kind, letter: &str, answer: &Answer) -> Result<(), String> {
    let Line(endpoint, method, address, ..) = line;
    let got = answer.status.as_u16();
    let good = if letter == "+" {
        (200..=202).contains(&got)
    } else {
        let (status, words) = said(letter);
        let found = match endpoint.row().dialect {
            _ if *method == HEAD => words.to_owned(),
            headwater::http::route::Dialect::Text => answer.text().trim_end().to_owned(),
            headwater::http::route::Dialect::Api => answer.json()["error"].as_str().unwrap_or_default().to_owned(),
        };
        got == status && found == words
    };
    if good {
        return Ok(());
    }
    Err(format!(
        "{method} {address} by {kind:?}: expected {letter:?}, found {got}: {}",
        String::from_utf8_lossy(&answer.body)
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_and_method_tried_by_every_kind_of_caller() {
    let lines = lines();
    for row in TABLE {
        for (method, _) in row.methods {
            let tried = lines.iter().any(|line| line.0 == row.endpoint && line.1 == *method);
            assert!(tried, "{method} {} has no line in the table of who may what", row.pattern);
        }
    }
    let mut wrong = Vec::new();
    let mut house = House::new().await;
    for line in &lines {
        let letters: Vec<&str> = line.4.split(' ').collect();
        assert_eq!(letters.len(), KINDS.len(), "{} {}", line.1, line.2);
        for (kind, letter) in KINDS.into_iter().zip(letters) {
            let before = house.state().await;
            let answer = house.ask(kind, line).await;
            wrong.extend(check(line, kind, letter, &answer).err());
            let changed = house.state().await != before;
            if changed && letter != "+" {
                wrong.push(format!("{} {} by {kind:?} was refused, and changed something", line.1, line.2));
            }
            if changed || (letter == "+" && !line.1.is_safe()) {
                house = House::new().await;
            }
        }
    }
    assert!(wrong.is_empty(), "{} cells are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
