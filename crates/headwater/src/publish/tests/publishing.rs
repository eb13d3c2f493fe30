use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use headwater_formats::arch::Architecture;
use headwater_formats::image::{Compression, FileFormat, ImageFiles, ImageType};
use headwater_formats::names::ProjectName;

use super::kit::*;
use crate::auth::Viewer;
use crate::catalog::CatalogError;
use crate::publish::{Listing, Progress, PublishError, Request};

#[tokio::test]
async fn a_split_image_is_listed_as_its_metadata_says() {
    let room = Room::new().await;
    let (metadata, root) = (metadata("20250601_07:42"), root("a"));
    let request = Request {
        first: file(&room.file("in/incus.tar.xz", &metadata)),
        root: Some(file(&room.file("in/rootfs.tar.xz", &root))),
        listing: Listing {
            aliases: vec![alias("mine").into()],
            properties: BTreeMap::from([
                ("description".to_owned(), "Ours".to_owned()),
                ("team".to_owned(), "a".to_owned()),
            ]),
            ..listed(true)
        },
        ..request(vec![], None)
    };
    let published = room.publish(request).await.unwrap();
    assert!(!published.already);
    let image = published.image.image;
    assert_eq!(image.fingerprint, fingerprint(&metadata, &root), "metadata then root");
    assert_eq!(image.image_type, ImageType::Container);
    assert_eq!(image.architecture, Architecture::X86_64);
    assert_eq!(image.filename, "incus.tar.xz");
    assert_eq!(image.created_at, at(1_748_736_000));
    assert_eq!(image.expires_at, Some(at(1_780_272_000)));
    assert_eq!(image.uploaded_at, at(NOW));
    assert!(image.public);
    assert_eq!(image.property("os"), Some("Debian"));
    assert_eq!(image.property("description"), Some("Ours"), "what is asked for wins");
    assert_eq!(image.property("team"), Some("a"));
    let ImageFiles::Split { metadata: meta_file, root: root_file } = image.files else { panic!("split") };
    assert_eq!((meta_file.digest, meta_file.size), (digest(&metadata), metadata.len() as u64));
    assert_eq!((root_file.digest, root_file.size), (digest(&root), root.len() as u64));
    assert_eq!(root_file.format, FileFormat::Tar(Compression::Xz));
    let placement = published.image.placement.unwrap();
    assert_eq!(placement.product, "debian:bookworm:amd64:default");
    assert_eq!(placement.version.as_str(), "20250601_07:42");
    assert!(published.image.aliases.iter().any(|alias| alias.name.as_str() == "mine"));
    let stored = room.app.blobs.open_blob(&root_file.digest).unwrap().unwrap();
    assert_eq!(stored.size, root.len() as u64);
    assert_eq!(room.staged_files(), 0);
}

#[tokio::test]
async fn unified_images_and_virtual_machines() {
    let room = Room::new().await;
    let unified = unified("20250601_07:42");
    let image = room.publish(request(unified.clone(), None)).await.unwrap().image.image;
    assert_eq!(image.fingerprint, digest(&unified).as_unified_fingerprint());
    assert_eq!(image.image_type, ImageType::Container);

    let (metadata, disk) = (metadata("20250601_07:42"), qcow2(1));
    let image = room.publish(request(metadata.clone(), Some(disk.clone()))).await.unwrap().image.image;
    assert_eq!(image.fingerprint, fingerprint(&metadata, &disk));
    assert_eq!(image.image_type, ImageType::VirtualMachine, "told by the bytes, the name says nothing");
    let ImageFiles::Split { root, .. } = image.files else { panic!("split") };
    assert_eq!(root.format, FileFormat::Qcow2);
}

#[tokio::test]
async fn the_same_bytes_again_change_nothing() {
    let room = Room::new().await;
    let ask = || request(metadata("20250601_07:42"), Some(root("a")));
    let first = room.publish(ask()).await.unwrap();
    let revision = room.app.catalog.revision().await.unwrap();
    let again = room.publish(Request { listing: listed(false), ..ask() }).await.unwrap();
    assert!(again.already);
    assert_eq!(again.image, first.image, "not even whether it is public");
    assert_eq!(room.app.catalog.revision().await.unwrap(), revision);
    assert_eq!(room.stored().len(), 2);
    assert_eq!(room.staged_files(), 0);
}

