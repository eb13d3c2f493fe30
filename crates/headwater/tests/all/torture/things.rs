//! What is served, told apart from the server: each thing's address, bytes and headers, worked out from what was published.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use super::dice::Dice;
use crate::cli::kit::{fingerprint, tarball};

/// What a header has to be.
#[derive(Debug, Clone)]
pub(super) enum Header {
    Is(String),
    Begins(&'static str),
    Absent,
}

/// Something with an address.
#[derive(Debug, Clone)]
pub(super) struct Thing {
    pub(super) path: String,
    /// Lines that are sent with each request for it.
    pub(super) ask: Vec<(&'static str, String)>,
    pub(super) status: u16,
    pub(super) bytes: Arc<Vec<u8>>,
    pub(super) headers: Vec<(&'static str, Header)>,
    pub(super) etag: Option<String>,
    /// Whether conditions are heeded.
    pub(super) conditions: bool,
    /// Whether parts of it can be had.
    pub(super) ranges: bool,
    /// Whether it can be had over plain HTTP.
    pub(super) plain: bool,
    /// Whether HEAD is answered.
    pub(super) head: bool,
    /// A document, which tells when anything last changed, and is compared but for that; compressed or not.
    pub(super) document: Option<Document>,
    /// Whether it is still there, for what goes while it is asked for.
    pub(super) life: Option<Arc<Life>>,
    /// What is told when it is gone.
    pub(super) gone: Arc<Vec<u8>>,
}

/// What makes a document of streams.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) gzip: bool,
    pub(super) tags: Arc<Tags>,
}

/// Which bytes came with which tag: a strong tag means the same bytes, to the last one.
#[derive(Debug, Default)]
pub(super) struct Tags(Mutex<HashMap<String, [u8; 32]>>);

impl Tags {
    /// Whether this tag never came with other bytes.
    pub(super) fn agree(&self, tag: &str, bytes: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        *self.0.lock().unwrap().entry(tag.to_owned()).or_insert(digest) == digest
    }
}

/// Whether an image is there (0), is being removed (1), or is gone (2).
#[derive(Debug, Default)]
pub(super) struct Life(AtomicU8);

impl Life {
    pub(super) fn get(&self) -> u8 {
        self.0.load(Ordering::SeqCst)
    }

    pub(super) fn set(&self, state: u8) {
        self.0.store(state, Ordering::SeqCst);
    }
}

pub(super) const NO_FILE: &[u8] = b"there is no such file here; fetch the list of images again\n";

fn is(text: impl Into<String>) -> Header {
    Header::Is(text.into())
}

impl Thing {
    /// Bytes without conditions or parts.
    pub(super) fn fixed(path: impl Into<String>, status: u16, content_type: &str, bytes: Vec<u8>) -> Self {
        Self {
            path: path.into(),
            ask: Vec::new(),
            status,
            bytes: Arc::new(bytes),
            headers: vec![
                ("content-type", is(content_type)),
                ("content-encoding", Header::Absent),
                ("x-content-type-options", is("nosniff")),
            ],
            etag: None,
            conditions: false,
            ranges: false,
            plain: false,
            head: false,
            document: None,
            life: None,
            gone: Arc::new(NO_FILE.to_vec()),
        }
    }

    /// A file that streams name.
    pub(super) fn file(bytes: &[u8], extension: &str, content_type: &str) -> Self {
        let digest = fingerprint(&[bytes]);
        let mut thing = Self::fixed(format!("/images/{digest}.{extension}"), 200, content_type, bytes.to_vec());
        thing.headers.push(("cache-control", is("public, max-age=31536000, immutable")));
        thing.headers.push(("accept-ranges", is("bytes")));
        thing.etag = Some(format!("\"{digest}\""));
        (thing.conditions, thing.ranges, thing.plain, thing.head) = (true, true, true, true);
        thing
    }

    /// The same file at a signed address.
    pub(super) fn signed(mut self, path: String) -> Self {
        self.path = path;
        self.plain = false;
        self.headers.retain(|(name, _)| *name != "cache-control");
        self.headers.push(("cache-control", Header::Begins("private, max-age=")));
        self
    }

