use headwater::auth::Viewer;
use headwater::catalog::{CatalogError, ImageEdit, Retired};
use headwater_formats::digest::Digest;
use headwater_formats::image::{Compression, FileFormat, Image};

use super::{Home, commit, on_both_engines};
use crate::kit::images::{Change as _, file, image, minute, project};

on_both_engines! {
    a_file_is_what_its_image_says,
    retired_files_are_served_until_they_are_swept,
    retired_files_are_served_to_those_who_could_see_them,
    a_file_that_is_needed_again_is_not_swept,
    a_guest_keeps_a_shared_file_only_for_the_grace,
    an_image_made_private_is_private_at_once,
    a_deleted_project_has_no_readers,
    a_sweep_that_fails_can_be_tried_again,
    unknown_blobs_are_removed_and_known_ones_spared,
    blobs_in_use_name_their_images,
}

fn root(number: u32) -> Digest {
    file(number + 0x2000_0000, FileFormat::Squashfs).digest
}

fn metadata(number: u32) -> Digest {
    file(number + 0x1000_0000, FileFormat::Squashfs).digest
}

/// The image with the root file of another one.
fn with_root_of(number: u32, other: u32) -> Image {
    let mut changed = image(number);
    if let headwater_formats::image::ImageFiles::Split { root, .. } = &mut changed.files {
        *root = file(other + 0x2000_0000, FileFormat::Squashfs);
    }
    changed
}

async fn a_file_is_what_its_image_says(home: &Home) {
    let catalog = home.open().await;
    commit(&catalog, "default", image(1), &[]).await;
    let found = catalog.file(&Viewer::guest(), &root(1)).await.unwrap();
    assert_eq!(found, Some(file(0x2000_0001, FileFormat::Squashfs)));
    let found = catalog.file(&Viewer::guest(), &metadata(1)).await.unwrap();
    assert_eq!(found, Some(file(0x1000_0001, FileFormat::Tar(Compression::Xz))));
    assert_eq!(catalog.file(&Viewer::operator(), &root(2)).await.unwrap(), None);
}

async fn retired_files_are_served_until_they_are_swept(home: &Home) {
    let catalog = home.open().await;
    commit(&catalog, "default", image(1), &[]).await;
    assert!(catalog.is_file_needed(&root(1)).await.unwrap());
    assert!(!catalog.is_file_needed(&root(2)).await.unwrap(), "it is not even known");
    catalog.delete_image(&project("default"), &image(1).fingerprint, minute(10)).await.unwrap();
    assert!(!catalog.is_file_needed(&root(1)).await.unwrap(), "no image needs it, though it is served");
    assert_eq!(catalog.retired(minute(10), 9).await.unwrap(), [], "before that moment, not at it");
    let retired = catalog.retired(minute(11), 9).await.unwrap();
    let one = |digest, size| Retired { digest, size, retired_at: minute(10), present: true };
    assert_eq!(retired, [one(metadata(1), 0x1000_0002), one(root(1), 0x2000_0002)]);
    assert_eq!(catalog.retired(minute(11), 1).await.unwrap().len(), 1);
    let guest = Viewer::guest();
    assert!(catalog.file(&guest, &root(1)).await.unwrap().is_some(), "still served");
    assert!(!catalog.forget_blob(&root(1), minute(10), || panic!("its grace is not over")).await.unwrap());
    let mut removed = false;
    assert!(
        catalog
            .forget_blob(&root(1), minute(11), || {
                removed = true;
                Ok(())
            })
            .await
            .unwrap()
    );
    assert!(removed);
    assert_eq!(catalog.file(&guest, &root(1)).await.unwrap(), None);
    assert!(!catalog.forget_blob(&root(1), minute(11), || panic!("it is gone")).await.unwrap());
    assert_eq!(catalog.known_blobs(None, 9).await.unwrap(), [metadata(1)]);
}

async fn retired_files_are_served_to_those_who_could_see_them(home: &Home) {
    let catalog = home.open().await;
    for name in ["team", "other"] {
        catalog.create_project(&project(name), "", minute(0)).await.unwrap();
    }
    commit(&catalog, "team", image(1).private(), &[]).await;
    catalog.delete_image(&project("team"), &image(1).fingerprint, minute(10)).await.unwrap();
    for (viewer, seen) in [
        (Viewer::guest(), false),
        (Viewer::granted([project("other"), project("default")]), false),
        (Viewer::granted([project("other"), project("team")]), true),
        (Viewer::operator(), true),
    ] {
        assert_eq!(catalog.file(&viewer, &root(1)).await.unwrap().is_some(), seen, "{viewer:?}");
    }
}

async fn a_file_that_is_needed_again_is_not_swept(home: &Home) {
    let catalog = home.open().await;
    commit(&catalog, "default", image(1), &[]).await;
    catalog.delete_image(&project("default"), &image(1).fingerprint, minute(10)).await.unwrap();
    commit(&catalog, "default", with_root_of(2, 1), &[]).await;
    assert!(!catalog.forget_blob(&root(1), minute(99), || panic!("it is needed")).await.unwrap());
    let retired: Vec<Digest> = catalog.retired(minute(99), 9).await.unwrap().iter().map(|one| one.digest).collect();
    assert_eq!(retired, [metadata(1)]);
    catalog.delete_image(&project("default"), &image(2).fingerprint, minute(20)).await.unwrap();
    let retired = catalog.retired(minute(99), 9).await.unwrap();
    let again = retired.iter().find(|one| one.digest == root(1)).unwrap();
    assert_eq!(again.retired_at, minute(20), "its grace begins anew");
}

