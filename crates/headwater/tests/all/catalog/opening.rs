use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use headwater::auth::Viewer;
use headwater::catalog::{Catalog, CatalogError, Location};
use sqlx::Connection as _;

use super::{Home, commit, on_both_engines};
use crate::kit::behind;
use crate::kit::images::{image, minute, project};
use crate::kit::other_user;

on_both_engines! {
    what_was_written_is_there_after_opening_again,
    many_can_open_an_empty_database_at_once,
    a_newer_schema_is_refused,
    a_new_catalog_has_the_default_project,
}

async fn what_was_written_is_there_after_opening_again(home: &Home) {
    let catalog = home.open().await;
    let stored = commit(&catalog, "default", image(1), &["one"]).await;
    let revision = catalog.revision().await.unwrap();
    catalog.close().await;
    let catalog = home.open().await;
    assert_eq!(catalog.revision().await.unwrap(), revision);
    assert_eq!(catalog.images(&Viewer::guest(), &project("default"), None, 9).await.unwrap(), [stored]);
}

async fn many_can_open_an_empty_database_at_once(home: &Home) {
    let mut openers = Vec::new();
    for _ in 0..10 {
        let location = home.location.clone();
        openers.push(tokio::spawn(async move { Catalog::open(&location).await.unwrap().revision().await.unwrap() }));
    }
    for opener in openers {
        assert_eq!(opener.await.unwrap().number, 0);
    }
}

/// Runs a statement behind the catalog's back.
pub(super) async fn behind(home: &Home, sql: &str) {
    behind::run(&home.location, sql).await;
}

async fn a_newer_schema_is_refused(home: &Home) {
    home.open().await.close().await;
    behind(home, "INSERT INTO schema_migrations (number) VALUES (4711)").await;
    let refused = Catalog::open(&home.location).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the catalog has schema 4711, this program knows up to 12; start a newer headwater, or restore a backup made \
         before the upgrade"
    );
    behind(home, "DELETE FROM schema_migrations WHERE number = 4711").await;
    home.open().await;
}

async fn a_new_catalog_has_the_default_project(home: &Home) {
    let catalog = home.open().await;
    let projects = catalog.projects(&Viewer::guest()).await.unwrap();
    assert_eq!(projects.len(), 1);
    assert_eq!((projects[0].name.as_str(), projects[0].images), ("default", 0));
    assert_eq!(catalog.images(&Viewer::guest(), &project("default"), None, 9).await.unwrap(), []);
}

