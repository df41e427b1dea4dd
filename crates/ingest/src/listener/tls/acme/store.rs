//! What ACME keeps below the data directory, a directory for each authority: the account, and the certificate with its
//! key. For their owner's eyes only, and each file there whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use domain::Secret;

/// The files of one authority.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
}

impl Store {
    /// Below `data_dir`. Another authority has another account, and its certificates are not the same.
    pub(super) fn new(data_dir: &Path, authority: &str) -> Self {
        let name = digest::digest(&digest::SHA256, authority.as_bytes());
        let name = hex::encode(&name.as_ref()[..8]);
        Self {
            directory: data_dir.join("acme").join(name),
        }
    }

    /// Where the certificate is, with its key.
    pub(super) fn certificate(&self) -> PathBuf {
        self.directory.join("certificate.pem")
    }

    /// The account, as it was put; `None` if there is none.
    pub(super) fn account(&self) -> io::Result<Option<Secret>> {
        match fs::read_to_string(self.directory.join("account.json")) {
            Ok(text) => Ok(Some(Secret::new(text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn put_account(&self, account: &Secret) -> io::Result<()> {
        self.put("account.json", account.expose())
    }

    pub(super) fn put_certificate(&self, chain: &str, key: &Secret) -> io::Result<()> {
        self.put("certificate.pem", &[chain, "\n", key.expose()].concat())
    }

    fn put(&self, name: &str, text: &str) -> io::Result<()> {
        let builder = &mut DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        let whole = self.directory.join(name);
        let half = self.directory.join([name, ".new"].concat());
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&half)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(half, whole)?;
        File::open(&self.directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_put_is_found_by_its_owner_and_per_authority() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path(), "https://a.example/directory");
        assert!(store.account().unwrap().is_none());
        for text in ["first", "second"] {
            store.put_account(&Secret::new(text.into())).unwrap();
            assert_eq!(store.account().unwrap().unwrap().expose(), text);
        }
        let file = store.directory.join("account.json");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&store.directory), mode(&file)), (0o700, 0o600));
        let other = Store::new(directory.path(), "https://b.example/directory");
        assert!(other.account().unwrap().is_none());
    }
}