async fn a_guest_keeps_a_shared_file_only_for_the_grace(home: &Home) {
    let catalog = home.open().await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    commit(&catalog, "default", image(1), &[]).await;
    commit(&catalog, "team", with_root_of(2, 1).private(), &[]).await;
    catalog.delete_image(&project("default"), &image(1).fingerprint, minute(10)).await.unwrap();
    let guest = Viewer::guest();
    assert!(catalog.file(&guest, &root(1)).await.unwrap().is_some(), "a download may be going on");
    assert_eq!(catalog.end_grace(minute(10)).await.unwrap(), 0);
    assert!(catalog.file(&guest, &root(1)).await.unwrap().is_some());
    assert_eq!(catalog.end_grace(minute(11)).await.unwrap(), 2, "for both files");
    assert_eq!(catalog.file(&guest, &root(1)).await.unwrap(), None, "it is the team's alone now");
    assert!(catalog.file(&Viewer::granted([project("team")]), &root(1)).await.unwrap().is_some());
}

async fn an_image_made_private_is_private_at_once(home: &Home) {
    let catalog = home.open().await;
    commit(&catalog, "default", image(1), &[]).await;
    let edit = ImageEdit { public: Some(false), ..ImageEdit::default() };
    catalog.edit_image(&project("default"), &image(1).fingerprint, &edit, minute(5)).await.unwrap();
    assert_eq!(catalog.file(&Viewer::guest(), &root(1)).await.unwrap(), None);
    assert_eq!(catalog.images(&Viewer::guest(), &project("default"), None, 9).await.unwrap(), []);
    assert_eq!(catalog.aliases(&Viewer::guest(), &project("default"), None, 9).await.unwrap(), []);
    catalog.delete_image(&project("default"), &image(1).fingerprint, minute(6)).await.unwrap();
    assert_eq!(catalog.file(&Viewer::guest(), &root(1)).await.unwrap(), None, "and stays so when it is deleted");
}

async fn a_deleted_project_has_no_readers(home: &Home) {
    let catalog = home.open().await;
    let team = project("team");
    catalog.create_project(&team, "", minute(0)).await.unwrap();
    commit(&catalog, "team", image(1).private(), &[]).await;
    catalog.delete_image(&team, &image(1).fingerprint, minute(5)).await.unwrap();
    catalog.delete_project(&team, minute(6)).await.unwrap();
    catalog.create_project(&team, "another team of that name", minute(7)).await.unwrap();
    assert_eq!(catalog.file(&Viewer::granted([team]), &root(1)).await.unwrap(), None);
    assert_eq!(catalog.retired(minute(99), 9).await.unwrap().len(), 2, "the files are swept as usual");
}

async fn a_sweep_that_fails_can_be_tried_again(home: &Home) {
    let catalog = home.open().await;
    commit(&catalog, "default", image(1), &[]).await;
    catalog.delete_image(&project("default"), &image(1).fingerprint, minute(10)).await.unwrap();
    let failed = catalog.forget_blob(&root(1), minute(99), || Err(std::io::Error::other("no"))).await;
    assert!(matches!(failed, Err(CatalogError::Remove(_))), "{failed:?}");
    assert_eq!(catalog.retired(minute(99), 9).await.unwrap().len(), 2);
    assert!(catalog.forget_blob(&root(1), minute(99), || Ok(())).await.unwrap());
}

async fn unknown_blobs_are_removed_and_known_ones_spared(home: &Home) {
    let catalog = home.open().await;
    commit(&catalog, "default", image(1), &[]).await;
    assert!(!catalog.remove_unknown_blob(&root(1), || panic!("it is in use")).await.unwrap());
    catalog.delete_image(&project("default"), &image(1).fingerprint, minute(10)).await.unwrap();
    assert!(!catalog.remove_unknown_blob(&root(1), || panic!("it is retired, and a matter of grace")).await.unwrap());
    let mut removed = false;
    assert!(
        catalog
            .remove_unknown_blob(&root(2), || {
                removed = true;
                Ok(())
            })
            .await
            .unwrap()
    );
    assert!(removed);
    let failed = catalog.remove_unknown_blob(&root(2), || Err(std::io::Error::other("no"))).await;
    assert_eq!(failed.unwrap_err().to_string(), "a file that no image needs could not be removed: no");
}

async fn blobs_in_use_name_their_images(home: &Home) {
    let catalog = home.open().await;
    let team = project("team");
    catalog.create_project(&team, "", minute(0)).await.unwrap();
    commit(&catalog, "default", image(1), &[]).await;
    commit(&catalog, "default", with_root_of(2, 1), &[]).await;
    commit(&catalog, "team", image(1).private(), &[]).await;
    commit(&catalog, "team", image(3), &[]).await;
    catalog.delete_image(&team, &image(3).fingerprint, minute(5)).await.unwrap();
    let mut uses = Vec::new();
    while let Some(page) = Some(
        catalog.blobs_in_use(uses.last().map(|one: &headwater::catalog::BlobUse| one.file.digest), 1).await.unwrap(),
    )
    .filter(|page| !page.is_empty())
    {
        uses.extend(page);
    }
    let default = project("default");
    let (one, two) = (image(1).fingerprint, image(2).fingerprint);
    let found: Vec<_> = uses.into_iter().map(|one| (one.file.digest, one.images)).collect();
    assert_eq!(
        found,
        [
            (metadata(1), vec![(default.clone(), one), (team.clone(), one)]),
            (metadata(2), vec![(default.clone(), two)]),
            (root(1), vec![(default.clone(), one), (default, two), (team, one)]),
        ]
    );
    let known = catalog.known_blobs(None, 99).await.unwrap();
    assert_eq!(known, [metadata(1), metadata(2), metadata(3), root(1), root(3)], "the retired ones, too");
    assert_eq!(catalog.known_blobs(Some(metadata(3)), 1).await.unwrap(), [root(1)]);
}
