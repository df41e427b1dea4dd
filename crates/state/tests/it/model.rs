//! Random settlements, purges and redrives against a plain model of each event: the ledger balances after
//! every step, and every event's fate is the model's, also over reopening.

use std::collections::BTreeMap;

use domain::ports::{
    Counters, DeadFilter, DeadLetters, DeliveredRange, Fate, RedriveId, RedriveStatus, Resolution,
    Selection, SettledRange, Settlement, State, TakeBack,
};
use domain::{RangeSet, RouteName, Seq, SeqRange};
use proptest::prelude::*;
use state::SqliteState;

use crate::contract::{Store, imbalance};
use crate::samples::{at, bury, park, route};
use crate::sqlite::SqliteFile;

/// Events in the model's journal.
const EVENTS: u64 = 60;

/// What became of an event, as the model has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Pending,
    Delivered {
        second: i64,
    },
    Parked {
        attempts: u32,
    },
    /// Under which of the model's own numbers.
    Dead {
        burial: u64,
    },
    Discarded,
    Damaged,
}

/// What one step does to one event, if it can be done.
#[derive(Debug, Clone, Copy)]
enum Act {
    Deliver,
    Park,
    Bury,
    Discard,
    Damage,
    TakeBack,
}

/// What is done with a route's dead letters after a step, if anything.
#[derive(Debug, Clone, Copy)]
enum Work {
    Nothing,
    Purge { limit: usize },
    Begin,
    Redrive { limit: usize },
    Cancel,
}

#[derive(Debug, Clone)]
struct Step {
    acts: Vec<(u64, Act)>,
    /// Time since the step before.
    seconds: i64,
    work: Work,
    reopen: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let act = prop_oneof![
        8 => Just(Act::Deliver),
        3 => Just(Act::Park),
        2 => Just(Act::Bury),
        1 => Just(Act::Discard),
        1 => Just(Act::Damage),
        2 => Just(Act::TakeBack),
    ];
    // Mostly stretches, as batches are.
    let stretch = (1..=EVENTS, 1_u64..8, act)
        .prop_map(|(first, count, act)| (first..first + count).map(move |seq| (seq, act)));
    let acts = prop::collection::vec(stretch, 1..4)
        .prop_map(|stretches| stretches.into_iter().flatten().collect());
    let work = prop_oneof![
        4 => Just(Work::Nothing),
        1 => (1_usize..6).prop_map(|limit| Work::Purge { limit }),
        3 => Just(Work::Begin),
        4 => (1_usize..6).prop_map(|limit| Work::Redrive { limit }),
        1 => Just(Work::Cancel),
    ];
    let step = (acts, 0_i64..6, work, prop::bool::weighted(0.1));
    let step = step.prop_map(|(acts, seconds, work, reopen)| Step {
        acts,
        seconds,
        work,
        reopen,
    });
    prop::collection::vec(step, 1..25)
}

/// One route of which every number not divisible by five is its own event.
struct Model {
    name: RouteName,
    events: BTreeMap<u64, Is>,
    cursor: u64,
    now: i64,
    /// Burials so far.
    burials: u64,
    /// The running redrive, and how many burials there were when it began.
    job: Option<(RedriveId, u64)>,
}

impl Model {
    fn new(name: &str) -> Self {
        let own = (1..=EVENTS).filter(|seq| !seq.is_multiple_of(5));
        Self {
            name: route(name),
            events: own.map(|seq| (seq, Is::Pending)).collect(),
            cursor: 0,
            now: 0,
            burials: 0,
            job: None,
        }
    }

