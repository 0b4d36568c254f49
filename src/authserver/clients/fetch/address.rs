//! Addresses a stranger may not make us connect to (RFC 6890, and the special-purpose registries of IANA it founded).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(high: [u16; 4], prefix: u8) -> Ipv6Net {
    let [a, b, c, d] = high;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), prefix)
}

const SPECIAL_V4: [Ipv4Net; 18] = [
    v4(0, 0, 0, 0, 8),       // this network
    v4(10, 0, 0, 0, 8),      // private
    v4(100, 64, 0, 0, 10),   // shared by carriers, and by clusters
    v4(127, 0, 0, 0, 8),     // loopback
    v4(169, 254, 0, 0, 16),  // link-local: metadata of clouds
    v4(172, 16, 0, 0, 12),   // private
    v4(192, 0, 0, 0, 24),    // protocol assignments
    v4(192, 0, 2, 0, 24),    // documentation
    v4(192, 31, 196, 0, 24), // AS112
    v4(192, 52, 193, 0, 24), // AMT
    v4(192, 88, 99, 0, 24),  // 6to4 relays
    v4(192, 168, 0, 0, 16),  // private
    v4(192, 175, 48, 0, 24), // AS112
    v4(198, 18, 0, 0, 15),   // benchmarks
    v4(198, 51, 100, 0, 24), // documentation
    v4(203, 0, 113, 0, 24),  // documentation
    v4(224, 0, 0, 0, 4),     // multicast
    v4(240, 0, 0, 0, 4),     // reserved, and broadcast
];

/// The only IPv6 addresses that are unicast and global. Loopback, unspecified, mapped and compatible IPv4, local NAT64,
/// discard, segment routing, unique local, link-local, site-local and multicast are all outside.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0], 3);

const SPECIAL_V6: [Ipv6Net; 5] = [
    v6([0x2001, 0, 0, 0], 23),         // protocol assignments: Teredo, benchmarks, ORCHID
    v6([0x2001, 0xdb8, 0, 0], 32),     // documentation
    v6([0x2002, 0, 0, 0], 16),         // 6to4
    v6([0x2620, 0x4f, 0x8000, 0], 48), // AS112
    v6([0x3fff, 0, 0, 0], 20),         // documentation
];

const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0], 96);

/// Whether `address` may be connected to: because it is an ordinary address of the internet, or because it is in one of
/// the ranges that the administrator allowed.
pub(super) fn may_connect(address: IpAddr, allowed: &[IpNet]) -> bool {
    let address = reached(address);
    is_ordinary(address) || allowed.iter().any(|range| range.contains(&address))
}

fn is_ordinary(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|range| range.contains(&address)),
        IpAddr::V6(address) => GLOBAL_V6.contains(&address) && !SPECIAL_V6.iter().any(|range| range.contains(&address)),
    }
}

/// Where a packet to `address` ends up: mapped (RFC 4291 §2.5.5.2) and translated (RFC 6052 §2.1) addresses are a
/// spelling of the IPv4 address in them.
fn reached(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        address => address.to_canonical(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("0.0.0.0")]
    #[case("0.1.2.3")]
    #[case("10.0.0.1")]
    #[case("10.255.255.255")]
    #[case("100.64.0.1")]
    #[case("100.127.255.255")]
    #[case("127.0.0.1")]
    #[case("127.255.255.254")]
    #[case("169.254.169.254")]
    #[case("172.16.0.1")]
    #[case("172.31.255.255")]
    #[case("192.0.0.1")]
    #[case("192.0.0.170")]
    #[case("192.0.2.1")]
    #[case("192.31.196.1")]
    #[case("192.52.193.1")]
    #[case("192.88.99.1")]
    #[case("192.168.1.1")]
    #[case("192.175.48.1")]
    #[case("198.18.0.1")]
    #[case("198.19.255.255")]
    #[case("198.51.100.1")]
    #[case("203.0.113.1")]
    #[case("224.0.0.1")]
    #[case("239.255.255.255")]
    #[case("240.0.0.1")]
    #[case("255.255.255.255")]
    #[case("::")]
    #[case("::1")]
    #[case("::2")]
    #[case("::127.0.0.1")]
    #[case("::8.8.8.8")]
    #[case("::ffff:127.0.0.1")]
    #[case("::ffff:169.254.169.254")]
    #[case("::ffff:10.0.0.1")]
    #[case("::ffff:0:127.0.0.1")]
    #[case("64:ff9b::127.0.0.1")]
    #[case("64:ff9b::169.254.169.254")]
    #[case("64:ff9b::10.0.0.1")]
    #[case("64:ff9b:1::8.8.8.8")]
    #[case("100::1")]
    #[case("2001::1")]
    #[case("2001:0:7f00:1::")]
    #[case("2001:2::1")]
    #[case("2001:10::1")]
    #[case("2001:20::1")]
    #[case("2001:db8::1")]
    #[case("2002:7f00:1::1")]
    #[case("2002:808:808::1")]
    #[case("2620:4f:8000::1")]
    #[case("3fff::1")]
    #[case("3fff:fff::1")]
    #[case("4000::1")]
    #[case("5f00::1")]
    #[case("fc00::1")]
    #[case("fd00:ec2::254")]
    #[case("fe80::1")]
    #[case("febf::1")]
    #[case("fec0::1")]
    #[case("ff02::1")]
    fn rfc6890_special_use(#[case] address: &str) {
        let address: IpAddr = address.parse().unwrap();
        assert!(!may_connect(address, &[]));
        assert!(!may_connect(address, &["9.9.9.9/32".parse().unwrap(), "2606:4700::/32".parse().unwrap()]));
    }

    #[rstest]
    #[case("1.1.1.1")]
    #[case("8.8.8.8")]
    #[case("9.255.255.255")]
    #[case("11.0.0.1")]
    #[case("100.63.255.255")]
    #[case("100.128.0.1")]
    #[case("126.255.255.255")]
    #[case("128.0.0.1")]
    #[case("172.15.255.255")]
    #[case("172.32.0.1")]
    #[case("192.0.1.1")]
    #[case("192.167.255.255")]
    #[case("198.17.255.255")]
    #[case("198.20.0.1")]
    #[case("223.255.255.255")]
    #[case("2606:4700::1111")]
    #[case("2a00:1450::1")]
    #[case("2001:200::1")]
    #[case("2001:4860::8888")]
    #[case("::ffff:8.8.8.8")]
    #[case("64:ff9b::8.8.8.8")]
    fn the_internet(#[case] address: &str) {
        assert!(may_connect(address.parse().unwrap(), &[]));
    }

    #[rstest]
    #[case("127.0.0.1", "127.0.0.0/8", true)]
    #[case("::ffff:127.0.0.1", "127.0.0.0/8", true)]
    #[case("64:ff9b::127.0.0.1", "127.0.0.0/8", true)]
    #[case("128.0.0.1", "127.0.0.0/8", true)]
    #[case("10.0.0.1", "127.0.0.0/8", false)]
    #[case("10.0.1.1", "10.0.0.0/24", false)]
    #[case("::1", "127.0.0.0/8", false)]
    #[case("::1", "::1/128", true)]
    #[case("fd00::1", "fd00::/8", true)]
    #[case("fd00::1", "10.0.0.0/8", false)]
    fn allowed_ranges(#[case] address: &str, #[case] range: &str, #[case] allowed: bool) {
        assert_eq!(may_connect(address.parse().unwrap(), &[range.parse().unwrap()]), allowed);
    }
}
