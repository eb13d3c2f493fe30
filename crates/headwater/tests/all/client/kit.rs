//! Servers that are as good or as bad as a test wants them, on sockets with TLS; and fetches from them into an installation of their own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::HEXLOWER;
use headwater::auth::{Access, Actor};
use headwater::client::trust::Trust;
use headwater::client::{Client, Limits, Origin, Protocol};
use headwater::fetch::{Course, Fetch, FetchError, Fetched, Fetcher};
use headwater::http::tls::{Files, Tls};
use headwater_formats::arch::Architecture;
use headwater_formats::names::ProjectName;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

pub(crate) use crate::http::kit::{Sample, Server, fingerprint, now, qcow2, squashfs};

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What is done on the connection, in this order; at the end it is closed.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Nothing more, without closing.
    Hang,
    /// Sends this again and again, without end.
    Repeat(Vec<u8>),
    /// Nothing more until somebody says so.
    Until(tokio_util::sync::CancellationToken),
}

#[derive(Debug, Clone)]
pub(crate) struct Reply(pub(crate) Vec<Step>);

impl Reply {
    /// An answer of known length.
    pub(crate) fn new(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        Self::claiming(status, headers, body, body.len())
    }

    /// An answer that claims another length.
    pub(crate) fn claiming(status: &str, headers: &[(&str, &str)], body: &[u8], length: usize) -> Self {
        let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        Self(vec![Step::Send([head.as_bytes(), b"\r\n", body].concat())])
    }

    pub(crate) fn sync(metadata: &Value) -> Self {
        let body = json!({"type": "sync", "status": "Success", "status_code": 200, "operation": "", "error_code": 0,
            "error": "", "metadata": metadata});
        Self::new("200 OK", &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    pub(crate) fn error(status: u16, words: &str) -> Self {
        let body = json!({"type": "error", "status": "", "status_code": 0, "operation": "", "error_code": status,
            "error": words, "metadata": null});
        Self::new(&format!("{status} X"), &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    pub(crate) fn file(bytes: &[u8]) -> Self {
        Self::new("200 OK", &[("Content-Type", "application/octet-stream")], bytes)
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::new("302 Found", &[("Location", to)], b"")
    }

    pub(crate) fn then(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }
}

/// The parts of an export, put together.
pub(crate) fn multipart(parts: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (at, (name, file, bytes)) in parts.iter().enumerate() {
        let line = if at == 0 { "" } else { "\r\n" };
        body.extend_from_slice(
            format!(
                "{line}--frontier\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n"
            )
            .as_bytes(),
        );
        body.extend_from_slice(bytes);
    }
    body.extend_from_slice(b"\r\n--frontier--\r\n");
    body
}

pub(crate) const MULTIPART: (&str, &str) = ("Content-Type", "multipart/form-data; boundary=frontier");

type Handler = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A server.
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    /// Its certificate.
    pub(crate) pem: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    handshakes: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stub {
    pub(crate) async fn new(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::in_data(folder.path());
        files.make_if_missing("stub.example", certificate_now()).unwrap();
        let tls = Arc::new(Tls::load(files.clone(), false).unwrap());
        let pem = std::fs::read_to_string(&files.certificate).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let handshakes = Arc::<AtomicUsize>::default();
        let answer: Arc<Handler> = Arc::new(answer);
        let task = tokio::spawn({
            let (asked, handshakes) = (Arc::clone(&asked), Arc::clone(&handshakes));
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (tls, answer, asked) = (Arc::clone(&tls), Arc::clone(&answer), Arc::clone(&asked));
                    let handshakes = Arc::clone(&handshakes);
                    tokio::spawn(async move {
                        let Ok(secured) = tls.accept(stream).await else { return };
                        handshakes.fetch_add(1, Ordering::Relaxed);
                        assert!(secured.client.is_none(), "no client certificate is presented");
                        let _ = converse(secured.stream, &*answer, &asked).await;
                    });
                }
            }
        });
        Self { address, pem, asked, handshakes, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// `GET /1.0` and so on, in the order in which they came.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().iter().map(|asked| format!("{} {}", asked.method, asked.target)).collect()
    }

    pub(crate) fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }

    /// Where an image of this server is, its certificate given.
    pub(crate) fn origin(&self, protocol: Protocol, name: &str) -> Origin {
        let trust = Trust::from_pem(&self.pem).unwrap();
        Origin { trust, ..Origin::new(protocol, &self.url(), name).unwrap() }
    }
}

/// Certificates have to be valid now.
#[allow(clippy::disallowed_methods, reason = "a handshake looks at the clock")]
pub(crate) fn certificate_now() -> headwater_formats::timestamp::Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    headwater_formats::timestamp::Timestamp::from_unix(i64::try_from(now.as_secs()).unwrap()).unwrap()
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: &Handler,
    asked: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut read = Vec::new();
    let end = loop {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).await?;
        if length == 0 {
            return Ok(());
        }
        read.extend_from_slice(&piece[..length]);
        if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
    };
    let head = String::from_utf8(read[..end].to_vec()).unwrap();
    let mut body = read[end + 4..].to_vec();
    let mut lines = head.lines();
    let mut words = lines.next().unwrap().split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let headers: Vec<(String, String)> =
        lines.map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (n.to_lowercase(), v.to_owned())).collect();
    let mut request = Asked { method, target, headers, body: Vec::new() };
    let length = request.header("content-length").map_or(0, |text| text.parse::<usize>().unwrap());
    // A test that wants to see a body taken slowly answers before it is read.
    let early = request.header("x-lxd-secret") == Some("deaf");
    while !early && body.len() < length {
        let mut piece = vec![0; 65536];
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        body.extend_from_slice(&piece[..read]);
    }
    request.body = body;
    asked.lock().unwrap().push(request.clone());
    for step in answer(&request).0 {
        match step {
            Step::Send(bytes) => stream.write_all(&bytes).await?,
            Step::Hang => tokio::time::sleep(Duration::from_secs(60)).await,
            Step::Until(said) => said.cancelled().await,
            Step::Repeat(bytes) => loop {
                stream.write_all(&bytes).await?;
            },
        }
        stream.flush().await?;
    }
    stream.shutdown().await
}

