//! Dispatch and state against a simple reference, over generated lives: events come, the destination does
//! anything, the process dies at any step of a commit and starts again, operators pause, redrive, purge and rename, the
//! route goes and comes again while the process runs and wants only some events, others each time, and dead-letter
//! targets do anything as well.
//!
//! What must hold at every step: the ledger balances; no event is lost; none is both parked and dead; what is
//! dead or parked and was delivered was delivered in a process that died before it could say so; attempts of a
//! key never overlap, and first deliveries of a key are in order unless the key lost one to the dead letters. At the
//! end every target has every letter that is dead then, or said that it would not take it. What is delivered was wanted at
//! some time since it came; what was wanted all the time is delivered, and as many are discarded as were not wanted.
//! `FOREBAY_DEEP=1` runs a million seeds instead of five thousand; `FOREBAY_SEED=n` runs one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dispatch::{RoutePolicies, TargetSpec};
use domain::policy::{Backoff, BreakerPolicy, OnOutage, Order, RetryPolicy};
use domain::ports::{
    BatchLimit, DeadFilter, DeadLetters, Destination, DestinationLimits, Exports, Letter,
    Selection, State,
};
use domain::{Cause, DestinationName, HumanDuration, Outcome, Pointer};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::destination::{Act, Fake};
use crate::memory::Memory;
use crate::rig::{Rig, Wanted};
use crate::wishes::{self, Wishes};
use crate::world::{at, name};

pub(crate) const KEYS: u64 = 5;

/// What the route is called, in turns.
const NAMES: [&str; 2] = ["r", "s"];

/// What a seed decides once.
struct Setting {
    policies: RoutePolicies,
    limits: DestinationLimits,
    ordered: bool,
    targets: usize,
}

fn setting(dice: &mut StdRng) -> Setting {
    let order = match dice.random_range(0..4) {
        0 | 1 => Order::Key(Pointer::parse("/k").unwrap()),
        2 => Order::Strict,
        _ => Order::None,
    };
    let ordered = order != Order::None;
    let on_outage = match dice.random_range(0..3) {
        0 if !ordered => OnOutage::dead_letter_after(HumanDuration::from_secs(60)),
        1 => OnOutage::Retry,
        _ => OnOutage::Hold,
    };
    let policies = RoutePolicies {
        order,
        on_outage,
        retry: RetryPolicy {
            max_retries: dice.random_range(0..4),
            retry_interval: HumanDuration::from_secs(dice.random_range(1..20)),
            backoff: Backoff::Fixed,
            max_interval: HumanDuration::from_secs(60),
            jitter: 0.2,
        },
        breaker: BreakerPolicy {
            run: dice.random_range(0..8),
        },
        parked_max: dice.random_range(5..200),
        ..RoutePolicies::default()
    };
    let limits = DestinationLimits {
        batch_events: dice.random_range(1..8),
        batch_bytes: 1 << 20,
        concurrency: dice.random_range(1..4),
        timeout: Duration::from_secs(30),
    };
    Setting {
        policies,
        limits,
        ordered,
        targets: dice.random_range(0..4_usize).saturating_sub(1),
    }
}

/// A destination in one of its moods. The same event in the same attempt may fare differently each time.
fn mood(fake: &Fake, dice: &mut StdRng) {
    let cause = || Cause::new("http 500", "oops");
    let bad = dice.random_range(0..10_u32);
    let seed = dice.random();
    match bad {
        0 => fake.set_up(false),
        1 => {
            fake.set_up(true);
            fake.script(move |_, _| {
                Act::Say(Outcome::Reject {
                    cause: cause().blanket(),
                })
            });
        }
        2..5 => {
            fake.set_up(true);
            let odds = StdRng::seed_from_u64(seed);
            let odds = std::sync::Mutex::new(odds);
            fake.script(move |_, _| {
                let after = None;
                match odds.lock().unwrap().random_range(0..12_u32) {
                    0 => Act::Say(Outcome::Retry {
                        cause: cause(),
                        after,
                    }),
                    1 => Act::Say(Outcome::Retry {
                        cause: cause().blanket(),
                        after,
                    }),
                    2 => Act::Say(Outcome::Reject { cause: cause() }),
                    3 => Act::Say(Outcome::Throttled { after }),
                    4 => Act::Say(Outcome::NotDone),
                    5 => Act::GoAway,
                    6 => Act::Panic,
                    7 => Act::Hang,
                    _ => Act::Say(Outcome::Delivered),
                }
            });
        }
        _ => {
            fake.set_up(true);
            fake.script(|_, _| Act::Say(Outcome::Delivered));
        }
    }
}

