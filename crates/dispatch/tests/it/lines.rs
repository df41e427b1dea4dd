//! The log's lines of a test, counted; and that a trouble that lasts does not fill it.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::ports::StateError;
use domain::{Cause, Outcome};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::destination::{Act, Fake, LIMITS};
use crate::memory::Memory;
use crate::rig::Wanted;

/// Keeps the messages at `WARN` and above.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// How many since the last call.
    fn count(&self) -> usize {
        std::mem::take(&mut *self.0.lock().unwrap()).len()
    }
}

impl Visit for Lines {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// An hour with events coming in.
async fn hour(memory: &Memory) {
    for _ in 0..1800 {
        memory.journal.add("a", 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_room_is_a_line_a_minute() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|seq, _| match seq {
        1 => Act::Say(Outcome::Reject {
            cause: Cause::new("http 422", "no"),
        }),
        _ => Act::Say(Outcome::Delivered),
    });
    let full = StateError::Full("state.max_bytes".into());
    memory.state.rows_meet(Some(full));
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    hour(&memory).await;
    let count = lines.count();
    assert!((50..=70).contains(&count), "{count}");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_unreadable_sectors_is_a_line_a_minute() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    memory.journal.fail_reads(true);
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    hour(&memory).await;
    let count = lines.count();
    assert!((50..=70).contains(&count), "{count}");
    memory.journal.fail_reads(false);
    rig.until("r", |status| status.ledger.delivered == 1800)
        .await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn statuses_that_cannot_be_refreshed_say_so_and_the_log_once_a_minute() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    memory.journal.add("a", 5);
    rig.until("r", |status| status.ledger.delivered == 5).await;
    memory
        .state
        .lists_meet(Some(StateError::Busy("database is locked".into())));
    hour(&memory).await;
    let status = rig.status("r").await;
    assert_eq!(status.ledger.delivered, 5, "what was last known");
    let said = status.last_error.unwrap();
    assert_eq!(said.cause.code, "status is old");
    assert!(said.cause.detail.contains("database is locked"));
    let count = lines.count();
    assert!((50..=70).contains(&count), "{count}");
    memory.state.lists_meet(None);
    let status = rig
        .until("r", |status| status.ledger.delivered == 1805)
        .await;
    assert_eq!(status.last_error, None);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_on_is_a_line_a_second_later_and_then_one_a_minute_with_the_rest() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let memory = Memory::new(&["r"]);
    let fake = Fake::new(LIMITS);
    fake.script(|_, _| {
        Act::Say(Outcome::Reject {
            cause: Cause::new("http 422", "no"),
        })
    });
    let rig = memory.start(&[Wanted::new("r", &["a"], &fake)]).await;
    memory.journal.add("a", 1);
    rig.until("r", |status| status.ledger.dead == 1).await;
    assert_eq!(lines.count(), 0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(lines.count(), 1);
    memory.journal.add("a", 500);
    rig.until("r", |status| status.ledger.dead == 501).await;
    assert_eq!(lines.count(), 0);
    // Those that came in between are told of without another.
    tokio::time::sleep(Duration::from_secs(62)).await;
    assert_eq!(lines.count(), 1);
    hour(&memory).await;
    let count = lines.count();
    assert!((50..=70).contains(&count), "{count}");
    rig.stop().await;
}
