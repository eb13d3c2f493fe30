//! Aliases (LXD and Incus `shared/api/image.go` `ImageAliasesEntry`).

use serde::{Deserialize, Serialize};

use super::image::null_is_default;
use crate::digest::Fingerprint;
use crate::image::ImageType;

/// An alias as `GET /1.0/images/aliases/<name>` shows it. The order of the fields is that of the daemons: the
/// `ETag` is a hash of this object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AliasEntry<'a> {
    /// What people wrote about it, or empty.
    pub description: &'a str,
    /// The image it leads to.
    pub target: Fingerprint,
    /// The name.
    pub name: &'a str,
    /// The type of that image; clients that want a virtual machine compare it.
    #[serde(rename = "type")]
    pub image_type: ImageType,
}

/// What is received about an alias: the body of `POST` on the list and on an alias, of `PUT` and `PATCH`. Which fields have to be
/// there depends on the method. A `type` is not listened to: it is the image's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct AliasChange {
    /// The name; the new one when it is to be renamed.
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    /// The image: its fingerprint, or the beginning of it.
    #[serde(deserialize_with = "null_is_default")]
    pub target: String,
    /// Free text.
    pub description: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_in_the_order_of_the_daemons() {
        let entry = AliasEntry {
            description: "",
            target: Fingerprint::from_bytes([0xab; 32]),
            name: "debian/12",
            image_type: ImageType::VirtualMachine,
        };
        assert_eq!(
            serde_json::to_string(&entry).unwrap(),
            format!(
                r#"{{"description":"","target":"{}","name":"debian/12","type":"virtual-machine"}}"#,
                "ab".repeat(32)
            )
        );
    }
}
