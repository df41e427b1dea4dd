//! The disk with its directory, behind [`Storage`] and [`File`].

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use journal::storage::{Entry, File, Storage};

use super::directory::{Directory, Ino};
use super::file::SimFile;
use super::{Dice, DirectoryLoss, PageLoss};

/// What a disk says yes to without doing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Nothing.
    None,
    /// Syncing a file.
    FileSync,
    /// Syncing a file whose name then has this ending.
    SyncOf(&'static str),
    /// Syncing the directory.
    DirectorySync,
}

/// How an operation fails in a process that lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// An I/O error. A write may have written any part; a sync any page.
    Io,
    /// The disk is full. A write has written a part.
    Full,
}

/// What kind of disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Make {
    /// Bytes of a page.
    pub page: usize,
    /// What it lies about.
    pub lie: Lie,
}

#[derive(Debug)]
struct World {
    dice: Dice,
    make: Make,
    files: BTreeMap<Ino, SimFile>,
    directory: Directory,
    next_ino: Ino,
    /// Operations that change something, since the beginning.
    operations: u64,
    /// The process whose handles work.
    process: u64,
    dead: bool,
    die_at: Option<u64>,
    fail_at: Option<(u64, Failure)>,
    failed: bool,
    capacity: u64,
}

/// What becomes of an operation.
enum Act {
    Do,
    /// The process dies, before, in the middle of, or right after it.
    Die {
        progress: Progress,
    },
    Fail(Failure),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Before,
    Within,
    After,
}

fn gone() -> io::Error {
    io::Error::other("the process is gone")
}

fn failed(failure: Failure) -> io::Error {
    match failure {
        Failure::Io => io::Error::from_raw_os_error(5),
        Failure::Full => io::Error::from(io::ErrorKind::StorageFull),
    }
}

impl World {
    /// Every change passes here first.
    fn begin(&mut self) -> io::Result<Act> {
        if self.dead {
            return Err(gone());
        }
        self.operations += 1;
        if self.die_at == Some(self.operations) {
            self.dead = true;
            let progress = *self
                .dice
                .pick(&[Progress::Before, Progress::Within, Progress::After]);
            return Ok(Act::Die { progress });
        }
        if let Some((at, failure)) = self.fail_at
            && at == self.operations
        {
            self.failed = true;
            return Ok(Act::Fail(failure));
        }
        Ok(Act::Do)
    }

    /// For changes that happen or do not.
    fn atomic(&mut self, change: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        match self.begin()? {
            Act::Do => change(self),
            Act::Die { progress } => {
                if progress == Progress::After {
                    let _ = change(self);
                }
                Err(gone())
            }
            Act::Fail(failure) => Err(failed(failure)),
        }
    }

    fn used(&self) -> u64 {
        self.directory
            .entries()
            .map(|(_, ino)| self.files[&ino].len() as u64)
            .sum()
    }

    fn write(&mut self, ino: Ino, bytes: &[u8], offset: usize) -> io::Result<()> {
        let act = self.begin()?;
        let file = &self.files[&ino];
        let grows = (offset + bytes.len()).saturating_sub(file.len()) as u64;
        let full = grows > 0 && self.used() + grows > self.capacity;
        let (count, result) = match act {
            Act::Do if full => {
                let fits = self.capacity.saturating_sub(self.used()).saturating_sub(1);
                let fits = usize::try_from(fits).unwrap().min(bytes.len());
                (fits, Err(failed(Failure::Full)))
            }
            Act::Do => (bytes.len(), Ok(())),
            Act::Die {
                progress: Progress::Before,
            } => (0, Err(gone())),
            Act::Die {
                progress: Progress::Within,
            } => (self.dice.index(bytes.len() + 1), Err(gone())),
            Act::Die {
                progress: Progress::After,
            } => (bytes.len(), Err(gone())),
            Act::Fail(failure) => (self.dice.index(bytes.len() + 1), Err(failed(failure))),
        };
        if let Some(file) = self.files.get_mut(&ino) {
            file.write(&bytes[..count], offset);
        }
        result
    }

    fn lies_about(&self, ino: Ino) -> bool {
        match self.make.lie {
            Lie::FileSync => true,
            Lie::SyncOf(ending) => self
                .directory
                .entries()
                .any(|(name, known)| known == ino && name.ends_with(ending)),
            Lie::None | Lie::DirectorySync => false,
        }
    }

    fn sync(&mut self, ino: Ino) -> io::Result<()> {
        let act = self.begin()?;
        let lie = self.lies_about(ino);
        let mut dice = self.dice.fork();
        let Some(file) = self.files.get_mut(&ino) else {
            return Err(gone());
        };
        match act {
            Act::Do => {
                if !lie {
                    file.sync();
                }
                Ok(())
            }
            // Before or within: pages may reach the disk at any time anyway, so the power cut decides.
            Act::Die { progress } => {
                if progress == Progress::After && !lie {
                    file.sync();
                }
                Err(gone())
            }
            Act::Fail(failure) => {
                file.sync_failing(&mut dice);
                Err(failed(failure))
            }
        }
    }

    fn forget_unreachable(&mut self) {
        let directory = &self.directory;
        self.files.retain(|ino, _| directory.knows(*ino));
    }
}

/// The disk. Outlives the processes that use it.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<Mutex<World>>);

impl Disk {
    pub(crate) fn new(dice: Dice, make: Make) -> Self {
        Self(Arc::new(Mutex::new(World {
            dice,
            make,
            files: BTreeMap::new(),
            directory: Directory::default(),
            next_ino: 0,
            operations: 0,
            process: 0,
            dead: false,
            die_at: None,
            fail_at: None,
            failed: false,
            capacity: u64::MAX,
        })))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// The disk as a new process sees it.
    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        let process = self.world().process;
        Arc::new(Mounted {
            disk: self.clone(),
            process,
        })
    }

