//! `forebay bench ack`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Journal, Readiness};
use domain::{RouteName, SourceName, SystemClock};
use ingest::{Ingest, Listener, ListenerOptions, NoOp, SourceOptions, Window};
use journal::{DirectoryLock, EmbeddedJournal, Known};
use prometheus_client::registry::Registry;

use super::load::{self, Measured};
use super::median;
use crate::cli::output;
use crate::exit::Outcome;

/// Measure durable acknowledgements against a no-op handler on the same HTTP stack
///
/// Both run in this process on the same runtime, in turns, with the same client; nothing is delivered
/// anywhere. The figures that mean something are the ratios.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Connections at once, with commas between; one measurement for each number
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [64, 256])]
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
    let rows = super::in_scratch(args.dir.as_deref(), |dir| measure(args, dir))?;
    if args.json {
        output::json_lines(&rows)?;
    } else {
        let header = [
            "connections",
            "no-op/s",
            "durable/s",
            "ratio",
            "of turns",
            "p50",
            "p99",
        ];
        output::table(&header, rows.iter().map(table_row))?;
    }
    Ok(())
}

fn measure(args: &Args, dir: &std::path::Path) -> anyhow::Result<Vec<serde_json::Value>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let servers = runtime.block_on(Servers::start(dir))?;
    let time = Duration::try_from_secs_f64(args.seconds)?;
    if !args.json {
        output::line(&format!(
            "{} byte bodies, median of {} turns of {} s",
            args.body_bytes, args.rounds, args.seconds
        ))?;
    }
    let mut rows = Vec::new();
    for &connections in &args.connections {
        let mut rounds: Vec<(Measured, Measured)> = Vec::new();
        for _ in 0..args.rounds {
            let no_op = load::run(servers.no_op, "/", connections, args.body_bytes, time)?;
            let durable = load::run(
                servers.durable,
                "/in/bench",
                connections,
                args.body_bytes,
                time,
            )?;
            rounds.push((no_op, durable));
        }
        rows.push(summary(connections, &rounds));
    }
    Ok(rows)
}

fn summary(connections: usize, rounds: &[(Measured, Measured)]) -> serde_json::Value {
    let of =
        |pick: &dyn Fn(&(Measured, Measured)) -> f64| rounds.iter().map(pick).collect::<Vec<f64>>();
    let ratios = of(&|(no_op, durable)| durable.per_second / no_op.per_second);
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    serde_json::json!({
        "connections": connections,
        "no_op_per_second": median(&of(&|(no_op, _)| no_op.per_second)),
        "durable_per_second": median(&of(&|(_, durable)| durable.per_second)),
        "ratio": median(&ratios),
        "ratios": ratios,
        "p50_ms": median(&of(&|(_, durable)| millis(durable.p50))),
        "p99_ms": median(&of(&|(_, durable)| millis(durable.p99))),
    })
}

fn table_row(row: &serde_json::Value) -> Vec<String> {
    let number = |field: &str| row[field].as_f64().unwrap_or_default();
    let ratios = row["ratios"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(serde_json::Value::as_f64);
    let ratios: Vec<String> = ratios.map(|ratio| format!("{ratio:.2}")).collect();
    vec![
        output::text(row, "connections"),
        format!("{:.0}", number("no_op_per_second")),
        format!("{:.0}", number("durable_per_second")),
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
    async fn start(dir: &std::path::Path) -> anyhow::Result<Self> {
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
        let limits = ListenerOptions::default()
            .validate()
            .map_err(|(key, reason)| anyhow::anyhow!("{key}: {reason}"))?;
        let sources = [(SourceName::new("bench")?, SourceOptions::default())].into();
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
        };
        let metrics = ingest::Metrics::register(registry);
        let ingest = Ingest::new(
            &sources,
            &std::collections::BTreeMap::new(),
            &[],
            settings,
            Window::new(1000),
            ports,
            metrics.clone(),
        )?;
        tokio::spawn(settle(Arc::clone(&journal), RouteName::new("bench")?));
        let durable = Listener::start(bind().await?, &limits, &metrics, Arc::new(ingest))?;
        let no_op = Listener::start(bind().await?, &limits, &metrics, Arc::new(NoOp))?;
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
