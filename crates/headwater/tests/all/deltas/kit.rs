//! An installation with versions of one product, whose root files have much in common or nothing.

use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;

use headwater::app::App;
use headwater::catalog::{DeltaRow, DeltaState};
use headwater::deltas::{Deltas, Ended, Planner, Settings};
use headwater::publish::{Listing, Packing, Request, Silent, Source};
use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::cli::kit::Sample;

/// When the tests take place.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix(1_760_000_000).unwrap()
}

/// An hour later.
pub(crate) fn later() -> Timestamp {
    now().plus_seconds(3600)
}

/// Little memory, because many tests run at a time.
pub(crate) const SETTINGS: Settings =
    Settings { bases: 3, largest_percent: 70, together_percent: 100, memory: 160 << 20, background: false };

/// Versions of the product, by their days.
const SERIALS: [&str; 6] =
    ["20250101_07:42", "20250102_07:42", "20250103_07:42", "20250104_07:42", "20250105_07:42", "20250106_07:42"];

pub(crate) struct Room {
    pub(crate) folder: TempDir,
    pub(crate) app: App,
}

impl Room {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let app = App::open(folder.path(), None).await.unwrap();
        Self { folder, app }
    }

    /// Publishes a version with this root file.
    pub(crate) async fn publish_in(&self, project: &str, day: usize, root: Vec<u8>, public: bool) -> Fingerprint {
        let stream = |bytes: Vec<u8>| Source::Stream { name: "image".into(), reader: Box::new(Cursor::new(bytes)) };
        let request = Request {
            project: ProjectName::new(project).unwrap(),
            first: stream(Sample { serial: SERIALS[day - 1], ..Sample::default() }.metadata()),
            root: Some(stream(root)),
            packing: Packing::AsGiven,
            listing: Listing { public, ..Listing::default() },
        };
        self.app.publisher.publish(request, Arc::new(Silent), now()).await.unwrap().image.image.fingerprint
    }

    pub(crate) async fn publish(&self, day: usize, root: Vec<u8>) -> Fingerprint {
        self.publish_in("default", day, root, true).await
    }

    pub(crate) async fn delete(&self, image: &Fingerprint) {
        self.app.catalog.delete_image(&ProjectName::default_project(), image, now()).await.unwrap();
    }

    pub(crate) fn deltas(&self, settings: Settings) -> Deltas {
        Deltas::new(self.app.publisher.clone(), settings, now)
    }

    /// Builds what is wanted; how each ended.
    pub(crate) async fn build(&self, deltas: &Deltas) -> Vec<Ended> {
        let stop = CancellationToken::new();
        plan(deltas).await;
        let mut ended = Vec::new();
        while let Some(claim) = deltas.next(&stop).await.unwrap() {
            let built = deltas.build(&claim, Arc::new(Silent)).await;
            ended.push(deltas.end(&claim, built).await.unwrap());
        }
        ended
    }

    pub(crate) async fn rows(&self) -> Vec<DeltaRow> {
        self.app.catalog.deltas(&ProjectName::default_project(), None, 100).await.unwrap().0
    }

    /// Version, base, state.
    pub(crate) async fn states(&self) -> Vec<(String, String, DeltaState)> {
        let day = |version: &str| version[6..8].to_owned();
        let rows = self.rows().await.into_iter();
        rows.map(|row| (day(row.place.version.as_str()), day(row.place.base_version.as_str()), row.state)).collect()
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.folder.path().join("blobs/sha256").join(&name[..2]).join(name)
    }

    /// Changes a byte in the middle of a file, as a bad disk would.
    pub(crate) fn damage(&self, digest: &Digest) {
        let mut bytes = std::fs::read(self.blob(digest)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(self.blob(digest), bytes).unwrap();
    }

    /// Nothing is half written, and only what images and deltas need is stored.
    pub(crate) async fn is_tidy(&self) {
        assert_eq!(std::fs::read_dir(self.folder.path().join("blobs/staging")).unwrap().count(), 0);
        let stored: Vec<Digest> = self.app.blobs.list().map(Result::unwrap).collect();
        assert_eq!(stored, self.app.catalog.known_blobs(None, 1000).await.unwrap());
    }
}

pub(crate) async fn plan(deltas: &Deltas) {
    let mut planner = Planner::default();
    while deltas.plan(&mut planner).await.unwrap() {}
    while deltas.plan_past(&mut planner).await.unwrap() {}
}

/// Bytes in which nothing is found twice.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..len).map(next).collect()
}

/// A squashfs as far as its superblock tells, with this in it.
pub(crate) fn squashfs(content: &[u8]) -> Vec<u8> {
    let length = 4096 + content.len();
    let mut bytes = crate::cli::kit::squashfs(0);
    bytes[40..48].copy_from_slice(&(length as u64).to_le_bytes());
    bytes.extend_from_slice(content);
    bytes
}

/// Root files of that many versions: each has a sixteenth of its bytes of its own, the rest moves along.
pub(crate) fn versions(count: usize) -> Vec<Vec<u8>> {
    let shared = noise(240 << 10, 1);
    let own = |number: usize| noise(16 << 10, 100 + number as u64);
    (0..count).map(|number| squashfs(&[own(number), shared.clone()].concat())).collect()
}
