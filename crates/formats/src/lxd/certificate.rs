//! Certificates of trusted clients (LXD and Incus `shared/api/certificate.go`).

use serde::{Deserialize, Serialize};

/// A trusted client's certificate as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// What people call it.
    pub name: String,
    /// `client`
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether it is limited to `projects`.
    pub restricted: bool,
    /// The projects it is limited to.
    pub projects: Vec<String>,
    /// PEM.
    pub certificate: String,
    /// SHA-256 of the DER, lower-case hexadecimal.
    pub fingerprint: String,
    /// What people wrote about it (Incus only; LXD ignores it).
    pub description: String,
}

/// What is sent to change one, by `PUT` or by `PATCH`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "as in Certificate")]
pub struct CertificatePut {
    pub name: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub restricted: Option<bool>,
    pub projects: Option<Vec<String>>,
    /// A new certificate, in PEM or as base64 of its DER.
    pub certificate: Option<String>,
    pub description: Option<String>,
}

/// What is sent to join, to add a certificate, or to make a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "as in Certificate")]
pub struct CertificatesPost {
    pub name: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub restricted: Option<bool>,
    pub projects: Option<Vec<String>>,
    /// The certificate to add, in PEM or as base64 of its DER.
    pub certificate: Option<String>,
    /// The proof of who joins, as LXD sends it.
    pub password: Option<String>,
    /// The same, as Incus and later LXD send it.
    pub trust_token: Option<String>,
    /// Whether a token is to be made.
    pub token: Option<bool>,
    pub description: Option<String>,
}

/// A certificate in PEM, given the base64 of its DER (standard alphabet, one line).
///
/// ```
/// let pem = headwater_formats::lxd::certificate::pem("AAAA");
/// assert_eq!(pem, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
/// ```
pub fn pem(der_base64: &str) -> String {
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for (at, letter) in der_base64.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_clients_read_it() {
        let certificate = Certificate {
            name: "ci".into(),
            kind: "client",
            restricted: true,
            projects: vec!["p1".into()],
            certificate: String::new(),
            fingerprint: "ab".into(),
            description: String::new(),
        };
        assert_eq!(
            serde_json::to_string(&certificate).unwrap(),
            concat!(
                r#"{"name":"ci","type":"client","restricted":true,"projects":["p1"],"#,
                r#""certificate":"","fingerprint":"ab","description":""}"#
            )
        );
    }

    #[test]
    fn what_clients_send_is_read() {
        // lxc 5.0, joining; the lists of Go may be null.
        let joining: CertificatesPost = serde_json::from_str(
            r#"{"name":"","type":"client","restricted":false,"projects":null,"certificate":"","password":"p","token":false}"#,
        )
        .unwrap();
        assert_eq!((joining.password.as_deref(), joining.projects), (Some("p"), None));
        let put: CertificatePut = serde_json::from_str(r#"{"name":null,"fingerprint":"ab"}"#).unwrap();
        assert_eq!(put, CertificatePut::default());
    }

    #[test]
    fn lines_have_64_characters() {
        let lines: Vec<usize> = pem(&"A".repeat(130)).lines().map(str::len).collect();
        assert_eq!(lines, [27, 64, 64, 2, 25]);
        assert_eq!(pem(&"A".repeat(64)).lines().count(), 3);
    }
}
