//! Events: what `/1.0/events` tells, one object in each frame (LXD `shared/api/event.go`, `event_lifecycle.go`).

use std::collections::BTreeMap;

use serde::Serialize;

use super::operation::{NO_LOCATION, Operation};
use super::time::WireTime;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// `operation` or `lifecycle`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// When.
    pub timestamp: WireTime,
    /// What.
    pub metadata: Happening,
    /// `none`, or the name of a server in a cluster.
    pub location: &'static str,
    /// In which project; empty for what is in none.
    pub project: String,
}

/// What an event tells of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Happening {
    /// An operation, as it stands now: the whole object.
    Operation(Box<Operation>),
    /// Something was done.
    Lifecycle(Lifecycle),
}

/// Something was done to something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lifecycle {
    /// `image-created` and others (LXD `shared/api/event_lifecycle.go`).
    pub action: String,
    /// The address of what it was done to.
    pub source: String,
    /// What else there is to say. Left out when empty, as the daemons do.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, String>,
    /// Who did it, for those who may know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requestor: Option<Requestor>,
    /// The name of what it was done to (newer LXD and Incus).
    pub name: String,
    /// Its project; empty for what is in none (newer LXD and Incus).
    pub project: String,
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Requestor {
    /// A name; for a certificate the daemons give its SHA-256.
    pub username: String,
    /// `tls`, `unix` or `bearer`.
    pub protocol: String,
    /// Where from; may be empty.
    pub address: String,
}

impl Event {
    /// An operation went on.
    pub fn operation(project: String, timestamp: WireTime, operation: Operation) -> Self {
        let metadata = Happening::Operation(Box::new(operation));
        Self { kind: "operation", timestamp, metadata, location: NO_LOCATION, project }
    }

    /// Something was done.
    pub fn lifecycle(timestamp: WireTime, lifecycle: Lifecycle) -> Self {
        let project = lifecycle.project.clone();
        let metadata = Happening::Lifecycle(lifecycle);
        Self { kind: "lifecycle", timestamp, metadata, location: NO_LOCATION, project }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;

    #[test]
    fn written_as_clients_read_it() {
        let mut lifecycle = Lifecycle {
            action: "image-created".into(),
            source: "/1.0/images/00?project=team".into(),
            context: BTreeMap::new(),
            requestor: None,
            name: "00".into(),
            project: "team".into(),
        };
        assert_eq!(
            serde_json::to_string(&Event::lifecycle(Timestamp::EPOCH.into(), lifecycle.clone())).unwrap(),
            concat!(
                r#"{"type":"lifecycle","timestamp":"1970-01-01T00:00:00Z","metadata":{"action":"image-created","#,
                r#""source":"/1.0/images/00?project=team","name":"00","project":"team"},"location":"none","project":"team"}"#
            )
        );
        lifecycle.context.insert("size".into(), "1".into());
        lifecycle.requestor =
            Some(Requestor { username: "ann".into(), protocol: "unix".into(), address: String::new() });
        assert_eq!(
            serde_json::to_value(&lifecycle).unwrap(),
            serde_json::json!({
                "action": "image-created", "source": "/1.0/images/00?project=team", "context": {"size": "1"},
                "requestor": {"username": "ann", "protocol": "unix", "address": ""}, "name": "00", "project": "team",
            })
        );
    }
}
