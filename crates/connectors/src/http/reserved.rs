//! Which addresses are of the public internet, and what the others are.
//!
//! After the registries of IANA (special-purpose addresses, RFC 6890 and what amends it). Of IPv6 only what has been
//! given out as global unicast counts as public, so that what a later registry adds is refused until it is known here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is if it is not of the public internet, as a word for people; `None`: it is public.
///
/// An IPv4 address inside an IPv6 one (mapped, NAT64, 6to4) is taken for what it is: the packets go there.
pub(super) fn kind(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

fn kind_v4(address: Ipv4Addr) -> Option<&'static str> {
    // In the order of the addresses.
    let kind = match address.octets() {
        [0, ..] => "unspecified",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        [100, 64..=127, ..] => "carrier-grade NAT",
        [127, ..] => "loopback",
        // The address that clouds tell their machines' credentials at is one of these.
        [169, 254, ..] => "link-local",
        [192, 0, 0, _] | [192, 88, 99, _] | [240..=254, ..] => "reserved",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "documentation",
        [198, 18..=19, ..] => "benchmarking",
        [224..=239, ..] => "multicast",
        [255, ..] if address.is_broadcast() => "broadcast",
        [255, ..] => "reserved",
        _ => return None,
    };
    Some(kind)
}

fn kind_v6(address: Ipv6Addr) -> Option<&'static str> {
    if let Some(inside) = inside(address) {
        return kind_v4(inside);
    }
    let kind = match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "unspecified",
        [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
        [0xfc00..=0xfdff, ..] => "unique-local",
        [0xfe80..=0xfebf, ..] => "link-local",
        [0xfec0..=0xfeff, ..] => "site-local",
        [0xff00..=0xffff, ..] => "multicast",
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => "documentation",
        // Protocols' own: Teredo, benchmarking, ORCHID.
        [0x2001, 0..=0x1ff, ..] => "reserved",
        [0x2000..=0x3fff, ..] => return None,
        _ => "reserved",
    };
    Some(kind)
}

/// The IPv4 address that an IPv6 one stands for.
fn inside(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => (high, low),
        [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_address_is_known_at_both_its_ends() {
        for (kind_, addresses) in [
            ("unspecified", "0.0.0.0 0.255.255.255 :: ::ffff:0.0.0.0"),
            (
                "private",
                "10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255 \
                 ::ffff:10.1.2.3 64:ff9b::10.1.2.3 2002:a01:203::1 2002:c0a8:1::",
            ),
            (
                "carrier-grade NAT",
                "100.64.0.0 100.127.255.255 ::ffff:100.64.0.1",
            ),
            (
                "loopback",
                "127.0.0.1 127.255.255.255 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::",
            ),
            (
                "link-local",
                "169.254.0.0 169.254.169.254 169.254.255.255 fe80:: fe80::1 febf:ffff:: ::ffff:169.254.169.254 \
                 64:ff9b::a9fe:a9fe",
            ),
            ("unique-local", "fc00:: fd00:ec2::254 fdff:ffff::"),
            ("site-local", "fec0:: feff::1"),
            (
                "multicast",
                "224.0.0.0 239.255.255.255 ff00:: ff02::1 ffff::1",
            ),
            ("broadcast", "255.255.255.255"),
            ("benchmarking", "198.18.0.0 198.19.255.255"),
            (
                "documentation",
                "192.0.2.1 198.51.100.255 203.0.113.0 2001:db8:: 2001:db8:ffff::1 3fff:: 3fff:fff:ffff::",
            ),
            (
                "reserved",
                "192.0.0.0 192.0.0.255 192.88.99.1 240.0.0.0 254.255.255.255 255.255.255.254 ::2 ::127.0.0.1 \
                 64:ff9b:1::7f00:1 100:: 1fff:: 2001:: 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:1ff:: \
                 4000:: 5f00::1 fbff::",
            ),
        ] {
            for text in addresses.split_whitespace() {
                assert_eq!(kind(text.parse().unwrap()), Some(kind_), "{text}");
            }
        }
    }

    #[test]
    fn what_lies_beside_them_is_public() {
        for text in [
            "1.0.0.0",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::",
            "2001:db7:ffff::",
            "2001:db9::",
            "2606:4700::1111",
            "3ffe:ffff::",
            "3fff:1000::",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert_eq!(kind(text.parse().unwrap()), None, "{text}");
        }
    }
}
