use headwater_formats::digest::Fingerprint;
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;

use super::audit::{Action, record};
use super::engine::values;
use super::images::find;
use super::records::Changed;
use super::remove::retire;
use super::sight::project_id;
use super::{Catalog, CatalogError, bump_revision, changes};

impl Catalog {
    /// Puts an image in the place of an older one of the same project: the fixed aliases of the old one lead to the new one from now
    /// on, and the old one is deleted as by [`Catalog::delete_image`]. Nobody ever finds such an alias leading nowhere.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`]; [`CatalogError::NoImage`] when either is gone: then nothing was changed.
    pub async fn replace_image(
        &self,
        project: &ProjectName,
        old: &Fingerprint,
        new: &Fingerprint,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let id = project_id(&mut tx, project).await?;
        let successor = find(&mut tx, id, new).await?;
        let row = find(&mut tx, id, old).await?;
        if row.id == successor.id {
            return Ok(());
        }
        let mut changed = Changed::default();
        tx.execute("UPDATE aliases SET image_id = $1 WHERE image_id = $2", values![successor.id, row.id]).await?;
        changes::names_of_image(&mut tx, successor.id).await?;
        if let Some((product, _)) = &successor.place {
            changes::product(&mut tx, *product).await?;
        }
        changed.image(&mut tx, successor.id, successor.place.as_ref().map(|(product, _)| *product)).await?;
        retire(&mut tx, id, &row, now).await?;
        changed.write(&mut tx).await?;
        let (old, new) = (old.to_string(), new.to_string());
        record(&mut tx, &self.actor, Action::ImageRefreshed, Some(project), &new, &[("replaces", &old)], now).await?;
        bump_revision(&mut tx, now).await?;
        tx.commit().await
    }
}