fn target_name(number: usize) -> DestinationName {
    DestinationName::new(&format!("t{number}")).unwrap()
}

struct Life {
    dice: StdRng,
    memory: Memory,
    fake: Arc<Fake>,
    targets: Vec<Arc<Fake>>,
    setting: Setting,
    route: &'static str,
    rig: Option<Rig>,
    wishes: Wishes,
    purged: u64,
    /// Events that were delivered by a process that ended before it had said so.
    excused: BTreeSet<u64>,
    /// Somebody brought letters back: they come after what was held behind nothing.
    redriven: bool,
    trace: Vec<String>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let setting = setting(&mut dice);
        let wishes = Wishes::new(&mut dice);
        Self {
            wishes,
            memory: Memory::new(&[NAMES[0]]),
            fake: Fake::new(setting.limits),
            targets: (0..setting.targets)
                .map(|_| Fake::new(setting.limits))
                .collect(),
            setting,
            dice,
            route: NAMES[0],
            rig: None,
            purged: 0,
            excused: BTreeSet::new(),
            redriven: false,
            trace: Vec::new(),
        }
    }

    fn note(&mut self, what: impl Into<String>) {
        self.trace.push(what.into());
    }

    fn wanted(&self) -> Wanted<'_> {
        let targets = self.targets.iter().enumerate();
        let targets = targets.map(|(n, target)| TargetSpec {
            name: target_name(n),
            destination: Arc::clone(target) as Arc<dyn Destination>,
        });
        Wanted {
            policies: self.setting.policies.clone(),
            targets: targets.collect(),
            filter: self.wishes.now().text,
            ..Wanted::new(self.route, &["a"], &self.fake)
        }
    }

    async fn start(&mut self) {
        self.rig = Some(self.memory.start(&[self.wanted()]).await);
    }

    /// The next process, or the route when it comes again, wants what it did or something else.
    fn may_want_others(&mut self) {
        self.wishes.may_change(&mut self.dice);
        self.note(format!("wants {:?}", self.wishes.now().text));
    }

    /// The route goes while the process runs, as little or as much patience there is, and comes again.
    async fn go_and_come(&mut self) {
        let patience = Duration::from_millis(self.dice.random_range(0..40_000));
        self.note(format!("goes within {patience:?} and comes again"));
        let Some(rig) = &self.rig else { return };
        let control = rig.dispatch.control();
        control.remove(&name(self.route), patience).await.unwrap();
        let away = Duration::from_millis(self.dice.random_range(0..5_000));
        tokio::time::sleep(away).await;
        self.excuse();
        self.wishes.may_change(&mut self.dice);
        let records = self.memory.state.routes().await.unwrap();
        control.add(self.wanted().spec(&records)).await.unwrap();
    }

    async fn run(&mut self) -> Result<(), String> {
        self.start().await;
        for _ in 0..self.dice.random_range(5..40) {
            self.step().await;
            self.judge()?;
        }
        self.end_well().await
    }

    async fn step(&mut self) {
        match self.dice.random_range(0..22_u32) {
            0..5 => {
                let count = self.dice.random_range(1..30);
                let only = wishes::only(&mut self.dice);
                self.memory.journal.add_keyed_for("a", count, KEYS, only);
                self.wishes.come(count, only);
                self.note(format!("{count} events for {only:?}"));
            }
            5..8 => {
                let whose = self.dice.random_range(0..=2 * self.targets.len());
                self.note(format!("mood of {whose}"));
                let target = self.targets.get(whose);
                mood(target.unwrap_or(&self.fake), &mut self.dice);
            }
            8 => self.crash().await,
            9 => {
                self.note("stop and start");
                self.stop().await;
                self.may_want_others();
                self.start().await;
            }
            10 => {
                let paused = self.dice.random_bool(0.5);
                self.note(format!("paused: {paused}"));
                if let Some(rig) = &self.rig {
                    let routes = rig.dispatch.routes();
                    routes.set_paused(self.route, paused).await.unwrap();
                }
            }
            11 | 12 => self.redrive().await,
            13 => self.purge().await,
            14 => {
                let slow = self.dice.random_range(0..2000);
                self.fake.set_slow(Duration::from_millis(slow));
            }
            15 => self.rename().await,
            20 => self.go_and_come().await,
            16 => {
                let full = self.dice.random_bool(0.3);
                self.note(format!("full: {full}"));
                self.memory.state.set_full(full.then_some("full"));
            }
            _ => {
                let millis = self.dice.random_range(1..60_000);
                self.note(format!("{millis} ms"));
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
        }
    }

    async fn stop(&mut self) {
        if let Some(rig) = self.rig.take() {
            rig.stop().await;
        }
        self.excuse();
    }

    /// The route is called something else in the next process, as `routes rename` does it.
    async fn rename(&mut self) {
        self.stop().await;
        let [first, second] = NAMES;
        let to = if self.route == first { second } else { first };
        self.note(format!("renamed to {to}"));
        let (old, new) = (name(self.route), name(to));
        let renamed = self.memory.state.rename_route(&old, &new).await;
        renamed.unwrap();
        self.route = to;
        self.may_want_others();
        self.start().await;
    }

    /// Dies within the next commits: what state was told to do is done, and nobody hears of it.
    async fn crash(&mut self) {
        let after = self.dice.random_range(0..400);
        let slow = self.dice.random_range(0..400);
        self.note(format!("dies in {after} ms, commits slow by {slow} ms"));
        self.memory.state.set_slow(Duration::from_millis(slow));
        tokio::time::sleep(Duration::from_millis(after)).await;
        drop(self.rig.take());
        self.memory.state.set_slow(Duration::ZERO);
        // Its tasks are gone when the runtime has come to them; till then an attempt may end.
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.excuse();
        self.may_want_others();
        self.start().await;
    }

    /// Notes what was delivered and is not written down: it is delivered again, or given up on.
    fn excuse(&mut self) {
        let confirmed = self.fake.confirmed().into_iter();
        let open = confirmed.filter(|seq| self.memory.state.is_open(self.route, *seq));
        let open: Vec<_> = open.collect();
        self.excused.extend(open);
    }

    async fn redrive(&mut self) {
        self.redriven = true;
        let rate = self.dice.random_bool(0.5).then_some(5);
        let all = Selection::Filter(DeadFilter {
            route: self.dice.random_bool(0.5).then(|| name(self.route)),
            ..DeadFilter::default()
        });
        let job = self.memory.state.begin_redrive(&all, rate, at()).await;
        self.note(format!("redrives {}", job.unwrap().matched));
        self.memory.redrive_begun.notify_one();
    }

    async fn purge(&mut self) {
        let state = &self.memory.state;
        let all = Selection::Filter(DeadFilter::default());
        let through = state.last_letter().await.unwrap();
        let limit = self.dice.random_range(1..10);
        let purged = state.purge(&all, through, limit).await.unwrap();
        self.purged += purged;
        self.note(format!("purged {purged}"));
    }

    /// What must hold at any moment. That the ledger balances, and that nothing is parked and dead, the
    /// state in memory asserts at each commit.
    fn judge(&self) -> Result<(), String> {
        let confirmed = self.fake.confirmed();
        for seq in self.memory.state.everywhere(self.route) {
            // A row whose attempt succeeded is there until its commit.
            let settles = self.memory.state.is_parked(self.route, seq);
            if confirmed.contains(&seq) && !self.excused.contains(&seq) && !settles {
                return Err(format!("event {seq} was delivered, and is dead"));
            }
        }
        if self.setting.ordered && self.fake.most_of_a_key_at_once(self.keys()) > 1 {
            return Err("two events of a key were in attempts at once".into());
        }
        self.wishes.judge(&confirmed)?;
        self.in_order()
    }

    fn keys(&self) -> u64 {
        match self.setting.policies.order {
            Order::Strict => 1,
            Order::None | Order::Key(_) => KEYS,
        }
    }

    /// First deliveries of a key are in order, as far as nothing of it was ever dead.
    fn in_order(&self) -> Result<(), String> {
        if !self.setting.ordered || self.redriven {
            return Ok(());
        }
        let dead = self.memory.state.ever_dead(self.route);
        let keys = self.keys();
        let spoiled: BTreeSet<u64> = dead.iter().map(|seq| seq % keys).collect();
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for seq in self.fake.delivered_in_order() {
            let key = seq % keys;
            // What was not wanted at first may come after what was.
            let spoilt = spoiled.contains(&key) || !self.wishes.always_wanted(seq);
            if spoilt || !seen.insert(seq) {
                continue;
            }
            let before = last.insert(key, seq);
            if before.is_some_and(|before| before > seq) {
                return Err(format!("event {seq} of key {key} came after {before:?}"));
            }
        }
        Ok(())
    }

    /// With the destination well and room in state, everything is delivered that is not dead or purged, and
    /// then the dead are brought back.
    async fn end_well(&mut self) -> Result<(), String> {
        self.note("the end");
        self.fake.set_up(true);
        self.fake.set_slow(Duration::ZERO);
        self.fake.script(|_, _| Act::Say(Outcome::Delivered));
        self.memory.state.set_full(None);
        let rig = self.rig.take().ok_or("no process")?;
        rig.dispatch
            .routes()
            .set_paused(self.route, false)
            .await
            .unwrap();
        self.settled(&rig).await?;
        self.judge()?;
        self.exported().await?;
        let all = Selection::Filter(DeadFilter::default());
        self.memory
            .state
            .begin_redrive(&all, None, at())
            .await
            .unwrap();
        self.redriven = true;
        self.memory.redrive_begun.notify_one();
        self.settled(&rig).await?;
        let delivered = self.fake.delivered();
        let status = rig.status(self.route).await;
        rig.stop().await;
        let ledger = status.ledger;
        if ledger.dead + ledger.parked + ledger.pending != 0 {
            return Err(format!("not all came to an end: {ledger:?}"));
        }
        let events = self.wishes.events();
        if ledger.delivered + ledger.discarded != events || ledger.discarded < self.purged {
            return Err(format!(
                "{events} events, {} purged: {ledger:?}",
                self.purged
            ));
        }
        self.wishes.judge_skipped(ledger.discarded - self.purged)?;
        let wanted = (1..=events).filter(|seq| self.wishes.always_wanted(*seq));
        let missing = wanted.filter(|seq| !delivered.contains_key(seq));
        let missing = missing.count() as u64;
        if missing > self.purged {
            return Err(format!("{missing} never came, {} were purged", self.purged));
        }
        self.judge()
    }

    /// Waits until every target has come to the last letter, and looks whether it has them all.
    async fn exported(&mut self) -> Result<(), String> {
        let (state, route) = (&self.memory.state, name(self.route));
        for target in &self.targets {
            target.set_up(true);
            target.set_slow(Duration::ZERO);
            target.script(|_, _| Act::Say(Outcome::Delivered));
        }
        for (n, target) in self.targets.iter().enumerate() {
            let own = target_name(n);
            let mut pending = 0;
            for _ in 0..20_000 {
                pending = state.export_counts(&route, &own).await.unwrap().pending;
                if pending == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            if pending > 0 {
                return Err(format!("{pending} letters never come to target {n}"));
            }
            let all = BatchLimit {
                events: usize::MAX,
                bytes: usize::MAX,
            };
            let dead = state.letters_after(&route, Letter(0), all).await.unwrap();
            let there = target.letters();
            for letter in dead {
                let has = there
                    .iter()
                    .any(|one| (one.id, one.redrives) == (letter.stored.id, letter.redrives));
                if !(has || state.is_refused(&route, &own, letter.letter)) {
                    return Err(format!("target {n} lacks {letter:?}"));
                }
            }
        }
        Ok(())
    }

    /// Waits until nothing is pending or parked, and no redrive runs.
    async fn settled(&mut self, rig: &Rig) -> Result<(), String> {
        let mut last = None;
        for _ in 0..20_000 {
            let running = self.memory.state.running_redrives().await.unwrap();
            // What a redrive put back last is in the status then.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let status = rig.status(self.route).await;
            if status.ledger.pending + status.ledger.parked == 0 && running.is_empty() {
                return Ok(());
            }
            last = Some(status);
        }
        Err(format!("it does not come to an end: {last:?}"))
    }
}

fn run(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut life = Life::new(seed);
        if let Err(message) = life.run().await {
            panic!(
                "seed {seed}: {message}\n(FOREBAY_SEED={seed} runs it again)\n{:?}\n{}",
                life.setting.policies,
                life.trace.join("\n")
            );
        }
    });
}

#[test]
fn no_life_loses_doubles_or_miscounts_an_event() {
    let given = std::env::var("FOREBAY_SEED").ok();
    if let Some(seed) = given.and_then(|seed| seed.parse().ok()) {
        run(seed);
        return;
    }
    let seeds: u64 = match std::env::var_os("FOREBAY_DEEP") {
        Some(_) => 1_000_000,
        None => 5_000,
    };
    let started = std::time::Instant::now();
    std::panic::set_hook(Box::new(|panic| {
        // The destination panics on purpose, thousands of times.
        let text = panic.to_string();
        if !text.contains("as the test asked") {
            eprintln!("{text}");
        }
    }));
    std::thread::scope(|scope| {
        for thread in 0..2 {
            scope.spawn(move || {
                for seed in (thread..seeds).step_by(2) {
                    run(seed);
                    if seed % 20_000 == 0 {
                        eprintln!("{seed} seeds in {:.0?}", started.elapsed());
                    }
                }
            });
        }
    });
}
