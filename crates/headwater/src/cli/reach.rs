//! Where the server is reached and by which certificate it is known, told by the command line, which need not run where the server does.

use super::place::Place;
use super::serve::host_name;
use super::stop::Stop;
use crate::config::is_host_and_port;
use crate::http::about;
use crate::http::tls::Tls;

/// Where clients go, and what they see there.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    /// `host:port`, the best first; at least one.
    pub(super) addresses: Vec<String>,
    /// SHA-256 of the server's certificate.
    pub(super) fingerprint: String,
}

/// Where the server is reached
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Addresses {
    /// Where clients reach the server, if its configuration does not say it. May be repeated
    #[arg(long = "address", value_name = "HOST:PORT", value_parser = address)]
    addresses: Vec<String>,
}

fn address(text: &str) -> Result<String, &'static str> {
    match is_host_and_port(text) {
        true => Ok(text.to_owned()),
        false => Err("write a host and a port, for example images.example.com:8443 or [2001:db8::7]:8443"),
    }
}

impl Addresses {
    /// The addresses that were given, else those of the configuration, else those of this host at the configured ports.
    pub(super) fn read(&self, place: &Place) -> Vec<String> {
        if !self.addresses.is_empty() {
            return self.addresses.clone();
        }
        let config = &place.config;
        config.addresses.clone().unwrap_or_else(|| {
            let host = config.server_name.clone().unwrap_or_else(host_name);
            about::addresses(&host, &config.listen)
        })
    }

    /// The same with the server's certificate.
    pub(super) fn reach(&self, place: &Place) -> Result<Reach, Stop> {
        let addresses = self.read(place);
        if addresses.is_empty() {
            return Err(Stop::failed(
                "it is not known under which address clients reach the server; say it with --address HOST:PORT, or with `addresses` in the configuration",
            ));
        }
        let (files, ours) = place.config.certificate(&place.data);
        if ours && !files.certificate.exists() {
            return Err(Stop::failed(
                "the server has no certificate yet, by which clients would know it; start `headwater serve` once, then try again",
            ));
        }
        let fingerprint = Tls::load(files, false)?.fingerprint();
        Ok(Reach { addresses, fingerprint })
    }

    /// An address for examples.
    pub(super) fn first(&self, place: &Place) -> String {
        self.read(place).into_iter().next().unwrap_or_else(|| "images.example.com:8443".to_owned())
    }
}
