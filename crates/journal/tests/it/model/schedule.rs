//! A seeded schedule of what a process does with its journal and of what befalls it.
//!
//! Drives the shipped synchronous core over the simulated disk, with a model of state's commits: the
//! cursor of each route, committed at once and durable, and told to the journal only after that.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{InstallationId, RouteName, Seq, Timestamp};
use journal::format::frame::FrameBuilder;
use journal::log::{CommitError, Log};
use journal::options::Config;
use journal::recovery::{self, Known};
use journal::room::Room;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::truth::{Found, Truth};
use crate::sim::{Dice, DirectoryLoss, Disk, Failure, Lie, Make, PageLoss};

/// What a test varies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// What the disk lies about.
    pub lie: Lie,
    /// Steps of one schedule.
    pub steps: usize,
}

/// What a schedule came to.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Figures {
    pub promises: u64,
    pub openings: u64,
    pub power_cuts: u64,
    pub deaths_within: u64,
    pub failures: u64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.promises += other.promises;
        self.openings += other.openings;
        self.power_cuts += other.power_cuts;
        self.deaths_within += other.deaths_within;
        self.failures += other.failures;
    }
}

/// What the routes' database holds. Every change is durable at once.
#[derive(Debug, Default)]
struct State {
    installation: Option<InstallationId>,
    cursors: BTreeMap<RouteName, Seq>,
    highest: Seq,
}

impl State {
    fn low(&self) -> Seq {
        self.cursors.values().min().copied().unwrap_or_default()
    }
}

/// The running process.
#[derive(Debug)]
struct Process {
    log: Log,
    room: Room,
}

/// One schedule under way.
#[derive(Debug)]
pub(crate) struct Schedule {
    dice: Dice,
    disk: Disk,
    config: Config,
    state: State,
    truth: Truth,
    process: Option<Process>,
    millis: i64,
    /// Openings meet no further trouble.
    calm: bool,
    /// The disk may be full.
    squeezed: bool,
    figures: Figures,
    /// What happened, for whoever must understand a failure.
    pub trace: Vec<String>,
}

/// A step that the process does not survive.
struct Over;

/// What a rotation came to.
enum Rotation {
    Done,
    NoRoom,
    Over,
}

impl Schedule {
    pub(crate) fn new(seed: u64, setting: Setting) -> Self {
        let mut dice = Dice::new(seed);
        let page = *dice.pick(&[512, 4096]);
        let disk = Disk::new(
            dice.fork(),
            Make {
                page,
                lie: setting.lie,
            },
        );
        let segment_bytes = *dice.pick(&[8 << 10, 9 << 10, 12 << 10, 20 << 10]) + 1024;
        let config = Config {
            segment_bytes,
            max_bytes: segment_bytes * dice.between(3, 8),
            min_free: 0,
            retain: Duration::from_secs(dice.below(3) * 30),
            memory: 0,
        };
        let trace = vec![format!("page {page}, {config:?}")];
        Self {
            dice,
            disk,
            config,
            state: State::default(),
            truth: Truth::default(),
            process: None,
            millis: 1_790_000_000_000,
            calm: false,
            squeezed: false,
            figures: Figures::default(),
            trace,
        }
    }

    /// Runs a whole schedule.
    pub(crate) fn run(&mut self, steps: usize) -> Result<Figures, String> {
        self.open()?;
        for _ in 0..steps {
            self.step()?;
        }
        self.end_well()?;
        self.figures.promises = self.truth.promises() as u64;
        Ok(self.figures)
    }

    /// Opens a journal that was written to, runs every kind of step a few times, and ends the process
    /// within change `nth` of all that. `None`: another end came first, or there are not so many changes.
    pub(crate) fn run_until_change(&mut self, nth: u64) -> Result<Option<Figures>, String> {
        self.calm = true;
        self.open()?;
        self.write_round()?;
        self.process = None;
        self.crash();
        self.disk.die_at(nth);
        self.open()?;
        for _ in 0..2 {
            self.write_round()?;
            self.settle()?;
            self.millis += 100_000;
            self.reclaim()?;
        }
        self.close()?;
        let died = self.figures.deaths_within > 0;
        self.end_well()?;
        self.figures.promises = self.truth.promises() as u64;
        Ok(died.then_some(self.figures))
    }

