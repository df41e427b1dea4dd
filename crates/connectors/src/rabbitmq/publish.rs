//! A batch on a channel: published, and its confirms awaited.
//!
//! The broker confirms what it could not route as well; what it returned before is what tells. The client library
//! hands a returned message to whichever confirm it settles next, which need not be that message's own, so what was
//! returned is known by its id, and an event counts as delivered only when its own return can no longer be on the way.

use std::collections::HashSet;
use std::time::Duration;

use domain::ports::Delivery;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lapin::options::BasicPublishOptions;
use lapin::{Channel, Confirmation};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::client::Lease;
use super::error::{Fault, Where};
use super::message;
use crate::outbound;

/// Messages published and not confirmed, a channel.
const WINDOW: usize = 256;

/// After a failure, how long confirms that are on their way are waited for.
const GRACE: Duration = Duration::from_millis(250);

/// An alarm of the broker, with its reason.
pub(super) type Alarm = watch::Receiver<Option<String>>;

/// What became of a batch.
#[derive(Debug)]
pub(super) struct Published {
    /// The places of those that are safe.
    pub(super) delivered: Vec<usize>,
    /// Why the others are not.
    pub(super) fault: Option<Fault>,
    /// Every message has an answer: the channel owes none and can be used again.
    pub(super) settled: bool,
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For one more confirm.
    pub(super) quiet: Duration,
    /// For all of them.
    pub(super) until: Instant,
}

/// What is known of the confirms so far.
#[derive(Debug, Default)]
struct Tally {
    /// Places acknowledged, and whether a returned message came with the acknowledgement.
    acked: Vec<(usize, bool)>,
    /// Ids of the messages that came back.
    returned: HashSet<String>,
    nacked: bool,
}

impl Tally {
    fn note(&mut self, place: usize, confirmation: Confirmation) {
        let acked = confirmation.is_ack();
        self.nacked |= !acked;
        let returned = confirmation.take_message();
        if acked {
            self.acked.push((place, returned.is_some()));
        }
        if let Some(message) = returned {
            let id = message.delivery.properties.message_id();
            self.returned
                .insert(id.as_ref().map(ToString::to_string).unwrap_or_default());
        }
    }

    /// An acknowledgement that brought another's return may have left its own behind, unless everything has come.
    fn delivered(&self, batch: &[Delivery], settled: bool) -> Vec<usize> {
        let safe = |(place, brought): &&(usize, bool)| {
            let id = batch[*place].stored.id.to_string();
            (settled || !*brought) && !self.returned.contains(&id)
        };
        self.acked.iter().filter(safe).map(|one| one.0).collect()
    }
}

/// Publishes the events at `places`, in order. Dropping the call leaves whole messages behind and no half ones.
pub(super) async fn publish(
    lease: &Lease<'_>,
    batch: &[Delivery],
    places: &[usize],
    patience: Patience,
) -> Published {
    let (channel, here) = (&lease.channel, &lease.session.here);
    let mut alarm = lease.session.alarm();
    let mut waiting = places.iter().copied();
    let mut under_way = FuturesUnordered::new();
    let mut tally = Tally::default();
    let mut fault = None;
    let mut unanswered = false;
    let mut quiet = (Instant::now() + patience.quiet).min(patience.until);
    loop {
        while fault.is_none() && under_way.len() < WINDOW {
            let Some(place) = waiting.next() else { break };
            under_way.push(one(channel, here, place, &batch[place]));
        }
        let answer = tokio::select! {
            biased;
            answer = timeout_at(quiet, under_way.next()) => answer,
            reason = raised(&mut alarm), if fault.is_none() => {
                fault = Some(Fault::Refused(here.blocked(&reason)));
                quiet = Instant::now() + GRACE;
                continue;
            }
        };
        match answer {
            Ok(None) => break,
            Ok(Some((place, Ok(confirmation)))) => {
                tally.note(place, confirmation);
                if fault.is_none() {
                    quiet = (Instant::now() + patience.quiet).min(patience.until);
                    fault = told(&tally, here);
                }
            }
            Ok(Some((_, Err(error)))) => {
                unanswered = true;
                if fault.is_none() {
                    fault = Some(here.fault(&error));
                    quiet = Instant::now() + GRACE;
                }
            }
            Err(_) if fault.is_none() => {
                fault = Some(Fault::Gone(outbound::late(&here.place, patience.quiet)));
                quiet = Instant::now() + GRACE;
            }
            Err(_) => {
                unanswered = true;
                break;
            }
        }
    }
    let settled = !unanswered;
    Published {
        delivered: tally.delivered(batch, settled),
        fault,
        settled,
    }
}

/// One message, to its confirm.
async fn one(
    channel: &Channel,
    here: &Where,
    place: usize,
    delivery: &Delivery,
) -> (usize, lapin::Result<Confirmation>) {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let published = channel.basic_publish(
        here.to.exchange.clone(),
        here.to.routing_key.clone(),
        options,
        &delivery.stored.event.body,
        message::properties(delivery),
    );
    let confirmation = match published.await {
        Ok(confirm) => confirm.await,
        Err(error) => Err(error),
    };
    (place, confirmation)
}

/// What a confirm has told that stops the rest: those under way are waited for.
fn told(tally: &Tally, here: &Where) -> Option<Fault> {
    if !tally.returned.is_empty() {
        return Some(Fault::Refused(here.unroutable()));
    }
    tally.nacked.then(|| Fault::Refused(here.nack()))
}

/// Comes back when the broker has an alarm, with its reason.
async fn raised(alarm: &mut Alarm) -> String {
    if let Ok(state) = alarm.wait_for(Option::is_some).await {
        return state.clone().unwrap_or_default();
    }
    // Nobody watches the connection any more: it has ended, and its confirms say so.
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use domain::EventId;

    use super::*;
    use crate::samples::live;

    fn batch(count: u8) -> Vec<Delivery> {
        let delivery = |number| {
            let mut delivery = live(b"");
            delivery.stored.id = EventId::from_bytes([number; 16]);
            delivery
        };
        (0..count).map(delivery).collect()
    }

    /// Three were acknowledged, the second came back, and its return came with the first's acknowledgement.
    #[test]
    fn a_return_that_came_with_anothers_acknowledgement_is_known_by_its_id() {
        let batch = batch(3);
        let tally = Tally {
            acked: vec![(0, true), (1, false), (2, false)],
            returned: HashSet::from([batch[1].stored.id.to_string()]),
            nacked: false,
        };
        assert_eq!(tally.delivered(&batch, true), [0, 2]);
        // Cut off before all answers came: the first's own return may have been behind.
        assert_eq!(tally.delivered(&batch, false), [2]);
    }
}
