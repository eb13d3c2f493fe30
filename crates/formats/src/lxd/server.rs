//! What `GET /1.0` answers (LXD `lxd/api_1.0.go` `api10Get`, `shared/api/server.go`).

use std::collections::BTreeMap;

use serde::Serialize;

/// The API extensions that hold true of this server. Clients change what they do by this list, so it names what is
/// there and nothing else:
///
/// - `etag`: one image and one alias carry an `ETag`.
/// - `api_filtering`: lists take `filter=`.
/// - `image_types`, `virtual-machines`: images have a type, and it may be `virtual-machine`.
/// - `image_profiles`: images list profiles.
///
/// `projects` would make `remote add` ask for `/1.0/projects`, `image_registries` would make newer LXD clients send a name
/// instead of an address, and `instances` or `clustering` would make list commands ask for instances and members.
pub const EXTENSIONS: &[&str] = &["etag", "api_filtering", "image_types", "image_profiles", "virtual-machines"];

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
    /// The caller's name: the fingerprint of its certificate.
    pub auth_user_name: &'a str,
    /// `tls`
    pub auth_user_method: &'a str,
    /// What the server is.
    pub environment: Environment<'a>,
}

/// The part of [`Server`] that clients act on; what they only display is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Environment<'a> {
    /// `host:port` under which other servers reach this one, for copies between servers.
    pub addresses: &'a [String],
    /// Canonical names.
    pub architectures: &'a [&'a str],
    /// The server's certificate in PEM.
    pub certificate: &'a str,
    /// SHA-256 of its DER, lower-case hexadecimal.
    pub certificate_fingerprint: &'a str,
    /// The effective project.
    pub project: &'a str,
    /// The program. `lxd-agent` and `incus-agent` would mean the agent in a virtual machine.
    pub server: &'a str,
    /// False.
    pub server_clustered: bool,
    /// The name of this server; unique, since clients take two servers with the same name for one when the system trusts their
    /// certificates.
    pub server_name: &'a str,
    /// The program's process, or 0.
    pub server_pid: u32,
    /// The program's version; displayed.
    pub server_version: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_see_an_open_untrusted_server() {
        assert_eq!(
            serde_json::to_string(&ServerGuest::default()).unwrap(),
            concat!(
                r#"{"api_extensions":["etag","api_filtering","image_types","image_profiles","virtual-machines"],"#,
                r#""api_status":"stable","api_version":"1.0","auth":"untrusted","public":false,"#,
                r#""auth_methods":["tls"],"config":{}}"#
            )
        );
    }

    #[test]
    fn trusted_clients_see_the_environment_too() {
        let server = Server {
            guest: ServerGuest { auth: "trusted", ..ServerGuest::default() },
            auth_user_name: "abc",
            auth_user_method: "tls",
            environment: Environment {
                addresses: &["images.example:8443".to_owned()],
                architectures: &["x86_64"],
                certificate: "",
                certificate_fingerprint: "",
                project: "default",
                server: "headwater",
                server_clustered: false,
                server_name: "images",
                server_pid: 0,
                server_version: "0.1.0",
            },
        };
        let json = serde_json::to_value(&server).unwrap();
        assert_eq!(json["auth"], "trusted");
        assert_eq!(json["environment"]["addresses"][0], "images.example:8443");
        assert_eq!(json["config"], serde_json::json!({}));
    }
}
