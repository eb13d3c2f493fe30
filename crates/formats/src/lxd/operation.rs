//! Operations: what goes on in the background (LXD `shared/api/operation.go`, `shared/api/status_code.go`).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::time::WireTime;

/// How far an operation is. Its number and its text always go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// 103
    Running,
    /// 104
    Cancelling,
    /// 105
    Pending,
    /// 200
    Success,
    /// 400
    Failure,
    /// 401
    Cancelled,
}

impl Status {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Running, Self::Cancelling, Self::Pending, Self::Success, Self::Failure, Self::Cancelled];

    /// The one with this number.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    /// The number.
    pub fn code(self) -> u16 {
        match self {
            Self::Running => 103,
            Self::Cancelling => 104,
            Self::Pending => 105,
            Self::Success => 200,
            Self::Failure => 400,
            Self::Cancelled => 401,
        }
    }

    /// The text.
    pub fn text(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Cancelling => "Cancelling",
            Self::Pending => "Pending",
            Self::Success => "Success",
            Self::Failure => "Failure",
            Self::Cancelled => "Cancelled",
        }
    }

    /// Whether nothing more will happen. A client that is answered with a final status neither waits nor listens for
    /// events (LXD `client/operations.go`).
    pub fn is_final(self) -> bool {
        self.code() >= 200
    }
}

/// [`Operation::location`] of a server that is in no cluster.
pub const NO_LOCATION: &str = "none";

/// An operation as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// A random UUID.
    pub id: String,
    /// `task` or `token`.
    pub class: &'static str,
    /// What it does, in words.
    pub description: String,
    /// When it was started.
    pub created_at: WireTime,
    /// When it last changed.
    pub updated_at: WireTime,
    /// [`Status::text`].
    pub status: &'static str,
    /// [`Status::code`].
    pub status_code: u16,
    /// Paths by kind: `images` to `/1.0/images/<fingerprint>`.
    pub resources: BTreeMap<String, Vec<String>>,
    /// Results. `fingerprint`, `secret` and `size` are text, `refreshed` is a truth value: clients stop with a
    /// crash over another type.
    pub metadata: Map<String, Value>,
    /// Whether `DELETE` may end it.
    pub may_cancel: bool,
    /// What went wrong, or empty.
    pub err: String,
    /// `none`, or the name of a server in a cluster.
    pub location: String,
}

impl Operation {
    /// Sets number and text together.
    pub fn set_status(&mut self, status: Status) {
        self.status = status.text();
        self.status_code = status.code();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;

    #[test]
    fn written_as_clients_read_it() {
        let mut operation = Operation {
            id: "1".into(),
            class: "task",
            description: "Downloading image".into(),
            created_at: Timestamp::EPOCH.into(),
            updated_at: WireTime(None),
            status: Status::Pending.text(),
            status_code: Status::Pending.code(),
            resources: BTreeMap::new(),
            metadata: Map::new(),
            may_cancel: false,
            err: String::new(),
            location: "none".into(),
        };
        operation.set_status(Status::Success);
        assert_eq!(
            serde_json::to_string(&operation).unwrap(),
            concat!(
                r#"{"id":"1","class":"task","description":"Downloading image","created_at":"1970-01-01T00:00:00Z","#,
                r#""updated_at":"0001-01-01T00:00:00Z","status":"Success","status_code":200,"resources":{},"#,
                r#""metadata":{},"may_cancel":false,"err":"","location":"none"}"#
            )
        );
    }

    #[test]
    fn numbers_are_read_again() {
        for status in Status::ALL {
            assert_eq!(Status::from_code(status.code()), Some(status));
        }
        assert_eq!(Status::from_code(100), None, "that is the envelope's");
    }

    #[test]
    fn final_is_success_failure_and_cancelled() {
        assert!(Status::Success.is_final() && Status::Failure.is_final() && Status::Cancelled.is_final());
        assert!(!Status::Running.is_final() && !Status::Pending.is_final() && !Status::Cancelling.is_final());
    }
}
