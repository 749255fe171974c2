//! Where a client is, as far as proxies are trusted to say.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::facts::Facts;

/// Addresses that have their first bits in common: `10.0.0.0/8`, or one, `192.0.2.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let same = |ours: u128, theirs: u128, width: u32| {
            let shift = width - u32::from(self.bits);
            shift == 128 || ours >> shift == theirs >> shift
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => same(u32::from(ours).into(), u32::from(theirs).into(), 32),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => same(ours.into(), theirs.into(), 128),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is no address, nor a network as 10.0.0.0/8");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let address = address.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| wrong()))?;
        if bits > most { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Whether a peer is one of the proxies that are trusted.
pub(crate) fn is_trusted(trusted: &[Network], peer: IpAddr) -> bool {
    trusted.iter().any(|network| network.contains(peer))
}

/// Where a request comes from: the peer's address, or if the peer is a trusted proxy the last address that
/// `X-Forwarded-For` has which is none. What stands before that anybody may have written.
pub(crate) fn client_address(trusted: &[Network], facts: &Facts<'_>, peer: IpAddr) -> IpAddr {
    let mut nearest = peer;
    if trusted.is_empty() {
        return nearest;
    }
    let lines: Vec<_> = facts.all("x-forwarded-for").collect();
    let mut said = lines.iter().rev().flat_map(|line| line.rsplit(','));
    while is_trusted(trusted, nearest) {
        let Some(Ok(address)) = said.next().map(|address| address.trim().parse::<IpAddr>()) else { break };
        nearest = address.to_canonical();
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    #[test]
    fn networks_have_their_first_bits_in_common() {
        let contains = |net: &str, address: &str| network(net).contains(address.parse().expect("an address"));
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("10.0.0.0/8", "::ffff:10.0.0.1"), "IPv4 in IPv6");
        assert!(contains("192.0.2.1", "192.0.2.1") && !contains("192.0.2.1", "192.0.2.2"));
        assert!(contains("0.0.0.0/0", "1.2.3.4") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("2001:db8::/32", "2001:db8:9::1") && !contains("2001:db8::/32", "2001:db9::1"));
        assert!(contains("::/0", "2001:db8::1"));
        for text in ["", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0/8", "::/129", "example.org", "10.0.0.0/"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_trusted_proxies_say_where_a_client_is() {
        let trusted = [network("127.0.0.0/8"), network("10.0.0.0/8")];
        let of = |lines: &[&str], peer: &str| {
            let headers: Vec<_> =
                lines.iter().map(|line| httparse::Header { name: "X-Forwarded-For", value: line.as_bytes() }).collect();
            client_address(&trusted, &Facts::parsed("GET", "/", 1, &headers), peer.parse().expect("an address"))
                .to_string()
        };
        assert_eq!(of(&[], "127.0.0.1"), "127.0.0.1");
        assert_eq!(of(&["192.0.2.9"], "127.0.0.1"), "192.0.2.9");
        assert_eq!(of(&["6.6.6.6, 192.0.2.9, 10.0.0.5"], "127.0.0.1"), "192.0.2.9", "what it claims to be is nothing");
        assert_eq!(of(&["6.6.6.6", "192.0.2.9"], "127.0.0.1"), "192.0.2.9", "several lines are one");
        assert_eq!(of(&["6.6.6.6"], "192.0.2.9"), "192.0.2.9", "a stranger says nothing");
        assert_eq!(of(&["unknown, 10.0.0.5"], "127.0.0.1"), "10.0.0.5");
        assert_eq!(of(&["10.0.0.7, 10.0.0.5"], "127.0.0.1"), "10.0.0.7", "a client of the own network");
        assert_eq!(of(&["2001:db8::1"], "127.0.0.1"), "2001:db8::1");
    }
}
