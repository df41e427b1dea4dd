//! A stream, read as one of a consumer group: entries are ours from when they are given until they are acknowledged.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::ports::Message;
use redis::{Cmd, Value};
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::entries::{self, Entry};
use super::{ENOUGH_BYTES, HOLD, Reader, Stop};
use crate::redis::connect::Session;

/// What the user must be allowed.
pub(super) const COMMANDS: &str =
    "+type +xgroup +xreadgroup +xautoclaim +xclaim +xack +xdel +multi +exec";

/// Before every entry there can be.
pub(super) const FIRST: &str = "0-0";

/// How often it is looked for what other consumers took and did not deal with.
const LOOK_AT_OTHERS: Duration = Duration::from_secs(30);

/// Entries that are looked at in one go.
const PAGE: usize = 100;

impl Reader {
    pub(super) async fn receive_entries(
        &self,
        session: &Session,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<Message>, Stop> {
        if self.look_back.load(Ordering::Relaxed) {
            let left = self.left_entries(session, limit).await?;
            if !left.is_empty() {
                return Ok(self.entries(left));
            }
        }
        let of_others = self.of_others(session, limit).await?;
        if !of_others.is_empty() {
            return Ok(self.entries(of_others));
        }
        // Until the answer is here.
        self.look_back.store(true, Ordering::Relaxed);
        let count = self.sizes.count(ENOUGH_BYTES, limit);
        let fresh = self
            .read(session, ">", count, Some(self.block(wait)))
            .await?;
        self.look_back.store(false, Ordering::Relaxed);
        Ok(self.entries(fresh))
    }

    /// The next entries after `after`: `>` are those that nobody was given yet, others those that we were.
    async fn read(
        &self,
        session: &Session,
        after: &str,
        count: usize,
        block: Option<Duration>,
    ) -> Result<Vec<Entry>, Stop> {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(&self.reading.group);
        read.arg(&*self.reading.consumer.name())
            .arg("COUNT")
            .arg(count);
        if let Some(block) = block {
            read.arg("BLOCK").arg(block.as_millis().max(1).to_string());
        }
        read.arg("STREAMS").arg(self.config.target.key()).arg(after);
        let wait = block.unwrap_or_default();
        let answer = self.ask_the_group(session, &read, wait).await?;
        let entries = entries::of_read(answer);
        self.sizes.note(entries.iter().map(Entry::bytes));
        Ok(entries)
    }

    /// Asks something that needs the group, and makes that if it is not there: it is on the first time, and after
    /// somebody emptied the server.
    async fn ask_the_group(
        &self,
        session: &Session,
        command: &Cmd,
        wait: Duration,
    ) -> Result<Value, Stop> {
        let limit = self.config.timeout + wait;
        match session.ask(limit, command).await? {
            Ok(value) => return Ok(value),
            Err(refusal) if refusal.code() != "NOGROUP" => {
                return Err(self.refused(&refusal, session));
            }
            Err(_) => {}
        }
        let mut create = redis::cmd("XGROUP");
        create.arg("CREATE").arg(self.config.target.key());
        create.arg(&self.reading.group).arg("0").arg("MKSTREAM");
        match session.ask(self.config.timeout, &create).await? {
            Ok(_) => {}
            // Somebody was quicker.
            Err(refusal) if refusal.code() == "BUSYGROUP" => {}
            Err(refusal) => return Err(self.refused(&refusal, session)),
        }
        self.ask(session, command, wait).await
    }

    /// What we were given and is in nobody's hand, oldest first.
    async fn left_entries(&self, session: &Session, limit: usize) -> Result<Vec<Entry>, Stop> {
        let (mut left, mut after, mut bytes) = (Vec::new(), FIRST.to_owned(), 0);
        loop {
            let count = self.sizes.count(ENOUGH_BYTES, PAGE);
            let page = self.read(session, &after, count, None).await?;
            let Some(last) = page.last() else {
                return Ok(left);
            };
            after.clone_from(&last.id);
            let (there, gone): (Vec<_>, Vec<_>) =
                page.into_iter().partition(|entry| entry.fields.is_some());
            self.forget_lost(session, gone.into_iter().map(|entry| entry.id))
                .await?;
            for entry in there {
                if !self.hand().has(&entry.id) && left.len() < limit && bytes < ENOUGH_BYTES {
                    bytes += entry.bytes();
                    left.push(entry);
                }
            }
            if left.len() >= limit || bytes >= ENOUGH_BYTES {
                return Ok(left);
            }
        }
    }

    /// What other consumers were given and have not dealt with for long, now and then: they are taken for dead.
    async fn of_others(&self, session: &Session, limit: usize) -> Result<Vec<Entry>, Stop> {
        let now = Instant::now();
        let start = {
            let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
            if now < others.0 {
                return Ok(Vec::new());
            }
            others.1.clone()
        };
        let mut claim = redis::cmd("XAUTOCLAIM");
        claim.arg(self.config.target.key()).arg(&self.reading.group);
        claim
            .arg(&*self.reading.consumer.name())
            .arg(HOLD.as_millis().to_string());
        let count = self.sizes.count(ENOUGH_BYTES, limit.min(PAGE));
        claim.arg(&start).arg("COUNT").arg(count);
        self.look_back.store(true, Ordering::Relaxed);
        let answer = self.ask_the_group(session, &claim, Duration::ZERO).await?;
        self.look_back.store(false, Ordering::Relaxed);
        let claimed = entries::of_autoclaim(answer);
        self.sizes.note(claimed.entries.iter().map(Entry::bytes));
        self.forget_lost(session, claimed.lost.into_iter()).await?;
        {
            let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
            let wait = match claimed.next == FIRST {
                true => LOOK_AT_OTHERS,
                false => Duration::ZERO,
            };
            *others = (now + wait, claimed.next);
        }
        let hand = self.hand();
        let fresh = claimed.entries.into_iter();
        Ok(fresh.filter(|entry| !hand.has(&entry.id)).collect())
    }

    /// Entries that were deleted by somebody before they were dealt with: there is nothing left of them but their ids.
    async fn forget_lost(
        &self,
        session: &Session,
        ids: impl Iterator<Item = String>,
    ) -> Result<(), Stop> {
        let ids: Vec<String> = ids.collect();
        if ids.is_empty() {
            return Ok(());
        }
        tracing::error!(
            stream = self.config.target.key(),
            count = ids.len(),
            first = ids[0],
            "entries of a stream were deleted or trimmed by somebody before they were read: they are lost"
        );
        let mut ack = redis::cmd("XACK");
        ack.arg(self.config.target.key()).arg(&self.reading.group);
        ack.arg(&ids);
        self.ask(session, &ack, Duration::ZERO).await.map(drop)
    }

    fn entries(&self, entries: Vec<Entry>) -> Vec<Message> {
        let now = Instant::now();
        let mut hand = self.hand();
        let mut message = |entry: Entry| {
            hand.take(entry.id.clone(), now);
            entry.message()
        };
        entries.into_iter().filter_map(&mut message).collect()
    }

    pub(super) async fn keep_entries(
        &self,
        session: &Session,
        handles: &[String],
    ) -> Result<(), Stop> {
        let mut claim = redis::cmd("XCLAIM");
        claim.arg(self.config.target.key()).arg(&self.reading.group);
        claim
            .arg(&*self.reading.consumer.name())
            .arg(0)
            .arg(handles)
            .arg("JUSTID");
        self.ask(session, &claim, Duration::ZERO).await.map(drop)
    }

    /// Acknowledges and deletes in one step, so that a crash between the two leaves nothing behind.
    pub(super) async fn delete_entries(
        &self,
        session: &Session,
        handles: &[String],
    ) -> Result<(), Stop> {
        let key = self.config.target.key();
        let mut ack = redis::cmd("XACK");
        ack.arg(key).arg(&self.reading.group).arg(handles);
        if !self.reading.delete {
            return self.ask(session, &ack, Duration::ZERO).await.map(drop);
        }
        let mut delete = redis::cmd("XDEL");
        delete.arg(key).arg(handles);
        let (multi, exec) = (redis::cmd("MULTI"), redis::cmd("EXEC"));
        let ask = |command| self.ask(session, command, Duration::ZERO);
        let all = async { tokio::join!(ask(&multi), ask(&ack), ask(&delete), ask(&exec)) };
        let (begun, acked, deleted, done) = unconstrained(all).await;
        begun.and(acked).and(deleted).and(done).map(drop)
    }
}
