//! The task that keeps one channel: makes it, listens, hands over to a new one before it goes, makes it anew when it is
//! lost.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::policy::ProbePolicy;
use domain::ports::Gap;
use domain::{Clock, SourceName, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::api::{self, Rejected};
use super::frame::Frame;
use super::link::{self, Link, NoLink};
use super::socket::Heard;
use super::topics::Entry;
use crate::attendance::Attendance;
use crate::buffer::{self, Buffer, What};
use crate::client::Client;
use crate::error::Problem;
use crate::repeats::Repeats;
use crate::troubles::{About, Troubles};

/// "≤ 1 minute to connect a new socket": the old one is listened to so long, besides.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// A socket that another one drove out is not fought for: each wait is at least this.
const DRIVEN_OUT: Duration = Duration::from_secs(30);

/// What the keepers of a source share.
pub(crate) struct Shared {
    pub(crate) source: SourceName,
    pub(crate) client: Arc<Client>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) buffer: Buffer,
    pub(crate) attendance: Attendance,
    pub(crate) troubles: Troubles,
    pub(crate) repeats: Mutex<Repeats>,
    /// The largest event that is taken, in bytes.
    pub(crate) max_body: u64,
    /// Turns true once all is to end.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Shared {
    /// The time over there, as far as that is known: gaps are filled by it.
    pub(crate) fn now(&self) -> Timestamp {
        self.client.their_time(self.clock.now())
    }

    /// Puts gaps that are over where the reader finds them.
    pub(crate) async fn tell(&self, gaps: Vec<Gap>) {
        for gap in gaps {
            tracing::warn!(source = %self.source, gap = gap.id, from = %gap.from, to = gap.to.map(tracing::field::display),
                topics = gap.topics.len(), why = gap.why, "events may have been missed");
            self.buffer.push(What::Gap(gap)).await;
        }
    }

    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.clone();
        // Whoever would say so is gone.
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

/// The keeper of one channel.
pub(crate) struct Keeper {
    pub(crate) shared: Arc<Shared>,
    /// Which of the source's channels.
    pub(crate) number: usize,
    pub(crate) entries: Vec<Entry>,
}

/// Why a channel is not listened to any more.
enum Lost {
    /// All is to end.
    Stopped,
    /// It is gone; the next may be made after this wait.
    Gone { why: String, wait: Duration },
}

/// A link that another has taken over from.
struct Old {
    link: Link,
    /// From then on the new one hears everything.
    taken_over_at: Timestamp,
    /// So long it is listened to.
    until: Instant,
}

/// What a frame asks for.
enum Asked {
    Nothing,
    /// A new channel is to take over.
    TakeOver,
    Lost(Lost),
}

type Making<'k> = Pin<Box<dyn Future<Output = Result<(Link, Vec<Rejected>), NoLink>> + Send + 'k>>;

impl Keeper {
    /// Runs until it is told to stop.
    pub(crate) async fn run(self) {
        let mut failures = 0;
        loop {
            let made = tokio::select! {
                biased;
                () = self.shared.stopped() => return,
                made = self.make() => made,
            };
            let mut link = match made {
                Ok(made) => {
                    let link = self.is_there(made);
                    let over = self.shared.attendance.up(self.number, link.sure_at).await;
                    self.shared.tell(over).await;
                    link
                }
                Err(error) => {
                    failures += 1;
                    let about = About::Channel(self.number);
                    self.shared.troubles.show(about, &error.to_string());
                    let wait = ProbePolicy::default().wait(failures, rand::random());
                    if self.rests(wait.max(least_wait(&error))).await {
                        continue;
                    }
                    return;
                }
            };
            failures = 0;
            let (lost, sure_at) = self.attend(&mut link).await;
            match lost {
                Lost::Stopped => {
                    link.close().await;
                    return;
                }
                Lost::Gone { why, wait } => {
                    self.shared.troubles.show(About::Channel(self.number), &why);
                    let topics = self.topics();
                    let attendance = &self.shared.attendance;
                    attendance.down(self.number, sure_at, &topics, &why).await;
                    if !self.rests(wait).await {
                        return;
                    }
                }
            }
        }
    }

    fn topics(&self) -> Vec<String> {
        let topics = self.entries.iter().flat_map(|entry| &entry.topics);
        topics.cloned().collect()
    }

    /// `false`: it is to stop.
    async fn rests(&self, wait: Duration) -> bool {
        tokio::select! {
            () = self.shared.stopped() => false,
            () = tokio::time::sleep(wait) => true,
        }
    }

    fn make(&self) -> Making<'_> {
        let now = || self.shared.now();
        Box::pin(Link::establish(&self.shared.client, &self.entries, now))
    }

    /// The same after a wait.
    fn make_after(&self, wait: Duration) -> Making<'_> {
        Box::pin(async move {
            tokio::time::sleep(wait).await;
            self.make().await
        })
    }

    /// Says that a channel is there.
    fn is_there(&self, (link, rejected): (Link, Vec<Rejected>)) -> Link {
        let shared = &self.shared;
        let about = About::Rejected(self.number);
        if rejected.is_empty() {
            shared.troubles.over(about);
        } else {
            let words = link::in_words(&rejected);
            let what = format!("topics are rejected, and the others are heard: {words}");
            shared.troubles.show(about, &what);
        }
        shared.troubles.over(About::Channel(self.number));
        self.look_at_clock();
        tracing::info!(source = %shared.source, channel = link.channel, entries = self.entries.len(), "listening");
        link
    }

    fn look_at_clock(&self) {
        let troubles = &self.shared.troubles;
        match self.shared.client.clock_is_off() {
            Some(seconds) => troubles.show(
                About::Clock,
                &format!(
                    "this machine's clock is {} s {} that of Genesys Cloud: set it (chrony, systemd-timesyncd); the times of gaps are corrected",
                    seconds.unsigned_abs(),
                    if seconds > 0 { "behind" } else { "ahead of" },
                ),
            ),
            None => troubles.over(About::Clock),
        }
    }

    /// Listens, until the channel is lost. `link` is the last one that was listened to then; everything that was sent
    /// before the time that is given has been heard.
    async fn attend(&self, link: &mut Link) -> (Lost, Timestamp) {
        let now = || self.shared.now();
        let (mut next, mut failures): (Option<Making<'_>>, u32) = (None, 0);
        let mut old: Option<Old> = None;
        loop {
            // What was heard is in the buffer by now; else nothing would seem to wait.
            let sure_at = sure_of_all(link, old.as_ref());
            self.shared.attendance.heard(self.number, sure_at);
            let renew_at = link.renew_at;
            // In no order: a busy socket must not starve the others.
            tokio::select! {
                () = self.shared.stopped() => {
                    if let Some(old) = old {
                        old.link.close().await;
                    }
                    return (Lost::Stopped, sure_at);
                }
                made = maybe(&mut next) => match made {
                    Ok(made) => {
                        (next, failures) = (None, 0);
                        let before = std::mem::replace(link, self.is_there(made));
                        let next = Old {
                            link: before,
                            taken_over_at: link.sure_at,
                            until: Instant::now() + LAST_WORDS,
                        };
                        if let Some(older) = old.replace(next) {
                            let sure_at = older.link.sure_at;
                            self.is_over(older, sure_at).await;
                        }
                    }
                    Err(error) => {
                        failures += 1;
                        let what = format!("a new socket cannot take over yet: {error}");
                        self.shared.troubles.show(About::Channel(self.number), &what);
                        let wait = ProbePolicy::default().wait(failures, rand::random());
                        next = Some(self.make_after(wait.max(least_wait(&error))));
                    }
                },
                heard = link.next(now) => match heard {
                    Ok(heard) => match self.take(heard, link).await {
                        Asked::Nothing => {}
                        Asked::TakeOver if next.is_some() => {}
                        Asked::TakeOver => next = Some(self.make()),
                        // It had nothing to say any more since before this.
                        Asked::Lost(lost) => return (lost, sure_at.min(link.sure_before)),
                    },
                    Err(why) => return (gone(why), sure_of_all(link, old.as_ref())),
                },
                heard = words_of(&mut old, now) => {
                    let ended = match (heard, old.as_mut()) {
                        (Some(heard), Some(old)) => match self.take(heard, &mut old.link).await {
                            Asked::Nothing | Asked::TakeOver => None,
                            // As above.
                            Asked::Lost(_) => Some(old.link.sure_before),
                        },
                        (_, old) => old.map(|old| old.link.sure_at),
                    };
                    if let Some(sure_at) = ended && let Some(old) = old.take() {
                        self.is_over(old, sure_at).await;
                    }
                }
                () = tokio::time::sleep_until(renew_at) => {
                    if let Err(error) = link.renew(&self.shared.client, &self.entries).await {
                        tracing::info!(source = %self.shared.source, %error, "a channel could not be renewed; a new one takes over");
                        // Not before the next is there, or has failed.
                        link.renew_at = Instant::now() + LAST_WORDS;
                        next.get_or_insert_with(|| self.make());
                    }
                }
            }
        }
    }

    /// A link that was taken over from has ended. If it was not heard up to then, there is a gap between the two.
    async fn is_over(&self, old: Old, sure_at: Timestamp) {
        let shared = &self.shared;
        if sure_at < old.taken_over_at {
            let why = "the socket ended before the new one was there";
            let (topics, to) = (self.topics(), old.taken_over_at);
            let gap = shared.attendance.between(sure_at, to, topics, why).await;
            shared.tell(gap.into_iter().collect()).await;
        }
        // On its own: nobody waits for it.
        tokio::spawn(retire(Arc::clone(shared), old.link));
    }

    /// Deals with one thing that was heard. An event is in the buffer when it returns.
    async fn take(&self, heard: Heard, link: &mut Link) -> Asked {
        let text = match heard {
            Heard::Alive => return Asked::Nothing,
            Heard::Binary(bytes) => {
                self.odd(link, bytes, "it is no text").await;
                return Asked::Nothing;
            }
            Heard::Text(text) => text,
        };
        match Frame::parse(&text) {
            Ok(Frame::Event(_)) => {
                self.event(text, link).await;
                Asked::Nothing
            }
            Ok(Frame::Alive | Frame::Answer) => Asked::Nothing,
            Ok(Frame::Pong) => {
                link.ponged();
                Asked::Nothing
            }
            Ok(Frame::Closing) => Asked::TakeOver,
            Ok(Frame::TokenRevoked) => {
                self.shared.client.forget_any_token().await;
                // Nobody says whether its subscriptions go on.
                Asked::Lost(gone("the token was revoked".into()))
            }
            Ok(Frame::NoLongerSubscribed(reason)) => {
                Asked::Lost(self.no_longer(reason.as_deref()).await)
            }
            Ok(Frame::Gone) => Asked::Lost(gone(
                "Genesys Cloud does not know the channel any more (404)".into(),
            )),
            Err(why) => {
                self.odd(link, text.len(), why).await;
                Asked::Nothing
            }
        }
    }

    async fn no_longer(&self, reason: Option<&str>) -> Lost {
        if reason == Some("user_tokens_revoked") {
            self.shared.client.forget_any_token().await;
            return gone("the token was revoked".into());
        }
        Lost::Gone {
            why: "another channel took these topics over: somebody else uses the same OAuth client; give Forebay one of its own".into(),
            wait: DRIVEN_OUT,
        }
    }

    /// Something that is no frame: said, and written down as missed, since it may have been an event.
    async fn odd(&self, link: &Link, bytes: usize, why: &str) {
        let why = format!("a frame of {bytes} bytes could not be read: {why}");
        let shared = &self.shared;
        let gap = shared
            .attendance
            .missed(link.sure_at, "unknown".into(), &why)
            .await;
        shared.tell(vec![gap]).await;
    }

    async fn event(&self, text: Utf8Bytes, link: &Link) {
        let shared = &self.shared;
        let (topic, id) = {
            let Ok(Frame::Event(event)) = Frame::parse(&text) else {
                return;
            };
            let mut repeats = shared
                .repeats
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let id = repeats.id(&event, link.sure_at);
            (event.topic.into_owned(), id)
        };
        if text.len() as u64 > shared.max_body {
            let why = format!(
                "an event of {} bytes is larger than max_body ({}), and is not taken",
                text.len(),
                shared.max_body
            );
            let gap = shared.attendance.missed(link.sure_at, topic, &why).await;
            shared.tell(vec![gap]).await;
            return;
        }
        let heard = buffer::Heard {
            frame: Bytes::from(text),
            topic,
            id,
            at: shared.clock.now(),
            sure_at: link.sure_at,
        };
        shared.buffer.push(What::Heard(heard)).await;
    }
}

