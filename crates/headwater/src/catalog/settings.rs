use super::engine::values;
use super::{Catalog, CatalogError};

impl Catalog {
    /// A setting of the installation, such as its `server_name`.
    pub async fn setting(&self, key: &str) -> Result<Option<String>, CatalogError> {
        let rows = self.engine.fetch("SELECT value FROM settings WHERE key = $1", values![key]).await?;
        rows.first().map(|row| row.text(0)).transpose()
    }

    /// Keeps a setting.
    pub async fn set_setting(&self, key: &str, value: &str) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        tx.execute(
            "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            values![key, value],
        )
        .await?;
        tx.commit().await
    }
}
