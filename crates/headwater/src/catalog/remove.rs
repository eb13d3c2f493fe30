use headwater_formats::digest::Fingerprint;
use headwater_formats::image::FileRole;
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;

use super::audit::{Action, record};
use super::engine::{Tx, values};
use super::images::find;
use super::place::tidy;
use super::records::{self, Changed};
use super::rows::ImageRow;
use super::sight::project_id;
use super::{Catalog, CatalogError, bump_revision, changes, deltas};
use crate::auth::Actor;

/// Stands for everybody in `retired_access.audience`, where else is a project's id.
pub(super) const GUESTS: i64 = 0;

impl Catalog {
    /// Takes an image out of every listing at once. Files that no image needs any more are retired: they go on being
    /// served to those who could see them, until a sweep finds that their grace is over. Its fixed aliases go, too.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], [`CatalogError::NoImage`].
    pub async fn delete_image(
        &self,
        project: &ProjectName,
        fingerprint: &Fingerprint,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let name = project;
        let project = project_id(&mut tx, name).await?;
        let row = find(&mut tx, project, fingerprint).await?;
        delete(&mut tx, &self.actor, name, &row, None, now).await?;
        bump_revision(&mut tx, now).await?;
        tx.commit().await
    }
}

/// Takes an image away, and writes a line of the audit: with the rule that says so, if no person does.
pub(super) async fn delete(
    tx: &mut Tx,
    actor: &Actor,
    project: &ProjectName,
    row: &ImageRow,
    rule: Option<&str>,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let sql = "SELECT name FROM aliases WHERE image_id = $1 ORDER BY name";
    let aliases: Vec<String> =
        tx.rows(sql, values![row.id]).await?.iter().map(|row| row.text(0)).collect::<Result<_, _>>()?;
    retire(tx, row.project, row, now).await?;
    let (aliases, public) = (aliases.join(", "), row.image.public.to_string());
    let mut detail = vec![("aliases", aliases.as_str()), ("filename", &row.image.filename), ("public", &public)];
    detail.extend(rule.map(|rule| ("rule", rule)));
    let subject = row.image.fingerprint.to_string();
    record(tx, actor, Action::ImageDeleted, Some(project), &subject, &detail, now).await
}

/// Takes an image's rows away and retires the files that no image needs any more.
pub(super) async fn retire(tx: &mut Tx, project: i64, row: &ImageRow, now: Timestamp) -> Result<(), CatalogError> {
    // While its aliases are there, which go with it.
    changes::names_of_image(tx, row.id).await?;
    let mut changed = Changed::default();
    changed.image(tx, row.id, row.place.as_ref().map(|(product, _)| *product)).await?;
    records::forget(tx, project, row.id).await?;
    tx.execute("DELETE FROM images WHERE id = $1", values![row.id]).await?;
    let audience = if row.image.public { GUESTS } else { project };
    for (role, file) in row.image.files.iter() {
        let digest = file.digest.to_string();
        tx.execute(
            "INSERT INTO retired_access (digest, audience, ended_at) VALUES ($1, $2, $3) \
             ON CONFLICT (digest, audience) DO UPDATE SET ended_at = excluded.ended_at \
             WHERE excluded.ended_at > retired_access.ended_at",
            values![digest.as_str(), audience, now.unix()],
        )
        .await?;
        let sql = format!(
            "UPDATE blobs SET retired_at = $1 WHERE digest = $2 \
             AND NOT EXISTS (SELECT 1 FROM image_files f WHERE f.digest = $2) AND NOT {}",
            deltas::NEEDED
        );
        let retired = tx.execute(sql, values![now.unix(), digest.as_str()]).await?;
        if retired > 0 && role == FileRole::Root {
            deltas::retire(tx, &digest, now).await?;
        }
    }
    if let Some((product, version)) = &row.place {
        tidy(tx, *product, version).await?;
    }
    changed.write(tx).await
}
