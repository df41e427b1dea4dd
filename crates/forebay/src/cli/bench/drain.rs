//! `forebay bench drain`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use domain::ports::{Destination, Journal, State};
use domain::{Clock, DestinationName, Event, RouteName, Seq, SourceName, SourceSet, SystemClock};
use journal::{DirectoryLock, EmbeddedJournal, Known};
use prometheus_client::registry::Registry;
use serde_json::value::RawValue;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{Json, Type};

use super::median;
use crate::cli::output;
use crate::exit::Outcome;

/// Measure draining a backlog into PostgreSQL against a plain binary COPY of the same rows
///
/// It makes two tables with names of its own in that database, and drops them. Plain COPY is what the
/// server can take at best: one statement, no repeats to recognise, nothing to remember.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The database, as in postgres://user:password@127.0.0.1/bench
    #[arg(
        long,
        value_name = "URL",
        env = "FOREBAY_BENCH_URL",
        hide_env_values = true
    )]
    url: String,
    /// How many events the backlog has
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    events: u64,
    /// Turns; the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// The size of a body in bytes
    #[arg(long, value_name = "N", default_value_t = 1024)]
    body_bytes: usize,
    /// Where the journal is written, in a directory of its own that is removed afterwards [default: the
    /// working directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut rounds = Vec::new();
    for _ in 0..args.rounds {
        rounds.push(super::in_scratch(args.dir.as_deref(), |dir| {
            runtime.block_on(round(args, dir))
        })?);
    }
    let ratios: Vec<f64> = rounds.iter().map(|(copy, drain)| drain / copy).collect();
    let copies: Vec<f64> = rounds.iter().map(|(copy, _)| *copy).collect();
    let drains: Vec<f64> = rounds.iter().map(|(_, drain)| *drain).collect();
    let row = serde_json::json!({
        "events": args.events,
        "body_bytes": args.body_bytes,
        "copy_per_second": median(&copies),
        "drain_per_second": median(&drains),
        "ratio": median(&ratios),
        "ratios": ratios,
    });
    if args.json {
        output::json_lines([&row])?;
        return Ok(());
    }
    let of_turns: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    output::line(&format!(
        "{} events of {} bytes, median of {} turns",
        args.events, args.body_bytes, args.rounds
    ))?;
    output::table(
        &["plain COPY/s", "drain/s", "ratio", "of turns"],
        [vec![
            format!("{:.0}", median(&copies)),
            format!("{:.0}", median(&drains)),
            format!("{:.2}", median(&ratios)),
            of_turns.join(" "),
        ]],
    )?;
    Ok(())
}

/// Rows a second of plain COPY, and of the drain.
async fn round(args: &Args, dir: &Path) -> anyhow::Result<(f64, f64)> {
    let (client, connection) = tokio_postgres::connect(&args.url, tokio_postgres::NoTls)
        .await
        .context("cannot connect to the database of --url")?;
    let driven = tokio::spawn(connection);
    let suffix = uuid::Uuid::new_v4().simple().to_string();
    let (plain, drained) = (
        format!("forebay_bench_copy_{suffix}"),
        format!("forebay_bench_drain_{suffix}"),
    );
    let measured = async {
        let destination = destination(args, &drained)?;
        let found = destination.inspect().await;
        found.map_err(|error| anyhow::anyhow!("{}: {}", error.cause.code, error.cause.detail))?;
        client
            .batch_execute(&format!(
                "CREATE TABLE {plain} (LIKE {drained} INCLUDING ALL)"
            ))
            .await?;
        let backlog = Backlog::fill(args, dir).await?;
        let copy = backlog.copy(&client, &plain).await?;
        let drain = backlog.drain(destination).await?;
        let rows: i64 = client
            .query_one(&format!("SELECT count(*) FROM {drained}"), &[])
            .await?
            .get(0);
        anyhow::ensure!(
            rows.unsigned_abs() == args.events,
            "{rows} rows arrived instead of {}",
            args.events
        );
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = |time: Duration| args.events as f64 / time.as_secs_f64();
        Ok((rate(copy), rate(drain)))
    }
    .await;
    client
        .batch_execute(&format!("DROP TABLE IF EXISTS {plain}, {drained}"))
        .await?;
    drop(client);
    driven.await??;
    measured
}

fn destination(args: &Args, table: &str) -> anyhow::Result<Arc<dyn Destination>> {
    let options = serde_json::json!({ "type": "postgres", "url": args.url, "table": table });
    let options: connectors::DestinationOptions = serde_json::from_value(options)?;
    let context = connectors::Context {
        clock: Arc::new(SystemClock),
        data_dir: PathBuf::new(),
        name: DestinationName::new("bench")?,
        instance: connectors::Instance::default(),
    };
    Ok(connectors::build(&options.validate()?, &context)?)
}

/// A journal full of events, and the state beside it.
struct Backlog {
    journal: Arc<EmbeddedJournal>,
    state: Arc<state::SqliteState>,
    route: RouteName,
    sources: SourceSet,
    source: SourceName,
    events: u64,
}

