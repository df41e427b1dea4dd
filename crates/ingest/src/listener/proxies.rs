//! The proxies in front of us that are believed, and whom they name as the sender.
//!
//! What a proxy appends to a list stands at its end, and anything may stand before it: the list is read from the right,
//! and no further than to the first address that is none of the proxies'.

use std::net::IpAddr;

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::network::Network;

/// The header in which proxies name the sender. It is one and not whichever is there: a proxy passes the other on as the
/// sender wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// None: proxies forward connections, and not requests.
    None,
}

impl ForwardedHeader {
    const fn name(self) -> Option<&'static str> {
        match self {
            Self::XForwardedFor => Some("x-forwarded-for"),
            Self::Forwarded => Some("forwarded"),
            Self::None => None,
        }
    }
}

/// The proxies that are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Their addresses.
    pub trusted: Vec<Network>,
    /// Whether they begin each connection with a PROXY header.
    pub protocol: bool,
    /// Where they name the sender of a request.
    pub header: ForwardedHeader,
}

impl Proxies {
    /// Whether this is the address of one.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// Whether requests that come from this address may say who sent them.
    pub(super) fn forwards(&self, address: IpAddr) -> bool {
        self.header != ForwardedHeader::None && self.trusts(address)
    }

    /// Who sent a request that came from `address`: the last in the chain of proxies that is none of them. Where the
    /// chain breaks off, whoever is known to have said something last.
    pub(crate) fn origin(&self, address: IpAddr, headers: &HeaderMap) -> IpAddr {
        let Some(name) = self.header.name() else {
            return address;
        };
        let mut known = address;
        let lines = headers.get_all(name).iter().rev();
        let mut entries = lines.flat_map(|line| Entries(Some(line.as_bytes())));
        while self.trusts(known) {
            let Some(entry) = entries.next() else { break };
            let named = match self.header {
                ForwardedHeader::Forwarded => forwarded_for(entry),
                _ => Some(entry),
            };
            let named = named.and_then(|named| str::from_utf8(named).ok());
            match named.and_then(node) {
                Some(named) => known = named.to_canonical(),
                None => break,
            }
        }
        known
    }
}

/// The entries of a line, the last one first. A comma within quotes belongs to its entry; that quotes are counted from
/// the right keeps what was appended apart from whatever it was appended to. Bytes, since that may be no text.
struct Entries<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let line = self.0?;
        let mut quoted = false;
        let comma = (0..line.len()).rev().find(|at| {
            quoted ^= line[*at] == b'"' && !(quoted && is_escaped(&line[..*at]));
            line[*at] == b',' && !quoted
        });
        let entry = match comma {
            Some(at) => {
                self.0 = Some(&line[..at]);
                &line[at + 1..]
            }
            None => {
                self.0 = None;
                line
            }
        };
        Some(entry.trim_ascii())
    }
}

/// Whether what comes behind this within quotes is meant as it is.
fn is_escaped(before: &[u8]) -> bool {
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\');
    backslashes.count() % 2 == 1
}

/// What an entry of `Forwarded` says after `for=`, in whatever place.
fn forwarded_for(entry: &[u8]) -> Option<&[u8]> {
    let mut pairs = pairs(entry).filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        Some((&pair[..equals], &pair[equals + 1..]))
    });
    let named = |(name, _): &(&[u8], &[u8])| name.trim_ascii().eq_ignore_ascii_case(b"for");
    let (_, value) = pairs.find(named)?;
    let value = value.trim_ascii();
    let unquoted = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    Some(unquoted.unwrap_or(value))
}

