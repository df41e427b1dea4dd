//! One request after the other through the whole way to its durable acknowledgement, for counting instructions:
//! `bench/run verify` runs it in QEMU with two numbers of requests, and takes the difference.
//!
//! usage: verifying SCHEME REQUESTS DIRECTORY [unverified]
//!
//! unverified: the very same requests, to a source that verifies nothing

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a tool of the benchmarks"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{FetchNothing, Readiness, Unlimited};
use domain::{Clock, SourceName, SystemClock};
use ingest::options::DedupOptions;
use ingest::verify::{SCHEMES, Unsigned, VerifyOptions};
use ingest::{
    Front, Ingest, Listener, ListenerOptions, Metrics, Ports, Settings, SourceOptions, Window,
};
use journal::{DirectoryLock, EmbeddedJournal, Known};
use prometheus_client::registry::Registry;

/// About what a webhook has.
const BODY_BYTES: usize = 1024;

struct Ready;

impl Readiness for Ready {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

fn options(scheme: &str) -> VerifyOptions {
    let about = SCHEMES.iter().find(|about| about.name == scheme);
    let about = about.unwrap_or_else(|| panic!("there is no scheme {scheme}"));
    let table: toml::Table = format!("x = {{ {} }}", about.least).parse().unwrap();
    let mut options = serde_json::to_value(&table["x"]).unwrap();
    options["scheme"] = scheme.into();
    serde_json::from_value(options).unwrap()
}

/// The bytes of a request that the scheme takes.
fn request(options: &VerifyOptions, url: &str) -> Vec<u8> {
    let scheme = options.build().unwrap();
    let text = "x".repeat(BODY_BYTES);
    let sample = scheme.sample("0190", &text);
    let signed = scheme.sign(&Unsigned {
        path: "/in/bench",
        url: Some(url),
        body: &sample.body,
        id: "msg_0190",
        now: SystemClock.now(),
    });
    let signed = signed.expect("a scheme that signs here");
    let body = signed.body.unwrap_or(sample.body);
    let path = signed.path.unwrap_or_else(|| "/in/bench".into());
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: forebay-bench\r\ncontent-type: {}\r\ncontent-length: {}\r\n",
        sample.content_type,
        body.len()
    );
    for (name, value) in sample.headers.iter().chain(&signed.headers) {
        head += &format!("{name}: {value}\r\n");
    }
    [head.as_bytes(), b"\r\n", &body].concat()
}

fn post(address: SocketAddr, request: &[u8], times: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answer = [0; 4096];
    for _ in 0..times {
        stream.write_all(request).unwrap();
        let mut read = 0;
        // The whole answer is one short JSON object.
        while !answer[..read].ends_with(b"}") {
            let more = stream.read(&mut answer[read..]).unwrap();
            assert!(more > 0, "the server closed the connection");
            read += more;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "not taken");
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let (Some(scheme), Some(times), Some(directory)) = (words.next(), words.next(), words.next())
    else {
        panic!("usage: verifying SCHEME REQUESTS DIRECTORY [unverified]");
    };
    let url = "https://hooks.example.com";
    let options = options(&scheme);
    let request = request(&options, &format!("{url}/in/bench"));
    let times: usize = times.parse().unwrap();
    let options = match words.next().as_deref() {
        Some("unverified") => VerifyOptions::none(),
        _ => options,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = serve(&directory, options, url).await;
        let address = listener.address();
        tokio::task::spawn_blocking(move || post(address, &request, times))
            .await
            .unwrap();
    });
}

async fn serve(directory: &str, verify: VerifyOptions, url: &str) -> Listener {
    let registry = &mut Registry::default();
    let clock = Arc::new(SystemClock);
    let directory = std::path::Path::new(directory);
    let lock = DirectoryLock::acquire(directory, false).unwrap();
    let config = journal::Options::default().validate().unwrap();
    let metrics = journal::Metrics::register(registry);
    let known = Known::default();
    let journal = EmbeddedJournal::open(directory, lock, config, &known, clock.clone(), metrics);
    let source = SourceOptions {
        verify: Some(verify),
        public_url: serde_json::from_value(url.into()).unwrap(),
        // The same request comes again and again.
        dedup: DedupOptions::Off,
        ..SourceOptions::default()
    };
    let limits = ListenerOptions::default().validate().unwrap();
    let settings = Settings {
        limits: limits.clone(),
        ack_timeout: Duration::from_secs(60),
    };
    let ports = Ports {
        journal: Arc::new(journal.unwrap()),
        backlogs: Arc::new(Unlimited),
        readiness: Arc::new(Ready),
        clock,
        fetch: Arc::new(FetchNothing),
        quarantine: Arc::new(domain::ports::NoQuarantine),
    };
    let metrics = Metrics::register(registry);
    let sources = [(SourceName::new("bench").unwrap(), source)].into();
    let (window, none) = (Window::new(1000), std::collections::BTreeMap::new());
    let ingest = Ingest::new(
        &sources,
        &none,
        &[],
        settings,
        window,
        ports,
        metrics.clone(),
    );
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ingest = Arc::new(ingest.unwrap());
    Listener::start(socket, &limits, Front::default(), &metrics, ingest).unwrap()
}
