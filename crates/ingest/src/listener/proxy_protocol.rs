//! The PROXY protocol, versions 1 and 2: what a proxy says of a connection before the client's first byte
//! (haproxy.org, `proxy-protocol.txt`).
//!
//! Read only from proxies that are believed, and demanded of them: whether it is there is never guessed. No byte behind
//! it is read.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::{FromStr, from_utf8};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// What version 2 begins with, and how much of it comes before the addresses.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = 16;

/// The longest line of version 1, its end included.
const LINE: usize = 107;

/// The longest header of version 2 that is read: addresses, and room for what proxies add to them.
const LONGEST: usize = 4 << 10;

/// What the beginning of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// It may become a header.
    Incomplete,
    /// It is none.
    Malformed,
    /// It has one of this length, which names the client, or says that the proxy speaks for itself.
    Header {
        length: usize,
        client: Option<SocketAddr>,
    },
}

/// Reads the header and nothing behind it. `None`: the proxy speaks for itself.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`]: it is none. Or the connection's own.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut buffer = vec![0; FIXED + LINE];
    let mut taken = 0;
    loop {
        let seen = stream.peek(&mut buffer[taken..]).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match parse(&buffer[..taken + seen]) {
            Parsed::Malformed => return Err(io::ErrorKind::InvalidData.into()),
            Parsed::Header { length, client } => {
                stream.read_exact(&mut buffer[taken..length]).await?;
                return Ok(client);
            }
            Parsed::Incomplete => {
                stream.read_exact(&mut buffer[taken..taken + seen]).await?;
                taken += seen;
                if taken == buffer.len() {
                    // Only version 2 is ever so long, and says itself when it is too long.
                    buffer.resize(LONGEST, 0);
                }
            }
        }
    }
}

/// What these bytes are, the first of a connection.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let parsed = if begins(bytes, SIGNATURE) {
        version_2(bytes)
    } else if begins(bytes, b"PROXY ") {
        version_1(bytes)
    } else {
        None
    };
    parsed.unwrap_or(Parsed::Malformed)
}

