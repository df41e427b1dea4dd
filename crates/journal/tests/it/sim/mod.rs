//! A simulated disk behind the storage seam: it forgets what was not synced, as a real one may.
//!
//! What it models, and where it is worse than most real disks:
//!
//! - **Files** are pages. A write changes the page cache; the disk keeps what it had until a sync. At a
//!   power cut each unsynced page becomes any version that was written since the last sync, or the old
//!   one, page by page or torn at sectors of 512 bytes. An unsynced length becomes any length it had;
//!   what a longer length uncovers and was not written back reads as zeros.
//! - **The directory** is a log of operations, durable up to the last directory sync. At a power cut
//!   either a prefix of the rest survives (ext4, XFS: one journal), or any subset that keeps the order
//!   of operations on the same file and name (btrfs, f2fs: a sync of one file may carry its own name
//!   ahead of others). A rename is atomic in both. Syncing a file never makes its name durable.
//! - **A failed sync** writes any of the dirty pages and forgets that the others were dirty: the page
//!   cache goes on showing them, and no later sync writes them ("fsyncgate").
//! - **Failing and short writes**, a limit of free space, unreadable stretches, and damage to what is
//!   stored are asked for by the test.
//! - **A lying disk** says yes to a sync and does nothing. Nothing can be safe on it: the tests use it
//!   to prove that they would see a loss.
//!
//! A process ends with [`Disk::kill`] (the page cache survives) or [`Disk::power_cut`] (it does not);
//! handles from before then fail for ever. [`Disk::die_at`] ends it in the middle of any operation.
//! Everything follows from one seed.

mod dice;
mod directory;
mod disk;
mod file;

pub(crate) use dice::Dice;
pub(crate) use directory::DirectoryLoss;
pub(crate) use disk::{Disk, Failure, Lie, Make};
pub(crate) use file::PageLoss;
