//! `GET /1.0/images` and `GET /1.0/images/<fingerprint>` (LXD `lxd/images.go`, Incus `cmd/incusd/images.go`).

use headwater_formats::digest::{Fingerprint, FingerprintPrefix};
use headwater_formats::filter::Filter;
use headwater_formats::lxd::{self, etag};
use headwater_formats::names::ProjectName;
use http::{Response, StatusCode, header};

use super::list::{self, Page, Pages};
use super::{Ask, Body, Caller, Failure, NOT_AUTHORIZED, Query, State, project, recursion, sync};
use crate::auth::Viewer;
use crate::catalog::{Catalog, Found, StoredImage};
use crate::http::respond;

/// Images that are read from the catalog at a time.
const PAGE: usize = 200;

/// The list: addresses, or objects with `recursion`, those that pass `filter`.
pub(super) async fn list(state: &State, caller: &Caller, query: &Query) -> Result<Response<Body>, Failure> {
    // As in Incus and newer LXD: looking over all projects is for trusted clients.
    if query.is_true("all-projects") {
        return Err(Failure::Told(StatusCode::FORBIDDEN, NOT_AUTHORIZED.to_owned()));
    }
    // Clients filter by themselves when this fails, whatever the status.
    let filter = Filter::parse(query.get("filter").unwrap_or_default())
        .map_err(|error| Failure::Told(StatusCode::BAD_REQUEST, format!("Invalid filter: {error}")))?;
    let project = project(state, caller, query).await?;
    list::answer(Images {
        catalog: state.app.catalog.clone(),
        viewer: caller.viewer.clone(),
        objects: recursion(query),
        project,
        filter,
        after: None,
    })
    .await
}

struct Images {
    catalog: Catalog,
    viewer: Viewer,
    project: ProjectName,
    filter: Filter,
    objects: bool,
    after: Option<Fingerprint>,
}

impl Pages for Images {
    async fn next(&mut self) -> Result<Page, Failure> {
        let images = self.catalog.images(&self.viewer, &self.project, self.after, PAGE).await?;
        self.after = images.last().map(|stored| stored.image.fingerprint);
        let mut page = Page::new(images.len() >= PAGE);
        for stored in images.iter().filter(|stored| self.filter.matches_image(&stored.image, stored.project.as_str())) {
            if self.objects {
                page.push(&object(stored))?;
            } else {
                page.push(&address(&stored.project, &stored.image.fingerprint))?;
            }
        }
        Ok(page)
    }
}

fn address(project: &ProjectName, fingerprint: &Fingerprint) -> String {
    match project.is_default() {
        true => format!("/1.0/images/{fingerprint}"),
        false => format!("/1.0/images/{fingerprint}?project={project}"),
    }
}

fn object(stored: &StoredImage) -> lxd::Image<'_> {
    let names = stored.aliases.iter();
    let names = names.map(|alias| lxd::AliasName { name: alias.name.as_str(), description: &alias.description });
    lxd::Image::new(&stored.image, stored.project.as_str(), names.collect())
}

/// One image, by any prefix of its fingerprint that fits no other.
pub(super) async fn get(ask: &Ask<'_>, prefix: Option<FingerprintPrefix>) -> Result<Response<Body>, Failure> {
    let (state, caller) = (ask.state, ask.caller);
    let project = ask.project().await?;
    let stored = find(state, caller, &project, prefix).await?;
    let mut response = sync(object(&stored))?;
    let image = &stored.image;
    respond::set(&mut response, header::ETAG, etag::image(image.public, image.auto_update, &image.properties));
    Ok(response)
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