/// The pairs of an entry. What is quoted separates none: a proxy quotes what the sender wrote, as in `host`.
fn pairs(entry: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    entry.split(move |byte| {
        let taken_as_it_is = std::mem::take(&mut escaped);
        match byte {
            _ if taken_as_it_is => {}
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            _ => return *byte == b';' && !quoted,
        }
        false
    })
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:4711`. `unknown` and names that hide an address are none.
fn node(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']')?;
            if !host.contains(':') {
                return None;
            }
            (
                host,
                behind
                    .strip_prefix(':')
                    .or(behind.is_empty().then_some("0")),
            )
        }
        None => {
            let (host, port) = text.split_once(':')?;
            (host, Some(port))
        }
    };
    port?.parse::<u16>().ok()?;
    host.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn proxies(header: ForwardedHeader) -> Proxies {
        Proxies {
            trusted: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            protocol: false,
            header,
        }
    }

    fn origin(header: ForwardedHeader, from: &str, lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            // A letter above ASCII is one byte, as anybody may send it.
            let bytes: Vec<u8> = line.chars().map(|letter| letter as u8).collect();
            headers.append(*name, HeaderValue::from_bytes(&bytes).unwrap());
        }
        let origin = proxies(header).origin(from.parse().unwrap(), &headers);
        origin.to_string()
    }

    #[test]
    fn the_sender_is_the_rightmost_that_is_no_proxy() {
        let of = |from, lines: &[&str]| {
            let lines: Vec<_> = lines
                .iter()
                .map(|line| ("x-forwarded-for", *line))
                .collect();
            origin(ForwardedHeader::XForwardedFor, from, &lines)
        };
        for (from, lines, expected) in [
            // Whoever is no proxy is not believed.
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            // What the sender itself wrote stands before what was appended.
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["\"1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            (
                "10.0.0.1",
                &["198.51.100.1", "10.0.0.3,10.0.0.2"],
                "198.51.100.1",
            ),
            // All of them proxies: the farthest.
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // What is no text stands before what was appended as well, and no line is passed over for it.
            ("10.0.0.1", &["\u{ff}, 198.51.100.1"], "198.51.100.1"),
            (
                "10.0.0.1",
                &["1.1.1.1", "\u{ff}, 198.51.100.1"],
                "198.51.100.1",
            ),
            ("10.0.0.1", &["1.1.1.1", "\u{ff}"], "10.0.0.1"),
            // It breaks off.
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1,, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
            ("fd00::1", &["[2001:db8::1]:4711"], "2001:db8::1"),
        ] {
            assert_eq!(of(from, lines), expected, "{from} {lines:?}");
        }
    }

    #[test]
    fn forwarded_is_read_as_its_rfc_has_it() {
        let of = |line| {
            origin(
                ForwardedHeader::Forwarded,
                "10.0.0.1",
                &[("forwarded", line)],
            )
        };
        for (line, expected) in [
            ("for=198.51.100.1", "198.51.100.1"),
            ("for=198.51.100.1;proto=http;by=10.0.0.1", "198.51.100.1"),
            ("proto=http ; For=\"198.51.100.1:47011\"", "198.51.100.1"),
            ("for=\"[2001:db8::17]:4711\"", "2001:db8::17"),
            ("for=1.1.1.1, for=198.51.100.1", "198.51.100.1"),
            (
                "for=198.51.100.1, for=\"[fd00::2]\";by=\"a,b\"",
                "198.51.100.1",
            ),
            ("for=\"1.1.1.1, for=198.51.100.1", "198.51.100.1"),
            ("for=198.51.100.1, for=_hidden", "10.0.0.1"),
            ("for=unknown", "10.0.0.1"),
            ("by=198.51.100.1", "10.0.0.1"),
            // A proxy quotes what it was given, as the host, and what is quoted is no pair and no entry.
            (r#"host="a;for=1.1.1.1;b";for=198.51.100.1"#, "198.51.100.1"),
            (
                r#"host="a\";for=1.1.1.1;\"b";for=198.51.100.1"#,
                "198.51.100.1",
            ),
            (
                r#"host="a\",for=1.1.1.1,\"b";for=198.51.100.1"#,
                "198.51.100.1",
            ),
            (
                r#"for=1.1.1.1, for=198.51.100.1;host="a\\""#,
                "198.51.100.1",
            ),
            (r#"host="for=1.1.1.1"#, "10.0.0.1"),
            ("host=\"\u{ff}\";for=198.51.100.1", "198.51.100.1"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(of(line), expected, "{line}");
        }
    }

    #[test]
    fn only_the_header_that_is_said_counts() {
        let both = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=2.2.2.2")];
        for (header, expected) in [
            (ForwardedHeader::XForwardedFor, "1.1.1.1"),
            (ForwardedHeader::Forwarded, "2.2.2.2"),
            (ForwardedHeader::None, "10.0.0.1"),
        ] {
            assert_eq!(origin(header, "10.0.0.1", &both), expected);
        }
    }

    #[test]
    fn a_node_is_an_address_and_no_name() {
        for bad in [
            "",
            ":80",
            "[]",
            "[1.2.3.4]",
            "[::1",
            "::1]:80",
            "1.2.3.4:",
            "1.2.3.4:x",
            "1.2.3.4:65536",
            "h:80",
        ] {
            assert_eq!(node(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_before_what_a_proxy_appended_changes_the_sender(
            before in "[ -~\t\u{80}-\u{ff}]{0,60}",
            forwarded in any::<bool>(),
        ) {
            let (header, name, appended) = match forwarded {
                true => (ForwardedHeader::Forwarded, "forwarded", "for=198.51.100.1"),
                false => (ForwardedHeader::XForwardedFor, "x-forwarded-for", "198.51.100.1"),
            };
            let line = format!("{before},{appended}");
            prop_assert_eq!(origin(header, "10.0.0.1", &[(name, &line)]), "198.51.100.1");
        }
    }
}
