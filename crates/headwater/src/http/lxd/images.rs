//! `GET /1.0/images` and `GET /1.0/images/<fingerprint>` (LXD `lxd/images.go`, Incus `cmd/incusd/images.go`).

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_formats::digest::FingerprintPrefix;
use headwater_formats::filter::Filter;
use headwater_formats::lxd::{self, etag};
use headwater_formats::names::ProjectName;
use http::{Response, StatusCode, header};

use super::list::{self, Page, Pages};
use super::{Ask, Body, Caller, Failure, NOT_AUTHORIZED, Query, State, project, recursion, sync};
use crate::auth::{Actor, SecretHash, Viewer};
use crate::catalog::{Catalog, CatalogError, Form, Found, ImageList, StoredImage};
use crate::http::guard::Claim;
use crate::http::respond;

/// The list: addresses, or objects with `recursion`, those that pass `filter`; of one project, or with `all-projects` of all in
/// which the caller sees something. That is for trusted clients, as in Incus and newer LXD.
pub(super) async fn list(state: &State, caller: &Caller, query: &Query) -> Result<Response<Body>, Failure> {
    let all = query.is_true("all-projects");
    if all && !caller.access.is_trusted() {
        return Err(Failure::Told(StatusCode::FORBIDDEN, NOT_AUTHORIZED.to_owned()));
    }
    if all && query.get("project").is_some_and(|project| project != "default") {
        let sentence = "Cannot specify a project when requesting all projects".to_owned();
        return Err(Failure::Told(StatusCode::BAD_REQUEST, sentence));
    }
    // Clients filter by themselves when this fails, whatever the status.
    let filter = Filter::parse(query.get("filter").unwrap_or_default())
        .map_err(|error| Failure::Told(StatusCode::BAD_REQUEST, format!("Invalid filter: {error}")))?;
    let mut projects = match all {
        true => state.app.catalog.projects(&caller.viewer).await?.into_iter().map(|project| project.name).collect(),
        false => vec![project(state, caller, query).await?],
    };
    projects.reverse();
    list::answer(Images {
        catalog: state.app.catalog.clone(),
        viewer: caller.viewer.clone(),
        objects: recursion(query),
        projects,
        all,
        filter,
        current: None,
    })
    .await
}

struct Images {
    catalog: Catalog,
    viewer: Viewer,
    /// Those that are still to be listed, the next one last.
    projects: Vec<ProjectName>,
    /// Whether a project that is gone meanwhile is passed over.
    all: bool,
    filter: Filter,
    objects: bool,
    /// The list of one project.
    current: Option<ImageList>,
}

impl Pages for Images {
    async fn next(&mut self) -> Result<Page, Failure> {
        let begin = || {
            let project = self.projects.pop()?;
            let form = if self.objects { Form::Object } else { address(&project) };
            Some(self.catalog.image_list(&self.viewer, &project, self.filter.clone(), form))
        };
        let Some(mut list) = self.current.take().or_else(begin) else { return Ok(Page::new(false)) };
        let page = match list.next().await {
            Err(CatalogError::NoProject(_)) if self.all => return Ok(Page::new(!self.projects.is_empty())),
            page => page?,
        };
        self.current = page.more.then_some(list);
        Ok(Page::of(page.text, page.more || !self.projects.is_empty()))
    }
}

/// The address of an image in a list, in JSON.
fn address(project: &ProjectName) -> Form {
    let after = if project.is_default() { "\"".to_owned() } else { format!("?project={project}\"") };
    Form::Fingerprint { before: "\"/1.0/images/".to_owned(), after }
}

fn object(stored: &StoredImage) -> lxd::Image<'_> {
    let names = stored.aliases.iter();
    let names = names.map(|alias| lxd::AliasName { name: alias.name.as_str(), description: &alias.description });
    lxd::Image::new(&stored.image, stored.project.as_str(), names.collect())
}

/// One image, by any prefix of its fingerprint that fits no other.
pub(super) async fn get(ask: &Ask<'_>, prefix: Option<FingerprintPrefix>) -> Result<Response<Body>, Failure> {
    if let (Some(prefix), Ok(project)) = (&prefix, ask.project().await)
        && let Found::One(text) = ask.state.app.catalog.image_text(&ask.caller.viewer, &project, prefix).await?
    {
        let fields = text.fields()?;
        let mut response = list::one(&text.json);
        let tag = etag::image(fields.public, fields.auto_update, &fields.properties().collect::<BTreeMap<_, _>>());
        respond::set(&mut response, header::ETAG, tag);
        return Ok(response);
    }
    // Nothing, several, or what a secret opens.
    let Opened { stored, .. } = open(ask, prefix).await?;
    let mut response = sync(object(&stored))?;
    let image = &stored.image;
    respond::set(&mut response, header::ETAG, etag::image(image.public, image.auto_update, &image.properties));
    Ok(response)
}

/// An image, and whom the audit names when it is downloaded.
pub(super) struct Opened {
    pub(super) stored: StoredImage,
    pub(super) actor: Arc<Actor>,
}

/// The image for who may see it, and for who brings the secret that opens it, in whichever project it is. With a wrong
/// secret it is as if there had been none.
pub(super) async fn open(ask: &Ask<'_>, prefix: Option<FingerprintPrefix>) -> Result<Opened, Failure> {
    let visible = async {
        let project = ask.project().await?;
        find(ask.state, ask.caller, &project, prefix.clone()).await
    };
    let (failure, secret) = match (visible.await, ask.query.get("secret")) {
        (Ok(stored), _) => return Ok(Opened { stored, actor: Arc::clone(&ask.caller.actor) }),
        (Err(failure @ Failure::Told(StatusCode::NOT_FOUND, _)), Some(secret)) => (failure, secret),
        (Err(failure), _) => return Err(failure),
    };
    let (catalog, secret) = (&ask.state.app.catalog, SecretHash::of(secret));
    // A daemon that launches from a project other than the default one is not told which, and asks without a name; the secret
    // knows it.
    let project = match ask.query.get("project") {
        Some(name) => ProjectName::new(name).ok(),
        None => catalog.project_of_secret(&secret).await?,
    };
    if let (Some(project), Some(prefix)) = (project, &prefix) {
        let found = match catalog.image(&Viewer::operator(), &project, prefix).await {
            Err(CatalogError::NoProject(_)) => Found::Nothing,
            found => found?,
        };
        if let Found::One(stored) = found
            && catalog.use_download_secret(&project, &stored.image.fingerprint, &secret, ask.now()).await?
        {
            return Ok(Opened { stored, actor: Arc::new(Actor::secret(ask.caller.actor.address)) });
        }
    }
    ask.wrong_secret(Claim::Image(prefix.as_ref().map_or("", FingerprintPrefix::as_str))).await?;
    Err(failure)
}

/// The image; a missing, a hidden and an impossible one are told in the same words.
pub(super) async fn find(
    state: &State,
    caller: &Caller,
    project: &ProjectName,
    prefix: Option<FingerprintPrefix>,
) -> Result<StoredImage, Failure> {
    let found = match prefix {
        Some(prefix) => state.app.catalog.image(&caller.viewer, project, &prefix).await?,
        None => Found::Nothing,
    };
    match found {
        Found::One(stored) => Ok(stored),
        Found::Nothing => Err(Failure::not_found("Image not found")),
        Found::Several => Err(Failure::Told(StatusCode::BAD_REQUEST, "More than one image matches".to_owned())),
    }
}
