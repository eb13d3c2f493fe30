//! Making, changing, renaming and deleting aliases (LXD `lxd/images.go` `imageAliasesPost` and those after it).
//!
//! Beside aliases that somebody made there are names that come out of the properties of images. A hand-made alias may have
//! such a name, and then wins. So a generated name that is changed becomes a hand-made alias; and deleting it is no error, although
//! it stays: `image import --alias` deletes every name that is in the list before it makes its own (LXD and Incus
//! `cmd/incus/utils.go` `ensureImageAliases`).
//!
//! An alias belongs to the image that it leads to: who may not manage that one may neither take the name from it nor give it one.

use headwater_formats::lxd::{AliasChange, Empty};
use headwater_formats::names::{AliasName, ProjectName};
use http::{Response, StatusCode};

use super::image_changes::if_match;
use super::{Ask, Body, Failure, NOT_AUTHORIZED, aliases, created, images, sync};
use crate::auth::IdentityId;
use crate::catalog::{AliasEdit, AliasTarget, CatalogError, HandMade, StoredImage};
use crate::http::incoming::Incoming;

/// `POST /1.0/images/aliases`
pub(super) async fn create(ask: &Ask<'_>, body: Incoming) -> Result<Response<Body>, Failure> {
    let project = ask.project().await?;
    let change: AliasChange = body.json().await?;
    if change.name.is_empty() || change.target.is_empty() {
        return Err(bad_request("name and target are required"));
    }
    let name = new_name(change.name)?;
    make(ask, &project, &name, &change.target, change.description).await?;
    created(aliases::address(&project, &name))
}

/// `POST /1.0/images/aliases/<name>`
pub(super) async fn rename(ask: &Ask<'_>, body: Incoming, name: Option<AliasName>) -> Result<Response<Body>, Failure> {
    let project = ask.project().await?;
    let change: AliasChange = body.json().await?;
    let Named { name, by_hand } = named(ask, &project, name).await?;
    let by_hand = by_hand.ok_or_else(|| made_from_properties(&name))?;
    may_manage(ask, &project, by_hand.published_by)?;
    if change.name.is_empty() {
        return Err(bad_request("name is required"));
    }
    let new = new_name(change.name)?;
    ask.catalog().rename_alias(&project, &name, &new, ask.now()).await.map_err(told)?;
    created(aliases::address(&project, &new))
}

/// `PUT /1.0/images/aliases/<name>`
pub(super) async fn put(ask: &Ask<'_>, body: Incoming, name: Option<AliasName>) -> Result<Response<Body>, Failure> {
    let change: AliasChange = body.json().await?;
    if change.target.is_empty() {
        return Err(bad_request("The target field is required"));
    }
    edit(ask, AliasChange { description: Some(change.description.unwrap_or_default()), ..change }, name).await
}

/// `PATCH /1.0/images/aliases/<name>`
pub(super) async fn patch(ask: &Ask<'_>, body: Incoming, name: Option<AliasName>) -> Result<Response<Body>, Failure> {
    edit(ask, body.json().await?, name).await
}

/// `DELETE /1.0/images/aliases/<name>`
pub(super) async fn delete(ask: &Ask<'_>, name: Option<AliasName>) -> Result<Response<Body>, Failure> {
    let project = ask.project().await?;
    let Named { name, by_hand } = named(ask, &project, name).await?;
    if let Some(by_hand) = by_hand {
        may_manage(ask, &project, by_hand.published_by)?;
        ask.catalog().delete_alias(&project, &name, ask.now()).await.map_err(told)?;
    }
    sync(Empty {})
}

/// A name that leads somewhere.
struct Named {
    name: AliasName,
    /// None for a generated one.
    by_hand: Option<HandMade>,
}

