use super::{Catalog, CatalogError};

impl Catalog {
    /// A setting of the installation, such as its `server_name`.
    pub async fn setting(&self, key: &str) -> Result<Option<String>, CatalogError> {
        let _ = key;
        unimplemented!()
    }

    /// Keeps a setting.
    pub async fn set_setting(&self, key: &str, value: &str) -> Result<(), CatalogError> {
        let _ = (key, value);
        unimplemented!()
    }
}
