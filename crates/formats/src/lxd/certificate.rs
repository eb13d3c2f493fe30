//! Certificates of trusted clients (LXD `shared/api/certificate.go`).

use serde::Serialize;

/// A trusted client's certificate as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certificate<'a> {
    /// What people call it.
    pub name: &'a str,
    /// `client`
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// Whether it is limited to `projects`.
    pub restricted: bool,
    /// The projects it is limited to.
    pub projects: &'a [String],
    /// PEM.
    pub certificate: &'a str,
    /// SHA-256 of the DER, lower-case hexadecimal.
    pub fingerprint: &'a str,
    /// What people wrote about it (Incus only; LXD ignores it).
    pub description: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_clients_read_it() {
        let certificate = Certificate {
            name: "ci",
            kind: "client",
            restricted: true,
            projects: &["p1".to_owned()],
            certificate: "",
            fingerprint: "ab",
            description: "",
        };
        assert_eq!(
            serde_json::to_string(&certificate).unwrap(),
            concat!(
                r#"{"name":"ci","type":"client","restricted":true,"projects":["p1"],"#,
                r#""certificate":"","fingerprint":"ab","description":""}"#
            )
        );
    }
}
