//! A cloud in memory, a source that listens to it, and a reader that stores what it is given.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{Inlet as _, Message};
use domain::{Clock, Secret, SourceName, Timestamp};
use genesys::{Account, AccountOptions, Client, Dial, Notifications, Place, SourceOptions, Stream};
use jiff::SignedDuration;
use serde_json::{Value, json};
use testbed::GenesysCloud;
use tokio::task::JoinHandle;

use crate::memory::MemoryGaps;

pub(crate) const SECRET: &str = "a-secret-of-the-oauth-client";

/// Users that the tests listen to.
pub(crate) fn user(number: usize) -> String {
    format!("{number:08x}-3c5d-4f67-8a9b-0123456789ab")
}

pub(crate) fn presence(number: usize) -> String {
    format!("v2.users.{}.presence", user(number))
}

/// Connects to the cloud, whatever place is named.
#[derive(Debug)]
pub(crate) struct InMemory(pub(crate) GenesysCloud);

#[async_trait]
impl Dial for InMemory {
    async fn dial(&self, _: &Place) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(self.0.connect()))
    }
}

/// The cloud's clock, or one that is off by so much.
#[derive(Debug)]
pub(crate) struct CloudClock(pub(crate) GenesysCloud, pub(crate) SignedDuration);

impl Clock for CloudClock {
    fn now(&self) -> Timestamp {
        self.0.now().saturating_add(self.1).unwrap()
    }
}

/// Keeps what it is given, each id once, as a journal does.
#[derive(Debug, Default)]
pub(crate) struct Store {
    ids: HashSet<String>,
    pub(crate) events: Vec<Message>,
    pub(crate) repeats: usize,
}

pub(crate) struct World {
    pub(crate) cloud: GenesysCloud,
    pub(crate) gaps: Arc<MemoryGaps>,
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) notifications: Arc<Notifications>,
    options: Value,
    off: SignedDuration,
    reader: JoinHandle<()>,
}

pub(crate) fn account(secret: &str) -> Account {
    let options = AccountOptions {
        endpoint: Some("http://localhost".into()),
        client_id: "id".into(),
        client_secret: Some(Secret::new(secret.into())),
        ..AccountOptions::default()
    };
    options.validate().unwrap()
}

pub(crate) fn client(cloud: &GenesysCloud) -> Client {
    client_off_by(cloud, SignedDuration::ZERO)
}

fn client_off_by(cloud: &GenesysCloud, off: SignedDuration) -> Client {
    let dial = Arc::new(InMemory(cloud.clone()));
    let clock = Arc::new(CloudClock(cloud.clone(), off));
    Client::new(&account(SECRET), dial, clock).unwrap()
}

/// The section of a source that listens to these topics.
pub(crate) fn section(topics: &[String]) -> Value {
    json!({
        "type": "genesys-notifications",
        "endpoint": "http://localhost",
        "client_id": "id",
        "client_secret": SECRET,
        "topics": topics,
    })
}

impl World {
    /// A cloud, and a source that listens to the presence of so many users.
    pub(crate) async fn of_users(users: usize) -> Self {
        let topics: Vec<String> = (0..users).map(presence).collect();
        Self::of(section(&topics)).await
    }

    pub(crate) async fn of(options: Value) -> Self {
        Self::off_by(options, SignedDuration::ZERO).await
    }

    /// The same with a clock that is off.
    pub(crate) async fn off_by(options: Value, off: SignedDuration) -> Self {
        let cloud = GenesysCloud::in_memory();
        let _client = cloud.client("id", SECRET);
        let world = Self::on(cloud, options, off);
        world.listens().await;
        world
    }

    /// The same on a cloud that is there.
    pub(crate) fn on(cloud: GenesysCloud, options: Value, off: SignedDuration) -> Self {
        let (gaps, store) = (Arc::default(), Arc::default());
        Self::again(cloud, options, off, gaps, store)
    }

