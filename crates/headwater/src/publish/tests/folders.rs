use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_formats::image::ImageType;
use headwater_formats::names::ProjectName;

use super::kit::*;
use crate::publish::{DirectoryRequest, Packing, PublishError, Published, Silent};

fn listing() -> DirectoryRequest {
    DirectoryRequest {
        project: ProjectName::default_project(),
        aliases: Vec::new(),
        public: true,
        properties: BTreeMap::new(),
        packing: Packing::AsGiven,
    }
}

async fn publish(room: &Room, listing: DirectoryRequest) -> Result<Vec<Published>, PublishError> {
    room.app.publisher.publish_directory(&room.path("build"), listing, Arc::new(Silent), at(NOW)).await
}

fn said(room: &Room, error: &PublishError) -> String {
    error.to_string().replace(room.path("build").to_str().unwrap(), "BUILD")
}

#[tokio::test]
async fn a_container_and_a_machine_become_one_version() {
    let room = Room::new().await;
    let (metadata, root, disk) = (metadata("20250601_07:42"), root("a"), qcow2(1));
    room.file("build/lxd.tar.xz", &metadata);
    room.file("build/rootfs.tar.xz", &root);
    room.file("build/disk.qcow2", &disk);
    let sums = format!("{}  lxd.tar.xz\n{}  rootfs.tar.xz\n", digest(&metadata), digest(&root));
    room.file("build/SHA256SUMS", sums.as_bytes());
    let published = publish(&room, listing()).await.unwrap();
    let kinds: Vec<_> = published.iter().map(|published| published.image.image.image_type).collect();
    assert_eq!(kinds, [ImageType::VirtualMachine, ImageType::Container]);
    assert_eq!(published[0].image.placement, published[1].image.placement, "one version holds both");
    assert_eq!(room.stored().len(), 3);
}

#[tokio::test]
async fn a_bad_file_leaves_nothing_of_its_folder() {
    let room = Room::new().await;
    room.file("build/lxd.tar.xz", &metadata("20250601_07:42"));
    room.file("build/disk.qcow2", &qcow2(1));
    room.file("build/rootfs.squashfs", b"this is no squashfs");
    let error = publish(&room, listing()).await.unwrap_err();
    assert!(said(&room, &error).starts_with("\"BUILD/rootfs.squashfs\" cannot be published: "), "{error}");
    room.assert_untouched("a bad file").await;
}

#[tokio::test]
async fn a_file_that_is_not_what_its_checksum_says_is_refused() {
    let room = Room::new().await;
    let (metadata, root) = (metadata("20250601_07:42"), root("a"));
    room.file("build/lxd.tar.xz", &metadata);
    room.file("build/rootfs.tar.xz", &root);
    room.file("build/SHA256SUMS", format!("{}  rootfs.tar.xz\n", digest(&metadata)).as_bytes());
    let error = publish(&room, listing()).await.unwrap_err();
    assert_eq!(
        said(&room, &error),
        format!(
            "\"BUILD/rootfs.tar.xz\" cannot be published: its SHA-256 is {}, and SHA256SUMS beside it says {}; copy or build the folder again",
            digest(&root),
            digest(&metadata)
        )
    );
    room.assert_untouched("a wrong checksum").await;
}

#[tokio::test]
async fn an_alias_leads_to_one_image() {
    let room = Room::new().await;
    room.file("build/lxd.tar.xz", &metadata("20250601_07:42"));
    room.file("build/rootfs.tar.xz", &root("a"));
    room.file("build/disk.qcow2", &qcow2(1));
    let error = publish(&room, DirectoryRequest { aliases: vec![alias("mine")], ..listing() }).await.unwrap_err();
    assert_eq!(
        said(&room, &error),
        "\"BUILD\" cannot be published: it holds 2 images, and an alias leads to one; publish them file by file, or without an alias"
    );
    room.assert_untouched("an ambiguous alias").await;
}
