use headwater_formats::digest::Fingerprint;
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;

use super::audit::{Action, record};
use super::engine::{Batch, Row, Tx, values};
use super::retention::Retention;
use super::sight::{private_projects, project_id, sight};
use super::{Catalog, CatalogError, bump_revision, changes, rows};
use crate::auth::Viewer;

/// A project: a namespace with its own images and aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The name.
    pub name: ProjectName,
    /// Free text.
    pub description: String,
    /// When it was made; `default` says 1970.
    pub created_at: Timestamp,
    /// How many images the viewer sees in it.
    pub images: u64,
    /// Whether root files of containers that are published in it are packed anew, so that deltas are small.
    pub repack: bool,
    /// Which of its images stay by themselves.
    pub retention: Retention,
}

/// A project and the number of all its images.
const WHOLE: &str = "SELECT p.name, p.description, p.created_at, \
     (SELECT COUNT(*) FROM images i WHERE i.project_id = p.id), p.repack, p.keep, p.keep_days, p.keep_aliased FROM projects p";

/// A project and the number of its public images.
const PUBLIC: &str = "SELECT p.name, p.description, p.created_at, \
     (SELECT COUNT(*) FROM images i WHERE i.project_id = p.id AND i.public = 1), p.repack, p.keep, p.keep_days, p.keep_aliased \
     FROM projects p";

/// What makes a project known to everybody.
const KNOWN: &str =
    "(p.name = 'default' OR EXISTS (SELECT 1 FROM images i WHERE i.project_id = p.id AND i.public = 1))";

