//! What the server says of itself: its name, where others reach it, the certificate by which they know it.
//!
//! ```
//! use headwater::http::about::Description;
//!
//! let about = Description::default().now();
//! assert_eq!(about.name, "localhost");
//! ```
//!
//! Clients compare names to tell two servers apart whose certificates they do not pin (LXD and Incus `client/*_images.go`, `CopyImage`);
//! they hand the addresses to the server that is to fetch an image from this one; join tokens hold the addresses and
//! the certificate's hash. This file does not know who is told.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use super::tls::Tls;

/// How the server describes itself, for as long as it runs.
#[derive(Debug, Clone)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// `host:port`, the best first.
    pub addresses: Vec<String>,
    /// Where its certificate comes from; it may change while the server runs.
    pub tls: Option<Arc<Tls>>,
}

impl Default for Description {
    fn default() -> Self {
        Self { name: "localhost".to_owned(), addresses: Vec::new(), tls: None }
    }
}

/// The same at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The server's name; unique among the servers that clients know, when its operator keeps to that.
    pub name: String,
    /// `host:port` under which others reach it, the best first.
    pub addresses: Vec<String>,
    /// The certificate that is in use, in PEM; empty without TLS.
    pub certificate: String,
    /// SHA-256 of its DER in lower-case hexadecimal; empty without TLS.
    pub fingerprint: String,
    /// The program's version.
    pub version: &'static str,
}

/// Where a server is reached that listens there, when nobody says so: under the host's name, and under the addresses by which the
/// host reaches others.
pub fn addresses(host: &str, listening: &[SocketAddr]) -> Vec<String> {
    reached_at(host, listening, outward)
}

impl Description {
    /// With the certificate that is in use.
    pub fn now(&self) -> About {
        let tls = self.tls.as_deref();
        About {
            name: self.name.clone(),
            addresses: self.addresses.clone(),
            certificate: tls.map(Tls::pem).unwrap_or_default(),
            fingerprint: tls.map(Tls::fingerprint).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// One that only listens on the loopback is reached nowhere else, so its own
/// addresses are told; otherwise those are left out.
fn reached_at(host: &str, listening: &[SocketAddr], outward: fn(bool) -> Option<IpAddr>) -> Vec<String> {
    let inside = listening.iter().all(|address| address.ip().is_loopback());
    let mut addresses = Vec::new();
    let mut add = |address: String| {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    };
    for address in listening {
        let port = address.port();
        if address.ip().is_unspecified() {
            if host != "localhost" {
                add(format!("{host}:{port}"));
            }
            // A socket on all IPv6 addresses takes IPv4, too.
            let ours = [Some(false), address.is_ipv6().then_some(true)].into_iter().flatten().filter_map(outward);
            ours.for_each(|ip| add(SocketAddr::new(ip, port).to_string()));
        } else if inside || !address.ip().is_loopback() {
            add(address.to_string());
        }
    }
    addresses
}

/// The address from which this host would speak to the world; `None` without a route. Connecting a UDP socket sends nothing. The addresses
/// asked for are set aside for documents (RFC 5737, RFC 3849).
fn outward(ipv6: bool) -> Option<IpAddr> {
    let (from, to) = if ipv6 { ("[::]:0", "[2001:db8::1]:9") } else { ("0.0.0.0:0", "192.0.2.1:9") };
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(listening: &[&str]) -> Vec<String> {
        let listening: Vec<SocketAddr> = listening.iter().map(|address| address.parse().unwrap()).collect();
        reached_at("images", &listening, |ipv6| Some(if ipv6 { "2001:db8::7" } else { "192.0.2.7" }.parse().unwrap()))
    }

    #[test]
    fn a_server_is_reached_where_it_listens() {
        assert_eq!(reached(&["[::]:8443"]), ["images:8443", "192.0.2.7:8443", "[2001:db8::7]:8443"]);
        assert_eq!(reached(&["0.0.0.0:8443"]), ["images:8443", "192.0.2.7:8443"]);
        assert_eq!(reached(&["198.51.100.1:443", "127.0.0.1:8443"]), ["198.51.100.1:443"]);
        assert_eq!(reached(&["127.0.0.1:8443", "[::1]:8443"]), ["127.0.0.1:8443", "[::1]:8443"]);
        assert_eq!(reached(&["0.0.0.0:1", "[::]:1"]).len(), 3, "each once");
        assert!(reached(&[]).is_empty());
        let listening = ["0.0.0.0:8443".parse().unwrap()];
        assert!(
            reached_at("localhost", &listening, |_| None).is_empty(),
            "that would be another one for everybody else"
        );
    }
}
