//! Which events somebody hears of, and how they are told to him.

use std::collections::BTreeMap;

use headwater_formats::lxd;
use headwater_formats::lxd::event::{Lifecycle, Requestor};
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;
use http::StatusCode;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{Ask, Failure, operations};
use crate::auth::{Access, Role};
use crate::catalog::AuditEntry;
use crate::operations::Event;

/// Kinds of events that the daemons have (LXD `lxd/events.go`, Incus `cmd/incusd/events.go`). Only the first two exist here; who asks for
/// others hears nothing of them.
const KINDS: &[&str] = &["operation", "lifecycle", "logging", "network-acl", "ovn"];

/// What a segment of an address cannot hold.
const SEGMENT: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'/').add(b'<').add(b'>').add(b'?');

/// Somebody who listens.
#[derive(Debug, Clone)]
pub(super) struct Audience {
    access: Access,
    operations: bool,
    lifecycle: bool,
    /// `None` for all.
    project: Option<ProjectName>,
}

impl Audience {
    /// As the request says: `type=` with kinds between commas (all when missing), `project=`, `all-projects=true`.
    pub(super) async fn new(ask: &Ask<'_>) -> Result<Self, Failure> {
        let bad = |sentence: String| Failure::Told(StatusCode::BAD_REQUEST, sentence);
        let kinds: Option<Vec<&str>> = ask.query.get("type").map(|kinds| kinds.split(',').collect());
        if let Some(unknown) = kinds.iter().flatten().find(|kind| !KINDS.contains(kind)) {
            return Err(bad(format!("there are no events of type {unknown:?}; the types are {}", KINDS.join(", "))));
        }
        let wants = |kind: &str| kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind));
        let project = match (ask.query.is_true("all-projects"), ask.query.get("project")) {
            (true, Some(_)) => return Err(bad("all-projects and project exclude each other; leave one out".into())),
            (true, None) => None,
            (false, _) => Some(ask.project().await?),
        };
        Ok(Self {
            access: ask.caller.access.clone(),
            operations: wants("operation"),
            lifecycle: wants("lifecycle"),
            project,
        })
    }

    /// What he may do.
    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    /// From now on he may do this.
    pub(super) fn set_access(&mut self, access: Access) {
        self.access = access;
    }

    /// What he is told of this; `None` when it is nothing to him.
    pub(super) fn frame(&self, event: &Event, now: Timestamp) -> Option<String> {
        let event = match event {
            Event::Operation(operation) => {
                let hears =
                    self.operations && self.asked_for(&operation.project) && operations::sees(&self.access, operation);
                let project = operation.project.to_string();
                hears.then(|| lxd::Event::operation(project, now.into(), operations::object(operation, None)))
            }
            Event::Lifecycle(entry) => {
                let hears = self.lifecycle
                    && match &entry.project {
                        Some(project) => self.asked_for(project) && self.access.has(Role::Viewer, project),
                        // Identities and other things that are in no project.
                        None => self.access.is_administrator(),
                    };
                hears.then(|| lxd::Event::lifecycle(entry.at.into(), lifecycle(entry, self.may_know_who(entry))))
            }
        };
        serde_json::to_string(&event?).ok()
    }

    fn asked_for(&self, project: &ProjectName) -> bool {
        self.project.as_ref().is_none_or(|wanted| wanted == project)
    }

    /// Names and network addresses of others are for those who administer.
    fn may_know_who(&self, entry: &AuditEntry) -> bool {
        let own = |subject: &str| !subject.is_empty() && subject == entry.credential;
        entry.project.as_ref().is_some_and(|project| self.access.has(Role::Admin, project))
            || self.access.is_administrator()
            || self.access.identity().is_some_and(|identity| own(&identity.subject))
    }
}

