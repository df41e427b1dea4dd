//! Seeded crash schedules through the journal's own code, judged by [`truth`].
//!
//! `FOREBAY_DEEP=1` runs a million seeds instead of ten thousand and prints how far it is;
//! `FOREBAY_SEED=n` runs one and prints its trace.

mod schedule;
mod truth;

use std::collections::BTreeMap;
use std::time::Instant;

use schedule::{Figures, Schedule, Setting};

use crate::sim::Lie;

const STEPS: usize = 30;

const HONEST: Setting = Setting {
    lie: Lie::None,
    steps: STEPS,
};

fn run(seed: u64, setting: Setting) -> Result<Figures, (String, Vec<String>)> {
    let mut schedule = Schedule::new(seed, setting);
    schedule
        .run(setting.steps)
        .map_err(|message| (message, std::mem::take(&mut schedule.trace)))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
}

/// Runs honest schedules and panics with the trace of the first that breaks a promise.
fn run_honest(seeds: std::ops::Range<u64>) -> Figures {
    let mut total = Figures::default();
    let started = Instant::now();
    for seed in seeds.clone() {
        match run(seed, HONEST) {
            Ok(figures) => total += figures,
            Err((message, trace)) => panic!(
                "seed {seed}: {message}\n(FOREBAY_SEED={seed} runs it again)\n{}",
                trace.join("\n")
            ),
        }
        let done = seed - seeds.start + 1;
        if done.is_multiple_of(10_000) {
            eprintln!("{done} seeds in {:.0?}: {total:?}", started.elapsed());
        }
    }
    total
}

#[test]
fn no_crash_loses_doubles_or_invents_an_event() {
    if let Some(seed) = number("FOREBAY_SEED") {
        let figures = run_honest(seed..seed + 1);
        println!("{figures:?}");
        return;
    }
    let seeds = if std::env::var_os("FOREBAY_DEEP").is_some() {
        1_000_000
    } else {
        10_000
    };
    let threads = if seeds > 10_000 { 2 } else { 1 };
    let each = seeds / threads;
    let mut total = Figures::default();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads)
            .map(|n| scope.spawn(move || run_honest(n * each..(n + 1) * each)))
            .collect();
        for run in runs {
            total += run
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    println!("{total:?}");
    // A schedule in which nothing happens would pass as well.
    assert!(
        total.promises > seeds * 20 && total.power_cuts > seeds,
        "{total:?}"
    );
    assert!(
        total.deaths_within > seeds / 2 && total.failures > seeds / 50,
        "{total:?}"
    );
}

/// Seeds of the schedule that is cut at each change it makes, and how many changes are tried.
const CUT_SEEDS: u64 = 40;
const CUT_CHANGES: u64 = 80;

#[test]
fn a_crash_at_any_change_of_opening_rotating_indexing_reclaiming_and_closing_is_survived() {
    let mut cut_at = BTreeMap::<u64, u64>::new();
    for seed in 0..CUT_SEEDS {
        for nth in 1..=CUT_CHANGES {
            let mut schedule = Schedule::new(seed, HONEST);
            match schedule.run_until_change(nth) {
                Ok(Some(_)) => *cut_at.entry(nth).or_default() += 1,
                Ok(None) => {}
                Err(message) => panic!(
                    "seed {seed}, change {nth}: {message}\n{}",
                    schedule.trace.join("\n")
                ),
            }
        }
    }
    println!("{cut_at:?}");
    assert!((1..50).all(|nth| cut_at.contains_key(&nth)), "{cut_at:?}");
}

/// How many seeds a lie may need before it is caught.
const LYING_SEEDS: u64 = 500;

/// Runs schedules on a lying disk until the judge sees an acknowledged event lost.
fn loss_seen(lie: Lie) -> Option<String> {
    let setting = Setting { lie, steps: STEPS };
    (0..LYING_SEEDS)
        .filter_map(|seed| run(seed, setting).err())
        .map(|(message, _)| message)
        .find(|message| message.contains("was promised and is lost"))
}

#[test]
fn a_disk_whose_syncs_lie_is_caught_losing_events() {
    for lie in [
        Lie::FileSync,
        Lie::SyncOf(".journal"),
        Lie::SyncOf(".tmp"),
        Lie::DirectorySync,
    ] {
        assert!(loss_seen(lie).is_some(), "no loss was seen with {lie:?}");
    }
}
