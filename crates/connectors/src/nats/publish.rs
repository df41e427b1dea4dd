//! A batch: published, and its acknowledgements awaited.
//!
//! The client library takes a connection that ended up again by itself and keeps who waits over it waiting. Here the end
//! of a connection is the end of what was under way on it: it goes again, and the stream knows repeats by their ids.

use std::time::Duration;

use async_nats::jetstream::context::PublishError;
use domain::ports::Delivery;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use super::client::{Notice, Session};
use super::error::{Fault, Where};
use super::message;

/// Messages published and not acknowledged, a batch.
pub(super) const WINDOW: usize = 256;

/// After a failure, how long acknowledgements that are on their way are waited for.
const GRACE: Duration = Duration::from_millis(250);

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// The places of those that are safe.
    pub(super) delivered: Vec<usize>,
    /// The places of those that are larger than the server takes.
    pub(super) over_payload: Vec<usize>,
    /// The places of those that are larger than the stream takes.
    pub(super) over_stream: Vec<usize>,
    /// Why the others are not.
    pub(super) fault: Option<Fault>,
}

impl Published {
    /// Notes what became of one event. A fault is every other's as well.
    fn note(
        &mut self,
        here: &Where,
        limit: Duration,
        place: usize,
        acknowledged: Result<(), PublishError>,
    ) -> Option<Fault> {
        let error = match acknowledged {
            Ok(()) => {
                self.delivered.push(place);
                return None;
            }
            Err(error) => error,
        };
        match here.publishing(&error, limit) {
            Fault::OverPayload => self.over_payload.push(place),
            Fault::OverStream => self.over_stream.push(place),
            fault => return Some(fault),
        }
        None
    }
}

/// Publishes the batch in order, until `until` at most. Each acknowledgement may take `limit`.
pub(super) async fn publish(
    session: &Session,
    batch: &[Delivery],
    limit: Duration,
    until: Instant,
) -> Published {
    let here = &session.here;
    let mut notices = session.notices();
    let mut waiting = batch.iter().enumerate();
    let mut under_way = FuturesUnordered::new();
    let mut published = Published::default();
    let mut deadline = until;
    loop {
        let mut fault = None;
        while published.fault.is_none() && fault.is_none() && under_way.len() < WINDOW {
            let Some((place, delivery)) = waiting.next() else {
                break;
            };
            // One after another: side by side they would leave in another order.
            let subject = here.to.subject.clone();
            let message = message::message(delivery, &here.to);
            let sent = tokio::select! {
                biased;
                sent = session.context.send_publish(subject, message) => sent,
                notice = ended(&mut notices) => {
                    fault = Some(over(here, notice));
                    break;
                }
            };
            match sent {
                // That the stream had it already is an acknowledgement as well.
                Ok(told) => under_way.push(async move { (place, told.await.map(drop)) }),
                Err(error) => fault = published.note(here, limit, place, Err(error)),
            }
        }
        if fault.is_none() {
            let answer = tokio::select! {
                biased;
                answer = timeout_at(deadline, under_way.next()) => answer,
                notice = ended(&mut notices), if published.fault.is_none() => {
                    fault = Some(over(here, notice));
                    Ok(None)
                }
            };
            match answer {
                Ok(Some((place, acknowledged))) => {
                    fault = published.note(here, limit, place, acknowledged);
                }
                Ok(None) if fault.is_none() => break,
                Ok(None) => {}
                Err(_) if published.fault.is_none() => fault = Some(Fault::Gone(here.late(limit))),
                Err(_) => break,
            }
        }
        if fault.is_some() && published.fault.is_none() {
            published.fault = fault;
            deadline = Instant::now() + GRACE;
        }
    }
    published
}

/// Why nothing more comes over the connection.
fn over(here: &Where, notice: Notice) -> Fault {
    Fault::Gone(if notice.denied {
        here.denied()
    } else {
        here.lost()
    })
}

/// Comes back when the connection has ended, or the user was told that it may not publish.
async fn ended(notices: &mut tokio::sync::watch::Receiver<Notice>) -> Notice {
    match notices
        .wait_for(|notice| notice.lost || notice.denied)
        .await
    {
        Ok(notice) => *notice,
        // Whoever would tell is gone with the connection.
        Err(_) => Notice {
            lost: true,
            ..Notice::default()
        },
    }
}
