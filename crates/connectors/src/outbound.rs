//! The HTTP client for backends whose interface is HTTP, and why a server over there gave no answer, in words.
//!
//! TLS is rustls with the certificates that the system trusts; redirects are not followed and no proxy is asked,
//! whatever the environment says.

use std::error::Error;
use std::io;
use std::time::Duration;

use domain::Unavailable;
use rustls::RootCertStore;

use crate::http::tls;
use crate::roots;

/// An idle connection is closed before most servers and balancers close it on their side.
const IDLE: Duration = Duration::from_secs(30);

/// A client with at most `connections` idle connections. Blocks on the system's certificates, which plain http can do
/// without; connects to nothing.
///
/// # Errors
/// There are no certificates, or TLS cannot be set up.
pub(crate) fn client(
    is_https: bool,
    connect_timeout: Duration,
    connections: usize,
) -> Result<reqwest::Client, String> {
    let roots = match roots::system("name a file with them in SSL_CERT_FILE") {
        Err(why) if is_https => return Err(why),
        found => found.unwrap_or_else(|_| RootCertStore::empty()),
    };
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls::config(roots)?)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        .referer(false)
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(connections)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(15))
        .build()
        .map_err(|_| "the HTTP client cannot be set up".to_owned())
}

/// No answer within the limit.
pub(crate) fn late(place: &str, limit: Duration) -> Unavailable {
    Unavailable::new(
        "timeout",
        format!("no answer from {place} within {}s", limit.as_secs_f32()),
    )
}

/// No connection within the limit. What speaks another protocol is silent as often as not.
pub(crate) fn not_opened(place: &str, key: &str, limit: Duration) -> Unavailable {
    Unavailable::new(
        "timeout",
        format!(
            "no answer from {place} within {}s: it is away, or something else listens on that port; look at `{key}`",
            limit.as_secs_f32()
        ),
    )
}

/// Why there was no answer. `place` is host and port, `key` the option that names it; the error's own text may hold the
/// URL and is not used.
pub(crate) fn gone(place: &str, key: &str, error: &(dyn Error + 'static)) -> Unavailable {
    known(place, key, error).unwrap_or_else(|| {
        Unavailable::new(
            "http",
            format!("{place} closed the connection, or did not speak HTTP, before it answered"),
        )
    })
}

/// What the first error of the chain that says anything about the network says.
pub(crate) fn known(place: &str, key: &str, error: &(dyn Error + 'static)) -> Option<Unavailable> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(why) = one(place, key, error) {
            return Some(why);
        }
        next = error.source();
    }
    None
}

fn one(place: &str, key: &str, error: &(dyn Error + 'static)) -> Option<Unavailable> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(broken_tls(place, key, error));
    }
    if error.to_string() == "dns error" {
        return Some(unresolved(place, key));
    }
    let error = error.downcast_ref::<io::Error>()?;
    // What an I/O error is made of is not its source.
    if let Some(why) = error.get_ref().and_then(|inner| one(place, key, inner)) {
        return Some(why);
    }
    let (code, what) = match error.kind() {
        io::ErrorKind::ConnectionRefused => ("refused", "nothing listens there"),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => ("reset", "the connection was broken off"),
        io::ErrorKind::TimedOut => ("timeout", "no answer"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            ("unreachable", "there is no way to it")
        }
        _ if error.to_string().starts_with("failed to lookup address") => {
            return Some(unresolved(place, key));
        }
        _ => return None,
    };
    Some(Unavailable::new(code, format!("{place}: {what}")))
}

fn unresolved(place: &str, key: &str) -> Unavailable {
    Unavailable::new(
        "dns",
        format!("{place}: the name cannot be resolved; look at `{key}` and at the resolver"),
    )
}

fn broken_tls(place: &str, key: &str, error: &rustls::Error) -> Unavailable {
    let what = match error {
        rustls::Error::InvalidCertificate(why) => {
            format!(
                "its certificate is not good ({why}); the system's trusted certificates are what counts, or those of `ca_file` where there is one"
            )
        }
        rustls::Error::InvalidMessage(_) => format!(
            "what listens there does not speak TLS: correct the scheme or the port in `{key}`"
        ),
        other => format!("TLS failed ({other})"),
    };
    Unavailable::new("tls", format!("{place}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_without_tls_is_told_by_the_key_to_mend() {
        let error = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        let error = io::Error::new(io::ErrorKind::InvalidData, error);
        let why = known("h:5671", "url", &error).unwrap();
        assert_eq!(why.cause.code, "tls");
        assert_eq!(
            why.cause.detail,
            "h:5671: what listens there does not speak TLS: correct the scheme or the port in `url`"
        );
    }
}