    fn again(
        cloud: GenesysCloud,
        options: Value,
        off: SignedDuration,
        gaps: Arc<MemoryGaps>,
        store: Arc<Mutex<Store>>,
    ) -> Self {
        let parsed: SourceOptions = serde_json::from_value(options.clone()).unwrap();
        let client = Arc::new(client_off_by(&cloud, off));
        let clock = Arc::new(CloudClock(cloud.clone(), off));
        let notifications = Arc::new(Notifications::new(
            SourceName::new("gc").unwrap(),
            parsed.validate().unwrap(),
            client,
            gaps.clone(),
            clock,
        ));
        let reader = tokio::spawn(read(Arc::clone(&notifications), Arc::clone(&store)));
        Self {
            cloud,
            gaps,
            store,
            notifications,
            options,
            off,
            reader,
        }
    }

    /// Until some channel has a socket and subscriptions.
    pub(crate) async fn listens(&self) {
        self.until(|world| {
            let channels = world.cloud.channels();
            let mut channels = channels.iter();
            channels.any(|one| one.socket.is_some() && !one.topics.is_empty())
        })
        .await;
    }

    /// Until it is so; a day of the paused clock at most.
    pub(crate) async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..864_000 {
            if is_so(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let requests = self.cloud.requests();
        panic!(
            "it is not so after a day; trouble: {:?}, last requests: {:#?}, jobs: {:#?}, gaps: {:#?}",
            self.notifications.trouble(),
            &requests[requests.len().saturating_sub(12)..],
            self.cloud.jobs().last(),
            self.gaps.all()
        );
    }

    /// The process ends in order, or is killed, and there is another one `after` that.
    pub(crate) async fn restart(self, in_order: bool, after: Duration) -> Self {
        self.reader.abort();
        if in_order {
            self.notifications.close().await;
        }
        let Self {
            cloud,
            gaps,
            store,
            options,
            off,
            notifications,
            ..
        } = self;
        drop(notifications);
        tokio::time::sleep(after).await;
        let world = Self::again(cloud, options, off, gaps, store);
        world.listens().await;
        world
    }

    /// The frames' `eventBody`s that were stored of a topic, in order.
    pub(crate) fn bodies(&self, topic: &str) -> Vec<Value> {
        let store = self.store.lock().unwrap();
        let of_it = store
            .events
            .iter()
            .filter(|event| event.event_type.as_deref() == Some(topic));
        of_it
            .map(|event| {
                let frame: Value = serde_json::from_slice(&event.body).unwrap();
                frame["eventBody"].clone()
            })
            .collect()
    }

    /// The events that tell of gaps.
    pub(crate) fn told(&self) -> Vec<Value> {
        let store = self.store.lock().unwrap();
        let gaps = store
            .events
            .iter()
            .filter(|event| event.event_type.as_deref() == Some(genesys::GAP));
        gaps.map(|event| {
            let told: Value = serde_json::from_slice(&event.body).unwrap();
            told["gap"].clone()
        })
        .collect()
    }

    pub(crate) fn stored(&self) -> usize {
        self.store.lock().unwrap().events.len()
    }

    /// The one channel that has a socket.
    pub(crate) fn channel(&self) -> String {
        let channels = self.cloud.channels();
        let mut with_socket = channels.into_iter().filter(|one| one.socket.is_some());
        with_socket.next_back().unwrap().id
    }
}

async fn read(notifications: Arc<Notifications>, store: Arc<Mutex<Store>>) {
    loop {
        let messages = notifications
            .receive(100, Duration::from_secs(10))
            .await
            .unwrap();
        let handles = messages.iter().map(|one| one.handle.clone()).collect();
        for message in messages {
            let mut store = store.lock().unwrap();
            if store.ids.insert(message.id.clone().unwrap()) {
                store.events.push(message);
            } else {
                store.repeats += 1;
            }
        }
        notifications.let_go(handles).await.unwrap();
    }
}