/// Whether one begins with the other, as far as both go.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let common = bytes.len().min(with.len());
    bytes[..common] == with[..common]
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 4711 443`, and `PROXY UNKNOWN` with whatever behind it.
fn version_1(bytes: &[u8]) -> Option<Parsed> {
    let within = &bytes[..bytes.len().min(LINE)];
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        return (bytes.len() < LINE).then_some(Parsed::Incomplete);
    };
    let line = from_utf8(&within[..end]).ok()?.strip_suffix('\r')?;
    let mut words = line.strip_prefix("PROXY ")?.split(' ');
    let client = match words.next()? {
        "TCP4" => Some(addresses::<Ipv4Addr>(words)?),
        "TCP6" => Some(addresses::<Ipv6Addr>(words)?),
        "UNKNOWN" => None,
        _ => return None,
    };
    let length = end + 1;
    Some(Parsed::Header { length, client })
}

/// The client's address, if there are two addresses and two ports and nothing else.
fn addresses<'a, I: FromStr + Into<IpAddr>>(
    mut words: impl Iterator<Item = &'a str>,
) -> Option<SocketAddr> {
    let client: I = words.next()?.parse().ok()?;
    let _: I = words.next()?.parse().ok()?;
    let [port, _] = [port(words.next()?)?, port(words.next()?)?];
    let address = SocketAddr::new(client.into(), port);
    words.next().is_none().then_some(address)
}

fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let zeros = text.len() > 1 && text.starts_with('0');
    (digits && !zeros).then(|| text.parse().ok())?
}

/// The signature; version and command; family and protocol; the length of what follows, which begins with the addresses.
fn version_2(bytes: &[u8]) -> Option<Parsed> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Some(Parsed::Incomplete);
    };
    let [.., command, family, high, low] = *fixed;
    let follows = usize::from(u16::from_be_bytes([high, low]));
    let speaks_for_itself = match command {
        0x20 => true,
        0x21 => false,
        _ => return None,
    };
    let length = FIXED + follows;
    if length > LONGEST {
        return None;
    }
    let Some(rest) = rest.get(..follows) else {
        return Some(Parsed::Incomplete);
    };
    let client = match family {
        _ if speaks_for_itself => None,
        // TCP over IPv4 and IPv6: both addresses, then both ports.
        0x11 => {
            let (address, ports) = rest.get(..12)?.split_first_chunk::<4>()?;
            Some((IpAddr::from(*address), ports.get(4..6)?))
        }
        0x21 => {
            let (address, ports) = rest.get(..36)?.split_first_chunk::<16>()?;
            Some((IpAddr::from(*address), ports.get(16..18)?))
        }
        // Anything else has no address that would say anything here.
        _ => None,
    };
    let client = client.map(|(address, port)| {
        let port = u16::from_be_bytes([port[0], port[1]]);
        SocketAddr::new(address, port)
    });
    Some(Parsed::Header { length, client })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    /// A header of either version that names this client.
    fn header(client: SocketAddr, first: bool, more: &[u8]) -> Vec<u8> {
        let (ip, port) = (client.ip(), client.port());
        if first {
            let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
            return format!("PROXY {family} {ip} {ip} {port} 443\r\n").into_bytes();
        }
        let (family, ip) = match ip {
            IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
            IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
        };
        let ports = [port.to_be_bytes(), 443_u16.to_be_bytes()].concat();
        v2(0x21, family, &[&ip, &ip, &ports[..], more].concat())
    }

    #[test]
    fn each_form_of_the_specification_is_read() {
        let client = |text: &str| Some(text.parse().unwrap());
        for (bytes, expected) in [
            (
                b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n".to_vec(),
                client("192.168.0.1:56324"),
            ),
            (
                b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n".to_vec(),
                client("[2001:db8::1]:4711"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (
                b"PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n".to_vec(),
                None,
            ),
            // For itself: a health check.
            (v2(0x20, 0x00, b""), None),
            (v2(0x20, 0x11, &[9; 12]), None),
            // A socket of the same machine, and no address at all.
            (v2(0x21, 0x31, &[0; 216]), None),
            (v2(0x21, 0x00, b"anything"), None),
        ] {
            let length = bytes.len();
            let expected = Parsed::Header {
                length,
                client: expected,
            };
            assert_eq!(parse(&bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn whatever_is_not_quite_one_is_none() {
        let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 100]].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00".to_vec(),
            b"proxy UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN\n".to_vec(),
            b"PROXY \r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 4711\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443 1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 +4711 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 04711 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 00\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.01 192.0.2.2 4711 443\r\n".to_vec(),
            b"PROXY TCP4  192.0.2.1 192.0.2.2 1 443\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 1 443\r\n".to_vec(),
            b"PROXY TCP6 192.0.2.1 192.0.2.2 1 443\r\n".to_vec(),
            long,
            v2(0x11, 0x11, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x21, 0x11, &[0; 11]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x11, &[0; LONGEST]),
        ] {
            assert_eq!(parse(&bytes), Parsed::Malformed, "{}", bytes.escape_ascii());
        }
    }

    fn client() -> impl Strategy<Value = SocketAddr> {
        (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_wait_for_more_than_its_longest(
            start in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", SIGNATURE, b"\r\n\r\n\0\r\nQUIT\n\x21\x11"]),
            bytes in prop::collection::vec(any::<u8>(), 0..5000),
        ) {
            let bytes = [start, &bytes].concat();
            match parse(&bytes) {
                Parsed::Incomplete => prop_assert!(bytes.len() < LONGEST),
                Parsed::Malformed => {}
                Parsed::Header { length, .. } => prop_assert!(length <= bytes.len().min(LONGEST)),
            }
        }

        #[test]
        fn a_header_is_read_to_its_end_wherever_it_is_cut(
            client in client(),
            first in any::<bool>(),
            more in prop::collection::vec(any::<u8>(), 0..300),
            behind in prop::collection::vec(any::<u8>(), 0..40),
            cut in any::<prop::sample::Index>(),
        ) {
            let header = header(client, first, &more);
            let cut = cut.index(header.len());
            prop_assert_eq!(parse(&header[..cut]), Parsed::Incomplete);
            let whole = [&header[..], &behind].concat();
            let expected = Parsed::Header { length: header.len(), client: Some(client) };
            prop_assert_eq!(parse(&whole), expected);
        }
    }

    #[tokio::test]
    async fn no_byte_behind_the_header_is_taken_however_it_comes() {
        use tokio::io::AsyncWriteExt;
        let client: SocketAddr = "192.0.2.1:4711".parse().unwrap();
        for (first, more) in [(true, 0), (false, 0), (false, 3000)] {
            let header = header(client, first, &vec![7; more]);
            for step in [1, 7, header.len() + 5] {
                let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = socket.local_addr().unwrap();
                let bytes = [&header[..], b"hello"].concat();
                let sending = tokio::spawn(async move {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    for piece in bytes.chunks(step) {
                        stream.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                });
                let (mut stream, _) = socket.accept().await.unwrap();
                assert_eq!(read(&mut stream).await.unwrap(), Some(client));
                let mut rest = String::new();
                stream.read_to_string(&mut rest).await.unwrap();
                assert_eq!(rest, "hello");
                sending.await.unwrap();
            }
        }
    }
}
