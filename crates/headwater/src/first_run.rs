//! What a server says when it starts for the first time: where it is, how to recognise it, and what to type next.
//!
//! The commands work as they are printed, on this machine. Remotes of the LXD/Incus protocol pin the self-signed certificate
//! when they are added; simplestreams remotes do not, and take it from a file (LXD `lxc/remote.go`, Incus
//! `cmd/incus/remote.go`). This file only makes text.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// What there is to tell.
#[derive(Debug)]
pub struct Greeting<'a> {
    /// How this program was called, so that it can be called again.
    pub program: &'a Path,
    /// Where the server listens.
    pub listening: &'a [SocketAddr],
    /// The host's name, for other machines.
    pub host: &'a str,
    /// SHA-256 of the certificate.
    pub fingerprint: &'a str,
    /// The certificate's file.
    pub certificate: &'a Path,
    /// The data folder, when commands have to be told.
    pub data: Option<&'a Path>,
    /// Where clients reach the server, when commands have to be told.
    pub address: Option<&'a str>,
}

/// An address to reach this server by from the same machine.
pub fn local_url(listening: &[SocketAddr]) -> String {
    match listening.first() {
        Some(address) if !address.ip().is_unspecified() => format!("https://{address}"),
        Some(address) => format!("https://localhost:{}", address.port()),
        None => "https://localhost:8443".to_owned(),
    }
}

/// The least that an image has to say of itself, for `printf`.
const METADATA: &str = r"architecture: x86_64\ncreation_date: 1735689600\nproperties: {os: Empty, release: one, description: Empty image}\n";

/// The text.
pub fn text(greeting: &Greeting<'_>) -> String {
    let Greeting { program, listening, host, fingerprint, certificate, data, address } = greeting;
    let url = local_url(listening);
    let program = quoted(program);
    let data = data.map(|folder| format!(" --data {}", quoted(folder))).unwrap_or_default();
    let address = address.map(|address| format!(" --address {}", quoted(Path::new(address)))).unwrap_or_default();
    let certificate = quoted(certificate);
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\
Headwater listens on {url}{elsewhere}
  certificate  {certificate}
  fingerprint  {fingerprint}

Next, in another terminal: publish the files that an image builder made, as in

  {program} publish{data} metadata.tar.xz rootfs.squashfs --public

or an empty image to try with, and use it:

  mkdir -p empty/rootfs && printf '{METADATA}' >empty/metadata.yaml && tar -czf empty.tar.gz -C empty metadata.yaml rootfs
  {program} publish{data} empty.tar.gz --public --alias first
  lxc remote add headwater {url} --public --accept-certificate && lxc image list headwater:
  incus remote add headwater {url} --public --accept-certificate && incus image list headwater:

The same images over simplestreams, with this certificate trusted for that remote:

  install -D -m 644 {certificate} ~/.config/lxc/servercerts/headwater-streams.crt
  lxc remote add headwater-streams {url} --protocol simplestreams
  install -D -m 644 {certificate} ~/.config/incus/servercerts/headwater-streams.crt
  incus remote add headwater-streams {url} --protocol simplestreams

Who is to upload, to change things and to see what is private, joins with a word, once. This makes one, and says what to do with it:

  {program} trust add{data} first-client --administrator{address}
",
        elsewhere = elsewhere(listening, host),
    );
    text
}

fn elsewhere(listening: &[SocketAddr], host: &str) -> String {
    match listening.first() {
        Some(address) if address.ip().is_unspecified() => {
            format!(", and for other machines on https://{host}:{}", address.port())
        }
        _ => String::new(),
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_what_is_there() {
        let everywhere = ["[::]:8443".parse().unwrap()];
        let said = text(&Greeting {
            program: Path::new("target/release/headwater"),
            listening: &everywhere,
            host: "box",
            fingerprint: "abc",
            certificate: Path::new("/srv/it's here/tls/server.crt"),
            data: Some(Path::new("/srv/it's here")),
            address: Some("[::1]:9000"),
        });
        assert!(said.starts_with(
            "Headwater listens on https://localhost:8443, and for other machines on https://box:8443\n  certificate  "
        ));
        assert!(said.contains(
            "  target/release/headwater publish --data '/srv/it'\\''s here' empty.tar.gz --public --alias first\n"
        ));
        assert!(said.ends_with(
            "\n  target/release/headwater trust add --data '/srv/it'\\''s here' first-client --administrator --address '[::1]:9000'\n"
        ));
        assert!(said.contains("  lxc remote add headwater https://localhost:8443 --public --accept-certificate && "));
        assert_eq!(local_url(&["127.0.0.1:9000".parse().unwrap()]), "https://127.0.0.1:9000");
    }
}
