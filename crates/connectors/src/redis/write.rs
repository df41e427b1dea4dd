//! One batch over one connection: a command an event, all sent at once, each with its own answer.

use std::time::Duration;

use domain::ports::Delivery;
use domain::{Outcome, Unavailable};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use redis::Value;
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout_at};

use super::connect::Session;
use super::error::{self, Verdict};
use super::options::Config;
use super::url::Place;

/// What a server takes in one piece unless it was told otherwise.
const USUAL_LIMIT: usize = 512 << 20;

/// No server can be told to take less.
const LEAST_LIMIT: usize = 1 << 20;

/// How a batch ended. Its outcomes are written by then.
#[derive(Debug)]
pub(super) enum End {
    /// Every event has an outcome, and the connection is as good as new.
    Done,
    /// An event was too large, and the server closed the connection over it: those behind it are not done.
    Closed,
    /// The key is on another node of the cluster: those that it refused are not done.
    Moved(Place),
    /// The server went away, or somebody must mend it: those without an answer are not done.
    Away(Unavailable),
}

/// Sends the events that are not done yet, and writes down what became of each.
pub(super) async fn batch(
    session: &Session,
    config: &Config,
    deadline: Instant,
    batch: &[Delivery],
    outcomes: &mut [Outcome],
) -> End {
    let mut commands = Vec::with_capacity(batch.len());
    for (at, delivery) in batch.iter().enumerate() {
        if outcomes[at] == Outcome::NotDone {
            let (command, longest) = config.target.add(delivery);
            commands.push((at, command, longest));
        }
    }
    if commands
        .iter()
        .any(|(_, _, longest)| *longest > LEAST_LIMIT)
    {
        let limit = match limit(session, config.timeout).await {
            Ok(limit) => limit,
            Err(why) => return End::Away(why),
        };
        commands.retain(|(at, _, longest)| {
            if *longest > limit {
                let cause = error::too_large(*longest, Some(limit));
                outcomes[*at] = Outcome::Reject { cause };
            }
            *longest <= limit
        });
    }
    let mut answers: Vec<(usize, Outcome)> = Vec::with_capacity(commands.len());
    let (mut end, mut broken) = (End::Done, false);
    // In the order that they stand in: each is polled for the first time in turn, and that is when it takes its place in
    // the connection's queue. Without `unconstrained` tokio would at times put one off, and let the next go first.
    let mut under_way: FuturesUnordered<_> = commands
        .iter()
        .map(|(at, command, longest)| async move { (*at, *longest, session.send(command).await) })
        .collect();
    loop {
        let until = deadline.min(Instant::now() + config.timeout);
        let answer = match timeout_at(until, unconstrained(under_way.next())).await {
            Ok(Some(answer)) => answer,
            Ok(None) => break,
            Err(_) => {
                let place = session.place.to_string();
                end = end.or(End::Away(error::late(&place, config.timeout)));
                broken = true;
                break;
            }
        };
        match answer {
            (at, _, Ok(Ok(answer))) if config.target.is_added(&answer) => {
                answers.push((at, Outcome::Delivered));
            }
            (_, _, Ok(Ok(_))) => {
                let why = error::unheard_of(&session.place, &config.target);
                end = end.or(End::Away(why));
            }
            (at, longest, Ok(Err(refusal))) => match error::judge(&refusal, &config.target) {
                Verdict::Retry(cause) => answers.push((at, Outcome::Retry { cause, after: None })),
                Verdict::TooLarge => {
                    let cause = error::too_large(longest, None);
                    outcomes[at] = Outcome::Reject { cause };
                    end = end.or(End::Closed);
                }
                Verdict::Moved(to) => {
                    let place = Place::moved_to(&to, &session.place);
                    end = end.or(place.map_or_else(
                        || End::Away(error::refused("take it", &refusal, &config.target)),
                        End::Moved,
                    ));
                }
                Verdict::Unavailable(why) => end = end.or(End::Away(why)),
            },
            (_, _, Err(why)) => {
                end = end.or(End::Away(why));
                broken = true;
            }
        }
    }
    drop(under_way);
    if config.wait_replicas > 0 && answers.iter().any(|(_, one)| *one == Outcome::Delivered) {
        // What the replicas do not have is not done, and what they have cannot be asked over a broken connection.
        let had = match broken {
            true => Err(None),
            false => replicas(session, config).await.map_err(Some),
        };
        if let Err(why) = had {
            answers.retain(|(_, one)| *one != Outcome::Delivered);
            end = end.or(why.map_or(End::Done, End::Away));
        }
    }
    for (at, outcome) in answers {
        outcomes[at] = outcome;
    }
    end
}

impl End {
    /// What ended the batch first; what comes after it follows from it.
    fn or(self, other: Self) -> Self {
        match self {
            Self::Done => other,
            first => first,
        }
    }
}

/// What the server takes in one piece. A user who may not ask has a server as it comes.
async fn limit(session: &Session, timeout: Duration) -> Result<usize, Unavailable> {
    if let Some(limit) = session.largest.get() {
        return Ok(*limit);
    }
    let mut question = redis::cmd("CONFIG");
    question.arg("GET").arg("proto-max-bulk-len");
    let answer = session.ask(timeout, &question).await?;
    let told = answer.ok().and_then(|answer| setting(&answer));
    let told = told.and_then(|text| text.parse().ok());
    Ok(*session.largest.get_or_init(|| told.unwrap_or(USUAL_LIMIT)))
}

/// The one value of an answer to `CONFIG GET`.
pub(super) fn setting(answer: &Value) -> Option<String> {
    let value = match answer {
        Value::Array(parts) => parts.get(1)?,
        Value::Map(pairs) => &pairs.first()?.1,
        _ => return None,
    };
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

/// Waits until enough replicas have everything that this connection wrote.
async fn replicas(session: &Session, config: &Config) -> Result<(), Unavailable> {
    let wanted = config.wait_replicas;
    // The server answers before we stop waiting for it.
    let limit = config.timeout.mul_f32(0.75);
    let mut wait = redis::cmd("WAIT");
    wait.arg(wanted)
        .arg(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    match session.ask(config.timeout, &wait).await? {
        Ok(Value::Int(had)) if had >= i64::from(wanted) => Ok(()),
        Ok(Value::Int(had)) => Err(error::too_few_replicas(had, wanted, limit)),
        Ok(_) => Err(error::too_few_replicas(0, wanted, limit)),
        Err(why) if why.is_of_the_command() => Err(Unavailable::new(
            "redis NOPERM",
            "the user may not use WAIT, which `wait_replicas` needs: ACL SETUSER its name +wait",
        )),
        Err(why) => Err(error::refused("wait for replicas", &why, &config.target)),
    }
}
