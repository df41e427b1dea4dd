//! A small disk of a test's own, to be filled to the brim.
//!
//! Owns a mount and takes it away when it is dropped. Mounting needs root: an ordinary user's tests ask
//! `sudo`, without a prompt, and fail in words that say so when it refuses.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::command::run;
use crate::error::Doing;
use crate::{Error, Result, scratch};

const BALLAST: &str = "ballast";

/// A mounted filesystem of a fixed size.
#[derive(Debug)]
pub struct SmallDisk {
    mount: PathBuf,
    // The last field: the directory can go only when nothing is mounted in it.
    _dir: TempDir,
}

impl SmallDisk {
    /// A filesystem in memory (tmpfs). Syncs on it succeed and do nothing.
    ///
    /// # Errors
    ///
    /// When the test may not mount: it is not root's, and `sudo` wants a password.
    pub fn tmpfs(bytes: u64) -> Result<Self> {
        Self::mount(|_dir| {
            let options = format!("size={bytes},mode=0777");
            Ok(["-t", "tmpfs", "-o", &options, "forebay-testbed"]
                .map(str::to_owned)
                .to_vec())
        })
    }

    /// An ext4 in a file, on a loop device: syncs are real, and its metadata takes room too.
    ///
    /// # Errors
    ///
    /// As [`SmallDisk::tmpfs`]; also where there is no loop device, as in many containers.
    pub fn ext4(bytes: u64) -> Result<Self> {
        Self::mount(|dir| {
            let image = dir.join("image");
            let file = File::create(&image).doing(|| "create the disk's image")?;
            file.set_len(bytes).doing(|| "size the disk's image")?;
            run(Command::new("mkfs.ext4")
                .args(["-q", "-F", "-m", "0"])
                .arg(&image))?;
            let image = image.to_string_lossy().into_owned();
            Ok(vec![
                "-t".to_owned(),
                "ext4".to_owned(),
                "-o".to_owned(),
                "loop".to_owned(),
                image,
            ])
        })
    }

    fn mount(prepare: impl FnOnce(&Path) -> Result<Vec<String>>) -> Result<Self> {
        let dir = scratch::own("disk")?;
        let mount = dir.path().join("mount");
        std::fs::create_dir(&mount).doing(|| format!("create {}", mount.display()))?;
        let args = prepare(dir.path())?;
        run(as_root("mount").args(args).arg(&mount)).map_err(|error| {
            Error::Misuse(format!(
                "{error}\nmounting needs root: run the tests as root, or run `sudo --validate` first"
            ))
        })?;
        Ok(Self { mount, _dir: dir })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// How many bytes can still be written.
    ///
    /// # Errors
    ///
    /// When the filesystem cannot be asked.
    pub fn free(&self) -> Result<u64> {
        let disk = rustix::fs::statvfs(&self.mount);
        let disk = disk
            .map_err(std::io::Error::from)
            .doing(|| "ask the disk for its free space")?;
        Ok(disk.f_bavail * disk.f_frsize)
    }

    /// Fills it with a file of its own until about `left` bytes are free; takes the place of an earlier
    /// filling.
    ///
    /// # Errors
    ///
    /// When a write fails other than for want of room.
    pub fn fill(&self, left: u64) -> Result<()> {
        self.empty()?;
        let mut file = File::create(self.ballast()).doing(|| "create the ballast")?;
        let piece = vec![0xa5; 64 * 1024];
        let mut rest = self.free()?.saturating_sub(left);
        while rest > 0 {
            let length = usize::try_from(rest)
                .unwrap_or(piece.len())
                .min(piece.len());
            match file.write_all(piece.get(..length).unwrap_or_default()) {
                Ok(()) => rest -= length as u64,
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error).doing(|| "write the ballast"),
            }
        }
        file.sync_all().doing(|| "sync the ballast")
    }

    /// Takes the filling away.
    ///
    /// # Errors
    ///
    /// When the file cannot be deleted.
    pub fn empty(&self) -> Result<()> {
        match std::fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).doing(|| "delete the ballast")
            }
            _gone => Ok(()),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.mount.join(BALLAST)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process of the test that still sits in it must not keep it mounted for ever.
        let _unmounted = Command::new("umount")
            .arg("--lazy")
            .arg(&self.mount)
            .status();
    }
}

/// A command that runs as root: as it is for a test run by root, else by `sudo` if that asks nothing.
fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--non-interactive", program]);
    command
}
