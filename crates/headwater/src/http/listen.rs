//! Sockets to listen on: those that systemd hands over, else those of the configuration.
//!
//! This file does not accept connections; that is [`super::accept`].

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Why nothing can be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody has it.
    #[error(
        "port {port} on {ip} is taken by another program; stop that one, or choose another port with \
         --listen '{elsewhere}' (LXD and Incus use 8443 too when they listen on the network)"
    )]
    Taken {
        /// The port.
        port: u16,
        /// The address.
        ip: std::net::IpAddr,
        /// An address that may be free.
        elsewhere: SocketAddr,
    },
    /// The system said no.
    #[error("{address} cannot be listened on: {source}; choose another address with --listen")]
    Failed {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// systemd handed over something else.
    #[error("the sockets that were handed over by systemd cannot be used: {0}; use ListenStream= with TCP addresses")]
    HandedOver(io::Error),
}

/// The sockets, ready to be accepted from.
pub fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, ListenError> {
    let mut handed_over = listenfd::ListenFd::from_env();
    if handed_over.len() == 0 {
        return addresses.iter().map(|address| bind(*address)).collect();
    }
    let mut listeners = Vec::with_capacity(handed_over.len());
    for index in 0..handed_over.len() {
        if let Some(listener) = handed_over.take_tcp_listener(index).map_err(ListenError::HandedOver)? {
            listener.set_nonblocking(true).map_err(ListenError::HandedOver)?;
            listeners.push(listener);
        }
    }
    Ok(listeners)
}

fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let attempt = |address: SocketAddr| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            // `[::]` means every address of both kinds, whatever the system's default.
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok::<TcpListener, io::Error>(socket.into())
    };
    let outcome = match attempt(address) {
        // A machine without IPv6: every address is then every address of the other kind.
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && no_ipv6(&error) => {
            attempt(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        outcome => outcome,
    };
    outcome.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => {
            let port = if address.port() < u16::MAX - 1000 { address.port() + 1000 } else { 8443 };
            let elsewhere = SocketAddr::new(address.ip(), port);
            ListenError::Taken { port: address.port(), ip: address.ip(), elsewhere }
        }
        _ => ListenError::Failed { address, source },
    })
}

fn no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_told_with_a_way_out() {
        let first = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("port {} on 127.0.0.1 is taken by another program", address.port())),
            "{error}"
        );
        assert!(error.contains("--listen '127.0.0.1:"), "{error}");
        let everywhere = bind("[::]:0".parse().unwrap()).unwrap();
        assert_ne!(everywhere.local_addr().unwrap().port(), 0);
    }
}
