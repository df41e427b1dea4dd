//! What hostile clients do to an honest sender: the 99th percentile of its acknowledgements beside each attack, as a ratio to
//! its own in peace just before, over several turns of one run together. Fails where the ratio is 5 or more, or
//! where the honest sender ever missed a 200.
//!
//! `cargo run --release -p forebay --example hostile -- FOREBAY [TURNS] [ATTACK…]`, or `bench/run hostile`.
//!
//! All sides share one machine. An attack runs in a process of its own that runs when nobody else wants to (`SCHED_IDLE`): it has what the
//! server and the honest sender leave, so that what is measured is what it makes the server do, and not what it takes
//! from everybody by being there. How much of a processor each of them had is shown.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement"
)]

mod attacks;
mod honest;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use honest::{Honest, Stretch};
use testbed::process::{Forebay, Launch};

/// What the honest sender signs with.
const SECRET: &str = "of-no-value-outside-of-this-benchmark";

/// What the other sources want.
const OTHER_TOKEN: &str = "a-token-of-more-than-sixteen-letters";

/// Nothing is delivered: the destination is not there, so that acknowledging is all there is to do.
const CONFIG: &str = r#"
[server.limits]
max_connections = 20000
[journal]
min_free = "64MiB"
[sources.genesys]
type = "http"
verify = { scheme = "genesys-open-messaging", secrets = ["of-no-value-outside-of-this-benchmark"] }
[sources.other]
type = "http"
verify = { scheme = "bearer", secrets = ["a-token-of-more-than-sixteen-letters"] }
[sources.limited]
type = "http"
verify = { scheme = "bearer", secrets = ["a-token-of-more-than-sixteen-letters"] }
rate_limit = { per_second = 100 }
[destinations.nowhere]
type = "http"
url = "http://127.0.0.1:1/"
[routes.all]
from = ["genesys", "other", "limited"]
to = "nowhere"
"#;

/// How long is measured, in peace and beside an attack: 4,000 requests, of which 40 are above the 99th percentile.
const STRETCH: Duration = Duration::from_secs(10);

/// Between an attack and peace: what it left is cleared away.
const REST: Duration = Duration::from_millis(500);

/// The ratio that must not be reached.
const MOST: f64 = 5.0;

fn main() {
    let mut words = std::env::args().skip(1);
    let first = words
        .next()
        .expect("usage: hostile FOREBAY [TURNS] [ATTACK…]");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    if first == "attack" {
        let (name, to) = (words.next().unwrap(), words.next().unwrap());
        let attacking = attacks::run(&name, to.parse().unwrap());
        return runtime.block_on(attacking).unwrap();
    }
    let turns = words.next().map_or(3, |turns| turns.parse().unwrap());
    let chosen: Vec<String> = words.collect();
    // The server has as many as this process.
    testbed::hostile::as_many_files_as_may_be().unwrap();
    let launch = Launch::new(&first).unwrap().config(CONFIG);
    let forebay = runtime.block_on(launch.start()).unwrap();
    let url: hyper::Uri = forebay.ingest("/").parse().unwrap();
    let to = url.authority().unwrap().as_str().parse().unwrap();
    let mut honest = Honest::connect(to);
    // Nobody is measured cold.
    honest.send_for(STRETCH);
    let names = attacks::NAMES.into_iter();
    let mut rows: Vec<_> = names
        .filter(|name| chosen.is_empty() || chosen.iter().any(|one| one == name))
        .map(Row::new)
        .collect();
    for turn in 1..=turns {
        for row in &mut rows {
            row.turn(&mut honest, to, &forebay);
        }
        eprintln!("turn {turn} of {turns}");
    }
    println!(
        "{:<32}{:>8}{:>16}{:>12}{:>12}{:>9}{:>9}{:>8}",
        "attack", "ratio", "turns", "p99 peace", "p99 attack", "server", "attacker", "failed"
    );
    let failed = rows.iter_mut().filter_map(Row::show).count();
    assert!(failed == 0, "{failed} attacks reach the honest sender");
}

/// What an attack has shown.
struct Row {
    name: &'static str,
    /// Of each turn, for the spread.
    ratios: Vec<f64>,
    /// Of all turns together.
    peace: Stretch,
    beside: Stretch,
    /// Processors, as parts of one, of the server and of the attacker.
    server: Vec<f64>,
    attacker: Vec<f64>,
}

impl Row {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            ratios: Vec::new(),
            peace: Stretch::default(),
            beside: Stretch::default(),
            server: Vec::new(),
            attacker: Vec::new(),
        }
    }

    fn turn(&mut self, honest: &mut Honest, to: SocketAddr, forebay: &Forebay) {
        let mut peace = honest.send_for(STRETCH);
        let attack = Attacker::begin(self.name, to);
        let server = forebay.pid().unwrap();
        let attacker = i32::try_from(attack.0.id()).unwrap();
        let before = [used(server), used(attacker)];
        let begun = Instant::now();
        let mut beside = honest.send_for(STRETCH);
        let wall = begun.elapsed().as_secs_f64();
        self.server.push((used(server) - before[0]) / wall);
        self.attacker.push((used(attacker) - before[1]) / wall);
        drop(attack);
        std::thread::sleep(REST);
        let both = [peace.p99(), beside.p99()];
        self.ratios
            .push(both[1].as_secs_f64() / both[0].as_secs_f64());
        self.peace.and(peace);
        self.beside.and(beside);
    }

    /// Prints it; `Some` if it is more than may be.
    fn show(&mut self) -> Option<()> {
        self.ratios.sort_unstable_by(f64::total_cmp);
        let [peace, beside] = [self.peace.p99(), self.beside.p99()];
        let ratio = beside.as_secs_f64() / peace.as_secs_f64();
        let failed = self.peace.failed + self.beside.failed;
        let spread = format!(
            "{:.2} to {:.2}",
            self.ratios.first().unwrap(),
            self.ratios.last().unwrap()
        );
        let milliseconds = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
        let percent = |shares: &mut Vec<f64>| {
            shares.sort_unstable_by(f64::total_cmp);
            format!("{:.0} %", median(shares) * 100.0)
        };
        println!(
            "{:<32}{ratio:>8.2}{spread:>16}{:>12}{:>12}{:>9}{:>9}{:>8}",
            self.name,
            milliseconds(peace),
            milliseconds(beside),
            percent(&mut self.server),
            percent(&mut self.attacker),
            failed
        );
        (ratio >= MOST || failed > 0).then_some(())
    }
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

/// An attack under way. It ends with this.
struct Attacker(Child);

impl Attacker {
    fn begin(name: &str, to: SocketAddr) -> Self {
        let own = std::env::current_exe().unwrap();
        // By `nice` alone it would keep a processor until the next tick, which is 4 ms.
        let mut idle = Command::new("chrt");
        idle.args(["--idle", "0"]).arg(own);
        idle.args(["attack", name, &to.to_string()]);
        idle.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = idle.spawn().unwrap();
        let mut said = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut said).unwrap();
        assert_eq!(said, "under way\n", "{name} did not begin");
        Self(child)
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Seconds of a processor that a process has had.
fn used(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in ticks of 10 ms.
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}
