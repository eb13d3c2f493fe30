//! Images: [`Image`] as it is sent, [`ImagePut`], [`ImagePatch`] and [`ImagesPost`] as they are received (LXD and Incus
//! `shared/api/image.go`).

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
    /// Where it was copied from, without passwords; left out for an image that was published here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_source: Option<UpdateSource>,
    /// Container or virtual machine.
    #[serde(rename = "type")]
    pub image_type: ImageType,
    /// When it was made.
    pub created_at: WireTime,
    /// When it was last downloaded; the zero time is never.
    pub last_used_at: WireTime,
    /// When it was published here.
    pub uploaded_at: WireTime,
    /// The names that lead to it. The last two members stand behind all that is the image's own: see [`super::record`].
    pub aliases: Vec<AliasName<'a>>,
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
            architecture: image.architecture,
            cached: false,
            filename: &image.filename,
            fingerprint: image.fingerprint,
            size: image.files.size(),
            update_source: image.update_source.as_ref().map(shown),
            image_type: image.image_type,
            created_at: image.created_at.into(),
            last_used_at: image.last_used_at.into(),
            uploaded_at: image.uploaded_at.into(),
            aliases,
            project,
        }
    }
}

/// A source as everybody who sees the image may see it: its address can hold a user and a password, a query, or a token of ours in its path.
fn shown(source: &UpdateSource) -> UpdateSource {
    let server = source.server.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = server.split_once("://").unwrap_or(("https", server));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let parts: Vec<&str> = path.split('/').map(|part| if part.starts_with("hw_") { "..." } else { part }).collect();
    UpdateSource { server: format!("{scheme}://{host}{}", parts.join("/")), ..source.clone() }
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

/// Some of what can be changed of an image: the body of `PATCH`. What is missing or `null` stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ImagePatch {
    /// Whether the image shall follow its `update_source`.
    pub auto_update: Option<bool>,
    /// Properties that are added, or replace those of the same key.
    pub properties: Option<BTreeMap<String, String>>,
    /// Whether guests shall see it.
    pub public: Option<bool>,
    /// None keeps the expiry that is there.
    pub expires_at: WireTime,
    /// Names of profiles.
    pub profiles: Option<Vec<String>>,
}

/// A request for an image in JSON: the body of `POST /1.0/images` that is no upload (LXD `shared/api/image.go` `ImagesPost`).
/// Missing and `null` fields are as in [`ImagePut`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ImagesPost {
    /// How the image shall be listed.
    #[serde(flatten)]
    pub put: ImagePut,
    /// What its file shall be called; mostly empty.
    #[serde(deserialize_with = "null_is_default")]
    pub filename: String,
    /// Where it comes from.
    pub source: Option<ImagesPostSource>,
    /// For images that are made from an instance.
    #[serde(deserialize_with = "null_is_default")]
    pub compression_algorithm: String,
    /// Names that shall lead to it.
    #[serde(deserialize_with = "null_is_default")]
    pub aliases: Vec<NewAlias>,
    /// For images that are made from an instance: `unified` or `split` (Incus).
    #[serde(deserialize_with = "null_is_default")]
    pub format: String,
}

/// Where an image shall come from (LXD `shared/api/image.go` `ImagesPostSource`). Empty is not said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ImagesPostSource {
    /// `push` asks for a token with which another server uploads; `pull` and empty are the same.
    #[serde(deserialize_with = "null_is_default")]
    pub mode: String,
    /// `image`, `url`, or what is to become an image: `instance`, `container`, `virtual-machine`, `snapshot`.
    #[serde(rename = "type", deserialize_with = "null_is_default")]
    pub kind: String,
    /// The server's URL.
    #[serde(deserialize_with = "null_is_default")]
    pub server: String,
    /// `lxd`, `incus`, `simplestreams`, `direct`, `oci`.
    #[serde(deserialize_with = "null_is_default")]
    pub protocol: String,
    /// The server's certificate in PEM.
    #[serde(deserialize_with = "null_is_default")]
    pub certificate: String,
    /// The alias there.
    #[serde(deserialize_with = "null_is_default")]
    pub alias: String,
    /// The fingerprint there; the beginning of one, or an alias, for a public image.
    #[serde(deserialize_with = "null_is_default")]
    pub fingerprint: String,
    /// The secret that opens a private image.
    #[serde(deserialize_with = "null_is_default")]
    pub secret: String,
    /// The project there.
    #[serde(deserialize_with = "null_is_default")]
    pub project: String,
    /// `container` or `virtual-machine`, when an alias could mean both.
    #[serde(deserialize_with = "null_is_default")]
    pub image_type: String,
    /// For `url`: where the image, or what names it, can be downloaded.
    #[serde(deserialize_with = "null_is_default")]
    pub url: String,
    /// The instance that is to become an image.
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    /// Whether the image keeps the names that it has there (newer LXD).
    #[serde(deserialize_with = "null_is_default")]
    pub copy_aliases: bool,
}