/// Little patience, so that tests are quick.
pub(crate) fn quick() -> Limits {
    Limits {
        connect: Duration::from_secs(5),
        head: Duration::from_millis(700),
        stall: Duration::from_millis(700),
        document: Duration::from_secs(5),
        upload: Duration::from_secs(5),
        object_bytes: 64 << 10,
        document_bytes: 256 << 10,
        redirects: 4,
    }
}

/// An installation that fetches.
pub(crate) struct Here {
    pub(crate) server: Server,
    pub(crate) fetcher: Fetcher,
}

impl Here {
    pub(crate) async fn new() -> Self {
        let server = Server::new().await;
        let client = Client::new(vec![Architecture::X86_64], quick());
        let fetcher = Fetcher::new(client, server.app.publisher.clone());
        Self { server, fetcher }
    }

    pub(crate) async fn fetch(&self, origin: Origin) -> Result<Fetched, FetchError> {
        self.fetch_as(Fetch::new(ProjectName::default_project(), origin)).await
    }

    pub(crate) async fn fetch_as(&self, fetch: Fetch) -> Result<Fetched, FetchError> {
        let course = Course::new(Actor::operator("tests"), Access::operator(), now);
        let fetching = self.fetcher.fetch(fetch, &course);
        tokio::time::timeout(Duration::from_secs(30), fetching).await.expect("every fetch ends")
    }

    /// It fails, in words of this kind, and nothing is left: no image, no blob, no staged byte.
    #[track_caller]
    pub(crate) fn fails(&self, origin: Origin, words: &str) -> impl Future<Output = String> {
        let place = std::panic::Location::caller();
        let words = words.to_owned();
        async move {
            let error = match self.fetch(origin).await {
                Ok(fetched) => panic!("{place}: {} was taken", fetched.image.image.fingerprint),
                Err(error) => error.to_string(),
            };
            assert!(error.contains(&words), "{place}: {error:?} does not say {words:?}");
            assert!(!error.contains("secret") && !error.contains("?"), "{place}: {error:?} tells too much");
            self.is_empty().await;
            error
        }
    }

