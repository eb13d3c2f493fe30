//! Where a client is, as far as one can be told from another.

use std::net::IpAddr;

/// Where a client is, as far as it counts: its IPv4 address, or the 64 bits of its IPv6 address that name its network (the
/// others change every day on many machines).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network([u8; 9]);

impl Network {
    /// The network of an address; one of IPv4 within IPv6 is one of IPv4.
    pub fn of(address: IpAddr) -> Self {
        let mut bytes = [0; 9];
        match address.to_canonical() {
            IpAddr::V4(address) => {
                bytes[0] = 4;
                bytes[1..5].copy_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                bytes[0] = 6;
                bytes[1..].copy_from_slice(&address.octets()[..8]);
            }
        }
        Self(bytes)
    }

    /// None of all: what is signed where the network does not count.
    pub(super) const ANY: Self = Self([0; 9]);

    /// The bytes that name it: always as many.
    pub(super) fn bytes(self) -> [u8; 9] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Network {
        Network::of(text.parse().unwrap())
    }

    #[test]
    fn addresses_of_one_network() {
        assert_eq!(net("192.0.2.7"), net("::ffff:192.0.2.7"));
        assert_eq!(net("2001:db8:1:2::1"), net("2001:db8:1:2:ffff::9"));
        assert_ne!(net("2001:db8:1:2::1"), net("2001:db8:1:3::1"));
        assert_ne!(net("192.0.2.7"), net("192.0.2.6"));
        assert_ne!(net("0.0.0.0"), net("::"));
        assert_ne!(net("0.0.0.0"), Network::ANY);
    }
}
