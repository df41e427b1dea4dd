//! `forebay bench ack`

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Journal, Readiness};
use domain::{Clock as _, RouteName, SourceName, SystemClock};
use ingest::options::DedupOptions;
use ingest::verify::{SCHEMES, Unsigned, VerifyOptions};
use ingest::{Front, Ingest, Listener, ListenerOptions, NoOp, SourceOptions, Window};
use journal::{DirectoryLock, EmbeddedJournal, Known};
use prometheus_client::registry::Registry;

use super::load::{self, Measured};
use super::median;
use crate::cli::output;
use crate::exit::{Exit, Failure, Outcome};

/// Measure durable acknowledgements against a no-op handler on the same HTTP stack
///
/// Both run in this process on the same runtime, in turns, with the same client; nothing is delivered
/// anywhere. The figures that mean something are the ratios.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Connections at once, with commas between; one measurement for each number
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "64,256"
    )]
    connections: Vec<usize>,
    /// Turns; the median of their ratios counts. Many short ones even out what else the machine does
    #[arg(long, value_name = "N", default_value_t = 11)]
    rounds: usize,
    /// How long each turn is, in seconds
    #[arg(long, value_name = "S", default_value_t = 1.5)]
    seconds: f64,
    /// The size of a body in bytes
    #[arg(long, value_name = "N", default_value_t = 1024)]
    body_bytes: usize,
    /// Measure what verifying costs instead: requests signed by this scheme, to a source that verifies them
    /// against the same ones to a source that does not. `forebay sources schemes` lists them
    #[arg(long, value_name = "SCHEME")]
    verify: Option<String>,
    /// Where the journal is written, in a directory of its own that is removed afterwards [default: the
    /// working directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

struct Ready;

impl Readiness for Ready {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let signed = args
        .verify
        .as_deref()
        .map(|name| Scheme::new(name, args.body_bytes));
    let signed = signed.transpose()?;
    let measuring = |dir: &std::path::Path| measure(args, signed.as_ref(), dir);
    let rows = super::in_scratch(args.dir.as_deref(), measuring)?;
    if args.json {
        output::json_lines(&rows)?;
    } else {
        let (first, second) = match args.verify {
            Some(_) => ("unverified/s", "verified/s"),
            None => ("no-op/s", "durable/s"),
        };
        let header = [
            "connections",
            first,
            second,
            "ratio",
            "of turns",
            "p50",
            "p99",
        ];
        output::table(&header, rows.iter().map(table_row))?;
    }
    Ok(())
}

/// Where the sources of the schemes that sign it are, as their senders have it.
const URL: &str = "https://hooks.example.com";

/// A scheme that is measured, and a request that it takes.
struct Scheme {
    options: VerifyOptions,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// What stands behind the source's path.
    query: String,
}

impl Scheme {
    fn new(name: &str, body_bytes: usize) -> Outcome<Self> {
        let usage = |reason: String| Failure::say(Exit::Usage, reason);
        let known = SCHEMES.iter().find(|about| about.name == name);
        let about = known.ok_or_else(|| {
            usage(format!(
                "there is no scheme {name:?}; `forebay sources schemes` lists them"
            ))
        })?;
        let options: toml::Table =
            format!("scheme = \"{name}\"\n{}", about.least.replace(", ", "\n"))
                .parse()
                .map_err(anyhow::Error::from)?;
        let options: VerifyOptions = options.try_into().map_err(anyhow::Error::from)?;
        let scheme = options.build().map_err(usage)?;
        let mut sample = scheme.sample("bench", "x");
        let missing = body_bytes.saturating_sub(sample.body.len());
        if missing > 0 {
            sample = scheme.sample("bench", &"x".repeat(missing + 1));
        }
        let path = "/in/verified";
        let url = format!("{URL}{path}");
        let signed = scheme.sign(&Unsigned {
            path,
            url: Some(&url),
            body: &sample.body,
            id: "bench",
            now: SystemClock.now(),
        });
        let signed = signed.map_err(|error| usage(format!("{name}: {error}")))?;
        let content_type = ("content-type".to_owned(), sample.content_type.to_owned());
        let headers = sample.headers.into_iter().chain(signed.headers);
        Ok(Self {
            options,
            headers: std::iter::once(content_type).chain(headers).collect(),
            body: signed.body.unwrap_or(sample.body),
            query: signed.path.unwrap_or_default().replace(path, ""),
        })
    }

    fn request(&self, source: &str) -> Vec<u8> {
        load::request(
            &format!("/in/{source}{}", self.query),
            &self.headers,
            &self.body,
        )
    }
}

fn measure(
    args: &Args,
    scheme: Option<&Scheme>,
    dir: &std::path::Path,
) -> anyhow::Result<Vec<serde_json::Value>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let servers = runtime.block_on(Servers::start(dir, scheme))?;
    let time = Duration::try_from_secs_f64(args.seconds)?;
    if !args.json {
        output::line(&format!(
            "{} byte bodies, median of {} turns of {} s",
            args.body_bytes, args.rounds, args.seconds
        ))?;
    }
    let json = [("content-type".to_owned(), "application/json".to_owned())];
    let plain = |path| load::request(path, &json, &load::body(args.body_bytes));
    let ((first_at, first), second) = match scheme {
        Some(scheme) => (
            (servers.durable, scheme.request("bench")),
            scheme.request("verified"),
        ),
        None => ((servers.no_op, plain("/")), plain("/in/bench")),
    };
    let mut rows = Vec::new();
    for &connections in &args.connections {
        let mut rounds: Vec<(Measured, Measured)> = Vec::new();
        for _ in 0..args.rounds {
            let without = load::run(first_at, first.clone(), connections, time)?;
            let with = load::run(servers.durable, second.clone(), connections, time)?;
            rounds.push((without, with));
        }
        rows.push(summary(args, connections, &rounds));
    }
    Ok(rows)
}

