//! Shows that no statement walks through a table: in unit tests, SQLite is asked for the plan of everything that is run.

use std::collections::BTreeMap;
use std::sync::Mutex;

use headwater_formats::digest::{Digest, Fingerprint, FingerprintPrefix};
use headwater_formats::image::{Compression, FileFormat, Image, ImageFile, ImageFiles, ImageType};
use headwater_formats::names::{AliasName, ProjectName};
use headwater_formats::timestamp::Timestamp;
use sqlx::{AssertSqlSafe, Row as _};

use super::{AliasTarget, AuditQuery, Catalog, ImageEdit, Location, NewImage, Wanted};
use crate::auth::Viewer;

static SEEN: Mutex<BTreeMap<String, Vec<String>>> = Mutex::new(BTreeMap::new());

/// Remembers how SQLite means to run this statement.
pub(super) async fn note(connection: &mut sqlx::SqliteConnection, sql: &str) {
    let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).fetch_all(connection).await;
    let steps = plan.unwrap().iter().map(|row| row.get::<String, _>(3)).collect();
    SEEN.lock().unwrap().insert(sql.to_owned(), steps);
}

/// Statements whose answer is the whole table: there are few projects, and one look at the schema per start.
const WALKS: &[&str] = &["FROM projects p", "sqlite_master", "schema_migrations"];

fn image(number: u8, public: bool) -> Image {
    let file = |part: u8, format| ImageFile {
        digest: Digest::from_bytes([number, part].repeat(16).try_into().unwrap()),
        size: 1,
        format,
    };
    let properties = [("os", "Debian"), ("release", "12")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    Image {
        fingerprint: Fingerprint::from_bytes([number; 32]),
        image_type: ImageType::Container,
        architecture: headwater_formats::arch::Architecture::X86_64,
        files: ImageFiles::Split {
            metadata: file(1, FileFormat::Tar(Compression::Xz)),
            root: file(2, FileFormat::Squashfs),
        },
        filename: "lxd.tar.xz".to_owned(),
        created_at: Timestamp::EPOCH,
        uploaded_at: Timestamp::EPOCH,
        public,
        expires_at: None,
        last_used_at: None,
        auto_update: false,
        properties: properties.into(),
        profiles: Vec::new(),
        update_source: None,
    }
}

#[tokio::test]
async fn no_statement_walks_through_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&Location::Sqlite(folder.path().join("catalog.db"))).await.unwrap();
    let now = Timestamp::from_unix(1_700_000_000).unwrap();
    let project = ProjectName::default_project();
    let other = ProjectName::new("other").unwrap();
    let alias = AliasName::new("a/arm64").unwrap();
    catalog.create_project(&other, "", now).await.unwrap();
    for number in 1..=4 {
        let new =
            NewImage { project: project.clone(), image: image(number, number % 2 == 0), aliases: vec![alias.clone()] };
        catalog.commit_image(&new, now, || Ok(())).await.unwrap();
    }
    let follows = AliasTarget::Follows { os: "debian".into(), release: "12".into(), variant: "default".into() };
    let follow = AliasName::new("follow").unwrap();
    catalog.create_alias(&project, &follow, "", &follows, now).await.unwrap();
    for viewer in [Viewer::guest(), Viewer::operator(), Viewer::granted([project.clone(), other.clone()])] {
        catalog.projects(&viewer).await.unwrap();
        catalog.project(&viewer, &project).await.unwrap();
        catalog.image(&viewer, &project, &"0".parse::<FingerprintPrefix>().unwrap()).await.unwrap();
        catalog.images(&viewer, &project, None, 10).await.unwrap();
        catalog.products(&viewer, &project, None, 10).await.unwrap();
        catalog.aliases(&viewer, &project, None, 10).await.unwrap();
        for name in ["a/arm64", "follow", "debian/12", "debian/12/amd64", "none"] {
            let name = AliasName::new(name).unwrap();
            catalog.resolve_alias(&viewer, &project, &name, &Wanted::default()).await.unwrap();
        }
        catalog.file(&viewer, &Digest::from_bytes([1; 32])).await.unwrap();
    }
    let fingerprint = Fingerprint::from_bytes([1; 32]);
    let edit = ImageEdit { public: Some(true), properties: Some(BTreeMap::new()), ..ImageEdit::default() };
    catalog.edit_image(&project, &fingerprint, &edit, now).await.unwrap();
    catalog.mark_used(&[(project.clone(), fingerprint)], now).await.unwrap();
    catalog.delete_image(&project, &fingerprint, now).await.unwrap();
    catalog.delete_alias(&project, &follow, now).await.unwrap();
    catalog.edit_project(&other, "ours", now).await.unwrap();
    let renamed = ProjectName::new("renamed").unwrap();
    catalog.rename_project(&other, &renamed, now).await.unwrap();
    catalog.fingerprints(&Viewer::guest(), &project, 10).await.unwrap();
    catalog.delete_project(&renamed, now).await.unwrap();
    let text = || Some("text".to_owned());
    let narrow = AuditQuery {
        after: Some(1),
        since: Some(now),
        until: Some(now),
        project: Some(project.clone()),
        subject: text(),
        actor: text(),
    };
    for query in [AuditQuery::default(), narrow] {
        catalog.audit(&query, 10).await.unwrap();
        catalog.audit_end(&query, 10).await.unwrap();
    }
    catalog.last_audit().await.unwrap();
    catalog.trim_audit(now).await.unwrap();
    catalog.blobs_in_use(None, 10).await.unwrap();
    catalog.known_blobs(None, 10).await.unwrap();
    let before = now.plus_seconds(1);
    let gone = catalog.retired(before, 10).await.unwrap()[0].digest;
    assert!(catalog.forget_blob(&gone, before, || Ok(())).await.unwrap());
    assert!(catalog.remove_unknown_blob(&gone, || Ok(())).await.unwrap());
    catalog.end_grace(before).await.unwrap();
    catalog.set_setting("key", "value").await.unwrap();
    catalog.setting("key").await.unwrap();
    catalog.revision().await.unwrap();
    catalog.close().await;

    let seen = SEEN.lock().unwrap();
    assert!(seen.len() > 50, "only {} statements were seen", seen.len());
    for (sql, plan) in seen.iter().filter(|(sql, _)| !WALKS.iter().any(|walk| sql.contains(walk))) {
        let bad = plan.iter().find(|step| step.starts_with("SCAN") && *step != "SCAN CONSTANT ROW");
        assert_eq!(bad, None, "{sql}\nis run as\n{plan:#?}");
        if sql.contains("LIMIT") {
            let sorted = plan.iter().find(|step| step.contains("TEMP B-TREE"));
            assert_eq!(sorted, None, "a page must come from an index in its order:\n{sql}\nis run as\n{plan:#?}");
        }
    }
}