/// A line of the audit in the words of the daemons.
fn lifecycle(entry: &AuditEntry, who: bool) -> Lifecycle {
    Lifecycle {
        action: entry.action.clone(),
        source: source(entry),
        context: entry.detail.iter().map(|(key, value)| (key.clone(), value.clone())).collect::<BTreeMap<_, _>>(),
        requestor: if who { requestor(entry) } else { None },
        name: entry.subject.clone(),
        project: entry.project.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn requestor(entry: &AuditEntry) -> Option<Requestor> {
    let protocol = match entry.actor_kind.as_str() {
        "server" => return None,
        "operator" => "unix",
        "token" => "bearer",
        _ => "tls",
    };
    let username = if protocol == "tls" { &entry.credential } else { &entry.actor_name };
    Some(Requestor { username: username.clone(), protocol: protocol.to_owned(), address: entry.address.clone() })
}

/// The address of what something was done to; that of the server for what the API does not show.
fn source(entry: &AuditEntry) -> String {
    let subject = utf8_percent_encode(&entry.subject, SEGMENT);
    let mut address = match entry.action.split_once('-') {
        Some(("image", rest)) if rest.starts_with("alias-") => format!("/1.0/images/aliases/{subject}"),
        Some(("image", _)) => format!("/1.0/images/{subject}"),
        Some(("project", _)) => return format!("/1.0/projects/{subject}"),
        Some(("certificate", _)) => format!("/1.0/certificates/{subject}"),
        _ => "/1.0".to_owned(),
    };
    if let Some(project) = entry.project.as_ref().filter(|project| !project.is_default()) {
        address.push_str(&format!("?project={}", utf8_percent_encode(project.as_str(), SEGMENT)));
    }
    address
}

#[cfg(test)]
impl Audience {
    /// Who hears all that he may.
    pub(super) fn all(access: Access) -> Self {
        Self { access, operations: true, lifecycle: true, project: None }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use headwater_formats::lxd::Status;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::auth::{Grant, Identity, IdentityId, IdentityKind, Manages};
    use crate::catalog::{Join, OperationClass, Purpose, StoredOperation};

    fn project(name: &str) -> ProjectName {
        ProjectName::new(name).unwrap()
    }

    /// Somebody with this role in the project `team`.
    fn somebody(role: Role) -> Access {
        Access::of(Arc::new(Identity {
            id: IdentityId(1),
            kind: IdentityKind::Token,
            name: "ci".into(),
            description: String::new(),
            subject: "hw_abcdefgh".into(),
            certificate: None,
            administrator: false,
            grants: vec![Grant { project: project("team"), role, manages: Manages::Own }],
            view: None,
            created_at: Timestamp::EPOCH,
            expires_at: None,
            last_used_at: None,
        }))
    }

    fn operation(place: &str, identity: &str, purpose: Option<Purpose>) -> Event {
        Event::Operation(Arc::new(StoredOperation {
            id: "1".into(),
            change: 1,
            class: if purpose.is_some() { OperationClass::Token } else { OperationClass::Task },
            description: "Downloading image".into(),
            project: project(place),
            created_at: Timestamp::EPOCH,
            updated_at: Timestamp::EPOCH,
            status: Status::Running,
            resources: BTreeMap::new(),
            metadata: Map::new(),
            may_cancel: true,
            error: String::new(),
            server: "a".into(),
            identity: identity.into(),
            purpose,
            expires_at: None,
        }))
    }

    fn line(action: &str, place: Option<&str>, subject: &str) -> AuditEntry {
        AuditEntry {
            id: 1,
            at: Timestamp::EPOCH,
            action: action.into(),
            project: place.map(project),
            subject: subject.into(),
            detail: BTreeMap::new(),
            actor_kind: "certificate".into(),
            actor_name: "ann".into(),
            credential: "00ff".into(),
            address: "192.0.2.7".into(),
        }
    }

    fn told(audience: &Audience, event: &Event) -> Value {
        audience.frame(event, Timestamp::EPOCH).map_or(Value::Null, |frame| serde_json::from_str(&frame).unwrap())
    }

    fn hears(audience: &Audience, event: &Event) -> bool {
        audience.frame(event, Timestamp::EPOCH).is_some()
    }

    #[test]
    fn who_hears_of_which_operation() {
        let join = Join { name: "laptop".into(), description: String::new(), administrator: true, grants: Vec::new() };
        let join = || Some(Purpose::Join(join.clone()));
        let secret = || Some(Purpose::Download { fingerprint: "00".repeat(32).parse().unwrap() });
        let [viewer, admin] = [Role::Viewer, Role::Admin].map(|role| Audience::all(somebody(role)));
        let administrator = Audience::all(Access::operator());
        for (event, expected) in [
            (operation("team", "other", None), [true, true, true]),
            (operation("default", "other", None), [false, false, true]),
            (operation("default", "hw_abcdefgh", None), [true, true, true]),
            (operation("team", "other", secret()), [false, true, true]),
            (operation("team", "hw_abcdefgh", secret()), [true, true, true]),
            (operation("team", "other", join()), [false, false, true]),
            (operation("team", "", join()), [false, false, true]),
        ] {
            assert_eq!([&viewer, &admin, &administrator].map(|one| hears(one, &event)), expected, "{event:?}");
        }
        let guest = Audience::all(Access::guest());
        assert!(!hears(&guest, &operation("default", "", None)), "nobody is not who began what nobody began");
    }

    #[test]
    fn a_secret_is_never_in_an_event() {
        let join = Join { name: "laptop".into(), description: String::new(), administrator: true, grants: Vec::new() };
        let told = told(&Audience::all(Access::operator()), &operation("default", "", Some(Purpose::Join(join))));
        assert_eq!(told["metadata"]["metadata"], json!({"secret": operations::SECRET_NOT_SHOWN}));
        assert_eq!((&told["type"], &told["project"]), (&json!("operation"), &json!("default")));
    }

    #[test]
    fn types_and_projects_that_were_asked_for() {
        let mut audience = Audience::all(Access::operator());
        let image = Event::Lifecycle(Arc::new(line("image-created", Some("team"), "00")));
        let server = Event::Lifecycle(Arc::new(line("certificate-created", None, "00")));
        let task = operation("team", "", None);
        assert!(hears(&audience, &image) && hears(&audience, &server) && hears(&audience, &task));
        audience.project = Some(project("default"));
        assert!(!hears(&audience, &image) && !hears(&audience, &task));
        assert!(hears(&audience, &server), "what is in no project is told to all who may hear it");
        audience.project = Some(project("team"));
        audience.operations = false;
        assert!(hears(&audience, &image) && !hears(&audience, &task));
        (audience.operations, audience.lifecycle) = (true, false);
        assert!(!hears(&audience, &image) && hears(&audience, &task));
    }

    #[test]
    fn who_did_it_is_told_to_those_who_administer() {
        let image = Event::Lifecycle(Arc::new(line("image-created", Some("team"), "00")));
        let project_less = Event::Lifecycle(Arc::new(line("certificate-created", None, "00")));
        let viewer = Audience::all(somebody(Role::Viewer));
        assert_eq!(told(&viewer, &image)["metadata"]["action"], "image-created");
        assert_eq!(told(&viewer, &image)["metadata"].get("requestor"), None);
        assert!(!hears(&viewer, &project_less));
        let requestor = json!({"username": "00ff", "protocol": "tls", "address": "192.0.2.7"});
        for audience in [Audience::all(somebody(Role::Admin)), Audience::all(Access::operator())] {
            assert_eq!(told(&audience, &image)["metadata"]["requestor"], requestor);
        }
        let own = AuditEntry { credential: "hw_abcdefgh".into(), ..line("image-created", Some("team"), "00") };
        assert!(told(&viewer, &Event::Lifecycle(Arc::new(own)))["metadata"].get("requestor").is_some());
    }

    #[test]
    fn addresses_of_what_something_was_done_to() {
        for (action, place, subject, expected) in [
            ("image-created", Some("default"), "00", "/1.0/images/00"),
            ("image-deleted", Some("team"), "00", "/1.0/images/00?project=team"),
            ("image-alias-created", Some("default"), "debian/12 x", "/1.0/images/aliases/debian%2F12%20x"),
            ("project-renamed", Some("team"), "team", "/1.0/projects/team"),
            ("certificate-created", None, "00ff", "/1.0/certificates/00ff"),
            ("join-token-created", None, "laptop", "/1.0"),
        ] {
            assert_eq!(source(&line(action, place, subject)), expected);
        }
    }
}