#[tokio::test]
async fn bytes_are_shared_between_images_and_projects() {
    let room = Room::new().await;
    let team = ProjectName::new("team").unwrap();
    room.app.catalog.create_project(&team, "", at(NOW)).await.unwrap();
    let meta = metadata("20250601_07:42");
    room.publish(request(meta.clone(), Some(root("a")))).await.unwrap();
    room.publish(request(meta.clone(), Some(qcow2(1)))).await.unwrap();
    room.publish(Request { project: team, ..request(meta, Some(root("a"))) }).await.unwrap();
    assert_eq!(room.stored().len(), 3, "one metadata file, one root, one disk");
}

#[tokio::test]
async fn a_missing_project_is_told_before_bytes_are_read() {
    struct Untouchable;
    impl std::io::Read for Untouchable {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("the source was read")
        }
    }
    let room = Room::new().await;
    let first = crate::publish::Source::Stream { name: "x".to_owned(), reader: Box::new(Untouchable) };
    let project = ProjectName::new("nowhere").unwrap();
    let error = room.publish(Request { project, first, ..request(vec![], None) }).await.unwrap_err();
    assert!(matches!(error, PublishError::Catalog(CatalogError::NoProject(name)) if name == "nowhere"));
}

#[tokio::test]
async fn progress_hears_of_every_byte() {
    #[derive(Default)]
    struct Heard {
        files: Mutex<Vec<(String, Option<u64>)>>,
        bytes: AtomicU64,
        ended: AtomicU64,
    }
    impl Progress for Heard {
        fn begin(&self, name: &str, total: Option<u64>) {
            self.files.lock().unwrap().push((name.to_owned(), total));
        }
        fn advance(&self, bytes: u64) {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        fn end(&self) {
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
    }
    let room = Room::new().await;
    let (metadata, root) = (metadata("20250601_07:42"), root("a"));
    let path = room.file("rootfs.tar.xz", &root);
    let heard = Arc::new(Heard::default());
    let ask = Request { root: Some(file(&path)), ..request(metadata.clone(), None) };
    room.app.publisher.publish(ask, heard.clone(), at(NOW)).await.unwrap();
    let expected = [("meta.tar".to_owned(), None), (path.display().to_string(), Some(root.len() as u64))];
    assert_eq!(*heard.files.lock().unwrap(), expected);
    assert_eq!(heard.bytes.load(Ordering::Relaxed), (metadata.len() + root.len()) as u64);
    assert_eq!(heard.ended.load(Ordering::Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_equal_publishers_at_once_store_one_image() {
    let room = Arc::new(Room::new().await);
    let (metadata, root) = (metadata("20250601_07:42"), root("a"));
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (room, request) = (room.clone(), request(metadata.clone(), Some(root.clone())));
            tokio::spawn(async move { room.publish(request).await.unwrap().already })
        })
        .collect();
    let mut new = 0;
    for task in tasks {
        new += usize::from(!task.await.unwrap());
    }
    assert_eq!(new, 1, "one of them published it, the others found it");
    assert_eq!(room.images().await.len(), 1);
    assert_eq!(room.stored().len(), 2);
    assert_eq!(room.staged_files(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_different_publishers_at_once_store_all_images() {
    let room = Arc::new(Room::new().await);
    let metadata = metadata("20250601_07:42");
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let (room, request) = (room.clone(), request(metadata.clone(), Some(root(&number.to_string()))));
            tokio::spawn(async move { room.publish(request).await.unwrap() })
        })
        .collect();
    let mut versions = std::collections::BTreeSet::new();
    for task in tasks {
        let published = task.await.unwrap();
        assert!(!published.already);
        versions.insert(published.image.placement.unwrap().version);
    }
    assert_eq!(versions.len(), 50, "equal dates, so each got a version of its own");
    assert_eq!(room.images().await.len(), 50);
    assert_eq!(room.stored().len(), 51);
    assert_eq!(room.staged_files(), 0);
}

#[tokio::test]
async fn what_is_private_is_not_seen_by_guests() {
    let room = Room::new().await;
    let ask = Request { listing: listed(false), ..request(metadata("20250601_07:42"), Some(root("a"))) };
    room.publish(ask).await.unwrap();
    let project = ProjectName::default_project();
    assert_eq!(room.app.catalog.images(&Viewer::guest(), &project, None, 10).await.unwrap(), []);
}
