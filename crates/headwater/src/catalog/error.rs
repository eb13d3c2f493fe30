use headwater_formats::names::{AliasName, ProjectName};

/// Why the catalog could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The schema is from a later release.
    #[error(
        "the catalog has schema {found}, this program knows up to {known}; start a newer headwater, or restore a backup made before the upgrade"
    )]
    Newer {
        /// The schema in the database.
        found: i64,
        /// The last schema of this program.
        known: i64,
    },
    /// No such project (or none that the asker may know of).
    #[error("there is no project {0:?}; `headwater project list` shows the ones there are")]
    NoProject(String),
    /// The project is there already.
    #[error("there is a project {0:?} already")]
    ProjectExists(ProjectName),
    /// Only empty projects can be deleted, and never the default one.
    #[error("{0}")]
    ProjectInUse(String),
    /// The alias is taken.
    #[error("there is an alias {0:?} already; delete it first, or choose another name")]
    AliasExists(AliasName),
    /// No such alias.
    #[error("there is no alias {0:?}; `headwater alias list` shows the ones there are")]
    NoAlias(String),
    /// No such image.
    #[error("there is no image {0:?}; `headwater image list` shows the ones there are")]
    NoImage(String),
    /// The database refuses to write.
    #[error("the catalog cannot be written: {0}")]
    NotWritable(String),
    /// The bytes that a row would name could not be made sure of.
    #[error("the image's bytes could not be stored: {0}")]
    Bytes(#[source] std::io::Error),
    /// A row holds what no version of this program writes.
    #[error("the catalog holds a value that cannot be read ({0}); `headwater verify` tells more")]
    Corrupt(String),
    /// Anything else that the database says.
    #[error("the catalog's database failed: {0}")]
    Database(#[source] sqlx::Error),
}