fn summary(args: &Args, connections: usize, rounds: &[(Measured, Measured)]) -> serde_json::Value {
    let of =
        |pick: &dyn Fn(&(Measured, Measured)) -> f64| rounds.iter().map(pick).collect::<Vec<f64>>();
    let ratios = of(&|(no_op, durable)| durable.per_second / no_op.per_second);
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let (first, second) = names(args.verify.is_some());
    serde_json::json!({
        "connections": connections,
        "verify": args.verify,
        first: median(&of(&|(no_op, _)| no_op.per_second)),
        second: median(&of(&|(_, durable)| durable.per_second)),
        "ratio": median(&ratios),
        "ratios": ratios,
        "p50_ms": median(&of(&|(_, durable)| millis(durable.p50))),
        "p99_ms": median(&of(&|(_, durable)| millis(durable.p99))),
    })
}

/// The fields of the two rates.
const fn names(verifies: bool) -> (&'static str, &'static str) {
    match verifies {
        true => ("unverified_per_second", "verified_per_second"),
        false => ("no_op_per_second", "durable_per_second"),
    }
}

fn table_row(row: &serde_json::Value) -> Vec<String> {
    let (first, second) = names(row["verify"].is_string());
    let number = |field: &str| row[field].as_f64().unwrap_or_default();
    let ratios = row["ratios"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(serde_json::Value::as_f64);
    let ratios: Vec<String> = ratios.map(|ratio| format!("{ratio:.2}")).collect();
    vec![
        output::text(row, "connections"),
        format!("{:.0}", number(first)),
        format!("{:.0}", number(second)),
        format!("{:.2}", number("ratio")),
        ratios.join(" "),
        format!("{:.2} ms", number("p50_ms")),
        format!("{:.2} ms", number("p99_ms")),
    ]
}

/// Both handlers, each behind a listener of its own.
struct Servers {
    no_op: SocketAddr,
    durable: SocketAddr,
    _listeners: [Listener; 2],
}

impl Servers {
    async fn start(dir: &std::path::Path, scheme: Option<&Scheme>) -> anyhow::Result<Self> {
        let clock = Arc::new(SystemClock);
        let registry = &mut Registry::default();
        let options = journal::Options {
            retain: domain::HumanDuration::from_secs(0),
            ..journal::Options::default()
        };
        let config = options
            .validate()
            .map_err(|(key, reason)| anyhow::anyhow!("{key}: {reason}"))?;
        let lock = DirectoryLock::acquire(dir, false)?;
        let metrics = journal::Metrics::register(registry);
        let journal = Arc::new(EmbeddedJournal::open(
            dir,
            lock,
            config,
            &Known::default(),
            clock.clone(),
            metrics,
        )?);
        let limits = ListenerOptions {
            // All of the load comes from one address.
            max_connections_per_address: ListenerOptions::default().max_connections,
            ..ListenerOptions::default()
        };
        let limits = limits
            .validate()
            .map_err(|(key, reason)| anyhow::anyhow!("{key}: {reason}"))?;
        let source = |verify: Option<VerifyOptions>| -> anyhow::Result<SourceOptions> {
            Ok(SourceOptions {
                verify,
                public_url: serde_json::from_value(URL.into())?,
                // The same request comes again and again.
                dedup: DedupOptions::Off,
                ..SourceOptions::default()
            })
        };
        let mut sources: BTreeMap<SourceName, SourceOptions> = BTreeMap::new();
        sources.insert(SourceName::new("bench")?, source(None)?);
        if let Some(scheme) = scheme {
            let verifying = source(Some(scheme.options.clone()))?;
            sources.insert(SourceName::new("verified")?, verifying);
        }
        let settings = ingest::Settings {
            limits: limits.clone(),
            ack_timeout: Duration::from_secs(10),
        };
        let ports = ingest::Ports {
            journal: journal.clone(),
            backlogs: Arc::new(domain::ports::Unlimited),
            readiness: Arc::new(Ready),
            clock,
            fetch: Arc::new(domain::ports::FetchNothing),
            quarantine: Arc::new(domain::ports::NoQuarantine),
        };
        let metrics = ingest::Metrics::register(registry);
        let ingest = Ingest::new(
            &sources,
            &BTreeMap::new(),
            &[],
            settings,
            Window::new(1000),
            ports,
            metrics.clone(),
        )?;
        tokio::spawn(settle(Arc::clone(&journal), RouteName::new("bench")?));
        let (ingest, front) = (Arc::new(ingest), Front::default);
        let durable = Listener::start(bind().await?, &limits, front(), &metrics, ingest)?;
        let no_op = Listener::start(bind().await?, &limits, front(), &metrics, Arc::new(NoOp))?;
        Ok(Self {
            no_op: no_op.address(),
            durable: durable.address(),
            _listeners: [no_op, durable],
        })
    }
}

/// Lets go of what is durable, again and again, as a route that keeps up would: segments are recycled, as
/// they are in a journal that has reached its size. Ends with the runtime.
async fn settle(journal: Arc<EmbeddedJournal>, route: RouteName) {
    loop {
        journal.release(&route, journal.end());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn bind() -> anyhow::Result<tokio::net::TcpListener> {
    Ok(tokio::net::TcpListener::bind("127.0.0.1:0").await?)
}
