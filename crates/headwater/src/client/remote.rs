//! What a server that knows us has in a project of its own, and what of that we may change, over the API of LXD and Incus
//! (LXD `shared/api/image.go`).

use std::collections::{BTreeMap, BTreeSet};

use headwater_formats::digest::Fingerprint;
use headwater_formats::lxd::WireTime;
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ClientError, Server};

/// What can be changed of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageState {
    /// Whether guests see it.
    pub public: bool,
    /// Whether it follows its source.
    pub auto_update: bool,
    /// All its properties.
    pub properties: BTreeMap<String, String>,
    /// When it goes out of use.
    pub expires_at: WireTime,
    /// Profiles; servers without them say nothing of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct About {
    auth: String,
}

/// An alias, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AliasObject {
    name: String,
    target: String,
}

impl Server {
    /// Whether it knows who asks.
    ///
    /// # Errors
    /// When it cannot be reached, is not believed, or answers nonsense.
    pub async fn knows_us(&self) -> Result<bool, ClientError> {
        let about: About = self.session.api(self.session.address(["1.0"], &[])?).await?;
        Ok(about.auth == "trusted")
    }

    /// The images of a project.
    ///
    /// # Errors
    /// As in [`Server::knows_us`], and when it does not let us see the project.
    pub async fn fingerprints(&self, project: &str) -> Result<BTreeSet<Fingerprint>, ClientError> {
        let addresses: Vec<String> = self.session.api_list(self.address(["1.0", "images"], project, None)?).await?;
        let last =
            |address: &String| {
                let path = address.split('?').next().unwrap_or_default();
                path.rsplit('/').next().unwrap_or_default().parse().map_err(|_| {
                    ClientError::nonsense(&self.session.name, "has an image whose fingerprint is no SHA-256")
                })
            };
        addresses.iter().map(last).collect()
    }

    /// What it says of an image.
    ///
    /// # Errors
    /// As in [`Server::fingerprints`], and when there is none.
    pub async fn image_state(&self, project: &str, image: &Fingerprint) -> Result<ImageState, ClientError> {
        self.session.api(self.address(["1.0", "images", &image.to_string()], project, None)?).await
    }

    /// Says something else of an image.
    ///
    /// # Errors
    /// When it does not let us.
    pub async fn set_image_state(
        &self,
        project: &str,
        image: &Fingerprint,
        state: &ImageState,
    ) -> Result<(), ClientError> {
        let address = self.address(["1.0", "images", &image.to_string()], project, None)?;
        self.change(Method::PUT, address, &json!(state)).await
    }

    /// Where the aliases of a project lead.
    ///
    /// # Errors
    /// As in [`Server::fingerprints`].
    pub async fn aliases(&self, project: &str) -> Result<BTreeMap<String, String>, ClientError> {
        let address = self.address(["1.0", "images", "aliases"], project, Some(("recursion", "1")))?;
        let aliases: Vec<AliasObject> = self.session.api_list(address).await?;
        Ok(aliases.into_iter().map(|alias| (alias.name, alias.target)).collect())
    }

    /// Makes an alias.
    ///
    /// # Errors
    /// When it does not let us, or there is one of that name.
    pub async fn create_alias(
        &self,
        project: &str,
        name: &str,
        description: &str,
        image: &Fingerprint,
    ) -> Result<(), ClientError> {
        let address = self.address(["1.0", "images", "aliases"], project, None)?;
        let alias = json!({"name": name, "description": description, "target": image.to_string()});
        self.change(Method::POST, address, &alias).await
    }

    /// Lets an alias lead to another image.
    ///
    /// # Errors
    /// When it does not let us, or there is none of that name.
    pub async fn move_alias(
        &self,
        project: &str,
        name: &str,
        description: &str,
        image: &Fingerprint,
    ) -> Result<(), ClientError> {
        let address = self.address(["1.0", "images", "aliases", name], project, None)?;
        self.change(Method::PUT, address, &json!({"description": description, "target": image.to_string()})).await
    }

    fn address<'a>(
        &self,
        path: impl IntoIterator<Item = &'a str>,
        project: &str,
        more: Option<(&str, &str)>,
    ) -> Result<Url, ClientError> {
        let project = (!project.is_empty()).then_some(("project", project));
        let query: Vec<(&str, &str)> = project.into_iter().chain(more).collect();
        self.session.address(path, &query)
    }

    async fn change(&self, method: Method, address: Url, body: &serde_json::Value) -> Result<(), ClientError> {
        let request = self.session.request(method, address).header(http::header::CONTENT_TYPE, "application/json");
        let response = self.session.send(request.body(body.to_string())).await?;
        let _: serde_json::Value = self.session.understand(response).await?;
        Ok(())
    }
}
