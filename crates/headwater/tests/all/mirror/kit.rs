//! An upstream whose images come and go, and an installation that mirrors it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headwater::auth::Viewer;
use headwater::catalog::{UpstreamProtocol, UpstreamRun, UpstreamSettings};
use headwater::client::Client;
use headwater::mirror::{Course, Event, MirrorError, Mirrors, Patience, Terms};
use headwater_formats::arch::Architecture;
use headwater_formats::names::{ProjectName, UpstreamName};
use headwater_formats::product::Product;
use headwater_formats::timestamp::Timestamp;
use serde_json::{Map, Value, json};

use crate::client::kit::{Asked, Reply, Server, Split, Stub, now, quick, sha256};
use crate::http::kit::Sample;

/// Products by their keys, versions by their names, images.
pub(crate) type Lines = BTreeMap<String, BTreeMap<String, Vec<Split>>>;

/// What an upstream has, and how it is told.
#[derive(Clone, Default)]
pub(crate) struct World(pub(crate) Arc<Mutex<Lines>>);

/// The images of a version: a container, and a machine if wanted.
pub(crate) fn images(release: &'static str, serial: &'static str, machine: bool) -> Vec<Split> {
    let metadata = Sample { release, serial, ..Sample::default() }.metadata();
    let mut root = crate::client::kit::squashfs(7);
    // No two versions have the same root file.
    let place = root.len() - 600;
    root[place..place + serial.len()].copy_from_slice(serial.as_bytes());
    root[place - 64..place - 64 + release.len()].copy_from_slice(release.as_bytes());
    let container = Split { metadata: metadata.clone(), root, machine: false };
    let mut disk = crate::client::kit::qcow2();
    disk.extend_from_slice(serial.as_bytes());
    let machine = machine.then_some(Split { metadata, root: disk, machine: true });
    std::iter::once(container).chain(machine).collect()
}

impl World {
    pub(crate) fn put(&self, release: &'static str, serial: &'static str, machine: bool) {
        let key = format!("com.example:{release}:amd64");
        let mut lines = self.0.lock().unwrap();
        lines.entry(key).or_default().insert(serial.to_owned(), images(release, serial, machine));
    }

    pub(crate) fn take_away(&self, release: &str, serial: &str) {
        let key = format!("com.example:{release}:amd64");
        let mut lines = self.0.lock().unwrap();
        if let Some(versions) = lines.get_mut(&key) {
            versions.remove(serial);
            if versions.is_empty() {
                lines.remove(&key);
            }
        }
    }

    /// The document.
    pub(crate) fn document(&self) -> Value {
        let lines = self.0.lock().unwrap();
        let mut products = Map::new();
        for (key, versions) in &*lines {
            let release = key.split(':').nth(1).unwrap();
            let versions: Map<String, Value> = versions
                .iter()
                .map(|(name, images)| {
                    (name.clone(), json!({"pubname": format!("example-{name}"), "cost": 7, "items": items(images)}))
                })
                .collect();
            let product = json!({
                "aliases": format!("{release},{release}/amd64x"), "arch": "amd64", "os": "Debian", "release": release,
                "release_title": release, "variant": "default", "flavour": {"sweet": true}, "versions": versions,
            });
            products.insert(key.clone(), product);
        }
        json!({"format": "products:1.0", "content_id": "images", "datatype": "image-downloads", "products": products})
    }

    pub(crate) fn answer(&self, asked: &Asked) -> Reply {
        let json = |value: &Value| Reply::file(value.to_string().as_bytes());
        let path = asked.path();
        match path {
            "/streams/v1/index.json" => json(&self.index()),
            "/streams/v1/images.json" => json(&self.document()),
            _ => match self.file(path) {
                Some(bytes) => Reply::file(&bytes),
                None => Reply::new("404 Not Found", &[], b"not here"),
            },
        }
    }

    pub(crate) fn index(&self) -> Value {
        let keys: Vec<String> = self.0.lock().unwrap().keys().cloned().collect();
        json!({"format": "index:1.0", "index": {"images": {
            "datatype": "image-downloads", "path": "streams/v1/images.json", "products": keys}}})
    }

    pub(crate) fn file(&self, path: &str) -> Option<Vec<u8>> {
        let digest = path.strip_prefix("/images/")?;
        let lines = self.0.lock().unwrap();
        let files = lines.values().flat_map(BTreeMap::values).flatten();
        let mut files = files.flat_map(|image| [&image.metadata, &image.root]);
        files.find(|bytes| sha256(bytes) == digest).cloned()
    }

