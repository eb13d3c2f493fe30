//! A server without sockets: an installation in a folder of its own, images published into it, requests answered.

use std::io::Cursor;
use std::sync::Arc;

use headwater::app::App;
use headwater::http::incoming::Incoming;
use headwater::http::{Connection, Settings, State, handle};
use headwater::publish::{Listing, Packing, Request, Silent, Source};
use headwater_formats::names::{AliasName, ProjectName};
use headwater_formats::timestamp::Timestamp;
use http::header::{self, HeaderMap};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use crate::cli::kit::{Sample, fingerprint, qcow2, squashfs};

/// A moment at which the tests take place.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix(1_760_000_000).unwrap()
}

pub(crate) struct Server {
    pub(crate) folder: TempDir,
    pub(crate) app: App,
    pub(crate) state: Arc<State>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Server {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let app = App::open(folder.path(), None).await.unwrap();
        let state = Arc::new(State::new(app.clone(), Settings::default(), now));
        Self { folder, app, state }
    }

    /// The same installation, served anew with other settings, at another time.
    pub(crate) fn again(self, settings: Settings, now: fn() -> Timestamp) -> Self {
        Self { state: Arc::new(State::new(self.app.clone(), settings, now)), ..self }
    }

    /// Publishes these files into a project; gives back the fingerprint.
    pub(crate) async fn publish_in(&self, project: &str, files: &[Vec<u8>], aliases: &[&str], public: bool) -> String {
        let mut sources = files
            .iter()
            .map(|bytes| Source::Stream { name: "image.tar".into(), reader: Box::new(Cursor::new(bytes.clone())) });
        let request = Request {
            project: ProjectName::new(project).unwrap(),
            first: sources.next().unwrap(),
            root: sources.next(),
            listing: Listing {
                aliases: aliases.iter().map(|name| AliasName::new(*name).unwrap().into()).collect(),
                public,
                ..Listing::default()
            },
            packing: Packing::AsGiven,
        };
        drop(sources);
        let published = self.app.publisher.publish(request, Arc::new(Silent), now()).await.unwrap();
        published.image.image.fingerprint.to_string()
    }

    /// Publishes a public image into the default project.
    pub(crate) async fn publish(&self, files: &[Vec<u8>]) -> String {
        self.publish_in("default", files, &[], true).await
    }

    pub(crate) async fn make_project(&self, name: &str) {
        self.app.catalog.create_project(&ProjectName::new(name).unwrap(), "", now()).await.unwrap();
    }

    /// Asks; `headers` are lines such as `Range: bytes=0-1`.
    pub(crate) async fn ask(&self, connection: &Connection, method: Method, path: &str, headers: &[&str]) -> Answer {
        let mut request = http::Request::builder().method(method).uri(path);
        for line in headers {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        self.send(connection, request.body(Incoming::empty()).unwrap()).await
    }

    /// Sends a request with a body.
    pub(crate) async fn send(&self, connection: &Connection, request: http::Request<Incoming>) -> Answer {
        let response = handle(&self.state, request, connection).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str, headers: &[&str]) -> Answer {
        self.ask(&Connection::test_tls(), Method::GET, path, headers).await
    }

    /// GET over plain HTTP.
    pub(crate) async fn plain(&self, path: &str, headers: &[&str]) -> Answer {
        self.ask(&Connection::test_plain(), Method::GET, path, headers).await
    }

    /// The metadata of a successful answer of the API.
    pub(crate) async fn metadata(&self, path: &str) -> Value {
        let answer = self.get(path, &[]).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let mut json = answer.json();
        assert_eq!((&json["type"], &json["status_code"]), (&"sync".into(), &200.into()));
        json["metadata"].take()
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header(header::CONTENT_TYPE.as_str()), "application/json", "{self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// It is this error in the envelope of the API, complete.
    #[track_caller]
    pub(crate) fn is_api_error(&self, status: u16, message: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        let expected = serde_json::json!({
            "type": "error", "status": "", "status_code": 0, "operation": "", "error_code": status, "error": message,
            "metadata": null,
        });
        assert_eq!(self.json(), expected);
    }

    /// It is this sentence in plain text.
    #[track_caller]
    pub(crate) fn is_text(&self, status: u16, sentence: &str) {
        assert_eq!((self.status.as_u16(), self.text()), (status, format!("{sentence}\n").as_str()));
        assert_eq!(self.header("content-type"), "text/plain; charset=utf-8");
    }
}

/// A public image without bytes, for lists that are only looked at.
pub(crate) fn listed(number: u32) -> headwater::catalog::NewImage {
    use headwater_formats::digest::{Digest, Fingerprint};
    use headwater_formats::image::{Compression, FileFormat, Image, ImageFile, ImageFiles, ImageType};
    let bytes: [u8; 32] = number.wrapping_mul(0x9e37_79b1).to_be_bytes().repeat(8).try_into().unwrap();
    let file = ImageFile { digest: Digest::from_bytes(bytes), size: 1, format: FileFormat::Tar(Compression::Xz) };
    headwater::catalog::NewImage {
        project: ProjectName::default_project(),
        image: Image {
            fingerprint: Fingerprint::from_bytes(bytes),
            image_type: ImageType::Container,
            architecture: headwater_formats::arch::Architecture::X86_64,
            files: ImageFiles::Unified(file),
            filename: "image.tar.xz".into(),
            created_at: now(),
            uploaded_at: now(),
            public: true,
            expires_at: None,
            last_used_at: None,
            auto_update: false,
            properties: [("number".to_owned(), number.to_string())].into(),
            profiles: vec!["default".into()],
            update_source: None,
        },
        aliases: Vec::new(),
        new_aliases: false,
        published_by: None,
        given: None,
        repacked_from: None,
    }
}