    /// What the API exports of a unified image.
    pub(super) fn export(bytes: &[u8]) -> Self {
        let digest = fingerprint(&[bytes]);
        let path = format!("/1.0/images/{digest}/export");
        let mut thing = Self::fixed(path, 200, "application/octet-stream", bytes.to_vec());
        thing.headers.push(("cache-control", is("no-cache")));
        thing.headers.push(("accept-ranges", is("bytes")));
        thing.headers.push(("content-disposition", is(format!("inline;filename={digest}.tar"))));
        thing.etag = Some(format!("\"{digest}\""));
        (thing.conditions, thing.ranges) = (true, true);
        thing
    }

    /// What the API exports of a split image: two parts between this boundary.
    pub(super) fn multipart(metadata: &[u8], root: &[u8], boundary: &str) -> Self {
        let digest = fingerprint(&[metadata, root]);
        let part = |field: &str, name: &str, bytes: &[u8]| {
            let head = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n"
            );
            [head.as_bytes(), bytes, b"\r\n"].concat()
        };
        let body = [
            part("metadata", &format!("meta-{digest}.tar"), metadata),
            part("rootfs", &format!("{digest}.squashfs"), root),
            format!("--{boundary}--\r\n").into_bytes(),
        ];
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let mut thing = Self::fixed(format!("/1.0/images/{digest}/export"), 200, &content_type, body.concat());
        thing.headers.push(("cache-control", is("no-cache")));
        thing
    }

    /// A document of a stream in which nothing changes, with its bytes before compression.
    pub(super) fn document(path: &str, agent: &str, bytes: &[u8], gzip: bool, tags: &Arc<Tags>) -> Self {
        let mut thing = Self::fixed(path, 200, "application/json", without_time(bytes));
        thing.ask.push(("User-Agent", agent.to_owned()));
        thing.headers.push(("cache-control", is("public, max-age=60")));
        if gzip {
            thing.ask.push(("Accept-Encoding", "gzip".to_owned()));
            thing.headers.retain(|(name, _)| *name != "content-encoding");
            thing.headers.push(("content-encoding", is("gzip")));
        }
        (thing.head, thing.document) = (true, Some(Document { gzip, tags: Arc::clone(tags) }));
        thing
    }
}

/// A document without the time of the last change, which is that of the whole catalog.
pub(super) fn without_time(document: &[u8]) -> Vec<u8> {
    let mut document: serde_json::Value = serde_json::from_slice(document).unwrap_or_default();
    let mut unstable = vec![&mut document];
    while let Some(value) = unstable.pop() {
        if let Some(map) = value.as_object_mut() {
            map.remove("updated");
            unstable.extend(map.values_mut());
        }
    }
    document.to_string().into_bytes()
}

/// An image to publish.
pub(super) struct Made {
    pub(super) metadata: Vec<u8>,
    pub(super) root: Option<Vec<u8>>,
}

impl Made {
    pub(super) fn split(os: &str, noise: &[u8]) -> Self {
        Self { metadata: tarball(&[("metadata.yaml", &yaml(os))]), root: Some(squashfs(noise)) }
    }

    pub(super) fn unified(os: &str, noise: &[u8]) -> Self {
        Self { metadata: tarball(&[("metadata.yaml", &yaml(os)), ("rootfs/noise", noise)]), root: None }
    }

    /// Its files at their public addresses.
    pub(super) fn files(&self) -> Vec<Thing> {
        let root = self.root.iter().map(|root| Thing::file(root, "squashfs", "application/vnd.squashfs"));
        std::iter::once(Thing::file(&self.metadata, "tar", "application/x-tar")).chain(root).collect()
    }

    pub(super) fn fingerprint(&self) -> String {
        let files: Vec<&[u8]> = std::iter::once(&self.metadata).chain(&self.root).map(Vec::as_slice).collect();
        fingerprint(&files)
    }
}

fn yaml(os: &str) -> Vec<u8> {
    format!(
        "architecture: x86_64\ncreation_date: 1735717320\nproperties:\n  description: {os} one\n  os: {os}\n  \
         release: one\n  variant: default\n  serial: \"20250101_07:42\"\n"
    )
    .into_bytes()
}

/// A squashfs as far as its superblock tells, with noise behind it.
fn squashfs(noise: &[u8]) -> Vec<u8> {
    let mut bytes = crate::cli::kit::squashfs(1);
    bytes.extend(noise);
    let length = bytes.len() as u64;
    bytes[40..48].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// Noise of a length around this one, never the same.
pub(super) fn noise(dice: &mut Dice, about: usize) -> Vec<u8> {
    let length = about + dice.below(about / 2) + 1;
    dice.bytes(length)
}
