//! Lists of images are joined from texts that every write keeps up: they have to say what the rows say, whatever happened.

use std::collections::BTreeMap;

use headwater::auth::Viewer;
use headwater::catalog::{
    AliasEdit, AliasTarget, Catalog, CatalogError, Committed, Form, Found, ImageEdit, Location, StoredImage,
};
use headwater_formats::arch::Architecture;
use headwater_formats::filter::{Filter, LONGEST_WORD};
use headwater_formats::image::Image;
use headwater_formats::lxd;
use headwater_formats::view::View;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::opening::behind;
use super::{Home, commit, on_both_engines};
use crate::kit::images::{Change as _, alias, image, minute, new, project};

on_both_engines! {
    an_older_catalog_is_filled_when_it_is_opened,
    a_catalog_without_words_is_filled_when_it_is_opened,
    random_changes_leave_lists_that_are_right,
    random_filters_find_what_passes,
    a_pattern_of_dots_does_not_look_at_all_images,
    images_that_were_published_together_are_found_among_one_another,
    names_that_a_hand_made_alias_hides_come_back,
    pages_are_bounded_by_their_bytes,
    changes_between_pages_neither_double_nor_lose_an_image,
    a_renamed_project_ends_a_list_with_an_error,
}

fn object(stored: &StoredImage) -> String {
    let names = stored.aliases.iter();
    let names = names.map(|alias| lxd::AliasName { name: alias.name.as_str(), description: &alias.description });
    serde_json::to_string(&lxd::Image::new(&stored.image, stored.project.as_str(), names.collect())).unwrap()
}

fn parsed(filter: &str) -> Filter {
    Filter::parse(filter).unwrap()
}

/// All pages of a list, and how many there were.
async fn listed(catalog: &Catalog, viewer: &Viewer, name: &str, filter: &str, form: Form) -> (Vec<String>, usize) {
    let mut list = catalog.image_list(viewer, &project(name), parsed(filter), form);
    let (mut texts, mut pages) = (Vec::new(), 0);
    loop {
        let page = list.next().await.unwrap();
        pages += 1;
        if !page.text.is_empty() {
            texts.push(page.text);
        }
        if !page.more {
            return (texts, pages);
        }
    }
}

/// Asserts that the list with this filter is what is rendered from the rows.
async fn agrees(catalog: &Catalog, viewer: &Viewer, name: &str, filter: &str, label: &str) {
    let stored = match catalog.images(viewer, &project(name), None, 10_000).await {
        Err(CatalogError::NoProject(_)) => {
            let mut list = catalog.image_list(viewer, &project(name), parsed(filter), Form::Object);
            assert!(matches!(list.next().await, Err(CatalogError::NoProject(_))), "{label}: {filter}");
            return;
        }
        stored => stored.unwrap(),
    };
    let passes = parsed(filter);
    let stored: Vec<_> = stored.iter().filter(|one| passes.matches_image(&one.image, name)).collect();
    let expected: Vec<String> = stored.iter().map(|stored| object(stored)).collect();
    let (found, _) = listed(catalog, viewer, name, filter, Form::Object).await;
    assert_eq!(found.join(","), expected.join(","), "{label}: {viewer:?} in {name}, {filter:?}");
    let form = Form::Fingerprint { before: "<".to_owned(), after: ">".to_owned() };
    let (found, _) = listed(catalog, viewer, name, filter, form).await;
    let expected: Vec<String> = stored.iter().map(|stored| format!("<{}>", stored.image.fingerprint)).collect();
    assert_eq!(found.join(","), expected.join(","), "{label}: {viewer:?} in {name}, {filter:?}");
}

fn viewers() -> [Viewer; 3] {
    [Viewer::guest(), Viewer::granted([project("team")]), Viewer::operator()]
}

