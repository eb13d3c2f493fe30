//! Where the installation is: the data directory and the database, from flags, environment and configuration.
//!
//! Commands that only read never make a data directory: a misspelt `--data` is told, not answered with an empty list.

use std::path::{Path, PathBuf};

use headwater_formats::names::ProjectName;

use super::Global;
use super::stop::Stop;
use crate::app::App;
use crate::auth::Viewer;
use crate::catalog::CatalogError;

/// The data directory and the database of one installation.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The data directory; may not exist yet.
    pub(super) data: PathBuf,
    /// The database's URL, when the catalog is not a file in the data directory.
    pub(super) database: Option<String>,
}

impl Place {
    /// Finds it, without touching it.
    pub(super) fn find(global: &Global) -> Result<Self, Stop> {
        let data = match &global.data {
            Some(data) => data.clone(),
            None => default_data()?,
        };
        Ok(Self { data, database: global.database.clone() })
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

    /// Opens what is there, and makes what is missing.
    pub(super) async fn open_or_make(&self) -> Result<App, Stop> {
        Ok(App::open(&self.data, self.database.as_deref()).await?)
    }
}

/// Makes sure that there is such a project.
pub(super) async fn check_project(app: &App, project: &ProjectName) -> Result<(), Stop> {
    match app.catalog.project(&Viewer::operator(), project).await? {
        Some(_) => Ok(()),
        None => Err(CatalogError::NoProject(project.to_string()).into()),
    }
}

/// Where the data is when nobody says.
pub(super) fn default_data() -> Result<PathBuf, Stop> {
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