    /// Plays the step on the model and gives the settlement that says the same.
    fn play(&mut self, step: &Step) -> Settlement {
        self.now += step.seconds;
        let mut settlement = Settlement::at(self.name.clone(), Seq(self.cursor));
        let (mut fresh, mut counters) = (RangeSet::new(), Counters::default());
        let mut touched = std::collections::BTreeSet::new();
        for (seq, act) in &step.acts {
            let Some(is) = self.events.get_mut(seq).filter(|_| touched.insert(*seq)) else {
                continue;
            };
            let attempts = match *is {
                Is::Pending => 0,
                Is::Parked { attempts } => attempts,
                Is::Dead { .. } if matches!(act, Act::TakeBack) => 3,
                _ => continue,
            };
            let waited = *is != Is::Pending;
            let resolve = |settlement: &mut Settlement, how| {
                if waited {
                    settlement.resolved.push((Seq(*seq), how));
                }
            };
            *is = match act {
                Act::Deliver => {
                    resolve(&mut settlement, Resolution::Delivered);
                    fresh.insert(SeqRange::single(Seq(*seq)));
                    counters.delivered += 1;
                    Is::Delivered { second: self.now }
                }
                Act::Park => {
                    settlement.parks.push(park(*seq, attempts + 1, self.now));
                    Is::Parked {
                        attempts: attempts + 1,
                    }
                }
                Act::Bury => {
                    settlement.buries.push(bury(*seq));
                    self.burials += 1;
                    Is::Dead {
                        burial: self.burials,
                    }
                }
                Act::Discard => {
                    resolve(&mut settlement, Resolution::Discarded);
                    counters.discarded += 1;
                    Is::Discarded
                }
                Act::TakeBack if waited => {
                    let attempts = attempts.saturating_sub(1);
                    settlement.taken_back.push(TakeBack {
                        seq: Seq(*seq),
                        attempts,
                        due_at: at(self.now),
                        key: None,
                    });
                    Is::Parked { attempts }
                }
                Act::TakeBack => continue,
                Act::Damage if waited => continue,
                Act::Damage => {
                    counters.damaged += 1;
                    Is::Damaged
                }
            };
        }
        settlement.delivered = fresh
            .iter()
            .map(|range| DeliveredRange {
                range,
                at: at(self.now),
            })
            .collect();
        settlement.counters = counters;
        self.advance(&mut settlement);
        settlement
    }

    /// The low watermark, and what is settled above it.
    fn advance(&mut self, settlement: &mut Settlement) {
        let settled = |seq: u64| self.events.get(&seq).is_none_or(|is| *is != Is::Pending);
        let old = self.cursor;
        let until = (old + 1..=EVENTS).take_while(|seq| settled(*seq)).last();
        self.cursor = until.unwrap_or(old);
        settlement.cursor = Seq(self.cursor);
        settlement.accepted = self.events.range(old + 1..self.cursor + 1).count() as u64;
        let above = (self.cursor + 1..=EVENTS).filter(|seq| settled(*seq));
        let above: RangeSet = above.map(|seq| SeqRange::single(Seq(seq))).collect();
        let ranges = above.iter().map(|range| SettledRange {
            range,
            events: self.events.range(range.first.0..=range.last.0).count() as u64,
        });
        settlement.ranges = ranges.collect();
    }

    /// The dead among the burials up to `through`, the oldest first, at most `limit`.
    fn dead(&self, through: u64, limit: usize) -> Vec<u64> {
        let dead = self.events.iter().filter_map(|(seq, is)| match is {
            Is::Dead { burial } if *burial <= through => Some((*burial, *seq)),
            _ => None,
        });
        let mut dead: Vec<_> = dead.collect();
        dead.sort_unstable();
        dead.into_iter().map(|(_, seq)| seq).take(limit).collect()
    }

    /// Does the work on the model and on state.
    async fn works(&mut self, state: &SqliteState, work: Work) {
        let own = Selection::Filter(DeadFilter {
            route: Some(self.name.clone()),
            ..DeadFilter::default()
        });
        match work {
            Work::Nothing => {}
            Work::Purge { limit } => {
                let through = state.last_letter().await.unwrap();
                let purged = state.purge(&own, through, limit).await.unwrap();
                let dead = self.dead(u64::MAX, limit);
                assert_eq!(purged, dead.len() as u64);
                self.events
                    .extend(dead.into_iter().map(|seq| (seq, Is::Discarded)));
            }
            Work::Begin if self.job.is_none() => {
                let begun = state.begin_redrive(&own, None, at(self.now)).await.unwrap();
                let there = self.dead(u64::MAX, usize::MAX).len();
                assert_eq!(begun.matched, there as u64);
                self.job = Some((begun.id, self.burials));
            }
            Work::Begin => {}
            Work::Redrive { limit } => self.redrives(state, limit).await,
            Work::Cancel => {
                if let Some((id, _)) = self.job.take() {
                    let ended = state.cancel_redrive(id, at(self.now)).await.unwrap();
                    assert_eq!(ended.unwrap().status, RedriveStatus::Cancelled);
                }
            }
        }
    }

