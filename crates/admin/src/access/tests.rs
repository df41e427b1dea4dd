//! The rules as tables.

use super::*;

type Case<'a> = (&'a [(&'a str, &'a str)], bool, u16);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::new(text.into())
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, value.parse().unwrap())
        })
        .collect()
}

fn ask(access: &Access, method: &str, pairs: &[(&str, &str)], empty: bool) -> u16 {
    let method = method.parse().unwrap();
    let checked = access.check(
        &method,
        &Uri::from_static("/api/v1/status"),
        &headers(pairs),
        empty,
    );
    checked.map_or_else(|problem| problem.status().as_u16(), |()| 200)
}

#[test]
fn off_loopback_a_token_is_needed() {
    for open in [
        "0.0.0.0:8081",
        "[::]:8081",
        "192.168.1.2:8081",
        "[::ffff:10.0.0.1]:1",
    ] {
        let error = Access::new(address(open), None).unwrap_err();
        assert_eq!(error, AccessError::TokenNeeded(address(open)), "{open}");
        assert!(Access::new(address(open), Some(&secret("t"))).is_ok());
    }
    for own in [
        "127.0.0.1:0",
        "127.8.8.8:1",
        "[::1]:8081",
        "[::ffff:127.0.0.1]:1",
    ] {
        assert!(Access::new(address(own), None).is_ok(), "{own}");
    }
}

#[test]
fn a_token_that_could_never_be_sent_is_refused() {
    for bad in ["", "a b", "ä", "line\n"] {
        let refused = Access::new(address("127.0.0.1:1"), Some(&secret(bad)));
        assert_eq!(refused.unwrap_err(), AccessError::BadToken, "{bad:?}");
    }
}

#[test]
fn with_a_token_only_the_token_counts() {
    let access = Access::new(address("0.0.0.0:1"), Some(&secret("s3cret"))).unwrap();
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[("authorization", "Bearer s3cret")], 200),
        (&[("authorization", "bearer  s3cret")], 200),
        (
            &[
                ("authorization", "Bearer s3cret"),
                ("host", "forebay.example"),
            ],
            200,
        ),
        (
            &[
                ("authorization", "Bearer s3cret"),
                ("origin", "https://else.example"),
            ],
            200,
        ),
        (&[], 401),
        (&[("host", "localhost")], 401),
        (&[("authorization", "Bearer")], 401),
        (&[("authorization", "Bearer ")], 401),
        (&[("authorization", "Bearer s3cre")], 401),
        (&[("authorization", "Bearer s3cret ")], 401),
        (&[("authorization", "Bearer s3crets")], 401),
        (&[("authorization", "Basic s3cret")], 401),
        (&[("authorization", "s3cret")], 401),
    ];
    for (pairs, status) in cases {
        assert_eq!(ask(&access, "GET", pairs, true), *status, "{pairs:?}");
    }
    let mut twice = headers(&[("authorization", "Bearer s3cret")]);
    twice.append(AUTHORIZATION, "Bearer other".parse().unwrap());
    let checked = access.check(&Method::GET, &Uri::from_static("/"), &twice, true);
    assert_eq!(checked.unwrap_err().status(), 401);
}

#[test]
fn a_token_can_be_replaced_while_serving() {
    let access = Access::new(address("0.0.0.0:1"), Some(&secret("old"))).unwrap();
    let (old, new) = (
        [("authorization", "Bearer old")],
        [("authorization", "Bearer new")],
    );
    let serving = access.clone();
    assert_eq!(
        access.replace_token(&secret("")),
        Err(AccessError::BadToken)
    );
    assert_eq!(ask(&serving, "GET", &old, true), 200);
    assert_eq!(access.replace_token(&secret("new")), Ok(true));
    assert_eq!(ask(&serving, "GET", &old, true), 401);
    assert_eq!(ask(&serving, "GET", &new, true), 200);
    let open = Access::new(address("127.0.0.1:1"), None).unwrap();
    assert_eq!(open.replace_token(&secret("new")), Ok(false));
}

#[test]
fn on_loopback_without_a_token_host_and_origin_decide() {
    let access = Access::new(address("127.0.0.1:8081"), None).unwrap();
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[("host", "localhost:8081")], 200),
        (&[("host", "LocalHost")], 200),
        (&[("host", "127.0.0.1:8081")], 200),
        (&[("host", "127.1.2.3:9")], 200),
        (&[("host", "[::1]:8081")], 200),
        (&[], 403),
        (&[("host", "")], 403),
        (&[("host", "evil.example:8081")], 403),
        (&[("host", "localhost.evil.example")], 403),
        (&[("host", "127.0.0.1.evil.example")], 403),
        (&[("host", "localhost@evil.example")], 403),
        (&[("host", "evil.example@localhost")], 403),
        (&[("host", "10.0.0.1:8081")], 403),
        (&[("host", "0.0.0.0:8081")], 403),
        (
            &[
                ("host", "localhost:8081"),
                ("origin", "http://localhost:8081"),
            ],
            200,
        ),
        (
            &[
                ("host", "localhost:8081"),
                ("origin", "http://localhost:3000"),
            ],
            403,
        ),
        (
            &[
                ("host", "localhost:8081"),
                ("origin", "http://127.0.0.1:8081"),
            ],
            403,
        ),
        (
            &[
                ("host", "localhost:8081"),
                ("origin", "https://evil.example"),
            ],
            403,
        ),
        (&[("host", "localhost:8081"), ("origin", "null")], 403),
        (&[("host", "localhost:8081"), ("origin", "")], 403),
    ];
    for method in ["GET", "POST"] {
        for (pairs, status) in cases {
            let json = [*pairs, &[("content-type", "application/json")]].concat();
            assert_eq!(
                ask(&access, method, &json, false),
                *status,
                "{method} {pairs:?}"
            );
        }
    }
}

#[test]
fn a_request_for_another_host_in_the_request_line_is_refused() {
    let access = Access::new(address("127.0.0.1:8081"), None).unwrap();
    let own = headers(&[("host", "localhost:8081")]);
    let ask = |uri| access.check(&Method::GET, &Uri::from_static(uri), &own, true);
    assert!(ask("http://localhost:8081/api/v1/status").is_ok());
    assert_eq!(
        ask("http://evil.example/api/v1/status")
            .unwrap_err()
            .status(),
        403
    );
}

#[test]
fn what_changes_something_is_json_or_empty_and_not_from_a_page() {
    let access = Access::new(address("127.0.0.1:8081"), None).unwrap();
    let host = ("host", "localhost:8081");
    let origin = ("origin", "http://localhost:8081");
    let json = ("content-type", "application/json; charset=utf-8");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let text = ("content-type", "text/plain");
    let cases: &[Case<'_>] = &[
        (&[host, json], false, 200),
        (&[host, json, origin], false, 200),
        (&[host, json], true, 200),
        (&[host], true, 200),
        (&[host], false, 415),
        (&[host, origin], true, 415),
        (&[host, form], false, 415),
        (&[host, form], true, 415),
        (&[host, text], false, 415),
    ];
    for (pairs, empty, status) in cases {
        for method in ["POST", "PUT", "DELETE"] {
            assert_eq!(
                ask(&access, method, pairs, *empty),
                *status,
                "{method} {pairs:?} empty: {empty}"
            );
        }
    }
    assert_eq!(ask(&access, "GET", &[host, text], false), 200);
}

#[test]
fn the_token_never_prints_itself() {
    let access = Access::new(address("127.0.0.1:1"), Some(&secret("hunter2"))).unwrap();
    assert_eq!(format!("{access:?}"), "Access(token)");
}
