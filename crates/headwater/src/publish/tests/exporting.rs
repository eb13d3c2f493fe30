use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use headwater_formats::names::ProjectName;
use headwater_formats::simplestreams::render::FilesAt;
use headwater_formats::simplestreams::{Family, item};
use headwater_formats::view::View;

use super::kit::*;
use crate::auth::Viewer;
use crate::documents::{self, Stream};
use crate::publish::{ExportError, ExportRequest, Exported};

const DAY: u32 = 24 * 3600;

fn asked(to: PathBuf) -> ExportRequest {
    ExportRequest {
        to,
        project: ProjectName::default_project(),
        view: View::default(),
        family: Family::Incus,
        viewer: Viewer::guest(),
        grace_seconds: DAY,
        rehash: false,
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_tree_holds_what_a_server_answers_and_every_file_it_names() {
    let room = Room::new().await;
    let (meta, root_a) = (metadata("20250601_07:42"), root("a"));
    room.publish(request(meta.clone(), Some(root_a.clone()))).await.unwrap();
    room.publish(request(unified("20250602_07:42"), None)).await.unwrap();
    let mut private = request(metadata("20250603_07:42"), Some(root("private")));
    private.listing.public = false;
    room.publish(private).await.unwrap();

    let to = room.path("tree");
    let exported = room.app.publisher.export(asked(to.clone()), at(NOW)).await.unwrap();
    assert_eq!((exported.files, exported.added), (3, 3));
    let (project, view) = (ProjectName::default_project(), View::default());
    let stream = Stream::of_project(&Viewer::guest(), project, view, Family::Incus);
    let made = documents::draft(&room.app.catalog, &stream).await.unwrap().placed(&FilesAt::IMAGES);
    let (index, products) = (made.index, made.products);
    assert_eq!(fs::read(to.join("streams/v1/index.json")).unwrap(), index);
    assert_eq!(fs::read(to.join("streams/v1/images.json")).unwrap(), products);

    let json: serde_json::Value = serde_json::from_slice(&products).unwrap();
    let mut listed = 0;
    for version in json["products"]["debian:bookworm:amd64:default"]["versions"].as_object().unwrap().values() {
        for item in version["items"].as_object().unwrap().values() {
            let bytes = fs::read(to.join(item["path"].as_str().unwrap())).unwrap();
            assert_eq!(digest(&bytes).to_string(), item["sha256"].as_str().unwrap());
            assert_eq!(bytes.len() as u64, item["size"].as_u64().unwrap());
            listed += 1;
        }
    }
    assert_eq!(listed, 3);
    let there = to.join("images").join(format!("{}.tar.xz", digest(&root_a)));
    assert_eq!(fs::metadata(there).unwrap().ino(), fs::metadata(room.blob_path(&digest(&root_a))).unwrap().ino());
}

#[tokio::test]
async fn a_tree_for_a_family_holds_what_that_family_is_listed() {
    let room = Room::new().await;
    let (meta, root_a) = (metadata("20250601_07:42"), root("a"));
    room.publish(request(meta.clone(), Some(root_a.clone()))).await.unwrap();
    let mut of_lxd = request(unified("20250602_07:42"), None);
    of_lxd.listing.properties.insert(item::FAMILIES.to_owned(), "lxd".to_owned());
    let of_lxd = room.publish(of_lxd).await.unwrap().image.image;
    let files = async |family: Family| {
        let to = room.path(family.as_str());
        room.app.publisher.export(ExportRequest { family, ..asked(to.clone()) }, at(NOW)).await.unwrap();
        names(&to.join("images"))
    };
    let both: Vec<String> = [digest(&meta), digest(&root_a)].map(|digest| format!("{digest}.tar.xz")).into();
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(files(Family::Incus).await, sorted(both.clone()));
    let all = both.into_iter().chain(of_lxd.files.iter().map(|(_, file)| file.name())).collect();
    let all = sorted(all);
    assert_eq!(all.len(), 3);
    assert_eq!(files(Family::Lxd).await, all);
    assert_eq!(files(Family::Any).await, all);
}

#[tokio::test]
async fn running_again_keeps_what_is_there_and_lets_go_after_a_grace() {
    let room = Room::new().await;
    let (meta, root_a) = (metadata("20250601_07:42"), root("a"));
    let image = room.publish(request(meta.clone(), Some(root_a.clone()))).await.unwrap().image.image;
    room.publish(request(meta, Some(qcow2(1)))).await.unwrap();
    let to = room.path("tree");
    let export = async |seconds: i64| room.app.publisher.export(asked(to.clone()), at(seconds)).await.unwrap();
    assert_eq!(export(NOW).await.added, 3);
    fs::write(to.join("images/robots.txt"), "not ours").unwrap();
    fs::write(to.join("images/.headwater-part-left-behind"), "of a run that was cut short").unwrap();
    let again = export(NOW + 1).await;
    assert_eq!(again, Exported { added: 0, ..again });

    let project = ProjectName::default_project();
    room.app.catalog.delete_image(&project, &image.fingerprint, at(NOW + 2)).await.unwrap();
    let name = format!("{}.tar.xz", digest(&root_a));
    let leaving = export(NOW + 3).await;
    assert_eq!((leaving.files, leaving.leaving, leaving.removed), (2, 1, 0));
    assert!(names(&to.join("images")).contains(&name), "clients have lists that still name it");
    assert_eq!(export(NOW + 2 + i64::from(DAY)).await.removed, 0);
    assert_eq!(export(NOW + 3 + i64::from(DAY)).await.removed, 1);
    let left = names(&to.join("images"));
    assert_eq!(left.len(), 3, "two files and robots.txt: {left:?}");
    assert!(left.contains(&"robots.txt".to_owned()), "what is not ours stays");
}

#[tokio::test]
async fn damage_in_a_tree_is_found_when_asked_for() {
    let room = Room::new().await;
    let root_a = root("a");
    room.publish(request(metadata("20250601_07:42"), Some(root_a.clone()))).await.unwrap();
    let to = room.path("tree");
    room.app.publisher.export(asked(to.clone()), at(NOW)).await.unwrap();
    let file = to.join("images").join(format!("{}.tar.xz", digest(&root_a)));
    fs::remove_file(&file).unwrap();
    fs::write(&file, vec![0; root_a.len()]).unwrap();
    assert_eq!(room.app.publisher.export(asked(to.clone()), at(NOW)).await.unwrap().added, 0);
    let rehash = ExportRequest { rehash: true, ..asked(to.clone()) };
    assert_eq!(room.app.publisher.export(rehash.clone(), at(NOW)).await.unwrap().added, 1);
    assert_eq!(fs::read(&file).unwrap(), root_a);

    fs::write(room.blob_path(&digest(&root_a)), vec![0; root_a.len()]).unwrap();
    let error = room.app.publisher.export(rehash, at(NOW)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the file {}.tar.xz is missing or damaged in the store; `headwater verify` tells more",
            digest(&root_a)
        )
    );
}

#[tokio::test]
async fn other_peoples_trees_are_left_alone() {
    let room = Room::new().await;
    room.file("tree/streams/v1/index.json", b"{}");
    let error = room.app.publisher.export(asked(room.path("tree")), at(NOW)).await.unwrap_err();
    assert!(matches!(error, ExportError::Foreign(_)), "{error}");
    assert_eq!(fs::read(room.path("tree/streams/v1/index.json")).unwrap(), b"{}");
    let nowhere = ExportRequest { project: ProjectName::new("nowhere").unwrap(), ..asked(room.path("other")) };
    let error = room.app.publisher.export(nowhere, at(NOW)).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no project \"nowhere\"; `headwater project list` shows the ones there are");
    assert!(!room.path("other").exists());
}
