//! What came of the posts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::cli::client::cause;
use crate::exit::{Exit, Failure, Outcome};

/// Failures in a row, with not one answer before, after which more posts are pointless.
const HOPELESS: u64 = 16;

/// What came of one.
#[derive(Debug)]
pub(super) enum Sent {
    Answered {
        status: u16,
        answer: String,
        took: Duration,
    },
    Failed {
        connect: bool,
        reason: String,
    },
}

impl Sent {
    /// Why there was no answer, and what to do.
    pub(super) fn failed(error: &reqwest::Error) -> Self {
        let reason = cause(error);
        let connect = error.is_connect();
        let reason = match tls(&reason) {
            Some(told) => told.to_owned(),
            None if connect => {
                format!("{reason}; is `forebay serve` running there? Another address: --url")
            }
            None => reason,
        };
        Self::Failed { connect, reason }
    }
}

/// What the library says of TLS, and what that means here.
fn tls(reason: &str) -> Option<&'static str> {
    const TOLD: [(&str, &str); 7] = [
        (
            "UnknownIssuer",
            "its certificate comes from an authority that is not trusted here: name that one, or the certificate itself, by --ca",
        ),
        (
            "CaUsedAsEndEntity",
            "its certificate is that of an authority and none of a server: have that authority issue one",
        ),
        (
            "certificate expired",
            "its certificate has expired: renew it there",
        ),
        (
            "certificate not valid yet",
            "its certificate is not valid yet: compare the clocks here and there",
        ),
        (
            "not valid for name",
            "its certificate is for another name: name the server by --url as the certificate does",
        ),
        (
            "CertificateRequired",
            "it asks for a certificate: show one by --cert and --key",
        ),
        (
            "UnknownCA",
            "it does not trust the authority that the certificate of --cert comes from: its server.tls.client_ca_file has others",
        ),
    ];
    let told = TOLD.iter().find(|(said, _)| reason.contains(said));
    told.map(|(_, told)| *told)
}

/// What came of all.
#[derive(Debug, Default)]
pub(super) struct Report {
    accepted: u64,
    duplicates: u64,
    statuses: BTreeMap<u16, u64>,
    failed: u64,
    never_connected: bool,
    last_answer: String,
    last_refusal: Option<String>,
    times: Vec<Duration>,
    pub took: Duration,
}

impl Report {
    pub(super) fn add(&mut self, sent: Sent) {
        match sent {
            Sent::Answered {
                status,
                answer,
                took,
            } => {
                *self.statuses.entry(status).or_default() += 1;
                self.times.push(took);
                if !(200..300).contains(&status) {
                    self.last_refusal = Some(answer);
                    return;
                }
                let word = serde_json::from_str::<Value>(&answer)
                    .ok()
                    .and_then(|answer| Some(answer["status"].as_str()? == "duplicate"));
                match word {
                    Some(true) => self.duplicates += 1,
                    _ => self.accepted += 1,
                }
                self.last_answer = answer;
            }
            Sent::Failed { connect, reason } => {
                self.failed += 1;
                self.never_connected = connect && self.times.is_empty();
                self.last_refusal = Some(reason);
            }
        }
    }

    /// Nobody is there at all.
    pub(super) fn is_hopeless(&self) -> bool {
        self.never_connected && self.failed >= HOPELESS
    }

    fn total(&self) -> u64 {
        self.failed + self.statuses.values().sum::<u64>()
    }

    fn percentile(&self, part: f64) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index into what is there"
        )]
        let at = (times.len() as f64 * part) as usize;
        times
            .get(at.min(times.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::json!({
            "sent": self.total(),
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "statuses": self.statuses,
            "failed": self.failed,
            "seconds": self.took.as_secs_f64(),
            "p50_ms": self.percentile(0.5).as_secs_f64() * 1000.0,
            "p99_ms": self.percentile(0.99).as_secs_f64() * 1000.0,
        })
    }

    pub(super) fn lines(&self) -> Vec<String> {
        if self.total() == 1 {
            return match self.statuses.keys().next() {
                Some(status) if self.last_refusal.is_none() => {
                    vec![format!("{status} {}", self.last_answer.trim_end())]
                }
                _ => Vec::new(),
            };
        }
        vec![format!(
            "{} sent in {:.1?}: {} accepted, {} duplicates, {} refused, {} without an answer; answered in {:.1?} (p50), {:.1?} (p99)",
            self.total(),
            self.took,
            self.accepted,
            self.duplicates,
            self.refused(),
            self.failed,
            self.percentile(0.5),
            self.percentile(0.99),
        )]
    }

    fn refused(&self) -> u64 {
        self.statuses
            .iter()
            .filter(|(status, _)| !(200..300).contains(*status))
            .map(|(_, count)| count)
            .sum()
    }

    /// Done only if every one was accepted.
    pub(super) fn verdict(&self, url: &str) -> Outcome {
        let last = self.last_refusal.as_deref().unwrap_or_default().trim_end();
        if self.never_connected {
            return Err(Failure::say(
                Exit::Unreachable,
                format!("cannot post to {url}: {last}"),
            ));
        }
        let bad = self.refused() + self.failed;
        if bad > 0 {
            return Err(Failure::say(
                Exit::Failed,
                format!(
                    "{bad} of {} were not accepted by {url}; the last one: {last}",
                    self.total()
                ),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::tls;

    #[test]
    fn what_tls_did_not_like_is_told_with_what_to_do() {
        for (said, told) in [
            ("invalid peer certificate: UnknownIssuer", Some("--ca")),
            (
                "invalid peer certificate: certificate expired: verification time 1796130000 (UNIX), but certificate is not valid after 1580515200 (215549868 seconds ago)",
                Some("renew it there"),
            ),
            (
                "received fatal alert: CertificateRequired",
                Some("--cert and --key"),
            ),
            (
                "invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))",
                Some("that of an authority"),
            ),
            ("Connection refused (os error 111)", None),
        ] {
            let found = tls(said);
            assert_eq!(found.is_some(), told.is_some(), "{said}");
            assert!(
                found.unwrap_or_default().contains(told.unwrap_or_default()),
                "{said}"
            );
        }
    }
}
