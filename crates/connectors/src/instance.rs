//! The name that what was taken from a queue lies under until it is let go, where the queue must be told one.
//!
//! It has to be the same after every restart, or what lies there is found by hand only. The machine's name is not: a
//! container has another each time it is made. The installation's id goes where the data goes.

use std::sync::{Arc, OnceLock};

use domain::InstallationId;

/// The installation, told once the journal is open; backends are made before that.
#[derive(Debug, Clone, Default)]
pub struct Instance(Arc<OnceLock<InstallationId>>);

impl Instance {
    /// Tells everybody who has a clone. The first one told stays.
    pub fn is(&self, id: InstallationId) {
        let _ = self.0.set(id);
    }

    /// The id, or else the name of this machine.
    pub(crate) fn name(&self) -> String {
        self.0.get().map_or_else(host, ToString::to_string)
    }
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.ok().or_else(|| std::env::var("HOSTNAME").ok());
    let name = name.unwrap_or_default().trim().to_owned();
    if name.is_empty() {
        "forebay".to_owned()
    } else {
        name
    }
}
