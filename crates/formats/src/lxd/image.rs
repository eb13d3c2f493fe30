//! Images: [`Image`] as it is sent, [`ImagePut`] as it is received (LXD and Incus `shared/api/image.go`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::time::WireTime;
use crate::arch::Architecture;
use crate::digest::Fingerprint;
use crate::image::{ImageType, UpdateSource};

/// An image as `GET /1.0/images/<fingerprint>` and the list with `recursion=1` show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image<'a> {
    /// Whether the image follows its `update_source`.
    pub auto_update: bool,
    /// Free key-value pairs.
    pub properties: &'a BTreeMap<String, String>,
    /// Whether guests see it.
    pub public: bool,
    /// When it goes out of use; the zero time is never.
    pub expires_at: WireTime,
    /// Names of profiles.
    pub profiles: &'a [String],
    /// The names that lead to it.
    pub aliases: Vec<AliasName<'a>>,
    /// By its canonical name; pulling daemons refuse others.
    pub architecture: Architecture,
    /// False: only daemons keep images that nobody published.
    pub cached: bool,
    /// What the file was called when it was published.
    pub filename: &'a str,
    /// All 64 characters.
    pub fingerprint: Fingerprint,
    /// Bytes of all files together.
    pub size: u64,
    /// Where it was copied from; left out for an image that was published here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_source: Option<&'a UpdateSource>,
    /// Container or virtual machine.
    #[serde(rename = "type")]
    pub image_type: ImageType,
    /// When it was made.
    pub created_at: WireTime,
    /// When it was last downloaded; the zero time is never.
    pub last_used_at: WireTime,
    /// When it was published here.
    pub uploaded_at: WireTime,
    /// The project it is in.
    pub project: &'a str,
}

/// A name in the list of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AliasName<'a> {
    /// The name.
    pub name: &'a str,
    /// What people wrote about it, or empty.
    pub description: &'a str,
}

impl<'a> Image<'a> {
    /// The image as it is in that project, under these names.
    pub fn new(image: &'a crate::image::Image, project: &'a str, aliases: Vec<AliasName<'a>>) -> Self {
        Self {
            auto_update: image.auto_update,
            properties: &image.properties,
            public: image.public,
            expires_at: image.expires_at.into(),
            profiles: &image.profiles,
            aliases,
            architecture: image.architecture,
            cached: false,
            filename: &image.filename,
            fingerprint: image.fingerprint,
            size: image.files.size(),
            update_source: image.update_source.as_ref(),
            image_type: image.image_type,
            created_at: image.created_at.into(),
            last_used_at: image.last_used_at.into(),
            uploaded_at: image.uploaded_at.into(),
            project,
        }
    }
}

/// What can be changed of an image: the body of `PUT`. Fields that are missing or `null` have the values of Go's zero
/// value, as in the daemons; unknown fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ImagePut {
    /// Whether the image shall follow its `update_source`.
    #[serde(deserialize_with = "null_is_default")]
    pub auto_update: bool,
    /// All the properties; those that are missing go.
    #[serde(deserialize_with = "null_is_default")]
    pub properties: BTreeMap<String, String>,
    /// Whether guests shall see it.
    #[serde(deserialize_with = "null_is_default")]
    pub public: bool,
    /// None keeps the expiry that is there.
    pub expires_at: WireTime,
    /// `None` stands for `["default"]`.
    pub profiles: Option<Vec<String>>,
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simplestreams::testing::image;

    #[test]
    fn every_field_of_the_api_is_there() {
        let mut source = image(1, "squashfs");
        source.properties = [("os".to_owned(), "Debian".to_owned())].into();
        source.profiles = vec!["default".to_owned()];
        let wire = Image::new(&source, "default", vec![AliasName { name: "debian/12", description: "" }]);
        let fingerprint = source.fingerprint;
        let size = source.files.size();
        assert_eq!(
            serde_json::to_string(&wire).unwrap(),
            format!(
                concat!(
                    r#"{{"auto_update":false,"properties":{{"os":"Debian"}},"public":true,"#,
                    r#""expires_at":"0001-01-01T00:00:00Z","profiles":["default"],"#,
                    r#""aliases":[{{"name":"debian/12","description":""}}],"architecture":"x86_64","cached":false,"#,
                    r#""filename":"meta.tar.xz","fingerprint":"{}","size":{},"type":"container","#,
                    r#""created_at":"2024-01-03T07:42:00Z","last_used_at":"0001-01-01T00:00:00Z","#,
                    r#""uploaded_at":"2024-01-03T07:42:00Z","project":"default"}}"#
                ),
                fingerprint, size
            )
        );
    }

    #[test]
    fn the_source_shows_when_there_is_one() {
        let mut source = image(1, "squashfs");
        source.update_source = Some(UpdateSource {
            alias: "debian/12".into(),
            certificate: String::new(),
            protocol: "simplestreams".into(),
            server: "https://images.example".into(),
            image_type: "container".into(),
        });
        let json = serde_json::to_value(Image::new(&source, "default", Vec::new())).unwrap();
        assert_eq!(json["update_source"]["server"], "https://images.example");
        assert_eq!(json["aliases"], serde_json::json!([]));
    }

    #[test]
    fn a_change_may_leave_out_anything() {
        assert_eq!(serde_json::from_str::<ImagePut>("{}").unwrap(), ImagePut::default());
        let put: ImagePut = serde_json::from_str(
            r#"{"properties":null,"profiles":null,"auto_update":null,"public":true,"expires_at":"0001-01-01T00:00:00Z","new":1}"#,
        )
        .unwrap();
        assert_eq!(put, ImagePut { public: true, ..ImagePut::default() });
        assert!(serde_json::from_str::<ImagePut>(r#"{"properties":{"a":1}}"#).is_err());
    }
}
