//! The program as a server, asked byte by byte: over plain connections and over TLS.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::kit::bounded;
use crate::cli::kit::House;

/// The program as a server, its log in a file.
pub(super) struct Serving {
    child: Child,
    address: SocketAddr,
    client: Arc<rustls::ClientConfig>,
}

impl Serving {
    pub(super) fn start(house: &House) -> Self {
        let log = house.folder.path().join("log");
        let mut command = bounded(house, &["serve", "--listen", "127.0.0.1:0"]);
        command.env("HEADWATER_LOG_LEVEL", "debug").stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        let begun = Instant::now();
        let address = loop {
            let said = fs::read_to_string(&log).unwrap();
            // The last thing that it says when it starts for the first time.
            if said.contains("incus remote add headwater-streams ") {
                let at = said.find("Headwater listens on https://").unwrap() + "Headwater listens on https://".len();
                let end = said[at..].find(|c: char| c.is_whitespace() || c == ',').unwrap();
                break said[at..at + end].parse().unwrap();
            }
            assert!(child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(30), "{said}");
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(house.data().join("tls/server.crt")).unwrap()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { child, address, client: Arc::new(client) }
    }

    pub(super) fn plain(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        stream
    }

    pub(super) fn ask(&self, over: Over, request: &[u8]) -> Answer {
        match over {
            Over::Plain => exchange(self.plain(), request),
            Over::Tls => {
                let name = "localhost".try_into().unwrap();
                let session = rustls::ClientConnection::new(Arc::clone(&self.client), name).unwrap();
                exchange(rustls::StreamOwned::new(session, self.plain()), request)
            }
        }
    }

    /// The most memory that it had, in KiB.
    pub(super) fn most_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Ends it as a service manager does; it has to go in peace.
    pub(super) fn end(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Plain,
    Tls,
}

/// What came back on a connection until its end.
#[derive(Debug)]
pub(super) struct Answer {
    /// 0 when the connection was closed without a word.
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

fn exchange(mut stream: impl Read + Write, request: &[u8]) -> Answer {
    // It may be refused before all of it was sent.
    let _ = stream.write_all(request);
    let _ = stream.flush();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while let Ok(1..) = reader.read_line(&mut head) {
        if head.ends_with("\r\n\r\n") {
            break;
        }
    }
    let mut body = Vec::new();
    let _ = reader.read_to_end(&mut body);
    let status = head.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "));
    Answer { status: status.and_then(|rest| rest[..3].parse().ok()).unwrap_or(0), head, body }
}
