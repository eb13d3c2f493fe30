use headwater_formats::image::ImageFiles;

use super::kit::*;
use crate::publish::{Damage, Verified, VerifyEvent};

/// What was told, as `alias: file damage`.
async fn verify(room: &Room, remove_damaged: bool) -> (Verified, Vec<String>) {
    let mut told = Vec::new();
    let totals = room
        .app
        .publisher
        .verify(remove_damaged, at(NOW), &mut |event| {
            if let VerifyEvent::Damaged { file, damage, image } = event {
                told.push(format!("{} {} {damage}", image.image.property("team").unwrap_or("?"), file.digest));
            }
        })
        .await
        .unwrap();
    told.sort();
    (totals, told)
}

#[tokio::test]
async fn damage_is_told_by_the_image_that_has_it() {
    let room = Room::new().await;
    let meta = metadata("20250601_07:42");
    let publish = async |root: Vec<u8>, team: &str| {
        let mut request = request(meta.clone(), Some(root));
        request.listing.properties.insert("team".to_owned(), team.to_owned());
        room.publish(request).await.unwrap().image.image
    };
    let (a, b, c) = (root("a"), root("b"), qcow2(3));
    publish(a.clone(), "one").await;
    publish(b.clone(), "two").await;
    publish(c.clone(), "three").await;
    let (totals, told) = verify(&room, false).await;
    assert_eq!(told, [""; 0]);
    let bytes = (meta.len() + a.len() + b.len() + c.len()) as u64;
    assert_eq!(totals, Verified { files: 4, bytes, damaged: 0, deltas: 0, promised: 0, removed: 0 });

    let mut flipped = a.clone();
    flipped[20] ^= 1;
    std::fs::write(room.blob_path(&digest(&a)), &flipped).unwrap();
    std::fs::write(room.blob_path(&digest(&b)), b"short").unwrap();
    std::fs::remove_file(room.blob_path(&digest(&c))).unwrap();
    let (totals, told) = verify(&room, true).await;
    assert_eq!((totals.damaged, totals.removed), (3, 2));
    assert_eq!(
        told,
        [
            format!("one {} is damaged: its SHA-256 is {}", digest(&a), digest(&flipped)),
            format!("three {} is missing", digest(&c)),
            format!("two {} is damaged: it has 5 bytes", digest(&b)),
        ]
    );

    for root in [a, b, c] {
        let again = room.publish(request(meta.clone(), Some(root))).await.unwrap();
        assert!(again.already, "publishing the same bytes heals the image and changes no row");
    }
    assert_eq!(
        verify(&room, false).await,
        (Verified { files: 4, bytes, damaged: 0, deltas: 0, promised: 0, removed: 0 }, vec![])
    );
}

#[tokio::test]
async fn a_damaged_metadata_file_is_told_for_every_image_that_shares_it() {
    let room = Room::new().await;
    let meta = metadata("20250601_07:42");
    for number in 0..20 {
        let mut request = request(meta.clone(), Some(root(&number.to_string())));
        request.listing.properties.insert("team".to_owned(), format!("{number:02}"));
        room.publish(request).await.unwrap();
    }
    let mut flipped = meta.clone();
    flipped[30] ^= 1;
    std::fs::write(room.blob_path(&digest(&meta)), &flipped).unwrap();
    let (totals, told) = verify(&room, false).await;
    assert_eq!(totals.damaged, 21, "the file, and twenty fingerprints that do not come out any more");
    assert_eq!(told.len(), 40);
    assert!(told[0].starts_with("00 "), "{}", told[0]);
}

#[tokio::test]
async fn a_root_that_many_images_share_is_checked_for_each() {
    let room = Room::new().await;
    let shared = root("shared");
    let mut first = None;
    for number in 0..20 {
        let meta = metadata(&format!("202506{:02}_07:42", number + 1));
        let image = room.publish(request(meta, Some(shared.clone()))).await.unwrap().image.image;
        first.get_or_insert(image);
    }
    let (totals, told) = verify(&room, false).await;
    assert_eq!((totals.files, totals.damaged), (21, 0), "{told:?}");
    let image = first.unwrap();
    let ImageFiles::Split { root, .. } = image.files else { panic!("split") };
    let damage = Damage::Fingerprint { listed: image.fingerprint, computed: root.digest.as_unified_fingerprint() };
    assert!(damage.to_string().ends_with(&root.digest.to_string()), "{damage}");
}
