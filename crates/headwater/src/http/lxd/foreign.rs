//! What LXD and Incus have beside images. Lists of it are empty, so that no listing command breaks; single things are not found, in
//! the daemons' words; and what would run, store or connect something is refused with a sentence.

use http::{Response, StatusCode};
use serde_json::json;

use super::{Body, Failure, Query, sync};

/// Lists, and what the daemons say of one of them that is not there.
const LISTS: &[(&[&str], &str)] = &[
    (&["instances"], "Instance not found"),
    (&["containers"], "Instance not found"),
    (&["virtual-machines"], "Instance not found"),
    (&["profiles"], "Profile not found"),
    (&["networks"], "Network not found"),
    (&["network-acls"], "Network ACL not found"),
    (&["network-address-sets"], "Network address set not found"),
    (&["network-allocations"], "not found"),
    (&["network-integrations"], "Network integration not found"),
    (&["network-zones"], "Network zone not found"),
    (&["storage-pools"], "Storage pool not found"),
    (&["storage-volumes"], "Storage volume not found"),
    (&["storage-buckets"], "Storage bucket not found"),
    (&["warnings"], "Warning not found"),
    (&["cluster", "members"], "Cluster member not found"),
    (&["cluster", "groups"], "Cluster group not found"),
];

/// Answers for the segments after `/1.0`.
pub(super) fn answer(rest: &[String], method: &str, _: &Query) -> Result<Response<Body>, Failure> {
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    if method != "GET" {
        return Err(Failure::Told(
            StatusCode::NOT_IMPLEMENTED,
            "this server keeps images and runs nothing; ask an LXD or Incus server for this".to_owned(),
        ));
    }
    // As a server says that is in no cluster.
    if rest == ["cluster"] {
        return sync(json!({ "server_name": "", "enabled": false, "member_config": [] }));
    }
    match LISTS.iter().find_map(|(list, missing)| Some((rest.strip_prefix(*list)?, *missing))) {
        Some(([], _)) => sync([(); 0]),
        Some((_, missing)) => Err(Failure::not_found(missing)),
        None => Err(Failure::not_found("not found")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &str, method: &str) -> Result<StatusCode, String> {
        let rest: Vec<String> = path.split('/').map(str::to_owned).collect();
        answer(&rest, method, &Query::default()).map(|answer| answer.status()).map_err(|error| error.to_string())
    }

    #[test]
    fn lists_are_empty_and_things_are_not_there() {
        for list in ["instances", "profiles", "storage-pools", "cluster/members", "cluster", "warnings"] {
            assert_eq!(asked(list, "GET"), Ok(StatusCode::OK), "{list}");
        }
        assert_eq!(asked("instances/c1", "GET").unwrap_err(), "Instance not found");
        assert_eq!(asked("instances/c1/state", "GET").unwrap_err(), "Instance not found");
        assert_eq!(asked("profiles/default", "GET").unwrap_err(), "Profile not found");
        assert_eq!(asked("resources", "GET").unwrap_err(), "not found");
        assert_eq!(asked("auth/groups", "GET").unwrap_err(), "not found");
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            assert!(asked("instances", method).unwrap_err().starts_with("this server keeps images and runs nothing"));
        }
    }
}
