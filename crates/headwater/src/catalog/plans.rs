//! Shows that no statement walks through a table: in unit tests, SQLite is asked for the plan of everything that is run.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::Mutex;

use headwater_formats::digest::{Digest, Fingerprint, FingerprintPrefix};
use headwater_formats::filter::Filter;
use headwater_formats::image::{Compression, FileFormat, Image, ImageFile, ImageFiles, ImageType};
use headwater_formats::lxd::Status;
use headwater_formats::names::{AliasName, ProjectName, UpstreamName, ViewName};
use headwater_formats::timestamp::Timestamp;
use sqlx::{AssertSqlSafe, Row as _};

use super::engine::values;
use super::{
    AliasTarget, AuditQuery, Catalog, Credential, DeltaClaim, DeltaState, DeltaWish, Form, Given, GivenProduct,
    HeldNote, IdentityEdit, ImageEdit, Join, Location, NewIdentity, NewImage, OperationClass, PlanMark, Promise,
    Purpose, Retention, StoredOperation, UpstreamProtocol, UpstreamSettings, Wanted,
};
use crate::auth::{Grant, IdentityId, Manages, Role, SecretHash, Viewer};

static SEEN: Mutex<BTreeMap<String, Vec<String>>> = Mutex::new(BTreeMap::new());

/// Remembers how SQLite means to run this statement.
pub(super) async fn note(connection: &mut sqlx::SqliteConnection, sql: &str) {
    let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).fetch_all(connection).await;
    let steps = plan.unwrap().iter().map(|row| row.get::<String, _>(3)).collect();
    SEEN.lock().unwrap().insert(sql.to_owned(), steps);
}

/// Statements whose answer is the whole table, or nearly so: there are few projects, identities, views, keys and servers, a list of
/// operations is what goes on and the last hour by the index of their time, the pair that waits longest is the first in the index of those that wait, all of a project goes with it, and one look at the schema per start.
const WALKS: &[&str] = &[
    "FROM deltas d JOIN blobs tb ON",
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

/// A page may be sorted when it is of no more images than `lists::LOOKED_UP`.
const SORTED: &str = "AND r.image_id IN (";

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
            given: None,
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
    deltas(&catalog, now).await;
    delta_work(&catalog, &project, now).await;
    let fingerprint = Fingerprint::from_bytes([1; 32]);
    let edit = ImageEdit { public: Some(true), properties: Some(BTreeMap::new()), ..ImageEdit::default() };
    catalog.edit_image(&project, &fingerprint, &edit, now).await.unwrap();
    catalog.mark_used(&[(project.clone(), fingerprint)], now).await.unwrap();
    catalog.delete_image(&project, &fingerprint, now).await.unwrap();
    catalog.set_retention(&project, &Retention { keep: 1, ..Retention::default() }, now).await.unwrap();
    let kept = catalog.product_images(&project, None, 10).await.unwrap();
    catalog.prune_product(&project, &kept[0].product, |_, images| vec![images[0].fingerprint], now).await.unwrap();
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
    promises(&catalog, &project, now).await;
    catalog.last_audit().await.unwrap();
    catalog.trim_audit(now).await.unwrap();
    catalog.blobs_in_use(None, 10).await.unwrap();
    catalog.known_blobs(None, 10).await.unwrap();
    let before = now.plus_seconds(1);
    catalog.end_deltas(before).await.unwrap();
    catalog.forget_held(before).await.unwrap();
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
        let sorts =
            sql.contains("LIMIT") && !sql.contains(SORTED) && plan.iter().any(|step| step.contains("TEMP B-TREE"));
        // Images that are known by their numbers must be looked up by these: along any other index is along the whole project.
        let strays = sql.contains(SORTED)
            && plan.iter().any(|step| step.starts_with("SEARCH i ") && !step.ends_with("(rowid=?)"));
        if sorts || strays || plan.iter().any(|step| is_walk(sql, plan, step)) {
            let what = if sorts { "a page must come from an index in its order" } else { "it walks" };
            bad.push_str(&format!("\n{what}:\n{sql}\nis run as\n{plan:#?}\n"));
        }
    }
    assert!(bad.is_empty(), "{bad}");
}

/// Lists a delta to the file of image 2, which the ones of images 1 and 3 can be made into; the test deletes image 1.
async fn deltas(catalog: &Catalog, now: Timestamp) {
    let root = |number: u8| Digest::from_bytes([number, 2].repeat(16).try_into().unwrap());
    let mut tx = catalog.engine.write().await.unwrap();
    for base in [1, 3] {
        let sql = "INSERT INTO deltas (target, base, state, clients, why, attempts, asked_at, claimed_by, claimed_until) \
             VALUES ($1, $2, 'building', 1, '', 1, $3, 'test', $3)";
        tx.execute(sql, values![root(2).to_string(), root(base).to_string(), now.unix()]).await.unwrap();
    }
    tx.commit().await.unwrap();
    for base in [1, 3] {
        let file = ImageFile {
            digest: Digest::from_bytes([base, 9].repeat(16).try_into().unwrap()),
            size: 1,
            format: FileFormat::Vcdiff,
        };
        assert!(catalog.list_delta(&root(2), &root(base), &file, "test", now, || Ok(())).await.unwrap());
    }
    let bytes = Digest::from_bytes([3, 9].repeat(16).try_into().unwrap());
    for viewer in [Viewer::guest(), Viewer::operator()] {
        assert!(catalog.delta_file(&viewer, &bytes).await.unwrap().is_some());
    }
    assert_eq!(catalog.deltas_of_bytes(&bytes).await.unwrap().len(), 1);
    assert_eq!(catalog.drop_delta(&bytes, now).await.unwrap(), 1);
    let identity = IdentityId(7);
    let note = |root| HeldNote { root, identity: Some(identity), client: "a".to_owned() };
    catalog.note_held(&[note(root(1)), note(root(3)), note(root(1))], now).await.unwrap();
    assert_eq!(catalog.bases_held(identity).await.unwrap(), [root(1)]);
    assert_eq!(catalog.bases_preferred(identity).await.unwrap(), []);
    catalog.held_secret(|| Ok("secret".to_owned())).await.unwrap();
}