    /// Ends the process; what it wrote is still in the page cache.
    pub(crate) fn kill(&self) {
        let mut world = self.world();
        world.process += 1;
        world.dead = false;
        world.die_at = None;
        world.fail_at = None;
        world.failed = false;
        world.forget_unreachable();
    }

    /// Ends everything; what was not synced is up to `pages` and `directory`.
    pub(crate) fn power_cut(&self, pages: PageLoss, directory: DirectoryLoss) {
        let mut world = self.world();
        let mut dice = world.dice.fork();
        world.directory.lose(&mut dice, directory);
        for file in world.files.values_mut() {
            file.lose(&mut dice, pages);
        }
        drop(world);
        self.kill();
    }

    /// Lets the process die at the `nth` change from now; 1 is the next.
    pub(crate) fn die_at(&self, nth: u64) {
        let mut world = self.world();
        world.die_at = Some(world.operations + nth);
    }

    /// Lets the `nth` change from now fail.
    pub(crate) fn fail_at(&self, nth: u64, failure: Failure) {
        let mut world = self.world();
        world.failed = false;
        world.fail_at = Some((world.operations + nth, failure));
    }

    /// Whether the process died within an operation.
    pub(crate) fn is_dead(&self) -> bool {
        self.world().dead
    }

    /// Whether the failure that was asked for has happened.
    pub(crate) fn has_failed(&self) -> bool {
        self.world().failed
    }

    /// Changes since the beginning.
    pub(crate) fn operations(&self) -> u64 {
        self.world().operations
    }

    /// Limits all files together; what is there stays.
    pub(crate) fn limit_free(&self, free: u64) {
        let mut world = self.world();
        world.forget_unreachable();
        world.capacity = world.used().saturating_add(free);
    }

    /// The names that a process sees now.
    pub(crate) fn names(&self) -> Vec<String> {
        self.world()
            .directory
            .entries()
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// A file's content, as a process sees it.
    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let world = self.world();
        let file = &world.files[&world.directory.get(name).unwrap()];
        let mut bytes = vec![0; file.len()];
        file.read(&mut bytes, 0).unwrap();
        bytes
    }

    /// Changes what is stored of a file, which is then durable.
    pub(crate) fn damage(&self, name: &str, damage: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world();
        let ino = world.directory.get(name).unwrap();
        world.files.get_mut(&ino).unwrap().damage(damage);
    }

    /// Makes all of a file readable again.
    pub(crate) fn make_readable(&self, name: &str) {
        let mut world = self.world();
        let ino = world.directory.get(name).unwrap();
        world.files.get_mut(&ino).unwrap().unreadable.clear();
    }

    /// Makes a stretch of a file unreadable.
    pub(crate) fn make_unreadable(&self, name: &str, range: std::ops::Range<usize>) {
        let mut world = self.world();
        let ino = world.directory.get(name).unwrap();
        world.files.get_mut(&ino).unwrap().unreadable.push(range);
    }
}

/// The disk, seen from one process.
#[derive(Debug)]
struct Mounted {
    disk: Disk,
    process: u64,
}

impl Mounted {
    fn world(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.disk.world();
        if world.process == self.process && !world.dead {
            Ok(world)
        } else {
            Err(gone())
        }
    }

    fn handle(&self, ino: Ino) -> Arc<dyn File> {
        Arc::new(Handle {
            disk: self.disk.clone(),
            process: self.process,
            ino,
        })
    }
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Storage for Mounted {
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut world = self.world()?;
        let ino = world.next_ino;
        world.atomic(|world| {
            if world.directory.get(name).is_some() {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            world.next_ino += 1;
            let page = world.make.page;
            world.files.insert(ino, SimFile::new(page));
            world.directory.create(name, ino);
            Ok(())
        })?;
        Ok(self.handle(ino))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let ino = self.world()?.directory.get(name);
        ino.map(|ino| self.handle(ino)).ok_or_else(not_found)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.world()?.atomic(|world| {
            let ino = world.directory.get(from).ok_or_else(not_found)?;
            world.directory.rename(from, to, ino);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.world()?.atomic(|world| {
            let ino = world.directory.get(name).ok_or_else(not_found)?;
            world.directory.remove(name, ino);
            Ok(())
        })
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        let world = self.world()?;
        let entry = |(name, ino): (&String, Ino)| Entry {
            name: name.clone(),
            len: world.files[&ino].len() as u64,
        };
        Ok(world.directory.entries().map(entry).collect())
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.world()?.atomic(|world| {
            if world.make.lie != Lie::DirectorySync {
                world.directory.sync();
            }
            Ok(())
        })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let world = self.world()?;
        Ok(world.capacity.saturating_sub(world.used()))
    }
}

#[derive(Debug)]
struct Handle {
    disk: Disk,
    process: u64,
    ino: Ino,
}

impl Handle {
    fn world(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.disk.world();
        let known = world.files.contains_key(&self.ino);
        if world.process == self.process && !world.dead && known {
            Ok(world)
        } else {
            Err(gone())
        }
    }
}

impl File for Handle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.world()?;
        let offset = usize::try_from(offset).unwrap();
        let read = world.files[&self.ino].read(buffer, offset);
        read.ok_or_else(|| failed(Failure::Io))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.world()?.write(self.ino, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.world()?.sync(self.ino)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.world()?.files[&self.ino].len() as u64)
    }
}
