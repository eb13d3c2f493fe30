//! What the three tables share: rows that are judged one by one and told together, limits, and a look at all that is stored.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use headwater::app::App;
use headwater::auth::Viewer;
use headwater_formats::names::ProjectName;

use crate::cli::kit::{House, Ran, run};

/// Memory that the program may take for itself, in KiB.
pub(super) const MEMORY: u64 = 300 * 1024;
/// How long it may take over one row, in a debug build on a busy machine.
pub(super) const TIME: Duration = Duration::from_secs(20);

/// The rows of a table, as they are tried.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: usize,
    wrong: Vec<String>,
    secrets: Vec<String>,
}

impl Table {
    /// `secrets` are texts that no answer may hold.
    pub(super) fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let internals = ["sqlx", "SELECT", "INSERT", "src/", ".rs:", "panicked", "RUST_BACKTRACE", "Os {", "thread '"];
        Self { secrets: internals.map(str::to_owned).into_iter().chain(secrets).collect(), ..Self::default() }
    }

    /// Tries a row: it must be done in time.
    pub(super) fn row<T>(&mut self, what: &str, work: impl FnOnce() -> T) -> T {
        self.rows += 1;
        let begun = Instant::now();
        let done = work();
        if begun.elapsed() > TIME {
            self.wrong.push(format!("{what}: took {:?}", begun.elapsed()));
        }
        done
    }

    /// These have to be the same.
    pub(super) fn same<T: PartialEq + Debug>(&mut self, what: &str, found: T, expected: T) {
        if found != expected {
            self.wrong.push(format!("{what}\n    found    {found:?}\n    expected {expected:?}"));
        }
    }

    /// The text holds nothing that it should not.
    pub(super) fn discreet(&mut self, what: &str, text: &str) {
        for secret in self.secrets.iter().filter(|secret| text.contains(secret.as_str())) {
            self.wrong.push(format!("{what}: {secret:?} is told: {text}"));
        }
    }

    /// All rows were good, and there were as many as somebody meant there to be.
    pub(super) fn end(self, rows: usize) {
        let wrong = self.wrong.len();
        assert!(wrong == 0, "{wrong} findings in {} rows:\n{}", self.rows, self.wrong.join("\n"));
        assert!(self.rows >= rows, "only {} rows were tried", self.rows);
    }
}

/// Runs the program with bounded memory: an allocation beyond the bound ends it with a signal, which no row expects.
pub(super) fn run_bounded<A: AsRef<std::ffi::OsStr>>(house: &House, arguments: &[A], input: &[u8]) -> Ran {
    run(within(TIME, bounded(house, arguments)), input)
}

/// The command, ended by a signal when it takes longer: a server that should not have started, for example.
pub(super) fn within(time: Duration, command: Command) -> Command {
    let mut timed = Command::new("timeout");
    timed.arg(time.as_secs().to_string()).arg(command.get_program()).args(command.get_args()).env_clear();
    timed.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    timed.current_dir(command.get_current_dir().unwrap());
    timed
}

/// The program, to be run with bounded memory.
pub(super) fn bounded<A: AsRef<std::ffi::OsStr>>(house: &House, arguments: &[A]) -> Command {
    let mut command = Command::new("sh");
    house.prepare(&mut command);
    // A limit of resident memory is not enforced by Linux; one of the data segment is, and counts at least as much.
    let script = format!("ulimit -d {MEMORY} && exec \"$0\" \"$@\"");
    command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_headwater")).args(arguments);
    command
}

/// All that a data directory says and holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored {
    revision: i64,
    images: Vec<String>,
    aliases: Vec<String>,
    projects: Vec<String>,
    /// Every file outside of the catalog, with its length.
    files: BTreeMap<String, u64>,
}

/// Looks at a data directory from inside.
pub(super) fn stored(house: &House) -> Stored {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let app = App::open(&house.data(), None).await.unwrap();
        let (operator, mut images, mut aliases, mut projects) =
            (Viewer::operator(), Vec::new(), Vec::new(), Vec::new());
        for project in app.catalog.projects(&operator).await.unwrap() {
            projects.push(format!("{project:?}"));
            let name: &ProjectName = &project.name;
            let found = app.catalog.images(&operator, name, None, 10_000).await.unwrap();
            images.extend(found.iter().map(|stored| format!("{stored:?}")));
            let found = app.catalog.aliases(&operator, name, None, 10_000).await.unwrap();
            aliases.extend(found.iter().map(|alias| format!("{alias:?}")));
        }
        let revision = app.catalog.revision().await.unwrap().number;
        app.catalog.close().await;
        let mut files = BTreeMap::new();
        walk(&house.data(), &house.data(), &mut files);
        Stored { revision, images, aliases, projects, files }
    })
}

fn walk(top: &Path, folder: &Path, files: &mut BTreeMap<String, u64>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(top).unwrap().display().to_string();
        if path.is_dir() {
            walk(top, &path, files);
        } else if !name.starts_with("catalog.db") {
            files.insert(name, path.metadata().unwrap().len());
        }
    }
}
