//! TLS of the listener: its certificate in force, and when the files are read again.
//!
//! A change takes effect for connections that come after it. Files that cannot be used change nothing: what was in force
//! stays, and it is said once for each reason. Never says what is in a key.

mod acme;
mod expiry;
mod material;
mod options;
mod validity;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use domain::{Clock, Timestamp};
use rustls::ServerConfig;

pub(super) use acme::Challenges;
use acme::{Acme, HttpChallenges};
pub use acme::{AcmeChallenge, AcmeOptions};
use expiry::{Life, Said};
pub use options::{ClientAuth, TlsOptions, TlsVersion};

/// How often it is looked whether the files have changed.
const LOOK: Duration = Duration::from_secs(10);

/// What of each file tells that it is another: its time and its size; nothing where there is no file.
type Stamps = Vec<Option<(SystemTime, u64)>>;

/// Where the certificate and its key are.
#[derive(Debug, Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// TLS with the certificate in force.
#[derive(Debug)]
pub struct Tls {
    options: TlsOptions,
    files: Files,
    acme: Option<Acme>,
    /// `None` until the first one has been fetched.
    current: RwLock<Option<InForce>>,
    read: Mutex<Read>,
    clock: Arc<dyn Clock>,
}

/// What connections are served with.
#[derive(Debug, Clone)]
struct InForce {
    config: Arc<ServerConfig>,
    /// `None`: it cannot be read from the certificates.
    life: Option<Life>,
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
    /// Reads the files. A certificate that is fetched is kept in the data directory, and may not be there yet.
    ///
    /// # Errors
    /// The key and what is wrong with its file.
    pub fn load(
        options: &TlsOptions,
        data_dir: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, (&'static str, String)> {
        options.validate()?;
        let acme = options.acme.is_on();
        let acme = acme.then(|| Acme::new(&options.acme, data_dir, Arc::clone(&clock)));
        let acme = acme
            .transpose()
            .map_err(|reason| ("acme.domains", reason))?;
        let named = |file: &Option<PathBuf>| match &acme {
            Some(acme) => acme.file(),
            None => file.clone().unwrap_or_default(),
        };
        let files = Files {
            certificate: named(&options.cert_file),
            key: named(&options.key_file),
        };
        // Ahead of reading: what changes meanwhile is read once more.
        let stamps = stamps(options, &files);
        let config = match material::read(options, &files) {
            Ok(read) => Some(read),
            // What of it is the operator's is in order; the rest will be fetched.
            Err(_) if acme.is_some() => {
                material::asked(options)?;
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Arc::new(Self {
            options: options.clone(),
            files,
            acme,
            current: RwLock::new(config),
            read: Mutex::new(Read { stamps, said: None }),
            clock,
        }))
    }

    /// What a connection that comes now is served with; `None`: there is no certificate yet.
    pub(super) fn current(&self) -> Option<Arc<ServerConfig>> {
        self.in_force(|current| Arc::clone(&current.config))
    }

    /// When the certificate in force expires, or the first of those sent with it; `None`: there is none yet.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        Some(self.in_force(|current| current.life)??.last())
    }

    /// What is to be said of the certificate in force, if it has expired or soon will.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let life = self.in_force(|current| current.life)??;
        life.warning(self.clock.now())
    }

    fn in_force<T>(&self, of: impl Fn(&InForce) -> T) -> Option<T> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(of)
    }

    /// What the authority is answered that a certificate is fetched from, if one is.
    pub(super) fn challenges(&self) -> Option<&Challenges> {
        self.acme.as_ref().and_then(Acme::challenges)
    }

    /// What an authority is answered by plain HTTP, if it asks that way.
    fn http_challenges(&self) -> Option<&HttpChallenges> {
        self.acme.as_ref().and_then(Acme::http_challenges)
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// Which file, and why; the old certificate stays in force.
    pub fn reload(&self) -> Result<(), String> {
        if let Some(acme) = &self.acme {
            acme.ask();
            if self.current().is_none() {
                return Ok(());
            }
        }
        self.replace(&mut self.read(), stamps(&self.options, &self.files))
    }

    /// Reads the files again if they have changed.
    fn look(&self) {
        let mut read = self.read();
        let stamps = stamps(&self.options, &self.files);
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
        let current = material::read(&self.options, &self.files);
        let current = current.map_err(|(key, reason)| format!("{key}: {reason}"))?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(current);
        *read = Read { stamps, said: None };
        Ok(())
    }

    fn read(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that what is in force is up to date, for ever.
    pub(super) async fn watch(self: Arc<Self>) {
        let fetching = async {
            if let Some(acme) = &self.acme {
                acme.keep(|| self.look()).await;
            }
        };
        tokio::join!(fetching, Arc::clone(&self).watch_files());
    }

    /// Looks every now and then whether the files have changed, and whether what is in force ends soon.
    async fn watch_files(self: Arc<Self>) {
        let mut said = Said::None;
        loop {
            let life = self.in_force(|current| current.life).flatten();
            if let Some(warning) = expiry::due(life, self.clock.now(), &mut said) {
                tracing::warn!("the certificate of server.tls {warning}");
            }
            tokio::time::sleep(LOOK).await;
            let tls = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || tls.look()).await {
                tracing::error!(%error, "the files of server.tls were not looked at");
            }
        }
    }
}

