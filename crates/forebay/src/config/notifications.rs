//! The sections of sources that are notification channels.

use std::collections::BTreeMap;

use domain::{ByteSize, SourceName};

use super::document::Document;
use super::error::ConfigError;
use super::options::File;

/// Checks them. `too_large` says why a body of a size would never be taken; with `read`, the files with secrets must be
/// there.
pub(super) fn check(
    document: &Document<'_>,
    file: &File,
    too_large: impl Fn(ByteSize) -> Option<String>,
    read: bool,
) -> Result<BTreeMap<SourceName, genesys::SourceConfig>, ConfigError> {
    let mut checked = BTreeMap::new();
    for (name, options) in &file.notifications {
        let at = |key: &str, reason| document.error(&["sources", name.as_str(), key], reason);
        let wrong = |error: genesys::OptionsError| at(error.key, error.reason);
        let config = options.validate().map_err(wrong)?;
        if read {
            config.account().secret().map_err(wrong)?;
        }
        if let Some(reason) = too_large(ByteSize(config.max_body())) {
            return Err(at("max_body", reason));
        }
        checked.insert(name.clone(), config);
    }
    Ok(checked)
}
