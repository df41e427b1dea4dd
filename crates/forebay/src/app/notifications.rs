//! The sources that are notification channels of Genesys Cloud: their clients, and what reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::ports::{Gaps, Inlet};
use domain::{Clock, SourceName};
use genesys::{Account, Client, Clients, Dial, Network, Notifications};

use crate::config::Config;
use crate::exit::{Exit, Failure, Outcome};

/// Why an account cannot be used.
fn wrong(error: impl std::fmt::Display) -> Failure {
    Failure::say(Exit::Usage, error.to_string())
}

/// The network that an account's connections go over.
fn network(account: &Account) -> Outcome<Arc<dyn Dial>> {
    Ok(Arc::new(Network::new(account.proxy()).map_err(wrong)?))
}

/// A client of one account, for a command.
///
/// # Errors
/// Its secret cannot be read.
pub fn client(account: &Account, clock: Arc<dyn Clock>) -> Outcome<Client> {
    Client::new(account, network(account)?, clock).map_err(wrong)
}

/// What reads each of them. Those of one account share its client.
pub fn inlets(
    config: &Config,
    gaps: &Arc<dyn Gaps>,
    clock: &Arc<dyn Clock>,
) -> Outcome<BTreeMap<SourceName, Arc<dyn Inlet>>> {
    let clients = Clients::default();
    let mut inlets: BTreeMap<SourceName, Arc<dyn Inlet>> = BTreeMap::new();
    for (name, source) in &config.notifications {
        let account = source.account();
        let client = clients
            .of(account, &network(account)?, clock)
            .map_err(wrong)?;
        let (gaps, clock) = (Arc::clone(gaps), Arc::clone(clock));
        let inlet = Notifications::new(name.clone(), source.clone(), client, gaps, clock);
        inlets.insert(name.clone(), Arc::new(inlet));
    }
    Ok(inlets)
}

/// The same as sources of ingest.
pub fn sources(config: &Config) -> impl Iterator<Item = (SourceName, ingest::QueueSource)> {
    config.notifications.iter().map(|(name, source)| {
        let source = ingest::QueueSource {
            kind: genesys::KIND,
            reads: source.reads(),
            max_body: source.max_body(),
            unwrap: None,
        };
        (name.clone(), source)
    })
}