/// Asserts that all that is kept for lists is what the rows say.
pub(super) async fn all_agree(home: &Home, catalog: &Catalog, projects: &[&str], label: &str) {
    let mut terms = 0;
    let mut words = std::collections::BTreeSet::new();
    for viewer in viewers() {
        for name in projects {
            agrees(catalog, &viewer, name, "", label).await;
            let Ok(stored) = catalog.images(&viewer, &project(name), None, 10_000).await else { continue };
            for one in &stored {
                let found = catalog.image_text(&viewer, &project(name), &one.image.fingerprint.into()).await.unwrap();
                let Found::One(text) = found else { panic!("{label}: {} is not found", one.image.fingerprint) };
                assert_eq!(text.json, object(one), "{label}");
            }
            if viewer.private_projects().is_none() {
                terms += stored.iter().map(|one| one.image.properties.len() + 3).sum::<usize>();
                for image in stored.iter().map(|one| &one.image) {
                    let properties =
                        image.properties.iter().map(|(key, value)| (format!("properties.{key}"), value.as_str()));
                    let own = [("type", image.image_type.as_str()), ("architecture", image.architecture.name())];
                    let all = properties.chain(own.map(|(key, value)| (key.to_owned(), value)));
                    let all = all.map(|(key, value)| (*name, key, value.to_lowercase()));
                    words.extend(all.filter(|(_, _, word)| word.chars().count() <= LONGEST_WORD));
                }
                for key in ["os", "release", "serial"] {
                    let values = stored.iter().filter_map(|one| one.image.properties.get(key));
                    for value in values.collect::<std::collections::BTreeSet<_>>() {
                        agrees(catalog, &viewer, name, &format!("properties.{key} eq \"{value}\""), label).await;
                    }
                }
            }
        }
    }
    assert_eq!(number(home, "SELECT COUNT(*) FROM image_terms").await, terms as i64, "{label}: no term too many");
    let listed = number(home, "SELECT COUNT(*) FROM words").await;
    assert_eq!(listed, words.len() as i64, "{label}: no word too many: {words:?}");
}

async fn number(home: &Home, sql: &str) -> i64 {
    let sql = AssertSqlSafe(sql.to_owned());
    match &home.location {
        Location::Sqlite(path) => {
            let mut connection = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
            sqlx::query(sql).fetch_one(&mut connection).await.unwrap().get(0)
        }
        Location::Postgres(url) => {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            sqlx::query(sql).fetch_one(&mut connection).await.unwrap().get(0)
        }
    }
}

