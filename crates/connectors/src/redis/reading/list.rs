//! A list, read the reliable way: each element is moved to a list of ours, in one step of the server's, and is removed
//! from there when it is let go.

use std::time::Duration;

use bytes::Bytes;
use domain::ports::Message;
use futures_util::future::join_all;
use redis::{Cmd, Value};
use std::sync::atomic::Ordering;
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::hand::Mark;
use super::{ENOUGH_BYTES, Reader, Stop};
use crate::carried;
use crate::redis::connect::Session;

/// What the user must be allowed.
pub(super) const COMMANDS: &str = "+type +lmove +blmove +lrange +lrem";

/// Elements moved at once, or looked at.
const AT_ONCE: usize = 16;

/// Elements of our own list that are looked at in one go.
const PAGE: usize = 100;

impl Reader {
    /// Where what was taken lies: on the same node of a cluster as the list.
    fn ours(&self) -> String {
        let (key, consumer) = (self.config.target.key(), self.reading.consumer.name());
        let tagged = key
            .split_once('{')
            .and_then(|(_, rest)| rest.split_once('}'))
            .is_some_and(|(tag, _)| !tag.is_empty());
        if tagged || key.contains(['{', '}']) {
            format!("{key}:forebay:{consumer}")
        } else {
            format!("{{{key}}}:forebay:{consumer}")
        }
    }

    pub(super) async fn receive_elements(
        &self,
        session: &Session,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<Message>, Stop> {
        self.hand().slim();
        if self.look_back.load(Ordering::Relaxed) {
            let left = self.left_elements(session, limit).await?;
            if !left.is_empty() {
                return Ok(self.elements(left));
            }
        }
        // Until the answers are here.
        self.look_back.store(true, Ordering::Relaxed);
        let block = self.block(wait);
        let mut first = self.moving("BLMOVE");
        first.arg(block.as_secs_f64());
        let mut values = Vec::new();
        let mut bytes = 0;
        if let Some(value) = element(self.ask(session, &first, block).await?) {
            bytes += value.len();
            self.sizes.note(std::iter::once(value.len()));
            values.push(value);
            while values.len() < limit && bytes < ENOUGH_BYTES {
                let room = ENOUGH_BYTES - bytes;
                let count = self.sizes.count(room, AT_ONCE.min(limit - values.len()));
                let more = self.more(session, count).await?;
                self.sizes.note(more.iter().map(Bytes::len));
                let is_all = more.is_empty();
                bytes += more.iter().map(Bytes::len).sum::<usize>();
                values.extend(more);
                if is_all {
                    break;
                }
            }
        }
        self.look_back.store(false, Ordering::Relaxed);
        Ok(self.elements(values))
    }

    fn moving(&self, command: &str) -> Cmd {
        let mut moving = redis::cmd(command);
        moving.arg(self.config.target.key()).arg(self.ours());
        moving.arg("LEFT").arg("RIGHT");
        moving
    }

    async fn more(&self, session: &Session, count: usize) -> Result<Vec<Bytes>, Stop> {
        let moving = self.moving("LMOVE");
        let asked = (0..count).map(|_| self.ask(session, &moving, Duration::ZERO));
        let mut values = Vec::with_capacity(count);
        for answer in unconstrained(join_all(asked)).await {
            values.extend(element(answer?));
        }
        Ok(values)
    }

    /// What lies in our list and is in nobody's hand, oldest first.
    async fn left_elements(&self, session: &Session, limit: usize) -> Result<Vec<Bytes>, Stop> {
        let mut held = self.hand().marks();
        let (mut left, mut at, mut bytes) = (Vec::new(), 0, 0);
        while left.len() < limit && bytes < ENOUGH_BYTES {
            let page = self.page(session, at).await?;
            if page.is_empty() {
                break;
            }
            at += page.len();
            for value in page {
                match held.get_mut(&Mark::of(&value)) {
                    Some(count) if *count > 0 => *count -= 1,
                    _ if left.len() < limit && bytes < ENOUGH_BYTES => {
                        bytes += value.len();
                        left.push(value);
                    }
                    _ => {}
                }
            }
        }
        Ok(left)
    }

    /// A few elements of our list from `at` on.
    async fn page(&self, session: &Session, at: usize) -> Result<Vec<Bytes>, Stop> {
        let count = self.sizes.count(ENOUGH_BYTES, PAGE);
        let mut range = redis::cmd("LRANGE");
        range.arg(self.ours()).arg(at).arg(at + count - 1);
        let Value::Array(there) = self.ask(session, &range, Duration::ZERO).await? else {
            return Ok(Vec::new());
        };
        let page: Vec<Bytes> = there.into_iter().filter_map(element).collect();
        self.sizes.note(page.iter().map(Bytes::len));
        Ok(page)
    }

    fn elements(&self, values: Vec<Bytes>) -> Vec<Message> {
        let now = Instant::now();
        let mut hand = self.hand();
        let mut message = |value: Bytes| {
            let handle = hand.take_value(value.clone(), now);
            let (body, attributes) = match carried::read(&value) {
                Some(ours) => ours,
                None => (value, Vec::new()),
            };
            Message {
                handle,
                id: None,
                body,
                attributes,
                exact: false,
                event_type: None,
            }
        };
        values.into_iter().map(&mut message).collect()
    }

    pub(super) async fn delete_elements(
        &self,
        session: &Session,
        marks: &[Mark],
    ) -> Result<(), Stop> {
        let ours = self.ours();
        let remove = |value: &Bytes| {
            let mut remove = redis::cmd("LREM");
            remove.arg(&ours).arg(1).arg(&value[..]);
            remove
        };
        let (mut commands, mut digests) = (Vec::new(), Vec::new());
        for mark in marks {
            match mark {
                Mark::Value(value) => commands.push(remove(value)),
                Mark::Digest(_) => digests.push(mark),
            }
        }
        // Of those that are large, and were given out a while ago, only that much is known.
        let mut at = 0;
        while !digests.is_empty() {
            let page = self.page(session, at).await?;
            if page.is_empty() {
                break;
            }
            at += page.len();
            for value in page {
                let mark = Mark::of(&value);
                if let Some(place) = digests.iter().position(|wanted| **wanted == mark) {
                    digests.swap_remove(place);
                    self.ask(session, &remove(&value), Duration::ZERO).await?;
                    at -= 1;
                }
            }
        }
        let asked = commands
            .iter()
            .map(|remove| self.ask(session, remove, Duration::ZERO));
        for answer in unconstrained(join_all(asked)).await {
            answer?;
        }
        Ok(())
    }
}

fn element(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        _ => None,
    }
}
