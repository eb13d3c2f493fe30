//! People who ask the API to change something: requests with bodies, and what is answered to them.

use bytes::Bytes;
use futures_util::stream;
use headwater::auth::{Manages, Role};
use headwater::http::Connection;
use headwater::http::incoming::Incoming;
use http::Method;
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::Value;

use super::kit::{Answer, Server};
use super::people::{May, bearer};

/// Somebody who asks.
pub(crate) struct Person<'a> {
    pub(crate) server: &'a Server,
    /// Headers that tell who it is.
    pub(crate) headers: Vec<String>,
}

impl Server {
    pub(crate) fn guest(&self) -> Person<'_> {
        Person { server: self, headers: Vec::new() }
    }

    pub(crate) async fn somebody(&self, name: &str, may: May) -> Person<'_> {
        let (secret, _) = self.token(name, may).await;
        Person { server: self, headers: vec![bearer(&secret)] }
    }

    /// Somebody who publishes in the default project, and manages all images there.
    pub(crate) async fn publisher(&self) -> Person<'_> {
        self.somebody("publisher", May::manage("default", Role::Publisher, Manages::All)).await
    }

    /// Whether nothing is half written.
    pub(crate) fn staged_files(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("blobs/staging")).map_or(0, Iterator::count)
    }

    /// How many blobs there are.
    pub(crate) fn stored_files(&self) -> usize {
        self.app.blobs.list().map(Result::unwrap).count()
    }
}

impl Person<'_> {
    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[&str], body: Incoming) -> Answer {
        let mut request = http::Request::builder().method(method).uri(path);
        for line in self.headers.iter().map(String::as_str).chain(headers.iter().copied()) {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        self.server.send(&Connection::test_tls(), request.body(body).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Incoming::empty()).await
    }

    /// Sends JSON, with these headers more.
    pub(crate) async fn json_with(&self, method: Method, path: &str, headers: &[&str], json: &Value) -> Answer {
        let headers: Vec<&str> = headers.iter().copied().chain(["Content-Type: application/json"]).collect();
        self.send(method, path, &headers, Incoming::full(json.to_string())).await
    }

    pub(crate) async fn json(&self, method: Method, path: &str, json: Value) -> Answer {
        self.json_with(method, path, &[], &json).await
    }

    /// Uploads a unified image in pieces, as clients do.
    pub(crate) async fn upload(&self, headers: &[&str], image: &[u8]) -> Answer {
        self.upload_to("/1.0/images", headers, image).await
    }

    pub(crate) async fn upload_to(&self, path: &str, headers: &[&str], image: &[u8]) -> Answer {
        let headers: Vec<&str> = headers.iter().copied().chain(["Content-Type: application/octet-stream"]).collect();
        self.send(Method::POST, path, &headers, pieces(image.to_vec())).await
    }

    /// Uploads a form.
    pub(crate) async fn upload_form(&self, headers: &[&str], form: Vec<u8>) -> Answer {
        let headers: Vec<&str> = headers.iter().copied().chain([FORM]).collect();
        self.send(Method::POST, "/1.0/images", &headers, pieces(form)).await
    }
}

/// The header of what [`form`] makes.
pub(crate) const FORM: &str = "Content-Type: multipart/form-data; boundary=abcdefghijklmnopqrstuvwxyz0123456789";

/// A body that comes in pieces of a thousand bytes, without saying how many.
pub(crate) fn pieces(bytes: Vec<u8>) -> Incoming {
    let pieces: Vec<_> = bytes.chunks(1000).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    Incoming::new(StreamBody::new(stream::iter::<Vec<std::io::Result<_>>>(pieces)))
}

/// A form with these parts: name, file name, bytes.
pub(crate) fn form(parts: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, file, bytes) in parts {
        form.extend(b"--abcdefghijklmnopqrstuvwxyz0123456789\r\n");
        form.extend(format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n").bytes());
        form.extend(b"Content-Type: application/octet-stream\r\n\r\n");
        form.extend(*bytes);
        form.extend(b"\r\n");
    }
    form.extend(b"--abcdefghijklmnopqrstuvwxyz0123456789--\r\n");
    form
}

impl Answer {
    /// The operation that was answered.
    #[track_caller]
    pub(crate) fn operation(&self) -> Value {
        assert_eq!(self.status, 202, "{}", self.text());
        let mut json = self.json();
        assert_eq!((&json["type"], &json["status"]), (&"async".into(), &"Operation created".into()));
        assert_eq!(json["operation"], format!("/1.0/operations/{}", json["metadata"]["id"].as_str().unwrap()));
        assert_eq!(self.header("location"), json["operation"].as_str().unwrap());
        json["metadata"].take()
    }

    /// The metadata of an operation that has ended well; clients look at it and ask no more.
    #[track_caller]
    pub(crate) fn done(&self) -> Value {
        let mut operation = self.operation();
        assert_eq!(
            (&operation["status"], &operation["status_code"], &operation["err"], &operation["class"]),
            (&"Success".into(), &200.into(), &"".into(), &"task".into())
        );
        operation["metadata"].take()
    }

    /// It is an operation that failed, for this reason; its metadata.
    #[track_caller]
    pub(crate) fn failed(&self, why: &str) -> Value {
        let mut operation = self.operation();
        assert_eq!(
            (operation["err"].as_str().unwrap(), &operation["status"], &operation["status_code"]),
            (why, &"Failure".into(), &400.into())
        );
        operation["metadata"].take()
    }

    /// It is a change that is done and has nothing to say.
    #[track_caller]
    pub(crate) fn is_done(&self) {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.json()["metadata"], serde_json::json!({}));
    }
}