/// A catalog as the first release left it, with 300 images in two projects.
async fn older(home: &Home) {
    const SQLITE: [&str; 2] = [
        include_str!("../../../../../migrations/sqlite/0001_catalog.sql"),
        include_str!("../../../../../migrations/sqlite/0002_identities.sql"),
    ];
    const POSTGRES: [&str; 2] = [
        include_str!("../../../../../migrations/postgres/0001_catalog.sql"),
        include_str!("../../../../../migrations/postgres/0002_identities.sql"),
    ];
    let mut rows = "CREATE TABLE schema_migrations (number BIGINT PRIMARY KEY); \
         INSERT INTO schema_migrations (number) VALUES (1), (2); \
         INSERT INTO projects (name, description, created_at) VALUES ('team', '', 0);"
        .to_owned();
    for name in PROJECTS {
        let project = format!("(SELECT id FROM projects WHERE name = '{name}')");
        let product = format!("(SELECT id FROM products WHERE project_id = {project})");
        rows += &format!(
            "INSERT INTO products (project_id, key, os, release, variant, architecture) \
             VALUES ({project}, 'debian:bookworm:amd64:default', 'debian', 'bookworm', 'default', 'x86_64'); \
             INSERT INTO product_names (project_id, product_id, public, position, name) \
             VALUES ({project}, {product}, 0, 0, 'debian/12'), ({project}, {product}, 1, 0, 'debian/12');"
        );
    }
    for number in 0..300 {
        let project = format!("(SELECT id FROM projects WHERE name = '{}')", PROJECTS[number % 2]);
        let product = format!("(SELECT id FROM products WHERE project_id = {project})");
        let (one, public) = (format!("{number:064x}"), usize::from(number % 3 != 0));
        let version = format!("20250101_{:02}:{:02}", number / 60, number % 60);
        rows += &format!(
            "INSERT INTO versions (product_id, name) VALUES ({product}, '{version}'); \
             INSERT INTO blobs (digest, size, format) VALUES ('{one}', {number}, 'tar.xz'); \
             INSERT INTO images (project_id, fingerprint, image_type, architecture, filename, created_at, uploaded_at, public, \
             auto_update, properties, profiles, product_id, version, preference) VALUES ({project}, '{one}', 'container', \
             'x86_64', 'a.tar.xz', 1, 2, {public}, 0, '{{\"os\":\"Debian\",\"serial\":\"{number}\"}}', '[]', {product}, \
             '{version}', 2); \
             INSERT INTO image_files (image_id, role, digest) SELECT id, 'unified', '{one}' FROM images WHERE fingerprint = '{one}'; \
             INSERT INTO aliases (project_id, name, description, created_at, image_id) \
             SELECT project_id, 'n/{number}', 'it', 0, id FROM images WHERE fingerprint = '{one}';"
        );
    }
    let [first, second] = if matches!(home.location, Location::Sqlite(_)) { SQLITE } else { POSTGRES };
    let sql = AssertSqlSafe([first, second, &rows].concat());
    match &home.location {
        Location::Sqlite(path) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        }
        Location::Postgres(url) => {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        }
    }
}

