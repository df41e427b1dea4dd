//! Who may ask the admin listener, seen from a socket.

use ::http::Method;
use bytes::Bytes;
use testbed::http;
use testbed::process::run;
use testbed::{Error, Result};

use crate::rig;
use crate::wire::{address, say};

const TOKEN: &str = "a-token-of-many-letters";

fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_everything_but_the_probes_asks_for_it() -> Result<()> {
    let config = format!("[server]\nadmin_token = \"{TOKEN}\"\n");
    let forebay = rig::forebay(config).start().await?;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(http::get(&forebay.admin(path)).await?.status, 200, "{path}");
    }
    let ours = format!("Bearer {TOKEN}");
    let others = [
        None,
        Some("Bearer another-token"),
        Some(TOKEN),
        Some("Basic YTpi"),
    ];
    for path in [
        "/api/v1/status",
        "/api/v1/events",
        "/api/v1/routes",
        "/metrics",
    ] {
        let url = forebay.admin(path);
        let ask = async |authorization: Option<&str>| {
            let headers = authorization.map(|value| ("authorization", value));
            let headers: Vec<(&str, &str)> = headers.into_iter().collect();
            let answer = http::request(Method::GET, &url, &headers, Bytes::new()).await?;
            Ok::<u16, Error>(answer.status.as_u16())
        };
        for other in others {
            assert_eq!(ask(other).await?, 401, "{path} with {other:?}");
        }
        assert_eq!(ask(Some(&ours)).await?, 200, "{path}");
    }

    let without = forebay.cli(&["status"]).await?;
    assert_eq!(without.code, Some(1), "{without:?}");
    assert!(
        without.stderr.contains("FOREBAY_ADMIN_TOKEN"),
        "{without:?}"
    );
    let env = [
        ("FOREBAY_ADMIN_URL".to_owned(), forebay.admin("")),
        ("FOREBAY_ADMIN_TOKEN".to_owned(), TOKEN.to_owned()),
    ];
    let dir = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_forebay");
    let with = run(binary, &["status"], &env.into(), dir.path()).await?;
    assert_eq!(with.code, Some(0), "{with:?}");
    assert!(!forebay.stderr().contains(TOKEN), "the token is in the log");
    Ok(())
}

/// A web page that the operator has open can reach loopback under a name of its own, or by a form.
#[tokio::test(flavor = "multi_thread")]
async fn on_loopback_without_a_token_web_pages_are_kept_out() -> Result<()> {
    let forebay = rig::forebay("").start().await?;
    let admin = address(&forebay.admin(""));
    let port = admin.port();
    for (claim, headers, status) in [
        ("its own name", format!("host: 127.0.0.1:{port}\r\n"), 200),
        ("its own name", format!("host: localhost:{port}\r\n"), 200),
        (
            "a name that was rebound",
            format!("host: evil.example:{port}\r\n"),
            403,
        ),
        (
            "a page from elsewhere",
            format!("host: 127.0.0.1:{port}\r\norigin: https://evil.example\r\n"),
            403,
        ),
    ] {
        for path in ["/api/v1/status", "/api/v1/events", "/metrics"] {
            let answer = say(admin, &get(path, &headers)).await;
            assert_eq!(answer.status, status, "{claim}, {path}: {answer:?}");
        }
    }
    let form = format!(
        "POST /api/v1/routes/default/pause HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: 0\r\n\r\n"
    );
    let answer = say(admin, form.as_bytes()).await;
    assert_eq!(answer.status, 415, "{answer:?}");
    let status = forebay.status().await?;
    assert_eq!(rig::route(&status, "default")["paused"], false);
    Ok(())
}