impl Backlog {
    async fn fill(args: &Args, dir: &Path) -> anyhow::Result<Self> {
        let registry = &mut Registry::default();
        let config = journal::Options::default().validate();
        let config = config.map_err(|(key, reason)| anyhow::anyhow!("{key}: {reason}"))?;
        let lock = DirectoryLock::acquire(dir, false)?;
        let metrics = journal::Metrics::register(registry);
        let journal = EmbeddedJournal::open(
            dir,
            lock,
            config,
            &Known::default(),
            Arc::new(SystemClock),
            metrics,
        )?;
        let state = state::SqliteState::open(
            &dir.join("state.db"),
            state::Options::default(),
            state::Metrics::register(registry),
        )?;
        let source = SourceName::new("bench")?;
        let backlog = Self {
            journal: Arc::new(journal),
            state: Arc::new(state),
            route: RouteName::new("bench")?,
            sources: [source.clone()].into_iter().collect(),
            source,
            events: args.events,
        };
        backlog
            .state
            .register_route(&backlog.route, Seq::ZERO, SystemClock.now())
            .await?;
        let mut left = args.events;
        while left > 0 {
            let count = left.min(1000);
            let events = (0..count)
                .map(|number| backlog.event(left - number, args.body_bytes))
                .collect();
            backlog.journal.append(events).await?;
            left -= count;
        }
        Ok(backlog)
    }

    fn event(&self, number: u64, body_bytes: usize) -> Event {
        let mut body = format!(r#"{{"number":{number},"text":""#).into_bytes();
        body.resize(body_bytes.max(body.len() + 2) - 2, b'x');
        body.extend_from_slice(b"\"}");
        Event {
            source: self.source.clone(),
            received_at: SystemClock.now(),
            method: "POST".into(),
            path: "/in/bench".into(),
            headers: [
                ("content-type", "application/json"),
                ("user-agent", "forebay-bench"),
            ]
            .into_iter()
            .collect(),
            body: body.into(),
            event_type: None,
            remote: None,
            dedup: None,
            only: None,
        }
    }

    /// One binary COPY of all of it.
    async fn copy(&self, client: &tokio_postgres::Client, table: &str) -> anyhow::Result<Duration> {
        let mut reader = self
            .journal
            .reader(&self.route, Seq::ZERO, self.sources.clone())
            .await?;
        let types = [
            Type::UUID,
            Type::TEXT,
            Type::TIMESTAMPTZ,
            Type::TEXT,
            Type::TEXT,
            Type::JSONB,
            Type::TEXT,
            Type::JSON,
        ];
        let begun = Instant::now();
        let columns = "id, source, received_at, method, path, headers, content_type, body";
        let sink = client
            .copy_in(&format!(
                "COPY {table} ({columns}) FROM STDIN (FORMAT binary)"
            ))
            .await?;
        let writer = BinaryCopyInWriter::new(sink, &types);
        tokio::pin!(writer);
        let mut written = 0;
        while written < self.events {
            let batch = reader
                .read(domain::ports::BatchLimit {
                    events: 1000,
                    bytes: 8 << 20,
                })
                .await?;
            for stored in &batch.events {
                let event = &stored.event;
                let headers: serde_json::Map<String, serde_json::Value> = event
                    .headers
                    .iter()
                    .map(|header| {
                        (
                            header.name.to_owned(),
                            String::from_utf8_lossy(header.value).into(),
                        )
                    })
                    .collect();
                let body: &RawValue = serde_json::from_slice(&event.body)?;
                writer
                    .as_mut()
                    .write(&[
                        &stored.id.as_uuid(),
                        &event.source.as_str(),
                        &(std::time::UNIX_EPOCH
                            + Duration::from_micros(
                                event.received_at.as_microsecond().unsigned_abs(),
                            )),
                        &event.method,
                        &event.path,
                        &Json(headers),
                        &event.content_type(),
                        &Json(body),
                    ])
                    .await?;
            }
            written += batch.events.len() as u64;
        }
        writer.finish().await?;
        Ok(begun.elapsed())
    }

    /// Dispatch, from the first read to the last commit in state.
    async fn drain(&self, destination: Arc<dyn Destination>) -> anyhow::Result<Duration> {
        let record = self
            .state
            .routes()
            .await?
            .into_iter()
            .next()
            .context("the route is registered")?;
        let ports = dispatch::Ports {
            journal: self.journal.clone(),
            archive: self.journal.clone(),
            state: self.state.clone(),
            dead_letters: self.state.clone(),
            exports: self.state.clone(),
            redrive_begun: Arc::default(),
            clock: Arc::new(SystemClock),
        };
        let spec = dispatch::RouteSpec {
            targets: Vec::new(),
            name: self.route.clone(),
            policies: dispatch::RoutePolicies::default(),
            sources: self.sources.clone(),
            source_names: vec![self.source.clone()],
            filter: None,
            destination,
            destination_name: DestinationName::new("bench")?,
            record,
            until: None,
            has_own_metrics: true,
        };
        let metrics = dispatch::Metrics::register(&mut Registry::default());
        let begun = Instant::now();
        let dispatch =
            dispatch::Dispatch::start(dispatch::Options::default(), vec![spec], ports, metrics);
        loop {
            let route = self
                .state
                .routes()
                .await?
                .into_iter()
                .next()
                .context("the route is registered")?;
            anyhow::ensure!(
                route.parked + route.dead == 0,
                "the database refuses the benchmark's events"
            );
            if route.counters.delivered >= self.events {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let elapsed = begun.elapsed();
        dispatch.stop(Duration::from_secs(5)).await;
        self.journal.close(Duration::from_secs(5)).await?;
        Ok(elapsed)
    }
}
