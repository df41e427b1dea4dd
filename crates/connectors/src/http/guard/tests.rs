//! A guard against scripted look-ups: what a URL says, and what a name leads to at each connection.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::{Outcome, SystemClock};
use rustls::RootCertStore;
use testbed::endpoint::Endpoint;

use super::*;
use crate::http::client::tests::delivery;
use crate::http::client::{Client, Target};
use crate::http::options::Config;

const STRICT: Guard = Guard {
    allow_http: false,
    allow_private: false,
};
const PRIVATE: Guard = Guard {
    allow_http: true,
    allow_private: true,
};

#[test]
fn a_url_is_judged_by_what_it_says() {
    for good in [
        "https://app.example.com/hooks?x=1",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]:8443/",
    ] {
        STRICT.check(good).unwrap();
    }
    for (url, words) in [
        ("http://app.example.com/hunter2", "subscriptions.allow_http"),
        ("https://127.0.0.1/hunter2", "127.0.0.1 is a loopback"),
        ("https://127.1/hunter2", "127.0.0.1 is a loopback"),
        ("https://2130706433/hunter2", "127.0.0.1 is a loopback"),
        ("https://0x7f.0.0.1/hunter2", "127.0.0.1 is a loopback"),
        ("https://0177.0.0.1./hunter2", "127.0.0.1 is a loopback"),
        ("https://127.0.0。1/hunter2", "127.0.0.1 is a loopback"),
        ("https://[::ffff:10.0.0.1]/", "is a private address"),
        ("https://169.254.169.254/latest", "link-local"),
        ("https://localhost:8081/hunter2", "localhost is a loopback"),
        ("https://a.LOCALHOST/", "loopback"),
        ("https://[fe80::1]/", "subscriptions.allow_private"),
        ("https://u:hunter2@h/", "user and a password"),
        ("https://hunter2@h/", "user and a password"),
        ("ftp://hunter2/", "must start with https://"),
        ("hunter2", "is not a URL"),
        ("", "is not a URL"),
    ] {
        let why = STRICT.check(url).unwrap_err();
        assert!(why.contains(words), "{url}: {why}");
        assert!(!why.contains("hunter2"), "{url}: {why}");
    }
    let long = format!("https://h/{}", "a".repeat(MAX_SUBSCRIPTION_URL_BYTES));
    assert!(STRICT.check(&long).unwrap_err().contains("more than 2048"));
    for url in ["http://127.0.0.1:1/", "http://localhost/", "https://h/"] {
        PRIVATE.check(url).unwrap();
    }
    // Each allows its own only.
    let http_only = Guard {
        allow_http: true,
        ..STRICT
    };
    http_only.check("http://app.example.com/").unwrap();
    http_only.check("http://127.0.0.1/").unwrap_err();
    let private_only = Guard {
        allow_private: true,
        ..STRICT
    };
    private_only.check("https://10.0.0.1/").unwrap();
    private_only.check("http://10.0.0.1/").unwrap_err();
}

/// Gives these answers, one a look-up, the last for ever; and how many look-ups there were.
fn scripted(answers: &[&[&str]]) -> (Arc<LookUp>, Arc<AtomicUsize>) {
    let answers: VecDeque<Vec<IpAddr>> = answers
        .iter()
        .map(|answer| answer.iter().map(|text| text.parse().unwrap()).collect())
        .collect();
    let answers = Mutex::new(answers);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let look_up: Arc<LookUp> = Arc::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        let mut answers = answers.lock().unwrap();
        let answer = match answers.len() {
            1 => answers[0].clone(),
            _ => answers.pop_front().unwrap(),
        };
        Box::pin(async move { Ok(answer) })
    });
    (look_up, asked)
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_at_the_second_look_leads_nowhere() {
    let (look_up, _) = scripted(&[&["8.8.8.8"], &["127.0.0.1"]]);
    let resolver = Resolver::new(STRICT, look_up);
    let name = || "rebind.example".parse::<Name>().unwrap();
    let first = resolver.resolve(name()).await.unwrap();
    assert_eq!(
        first.collect::<Vec<_>>(),
        ["8.8.8.8:0".parse::<SocketAddr>().unwrap()]
    );
    let Err(second) = resolver.resolve(name()).await else {
        panic!("it leads to loopback");
    };
    let why = refusal(&*second).unwrap().cause;
    assert_eq!(why.code, "private-address");
    assert!(why.detail.contains("rebind.example"), "{why}");
    assert!(why.detail.contains("subscriptions.allow_private"), "{why}");
}

