//! `forebay send`

mod body;
mod client;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{Clock, SourceName, SystemClock};
use indicatif::{ProgressBar, ProgressStyle};
use ingest::verify::{Scheme, Unsigned, VerifyOptions};
use reqwest::Url;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::body::Bodies;
use self::client::TlsArgs;
use self::report::{Report, Sent};
use super::client::server_url;
use super::output;
use super::serve::ConfigArgs;
use crate::config::Config;
use crate::exit::{Exit, Failure, Outcome};

/// The longest one post may take: longer than any `ack_timeout` that makes sense.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Post events to a source, signed as it expects
///
/// Address, path and secret are taken from the configuration that the server runs with. Without --file
/// each event is a made-up one with an id of its own.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The source to post to
    #[arg(long, value_name = "NAME")]
    source: String,
    /// The body of every event; - is standard input [default: a made-up one]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The least size of a made-up body in bytes; it is filled up with text
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "file", value_parser = clap::value_parser!(u32).range(..=(64 << 20)))]
    body_bytes: u32,
    /// How many events
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// How many events a second at most [default: as fast as they are answered]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// How many posts may be under way at once, up to 1024
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// Where the server is: scheme, host and port [default: server.listen]
    #[arg(long, value_name = "URL", value_parser = without_path)]
    url: Option<Url>,
    #[command(flatten)]
    tls: TlsArgs,
    /// The summary as one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--url` takes: the path is the source's own.
fn without_path(text: &str) -> Result<Url, String> {
    let url = server_url(text)?;
    if url.path() == "/" && url.query().is_none() {
        return Ok(url);
    }
    Err("it must be scheme, host and port alone: events are posted to /in/SOURCE there".into())
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let config = args.config.load()?;
    let sender = Arc::new(Sender::new(args, &config)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(send_all(args, &sender))?;
    if args.json {
        output::line(&report.json().to_string())?;
    } else {
        report
            .lines()
            .iter()
            .try_for_each(|line| output::line(line))?;
    }
    report.verdict(&format!("{}{}", sender.base, sender.path))
}

/// What every post needs.
#[derive(Debug)]
struct Sender {
    http: reqwest::Client,
    /// Scheme, host and port.
    base: String,
    path: String,
    /// The URL as the sender would have it, where the source says it.
    public_url: Option<String>,
    scheme: Box<dyn Scheme>,
    bodies: Bodies,
}

impl Sender {
    fn new(args: &Args, config: &Config) -> Outcome<Self> {
        let known: Vec<&str> = config.sources.keys().map(SourceName::as_str).collect();
        let options = SourceName::new(&args.source)
            .ok()
            .and_then(|name| config.sources.get(&name));
        if config
            .queues
            .keys()
            .any(|name| name.as_str() == args.source)
        {
            let error = format!(
                "source {} is a queue that Forebay reads, and nobody posts to it: put a message there",
                args.source
            );
            return Err(Failure::say(Exit::Usage, error));
        }
        let Some(options) = options else {
            let error = format!(
                "there is no source {:?} in the configuration ({}); there is {}",
                args.source,
                config.place(),
                known.join(", ")
            );
            return Err(Failure::say(Exit::Usage, error));
        };
        let none = VerifyOptions::none();
        let scheme = options.verify.as_ref().unwrap_or(&none).build();
        let listen = config.server.listen;
        let host = if listen.ip().is_unspecified() {
            format!("localhost:{}", listen.port())
        } else {
            listen.to_string()
        };
        let given = args.url.as_ref().map(ToString::to_string);
        let scheme = scheme.map_err(|reason| {
            let error = format!("sources.{}.verify: {reason}", args.source);
            Failure::say(Exit::Usage, error)
        })?;
        must_sign(&*scheme)?;
        let spoken = config.server.ingest_scheme();
        let base = given.unwrap_or_else(|| format!("{spoken}://{host}"));
        let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy();
        let path = format!("/in/{}", args.source);
        Ok(Self {
            http: args.tls.build(http)?,
            base: base.trim_end_matches('/').to_owned(),
            public_url: options.public_url.as_ref().map(|url| url.of(&path)),
            path,
            scheme,
            bodies: Bodies::new(args.file.as_deref(), args.body_bytes as usize, options)?,
        })
    }

    async fn post(&self) -> Sent {
        let (id, sample) = self.bodies.next(&*self.scheme);
        let signed = self.scheme.sign(&Unsigned {
            path: &self.path,
            url: self.public_url.as_deref(),
            body: &sample.body,
            id: &id,
            now: SystemClock.now(),
        });
        let signed = match signed {
            Ok(signed) => signed,
            Err(error) => {
                return Sent::Failed {
                    connect: false,
                    reason: error.to_string(),
                };
            }
        };
        let path = signed.path.as_deref().unwrap_or(&self.path);
        let mut request = self
            .http
            .post(format!("{}{path}", self.base))
            .header("content-type", sample.content_type)
            .body(signed.body.unwrap_or(sample.body));
        for (name, value) in sample.headers.into_iter().chain(signed.headers) {
            request = request.header(name, value);
        }
        let begun = Instant::now();
        match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let answer = response.text().await.unwrap_or_default();
                Sent::Answered {
                    status,
                    answer,
                    took: begun.elapsed(),
                }
            }
            Err(error) => Sent::failed(&error),
        }
    }
}

/// Some senders have a key that nobody else has.
fn must_sign(scheme: &dyn Scheme) -> Outcome {
    let sample = Unsigned {
        path: "/",
        url: Some("https://localhost/"),
        body: b"{}",
        id: "0",
        now: SystemClock.now(),
    };
    scheme.sign(&sample).map(drop).map_err(|error| {
        let error = format!(
            "nothing was posted: {error} (scheme {}); to try the source, let its sender post to it, or give it verify = {{ scheme = \"none\" }} on a server of your own",
            scheme.name()
        );
        Failure::say(Exit::Usage, error)
    })
}

async fn send_all(args: &Args, sender: &Arc<Sender>) -> Outcome<Report> {
    let bar = bar(args.count);
    let places = Arc::new(Semaphore::new(args.concurrency.into()));
    let mut ticks = args.rate.map(|rate| {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        ticks
    });
    let mut report = Report::default();
    let mut under_way: JoinSet<Sent> = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..args.count {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let place = Arc::clone(&places).acquire_owned().await?;
        let sender = Arc::clone(sender);
        under_way.spawn(async move {
            let sent = sender.post().await;
            drop(place);
            sent
        });
        while let Some(sent) = under_way.try_join_next() {
            report.add(sent?);
            bar.inc(1);
        }
        if report.is_hopeless() {
            break;
        }
    }
    while let Some(sent) = under_way.join_next().await {
        report.add(sent?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    report.took = begun.elapsed();
    Ok(report)
}

/// Only for work that a person would wait for; indicatif hides it where there is no terminal.
fn bar(count: u64) -> ProgressBar {
    if count < 100 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(count);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::without_path;

    #[test]
    fn posts_go_to_the_sources_own_path_and_no_other() {
        assert!(without_path("http://127.0.0.1:8080").is_ok());
        assert!(without_path("https://hooks.example.com/").is_ok());
        assert!(without_path("http://127.0.0.1:8080/webhook/gc").is_err());
    }
}
