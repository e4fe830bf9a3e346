//! What counts as one address: an IPv4 address, or an IPv6 /64, which is what one subscriber gets.

use std::net::IpAddr;

/// One client's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    /// A whole IPv4 address; one that is mapped into IPv6 counts as the same.
    V4([u8; 4]),
    /// The first 64 bits of an IPv6 address.
    V6([u8; 8]),
}

impl Network {
    /// The network that an address belongs to.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Network::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Network::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}
