//! The catalog's promises. Each is written once and tried on SQLite and on PostgreSQL.

mod address_keys;
mod aliases;
mod audit;
mod bulk;
pub(crate) mod changes;
mod committing;
mod concurrency;
mod delta_work;
mod deltas;
mod files;
mod held;
mod identities;
mod lists;
mod mirrored;
mod model;
mod moments;
mod opening;
mod operations;
mod promises;
mod reading;
mod removing;
mod retention;
mod stream_keys;
mod succeeding;

use headwater::catalog::{Catalog, Committed, Location, StoredImage};
use headwater_formats::image::Image;

use crate::kit;

/// Where a test's catalog is kept; gone with it.
pub(crate) struct Home {
    pub(crate) location: Location,
    _folder: Option<tempfile::TempDir>,
}

impl Home {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { location: Location::Sqlite(folder.path().join("catalog.db")), _folder: Some(folder) }
    }

    pub(crate) async fn postgres() -> Self {
        Self { location: Location::Postgres(kit::postgres::database().await), _folder: None }
    }

    pub(crate) async fn open(&self) -> Catalog {
        Catalog::open(&self.location).await.unwrap()
    }
}

/// Makes a test for each engine out of each function.
macro_rules! on_both_engines {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(&$crate::catalog::Home::sqlite().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(&$crate::catalog::Home::postgres().await).await;
            })*
        }
    };
}
use on_both_engines;

/// Lists an image in a project; it must be new there.
async fn commit(catalog: &Catalog, project: &str, image: Image, aliases: &[&str]) -> StoredImage {
    let new = kit::images::new(project, image, aliases);
    match catalog.commit_image(&new, kit::images::minute(1_000_000), || Ok(())).await.unwrap() {
        Committed::New(stored) => stored,
        Committed::Already(stored) => panic!("{} was there already", stored.image.fingerprint),
    }
}

/// The names of an image's aliases.
fn names(stored: &StoredImage) -> Vec<&str> {
    stored.aliases.iter().map(|alias| alias.name.as_str()).collect()
}
