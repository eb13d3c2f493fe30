//! Who sees what, as conditions of statements.
//!
//! Inside one project a viewer sees either everything or the public images, so that each statement has two forms, and
//! each form an index of its own. Across projects (files) there are lists of project ids.

use headwater_formats::names::ProjectName;

use super::CatalogError;
use super::engine::{Tx, values};
use crate::auth::Viewer;

/// A project in which a viewer sees something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    /// The project's id.
    pub(super) project: i64,
    /// Whether private images count.
    pub(super) private: bool,
}

impl Sight {
    /// ` AND i.public = 1` for who sees public images only.
    pub(super) fn and_visible(self, image: &str) -> String {
        if self.private { String::new() } else { format!(" AND {image}.public = 1") }
    }

    /// Which set of generated names counts: those of the newest image, or those of the newest public one.
    pub(super) fn names(self) -> i64 {
        i64::from(!self.private)
    }
}

/// The id of a project.
pub(super) async fn project_id(tx: &mut Tx, project: &ProjectName) -> Result<i64, CatalogError> {
    match tx.row("SELECT id FROM projects WHERE name = $1", values![project.as_str()]).await? {
        Some(row) => row.int(0),
        None => Err(CatalogError::NoProject(project.as_str().to_owned())),
    }
}

/// What a viewer sees in a project. One in which they may see nothing is answered like one that is not there, except
/// `default`, of which everybody knows.
pub(super) async fn sight(tx: &mut Tx, viewer: &Viewer, project: &ProjectName) -> Result<Sight, CatalogError> {
    let sight = Sight { project: project_id(tx, project).await?, private: viewer.sees_private_in(project) };
    let known = sight.private
        || project.is_default()
        || tx
            .row("SELECT 1 FROM images WHERE project_id = $1 AND public = 1 LIMIT 1", values![sight.project])
            .await?
            .is_some();
    if known { Ok(sight) } else { Err(CatalogError::NoProject(project.as_str().to_owned())) }
}

/// The ids of the projects whose private images a viewer sees; `None` is all of them.
pub(super) async fn private_projects(tx: &mut Tx, viewer: &Viewer) -> Result<Option<Vec<i64>>, CatalogError> {
    let Some(granted) = viewer.private_projects() else { return Ok(None) };
    let names: Vec<String> = granted.iter().map(|name| name.as_str().to_owned()).collect();
    let mut ids = Vec::new();
    for batch in super::engine::Batch::of(&names) {
        let mut values = values![];
        let list = batch.bind(&mut values);
        for row in tx.rows(format!("SELECT id FROM projects WHERE name IN ({list})"), values).await? {
            ids.push(row.int(0)?);
        }
    }
    Ok(Some(ids))
}
