use headwater::catalog::{AuditQuery, Catalog, CatalogError};
use headwater::openpgp::StreamKey;

use super::{Home, on_both_engines};
use crate::kit::images::minute;

on_both_engines! {
    the_first_key_signs_and_others_wait,
    of_two_first_keys_at_once_one_signs,
    a_key_is_kept_as_it_is_given,
    changes_of_keys_are_audited_without_secrets,
}

fn key(owner: &str) -> StreamKey {
    StreamKey::create(owner, minute(0)).unwrap()
}

async fn signing(catalog: &Catalog) -> Option<String> {
    let signing = catalog.signing_key().await.unwrap().map(|key| key.id);
    let listed = catalog.stream_keys().await.unwrap();
    let marked: Vec<String> = listed.iter().filter(|kept| kept.signs).map(|kept| kept.key.id.clone()).collect();
    assert_eq!(marked, Vec::from_iter(signing.clone()));
    assert!(marked.is_empty() || listed[0].signs, "it comes first");
    signing
}

async fn the_first_key_signs_and_others_wait(home: &Home) {
    let (catalog, other) = (home.open().await, home.open().await);
    assert_eq!(signing(&catalog).await, None);
    let [a, b, c] = ["a", "b", "c"].map(key);
    assert!(catalog.add_stream_key(&a, false, minute(1)).await.unwrap());
    assert!(!catalog.add_stream_key(&b, false, minute(2)).await.unwrap());
    assert!(!catalog.add_stream_key(&c, true, minute(3)).await.unwrap());
    assert_eq!(signing(&other).await.as_ref(), Some(&a.id));
    let listed: Vec<String> = other.stream_keys().await.unwrap().into_iter().map(|kept| kept.key.owner).collect();
    assert_eq!(listed, ["a", "c", "b"]);

    let again = catalog.add_stream_key(&a, true, minute(4)).await;
    assert!(matches!(again, Err(CatalogError::KeyExists(id)) if id == a.id));
    catalog.use_stream_key(&b.id, minute(5)).await.unwrap();
    catalog.use_stream_key(&b.id, minute(6)).await.unwrap();
    assert_eq!(signing(&other).await.as_ref(), Some(&b.id));
    assert!(matches!(catalog.use_stream_key("none", minute(7)).await, Err(CatalogError::NoKey(_))));
    assert_eq!(signing(&other).await.as_ref(), Some(&b.id), "still");

    catalog.delete_stream_key(&a.id, false, minute(8)).await.unwrap();
    assert!(matches!(catalog.delete_stream_key(&a.id, true, minute(9)).await, Err(CatalogError::NoKey(_))));
    let refused = catalog.delete_stream_key(&b.id, false, minute(9)).await;
    assert!(matches!(refused, Err(CatalogError::KeyInUse(id)) if id == b.id));
    catalog.delete_stream_key(&b.id, true, minute(10)).await.unwrap();
    assert_eq!(signing(&other).await, None, "another one is not taken by itself");
    assert_eq!(other.stream_keys().await.unwrap().len(), 1);
    catalog.use_stream_key(&c.id, minute(11)).await.unwrap();
    assert_eq!(signing(&other).await.as_ref(), Some(&c.id));
}

async fn of_two_first_keys_at_once_one_signs(home: &Home) {
    let (one, two) = (home.open().await, home.open().await);
    let [a, b] = ["a", "b"].map(key);
    let (of_one, of_two) =
        tokio::join!(one.add_stream_key(&a, false, minute(0)), two.add_stream_key(&b, false, minute(0)));
    assert!(of_one.unwrap() ^ of_two.unwrap());
    assert!(signing(&one).await.is_some());
}

async fn a_key_is_kept_as_it_is_given(home: &Home) {
    let catalog = home.open().await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/openpgp/testdata/p256-thirty-days.asc");
    let at = headwater_formats::timestamp::Timestamp::parse_rfc3339("2025-01-02T00:00:00Z").unwrap();
    let ends = StreamKey::import(&std::fs::read(path).unwrap(), None, at).unwrap();
    assert!(ends.expires_at.is_some());
    let revision = catalog.revision().await.unwrap();
    for key in [key("Zürich <a@b>"), ends] {
        catalog.add_stream_key(&key, false, minute(1)).await.unwrap();
        catalog.use_stream_key(&key.id, minute(1)).await.unwrap();
        assert_eq!(catalog.signing_key().await.unwrap(), Some(key));
    }
    assert_eq!(catalog.revision().await.unwrap(), revision, "documents are the same");
}

async fn changes_of_keys_are_audited_without_secrets(home: &Home) {
    let catalog = home.open().await;
    let [a, b] = ["a", "b"].map(key);
    catalog.add_stream_key(&a, false, minute(1)).await.unwrap();
    catalog.add_stream_key(&b, true, minute(2)).await.unwrap();
    catalog.use_stream_key(&b.id, minute(3)).await.unwrap();
    catalog.delete_stream_key(&a.id, false, minute(4)).await.unwrap();
    let entries = catalog.audit(&AuditQuery::default(), 100).await.unwrap();
    let said: Vec<(&str, &str)> = entries.iter().map(|entry| (entry.action.as_str(), entry.subject.as_str())).collect();
    let wanted = [
        ("stream-key-created", &*a.id),
        ("stream-key-imported", &*b.id),
        ("stream-key-used", &*b.id),
        ("stream-key-deleted", &*a.id),
    ];
    let in_order = said == wanted || said.iter().rev().eq(&wanted);
    assert!(in_order, "{said:?}");
    let text = format!("{entries:?}");
    assert!(!text.contains(&a.secret) && !text.contains(&b.secret), "{text}");
}
