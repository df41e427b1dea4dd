//! The small disk is small, and gone afterwards.

use std::io::ErrorKind;

use testbed::Result;
use testbed::disk::SmallDisk;

const MIB: u64 = 1024 * 1024;

fn is_mounted(path: &std::path::Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.contains(&path.display().to_string())
}

#[test]
fn a_full_disk_refuses_and_takes_again_once_there_is_room() -> Result<()> {
    let disk = SmallDisk::tmpfs(8 * MIB)?;
    let file = disk.path().join("file");
    disk.fill(0)?;
    assert!(disk.free()? < MIB);
    let full = std::fs::write(&file, vec![1; 2 * 1024 * 1024]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    std::fs::remove_file(&file).unwrap();

    disk.fill(4 * MIB)?;
    assert!(
        (3 * MIB..=4 * MIB).contains(&disk.free()?),
        "{}",
        disk.free()?
    );
    std::fs::write(&file, vec![1; 2 * 1024 * 1024]).unwrap();
    disk.empty()?;
    assert!(disk.free()? > 5 * MIB);

    let mount = disk.path().to_owned();
    assert!(is_mounted(&mount));
    drop(disk);
    assert!(!is_mounted(&mount) && !mount.exists());
    Ok(())
}

#[test]
fn a_loop_device_is_a_small_disk_too() -> Result<()> {
    let disk = SmallDisk::ext4(16 * MIB)?;
    disk.fill(0)?;
    let full = std::fs::write(disk.path().join("file"), vec![1; 1024 * 1024]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    disk.empty()?;
    std::fs::write(disk.path().join("file"), vec![1; 1024 * 1024]).unwrap();
    let mount = disk.path().to_owned();
    drop(disk);
    assert!(!is_mounted(&mount) && !mount.exists());
    Ok(())
}