    pub(crate) async fn is_empty(&self) {
        let everything = headwater::auth::Viewer::operator();
        let images = self.server.app.catalog.images(&everything, &ProjectName::default_project(), None, 10).await;
        assert_eq!(images.unwrap().len(), 0, "nothing is listed");
        assert_eq!(self.files(), Vec::<String>::new(), "nothing is stored");
    }

    /// Files in the store, staged ones included.
    pub(crate) fn files(&self) -> Vec<String> {
        files_below(&self.server.folder.path().join("blobs"))
    }
}

/// Files of a store beside its own notes.
pub(crate) fn files_below(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.metadata().unwrap().len() > 64 {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// A split container image on a server.
#[derive(Clone)]
pub(crate) struct Split {
    pub(crate) metadata: Vec<u8>,
    pub(crate) root: Vec<u8>,
    pub(crate) machine: bool,
}

impl Split {
    pub(crate) fn container() -> Self {
        Self { metadata: Sample::default().metadata(), root: squashfs(7), machine: false }
    }

    pub(crate) fn machine() -> Self {
        Self { metadata: Sample::default().metadata(), root: qcow2(), machine: true }
    }

    pub(crate) fn fingerprint(&self) -> String {
        fingerprint(&[&self.metadata, &self.root])
    }

    pub(crate) fn size(&self) -> usize {
        self.metadata.len() + self.root.len()
    }

    /// The image as the API shows it.
    pub(crate) fn object(&self) -> Value {
        json!({
            "auto_update": false, "properties": {"os": "Debian", "release": "bookworm", "description": "there"},
            "public": true, "expires_at": "2030-01-01T00:00:00Z", "profiles": ["default"],
            "aliases": [{"name": "debian/12", "description": "the stable one"}], "architecture": "x86_64",
            "cached": false, "filename": "there.tar.xz", "fingerprint": self.fingerprint(), "size": self.size(),
            "type": if self.machine { "virtual-machine" } else { "container" },
            "created_at": "2025-01-01T07:42:00Z", "last_used_at": "0001-01-01T00:00:00Z",
            "uploaded_at": "2025-01-01T07:42:00Z", "project": "default",
        })
    }

    pub(crate) fn export(&self) -> Reply {
        let root = if self.machine { "rootfs.img" } else { "rootfs" };
        let body = multipart(&[("metadata", "meta.tar.xz", &self.metadata), (root, "root.x", &self.root)]);
        Reply::new("200 OK", &[MULTIPART], &body)
    }

    /// What a good daemon answers.
    pub(crate) fn answer(&self, asked: &Asked) -> Reply {
        let image = format!("/1.0/images/{}", self.fingerprint());
        let kind = if self.machine { "virtual-machine" } else { "container" };
        match asked.path() {
            "/1.0" => Reply::sync(&json!({"auth": "untrusted", "api_version": "1.0"})),
            "/1.0/images/aliases/debian%2F12" => Reply::sync(
                &json!({"name": "debian/12", "description": "", "target": self.fingerprint(), "type": kind}),
            ),
            path if path.strip_suffix("/export") == Some(&image) => self.export(),
            path if path.starts_with("/1.0/images/") && image.starts_with(path) => Reply::sync(&self.object()),
            _ => Reply::error(404, "not found"),
        }
    }

    /// A daemon that is good but for what `bad` answers.
    pub(crate) async fn but(&self, bad: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Stub {
        let image = self.clone();
        Stub::new(move |asked| bad(asked).unwrap_or_else(|| image.answer(asked))).await
    }

    pub(crate) async fn daemon(&self) -> Stub {
        self.but(|_| None).await
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}
