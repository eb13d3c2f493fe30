//! A throw-away PostgreSQL cluster for this run of the tests, and a database of its own for each test.
//!
//! The cluster listens on a socket in its own folder and nowhere else. It is started by a small shell that waits for
//! the end of its standard input: when this process ends, in whatever way, the shell stops the server and removes the folder.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::other_user;

/// The URL of an empty database.
pub(crate) async fn database() -> String {
    static CLUSTER: OnceLock<PathBuf> = OnceLock::new();
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let folder = CLUSTER.get_or_init(start);
    let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let url = |database: &str| format!("postgres://headwater@localhost/{database}?host={}", folder.display());
    let began = Instant::now();
    let mut connection = loop {
        match PgConnection::connect(&url("postgres")).await {
            Ok(connection) => break connection,
            Err(error) => {
                let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
                assert!(began.elapsed() < Duration::from_secs(60), "PostgreSQL does not answer: {error}\n{}", log());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    let create = format!("CREATE DATABASE {name}");
    sqlx::query(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
    url(&name)
}

/// Makes and starts the cluster; gives its folder.
#[allow(clippy::zombie_processes, reason = "it ends after this process, which is what it waits for")]
fn start() -> PathBuf {
    let programs = programs();
    let folder = tempfile::Builder::new().prefix("headwater-postgres-").tempdir().unwrap().keep();
    let command = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(&folder);
        // PostgreSQL refuses to run as root.
        if let Some(user) = other_user::when_root(&["postgres", "nobody"]) {
            std::os::unix::fs::chown(&folder, Some(user.uid), Some(user.gid)).unwrap();
            command.uid(user.uid).gid(user.gid);
        }
        command
    };
    // Linguistic sorting, so that a comparison that forgot to ask for bytes is found out.
    let made = command(programs.join("initdb").to_str().unwrap())
        .args(["--username=headwater", "--auth=trust", "--encoding=UTF8", "--no-sync"])
        .args(["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US", "--pgdata"])
        .arg(folder.join("data"))
        .output()
        .unwrap();
    assert!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
    let watch = "\"$1/postgres\" -D \"$2/data\" -k \"$2\" -c listen_addresses= -c max_connections=400 -c fsync=off \
         -c shared_buffers=32MB </dev/null >\"$2/log\" 2>&1 & server=$!; read -r line; \
         kill -QUIT $server; wait $server; cd /; rm -rf \"$2\"";
    let mut shell = command("sh")
        .args(["-c", watch, "watch"])
        .args([&programs, &folder])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Never closed by us: it closes when this process ends.
    std::mem::forget(shell.stdin.take());
    folder
}

/// The folder with `initdb` and `postgres` in it: Debian's, newest first, or wherever the search path finds them.
fn programs() -> PathBuf {
    let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|folders| folders.flatten().map(|folder| folder.path().join("bin")).collect())
        .unwrap_or_default();
    debian.sort_by_key(|path| {
        let version = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()?.parse::<u32>().ok());
        std::cmp::Reverse(version)
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian
        .into_iter()
        .chain(std::env::split_paths(&path))
        .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
        .expect(
            "these tests need PostgreSQL's initdb and postgres: install the package `postgresql`, or put them on PATH",
        )
}
