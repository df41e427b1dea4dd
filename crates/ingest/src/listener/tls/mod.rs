//! TLS of the listener: its certificate in force, and when the files are read again.
//!
//! A change takes effect for connections that come after it. Files that cannot be used change nothing: what was in force
//! stays, and it is said once for each reason. Never says what is in a key.

mod material;
mod options;

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;

pub use options::{ClientAuth, TlsOptions, TlsVersion};

/// How often it is looked whether the files have changed.
const LOOK: Duration = Duration::from_secs(10);

/// What of each file tells that it is another: its time and its size; nothing where there is no file.
type Stamps = Vec<Option<(SystemTime, u64)>>;

/// TLS with the certificate in force.
#[derive(Debug)]
pub struct Tls {
    options: TlsOptions,
    current: RwLock<Arc<ServerConfig>>,
    read: Mutex<Read>,
}

/// What was read last.
#[derive(Debug)]
struct Read {
    /// Of what is in force.
    stamps: Stamps,
    /// Why later files are not in force, when that has been said.
    said: Option<String>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// The key and what is wrong with its file.
    pub fn load(options: &TlsOptions) -> Result<Arc<Self>, (&'static str, String)> {
        options.validate()?;
        // Ahead of reading: what changes meanwhile is read once more.
        let stamps = stamps(options);
        let config = material::read(options)?;
        Ok(Arc::new(Self {
            options: options.clone(),
            current: RwLock::new(Arc::new(config)),
            read: Mutex::new(Read { stamps, said: None }),
        }))
    }

    /// What a connection that comes now is served with.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// Which file, and why; the old certificate stays in force.
    pub fn reload(&self) -> Result<(), String> {
        self.replace(&mut self.read(), stamps(&self.options))
    }

    /// Reads the files again if they have changed.
    fn look(&self) {
        let mut read = self.read();
        let stamps = stamps(&self.options);
        if stamps == read.stamps {
            read.said = None;
            return;
        }
        match self.replace(&mut read, stamps) {
            Ok(()) => tracing::info!("the files of server.tls have changed and are in force"),
            // A file that is being written, or one of two that has come: tried again until it is good.
            Err(error) if read.said.as_ref() == Some(&error) => {}
            Err(error) => {
                tracing::error!(
                    "server.tls.{error}; the files have changed, and the old certificate stays"
                );
                read.said = Some(error);
            }
        }
    }

    fn replace(&self, read: &mut Read, stamps: Stamps) -> Result<(), String> {
        let config = material::read(&self.options);
        let config = config.map_err(|(key, reason)| format!("{key}: {reason}"))?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        *read = Read { stamps, said: None };
        Ok(())
    }

    fn read(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks every now and then whether the files have changed, for ever.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let tls = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || tls.look()).await {
                tracing::error!(%error, "the files of server.tls were not looked at");
            }
        }
    }
}

fn stamps(options: &TlsOptions) -> Stamps {
    let files = [&options.cert_file, &options.key_file].into_iter();
    let files = files.chain(&options.client_ca_file);
    let stamp = |file: &PathBuf| {
        let found = fs::metadata(file).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    files.map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Certificate and key as files, and their options.
    fn files(directory: &Path) -> TlsOptions {
        let options = TlsOptions {
            cert_file: directory.join("cert.pem"),
            key_file: directory.join("key.pem"),
            min_version: TlsVersion::default(),
            client_ca_file: None,
            client_auth: ClientAuth::None,
        };
        let (certificate, key) = made();
        fs::write(&options.cert_file, certificate).unwrap();
        fs::write(&options.key_file, key).unwrap();
        options
    }

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    /// Dates a file back, so that what is written next has another date whatever the clock's grain.
    fn age(file: &Path) {
        let file = fs::File::options().append(true).open(file).unwrap();
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        file.set_modified(past).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn changed_files_are_in_force_when_they_are_good_and_not_before() {
        let directory = tempfile::tempdir().unwrap();
        let options = files(directory.path());
        age(&options.cert_file);
        age(&options.key_file);
        let tls = Tls::load(&options).unwrap();
        let watching = tokio::spawn(Arc::clone(&tls).watch());
        let first = tls.current();
        let unchanged = || Arc::ptr_eq(&first, &tls.current());
        let looked = || tokio::time::sleep(LOOK + Duration::from_secs(1));
        looked().await;
        assert!(unchanged(), "nothing has changed");
        let (certificate, key) = made();
        fs::write(&options.cert_file, certificate).unwrap();
        looked().await;
        assert!(unchanged(), "its key has not come yet");
        fs::write(&options.key_file, key).unwrap();
        for _ in 0..10 {
            looked().await;
        }
        assert!(!unchanged(), "both have come");
        watching.abort();
    }

    #[test]
    fn a_bad_file_is_named_and_the_old_certificate_stays() {
        let directory = tempfile::tempdir().unwrap();
        let options = files(directory.path());
        let tls = Tls::load(&options).unwrap();
        let first = tls.current();
        let (other, _) = made();
        let good = fs::read(&options.cert_file).unwrap();
        for (bad, words) in [
            (other.as_bytes(), "key_file: "),
            (b"no certificate", "cert_file: "),
        ] {
            fs::write(&options.cert_file, bad).unwrap();
            let said = tls.reload().unwrap_err();
            assert!(said.starts_with(words), "{said}");
            assert!(Arc::ptr_eq(&first, &tls.current()));
        }
        fs::write(&options.cert_file, good).unwrap();
        tls.reload().unwrap();
        assert!(!Arc::ptr_eq(&first, &tls.current()));
    }

    #[test]
    fn each_file_that_is_wrong_is_named_by_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let good = files(directory.path());
        let missing = directory.path().join("missing.pem");
        let key = Some(good.key_file.clone());
        let asking = |ca: Option<PathBuf>| TlsOptions {
            client_ca_file: ca,
            client_auth: ClientAuth::Required,
            ..good.clone()
        };
        let cases = [
            (
                "cert_file",
                TlsOptions {
                    cert_file: missing.clone(),
                    ..good.clone()
                },
            ),
            (
                "cert_file",
                TlsOptions {
                    cert_file: good.key_file.clone(),
                    ..good.clone()
                },
            ),
            (
                "key_file",
                TlsOptions {
                    key_file: missing.clone(),
                    ..good.clone()
                },
            ),
            (
                "key_file",
                TlsOptions {
                    key_file: good.cert_file.clone(),
                    ..good.clone()
                },
            ),
            ("client_ca_file", asking(None)),
            ("client_ca_file", asking(Some(missing))),
            ("client_ca_file", asking(key.clone())),
            (
                "client_auth",
                TlsOptions {
                    client_ca_file: key,
                    ..good.clone()
                },
            ),
        ];
        for (key, options) in cases {
            let (said, reason) = Tls::load(&options).unwrap_err();
            assert_eq!(said, key, "{reason}");
        }
        Tls::load(&asking(Some(good.cert_file.clone()))).unwrap();
    }
}
