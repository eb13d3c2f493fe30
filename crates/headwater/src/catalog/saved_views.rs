//! Saved views: filters with names.

use headwater_formats::names::{ProjectName, ViewName};
use headwater_formats::timestamp::Timestamp;
use headwater_formats::view::View;

use super::audit::{self, Action};
use super::engine::{Row, Tx, values};
use super::sight::project_id;
use super::{Catalog, CatalogError, rows};

/// A filter with a name, over one project: served at `/v/<name>/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedView {
    /// Its name, unique on the server.
    pub name: ViewName,
    /// The project that it looks at.
    pub project: ProjectName,
    /// The filter.
    pub view: View,
    /// Free text.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
}

const SELECT: &str = "SELECT v.name, p.name, v.filter, v.description, v.created_at FROM saved_views v \
     JOIN projects p ON p.id = v.project_id";

impl Catalog {
    /// All of them, by name.
    pub async fn saved_views(&self) -> Result<Vec<SavedView>, CatalogError> {
        let rows = self.engine.fetch(format!("{SELECT} ORDER BY v.name"), values![]).await?;
        rows.iter().map(read).collect()
    }

    /// One of them.
    pub async fn saved_view(&self, name: &ViewName) -> Result<Option<SavedView>, CatalogError> {
        let rows = self.engine.fetch(format!("{SELECT} WHERE v.name = $1"), values![name.as_str()]).await?;
        rows.first().map(read).transpose()
    }

    /// Makes one.
    ///
    /// # Errors
    /// [`CatalogError::ViewExists`], [`CatalogError::NoProject`], [`CatalogError::EmptyView`].
    pub async fn create_view(
        &self,
        name: &ViewName,
        project: &ProjectName,
        view: &View,
        description: &str,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        if view.is_nothing() {
            return Err(CatalogError::EmptyView(name.clone()));
        }
        let mut tx = self.engine.write().await?;
        let project_id = project_id(&mut tx, project).await?;
        let filter = view.words().to_string();
        let made = tx
            .execute(
                "INSERT INTO saved_views (name, project_id, filter, description, created_at) \
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING",
                values![name.as_str(), project_id, filter.as_str(), description, now.unix()],
            )
            .await?;
        if made == 0 {
            return Err(CatalogError::ViewExists(name.clone()));
        }
        let detail = [("filter", filter.as_str())];
        audit::record(&mut tx, &self.actor, Action::ViewCreated, Some(project), name.as_str(), &detail, now).await?;
        tx.commit().await
    }

    /// Removes one that no token is bound to.
    ///
    /// # Errors
    /// [`CatalogError::NoView`], [`CatalogError::ViewInUse`].
    pub async fn delete_view(&self, name: &ViewName, now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let found = tx
            .row(
                "SELECT v.id, p.name FROM saved_views v JOIN projects p ON p.id = v.project_id WHERE v.name = $1",
                values![name.as_str()],
            )
            .await?
            .ok_or_else(|| CatalogError::NoView(name.as_str().to_owned()))?;
        let (id, project) = (found.int(0)?, rows::parse::<ProjectName>("a project's name", &found.text(1)?)?);
        if tx.row("SELECT 1 FROM identities WHERE view_id = $1 LIMIT 1", values![id]).await?.is_some() {
            return Err(CatalogError::ViewInUse(name.clone()));
        }
        tx.execute("DELETE FROM saved_views WHERE id = $1", values![id]).await?;
        audit::record(&mut tx, &self.actor, Action::ViewDeleted, Some(&project), name.as_str(), &[], now).await?;
        tx.commit().await
    }
}

/// The number of a view.
pub(super) async fn view_id(tx: &mut Tx, name: &ViewName) -> Result<i64, CatalogError> {
    match tx.row("SELECT id FROM saved_views WHERE name = $1", values![name.as_str()]).await? {
        Some(row) => row.int(0),
        None => Err(CatalogError::NoView(name.as_str().to_owned())),
    }
}

fn read(row: &Row) -> Result<SavedView, CatalogError> {
    Ok(SavedView {
        name: rows::parse("a view's name", &row.text(0)?)?,
        project: rows::parse("a project's name", &row.text(1)?)?,
        view: rows::parse("a view's filter", &row.text(2)?)?,
        description: row.text(3)?,
        created_at: rows::time(row.int(4)?)?,
    })
}