/// A lazy upstream promises an image, of which one file comes and goes again; then the upstream goes.
async fn promises(catalog: &Catalog, project: &ProjectName, now: Timestamp) {
    let name = UpstreamName::new("lazy").unwrap();
    let settings = UpstreamSettings { lazy: true, ..UpstreamSettings::default() };
    let protocol = UpstreamProtocol::SimpleStreams;
    catalog.create_upstream(&name, project, protocol, "https://a.example", &settings, now).await.unwrap();
    let id = catalog.upstream(&name).await.unwrap().id;
    let image = image(9, true);
    let (digests, fingerprint): (Vec<Digest>, _) =
        (image.files.iter().map(|(_, file)| file.digest).collect(), image.fingerprint);
    let promised: Vec<Promise> = digests.iter().map(|digest| Promise { digest: *digest, path: "a".into() }).collect();
    let given = Given {
        upstream: Some(id),
        product: GivenProduct { key: "a".into(), ..GivenProduct::default() },
        version: "20250101".parse().unwrap(),
        version_extra: BTreeMap::new(),
        placed: true,
    };
    let new = NewImage {
        project: project.clone(),
        image,
        aliases: Vec::new(),
        new_aliases: false,
        published_by: None,
        given: Some(given),
        repacked_from: None,
    };
    catalog.promise_images(&[new], std::slice::from_ref(&promised), now).await.unwrap();
    catalog.promise(id, &promised, now).await.unwrap();
    assert_eq!(catalog.promises(id, None, 10).await.unwrap().len(), 2);
    assert_eq!(catalog.who_promises(&digests[0]).await.unwrap().len(), 1);
    assert!(catalog.complete(project, &[fingerprint]).await.unwrap().is_empty());
    catalog.fulfil(&digests[0], now, || Ok(())).await.unwrap();
    assert!(catalog.metadata_before(&digests[1]).await.unwrap().is_some());
    catalog.use_promised(&digests, now.plus_seconds(7200)).await.unwrap();
    assert_eq!((catalog.absent(&digests).await.unwrap().len(), catalog.cached_bytes(id).await.unwrap()), (1, 1));
    let cached = catalog.cached(id, None, 10).await.unwrap();
    assert!(catalog.let_go(id, &cached[0], || Ok(())).await.unwrap());
    assert_eq!(catalog.kept(id).await.unwrap().files, 2);
    assert_eq!(catalog.delete_upstream(&name, now).await.unwrap(), 1);
}

/// Plans and builds a delta to the file of image 4, from those of images 2 and 3.
async fn delta_work(catalog: &Catalog, project: &ProjectName, now: Timestamp) {
    let root = |number: u8| Digest::from_bytes([number, 2].repeat(16).try_into().unwrap());
    let wish = |base| DeltaWish { target: root(4), base: root(base), clients: 1 };
    let (products, _) = catalog.products_to_plan(&PlanMark::new(0), 10).await.unwrap();
    assert_eq!(catalog.product_roots(&products, now).await.unwrap().len(), 1);
    assert!(!catalog.held_since(now).await.unwrap().is_empty());
    assert_eq!(catalog.products_with_roots(&[root(4)]).await.unwrap(), products);
    assert_eq!(catalog.want_deltas(&[wish(2), wish(3)], now).await.unwrap(), 2);
    assert_eq!(catalog.want_deltas(&[DeltaWish { clients: 2, ..wish(3) }], now).await.unwrap(), 0);
    let pair = catalog.claim_delta("me", now, now).await.unwrap().unwrap();
    assert!(catalog.is_delta_claimed(&pair, "me").await.unwrap());
    assert!(catalog.keep_delta_claim(&pair, "me", now).await.unwrap());
    catalog.release_delta(&pair, "me", None).await.unwrap();
    let taken = catalog.claim_this_delta(&wish(2), "me", now, now).await.unwrap();
    assert!(matches!(taken, DeltaClaim::Taken(_)));
    assert!(catalog.end_delta(&pair, "me", DeltaState::Refused, "why", now).await.unwrap());
    catalog.prefer_deltas(&[wish(3)], now).await.unwrap();
    assert!(catalog.delta_place(&pair).await.unwrap().is_some());
    assert!(!catalog.deltas(project, None, 10).await.unwrap().0.is_empty());
    let pair = catalog.claim_delta("me", now, now).await.unwrap().unwrap();
    catalog.forget_delta(&pair, "me").await.unwrap();
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