#[tokio::test]
async fn of_a_name_that_leads_to_both_only_the_public_addresses_are_taken() {
    let both: &[&[&str]] = &[&["10.0.0.1", "8.8.8.8", "::1", "fd00::1"]];
    let found = Resolver::new(STRICT, scripted(both).0)
        .addresses("both.example")
        .await;
    assert_eq!(found.unwrap(), ["8.8.8.8".parse::<IpAddr>().unwrap()]);
    let found = Resolver::new(PRIVATE, scripted(both).0)
        .addresses("both.example")
        .await;
    assert_eq!(found.unwrap().len(), 4);
}

fn client(url: &str, guard: Guard, look_up: Arc<LookUp>) -> Client {
    let config = Arc::new(Config {
        guard: Some(guard),
        ..Config::to(PRIVATE.address(url).unwrap(), Duration::from_secs(10))
    });
    let target = Target::read(&config).unwrap();
    let clock = Arc::new(SystemClock);
    Client::trusting(RootCertStore::empty(), target, config, clock, look_up).unwrap()
}

#[tokio::test]
async fn an_endpoint_on_loopback_is_reached_only_where_that_is_allowed() {
    let endpoint = Endpoint::start().await.unwrap();
    let port = endpoint.addr().port();
    // `.invalid` is nobody's: only the address that the guard saw can lead to the endpoint.
    for host in ["rebind.invalid", "127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{port}/");
        let (look_up, _) = scripted(&[&["127.0.0.1"]]);
        let public_only = Guard {
            allow_http: true,
            ..STRICT
        };
        let guarded = client(&url, public_only, look_up);
        let of_post = guarded.post(&delivery()).await.unwrap_err();
        let of_probe = guarded.connect().await.unwrap_err();
        for why in [of_post, of_probe] {
            assert_eq!(why.cause.code, "private-address", "{host}: {why}");
            assert!(why.cause.detail.contains(host), "{why}");
        }
    }
    assert_eq!(endpoint.received().len(), 0);

    let (look_up, asked) = scripted(&[&["127.0.0.1"]]);
    let allowed = client(&format!("http://rebind.invalid:{port}/"), PRIVATE, look_up);
    for _ in 0..2 {
        let outcome = allowed.post(&delivery()).await.unwrap();
        assert_eq!(outcome, Outcome::Delivered);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1, "once a connection");
    allowed.connect().await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let received = endpoint.received();
    assert_eq!(
        received[0].header("host"),
        Some(&*format!("rebind.invalid:{port}"))
    );
}

#[tokio::test]
async fn plain_http_that_is_no_longer_allowed_is_not_spoken() {
    let endpoint = Endpoint::start().await.unwrap();
    let private_only = Guard {
        allow_private: true,
        ..STRICT
    };
    let client = client(&endpoint.url(), private_only, by_system());
    let why = client.post(&delivery()).await.unwrap_err();
    assert_eq!(why.cause.code, "plain-http");
    assert!(why.cause.detail.contains("allow_http"), "{why}");
    assert_eq!(endpoint.received().len(), 0);
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_said_to_be_one() {
    let look_up: Arc<LookUp> = Arc::new(|_| {
        let unknown = "failed to lookup address information: Name or service not known";
        Box::pin(async move { Err(std::io::Error::other(unknown)) })
    });
    let client = client("http://nowhere.invalid/", PRIVATE, look_up);
    assert_eq!(
        client.post(&delivery()).await.unwrap_err().cause.code,
        "dns"
    );
    assert_eq!(client.connect().await.unwrap_err().cause.code, "dns");
}
