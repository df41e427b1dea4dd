//! What a proxy says of a client: the header of the PROXY protocol in both versions, X-Forwarded-For and Forwarded.
//!
//! Anybody may write what stands before a proxy's own words; the same input is taken for all of them.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ingest::fuzzing::{ForwardedHeader, Proxies, origin, proxy_header};
use libfuzzer_sys::fuzz_target;

/// The longest header that is read.
const LONGEST: usize = 4 << 10;

/// A proxy, one more, and whom the nearest saw.
const PROXY: &str = "10.0.0.1";
const OTHER: &str = "10.0.0.9";
const SEEN: &str = "198.51.100.1";

fuzz_target!(|input: &[u8]| {
    header(input);
    for kind in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
        forwarded(kind, input);
    }
});

fn header(input: &[u8]) {
    let parsed = proxy_header(input);
    // However it comes, it is the same from the byte on that decides it, and undecided before.
    let undecided = (0..=input.len().min(LONGEST))
        .take_while(|length| proxy_header(&input[..*length]).is_none())
        .count();
    assert!(
        undecided <= LONGEST,
        "it is not waited for more than the longest"
    );
    for length in undecided..=input.len().min(LONGEST) {
        assert_eq!(proxy_header(&input[..length]), parsed, "{length}");
    }
    let Some(Ok((length, client))) = parsed else {
        return;
    };
    assert_eq!(length, undecided, "nothing behind it is needed to read it");
    let Some(client) = client else {
        return;
    };
    let (header, family) = (&input[..length], client.is_ipv4());
    if header[0] == b'P' {
        let text = std::str::from_utf8(header).expect("text");
        let words: Vec<_> = text.trim_end_matches("\r\n").split(' ').collect();
        assert_eq!(words.len(), 6, "{text:?}");
        assert_eq!(words[2].parse(), Ok(client.ip()));
        assert_eq!(words[4], client.port().to_string());
        assert!(length <= 107);
    } else {
        let ip = match client.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let port = client.port().to_be_bytes();
        assert_eq!(header[16..16 + ip.len()], ip);
        assert_eq!(header[16 + 2 * ip.len()..][..2], port);
        let follows = u16::from_be_bytes([header[14], header[15]]);
        assert_eq!(length, 16 + usize::from(follows));
    }
    let first = if family { "TCP4" } else { "TCP6" };
    let first = format!(
        "PROXY {first} {0} {0} {1} 443\r\n",
        client.ip(),
        client.port()
    );
    let again = Some(Ok((first.len(), Some(client))));
    assert_eq!(proxy_header(first.as_bytes()), again);
    assert_eq!(
        proxy_header(&second(client)).map(|read| read.map(|(_, client)| client)),
        Some(Ok(Some(client)))
    );
}

/// The same client in version 2.
fn second(client: SocketAddr) -> Vec<u8> {
    let (family, ip) = match client.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let length = u8::try_from(2 * ip.len() + 4).expect("two addresses");
    let port = client.port().to_be_bytes();
    [
        b"\r\n\r\n\0\r\nQUIT\n\x21",
        &[family, 0, length][..],
        &ip,
        &ip,
        &port,
        &port,
    ]
    .concat()
}

fn forwarded(kind: ForwardedHeader, input: &[u8]) {
    let (name, word) = match kind {
        ForwardedHeader::Forwarded => ("forwarded", "for="),
        _ => ("x-forwarded-for", ""),
    };
    let proxies = Proxies {
        trusted: vec!["10.0.0.0/8".parse().expect("a network")],
        protocol: false,
        header: kind,
    };
    let of = |lines: &[&[u8]]| -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let line = HeaderValue::from_bytes(line).ok()?;
            headers.append(HeaderName::from_static(name), line);
        }
        let proxy = PROXY.parse().expect("an address");
        Some(origin(&proxies, proxy, &headers).to_string())
    };
    let with = |appended: &str| [input, b", ", word.as_bytes(), appended.as_bytes()].concat();
    let appended = [word, SEEN].concat();
    let Some(said) = of(&[input]) else {
        return;
    };
    let seen = Some(SEEN.to_owned());
    assert_eq!(
        of(&[&with(SEEN)]),
        seen,
        "what is before a proxy's word changes it"
    );
    assert_eq!(
        of(&[input, appended.as_bytes()]),
        seen,
        "nor does a line before it"
    );
    assert_eq!(
        of(&[&with("unknown")]),
        Some(PROXY.to_owned()),
        "nothing is guessed"
    );
    // Through one more proxy: the same, or as far as that.
    let further = of(&[&with(OTHER)]);
    let is_a_proxy = said.starts_with("10.");
    assert!(
        further.as_ref() == Some(&said) || (is_a_proxy && further.as_deref() == Some(OTHER)),
        "{said} {further:?}"
    );
    if kind == ForwardedHeader::Forwarded {
        // A proxy quotes what it was given.
        let escaped = input.iter().flat_map(|byte| match byte {
            b'"' | b'\\' => vec![b'\\', *byte],
            byte => vec![*byte],
        });
        let escaped: Vec<u8> = escaped.collect();
        let host = [b"host=\"", &escaped[..], b"\";"].concat();
        assert_eq!(
            of(&[&[&host, appended.as_bytes()].concat()]),
            seen,
            "what is quoted says nothing"
        );
        let host = [b";host=\"", &escaped[..], b"\""].concat();
        assert_eq!(
            of(&[&[appended.as_bytes(), &host].concat()]),
            seen,
            "wherever it stands"
        );
    }
}
