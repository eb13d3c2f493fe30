//! Where the installation is: the data directory and the database, from flags, environment and configuration.
//!
//! Commands that only read never make a data directory: a misspelt `--data` is told, not answered with an empty list.

use std::path::{Path, PathBuf};

use headwater_formats::names::ProjectName;

use super::duration::Seconds;
use super::stop::Stop;
use super::{Global, serve};
use crate::app::App;
use crate::auth::{Actor, Viewer};
use crate::catalog::CatalogError;
use crate::config::Config;

/// The data directory and the database of one installation, and what its configuration says to commands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The data directory; may not exist yet.
    pub(super) data: PathBuf,
    /// What it is when nobody says; the same when that cannot be told.
    default_data: PathBuf,
    /// The database's URL, when the catalog is not a file in the data directory.
    database: Option<String>,
    /// How long files of deleted images stay.
    pub(super) grace: Seconds,
    /// The configuration, without what flags say.
    pub(super) config: Config,
}

impl Place {
    /// Finds it, without touching it: by flags, then the environment, then the configuration file.
    pub(super) fn find(global: &Global) -> Result<Self, Stop> {
        let config = Config::read(global.config.as_deref())?;
        let (data, default_data) = match (global.data.clone().or_else(|| config.data.clone()), default_data()) {
            (Some(data), default) => (data.clone(), default.unwrap_or(data)),
            (None, default) => {
                let default = default?;
                (default.clone(), default)
            }
        };
        Ok(Self {
            data,
            default_data,
            database: global.database.clone().or_else(|| config.database.clone()),
            grace: Seconds(config.grace_hours.saturating_mul(3600)),
            config,
        })
    }

    /// What a server in this place is started with.
    pub(super) fn serve_config(&self, args: &serve::Args, file: Option<PathBuf>) -> Result<serve::ServeConfig, Stop> {
        let (data, default) = (Some(self.data.clone()), self.default_data.clone());
        Ok(serve::ServeConfig::new(args, file, data, default, self.database.clone())?)
    }

    /// Opens what is there; a sentence when there is nothing.
    pub(super) async fn open(&self) -> Result<App, Stop> {
        let catalog = self.data.join("catalog.db");
        if self.database.is_none() && !catalog.try_exists().unwrap_or(true) {
            return Err(Stop::failed(format!(
                "no Headwater data in {}; `headwater serve` or `headwater publish` makes it",
                self.data.display()
            )));
        }
        self.open_or_make().await
    }

    /// Opens what is there, and makes what is missing. Changes are made in the name of the user.
    pub(super) async fn open_or_make(&self) -> Result<App, Stop> {
        let app = App::open(&self.data, self.database.as_deref()).await?;
        Ok(app.acting(Actor::operator(user())))
    }
}

/// Makes sure that there is such a project.
pub(super) async fn check_project(app: &App, project: &ProjectName) -> Result<(), Stop> {
    match app.catalog.project(&Viewer::operator(), project).await? {
        Some(_) => Ok(()),
        None => Err(CatalogError::NoProject(project.to_string()).into()),
    }
}

/// Who types: behind `sudo` who called it, else the owner of the process. The audit writes the name down; nothing is decided by it.
fn user() -> String {
    let id = rustix::process::getuid();
    let caller = std::env::var("SUDO_USER").ok().filter(|name| id.is_root() && !name.is_empty());
    caller.unwrap_or_else(|| {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        name_of(id.as_raw(), &users).unwrap_or_else(|| format!("uid {}", id.as_raw()))
    })
}

/// A user's name in the lines of `/etc/passwd`. Users of other directories are told by their number.
fn name_of(id: u32, users: &str) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

fn default_data() -> Result<PathBuf, Stop> {
    let system = Path::new("/var/lib/headwater");
    if rustix::process::geteuid().is_root() && system.is_dir() {
        return Ok(system.to_owned());
    }
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("XDG_DATA_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("headwater"))
        .ok_or_else(|| {
            Stop::usage("neither $XDG_DATA_HOME nor $HOME names a folder; say where the data is with --data DIR")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nanna:x:1000:100::/home/anna:/bin/sh\n";
        assert_eq!(name_of(1000, users).as_deref(), Some("anna"));
        assert_eq!(name_of(0, users).as_deref(), Some("root"));
        assert_eq!(name_of(100, users), None, "that is a group");
    }
}
