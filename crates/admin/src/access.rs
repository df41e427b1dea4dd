//! Who may ask: a bearer token, or on loopback the browser's own words about where a page came from.
//!
//! Without a token only loopback is served, and any web page that the operator has open could still
//! reach it: by a name of its own that resolves to 127.0.0.1 (DNS rebinding: the `Host` gives it away)
//! or by a plain form (CSRF: the `Origin` or the content type gives it away). With a token neither
//! helps the page, since it does not have it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, Digest, SHA256};
use domain::Secret;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method, StatusCode, Uri};

use crate::problem::Problem;

/// The rules of one listener. Cheap to clone; clones share the token.
#[derive(Clone)]
pub struct Access(Arc<Rule>);

enum Rule {
    /// Whoever has the token. Kept as its digest: comparing digests takes the same time for tokens
    /// of any length.
    Token(RwLock<Digest>),
    /// Whoever can reach loopback and is not a web page from elsewhere.
    Loopback,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match *self.0 {
            Rule::Token(_) => "Access(token)",
            Rule::Loopback => "Access(loopback)",
        })
    }
}

/// Why a listener would be open to anybody, or a token could never be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Off loopback without a token.
    #[error(
        "the admin listener on {0} can be reached from other machines and needs a token: set server.admin_token, or listen on 127.0.0.1"
    )]
    TokenNeeded(SocketAddr),
    /// Empty, or with characters that no header can carry.
    #[error("the token must be one or more visible ASCII characters, without spaces")]
    BadToken,
}

impl Access {
    /// The rules for a listener on `address`, as configured or as bound.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn new(address: SocketAddr, token: Option<&Secret>) -> Result<Self, AccessError> {
        let rule = match token {
            Some(token) => Rule::Token(RwLock::new(checked(token)?)),
            None if is_loopback(address.ip()) => Rule::Loopback,
            None => return Err(AccessError::TokenNeeded(address)),
        };
        Ok(Self(Arc::new(rule)))
    }

    /// Takes another token from now on, for instance when its file was read again. `Ok(false)`: these
    /// rules know no token, and nothing changed.
    ///
    /// # Errors
    /// [`AccessError::BadToken`]; the old token stays.
    pub fn replace_token(&self, token: &Secret) -> Result<bool, AccessError> {
        let fresh = checked(token)?;
        match &*self.0 {
            Rule::Token(current) => {
                *current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
                Ok(true)
            }
            Rule::Loopback => Ok(false),
        }
    }

    /// Whether the rules may hold on a listener of this address.
    pub(crate) fn suits(&self, address: SocketAddr) -> bool {
        matches!(*self.0, Rule::Token(_)) || is_loopback(address.ip())
    }

    /// Whether the request may go on. `empty` says that it has no body.
    pub(crate) fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        empty: bool,
    ) -> Result<(), Problem> {
        match &*self.0 {
            Rule::Token(expected) => check_token(expected, headers)?,
            Rule::Loopback => check_page(uri, headers)?,
        }
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if reads || is_json(headers) {
            return Ok(());
        }
        // A form can send an empty POST as well, but not without an Origin.
        if empty && !headers.contains_key(CONTENT_TYPE) && !headers.contains_key(ORIGIN) {
            return Ok(());
        }
        let detail = "send JSON with `content-type: application/json`";
        Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not-json",
            detail,
        ))
    }
}

fn checked(token: &Secret) -> Result<Digest, AccessError> {
    let text = token.expose();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(AccessError::BadToken);
    }
    Ok(digest::digest(&SHA256, text.as_bytes()))
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn check_token(expected: &RwLock<Digest>, headers: &HeaderMap) -> Result<(), Problem> {
    let given = only(headers, &AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim_start_matches(' '))
    });
    let given = digest::digest(&SHA256, given.ok_or_else(Problem::unauthorized)?.as_bytes());
    let expected = *expected.read().unwrap_or_else(PoisonError::into_inner);
    verify_slices_are_equal(given.as_ref(), expected.as_ref()).map_err(|_| Problem::unauthorized())
}

/// The `Host` must be this machine's own name for itself, and a page must come from the same place.
fn check_page(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let host = only(headers, &HOST).and_then(|host| host.parse::<Authority>().ok());
    let host = host
        .filter(|host| names_loopback(host) && uri.authority().is_none_or(|asked| asked == host));
    let Some(host) = host else {
        let detail = "without server.admin_token the admin listener answers only when it is asked for as localhost, 127.0.0.1 or [::1]";
        return Err(forbidden("host-not-allowed", detail));
    };
    if !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let same = only(headers, &ORIGIN)
        .and_then(|origin| origin.parse::<Uri>().ok())
        .is_some_and(|origin| origin.authority() == Some(&host));
    if same {
        return Ok(());
    }
    let detail = "the request comes from a web page of another origin; set server.admin_token and send it to allow that";
    Err(forbidden("origin-not-allowed", detail))
}

fn forbidden(code: &'static str, detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, code, detail)
}

fn names_loopback(host: &Authority) -> bool {
    // Somebody's name before an `@` has no place in a Host.
    if host.as_str().contains('@') {
        return false;
    }
    let name = host.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(is_loopback)
}

fn is_json(headers: &HeaderMap) -> bool {
    only(headers, &CONTENT_TYPE).is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    })
}

/// The header's value if it is there exactly once and is text.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok()
}

#[cfg(test)]
mod tests;
