//! The envelope around every answer, errors included.
//!
//! Clients look at `type` first: `sync`, `async` or `error`. All seven fields are there in every answer of the real daemons,
//! and a body that is no envelope gives people a message about JSON instead of one about their image. So every answer
//! under `/1.0`, whoever makes it, is one of these (LXD `lxd/response/response.go`, `client/lxd.go` `lxdParseResponse`).

use serde::Serialize;

/// An answer of the API. `status_code` of a sync answer is 200 even when the HTTP status is 201.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Envelope<T> {
    /// `sync`, `async` or `error`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The text of `status_code`; empty for an error.
    pub status: &'static str,
    /// 200 for sync, 100 for async, 0 for an error.
    pub status_code: u16,
    /// The path of the operation of an async answer, else empty.
    pub operation: String,
    /// The HTTP status of an error, else 0.
    pub error_code: u16,
    /// What went wrong, in words, else empty.
    pub error: String,
    /// What was asked for; `null` for errors.
    pub metadata: T,
}

/// `{}`: the metadata of answers that have nothing to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Empty {}

impl<T: Serialize> Envelope<T> {
    /// The answer to a question, or to a change that is done. HTTP status 200.
    pub fn sync(metadata: T) -> Self {
        Self {
            kind: "sync",
            status: "Success",
            status_code: 200,
            operation: String::new(),
            error_code: 0,
            error: String::new(),
            metadata,
        }
    }

    /// The answer to a request that goes on in the background; `metadata` is the whole operation, `operation` its path
    /// (`/1.0/operations/<id>`). HTTP status 202.
    pub fn background(operation: impl Into<String>, metadata: T) -> Self {
        Self {
            kind: "async",
            status: "Operation created",
            status_code: 100,
            operation: operation.into(),
            ..Self::sync(metadata)
        }
    }
}

impl Envelope<Empty> {
    /// The answer to a change that has nothing to say. HTTP status 200.
    pub fn empty() -> Self {
        Self::sync(Empty {})
    }
}

impl Envelope<()> {
    /// The answer to a creation or a renaming; its address goes into the header `Location`. HTTP status 201.
    pub fn created() -> Self {
        Self::sync(())
    }

    /// An error. `code` is the HTTP status too: clients take the status line as the code, and the body for success when
    /// the two differ.
    pub fn error(code: u16, message: impl Into<String>) -> Self {
        Self {
            kind: "error",
            status: "",
            status_code: 0,
            operation: String::new(),
            error_code: code,
            error: message.into(),
            metadata: (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json<T: Serialize>(value: &T) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn all_seven_fields_are_always_there() {
        assert_eq!(
            json(&Envelope::sync(["/1.0"])),
            r#"{"type":"sync","status":"Success","status_code":200,"operation":"","error_code":0,"error":"","metadata":["/1.0"]}"#
        );
        assert_eq!(
            json(&Envelope::empty()),
            r#"{"type":"sync","status":"Success","status_code":200,"operation":"","error_code":0,"error":"","metadata":{}}"#
        );
        assert_eq!(
            json(&Envelope::created()),
            r#"{"type":"sync","status":"Success","status_code":200,"operation":"","error_code":0,"error":"","metadata":null}"#
        );
        assert_eq!(
            json(&Envelope::background("/1.0/operations/x", Empty {})),
            r#"{"type":"async","status":"Operation created","status_code":100,"operation":"/1.0/operations/x","error_code":0,"error":"","metadata":{}}"#
        );
        assert_eq!(
            json(&Envelope::error(404, "Image not found")),
            r#"{"type":"error","status":"","status_code":0,"operation":"","error_code":404,"error":"Image not found","metadata":null}"#
        );
    }
}