fn stamps(options: &TlsOptions, files: &Files) -> Stamps {
    let files = [&files.certificate, &files.key].into_iter();
    let files = files.chain(&options.client_ca_file);
    let stamp = |file: &PathBuf| {
        let found = fs::metadata(file).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    files.map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use domain::SystemClock;

    use super::*;

    fn load(options: &TlsOptions) -> Result<Arc<Tls>, (&'static str, String)> {
        Tls::load(options, Path::new("/nowhere"), Arc::new(SystemClock))
    }

    /// Certificate and key as files, and their options.
    fn files(directory: &Path) -> (TlsOptions, [PathBuf; 2]) {
        let files = ["cert.pem", "key.pem"].map(|name| directory.join(name));
        let options = TlsOptions {
            cert_file: Some(files[0].clone()),
            key_file: Some(files[1].clone()),
            ..TlsOptions::default()
        };
        let (certificate, key) = made();
        fs::write(&files[0], certificate).unwrap();
        fs::write(&files[1], key).unwrap();
        (options, files)
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
        let (options, [cert_file, key_file]) = files(directory.path());
        age(&cert_file);
        age(&key_file);
        let tls = load(&options).unwrap();
        let watching = tokio::spawn(Arc::clone(&tls).watch());
        let first = tls.current().unwrap();
        let unchanged = || Arc::ptr_eq(&first, &tls.current().unwrap());
        let looked = || tokio::time::sleep(LOOK + Duration::from_secs(1));
        looked().await;
        assert!(unchanged(), "nothing has changed");
        let (certificate, key) = made();
        fs::write(&cert_file, certificate).unwrap();
        looked().await;
        assert!(unchanged(), "its key has not come yet");
        fs::write(&key_file, key).unwrap();
        for _ in 0..10 {
            looked().await;
        }
        assert!(!unchanged(), "both have come");
        watching.abort();
    }

    #[test]
    fn a_bad_file_is_named_and_the_old_certificate_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (options, [cert_file, _]) = files(directory.path());
        let tls = load(&options).unwrap();
        let first = tls.current().unwrap();
        let (other, _) = made();
        let good = fs::read(&cert_file).unwrap();
        for (bad, words) in [
            (other.as_bytes(), "key_file: "),
            (b"no certificate", "cert_file: "),
        ] {
            fs::write(&cert_file, bad).unwrap();
            let said = tls.reload().unwrap_err();
            assert!(said.starts_with(words), "{said}");
            assert!(Arc::ptr_eq(&first, &tls.current().unwrap()));
        }
        fs::write(&cert_file, good).unwrap();
        tls.reload().unwrap();
        assert!(!Arc::ptr_eq(&first, &tls.current().unwrap()));
    }

    #[test]
    fn each_file_that_is_wrong_is_named_by_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let (good, [cert, key]) = files(directory.path());
        let missing = directory.path().join("missing.pem");
        let with = |cert: &PathBuf, key: &PathBuf| TlsOptions {
            cert_file: Some(cert.clone()),
            key_file: Some(key.clone()),
            ..good.clone()
        };
        let asking = |ca: Option<&PathBuf>| TlsOptions {
            client_ca_file: ca.cloned(),
            client_auth: ClientAuth::Required,
            ..good.clone()
        };
        let fetching = TlsOptions {
            acme: AcmeOptions {
                domains: vec!["a.example".into()],
                accept_terms: true,
                ..AcmeOptions::default()
            },
            ..TlsOptions::default()
        };
        let unasked = TlsOptions {
            client_ca_file: Some(cert.clone()),
            ..good.clone()
        };
        let both = TlsOptions {
            acme: fetching.acme.clone(),
            ..good.clone()
        };
        let no_key = TlsOptions {
            key_file: None,
            ..good.clone()
        };
        let authorities = TlsOptions {
            client_ca_file: Some(missing.clone()),
            client_auth: ClientAuth::Optional,
            ..fetching.clone()
        };
        for (key, options) in [
            ("cert_file", with(&missing, &key)),
            ("cert_file", with(&key, &key)),
            ("key_file", with(&cert, &missing)),
            ("key_file", with(&cert, &cert)),
            ("cert_file", TlsOptions::default()),
            ("key_file", no_key),
            ("acme.domains", both),
            ("client_ca_file", asking(None)),
            ("client_ca_file", asking(Some(&missing))),
            ("client_ca_file", asking(Some(&key))),
            ("client_ca_file", authorities),
            ("client_auth", unasked),
        ] {
            let (said, reason) = load(&options).unwrap_err();
            assert_eq!(said, key, "{reason}");
        }
        load(&asking(Some(&cert))).unwrap();
        let waiting = load(&fetching).unwrap();
        assert!(waiting.current().is_none(), "it has not come yet");
        waiting.reload().unwrap();
    }
}