    async fn redrives(&mut self, state: &SqliteState, limit: usize) {
        let Some((id, through)) = self.job else {
            return;
        };
        let step = state.step_redrive(id, limit, at(self.now)).await.unwrap();
        let step = step.unwrap();
        let moved = self.dead(through, limit);
        assert_eq!(step.moved, moved.len() as u64);
        let back = Is::Parked { attempts: 0 };
        self.events.extend(moved.into_iter().map(|seq| (seq, back)));
        let left = !self.dead(through, 1).is_empty();
        assert_eq!(step.redrive.status == RedriveStatus::Running, left);
        self.job = self.job.filter(|_| left);
    }

    fn count(&self, of: impl Fn(&Is) -> bool) -> u64 {
        self.events.values().filter(|is| of(is)).count() as u64
    }

    async fn agrees(&self, state: &SqliteState) {
        let routes = state.routes().await.unwrap();
        let record = routes
            .iter()
            .find(|record| record.name == self.name)
            .unwrap();
        assert_eq!(imbalance(state, &self.name).await, 0);
        assert_eq!(state.imbalance(&self.name).await.unwrap(), 0);
        let unsettled = record.unsettled(Seq(EVENTS)).into_iter();
        let there = unsettled.map(|stretch| self.events.range(stretch.first.0..=stretch.last.0));
        let ledger = record.ledger(there.map(|events| events.count() as u64).sum());
        assert_eq!(ledger.imbalance(), 0, "{ledger:?}");
        assert_eq!(ledger.accepted, self.events.len() as u64);
        assert_eq!(ledger.pending, self.count(|is| *is == Is::Pending));
        assert_eq!(
            ledger.delivered,
            self.count(|is| matches!(is, Is::Delivered { .. }))
        );
        assert_eq!(
            ledger.parked,
            self.count(|is| matches!(is, Is::Parked { .. }))
        );
        assert_eq!(ledger.dead, self.count(|is| matches!(is, Is::Dead { .. })));
        assert_eq!(ledger.discarded, self.count(|is| *is == Is::Discarded));
        assert_eq!(ledger.damaged, self.count(|is| *is == Is::Damaged));
        for (seq, is) in &self.events {
            let fate = state.fate(&self.name, Seq(*seq)).await.unwrap();
            assert!(
                self.fits(*is, &fate),
                "event {seq} is {is:?}, state says {fate:?}"
            );
        }
    }

    fn fits(&self, is: Is, fate: &Fate) -> bool {
        match (is, fate) {
            (Is::Pending, Fate::Pending) | (Is::Dead { .. }, Fate::Dead { .. }) => true,
            (Is::Parked { attempts }, Fate::Parked { attempts: said, .. }) => attempts == *said,
            (Is::Delivered { second }, Fate::Delivered { at: Some(said) }) => {
                (0..=10).contains(&(said.as_second() - at(second).as_second()))
            }
            (Is::Discarded, Fate::Discarded) => true,
            // Nobody can ask for a damaged event; it is only not pending any more.
            (Is::Damaged, fate) => *fate != Fate::Pending,
            _ => false,
        }
    }
}

async fn plays(one: &[Step], other: &[Step]) {
    let file = SqliteFile::fresh().await;
    let mut state = file.open().await;
    let mut models = [Model::new("a"), Model::new("b")];
    for model in &models {
        state
            .register_route(&model.name, Seq::ZERO, at(0))
            .await
            .unwrap();
    }
    for n in 0..one.len().max(other.len()) {
        let due: Vec<_> = [one.get(n), other.get(n)]
            .into_iter()
            .zip(&mut models)
            .filter_map(|(step, model)| Some((step?, model)))
            .collect();
        let work = due
            .iter()
            .map(|(step, model)| (model.name.clone(), step.work));
        let work: Vec<_> = work.collect();
        let reopen = due.iter().any(|(step, _)| step.reopen);
        let settlements = due.into_iter().map(|(step, model)| model.play(step));
        state.settle(settlements.collect()).await.unwrap();
        for (name, work) in work {
            let model = models.iter_mut().find(|model| model.name == name);
            model.unwrap().works(&state, work).await;
        }
        if reopen {
            drop(state);
            state = file.open().await;
        }
        for model in &models {
            model.agrees(&state).await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_balances_and_every_fate_is_right_after_any_work(
        one in steps(),
        other in steps(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(plays(&one, &other));
    }
}
