use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// An IPv4 address with the length of its network's prefix, `172.30.0.1/16`. The host bits are kept: `--bip` says
/// by them which address the bridge has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv4Net {
    address: Ipv4Addr,
    prefix: u8,
}

impl Ipv4Net {
    /// Joins both; `prefix` is 0 to 32.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Result<Self, Error> {
        if prefix > 32 {
            return Err(Error::Subnet {
                text: format!("{address}/{prefix}"),
                reason: "the prefix is longer than 32",
            });
        }
        Ok(Self { address, prefix })
    }

    /// The address as given.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// How many leading bits name the network.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The mask as an integer, host order.
    pub fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    /// The network itself: all host bits zero.
    pub fn network(&self) -> Self {
        Self { address: Ipv4Addr::from_bits(self.address.to_bits() & self.mask()), prefix: self.prefix }
    }

    /// The highest address, which is the broadcast address of networks with more than two.
    pub fn last(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !self.mask())
    }

    /// Whether `address` lies inside.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask() == self.address.to_bits() & self.mask()
    }

    /// Whether the two have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.network().address) || other.contains(self.network().address)
    }
}

impl FromStr for Ipv4Net {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |reason| Error::Subnet { text: text.to_owned(), reason };
        let (address, prefix) =
            text.split_once('/').ok_or_else(|| bad("ADDRESS/PREFIX is wanted, as in 172.30.0.1/16"))?;
        let address = address.parse().map_err(|_| bad("the part before the slash is no IPv4 address"))?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix = prefix
            .parse()
            .ok()
            .filter(|_| digits)
            .ok_or_else(|| bad("the part after the slash is no number"))?;
        Self::new(address, prefix)
    }
}

impl fmt::Display for Ipv4Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl TryFrom<String> for Ipv4Net {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Ipv4Net> for String {
    fn from(net: Ipv4Net) -> Self {
        net.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn host_bits_survive_and_the_network_drops_them() {
        let bip = net("172.30.0.1/16");
        assert_eq!(bip.to_string(), "172.30.0.1/16");
        assert_eq!(bip.network().to_string(), "172.30.0.0/16");
        assert_eq!(bip.last(), Ipv4Addr::new(172, 30, 255, 255));
        assert_eq!((net("0.0.0.0/0").mask(), net("1.2.3.4/32").mask()), (0, u32::MAX));
    }

    #[test]
    fn overlap_is_symmetric() {
        for (a, b, wanted) in [
            ("172.30.0.0/16", "172.30.4.0/24", true),
            ("172.30.0.0/16", "172.31.0.0/16", false),
            ("0.0.0.0/0", "10.0.0.0/8", true),
            ("10.0.0.1/32", "10.0.0.2/32", false),
        ] {
            assert_eq!((net(a).overlaps(&net(b)), net(b).overlaps(&net(a))), (wanted, wanted), "{a} {b}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0/8",
            "::1/64",
            "10.0.0.0/",
            "10.0.0.0/8/8",
        ] {
            assert!(bad.parse::<Ipv4Net>().is_err(), "{bad}");
        }
    }
}