    fn write_round(&mut self) -> Result<(), String> {
        for _ in 0..3 {
            self.commit()?;
        }
        self.rotate_now()?;
        self.commit()?;
        self.prepare_spare()?;
        self.write_indexes()
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        self.trace.push(what());
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.millis).unwrap()
    }

    fn step(&mut self) -> Result<(), String> {
        match self.dice.below(100) {
            0..40 => self.commit(),
            40..44 => self.rotate_now(),
            44..50 => self.prepare_spare(),
            50..62 => self.settle(),
            62..70 => self.reclaim(),
            70..75 => self.write_indexes(),
            75..78 => self.move_clock(),
            78..80 => self.squeeze(),
            80..83 => self.close(),
            83..88 => {
                let nth = self.dice.between(1, 12);
                self.note(|| format!("will die at change {nth} from here"));
                self.disk.die_at(nth);
                Ok(())
            }
            88..91 => {
                let nth = self.dice.between(1, 8);
                let failure = *self.dice.pick(&[Failure::Io, Failure::Full]);
                self.note(|| format!("change {nth} from here will fail: {failure:?}"));
                self.disk.fail_at(nth, failure);
                Ok(())
            }
            91..94 => self.read_back(),
            _ => self.restart(),
        }
    }

    /// Runs `act` in the process; if that dies of it, what follows is a crash and an opening.
    fn act(
        &mut self,
        act: impl FnOnce(&mut Self, &mut Process) -> Result<Result<(), Over>, String>,
    ) -> Result<(), String> {
        let Some(mut process) = self.process.take() else {
            return Err("no process".into());
        };
        let result = act(self, &mut process);
        if self.disk.is_dead() || matches!(result, Ok(Err(Over))) {
            result?.ok();
            drop(process);
            return self.restart();
        }
        self.process = Some(process);
        result?.ok();
        Ok(())
    }

    fn commit(&mut self) -> Result<(), String> {
        let most = usize::try_from(self.config.max_frame()).unwrap();
        let mut room = self.dice.index(most);
        let mut records = Vec::new();
        for _ in 0..self.dice.between(1, 6) {
            let largest = 1 << self.dice.between(2, 11);
            let size = self.dice.index(largest);
            let record = self.truth.submit(&mut self.dice, size);
            if record.len() + 64 > room && !records.is_empty() {
                break;
            }
            if record.len() + 64 > most {
                continue;
            }
            room = room.saturating_sub(record.len());
            records.push(record);
        }
        if records.is_empty() {
            // All were too large for the small segments. One that fits, or the schedule would seem to have
            // been refused what it never asked for.
            records.push(self.truth.submit(&mut self.dice, 16));
        }
        self.millis += i64::try_from(self.dice.below(3)).unwrap();
        self.act(|this, process| {
            let mut rotated = false;
            loop {
                let end = process.log.end();
                match process
                    .log
                    .commit(&mut FrameBuilder::of(&records), this.now())
                {
                    Ok(committed) => {
                        let first = committed.header.first;
                        this.note(|| format!("committed {} from {first:?}", records.len()));
                        if first != end.next() || process.log.end() != committed.header.last() {
                            return Err(format!("after {end:?} came {first:?}"));
                        }
                        if first <= this.state.highest {
                            return Err(format!("{first:?} was given though state has seen it"));
                        }
                        return this.truth.acknowledge(first, committed.payload).map(Ok);
                    }
                    Err(CommitError::SegmentFull) if rotated => {
                        return Err("a new segment is too small for a frame".into());
                    }
                    Err(CommitError::SegmentFull) => match this.rotate(process)? {
                        Rotation::Done => rotated = true,
                        Rotation::NoRoom => return Ok(Ok(())),
                        Rotation::Over => return Ok(Err(Over)),
                    },
                    Err(CommitError::Failed(reason)) => {
                        this.note(|| format!("commit failed: {reason}"));
                        this.poisoned(process)?;
                        return Ok(Err(Over));
                    }
                }
            }
        })
    }

    /// A log that failed must have had a reason, and accepts nothing more.
    fn poisoned(&mut self, process: &mut Process) -> Result<(), String> {
        self.excused("the log failed")?;
        if !self.disk.is_dead() {
            let operations = self.disk.operations();
            let record = self.truth.submit(&mut self.dice, 10);
            let again = process
                .log
                .commit(&mut FrameBuilder::of(&[record]), self.now());
            if !matches!(again, Err(CommitError::Failed(_))) {
                return Err("a failed log took a commit".into());
            }
            let _ = process.log.mark_end();
            if self.disk.operations() != operations {
                return Err("a failed log wrote".into());
            }
        }
        Ok(())
    }

    /// Errors are expected only from a process that is dying, or of a disk that fails.
    fn excused(&mut self, what: &str) -> Result<(), String> {
        if self.disk.has_failed() {
            self.figures.failures += 1;
        }
        if self.disk.is_dead() || self.disk.has_failed() {
            Ok(())
        } else {
            Err(format!("{what}, and the disk did nothing to deserve it"))
        }
    }

    fn rotate(&mut self, process: &mut Process) -> Result<Rotation, String> {
        let spare = match process.room.take_spare() {
            Some(spare) => spare,
            None => match process.room.prepare_spare() {
                Err(no_room) => {
                    self.note(|| format!("no spare: {no_room}"));
                    return Ok(Rotation::NoRoom);
                }
                Ok(()) => process
                    .room
                    .take_spare()
                    .ok_or("no spare though one was made")?,
            },
        };
        match process.log.rotate(spare, self.config.segment_bytes) {
            Ok(segment) => {
                self.note(|| format!("rotated to {:?}", segment.first()));
                process.room.add(segment);
                Ok(Rotation::Done)
            }
            Err(error) => {
                self.note(|| format!("rotation failed: {error}"));
                self.poisoned(process)?;
                Ok(Rotation::Over)
            }
        }
    }

    /// Rotates before the segment is full, unless nothing stands in it.
    fn rotate_now(&mut self) -> Result<(), String> {
        self.act(|this, process| {
            let segments = process.room.segments();
            let empty = segments
                .last()
                .is_some_and(|last| last.summary().is_none() && last.last() < last.first());
            match if empty {
                Rotation::NoRoom
            } else {
                this.rotate(process)?
            } {
                Rotation::Done | Rotation::NoRoom => Ok(Ok(())),
                Rotation::Over => Ok(Err(Over)),
            }
        })
    }

    fn prepare_spare(&mut self) -> Result<(), String> {
        self.act(|this, process| {
            let prepared = process.room.prepare_spare();
            this.note(|| format!("prepared a spare: {prepared:?}"));
            Ok(Ok(()))
        })
    }

    /// State commits that a route has settled further, sees a number, or learns of a route; then the
    /// journal hears of it.
    fn settle(&mut self) -> Result<(), String> {
        self.act(|this, process| {
            let end = process.log.end();
            let name = RouteName::new(["r", "s", "t"][this.dice.index(3)]).unwrap();
            let new = this.state.cursors.is_empty() || this.dice.chance(10);
            let Some(cursor) = this
                .state
                .cursors
                .get(&name)
                .copied()
                .or(new.then_some(end))
            else {
                return Ok(Ok(()));
            };
            let to = match this.dice.below(3) {
                0 => end,
                _ => Seq(this.dice.between(cursor.0, end.0)),
            };
            this.note(|| format!("{name} settled through {to:?}"));
            this.state.highest = this.state.highest.max(to);
            if this.dice.chance(30) {
                this.state.highest = end;
            }
            this.state.cursors.insert(name.clone(), to);
            process.room.hold(&name, to);
            Ok(Ok(()))
        })
    }

    fn reclaim(&mut self) -> Result<(), String> {
        self.act(|this, process| {
            let reclaimed = process.room.reclaim(this.now());
            this.note(|| format!("reclaimed: {reclaimed:?}"));
            if reclaimed.is_err() {
                this.excused("reclaim failed")?;
            }
            Ok(Ok(()))
        })
    }

    fn write_indexes(&mut self) -> Result<(), String> {
        self.act(|this, process| {
            this.note(|| "writes indexes".into());
            process.room.write_indexes();
            Ok(Ok(()))
        })
    }

    fn move_clock(&mut self) -> Result<(), String> {
        let by = i64::try_from(self.dice.below(200_000)).unwrap() - 100_000;
        self.note(|| format!("the clock jumps by {by} ms"));
        self.millis += by;
        Ok(())
    }

    fn squeeze(&mut self) -> Result<(), String> {
        let free = match self.dice.below(3) {
            0 => self.dice.below(3 * self.config.segment_bytes),
            _ => u64::MAX,
        };
        self.note(|| format!("{free} bytes are free now"));
        self.disk.limit_free(free);
        self.squeezed = free < u64::MAX;
        Ok(())
    }

    /// A clean end.
    fn close(&mut self) -> Result<(), String> {
        self.act(|this, process| {
            this.note(|| "closes".into());
            match process.log.mark_end() {
                Ok(()) => process.room.write_indexes(),
                Err(_) => this.excused("marking the end failed")?,
            }
            Ok(Err(Over))
        })
    }

    /// What is readable now, without reopening.
    fn read_back(&mut self) -> Result<(), String> {
        self.act(|this, process| {
            let low = this.state.low();
            let found = this.truth.read(&process.room, process.log.end(), low)?;
            this.truth.judge(&found, low).map(Ok)
        })
    }

    /// Ends the process, in one of the ways there are, and opens again.
    fn restart(&mut self) -> Result<(), String> {
        self.process = None;
        self.crash();
        self.open()
    }

    fn crash(&mut self) {
        if self.disk.is_dead() {
            self.figures.deaths_within += 1;
        }
        if self.dice.chance(45) {
            self.note(|| "killed".into());
            self.disk.kill();
            return;
        }
        let pages = *self.dice.pick(&[
            PageLoss::All,
            PageLoss::None,
            PageLoss::Pages,
            PageLoss::Sectors,
        ]);
        let directory = *self.dice.pick(&[
            DirectoryLoss::All,
            DirectoryLoss::None,
            DirectoryLoss::Prefix,
            DirectoryLoss::Subset,
        ]);
        self.note(|| format!("power cut: pages {pages:?}, directory {directory:?}"));
        self.figures.power_cuts += 1;
        self.disk.power_cut(pages, directory);
    }

    /// Opens, dying or failing on the way now and then, and judges what is there.
    fn open(&mut self) -> Result<(), String> {
        let mut before: Option<Vec<Found>> = None;
        for attempt in 0.. {
            self.arrange_trouble(attempt);
            let storage = self.disk.storage();
            let known = Known {
                installation: self.state.installation,
                holds: self.state.cursors.clone(),
                highest: self.state.highest,
                accept_loss: false,
            };
            let random = StdRng::seed_from_u64(self.dice.next());
            let opened = recovery::open(&storage, &self.config, &known, random);
            self.figures.openings += 1;
            let opened = match opened {
                Ok(_) if self.disk.is_dead() => {
                    self.crash();
                    continue;
                }
                Ok(opened) => opened,
                Err(error) => {
                    self.note(|| format!("opening failed: {error}"));
                    if !(self.squeezed && error.to_string().contains("no storage space")) {
                        self.excused(&format!("opening failed ({error})"))?;
                    }
                    self.squeezed = false;
                    self.disk.limit_free(u64::MAX);
                    self.crash();
                    continue;
                }
            };
            let process = Process {
                log: opened.log,
                room: opened.room,
            };
            let end = process.log.end();
            self.note(|| format!("opened: {:?}", opened.recovered));
            self.judge_opening(&opened.recovered)?;
            let low = self.state.low();
            let found = self.truth.read(&process.room, end, low)?;
            self.truth.judge(&found, low)?;
            let relevant = |found: &[Found]| -> Vec<Found> {
                found
                    .iter()
                    .filter(|found| found.seq > low)
                    .copied()
                    .collect()
            };
            if before.is_some_and(|before| relevant(&before) != relevant(&found)) {
                return Err("opening twice did not find the same".into());
            }
            if self.state.installation.is_none() && self.dice.chance(80) {
                self.state.installation = Some(opened.installation);
            }
            if attempt < 4 && self.dice.chance(25) {
                // Nothing more was synced since it opened.
                self.note(|| "once more, before anything is written".into());
                drop(process);
                self.crash();
                before = Some(found);
                continue;
            }
            self.process = Some(process);
            return Ok(());
        }
        unreachable!("attempts are not bounded")
    }

    fn arrange_trouble(&mut self, attempt: u32) {
        if attempt >= 4 || self.calm {
            return;
        }
        match self.dice.below(10) {
            0..3 => {
                let nth = self.dice.between(1, 20);
                self.note(|| format!("opening; will die at change {nth}"));
                self.disk.die_at(nth);
            }
            3 => {
                let nth = self.dice.between(1, 15);
                let failure = *self.dice.pick(&[Failure::Io, Failure::Full]);
                self.note(|| format!("opening; change {nth} will fail: {failure:?}"));
                self.disk.fail_at(nth, failure);
            }
            _ => {}
        }
    }

    /// After honest crashes nothing is damaged, and nothing lies about.
    fn judge_opening(&self, recovered: &recovery::Recovered) -> Result<(), String> {
        if !recovered.damaged.is_empty() || recovered.numbered_above.is_some() {
            return Err(format!(
                "an honest crash was taken for damage: {recovered:?}"
            ));
        }
        let names = self.disk.names();
        let odd = |name: &&String| name.ends_with(".damaged");
        if let Some(name) = names.iter().find(odd) {
            return Err(format!("{name} was left in the directory"));
        }
        Ok(())
    }

    /// With everything settled and the disk well, the journal takes events, however it got here, and
    /// what it took is there at the last.
    fn end_well(&mut self) -> Result<(), String> {
        self.disk.limit_free(u64::MAX);
        self.restart()?;
        self.note(|| "everything is settled".into());
        let process = self.process.as_mut().ok_or("no process")?;
        let end = process.log.end();
        self.state.highest = self.state.highest.max(end);
        for cursor in self.state.cursors.values_mut() {
            *cursor = end;
        }
        for (route, cursor) in &self.state.cursors {
            process.room.hold(route, *cursor);
        }
        if self.state.cursors.is_empty() {
            return Ok(());
        }
        self.calm = true;
        self.restart()?;
        let before = self.truth.promises();
        for _ in 0..3 {
            self.commit()?;
        }
        if self.truth.promises() == before {
            return Err("nothing is accepted though everything is settled".into());
        }
        self.restart()
    }
}
