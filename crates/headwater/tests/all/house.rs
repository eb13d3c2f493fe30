//! The rules of the house that a compiler does not check: which room may use which, and that nothing points outside.

use std::fs;
use std::path::{Path, PathBuf};

/// Room, and the rooms that it may name. `ARCHITECTURE.md` draws the same arrows.
const ARROWS: &[(&str, &[&str])] = &[
    ("auth", &[]),
    ("blobs", &["fail_point"]),
    ("bundle", &["auth", "blobs", "catalog", "publish"]),
    ("catalog", &["auth", "fail_point", "openpgp"]),
    ("client", &[]),
    ("config", &["deltas", "http"]),
    ("deltas", &["auth", "blobs", "catalog", "fail_point", "operations", "publish"]),
    ("documents", &["auth", "catalog"]),
    ("fail_point", &[]),
    ("fetch", &["auth", "catalog", "client", "publish"]),
    ("mirror", &["auth", "blobs", "catalog", "client", "openpgp", "publish"]),
    ("first_run", &["config"]),
    ("publish", &["auth", "blobs", "catalog", "documents", "fail_point", "openpgp"]),
    ("openpgp", &[]),
    ("operations", &["auth", "catalog"]),
    (
        "http",
        &[
            "app",
            "auth",
            "blobs",
            "catalog",
            "client",
            "documents",
            "fetch",
            "mirror",
            "openpgp",
            "operations",
            "publish",
        ],
    ),
    ("telemetry", &["config"]),
    ("app", &["auth", "blobs", "catalog", "config", "publish"]),
    (
        "cli",
        &[
            "app",
            "auth",
            "blobs",
            "bundle",
            "catalog",
            "client",
            "config",
            "deltas",
            "documents",
            "fetch",
            "mirror",
            "first_run",
            "http",
            "mirror",
            "openpgp",
            "operations",
            "publish",
            "telemetry",
        ],
    ),
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The source without comments and without its `#[cfg(test)]` module, which may use any room.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every room named by `crate::room` in this source, `use crate::{a, b::c}` included.
fn rooms_named(source: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in source.match_indices("crate::") {
        if source[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &source[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut word = String::new();
            let mut reading = true;
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 1 && (c == ',' || c == '{') || depth == 0 {
                    rooms.push(std::mem::take(&mut word));
                    reading = true;
                } else if depth == 1 && reading {
                    if c.is_alphanumeric() || c == '_' {
                        word.push(c);
                    } else if !word.is_empty() {
                        reading = false;
                    }
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            rooms.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    rooms.retain(|room| !room.is_empty() && room.chars().next().is_some_and(char::is_lowercase));
    rooms
}

#[test]
fn rooms_use_only_the_rooms_below_them() {
    let source = repository().join("crates/headwater/src");
    let mut wrong = Vec::new();
    let mut seen = 0;
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    for path in files {
        let inside = path.strip_prefix(&source).unwrap();
        let room = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if matches!(room.as_str(), "main" | "lib") || inside.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let allowed = ARROWS
            .iter()
            .find(|(name, _)| *name == room)
            .unwrap_or_else(|| {
                panic!("the room {room:?} has no row in ARROWS; add one, and draw it in ARCHITECTURE.md")
            })
            .1;
        seen += 1;
        for named in rooms_named(&code(&path)) {
            if named != room && !allowed.contains(&named.as_str()) {
                wrong.push(format!("{}: {room} may not use {named}", inside.display()));
            }
        }
    }
    assert!(seen > 10, "only {seen} files were read: the test looks in the wrong place");
    assert!(wrong.is_empty(), "forbidden arrows:\n{}", wrong.join("\n"));
}

#[test]
fn sql_is_written_in_the_catalog_only() {
    let source = repository().join("crates/headwater/src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let wrong: Vec<_> = files
        .iter()
        .filter(|path| !path.starts_with(source.join("catalog")))
        .filter(|path| {
            let code = code(path);
            code.contains("sqlx::")
                || ["\"SELECT ", "\"INSERT ", "\"UPDATE ", "\"DELETE FROM"].iter().any(|s| code.contains(s))
        })
        .collect();
    assert!(wrong.is_empty(), "SQL outside the catalog: {wrong:?}");
}

#[test]
fn tls_is_known_to_one_file_at_each_end() {
    let source = repository().join("crates/headwater/src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    files.retain(|path| code(path).contains("rustls::"));
    files.sort();
    assert_eq!(files, ["client/trust.rs", "http/tls.rs"].map(|path| source.join(path)));
}

#[test]
fn the_formats_stay_pure() {
    let source = repository().join("crates/formats/src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    for path in files.iter().filter(|path| !path.components().any(|part| part.as_os_str() == "tests")) {
        let code = code(path);
        for word in ["std::fs", "std::net", "std::env", "std::process", "SystemTime", "Instant", "async fn", "tokio"] {
            assert!(
                !code.contains(word),
                "{} uses {word}: formats has no disk, network, clock or async",
                path.display()
            );
        }
    }
}

/// Files are opened by others: `File` is named there only as something that can be read at any place.
#[test]
fn deltas_stay_pure() {
    let source = repository().join("crates/vcdiff/src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    assert!(files.len() > 10, "only {} files were read: the test looks in the wrong place", files.len());
    for path in files {
        let code = code(&path);
        for word in [
            "std::net",
            "std::env",
            "std::process",
            "SystemTime",
            "Instant",
            "async fn",
            "File::o",
            "File::c",
            "fs::read",
        ] {
            assert!(
                !code.contains(word),
                "{} uses {word}: deltas have no disk, network, clock or async",
                path.display()
            );
        }
    }
}

#[test]
fn both_engines_have_the_same_migrations() {
    let names = |engine: &str| {
        let mut names: Vec<_> = fs::read_dir(repository().join("migrations").join(engine))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert!(!names("sqlite").is_empty());
    assert_eq!(names("sqlite"), names("postgres"));
}

#[test]
fn every_room_says_what_it_is_for() {
    for krate in ["crates/headwater/src", "crates/formats/src", "crates/vcdiff/src"] {
        let mut files = Vec::new();
        rust_files(&repository().join(krate), &mut files);
        for path in files {
            let is_door =
                path.file_name().is_some_and(|name| name == "mod.rs" || name == "lib.rs" || name == "main.rs")
                    || path.parent() == Some(repository().join(krate).as_path());
            let text = fs::read_to_string(&path).unwrap();
            assert!(!is_door || text.starts_with("//!"), "{} does not say what it is for", path.display());
        }
    }
}

#[test]
fn the_arrow_reader_reads_every_form() {
    assert_eq!(rooms_named("use crate::http::route;"), ["http"]);
    assert_eq!(
        rooms_named("use crate::{auth::Viewer, catalog::{Catalog, images::{A, B}}, app};"),
        ["auth", "catalog", "app"]
    );
    assert_eq!(rooms_named("$crate::x; crate::Thing"), Vec::<String>::new());
    assert_eq!(rooms_named("fn a() { crate::blobs::layout() }"), ["blobs"]);
}

/// The README's first command names no program: there has to be one, and only one, that it can mean.
#[test]
fn cargo_run_means_headwater() {
    let metadata = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let members = metadata["workspace_default_members"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter().filter(|package| members.contains(&package["id"]));
    let programs: Vec<&str> = packages
        .flat_map(|package| package["targets"].as_array().unwrap())
        .filter(|target| target["kind"].as_array().unwrap().contains(&"bin".into()))
        .map(|target| target["name"].as_str().unwrap())
        .collect();
    assert_eq!(programs, ["headwater"]);
}
