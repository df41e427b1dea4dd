//! Looks at each destination once it is there: makes its table, and names what is set up weaker than
//! promised.

use std::sync::Arc;
use std::time::Duration;

use domain::DestinationName;
use domain::policy::ProbePolicy;
use domain::ports::Destination;

use crate::config::Config;

/// The longest that one look may take.
const LOOK: Duration = Duration::from_secs(30);

/// Looks in the background, again and again until each destination has answered once. The tasks end with
/// the runtime.
pub fn look(config: &Config, dispatch: &dispatch::Dispatch) {
    for (name, destination) in &config.destinations {
        let shown: Vec<_> = config
            .routes
            .iter()
            .filter(|(_, route)| route.to == *name || route.policies.dead_letters.to.contains(name))
            .filter_map(|(route, _)| dispatch.findings(route))
            .collect();
        let (name, destination) = (name.clone(), Arc::clone(&destination.port));
        tokio::spawn(async move {
            let found = until_there(&name, &*destination).await;
            for text in &found {
                tracing::warn!(destination = %name, "{text}");
            }
            for shown in shown {
                shown.send_modify(|all| all.extend(found.iter().cloned()));
            }
        });
    }
}

async fn until_there(name: &DestinationName, destination: &dyn Destination) -> Vec<String> {
    let policy = ProbePolicy::default();
    for tries in 1_u32.. {
        match tokio::time::timeout(LOOK, destination.inspect()).await {
            Ok(Ok(findings)) => return findings.into_iter().map(|finding| finding.text).collect(),
            Ok(Err(error)) if tries == 1 => {
                tracing::warn!(destination = %name, code = error.cause.code, "not there yet: {}", error.cause.detail);
            }
            Err(_) if tries == 1 => tracing::warn!(destination = %name, "does not answer"),
            _ => {}
        }
        tokio::time::sleep(policy.wait(tries, rand::random())).await;
    }
    Vec::new()
}