async fn refused(path: &Path) -> String {
    Catalog::open(&Location::Sqlite(path.to_owned())).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_file_is_for_its_owner_only() {
    let home = Home::sqlite().await;
    let catalog = home.open().await;
    commit(&catalog, "default", image(1), &[]).await;
    let Location::Sqlite(path) = &home.location else { panic!() };
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap().flatten() {
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
}

#[tokio::test]
async fn files_that_are_no_catalog_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    std::fs::write(&path, "This is a text. ".repeat(1000)).unwrap();
    assert_eq!(
        refused(&path).await,
        "the catalog's database is damaged (file is not a database); stop headwater, keep a copy of the file, and \
         restore a backup"
    );
    assert_eq!(std::fs::read(&path).unwrap(), "This is a text. ".repeat(1000).as_bytes());

    let other = folder.path().join("other.db");
    std::fs::write(&other, "").unwrap();
    let mut connection = sqlx::SqliteConnection::connect(other.to_str().unwrap()).await.unwrap();
    sqlx::query("CREATE TABLE songs (title TEXT)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    assert_eq!(
        refused(&other).await,
        "the catalog cannot be opened: the file is the database of another program; choose another data folder"
    );
    let missing = refused(&folder.path().join("no/such/catalog.db")).await;
    assert_eq!(
        missing,
        "the catalog cannot be opened: its folder does not exist; check that its folder exists and may be written to"
    );
}

#[tokio::test]
async fn a_damaged_file_is_told_apart_from_an_empty_answer() {
    let home = Home::sqlite().await;
    let catalog = home.open().await;
    for number in 0..200 {
        commit(&catalog, "default", image(number), &[]).await;
    }
    catalog.close().await;
    let Location::Sqlite(path) = &home.location else { panic!() };
    let mut bytes = std::fs::read(path).unwrap();
    let schema = 4096 * 40;
    bytes[schema..].fill(0xa5);
    std::fs::write(path, bytes).unwrap();
    let failed = match Catalog::open(&home.location).await {
        Err(error) => error,
        Ok(catalog) => catalog.products(&Viewer::operator(), &project("default"), None, 999).await.unwrap_err(),
    };
    assert!(matches!(failed, CatalogError::Damaged(_)), "{failed:?}");
}

#[tokio::test]
async fn addresses_that_lead_nowhere_say_so() {
    let said = |error: CatalogError| error.to_string();
    let no_address = Catalog::open(&Location::Postgres("nonsense".into())).await.unwrap_err();
    assert!(said(no_address).contains("write it as postgres://USER:PASSWORD@HOST/DATABASE"));
    let folder = tempfile::tempdir().unwrap();
    let url = format!("postgres://nobody@localhost/none?host={}", folder.path().display());
    let began = std::time::Instant::now();
    let no_server = said(Catalog::open(&Location::Postgres(url)).await.unwrap_err());
    assert!(no_server.contains("its server cannot be reached"), "{no_server}");
    assert!(began.elapsed().as_secs() < 20, "at once, not after a long wait");
    let Location::Postgres(url) = Home::postgres().await.location else { panic!() };
    let no_database = url.replace("/test_", "/missing_");
    let no_database = said(Catalog::open(&Location::Postgres(no_database)).await.unwrap_err());
    assert!(no_database.contains("does not exist"), "{no_database}");
}

#[tokio::test]
async fn a_second_writer_waits_for_the_first() {
    let home = Home::sqlite().await;
    let catalog = home.open().await;
    let Location::Sqlite(path) = &home.location else { panic!() };
    let mut other = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let writing = tokio::spawn({
        let catalog = catalog.clone();
        async move { catalog.create_project(&project("late"), "", minute(1)).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!writing.is_finished(), "it waits");
    assert_eq!(catalog.projects(&Viewer::operator()).await.unwrap().len(), 1, "and readers do not");
    sqlx::query("COMMIT").execute(&mut other).await.unwrap();
    writing.await.unwrap().unwrap();
    assert_eq!(catalog.projects(&Viewer::operator()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn where_nothing_can_be_written_there_is_still_reading() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let catalog = Catalog::open(&Location::Sqlite(path.clone())).await.unwrap();
    commit(&catalog, "default", image(1), &["one"]).await;
    catalog.close().await;
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(&path, 0o444);
    mode(folder.path(), 0o555);
    match other_user::when_root(&["nobody"]) {
        Some(user) => {
            let path = folder.path().to_owned();
            let test = "catalog::opening::reading_without_permission_to_write";
            tokio::task::spawn_blocking(move || other_user::run_test(&user, test, &path)).await.unwrap();
        }
        None => only_reads(folder.path()).await,
    }
    let mut names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["catalog.db", "catalog.db-mark"], "the writer's mark; readers left nothing behind");
    mode(folder.path(), 0o755);
}

#[tokio::test]
#[ignore = "run by the test above, as another user"]
async fn reading_without_permission_to_write() {
    let folder = std::env::var("HEADWATER_TEST_FOLDER").expect("it is run by another test");
    only_reads(Path::new(&folder)).await;
}

async fn only_reads(folder: &Path) {
    let catalog = Catalog::open(&Location::Sqlite(folder.join("catalog.db"))).await.unwrap();
    let images = catalog.images(&Viewer::operator(), &project("default"), None, 9).await.unwrap();
    assert_eq!(images.len(), 1);
    let refusals = [
        catalog.create_project(&project("new"), "", minute(1)).await,
        catalog.delete_image(&project("default"), &image(1).fingerprint, minute(1)).await,
        catalog.set_setting("key", "value").await,
    ];
    for refusal in refusals {
        assert_eq!(
            refusal.unwrap_err().to_string(),
            "the catalog cannot be written: this user may not write to the file or its folder; it can only be read"
        );
    }
    catalog.close().await;
    assert_eq!(
        refused(&folder.join("new.db")).await,
        "the catalog cannot be opened: this user may not write to the file or its folder; check that its folder exists \
         and may be written to"
    );
}