    pub(crate) async fn serve(&self) -> Stub {
        self.but(|_| None).await
    }

    /// A good server but for what `bad` answers.
    pub(crate) async fn but(&self, bad: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Stub {
        let world = self.clone();
        Stub::new(move |asked| bad(asked).unwrap_or_else(|| world.answer(asked))).await
    }
}

fn items(images: &[Split]) -> Value {
    let mut items = Map::new();
    for image in images {
        let (ftype, hash) = if image.machine {
            ("disk-kvm.img", "combined_disk-kvm-img_sha256")
        } else {
            ("squashfs", "combined_squashfs_sha256")
        };
        let file = |ftype: &str, bytes: &[u8]| {
            let digest = sha256(bytes);
            json!({"ftype": ftype, "path": format!("images/{digest}"), "size": bytes.len(), "sha256": digest})
        };
        items.insert(ftype.to_owned(), file(ftype, &image.root));
        for metadata in ["lxd.tar.xz", "incus.tar.xz"] {
            let item = items.entry(metadata).or_insert_with(|| file(metadata, &image.metadata));
            item[hash] = image.fingerprint().into();
        }
    }
    Value::Object(items)
}

/// A day after [`now`].
pub(crate) fn tomorrow() -> Timestamp {
    now().plus_seconds(24 * 3600)
}

/// An installation that mirrors.
pub(crate) struct Mirror {
    pub(crate) server: Server,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
}

pub(crate) fn name() -> UpstreamName {
    UpstreamName::new("images").unwrap()
}

impl Mirror {
    pub(crate) async fn of(stub: &Stub) -> Self {
        Self::with(stub, UpstreamProtocol::SimpleStreams, UpstreamSettings::default()).await
    }

    pub(crate) async fn with(stub: &Stub, protocol: UpstreamProtocol, settings: UpstreamSettings) -> Self {
        Self::at(&stub.url(), &stub.pem, protocol, settings).await
    }

    /// Of the server at that address, with that certificate.
    pub(crate) async fn at(url: &str, pem: &str, protocol: UpstreamProtocol, settings: UpstreamSettings) -> Self {
        let server = Server::new().await;
        let settings = UpstreamSettings { certificate: pem.to_owned(), public: true, ..settings };
        let project = ProjectName::default_project();
        let catalog = &server.app.catalog;
        catalog.create_upstream(&name(), &project, protocol, url, &settings, now()).await.unwrap();
        Self { server, events: Arc::default() }
    }

    pub(crate) fn mirrors(&self, now: fn() -> Timestamp) -> Mirrors {
        let client = Client::new(vec![Architecture::X86_64], quick());
        let patience = Patience { pauses: vec![Duration::from_millis(10)], ..Patience::default() };
        Mirrors::new(client, self.server.app.publisher.clone(), now).with_patience(patience)
    }

    pub(crate) async fn run_at(&self, now: fn() -> Timestamp, terms: Terms) -> Result<UpstreamRun, MirrorError> {
        let events = Arc::clone(&self.events);
        let tell = Arc::new(move |event| events.lock().unwrap().push(event));
        let course = Course { tell, ..Course::unobserved() };
        let mirrors = self.mirrors(now);
        let name = name();
        let running = mirrors.run(&name, terms, &course);
        tokio::time::timeout(Duration::from_secs(60), running).await.expect("every run ends")
    }

    pub(crate) async fn run(&self) -> Result<UpstreamRun, MirrorError> {
        self.run_at(now, Terms::default()).await
    }

    /// A run in which all goes well: what was listed, taken, removed.
    #[track_caller]
    pub(crate) fn runs(&self) -> impl Future<Output = (u64, u64, u64)> {
        let place = std::panic::Location::caller();
        async move {
            let run = self.run().await.unwrap_or_else(|error| panic!("{place}: {error}"));
            assert_eq!((run.failed, run.why.as_str()), (0, ""), "{place}");
            (run.listed, run.taken, run.removed)
        }
    }

    pub(crate) async fn products(&self) -> Vec<Product> {
        let project = ProjectName::default_project();
        self.server.app.catalog.products(&Viewer::guest(), &project, None, 100).await.unwrap()
    }

    /// `release version`, for each image that is listed.
    pub(crate) async fn listed(&self) -> Vec<String> {
        let mut listed = Vec::new();
        for product in self.products().await {
            for version in product.versions {
                listed.extend(version.images.iter().map(|_| format!("{} {}", product.line.release, version.name)));
            }
        }
        listed
    }
}
