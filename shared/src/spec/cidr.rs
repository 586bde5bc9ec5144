use std::net::Ipv4Addr;

/// An IPv4 address range.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cidr {
    network: u32,
    prefix: u8,
}

impl Cidr {
    /// Parses `10.0.0.0/16`; `None` if it is not the first address of a range.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let network = u32::from(address.parse::<Ipv4Addr>().ok()?);
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        let cidr = Self { network, prefix };
        (network & !cidr.mask() == 0).then_some(cidr)
    }

    /// The length of the prefix.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// How many [blocks](Self::block) a range has: more than any region has availability zones.
    pub const BLOCKS: u8 = 7;

    /// The `n`-th block of the range, `n` below [`Self::BLOCKS`]: three quarters of it, and the quarters of the fourth.
    pub fn block(self, n: u8) -> Self {
        if n < 3 {
            self.quarter(n)
        } else {
            self.quarter(3).quarter(n - 3)
        }
    }

    /// Whether the ranges have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        (self.network ^ other.network) & self.mask() & other.mask() == 0
    }

    /// The `n`-th quarter of the range, `n` below 4.
    fn quarter(self, n: u8) -> Self {
        let prefix = self.prefix + 2;
        Self {
            network: self.network + (u32::from(n) << (32 - prefix)),
            prefix,
        }
    }

    fn mask(self) -> u32 {
        u32::MAX
            .checked_shl(32 - u32::from(self.prefix))
            .unwrap_or(0)
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.network), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_of_a_range_lie_side_by_side() {
        let range = Cidr::parse("10.0.0.0/16").unwrap();
        let blocks: Vec<_> = (0..Cidr::BLOCKS).map(|n| range.block(n)).collect();
        let texts: Vec<_> = blocks.iter().map(Cidr::to_string).collect();
        assert_eq!(
            texts,
            [
                "10.0.0.0/18",
                "10.0.64.0/18",
                "10.0.128.0/18",
                "10.0.192.0/20",
                "10.0.208.0/20",
                "10.0.224.0/20",
                "10.0.240.0/20"
            ]
        );
        for (n, one) in blocks.iter().enumerate() {
            let overlapping = blocks.iter().filter(|other| one.overlaps(**other));
            assert_eq!(overlapping.count(), 1, "{n}");
            assert!(one.overlaps(range) && range.overlaps(*one), "{n}");
        }
        // AWS takes no subnet smaller than /28.
        let smallest = Cidr::parse("10.0.0.0/24").unwrap().block(6);
        assert_eq!(smallest.prefix(), 28);
    }

    #[test]
    fn an_address_inside_a_range_is_not_a_range() {
        assert_eq!(Cidr::parse("10.0.0.1/16"), None);
        assert_eq!(Cidr::parse("10.0.0.300/16"), None);
        assert_eq!(Cidr::parse("10.0.0.0/33"), None);
        assert!(Cidr::parse("0.0.0.0/0").is_some());
    }
}