/// A name to be made. Not checked: clients send what people typed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct NewAlias {
    /// The name.
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    /// Free text.
    #[serde(deserialize_with = "null_is_default")]
    pub description: String,
}

/// `null` is what Go writes for a list or map that was never made, and takes for every zero value.
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
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
                    r#""architecture":"x86_64","cached":false,"#,
                    r#""filename":"meta.tar.xz","fingerprint":"{}","size":{},"type":"container","#,
                    r#""created_at":"2024-01-03T07:42:00Z","last_used_at":"0001-01-01T00:00:00Z","#,
                    r#""uploaded_at":"2024-01-03T07:42:00Z","#,
                    r#""aliases":[{{"name":"debian/12","description":""}}],"project":"default"}}"#
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
    fn what_opens_the_source_is_not_shown() {
        for (server, expected) in [
            ("https://images.example:8443", "https://images.example:8443"),
            ("https://ann:p@ss@images.example/a?token=x", "https://images.example/a"),
            ("https://images.example/t/hw_abc/", "https://images.example/t/.../"),
        ] {
            let source = UpdateSource {
                alias: "a".into(),
                certificate: String::new(),
                protocol: "simplestreams".into(),
                server: server.into(),
                image_type: String::new(),
            };
            assert_eq!(shown(&source).server, expected);
        }
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

    #[test]
    fn a_request_for_an_image_as_clients_send_it() {
        // lxc 5.0.2, `image copy --mode push`: the side that waits for the other.
        let post: ImagesPost = serde_json::from_str(
            r#"{"auto_update":false,"properties":{"os":"tiny"},"public":true,"expires_at":"2030-01-01T00:00:00Z","profiles":null,
                "filename":"","source":{"alias":"","certificate":"","protocol":"","server":"","image_type":"","mode":"push",
                "type":"","url":"","name":"","fingerprint":"ab","secret":"","project":""},"compression_algorithm":"","aliases":null}"#,
        )
        .unwrap();
        let source = post.source.unwrap();
        assert_eq!((source.mode.as_str(), source.kind.as_str(), source.fingerprint.as_str()), ("push", "", "ab"));
        assert_eq!((post.put.public, post.put.properties["os"].as_str(), post.put.profiles), (true, "tiny", None));
        assert_eq!(post.put.expires_at.to_string(), "2030-01-01T00:00:00Z");
        assert!(post.aliases.is_empty());

        let post: ImagesPost = serde_json::from_str(
            r#"{"source":{"type":"image","copy_aliases":true},"aliases":[{"name":"a"}],"new":[1]}"#,
        )
        .unwrap();
        assert_eq!(post.aliases, [NewAlias { name: "a".into(), description: String::new() }]);
        assert!(post.source.is_some_and(|source| source.kind == "image" && source.copy_aliases));
        assert_eq!(serde_json::from_str::<ImagesPost>("{}").unwrap(), ImagesPost::default());
        assert!(serde_json::from_str::<ImagesPost>(r#"{"source":"x"}"#).is_err());
    }

    #[test]
    fn a_patch_knows_what_was_left_out() {
        let patch: ImagePatch =
            serde_json::from_str(r#"{"public":false,"properties":{"a":"b"},"profiles":null}"#).unwrap();
        assert_eq!((patch.public, patch.auto_update, patch.profiles), (Some(false), None, None));
        assert_eq!(patch.properties.unwrap()["a"], "b");
    }
}
