use headwater_formats::names::ViewName;
use headwater_formats::timestamp::Timestamp;

use super::{Catalog, CatalogError};
use crate::auth::{Grant, Identity, IdentityId, SecretHash};

/// An identity to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIdentity {
    /// By what it is known.
    pub credential: Credential,
    /// What people call it.
    pub name: String,
    /// Free text.
    pub description: String,
    /// May do everything everywhere.
    pub administrator: bool,
    /// What else it may do.
    pub grants: Vec<Grant>,
    /// The saved view that a token is bound to.
    pub view: Option<ViewName>,
    /// From then on it is not known any more.
    pub expires_at: Option<Timestamp>,
}

/// By what an identity is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A client certificate.
    Certificate {
        /// SHA-256 of the DER, 64 hexadecimal digits.
        fingerprint: String,
        /// The DER in base64.
        der_base64: String,
    },
    /// A token.
    Token {
        /// What may be shown of it.
        prefix: String,
        /// What is kept of it.
        hash: SecretHash,
    },
}

/// What can be changed about an identity. `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdentityEdit {
    /// What people call it.
    pub name: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// May do everything everywhere.
    pub administrator: Option<bool>,
    /// All its grants.
    pub grants: Option<Vec<Grant>>,
}

impl Catalog {
    /// The identity with this certificate (SHA-256 of its DER in hexadecimal), unless it has expired. Asked at every request of
    /// who shows a certificate, so that a change takes effect with the next one.
    pub async fn identity_by_certificate(
        &self,
        fingerprint: &str,
        now: Timestamp,
    ) -> Result<Option<Identity>, CatalogError> {
        let _ = (fingerprint, now);
        todo!()
    }

    /// The identity with this token, unless it has expired.
    pub async fn identity_by_token(&self, hash: &SecretHash, now: Timestamp) -> Result<Option<Identity>, CatalogError> {
        let _ = (hash, now);
        todo!()
    }

    /// The identity with this number, unless it has expired.
    pub async fn identity(&self, id: IdentityId, now: Timestamp) -> Result<Option<Identity>, CatalogError> {
        let _ = (id, now);
        todo!()
    }

    /// All of them, the expired ones too, by kind, name and subject.
    pub async fn identities(&self) -> Result<Vec<Identity>, CatalogError> {
        todo!()
    }

    /// Adds one.
    ///
    /// # Errors
    /// [`CatalogError::IdentityExists`], [`CatalogError::NoProject`], [`CatalogError::NoView`].
    pub async fn add_identity(&self, new: &NewIdentity, now: Timestamp) -> Result<Identity, CatalogError> {
        let _ = (new, now);
        todo!()
    }

    /// Changes one.
    ///
    /// # Errors
    /// [`CatalogError::NoIdentity`], [`CatalogError::NoProject`].
    pub async fn edit_identity(
        &self,
        id: IdentityId,
        edit: &IdentityEdit,
        now: Timestamp,
    ) -> Result<Identity, CatalogError> {
        let _ = (id, edit, now);
        todo!()
    }

    /// Removes one: nobody knows it from the next request on.
    ///
    /// # Errors
    /// [`CatalogError::NoIdentity`].
    pub async fn remove_identity(&self, id: IdentityId, now: Timestamp) -> Result<(), CatalogError> {
        let _ = (id, now);
        todo!()
    }

    /// Notes that these were seen. Does not change the revision and is not audited.
    pub async fn mark_identities_seen(&self, seen: &[IdentityId], at: Timestamp) -> Result<(), CatalogError> {
        let _ = (seen, at);
        todo!()
    }
}
