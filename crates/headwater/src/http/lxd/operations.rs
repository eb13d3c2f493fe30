//! `/1.0/operations`: what goes on in the background (LXD `lxd/operations.go`).

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_formats::lxd;
use http::{Response, StatusCode};
use serde_json::Value;

use super::{Ask, Body, Failure, NOT_AUTHORIZED, recursion, sync};
use crate::auth::{Access, Role, SecretHash};
use crate::catalog::{OperationClass, Purpose, StoredOperation};
use crate::http::guard::Claim;
use crate::operations::Cancelled;

/// What stands for the secret of a join token in lists. Only its hash is kept; but `config trust list-tokens` leaves out
/// tokens without a secret (LXD `shared/api/operation.go` `ToCertificateAddToken`), and people want to see which ones there are, and
/// to revoke them. Whoever tries to join with it is told that it is none.
pub(super) const SECRET_NOT_SHOWN: &str = "shown-only-when-it-was-made";

/// For how many seconds one that has ended stands in the list; it can be asked for by its id for longer. The daemons have 5
/// (LXD `lxd/operations/operations.go`).
const LISTED: i64 = 5;

/// The object of an operation, with its secret for who is meant to have it.
pub(super) fn object(operation: &StoredOperation, secret: Option<&str>) -> lxd::Operation {
    let mut metadata = operation.metadata.clone();
    let secret = match (secret, &operation.purpose) {
        (Some(secret), _) => Some(secret),
        (None, Some(Purpose::Join(_))) => Some(SECRET_NOT_SHOWN),
        (None, _) => None,
    };
    if let Some(secret) = secret {
        metadata.insert("secret".to_owned(), Value::from(secret));
    }
    lxd::Operation {
        id: operation.id.clone(),
        class: operation.class.as_str(),
        description: operation.description.clone(),
        created_at: operation.created_at.into(),
        updated_at: operation.updated_at.into(),
        status: operation.status.text(),
        status_code: operation.status.code(),
        resources: operation.resources.clone(),
        metadata,
        may_cancel: operation.may_cancel,
        err: operation.error.clone(),
        location: lxd::operation::NO_LOCATION.to_owned(),
    }
}

/// Whether somebody may know of an operation: administrators of all, others of what they began and of the tasks in projects
/// whose images they see.
pub(super) fn sees(access: &Access, operation: &StoredOperation) -> bool {
    let task = operation.class == OperationClass::Task;
    commands(access, operation) || task && access.has(Role::Viewer, &operation.project)
}

/// Whether somebody may cancel it: who began it, and who administers its project. Tokens for joining are the
/// business of those who administer the server.
fn commands(access: &Access, operation: &StoredOperation) -> bool {
    let joins = matches!(operation.purpose, Some(Purpose::Join(_)));
    let began = |subject: &str| !subject.is_empty() && subject == operation.identity;
    access.is_administrator()
        || access.identity().is_some_and(|identity| began(&identity.subject))
        || !joins && access.has(Role::Admin, &operation.project)
}

/// The list: addresses by status, or objects with `recursion`.
pub(super) async fn list(ask: &Ask<'_>) -> Result<Response<Body>, Failure> {
    let project = match ask.query.is_true("all-projects") {
        true => None,
        false => Some(ask.project().await?),
    };
    let found = ask.state.operations.list(project.as_ref()).await?;
    let since = ask.now().plus_seconds(-LISTED);
    let shown = found.iter().filter(|one| {
        let current = !one.status.is_final() || one.updated_at >= since;
        current && sees(&ask.caller.access, one)
    });
    let objects = recursion(ask.query);
    let mut by_status: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for one in shown {
        let value = match objects {
            true => serde_json::to_value(object(one, None))?,
            false => Value::from(format!("/1.0/operations/{}", one.id)),
        };
        by_status.entry(one.status.text().to_lowercase()).or_default().push(value);
    }
    sync(by_status)
}

/// One operation.
pub(super) async fn get(ask: &Ask<'_>, id: &str) -> Result<Response<Body>, Failure> {
    sync(object(&visible(ask, id).await?, None))
}

/// Waits for its end, for as many seconds as `timeout` says: -1, the default, is for ever. Who was given its secret may do so, too.
pub(super) async fn wait(ask: &Ask<'_>, id: &str) -> Result<Response<Body>, Failure> {
    let limit = limit(ask.query.get("timeout"))?;
    match ask.query.get("secret") {
        Some(secret) => {
            if !ask.state.app.catalog.is_operation_secret(id, &SecretHash::of(secret)).await? {
                ask.wrong_secret(Claim::Operation(id)).await?;
                return Err(forbidden());
            }
        }
        None if ask.caller.access.is_trusted() => drop(visible(ask, id).await?),
        None => return Err(forbidden()),
    }
    let operations = &ask.state.operations;
    let stands = operations.wait(id, limit).await?.ok_or_else(missing)?;
    if !stands.status.is_final() && operations.ended().is_cancelled() {
        let sentence = "the server is ending; ask again when it is back".to_owned();
        return Err(Failure::Told(StatusCode::SERVICE_UNAVAILABLE, sentence));
    }
    sync(object(&stands, None))
}

/// Cancels it.
pub(super) async fn cancel(ask: &Ask<'_>, id: &str) -> Result<Response<Body>, Failure> {
    let operation = visible(ask, id).await?;
    if !commands(&ask.caller.access, &operation) {
        return Err(forbidden());
    }
    match ask.state.operations.cancel(&ask.caller.actor, id).await? {
        Cancelled::Yes => sync(lxd::Empty {}),
        // The word of the daemons.
        Cancelled::Refused => {
            let sentence = "This operation can't be cancelled".to_owned();
            Err(Failure::Told(StatusCode::BAD_REQUEST, sentence))
        }
        Cancelled::Missing => Err(missing()),
    }
}

async fn visible(ask: &Ask<'_>, id: &str) -> Result<StoredOperation, Failure> {
    let found = ask.state.operations.get(id).await?;
    found.filter(|operation| sees(&ask.caller.access, operation)).ok_or_else(missing)
}

fn limit(timeout: Option<&str>) -> Result<Option<Duration>, Failure> {
    match timeout.map(str::parse::<i64>) {
        None => Ok(None),
        Some(Ok(seconds)) => Ok(u64::try_from(seconds).ok().map(Duration::from_secs)),
        Some(Err(_)) => {
            let sentence = "timeout is a number of seconds, or -1 for as long as it takes; write it like timeout=30";
            Err(Failure::Told(StatusCode::BAD_REQUEST, sentence.to_owned()))
        }
    }
}

fn missing() -> Failure {
    Failure::not_found("Operation not found")
}

fn forbidden() -> Failure {
    Failure::Told(StatusCode::FORBIDDEN, NOT_AUTHORIZED.to_owned())
}