async fn an_older_catalog_is_filled_when_it_is_opened(home: &Home) {
    older(home).await;
    let catalog = home.open().await;
    assert_eq!(number(home, "SELECT COUNT(*) FROM image_records").await, 300);
    all_agree(home, &catalog, &PROJECTS, "after the migration").await;
    let Found::One(text) = catalog
        .image_text(&Viewer::operator(), &project("default"), &format!("{:064x}", 298).parse().unwrap())
        .await
        .unwrap()
    else {
        panic!("the newest one is there")
    };
    assert!(
        text.json.contains(r#""aliases":[{"name":"debian/12","description":""},{"name":"n/298","description":"it"}]"#)
    );
}

async fn a_catalog_without_words_is_filled_when_it_is_opened(home: &Home) {
    let catalog = home.open().await;
    // Records of the same image want the same place in projects that are so far apart.
    let far = match home.location {
        Location::Sqlite(_) => "UPDATE projects SET id = 32768 WHERE name = 'near'",
        Location::Postgres(_) => "ALTER TABLE projects ALTER COLUMN id RESTART WITH 32769",
    };
    catalog.create_project(&project("near"), "", minute(0)).await.unwrap();
    behind(home, far).await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    for number in 1..600u32 {
        let stored = made(number, number % 3 != 0, i64::from(number)).property("serial", &format!("É{}", number / 2));
        let names: &[&str] = if number == 5 { &["Stable/ÉTÉ"] } else { &[] };
        for both in 0..=u32::from(number % 40 == 0) {
            commit(&catalog, PROJECTS[(number + both) as usize % 2], stored.clone(), names).await;
        }
    }
    all_agree(home, &catalog, &PROJECTS, "before the migration").await;
    catalog.close().await;
    let before = "DELETE FROM schema_migrations WHERE number >= 7; DROP TABLE words; DROP INDEX aliases_folded; \
         ALTER TABLE aliases DROP COLUMN folded; DROP TABLE deltas; DROP TABLE held; \
         ALTER TABLE projects DROP COLUMN repack; ALTER TABLE projects DROP COLUMN keep; \
         ALTER TABLE projects DROP COLUMN keep_days; ALTER TABLE projects DROP COLUMN keep_aliased; CREATE TABLE jobs (id BIGINT); DROP TABLE promises; \
         ALTER TABLE blobs DROP COLUMN present; DROP TABLE upstream_images; DROP TABLE upstreams; ALTER TABLE products DROP COLUMN given_names; DROP INDEX images_listed; \
         DROP INDEX images_public; ALTER TABLE images DROP COLUMN record; CREATE INDEX images_public ON images (id); \
         CREATE TABLE old AS SELECT image_id, leads, size, object, names, names_public FROM image_records; \
         DROP TABLE image_records; ALTER TABLE old RENAME TO image_records";
    behind(home, before).await;
    let catalog = home.open().await;
    all_agree(home, &catalog, &PROJECTS, "after the migration").await;
    let named = "alias=stable/%C3%A9t%C3%A9".parse::<View>().unwrap().names();
    let viewer = Viewer::operator();
    let found = catalog.products_changed(&viewer, &project("team"), None, named.as_ref()).await.unwrap().next(9).await;
    assert_eq!(found.unwrap().len(), 1, "the name is folded");
}

#[derive(Debug, Clone)]
enum Step {
    Commit { project: usize, number: u32, public: bool, minute: i64, alias: Option<usize> },
    Several { numbers: Vec<(usize, u32)>, public: bool, alias: usize },
    Delete { project: usize, number: u32 },
    Edit { project: usize, number: u32, public: bool, release: usize, serial: Option<u8> },
    Alias { project: usize, name: usize, number: u32 },
    Follow { project: usize, name: usize, release: usize },
    Unalias { project: usize, name: usize },
    Rename { project: usize, name: usize, to: usize },
    EditAlias { project: usize, name: usize, number: Option<u32>, description: u8 },
    Replace { project: usize, number: u32, by: u32 },
    Use { project: usize, number: u32, at: i64 },
}

const PROJECTS: [&str; 2] = ["default", "team"];
const NAMES: [&str; 5] = ["a", "debian/12", "debian/trixie", "debian/bookworm", "z/arm64"];
const RELEASES: [&str; 4] = ["bookworm", "trixie", "Bookworm", ""];

fn step() -> impl Strategy<Value = Step> {
    let (project, number, name, release) = (0..2usize, 1..9u32, 0..NAMES.len(), 0..RELEASES.len());
    prop_oneof![
        6 => (project.clone(), number.clone(), any::<bool>(), 0..3i64, proptest::option::of(name.clone())).prop_map(
            |(project, number, public, minute, alias)| Step::Commit { project, number, public, minute, alias }
        ),
        2 => (proptest::collection::vec((project.clone(), number.clone()), 1..5), any::<bool>(), name.clone())
            .prop_map(|(numbers, public, alias)| Step::Several { numbers, public, alias }),
        2 => (project.clone(), number.clone()).prop_map(|(project, number)| Step::Delete { project, number }),
        4 => (project.clone(), number.clone(), any::<bool>(), release.clone(), proptest::option::of(0..3u8)).prop_map(
            |(project, number, public, release, serial)| Step::Edit { project, number, public, release, serial }
        ),
        2 => (project.clone(), name.clone(), number.clone())
            .prop_map(|(project, name, number)| Step::Alias { project, name, number }),
        3 => (project.clone(), name.clone(), release).prop_map(|(project, name, release)| Step::Follow { project, name, release }),
        1 => (project.clone(), name.clone()).prop_map(|(project, name)| Step::Unalias { project, name }),
        2 => (project.clone(), name.clone(), name.clone()).prop_map(|(project, name, to)| Step::Rename { project, name, to }),
        2 => (project.clone(), name, proptest::option::of(number.clone()), 0..3u8).prop_map(
            |(project, name, number, description)| Step::EditAlias { project, name, number, description }
        ),
        1 => (project.clone(), number.clone(), number.clone())
            .prop_map(|(project, number, by)| Step::Replace { project, number, by }),
        1 => (project, number, 0..3i64).prop_map(|(project, number, at)| Step::Use { project, number, at }),
    ]
}

fn made(number: u32, public: bool, at: i64) -> Image {
    let plain = image(number).at(at);
    let plain = match number % 5 {
        0 => plain,
        1 => plain.root_tar(),
        2 => plain.machine(),
        3 => plain.on(Architecture::Aarch64),
        _ => plain.unified(),
    };
    if public { plain } else { plain.private() }
}

/// Does it, as far as it can be done.
async fn apply(catalog: &Catalog, step: &Step) {
    let now = minute(100);
    let fingerprint = |number: u32| image(number).fingerprint;
    let done = match step.clone() {
        Step::Commit { project: at, number, public, minute, alias } => {
            let aliases: Vec<&str> = alias.iter().map(|name| NAMES[*name]).collect();
            let new = new(PROJECTS[at], made(number, public, minute), &aliases);
            catalog.commit_image(&new, now, || Ok(())).await.map(|_| ())
        }
        Step::Several { numbers, public, alias } => {
            let made = |(at, number): (usize, u32)| {
                new(PROJECTS[at], made(number, public, i64::from(number)), &[NAMES[alias]])
            };
            let new: Vec<_> = numbers.into_iter().map(made).collect();
            catalog.commit_images(&new, now, |_| Ok(())).await.map(|_| ())
        }
        Step::Delete { project: at, number } => {
            catalog.delete_image(&project(PROJECTS[at]), &fingerprint(number), now).await
        }
        Step::Edit { project: at, number, public, release, serial } => {
            let mut properties = image(number).properties;
            properties.insert("release".into(), RELEASES[release].into());
            properties.extend(serial.map(|serial| ("serial".to_owned(), format!("É{serial} \"\\"))));
            let edit = ImageEdit { public: Some(public), properties: Some(properties), ..ImageEdit::default() };
            catalog.edit_image(&project(PROJECTS[at]), &fingerprint(number), &edit, now).await
        }
        Step::Alias { project: at, name, number } => {
            let target = AliasTarget::Image(fingerprint(number));
            catalog.create_alias(&project(PROJECTS[at]), &alias(NAMES[name]), "it", &target, now).await
        }
        Step::Follow { project: at, name, release } => {
            let (os, variant) = ("debian".to_owned(), "default".to_owned());
            let target = AliasTarget::Follows { os, release: RELEASES[release].to_owned(), variant };
            catalog.create_alias(&project(PROJECTS[at]), &alias(NAMES[name]), "", &target, now).await
        }
        Step::Unalias { project: at, name } => {
            catalog.delete_alias(&project(PROJECTS[at]), &alias(NAMES[name]), now).await
        }
        Step::Rename { project: at, name, to } => {
            catalog.rename_alias(&project(PROJECTS[at]), &alias(NAMES[name]), &alias(NAMES[to]), now).await
        }
        Step::EditAlias { project: at, name, number, description } => {
            let edit = AliasEdit { description: Some(description.to_string()), target: number.map(fingerprint) };
            let decide = |_: &_| Ok::<_, ()>(edit);
            let edited = catalog.edit_alias_as(&project(PROJECTS[at]), &alias(NAMES[name]), decide, now).await;
            edited.map(|_| ())
        }
        Step::Replace { project: at, number, by } => {
            let (old, new) = (fingerprint(number), fingerprint(by));
            catalog.replace_image(&project(PROJECTS[at]), &old, &new, now).await
        }
        Step::Use { project: at, number, at: minutes } => {
            catalog.mark_used(&[(project(PROJECTS[at]), fingerprint(number))], minute(minutes)).await
        }
    };
    match done {
        Ok(()) | Err(CatalogError::NoImage(_) | CatalogError::NoAlias(_) | CatalogError::AliasExists(_)) => {}
        Err(other) => panic!("{step:?}: {other}"),
    }
}

/// Values of a strategy, other ones every time; made outside of the macro because a test of an engine is asynchronous.
fn random<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, cases: usize) -> Vec<T> {
    let mut runner = proptest::test_runner::TestRunner::default();
    (0..cases).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

async fn random_changes_leave_lists_that_are_right(home: &Home) {
    let catalog = home.open().await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    let mut done = Vec::new();
    for step in random(step(), 150) {
        apply(&catalog, &step).await;
        done.push(format!("{step:?}"));
        all_agree(home, &catalog, &PROJECTS, &format!("after {done:#?}")).await;
    }
}

fn filters() -> impl Strategy<Value = String> {
    let clause = (
        any::<bool>(),
        proptest::sample::select(vec![
            "properties.os",
            "properties.release",
            "properties.serial",
            "properties.none",
            "type",
            "architecture",
            "public",
            "size",
            "fingerprint",
            "filename",
            "project",
            "unknown",
            "expires_at",
            "created_at",
        ]),
        prop_oneof![4 => Just("eq"), 1 => Just("ne")],
        proptest::sample::select(vec![
            "debian",
            "DEBIAN",
            "alpine,debian",
            "d.*",
            "bookworm",
            "trixie,x",
            "é1",
            "É2",
            "s.1",
            "s\\.2",
            ".x",
            "x.y",
            "s.2",
            "\\\".",
            "3.20",
            "x.1",
            ".",
            "é.",
            "k.1,s..",
            "d.bian",
            "virtual.machine",
            "b.......|trixie",
            "[s].1",
            "container",
            "amd64",
            "virtual-machine",
            "true",
            "false",
            "8",
            "default",
            "team",
            "\"\"",
            "0000000300000003000000030000000300000003000000030000000300000003",
        ]),
    );
    let clause = clause.prop_map(|(not, field, operator, value)| {
        format!("{}{field} {operator} {value}", if not { "not " } else { "" })
    });
    (clause.clone(), proptest::collection::vec((any::<bool>(), clause), 0..4)).prop_map(|(first, more)| {
        more.into_iter().fold(first, |text, (or, clause)| format!("{text} {} {clause}", if or { "or" } else { "and" }))
    })
}

async fn random_filters_find_what_passes(home: &Home) {
    let catalog = home.open().await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    for number in 1..120u32 {
        let os = ["Debian", "alpine", "DEBIAN", "été"][number as usize % 4];
        let release = ["bookworm", "Trixie", "3.20"][number as usize % 3];
        let stored = made(number, number % 7 != 0, i64::from(number)).property("os", os).property("release", release);
        let stored = stored.property(
            "serial",
            ["É1", "é2", "s.1", "ſ.2", "", "sx1", "\u{212a}.1", "İ", "S.1\u{307}", "\"x", "s\\2", "x\0y"]
                [number as usize % 12],
        );
        commit(&catalog, PROJECTS[number as usize % 2], stored, &[]).await;
    }
    for filter in random(filters(), 200) {
        for viewer in viewers() {
            for name in PROJECTS {
                agrees(&catalog, &viewer, name, &filter, "a random filter").await;
            }
        }
    }
}

async fn a_pattern_of_dots_does_not_look_at_all_images(home: &Home) {
    let catalog = home.open().await;
    for number in 0..700u32 {
        let release = match number {
            100..103 => "24.04".to_owned(),
            // Looks like it, to a regular expression.
            103 => "24x04".to_owned(),
            _ => format!("{}.{number}", 20 + number % 9),
        };
        commit(&catalog, "default", image(number).property("release", &release), &[]).await;
    }
    for (filter, pages, found) in [
        ("properties.release eq 24.04", 1, 4),
        (r"properties.release eq 24\.04", 1, 3),
        ("type eq container and properties.release eq 24.04,25.5", 1, 5),
        ("properties.release eq 24.04x", 1, 0),
        // Such are not looked up.
        ("properties.release eq 24[.]04", 2, 3),
        ("properties.release ne 24.04", 2, 696),
        ("properties.release eq 24.04 or type eq virtual.*", 2, 4),
        // Hundreds of words are like this one.
        ("properties.release eq 2.....", 2, 596),
    ] {
        let form = Form::Fingerprint { before: String::new(), after: String::new() };
        let (texts, asked) = listed(&catalog, &Viewer::operator(), "default", filter, form).await;
        let count = texts.iter().map(|text| text.split(',').count()).sum::<usize>();
        assert_eq!((asked, count), (pages, found), "{filter}");
        agrees(&catalog, &Viewer::operator(), "default", filter, "dots").await;
    }
}

async fn images_that_were_published_together_are_found_among_one_another(home: &Home) {
    let catalog = home.open().await;
    // Of ten on each of 40 days, one is a Debian; of the days of one month, the images lie together.
    for number in 0..400u32 {
        let (os, month, day) = (if number % 10 == 3 { "Debian" } else { "Other" }, number / 100, number / 10);
        let made =
            image(number).property("os", os).property("month", &month.to_string()).property("day", &day.to_string());
        commit(&catalog, "default", made, &[]).await;
    }
    // One that lies apart.
    let late = image(400).property("os", "Debian").property("month", "1").property("day", "10");
    commit(&catalog, "default", late, &[]).await;
    for (filter, found) in [
        ("properties.os eq debian and properties.month eq 2", 10),
        ("properties.month eq 2 and properties.os eq debian", 10),
        ("properties.month eq 1 and properties.os eq debian", 11),
        ("properties.month eq 1 and properties.os eq debian and properties.day eq 10", 2),
        ("properties.month eq 1,2 and properties.os eq debian", 21),
        ("properties.os eq debian,other and properties.month eq 3", 100),
        ("properties.os eq debian and properties.month eq 9", 0),
        ("properties.os eq debian and properties.month ne 0", 31),
    ] {
        let form = Form::Fingerprint { before: String::new(), after: String::new() };
        let (texts, _) = listed(&catalog, &Viewer::operator(), "default", filter, form).await;
        let count = texts.iter().filter(|text| !text.is_empty()).map(|text| text.split(',').count()).sum::<usize>();
        assert_eq!(count, found, "{filter}");
        agrees(&catalog, &Viewer::operator(), "default", filter, "together").await;
    }
}

async fn names_that_a_hand_made_alias_hides_come_back(home: &Home) {
    let catalog = home.open().await;
    let default = project("default");
    let trixie = |number: u32| image(number).property("release", "trixie");
    commit(&catalog, "default", image(1), &[]).await;
    commit(&catalog, "default", trixie(2), &[]).await;
    let names = async |viewer: &Viewer| -> Vec<String> {
        let Found::One(text) = catalog.image_text(viewer, &default, &image(1).fingerprint.into()).await.unwrap() else {
            panic!("it is there")
        };
        let json: serde_json::Value = serde_json::from_str(&text.json).unwrap();
        json["aliases"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = names(&Viewer::guest()).await;
    assert!(all.contains(&"debian/12".to_owned()), "{all:?}");
    // Another product's image takes the name, as long as it can be seen.
    let target = AliasTarget::Image(image(2).fingerprint);
    catalog.create_alias(&default, &alias("debian/12"), "", &target, minute(1)).await.unwrap();
    let fewer: Vec<String> = all.iter().filter(|name| *name != "debian/12").cloned().collect();
    assert_eq!(names(&Viewer::guest()).await, fewer);
    let private = |public| ImageEdit { public: Some(public), ..ImageEdit::default() };
    catalog.edit_image(&default, &image(2).fingerprint, &private(false), minute(2)).await.unwrap();
    assert_eq!(names(&Viewer::guest()).await, all, "a private image hides nothing from guests");
    assert_eq!(names(&Viewer::operator()).await, fewer);
    catalog.delete_image(&default, &image(2).fingerprint, minute(3)).await.unwrap();
    assert_eq!(names(&Viewer::operator()).await, all);
    // One that follows a product without images leads nowhere, and hides nothing, until there is an image.
    let (os, variant) = ("debian".to_owned(), "default".to_owned());
    let follows = AliasTarget::Follows { os, release: "trixie".to_owned(), variant };
    catalog.create_alias(&default, &alias("debian/12"), "", &follows, minute(4)).await.unwrap();
    assert_eq!(names(&Viewer::operator()).await, all);
    commit(&catalog, "default", trixie(3).private(), &[]).await;
    assert_eq!((names(&Viewer::operator()).await, names(&Viewer::guest()).await), (fewer, all));
}

async fn pages_are_bounded_by_their_bytes(home: &Home) {
    let catalog = home.open().await;
    for number in 0..40 {
        // In the middle there are some of 150 KB each.
        let long = "x".repeat(if (10..20).contains(&number) { 150_000 } else { 10 });
        commit(&catalog, "default", image(number).property("long", &long), &[]).await;
    }
    for filter in ["", "properties.os eq debian", "properties.os eq d.*"] {
        let (pages, _) = listed(&catalog, &Viewer::operator(), "default", filter, Form::Object).await;
        assert!(pages.iter().all(|page| page.len() < 256 * 1024 + 151_000), "{filter}: no page is much longer");
        assert!(pages.len() >= 5, "{filter}: {} pages", pages.len());
        agrees(&catalog, &Viewer::operator(), "default", filter, "long objects").await;
    }
}

async fn changes_between_pages_neither_double_nor_lose_an_image(home: &Home) {
    let catalog = home.open().await;
    for number in 0..700 {
        commit(&catalog, "default", image(number * 10).property("serial", "s"), &[]).await;
    }
    for filter in ["", "properties.serial eq s", "properties.serial ne t"] {
        let form = Form::Fingerprint { before: String::new(), after: String::new() };
        let mut list = catalog.image_list(&Viewer::guest(), &project("default"), parsed(filter), form);
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut turn = 0;
        loop {
            let page = list.next().await.unwrap();
            for one in page.text.split(',').filter(|one| !one.is_empty()) {
                *seen.entry(one.to_owned()).or_default() += 1;
            }
            if !page.more {
                break;
            }
            for number in [turn, 699 - turn] {
                let gone = image(number * 10).fingerprint;
                catalog.delete_image(&project("default"), &gone, minute(1)).await.unwrap();
                commit(&catalog, "default", image(number * 10 + 5).property("serial", "s"), &[]).await;
            }
            turn += 1;
        }
        assert!(turn > 0, "{filter}: more than a page");
        assert!(seen.values().all(|times| *times == 1), "{filter}: none is there twice");
        for number in turn..700 - turn {
            assert!(seen.contains_key(&image(number * 10).fingerprint.to_string()), "{filter}: {number} was lost");
        }
        for number in (0..turn).chain(700 - turn..700) {
            catalog.delete_image(&project("default"), &image(number * 10 + 5).fingerprint, minute(1)).await.unwrap();
            let back = new("default", image(number * 10).property("serial", "s"), &[]);
            let back = catalog.commit_image(&back, minute(2), || Ok(())).await.unwrap();
            assert!(matches!(back, Committed::New(_)));
        }
    }
}

async fn a_renamed_project_ends_a_list_with_an_error(home: &Home) {
    let catalog = home.open().await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    for number in 0..300 {
        commit(&catalog, "team", image(number), &[]).await;
    }
    let mut list = catalog.image_list(&Viewer::operator(), &project("team"), Filter::default(), Form::Object);
    assert!(list.next().await.unwrap().more);
    catalog.rename_project(&project("team"), &project("new"), minute(1)).await.unwrap();
    assert!(matches!(list.next().await, Err(CatalogError::NoProject(_))), "the rest is not left out in silence");
    agrees(&catalog, &Viewer::operator(), "new", "", "the objects name the project as it is called now").await;
}
