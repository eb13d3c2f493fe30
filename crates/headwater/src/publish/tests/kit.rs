//! A room to test in, and images to publish.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::names::{AliasName, ProjectName};
use headwater_formats::timestamp::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::app::App;
use crate::auth::Viewer;
use crate::catalog::StoredImage;
use crate::publish::{Listing, Packing, PublishError, Published, Request, Silent, Source};

pub(super) const NOW: i64 = 1_750_000_000;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(seconds).unwrap()
}

pub(super) struct Room {
    pub(super) app: App,
    pub(super) folder: tempfile::TempDir,
}

impl Room {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let app = App::open(&folder.path().join("data"), None).await.unwrap();
        Self { app, folder }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(super) async fn publish(&self, request: Request) -> Result<Published, PublishError> {
        self.app.publisher.publish(request, Arc::new(Silent), at(NOW)).await
    }

    pub(super) async fn images(&self) -> Vec<StoredImage> {
        self.app.catalog.images(&Viewer::operator(), &ProjectName::default_project(), None, 10_000).await.unwrap()
    }

    pub(super) fn stored(&self) -> Vec<Digest> {
        self.app.blobs.list().map(Result::unwrap).collect()
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.path("data/blobs/sha256").join(&name[..2]).join(name)
    }

    pub(super) fn staged_files(&self) -> usize {
        std::fs::read_dir(self.path("data/blobs/staging")).unwrap().count()
    }

    /// Nothing is listed, stored or half written.
    pub(super) async fn assert_untouched(&self, why: &str) {
        assert!(self.images().await.is_empty(), "{why}: an image is listed");
        assert_eq!(self.stored(), [], "{why}: bytes are stored");
        assert_eq!(self.staged_files(), 0, "{why}: staged files are left");
    }
}

pub(super) fn request(first: Vec<u8>, root: Option<Vec<u8>>) -> Request {
    Request {
        project: ProjectName::default_project(),
        first: stream("meta.tar", first),
        root: root.map(|bytes| stream("root", bytes)),
        listing: listed(true),
        packing: Packing::AsGiven,
    }
}

pub(super) fn listed(public: bool) -> Listing {
    Listing { public, ..Listing::default() }
}

pub(super) fn stream(name: &str, bytes: Vec<u8>) -> Source {
    Source::Stream { name: name.to_owned(), reader: Box::new(Cursor::new(bytes)) }
}

pub(super) fn file(path: &Path) -> Source {
    Source::File(path.to_owned())
}

pub(super) fn alias(name: &str) -> AliasName {
    AliasName::new(name).unwrap()
}

pub(super) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

pub(super) fn fingerprint(metadata: &[u8], root: &[u8]) -> Fingerprint {
    Fingerprint::from_bytes(Sha256::digest([metadata, root].concat()).into())
}

pub(super) fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(super) fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// metadata.yaml of Debian, of that day's build.
pub(super) fn yaml(serial: &str) -> String {
    format!(
        "architecture: amd64\ncreation_date: 1748736000\nexpiry_date: 1780272000\nproperties:\n  os: Debian\n  release: bookworm\n  variant: default\n  description: Debian bookworm\n  serial: \"{serial}\"\n"
    )
}

pub(super) fn metadata(serial: &str) -> Vec<u8> {
    xz(&tar(&[("metadata.yaml", yaml(serial).as_bytes()), ("templates/hostname.tpl", b"{{ container.name }}\n")]))
}

pub(super) fn root(content: &str) -> Vec<u8> {
    xz(&tar(&[("etc/hostname", content.as_bytes())]))
}

pub(super) fn unified(serial: &str) -> Vec<u8> {
    xz(&tar(&[("metadata.yaml", yaml(serial).as_bytes()), ("rootfs/etc/hostname", b"debian\n")]))
}

/// An empty disk of 1 MiB; `seed` makes it different from others.
pub(super) fn qcow2(seed: u8) -> Vec<u8> {
    const CLUSTER: usize = 1 << 16;
    let mut disk = vec![0; 4 * CLUSTER];
    disk[..4].copy_from_slice(b"QFI\xfb");
    let mut put = |at: usize, bytes: &[u8]| disk[at..at + bytes.len()].copy_from_slice(bytes);
    put(4, &3u32.to_be_bytes());
    put(20, &16u32.to_be_bytes());
    put(24, &(1u64 << 20).to_be_bytes());
    put(36, &1u32.to_be_bytes());
    put(40, &(CLUSTER as u64 * 2).to_be_bytes());
    put(48, &(CLUSTER as u64).to_be_bytes());
    put(56, &1u32.to_be_bytes());
    put(96, &4u32.to_be_bytes());
    put(100, &104u32.to_be_bytes());
    put(3 * CLUSTER, &[seed]);
    disk
}
