//! What `GET /1.0` answers (LXD `lxd/api_1.0.go` `api10Get`, `shared/api/server.go`).

use std::collections::BTreeMap;

use serde::Serialize;

/// The API extensions that hold true of this server. Clients change what they do by this list, so it names what is
/// there and nothing else:
///
/// - Lists and objects: `etag`, `patch`, `api_filtering` (of images).
/// - Images: `image_types`, `virtual-machines`, `images_expiry`, `image_profiles`, `images_default_architecture`,
///   `images_all_projects`, `image_create_aliases`, `image_import_alias`.
/// - Taking images in and giving them to others: `image_compression_algorithm`, `image_copy_profile`, `image_force_refresh`,
///   `images_push_relay`, `image_source_project`, `images_target_project`.
/// - Projects and who is trusted: `projects`, `certificate_update`, `certificate_project`, `certificate_token`,
///   `certificate_description`, `explicit_trust_token`.
/// - Operations and events: `operation_description`, `operation_wait`, `event_project`, `entity_description`.
///
/// - Lists that are empty here, which clients do not ask for otherwise but say that something is missing: `network`, `storage`,
///   `warnings` *(seen: with these, `lxc` 5.0 and `incus` 6.0 ask for the list and for nothing else)*.
///
/// `image_registries` would make newer LXD clients send a name instead of an address, `project_usage` ask for limits of projects,
/// and `instances` or `clustering` make commands ask for what is not here.
pub const EXTENSIONS: &[&str] = &[
    "etag",
    "patch",
    "entity_description",
    "image_force_refresh",
    "image_compression_algorithm",
    "image_create_aliases",
    "event_project",
    "projects",
    "virtual-machines",
    "image_types",
    "image_profiles",
    "images_expiry",
    "operation_description",
    "api_filtering",
    "image_copy_profile",
    "image_source_project",
    "images_push_relay",
    "images_target_project",
    "images_default_architecture",
    "images_all_projects",
    "certificate_update",
    "certificate_project",
    "certificate_token",
    "certificate_description",
    "explicit_trust_token",
    "operation_wait",
    "image_import_alias",
    "network",
    "storage",
    "warnings",
];

/// The server as a guest sees it. Answered with 200 to everybody: daemons ask for it before every pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerGuest<'a> {
    /// [`EXTENSIONS`].
    pub api_extensions: &'a [&'a str],
    /// `stable`
    pub api_status: &'a str,
    /// `1.0`
    pub api_version: &'a str,
    /// `untrusted` or `trusted`.
    pub auth: &'a str,
    /// Whether `remote add` shall take this for a public server and stop there, without asking for a token.
    pub public: bool,
    /// Ways to become trusted. Empty means `tls` to clients; `oidc` would be preferred to it.
    pub auth_methods: &'a [&'a str],
    /// Settings: text only, since Incus rejects the whole answer over a truth value here.
    pub config: BTreeMap<String, String>,
}

impl Default for ServerGuest<'_> {
    fn default() -> Self {
        Self {
            api_extensions: EXTENSIONS,
            api_status: "stable",
            api_version: "1.0",
            auth: "untrusted",
            public: false,
            auth_methods: &["tls"],
            config: BTreeMap::new(),
        }
    }
}

/// The server as a trusted client sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server<'a> {
    /// What guests see too, with `auth` being `trusted`.
    #[serde(flatten)]
    pub guest: ServerGuest<'a>,
    /// By what the caller is known: the fingerprint of its certificate, the beginning of its token.
    pub auth_user_name: &'a str,
    /// `tls` for a certificate, `bearer` for a token; only displayed.
    pub auth_user_method: &'a str,
    /// What the server is.
    pub environment: Environment<'a>,
}

/// What the server is. All the fields that clients decode are there; those that tell of a host that runs instances are
/// empty, because this one does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Environment<'a> {
    /// `host:port` under which other servers reach this one, for copies between servers.
    pub addresses: &'a [String],
    /// Canonical names.
    pub architectures: &'a [&'a str],
    /// The server's certificate in PEM.
    pub certificate: &'a str,
    /// SHA-256 of its DER, lower-case hexadecimal.
    pub certificate_fingerprint: &'a str,
    /// Drivers of instances: none.
    pub driver: &'a str,
    /// Their versions: none.
    pub driver_version: &'a str,
    /// None.
    pub firewall: &'a str,
    /// Of hosts of instances.
    pub kernel: &'a str,
    /// Of hosts of instances.
    pub kernel_architecture: &'a str,
    /// Of hosts of instances.
    pub kernel_features: BTreeMap<String, String>,
    /// Of hosts of instances.
    pub kernel_version: &'a str,
    /// Of hosts of instances.
    pub lxc_features: BTreeMap<String, String>,
    /// Of hosts of instances.
    pub os_name: &'a str,
    /// Of hosts of instances.
    pub os_version: &'a str,
    /// The effective project.
    pub project: &'a str,
    /// The program. `lxd-agent` and `incus-agent` would mean the agent in a virtual machine.
    pub server: &'a str,
    /// False.
    pub server_clustered: bool,
    /// Of clusters.
    pub server_event_mode: &'a str,
    /// False.
    pub server_lts: bool,
    /// The name of this server; unique, since clients take two servers with the same name for one when the system trusts their
    /// certificates.
    pub server_name: &'a str,
    /// The program's process.
    pub server_pid: u32,
    /// The program's version; displayed.
    pub server_version: &'a str,
    /// Drivers of storage: none.
    pub storage: &'a str,
    /// Their versions: none.
    pub storage_version: &'a str,
    /// Drivers of storage that could be used: none.
    pub storage_supported_drivers: [(); 0],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_see_an_open_untrusted_server() {
        let list = serde_json::to_string(EXTENSIONS).unwrap();
        assert_eq!(
            serde_json::to_string(&ServerGuest::default()).unwrap(),
            format!(
                "{{\"api_extensions\":{list},\"api_status\":\"stable\",\"api_version\":\"1.0\",\"auth\":\"untrusted\",\
                 \"public\":false,\"auth_methods\":[\"tls\"],\"config\":{{}}}}"
            )
        );
    }

    #[test]
    fn nothing_is_claimed_that_changes_clients_for_the_worse() {
        for never in ["image_registries", "instances", "clustering", "project_usage", "resources"] {
            assert!(!EXTENSIONS.contains(&never), "{never}");
        }
        assert!((1..EXTENSIONS.len()).all(|at| !EXTENSIONS[..at].contains(&EXTENSIONS[at])), "each once");
    }

    /// Go decodes the whole answer or nothing of it, so that the type of every field counts, also of those that nobody reads.
    #[test]
    fn every_field_has_the_type_that_clients_decode() {
        let server = Server {
            guest: ServerGuest { auth: "trusted", ..ServerGuest::default() },
            auth_user_name: "abc",
            auth_user_method: "tls",
            environment: Environment {
                addresses: &["images.example:8443".to_owned()],
                architectures: &["x86_64"],
                server_name: "images",
                ..Environment::default()
            },
        };
        let json = serde_json::to_value(&server).unwrap();
        assert_eq!((&json["auth"], &json["config"]), (&"trusted".into(), &serde_json::json!({})));
        for (key, value) in json["environment"].as_object().unwrap() {
            let fits = match key.as_str() {
                "addresses" | "architectures" | "storage_supported_drivers" => value.is_array(),
                "kernel_features" | "lxc_features" => value.is_object(),
                "server_clustered" | "server_lts" => value.is_boolean(),
                "server_pid" => value.is_u64(),
                _ => value.is_string(),
            };
            assert!(fits, "{key}: {value}");
        }
    }
}
