//! The storage seam: every file operation of the journal goes through these two small traits.
//!
//! [`disk::DiskStorage`] is the real one. The simulated disk of the crash tests stands behind the
//! same traits, loses what was not synced, and so runs the very code that ships through power cuts.
//! Names are plain file names within the journal's one directory.

pub mod disk;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// A file in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
}

/// The journal's directory.
pub trait Storage: Send + Sync + Debug + 'static {
    /// Makes an empty file, for reading and writing. Its name is durable only after
    /// [`Storage::sync_directory`].
    ///
    /// # Errors
    /// `AlreadyExists` if there is one.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name, replacing what had it. Atomic, and durable only after
    /// [`Storage::sync_directory`].
    ///
    /// # Errors
    /// As the system reports.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Open handles stay usable. May come back after a power cut unless
    /// [`Storage::sync_directory`] followed.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// All files of the directory, in no order.
    ///
    /// # Errors
    /// As the system reports.
    fn list(&self) -> io::Result<Vec<Entry>>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// As the system reports. What is durable after a failure is unknown.
    fn sync_directory(&self) -> io::Result<()>;

    /// Bytes that an unprivileged process could still write to this file system.
    ///
    /// # Errors
    /// As the system reports.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file. Reads and writes name their offset, so a handle can be shared.
pub trait File: Send + Sync + Debug {
    /// Reads up to `buffer.len()` bytes; 0 means the end of the file.
    ///
    /// # Errors
    /// As the system reports.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all bytes, growing the file if needed. Durable only after [`File::sync`].
    ///
    /// # Errors
    /// As the system reports; any part may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the content, and the length if it grew, durable.
    ///
    /// # Errors
    /// As the system reports. What is durable after a failure is unknown, and syncing again proves
    /// nothing: the kernel may have dropped the dirty pages.
    fn sync(&self) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// As the system reports.
    fn size(&self) -> io::Result<u64>;
}

/// Reads until `buffer` is full or the file ends; returns how much there was.
pub(crate) fn read_full(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
