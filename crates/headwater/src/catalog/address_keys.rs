use headwater_formats::timestamp::Timestamp;

use super::{Catalog, CatalogError};

/// A key by which addresses of private files are signed.
#[derive(Clone, PartialEq, Eq)]
pub struct AddressKey {
    /// Names it in addresses.
    pub id: String,
    /// The key: 64 hexadecimal digits.
    pub secret: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl std::fmt::Debug for AddressKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AddressKey").field("id", &self.id).field("created_at", &self.created_at).finish_non_exhaustive()
    }
}

impl Catalog {
    /// The keys, newest first. The newest signs; all are good for what they signed.
    pub async fn address_keys(&self) -> Result<Vec<AddressKey>, CatalogError> {
        todo!()
    }

    /// Adds a key unless there is one that was made after `not_after`, and forgets those made before `forget_before` that
    /// are not the newest; gives what is there then, newest first. So servers that start at once agree on one.
    pub async fn add_address_key(
        &self,
        key: &AddressKey,
        not_after: Option<Timestamp>,
        forget_before: Timestamp,
    ) -> Result<Vec<AddressKey>, CatalogError> {
        let _ = (key, not_after, forget_before);
        todo!()
    }
}
