//! `forebay bench`: measures beside what is there, and takes away nothing but what it made.

use std::path::Path;

use testbed::Result;
use testbed::process::{Forebay, Output};

use super::{config, data, send};
use crate::rig;

/// As little as makes a benchmark come to its end.
const ACK: [&str; 8] = [
    "bench",
    "ack",
    "--rounds",
    "1",
    "--seconds",
    "0.01",
    "--connections",
    "1",
];

/// The names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

async fn in_dir(forebay: &Forebay, args: &[&str], dir: &Path) -> Result<Output> {
    let dir = dir.to_str().unwrap();
    forebay.cli(&[args, &["--dir", dir]].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_benchmark_removes_nothing_that_it_did_not_make() -> Result<()> {
    let mut forebay = rig::forebay(config()).start().await?;
    assert_eq!(send(&forebay, &[]).await?.code, Some(0));
    // In a directory with something in it, and in one that a server runs on.
    let own = tempfile::tempdir().unwrap();
    let data_dir = forebay.data_dir().to_owned();
    for dir in [own.path(), &data_dir] {
        std::fs::write(dir.join("mine"), "kept").unwrap();
        let ack = in_dir(&forebay, &ACK, dir).await?;
        assert_eq!(ack.code, Some(0), "{ack:?}");
        // Nobody listens there: it fails, and cleans up all the same.
        let drain = ["bench", "drain", "--url", "postgres://x@127.0.0.1:1/x"];
        let drain = in_dir(&forebay, &drain, dir).await?;
        assert_eq!(drain.code, Some(1), "{drain:?}");
        assert_eq!(std::fs::read_to_string(dir.join("mine")).unwrap(), "kept");
        assert!(!names(dir).iter().any(|name| name.contains("bench")));
    }
    assert_eq!(names(own.path()), ["mine"]);
    // The server noticed nothing.
    assert_eq!(send(&forebay, &[]).await?.code, Some(0));
    forebay.restart().await?;
    let status = data(&forebay, &["status"]).await?;
    assert!(status.contains("accepted 2 events"), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_there_is_not_made() -> Result<()> {
    let forebay = rig::forebay(config()).start().await?;
    let missing = forebay.data_dir().join("missing");
    let ack = in_dir(&forebay, &ACK, &missing).await?;
    assert_eq!(ack.code, Some(1), "{ack:?}");
    assert!(ack.stderr.contains("missing"), "{ack:?}");
    assert!(!missing.exists());
    Ok(())
}
