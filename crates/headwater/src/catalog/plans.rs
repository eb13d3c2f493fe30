//! Shows that no statement walks through a table: in unit tests, SQLite is asked for the plan of everything that is run.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::Mutex;

use headwater_formats::digest::{Digest, Fingerprint, FingerprintPrefix};
use headwater_formats::filter::Filter;
use headwater_formats::image::{Compression, FileFormat, Image, ImageFile, ImageFiles, ImageType};
use headwater_formats::lxd::Status;
use headwater_formats::names::{AliasName, ProjectName, ViewName};
use headwater_formats::timestamp::Timestamp;
use sqlx::{AssertSqlSafe, Row as _};

use super::{
    AliasTarget, AuditQuery, Catalog, Credential, Form, IdentityEdit, ImageEdit, Join, Location, NewIdentity, NewImage,
    OperationClass, Purpose, StoredOperation, Wanted,
};
use crate::auth::{Grant, Manages, Role, SecretHash, Viewer};

static SEEN: Mutex<BTreeMap<String, Vec<String>>> = Mutex::new(BTreeMap::new());

/// Remembers how SQLite means to run this statement.
pub(super) async fn note(connection: &mut sqlx::SqliteConnection, sql: &str) {
    let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).fetch_all(connection).await;
    let steps = plan.unwrap().iter().map(|row| row.get::<String, _>(3)).collect();
    SEEN.lock().unwrap().insert(sql.to_owned(), steps);
}

/// Statements whose answer is the whole table, or nearly so: there are few projects, identities, views, keys and servers, a list of
/// operations is what goes on and the last hour by the index of their time, all of a project goes with it, and one look at the schema per start.
const WALKS: &[&str] = &[
    "FROM projects p",
    "DELETE FROM projects",
    "FROM servers",
    "UPDATE operations SET project",
    "FROM address_keys",
    "may_cancel, error, server, identity, purpose, expires_at FROM operations WHERE status ",
    "sqlite_master",
    "schema_migrations",
    "ORDER BY n.kind, n.name",
    "ORDER BY v.name",
];

/// Whether a step walks through a table or, if that is not for a page, through all that a project has in it; and not through
/// constants, a list that is a parameter, or what a subselect has found.
fn is_walk(sql: &str, plan: &[String], step: &str) -> bool {
    let all = ["(project_id=?)", "(project_id=? AND public=?)"].iter().any(|all| step.contains(all));
    if step.starts_with("SEARCH ") && all && !sql.contains("LIMIT") {
        return true;
    }
    let Some(what) = step.strip_prefix("SCAN ") else { return false };
    let found = ["CO-ROUTINE", "MATERIALIZE"].iter().any(|how| plan.contains(&format!("{how} {what}")));
    !(found
        || what == "CONSTANT ROW"
        || what.ends_with("-ROW VALUES CLAUSE")
        || what.starts_with("json_each VIRTUAL TABLE"))
}

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

