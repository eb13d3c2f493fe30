//! Projects (LXD and Incus `shared/api/project.go`).
//!
//! ```
//! use headwater_formats::lxd::project;
//!
//! let sent = [("features.images".to_owned(), "false".to_owned())].into();
//! assert!(project::check(&sent).unwrap_err().to_string().starts_with("features.images is \"true\" here"));
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What every project says in `config`, and all that there is: images are each project's own, and so would everything else be.
/// Clients show these in lists and send them back when a project is edited.
pub const CONFIG: [(&str, &str); 6] = [
    ("features.images", "true"),
    ("features.networks", "true"),
    ("features.networks.zones", "true"),
    ("features.profiles", "true"),
    ("features.storage.buckets", "true"),
    ("features.storage.volumes", "true"),
];

/// A project as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Project<'a> {
    /// The name.
    pub name: &'a str,
    /// What people wrote about it.
    pub description: &'a str,
    /// [`CONFIG`].
    pub config: BTreeMap<&'a str, &'a str>,
    /// Addresses of what is in it.
    pub used_by: Vec<String>,
}

/// What is sent to make one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "as in Project")]
pub struct ProjectsPost {
    pub name: String,
    pub description: Option<String>,
    pub config: Option<BTreeMap<String, String>>,
}

/// What is sent to change one. For `PUT`, a description that is missing is empty; for `PATCH`, it stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "as in Project")]
pub struct ProjectPut {
    pub description: Option<String>,
    pub config: Option<BTreeMap<String, String>>,
}

/// What is sent to rename one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ProjectPost {
    /// The new name.
    pub name: String,
}

/// A setting that projects do not have here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchSetting {
    /// One that is as it is.
    #[error(
        "{0} is {1:?} here and cannot be changed: every project has its own images, and nothing but images; leave it as it is"
    )]
    Fixed(String, &'static str),
    /// One that is unknown.
    #[error("projects have no setting {0:?} on this server, which keeps images and runs nothing; leave it out")]
    Unknown(String),
}

/// The `config` of every project.
pub fn config() -> BTreeMap<&'static str, &'static str> {
    CONFIG.into()
}

/// Looks whether what was sent is what there is. A setting that is missing or empty stays.
pub fn check(sent: &BTreeMap<String, String>) -> Result<(), NoSuchSetting> {
    for (key, value) in sent {
        match CONFIG.iter().find(|(known, _)| known == key) {
            None => return Err(NoSuchSetting::Unknown(key.clone())),
            Some((_, fixed)) if !value.is_empty() && truth(value) != Some(true) => {
                return Err(NoSuchSetting::Fixed(key.clone(), fixed));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// A truth value as the daemons read it (LXD `shared/util.go` `IsTrue`, `IsFalse`).
fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(key: &str, value: &str) -> Result<(), String> {
        check(&[(key.to_owned(), value.to_owned())].into()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_shown_may_be_sent_back_and_nothing_else() {
        let shown = config().into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        assert_eq!(check(&shown), Ok(()));
        assert_eq!(sent("features.profiles", "YES"), Ok(()), "it says the same");
        assert_eq!(sent("features.images", ""), Ok(()), "taken out, as `project unset` does");
        assert!(sent("features.images", "false").unwrap_err().starts_with("features.images is \"true\" here"));
        assert!(sent("user.note", "x").unwrap_err().starts_with("projects have no setting \"user.note\""));
    }

    #[test]
    fn null_is_nothing() {
        let post: ProjectsPost = serde_json::from_str(r#"{"name":"p","config":null,"later":1}"#).unwrap();
        assert_eq!(post, ProjectsPost { name: "p".into(), ..ProjectsPost::default() });
    }
}
