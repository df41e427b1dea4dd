//! The installation id: a small file that names whom the journal belongs to.

use std::io;
use std::path::Path;

use domain::InstallationId;

use crate::error::OpenError;
use crate::recovery::Known;
use crate::segment::names;
use crate::storage::{Entry, Storage, read_full};

const NAME: &str = "installation";

/// The id in the journal's directory, if there is one.
///
/// # Errors
/// [`OpenError::NoInstallation`] if the file is there and unreadable.
pub fn read(storage: &dyn Storage) -> Result<Option<InstallationId>, OpenError> {
    let file = match storage.open(NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io("open", NAME)(error)),
    };
    let mut text = [0; 64];
    let len = read_full(&*file, &mut text, 0).map_err(OpenError::io("read", NAME))?;
    parse(&text[..len])
        .map(Some)
        .ok_or(OpenError::NoInstallation)
}

/// The id in a journal's directory that is only looked at.
pub(crate) fn read_from(directory: &Path) -> Option<InstallationId> {
    parse(&std::fs::read(directory.join(NAME)).ok()?)
}

fn parse(text: &[u8]) -> Option<InstallationId> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// Finds or makes the id, and checks it against state's. `true`: the journal is new.
pub(crate) fn settle(
    storage: &dyn Storage,
    files: &[Entry],
    known: &Known,
) -> Result<(InstallationId, bool), OpenError> {
    let journal = read(storage)?;
    match (journal, known.installation) {
        (Some(journal), Some(state)) if journal != state => {
            Err(OpenError::Stranger { journal, state })
        }
        (Some(journal), _) => Ok((journal, false)),
        (None, _)
            if files
                .iter()
                .any(|entry| names::parse_segment(&entry.name).is_some()) =>
        {
            Err(OpenError::NoInstallation)
        }
        (None, Some(state)) if !known.accept_loss => Err(OpenError::JournalGone { state }),
        (None, state) => {
            let id = state.unwrap_or_else(InstallationId::random);
            write(storage, id).map_err(OpenError::io("write", NAME))?;
            Ok((id, true))
        }
    }
}

fn write(storage: &dyn Storage, id: InstallationId) -> io::Result<()> {
    let temporary = format!("{NAME}{}", names::TEMPORARY);
    let file = storage.create(&temporary)?;
    file.write_at(format!("{id}\n").as_bytes(), 0)?;
    file.sync()?;
    storage.rename(&temporary, NAME)?;
    storage.sync_directory()
}
