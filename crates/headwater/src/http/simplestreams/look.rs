//! What a caller sees at the address of a stream.
//!
//! | address | without a token in it | with `/t/<token>` before it |
//! | --- | --- | --- |
//! | (nothing) | the default project | all projects that the token is granted, as one |
//! | `/p/<project>` | that project | that project |
//! | `/v/<view>` | what the view lets pass of its project | the same |
//!
//! Public images of a project are seen by all, private ones by those who are granted the project. A token that is bound to a view
//! sees that view at the address without a place, at that of the view and at that of its project, and nothing at any other.

use std::sync::Arc;

use headwater_formats::names::ProjectName;
use headwater_formats::simplestreams::{Deltas, Family};

use crate::catalog::{Catalog, CatalogError, SavedView};
use crate::documents::{Projects, Stream};
use crate::http::caller::Caller;
use crate::http::route::{Place, RouteError, Scope};

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoStream {
    /// It is not there, or nobody is to tell the caller of it: the two are told in the same words.
    #[error(transparent)]
    Hidden(RouteError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The same, told to several who waited for one document.
    #[error(transparent)]
    Shared(#[from] Arc<CatalogError>),
}

/// What is told of a place that is not there.
pub(super) fn missing(place: &Place) -> RouteError {
    match place {
        Place::Project(_) => RouteError::NoProject,
        Place::Bare | Place::View(_) => RouteError::NoView,
    }
}

/// The stream that is to be shown to a client with this `User-Agent`. Whether its project is there, the reading of it says; what its
/// clients hold, who knows them adds.
pub(super) async fn stream(
    catalog: &Catalog,
    caller: &Caller,
    scope: &Scope,
    user_agent: &str,
) -> Result<Stream, NoStream> {
    let mut stream = stream_for_all(catalog, caller, scope, Family::of_user_agent(user_agent)).await?;
    stream.deltas = Deltas::of_user_agent(user_agent);
    Ok(stream)
}

async fn stream_for_all(catalog: &Catalog, caller: &Caller, scope: &Scope, family: Family) -> Result<Stream, NoStream> {
    let hidden = || NoStream::Hidden(missing(&scope.place));
    let through = |view: SavedView| {
        let stream = Stream::of_project(&caller.viewer, view.project, view.view, family);
        Stream { filters: [stream.filters, vec![scope.view.clone()]].concat(), ..stream }
    };
    let identity = caller.access.identity();
    if let Some(bound) = identity.and_then(|identity| identity.view.as_ref()) {
        let view = catalog.saved_view(bound).await?.ok_or_else(hidden)?;
        let shown = match &scope.place {
            Place::Bare => true,
            Place::Project(project) => *project == view.project,
            Place::View(name) => *name == view.name,
        };
        return if shown { Ok(through(view)) } else { Err(hidden()) };
    }
    let project = match &scope.place {
        Place::View(name) => return Ok(through(catalog.saved_view(name).await?.ok_or_else(hidden)?)),
        Place::Project(project) => project.clone(),
        Place::Bare if scope.token.is_none() => ProjectName::default_project(),
        Place::Bare => {
            let projects = match identity {
                _ if caller.access.is_administrator() => Projects::All,
                Some(identity) => {
                    let mut names: Vec<_> = identity.grants.iter().map(|grant| grant.project.clone()).collect();
                    names.sort();
                    names.dedup();
                    Projects::These(names)
                }
                None => Projects::These(Vec::new()),
            };
            let filters = vec![scope.view.clone()];
            let (deltas, bases) = (Deltas::default(), Vec::new());
            return Ok(Stream { projects, private: true, filters, family, deltas, bases });
        }
    };
    Ok(Stream::of_project(&caller.viewer, project, scope.view.clone(), family))
}