impl Catalog {
    /// The projects in which the viewer may see something: `default`, those with a public image, those granted; by name.
    pub async fn projects(&self, viewer: &Viewer) -> Result<Vec<Project>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let mut projects = Vec::new();
        match private_projects(&mut tx, viewer).await? {
            None => projects.extend(list(&mut tx, WHOLE.to_owned(), values![]).await?),
            Some(granted) => {
                for batch in Batch::of(&granted) {
                    let mut values = values![];
                    let ids = batch.bind(&mut values);
                    projects.extend(list(&mut tx, format!("{WHOLE} WHERE p.id IN ({ids})"), values).await?);
                }
                let public = list(&mut tx, format!("{PUBLIC} WHERE {KNOWN}"), values![]).await?;
                projects.extend(public.into_iter().filter(|project| !viewer.sees_private_in(&project.name)));
            }
        }
        tx.commit().await?;
        projects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(projects)
    }

    /// One of those.
    pub async fn project(&self, viewer: &Viewer, name: &ProjectName) -> Result<Option<Project>, CatalogError> {
        let sql = if viewer.sees_private_in(name) {
            format!("{WHOLE} WHERE p.name = $1")
        } else {
            format!("{PUBLIC} WHERE p.name = $1 AND {KNOWN}")
        };
        let found = self.engine.fetch(sql, values![name.as_str()]).await?;
        found.first().map(read).transpose()
    }

    /// Makes a project.
    ///
    /// # Errors
    /// [`CatalogError::ProjectExists`].
    pub async fn create_project(
        &self,
        name: &ProjectName,
        description: &str,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let made = tx
            .execute(
                "INSERT INTO projects (name, description, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
                values![name.as_str(), description, now.unix()],
            )
            .await?;
        if made == 0 {
            return Err(CatalogError::ProjectExists(name.clone()));
        }
        changes::named(&mut tx, name).await?;
        record(&mut tx, &self.actor, Action::ProjectCreated, Some(name), name.as_str(), &[], now).await?;
        bump_revision(&mut tx, now).await?;
        tx.commit().await
    }

    /// Changes a project's description; nothing that documents show.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`].
    pub async fn edit_project(
        &self,
        name: &ProjectName,
        description: &str,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let id = project_id(&mut tx, name).await?;
        let changed = tx
            .execute(
                "UPDATE projects SET description = $1 WHERE id = $2 AND description <> $1",
                values![description, id],
            )
            .await?;
        if changed > 0 {
            let detail = [("description", description)];
            record(&mut tx, &self.actor, Action::ProjectUpdated, Some(name), name.as_str(), &detail, now).await?;
        }
        tx.commit().await
    }

    /// Says whether root files of containers that are published in a project from now on are packed anew. Images that are there stay as
    /// they are; nothing that documents show.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`].
    pub async fn set_repack(&self, name: &ProjectName, repack: bool, now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let id = project_id(&mut tx, name).await?;
        let sql = "UPDATE projects SET repack = $1 WHERE id = $2 AND repack <> $1";
        if tx.execute(sql, values![repack, id]).await? > 0 {
            let detail = [("repack", if repack { "on" } else { "off" })];
            record(&mut tx, &self.actor, Action::ProjectUpdated, Some(name), name.as_str(), &detail, now).await?;
        }
        tx.commit().await
    }

    /// Gives a project another name. Its images, aliases and grants stay its own; addresses and clients that hold the old name find
    /// nothing any more. `default` keeps its name.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], [`CatalogError::ProjectExists`], [`CatalogError::ProjectInUse`].
    pub async fn rename_project(
        &self,
        old: &ProjectName,
        new: &ProjectName,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        if old.is_default() {
            return Err(CatalogError::ProjectInUse(
                "the project \"default\" cannot be renamed; it is the one that is meant where none is named".into(),
            ));
        }
        let mut tx = self.engine.write().await?;
        let id = project_id(&mut tx, old).await?;
        if tx.row("SELECT 1 FROM projects WHERE name = $1", values![new.as_str()]).await?.is_some() {
            return Err(CatalogError::ProjectExists(new.clone()));
        }
        tx.execute("UPDATE projects SET name = $1 WHERE id = $2", values![new.as_str(), id]).await?;
        changes::named(&mut tx, new).await?;
        // Secrets and tokens that wait in it are good in it as before.
        tx.execute(
            "UPDATE operations SET project = $1 WHERE project = $2 AND status < 200",
            values![new.as_str(), old.as_str()],
        )
        .await?;
        let detail = [("new_name", new.as_str())];
        record(&mut tx, &self.actor, Action::ProjectRenamed, Some(old), old.as_str(), &detail, now).await?;
        bump_revision(&mut tx, now).await?;
        tx.commit().await
    }

    /// The fingerprints of up to `limit` images that the viewer sees in the project, in their order.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], also for a project in which the viewer may see nothing.
    pub async fn fingerprints(
        &self,
        viewer: &Viewer,
        project: &ProjectName,
        limit: usize,
    ) -> Result<Vec<Fingerprint>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let sight = sight(&mut tx, viewer, project).await?;
        let sql = format!(
            "SELECT i.fingerprint FROM images i WHERE i.project_id = $1{} ORDER BY i.fingerprint LIMIT $2",
            sight.and_visible("i")
        );
        let found = tx.rows(sql, values![sight.project, rows::limit(limit)]).await?;
        tx.commit().await?;
        found.iter().map(|row| rows::parse("a fingerprint", &row.text(0)?)).collect()
    }

    /// Removes a project without images, aliases, saved views and upstreams; `default` stays. What was granted in it goes with it. Files of
    /// images that were deleted from it are no
    /// longer served to those who could see it by a grant.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], [`CatalogError::ProjectInUse`].
    pub async fn delete_project(&self, name: &ProjectName, now: Timestamp) -> Result<(), CatalogError> {
        if name.is_default() {
            return Err(CatalogError::ProjectInUse(
                "the project \"default\" cannot be deleted; every catalog has it".into(),
            ));
        }
        let mut tx = self.engine.write().await?;
        let id = project_id(&mut tx, name).await?;
        let in_use = [
            ("images", "image", tx.row("SELECT 1 FROM images WHERE project_id = $1 LIMIT 1", values![id]).await?),
            ("aliases", "alias", tx.row("SELECT 1 FROM aliases WHERE project_id = $1 LIMIT 1", values![id]).await?),
            (
                "saved views",
                "view",
                tx.row("SELECT 1 FROM saved_views WHERE project_id = $1 LIMIT 1", values![id]).await?,
            ),
            (
                "upstreams",
                "mirror",
                tx.row("SELECT 1 FROM upstreams WHERE project_id = $1 LIMIT 1", values![id]).await?,
            ),
        ];
        if let Some((what, command, _)) = in_use.iter().find(|(_, _, found)| found.is_some()) {
            return Err(CatalogError::ProjectInUse(format!(
                "the project \"{name}\" still has {what}; delete them first (`headwater {command} list` shows them)"
            )));
        }
        tx.execute("DELETE FROM retired_access WHERE audience = $1", values![id]).await?;
        tx.execute("DELETE FROM projects WHERE id = $1", values![id]).await?;
        record(&mut tx, &self.actor, Action::ProjectDeleted, Some(name), name.as_str(), &[], now).await?;
        bump_revision(&mut tx, now).await?;
        tx.commit().await
    }
}

async fn list(tx: &mut Tx, sql: String, values: Vec<super::engine::Value>) -> Result<Vec<Project>, CatalogError> {
    tx.rows(sql, values).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Project, CatalogError> {
    Ok(Project {
        name: rows::parse("a project's name", &row.text(0)?)?,
        description: row.text(1)?,
        created_at: rows::time(row.int(2)?)?,
        images: rows::unsigned(row.int(3)?)?,
        repack: row.truth(4)?,
        retention: Retention::read(row, 5)?,
    })
}
