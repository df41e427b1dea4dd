//! Looks at each destination, and each queue that is read, once it is there: makes its table, and names what is set up weaker than
//! promised.

use std::sync::Arc;
use std::time::Duration;

use domain::policy::ProbePolicy;
use domain::ports::Finding;
use domain::{DestinationName, Unavailable};

use crate::config::Config;

/// The longest that one look may take.
const LOOK: Duration = Duration::from_secs(30);

/// Looks in the background, again and again until each destination has answered once. The tasks end with
/// the runtime.
pub fn look(config: &Config, dispatch: &dispatch::Dispatch) {
    look_at_queues(config);
    for (name, destination) in &config.destinations {
        let shown: Vec<_> = config
            .routes
            .iter()
            .filter(|(_, route)| route.to == *name || route.policies.dead_letters.to.contains(name))
            .filter_map(|(route, _)| dispatch.findings(route))
            .collect();
        let (name, destination) = (name.clone(), Arc::clone(&destination.port));
        tokio::spawn(async move {
            let found = until_there(Some(&name), || destination.inspect()).await;
            for text in &found {
                tracing::warn!(destination = %name, "{text}");
            }
            for shown in shown {
                shown.send_modify(|all| all.extend(found.iter().cloned()));
            }
        });
    }
}

/// The same for the queues that are sources, which have no place in `status` for it.
fn look_at_queues(config: &Config) {
    for (name, queue) in &config.queues {
        let Some(inlet) = queue.inlet.clone() else {
            continue;
        };
        let name = name.clone();
        tokio::spawn(async move {
            // Whoever reads it says why it is not there.
            for text in until_there(None, || inlet.inspect()).await {
                tracing::warn!(source = %name, "{text}");
            }
        });
    }
}

async fn until_there<F>(name: Option<&DestinationName>, inspect: impl Fn() -> F) -> Vec<String>
where
    F: Future<Output = Result<Vec<Finding>, Unavailable>>,
{
    let policy = ProbePolicy::default();
    for tries in 1_u32.. {
        match tokio::time::timeout(LOOK, inspect()).await {
            Ok(Ok(findings)) => return findings.into_iter().map(|finding| finding.text).collect(),
            Ok(Err(error)) if tries == 1 => {
                if let Some(name) = name {
                    tracing::warn!(destination = %name, code = error.cause.code, "not there yet: {}", error.cause.detail);
                }
            }
            Err(_) if tries == 1 => {
                if let Some(name) = name {
                    tracing::warn!(destination = %name, "does not answer");
                }
            }
            _ => {}
        }
        tokio::time::sleep(policy.wait(tries, rand::random())).await;
    }
    Vec::new()
}
