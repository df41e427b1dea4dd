//! The destination port on one URL.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{Delivery, Destination, DestinationLimits, Finding};
use domain::{BatchOutcome, Clock, Outcome, Unavailable};
use futures_util::{StreamExt as _, stream};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use tokio::net::TcpStream;

use super::answer::{self, Told};
use super::options::{Config, KIND};
use super::pace::Pace;
use super::request::{self, SigningKey};

/// What is read of an answer's body, so that its connection can be used again.
const DRAINED: usize = 64 << 10;

/// What an attempt may take beside the request itself.
const MARGIN: Duration = Duration::from_secs(5);

/// An endpoint. Keeps connections open between requests.
pub(super) struct Http {
    config: Config,
    client: Client,
    url: Mutex<Url>,
    sign: Option<SigningKey>,
    pace: Option<Pace>,
    clock: Arc<dyn Clock>,
}

impl Http {
    pub(super) fn new(
        config: Config,
        url: Url,
        sign: Option<SigningKey>,
        clock: Arc<dyn Clock>,
    ) -> reqwest::Result<Self> {
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(config.connect_timeout)
            .timeout(config.timeout)
            .pool_max_idle_per_host(config.concurrency)
            .build()?;
        Ok(Self {
            pace: config.max_rate.map(Pace::new),
            url: Mutex::new(url),
            client,
            config,
            sign,
            clock,
        })
    }

    fn url(&self) -> Url {
        let url = self.url.lock().unwrap_or_else(PoisonError::into_inner);
        url.clone()
    }

    async fn post(&self, delivery: &Delivery) -> Told {
        if let Some(pace) = &self.pace {
            pace.turn().await;
        }
        let (now, sign) = (self.clock.now(), self.sign.as_ref());
        let headers = request::headers(delivery, &self.config.headers, sign, now);
        let request = self
            .client
            .post(self.url())
            .headers(headers)
            .body(delivery.stored.event.body.clone());
        match request.send().await {
            Ok(answer) => {
                let told = answer::of_status(answer.status(), answer.headers(), now);
                drain(answer).await;
                told
            }
            Err(error) => answer::of_error(&error),
        }
    }
}

/// Reads what is left of an answer, so that the connection can be used again. The status has said all there
/// is to say, so nothing depends on it.
async fn drain(mut answer: Response) {
    let mut bytes = 0;
    while let Ok(Some(chunk)) = answer.chunk().await {
        bytes += chunk.len();
        if bytes > DRAINED {
            return;
        }
    }
}

#[async_trait]
impl Destination for Http {
    async fn deliver(&self, batch: &[Delivery]) -> BatchOutcome {
        let mut outcomes = vec![Outcome::NotDone; batch.len()];
        let mut unavailable: Option<Unavailable> = None;
        let mut rest = batch.iter().enumerate();
        let mut under_way = stream::FuturesUnordered::new();
        loop {
            while unavailable.is_none() && under_way.len() < self.config.concurrency {
                let Some((at, delivery)) = rest.next() else {
                    break;
                };
                under_way.push(async move { (at, self.post(delivery).await) });
            }
            match under_way.next().await {
                None => break,
                Some((at, Ok(outcome))) => outcomes[at] = outcome,
                Some((_, Err(away))) => {
                    unavailable.get_or_insert(away);
                }
            }
        }
        BatchOutcome {
            outcomes,
            unavailable,
        }
    }

    /// Opens a connection and sends nothing: a request could make something over there.
    async fn probe(&self) -> Result<(), Unavailable> {
        let place = self.config.place.clone();
        let read = tokio::task::spawn_blocking(move || place.url()).await;
        let read = read.map_err(|error| Unavailable::new("defect", error.to_string()))?;
        let url = read.map_err(|reason| Unavailable::new("url", reason))?;
        *self.url.lock().unwrap_or_else(PoisonError::into_inner) = url.clone();
        let addresses = (
            url.host_str().unwrap_or_default().trim_matches(['[', ']']),
            url.port_or_known_default().unwrap_or(443),
        );
        let connecting = TcpStream::connect(addresses);
        match tokio::time::timeout(self.config.connect_timeout, connecting).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Unavailable::new("connect", error.to_string())),
            Err(_) => Err(Unavailable::new("timeout", "no connection in time")),
        }
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        self.probe().await?;
        let url = self.url();
        let host = url.host_str().unwrap_or_default();
        let is_near = host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        let mut findings = Vec::new();
        if url.scheme() == "http" && !is_near {
            let text = "events go over the network unencrypted: use an https:// url";
            findings.push(Finding { text: text.into() });
        }
        Ok(findings)
    }

    /// One event a batch: a slow one keeps nobody waiting but itself.
    fn limits(&self) -> DestinationLimits {
        let turns = u32::try_from(self.config.concurrency).unwrap_or(u32::MAX);
        let paced = self.pace.as_ref().map(Pace::interval).unwrap_or_default();
        DestinationLimits {
            batch_events: 1,
            batch_bytes: usize::MAX,
            concurrency: self.config.concurrency,
            timeout: self.config.timeout + MARGIN + paced.saturating_mul(turns),
        }
    }

    fn kind(&self) -> &'static str {
        KIND
    }
}