/// Lets a channel go that another has taken over from.
async fn retire(shared: Arc<Shared>, old: Link) {
    let channel = old.channel.clone();
    old.close().await;
    if let Err(error) = api::clear(&shared.client, &channel).await {
        tracing::debug!(source = %shared.source, %error, "an old channel keeps its subscriptions until it expires");
    }
}

/// Everything that was sent before this has been heard: by the link, and before that by the one that it took over from.
fn sure_of_all(link: &Link, old: Option<&Old>) -> Timestamp {
    match old {
        Some(old) if old.link.sure_at < old.taken_over_at => link.sure_at.min(old.link.sure_at),
        _ => link.sure_at,
    }
}

fn gone(why: String) -> Lost {
    Lost::Gone {
        why,
        wait: Duration::ZERO,
    }
}

/// How long is waited at least before the next try.
fn least_wait(error: &NoLink) -> Duration {
    match error {
        NoLink::Api(error) => match error.problem {
            Problem::RateLimited { after } => after,
            _ if error.is_mistake() => DRIVEN_OUT,
            _ => Duration::ZERO,
        },
        NoLink::Rejected(_) => DRIVEN_OUT,
        NoLink::Socket(_) => Duration::ZERO,
    }
}

/// What comes of it if there is one; else nothing ever.
async fn maybe<'k>(making: &mut Option<Making<'k>>) -> Result<(Link, Vec<Rejected>), NoLink> {
    match making {
        Some(making) => making.await,
        None => std::future::pending().await,
    }
}

/// What an old link still says; `None` once it says nothing more, or its time is over.
async fn words_of(old: &mut Option<Old>, now: impl Fn() -> Timestamp) -> Option<Heard> {
    match old {
        Some(old) => match tokio::time::timeout_at(old.until, old.link.next(now)).await {
            Ok(heard) => heard.ok(),
            Err(_) => None,
        },
        None => std::future::pending().await,
    }
}