async fn named(ask: &Ask<'_>, project: &ProjectName, name: Option<AliasName>) -> Result<Named, Failure> {
    let name = name.ok_or_else(missing)?;
    let by_hand = ask.state.app.catalog.hand_made_alias(project, &name).await?;
    if by_hand.is_none() {
        aliases::find(ask, project, &name).await?;
    }
    Ok(Named { name, by_hand })
}

async fn edit(ask: &Ask<'_>, change: AliasChange, name: Option<AliasName>) -> Result<Response<Body>, Failure> {
    let project = ask.project().await?;
    let Named { name, by_hand } = named(ask, &project, name).await?;
    if let Some(by_hand) = &by_hand {
        may_manage(ask, &project, by_hand.published_by)?;
    }
    let conditional = ask.request.headers.contains_key(http::header::IF_MATCH);
    if conditional {
        if_match(ask, &aliases::tag(&aliases::find(ask, &project, &name).await?))?;
    }
    let Some(before) = by_hand else {
        if change.target.is_empty() {
            return Err(made_from_properties(&name));
        }
        make(ask, &project, &name, &change.target, change.description).await?;
        return sync(Empty {});
    };
    let target = match change.target.as_str() {
        "" => None,
        target => Some(manageable(ask, &project, target).await?.image.fingerprint),
    };
    let decide = |now: &HandMade| {
        if conditional && *now != before {
            return Err(Failure::Told(
                StatusCode::PRECONDITION_FAILED,
                "ETag doesn't match: somebody else has just changed the alias; read it again".to_owned(),
            ));
        }
        may_manage(ask, &project, now.published_by)?;
        Ok(AliasEdit { description: change.description, target })
    };
    ask.catalog().edit_alias_as(&project, &name, decide, ask.now()).await.map_err(told)??;
    sync(Empty {})
}

async fn make(
    ask: &Ask<'_>,
    project: &ProjectName,
    name: &AliasName,
    target: &str,
    description: Option<String>,
) -> Result<(), Failure> {
    let target = AliasTarget::Image(manageable(ask, project, target).await?.image.fingerprint);
    let description = description.unwrap_or_default();
    ask.catalog().create_alias(project, name, &description, &target, ask.now()).await.map_err(told)
}

/// The image with this fingerprint, or beginning of one, when the caller may manage it.
async fn manageable(ask: &Ask<'_>, project: &ProjectName, target: &str) -> Result<StoredImage, Failure> {
    let stored = images::find(ask.state, ask.caller, project, target.parse().ok()).await?;
    may_manage(ask, project, stored.published_by)?;
    Ok(stored)
}

fn may_manage(ask: &Ask<'_>, project: &ProjectName, published_by: Option<IdentityId>) -> Result<(), Failure> {
    match ask.caller.access.may_manage(project, published_by) {
        true => Ok(()),
        false => Err(Failure::Told(
            StatusCode::FORBIDDEN,
            format!(
                "{NOT_AUTHORIZED}: somebody else has published the image that this alias leads to; \
                 ask who administers the project \"{project}\""
            ),
        )),
    }
}

fn new_name(text: String) -> Result<AliasName, Failure> {
    AliasName::new(text).map_err(|error| bad_request(&error.to_string()))
}

fn missing() -> Failure {
    Failure::not_found(aliases::MISSING)
}

fn bad_request(sentence: &str) -> Failure {
    Failure::Told(StatusCode::BAD_REQUEST, sentence.to_owned())
}

fn made_from_properties(name: &AliasName) -> Failure {
    bad_request(&format!(
        "the alias \"{name}\" comes out of the properties of its images; change those, or make an alias of your own"
    ))
}

fn told(error: CatalogError) -> Failure {
    match error {
        CatalogError::AliasExists(name) => {
            Failure::Told(StatusCode::CONFLICT, format!("Alias \"{name}\" already exists"))
        }
        CatalogError::NoAlias(_) => missing(),
        CatalogError::NoImage(_) => Failure::not_found("Image not found"),
        CatalogError::Text => bad_request(&error.to_string()),
        other => other.into(),
    }
}