async fn operations(catalog: &Catalog, project: &ProjectName, now: Timestamp) {
    let fingerprint = Fingerprint::from_bytes([2; 32]);
    let hash = SecretHash::of("secret");
    let join = Join { name: "a".into(), description: String::new(), administrator: true, grants: Vec::new() };
    for (id, purpose) in [("1", None), ("2", Some(Purpose::Download { fingerprint })), ("3", Some(Purpose::Join(join)))]
    {
        let mut operation = StoredOperation {
            id: id.into(),
            change: 0,
            class: if purpose.is_none() { OperationClass::Task } else { OperationClass::Token },
            description: String::new(),
            project: project.clone(),
            created_at: now,
            updated_at: now,
            status: Status::Running,
            resources: BTreeMap::new(),
            metadata: serde_json::Map::new(),
            may_cancel: true,
            error: String::new(),
            server: "a".into(),
            identity: String::new(),
            purpose,
            expires_at: None,
        };
        catalog.add_operation(&operation, Some(&SecretHash::of(id))).await.unwrap();
        operation.error = "why".into();
        catalog.update_operation(&operation).await.unwrap();
    }
    catalog.operation("1").await.unwrap();
    catalog.is_operation_secret("1", &hash).await.unwrap();
    catalog.operations(None).await.unwrap();
    catalog.operations(Some(project)).await.unwrap();
    catalog.operations_changed(1, 10).await.unwrap();
    catalog.last_operation_change().await.unwrap();
    catalog.project_of_secret(&SecretHash::of("2")).await.unwrap();
    assert!(catalog.use_download_secret(project, &fingerprint, &SecretHash::of("2"), now).await.unwrap());
    assert!(catalog.take_join_token(&SecretHash::of("3"), now).await.unwrap().is_some());
    catalog.push_secret(project, &fingerprint, &hash, now).await.unwrap();
    catalog.end_push_token(&hash, now).await.unwrap();
    let later = now.plus_seconds(1);
    catalog.server_seen("b", later, later).await.unwrap();
    assert_eq!(catalog.forget_operations(later.plus_seconds(1), later).await.unwrap(), 3);
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
        let new = NewImage {
            project: project.clone(),
            image: image(number, number % 2 == 0),
            aliases: vec![alias.clone().into()],
            new_aliases: false,
            published_by: None,
            repacked_from: None,
        };
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
        catalog.image_text(&viewer, &project, &"0".parse::<FingerprintPrefix>().unwrap()).await.unwrap();
        for filter in ["", "properties.os eq debian", "public eq true", "properties.os eq d.bian", "type eq ........."]
        {
            for form in [Form::Object, Form::Fingerprint { before: "<".to_owned(), after: ">".to_owned() }] {
                let filter = Filter::parse(filter).unwrap();
                catalog.image_list(&viewer, &project, filter, form).next().await.unwrap();
            }
        }
        catalog.products(&viewer, &project, None, 10).await.unwrap();
        let named = headwater_formats::view::View::from_str("alias=a,follow,debian/12").unwrap().names();
        for (since, among) in [(None, None), (Some(0), None), (None, named.as_ref())] {
            let mut changes = catalog.products_changed(&viewer, &project, since, among).await.unwrap();
            assert!(!changes.next(10).await.unwrap().is_empty());
        }
        let keys = catalog.products_named(&viewer, &project, &named.unwrap()).await.unwrap();
        assert_eq!(keys.len(), 1);
        catalog.products_at(&viewer, &project, &Vec::from_iter(keys)).await.unwrap();
        catalog.aliases(&viewer, &project, None, 10).await.unwrap();
        for name in ["a/arm64", "follow", "debian/12", "debian/12/amd64", "none"] {
            let name = AliasName::new(name).unwrap();
            catalog.resolve_alias(&viewer, &project, &name, &Wanted::default()).await.unwrap();
        }
        catalog.file(&viewer, &Digest::from_bytes([1; 32])).await.unwrap();
        let root = Digest::from_bytes([1, 2].repeat(16).try_into().unwrap());
        catalog.has_product_with_file(&viewer, &project, &root, |_| false).await.unwrap();
    }
    let fingerprint = Fingerprint::from_bytes([1; 32]);
    let edit = ImageEdit { public: Some(true), properties: Some(BTreeMap::new()), ..ImageEdit::default() };
    catalog.edit_image(&project, &fingerprint, &edit, now).await.unwrap();
    catalog.mark_used(&[(project.clone(), fingerprint)], now).await.unwrap();
    catalog.delete_image(&project, &fingerprint, now).await.unwrap();
    catalog.delete_alias(&project, &follow, now).await.unwrap();
    identities(&catalog, &other, now).await;
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
    operations(&catalog, &project, now).await;
    catalog.close().await;

    let seen = SEEN.lock().unwrap();
    assert!(seen.len() > 50, "only {} statements were seen", seen.len());
    let mut bad = String::new();
    for (sql, plan) in seen.iter().filter(|(sql, _)| !WALKS.iter().any(|walk| sql.contains(walk))) {
        let sorts = sql.contains("LIMIT") && plan.iter().any(|step| step.contains("TEMP B-TREE"));
        if sorts || plan.iter().any(|step| is_walk(sql, plan, step)) {
            let what = if sorts { "a page must come from an index in its order" } else { "it walks" };
            bad.push_str(&format!("\n{what}:\n{sql}\nis run as\n{plan:#?}\n"));
        }
    }
    assert!(bad.is_empty(), "{bad}");
}

async fn identities(catalog: &Catalog, project: &ProjectName, now: Timestamp) {
    let name = ViewName::new("view").unwrap();
    catalog.create_view(&name, project, &"arch=amd64".parse().unwrap(), "", now).await.unwrap();
    catalog.saved_views().await.unwrap();
    catalog.saved_view(&name).await.unwrap();
    let hash = SecretHash::of("secret");
    let grants = vec![Grant { project: project.clone(), role: Role::Viewer, manages: Manages::Own }];
    let new = NewIdentity {
        credential: Credential::Token { prefix: "hw_secret".to_owned(), hash: hash.clone() },
        name: "ci".to_owned(),
        description: String::new(),
        administrator: false,
        grants: grants.clone(),
        view: Some(name.clone()),
        expires_at: None,
    };
    let id = catalog.add_identity(&new, now).await.unwrap().id;
    catalog.identity_by_token(&hash, now).await.unwrap();
    catalog.identity_by_certificate("ab", now).await.unwrap();
    catalog.identity(id, now).await.unwrap();
    catalog.identities().await.unwrap();
    let edit = IdentityEdit {
        grants: Some(grants),
        credential: Some(Credential::Token { prefix: "hw_other".to_owned(), hash }),
        ..IdentityEdit::default()
    };
    catalog.edit_identity(id, &edit, now).await.unwrap();
    catalog.mark_identities_seen(&[id], now).await.unwrap();
    catalog.remove_identity(id, now).await.unwrap();
    catalog.delete_view(&name, now).await.unwrap();
}
