use headwater_formats::names::{AliasName, ProjectName, UpstreamName, ViewName};

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
    /// The database cannot be opened or reached.
    #[error("the catalog cannot be opened: {0}")]
    Unavailable(String),
    /// The database file is not what it was.
    #[error("the catalog's database is damaged ({0}); stop headwater, keep a copy of the file, and restore a backup")]
    Damaged(String),
    /// No such project (or none that the asker may know of).
    #[error("there is no project {0:?}; `headwater project list` shows the ones there are")]
    NoProject(String),
    /// The project is there already.
    #[error("there is a project \"{0}\" already; choose another name")]
    ProjectExists(ProjectName),
    /// Only empty projects can be deleted, and never the default one.
    #[error("{0}")]
    ProjectInUse(String),
    /// The alias is taken.
    #[error("there is an alias \"{0}\" already; delete it first, or choose another name")]
    AliasExists(AliasName),
    /// No such alias.
    #[error("there is no alias {0:?}; `headwater alias list` shows the ones there are")]
    NoAlias(String),
    /// No such image.
    #[error("there is no image {0:?}; `headwater image list` shows the ones there are")]
    NoImage(String),
    /// The credential belongs to an identity already.
    #[error("{0} is known here already; remove it first, or change what it may do")]
    IdentityExists(String),
    /// No such identity.
    #[error("there is no identity {0:?}; `headwater trust list` and `headwater token list` show the ones there are")]
    NoIdentity(String),
    /// The view is there already.
    #[error("there is a view \"{0}\" already; choose another name")]
    ViewExists(ViewName),
    /// No such view.
    #[error("there is no view {0:?}; `headwater view list` shows the ones there are")]
    NoView(String),
    /// Tokens are bound to the view.
    #[error("the view \"{0}\" is what tokens are bound to; revoke them first (`headwater token list` shows them)")]
    ViewInUse(ViewName),
    /// A view whose filters exclude one another.
    #[error("the view \"{0}\" would let nothing pass, because its filters exclude one another; mend them")]
    EmptyView(ViewName),
    /// The upstream is there already.
    #[error("there is an upstream \"{0}\" already; choose another name, or change it with `headwater mirror edit`")]
    UpstreamExists(UpstreamName),
    /// No such upstream.
    #[error("there is no upstream {0:?}; `headwater mirror list` shows the ones there are")]
    NoUpstream(String),
    /// The key is there already.
    #[error("the key {0} is here already; `headwater key list` shows the ones there are")]
    KeyExists(String),
    /// No such key.
    #[error("there is no key {0:?} for streams; `headwater key list` shows the ones there are")]
    NoKey(String),
    /// The key that signs is not deleted by accident.
    #[error(
        "the key {0} signs the streams; let another one sign first (`headwater key use`), or give --force: then nothing is signed any more"
    )]
    KeyInUse(String),
    /// A text that the databases cannot hold.
    #[error("a text with a NUL character cannot be kept in the catalog; leave the character out")]
    Text,
    /// The database refuses to write.
    #[error("the catalog cannot be written: {0}")]
    NotWritable(String),
    /// The bytes that a row would name could not be made sure of.
    #[error("the image's bytes could not be stored: {0}")]
    Bytes(#[source] std::io::Error),
    /// The bytes of a blob that is no longer needed could not be removed.
    #[error("a file that no image needs could not be removed: {0}")]
    Remove(#[source] std::io::Error),
    /// The system has no random numbers for a secret.
    #[error("the system gave no random numbers for a secret ({0}); see what is wrong with it")]
    Randomness(#[source] std::io::Error),
    /// A row holds what no version of this program writes.
    #[error("the catalog holds a value that cannot be read ({0}); `headwater verify` tells more")]
    Corrupt(String),
    /// Anything else that the database says.
    #[error("the catalog's database failed: {0}")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for CatalogError {
    fn from(error: sqlx::Error) -> Self {
        let busy = || {
            Self::NotWritable(
                "other processes have been writing to it for too long; try again, and see what keeps them busy".into(),
            )
        };
        match &error {
            sqlx::Error::PoolTimedOut => busy(),
            sqlx::Error::PoolClosed => Self::Unavailable("it was closed, because the program is ending".into()),
            sqlx::Error::ColumnDecode { source, .. } => Self::Corrupt(source.to_string()),
            sqlx::Error::Io(source) => Self::Unavailable(format!(
                "its server cannot be reached ({source}); check the address and that the server runs"
            )),
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                // Both number their errors their own way: SQLite in decimal numbers whose low byte is the kind,
                // PostgreSQL in five characters (SQLSTATE), which for the classes below never are such a number.
                let sqlite = database
                    .try_downcast_ref::<sqlx::sqlite::SqliteError>()
                    .and_then(|_| code.parse::<u32>().ok())
                    .map(|code| code & 0xff);
                match (sqlite, &*code) {
                    (Some(5 | 6), _) | (None, "55P03") => busy(),
                    (Some(8), _) | (None, "25006") => Self::NotWritable(
                        "it is read-only; check the permissions of the data folder, and whether its file system is mounted read-only"
                            .into(),
                    ),
                    (Some(3), _) | (None, "42501") => {
                        Self::NotWritable(format!("permission was denied ({database}); mend the permissions"))
                    }
                    (Some(10), _) | (None, "58030") => {
                        Self::NotWritable(format!("the disk failed ({database}); see the system's log"))
                    }
                    (Some(13), _) | (None, "53100") => {
                        Self::NotWritable("the disk is full; make room, and try again".into())
                    }
                    (Some(11 | 26), _) => Self::Damaged(database.message().to_owned()),
                    (Some(14), _) => Self::Unavailable(
                        "the file cannot be opened or made; check that its folder exists and may be written to".into(),
                    ),
                    (None, code) if code.starts_with("28") || code == "3D000" || code.starts_with("53") => {
                        Self::Unavailable(database.message().to_owned())
                    }
                    (None, code) if code.starts_with("57P") => {
                        Self::Unavailable(format!("its server ended the connection ({})", database.message()))
                    }
                    _ => Self::Database(error),
                }
            }
            _ => Self::Database(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater_formats::names::ProjectName;
    use headwater_formats::timestamp::Timestamp;

    use super::super::engine::Engine;
    use super::super::{Catalog, Location};
    use crate::auth::Viewer;

    #[tokio::test]
    async fn a_full_disk_is_named_and_does_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&Location::Sqlite(folder.path().join("catalog.db"))).await.unwrap();
        let Engine::Sqlite { write: Ok(writer), .. } = &catalog.engine else { panic!("it can be written to") };
        // SQLite answers as it does on a full disk when the file may not grow.
        let full = "PRAGMA max_page_count = 1";
        let large = "x".repeat(100_000);
        let name = ProjectName::new("large").unwrap();
        let now = Timestamp::EPOCH;
        for _ in 0..3 {
            sqlx::query(full).execute(writer).await.unwrap();
            let said = catalog.create_project(&name, &large, now).await.unwrap_err().to_string();
            assert_eq!(said, "the catalog cannot be written: the disk is full; make room, and try again");
        }
        assert_eq!(catalog.projects(&Viewer::operator()).await.unwrap().len(), 1, "reading goes on");
        assert_eq!(catalog.revision().await.unwrap().number, 0, "nothing was changed");
        catalog.create_project(&name, &large, now).await.unwrap();
        let checked: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(writer).await.unwrap();
        assert_eq!(checked, "ok");
    }

    #[tokio::test]
    async fn a_folder_that_became_read_only_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&Location::Sqlite(folder.path().join("catalog.db"))).await.unwrap();
        let Engine::Sqlite { write: Ok(writer), .. } = &catalog.engine else { panic!("it can be written to") };
        sqlx::query("PRAGMA query_only = ON").execute(writer).await.unwrap();
        let said = catalog.set_setting("key", "value").await.unwrap_err().to_string();
        assert_eq!(
            said,
            "the catalog cannot be written: it is read-only; check the permissions of the data folder, and whether its \
             file system is mounted read-only"
        );
    }
}
